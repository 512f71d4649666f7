//! The state directory: where a program keeps what must outlive it and be nobody else's.
//!
//! Files are small and are replaced as a whole: written beside their name, forced to the disk, then renamed,
//! so that a reader, or the next start after a power cut, finds the old content or the new, never half of it.
//! What several processes may change at once is changed under a [`StateLock`].

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use etcetera::BaseStrategy;
use p2pdbg_proto::secret::{Secret, random_bytes};
use zeroize::Zeroizing;

use crate::{StateError, permissions};

/// The longest file that is read, in bytes: a thousand known peers fit, and a disk image does not.
const MAX_FILE: u64 = 1 << 20;

/// A directory of this user's alone.
///
/// On Unix it is refused if others may look into it, and so is each file. On Windows that is left to the
/// access list of the user's profile, where the default directory lies.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    /// The files, of one that is in memory alone.
    memory: Option<Arc<Memory>>,
}

/// Files of which nothing outlives the process. Their names are known, and there are few.
#[derive(Default)]
struct Memory(Mutex<HashMap<String, Zeroizing<Vec<u8>>>>);

impl Memory {
    fn files(&self) -> MutexGuard<'_, HashMap<String, Zeroizing<Vec<u8>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without what the files hold: a private key is among them.
impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

impl StateDir {
    /// Opens `path`, or the platform's directory for `program`'s state, making it if there is none.
    ///
    /// The platform's is `$XDG_STATE_HOME/PROGRAM` or `~/.local/state/PROGRAM` on Unix, and
    /// `%LOCALAPPDATA%\PROGRAM` on Windows.
    ///
    /// # Errors
    /// When the directory cannot be made or written to, is none, is another user's, or is open to others.
    pub fn open(path: Option<&Path>, program: &str) -> Result<Self, StateError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => default_path(program)?,
        };
        if is_unexpanded(&path) {
            return Err(StateError::Unexpanded(path));
        }
        match fs::metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => create(&path)?,
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(StateError::NotADirectory(path));
            }
            Err(error) => return Err(StateError::io("look at", &path)(error)),
        }
        // Looked at again after it was made: another process may have made it otherwise meanwhile.
        let metadata = fs::metadata(&path).map_err(StateError::io("look at", &path))?;
        if !metadata.is_dir() {
            return Err(StateError::NotADirectory(path));
        }
        permissions::check_directory(&path, &metadata)?;
        let dir = Self { path, memory: None };
        dir.check_writable()?;
        Ok(dir)
    }

    /// Opens it as [`open`](Self::open) does, but makes none; nothing if there is none, or it cannot be used.
    pub fn open_if_there(path: Option<&Path>, program: &str) -> Option<Self> {
        let path = path.map_or_else(|| default_path(program), |path| Ok(path.to_owned()));
        let path = path.ok().filter(|path| path.is_dir())?;
        Self::open(Some(&path), program).ok()
    }

    /// One that is in the memory of this process and nowhere else, for a host where nothing can be written:
    /// with it this host is a stranger to everybody each time.
    pub fn in_memory() -> Self {
        Self {
            path: PathBuf::new(),
            memory: Some(Arc::default()),
        }
    }

    /// Its path, as it was given; empty for one that is kept in memory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The secret of that name, drawn if there is none: 32 bytes.
    ///
    /// # Errors
    /// When the file cannot be read or written, is open to others, or has another length.
    pub fn secret32(&self, name: &str) -> Result<Secret<32>, StateError> {
        self.secret(name)
    }

    /// The secret of that name, drawn if there is none: 16 bytes.
    ///
    /// # Errors
    /// When the file cannot be read or written, is open to others, or has another length.
    pub fn secret16(&self, name: &str) -> Result<Secret<16>, StateError> {
        self.secret(name)
    }

    fn secret<const N: usize>(&self, name: &str) -> Result<Secret<N>, StateError> {
        let bytes = self.read_or_make(name, || Ok(Zeroizing::new(random_bytes::<N>().to_vec())))?;
        let bytes: [u8; N] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| StateError::Damaged {
                path: self.file(name),
                why: format!("it has {} bytes instead of {N}", bytes.len()),
                remedy: "delete it and a new one is made",
            })?;
        Ok(Secret::from_bytes(bytes))
    }

    /// What the file of that name holds, or `None` if there is none.
    ///
    /// # Errors
    /// When the file cannot be read, is longer than a mebibyte, is open to others or another user's.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(memory) = &self.memory {
            return Ok(memory.files().get(name).map(|bytes| bytes.to_vec()));
        }
        let path = self.file(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::io("open", &path)(error)),
        };
        let metadata = file.metadata().map_err(StateError::io("look at", &path))?;
        permissions::check_file(&path, &metadata)?;
        // Of the size it has now and one more, so that a buffer with a secret in it is not moved about.
        let capacity = usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or(0) + 1;
        let mut bytes = Vec::with_capacity(capacity);
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(StateError::io("read", &path))?;
        if bytes.len() as u64 > MAX_FILE {
            let why = format!("it has more than {MAX_FILE} bytes");
            let remedy = "move it out of the way";
            return Err(StateError::Damaged { path, why, remedy });
        }
        Ok(Some(bytes))
    }

    /// Puts `bytes` in the place of the file of that name, whole or not at all, readable by this user only.
    ///
    /// # Errors
    /// When the disk is full or the directory can no longer be written to, or there are more bytes than a mebibyte,
    /// which would not be read again; the file is as it was, then.
    pub fn write_atomically(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        if bytes.len() as u64 > MAX_FILE {
            let why = format!("it would have more than {MAX_FILE} bytes");
            let error = io::Error::new(ErrorKind::FileTooLarge, why);
            return Err(StateError::io("write", &self.file(name))(error));
        }
        if let Some(memory) = &self.memory {
            let bytes = Zeroizing::new(bytes.to_vec());
            memory.files().insert(name.to_owned(), bytes);
            return Ok(());
        }
        let path = self.file(name);
        let temporary = self.file(&format!(
            ".{name}.{:016x}.new",
            u64::from_be_bytes(random_bytes())
        ));
        let written = write_new(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path));
        if let Err(error) = written {
            // What is left over is of no use; that it cannot be removed changes nothing in the report.
            let _ = fs::remove_file(&temporary);
            return Err(StateError::io("write", &path)(error));
        }
        self.sync_names()
    }

    /// Removes the file of that name, if there is one.
    ///
    /// # Errors
    /// When the directory can no longer be written to.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        if let Some(memory) = &self.memory {
            memory.files().remove(name);
            return Ok(());
        }
        let path = self.file(name);
        match fs::remove_file(&path) {
            Ok(()) => self.sync_names(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StateError::io("remove", &path)(error)),
        }
    }

    /// Waits until no other process (and no other holder in this one) holds the lock of that name, and takes
    /// it, so that reading a file, changing it and writing it back is one step to all who do the same.
    ///
    /// The identity and the secrets take the lock of their file's name: who holds that already must not ask
    /// for them. The lock of a process that dies is released.
    ///
    /// # Errors
    /// When the lock's file cannot be made, or the file system knows no locks.
    pub fn lock(&self, name: &str) -> Result<StateLock, StateError> {
        if self.memory.is_some() {
            // No other process sees it, and this one changes it from one task.
            return Ok(StateLock { _file: None });
        }
        let path = self.file(&format!(".{name}.lock"));
        let file = open_lock(&path).map_err(StateError::io("open", &path))?;
        loop {
            match file.lock() {
                Ok(()) => return Ok(StateLock { _file: Some(file) }),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(StateError::io("lock", &path)(error)),
            }
        }
    }

    /// Takes the lock of that name if nobody holds it.
    ///
    /// # Errors
    /// As with [`Self::lock`].
    pub fn try_lock(&self, name: &str) -> Result<Option<StateLock>, StateError> {
        if self.memory.is_some() {
            return Ok(Some(StateLock { _file: None }));
        }
        let path = self.file(&format!(".{name}.lock"));
        let file = open_lock(&path).map_err(StateError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(StateLock { _file: Some(file) })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(StateError::io("lock", &path)(error)),
        }
    }

    /// What the file of that name holds; if there is none, what `make` makes, which is then in the file.
    /// Processes that do this at once get the same bytes.
    pub(crate) fn read_or_make(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, StateError>,
    ) -> Result<Zeroizing<Vec<u8>>, StateError> {
        if let Some(bytes) = self.read(name)? {
            return Ok(Zeroizing::new(bytes));
        }
        let _lock = self.lock(name)?;
        if let Some(bytes) = self.read(name)? {
            return Ok(Zeroizing::new(bytes));
        }
        let bytes = make()?;
        self.write_atomically(name, &bytes)?;
        Ok(bytes)
    }

    /// The path of a file in the directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        debug_assert!(
            !name.contains(['/', '\\', '\0']),
            "names of state files are the program's own"
        );
        self.path.join(name)
    }

    /// Finds out now, rather than in the middle of a pairing, that the disk is read-only.
    fn check_writable(&self) -> Result<(), StateError> {
        match open_lock(&self.file(".writable.lock")) {
            Ok(_) => Ok(()),
            Err(error) => Err(StateError::NotWritable {
                path: self.path.clone(),
                why: error.to_string(),
            }),
        }
    }

    /// Forces a rename or removal to the disk. Windows has no such call; its renames are journalled.
    fn sync_names(&self) -> Result<(), StateError> {
        #[cfg(unix)]
        File::open(&self.path)
            .and_then(|dir| dir.sync_all())
            .map_err(StateError::io("sync", &self.path))?;
        Ok(())
    }
}

