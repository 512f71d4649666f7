//! The directory into which files may be copied from the other end.
//!
//! Every part of a path is opened below the one before it, and never through a link, so that no name and no link leads
//! out, whatever is changed meanwhile. A file is written beside its place under a name of our own and renamed when all
//! of it is there and is what was offered. What was interrupted is kept there and goes on the next time.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::OwnedFd,
    path::Path,
};

use p2pdbg_proto::sources::{Offer, Refusal, Sha256 as Digest};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::SourceName;

/// The longest file that is taken, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// How a directory on the way is opened.
const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory for copies.
#[derive(Debug)]
pub struct Inbox {
    root: OwnedFd,
}

/// What becomes of an offered file.
#[derive(Debug)]
pub enum Begun {
    /// The file there is the same.
    Same,
    /// Its bytes are wanted.
    Wanted(Box<Incoming>),
}

/// A file of which bytes are awaited.
#[derive(Debug)]
pub struct Incoming {
    directory: OwnedFd,
    name: String,
    part: String,
    file: File,
    mode: Mode,
    hash: Sha256,
    have: u64,
    size: u64,
    sha256: Digest,
}

impl Inbox {
    /// Opens the directory.
    ///
    /// # Errors
    /// If there is none, or it may not be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { root })
    }

    /// Looks what is there of an offered file. Blocks for as long as it takes to read it.
    ///
    /// # Errors
    /// If the file is not taken.
    pub fn begin(&self, offer: &Offer) -> Result<Begun, Refusal> {
        let name: SourceName = offer.name.parse().map_err(|_| Refusal::Name)?;
        // What Git runs by itself is not for others to write.
        if name.parts().any(|part| part.eq_ignore_ascii_case(".git")) {
            return Err(Refusal::Name);
        }
        if offer.size > MAX_FILE {
            return Err(Refusal::Limit);
        }
        let mut directory = self.root.try_clone().map_err(|_| Refusal::Disk)?;
        let mut parts = name.parts().peekable();
        let leaf = loop {
            let part = parts.next().ok_or(Refusal::Name)?;
            if parts.peek().is_none() {
                break part;
            }
            directory = below(&directory, part)?;
        };
        let mode = match rustix::fs::statat(&directory, leaf, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Some(Mode::from_raw_mode(stat.st_mode)),
                FileType::Symlink => return Err(Refusal::Path),
                _ => return Err(Refusal::NotAFile),
            },
            Err(Errno::NOENT) => None,
            Err(error) => return Err(refusal(error)),
        };
        if mode.is_some() && holds(&directory, leaf, offer.sha256) {
            return Ok(Begun::Same);
        }
        let fresh = if offer.executable { 0o755 } else { 0o644 };
        let mode = mode.unwrap_or(Mode::from_raw_mode(fresh));
        Incoming::open(directory, leaf, mode, offer)
            .map(|incoming| Begun::Wanted(Box::new(incoming)))
    }
}

impl Incoming {
    fn open(directory: OwnedFd, name: &str, mode: Mode, offer: &Offer) -> Result<Self, Refusal> {
        let mut tag = Sha256::new_with_prefix(name);
        tag.update(offer.sha256);
        let tag = data_encoding::HEXLOWER.encode(&tag.finalize()[..12]);
        let part = format!(".p2pdbg-{tag}.part");
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, &part, flags, Mode::RUSR | Mode::WUSR)
            .map_err(refusal)?;
        let stat = rustix::fs::fstat(&file).map_err(refusal)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        // One that has another name too may be somebody else's.
        if !is_file || stat.st_nlink != 1 || stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Refusal::Path);
        }
        let mut incoming = Self {
            directory,
            name: name.to_owned(),
            part,
            file: File::from(file),
            mode,
            hash: Sha256::new(),
            have: 0,
            size: offer.size,
            sha256: offer.sha256,
        };
        incoming.take_up().map_err(|_| Refusal::Disk)?;
        Ok(incoming)
    }

    /// Reads what has come earlier.
    fn take_up(&mut self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length > self.size {
            return self.file.set_len(0);
        }
        self.have = io::copy(
            &mut Read::by_ref(&mut self.file).take(length),
            &mut self.hash,
        )?;
        self.file.seek(SeekFrom::Start(self.have))?;
        Ok(())
    }

    /// How many bytes are there.
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Whether all are there.
    pub fn is_complete(&self) -> bool {
        self.have >= self.size
    }

    /// Adds the next bytes.
    ///
    /// # Errors
    /// If there are more than were offered, or they cannot be written.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let have = self.have + bytes.len() as u64;
        if have > self.size {
            return Err(Refusal::Content);
        }
        self.file.write_all(bytes).map_err(|_| Refusal::Disk)?;
        self.hash.update(bytes);
        self.have = have;
        Ok(())
    }

    /// Puts the file in its place, if it is what was offered.
    ///
    /// # Errors
    /// If it is not; it is thrown away, then. Or if the directory cannot be written to.
    pub fn finish(self) -> Result<(), Refusal> {
        let digest: Digest = self.hash.clone().finalize().into();
        if !self.is_complete() || digest != self.sha256 {
            let _ = rustix::fs::unlinkat(&self.directory, &self.part, AtFlags::empty());
            return Err(Refusal::Content);
        }
        rustix::fs::fchmod(&self.file, self.mode).map_err(refusal)?;
        self.file.sync_all().map_err(|_| Refusal::Disk)?;
        // A link that has come in between is replaced, not followed.
        rustix::fs::renameat(&self.directory, &self.part, &self.directory, &self.name)
            .map_err(refusal)?;
        rustix::fs::fsync(&self.directory).map_err(refusal)
    }
}

