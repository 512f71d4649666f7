//! A file whose bytes are coming: written beside its place, and put there when it is what was offered.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::OwnedFd,
};

use p2pdbg_proto::sources::{LineEnds, Offer, Refusal, Sha256 as Digest, Written};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid},
    io::Errno,
};
use sha2::{Digest as _, Sha256};

use super::{full_or, refusal};
use crate::{
    content::{Content, Converter},
    parts,
};

/// A file of which bytes are awaited.
#[derive(Debug)]
pub struct Incoming {
    directory: OwnedFd,
    name: String,
    pub(super) part: String,
    file: File,
    old: Option<Old>,
    mode: Mode,
    hash: Sha256,
    have: u64,
    size: u64,
    sha256: Digest,
    convert: Option<(LineEnds, LineEnds)>,
}

/// The file that is to be replaced.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) stat: Stat,
    pub(super) content: Option<Content>,
    /// Whether nobody but this end has what is in it.
    pub(super) is_unique: bool,
}

impl Incoming {
    pub(super) fn open(
        directory: OwnedFd,
        name: &str,
        old: Option<Old>,
        offer: &Offer,
    ) -> Result<Self, Refusal> {
        let part = parts::name_of(name, offer.sha256);
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
        let there = old
            .as_ref()
            .and_then(|old| old.content)
            .map(|content| content.ends);
        let fresh = Mode::from_raw_mode(0o644);
        let mode = old
            .as_ref()
            .map(|old| Mode::from_raw_mode(old.stat.st_mode));
        let mut incoming = Self {
            directory,
            name: name.to_owned(),
            part,
            file: File::from(file),
            mode: with_execution(mode.unwrap_or(fresh), offer.executable),
            old,
            hash: Sha256::new(),
            have: 0,
            size: offer.size,
            sha256: offer.sha256,
            convert: there.map(|there| (offer.ends, there)),
        };
        incoming.take_up().map_err(|error| full_or(&error))?;
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
    /// If there are more than were offered, or they cannot be written; what has come is thrown away, then.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let have = self.have + bytes.len() as u64;
        if have > self.size {
            return Err(Refusal::Content);
        }
        // On a full disk the part would keep it full.
        if let Err(error) = self.file.write_all(bytes) {
            self.throw_away();
            return Err(full_or(&error));
        }
        self.hash.update(bytes);
        self.have = have;
        Ok(())
    }

    fn throw_away(&self) {
        let _ = rustix::fs::unlinkat(&self.directory, &self.part, AtFlags::empty());
    }

    /// Puts the file in its place, if it is what was offered.
    ///
    /// # Errors
    /// If it is not, or the directory cannot be written to. It is thrown away, then.
    pub fn finish(mut self) -> Result<Written, Refusal> {
        let put = self.put();
        if put.is_err() {
            self.throw_away();
        }
        put
    }

    fn put(&mut self) -> Result<Written, Refusal> {
        let digest: Digest = self.hash.clone().finalize().into();
        if !self.is_complete() || digest != self.sha256 {
            return Err(Refusal::Content);
        }
        let converted = self.convert().map_err(|error| full_or(&error))?;
        let takes_its_place = self.take_owner()?;
        rustix::fs::fchmod(&self.file, self.mode).map_err(refusal)?;
        self.file.sync_all().map_err(|error| full_or(&error))?;
        let kept = self.keep_aside(takes_its_place)?;
        if takes_its_place {
            // A link that has come in between is replaced, not followed.
            rustix::fs::renameat(&self.directory, &self.part, &self.directory, &self.name)
                .map_err(refusal)?;
        } else {
            self.write_over().map_err(|error| full_or(&error))?;
            self.throw_away();
        }
        rustix::fs::fsync(&self.directory).map_err(refusal)?;
        Ok(Written { kept, converted })
    }

    /// Gives the text the line ends of the file that is there.
    fn convert(&mut self) -> io::Result<bool> {
        let between = self
            .convert
            .and_then(|(from, to)| Converter::between(from, to));
        let Some(mut converter) = between else {
            return Ok(false);
        };
        let (mut text, mut out) = (Vec::new(), Vec::new());
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut text)?;
        converter.convert(&text, &mut out);
        converter.finish(&mut out);
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&out)?;
        Ok(true)
    }

    /// Makes the file that of the user and group whose the old one was, or the directory. `false` if that cannot be:
    /// then the old one is written over, in whose place no other may be put.
    fn take_owner(&self) -> Result<bool, Refusal> {
        let own = rustix::fs::fstat(&self.file).map_err(refusal)?;
        let wanted = match &self.old {
            Some(old) => old.stat,
            None => rustix::fs::fstat(&self.directory).map_err(refusal)?,
        };
        if (own.st_uid, own.st_gid) == (wanted.st_uid, wanted.st_gid) {
            return Ok(true);
        }
        let (user, group) = (Uid::from_raw(wanted.st_uid), Gid::from_raw(wanted.st_gid));
        if rustix::fs::fchown(&self.file, Some(user), Some(group)).is_ok() {
            return Ok(true);
        }
        let has_group = own.st_gid == wanted.st_gid
            || rustix::fs::fchown(&self.file, None, Some(group)).is_ok();
        Ok(self.old.is_none() || (has_group && own.st_uid == wanted.st_uid))
    }

    /// Keeps what is there beside it, if nobody else has it.
    fn keep_aside(&self, takes_its_place: bool) -> Result<Option<String>, Refusal> {
        let Some(old) = self.old.as_ref().filter(|old| old.is_unique) else {
            return Ok(None);
        };
        let text = old.content.map_or([0; 32], |content| content.text);
        let tag = data_encoding::HEXLOWER.encode(&text[..4]);
        let kept = format!(".{}.{tag}.before", self.name);
        let made = match takes_its_place {
            true => rustix::fs::linkat(
                &self.directory,
                self.name.as_str(),
                &self.directory,
                kept.as_str(),
                AtFlags::empty(),
            ),
            false => self.copy_to(&kept),
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => Ok(Some(kept)),
            // A file system without hard links.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK | Errno::XDEV) => {
                let copied = self.copy_to(&kept);
                copied.map(|()| Some(kept)).map_err(refusal)
            }
            Err(error) => Err(refusal(error)),
        }
    }

    fn copy_to(&self, kept: &str) -> rustix::io::Result<()> {
        let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let from = rustix::fs::openat(&self.directory, self.name.as_str(), read, Mode::empty())?;
        let to = match rustix::fs::openat(&self.directory, kept, write, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => return Ok(()),
            to => to?,
        };
        let copied = io::copy(&mut File::from(from), &mut File::from(to));
        copied
            .map(drop)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Writes the text into the file that is there.
    fn write_over(&mut self) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let to = rustix::fs::openat(&self.directory, self.name.as_str(), flags, Mode::empty())?;
        let mut to = File::from(to);
        self.file.seek(SeekFrom::Start(0))?;
        to.set_len(0)?;
        io::copy(&mut self.file, &mut to)?;
        to.sync_all()
    }
}

/// A mode in which whoever may read may run as well, if that is asked for.
pub(super) fn with_execution(mode: Mode, executable: bool) -> Mode {
    let bits = mode.as_raw_mode() & 0o7777;
    let run = if executable { (bits & 0o444) >> 2 } else { 0 };
    Mode::from_raw_mode(bits | run)
}
