//! A direct path over TCP, for networks that let no UDP through: when it is tried, and when both ends dial; no I/O.
//!
//! The shape is ICE over TCP (RFC 6544) with one kind of candidate that is active, passive and simultaneous-open at
//! once. Each end listens on a port, learns from a STUN server over TCP how its NAT maps that port, and dials the peer
//! from the very same port. Whose NAT lets connections in is connected to. Behind NATs that map a port alike for every
//! destination (RFC 5382 REQ-1) both ends' SYNs open the way for each other's, if each leaves its own NAT before the
//! other's arrives there: so both dial at the same moment, and again a few times with the moments a little apart.
//! A port is foretold only where servers saw two that follow each other: what the other end's first SYN gets stays its
//! own in later rounds, since NATs hold TCP ports for long, so a few ports a round find it.
//!
//! What is tried together is a *series* of a few *rounds*. The controlling side counts both: a new series has both ends
//! ask a server and tell the other what they learnt, a new round has both dial. The controlled side dials when it hears
//! of a round, the controlling one when it should have heard.
//!
//! A connection that has proved to lead to the peer ([`TcpProof`]) is a socket and a pair like others: it is checked,
//! nominated and watched as they are, by the same messages.

mod candidates;
mod proof;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

pub use self::candidates::seen;
pub(crate) use self::candidates::{
    MOST_CANDIDATES, accepted, by_tcp, candidates, is_hard, kept_ports, targets,
};
pub use self::proof::{NotThePeer, ProofStep, TcpProof};
use crate::{
    SocketId, TcpPorts, Technique,
    candidate::Candidate,
    pace::{self, Pace},
};

/// Where a peer can connect to whose network lets out nothing but the web.
pub const WEB_PORT: u16 = 443;

/// Whether networks that let out nothing but the web let out connections to this port.
#[must_use]
pub fn is_of_web(port: u16) -> bool {
    [80, WEB_PORT].contains(&port)
}

/// Connections to the peer that are held at a time.
const MOST_STREAMS: usize = 4;

/// A connection on which nothing has come for so long gives its place up to one that has just proved itself.
const SILENT: Duration = Duration::from_secs(5);

/// How many rounds a series has at the most.
const ROUNDS: u32 = 5;

/// From one round to the next. The kernel repeats a SYN after a second, so each round sends two.
const ROUND: Duration = Duration::from_millis(2_200);

/// How long a dial may take: not into the next round, which needs the port pair anew.
const PATIENCE: Duration = Duration::from_millis(1_900);

/// How long the driver may take to gather, and the peer to answer an offer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the controlled side waits for the next round.
const NEXT_ROUND: Duration = Duration::from_secs(20);

/// Between two series at least, whatever the peer says.
const LEAST_GAP: Duration = Duration::from_secs(2);

/// Between two dials of one end at least, whatever the peer says.
const LEAST_ROUND: Duration = Duration::from_secs(1);

/// The pause after a series that came to nothing, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Paths that ended sooner, twice in a row, are no reason to try the same again at once. Once says nothing: a NAT may
/// have got another address.
const LASTED: Duration = Duration::from_secs(10);

/// The delay that is assumed where no server told a round trip.
const USUAL_DELAY: Duration = Duration::from_millis(25);

/// What one end says of its TCP ports, in its signals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TcpOffer {
    /// The series that it is for; the controlling side counts.
    pub(crate) series: u32,
    /// Both dial when this has gone up; 0 at first, and from the controlled side always.
    pub(crate) round: u32,
    /// Where the sender may be dialled.
    pub(crate) candidates: Vec<Candidate>,
    /// The round trip between the sender and its server, in milliseconds; 0 if none has answered but at ports of the
    /// web.
    pub(crate) server_rtt_ms: u16,
}

impl TcpOffer {
    /// Whether no server has answered the sender by TCP, but at ports of the web: nothing else seems to get out of its
    /// network.
    fn is_of_web_alone(&self) -> bool {
        self.server_rtt_ms == 0
    }
}

/// A connection to the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub(crate) remote: SocketAddr,
    pub(crate) technique: Technique,
    /// When the peer was heard on it last.
    pub(crate) heard: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is tried by TCP.
    Off,
    /// The driver finds out about our ports.
    Gathering { until: Instant },
    /// Our offer is made; the peer's, or the next round, is waited for.
    Offered { until: Instant },
    /// A round is under way, of the controlling side: dialled yet or not.
    Round {
        dial_at: Option<Instant>,
        over: Instant,
    },
    /// All rounds were in vain.
    Resting { until: Instant },
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Have the driver listen and ask a server.
    Gather,
    /// Dial all that the peer named, with so much patience.
    Dial { round: u32, patience: Duration },
    /// Tell the peer how things stand.
    Tell,
    /// The port need not be held open in the NAT any more.
    Rest,
}

