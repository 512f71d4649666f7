//! What a key may take, and what it has taken.

use std::{
    collections::{BTreeSet, HashMap},
    time::Instant,
};

use p2pdbg_proto::rendezvous::{Refusal, SessionId};

use super::{
    ConnId, Effect, Now, Registry, connection::Standing, peers_of_keys::PeersOfKeys,
    shared_limits::is_met_soon, voucher_codec::Account,
};
use crate::{
    keys::{KeyId, KeyRing},
    leases::Kind,
    limits::{Tally, unreserved},
};

/// So many may be there by one voucher, however few peers its key may have: one that comes back is let in before it is
/// noticed that it had gone.
const FEWEST_OF_A_VOUCHER: usize = 2;

/// Who is there by which key, counted as they come and go.
#[derive(Debug, Default)]
pub(super) struct ByKey {
    /// How many there are by each key, with the key itself or with a voucher.
    peers: Tally<KeyId>,
    /// Those of them who have the key itself.
    holders: PeersOfKeys<ConnId>,
    /// And those who have a voucher.
    vouched: PeersOfKeys<ConnId>,
    /// Those with the same voucher; their numbers grow in the order in which they came.
    bearers: HashMap<(KeyId, Account), BTreeSet<ConnId>>,
}

impl ByKey {
    fn add(&mut self, id: ConnId, standing: Standing) {
        match standing {
            Standing::Full(key) => {
                self.peers.add(key);
                self.holders.add(key, id);
            }
            Standing::Vouched(key, account) => {
                self.peers.add(key);
                self.vouched.add(key, id);
                self.bearers.entry((key, account)).or_default().insert(id);
            }
            Standing::Keyless | Standing::Stranger { .. } => {}
        }
    }

    pub(super) fn remove(&mut self, id: ConnId, standing: Standing) {
        match standing {
            Standing::Full(key) => {
                self.peers.remove(&key);
                self.holders.remove(key, id);
            }
            Standing::Vouched(key, account) => {
                self.peers.remove(&key);
                self.vouched.remove(key, id);
                let all = self.bearers.entry((key, account)).or_default();
                all.remove(&id);
                if all.is_empty() {
                    self.bearers.remove(&(key, account));
                }
            }
            Standing::Keyless | Standing::Stranger { .. } => {}
        }
    }

    /// Whether nobody is there by any key.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.holders.len() + self.vouched.len() == 0
            && self.bearers.is_empty()
    }
}

/// What a key takes at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Peers that have it, or a voucher under it.
    pub(crate) peers: usize,
    /// Sessions on its account, whoever of the two members has it.
    pub(crate) sessions: usize,
    /// Nameplates at which somebody waits.
    pub(crate) codes: usize,
}

impl Registry {
    /// The keys that are taken.
    pub(crate) fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// What keys take at the moment, of everything that they may have a limit for; none that take nothing.
    pub(crate) fn taken_by_key(&self) -> HashMap<KeyId, Taken> {
        let mut taken: HashMap<KeyId, Taken> = HashMap::new();
        for (key, peers) in self.present.by_key.peers.iter() {
            taken.entry(*key).or_default().peers = peers;
        }
        for (key, codes) in self.nameplates.by_key() {
            taken.entry(*key).or_default().codes = codes;
        }
        for (key, sessions) in self.sessions.by_key() {
            taken.entry(*key).or_default().sessions = sessions;
        }
        taken
    }

    /// Whether a peer that has just said hello is not one too many of its key, once an older one with the same voucher
    /// has made room for it if need be.
    pub(super) fn may_come(
        &mut self,
        now: Now,
        id: ConnId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        let standing = connection.standing;
        let Some(key) = connection.key() else {
            return Ok(());
        };
        let most = self.keys.limits(key).peers;
        if let Standing::Vouched(_, account) = standing {
            self.make_room_for_bearer(now, id, (key, account), most, effects);
        }
        let Some(most) = most else {
            return Ok(());
        };
        let others = self.peers_of(key).saturating_sub(1);
        let given = match standing {
            // A voucher can be shown by as many peers as its bearer likes: those who have the key itself, and without
            // whom nobody meets, keep a part of its places.
            Standing::Vouched(..) => {
                let vouched = self.vouched_of(key).saturating_sub(1);
                self.may_give_vouched(now.instant, key, most, others, vouched)
            }
            _ => self.may_give(now.instant, key, Kind::Peers, most, others),
        };
        let Err(refusal) = given else {
            return Ok(());
        };
        self.turn_away(id);
        // What other nodes have left comes over soon: a peer that was sent here comes again then. All else lasts.
        Err(match is_met_soon(&refusal) {
            true => refusal,
            false => Refusal::Full,
        })
    }

