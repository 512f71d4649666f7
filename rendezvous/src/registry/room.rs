//! Room for peers without a key, when there are as many of them as may be.
//!
//! Such a peer is here to join a nameplate, and has a session soon, or asks again every few seconds for a listener that
//! is on its way back; or it shows a voucher and waits at handles. One that does nothing of this waits for nobody, and
//! makes room for who comes: otherwise a crowd that says hello and no more would keep everybody out who has a code.

use std::time::Instant;

use p2pdbg_proto::control::{Refusal, Request, close};

use super::{
    ConnId, Effect, Now, Registry,
    connection::{Connection, Standing},
};
use crate::limits::unreserved;

impl Registry {
    /// Whether there is room for one more peer without a key, once one that waits for nothing has gone if need be.
    pub(super) fn has_room_without_key(
        &mut self,
        now: Now,
        over_tcp: bool,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let (present, limits) = (&self.present, &self.limits);
        let of_tcp = over_tcp && present.without_key_over_tcp >= unreserved(limits.tcp_connections);
        if !of_tcp && present.without_key < unreserved(limits.connections) {
            return true;
        }
        let Some(idle) = self.idlest(now.instant, of_tcp) else {
            return false;
        };
        self.refuse(idle, Request::Other, Refusal::Full, effects);
        effects.push(Effect::Close(idle, close::REFUSED));
        self.forget(now, idle, false, effects);
        true
    }

    /// The peer without a key that has waited for nothing for longest, if one has for so long that it may go.
    fn idlest(&self, now: Instant, of_tcp: bool) -> Option<ConnId> {
        let rests_for = |connection: &Connection| now.saturating_duration_since(connection.asked);
        let may_go = |connection: &Connection| {
            matches!(
                connection.standing,
                Standing::Keyless | Standing::Vouched(..)
            ) && connection.sessions.is_empty()
                && connection.handles.is_empty()
                && (connection.arrival.over_tcp || !of_tcp)
                && rests_for(connection) >= self.limits.keyless_rest
        };
        let all = self.connections.iter();
        let idle = all.filter(|(_, connection)| may_go(connection));
        idle.min_by_key(|(_, connection)| connection.asked)
            .map(|(id, _)| *id)
    }
}
