//! A file whose bytes are coming: written beside its place, and put there when it is what was offered.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use p2pdbg_proto::sources::{LineEnds, Offer, Refusal, Sha256 as Digest, Written};
use sha2::{Digest as _, Sha256};

use super::overwritten::{Old, look};
use crate::{
    content::Converter,
    directory::{Directory, refusal},
    partial_files,
};

/// So many versions of one beginning are kept beside a file at the most.
const MOST_KEPT: usize = 100;

/// So many bytes of a file's name are in the name of what is kept of it.
const MOST_OF_NAME: usize = 200;

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
    /// How its lines end as they come.
    ends: LineEnds,
    /// From which line ends to which, where a file is there.
    convert: Option<(LineEnds, LineEnds)>,
}

/// Where what was there before is kept.
struct Kept {
    name: String,
    /// Whether it was not kept there before.
    is_new: bool,
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
            ends: offer.ends,
            convert: there.map(|there| (offer.ends, there)),
        };
        if let Err(error) = incoming.take_up() {
            incoming.throw_away();
            return Err(refusal(&error));
        }
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
        let replaced = self.old.is_some().then_some(self.name.as_str());
        // First the list, whose mask is in the mode.
        let takes_its_place = self.directory.take_owner(&self.file, old).map_err(failed)?
            && self.directory.take_lists(&self.file, replaced);
        self.directory
            .set_mode(&self.file, old, self.executable)
            .map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        self.is_as_it_was()?;
        let mut kept = None;
        if !takes_its_place || !self.take_place(&mut kept).map_err(failed)? {
            let to = self.with_room().map_err(failed)?;
            kept = self.keep_aside(false).map_err(failed)?;
            self.write_over(to).map_err(failed)?;
            self.throw_away();
        }
        if let Some(Kept { name, is_new: true }) = &kept {
            // It has the inode of what was there, and so its mode.
            self.directory.disarm(name).map_err(failed)?;
        }
        self.directory.sync().map_err(failed)?;
        let kept = kept.map(|kept| kept.name);
        Ok(Written { kept, converted })
    }

    /// Puts the file in the place of the one that is there, and keeps that; `false` if nothing can be put there, and
    /// all is as it was.
    fn take_place(&self, kept: &mut Option<Kept>) -> io::Result<bool> {
        *kept = self.keep_aside(true)?;
        let replaced = self.directory.replace(&self.part, &self.name);
        if !matches!(replaced, Ok(true))
            && let Some(Kept { name, is_new: true }) = kept.take()
        {
            let _ = self.directory.remove(&name);
        }
        replaced
    }

    /// Fails if what is there is not what was looked at in the beginning: somebody has written it meanwhile, and it is
    /// not known whether anybody else has that.
    fn is_as_it_was(&self) -> Result<(), Refusal> {
        let entry = self.directory.entry(&self.name);
        let version = entry.map_err(|error| refusal(&error))?;
        let version = version.map(|entry| entry.version);
        match version == self.old.as_ref().map(|old| old.version) {
            true => Ok(()),
            false => Err(Refusal::Content),
        }
    }

    /// Whether it names its interpreter, which Unix does not find with a CR behind it.
    fn is_script(&mut self) -> io::Result<bool> {
        let mut beginning = [0; 2];
        self.file.seek(SeekFrom::Start(0))?;
        let length = self.file.read(&mut beginning)?;
        Ok(beginning[..length] == *b"#!")
    }

    /// Gives the text the line ends of the file that is there, or a new script those with which it runs.
    fn convert(&mut self) -> io::Result<bool> {
        let is_new_script = self.old.is_none() && cfg!(unix) && self.is_script()?;
        let ends = match is_new_script {
            true => Some((self.ends, LineEnds::Lf)),
            false => self.convert,
        };
        let between = ends.and_then(|(from, to)| Converter::between(from, to));
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
    fn keep_aside(&self, takes_its_place: bool) -> io::Result<Option<Kept>> {
        let Some(old) = self.old.as_ref().filter(|old| old.is_unique) else {
            return Ok(None);
        };
        let text = old.content.map_or([0; 32], |content| content.text);
        let tag = data_encoding::HEXLOWER.encode(&text[..4]);
        // A name of 255 bytes leaves no room for more.
        let name = &self.name[..self.name.floor_char_boundary(MOST_OF_NAME)];
        let names = (0..MOST_KEPT).map(|n| match n {
            0 => format!(".{name}.{tag}.before"),
            n => format!(".{name}.{tag}-{n}.before"),
        });
        for kept in names {
            match self.second(&kept, takes_its_place) {
                Ok(()) => {
                    return Ok(Some(Kept {
                        name: kept,
                        is_new: true,
                    }));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            // What was kept before need not be again; half of it, or something else of that name, is not it.
            let there = look(&self.directory, &kept).map(|(content, _)| content);
            if there.is_some() && there == old.content {
                return Ok(Some(Kept {
                    name: kept,
                    is_new: false,
                }));
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Gives what is there a second name, or makes a copy where that would be written over too.
    fn second(&self, kept: &str, takes_its_place: bool) -> io::Result<()> {
        match takes_its_place && self.directory.link(&self.name, kept)? {
            true => Ok(()),
            false => self.copy_to(kept),
        }
    }

    fn copy_to(&self, kept: &str) -> io::Result<()> {
        let mut from = self.directory.read(&self.name)?;
        let mut to = self.directory.make(kept)?;
        let copied = io::copy(&mut from, &mut to).and_then(|_| to.sync_all());
        copied.inspect_err(|_| {
            let _ = self.directory.remove(kept);
        })
    }

    /// The file that is there, opened to be written over, once there is room for all of the text in it.
    fn with_room(&mut self) -> io::Result<File> {
        let to = self.directory.overwrite(&self.name)?;
        Directory::reserve(&to, self.file.metadata()?.len())?;
        Ok(to)
    }

    /// Writes the text into the file that is there.
    fn write_over(&mut self, mut to: File) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let length = io::copy(&mut self.file, &mut to)?;
        to.set_len(length)?;
        to.sync_all()
    }
}
