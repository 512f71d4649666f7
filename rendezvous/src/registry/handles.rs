//! Handles: where peers that know each other meet.
//!
//! A handle is a secret between its two peers, so the table holds its hash, which also spares lookups from
//! comparing secrets.

use std::{collections::HashMap, fmt};

use p2pdbg_proto::control::{Handle, Place, Refusal, Role, SessionId};
use sha2::{Digest, Sha256};

use super::{ConnId, Effect, Now, Registry, connection::Standing, limit};
use std::time::Duration;

/// One side of a handle.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Meeting {
    digest: [u8; 32],
    role: Role,
}

impl Meeting {
    pub(super) fn new(handle: &Handle, role: Role) -> Self {
        Self {
            digest: Sha256::digest(handle.expose()).into(),
            role,
        }
    }

    fn other_side(&self) -> Self {
        Self {
            role: self.role.other(),
            ..*self
        }
    }
}

impl fmt::Debug for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<handle>/{:?}", self.role)
    }
}

/// Who waits where: the newest registration of each side of a handle.
#[derive(Debug, Default)]
pub(super) struct Handles(HashMap<Meeting, ConnId>);

impl Handles {
    /// Stops waiting, if it is this connection that waits.
    pub(super) fn leave(&mut self, meeting: &Meeting, conn: ConnId) {
        if self.0.get(meeting) == Some(&conn) {
            self.0.remove(meeting);
        }
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Registry {
    /// Introduces the peer to who waits on the other side of the handle, if somebody does and the two do not share the
    /// session `already`, and lets it wait on its own side, for the next time too.
    pub(super) fn meet(
        &mut self,
        now: Now,
        id: ConnId,
        handle: Handle,
        role: Role,
        already: Option<SessionId>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let meeting = Meeting::new(&handle, role);
        let waiting = self.handles.0.get(&meeting.other_side()).copied();
        let waiting = waiting.filter(|other| *other != id);
        let Some(connection) = self.connections.get(&id) else {
            return Ok(());
        };
        if waiting.is_none() && connection.standing == Standing::Keyless {
            return Err(Refusal::NobodyThere);
        }
        let new = !connection.handles.contains(&meeting);
        if new && connection.handles.len() >= self.limits.waiting_per_connection {
            return Err(limit(Duration::from_secs(60)));
        }
        if !self.handles.0.contains_key(&meeting) && self.handles.0.len() >= self.limits.waiting {
            return Err(Refusal::Full);
        }
        let together = |other| already.is_some_and(|s| self.sessions.joins(s, id, other));
        if let Some(waiting) = waiting.filter(|other| !together(*other)) {
            let (listener, connector) = match role {
                Role::Listener => (id, waiting),
                Role::Connector => (waiting, id),
            };
            self.introduce(now, Place::Handle(handle), listener, connector, effects)?;
        }
        if let Some(replaced) = self.handles.0.insert(meeting, id)
            && replaced != id
            && let Some(replaced) = self.connections.get_mut(&replaced)
        {
            replaced.handles.remove(&meeting);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.handles.insert(meeting);
        }
        Ok(())
    }

    /// Stops waiting.
    pub(super) fn unmeet(&mut self, id: ConnId, meeting: &Meeting) {
        self.handles.leave(meeting, id);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.handles.remove(meeting);
        }
    }
}
