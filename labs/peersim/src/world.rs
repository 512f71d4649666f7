//! The run: virtual time, both peers, what is between them, and the faults.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_ledger::{Admission, Frame, ResetCode, StreamId};
use p2pdbg_path::{LegTransport, PathCommand};
use p2pdbg_proto::tunnel::{PathKind, close};
use p2pdbg_punch::{LossReason, Path, SocketId, Technique};
use p2pdbg_session::{
    SessionEnd,
    decisions::{Counters, Input, Output, TunnelEnd as Ended, TunnelFacts},
};

use crate::{
    End, Fault, Mutant, Script, Summary, Violation,
    end::Peer,
    meeting::{Meeting, News as Told},
    network::{IDLE, Link, Packet, Tunnel},
    oracle::Oracle,
    search::{News, Search},
    stream::{Sent, StreamEnd},
};

/// How long faults may last from the beginning on.
const FAULTY: Duration = Duration::from_secs(80);

/// How long the rest takes at the most: after the last fault everything is delivered by then.
const END: Duration = Duration::from_secs(240);

/// How often the direct path is checked, and a leg that is not bound is tried.
const CHECK: Duration = Duration::from_millis(200);

/// A direct path that is silent for so long is given up.
const CONSENT: Duration = Duration::from_secs(6);

/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it takes to find out where a NAT has mapped a path anew.
const FOUND: Duration = Duration::from_millis(250);

/// A program tries again so often while there is no session.
const RETRY: Duration = Duration::from_millis(500);

/// A program writes so often.
const WRITE: Duration = Duration::from_millis(400);

/// The opening of a tunnel on its way.
#[derive(Debug, Clone, Copy)]
struct Opening {
    epoch: u64,
    direct: bool,
    mapping: u32,
    /// Whether the listener dialled it, as a call.
    called: bool,
    /// The connector's dial.
    number: u64,
    until: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Fault(Fault),
    /// The connector's proof arrives at the listener.
    Hello(Opening),
    /// The listener's proof arrives at the connector.
    Answer(Opening),
    /// The listener's call arrives at the connector.
    Called(Opening),
    Arrive(usize, End),
    Closed(usize, End, bool),
    Idle(usize, End),
    /// A check is answered on the direct path that was in doubt.
    Answers(End),
    /// A path is found to stand after a NAT has mapped it anew.
    Confirmed,
    Check,
    Write,
    Open,
    Replaced(End),
}

pub(crate) struct World {
    base: Instant,
    now: Duration,
    random: fastrand::Rng,
    mutant: Mutant,
    oracle: Oracle,
    peers: [Peer; 2],
    /// The relay and the direct path.
    links: [Link; 2],
    direct_possible: bool,
    /// The engines; none if a direct path is found without them.
    search: Option<Search>,
    /// The meetings; none if the two are introduced from the beginning.
    meeting: Option<Meeting>,
    answers_calls: bool,
    tunnels: Vec<Tunnel>,
    openings: Vec<Opening>,
    events: BTreeMap<(Duration, u64), Event>,
    order: u64,
    silent_since: Option<Duration>,
    forgot_at: Option<Duration>,
    summary: Summary,
}

impl World {
    pub(crate) fn new(script: &Script, mutant: Mutant) -> Self {
        let base = Instant::now();
        let mut random = fastrand::Rng::with_seed(script.seed);
        let mut delay = |least, most| Duration::from_millis(random.u64(least..most));
        let mut links = [Link::new(delay(1, 120)), Link::new(delay(1, 60))];
        if !script.relay {
            links[0].leave(Duration::MAX);
        }
        let nats = script.nats.filter(|_| script.direct);
        Self {
            base,
            now: Duration::ZERO,
            mutant,
            oracle: Oracle::default(),
            peers: [
                Peer::new(End::Listener, base, script.relay),
                Peer::new(End::Connector, base, script.relay),
            ],
            search: nats.map(|nats| Search::new(nats, links[1].delay, script.seed)),
            meeting: script.meets.then(|| {
                let delay = Duration::from_millis(random.u64(1..120));
                Meeting::new(base, delay, script.guessed)
            }),
            random,
            links,
            direct_possible: script.direct,
            answers_calls: script.calls,
            tunnels: Vec::new(),
            openings: Vec::new(),
            events: BTreeMap::new(),
            order: 0,
            silent_since: None,
            forgot_at: None,
            summary: Summary::default(),
        }
    }

