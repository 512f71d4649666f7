//! The file that a copy overwrites: what it holds, and whether that is to be kept aside because nobody else has it.

use std::{io::Read, path::Path};

use p2pdbg_facts::GitCheckout;
use p2pdbg_proto::sources::Refusal;
use sha1::{Digest as _, Sha1};

use super::seen::Seen;
use crate::{
    SourceName,
    content::{Content, ContentHash},
    directory::{Attributes, Directory, Kind, Version, refusal},
};

/// The longest file that is offered and taken, in bytes.
pub(crate) const MAX_FILE: u64 = 256 << 20;

/// The file that is to be replaced.
#[derive(Debug)]
pub(super) struct Old {
    pub(super) version: Version,
    pub(super) attributes: Attributes,
    pub(super) content: Option<Content>,
    /// Whether nobody but this end has what is in it: it is not empty, was not seen at the other end, and Git has no
    /// commit of it as it is.
    pub(super) is_unique: bool,
}

impl Old {
    /// The file `leaf` of a directory, if there is one; `name` is its name below `root`.
    ///
    /// # Errors
    /// If something is there that is no file, or cannot be looked at.
    pub(super) fn find(
        directory: &Directory,
        leaf: &str,
        (root, name): (&Path, &SourceName),
        seen: &Seen,
    ) -> Result<Option<Self>, Refusal> {
        let entry = match directory.entry(leaf).map_err(|error| refusal(&error))? {
            Some(entry) => entry,
            None => return Ok(None),
        };
        match entry.kind {
            Kind::File => {}
            Kind::Link => return Err(Refusal::Path),
            Kind::Other => return Err(Refusal::NotAFile),
        }
        let (content, blob) = look(directory, leaf).unzip();
        let is_known = content.is_some_and(|content: Content| seen.has(name, content.text));
        let is_committed = || committed(root, name).map(|committed| committed == blob);
        let is_unique = entry.length > 0 && !is_known && is_committed() != Some(true);
        Ok(Some(Self {
            version: entry.version,
            attributes: entry.attributes,
            content,
            is_unique,
        }))
    }
}

/// The blob that Git tracks at a name below `root`, if any; nothing where there is no Git.
fn committed(root: &Path, name: &SourceName) -> Option<Option<[u8; 20]>> {
    let checkout = GitCheckout::around(root)?;
    let below = root.strip_prefix(checkout.root.canonicalize().ok()?).ok()?;
    // Git writes `/` on every system.
    let below = SourceName::of(&below.join(name.as_str())).ok()?;
    Some(checkout.tracked().get(below.as_str()).copied().flatten())
}

/// What a file holds, and its name as a blob of Git.
pub(super) fn look(directory: &Directory, name: &str) -> Option<(Content, [u8; 20])> {
    let file = directory.read(name).ok()?;
    let length = file.metadata().ok()?.len();
    let (mut content, mut blob) = (ContentHash::new(), Sha1::new());
    blob.update(format!("blob {length}\0"));
    let mut file = file.take(MAX_FILE);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer).ok()?;
        if read == 0 {
            return Some((content.finish(), blob.finalize().into()));
        }
        content.update(&buffer[..read]);
        blob.update(&buffer[..read]);
    }
}
