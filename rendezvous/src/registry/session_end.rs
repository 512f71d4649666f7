//! Sessions that end since a member does not keep up.

use p2pdbg_proto::rendezvous::SessionId;

use super::{Effect, Registry, sessions::Ended};

impl Registry {
    /// How many bytes of one key may wait for peers.
    pub(crate) fn most_waiting_of_key(&self) -> usize {
        self.limits.outgoing_bytes_per_key
    }

    /// A member takes in what it is told in this session more slowly than the other one says it: the session ends,
    /// rather than the connection that serves the member's other sessions too.
    pub(crate) fn on_overflow(&mut self, session: SessionId) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.end_session(session, Ended::Cut, &mut effects);
        effects
    }
}