    pub(crate) fn run(mut self, script: &Script) -> Result<Summary, Violation> {
        self.begin(script);
        while self.now < END && self.oracle.found.is_none() {
            let timer = End::BOTH
                .into_iter()
                .filter_map(|end| Some((self.due(end)?, end)))
                .min();
            let next = self.events.first_key_value().map(|(key, _)| key.0);
            let first = [timer.map(|(at, _)| at), next].into_iter().flatten().min();
            match (timer, next) {
                _ if self.meet_until(first) => {}
                _ if self.search_until(first) => {}
                (Some((at, end)), next) if next.is_none_or(|next| at <= next) => {
                    self.pass_to(at);
                    let counters = self.counters(end);
                    self.tell(end, Input::Timeout(&counters));
                }
                (_, Some(_)) => {
                    let Some(((at, _), event)) = self.events.pop_first() else {
                        break;
                    };
                    self.pass_to(at);
                    self.handle(event);
                }
                _ => break,
            }
            self.pump_all();
            self.note_renewal();
        }
        let over = self.peers.iter().any(|peer| peer.over);
        if self.oracle.found.is_none() {
            self.oracle.on_finished(over);
        }
        self.summary.bytes = self.oracle.bytes();
        self.summary.tunnels = self.oracle.adopted();
        self.summary.lost = self.oracle.lost_told;
        self.summary.direct = self.oracle.is_direct();
        self.summary.introduced = self.oracle.introduced();
        let meeting = self.meeting.as_ref();
        self.summary.burned = meeting.is_some_and(Meeting::has_burned_a_code);
        match self.oracle.found {
            Some(violation) => Err(violation),
            None => Ok(self.summary),
        }
    }

    /// Notes when both ends use a direct tunnel that lives, after a NAT has forgotten the one before.
    fn note_renewal(&mut self) {
        let Some(forgot_at) = self.forgot_at else {
            return;
        };
        let lives = |peer: &Peer| {
            let mut direct = self.tunnels.iter().filter(|tunnel| tunnel.direct);
            direct.any(|t| Some(t.epoch) == peer.used && t.mapping == self.links[1].mapping)
        };
        if self.peers.iter().all(lives) {
            self.forgot_at = None;
            self.summary.renewed_after = Some(self.now - forgot_at);
        }
    }

    fn begin(&mut self, script: &Script) {
        for timed in &script.faults {
            self.at(timed.at.min(FAULTY), Event::Fault(timed.fault));
        }
        for _ in 0..script.streams.min(64) {
            let at = Duration::from_millis(self.random.u64(0..20_000));
            self.at(at, Event::Open);
        }
        if self.meeting.is_none() {
            for end in End::BOTH {
                self.begin_session(end);
            }
        }
        self.at(Duration::ZERO, Event::Check);
        self.at(Duration::ZERO, Event::Write);
    }

    /// The peer of an end is there.
    fn begin_session(&mut self, end: End) {
        self.oracle.on_met(end);
        let peer = self.peer(end);
        (peer.has_met, peer.binding) = (true, true);
        if self.answers_calls {
            self.tell(end, Input::CallExpected);
        }
        self.tell(end, Input::Introduced);
        if self.answers_calls && end == End::Listener {
            let relay = self.opening(false, true);
            self.after(self.links[0].delay, Event::Called(relay));
        }
    }

    /// Lets the meetings do what comes before anything else; whether they did something.
    fn meet_until(&mut self, first: Option<Duration>) -> bool {
        let at = self.meeting.as_ref().and_then(Meeting::next_at);
        let search = self.search.as_ref().and_then(Search::next_at);
        let first = [first, search].into_iter().flatten().min();
        let at = at.filter(|at| *at < END && first.is_none_or(|first| *at <= first));
        if let Some(at) = at {
            self.pass_to(at);
        }
        at.is_some()
    }

    /// Tells the ends what their meetings have said; those that are stopped hear it later.
    fn hear_meetings(&mut self) {
        for end in End::BOTH {
            if !self.runs(end) {
                continue;
            }
            let news = self.meeting.as_mut().map(|meeting| meeting.news(end));
            for news in news.into_iter().flatten() {
                self.on_told(end, news);
            }
        }
    }

    fn on_told(&mut self, end: End, news: Told) {
        match news {
            Told::Met => self.begin_session(end),
            Told::Introduced if self.mutant == Mutant::IntroductionUnheard => {}
            Told::Introduced => {
                self.oracle.on_introduced(end);
                self.peer(end).binding = true;
                // Its relay has legs for both again.
                self.links[0].come_back(self.now);
                self.tell(end, Input::Introduced);
            }
            Told::PeerLeft => self.tell(end, Input::PeerLeft),
            Told::Bye => self.tell(end, Input::End(&SessionEnd::PeerClosed)),
            Told::Failed => self.oracle.on_meeting_failed(end),
        }
    }

