//! Streams that local programs ask for while a session runs.

use p2pdbg_base::{Failure, HostPort};
use p2pdbg_events::StreamState;
use p2pdbg_forward::Within;
use tokio::sync::oneshot;

/// To whom a local program asks for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipeTarget {
    /// To what is dialled at the other end.
    Port(HostPort),
    /// To whoever answers there about source files.
    Sources,
    /// To whoever answers there about programs that run.
    Programs,
}

impl PipeTarget {
    /// The forward that stands for a conversation.
    pub(super) fn conversation(&self) -> Option<u16> {
        match self {
            Self::Port(_) => None,
            Self::Sources => Some(p2pdbg_proto::sources::FORWARD),
            Self::Programs => Some(p2pdbg_proto::attach::FORWARD),
        }
    }
}

/// A stream that a local program asks for.
#[derive(Debug)]
pub struct PipeRequest {
    /// What answers at the other end.
    pub to: PipeTarget,
    /// The session's end of the connection to the program.
    pub local: Within,
    /// Told when the stream is open, or why it cannot be.
    pub opened: oneshot::Sender<Result<(), Failure>>,
    /// Told how the stream ended; dropped if the session did.
    pub ended: oneshot::Sender<StreamState>,
}
