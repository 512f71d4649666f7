//! The part of the store's task that is about the keys which nodes share: it compares this node's copy with the store's
//! once a second, and gives each what the other lacks. What is made of the two, [`SharedKeys`] decides.

use p2pdbg_proto::node::NodeNumber;
use tokio::sync::{mpsc, oneshot};

use super::{ALIVE_FOR, Away, Directory, Text};
use crate::keys::{Basis, KeyDirectory, KeyError, KeyFile, KeyRing, KeySeal, SharedKeys};

/// How often the store is asked whether others have changed the keys.
pub(super) const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// How often in a row a node gives the store its keys, if another one does so at the same moment.
const ATTEMPTS: usize = 5;

/// The keys of a node, beside those of the store.
#[derive(Debug)]
pub(crate) struct KeySync {
    files: KeyDirectory,
    seal: KeySeal,
    open: bool,
    keys: SharedKeys,
    /// How the text begins that the store has and this node has read.
    known: String,
    /// Whether the operator was told that what is in the store was sealed by no node of this cluster.
    has_warned: bool,
    /// Keys that were given other names, old and new, of which no operator has been told.
    renamed: Vec<(String, String)>,
    /// What the registry was given last.
    told: Option<(KeyFile, Basis)>,
}

/// What an operator asks of the keys.
#[derive(Debug)]
pub(crate) enum KeyOrder {
    /// To read the file again, and give the store what it lacks.
    Reload {
        /// Whether the keys are to be shared from now on, if they are not.
        share: bool,
        /// Gets the version; none if the keys of this node are its own.
        reply: oneshot::Sender<Result<Option<Reloaded>, KeyError>>,
    },
    /// Which nodes have the keys of this version.
    Who {
        /// As [`Reloaded::version`] counts them.
        version: u64,
        /// Gets the nodes that have it, and those that live.
        reply: oneshot::Sender<(Vec<u8>, Vec<u8>)>,
    },
}

/// What has become of keys that were read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// Counts up with each change of the keys that nodes share.
    pub(crate) version: u64,
    /// Keys whose names others had.
    pub(crate) renamed: Vec<(String, String)>,
    /// Why the store has not got them yet, if it has not.
    pub(crate) away: Option<String>,
}

impl KeySync {
    /// The keys that lie there, as they are read now; a rendezvous that is `open` asks nobody for one.
    pub(crate) fn new(files: KeyDirectory, file: KeyFile, seal: KeySeal, open: bool) -> Self {
        let confirmed = files.confirmed();
        Self {
            files,
            seal,
            open,
            keys: SharedKeys::new(file, confirmed),
            known: String::new(),
            has_warned: false,
            renamed: Vec::new(),
            told: None,
        }
    }

    /// Whether they are shared.
    pub(super) fn are_shared(&self) -> bool {
        self.keys.file().shared().is_some()
    }

    /// Compares them with those of the store, and gives each what it lacks.
    ///
    /// # Errors
    /// When the store is of no use.
    pub(super) async fn look<D: Directory>(
        &mut self,
        directory: &mut D,
        own: NodeNumber,
        unix_s: u64,
    ) -> Result<(), Away> {
        if !self.are_shared() {
            return Ok(());
        }
        let place = format!("keys:{}", self.seal.place());
        for _ in 0..ATTEMPTS {
            let stored = match directory.text(&place, &self.known).await? {
                Text::Same => {
                    self.keys.confirm(unix_s);
                    break;
                }
                Text::Another(stored) => stored,
            };
            let opened = self.open(stored.as_deref());
            let beginning = stored.as_deref().map_or("", KeySeal::beginning);
            if !self.adopt(unix_s, opened.as_ref()) {
                self.known = beginning.to_owned();
                break;
            }
            let sealed = self.seal.seal(self.keys.file());
            if directory.replace(&place, beginning, &sealed).await? {
                self.known = KeySeal::beginning(&sealed).to_owned();
                self.keys.confirm(unix_s);
                break;
            }
        }
        if let Some(note) = self.keys.poll_note(unix_s)
            && let Err(error) = self.files.keep_confirmed(note)
        {
            tracing::warn!(%error, "cannot write down that the store has confirmed the keys");
        }
        let signed = self.seal.sign(own, self.keys.version());
        directory.put(&knows(own), &signed, ALIVE_FOR).await
    }

    /// The store has not said what it has.
    pub(super) fn on_away(&mut self) {
        self.keys.on_away();
    }