    /// Lets the engines do what comes before anything else; whether they did something.
    fn search_until(&mut self, first: Option<Duration>) -> bool {
        let at = self.search.as_ref().and_then(Search::next_at);
        let at = at.filter(|at| *at < END && first.is_none_or(|first| *at <= first));
        if let Some(at) = at {
            self.pass_to(at);
        }
        at.is_some()
    }

    /// Tells the ends what their engines have said; those that are stopped hear it later.
    fn hear_engines(&mut self) {
        for end in End::BOTH {
            if !self.runs(end) {
                continue;
            }
            let news = self.search.as_mut().map(|search| search.news(end));
            for news in news.into_iter().flatten() {
                self.on_news(end, news);
            }
        }
    }

    fn on_news(&mut self, end: End, news: News) {
        match news {
            News::Nominated { technique, rtt } => {
                self.peer(end).nominated = true;
                let path = self.path_of(end, technique, rtt);
                self.tell(end, Input::Nominated(path));
            }
            News::Lost(reason) => self.denominate(end, reason),
            News::Answers(after) => self.tell(end, Input::PathAnswers { after }),
            News::Heard => {
                let remote = address(true, self.links[1].seen[end.other().index()]);
                let socket = SocketId::V4;
                self.tell(end, Input::Heard { socket, remote });
            }
            News::Unused { technique, rtt } => self.tell(end, Input::Unused { technique, rtt }),
        }
    }

    /// Tells the engine of an end what its decisions say of the path.
    fn tell_engine(&mut self, end: End, command: &PathCommand) {
        use p2pdbg_punch::Input as ToEngine;
        let Some(search) = &mut self.search else {
            return;
        };
        match command {
            PathCommand::DirectUp => search.tell(end, ToEngine::TunnelUp),
            PathCommand::DirectLost => search.tell(end, ToEngine::TunnelLost),
            PathCommand::Silent => search.tell(end, ToEngine::PathSilent),
            PathCommand::Returned => search.tell(end, ToEngine::NetworkChanged),
            PathCommand::StreamsActive(active) => {
                search.tell(end, ToEngine::StreamsActive(*active));
            }
            _ => {}
        }
    }