/// When and how a direct path by TCP is looked for.
#[derive(Debug)]
pub(crate) struct TcpPunch {
    controlling: bool,
    state: State,
    /// The series under way, or the last.
    series: u32,
    /// Of this series: the last round that was begun here.
    round: u32,
    /// The controlled side: a series that the controlling one has begun and this one not yet.
    asked_for: Option<u32>,
    /// How often the peer may ask for one.
    allowed: Pace,
    /// Whether our port is to be one of the web, since the peer can call no other.
    web: bool,
    /// What is known of our ports in this series.
    ports: Option<TcpPorts>,
    pause: Duration,
    /// When the next series may begin.
    not_before: Option<Instant>,
    /// Until when this end does not dial again.
    dialled_until: Option<Instant>,
    /// A path by TCP worked on this network, and when it was agreed on.
    worked_at: Option<Instant>,
    /// Whether the last path by TCP did not last.
    was_short: bool,
    /// Until when TCP is put before UDP, which carries too little.
    instead_until: Option<Instant>,
    streams: BTreeMap<SocketId, Stream>,
}

impl TcpPunch {
    pub(crate) fn new(controlling: bool, now: Instant) -> Self {
        Self {
            controlling,
            state: State::Off,
            series: 0,
            round: 0,
            asked_for: None,
            allowed: pace::series(now),
            web: false,
            ports: None,
            pause: FIRST_PAUSE,
            not_before: None,
            dialled_until: None,
            worked_at: None,
            was_short: false,
            instead_until: None,
            streams: BTreeMap::new(),
        }
    }

