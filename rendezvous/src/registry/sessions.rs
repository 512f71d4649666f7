//! Sessions: two peers that have been introduced to each other.

use std::{collections::HashMap, time::Duration};

use p2pdbg_proto::{
    code::Nameplate,
    control::{FromRendezvous, Introduction, MAX_SIGNAL, Place, Refusal, Role, SessionId},
    relay::{LegGrant, LegId},
    secret::{Secret, random_bytes},
};

use super::{
    ConnId, Effect, Now, Registry,
    connection::{Connection, Holder, Standing},
    limit,
};
use crate::{
    keys::KeyId,
    limits::Tally,
    registry::voucher::{Purpose, new_account},
    relay::side,
};

#[derive(Debug)]
struct Session {
    nameplate: Option<Nameplate>,
    /// The listener first.
    members: [Member; 2],
}

#[derive(Debug)]
struct Member {
    conn: ConnId,
    holder: Holder,
    /// On whose account it is.
    key: KeyId,
}

/// The table of sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    table: HashMap<SessionId, Session>,
    held: Tally<Holder>,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            table: HashMap::new(),
            held: Tally::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether no account holds any.
    #[cfg(test)]
    pub(super) fn nobody_holds_any(&self) -> bool {
        self.held.is_empty()
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

    /// How many there are on this key's account.
    pub(super) fn of_key(&self, key: KeyId) -> usize {
        let sessions = self.table.values();
        sessions
            .filter(|session| session.members.iter().any(|member| member.key == key))
            .count()
    }

    /// The member that plays this part, and the other one.
    pub(super) fn members(&self, session: SessionId, role: Role) -> Option<(ConnId, ConnId)> {
        let members = &self.table.get(&session)?.members;
        let conn = |role| members[side(role)].conn;
        Some((conn(role), conn(role.other())))
    }
}

impl Registry {
    /// Begins a session between two connections and tells both.
    ///
    /// # Errors
    /// Why there cannot be another session; nobody has been told anything then.
    pub(super) fn introduce(
        &mut self,
        now: Now,
        place: Place,
        listener: ConnId,
        connector: ConnId,
        effects: &mut Vec<Effect>,
    ) -> Result<SessionId, Refusal> {
        if self.sessions.len() >= self.limits.sessions {
            return Err(Refusal::Full);
        }
        let ids = [listener, connector];
        for id in ids {
            self.may_hold_another(id)?;
        }
        let seen = ids.map(|id| self.connections.get(&id).map(|c| c.ip));
        let members = ids.map(|conn| {
            let connection = self.connections.get(&conn);
            let holder = connection.map_or(Holder::Key(KeyId::NOBODY), Connection::holder);
            // Who has no key is there on the account of the one whom it meets.
            let other = if conn == listener {
                connector
            } else {
                listener
            };
            let other = self.connections.get(&other).and_then(Connection::key);
            let key = connection.and_then(Connection::key).or(other);
            Member {
                conn,
                holder,
                key: key.unwrap_or(KeyId::NOBODY),
            }
        });
        let keys = [members[0].key, members[1].key];
        for key in keys {
            self.key_may_have_a_session(key)?;
        }
        let session = SessionId(random_bytes());
        let grants = ids.map(|_| LegGrant {
            leg: LegId(random_bytes()),
            key: Secret::random(),
        });
        effects.push(Effect::OpenLegs(session, grants.clone(), keys));
        let prepared = self.take_prepared(&place, ids);
        let expires = now
            .unix_s
            .saturating_add(self.limits.voucher_lifetime.as_secs());
        for (role, leg) in [Role::Listener, Role::Connector].into_iter().zip(grants) {
            let id = ids[side(role)];
            let account = match self.connections.get(&id).map(|c| c.standing) {
                Some(Standing::Vouched(_, account)) => account,
                _ => new_account(),
            };
            let key = keys[side(role)];
            let voucher = self.vouchers.issue(Purpose::Waiting, key, account, expires);
            let introduction = Introduction {
                session,
                place: place.clone(),
                role,
                peer_seen: seen[side(role.other())].into_iter().collect(),
                leg,
                voucher,
                prepared: prepared[side(role)].clone(),
            };
            effects.push(Effect::Tell(id, FromRendezvous::Introduced(introduction)));
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.sessions.insert(session);
                if connection.standing == Standing::Keyless {
                    // It has a voucher as of now.
                    connection.standing = Standing::Vouched(key, account);
                }
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
        for member in &members {
            self.sessions.held.add(member.holder);
        }
        let nameplate = match place {
            Place::Nameplate(nameplate) => Some(nameplate),
            Place::Handle(_) => None,
        };
        self.sessions
            .table
            .insert(session, Session { nameplate, members });
        Ok(session)
    }

    fn may_hold_another(&self, id: ConnId) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        let holder = connection.holder();
        let allowed = match holder {
            Holder::Key(_) => self.limits.sessions_per_key,
            Holder::Voucher(_) | Holder::Address(_) => self.limits.sessions_per_voucher,
        };
        let own = connection.sessions.len() < self.limits.sessions_per_connection;
        if own && self.sessions.held.of(&holder) < allowed {
            Ok(())
        } else {
            Err(limit(Duration::from_secs(60)))
        }
    }

    /// Passes a signal on.
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
        if let Some(found) = self.sessions.table.get(&session) {
            let other = found.members[side(role.other())].conn;
            effects.push(Effect::Tell(
                other,
                FromRendezvous::Signal { session, payload },
            ));
        }
        Ok(())
    }

    /// Ends a session; `by` is the member that ends it, and the other one is told.
    pub(super) fn end_session(
        &mut self,
        session: SessionId,
        by: ConnId,
        on_purpose: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(ended) = self.sessions.table.remove(&session) else {
            return;
        };
        for member in &ended.members {
            self.sessions.held.remove(&member.holder);
            if let Some(connection) = self.connections.get_mut(&member.conn) {
                connection.sessions.remove(&session);
            }
            if member.conn != by {
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
        let linger = !on_purpose;
        effects.push(Effect::CloseLegs { session, linger });
    }
}
