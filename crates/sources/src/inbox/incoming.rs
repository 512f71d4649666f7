//! A file whose bytes are coming: written beside its place, and put there when it is what was offered.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use p2pdbg_proto::sources::{LineEnds, Offer, Refusal, Sha256 as Digest, Written};
use sha2::{Digest as _, Sha256};

use crate::{
    content::{Content, Converter},
    directory::{Attributes, Directory, refusal},
    partial_files,
};

/// A file of which bytes are awaited.
#[derive(Debug)]
pub struct Incoming {
    directory: Directory,
    name: String,
    pub(super) part: String,
    file: File,
    old: Option<Old>,
    executable: bool,
    hash: Sha256,
    have: u64,
    size: u64,
    sha256: Digest,
    convert: Option<(LineEnds, LineEnds)>,
}

/// The file that is to be replaced.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) attributes: Attributes,
    pub(super) content: Option<Content>,
    /// Whether nobody but this end has what is in it.
    pub(super) is_unique: bool,
}

impl Incoming {
    pub(super) fn open(
        directory: Directory,
        name: &str,
        old: Option<Old>,
        offer: &Offer,
    ) -> Result<Self, Refusal> {
        let part = partial_files::name_of(name, offer.sha256);
        // One that has another name too may be somebody else's.
        let file = directory.part(&part).map_err(|error| refusal(&error))?;
        let file = file.ok_or(Refusal::Path)?;
        let there = old
            .as_ref()
            .and_then(|old| old.content)
            .map(|content| content.ends);
        let mut incoming = Self {
            directory,
            name: name.to_owned(),
            part,
            file,
            executable: offer.executable,
            old,
            hash: Sha256::new(),
            have: 0,
            size: offer.size,
            sha256: offer.sha256,
            convert: there.map(|there| (offer.ends, there)),
        };
        incoming.take_up().map_err(|error| refusal(&error))?;
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

    /// Whether all bytes are there, so that it may be finished.
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
            return Err(refusal(&error));
        }
        self.hash.update(bytes);
        self.have = have;
        Ok(())
    }

    fn throw_away(&self) {
        let _ = self.directory.remove(&self.part);
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
        let converted = self.convert().map_err(|error| refusal(&error))?;
        let old = self.old.as_ref().map(|old| old.attributes);
        let failed = |error: io::Error| refusal(&error);
        let takes_its_place = self.directory.take_owner(&self.file, old).map_err(failed)?;
        self.directory
            .set_mode(&self.file, old, self.executable)
            .map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        let kept = self.keep_aside(takes_its_place).map_err(failed)?;
        if takes_its_place {
            self.directory
                .replace(&self.part, &self.name)
                .map_err(failed)?;
        } else {
            self.write_over().map_err(failed)?;
            self.throw_away();
        }
        self.directory.sync().map_err(failed)?;
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

    /// Keeps what is there beside it, if nobody else has it.
    fn keep_aside(&self, takes_its_place: bool) -> io::Result<Option<String>> {
        let Some(old) = self.old.as_ref().filter(|old| old.is_unique) else {
            return Ok(None);
        };
        let text = old.content.map_or([0; 32], |content| content.text);
        let tag = data_encoding::HEXLOWER.encode(&text[..4]);
        let kept = format!(".{}.{tag}.before", self.name);
        let made = match takes_its_place && self.directory.link(&self.name, &kept).or_else(there)? {
            true => Ok(()),
            false => self.copy_to(&kept),
        };
        made.map(|()| Some(kept))
    }

    fn copy_to(&self, kept: &str) -> io::Result<()> {
        let mut from = self.directory.read(&self.name)?;
        match self.directory.make(kept) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            to => io::copy(&mut from, &mut to?).map(drop),
        }
    }

    /// Writes the text into the file that is there.
    fn write_over(&mut self) -> io::Result<()> {
        let mut to = self.directory.overwrite(&self.name)?;
        self.file.seek(SeekFrom::Start(0))?;
        to.set_len(0)?;
        io::copy(&mut self.file, &mut to)?;
        to.sync_all()
    }
}

/// What was kept aside before need not be again.
fn there(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(true),
        _ => Err(error),
    }
}
