//! Two engines between which checks are faster than signals, or no signal comes: both must go by what was nominated
//! last.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use p2pdbg_punch::{
    Config, Engine, Input, LocalAddress, Output, PunchEvent, PunchKey, Role, SocketId,
};
use p2pdbg_stun::{Class, Message};

const STEP: Duration = Duration::from_millis(5);

/// Longer than the pause between two checks of a path that is being set up.
const PATIENCE: Duration = Duration::from_secs(3);

/// The two ends: datagrams take no time.
struct Wire {
    ends: [Engine; 2],
    now: Instant,
    /// Signals that have not been delivered, by the end that they are from.
    signals: [Vec<Vec<u8>>; 2],
    /// The attempts that the controlled end has begun, and when in whole seconds.
    began: Vec<(u32, u64)>,
    /// When the last one of them failed, in whole seconds.
    failed: u64,
    start: Instant,
    carries: Carries,
}

/// Which datagrams arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Carries {
    Nothing,
    /// Everything but what this end asks.
    AllButChecksOf(usize),
    Everything,
}

const CONTROLLING: usize = 0;
const CONTROLLED: usize = 1;

fn ip(end: usize) -> IpAddr {
    [192, 168, 1, 10 + end as u8].into()
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::new(ip(end), 40_000)
}

impl Wire {
    fn new() -> Self {
        let now = Instant::now();
        let end = |role, seed| {
            let config = Config::new(role, PunchKey::new([7; 32]), Vec::new());
            Engine::new(config, [seed; 32], now)
        };
        let mut wire = Self {
            ends: [end(Role::Controlling, 1), end(Role::Controlled, 2)],
            now,
            signals: Default::default(),
            began: Vec::new(),
            failed: 0,
            start: now,
            carries: Carries::Nothing,
        };
        for end in [CONTROLLING, CONTROLLED] {
            wire.tell(end, Input::LocalAddresses(&[LocalAddress::from(ip(end))]));
            let (socket, local) = (SocketId::V4, address(end));
            wire.tell(end, Input::SocketOpened { socket, local });
        }
        wire
    }

    fn tell(&mut self, end: usize, input: Input<'_>) {
        self.ends[end].handle(self.now, input);
        while let Some(output) = self.ends[end].poll_output() {
            match output {
                Output::Signal(signal) => self.signals[end].push(signal),
                Output::Send { to, payload, .. } => self.carry(end, to, &payload),
                Output::Event(PunchEvent::AttemptBegan { attempt }) if end == CONTROLLED => {
                    self.began.push((attempt, self.seconds()));
                }
                Output::Event(PunchEvent::AttemptFailed { .. }) if end == CONTROLLED => {
                    self.failed = self.seconds();
                }
                _ => {}
            }
        }
    }

    fn carry(&mut self, from: usize, to: SocketAddr, payload: &[u8]) {
        let end = 1 - from;
        let asks = Message::decode(payload).unwrap().class() == Class::Request;
        let arrives = match self.carries {
            Carries::Nothing => false,
            Carries::AllButChecksOf(end) => from != end || !asks,
            Carries::Everything => true,
        };
        if to == address(end) && arrives {
            let (socket, from) = (SocketId::V4, address(from));
            let datagram = Input::Datagram {
                socket,
                from,
                payload,
            };
            self.tell(end, datagram);
        }
    }

    fn deliver_signals(&mut self, from: usize) {
        for signal in std::mem::take(&mut self.signals[from]) {
            self.tell(1 - from, Input::PeerSignal(&signal));
        }
    }

    fn seconds(&self) -> u64 {
        (self.now - self.start).as_secs()
    }

    /// Passes time until so many seconds after the start.
    fn pass_until(&mut self, seconds: u64) {
        while self.seconds() < seconds {
            self.now += STEP;
            self.tell(CONTROLLING, Input::Timeout);
            self.tell(CONTROLLED, Input::Timeout);
        }
    }

    /// Passes time until the end has a path, or for as long as that should take at the most; whether it has.
    fn has_path(&mut self, end: usize) -> bool {
        let until = self.now + PATIENCE;
        while self.now < until && self.ends[end].nominated().is_none() {
            self.now += STEP;
            self.tell(CONTROLLING, Input::Timeout);
            self.tell(CONTROLLED, Input::Timeout);
        }
        self.ends[end].nominated().is_some()
    }
}

#[test]
fn what_was_nominated_before_the_first_signal_came_is_followed_after_it() {
    let mut wire = Wire::new();
    wire.deliver_signals(CONTROLLED);
    wire.carries = Carries::AllButChecksOf(CONTROLLED);
    assert!(wire.has_path(CONTROLLING));
    wire.carries = Carries::Everything;
    wire.deliver_signals(CONTROLLING);
    assert!(wire.has_path(CONTROLLED));
}

#[test]
fn what_was_nominated_before_a_later_signal_came_is_followed_after_it() {
    let mut wire = Wire::new();
    wire.deliver_signals(CONTROLLED);
    wire.deliver_signals(CONTROLLING);
    wire.tell(CONTROLLING, Input::NetworkChanged);
    wire.carries = Carries::AllButChecksOf(CONTROLLED);
    assert!(wire.has_path(CONTROLLING));
    assert!(!wire.signals[CONTROLLING].is_empty(), "another generation");
    wire.deliver_signals(CONTROLLING);
    wire.carries = Carries::Everything;
    assert!(wire.has_path(CONTROLLED));
}

#[test]
fn what_the_controlled_end_alone_has_lost_it_follows_again_without_a_signal() {
    let mut wire = Wire::new();
    wire.deliver_signals(CONTROLLED);
    wire.deliver_signals(CONTROLLING);
    wire.carries = Carries::Everything;
    assert!(wire.has_path(CONTROLLING) && wire.has_path(CONTROLLED));
    wire.tell(CONTROLLED, Input::TunnelUp);
    wire.tell(CONTROLLED, Input::TunnelLost);
    wire.carries = Carries::AllButChecksOf(CONTROLLING);
    assert!(!wire.has_path(CONTROLLED), "what was said before");
    wire.carries = Carries::Everything;
    assert!(wire.has_path(CONTROLLED));
}

#[test]
fn controlled_end_that_is_told_of_no_attempt_waits_for_it_once() {
    let mut wire = Wire::new();
    wire.deliver_signals(CONTROLLING);
    wire.pass_until(40);
    // 4 s each; a pause of 5 s and 3 s of patience, then 10 s.
    assert_eq!(wire.began, [(0, 0), (1, 12), (2, 26)]);
}

#[test]
fn late_plan_lengthens_the_attempt_that_began_without_it_and_a_repeated_one_changes_nothing() {
    let mut wire = Wire::new();
    wire.deliver_signals(CONTROLLED);
    wire.deliver_signals(CONTROLLING);
    wire.tell(CONTROLLED, Input::NetworkChanged);
    wire.deliver_signals(CONTROLLED);
    let told = wire.signals[CONTROLLING].clone();
    assert!(!told.is_empty(), "a plan for the first attempt");
    wire.deliver_signals(CONTROLLING);
    wire.pass_until(13);
    let began = wire.began.clone();
    assert_eq!(began.last(), Some(&(1, 12)));
    let later = std::mem::replace(&mut wire.signals[CONTROLLING], told);
    wire.deliver_signals(CONTROLLING);
    assert_eq!(wire.began, began, "the first plan once more");
    wire.pass_until(15);
    wire.signals[CONTROLLING] = later;
    wire.deliver_signals(CONTROLLING);
    wire.pass_until(20);
    assert_eq!((&wire.began, wire.failed), (&began, 19));
}
