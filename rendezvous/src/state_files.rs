//! What the state directory holds of a rendezvous that serves: its identity, keys and secrets, and that it is in use.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use p2pdbg_identity::{IDENTITY_FILE, Identity, StateDir, StateError, StateLock};
use p2pdbg_proto::{secret::Secret, url::AccessKey};

use crate::{
    cluster_node,
    config::ServerConfig,
    keys::{KeyDirectory, KeyError, KeyFile, SERVER_SECRET, unix_s},
    start_error::StartError,
    ticket_codec::TicketKey,
};

/// The name of the directory that the state lies in, unless told otherwise.
pub const PROGRAM: &str = "p2pdbg-rendezvous";

/// The file with the URL, without a key, under which the rendezvous served last: `keys` and `url` complete it.
pub const LAST_URL: &str = "url";

/// The state as it is read, or made, when the rendezvous begins.
pub(crate) struct StateFiles {
    pub(crate) directory: StateDir,
    /// The certificate that peers pin, or that the authority of a cluster has issued.
    pub(crate) identity: Identity,
    /// Reads the keys again when an operator asks for it.
    pub(crate) key_directory: KeyDirectory,
    /// The keys that let peers in.
    pub(crate) keys: KeyFile,
    /// The key that the URL has in it; none where it is revoked.
    pub(crate) access_key: Option<AccessKey>,
    /// Whether a process has served with this directory before.
    pub(crate) has_served: bool,
    /// Behind resets and connection ids, and behind vouchers unless `cluster_secret` is.
    pub(crate) secret: Secret<32>,
    /// What this node shares with the others, if it is one of several.
    pub(crate) cluster_secret: Option<Secret<32>>,
    /// Opens the tickets of other nodes' sessions, if this is one of several or relays for them.
    pub(crate) tickets: Option<TicketKey>,
    /// By how much the clock is behind the newest of the files, which it cannot be if it is right.
    pub(crate) clock_behind: Duration,
}

impl StateFiles {
    /// Opens the directory and makes what is not there yet, but nothing where this process goes on in the place of one
    /// that has served with it. Nobody else serves with the directory while the lock is held.
    ///
    /// # Errors
    /// When it cannot be read or written, or another process serves with it.
    pub(crate) fn open(
        config: &ServerConfig,
        goes_on: bool,
    ) -> Result<(Self, StateLock), StartError> {
        let directory = StateDir::open(config.state.as_deref(), PROGRAM)?;
        let lock = directory
            .try_lock("serving")?
            .ok_or_else(|| StartError::AlreadyServing(directory.path().to_owned()))?;
        if goes_on {
            nothing_is_missing(&directory)?;
        }
        Ok((Self::read_or_make(config, directory)?, lock))
    }

    /// Whether another process could go on with this directory in the place of the one that serves with it. Nothing is
    /// made.
    ///
    /// # Errors
    /// What would keep that one from it.
    pub(crate) fn can_be_inherited(config: &ServerConfig, path: &Path) -> Result<(), StartError> {
        if !path.is_dir() {
            return Err(StartError::Missing(path.to_owned()));
        }
        let look = || {
            let directory = StateDir::open(Some(path), PROGRAM)?;
            nothing_is_missing(&directory)?;
            let state = Self::read_or_make(config, directory)?;
            let has_secret = state.cluster_secret.is_some();
            cluster_node::authority(config, &state.identity, has_secret)?;
            cluster_node::can_be_followed(config, &state.directory)
        };
        look().map_err(mended_by_a_backup)
    }

    fn read_or_make(config: &ServerConfig, directory: StateDir) -> Result<Self, StartError> {
        let identity = Identity::load_or_make(&directory)?;
        let key_directory = KeyDirectory::new(directory.clone());
        let keys = key_directory.load_or_make(unix_s())?;
        let access_key = key_directory.default_secret(&keys)?;
        let has_served = directory.read(SERVER_SECRET)?.is_some();
        let secret = directory.secret32(SERVER_SECRET)?;
        let cluster_secret = cluster_node::secret(&directory)?;
        let tickets = cluster_node::ticket_key(config, &directory, cluster_secret.as_ref())?;
        let clock_behind = clock_behind(directory.path(), SystemTime::now());
        Ok(Self {
            directory,
            identity,
            key_directory,
            keys,
            access_key,
            has_served,
            secret,
            cluster_secret,
            tickets,
            clock_behind,
        })
    }

    /// What vouchers are made with: all nodes of a cluster take each other's.
    pub(crate) fn voucher_secret(&self) -> &Secret<32> {
        self.cluster_secret.as_ref().unwrap_or(&self.secret)
    }

    /// Keeps the URL for commands that run while the rendezvous does not.
    pub(crate) fn remember_url(&self, url_without_key: &str) {
        if let Err(error) = self
            .directory
            .write_atomically(LAST_URL, url_without_key.as_bytes())
        {
            tracing::warn!(%error, "cannot keep the URL for `p2pdbg-rendezvous url`");
        }
    }
}

/// Whether everything is there that a process has served with and another one is to go on with in its place: what that
/// one would make instead would be another, and shut everybody out.
fn nothing_is_missing(directory: &StateDir) -> Result<(), StartError> {
    for file in [IDENTITY_FILE, SERVER_SECRET] {
        if directory.read(file)?.is_none() {
            return Err(StartError::Missing(directory.path().join(file)));
        }
    }
    KeyDirectory::new(directory.clone()).load()?;
    Ok(())
}

/// What is damaged is not to be deleted while a process serves with what it held: another one would shut peers out.
fn mended_by_a_backup(error: StartError) -> StartError {
    let (StartError::State(StateError::Damaged { path, why, .. })
    | StartError::Keys(KeyError::State(StateError::Damaged { path, why, .. }))) = error
    else {
        return error;
    };
    StartError::State(StateError::Damaged {
        path,
        why,
        remedy: "put a backup in its place; without one, p2pdbg-rendezvous does not start again either",
    })
}

/// By how much the clock is behind the newest file of this directory, which it cannot be.
fn clock_behind(directory: &Path, now: SystemTime) -> Duration {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let written = files.filter_map(|file| file.metadata().ok()?.modified().ok());
    let newest = written.max().unwrap_or(now);
    newest.duration_since(now).unwrap_or_default()
}
