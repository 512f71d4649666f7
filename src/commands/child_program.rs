//! The COMMAND of `connect`: a program that runs with the forwards in its environment, as if it had been started
//! without p2pdbg in between: same terminal, its own signals, its own exit status.

use std::{ffi::OsStr, io, path::Path};

use p2pdbg_base::{Descriptors, ErrorCode, Failure, secret_variables};
use p2pdbg_forward::Forward;
use p2pdbg_proto::tunnel::Direction;
use tokio::process::Child;

use super::found_program;
#[cfg(unix)]
use super::passed_on;
use crate::{borrowed_host, cli::Command};

/// Set to 1 so that a program knows it is to be debugged.
const START: &str = "START_DEBUGGER";

/// The host at which the debugger is dialled, or at which the debuggee listens.
const HOST: &str = "DEBUGGER_HOST";

/// The port to go with it.
const PORT: &str = "DEBUGGER_PORT";

/// What the debuggee does there: `listen`, or `connect` where the IDE listens.
const MODE: &str = "DEBUGGER_MODE";

/// A COMMAND that runs, from its start to its end.
pub(super) struct Running {
    child: Child,
    #[cfg(unix)]
    signals: passed_on::Signals,
}

/// Says early that a COMMAND cannot be started: before a code has been used up for it.
pub(super) fn look_for(command: &Command) -> Result<(), Failure> {
    let program = command.program.to_string_lossy();
    // Some systems have files of such names (/usr/bin/cd), which do nothing for whoever starts them.
    if let Some(hint) = instead_of_shells_own(&program).filter(|_| !program.contains(' ')) {
        let message =
            format!("cannot start {program:?}: it is a word of the shell, and no program");
        return Err(Failure::new(ErrorCode::CommandNotFound, message).hint(hint));
    }
    found_program::look_for(Path::new(&command.program))
        .map_err(|error| not_started(command, &error))
}

impl Running {
    /// Starts it, with the forwards that stand in its environment and so many descriptors.
    pub(super) fn start(
        command: &Command,
        forwards: &[Forward],
        descriptors: Descriptors,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| not_started(command, &error);
        #[cfg(unix)]
        let signals = passed_on::Signals::catch().map_err(failed)?;
        let spawn = |mut process: tokio::process::Command| {
            process.args(&command.arguments);
            descriptors.start(|| process.spawn(), Child::id)
        };
        let started = spawn(process(&command.program, forwards));
        #[cfg(unix)]
        let started = match started {
            Err(error) if is_for_a_shell(&error, Path::new(&command.program)) => {
                let mut shell = process(OsStr::new("/bin/sh"), forwards);
                shell.arg(&command.program);
                spawn(shell)
            }
            started => started,
        };
        Ok(Self {
            child: started.map_err(failed)?,
            #[cfg(unix)]
            signals,
        })
    }

    /// Waits for its end and gives its exit status, 128 + N if signal N killed it. Signals that reach p2pdbg
    /// meanwhile are passed on.
    #[cfg(unix)]
    pub(super) async fn wait(&mut self) -> Result<u8, Failure> {
        use std::os::unix::process::ExitStatusExt;
        let pid = self.child.id();
        loop {
            tokio::select! {
                status = self.child.wait() => {
                    let status = status.map_err(lost)?;
                    let status = status.code().or(status.signal().map(|signal| 128 + signal));
                    return Ok(status.and_then(|s| u8::try_from(s).ok()).unwrap_or(1));
                }
                signal = self.signals.next(pid) => {
                    if let Some(pid) = self.child.id() {
                        passed_on::send(pid, signal);
                    }
                }
            }
        }
    }

    /// Waits for its end and gives its exit status.
    #[cfg(not(unix))]
    pub(super) async fn wait(&mut self) -> Result<u8, Failure> {
        let status = self.child.wait().await.map_err(lost)?;
        Ok(status
            .code()
            .and_then(|s| u8::try_from(s).ok())
            .unwrap_or(1))
    }
}

/// A program with the forwards in its environment, of which it names the first that is a debugger's, or else the first.
/// Without one that has a port there is nothing to tell it.
///
/// What lets whoever has it into a session (the rendezvous with its key, the code) is no affair of the program's, nor
/// where a borrowed host keeps p2pdbg's files.
fn process(program: &OsStr, forwards: &[Forward]) -> tokio::process::Command {
    let mut process = tokio::process::Command::new(program);
    process.kill_on_drop(true);
    for own in secret_variables::ALL
        .iter()
        .chain(&[borrowed_host::VARIABLE])
    {
        process.env_remove(own);
    }
    let mut met = forwards
        .iter()
        .map(|forward| (forward, port_and_mode(forward)))
        // A Unix socket is no place at which a debugger could be met.
        .filter(|(_, (port, _))| *port != 0);
    let of_a_debugger = met.clone().find(|(forward, _)| forward.preset().is_some());
    if let Some((_, (port, mode))) = of_a_debugger.or(met.next()) {
        process
            .env(START, "1")
            .env(HOST, "127.0.0.1")
            .env(PORT, port.to_string())
            .env(MODE, mode);
    }
    process
}

/// The port of a forward at this end, and what the debuggee does there.
fn port_and_mode(forward: &Forward) -> (u16, &'static str) {
    match forward.direction {
        Direction::ToIde => (forward.bind.port, "connect"),
        Direction::ToDebuggee => (forward.target.port, "listen"),
    }
}

/// Whether a program is a script whose first line names nothing to run it: a shell runs those itself, and so does
/// execvp(3) of POSIX. One that is found along the PATH is left alone, since the shell would look for it elsewhere.
#[cfg(unix)]
fn is_for_a_shell(error: &io::Error, program: &Path) -> bool {
    let is_path = program.components().count() > 1;
    let is_text = || std::fs::read(program).is_ok_and(|text| !text.contains(&0));
    error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) && is_path && is_text()
}

