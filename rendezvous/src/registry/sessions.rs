//! Sessions: two peers that have been introduced to each other.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    code::Nameplate,
    relay::{LegGrant, LegId},
    rendezvous::{
        FromRendezvous, Introduction, MAX_SIGNAL, MeetingPoint, Refusal, Role, SessionId,
    },
    secret::{Secret, random_bytes},
};

use tracing::Span;

use super::{
    ConnId, Effect, Now, Registry,
    connection::{Connection, Holder},
    greediest::{Who, oldest_of_the_greediest},
    limit,
    succession::Succession,
};
use crate::{
    keys::KeyId,
    limits::{Prefix, Tally},
    relay::{Seen, side},
};

#[derive(Debug)]
struct Session {
    /// Grows from one session to the next.
    number: u64,
    nameplate: Option<Nameplate>,
    /// The two members, the listener first.
    members: [Member; 2],
    /// Until when both have to confirm, if one of them has shown nothing of its own yet.
    confirm_by: Option<Instant>,
    /// Whether it takes the place of another one of the same members, or another one has taken its own.
    succession: Succession,
    /// What is logged of it lies in this.
    span: Span,
}

impl Session {
    fn is_confirmed(&self) -> bool {
        self.members.iter().all(|member| member.confirmed)
    }

    /// The keys on whose account it is, each once.
    fn accounts(&self) -> impl Iterator<Item = KeyId> {
        let [one, other] = self.members.each_ref().map(|member| member.key);
        [Some(one), (other != one).then_some(other)]
            .into_iter()
            .flatten()
    }

    /// The keys on whose account it counts.
    fn counts_for(&self) -> impl Iterator<Item = KeyId> {
        let counts = self.succession.counts();
        self.accounts().filter(move |_| counts)
    }

    /// When it ends by itself, if it does.
    fn ends(&self) -> Option<Instant> {
        self.confirm_by
            .into_iter()
            .chain(self.succession.ends())
            .min()
    }

    /// Whether each may know already where the other is: who names a handle knows the other's secret.
    fn shows_addresses(&self) -> bool {
        self.nameplate.is_none() || self.is_confirmed()
    }
}

#[derive(Debug)]
struct Member {
    conn: ConnId,
    holder: Holder,
    /// From where it came.
    from: Option<Prefix>,
    /// On whose account it is.
    key: KeyId,
    confirmed: bool,
    /// Where it has been seen.
    seen: Vec<IpAddr>,
    /// What it may still say before both have confirmed, in bytes.
    allowance: usize,
}

/// Who it is at a connection. Those with a key are told apart by their addresses.
fn who(holder: Holder, from: Option<Prefix>) -> Who {
    let voucher = match holder {
        Holder::Voucher(account) => Some(account),
        Holder::Key(_) | Holder::Address(_) => None,
    };
    Who { voucher, from }
}

/// Where one member has been seen, at the most: its connection, and its leg over both families, each from a network
/// before and one after a change.
const SEEN: usize = 6;

/// What a signal costs beyond its bytes.
const OVERHEAD: usize = 64;

/// How many sessions two connections may have together. They use the newest; one before it may carry what is on its
/// way.
const TOGETHER: usize = 3;

/// How a session ends, on which hangs what its members are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// A member left on purpose.
    Left(ConnId),
    /// A member's connection was lost, and it may come back.
    Lost(ConnId),
    /// The rendezvous ends it, and tells both.
    Cut,
}

/// The sessions that there are, by their ids.
#[derive(Debug)]
pub(super) struct Sessions {
    table: HashMap<SessionId, Session>,
    /// How many there have been.
    begun: u64,
    held: Tally<Holder>,
    /// On whose account they are.
    keys: Tally<KeyId>,
    /// Those in which somebody has shown nothing.
    unconfirmed: usize,
    /// While there are to be no new ones, and no new codes that lead to some: when the rendezvous stops, at the latest.
    pub(super) draining: Option<Instant>,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            table: HashMap::new(),
            begun: 0,
            held: Tally::new(),
            keys: Tally::new(),
            unconfirmed: 0,
            draining: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no account holds any.
    #[cfg(test)]
    pub(super) fn nobody_holds_any(&self) -> bool {
        self.held.is_empty() && self.keys.is_empty() && self.unconfirmed == 0
    }

