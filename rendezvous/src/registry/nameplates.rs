//! Nameplates: which are in use, what became of those that were, and how a listener and a connector meet at one.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    code::Nameplate,
    node::NodeNumber,
    rendezvous::{Fate, FromRendezvous, MeetingPoint, NameplateClaim, Refusal, SessionId},
};

use super::{
    ConnId, Effect, Now, Registry,
    connection::{Connection, Standing},
    limit,
    nameplate_end::{CarriedNameplate, End},
    shared_limits::OWED_FOR,
};
use crate::{
    keys::KeyId,
    limits::{AddressBuckets, Limits, Tally, share_of_one},
    registry::voucher_codec::{Account, Purpose, new_account},
};

#[derive(Debug)]
struct Live {
    conn: ConnId,
    /// On whose account it was given.
    key: KeyId,
    account: Account,
    expires: Instant,
    pairing: Option<(SessionId, Instant)>,
}

/// How a nameplate ended, and when that is forgotten.
#[derive(Clone, Copy, Debug)]
struct Ended {
    end: End,
    until: Instant,
    /// Its place among those that are forgotten at one time.
    place: u64,
}

/// The nameplates that lead somewhere, and for a while those that do no more.
#[derive(Debug)]
pub(super) struct Nameplates {
    live: HashMap<Nameplate, Live>,
    /// How many each key has.
    held: Tally<KeyId>,
    /// Who was given new ones lately.
    given: AddressBuckets,
    ended: HashMap<Nameplate, Ended>,
    /// The same ones, and no others, in the order in which they are forgotten: whoever has its own again and again
    /// would push out what is remembered of others.
    in_order: BTreeMap<(Instant, u64), Nameplate>,
    /// The next place there.
    next: u64,
    capacity: usize,
    per_key: usize,
    memory: usize,
    remember: Duration,
    pairing_within: Duration,
    return_within: Duration,
}