fn not_started(command: &Command, error: &io::Error) -> Failure {
    let program = command.program.to_string_lossy();
    let (code, why) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorCode::CommandNotFound, "there is no such program"),
        io::ErrorKind::PermissionDenied => (
            ErrorCode::CommandNotStarted,
            "it is no program, or may not be run by you",
        ),
        _ => (ErrorCode::CommandNotStarted, ""),
    };
    // What was found to be in the way is said as it is.
    let why = match error.get_ref() {
        None if !why.is_empty() => why.to_owned(),
        _ => error.to_string(),
    };
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied if cfg!(unix) && error.get_ref().is_none() => {
            "chmod +x lets it run; a script of Python is run by -- python FILE".to_owned()
        }
        io::ErrorKind::NotFound if error.get_ref().is_none() => instead_of_missing(&program),
        _ if error.to_string().contains("\\r\"") => {
            format!("its lines end as on Windows: save {program} with LF line ends (dos2unix)")
        }
        _ => BEHIND_THE_DASHES.to_owned(),
    };
    Failure::new(code, format!("cannot start {program:?}: {why}")).hint(hint)
}

/// What stands behind `--`.
const BEHIND_THE_DASHES: &str = "after -- comes the program to run, and then its arguments";

/// What to write in place of a program that is not there.
fn instead_of_missing(program: &str) -> String {
    // A file of this directory, which is not looked at for a name alone.
    if Path::new(program).components().count() == 1 && Path::new(program).is_file() {
        let is_python = Path::new(program)
            .extension()
            .is_some_and(|end| end == "py");
        let run = match is_python {
            true => "python ",
            false if cfg!(windows) => ".\\",
            false => "./",
        };
        return format!("it is a file of this directory: write -- {run}{program}");
    }
    if let Some(hint) = instead_of_shells_own(program) {
        return hint;
    }
    if cfg!(unix) && program.starts_with('~') {
        return "the quotes, or the place behind another word, keep the shell from replacing ~: write the whole path"
            .to_owned();
    }
    let is_assignment = |(variable, _): (&str, &str)| {
        !variable.is_empty()
            && variable
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if cfg!(unix) && program.split_once('=').is_some_and(is_assignment) {
        return "a variable is set by env: write -- env NAME=VALUE python app.py".to_owned();
    }
    match program.contains(' ') {
        true => format!("{BEHIND_THE_DASHES}: leave out the quotes around both"),
        false => BEHIND_THE_DASHES.to_owned(),
    }
}

/// What to write in place of a word that a shell knows by itself, and of what is behind it.
fn instead_of_shells_own(program: &str) -> Option<String> {
    if !cfg!(unix) {
        return None;
    }
    let name = program.split(' ').next().unwrap_or_default();
    let before = match name {
        "cd" | "export" | "unset" | "ulimit" | "umask" => name,
        // Not every sh knows `source`.
        "source" | "." => ".",
        "exec" => return Some("leave exec out: write -- python app.py".to_owned()),
        "eval" => return Some("have a shell read it: write -- sh -c 'WORDS'".to_owned()),
        "alias" | "set" => {
            return Some(format!(
                "leave {name} out, which is for the shell alone: {BEHIND_THE_DASHES}"
            ));
        }
        _ => return None,
    };
    Some(format!(
        "have a shell do it: write -- sh -c '{before} … && exec python app.py'"
    ))
}

fn lost(error: io::Error) -> Failure {
    Failure::new(
        ErrorCode::Internal,
        format!("lost sight of the COMMAND: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program is told of forwards by `-L`.
    fn told(specs: &[&str]) -> Vec<(String, Option<String>)> {
        let parse = |spec: &&str| Forward::parse(Direction::ToDebuggee, spec).unwrap();
        let forwards: Vec<Forward> = specs.iter().map(parse).collect();
        let process = process(OsStr::new("app"), &forwards);
        let text = |text: &OsStr| text.to_string_lossy().into_owned();
        let all = process.as_std().get_envs();
        let all = all.map(|(name, value)| (text(name), value.map(text)));
        all.filter(|(name, _)| name == START || name == PORT)
            .collect()
    }

    #[test]
    fn forward_to_a_unix_socket_is_not_told_to_a_program_as_where_its_debugger_is_met() {
        assert!(told(&["8000:/run/app.sock"]).is_empty());
        let told = told(&["8000:/run/app.sock", "8001:localhost:80"]);
        let expected = [(PORT, "80"), (START, "1")];
        let expected = expected.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
        assert_eq!(told, expected);
    }

    #[cfg(unix)]
    #[test]
    fn word_of_the_shell_is_told_what_to_write_whatever_files_there_are() {
        for (word, told) in [
            ("cd", "sh -c 'cd … && exec"),
            ("source", "sh -c '. … && exec"),
            (".", "sh -c '. … && exec"),
            ("exec", "leave exec out"),
            ("eval", "-- sh -c 'WORDS'"),
            ("set", "leave set out"),
        ] {
            let command = Command {
                program: word.into(),
                arguments: Vec::new(),
            };
            let failure = look_for(&command).unwrap_err();
            assert_eq!(failure.code, ErrorCode::CommandNotFound, "{word}");
            let hint = failure.hint.unwrap();
            assert!(hint.contains(told), "{word}: {hint}");
        }
        let told = instead_of_missing("cd /srv && python app.py");
        assert!(told.contains("sh -c 'cd"), "{told}");
    }
}
