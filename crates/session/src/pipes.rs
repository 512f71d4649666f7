//! Streams of `p2pdbg pipe`: a local program's standard input and output, joined to a target of its own choosing.
//!
//! Each target becomes a forward for which no port is opened; it is offered to the connector behind those that the
//! session began with, and the stream opens once the connector has agreed. The connector judges such a target as it
//! does any other: loopback, or what it was told to allow.

use p2pdbg_base::{ErrorCode, Failure, HostPort, Untrusted};
use p2pdbg_events::StreamState;
use p2pdbg_proto::{control::Role, tunnel::ForwardState};
use tokio::{net::UnixStream, sync::oneshot};

use super::driver::Driver;
use crate::stream::Connection;

/// Streams that may wait for the connector's word.
const MOST_WAITING: usize = 64;

/// To whom a local program asks for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PipeTarget {
    /// To what is dialled at the other end.
    Port(HostPort),
    /// To whoever answers there about source files.
    Sources,
}

/// A stream that a local program asks for.
#[derive(Debug)]
pub struct PipeRequest {
    /// To whom.
    pub to: PipeTarget,
    /// The session's end of the connection to the program.
    pub local: UnixStream,
    /// Told when the stream is open, or why it cannot be.
    pub opened: oneshot::Sender<Result<(), Failure>>,
    /// Told how the stream ended; dropped if the session did.
    pub ended: oneshot::Sender<StreamState>,
}

impl Driver {
    pub(super) fn open_pipe(&mut self, request: PipeRequest) {
        if self.role == Role::Connector {
            let message = "this is the debuggee's end of the session";
            let failure = Failure::new(ErrorCode::NoSession, message)
                .hint("run p2pdbg pipe beside the IDE, where p2pdbg listen runs");
            return drop(request.opened.send(Err(failure)));
        }
        let to = match &request.to {
            PipeTarget::Port(to) => to.clone(),
            PipeTarget::Sources => return self.open_conversation(request),
        };
        self.pipes
            .retain(|(_, waiting)| !waiting.opened.is_closed());
        let full = self.pipes.len() >= MOST_WAITING;
        let Some((forward, is_new)) = self.forwards.add(&to).filter(|_| !full) else {
            let message = "the session has too many forwards to take one more";
            let failure = Failure::new(ErrorCode::NoSession, message);
            return drop(request.opened.send(Err(failure)));
        };
        if is_new {
            // Those on which it is lost will hear it when the next tunnel comes up.
            for message in self.forwards.announcements() {
                self.connections.send(message);
            }
        }
        self.pipes.push((forward, request));
        self.settle_pipes();
    }

    fn open_conversation(&mut self, request: PipeRequest) {
        // Nobody waits for hours for what they are asking now.
        if self.decisions.is_out_of_reach() {
            let message = "the debuggee's host is out of reach";
            let failure = Failure::new(ErrorCode::PeerGone, message)
                .hint("p2pdbg status says since when; try again when it is back");
            return drop(request.opened.send(Err(failure)));
        }
        // A program that has gone meanwhile needs no stream.
        if request.opened.send(Ok(())).is_ok() {
            let local = Connection::Unix(request.local);
            let (forward, ended) = (p2pdbg_proto::sources::FORWARD, Some(request.ended));
            self.streams.open(forward, local, ended, &mut self.tasks);
        }
    }

    /// Opens the streams whose forwards the connector has judged by now.
    pub(super) fn settle_pipes(&mut self) {
        for (forward, request) in std::mem::take(&mut self.pipes) {
            let verdict = match self.forwards.state(forward) {
                None => {
                    self.pipes.push((forward, request));
                    continue;
                }
                Some(ForwardState::Up { .. }) => Ok(()),
                Some(state) => Err(match &request.to {
                    PipeTarget::Port(to) => refusal(state, to),
                    PipeTarget::Sources => continue,
                }),
            };
            let open = verdict.is_ok();
            // A program that has gone meanwhile needs no stream.
            if request.opened.send(verdict).is_ok() && open {
                let local = Connection::Unix(request.local);
                let ended = Some(request.ended);
                self.streams.open(forward, local, ended, &mut self.tasks);
            }
        }
    }
}

fn refusal(state: &ForwardState, target: &HostPort) -> Failure {
    match state {
        ForwardState::NotAllowed => Failure::new(
            ErrorCode::TargetNotAllowed,
            format!("the debuggee's host does not allow {target} to be used"),
        )
        .hint(format!(
            "only its loopback is, unless p2pdbg connect is run there with --allow {target}"
        )),
        ForwardState::Failed(why) => Failure::new(
            ErrorCode::NoSession,
            format!("{target} failed there: {}", Untrusted::limited(why, 300)),
        ),
        ForwardState::Up { .. } | ForwardState::PortInUse => {
            Failure::new(ErrorCode::NoSession, format!("{target} failed there"))
        }
    }
}
