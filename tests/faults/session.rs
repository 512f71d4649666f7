//! A session of two hosts behind NATs, with streams that run through it.

use std::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use p2pdbg_events::{Event, PathKind, StreamState, Via};
use p2pdbg_natlab::{Host, Lab, NatKind, TwoNats};

use crate::{
    debugger::Debugger,
    flow::{Flow, Pace},
    harness::{
        Pair, Peer, Place, Setting, eventually,
        traffic::{accept, say},
    },
};

/// On each of the three links to the internet, so that the peers are 40 ms apart and back.
pub(crate) const DELAY: Duration = Duration::from_millis(10);

/// Everything of one test. What is killed first stands first.
#[derive(Debug)]
pub(crate) struct Session {
    name: &'static str,
    steps: Option<Flow>,
    bulk: Option<Flow>,
    debugger: Option<Debugger>,
    /// Beside the debuggee, and the port of both ends.
    target: TcpListener,
    port: u16,
    pub(crate) pair: Pair,
    pub(crate) setting: Setting,
    pub(crate) lab: TwoNats,
}

/// Runs two sessions side by side: they wait for most of their time.
pub(crate) fn both_at_once(one: impl FnOnce() + Send, other: impl FnOnce()) {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        other();
        if let Err(panic) = one.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Two port-restricted NATs.
pub(crate) fn two_nats(name: &str) -> Option<TwoNats> {
    two_nats_of(name, NatKind::PORT_RESTRICTED)
}

pub(crate) fn two_nats_of(name: &str, nat: NatKind) -> Option<TwoNats> {
    let lab = Lab::new_or_skip(name)?;
    Some(TwoNats::new(lab, nat, nat, DELAY).unwrap())
}

/// The peers on the two hosts, and a rendezvous on the third.
pub(crate) fn setting(lab: &TwoNats) -> Setting {
    setting_with(lab, [])
}

/// The same, with more arguments of the rendezvous.
pub(crate) fn setting_with<const N: usize>(lab: &TwoNats, arguments: [&str; N]) -> Setting {
    let place = |host: &Host| Place::Node((**host).clone());
    let host = lab.rdv.ip().to_string();
    Setting::with_rendezvous(
        place(&lab.ide),
        place(&lab.debuggee),
        place(&lab.rdv),
        &host,
        arguments,
    )
}

/// A session that has carried a first byte.
pub(crate) struct Begun {
    /// Beside the IDE first.
    pub(crate) peers: [Peer; 2],
    /// When `connect` was started.
    pub(crate) began: Instant,
    _ide: TcpStream,
}

/// Starts both peers, and prints how long the first byte took.
#[track_caller]
pub(crate) fn first_byte(name: &str, setting: &Setting) -> Begun {
    let port = setting.port();
    let target = setting.debuggee.listen(port);
    let forward = format!("{port}:localhost:{port}");
    let listener = setting.listener().args(["-L", &forward]).start();
    let code = listener.code();
    let ide = setting.ide.connect(port);
    let began = Instant::now();
    let connector = setting.connector_with(&code).start();
    say(&ide, &accept(&target), "first byte");
    println!(
        "{name}: first byte {:.2} s after the start of connect; target: 2 s",
        began.elapsed().as_secs_f64()
    );
    Begun {
        peers: [listener, connector],
        began,
        _ide: ide,
    }
}

/// Waits until a peer's last path is over UDP, as the first is unless its host is busy; how many it has told of.
#[track_caller]
pub(crate) fn over_udp(peer: &Peer) -> usize {
    eventually("path over UDP", || {
        let paths = peer.paths();
        (paths.last()?.via == Via::Udp).then_some(paths.len())
    })
}

impl Session {
    /// A session on the direct path.
    #[track_caller]
    pub(crate) fn direct(name: &'static str) -> Option<Self> {
        let lab = two_nats(name)?;
        let setting = setting(&lab);
        Some(Self::begin(name, lab, setting, PathKind::Direct))
    }

    /// A session that may use the relay alone.
    #[track_caller]
    pub(crate) fn relayed(name: &'static str) -> Option<Self> {
        let lab = two_nats(name)?;
        let setting = setting(&lab).with_path("relay");
        Some(Self::begin(name, lab, setting, PathKind::Relay))
    }

    /// Pairs, waits for the path, lets the bytes flow, and has a debugger stop at a breakpoint where debugpy is
    /// installed.
    #[track_caller]
    pub(crate) fn begin(
        name: &'static str,
        lab: TwoNats,
        setting: Setting,
        path: PathKind,
    ) -> Self {
        let (port, debugged) = (setting.port(), setting.port());
        let forwards = [
            "-L".to_owned(),
            format!("{port}:localhost:{port}"),
            format!("debugpy:{debugged}"),
        ];
        let target = setting.debuggee.listen(port);
        let pair = setting.pair_with_port(forwards, port);
        pair.listener.forward(debugged);
        let debugger = Debugger::stop_at_breakpoint(&setting, debugged);
        let mut session = Self {
            name,
            steps: None,
            bulk: None,
            debugger,
            target,
            port,
            pair,
            setting,
            lab,
        };
        session.steps = Some(session.flow(Pace::STEPS, 1));
        session.bulk = Some(session.flow(Pace::BULK, 3));
        session.path(path);
        session.flows();
        session
    }

    /// One more connection: its end beside the IDE, and the one at the debuggee.
    #[track_caller]
    pub(crate) fn connect(&self) -> [TcpStream; 2] {
        let opened = self.setting.ide.connect(self.port);
        [opened, accept(&self.target)]
    }

    /// One more connection with numbered bytes in both directions.
    #[track_caller]
    pub(crate) fn flow(&self, pace: Pace, seed: u64) -> Flow {
        Flow::begin(self.connect(), pace, seed)
    }

    /// Both peers, beside the IDE first.
    pub(crate) fn peers(&self) -> [&Peer; 2] {
        [&self.pair.listener, &self.pair.connector]
    }

    /// Waits until both say that they use a path of this kind and did not say so before.
    #[track_caller]
    pub(crate) fn path(&self, kind: PathKind) {
        for peer in self.peers() {
            peer.path(kind);
        }
    }

    /// Has the streams rest, or move again.
    pub(crate) fn rest(&self, rest: bool) {
        let flows = [&self.steps, &self.bulk];
        flows.into_iter().flatten().for_each(|flow| flow.rest(rest));
    }

    /// Waits until everything that was written by now has arrived, and then until bytes flow again.
    #[track_caller]
    pub(crate) fn settles(&self) {
        self.rest(true);
        let flows = [&self.steps, &self.bulk];
        eventually("what is on its way", || {
            flows
                .into_iter()
                .flatten()
                .all(Flow::has_arrived)
                .then_some(())
        });
        self.rest(false);
        self.flows();
    }

    /// Waits until bytes arrive at both ends that were not there before.
    #[track_caller]
    pub(crate) fn flows(&self) {
        self.flows_since(Instant::now());
    }

    #[track_caller]
    pub(crate) fn flows_since(&self, since: Instant) {
        let steps = self.steps.as_ref().unwrap();
        eventually("byte of the stream", || {
            steps.last_arrival().filter(|at| *at >= since)
        });
    }

    /// Makes a fault that lasts for a time, and prints the gap in service.
    #[track_caller]
    pub(crate) fn outage(
        &self,
        what: &str,
        lasting: Duration,
        target: &str,
        fault: impl FnOnce(),
        mend: impl FnOnce(),
    ) {
        let began = self.fault(what);
        fault();
        std::thread::sleep(lasting);
        mend();
        let mended = Instant::now();
        self.resumes(what, began, mended, target);
    }

    /// Makes a fault that is over as soon as it has come, and prints the gap in service.
    #[track_caller]
    pub(crate) fn blow(&self, what: &str, target: &str, fault: impl FnOnce()) {
        self.outage(what, Duration::ZERO, target, fault, || {});
    }

    /// Notes in the transcript what is about to happen.
    pub(crate) fn fault(&self, what: &str) -> Instant {
        self.setting.transcript.add("the test", what);
        Instant::now()
    }

    /// Waits until bytes flow again, and prints how long they did not.
    #[track_caller]
    pub(crate) fn resumes(&self, what: &str, began: Instant, mended: Instant, target: &str) {
        self.setting.transcript.add("the test", "mended");
        // What was on its way when the fault came may arrive after it.
        self.flows_since(mended + Duration::from_millis(500));
        let gap = self.steps.as_ref().unwrap().gap(began, mended);
        self.setting.transcript.add("the test", &gap.to_string());
        println!("{}: {what}: {gap}; target: {target}", self.name);
    }

    /// Whether either peer has said that the other is lost.
    pub(crate) fn lost(&self) -> usize {
        self.count(|event| matches!(event, Event::PeerLost { .. }))
    }

    /// How many events of both peers are such ones.
    pub(crate) fn count(&self, is_such: impl Fn(&Event) -> bool) -> usize {
        let count = |peer: &Peer| peer.events().iter().filter(|event| is_such(event)).count();
        self.peers().into_iter().map(count).sum()
    }

    /// Lets the debugger step, ends the streams, and sees that no byte was lost and no stream reset.
    #[track_caller]
    pub(crate) fn finish(self) {
        self.finish_with_resets(0);
    }

    /// The same, with as many streams reset as a test has, counted at both ends.
    #[track_caller]
    pub(crate) fn finish_with_resets(mut self, expected: usize) {
        if let Some(debugger) = self.debugger.take() {
            debugger.step();
        }
        let flows = [self.steps.take(), self.bulk.take()];
        let bytes: u64 = flows.map(|flow| flow.unwrap().finish()).iter().sum();
        let resets = self.count(|event| {
            let Event::Stream { state, .. } = event else {
                return false;
            };
            *state == StreamState::Reset
        });
        assert_eq!(resets, expected, "streams reset");
        println!("{}: {bytes} bytes, none lost", self.name);
        if std::env::var_os("P2PDBG_FAULT_TRANSCRIPT").is_some() {
            println!("{}", self.setting.transcript.text());
        }
    }
}
