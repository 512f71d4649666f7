//! A store in memory that several nodes of a test share, and that can be away or forget.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use p2pdbg_proto::node::NodeNumber;

use super::{Away, Directory, Epoch, Held, Name, Process, Record, Text};

#[derive(Debug, Default)]
struct Tables {
    nodes: HashMap<NodeNumber, Epoch>,
    /// With when they were written.
    records: HashMap<Name, (Record, Duration)>,
    /// What its clock says.
    now: Duration,
    texts: HashMap<String, String>,
    is_away: bool,
    /// How long it takes to write.
    writes_for: Duration,
}

/// A handle on the store that all clones share.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<Tables>>);

impl Memory {
    /// Whether it is of no use from now on.
    pub(super) fn is_away(&self, away: bool) {
        self.0.lock().unwrap().is_away = away;
    }

    /// Takes so long to write from now on.
    pub(super) fn is_slow(&self, writes_for: Duration) {
        self.0.lock().unwrap().writes_for = writes_for;
    }

    /// So much time passes by its clock.
    pub(super) fn passes(&self, time: Duration) {
        self.0.lock().unwrap().now += time;
    }

    /// Has the store lose everything, as one that was started anew.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap() = Tables::default();
    }

    /// A node has not said for too long that it lives.
    pub(super) fn expire(&self, node: NodeNumber) {
        self.0.lock().unwrap().nodes.remove(&node);
    }

    /// The same unless it was this process.
    pub(super) fn expire_unless(&self, node: NodeNumber, epoch: Epoch) {
        let mut tables = self.0.lock().unwrap();
        tables
            .nodes
            .retain(|number, held| *number != node || *held == epoch);
    }

    /// All records that there are, for the tests to look at.
    pub(super) fn records(&self) -> HashMap<Name, Record> {
        let tables = self.0.lock().unwrap();
        let records = tables.records.iter();
        records
            .map(|(name, (record, _))| (*name, *record))
            .collect()
    }

    /// A record that nobody should have written.
    pub(super) fn forge(&self, name: Name, record: Record) {
        let mut tables = self.0.lock().unwrap();
        let now = tables.now;
        tables.records.insert(name, (record, now));
    }

    fn tables<T>(&self, with: impl FnOnce(&mut Tables) -> T) -> Result<T, Away> {
        let mut tables = self.0.lock().unwrap();
        match tables.is_away {
            true => Err(Away("away".into())),
            false => Ok(with(&mut tables)),
        }
    }
}

impl Directory for Memory {
    async fn beat(
        &mut self,
        own: Process,
        before: Option<Epoch>,
    ) -> Result<(Held, HashMap<NodeNumber, Epoch>), Away> {
        self.tables(|tables| {
            let held = match tables.nodes.get(&own.node) {
                None => Held::Missing,
                Some(epoch) if *epoch == own.epoch => Held::Ours,
                Some(epoch) if Some(*epoch) == before => Held::Missing,
                Some(_) => Held::Another,
            };
            if held != Held::Another {
                tables.nodes.insert(own.node, own.epoch);
            }
            (held, tables.nodes.clone())
        })
    }

    async fn write(&mut self, records: &[(Name, Record)], live: &[Process]) -> Result<(), Away> {
        let writes_for = self.0.lock().unwrap().writes_for;
        tokio::time::sleep(writes_for).await;
        self.tables(|tables| {
            for (name, record) in records {
                let now = tables.now;
                let is_newer = |(there, written): &(Record, Duration)| {
                    let waited = there.waited + (now - *written);
                    live.contains(&there.process) && waited < record.waited
                };
                if !tables.records.get(name).is_some_and(is_newer) {
                    tables.records.insert(*name, (*record, now));
                }
            }
        })
    }

    async fn remove(&mut self, own: Process, names: &[Name]) -> Result<(), Away> {
        self.tables(|tables| {
            for name in names {
                if tables
                    .records
                    .get(name)
                    .is_some_and(|(r, _)| r.process == own)
                {
                    tables.records.remove(name);
                }
            }
        })
    }

    async fn read(&mut self, names: &[Name]) -> Result<Vec<Option<Record>>, Away> {
        self.tables(|tables| {
            let records = names.iter().map(|name| Some(tables.records.get(name)?.0));
            records.collect()
        })
    }

    async fn text(&mut self, name: &str, known: &str) -> Result<Text, Away> {
        self.tables(|tables| match tables.texts.get(name) {
            Some(text) if !known.is_empty() && text.starts_with(known) => Text::Same,
            text => Text::Another(text.cloned()),
        })
    }

    async fn replace(&mut self, name: &str, before: &str, text: &str) -> Result<bool, Away> {
        self.tables(|tables| {
            let there = tables.texts.get(name);
            let is_before = match there {
                Some(there) => !before.is_empty() && there.starts_with(before),
                None => before.is_empty(),
            };
            if is_before {
                tables.texts.insert(name.to_owned(), text.to_owned());
            }
            is_before
        })
    }

    async fn put(&mut self, name: &str, text: &str, _kept: Duration) -> Result<(), Away> {
        self.tables(|tables| {
            tables.texts.insert(name.to_owned(), text.to_owned());
        })
    }

    async fn count(&mut self, more: &[(String, u32)], _kept: Duration) -> Result<Vec<u64>, Away> {
        self.tables(|tables| {
            let counts = more.iter().map(|(name, more)| {
                let text = tables.texts.entry(name.clone()).or_default();
                let count = text.parse().unwrap_or(0) + u64::from(*more);
                *text = count.to_string();
                count
            });
            counts.collect()
        })
    }

    async fn texts(&mut self, names: &[String]) -> Result<Vec<Option<String>>, Away> {
        self.tables(|tables| {
            let texts = names.iter().map(|name| tables.texts.get(name).cloned());
            texts.collect()
        })
    }
}