/// A lock of a [`StateDir`], held until it is dropped.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct StateLock {
    _file: Option<File>,
}

/// Whether a path begins with what only a shell puts something in for: `~`, `~NAME`, `$VARIABLE` or `%VARIABLE%`.
pub fn is_unexpanded(path: &Path) -> bool {
    let first = path.components().next();
    first.is_some_and(|first| {
        first
            .as_os_str()
            .to_string_lossy()
            .starts_with(['~', '$', '%'])
    })
}

fn default_path(program: &str) -> Result<PathBuf, StateError> {
    let strategy = etcetera::choose_base_strategy().map_err(|_| StateError::NoHome)?;
    // Windows has no directory for state; a private key does not belong in the roaming profile, which is
    // copied to servers, so it goes to the local one, which etcetera calls the cache.
    let base = strategy.state_dir().unwrap_or_else(|| strategy.cache_dir());
    Ok(base.join(program))
}

fn create(path: &Path) -> Result<(), StateError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let failed = |source| StateError::Create {
        path: path.to_owned(),
        source,
    };
    builder.create(path).map_err(failed)?;
    #[cfg(windows)]
    if let Err(error) = permissions::close_directory(path) {
        let profile = std::env::var_os("USERPROFILE").map(PathBuf::from);
        if !profile.is_some_and(|profile| path.starts_with(profile)) {
            // Left behind it would be taken the next time for one that its user has made so.
            let _ = fs::remove_dir(path);
            return Err(failed(error));
        }
        tracing::warn!(%error, "the state directory has the access list of the user's profile");
    }
    Ok(())
}

/// Writes a file that does not exist yet, and forces it to the disk.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private(OpenOptions::new().write(true).create_new(true)).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    private(options.read(true).write(true).create(true).truncate(false)).open(path)
}

/// Makes the file that `options` create this user's alone.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}