impl Nameplates {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            live: HashMap::new(),
            held: Tally::new(),
            given: AddressBuckets::new(limits.connections),
            ended: HashMap::new(),
            in_order: BTreeMap::new(),
            next: 0,
            capacity: limits.nameplates,
            per_key: limits.nameplates_per_key,
            memory: limits.ended_nameplates,
            remember: limits.nameplate_lifetime,
            pairing_within: limits.pairing_within,
            return_within: limits.return_within,
        }
    }

    /// A random nameplate, of this node if it is one of several, that nobody has and whose last use nobody remembers,
    /// if there is room.
    pub(super) fn draw(&self, node: Option<NodeNumber>) -> Option<Nameplate> {
        if self.live.len() >= self.capacity {
            return None;
        }
        // With the default limits seven of eight draws succeed, so that a thousand failures do not happen.
        (0..1_000)
            .map(|_| node.map_or_else(Nameplate::random, Nameplate::random_of))
            .find(|drawn| !self.live.contains_key(drawn) && !self.ended.contains_key(drawn))
    }

    /// Whether there is room for another one of this key.
    fn has_room(&self, key: KeyId) -> bool {
        self.live.len() < self.capacity && self.may_have_more(key)
    }

    /// Whether this key may have another one, if there is room.
    fn may_have_more(&self, key: KeyId) -> bool {
        let own = self.held.of(&key);
        let others = self.live.len().saturating_sub(own);
        // Where all are taken the refusal is another one.
        self.live.len() >= self.capacity || own < share_of_one(self.capacity, self.per_key, others)
    }

    /// How many this key has.
    pub(super) fn of_key(&self, key: KeyId) -> usize {
        self.held.of(&key)
    }

    /// How many each key has that has some.
    pub(super) fn by_key(&self) -> impl Iterator<Item = (&KeyId, usize)> {
        self.held.iter()
    }

    fn is_live(&self, nameplate: Nameplate) -> bool {
        self.live.contains_key(&nameplate)
    }

    /// Puts a nameplate that was drawn to use.
    pub(super) fn register(
        &mut self,
        nameplate: Nameplate,
        conn: ConnId,
        (key, account): (KeyId, Account),
        expires: Instant,
    ) {
        self.held.add(key);
        let live = Live {
            conn,
            key,
            account,
            expires,
            pairing: None,
        };
        self.live.insert(nameplate, live);
    }

    /// Gives a nameplate back to the account that had it, with the connection that has it still, if one does.
    ///
    /// # Errors
    /// When it has ended for good, is somebody else's by now, or there is no room.
    pub(super) fn claim(
        &mut self,
        nameplate: Nameplate,
        conn: ConnId,
        (key, account): (KeyId, Account),
        expires: Instant,
    ) -> Result<Option<ConnId>, ()> {
        if let Some(live) = self.live.get_mut(&nameplate) {
            if live.account != account {
                return Err(());
            }
            let previous = std::mem::replace(&mut live.conn, conn);
            return Ok((previous != conn).then_some(previous));
        }
        match self.ended.get(&nameplate).map(|ended| ended.end) {
            Some(End::Lost) | None if self.has_room(key) => {
                self.forget(nameplate);
                self.register(nameplate, conn, (key, account), expires);
                Ok(None)
            }
            _ => Err(()),
        }
    }

    /// The listener at a nameplate.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn listener(&self, now: Instant, nameplate: Nameplate) -> Result<ConnId, Refusal> {
        if let Some(live) = self.live.get(&nameplate) {
            return match live.pairing {
                Some((_, until)) if now < until => Err(Refusal::NameplateBusy),
                _ => Ok(live.conn),
            };
        }
        let Some(ended) = self.ended.get(&nameplate) else {
            return Err(Refusal::NameplateUnknown);
        };
        Err(match ended.end {
            End::Used => Refusal::NameplateUsed,
            End::Burned => Refusal::NameplateBurned,
            // Only its connection is gone: the listener may be dialling right now.
            End::Lost if now + self.remember < ended.until + self.return_within => {
                Refusal::NobodyThere
            }
            End::Withdrawn | End::Lost | End::Expired => Refusal::NameplateExpired,
        })
    }

    /// Keeps a nameplate for one pairing, for a while.
    pub(super) fn begin_pairing(&mut self, now: Instant, nameplate: Nameplate, session: SessionId) {
        if let Some(live) = self.live.get_mut(&nameplate) {
            live.pairing = Some((session, now + self.pairing_within));
        }
    }

    /// That pairing is over; the nameplate can be joined again if its listener has not given it back.
    pub(super) fn end_pairing(&mut self, nameplate: Nameplate, session: SessionId) {
        if let Some(live) = self.live.get_mut(&nameplate)
            && live.pairing.is_some_and(|(paired, _)| paired == session)
        {
            live.pairing = None;
        }
    }

    /// Ends a nameplate and remembers how.
    pub(super) fn end(&mut self, now: Instant, nameplate: Nameplate, end: End) {
        let Some(live) = self.live.remove(&nameplate) else {
            return;
        };
        self.held.remove(&live.key);
        self.keep(nameplate, end, now + self.remember);
    }

    /// Remembers until then how a nameplate ended. Where that is too much, those go that would go next.
    fn keep(&mut self, nameplate: Nameplate, end: End, until: Instant) {
        self.forget(nameplate);
        let place = self.next;
        self.next += 1;
        self.ended.insert(nameplate, Ended { end, until, place });
        self.in_order.insert((until, place), nameplate);
        while self.in_order.len() > self.memory {
            self.forget_first();
        }
    }

    /// Ends what has expired, and says whose it was; forgets what ended long ago.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(ConnId, Nameplate)> {
        let expired: Vec<(ConnId, Nameplate)> = self
            .live
            .iter()
            .filter(|(_, live)| live.expires <= now)
            .map(|(nameplate, live)| (live.conn, *nameplate))
            .collect();
        for (_, nameplate) in &expired {
            self.end(now, *nameplate, End::Expired);
        }
        while let Some(((until, _), _)) = self.in_order.first_key_value()
            && *until <= now
        {
            self.forget_first();
        }
        expired
    }

    /// All of them for a successor, in the order in which they are forgotten. Those in use count as lost: their
    /// listeners' connections end with the process.
    pub(super) fn carry(&self, now: Instant) -> Vec<CarriedNameplate> {
        let ended = self.in_order.values().filter_map(|nameplate| {
            let ended = self.ended.get(nameplate)?;
            Some((*nameplate, ended.end, ended.until))
        });
        let live = self
            .live
            .keys()
            .map(|live| (*live, End::Lost, now + self.remember));
        ended
            .chain(live)
            .map(|(nameplate, end, until)| {
                let left = until.saturating_duration_since(now).as_millis();
                CarriedNameplate {
                    nameplate,
                    end,
                    left_ms: u64::try_from(left).unwrap_or(u64::MAX),
                }
            })
            .collect()
    }

    pub(super) fn inherit(&mut self, now: Instant, carried: Vec<CarriedNameplate>) {
        for CarriedNameplate {
            nameplate,
            end,
            left_ms,
        } in carried
        {
            let until = now + Duration::from_millis(left_ms).min(self.remember);
            self.keep(nameplate, end, until);
        }
    }

    /// Remembers no more how this one ended, if it has.
    fn forget(&mut self, nameplate: Nameplate) {
        if let Some(ended) = self.ended.remove(&nameplate) {
            self.in_order.remove(&(ended.until, ended.place));
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, nameplate)) = self.in_order.pop_first() {
            self.ended.remove(&nameplate);
        }
    }

    /// How much is remembered of what has ended.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.ended.len().max(self.in_order.len())
    }

    /// Whether none is in use, and no key has one.
    #[cfg(test)]
    pub(super) fn none_is_live(&self) -> bool {
        self.live.is_empty() && self.held.is_empty()
    }
}

