//! Runs the system's network tools.

use std::{
    ffi::OsStr,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::Error;

/// Where a tool may be beside `PATH`: a user's path on Debian lacks the system directories.
const SYSTEM_DIRS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Finds a program as a shell would, and in the system's directories.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_DIRS.iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// A command for a system tool.
pub(crate) fn command(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| PathBuf::from(name)))
}

/// Runs a tool to its end and hands back what it printed.
pub(crate) fn run<I, S>(name: &str, args: I) -> Result<String, Error>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = command(name);
    command.args(args).stdin(Stdio::null());
    output(&mut command, "")
}

/// Runs a command with `input` on its standard input; an exit status other than 0 is an error.
pub(crate) fn output(command: &mut Command, input: &str) -> Result<String, Error> {
    let shown = show(command);
    let failed = |source| Error::Io {
        what: format!("run `{shown}`"),
        source,
    };
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // The tools read all of it before they write, except when they fail at once.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if !input.is_empty() {
        stderr = format!("{stderr}\n{input}");
    }
    Err(Error::Command {
        command: shown,
        status: output.status,
        stderr,
    })
}

fn show(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
