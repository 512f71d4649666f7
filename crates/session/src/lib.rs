//! A session: everything between this host and one peer, for as long as both processes live.
//!
//! What it decides is in [`decisions`], which does no I/O. One task carries it out and owns the rest: the tunnels'
//! connections (`connections`), the streams (`streams`), the forwards (`forwards`). Sockets and traversal belong to
//! [`p2pdbg_path`], the rendezvous to `p2pdbg-meeting`; both are told what to do and tell what happened. Whatever else
//! takes time (a handshake, reading a carrier's header, accepting a connection) runs in a task of its own and sends an
//! `Event`.

mod debugger_reports;
mod debuggers_elsewhere;
pub mod decisions;
mod driver;
mod end;
mod event;
mod forward_requests;
mod forwards;
mod io;
mod latest;
mod messages;
mod near_relay_choice;
mod near_relay_driver;
mod own_sources;
mod paths;
mod pipe_requests;
mod pipes;
mod rejections;
mod session_config;
mod session_policy;
mod snapshot;
mod sources;
mod stream;
mod streams;
mod tunnel_connections;
mod tunnel_tasks;
mod watch;

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_path::Paths;
use p2pdbg_tunnel::TunnelConfig;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::Instrument;

use self::{
    driver::{Begun, SessionDriver},
    io::QUEUE,
};
pub use self::{
    end::SessionEnd,
    forward_requests::ForwardRequest,
    forwards::while_absent,
    io::{SessionInput, SessionOutput},
    pipe_requests::{PipeRequest, PipeTarget},
    session_config::SessionConfig,
    session_policy::SessionPolicy,
};

/// A handle on a running session.
#[derive(Debug)]
pub struct Session {
    inputs: mpsc::Sender<SessionInput>,
    closing: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Session {
    /// Starts a session. What it tells comes out of `outputs`.
    ///
    /// # Errors
    /// If QUIC cannot be started, or the identity is of no use.
    pub fn start(
        mut config: SessionConfig,
        outputs: mpsc::Sender<SessionOutput>,
    ) -> Result<Self, Failure> {
        let internal = |e: &dyn std::fmt::Display| Failure::new(ErrorCode::Internal, e.to_string());
        let tunnel_config =
            TunnelConfig::new(&config.identity, config.peer).map_err(|e| internal(&e))?;
        let begun = match config.approach.take() {
            Some(approach) => Begun {
                paths: approach.paths,
                told: approach.told,
                tunnel: approach.tunnel,
            },
            None => {
                let paths = Paths::open(config.paths.clone())
                    .map_err(|e| internal(&format!("cannot start QUIC: {e}")))?;
                Begun {
                    paths,
                    told: Vec::new(),
                    tunnel: None,
                }
            }
        };
        let (inputs, receiver) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        // Of several sessions, the log says which it tells of.
        let span = match config.reporter.session() {
            Some(peer) => tracing::error_span!("session", peer),
            None => tracing::Span::none(),
        };
        let Begun {
            paths,
            told,
            tunnel,
        } = begun;
        let changes = config.paths.changes.clone();
        let (driver, events) = SessionDriver::new(config, tunnel_config, paths, outputs);
        let run = driver.run(receiver, events, told, tunnel, changes, closing.clone());
        let task = tokio::spawn(run.instrument(span));
        let task = AbortOnDropHandle::new(task);
        Ok(Self {
            inputs,
            closing,
            task,
        })
    }

    /// Hands something to the session's task, without waiting; what it has no room for is dropped, with a line in the
    /// log.
    pub fn input(&self, input: SessionInput) {
        if self.inputs.try_send(input).is_err() {
            tracing::warn!("the session takes no more");
        }
    }

    /// Ends the session because its peer's process is gone; its ports are free afterwards.
    pub async fn replace(self) {
        self.input(SessionInput::Replaced);
        let _ = self.task.await;
    }

    /// Ends the session: the peer is told at once, the streams are reset.
    pub async fn close(self) {
        self.closing.cancel();
        let _ = self.task.await;
    }
}
