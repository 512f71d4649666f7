//! What a peer may do by what it shows when it comes: an access key, a voucher, or nothing.
//!
//! Without any a peer may join a nameplate, and meet at a handle one that waits there and has a key. It makes no code
//! ([`nameplates`](super::nameplates)) and waits at no handle ([`handles`](super::handles)).

use std::net::IpAddr;

use p2pdbg_proto::rendezvous::{Credential, Refusal};

use super::{
    ConnId, Now, Registry,
    connection::{Connection, Standing},
    voucher_codec::Purpose,
};

/// What a peer is told whose key only the store can know, while that is away: this node asks it again every second.
const KEYS_AWAY: Refusal = Refusal::KeysAway { retry_after_s: 5 };

impl Registry {
    /// What the credential of a peer at this address entitles it to. A wrong key counts as many joins that missed, so
    /// that it cannot be guessed.
    pub(super) fn standing(
        &mut self,
        now: Now,
        credential: Credential,
        ip: IpAddr,
    ) -> Result<Standing, Refusal> {
        let unix_s = self.trusted_unix_s(now);
        Ok(match credential {
            Credential::AccessKey(secret) => {
                if self.keys.may_know_later(&secret) {
                    return Err(KEYS_AWAY);
                }
                let known = self.keys.authenticate(&secret, unix_s);
                match known.or(self.keys.without_key()) {
                    Some(key) => Standing::Full(key),
                    None => {
                        tracing::warn!("a peer is refused: its key is unknown, revoked or expired");
                        let cost = self.limits.join_miss_cost;
                        let rate = self.limits.joins;
                        self.joins.charge(ip, rate, now.instant, cost);
                        return Err(Refusal::AccessKey);
                    }
                }
            }
            _ if let Some(key) = self.keys.without_key() => Standing::Full(key),
            Credential::None => Standing::Keyless,
            // An old voucher is worth nothing, but does not keep its bearer from joining by nameplate.
            Credential::Voucher(voucher) => {
                let granted = self.vouchers.check(Purpose::Waiting, &voucher, unix_s);
                match granted {
                    Some(granted) if self.keys.may_hold_later(granted.key) => {
                        return Err(KEYS_AWAY);
                    }
                    Some(granted) if self.keys.is_live(granted.key, unix_s) => {
                        Standing::Vouched(granted.key, granted.account)
                    }
                    _ => Standing::Keyless,
                }
            }
        })
    }

    /// Whether one of the two has a key.
    pub(super) fn may_share(&self, ids: [ConnId; 2]) -> bool {
        ids.iter()
            .any(|id| self.connections.get(id).is_some_and(Connection::has_key))
    }

    pub(super) fn is_keyless(&self, id: ConnId) -> bool {
        let connection = self.connections.get(&id);
        connection.is_some_and(|c| c.standing == Standing::Keyless)
    }
}