    /// Does what is due. `wanted` says whether a path by TCP is to be looked for, `peer` what the peer offered last.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        wanted: bool,
        peer: Option<&TcpOffer>,
    ) -> Option<Step> {
        if !wanted {
            return self.end(State::Off).then_some(Step::Rest);
        }
        match self.state {
            State::Off => self.begin_if_due(now, peer),
            State::Resting { until } if now < until => match self.asked_for {
                Some(_) => self.begin_if_due(now, peer),
                None => None,
            },
            State::Resting { .. } => {
                self.state = State::Off;
                self.begin_if_due(now, peer)
            }
            State::Gathering { until } | State::Offered { until } if now >= until => {
                Some(self.give_up(now))
            }
            State::Gathering { .. } => None,
            State::Offered { .. } if self.asked_for.is_some() => self.begin_if_due(now, peer),
            State::Offered { .. } => {
                let step = peer.and_then(|peer| self.go_on(now, peer));
                self.dialled_until.take_if(|until| *until <= now);
                step
            }
            State::Round {
                dial_at: Some(at),
                over,
            } if now >= at => {
                // A host that slept is late with both.
                self.state = State::Round {
                    dial_at: None,
                    over: over.max(now + LEAST_ROUND),
                };
                Some(self.dial(now))
            }
            State::Round { over, .. } if now >= over => match peer {
                Some(peer) if self.round < ROUNDS => Some(self.begin_round(now, peer)),
                _ => Some(self.give_up(now)),
            },
            State::Round { .. } => None,
        }
    }

    /// When [`Self::poll`] has something to do at the latest.
    pub(crate) fn next_at(&self, now: Instant, wanted: bool) -> Option<Instant> {
        let begins = self.controlling || self.asked_for.is_some();
        match self.state {
            _ if !wanted => None,
            State::Off => begins.then(|| self.earliest().unwrap_or(now)),
            State::Resting { until } => match (self.asked_for, self.earliest()) {
                (Some(_), Some(at)) => Some(at.min(until)),
                _ => Some(until),
            },
            State::Gathering { until } => Some(until),
            // A series that was asked for begins as soon as it may.
            State::Offered { until } if self.asked_for.is_some() => {
                Some(self.earliest().unwrap_or(until).min(until))
            }
            State::Offered { until } => Some(self.dialled_until.unwrap_or(until).min(until)),
            State::Round { dial_at, over } => Some(dial_at.unwrap_or(over)),
        }
    }

    /// When the next series may begin.
    fn earliest(&self) -> Option<Instant> {
        let allowed = (!self.controlling).then(|| self.allowed.next_at());
        self.not_before.max(self.dialled_until).max(allowed)
    }

    fn begin_if_due(&mut self, now: Instant, peer: Option<&TcpOffer>) -> Option<Step> {
        if self.earliest().is_some_and(|at| now < at) {
            return None;
        }
        match (self.controlling, self.asked_for.take()) {
            (true, _) => self.series = self.series.wrapping_add(1).max(1),
            (false, Some(series)) => {
                self.allowed.take(now);
                self.series = series;
            }
            (false, None) => return None,
        }
        self.round = 0;
        // That its servers did not answer may have been an accident.
        self.web = peer.is_some_and(TcpOffer::is_of_web_alone);
        self.not_before = Some(now + LEAST_GAP);
        Some(self.gather(now))
    }

    fn gather(&mut self, now: Instant) -> Step {
        self.ports = None;
        let until = now + ANSWER;
        self.state = State::Gathering { until };
        Step::Gather
    }

    /// The driver has found out about our ports, or something of it has changed. Whether the peer is to be told.
    pub(crate) fn on_ports(&mut self, now: Instant, ports: TcpPorts) -> bool {
        if matches!(self.state, State::Off | State::Resting { .. }) {
            return false;
        }
        let changed = self.ports.as_ref() != Some(&ports);
        self.ports = Some(ports);
        if let State::Gathering { .. } = self.state {
            let until = now + if self.controlling { ANSWER } else { NEXT_ROUND };
            self.state = State::Offered { until };
        }
        changed
    }

    /// The peer has said how things stand with it.
    pub(crate) fn on_peer_offer(&mut self, offer: &TcpOffer) {
        if !self.controlling && offer.series != self.series && offer.series != 0 {
            self.asked_for = Some(offer.series);
        }
    }

    fn go_on(&mut self, now: Instant, peer: &TcpOffer) -> Option<Step> {
        if peer.series != self.series {
            return None;
        }
        if self.controlling && !self.web && peer.is_of_web_alone() {
            // It could not call any other port. Not back in the same series, so there is one more at the most.
            self.web = true;
            return Some(self.gather(now));
        }
        if self.controlling {
            return Some(self.begin_round(now, peer));
        }
        // As many as there are rounds, whatever the peer counts.
        if peer.round <= self.round || peer.round > ROUNDS {
            return None;
        }
        if self.dialled_until.is_some_and(|until| now < until) {
            return None;
        }
        self.round = peer.round;
        let until = now + NEXT_ROUND;
        self.state = State::Offered { until };
        Some(self.dial(now))
    }

    /// The controlling side begins a round: the peer is told, and dialled when it should have heard.
    fn begin_round(&mut self, now: Instant, peer: &TcpOffer) -> Step {
        self.round += 1;
        let of_peer = match peer.server_rtt_ms {
            0 => None,
            ms => Some(Duration::from_millis(ms.into())),
        };
        let ours = self.ports.as_ref().and_then(|ports| ports.server_rtt);
        let half = |rtt: Option<Duration>| rtt.map_or(USUAL_DELAY / 2, |rtt| rtt / 2);
        let delay = (half(ours) + half(of_peer)).min(ROUND / 4);
        // The two ways may differ, so later rounds are a little earlier and later.
        let apart = (delay / 3).max(Duration::from_millis(10));
        let delay = match self.round {
            1 | 2 => delay,
            3 => delay + apart,
            4 => delay.saturating_sub(apart),
            _ => delay + apart * 2,
        };
        self.state = State::Round {
            dial_at: Some(now + delay),
            over: now + ROUND,
        };
        Step::Tell
    }

    fn dial(&mut self, now: Instant) -> Step {
        self.dialled_until = Some(now + LEAST_ROUND);
        Step::Dial {
            round: self.round,
            patience: PATIENCE,
        }
    }

    fn give_up(&mut self, now: Instant) -> Step {
        let until = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.end(State::Resting { until });
        Step::Rest
    }

    /// Ends what is under way; whether something was.
    fn end(&mut self, state: State) -> bool {
        let before = std::mem::replace(&mut self.state, state);
        self.ports = None;
        !matches!(before, State::Off | State::Resting { .. })
    }

    /// The network here or there is another: what failed before may work now.
    pub(crate) fn on_network_changed(&mut self) {
        self.pause = FIRST_PAUSE;
        self.worked_at = None;
        self.instead_until = None;
        self.web = false;
        self.restart();
    }

    /// Begins anew as soon as that may be.
    pub(crate) fn restart(&mut self) {
        if self.state != State::Off {
            self.state = State::Off;
            self.ports = None;
        }
    }

    /// Both ends have agreed on a path, which is by TCP or not.
    pub(crate) fn on_agreed(&mut self, now: Instant, by_tcp: bool) {
        if by_tcp {
            self.worked_at = Some(now);
            self.pause = FIRST_PAUSE;
        }
    }

    /// The path by TCP is lost. After a second one that did not last none is looked for at once.
    pub(crate) fn on_lost(&mut self, now: Instant) {
        let lasted = self.worked_at.is_some_and(|at| now >= at + LASTED);
        let again = std::mem::replace(&mut self.was_short, !lasted);
        if !lasted && again {
            self.not_before = Some(now + self.pause / 4);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether a path by TCP has worked on this network.
    pub(crate) fn has_worked(&self) -> bool {
        self.worked_at.is_some()
    }

    /// UDP carries too little for so long, or no more.
    pub(crate) fn avoid_udp(&mut self, now: Instant, time: Duration) {
        self.instead_until = Some(now + time).filter(|_| !time.is_zero());
    }

    /// Until when TCP is put before UDP, if it is now.
    pub(crate) fn instead_until(&self, now: Instant) -> Option<Instant> {
        self.instead_until.filter(|until| now < *until)
    }

    /// At the controlled side: whether the controlling one has begun a series that is not over.
    pub(crate) fn is_asked(&self) -> bool {
        let follows = matches!(self.state, State::Gathering { .. } | State::Offered { .. });
        self.asked_for.is_some() || follows
    }

    /// What the peer is told of us.
    pub(crate) fn offer(
        &self,
        candidates: impl FnOnce(&TcpPorts) -> Vec<Candidate>,
    ) -> Option<TcpOffer> {
        let ports = self.ports.as_ref()?;
        let rtt = ports.server_rtt.map_or(0, |rtt| rtt.as_millis().max(1));
        Some(TcpOffer {
            series: self.series,
            round: if self.controlling { self.round } else { 0 },
            candidates: candidates(ports),
            server_rtt_ms: rtt.try_into().unwrap_or(u16::MAX),
        })
    }

    /// Whether our port is to be one of the web.
    pub(crate) fn is_for_web(&self) -> bool {
        self.web
    }

    /// Whether it is.
    pub(crate) fn has_web_port(&self) -> bool {
        let ports = self.ports.as_ref();
        self.web && ports.is_some_and(|ports| ports.v4 == Some(WEB_PORT))
    }

    /// Whether our NAT shows each server another port.
    pub(crate) fn is_hard(&self) -> bool {
        self.ports.as_ref().is_some_and(is_hard)
    }

    /// Whether a gateway maps our port.
    pub(crate) fn is_mapped(&self) -> bool {
        self.ports
            .as_ref()
            .is_some_and(|ports| ports.mapped.is_some())
    }

    /// Takes a connection that has proved to lead to the peer. `Err` if there are enough, `Ok` with the one that has to
    /// go for it, if one has: that of the path stays whatever is heard on it.
    pub(crate) fn add_stream(
        &mut self,
        now: Instant,
        socket: SocketId,
        stream: Stream,
        path: Option<SocketId>,
    ) -> Result<Option<SocketId>, ()> {
        let mut silent = None;
        if self.streams.len() >= MOST_STREAMS {
            let beside = self.streams.iter().filter(|(s, _)| Some(**s) != path);
            let (&oldest, last) = beside.min_by_key(|(_, s)| s.heard).ok_or(())?;
            if now < last.heard + SILENT {
                return Err(());
            }
            silent = Some(oldest);
        }
        self.streams.insert(socket, stream);
        Ok(silent)
    }

    /// Something of the peer has come on a socket, which may be a connection.
    pub(crate) fn on_heard(&mut self, now: Instant, socket: SocketId) {
        if let Some(stream) = self.streams.get_mut(&socket) {
            stream.heard = now;
        }
    }

    pub(crate) fn remove_stream(&mut self, socket: SocketId) -> Option<Stream> {
        self.streams.remove(&socket)
    }

    pub(crate) fn stream(&self, socket: SocketId) -> Option<&Stream> {
        self.streams.get(&socket)
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = (SocketId, Stream)> + '_ {
        self.streams
            .iter()
            .map(|(&socket, &stream)| (socket, stream))
    }
}

#[cfg(test)]
mod tests;