    fn pass_to(&mut self, at: Duration) {
        self.now = self.now.max(at);
        self.oracle.now = self.now;
        if let Some(meeting) = &mut self.meeting {
            let peers = &self.peers;
            meeting.pass_to(self.now, |end| peers[end.index()].stopped_until);
            self.hear_meetings();
        }
        if let Some(search) = &mut self.search {
            let (link, now) = (&self.links[1], self.now);
            search.pass_to(now, |end| !link.passes(end, now));
            self.hear_engines();
        }
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    fn after(&mut self, pause: Duration, event: Event) {
        self.at(self.now + pause, event);
    }

    fn peer(&mut self, end: End) -> &mut Peer {
        &mut self.peers[end.index()]
    }

    /// When an end's timer is handled: a stopped process is late.
    fn due(&self, end: End) -> Option<Duration> {
        let peer = &self.peers[end.index()];
        let at = peer.decisions.poll_timeout()?;
        let at = at.saturating_duration_since(self.base);
        (!peer.over).then_some(at.max(peer.stopped_until).max(self.now))
    }

    fn runs(&self, end: End) -> bool {
        let peer = &self.peers[end.index()];
        !peer.over && self.now >= peer.stopped_until
    }

    fn counters(&self, end: End) -> Vec<Counters> {
        let adopted = self
            .tunnels
            .iter()
            .filter(|tunnel| tunnel.ends[end.index()].up && tunnel.ends[end.index()].adopted);
        adopted
            .map(|tunnel| {
                let at = &tunnel.ends[end.index()];
                Counters {
                    epoch: tunnel.epoch,
                    open: true,
                    heard: at.heard,
                    sent: at.sent,
                    packets_sent: at.sent,
                    packets_lost: 0,
                    remote: address(tunnel.direct, tunnel.seen[end.other().index()]),
                    rtt: 2 * self.links[usize::from(tunnel.direct)].delay,
                }
            })
            .collect()
    }

    /// Tells one end's decisions something, and carries out what they want.
    fn tell(&mut self, end: End, input: Input<'_>) {
        if self.peers[end.index()].over {
            return;
        }
        let now = self.base + self.now;
        self.peer(end).decisions.handle(now, input);
        while let Some(output) = self.peer(end).decisions.poll_output() {
            self.carry_out(end, output);
        }
    }

    fn carry_out(&mut self, end: End, output: Output) {
        match output {
            Output::Dial { path, number, .. } => {
                let opening = self.opening(path == PathKind::Direct, false);
                let epoch = self.peer(End::Connector).epochs.draw();
                let opening = Opening {
                    epoch,
                    number,
                    ..opening
                };
                self.openings.push(opening);
                self.after(3 * self.delay(opening), Event::Hello(opening));
            }
            Output::Call { .. } => {
                let opening = self.opening(true, true);
                self.after(self.delay(opening), Event::Called(opening));
            }
            Output::Adopt(epoch) => {
                self.oracle.on_adopted(end, epoch);
                let end = end.index();
                for tunnel in self.tunnels.iter_mut().filter(|t| t.epoch == epoch) {
                    tunnel.ends[end].adopted = true;
                }
            }
            Output::Close { epoch, code } => self.close(end, epoch, code == close::DONE),
            Output::Ping { epoch, unanswered } => {
                self.send(end, epoch, Packet::Ping(unanswered));
            }
            Output::Use(epoch) => {
                self.oracle.on_used(end, epoch);
                self.peer(end).used = epoch;
                for stream in self.peer(end).streams.values_mut() {
                    stream.reannounce();
                }
            }
            Output::Leave(epoch) => {
                let streams = self.peer(end).streams.values_mut();
                let sent: Sent = streams.flat_map(|s| s.on_tunnel_left(epoch)).collect();
                self.send_all(end, sent);
            }
            Output::Lost(epoch) => {
                let mutant = self.mutant;
                for stream in self.peer(end).streams.values_mut() {
                    stream.on_tunnel_lost(epoch, mutant);
                }
            }
            Output::Search => {
                self.peer(end).searching = true;
                if let Some(search) = &mut self.search {
                    search.begin(end);
                }
            }
            Output::Path(command) => self.on_path_command(end, &command),
            Output::Report(report) => self.oracle.on_report(end, &report),
            Output::Over(_) => {
                self.oracle.on_over(end);
                let (oracle, peer) = (&mut self.oracle, &mut self.peers[end.index()]);
                peer.break_off_all(oracle);
                self.break_off_everywhere();
            }
            Output::Doubt => {
                if let Some(meeting) = &mut self.meeting {
                    meeting.doubt(end);
                }
            }
            Output::Accept(_)
            | Output::AskForTcp(_)
            | Output::AvoidUdpForPeer(_)
            | Output::NearLost
            | Output::InUse(_)
            | Output::Drained
            | Output::Status => {}
        }
    }

    fn on_path_command(&mut self, end: End, command: &PathCommand) {
        self.tell_engine(end, command);
        match command {
            PathCommand::RelayLost => self.peer(end).binding = true,
            PathCommand::Silent => {
                self.peer(end).binding = true;
                if self.search.is_none() {
                    self.after(self.links[1].delay * 2, Event::Answers(end));
                }
            }
            PathCommand::DirectLost if self.search.is_none() => {
                for end in End::BOTH {
                    self.denominate(end, LossReason::TunnelLost);
                }
            }
            _ => {}
        }
    }

    /// Since one session is over, bytes may be missing at both ends.
    fn break_off_everywhere(&mut self) {
        let all = self.peers.iter().flat_map(|peer| peer.streams.keys());
        for stream in all.copied().collect::<Vec<_>>() {
            self.oracle.on_broken(stream);
        }
    }

    fn delay(&self, opening: Opening) -> Duration {
        self.links[usize::from(opening.direct)].delay
    }

    fn opening(&self, direct: bool, called: bool) -> Opening {
        Opening {
            epoch: 0,
            direct,
            mapping: self.links[usize::from(direct)].mapping,
            called,
            number: 0,
            until: self.now + PATIENCE,
        }
    }

    /// Whether what `from` sends on the way of an opening arrives.
    fn carries(&self, direct: bool, mapping: u32, from: End) -> bool {
        let link = &self.links[usize::from(direct)];
        link.mapping == mapping && link.passes(from, self.now) && self.runs(from.other())
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Fault(fault) => self.fault(fault),
            Event::Called(opening) => self.on_called(opening),
            Event::Hello(opening) => self.on_hello(opening),
            Event::Answer(opening) => self.on_answer(opening),
            Event::Arrive(tunnel, to) => self.arrive(tunnel, to),
            Event::Closed(tunnel, at, goodbye) => {
                let Tunnel {
                    direct, mapping, ..
                } = self.tunnels[tunnel];
                if self.carries(direct, mapping, at.other()) {
                    self.end_tunnel(tunnel, at, goodbye);
                }
            }
            Event::Idle(tunnel, at) => self.on_idle(tunnel, at),
            Event::Answers(end) => {
                let passes = self.links[1].passes_both_ways(self.now);
                if passes && self.peer(end).nominated && self.runs(end.other()) {
                    let after = self.links[1].delay * 2;
                    self.tell(end, Input::PathAnswers { after });
                }
            }
            Event::Confirmed => {
                if End::BOTH.iter().all(|end| self.peer(*end).nominated) {
                    self.confirm();
                }
            }
            Event::Check => {
                self.check_paths();
                self.after(CHECK, Event::Check);
            }
            Event::Write => {
                let oracle = &mut self.oracle;
                for peer in self.peers.iter_mut().filter(|peer| !peer.over) {
                    peer.streams.values_mut().for_each(|s| s.write(oracle));
                }
                self.after(WRITE, Event::Write);
            }
            Event::Open => {
                let end = End::BOTH[self.random.usize(0..2)];
                if !self.peers[end.index()].has_met {
                    self.after(RETRY, Event::Open);
                } else if !self.peers[end.index()].over
                    && let Some(stream) = self.peer(end).openings.draw()
                {
                    self.summary.streams += 1;
                    self.start_stream(end, stream);
                }
            }
            Event::Replaced(end) => {
                self.tell(end, Input::End(&SessionEnd::Replaced));
            }
        }
    }