impl Registry {
    /// Gives the peer the nameplate that it claims, or a new one.
    pub(super) fn listen(
        &mut self,
        now: Now,
        id: ConnId,
        claim: Option<NameplateClaim>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        let Standing::Full(key) = connection.standing else {
            return Err(Refusal::AccessKey);
        };
        let ip = connection.ip;
        if let Some(claim) = claim
            && self.take_back(now, id, &claim)?
        {
            self.tell_of_offer(id, effects);
            effects.push(Effect::Tell(id, FromRendezvous::Listening(claim)));
            return Ok(());
        }
        if self.sessions.draining.is_some() {
            return Err(Refusal::Draining);
        }
        self.may_hold_another_nameplate(id)?;
        self.key_may_have_a_code(now.instant, key)?;
        if !self.nameplates.may_have_more(key) {
            return Err(limit(Duration::from_secs(60)));
        }
        let (given, rate) = (&mut self.nameplates.given, self.limits.new_nameplates());
        given.take(ip, rate, now.instant, 1).map_err(limit)?;
        let lifetime = self.limits.nameplate_lifetime;
        let nameplate = self.nameplates.draw(self.number()).ok_or(Refusal::Full)?;
        let purpose = Purpose::Nameplate(nameplate);
        let account = new_account();
        let expires = now.unix_s.saturating_add(lifetime.as_secs());
        let voucher = self.vouchers.issue(purpose, key, account, expires);
        self.nameplates
            .register(nameplate, id, (key, account), now.instant + lifetime);
        self.hold(id, nameplate);
        let claim = NameplateClaim { nameplate, voucher };
        self.tell_of_offer(id, effects);
        effects.push(Effect::Tell(id, FromRendezvous::Listening(claim)));
        Ok(())
    }

    fn may_hold_another_nameplate(&self, id: ConnId) -> Result<(), Refusal> {
        let most = self.limits.nameplates_per_connection;
        let held = self.connections.get(&id).map(|c| c.nameplates.len());
        match held.is_none_or(|held| held < most) {
            true => Ok(()),
            false => Err(limit(Duration::from_secs(60))),
        }
    }