/// A directory within another one, made if there is none.
fn below(directory: &OwnedFd, name: &str) -> Result<OwnedFd, Refusal> {
    let open = || rustix::fs::openat(directory, name, DIRECTORY, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {
            match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(refusal(error)),
            }
            open().map_err(refusal)
        }
        result => result.map_err(refusal),
    }
}

/// Whether a file holds this already.
fn holds(directory: &OwnedFd, name: &str, sha256: Digest) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(directory, name, flags, Mode::empty()) else {
        return false;
    };
    let mut hash = Sha256::new();
    let copied = io::copy(&mut File::from(file).take(MAX_FILE), &mut hash);
    copied.is_ok() && <Digest>::from(hash.finalize()) == sha256
}

fn refusal(error: Errno) -> Refusal {
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::MLINK => Refusal::Path,
        Errno::ISDIR => Refusal::NotAFile,
        Errno::NAMETOOLONG => Refusal::Name,
        _ => Refusal::Disk,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn offer(name: &str, text: &str) -> Offer {
        Offer {
            name: name.to_owned(),
            size: text.len() as u64,
            sha256: Sha256::digest(text).into(),
            executable: false,
        }
    }

    #[track_caller]
    fn wanted(inbox: &Inbox, offer: &Offer) -> Box<Incoming> {
        match inbox.begin(offer) {
            Ok(Begun::Wanted(incoming)) => incoming,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn put(inbox: &Inbox, name: &str, text: &str) {
        let mut incoming = wanted(inbox, &offer(name, text));
        incoming.add(text.as_bytes()).unwrap();
        incoming.finish().unwrap();
    }

    #[test]
    fn a_file_is_put_in_its_place_with_the_directories_to_it_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        put(&inbox, "web/api/a.py", "new");
        let path = dir.path().join("web/api/a.py");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        put(&inbox, "web/api/a.py", "newer");
        assert_eq!(fs::read_to_string(&path).unwrap(), "newer");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(matches!(
            inbox.begin(&offer("web/api/a.py", "newer")),
            Ok(Begun::Same)
        ));
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left over"
        );
    }

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let outside = dir.path().join("outside");
        fs::create_dir_all(root.join("d")).unwrap();
        fs::create_dir_all(root.join(".git/hooks")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("victim"), "old").unwrap();
        symlink(&outside, root.join("out")).unwrap();
        symlink(outside.join("victim"), root.join("link")).unwrap();
        symlink("..", root.join("d/up")).unwrap();
        let inbox = Inbox::open(&root).unwrap();
        for (name, expected) in [
            ("../outside/victim", Refusal::Name),
            ("/etc/passwd", Refusal::Name),
            ("d/../../outside/victim", Refusal::Name),
            ("a\0b", Refusal::Name),
            ("a\u{1b}[2J", Refusal::Name),
            (".git/hooks/pre-commit", Refusal::Name),
            ("d/.GIT/config", Refusal::Name),
            ("out/victim", Refusal::Path),
            ("d/up/d/x", Refusal::Path),
            ("link", Refusal::Path),
            ("d", Refusal::NotAFile),
        ] {
            let refused = inbox.begin(&offer(name, "evil")).unwrap_err();
            assert_eq!(refused, expected, "{name:?}");
        }
        assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "old");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        let large = Offer {
            size: MAX_FILE + 1,
            ..offer("a", "")
        };
        assert_eq!(inbox.begin(&large).unwrap_err(), Refusal::Limit);
    }

    #[test]
    fn a_link_that_is_waiting_under_the_name_of_the_part_is_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        let part = wanted(&inbox, &offer("a", "text")).part;
        let victim = dir.path().join("victim");
        fs::write(&victim, "old").unwrap();
        fs::remove_file(dir.path().join(&part)).unwrap();
        symlink(&victim, dir.path().join(&part)).unwrap();
        assert_eq!(inbox.begin(&offer("a", "text")).unwrap_err(), Refusal::Path);
        fs::remove_file(dir.path().join(&part)).unwrap();
        fs::hard_link(&victim, dir.path().join(&part)).unwrap();
        assert_eq!(inbox.begin(&offer("a", "text")).unwrap_err(), Refusal::Path);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "old");
    }

    #[test]
    fn what_was_interrupted_goes_on_and_the_old_file_stays_until_all_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        fs::write(dir.path().join("a"), "old").unwrap();
        let offer = offer("a", "0123456789");
        wanted(&inbox, &offer).add(b"01234").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "old");
        let mut incoming = wanted(&inbox, &offer);
        assert_eq!(incoming.have(), 5);
        incoming.add(b"56789").unwrap();
        incoming.finish().unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("a")).unwrap(),
            "0123456789"
        );
    }

    #[test]
    fn what_is_not_what_was_offered_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = Inbox::open(dir.path()).unwrap();
        fs::write(dir.path().join("a"), "old").unwrap();
        let offer = offer("a", "good");
        let mut incoming = wanted(&inbox, &offer);
        assert_eq!(incoming.add(b"too long"), Err(Refusal::Content));
        incoming.add(b"evil").unwrap();
        assert_eq!(incoming.finish(), Err(Refusal::Content));
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