    /// The part that a connection plays in a session, if it is a member.
    pub(super) fn role_of(&self, session: SessionId, conn: ConnId) -> Option<Role> {
        let session = self.table.get(&session)?;
        [Role::Listener, Role::Connector]
            .into_iter()
            .find(|role| session.members[side(*role)].conn == conn)
    }

    /// Whether these two are the members of a session.
    pub(super) fn joins(&self, session: SessionId, one: ConnId, other: ConnId) -> bool {
        let members = self.table.get(&session).map(|s| &s.members);
        members.is_some_and(|[listener, connector]| {
            [listener.conn, connector.conn] == [one, other]
                || [listener.conn, connector.conn] == [other, one]
        })
    }

    /// Of these sessions the oldest with these two as members, if they have as many together as they may.
    pub(super) fn superfluous<'a>(
        &self,
        sessions: impl Iterator<Item = &'a SessionId>,
        [one, other]: [ConnId; 2],
    ) -> Option<SessionId> {
        let shared = sessions.filter(|session| self.joins(**session, one, other));
        let shared: Vec<_> = shared.copied().collect();
        let number = |session: &SessionId| self.table.get(session).map(|session| session.number);
        let oldest = shared.iter().copied().min_by_key(number);
        oldest.filter(|_| shared.len() >= TOGETHER)
    }

    /// Those of these sessions that another one with these two as members would take the place of: each has been
    /// confirmed.
    pub(super) fn succeeded<'a>(
        &self,
        sessions: impl Iterator<Item = &'a SessionId>,
        [one, other]: [ConnId; 2],
    ) -> Vec<SessionId> {
        let shared = sessions.filter(|session| self.joins(**session, one, other));
        let is_confirmed = |id: &SessionId| self.table.get(id).is_some_and(Session::is_confirmed);
        shared.copied().filter(is_confirmed).collect()
    }

    /// Both members of this session have confirmed: it takes the place of those before it that they have confirmed too
    /// and that no other one has taken yet.
    fn succeed<'a>(
        &mut self,
        now: Instant,
        of_one: impl Iterator<Item = &'a SessionId>,
        session: SessionId,
    ) {
        let Some(newest) = self.table.get_mut(&session) else {
            return;
        };
        newest.succession = Succession::None;
        let (number, [one, other]) = (newest.number, newest.members.each_ref().map(|m| m.conn));
        for before in self.succeeded(of_one, [one, other]) {
            let is_succeeded = |of: &&mut Session| of.number < number && of.succession.counts();
            let Some(before) = self.table.get_mut(&before).filter(is_succeeded) else {
                continue;
            };
            for key in before.counts_for() {
                self.keys.remove(&key);
            }
            before.succession = Succession::over_at(now);
        }
    }

    /// Of these sessions of one connection the one that ends for whoever `comes`, if one does.
    pub(super) fn of_the_greediest<'a>(
        &self,
        sessions: impl Iterator<Item = &'a SessionId>,
        at: ConnId,
        (holder, from): (Holder, Prefix),
    ) -> Option<SessionId> {
        let found = sessions.filter_map(|id| {
            let session = self.table.get(id)?;
            let other = session.members.iter().find(|member| member.conn != at)?;
            Some((*id, session.number, who(other.holder, other.from)))
        });
        oldest_of_the_greediest(&found.collect::<Vec<_>>(), who(holder, Some(from)))
    }

    /// How many there are besides these.
    pub(super) fn len_without(&self, without: &[SessionId]) -> usize {
        self.len() - self.count(without, |_| true)
    }

    /// How many of them have a member that has shown nothing.
    pub(super) fn unconfirmed_without(&self, without: &[SessionId]) -> usize {
        self.unconfirmed - self.count(without, |session| session.confirm_by.is_some())
    }

    /// How many are this one's, besides these. Who is both members of one has it twice.
    pub(super) fn held_without(&self, holder: Holder, without: &[SessionId]) -> usize {
        let members = without.iter().filter_map(|id| self.table.get(id));
        let members = members.flat_map(|session| &session.members);
        let ending = members.filter(|member| member.holder == holder);
        self.held.of(&holder) - ending.count()
    }

    /// How many there are on this key's account, besides these.
    pub(super) fn of_key_without(&self, key: KeyId, without: &[SessionId]) -> usize {
        self.keys.of(&key)
            - self.count(without, |session| {
                session.counts_for().any(|one| one == key)
            })
    }

    /// How many of these are like that.
    fn count(&self, these: &[SessionId], like_that: impl Fn(&Session) -> bool) -> usize {
        let found = these.iter().filter_map(|id| self.table.get(id));
        found.filter(|session| like_that(session)).count()
    }

    /// How many there are on each key's account.
    pub(super) fn by_key(&self) -> impl Iterator<Item = (&KeyId, usize)> {
        self.keys.iter()
    }

    /// The members of a session that both have confirmed, the listener first, and on whose account each is; none unless
    /// `member` is one of them.
    pub(super) fn accounts_of(
        &self,
        session: SessionId,
        member: ConnId,
    ) -> Option<[(ConnId, KeyId); 2]> {
        let session = self.table.get(&session)?;
        let is_member = session.members.iter().any(|one| one.conn == member);
        let accounts = session.members.each_ref().map(|one| (one.conn, one.key));
        (is_member && session.is_confirmed()).then_some(accounts)
    }

    /// Takes note of where a member bound its leg; what the other one may be told of it.
    pub(super) fn see(&mut self, bound: Seen) -> Vec<IpAddr> {
        let Some(session) = self.table.get_mut(&bound.session) else {
            return Vec::new();
        };
        let shows = session.shows_addresses();
        let within = session.span.enter();
        tracing::debug!(role = ?bound.role, ip = %bound.ip, "a member has bound its leg");
        drop(within);
        let seen = &mut session.members[side(bound.role)].seen;
        if !seen.contains(&bound.ip) && seen.len() < SEEN {
            seen.push(bound.ip);
        }
        shows.then_some(bound.ip).into_iter().collect()
    }

    /// Those that should have been confirmed by now, and those whose place others have taken a while ago.
    pub(super) fn over_at(&self, now: Instant) -> Vec<SessionId> {
        let is_over = |session: &&Session| session.ends().is_some_and(|ends| ends <= now);
        let all = self.table.iter().filter(|(_, session)| is_over(session));
        all.map(|(id, _)| *id).collect()
    }

    /// The member that plays this part, and the other one.
    pub(super) fn members(&self, session: SessionId, role: Role) -> Option<(ConnId, ConnId)> {
        let members = &self.table.get(&session)?.members;
        let conn = |role| members[side(role)].conn;
        Some((conn(role), conn(role.other())))
    }
}

