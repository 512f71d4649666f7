//! How nameplates end, and what a process tells its successor of them.

use p2pdbg_proto::code::Nameplate;
use serde::{Deserialize, Serialize};

/// How a nameplate ended, for whoever joins it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// Two peers paired with it.
    Used,
    /// A wrong word was tried with it.
    Burned,
    /// Its listener went away, or was lost and has not come back.
    Withdrawn,
    /// Its listener was lost, and may come back and claim it.
    Lost,
    /// It was not used in time.
    Expired,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CarriedNameplate {
    pub(crate) nameplate: Nameplate,
    /// What became of it. One in use is lost with its listener's connection, who comes back and claims it.
    pub(crate) end: End,
    /// For how many milliseconds that is to be remembered yet.
    pub(crate) left_ms: u64,
}
