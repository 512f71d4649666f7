//! Which of several processes of one host a `listen` or a `connect` is.
//!
//! All that use one state directory have one certificate. A peer that has sessions with two of them must tell them
//! apart, and know which one has come back when one is started again. So each takes the lowest number that none of the
//! others of its role has, and holds it by a lock that the operating system releases with the process, however that
//! ends.

use p2pdbg_identity::{StateDir, StateLock};
use p2pdbg_proto::rendezvous::Role;

/// How many processes are told apart; further ones share the last number.
pub(super) const MOST: u16 = 64;

/// The number of this process, held as long as this value.
#[derive(Debug)]
pub struct ProcessNumber {
    number: u16,
    _lock: Option<StateLock>,
}

impl ProcessNumber {
    /// Takes the lowest number that is free. Where the file system knows no locks, every process is the first.
    pub fn take(dir: &StateDir, role: Role) -> Self {
        let role = match role {
            Role::Listener => "listen",
            Role::Connector => "connect",
        };
        for number in 1..=MOST {
            match dir.try_lock(&format!("{role}-{number}")) {
                Ok(Some(lock)) => {
                    return Self {
                        number,
                        _lock: Some(lock),
                    };
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot tell this process from others of this host");
                    return Self {
                        number: 1,
                        _lock: None,
                    };
                }
            }
        }
        Self {
            number: MOST,
            _lock: None,
        }
    }

    /// The number, from 1. It is this process' as long as this value lives.
    pub fn get(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_the_lowest_number_that_is_free_in_its_role() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = StateDir::open(Some(&temporary.path().join("state")), "p2pdbg").unwrap();
        let take = |role| ProcessNumber::take(&dir, role);
        let first = take(Role::Connector);
        let second = take(Role::Connector);
        let listener = take(Role::Listener);
        assert_eq!((first.get(), second.get(), listener.get()), (1, 2, 1));
        drop(first);
        assert_eq!(take(Role::Connector).get(), 1);
        assert_eq!(second.get(), 2);
    }
}
