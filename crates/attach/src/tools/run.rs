//! A tool of a debugger: how it is run, and what it says when it fails.

use std::{io, path::Path, process::Stdio, time::Duration};

use p2pdbg_base::{Descriptors, secret_variables};
use p2pdbg_proto::attach::{MAX_WHY, Refusal};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::timeout,
};

/// How long a tool may take. debugpy has gdb load a library into the program, which takes seconds on a busy host.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A tool, with none of what is this program's alone.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in secret_variables::ALL {
        command.env_remove(variable);
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Starts a tool, with as many descriptors as it would have without this program.
pub(super) fn start(mut command: Command, descriptors: Descriptors) -> io::Result<Child> {
    descriptors.start(|| command.spawn(), Child::id)
}

/// Runs a tool to its end.
pub(super) async fn finish(command: Command, descriptors: Descriptors) -> Result<(), Refusal> {
    let mut child = start(command, descriptors).map_err(|error| failed(&error))?;
    let stderr = child.stderr.take();
    let run = async { tokio::join!(child.wait(), last_words(stderr)) };
    match timeout(PATIENCE, run).await {
        Ok((Ok(status), _)) if status.success() => Ok(()),
        Ok((Ok(_), said)) => Err(failed(&said)),
        Ok((Err(error), _)) => Err(failed(&error)),
        Err(_) => Err(failed(&"it took too long")),
    }
}

/// The end of what a tool says on standard error.
pub(super) async fn last_words(stderr: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut stderr) = stderr else {
        return String::new();
    };
    let (mut said, mut chunk) = (Vec::new(), vec![0; 4096]);
    while let Ok(length @ 1..) = stderr.read(&mut chunk).await {
        said.extend_from_slice(&chunk[..length]);
        let too_much = said.len().saturating_sub(MAX_WHY);
        said.drain(..too_much);
    }
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.trim().lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

pub(super) fn missing(what: &str) -> Refusal {
    Refusal::Missing(what.to_owned())
}

pub(super) fn failed(why: &dyn std::fmt::Display) -> Refusal {
    let mut why = why.to_string();
    while why.len() > MAX_WHY {
        why.pop();
    }
    Refusal::Failed(why)
}

#[cfg(test)]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    #[tokio::test]
    async fn tool_has_the_descriptors_that_this_program_was_started_with() {
        let own = getrlimit(Resource::Nofile);
        let before = own.current.unwrap() - 1;
        let started_with = Rlimit {
            current: Some(before),
            ..own
        };
        setrlimit(Resource::Nofile, started_with).unwrap();
        let descriptors = Descriptors::take_all();
        let mut shell = command(Path::new("sh"));
        shell.args(["-c", "ulimit -Sn >&2; exit 1"]);
        let said = finish(shell, descriptors).await.unwrap_err();
        assert_eq!(said, failed(&before));
    }
}
