//! What the user settled about a session.
//!
//! One value for all of it, made where the command line is read and handed on whole to the parts of the session, each
//! of which reads what is its own. So an option is a field here, besides the place that reads it and the one that heeds
//! it. Which paths may be used is not here: that is settled before there is a session ([`p2pdbg_path::PathContext`]).

use std::time::Duration;

use p2pdbg_attach::Consent;
use p2pdbg_base::{Descriptors, HoldPolicy};
use p2pdbg_forward::AllowList;
use p2pdbg_sources::SourcesOptions;

/// What the user settled about a session, or what holds if nothing was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPolicy {
    /// What every forward of a listener does while nothing listens at its far end; none for what suits its debugger.
    pub absent: Option<HoldPolicy>,
    /// What the peer may have dialled from here, besides loopback.
    pub allow: AllowList,
    /// For how long the streams of a lost peer are held: 12 h. Afterwards they are reset, and the session is over.
    pub resume_for: Duration,
    /// Whether the ports that are opened here are for programs of this user, and of root, alone. Linux only.
    pub same_user: bool,
    /// Whether a listener forwards the debuggers of further processes as they come.
    pub follows_ports: bool,
    /// Whether the peer may have debuggers attach to programs that run here.
    pub attach: Consent,
    /// Which source files are compared with the peer's, and where it may put some.
    pub sources: SourcesOptions,
    /// Whether what the debuggers say is looked at. If not, none is recognised, and nobody is advised.
    pub inspect: bool,
    /// How many descriptors what is started here may have: as many as this program was started with.
    pub descriptors: Descriptors,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        Self {
            absent: None,
            allow: AllowList::default(),
            resume_for: Duration::from_secs(12 * 3600),
            same_user: false,
            follows_ports: false,
            attach: Consent::Refused,
            sources: SourcesOptions::default(),
            inspect: true,
            descriptors: Descriptors::default(),
        }
    }
}
