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

/// The SHA-256 of a file's bytes.
pub type Sha256 = [u8; 32];

/// What is said in a conversation about sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourcesMessage {
    /// Asks for a comparison; the opener's first message.
    Compare(Summary),
    /// The answer to `Compare`: the same of the other end.
    Summary(Summary),
    /// Some of the opener's files, after both summaries. An empty one ends the list.
    Files(Vec<FileDigest>),
    /// What the other end has found of them, after the list.
    Verdict(Verdict),
    /// Some of those that differ, after the verdict. An empty one ends the list.
    Differ(Vec<DifferentFile>),
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
    /// Whether it is the session that asks, which will ask again when something changes, rather than a person.
    pub keeps: bool,
    /// How many files were left out here.
    pub left_out: u32,
}

/// A file and what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its path below the root, with `/` between the parts.
    pub name: String,
    /// The SHA-256 of what it holds, with LF in the place of CRLF if it is text.
    pub sha256: Sha256,
    /// How its lines end, which the digest leaves out.
    pub ends: LineEnds,
}

/// How the lines of a file end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LineEnds {
    /// There are none, or it is no text.
    None,
    /// Every line ends with LF.
    Lf,
    /// Every line ends with CRLF.
    Crlf,
    /// With both; the beginning of the SHA-256 of its bytes as they are.
    Mixed([u8; 16]),
}

/// What comparing has found, but for the names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The directory below the opener's root whose files are below `answerer` at the other end; both are empty or end
    /// with `/`.
    pub opener: String,
    /// The directory below the other end's root.
    pub answerer: String,
    /// How many files are the same.
    pub same: u32,
    /// How many the opener does not have.
    pub only_there: u32,
    /// How many were left out at the other end of those that the opener has not named.
    pub left_out: u32,
    /// How many of those that it has named are there and could not be read, or are too long or too many.
    pub not_read: u32,
    /// Whether several directories could be each other's, so that no file is taken for another.
    pub is_doubtful: bool,
}

/// A file that is at both ends, and not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferentFile {
    /// Its name at the opener.
    pub name: String,
    /// Whether it differs in its line ends alone.
    pub ends_only: bool,
}

/// A file that is to be copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its path below the root of the end that takes it, with `/` between the parts.
    pub name: String,
    /// Whether a file whose name differs in case is another one.
    pub exact: bool,
    /// Its length in bytes, as it will be sent.
    pub size: u64,
    /// The SHA-256 of what it holds.
    pub sha256: Sha256,
    /// The same with LF in the place of CRLF, if it is text.
    pub text: Sha256,
    /// How its lines end at the opener.
    pub ends: LineEnds,
    /// Whether it may be run.
    pub executable: bool,
}

/// What becomes of an offered file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Its bytes are wanted, from this one on: those before have come earlier.
    Wanted(u64),
    /// The file there is the same.
    Same,
    /// The file is there now.
    Written(Written),
    /// It is not taken, for this reason; the next one may be.
    Refused(Refusal),
}

/// How a file was put in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Under which name what was there before is kept beside it, if nobody else has that.
    pub kept: Option<String>,
    /// Whether it got the line ends of the file that was there.
    pub converted: bool,
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
    /// Reading or writing there failed, for a reason that none of the others is.
    Disk,
    /// Another copy is under way.
    Busy,
    /// Its place is not in the directory that was named for copies.
    Outside,
    /// The disk has no room for it.
    Full,
    /// The directory, or a file of another user's, may not be written to.
    Permission,
    /// Nothing can be written to the file system.
    ReadOnly,
    /// A program that runs keeps the file from being written.
    InUse,
}
