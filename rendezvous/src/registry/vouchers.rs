//! Who is given a voucher, and on whose account.
//!
//! A member without a key has one once both have confirmed, from the one of the two that has a key. A listener has one
//! for the nameplate that it is given ([`nameplates`](super::nameplates)). What is in them: [`super::voucher_codec`].

use p2pdbg_proto::rendezvous::FromRendezvous;

use super::{
    ConnId, Effect, Now, Registry,
    connection::{Connection, Standing},
    voucher_codec::{Purpose, new_account},
};
use crate::keys::KeyId;

impl Registry {
    /// Gives a member without a key a voucher, on the account of the other's. It counts as one of that key's peers from
    /// now on if there is a place for it; else it stays what it is until it comes again, and takes none from who has
    /// the key.
    pub(super) fn vouch(&mut self, now: Now, id: ConnId, other: ConnId, effects: &mut Vec<Effect>) {
        let sponsor = self.connections.get(&other).filter(|c| c.has_key());
        let Some(key) = sponsor.and_then(Connection::key) else {
            return;
        };
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let account = match connection.standing {
            Standing::Vouched(_, account) => account,
            Standing::Keyless => new_account(),
            Standing::Full(_) | Standing::Stranger { .. } => return,
        };
        if self.may_be_vouched_for(now, id, key) {
            self.set_standing(id, Standing::Vouched(key, account));
        }
        let lifetime = self.limits.voucher_lifetime.as_secs();
        let expires = now.unix_s.saturating_add(lifetime);
        let voucher = self.vouchers.issue(Purpose::Waiting, key, account, expires);
        effects.push(Effect::Tell(id, FromRendezvous::Vouched { voucher }));
    }

    /// Whether this connection may count as one by a voucher under this key.
    fn may_be_vouched_for(&mut self, now: Now, id: ConnId, key: KeyId) -> bool {
        let is_one = self.connections.get(&id).and_then(Connection::key) == Some(key);
        if !is_one && !self.may_be_one_more_vouched() {
            return false;
        }
        let most = self.keys.limits(key).peers.filter(|_| !is_one);
        most.is_none_or(|most| {
            let (peers, vouched) = (self.peers_of(key), self.vouched_of(key));
            self.may_give_vouched(now.instant, key, most, peers, vouched)
                .is_ok()
        })
    }
}
