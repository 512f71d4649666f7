//! Forwards that local programs ask for while a session runs, and what they are told when the connector does not agree.

use p2pdbg_base::{ErrorCode, Failure, HostPort, Untrusted};
use p2pdbg_forward::{Forward, Preset};
use p2pdbg_proto::tunnel::ForwardState;
use tokio::sync::oneshot;

/// A port that a local program asks for, which leads to a debugger at the other end.
#[derive(Debug)]
pub struct ForwardRequest {
    /// The port of the loopback there; here it is the same, or the next that is free.
    pub port: u16,
    /// The debugger that listens there; one that dials its IDE is refused.
    pub debugger: Preset,
    /// Told where the port is open, or why it is not.
    pub opened: oneshot::Sender<Result<HostPort, Failure>>,
}

/// Refuses a forward that one of the session's would lead round without end.
///
/// # Errors
/// If there is such a one.
pub(super) fn refuse_circle<'a>(
    asked: &Forward,
    mut standing: impl Iterator<Item = &'a Forward>,
) -> Result<(), Failure> {
    let Some(other) = standing.find(|other| asked.leads_round_with(other)) else {
        return Ok(());
    };
    let message = format!(
        "port {} of the debuggee is the session's own ({other}), and leads back here",
        asked.target.port
    );
    Err(Failure::new(ErrorCode::ForwardMalformed, message)
        .hint("have the debugger listen at another port there, and name that one"))
}

/// Why there is no forward to a target, by the state that the connector has told.
pub(super) fn refusal(state: &ForwardState, target: &HostPort) -> Failure {
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
