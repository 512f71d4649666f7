//! The processes of this host, as `/proc` shows them. Any of them may end at any moment, so what is asked of one that is
//! gone, or of which this user is told nothing, is empty.

use std::collections::HashSet;

use procfs::process::{self, FDTarget};

/// The longest word of a command line that is kept, in bytes.
const MAX_WORD: usize = 4096;

/// The most words of a command line that are kept.
const MAX_WORDS: usize = 256;

/// A process.
pub(crate) struct Process(process::Process);

/// All that there are.
pub(crate) fn all() -> impl Iterator<Item = Process> {
    let all = process::all_processes();
    let all = all.inspect_err(|error| tracing::debug!(%error, "cannot see the processes"));
    all.into_iter().flatten().flatten().map(Process)
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.0.pid.unsigned_abs()
    }

    /// The program and its arguments; empty for the kernel's own.
    pub(crate) fn command_line(&self) -> Vec<String> {
        let mut words = self.0.cmdline().unwrap_or_default();
        words.truncate(MAX_WORDS);
        words.retain(|word| word.len() <= MAX_WORD);
        words
    }

    /// The numbers of the sockets that it has open.
    pub(crate) fn sockets(&self) -> HashSet<u64> {
        let descriptors = self.0.fd().into_iter().flatten().flatten();
        let socket = |target| match target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        };
        descriptors
            .filter_map(|descriptor| socket(descriptor.target))
            .collect()
    }
}
