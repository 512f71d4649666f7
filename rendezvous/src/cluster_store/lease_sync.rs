//! The part of the store's task that is about limits which nodes share: it carries the table of leases between the
//! store and this node's [`Leases`], which decide.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use super::{Away, Directory, Text};
use crate::{
    keys::{KeyId, KeySeal},
    leases::{Account, Leases, Parts, Table, Use},
};

/// How often a node renews what it has.
pub(super) const RENEW: Duration = Duration::from_secs(1);

/// How often in a row a node writes the table, if another one does so at the same moment.
const ATTEMPTS: usize = 8;

/// What the registry and the relay's books say of what keys use here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    /// Of each limit.
    pub(crate) limits: Vec<Use>,
    /// What the keys have relayed in this month, which is counted from January of the year 0.
    pub(crate) relayed: (u64, BTreeMap<KeyId, u64>),
    /// By which of its parts the registry went then.
    pub(crate) heard: Option<Instant>,
}

/// A node's place at the table.
#[derive(Debug)]
pub(crate) struct LeaseSync {
    leases: Leases,
    seal: KeySeal,
    /// What the registry has said last; nothing is entered before that, or what this node had would be lost.
    uses: Option<Uses>,
    /// What the registry was told last.
    shares: Option<Parts>,
}

impl LeaseSync {
    /// For these leases, in a table that only nodes with this secret read.
    pub(crate) fn new(leases: Leases, seal: KeySeal) -> Self {
        Self {
            leases,
            seal,
            uses: None,
            shares: None,
        }
    }

    /// What keys use here, from now on.
    pub(super) fn on_uses(&mut self, uses: Uses) {
        self.uses = Some(uses);
    }

    /// Renews what this node has; what the registry is to be told of it.
    ///
    /// # Errors
    /// When the store is of no use. The registry may have to be told all the same.
    pub(super) async fn renew<D: Directory>(
        &mut self,
        directory: &mut D,
    ) -> Result<Option<Parts>, Away> {
        let Some(uses) = &self.uses else {
            return Ok(None);
        };
        let place = format!("uses:{}", self.seal.place());
        for _ in 0..ATTEMPTS {
            let asked = Instant::now();
            let Text::Another(stored) = directory.text(&place, "").await? else {
                return Ok(None);
            };
            let beginning = stored.as_deref().map_or("", KeySeal::beginning).to_owned();
            let table = stored.and_then(|stored| self.seal.open_bytes(&stored));
            let table = table.and_then(|bytes| Table::decode(&bytes));
            let (table, relayed) = (table.as_ref(), uses.relayed.clone());
            let leases = &mut self.leases;
            let (next, parts) = leases.enter(asked, table, &uses.limits, relayed, uses.heard);
            let sealed = self.seal.seal_bytes(&next.encode());
            match directory.replace(&place, &beginning, &sealed).await {
                Ok(true) => {
                    let shares = self.leases.on_entered(asked, &next, parts);
                    self.shares = Some(shares.clone());
                    return Ok(Some(shares));
                }
                Ok(false) => {}
                Err(away) => {
                    self.on_unknown(&parts);
                    return Err(away);
                }
            }
        }
        Ok(None)
    }

    /// What this node has for certain, although the store has not answered.
    pub(super) fn shares(&self) -> Option<Parts> {
        self.shares.clone()
    }

    fn on_unknown(&mut self, parts: &HashMap<Account, u64>) {
        let parts = self.leases.on_unknown(parts).clone();
        if let Some(shares) = &mut self.shares {
            shares.parts = parts;
        }
    }
}
