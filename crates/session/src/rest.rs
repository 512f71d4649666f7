//! How often a session looks at its tunnels while nobody uses it.
//!
//! Without streams nothing hangs on how soon a dead tunnel is noticed: the first stream has all of them asked at once.
//! What remains to be done is to keep the mappings of the NATs open, and to know about now and then whether the peer is
//! still there. The connector asks on every tunnel after a rest, and the listener only where it was not asked; then
//! either looks once more, whether there was an answer. A tunnel that does not answer right after a rest may have been
//! forgotten by a NAT, so the rests become shorter until the network changes.

use std::time::Duration;

use p2pdbg_proto::control::Role;

use super::tunnels::Look;

/// A rest: the least that is allowed between keep-alives (Tr of RFC 8445 section 11), and less than nearly all NATs
/// remember for.
const LONG: Duration = Duration::from_secs(15);

/// A rest where a NAT remembers for less.
const SHORT: Duration = Duration::from_secs(5);

/// A tunnel on which nothing was heard for so long is asked while there are streams.
const IN_USE: Duration = Duration::from_secs(5);

/// How often tunnels are looked at while there is something to wait for: an answer, or a tunnel.
pub(super) const WAITING: Duration = Duration::from_secs(2);

/// The state of the rests.
#[derive(Debug)]
pub(super) struct Rest {
    role: Role,
    forgetful: bool,
    /// Whether the last look had tunnels asked after a rest.
    asked: bool,
}

impl Rest {
    /// None yet.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            forgetful: false,
            asked: false,
        }
    }

    /// For how long a tunnel may go unheard before the next look asks it.
    pub(super) fn unheard(&self, has_streams: bool) -> Duration {
        match self.role {
            _ if has_streams => IN_USE,
            // A little less than a rest, of which it has just been the end.
            Role::Connector => self.lasts() * 9 / 10,
            Role::Listener => self.lasts() * 3 / 2,
        }
    }

    /// Until the next look, after one at tunnels that no stream uses. `settled` is whether there is one to use.
    pub(super) fn after(&mut self, look: &Look, settled: bool) -> Duration {
        let asked = std::mem::replace(&mut self.asked, look.asked);
        if look.again_soon || look.suspect {
            self.forgetful |= asked;
            return WAITING;
        }
        if look.asked || !settled {
            return WAITING;
        }
        self.lasts()
    }

    /// The NATs may be others.
    pub(super) fn on_network_changed(&mut self) {
        self.forgetful = false;
    }

    fn lasts(&self) -> Duration {
        if self.forgetful { SHORT } else { LONG }
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
    fn a_session_that_nobody_uses_is_looked_at_twice_in_a_rest_by_whoever_asks() {
        let mut rest = Rest::new(Role::Connector);
        for _ in 0..3 {
            assert_eq!(rest.after(&asked(), true), WAITING);
            assert_eq!(rest.after(&quiet(), true), LONG);
            assert!(rest.unheard(false) < LONG);
        }
    }

    #[test]
    fn whoever_is_asked_in_time_does_not_ask() {
        let rest = Rest::new(Role::Listener);
        assert!(rest.unheard(false) > LONG + WAITING);
        assert_eq!(rest.unheard(true), IN_USE);
    }

    #[test]
    fn what_does_not_answer_is_looked_at_until_it_does_or_ends() {
        let mut rest = Rest::new(Role::Listener);
        let suspect = Look {
            suspect: true,
            ..Look::default()
        };
        assert_eq!(rest.after(&unanswered(), true), WAITING);
        assert_eq!(rest.after(&suspect, true), WAITING);
        assert_eq!(rest.after(&quiet(), false), WAITING);
        assert_eq!(rest.after(&quiet(), true), LONG);
    }

    #[test]
    fn a_tunnel_that_does_not_answer_after_a_rest_makes_the_rests_shorter_until_the_network_changes()
     {
        let mut rest = Rest::new(Role::Connector);
        rest.after(&asked(), true);
        rest.after(&unanswered(), true);
        assert_eq!(rest.after(&quiet(), true), SHORT);
        assert!(rest.unheard(false) < SHORT);
        rest.on_network_changed();
        assert_eq!(rest.after(&quiet(), true), LONG);
    }
}
