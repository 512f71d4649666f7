//! The end of a key: who came by one that was revoked or has expired is shut out.

use p2pdbg_proto::rendezvous::{Refusal, Request};

use super::{ConnId, Effect, Now, Registry};
use crate::keys::KeyRing;

impl Registry {
    /// Other keys from now on. Whoever is there by one that is no more, is shut out.
    pub(crate) fn set_keys(&mut self, now: Now, keys: KeyRing) -> Vec<Effect> {
        self.keys = keys;
        let mut effects = Vec::new();
        self.end_keys(now, &mut effects);
        effects
    }

    /// Shuts out who is there by a key that has been revoked or has expired.
    pub(super) fn end_keys(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let unix_s = self.trusted_unix_s(now);
        let connections = self.connections.iter();
        let ended: Vec<ConnId> = connections
            .filter(|(_, connection)| {
                let key = connection.key();
                key.is_some_and(|key| !self.keys.is_live(key, unix_s))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            self.refuse(id, Request::Other, Refusal::AccessKey, effects);
            let sessions = self.connections.get(&id).map(|c| c.sessions.clone());
            self.forget(now, id, false, effects);
            // They do not linger: that would be time on the relay for who has lost the right to it.
            for session in sessions.into_iter().flatten() {
                let linger = false;
                effects.push(Effect::CloseLegs { session, linger });
            }
        }
    }
}
