//! Tunnels that the listener dials ("calls"), at both ends: which one is used, and when the connector dials instead.
//!
//! A call through the relay is used as soon as it is a tunnel. One on a direct path is made while that path is being
//! nominated, and used once it is: what is nominated in the end may be another path.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::{rendezvous::Role, tunnel::PathKind};
use p2pdbg_punch::SocketId;

use super::io::TunnelFacts;

/// How much later than it could itself the connector dials where the listener is to call. The call's handshake takes a
/// little over two round trips by the relay, of which one has begun.
const BY_RELAY: Duration = Duration::from_millis(500);

/// The same on a direct path, on which the call has begun before the nomination.
const DIRECTLY: Duration = Duration::from_millis(30);

/// How long a call may stay unused, its path not nominated.
pub(super) const UNUSED: Duration = Duration::from_secs(5);

/// A path that was in doubt for longer was away itself, and not its tunnels alone.
const AWAY: Duration = Duration::from_millis(500);

/// How long the tunnels of a path that was away may take to come back with it.
const RETURNS: Duration = Duration::from_millis(300);

/// The same where streams have another tunnel: as long as a tunnel must be heard after a silence before it is trusted,
/// so that a path that comes and goes does not make the streams do the same.
const PROVES_ITSELF: Duration = Duration::from_secs(3);

/// Where a tunnel begins and ends: a socket of this host, an address of the other end.
pub(super) type Ends = (SocketId, SocketAddr);

/// Which of the listener's calls are due, under way and in use.
#[derive(Debug)]
pub(super) struct ListenerDial {
    role: Role,
    /// Whether the relay's leg is not ready yet and the listener is expected to call as soon as it is.
    expected: bool,
    /// At the connector, whether it answers calls at all; at the listener, whether it makes one now.
    active: bool,
    /// The direct path that is nominated, and when it was seen to work last.
    nominated: Option<(Ends, Instant)>,
    /// Until when the tunnels there are not given up.
    give_time_until: Instant,
    /// A tunnel on a direct path that is not nominated.
    ready: Option<(Ends, TunnelFacts)>,
}

/// What becomes of a tunnel that the listener dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallUse {
    /// It is used at once: its path is nominated, or leads through the relay.
    Now,
    /// It waits for the nomination of its path, in place of the tunnel of that epoch if there was one.
    Later(Option<u64>),
}

/// What a nomination leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nominated {
    /// The tunnel that the listener dialled there is used.
    Use(TunnelFacts),
    /// The connector waits a moment for the listener's tunnel.
    Await,
    /// The connector dials at once: no call is to be expected there.
    Dial,
    /// This end is the listener, and takes the tunnel that the connector dials.
    Accept,
}

impl ListenerDial {
    /// No calls yet.
    pub(super) fn new(role: Role, now: Instant) -> Self {
        Self {
            role,
            expected: false,
            active: false,
            nominated: None,
            give_time_until: now,
            ready: None,
        }
    }

    /// The listener has begun to call, or this end answers: the connector need not be the first who dials.
    pub(super) fn on_expected(&mut self) {
        self.expected = true;
        self.active = true;
    }

    /// Whether the relay's leg has become ready for the first time, and the listener calls there.
    pub(super) fn take_expected(&mut self) -> bool {
        std::mem::take(&mut self.expected)
    }

    /// How long the connector waits for a call on such a path.
    pub(super) fn patience(path: PathKind) -> Duration {
        match path {
            PathKind::Direct => DIRECTLY,
            PathKind::RelayUdp | PathKind::RelayTcp => BY_RELAY,
        }
    }

    /// The peer's checks are heard on a path: whether the listener calls there. It makes one call at a time.
    pub(super) fn on_heard(&mut self) -> bool {
        self.role == Role::Listener && !std::mem::replace(&mut self.active, true)
    }

    /// The listener's call has come to nothing: another may be made.
    pub(super) fn on_failed(&mut self) {
        self.active = false;
    }

    /// A call is a tunnel, at either end.
    pub(super) fn on_up(&mut self, ends: Ends, tunnel: TunnelFacts) -> CallUse {
        if self.role == Role::Listener {
            self.active = false;
        }
        if tunnel.path != PathKind::Direct || self.is_nominated(ends) {
            return CallUse::Now;
        }
        let older = self.ready.replace((ends, tunnel));
        CallUse::Later(older.map(|(_, older)| older.epoch))
    }

    /// Whether this tunnel still waits for a nomination; it does no more.
    pub(super) fn give_up(&mut self, epoch: u64) -> bool {
        self.ready
            .take_if(|(_, ready)| ready.epoch == epoch)
            .is_some()
    }

