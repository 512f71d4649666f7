//! Whose programs may come in at the port of a forward: with `--same-user`, those of this user and of root.

use p2pdbg_forward::Connection;
use p2pdbg_net::listening;

use super::first_word::ClientFilter;

/// Who may come in at a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    /// What is asked of a connection's first word.
    pub(super) filter: Option<ClientFilter>,
    /// Whether its program must be this user's.
    pub(super) same_user: bool,
}

/// Whose program is at the other end of a connection.
pub(super) enum Whose {
    Ours,
    /// Nobody's any more: it has closed.
    Gone,
    Others(Option<u32>),
}

impl Gate {
    /// Root may do whatever it likes anyway.
    pub(super) fn whose(self, connection: &Connection) -> Whose {
        // A Unix socket is open to its user alone.
        let Connection::Tcp(connection) = connection else {
            return Whose::Ours;
        };
        if !self.same_user {
            return Whose::Ours;
        }
        let ends = (connection.peer_addr(), connection.local_addr());
        let client = match ends {
            (Ok(client), Ok(server)) => listening::client(client, server),
            _ => return Whose::Gone,
        };
        match client {
            Some(client) if client.is_closed => Whose::Gone,
            Some(client) => match client.uid {
                Some(0) => Whose::Ours,
                Some(uid) if own_user() == Some(uid) => Whose::Ours,
                uid => Whose::Others(uid),
            },
            None => Whose::Others(None),
        }
    }
}

#[cfg(unix)]
fn own_user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn own_user() -> Option<u32> {
    None
}
