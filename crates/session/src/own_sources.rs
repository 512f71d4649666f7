//! The sources of this end, as the task of a session holds them.

use p2pdbg_events::Reporter;
use p2pdbg_facts::SourceRoots;
use p2pdbg_sources::{Differences, Sources};
use tokio::sync::mpsc;

use super::{event::SessionEvent, session_config::SessionConfig};

/// The sources of this end, and what was reported of them.
pub(super) struct SourcesPart {
    pub(super) sources: Sources,
    pub(super) reporter: Reporter,
    pub(super) begun: bool,
    pub(super) reported: Option<Differences>,
    /// Which directories hold the same files, once comparing has told.
    pub(super) roots: Option<SourceRoots>,
    /// Whether it was told that none of this end's files is taken for one of the other's.
    pub(super) are_strangers: bool,
}

impl SourcesPart {
    pub(super) fn new(config: &SessionConfig, events: mpsc::Sender<SessionEvent>) -> Self {
        Self {
            sources: Sources::new(config.policy.sources.clone(), events),
            reporter: config.reporter.clone(),
            begun: false,
            reported: None,
            roots: None,
            are_strangers: false,
        }
    }
}
