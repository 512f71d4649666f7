//! What holds whatever happens, in whatever order: tunnels that come up, answer, fall silent and end, paths that are
//! found and lost, streams, a network that changes, and time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Longer than the longest trial of a tunnel that has come and gone.
const SETTLES: Duration = Duration::from_secs(150);

/// One thing that happens. A number of a tunnel counts those that came up, from the first, modulo how many there are.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A tunnel comes up that this end has dialled, or accepted; or one that the listener has called.
    Up {
        direct: bool,
        called: bool,
        answers: bool,
    },
    /// A tunnel is heard from now on, or not.
    Answers(usize, bool),
    Ends(usize),
    Pulse(usize, u16),
    Nominated(usize),
    DirectLost,
    Relay,
    Heard,
    DialFailed(bool),
    CallFailed,
    PathAnswers(u16),
    Streams(usize, bool),
    Drain(usize),
    Swept,
    NetworkChanged(bool),
    Introduced,
    PeerLeft,
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..8_usize;
    prop_oneof![
        4 => (any::<bool>(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(direct, called, answers)| Step::Up { direct, called, answers }),
        3 => (which.clone(), any::<bool>()).prop_map(|(which, on)| Step::Answers(which, on)),
        2 => which.clone().prop_map(Step::Ends),
        1 => (which.clone(), 0..5000_u16).prop_map(|(which, ms)| Step::Pulse(which, ms)),
        2 => which.prop_map(Step::Nominated),
        1 => Just(Step::DirectLost),
        2 => Just(Step::Relay),
        1 => Just(Step::Heard),
        1 => any::<bool>().prop_map(Step::DialFailed),
        1 => Just(Step::CallFailed),
        1 => (0..3000_u16).prop_map(Step::PathAnswers),
        2 => (0..3_usize, any::<bool>()).prop_map(|(live, done)| Step::Streams(live, done)),
        1 => (0..3_usize).prop_map(Step::Drain),
        1 => Just(Step::Swept),
        1 => any::<bool>().prop_map(Step::NetworkChanged),
        1 => Just(Step::Introduced),
        1 => Just(Step::PeerLeft),
        6 => (0..20_000_u16).prop_map(Step::Pass),
    ]
}

/// What is settled before anything happens.
#[derive(Debug, Clone)]
struct Script {
    role: Role,
    policy: PathPolicy,
    call_expected: bool,
    steps: Vec<Step>,
}

fn script() -> impl Strategy<Value = Script> {
    let role = prop_oneof![Just(Role::Listener), Just(Role::Connector)];
    let policy = prop_oneof![
        2 => Just(PathPolicy::Any),
        1 => Just(PathPolicy::Direct),
        1 => Just(PathPolicy::Relay),
    ];
    let steps = prop::collection::vec(step(), 1..60);
    (role, policy, any::<bool>(), steps).prop_map(|(role, policy, call_expected, steps)| Script {
        role,
        policy,
        call_expected,
        steps,
    })
}

/// What was told and what came of it, in order.
#[derive(Debug)]
enum Entry {
    CameUp(u64),
    Ended(u64),
    Wants(Output),
}

/// A session as it goes through a script.
struct World {
    role: Role,
    policy: PathPolicy,
    bench: Bench,
    /// Every tunnel that came up, and whether it has not ended.
    tunnels: BTreeMap<u64, (PathKind, bool)>,
    adopted: Vec<u64>,
    trace: Vec<(Instant, Entry)>,
    /// The most timeouts that a second had.
    busiest: usize,
}

impl World {
    fn run(script: &Script) -> Self {
        let mut world = Self {
            role: script.role,
            policy: script.policy,
            bench: Bench::with_policy(script.role, script.policy),
            tunnels: BTreeMap::new(),
            adopted: Vec::new(),
            trace: Vec::new(),
            busiest: 0,
        };
        if script.call_expected {
            world.tell(Input::CallExpected);
        }
        for step in &script.steps {
            world.step(*step);
        }
        world
    }

    fn note(&mut self, entry: Entry) {
        self.trace.push((self.bench.now, entry));
    }

