//! Streams of `p2pdbg pipe`: a local program's standard input and output, joined to a target of its own choosing.
//!
//! Each target becomes a forward for which no port is opened; it is offered to the connector behind those that the
//! session began with, and the stream opens once the connector has agreed. The connector judges such a target as it
//! does any other: loopback, or what it was told to allow.

use p2pdbg_attach::Attached;
use p2pdbg_base::{ErrorCode, Failure, Untrusted};
use p2pdbg_events::{Event as Report, Warning, WarningCode};
use p2pdbg_forward::{Preset, Within};
use p2pdbg_ledger::ResetCode;
use p2pdbg_proto::{attach::MAX_COMMAND, rendezvous::Role, tunnel::ForwardState};
use tokio::sync::oneshot;

use super::{
    decisions::Input,
    driver::SessionDriver,
    forward_requests::{ForwardRequest, refusal},
    pipe_requests::{PipeRequest, PipeTarget},
};
use crate::stream::{Connection, Local};

/// Streams that may wait for the connector's word.
const MOST_WAITING: usize = 64;

impl SessionDriver {
    pub(super) fn open_pipe(&mut self, request: PipeRequest) {
        if self.role == Role::Connector {
            let message = "this is the debuggee's end of the session";
            let failure = Failure::new(ErrorCode::NoSession, message)
                .hint("run p2pdbg pipe beside the IDE, where p2pdbg listen runs");
            return drop(request.opened.send(Err(failure)));
        }
        let PipeTarget::Port(to) = &request.to else {
            return self.open_conversation(request);
        };
        let to = to.clone();
        self.pipes
            .retain(|(_, waiting)| !waiting.opened.is_closed());
        let full = self.pipes.len() >= MOST_WAITING;
        let Some((forward, is_new)) = self.forwards.add(&to).filter(|_| !full) else {
            let message = "the session has too many forwards to take one more";
            let failure = Failure::new(ErrorCode::NoSession, message);
            return drop(request.opened.send(Err(failure)));
        };
        if is_new {
            self.tell_forwards();
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
        // It is no stream by which the session would notice that the peer is away.
        self.decide(Input::Asked);
        if request.to == PipeTarget::Sources {
            self.sources.sources.on_asked();
        }
        // A program that has gone meanwhile needs no stream.
        if request.opened.send(Ok(())).is_ok() {
            let local = Connection::Within(request.local);
            let ended = Some(request.ended);
            if let Some(forward) = request.to.conversation() {
                self.streams.open(forward, local, ended, &mut self.tasks);
            }
        }
    }

    /// Opens a port for a debugger at the other end, once the connector has agreed.
    pub(super) fn add_forward(&mut self, request: ForwardRequest) {
        if self.role == Role::Connector {
            let message = "this is the debuggee's end of the session";
            let failure = Failure::new(ErrorCode::NoSession, message);
            return drop(request.opened.send(Err(failure)));
        }
        if self.forwards.ask(request) {
            self.tell_forwards();
        }
    }

    /// Tells the other end of a forward that was added. Where that is lost, it is said again on the next tunnel that is
    /// used; and where nobody debugs, it is found out late that it was, unless somebody asks.
    fn tell_forwards(&mut self) {
        for message in self.forwards.announcements() {
            self.connections.send(message);
        }
        self.decide(Input::Asked);
    }

    /// Opens a port for a debugger that came later, for nobody in particular: its forward is told when it stands.
    pub(super) fn follow(&mut self, port: u16, debugger: Preset) {
        let (opened, mut told) = oneshot::channel();
        self.add_forward(ForwardRequest {
            port,
            debugger,
            opened,
        });
        // What the connector says later is told with the state of the forward.
        if let Ok(Err(failure)) = told.try_recv() {
            let mut warning = Warning::new(WarningCode::ForwardFailed, failure.message);
            warning.hint = failure.hint;
            self.reporter.emit(Report::Warning(warning));
        }
    }

    /// The local end of a conversation about programs that the listener opens.
    pub(super) fn answer_about_programs(&mut self) -> Local {
        let answered = match self.role {
            Role::Connector => self.programs.answer(),
            Role::Listener => None,
        };
        self.converse(answered)
    }

    /// The local end of a conversation whose other end is answered by a task; none is refused.
    pub(super) fn converse(
        &mut self,
        answered: Option<(Within, impl Future<Output = ()> + Send + 'static)>,
    ) -> Local {
        match answered {
            Some((session, answering)) => {
                self.tasks.spawn(answering);
                Local::Accepted(Connection::Within(session))
            }
            None => Local::Dialing(Box::pin(async { Err(ResetCode::NOT_ALLOWED) })),
        }
    }

    /// Tells the user of this host what the peer has had attached to.
    pub(super) fn on_attached(&mut self, attached: Attached) {
        self.reporter.emit(Report::Attached {
            pid: attached.pid,
            command: Untrusted::limited(&attached.command, MAX_COMMAND),
            debugger: attached.debugger,
            port: attached.port,
        });
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
                    PipeTarget::Sources | PipeTarget::Programs => continue,
                }),
            };
            let open = verdict.is_ok();
            // A program that has gone meanwhile needs no stream.
            if request.opened.send(verdict).is_ok() && open {
                let local = Connection::Within(request.local);
                let ended = Some(request.ended);
                self.streams.open(forward, local, ended, &mut self.tasks);
            }
        }
    }
}