    /// The keys for the registry, if it has others yet.
    pub(super) fn poll_ring(&mut self, unix_s: u64) -> Option<KeyRing> {
        if !self.are_shared() {
            return None;
        }
        let basis = self.keys.basis(unix_s);
        let file = self.keys.file();
        let is_told = self.told.as_ref();
        if is_told.is_some_and(|(told, by)| told == file && *by == basis) {
            return None;
        }
        self.told = Some((file.clone(), basis));
        Some(KeyRing::new(file, self.open).known_by(basis))
    }

    /// Reads the file again, and gives the store what it lacks.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(super) async fn reload<D: Directory>(
        &mut self,
        directory: &mut D,
        own: NodeNumber,
        share: bool,
        unix_s: u64,
    ) -> Result<Option<Reloaded>, KeyError> {
        let disk = self.files.load()?;
        if disk.shared().is_none() {
            if !share {
                return Ok(None);
            }
            self.files.update(|file| {
                let mut file = file.clone();
                file.share();
                file
            })?;
        }
        let before = self.keys.file().clone();
        let file = self.files.update(|disk| match before.shared() {
            Some(_) => before.with_edits(disk),
            None => disk.clone(),
        })?;
        self.keys.on_file(file);
        // All of what the store has is wanted, and not only whether it is what it was.
        self.known.clear();
        let looked = self.look(directory, own, unix_s).await;
        let away = looked.err().map(|away| away.0);
        if away.is_some() {
            self.keys.on_away();
        }
        Ok(Some(Reloaded {
            version: self.keys.version(),
            renamed: std::mem::take(&mut self.renamed),
            away,
        }))
    }

    /// Those of these nodes that have the keys of this version.
    ///
    /// # Errors
    /// When the store is of no use.
    pub(super) async fn who<D: Directory>(
        &self,
        directory: &mut D,
        version: u64,
        nodes: &[NodeNumber],
    ) -> Result<Vec<u8>, Away> {
        let names: Vec<String> = nodes.iter().map(|node| knows(*node)).collect();
        let texts = directory.texts(&names).await?;
        let said = nodes.iter().zip(texts);
        let has = said.filter(|(node, text)| {
            let text = text.as_deref();
            let signed = text.and_then(|text| self.seal.signed(**node, text));
            signed.is_some_and(|signed| signed >= version)
        });
        Ok(has.map(|(node, _)| node.get()).collect())
    }

    fn open(&mut self, stored: Option<&str>) -> Option<KeyFile> {
        let opened = self.seal.open(stored?);
        if opened.is_none() && !self.has_warned {
            tracing::warn!(
                "what lies in the store as the shared keys was sealed by no node of this cluster; it is replaced"
            );
        }
        self.has_warned = opened.is_none();
        opened
    }

    /// Takes what the store has; whether it lacks something.
    fn adopt(&mut self, unix_s: u64, stored: Option<&KeyFile>) -> bool {
        let before = self.keys.version();
        let keys = &mut self.keys;
        let mut verdict = None;
        // It is seldom, and a small file: nobody but the store's task waits for it.
        let updated = self.files.update(|disk| {
            keys.on_file(keys.file().join(disk));
            verdict = Some(keys.on_stored(unix_s, stored));
            keys.file().clone()
        });
        if let Err(error) = updated {
            tracing::warn!(%error, "cannot write down the keys that nodes share; they hold until this one ends");
        }
        let verdict = verdict.unwrap_or_else(|| keys.on_stored(unix_s, stored));
        if verdict.fell_back {
            tracing::warn!(
                known = before,
                stored = stored.and_then(KeyFile::shared),
                "the store has older keys than it had before: it has lost some, or somebody has put back a copy; \
                 what this node knows holds, and is written again"
            );
        }
        for (before, after) in verdict.renamed {
            tracing::warn!(
                %before, %after,
                "the other nodes have another key of that name, so the one of this node is called otherwise now"
            );
            self.renamed.push((before.to_string(), after.to_string()));
        }
        verdict.write
    }
}

fn knows(node: NodeNumber) -> String {
    format!("knows:{node}")
}

/// The next thing that an operator asks of the keys; never without keys, or when nobody is left who could.
pub(super) async fn next_order(keys: &mut Option<(KeySync, mpsc::Receiver<KeyOrder>)>) -> KeyOrder {
    let order = match keys {
        Some((_, orders)) => orders.recv().await,
        None => None,
    };
    match order {
        Some(order) => order,
        None => std::future::pending().await,
    }
}