    /// A direct path is nominated. Besides what follows, the tunnel of the given epoch is not needed.
    pub(super) fn on_nominated(&mut self, ends: Ends, now: Instant) -> (Nominated, Option<u64>) {
        self.nominated = Some((ends, now));
        let unused = match self.ready.take() {
            Some((at, tunnel)) if at == ends => return (Nominated::Use(tunnel), None),
            Some((_, tunnel)) => Some(tunnel.epoch),
            None => None,
        };
        let next = match self.role {
            Role::Connector if self.active => Nominated::Await,
            Role::Connector => Nominated::Dial,
            Role::Listener => Nominated::Accept,
        };
        (next, unused)
    }

    /// No direct path is nominated any more.
    pub(super) fn on_not_nominated(&mut self) {
        self.nominated = None;
    }

    /// The nominated path was in doubt for so long, and a check has been answered on it. `serves` is whether the
    /// streams have another tunnel that answers.
    pub(super) fn on_answers(&mut self, after: Duration, serves: bool, now: Instant) {
        self.give_time_until = match (after < AWAY, serves) {
            (true, _) => now,
            (false, false) => now + RETURNS,
            (false, true) => now + PROVES_ITSELF,
        };
        if let Some((_, confirmed)) = &mut self.nominated {
            *confirmed = now;
        }
    }

    /// Whether the tunnels on the path may still come back by themselves: the path was away too.
    pub(super) fn gives_time(&self, now: Instant) -> bool {
        now < self.give_time_until
    }

    /// The path that is nominated, and when it was seen to work last.
    pub(super) fn confirmed(&self) -> Option<(Ends, Instant)> {
        self.nominated
    }

    /// Whether this path is the one that is nominated.
    pub(super) fn is_nominated(&self, ends: Ends) -> bool {
        self.nominated
            .is_some_and(|(nominated, _)| nominated == ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: Ends = (SocketId::V4, at(1));
    const ELSEWHERE: Ends = (SocketId::V4, at(2));

    const fn at(port: u16) -> SocketAddr {
        use std::net::{IpAddr, Ipv4Addr};
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), port)
    }

    fn tunnel(epoch: u64, path: PathKind) -> TunnelFacts {
        TunnelFacts {
            epoch,
            path,
            local: None,
            remote: at(1),
            rtt: Duration::ZERO,
        }
    }

    #[test]
    fn call_through_the_relay_is_used_at_once() {
        let mut dial = ListenerDial::new(Role::Connector, Instant::now());
        let relayed = tunnel(1, PathKind::RelayUdp);
        assert_eq!(dial.on_up(ENDS, relayed), CallUse::Now);
    }

    #[test]
    fn direct_call_is_used_when_its_path_is_nominated() {
        let mut dial = ListenerDial::new(Role::Connector, Instant::now());
        let direct = tunnel(1, PathKind::Direct);
        assert_eq!(dial.on_up(ENDS, direct), CallUse::Later(None));
        let used = (Nominated::Use(direct), None);
        assert_eq!(dial.on_nominated(ENDS, Instant::now()), used);
        assert_eq!(dial.on_up(ENDS, tunnel(2, PathKind::Direct)), CallUse::Now);
    }

    #[test]
    fn direct_call_on_another_path_than_the_nominated_is_closed() {
        let mut dial = ListenerDial::new(Role::Connector, Instant::now());
        dial.on_up(ELSEWHERE, tunnel(1, PathKind::Direct));
        assert_eq!(
            dial.on_nominated(ENDS, Instant::now()),
            (Nominated::Dial, Some(1))
        );
        assert!(dial.is_nominated(ENDS));
        dial.on_not_nominated();
        assert!(!dial.is_nominated(ENDS));
    }

    #[test]
    fn newer_direct_call_takes_the_place_of_one_that_waits() {
        let mut dial = ListenerDial::new(Role::Listener, Instant::now());
        dial.on_up(ENDS, tunnel(1, PathKind::Direct));
        let newer = dial.on_up(ENDS, tunnel(2, PathKind::Direct));
        assert_eq!(newer, CallUse::Later(Some(1)));
        assert!(!dial.give_up(1));
        assert!(dial.give_up(2));
        assert!(!dial.give_up(2));
    }

    #[test]
    fn listener_makes_one_call_at_a_time() {
        let mut dial = ListenerDial::new(Role::Listener, Instant::now());
        assert!(dial.on_heard());
        assert!(!dial.on_heard());
        dial.on_failed();
        assert!(dial.on_heard());
        dial.on_up(ENDS, tunnel(1, PathKind::Direct));
        assert!(dial.on_heard());
        assert!(!ListenerDial::new(Role::Connector, Instant::now()).on_heard());
    }

    #[test]
    fn connector_that_answers_calls_waits_before_it_dials() {
        let mut dial = ListenerDial::new(Role::Connector, Instant::now());
        dial.on_expected();
        assert!(dial.take_expected());
        assert!(!dial.take_expected());
        assert_eq!(
            dial.on_nominated(ENDS, Instant::now()),
            (Nominated::Await, None)
        );
    }
}