    /// Tells it something; what it closes ends.
    fn tell(&mut self, input: Input<'_>) {
        let (mut closed, mut dead) = (Vec::new(), Vec::new());
        for output in self.bench.tell(input) {
            match output {
                Output::Adopt(epoch) => {
                    self.adopted.push(epoch);
                    let lives = self.tunnels[&epoch].1;
                    dead.extend((!lives).then_some(epoch));
                }
                Output::Close { epoch, .. } => closed.push(epoch),
                _ => {}
            }
            self.note(Entry::Wants(output));
        }
        for epoch in closed {
            self.end(epoch, TunnelEnd::Replaced);
        }
        // That a tunnel has ended is noticed by whoever reads from it, and nobody does before it is adopted.
        for epoch in dead {
            self.note(Entry::Ended(epoch));
            let why = TunnelEnd::Lost("it was cut before");
            self.tell(Input::TunnelEnded { epoch, why });
        }
    }

    fn end(&mut self, epoch: u64, why: TunnelEnd<'_>) {
        let lives = self.tunnels.get_mut(&epoch).map(|(_, lives)| lives);
        let lived = lives.is_some_and(|lives| std::mem::replace(lives, false));
        if lived && self.adopted.contains(&epoch) {
            self.note(Entry::Ended(epoch));
            self.tell(Input::TunnelEnded { epoch, why });
        }
    }

    fn epoch(&self, which: usize) -> Option<u64> {
        let count = self.tunnels.len().max(1);
        self.tunnels.keys().nth(which % count).copied()
    }

    fn step(&mut self, step: Step) {
        let (direct_too, relay_too) = (self.policy.allows_direct(), self.policy.allows_relay());
        match step {
            Step::Up {
                direct,
                called,
                answers,
            } if (direct && direct_too) || (!direct && relay_too) => {
                self.come_up(direct, called, answers);
            }
            Step::Answers(which, on) => {
                if let Some(epoch) = self.epoch(which) {
                    self.bench.heard.retain(|heard| *heard != epoch);
                    self.bench.heard.extend(on.then_some(epoch));
                }
            }
            Step::Ends(which) => {
                if let Some(epoch) = self.epoch(which) {
                    self.end(epoch, TunnelEnd::Lost("cut"));
                }
            }
            Step::Pulse(which, ms) => {
                let unanswered = Duration::from_millis(ms.into());
                if let Some(epoch) = self.epoch(which) {
                    self.tell(Input::Pulse { epoch, unanswered });
                }
            }
            Step::Nominated(which) if direct_too => {
                let nominated = path(self.epoch(which).unwrap_or(1));
                self.tell(Input::Nominated(nominated));
            }
            Step::DirectLost if direct_too => {
                self.tell(Input::DirectLost(LossReason::ConsentExpired));
            }
            Step::Relay if relay_too => self.tell(relay()),
            Step::Heard if direct_too && self.role == Role::Listener => self.tell(Input::Heard {
                socket: SocketId::V4,
                remote: peer(7),
            }),
            Step::DialFailed(direct) => {
                let dials = self.outputs().filter_map(|output| match output {
                    Output::Dial { number, path, .. } => Some((*number, *path)),
                    _ => None,
                });
                let of_kind = dials.filter(|(_, path)| (*path == PathKind::Direct) == direct);
                if let Some((number, _)) = of_kind.last() {
                    self.tell(Input::DialFailed(number));
                }
            }
            Step::CallFailed => self.tell(Input::CallFailed),
            Step::PathAnswers(ms) if direct_too => self.tell(Input::PathAnswers {
                after: Duration::from_millis(ms.into()),
            }),
            Step::Streams(live, delivered) => self.tell(Input::Streams { live, delivered }),
            Step::Drain(ports) => self.tell(Input::Drain { ports }),
            Step::Swept => self.tell(Input::Swept),
            Step::NetworkChanged(woke) => self.tell(Input::NetworkChanged { woke }),
            Step::Introduced => self.tell(Input::Introduced),
            Step::PeerLeft => self.tell(Input::PeerLeft),
            Step::Pass(ms) => self.pass(Duration::from_millis(ms.into())),
            _ => {}
        }
    }