    /// Gives a listener that comes back the nameplate that it had; whether it has it now.
    ///
    /// # Errors
    /// When it, or the key on whose account the nameplate was given, has as many as it may. The nameplate stays as it
    /// is, and can be claimed later.
    fn take_back(&mut self, now: Now, id: ConnId, claim: &NameplateClaim) -> Result<bool, Refusal> {
        let nameplate = claim.nameplate;
        // One that another node has given is found there, and not here.
        if nameplate.node() != self.number() {
            return Ok(false);
        }
        let purpose = Purpose::Nameplate(nameplate);
        let unix_s = self.trusted_unix_s(now);
        let granted = self.vouchers.check(purpose, &claim.voucher, unix_s);
        let Some(granted) = granted.filter(|granted| self.keys.is_live(granted.key, unix_s)) else {
            return Ok(false);
        };
        // Who gathers vouchers on many connections, one after the other, would have as many on one as it likes.
        let holds_it = |c: &Connection| c.nameplates.contains(&nameplate);
        if !self.connections.get(&id).is_some_and(holds_it) {
            self.may_hold_another_nameplate(id)?;
        }
        if !self.nameplates.is_live(nameplate) {
            self.key_may_have_a_code(now.instant, granted.key)?;
        }
        let left = Duration::from_secs(granted.expires_unix_s.saturating_sub(now.unix_s));
        let expires = now.instant + left.min(self.limits.nameplate_lifetime);
        let account = (granted.key, granted.account);
        let claimed = self.nameplates.claim(nameplate, id, account, expires);
        let Ok(previous) = claimed else {
            return Ok(false);
        };
        if let Some(previous) = previous.and_then(|p| self.connections.get_mut(&p)) {
            previous.nameplates.remove(&nameplate);
        }
        self.hold(id, nameplate);
        Ok(true)
    }

    /// Before the nameplate, so that the listener can show both at once.
    fn tell_of_offer(&self, id: ConnId, effects: &mut Vec<Effect>) {
        let offer = self.offer.map(|script| FromRendezvous::Offer { script });
        effects.extend(offer.map(|offer| Effect::Tell(id, offer)));
    }

    fn hold(&mut self, id: ConnId, nameplate: Nameplate) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.nameplates.insert(nameplate);
        }
    }

    /// Takes back a nameplate of this connection; another's is left alone.
    pub(super) fn unlisten(&mut self, now: Now, id: ConnId, nameplate: Nameplate, fate: Fate) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        // A nameplate that expired a moment ago, or never was this peer's, needs no answer.
        if connection.nameplates.remove(&nameplate) {
            let end = match fate {
                Fate::Used => End::Used,
                Fate::Burned => End::Burned,
                Fate::Withdrawn => End::Withdrawn,
            };
            self.nameplates.end(now.instant, nameplate, end);
        }
    }

    /// Joins the listener at a nameplate.
    pub(super) fn join(
        &mut self,
        now: Now,
        id: ConnId,
        nameplate: Nameplate,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let elsewhere = self.node_of(nameplate);
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        let (ip, rate) = (connection.ip, self.limits.joins);
        let joins = match connection.standing {
            Standing::Full(_) => &mut self.joins_with_key,
            _ => &mut self.joins,
        };
        joins.take(ip, rate, now.instant, 1).map_err(limit)?;
        connection.asked = now.instant;
        if let Some(node) = elsewhere {
            effects.push(Effect::Tell(id, FromRendezvous::GoTo { node }));
            return Ok(());
        }
        let listener = match self.nameplates.listener(now.instant, nameplate) {
            // Nobody pairs with itself.
            Ok(listener) if listener == id => return Err(Refusal::Protocol),
            Ok(listener) => listener,
            // The process before this one may have known it, and its listener is on the way back.
            Err(Refusal::NameplateUnknown)
                if self
                    .run
                    .returning_until
                    .is_some_and(|until| now.instant < until) =>
            {
                return Err(Refusal::NobodyThere);
            }
            Err(refusal) => {
                // Neither tells a guesser more than that somebody had the nameplate.
                if !matches!(refusal, Refusal::NameplateBusy | Refusal::NobodyThere) {
                    let more = self.limits.join_miss_cost.saturating_sub(1);
                    // Owed, or who asks whenever there is one token would guess as often as others join.
                    joins.owe(ip, rate, now.instant, more, OWED_FOR);
                    self.note_miss(id, effects);
                }
                return Err(refusal);
            }
        };
        let place = MeetingPoint::Nameplate(nameplate);
        let session = self.introduce(now, place, listener, id, effects)?;
        self.nameplates
            .begin_pairing(now.instant, nameplate, session);
        Ok(())
    }
}
