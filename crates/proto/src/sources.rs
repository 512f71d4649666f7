//! What is said about source files: which differ between the two ends, and files that are copied from the IDE's end.
//!
//! A conversation is a stream of the session, opened by the listener, that belongs to the forward [`FORWARD`] in place
//! of one with ports. So it goes over whichever tunnel is best and outlives outages like every other. It consists of
//! [`crate::frame`]s of [`SourcesMessage`]. The first decides what it is about.

use serde::{Deserialize, Serialize};

/// The number of the forward that stands for conversations about sources.
pub const FORWARD: u16 = u16::MAX;

/// The longest name of a file, in bytes.
pub const MAX_NAME: usize = 1024;

/// The most files in one message.
pub const MAX_BATCH: usize = 256;

/// The most bytes of a file in one message.
pub const MAX_DATA: usize = 32 << 10;

/// A SHA-256.
pub type Sha256 = [u8; 32];

/// What is said in a conversation about sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourcesMessage {
    /// Asks for a comparison; the opener's first message.
    Compare(Summary),
    /// The answer to it.
    Summary(Summary),
    /// Some of the sender's files, after both summaries if these differ: first the opener's, then the other's. An
    /// empty one ends the list.
    Files(Vec<FileDigest>),
    /// A file that the opener wants to have there; its first message, and again after each that is settled.
    Offer(Offer),
    /// What becomes of it, and at last of the bytes.
    Answer(Answer),
    /// The next bytes of the file.
    Data(Vec<u8>),
}

/// The sources of one end in short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Whether this end compares any.
    pub compares: bool,
    /// How many files there are.
    pub files: u32,
    /// Whether there are more than are compared.
    pub partial: bool,
    /// SHA-256 over the list of names and digests; equal if the lists are.
    pub digest: Sha256,
}

/// A file and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its path below the root, with `/` between the parts.
    pub name: String,
    /// The SHA-256 of what it holds.
    pub sha256: Sha256,
}

/// A file that is to be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its path below the root, with `/` between the parts.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of what it holds.
    pub sha256: Sha256,
    /// Whether it may be run.
    pub executable: bool,
}

/// What becomes of an offered file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Its bytes are wanted, from this one on: those before have come earlier.
    Wanted(u64),
    /// The file there is the same.
    Same,
    /// The file is there now.
    Written,
    /// It is not taken.
    Refused(Refusal),
}

/// Why a file is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// No directory was named for it.
    NotAccepted,
    /// Its name is none, leads out of the directory, or has characters that cannot be shown.
    Name,
    /// A part of its path is a link, or no directory.
    Path,
    /// There is something of that name that is no file.
    NotAFile,
    /// It is too large, or there are too many.
    Limit,
    /// What came is not what was offered.
    Content,
    /// The disk is full, or the directory cannot be written to.
    Disk,
    /// Another copy is under way.
    Busy,
}