    /// Shuts the oldest one out that is there by the same voucher, if there is one too many: whoever has one shows it
    /// as often as it likes, and would keep out who has another under the same key.
    fn make_room_for_bearer(
        &mut self,
        now: Now,
        newcomer: ConnId,
        bearer: (KeyId, Account),
        most: Option<usize>,
        effects: &mut Vec<Effect>,
    ) {
        let own = match most {
            Some(most) => (unreserved(most) / 4).max(FEWEST_OF_A_VOUCHER),
            None => self.limits.sessions_per_voucher,
        };
        let all = self.present.by_key.bearers.get(&bearer);
        let all = all.filter(|all| all.len() > own);
        // The newcomer may have connected before the others, and is not counted yet.
        let oldest = all.and_then(|all| all.iter().find(|one| **one != newcomer));
        if let Some(oldest) = oldest.copied() {
            self.make_way(now, oldest, effects);
        }
    }

    /// A peer that has said hello is refused: it is not counted as if it had been let in.
    pub(super) fn turn_away(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get(&id) {
            let greet_by = connection.greet_by;
            self.set_standing(id, Standing::Stranger { greet_by });
        }
    }

    /// Lets a peer in, in another way than before.
    pub(super) fn set_standing(&mut self, id: ConnId, standing: Standing) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut connection.standing, standing);
        self.present.by_key.remove(id, before);
        self.present.by_key.add(id, standing);
    }

    /// Whether there may be another session on the account of this key, once these have ended.
    pub(super) fn key_may_have_a_session(
        &mut self,
        now: Instant,
        key: KeyId,
        ending: &[SessionId],
    ) -> Result<(), Refusal> {
        match self.keys.limits(key).sessions {
            Some(most) => {
                let in_use = self.sessions.of_key_without(key, ending);
                self.may_give(now, key, Kind::Sessions, most, in_use)
            }
            None => Ok(()),
        }
    }

    /// Whether another code may wait on the account of this key.
    pub(super) fn key_may_have_a_code(&mut self, now: Instant, key: KeyId) -> Result<(), Refusal> {
        match self.keys.limits(key).codes {
            Some(most) => {
                let in_use = self.nameplates.of_key(key);
                self.may_give(now, key, Kind::Codes, most, in_use)
            }
            None => Ok(()),
        }
    }

    pub(super) fn peers_of(&self, key: KeyId) -> usize {
        self.present.by_key.peers.of(&key)
    }

    pub(super) fn vouched_of(&self, key: KeyId) -> usize {
        self.present.by_key.vouched.of(key)
    }

    /// Whether there is room for one more peer that has come by a voucher, if this one has; and who makes room for it.
    /// A quarter of what those without a key may have is kept for who has no voucher either. Of the rest the key with
    /// most of them gives one place up for a peer of one that has fewer: vouchers are as many as somebody has pairings,
    /// and addresses are cheap.
    pub(super) fn room_for_vouched(&self, id: ConnId) -> Option<Option<ConnId>> {
        let standing = self.connections.get(&id).map(|one| one.standing);
        let Some(Standing::Vouched(key, _)) = standing else {
            return Some(None);
        };
        let vouched = &self.present.by_key.vouched;
        if vouched.len() <= self.most_vouched() {
            return Some(None);
        }
        vouched.first_of_a_greater(key).map(Some)
    }

    /// Whether there is room for one more peer that has a key, and who makes it. A quarter of all places is kept for
    /// those without one, without whom nobody meets either. Of the rest the key that has most peers gives up the place
    /// of its newest one, which has least to lose, for a peer of a key that has fewer: addresses are cheap. First of
    /// all goes who has no key and waits for nobody, where those who have one may be one more.
    pub(super) fn room_for_holder(&mut self, now: Instant, id: ConnId) -> Option<Option<ConnId>> {
        let key = self.connections.get(&id)?.key()?;
        let whole = self.limits.connections;
        let most = match self.keys.without_key() {
            Some(_) => whole,
            None => unreserved(whole),
        };
        let may_be_one_more = self.present.by_key.holders.len() <= most;
        if may_be_one_more && self.present.peers < whole {
            return Some(None);
        }
        let idle = match may_be_one_more {
            true => self.idlest(now, false),
            false => None,
        };
        let holders = &self.present.by_key.holders;
        idle.or_else(|| holders.last_of_a_greater(key)).map(Some)
    }

    /// Who makes room for one that comes by a voucher where all places are taken, though those without a key have not
    /// got all that they may: the first of a key of which more have come so.
    pub(super) fn yielding_to_vouched(&self, id: ConnId) -> Option<ConnId> {
        let standing = self.connections.get(&id)?.standing;
        let Standing::Vouched(key, _) = standing else {
            return None;
        };
        self.present.by_key.vouched.first_of_a_greater(key)
    }

    /// Whether one more may come to count as one by a voucher.
    pub(super) fn may_be_one_more_vouched(&self) -> bool {
        self.present.by_key.vouched.len() < self.most_vouched()
    }

    fn most_vouched(&self) -> usize {
        unreserved(unreserved(self.limits.connections))
    }
}