impl Registry {
    /// Begins a session between two connections and tells both. One of them has the access key: what two without it
    /// could do with a session is not the business of this host.
    ///
    /// # Errors
    /// Why there cannot be another session. Nobody has been told of one then, and none has ended for it.
    pub(super) fn introduce(
        &mut self,
        now: Now,
        place: MeetingPoint,
        listener: ConnId,
        connector: ConnId,
        effects: &mut Vec<Effect>,
    ) -> Result<SessionId, Refusal> {
        let ids = [listener, connector];
        if !self.may_share(ids) {
            return Err(Refusal::NobodyThere);
        }
        if self.sessions.draining.is_some() {
            return Err(Refusal::Draining);
        }
        let making_room = self.ending_for_another(&place, ids);
        let replaced = self.replaced_by_another(&place, ids);
        let unknown = ids.iter().any(|id| self.is_keyless(*id));
        let session = SessionId(random_bytes());
        let members = [
            self.member(listener, connector),
            self.member(connector, listener),
        ];
        let keys = members.each_ref().map(|member| member.key);
        self.may_begin(now.instant, ids, keys, unknown, [&making_room, &replaced])?;
        // Nothing keeps it from beginning any more: else somebody's session would end for one that does not.
        for ending in making_room {
            self.end_session(ending, Ended::Cut, effects);
        }
        let key = self.keys.name(members[0].key);
        self.sessions.begun += 1;
        let pairs_by = now.instant + self.limits.pairing_within;
        let began = Session {
            number: self.sessions.begun,
            span: tracing::info_span!(parent: None, "session", id = ?session, key),
            nameplate: match place {
                MeetingPoint::Nameplate(nameplate) => Some(nameplate),
                MeetingPoint::Handle(_) => None,
            },
            members,
            confirm_by: unknown.then_some(pairs_by),
            succession: Succession::at_begin(!replaced.is_empty(), pairs_by),
        };
        let grants = ids.map(|_| LegGrant {
            leg: LegId(random_bytes()),
            key: Secret::random(),
        });
        effects.push(Effect::OpenLegs(session, grants.clone(), keys));
        self.tell_introduced(session, &place, &began, grants, effects);
        for member in &began.members {
            self.sessions.held.add(member.holder);
        }
        for key in began.accounts() {
            self.sessions.keys.add(key);
        }
        self.sessions.unconfirmed += usize::from(unknown);
        self.sessions.table.insert(session, began);
        Ok(session)
    }

