//! What the control socket asks of a running `listen` or `connect`.

use std::time::{Duration, Instant};

use p2pdbg_proto::rendezvous::Role;
use tokio::sync::oneshot;

use super::RunningPeer;
use crate::control_socket::{ControlSocket, Inquiry};
use p2pdbg_events::snapshot::{ProcessSnapshot, ProcessState, SessionCommand};
use p2pdbg_session::SessionInput;

/// How long a session may take to describe itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// The control socket of this process; there may be none.
#[derive(Debug)]
pub(super) struct Inquiries {
    socket: Option<(ControlSocket, tokio::sync::mpsc::Receiver<Inquiry>)>,
    started: Instant,
}

impl Inquiries {
    /// Opens the socket. Without one everything goes on, but nobody can ask.
    pub(super) fn open() -> Self {
        Self {
            socket: ControlSocket::open()
                .inspect_err(|error| tracing::warn!(%error, "there is no control socket"))
                .ok(),
            started: Instant::now(),
        }
    }

    /// The next thing that is asked. Cancelling it loses nothing.
    pub(super) async fn next(&mut self) -> Inquiry {
        if let Some((_, inquiries)) = &mut self.socket
            && let Some(inquiry) = inquiries.recv().await
        {
            return inquiry;
        }
        std::future::pending().await
    }
}

impl RunningPeer {
    /// Answers, or has the session answer.
    pub(super) fn answer(&self, inquiry: Inquiry) {
        match inquiry {
            Inquiry::Status(answer) => self.describe(answer),
            Inquiry::Forward(peer, request) => match self.session_with(peer.as_deref()) {
                Ok(session) => session.input(SessionInput::Forward(request)),
                Err(failure) => drop(request.opened.send(Err(failure))),
            },
            Inquiry::Pipe(peer, request) => match self.session_with(peer.as_deref()) {
                Ok(session) => session.input(SessionInput::Pipe(request)),
                Err(failure) => drop(request.opened.send(Err(failure))),
            },
        }
    }

    fn describe(&self, answer: oneshot::Sender<ProcessSnapshot>) {
        let mut process = ProcessSnapshot {
            pid: std::process::id(),
            #[cfg(unix)]
            parent: Some(std::os::unix::process::parent_id()),
            #[cfg(not(unix))]
            parent: None,
            command: match self.role() {
                Role::Listener => SessionCommand::Listen,
                Role::Connector => SessionCommand::Connect,
            },
            version: env!("CARGO_PKG_VERSION").to_owned(),
            up_ms: u64::try_from(self.inquiries.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            rendezvous: self.rendezvous(),
            state: self.stage(),
            places: self.places(),
            sessions: Vec::new(),
        };
        let sessions = self.describe_sessions();
        if sessions.is_empty() {
            return drop(answer.send(process));
        }
        process.state = ProcessState::InSession;
        tokio::spawn(async move {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            for described in sessions {
                let described = tokio::time::timeout_at(deadline, described).await;
                process.sessions.extend(described.ok().and_then(Result::ok));
            }
            let _ = answer.send(process);
        });
    }
}