    fn start_stream(&mut self, end: End, stream: StreamId) {
        let writes = self.random.usize(0..60_000);
        let started = StreamEnd::new(stream, end, writes);
        self.peer(end).streams.insert(stream, started);
    }

    fn on_called(&mut self, opening: Opening) {
        let here = self.peers[End::Connector.index()].has_met && self.runs(End::Connector);
        let answers = self.answers_calls && here;
        let arrives = self.carries(opening.direct, opening.mapping, End::Listener);
        if answers && arrives && self.carries(opening.direct, opening.mapping, End::Connector) {
            let epoch = self.peer(End::Connector).epochs.draw();
            let opening = Opening { epoch, ..opening };
            self.openings.push(opening);
            self.after(2 * self.delay(opening), Event::Hello(opening));
        } else if self.now < opening.until {
            self.after(Duration::from_millis(300), Event::Called(opening));
        } else if opening.direct {
            self.tell(End::Listener, Input::CallFailed);
        }
    }

    fn on_hello(&mut self, opening: Opening) {
        let Opening {
            epoch,
            direct,
            mapping,
            called,
            until,
            ..
        } = opening;
        if !self.carries(direct, mapping, End::Connector) {
            if self.now < until {
                self.after(Duration::from_millis(300), Event::Hello(opening));
            } else {
                self.on_opening_failed(opening);
            }
            return;
        }
        let admitted = self.peer(End::Listener).epochs.accept(epoch).is_ok();
        if !admitted && self.mutant != Mutant::EpochUnchecked {
            self.summary.refused += 1;
            return;
        }
        let index = self.tunnels.len();
        self.tunnels.push(Tunnel {
            epoch,
            direct,
            mapping,
            seen: self.links[usize::from(direct)].seen,
            ends: Default::default(),
        });
        self.come_up(index, End::Listener, called && direct);
        self.after(self.delay(opening), Event::Answer(opening));
    }

    fn on_answer(&mut self, opening: Opening) {
        let is_it = |tunnel: &Tunnel| tunnel.epoch == opening.epoch;
        let Some(index) = self.tunnels.iter().position(is_it) else {
            return;
        };
        if self.tunnels[index].ends[End::Connector.index()].heard > 0 {
            return;
        }
        if self.carries(opening.direct, opening.mapping, End::Listener) {
            self.come_up(index, End::Connector, opening.called);
        } else if self.now < opening.until {
            self.after(Duration::from_millis(200), Event::Answer(opening));
        } else {
            self.on_opening_failed(opening);
        }
    }

    fn on_opening_failed(&mut self, opening: Opening) {
        match opening.called {
            true if opening.direct => self.tell(End::Listener, Input::CallFailed),
            true => {}
            false => self.tell(End::Connector, Input::DialFailed(opening.number)),
        }
    }

    fn come_up(&mut self, index: usize, end: End, called: bool) {
        let tunnel = &mut self.tunnels[index];
        let at = &mut tunnel.ends[end.index()];
        at.up = true;
        (at.heard, at.sent, at.heard_at) = (1, 1, self.now);
        let remote = address(tunnel.direct, tunnel.seen[end.other().index()]);
        let facts = TunnelFacts {
            epoch: tunnel.epoch,
            path: kind(tunnel.direct),
            local: None,
            remote,
            rtt: 2 * self.links[usize::from(tunnel.direct)].delay,
        };
        self.after(IDLE, Event::Idle(index, end));
        match called {
            true => self.tell(
                end,
                Input::CallUp {
                    socket: SocketId::V4,
                    remote,
                    tunnel: facts,
                },
            ),
            false => self.tell(end, Input::TunnelUp(facts)),
        }
    }

    fn on_idle(&mut self, index: usize, end: End) {
        let at = &self.tunnels[index].ends[end.index()];
        let due = at.heard_at + IDLE;
        if !at.up {
        } else if self.now >= due {
            self.end_tunnel(index, end, false);
        } else {
            self.at(due, Event::Idle(index, end));
        }
    }

