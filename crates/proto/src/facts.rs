//! What an end of a session tells the other about where it runs, so that the IDE's end can write path mappings.
//!
//! Everything here is the sender's claim. The receiver judges each text before it uses one.

use serde::{Deserialize, Serialize};

/// The longest path that is said, in bytes.
pub const MAX_PATH: usize = 4096;

/// The most debuggers that are named.
pub const MAX_DEBUGGERS: usize = 16;

/// The longest other text, in bytes.
pub const MAX_TEXT: usize = 64;

/// Where an end of a session runs. What it does not know, or what is not UTF-8, it leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The operating system, as Rust calls it: `linux`, `macos`, `windows`.
    pub os: String,
    /// The processor, as Rust calls it: `x86_64`, `aarch64`.
    pub arch: String,
    /// The working directory of p2pdbg there.
    pub directory: Option<String>,
    /// The root of the Git work tree that it lies in.
    pub git_root: Option<String>,
    /// The commit that is checked out there, in hexadecimal.
    pub git_commit: Option<String>,
    /// The directory whose files are meant: one that was named, the root of the work tree, or the working directory.
    pub root: Option<String>,
    /// The real path of that, if a link leads there.
    pub root_resolved: Option<String>,
    /// The debuggers that were found on the host, with their versions where these stand in a file's name.
    pub debuggers: Vec<String>,
}
