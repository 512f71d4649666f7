//! The search for a direct path by the engines that ship, behind modelled NATs, on the clock of the run.
//!
//! The engines see datagrams and addresses of their own network; what a tunnel on their path does is modelled as ever.
//! So a NAT that maps anew does so in both, and what the engines make of it is theirs.

use std::time::Duration;

use p2pdbg_nat::NatKind;
use p2pdbg_punch::{Input, LossReason, Output, PunchEvent, Technique};
use p2pdbg_simnet::{Direction, Scenario, Simulation};

use crate::End;

/// What an engine tells its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum News {
    Nominated { technique: Technique, rtt: Duration },
    Lost(LossReason),
    Answers(Duration),
    Heard,
    Unused { technique: Technique, rtt: Duration },
}

pub(crate) struct Search {
    simulation: Simulation,
    begun: [bool; 2],
    /// How much of each engine's log was told.
    told: [usize; 2],
}

/// The index of an engine: the connector's, which controls, is the first.
fn place(end: End) -> usize {
    match end {
        End::Connector => 0,
        End::Listener => 1,
    }
}

impl Search {
    /// `nats` are the listener's and the connector's.
    pub(crate) fn new(nats: [NatKind; 2], delay: Duration, seed: u64) -> Self {
        let [listener, connector] = nats;
        let scenario = Scenario::new(connector, listener).rtt(2 * delay).seed(seed);
        Self {
            simulation: scenario.build(),
            begun: [false; 2],
            told: [0; 2],
        }
    }

    /// When something happens there next.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.simulation.next_at()
    }

    /// Lets time pass there. What a silent end sends is lost.
    pub(crate) fn pass_to(&mut self, now: Duration, silent: impl Fn(End) -> bool) {
        for end in End::BOTH {
            let deaf = silent(end).then_some(Direction::Out);
            for nat in self.simulation.boxes[place(end)].clone() {
                self.simulation.world.nat(nat).set_deaf(deaf);
            }
        }
        self.simulation.run_until(now, |_| false);
    }

    /// The decisions of an end want a direct path.
    pub(crate) fn begin(&mut self, end: End) {
        if !std::mem::replace(&mut self.begun[end.index()], true) {
            self.simulation.start_peer(place(end));
        }
    }

    pub(crate) fn tell(&mut self, end: End, input: Input<'_>) {
        self.simulation.tell(place(end), input);
    }

    /// The NAT of an end forgets what it has mapped.
    pub(crate) fn forget(&mut self, end: End) {
        for nat in self.simulation.boxes[place(end)].clone() {
            self.simulation.world.nat(nat).flush();
        }
    }

    /// What the engine of an end has said since it was asked last.
    pub(crate) fn news(&mut self, end: End) -> Vec<News> {
        if !self.begun[end.index()] {
            return Vec::new();
        }
        let log = self.simulation.peer(place(end)).log();
        let told = std::mem::replace(&mut self.told[end.index()], log.len());
        log[told..]
            .iter()
            .filter_map(|(_, said)| news(said))
            .collect()
    }
}

fn news(said: &Output) -> Option<News> {
    Some(match said {
        Output::Nominated(path) => News::Nominated {
            technique: path.technique,
            rtt: path.rtt,
        },
        Output::PathLost { reason } => News::Lost(*reason),
        Output::Event(PunchEvent::PathAnswers { after }) => News::Answers(*after),
        Output::Event(PunchEvent::Heard { .. }) => News::Heard,
        Output::Event(PunchEvent::Unused { technique, rtt, .. }) => News::Unused {
            technique: *technique,
            rtt: *rtt,
        },
        _ => return None,
    })
}