    /// Closes a tunnel of an end, and tells the other end, if the datagram arrives.
    fn close(&mut self, end: End, epoch: u64, goodbye: bool) {
        let up = |tunnel: &Tunnel| tunnel.epoch == epoch && tunnel.ends[end.index()].up;
        if let Some(index) = self.tunnels.iter().position(up) {
            let delay = self.links[usize::from(self.tunnels[index].direct)].delay;
            self.after(delay, Event::Closed(index, end.other(), goodbye));
            self.end_tunnel(index, end, false);
        }
    }

    fn end_tunnel(&mut self, index: usize, end: End, goodbye: bool) {
        let tunnel = &mut self.tunnels[index];
        let epoch = tunnel.epoch;
        let at = &mut tunnel.ends[end.index()];
        if !std::mem::take(&mut at.up) {
            return;
        }
        at.inbox.clear();
        if std::mem::take(&mut at.adopted) {
            let why = match goodbye {
                true => Ended::Goodbye,
                false => Ended::Lost("it ended"),
            };
            self.tell(end, Input::TunnelEnded { epoch, why });
            self.oracle.on_tunnel_ended(end, epoch);
        }
    }

    fn send_all(&mut self, end: End, sent: Sent) {
        for (epoch, packet) in sent {
            self.send(end, epoch, packet);
        }
    }

    fn send(&mut self, from: End, epoch: u64, packet: Packet) {
        let up = |tunnel: &Tunnel| tunnel.epoch == epoch && tunnel.ends[from.index()].up;
        let Some(index) = self.tunnels.iter().position(up) else {
            return;
        };
        let tunnel = &mut self.tunnels[index];
        tunnel.ends[from.index()].sent += 1;
        let delay = self.links[usize::from(tunnel.direct)].delay;
        let there = &mut tunnel.ends[from.other().index()];
        there.inbox.push_back(packet);
        if !std::mem::replace(&mut there.scheduled, true) {
            self.after(delay, Event::Arrive(index, from.other()));
        }
    }

    /// What waits for an end arrives there, or is repeated later.
    fn arrive(&mut self, index: usize, to: End) {
        let from = to.other();
        let Tunnel {
            direct, mapping, ..
        } = self.tunnels[index];
        let passes = self.carries(direct, mapping, from);
        let returns = self.carries(direct, mapping, to);
        let now = self.now;
        let [here, there] = {
            let [listener, connector] = &mut self.tunnels[index].ends;
            match to {
                End::Listener => [listener, connector],
                End::Connector => [connector, listener],
            }
        };
        here.scheduled = false;
        if !there.up || (here.inbox.is_empty() && !there.unacknowledged) {
            return;
        }
        let mut packets = Vec::new();
        if passes && here.up {
            packets.extend(here.inbox.drain(..));
            here.heard += 1;
            here.sent += 1;
            here.heard_at = now;
        }
        // A connection that this end does not have any more acknowledges nothing.
        let acknowledged = passes && here.up && returns;
        there.unacknowledged = !acknowledged;
        if acknowledged {
            there.heard += 1;
            there.heard_at = now;
            there.pause = Duration::ZERO;
        } else {
            there.sent += 1;
            here.scheduled = true;
            let pause = there.next_pause();
            self.after(pause, Event::Arrive(index, to));
        }
        for packet in packets {
            self.on_packet(to, index, packet);
        }
    }

    fn on_packet(&mut self, to: End, index: usize, packet: Packet) {
        let epoch = self.tunnels[index].epoch;
        if !self.tunnels[index].ends[to.index()].up {
            return;
        }
        let handled = match packet {
            Packet::Ping(unanswered) => {
                self.tell(to, Input::Pulse { epoch, unanswered });
                Ok(())
            }
            Packet::Open { number, header } => match self.admit(to, header.stream, true) {
                Some(stream) => stream
                    .on_open(epoch, number, &header)
                    .map(|sent| self.send_all(to, sent)),
                None => {
                    let stream = header.stream;
                    self.send(to, epoch, Packet::Stopped { stream, number });
                    let reply = header.reply_if_closed();
                    self.send(to, epoch, Packet::Frame(reply));
                    Ok(())
                }
            },
            Packet::Frame(frame) => self.on_frame(to, epoch, frame),
            Packet::Data {
                stream,
                number,
                bytes,
            } => {
                self.with_stream(to, stream, |s| s.on_data(epoch, number, bytes));
                Ok(())
            }
            Packet::Finish { stream, number } => {
                self.with_stream(to, stream, |s| s.on_carrier_end(epoch, number, false));
                Ok(())
            }
            Packet::Reset { stream, number } => {
                self.with_stream(to, stream, |s| s.on_carrier_end(epoch, number, true));
                Ok(())
            }
            Packet::Stopped { stream, number } => {
                self.with_stream(to, stream, |s| s.on_stopped(number));
                Ok(())
            }
        };
        if let Err(violation) = handled {
            self.report(format!(
                "{to:?}: an honest peer broke the rules: {violation}"
            ));
        }
    }

