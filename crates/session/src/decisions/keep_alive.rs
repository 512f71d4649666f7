//! How often a session looks at its tunnels while nobody uses it.
//!
//! Without streams nothing hangs on how soon a dead tunnel is noticed: the first stream has all of them asked at once.
//! What remains to be done is to keep the mappings of the NATs open, and to know about now and then whether the peer is
//! still there. The connector asks on every tunnel after a pause, and the listener only where it was not asked; then
//! either looks once more, whether there was an answer. A tunnel that does not answer right after a pause may have been
//! forgotten by a NAT, so the pauses become shorter until the network changes.

use std::time::Duration;

use p2pdbg_proto::rendezvous::Role;

use super::tunnel_choice::Look;

/// The pause: the least that is allowed between keep-alives (Tr of RFC 8445 section 11), and less than nearly all NATs
/// remember for.
const LONG: Duration = Duration::from_secs(15);

/// The pause where a NAT remembers for less.
const SHORT: Duration = Duration::from_secs(5);

/// A tunnel on which nothing was heard for so long is asked while there are streams.
const IN_USE: Duration = Duration::from_secs(5);

/// How often tunnels are looked at while there is something to wait for: an answer, or a tunnel.
pub(super) const WAITING: Duration = Duration::from_secs(2);

/// How long the pauses are, by what the last looks have shown.
#[derive(Debug)]
pub(super) struct KeepAlive {
    role: Role,
    nat_forgets: bool,
    /// Whether the last look had tunnels asked after a pause.
    asked: bool,
}

impl KeepAlive {
    /// Long pauses, until a tunnel does not survive one.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            nat_forgets: false,
            asked: false,
        }
    }

    /// For how long a tunnel may go unheard before the next look asks it.
    pub(super) fn unheard(&self, has_streams: bool) -> Duration {
        match self.role {
            _ if has_streams => IN_USE,
            // A little less than a pause, since the look comes at the end of one.
            Role::Connector => self.pause() * 9 / 10,
            Role::Listener => self.pause() * 3 / 2,
        }
    }

    /// Until the next look, after one at tunnels that no stream uses. `settled` is whether there is one to use.
    pub(super) fn after(&mut self, look: &Look, settled: bool) -> Duration {
        let asked = std::mem::replace(&mut self.asked, look.asked);
        if look.again_soon || look.suspect {
            self.nat_forgets |= asked;
            return WAITING;
        }
        if look.asked || !settled {
            return WAITING;
        }
        self.pause()
    }

    /// The NATs may be others.
    pub(super) fn on_network_changed(&mut self) {
        self.nat_forgets = false;
    }

    fn pause(&self) -> Duration {
        if self.nat_forgets { SHORT } else { LONG }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Look {
        Look::default()
    }

    fn asked() -> Look {
        Look {
            asked: true,
            ..Look::default()
        }
    }

    fn unanswered() -> Look {
        Look {
            again_soon: true,
            ..Look::default()
        }
    }

    #[test]
    fn session_that_nobody_uses_is_looked_at_twice_in_a_pause_by_the_connector() {
        let mut keep_alive = KeepAlive::new(Role::Connector);
        for _ in 0..3 {
            assert_eq!(keep_alive.after(&asked(), true), WAITING);
            assert_eq!(keep_alive.after(&quiet(), true), LONG);
            assert!(keep_alive.unheard(false) < LONG);
        }
    }

    #[test]
    fn listener_that_is_asked_in_time_does_not_ask() {
        let keep_alive = KeepAlive::new(Role::Listener);
        assert!(keep_alive.unheard(false) > LONG + WAITING);
        assert_eq!(keep_alive.unheard(true), IN_USE);
    }

    #[test]
    fn tunnel_that_does_not_answer_is_looked_at_until_it_does_or_ends() {
        let mut keep_alive = KeepAlive::new(Role::Listener);
        let suspect = Look {
            suspect: true,
            ..Look::default()
        };
        assert_eq!(keep_alive.after(&unanswered(), true), WAITING);
        assert_eq!(keep_alive.after(&suspect, true), WAITING);
        assert_eq!(keep_alive.after(&quiet(), false), WAITING);
        assert_eq!(keep_alive.after(&quiet(), true), LONG);
    }

    #[test]
    fn tunnel_silent_after_a_pause_makes_the_pauses_shorter_until_the_network_changes() {
        let mut keep_alive = KeepAlive::new(Role::Connector);
        keep_alive.after(&asked(), true);
        keep_alive.after(&unanswered(), true);
        assert_eq!(keep_alive.after(&quiet(), true), SHORT);
        assert!(keep_alive.unheard(false) < SHORT);
        keep_alive.on_network_changed();
        assert_eq!(keep_alive.after(&quiet(), true), LONG);
    }
}
