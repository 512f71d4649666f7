//! Whose session ends where a connection has all that it may and somebody else comes: one peer that comes by many
//! connections would keep all others out.

use std::cmp::Reverse;

use p2pdbg_proto::rendezvous::SessionId;

use super::voucher_codec::Account;
use crate::limits::Prefix;

/// Whose sessions are counted together at one connection: those by one voucher, and those from one address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub(super) voucher: Option<Account>,
    pub(super) from: Option<Prefix>,
}

impl Who {
    fn shows_the_same(self, other: Self) -> bool {
        self.voucher.is_some() && self.voucher == other.voucher
    }

    fn is_from_the_same(self, other: Self) -> bool {
        self.from == other.from
    }
}

/// Of the sessions of one connection, by their numbers and with whom each is, the oldest of whoever has most, if that
/// is more than who `comes` would have with another one.
pub(super) fn oldest_of_the_greediest(
    sessions: &[(SessionId, u64, Who)],
    comes: Who,
) -> Option<SessionId> {
    let has = |who: Who| {
        let of_one = |is_same: fn(Who, Who) -> bool| {
            let same = sessions.iter().filter(|(.., other)| is_same(*other, who));
            same.count()
        };
        of_one(Who::shows_the_same).max(of_one(Who::is_from_the_same))
    };
    let greediest = sessions
        .iter()
        .max_by_key(|(_, number, who)| (has(*who), Reverse(*number)))?;
    (has(greediest.2) > has(comes) + 1).then_some(greediest.0)
}
