//! What a process tells its successor of the nameplates.

use p2pdbg_proto::code::Nameplate;
use serde::{Deserialize, Serialize};

use super::End;

/// One nameplate.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CarriedNameplate {
    /// Which.
    pub(crate) nameplate: Nameplate,
    /// What became of it. One in use is lost with its listener's connection, who comes back and claims it.
    pub(crate) end: End,
    /// For how many milliseconds that is to be remembered yet.
    pub(crate) left_ms: u64,
}
