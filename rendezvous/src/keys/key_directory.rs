//! Where the keys lie: `keys.toml` and `access-key` in the state directory.

use std::path::PathBuf;

use p2pdbg_identity::{StateDir, StateError};
use p2pdbg_proto::url::AccessKey;

use super::file::{KeyFault, KeyFile, digest};

/// The name of the key whose secret stays at hand, for the URL.
pub const DEFAULT: &str = "default";

const FILE: &str = "keys.toml";

/// The secret of the key `default`.
const SECRET: &str = "access-key";

/// When the store of several nodes has confirmed the keys last, and the version that it had.
const CONFIRMED: &str = "keys-confirmed";

/// What several hosts have in common that take the same keys.
pub const KEY_FILES: [&str; 2] = [FILE, SECRET];

/// The file of a state directory with which a rendezvous has served once: the secret behind vouchers and resets.
pub(crate) const SERVER_SECRET: &str = "server-secret";

/// Why the keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The directory or a file in it cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The file is not one of keys.
    #[error("cannot read the keys in {}: {fault}; put it right, or put a backup in its place", path.display())]
    Damaged {
        /// The file that was read.
        path: PathBuf,
        /// What is wrong with it.
        fault: KeyFault,
    },
    /// There is none, and there were some.
    #[error(
        "there are no keys: {} is missing, with which a rendezvous has served; put a backup in its place, or start \
         p2pdbg-rendezvous anew, which makes a key that no peer has yet", path.display()
    )]
    Missing {
        /// The file that is not there.
        path: PathBuf,
    },
    /// What was asked for cannot be done.
    #[error(transparent)]
    Refused(#[from] KeyFault),
}

/// The keys of a state directory.
#[derive(Clone, Debug)]
pub struct KeyDirectory {
    state: StateDir,
}

impl KeyDirectory {
    /// Those of this state directory; nothing is read yet.
    pub fn new(state: StateDir) -> Self {
        Self { state }
    }

    /// The state directory that they lie in.
    pub(crate) fn directory(&self) -> &StateDir {
        &self.state
    }

    /// The keys, of which there have to be some: one made in their place would be another one, even with the secret of
    /// before, and shut everybody out.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(&self) -> Result<KeyFile, KeyError> {
        self.read()?.ok_or_else(|| KeyError::Missing {
            path: self.state.path().join(FILE),
        })
    }

    /// The keys, for what may come before the first start: as [`Self::load_or_make`] where nobody has served yet, and
    /// else as [`Self::load`].
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_begin(&self, unix_s: u64) -> Result<KeyFile, KeyError> {
        match self.state.read(SERVER_SECRET)? {
            Some(_) => self.load(),
            None => self.load_or_make(unix_s),
        }
    }

    /// The keys, for one that begins to serve. Where there are none yet, the key `default` is made, with the secret
    /// that is in `access-key` if there is one.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_make(&self, unix_s: u64) -> Result<KeyFile, KeyError> {
        let _lock = self.state.lock(FILE)?;
        if let Some(file) = self.read()? {
            return Ok(file);
        }
        let secret = self.state.secret16(SECRET)?;
        let mut file = KeyFile::default();
        let name = DEFAULT.parse().expect("a plain name");
        file.add(name, &secret, super::KeyLimits::default(), unix_s, None)?;
        self.state.write_atomically(FILE, file.text().as_bytes())?;
        Ok(file)
    }

    /// Changes the keys in one step, whatever other processes do meanwhile.
    ///
    /// # Errors
    /// [`KeyError`]; the file is as it was, then.
    pub fn change<T>(
        &self,
        unix_s: u64,
        change: impl FnOnce(&mut KeyFile) -> Result<T, KeyFault>,
    ) -> Result<T, KeyError> {
        // The one that is there from the start is not lost because the first command comes before the first start.
        self.load_or_begin(unix_s)?;
        let _lock = self.state.lock(FILE)?;
        let mut file = self.read()?.unwrap_or_default();
        let done = change(&mut file)?;
        self.state.write_atomically(FILE, file.text().as_bytes())?;
        Ok(done)
    }

    /// Makes the keys what they come to beside others, in one step, whatever other processes do meanwhile; gives them.
    ///
    /// # Errors
    /// [`KeyError`]; the file is as it was, then.
    pub(crate) fn update(
        &self,
        with: impl FnOnce(&KeyFile) -> KeyFile,
    ) -> Result<KeyFile, KeyError> {
        let _lock = self.state.lock(FILE)?;
        let before = self.read()?.unwrap_or_default();
        let after = with(&before);
        if after != before {
            // Nobody could read it again.
            after.check()?;
            self.state.write_atomically(FILE, after.text().as_bytes())?;
        }
        Ok(after)
    }

    /// Adds the keys of another directory, if both share theirs with other nodes; whether they do.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn take_from(&self, other: &Self) -> Result<bool, KeyError> {
        let (Some(own), Some(others)) = (self.read()?, other.read()?) else {
            return Ok(false);
        };
        let both = own.shared().is_some() && others.shared().is_some();
        if both {
            self.update(|own| own.join(&others))?;
        }
        Ok(both)
    }

    /// When the store has confirmed the keys last, in Unix seconds, and the highest version that it had.
    pub(crate) fn confirmed(&self) -> Option<(u64, u64)> {
        let bytes = self.state.read(CONFIRMED).ok()??;
        let text = String::from_utf8(bytes).ok()?;
        let (at, version) = text.trim().split_once(' ')?;
        Some((at.parse().ok()?, version.parse().ok()?))
    }

    /// Keeps that.
    ///
    /// # Errors
    /// As the state directory has them.
    pub(crate) fn keep_confirmed(&self, (at, version): (u64, u64)) -> Result<(), KeyError> {
        let text = format!("{at} {version}\n");
        Ok(self.state.write_atomically(CONFIRMED, text.as_bytes())?)
    }

    /// Keeps the secret of the key `default`, for the URL.
    ///
    /// # Errors
    /// As the state directory has them.
    pub fn keep_default(&self, secret: &AccessKey) -> Result<(), KeyError> {
        Ok(self.state.write_atomically(SECRET, secret.expose())?)
    }

    /// Removes it.
    ///
    /// # Errors
    /// As the state directory has them.
    pub fn drop_default(&self) -> Result<(), KeyError> {
        Ok(self.state.remove(SECRET)?)
    }

    /// The secret of the key `default`, if it is the one that `file` knows: a backup may have brought back one of the
    /// two files without the other.
    ///
    /// # Errors
    /// As the state directory has them.
    pub fn default_secret(&self, file: &KeyFile) -> Result<Option<AccessKey>, KeyError> {
        if self.state.read(SECRET)?.is_none() {
            return Ok(None);
        }
        let secret = self.state.secret16(SECRET)?;
        let key = file.find(&DEFAULT.parse().expect("a plain name"));
        let known = key.is_some_and(|key| key.sha256 == digest(&secret));
        Ok(known.then_some(secret))
    }

    fn read(&self) -> Result<Option<KeyFile>, KeyError> {
        let Some(bytes) = self.state.read(FILE)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let parsed = KeyFile::parse(&text).map_err(|fault| KeyError::Damaged {
            path: self.state.path().join(FILE),
            fault,
        });
        parsed.map(Some)
    }
}
