//! `p2pdbg status`: what this user's running processes are doing.

mod watch;
mod watch_screen;

use p2pdbg_base::{ErrorCode, Failure};

use crate::cli::args::StatusArgs;

/// Prints what there is.
///
/// # Errors
/// If nothing runs, or its sockets cannot be read.
pub async fn run(args: StatusArgs) -> Result<(), Failure> {
    use std::fmt::Write as _;

    if args.watch {
        return watch::run().await;
    }
    let processes = snapshots().await?;
    if processes.is_empty() {
        return Err(nothing_runs());
    }
    let mut text = String::new();
    for process in &processes {
        if args.json {
            text.push_str(&serde_json::to_string(process).unwrap_or_default());
            text.push('\n');
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "{}", crate::report::Described(process));
        }
    }
    crate::stdout::print(|out| out.write_all(text.as_bytes()))
}

/// Asks every running process; one that does not answer is left out, and logged.
pub(super) async fn snapshots() -> Result<Vec<p2pdbg_events::snapshot::ProcessSnapshot>, Failure> {
    use crate::control_socket::{self, Client, protocol};

    let mut asked = tokio::task::JoinSet::new();
    for socket in control_socket::running()? {
        asked.spawn(async move {
            let mut client = Client::connect(&socket).await?;
            client.ask(&protocol::Request::Status).await
        });
    }
    let mut processes = Vec::new();
    for answered in asked.join_all().await {
        match answered {
            Ok(protocol::Reply::Status(process)) => processes.push(*process),
            Ok(reply) => tracing::warn!(?reply, "a process did not say what it is doing"),
            Err(error) => tracing::warn!(%error, "a process did not say what it is doing"),
        }
    }
    processes.sort_by_key(|process| process.pid);
    Ok(processes)
}

fn nothing_runs() -> Failure {
    Failure::new(ErrorCode::NoSession, "no p2pdbg of yours runs on this host")
        .hint("run p2pdbg listen beside the IDE, or p2pdbg connect on the debuggee's host")
}