    fn come_up(&mut self, direct: bool, called: bool, answers: bool) {
        let epoch = self.tunnels.len() as u64 + 1;
        let path = kind(direct);
        self.tunnels.insert(epoch, (path, true));
        self.bench.heard.extend(answers.then_some(epoch));
        self.note(Entry::CameUp(epoch));
        let tunnel = facts(epoch, path);
        match called {
            true => self.tell(Input::CallUp {
                socket: SocketId::V4,
                remote: tunnel.remote,
                tunnel,
            }),
            false => self.tell(Input::TunnelUp(tunnel)),
        }
    }

    /// Lets time pass; every tunnel sends all the time.
    fn pass(&mut self, time: Duration) {
        let (begin, end) = (self.bench.now, self.bench.now + time);
        let (mut second, mut timeouts) = (0, 0);
        while let Some(at) = self.bench.decisions.poll_timeout().filter(|at| *at <= end) {
            self.bench.now = self.bench.now.max(at);
            let now = self.bench.now.saturating_duration_since(begin).as_secs();
            timeouts = if now == second { timeouts + 1 } else { 1 };
            second = now;
            self.busiest = self.busiest.max(timeouts);
            let heard = self.bench.heard.clone();
            for counters in &mut self.bench.counters {
                counters.sent += 1;
                counters.heard += u64::from(heard.contains(&counters.epoch));
            }
            let counters = self.bench.counters.clone();
            self.tell(Input::Timeout(&counters));
        }
        self.bench.now = end;
    }

    fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.trace.iter().filter_map(|(_, entry)| match entry {
            Entry::Wants(output) => Some(output),
            _ => None,
        })
    }

    fn is_over(&self) -> bool {
        self.outputs()
            .any(|output| matches!(output, Output::Over(_)))
    }
}

