//! One forward of a session.

use std::sync::Arc;

use p2pdbg_events::WarningCode;
use p2pdbg_forward::{Forward, OpenPort, Turns};
use p2pdbg_proto::tunnel::{ForwardState, WhileAbsent};
use tokio::sync::watch;

use super::accept::Accepting;
use crate::{forward_requests::ForwardRequest, latest::Latest};

/// A forward of the session, and what stands of it at this end.
pub(super) struct Entry {
    pub(super) forward: Forward,
    pub(super) while_absent: WhileAbsent,
    /// The connector's state of it; at the listener, once it is known.
    pub(super) state: Option<ForwardState>,
    /// The open port on which nobody accepts yet, if this end opens it and has.
    pub(super) port: Option<Arc<OpenPort>>,
    /// The open port on which somebody accepts.
    pub(super) accepting: Option<Accepting>,
    /// Whether a task looks if the target listens.
    pub(super) is_looked_at: bool,
    /// Of those who wait for the target.
    pub(super) turns: Arc<Turns>,
    /// Whether the target listens, as far as the dialling end knows; those who wait for it hear of it.
    pub(super) listening: watch::Sender<Option<bool>>,
    /// Of what was said of that, at the dialling end, or heard, at the other.
    pub(super) latest: Latest,
    /// Whether it was added for a `p2pdbg pipe`, so that no port is opened for it.
    pub(super) added: bool,
    /// Who asked for it while the session ran, until the connector has judged it.
    pub(super) asked: Option<ForwardRequest>,
    /// What was told of it that is told once.
    pub(super) told: Vec<WarningCode>,
}

impl Entry {
    /// Whether its port is open only while its target listens.
    pub(super) fn refuses(&self) -> bool {
        self.while_absent == WhileAbsent::Refuse
    }

    pub(super) fn stands(&self) -> bool {
        matches!(self.state, Some(ForwardState::Up { .. }))
    }

    /// Whether the connector has judged it, and it does not stand.
    pub(super) fn is_refused(&self) -> bool {
        self.state.is_some() && !self.stands()
    }

    pub(super) fn new(forward: Forward, while_absent: WhileAbsent) -> Self {
        Self {
            forward,
            while_absent,
            state: None,
            port: None,
            accepting: None,
            is_looked_at: false,
            turns: Arc::default(),
            listening: watch::Sender::default(),
            latest: Latest::default(),
            added: false,
            asked: None,
            told: Vec::new(),
        }
    }
}
