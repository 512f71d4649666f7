//! One pair of a socket of ours and an address of the peer's: its state, and the schedule of its checks.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::address;

use crate::{
    SocketId, Technique, Timing,
    check::{Length, Nominated},
};

/// A pair, named by the socket here and the address there.
pub(crate) type PairKey = (SocketId, SocketAddr);

/// Gaps between the transmissions of a check, in tenths of [`Timing::check_interval`]. The first second is dense,
/// since both ends' packets must cross while both NATs are open.
const GAPS: [u32; 14] = [10, 10, 15, 15, 20, 20, 25, 30, 30, 40, 40, 50, 50, 60];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not being checked: the attempt is over, or none has begun.
    Idle,
    /// The first packet, which only opens our own NAT, is due.
    Opening { at: Instant },
    /// Not answered so far; the next check is due then.
    Checking { at: Instant, step: usize },
    /// A check was answered, after this round trip.
    Valid { rtt: Duration },
    /// Checks are answered and those as long as the tunnel's datagrams are not: of no use in this attempt.
    Narrow,
    /// No answer came in this attempt.
    Failed,
}

/// No round trip on a LAN is longer, also when a sleeping radio has to wake; a private address that takes longer is a
/// VPN's, whose other end may be anywhere.
const LONGEST_LAN: Duration = Duration::from_millis(20);

/// Answers whose shortest round trip is the pair's. One alone may have waited behind a stream's data; over many, a path
/// that has become slower would still look fast.
const RECENT: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) technique: Technique,
    pub(crate) state: State,
    /// How the controlling side nominated this pair, if it did.
    pub(crate) wanted: Option<Nominated>,
    /// Whether the peer named the address, rather than a packet from it.
    pub(crate) announced: bool,
    pub(crate) send_failures: u8,
    /// When the first check of this attempt that could reach the peer was sent.
    pub(crate) checked_at: Option<Instant>,
    /// Whether a wide check of this attempt was answered.
    pub(crate) wide: bool,
    /// Wide checks without an answer, and when the next one is due.
    pub(crate) widening: Option<(u32, Instant)>,
    /// When a single check is due that looks whether the pair works, or how fast it is, beside a path that stands.
    pub(crate) look_at: Option<Instant>,
    /// The last round trips, and when the last one was measured.
    recent: [Duration; RECENT],
    pub(crate) measured_at: Option<Instant>,
}

impl Pair {
    pub(crate) fn new(technique: Technique, announced: bool) -> Self {
        Self {
            technique,
            state: State::Idle,
            wanted: None,
            announced,
            send_failures: 0,
            checked_at: None,
            wide: false,
            widening: None,
            look_at: None,
            recent: [Duration::MAX; RECENT],
            measured_at: None,
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        matches!(self.state, State::Valid { .. })
    }

    /// Begins to be checked anew.
    pub(crate) fn begin(&mut self, now: Instant, open_first: bool) {
        self.send_failures = 0;
        self.checked_at = None;
        self.wide = false;
        self.widening = None;
        self.look_at = None;
        self.recent = [Duration::MAX; RECENT];
        self.state = if open_first {
            State::Opening { at: now }
        } else {
            State::Checking { at: now, step: 0 }
        };
    }

    pub(crate) fn due_at(&self) -> Option<Instant> {
        match self.state {
            State::Opening { at } | State::Checking { at, .. } => Some(at),
            State::Valid { .. } => self.widening.map(|(_, at)| at).or(self.look_at),
            State::Failed => self.look_at,
            State::Idle | State::Narrow => None,
        }
    }

    /// A check was answered, at this length. `widen` has a wide one follow if this was none.
    pub(crate) fn on_answer(&mut self, now: Instant, rtt: Duration, length: Length, widen: bool) {
        self.send_failures = 0;
        self.recent.rotate_right(1);
        self.recent[0] = rtt;
        self.measured_at = Some(now);
        let rtt = self.recent.into_iter().min().unwrap_or(rtt);
        self.technique = match (self.technique, rtt > LONGEST_LAN) {
            (Technique::Lan, true) => Technique::Vpn,
            (Technique::Vpn, false) => Technique::Lan,
            (technique, _) => technique,
        };
        if length == Length::Wide {
            (self.wide, self.widening) = (true, None);
        } else if self.state == State::Narrow {
            return;
        } else if widen && !self.wide && self.widening.is_none() {
            self.widening = Some((0, now));
        }
        self.state = State::Valid { rtt };
    }
}

impl Timing {
    /// The state of a pair after its check number `step`.
    pub(crate) fn after_check(&self, now: Instant, step: usize) -> State {
        match GAPS.get(step) {
            Some(&tenths) => State::Checking {
                at: now + self.check_interval * tenths / 10,
                step: step + 1,
            },
            None => State::Failed,
        }
    }
}

/// Whether packets to `address` cross the peer's NAT, if it has one, rather than arrive on a network that we share.
pub(crate) fn leaves_the_site(address: SocketAddr) -> bool {
    !address::is_private(address.ip())
}
