//! Which state directory a command is about.

use std::path::PathBuf;

/// Whose keys, and which rendezvous.
#[derive(Debug, clap::Args)]
pub(crate) struct StateArg {
    /// The state directory of the rendezvous [default: the one that systemd names in STATE_DIRECTORY, else the
    /// platform's directory for state]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}