    /// Tells both members of each other, and hands on what each had left for the other, if it had.
    fn tell_introduced(
        &mut self,
        session: SessionId,
        place: &MeetingPoint,
        began: &Session,
        grants: [LegGrant; 2],
        effects: &mut Vec<Effect>,
    ) {
        let ids = began.members.each_ref().map(|member| member.conn);
        let shows = began.shows_addresses();
        let seen = began.members.each_ref().map(|member| {
            let seen = member.seen.first().copied();
            seen.filter(|_| shows).into_iter().collect::<Vec<_>>()
        });
        let prepared = self.take_prepared(place, ids);
        for (role, leg) in [Role::Listener, Role::Connector].into_iter().zip(grants) {
            let id = ids[side(role)];
            let introduction = Introduction {
                session,
                place: place.clone(),
                role,
                peer_seen: seen[side(role.other())].clone(),
                leg,
                prepared: prepared[side(role)].clone(),
            };
            effects.push(Effect::Tell(id, FromRendezvous::Introduced(introduction)));
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.sessions.insert(session);
            }
        }
        for (id, payload) in ids.into_iter().rev().zip(prepared) {
            if let Some(payload) = payload {
                effects.push(Effect::Tell(
                    id,
                    FromRendezvous::Signal { session, payload },
                ));
            }
        }
    }

    /// A member, which without a key or voucher is there on the account of the one whom it meets.
    fn member(&self, conn: ConnId, other: ConnId) -> Member {
        let connection = self.connections.get(&conn);
        let key_of = |id| self.connections.get(&id).and_then(Connection::key);
        Member {
            conn,
            holder: connection.map_or(Holder::Key(KeyId::NOBODY), Connection::holder),
            from: connection.map(|connection| Prefix::of(connection.ip)),
            key: key_of(conn).or(key_of(other)).unwrap_or(KeyId::NOBODY),
            confirmed: false,
            seen: connection.map(|c| c.ip).into_iter().collect(),
            allowance: self.limits.unconfirmed_bytes,
        }
    }

    /// A member says that the other one is who it should be.
    pub(super) fn confirmed(
        &mut self,
        now: Now,
        id: ConnId,
        session: SessionId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let role = self.sessions.role_of(session, id);
        let role = role.ok_or(Refusal::NoSuchSession)?;
        let Some(found) = self.sessions.table.get_mut(&session) else {
            return Ok(());
        };
        let before = found.is_confirmed();
        found.members[side(role)].confirmed = true;
        if before || !found.is_confirmed() {
            return Ok(());
        }
        found
            .span
            .in_scope(|| tracing::debug!("both members have confirmed"));
        let was_unknown = found.confirm_by.take().is_some();
        self.sessions.unconfirmed -= usize::from(was_unknown);
        let ids = found.members.each_ref().map(|member| member.conn);
        if found.nameplate.is_some() {
            for role in [Role::Listener, Role::Connector] {
                let seen = FromRendezvous::PeerSeen {
                    session,
                    addresses: found.members[side(role.other())].seen.clone(),
                    bound: false,
                };
                effects.push(Effect::Tell(ids[side(role)], seen));
            }
        }
        let [listener, connector] = ids;
        let of_one = self.connections.get(&listener);
        let of_one = of_one.into_iter().flat_map(|one| &one.sessions);
        self.sessions.succeed(now.instant, of_one, session);
        for (id, other) in [(listener, connector), (connector, listener)] {
            self.vouch(now, id, other, effects);
        }
        Ok(())
    }

    /// Passes a signal on to the other member, if the sender is a member and keeps to the limits.
    pub(super) fn signal(
        &mut self,
        now: Now,
        id: ConnId,
        session: SessionId,
        payload: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if payload.len() > MAX_SIGNAL {
            return Err(Refusal::Protocol);
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return Ok(());
        };
        connection
            .signals
            .take(self.limits.signals, now.instant, 1)
            .map_err(limit)?;
        let role = self.sessions.role_of(session, id);
        let role = role.ok_or(Refusal::NoSuchSession)?;
        if let Some(found) = self.sessions.table.get_mut(&session) {
            let other = found.members[side(role.other())].conn;
            if !found.is_confirmed() {
                let member = &mut found.members[side(role)];
                let cost = payload.len().saturating_add(OVERHEAD);
                let Some(rest) = member.allowance.checked_sub(cost) else {
                    self.end_session(session, Ended::Cut, effects);
                    return Err(limit(Duration::from_secs(60)));
                };
                member.allowance = rest;
            }
            effects.push(Effect::Tell(
                other,
                FromRendezvous::Signal { session, payload },
            ));
        }
        Ok(())
    }

    /// On whose account is what the other member says to this one.
    pub(crate) fn key_of_other(&self, session: SessionId, member: ConnId) -> KeyId {
        let found = self.sessions.table.get(&session);
        let mut members = found.into_iter().flat_map(|session| &session.members);
        let other = members.find(|one| one.conn != member);
        other.map_or(KeyId::NOBODY, |other| other.key)
    }

    /// Ends all, with both members' connections as they are.
    pub(crate) fn end_sessions(&mut self) -> Vec<Effect> {
        let all: Vec<_> = self.sessions.table.keys().copied().collect();
        let ended = all.into_iter().map(|session| self.on_overflow(session));
        ended.flatten().collect()
    }

    /// Ends a session and tells those who do not know.
    pub(super) fn end_session(
        &mut self,
        session: SessionId,
        how: Ended,
        effects: &mut Vec<Effect>,
    ) {
        let Some(ended) = self.sessions.table.remove(&session) else {
            return;
        };
        self.sessions.unconfirmed -= usize::from(ended.confirm_by.is_some());
        let (by, on_purpose) = match how {
            Ended::Left(by) => (Some(by), true),
            Ended::Lost(by) => (Some(by), false),
            Ended::Cut => (None, false),
        };
        let keys = ended.members.each_ref().map(|m| self.keys.name(m.key));
        ended.span.in_scope(|| {
            tracing::info!(
                other_key = (keys[1] != keys[0]).then_some(keys[1]),
                by_code = ended.nameplate.is_some(),
                confirmed = ended.is_confirmed(),
                "a session has ended"
            );
        });
        for key in ended.counts_for() {
            self.sessions.keys.remove(&key);
        }
        for member in &ended.members {
            self.sessions.held.remove(&member.holder);
            if let Some(connection) = self.connections.get_mut(&member.conn) {
                connection.sessions.remove(&session);
            }
            if Some(member.conn) != by {
                let left = FromRendezvous::PeerLeft {
                    session,
                    on_purpose,
                };
                effects.push(Effect::Tell(member.conn, left));
            }
        }
        if let Some(nameplate) = ended.nameplate {
            self.nameplates.end_pairing(nameplate, session);
        }
        // Only those who know each other may find each other through legs that are left.
        let linger = matches!(how, Ended::Lost(_)) && ended.is_confirmed();
        effects.push(Effect::CloseLegs { session, linger });
    }
}