fn kind(direct: bool) -> PathKind {
    match direct {
        true => PathKind::Direct,
        false => PathKind::RelayUdp,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Streams are given no tunnel but one that was adopted and has not ended.
    #[test]
    fn streams_use_only_a_tunnel_that_is_up(script in script()) {
        let world = World::run(&script);
        let mut up = Vec::new();
        for (_, entry) in &world.trace {
            match entry {
                Entry::Wants(Output::Adopt(epoch)) => up.push(*epoch),
                Entry::Ended(epoch) => up.retain(|other| other != epoch),
                Entry::Wants(Output::Use(Some(epoch))) => {
                    prop_assert!(up.contains(epoch), "{epoch} of {up:?}: {:#?}", world.trace);
                }
                _ => {}
            }
        }
    }

    /// A tunnel is adopted once, and only after it came up; and one that ended is told to the streams once, and only if
    /// they were given it.
    #[test]
    fn tunnel_is_adopted_once_and_lost_once(script in script()) {
        let world = World::run(&script);
        let (mut offered, mut adopted, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for (_, entry) in &world.trace {
            match entry {
                Entry::CameUp(epoch) => offered.push(*epoch),
                Entry::Wants(Output::Adopt(epoch)) => {
                    prop_assert!(offered.contains(epoch) && !adopted.contains(epoch));
                    adopted.push(*epoch);
                }
                Entry::Wants(Output::Lost(epoch)) => {
                    prop_assert!(adopted.contains(epoch) && !lost.contains(epoch));
                    lost.push(*epoch);
                }
                _ => {}
            }
        }
    }

    /// The end is the last that is said, and no timer runs after it.
    #[test]
    fn nothing_is_said_after_the_end(script in script()) {
        let world = World::run(&script);
        let ends = world.outputs().filter(|output| matches!(output, Output::Over(_))).count();
        if ends > 0 {
            let last = world.outputs().last();
            prop_assert!(ends == 1 && matches!(last, Some(Output::Over(_))), "{:#?}", world.trace);
            prop_assert_eq!(world.bench.decisions.poll_timeout(), None);
        }
    }

    /// A person is told that the peer is lost, that it is back, and so on in turn, and of no gap shorter than a hiccup;
    /// and of no path in between.
    #[test]
    fn loss_and_return_are_told_in_turn(script in script()) {
        let world = World::run(&script);
        let mut lost = false;
        for output in world.outputs() {
            match output {
                Output::Report(Report::PeerLost { .. }) => {
                    prop_assert!(!std::mem::replace(&mut lost, true));
                }
                Output::Report(Report::Resumed { gap_ms, .. }) => {
                    prop_assert!(std::mem::replace(&mut lost, false));
                    prop_assert!(*gap_ms >= whole_milliseconds(peer_lost::HICCUP));
                }
                _ => {}
            }
        }
    }

    /// The connector dials and the listener calls, by paths that the user allows.
    #[test]
    fn each_role_opens_tunnels_its_own_way_where_the_user_allows_it(script in script()) {
        let world = World::run(&script);
        for output in world.outputs() {
            match output {
                Output::Dial { path: PathKind::Direct, .. } => {
                    prop_assert!(script.role == Role::Connector && script.policy.allows_direct());
                }
                Output::Dial { .. } => {
                    prop_assert!(script.role == Role::Connector && script.policy.allows_relay());
                }
                Output::Call { .. } => {
                    prop_assert!(script.role == Role::Listener && script.policy.allows_direct());
                }
                Output::Search => prop_assert!(script.policy.allows_direct()),
                _ => {}
            }
        }
        let searches = world.outputs().filter(|output| matches!(output, Output::Search));
        prop_assert!(searches.count() <= 1, "once a session");
    }

    /// Once nothing happens any more, the streams use a tunnel that answers, if there is one: a direct one of those,
    /// if there is one.
    #[test]
    fn streams_settle_on_the_best_tunnel_that_answers(script in script()) {
        let mut world = World::run(&script);
        world.tell(Input::Streams { live: 1, delivered: false });
        let lives = world.adopted.iter().copied().filter(|epoch| world.tunnels[epoch].1);
        let lives: Vec<u64> = lives.collect();
        for epoch in lives {
            world.tell(Input::Pulse { epoch, unanswered: Duration::ZERO });
        }
        world.pass(SETTLES);
        prop_assume!(!world.is_over());
        let answering = world.adopted.iter().filter(|epoch| {
            world.tunnels[epoch].1 && world.bench.heard.contains(epoch)
        });
        let is_direct = |epoch: &u64| world.tunnels[epoch].0 == PathKind::Direct;
        let best = answering.max_by_key(|epoch| (is_direct(epoch), **epoch));
        if let Some(best) = best {
            prop_assert_eq!(world.bench.decisions.used(), Some(*best), "{:#?}", world.trace);
            prop_assert!(!world.bench.decisions.is_out_of_reach());
        }
    }

    /// A peer of which every tunnel has ended, and that does not come back, is given up when its streams have been held
    /// for as long as the user said.
    #[test]
    fn peer_that_stays_away_ends_the_session(script in script()) {
        let mut world = World::run(&script);
        let all: Vec<u64> = world.tunnels.keys().copied().collect();
        for epoch in all {
            world.end(epoch, TunnelEnd::Lost("cut"));
        }
        prop_assume!(!world.is_over() && !world.adopted.is_empty());
        world.pass(Duration::from_secs(30) + peer_lost::HICCUP);
        let end = world.outputs().last();
        prop_assert!(matches!(end, Some(Output::Over(SessionEnd::PeerGone))), "{:#?}", world.trace);
    }

    /// Whoever waits for the last bytes is told once, within the time that they may take.
    #[test]
    fn drain_is_told_once_and_in_time(script in script()) {
        let mut world = World::run(&script);
        let drained = |world: &World| {
            world.outputs().filter(|output| matches!(output, Output::Drained)).count()
        };
        let asked = script.steps.iter().filter(|step| matches!(step, Step::Drain(_))).count();
        let before = drained(&world);
        prop_assert!(before <= asked);
        prop_assume!(!world.is_over());
        world.tell(Input::Drain { ports: 1 });
        world.pass(DRAIN);
        prop_assert!(drained(&world) == before + 1 || world.is_over(), "{:#?}", world.trace);
    }

    /// No input makes the timers run wild.
    #[test]
    fn timers_fire_no_more_than_forty_times_a_second(script in script()) {
        let world = World::run(&script);
        prop_assert!(world.busiest <= 40, "{}: {:#?}", world.busiest, world.trace);
    }
}