    fn on_frame(
        &mut self,
        to: End,
        epoch: u64,
        frame: Frame,
    ) -> Result<(), p2pdbg_ledger::Violation> {
        let mutant = self.mutant;
        let opens = frame.forward().is_some();
        if self.admit(to, frame.stream(), opens).is_none() {
            if let Some(reply) = frame.reply_if_closed() {
                self.send(to, epoch, Packet::Frame(reply));
            }
            return Ok(());
        }
        let (oracle, peer) = (&mut self.oracle, &mut self.peers[to.index()]);
        match peer.streams.get_mut(&frame.stream()) {
            Some(stream) => stream.on_frame(epoch, frame, mutant, oracle),
            None => Ok(()),
        }
    }

    /// The stream that an id belongs to at an end, which may begin with it; none if it is closed there.
    fn admit(&mut self, to: End, stream: StreamId, opens: bool) -> Option<&mut StreamEnd> {
        match self.peer(to).openings.admit(stream, opens) {
            Ok(Admission::New) => self.start_stream(to, stream),
            Ok(Admission::Live) => {}
            Ok(Admission::Closed) => return None,
            Err(violation) => {
                self.report(format!("{to:?}: {violation}"));
                return None;
            }
        }
        self.peer(to).streams.get_mut(&stream)
    }

    fn with_stream(&mut self, to: End, stream: StreamId, act: impl FnOnce(&mut StreamEnd)) {
        if let Some(stream) = self.peer(to).streams.get_mut(&stream) {
            act(stream);
        }
    }

    fn report(&mut self, what: String) {
        let at = self.now;
        self.oracle.found.get_or_insert(Violation { at, what });
    }

    /// Moves what the streams can move, and tells the decisions how they are doing.
    fn pump_all(&mut self) {
        for end in End::BOTH {
            if !self.runs(end) {
                continue;
            }
            let peer = &mut self.peers[end.index()];
            let up: Vec<u64> = self
                .tunnels
                .iter()
                .filter(|tunnel| tunnel.ends[end.index()].up)
                .map(|tunnel| tunnel.epoch)
                .collect();
            let mut sent = Vec::new();
            let mut broken = None;
            for stream in peer.streams.values_mut() {
                match stream.pump(peer.used, |epoch| up.contains(&epoch), &mut self.oracle) {
                    Ok(more) => sent.extend(more),
                    Err(violation) => broken = Some(violation),
                }
            }
            peer.forget_finished();
            let (live, delivered) = (peer.streams.len(), peer.all_delivered());
            self.send_all(end, sent);
            self.tell(end, Input::Streams { live, delivered });
            if let Some(violation) = broken {
                self.report(format!("{end:?}: {violation}"));
            }
        }
    }

    /// Binds legs that are to be bound, and finds or gives up the direct path.
    fn check_paths(&mut self) {
        let relay = self.links[0].passes_both_ways(self.now);
        for end in End::BOTH {
            if relay && self.runs(end) && std::mem::take(&mut self.peer(end).binding) {
                self.tell(
                    end,
                    Input::Relay {
                        socket: SocketId::V4,
                        remote: address(false, 0),
                        transport: LegTransport::Udp,
                    },
                );
            }
        }
        if self.search.is_some() {
            return;
        }
        let run = End::BOTH.into_iter().all(|end| self.runs(end));
        let passes = run && self.direct_possible && self.links[1].passes_both_ways(self.now);
        let since = match passes {
            true => None,
            false => Some(self.silent_since.unwrap_or(self.now)),
        };
        self.silent_since = since;
        if since.is_some_and(|since| self.now >= since + CONSENT) {
            for end in End::BOTH {
                self.denominate(end, LossReason::ConsentExpired);
            }
        }
        let searched = self.peers.iter().all(|peer| peer.searching);
        let nominated = self.peers.iter().all(|peer| peer.nominated);
        if passes && searched && !nominated && self.random.u8(0..4) == 0 {
            self.nominate();
        }
    }

    fn nominate(&mut self) {
        let remote = address(true, self.links[1].seen[End::Connector.index()]);
        let socket = SocketId::V4;
        self.tell(End::Listener, Input::Heard { socket, remote });
        for end in End::BOTH {
            if !std::mem::replace(&mut self.peer(end).nominated, true) {
                self.tell_nominated(end);
            }
        }
    }

