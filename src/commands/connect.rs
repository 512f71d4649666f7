//! `p2pdbg connect`: on the debuggee's host, joins the listener and runs a COMMAND if there is one.

use p2pdbg_proto::rendezvous::Role;
#[cfg(unix)]
use rustix::process::Pid;

#[cfg(unix)]
use super::{attach_question, orphans::Reaper, owner_process::Owner};
#[cfg(unix)]
use p2pdbg_attach::Consent;
use p2pdbg_base::{Descriptors, ErrorCode, Failure, Outcome};
use p2pdbg_events::{Event, Reporter};
use p2pdbg_facts::HostFacts;
use p2pdbg_meeting::Whom;
use p2pdbg_session::SessionEnd;

use super::{
    child_program::{Running, look_for},
    interrupt::Interrupt,
    running_peer::{RunningPeer, RunningPeerEvent},
};
use crate::{
    cli::{Command, ConnectOptions, Meeting, PeersOptions},
    report::OutputLost,
};

/// Runs until the session is over, the COMMAND or the process that it belongs to has ended, it is interrupted, or what
/// it reports is lost.
///
/// # Errors
/// When it cannot go on.
pub async fn run(
    options: ConnectOptions,
    reporter: Reporter,
    output_lost: OutputLost,
) -> Result<Outcome, Failure> {
    #[cfg(unix)]
    let mut options = options;
    #[cfg(unix)]
    if options.session.policy.attach == Consent::Given && options.asks {
        options.session.policy.attach = attach_question::by_terminal(reporter.clone());
    }
    #[cfg(unix)]
    let _reaper = Reaper::start()?;
    let mut stop = Stop {
        interrupt: Interrupt::new()?.or_end_of_stdin(options.until_stdin_ends)?,
        #[cfg(unix)]
        owner: options.owner.and_then(Pid::from_raw).map(Owner::watch),
        output_lost,
    };
    if let Some(command) = &options.command {
        look_for(command)?;
    }
    let program = options.command.as_ref().map(|c| c.program.as_os_str());
    let root = options.session.policy.sources.root.as_deref();
    let facts = HostFacts::of_this_host(true, program).with_root(root);
    let descriptors = options.session.policy.descriptors;
    let mut host = RunningPeer::open(
        Role::Connector,
        options.session,
        Vec::new(),
        &PeersOptions::one(),
        facts,
        reporter.clone(),
    )?;
    let whom = match options.meeting {
        Meeting::Known(name) => Whom::Known(host.known_peer(&name)?),
        Meeting::Code(code) => match host.peer_of_code(&code) {
            Some(peer) => Whom::Known(peer),
            None => Whom::CodeMaker(code),
        },
    };
    host.meet(whom);
    let result = serve(
        &mut host,
        options.command,
        descriptors,
        &mut stop,
        &reporter,
    )
    .await;
    host.close().await;
    result
}

/// What ends it from outside.
struct Stop {
    interrupt: Interrupt,
    #[cfg(unix)]
    owner: Option<Owner>,
    output_lost: OutputLost,
}

impl Stop {
    /// Waits for any of it. Cancelling it loses nothing.
    async fn wait(&mut self) -> Result<Outcome, Failure> {
        #[cfg(unix)]
        let owner = async {
            match &self.owner {
                Some(owner) => owner.ended().await,
                None => std::future::pending().await,
            }
        };
        #[cfg(not(unix))]
        let owner = std::future::pending::<()>();
        tokio::select! {
            () = self.interrupt.wait() => Ok(Outcome::Interrupted),
            () = owner => Ok(Outcome::Done),
            failure = self.output_lost.wait() => Err(failure),
        }
    }
}

async fn serve(
    host: &mut RunningPeer,
    mut command: Option<Command>,
    descriptors: Descriptors,
    stop: &mut Stop,
    reporter: &Reporter,
) -> Result<Outcome, Failure> {
    let mut running: Option<Running> = None;
    loop {
        let event = tokio::select! {
            event = host.event() => event,
            outcome = stop.wait(), if running.is_none() => return outcome,
            status = ended(&mut running) => {
                let status = status?;
                host.drain().await;
                return Ok(Outcome::Command(status));
            }
        };
        match event {
            Ok(RunningPeerEvent::Ready(forwards)) => {
                if let Some(command) = command.take() {
                    reporter.release_terminal();
                    running = Some(Running::start(&command, &forwards, descriptors)?);
                }
            }
            Ok(RunningPeerEvent::Over(end, _)) => {
                reporter.emit(Event::Closed {
                    why: end.to_string(),
                });
                // The program goes on without its debugger.
                if running.is_none() {
                    return outcome(end, command.is_some());
                }
            }
            Ok(RunningPeerEvent::Offered(_) | RunningPeerEvent::Code(_)) => {}
            Err(failure) if running.is_none() => return Err(failure),
            Err(failure) => reporter.emit(Event::Error(failure)),
        }
    }
}

async fn ended(running: &mut Option<Running>) -> Result<u8, Failure> {
    match running {
        Some(running) => running.wait().await,
        None => std::future::pending().await,
    }
}

fn outcome(end: SessionEnd, command_awaited: bool) -> Result<Outcome, Failure> {
    match end {
        // Whoever asked for the program must not take this for its success.
        SessionEnd::Closed | SessionEnd::PeerClosed | SessionEnd::Replaced if command_awaited => {
            let message = format!("{end} before the COMMAND could be started");
            Err(Failure::new(ErrorCode::PeerGone, message)
                .hint("see what p2pdbg listen says, and run p2pdbg connect again"))
        }
        SessionEnd::Closed | SessionEnd::PeerClosed | SessionEnd::Replaced => Ok(Outcome::Done),
        SessionEnd::PeerGone => Err(Failure::new(ErrorCode::PeerGone, end.to_string())
            .hint("run p2pdbg connect again when the peer is back")),
        SessionEnd::Failed(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_ends_before_its_command_began_is_no_success() {
        for end in [SessionEnd::PeerClosed, SessionEnd::Replaced] {
            assert_eq!(outcome(end.clone(), false), Ok(Outcome::Done));
            let failure = outcome(end, true).unwrap_err();
            assert_eq!(failure.code, ErrorCode::PeerGone);
        }
    }
}