    /// Both ends confirm the path that stands.
    fn confirm(&mut self) {
        for end in End::BOTH {
            self.tell_nominated(end);
        }
    }

    fn tell_nominated(&mut self, end: End) {
        let rtt = 2 * self.links[1].delay;
        let path = self.path_of(end, Technique::HolePunch, rtt);
        self.tell(end, Input::Nominated(path));
    }

    /// The direct path as an end knows it now.
    fn path_of(&self, end: End, technique: Technique, rtt: Duration) -> Path {
        Path {
            socket: SocketId::V4,
            remote: address(true, self.links[1].seen[end.other().index()]),
            technique,
            rtt,
            after: Duration::ZERO,
        }
    }

    /// The NAT of an end maps the direct path anew.
    fn forget(&mut self, end: End) {
        self.links[1].forget(end);
        if let Some(search) = &mut self.search {
            search.forget(end);
        }
    }

    fn denominate(&mut self, end: End, reason: LossReason) {
        if std::mem::take(&mut self.peer(end).nominated) {
            self.tell(end, Input::DirectLost(reason));
        }
    }

    fn fault(&mut self, fault: Fault) {
        let until = |time: Duration| (self.now + time).min(FAULTY);
        match fault {
            Fault::Silence { direct, from, time } => {
                let (until, link) = (until(time), &mut self.links[usize::from(direct)]);
                for end in End::BOTH {
                    if from.is_none_or(|from| from == end) {
                        link.silence(end, until);
                    }
                }
            }
            Fault::Rebind => {
                for end in End::BOTH {
                    self.forget(end);
                    if self.search.is_none() {
                        self.denominate(end, LossReason::ConsentExpired);
                    }
                }
            }
            Fault::Forget(end) => {
                self.forget(end);
                self.forgot_at = Some(self.now);
                if self.search.is_none() {
                    self.after(FOUND, Event::Confirmed);
                }
            }
            Fault::RendezvousAway(time) => {
                let until = until(time);
                match &mut self.meeting {
                    // Started again, it knows of no leg before the two have met there again.
                    Some(meeting) => {
                        meeting.away(until);
                        self.links[0].leave(Duration::MAX);
                    }
                    None => {
                        self.links[0].leave(until);
                        for end in End::BOTH {
                            self.tell(end, Input::PeerLeft);
                        }
                    }
                }
            }
            Fault::Stop(end, time) => {
                let until = until(time);
                let stopped = &mut self.peer(end).stopped_until;
                *stopped = until.max(*stopped);
            }
            Fault::Replay(which) => {
                if let Some(opening) = self.openings.get(which).copied() {
                    self.after(self.delay(opening), Event::Hello(opening));
                }
            }
            Fault::NetworkChanged(end) => {
                self.tell_engine(end, &PathCommand::Returned);
                if let Some(meeting) = &mut self.meeting {
                    meeting.on_network_changed(end);
                }
                self.tell(end, Input::NetworkChanged { woke: false });
            }
            Fault::RelayDelay(delay) => self.links[0].delay = delay.min(Duration::from_secs(1)),
            Fault::BreakOff(end, which) => {
                let (oracle, peer) = (&mut self.oracle, &mut self.peers[end.index()]);
                if let Some(stream) = peer.streams.values_mut().nth(which) {
                    stream.break_off(ResetCode::CONNECTION, oracle);
                }
            }
            Fault::LinkLost(end) => {
                if let Some(meeting) = &mut self.meeting {
                    meeting.cut(end);
                }
            }
            Fault::Restart(end) => {
                if let Some(meeting) = &mut self.meeting {
                    meeting.kill(end);
                }
                let (oracle, peer) = (&mut self.oracle, &mut self.peers[end.index()]);
                peer.break_off_all(oracle);
                self.break_off_everywhere();
                self.after(Duration::from_secs(3), Event::Replaced(end.other()));
            }
            Fault::Close(end) => {
                let up: Vec<u64> = self.counters(end).iter().map(|c| c.epoch).collect();
                self.tell(end, Input::End(&SessionEnd::Closed));
                if let Some(meeting) = &mut self.meeting {
                    meeting.close(end);
                }
                for epoch in up {
                    self.close(end, epoch, true);
                }
            }
        }
    }
}

fn kind(direct: bool) -> PathKind {
    match direct {
        true => PathKind::Direct,
        false => PathKind::RelayUdp,
    }
}

/// The address under which a path's other end is known, another one for each mapping.
fn address(direct: bool, mapping: u32) -> SocketAddr {
    let port = 1000 + u16::try_from(mapping % 60_000).unwrap_or(0);
    let host = if direct { 1 } else { 2 };
    SocketAddr::from(([192, 0, 2, host], port))
}
