//! A running `p2pdbg listen` or `p2pdbg connect`, and its events.

use std::{
    ffi::{OsStr, OsString},
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use p2pdbg_base::{ErrorCode, Failure, HostPort};
use p2pdbg_events::{
    Event, PathKind, PathReport, StreamState, Via, WaitingFor, Warning, WarningCode,
};
use p2pdbg_proto::code::Code;
use serde_json::Value;

use super::{Home, Place, Process, Transcript, programs::P2PDBG};

/// What is logged to standard error, and printed when a test fails.
const LOG: &str = "warn,p2pdbg=debug,p2pdbg_punch=debug";

/// How a peer is started.
#[derive(Debug)]
pub struct PeerCommand {
    name: String,
    place: Place,
    transcript: Transcript,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    home: Option<Home>,
    directory: Option<PathBuf>,
    /// What starts it, with its own arguments; `p2pdbg` and the rest follow.
    launcher: Vec<OsString>,
}

impl PeerCommand {
    /// `p2pdbg COMMAND` at a place.
    pub fn new(command: &str, place: &Place, transcript: &Transcript) -> Self {
        Self {
            name: command.to_owned(),
            place: place.clone(),
            transcript: transcript.clone(),
            arguments: vec![command.into()],
            environment: Vec::new(),
            home: None,
            directory: None,
            launcher: Vec::new(),
        }
    }

    /// In a sandbox that refuses these system calls with EPERM.
    #[must_use]
    pub fn denied(mut self, calls: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/deny.py");
        self.launcher = vec!["python3".into(), script.into(), calls.into()];
        self
    }

    /// Started with these signals ignored, as `nohup` has it, or a shell that runs a script with a `&`.
    #[must_use]
    pub fn ignoring(mut self, signals: &str) -> Self {
        let script = format!("trap '' {signals}; exec \"$@\"");
        self.launcher = vec!["sh".into(), "-c".into(), script.into(), "sh".into()];
        self
    }

    /// With this file on its standard input.
    #[must_use]
    pub fn reading(mut self, input: &Path) -> Self {
        let script = "input=$1; shift; exec \"$@\" <\"$input\"";
        let launcher = ["sh", "-c", script, "sh"].map(OsString::from);
        self.launcher = launcher.into_iter().chain([input.into()]).collect();
        self
    }

    /// With this file as its standard output.
    #[must_use]
    pub fn writing(mut self, output: &Path) -> Self {
        let script = "output=$1; shift; exec \"$@\" >\"$output\"";
        let launcher = ["sh", "-c", script, "sh"].map(OsString::from);
        self.launcher = launcher.into_iter().chain([output.into()]).collect();
        self
    }

    /// With so many descriptors, of which it may take more.
    #[must_use]
    pub fn with_descriptors(mut self, limit: u32) -> Self {
        let script = format!("ulimit -Sn {limit}; exec \"$@\"");
        self.launcher = vec!["sh".into(), "-c".into(), script.into(), "sh".into()];
        self
    }

    /// In the foreground of a terminal of its own, on which SIGUSR1 to the process presses ^C. Its standard input is
    /// that terminal, or nothing.
    #[must_use]
    pub fn on_terminal(mut self, reads_it: bool) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness/terminal.py");
        let input = if reads_it { "terminal" } else { "null" };
        self.launcher = vec!["python3".into(), script.into(), input.into()];
        self
    }

    /// As the first process of a container; only root may.
    #[must_use]
    pub fn first_process(mut self) -> Self {
        let launcher = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
        self.launcher = launcher.map(OsString::from).to_vec();
        self
    }

    /// With another name in messages, where there are several.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// With a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// With the identity and the known peers of another that has ended.
    #[must_use]
    pub fn home(mut self, home: Home) -> Self {
        self.home = Some(home);
        self
    }

    /// In another working directory.
    #[must_use]
    pub fn in_directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Starts it with `--json`.
    #[track_caller]
    pub fn start(self) -> Peer {
        let has_command = self.arguments.iter().any(|argument| argument == "--");
        let (process, home) = self.spawn(&["--json"], Some(LOG));
        Peer {
            process,
            home,
            has_command,
            taken: Mutex::default(),
        }
    }

    /// Starts it as people do, to see what it prints for them.
    #[track_caller]
    pub fn start_for_people(self) -> (Process, Home) {
        self.spawn(&[], None)
    }

    fn spawn(self, more: &[&str], log: Option<&str>) -> (Process, Home) {
        let home = self.home.unwrap_or_else(Home::new);
        let launcher = match self.launcher.is_empty() {
            true => interruptible(),
            false => self.launcher,
        };
        let mut command: Command = match launcher.split_first() {
            Some((launcher, arguments)) => {
                let mut command = self.place.command(launcher);
                command.args(arguments).arg(P2PDBG);
                command
            }
            None => self.place.command(P2PDBG),
        };
        home.settle(&mut command);
        command.env("P2PDBG_STATE", home.state());
        // Not where the tests are run: that is a Git work tree, whose files both ends would compare.
        let directory = self.directory.as_deref().unwrap_or(home.path());
        command.current_dir(directory);
        if let Some(log) = log {
            command.env("P2PDBG_LOG", log);
        }
        let (name, rest) = self.arguments.split_first().unwrap();
        command
            .envs(self.environment)
            .arg(name)
            .args(more)
            .args(rest);
        (Process::start(&self.name, command, &self.transcript), home)
    }
}

/// What gives a program its ^C back, where the tests themselves were started without: before a `&` in a script.
fn interruptible() -> Vec<OsString> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let mask =
        lines.find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    match mask.is_some_and(|mask| mask & 0b110 != 0) {
        true => vec!["env".into(), "--default-signal=INT,QUIT".into()],
        false => Vec::new(),
    }
}

/// A peer whose events are read. It dereferences to its process.
#[derive(Debug)]
pub struct Peer {
    process: Process,
    home: Home,
    has_command: bool,
    /// Which lines of its output have been taken as events.
    taken: Mutex<Vec<usize>>,
}

/// Reads one line of `--json` and checks that it is of the documented schema: nothing in it is unknown to the type,
/// and nothing is lost on the way through it. `None` for what a COMMAND printed.
#[track_caller]
pub fn json(line: &str) -> Option<Event> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    value.get("event")?.as_str()?;
    if let Some(session) = value.as_object_mut()?.remove("session") {
        assert!(session.is_string(), "{line}");
    }
    let event: Event = serde_json::from_value(value.clone())
        .unwrap_or_else(|error| panic!("not of the schema: {line}: {error}"));
    assert_eq!(serde_json::to_value(&event).unwrap(), value, "{line}");
    Some(event)
}

/// The peer with whose session a line is marked.
pub fn session(line: &str) -> Option<String> {
    let value: Value = serde_json::from_str(line).ok()?;
    Some(value.get("session")?.as_str()?.to_owned())
}

impl Peer {
    /// Waits for an event that was not taken before and in which `look` finds something; takes it.
    ///
    /// # Panics
    /// When patience or the output ends first.
    #[track_caller]
    pub fn event<T>(&self, what: &str, mut look: impl FnMut(&Event) -> Option<T>) -> T {
        self.line_with(what, |line| look(&json(line)?))
    }

    /// The same of one session of several.
    #[track_caller]
    pub fn event_of<T>(
        &self,
        peer: &str,
        what: &str,
        mut look: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        self.line_with(&format!("{what} of {peer}"), |line| {
            let is_its = session(line).is_some_and(|session| session == peer);
            look(&json(line)?).filter(|_| is_its)
        })
    }

    #[track_caller]
    fn line_with<T>(&self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let mut taken = self.taken.lock().unwrap();
        let mut seen = 0;
        let (index, found) = self.process.find(what, |lines| {
            let new = seen..lines.len();
            seen = lines.len();
            new.filter(|index| !taken.contains(index))
                .find_map(|index| Some((index, look(&lines[index])?)))
        });
        taken.push(index);
        found
    }

    /// All events so far, taken or not.
    pub fn events(&self) -> Vec<Event> {
        self.stdout().iter().filter_map(|line| json(line)).collect()
    }

    /// All that it said on how the peers are connected, in order.
    pub fn paths(&self) -> Vec<PathReport> {
        let path = |event| match event {
            Event::Path(path) => Some(path),
            _ => None,
        };
        self.events().into_iter().filter_map(path).collect()
    }

    /// The first code that led to it, whether it was taken or not.
    pub fn first_code(&self) -> Option<Code> {
        self.events().into_iter().find_map(|event| match event {
            Event::Ready { code, .. } => code,
            _ => None,
        })
    }

    /// The next code that leads to it.
    #[track_caller]
    pub fn code(&self) -> Code {
        self.event("code", |event| match event {
            Event::Ready { code, .. } => code.clone(),
            _ => None,
        })
    }

    /// Waits until it is paired; gives the peer's name and whether it was known.
    #[track_caller]
    pub fn paired(&self) -> (String, bool) {
        self.event("pairing", |event| match event {
            Event::Paired { peer, known } => Some((peer.to_string(), *known)),
            _ => None,
        })
    }

    /// Waits for a path of this kind.
    #[track_caller]
    pub fn path(&self, kind: PathKind) -> PathReport {
        self.event(&format!("{kind:?} path"), |event| match event {
            Event::Path(path) if path.kind == kind => Some(path.clone()),
            _ => None,
        })
    }

    /// Waits until its own end of the relay is carried so. Where a host is busy, TCP may come first.
    #[track_caller]
    pub fn relayed_via(&self, via: Via) -> PathReport {
        self.event(&format!("relay via {via:?}"), |event| match event {
            Event::Path(path) if path.kind == PathKind::Relay && path.via == via => {
                Some(path.clone())
            }
            _ => None,
        })
    }

    /// Waits until a forward stands whose open port this is.
    #[track_caller]
    pub fn forward(&self, port: u16) {
        self.event(&format!("forward of port {port}"), |event| match event {
            Event::Forward { listen, .. } if listen.address()?.port == port => Some(()),
            _ => None,
        });
    }

    /// Waits until it says that it waits for something; gives where that must listen.
    #[track_caller]
    pub fn waiting(&self, what: WaitingFor) -> Option<HostPort> {
        self.event(&format!("waiting for {what:?}"), |event| match event {
            Event::Waiting(waiting) if waiting.awaited == what => Some(waiting.at.clone()),
            _ => None,
        })
    }

    /// Waits until a stream of it is in this state.
    #[track_caller]
    pub fn stream(&self, wanted: StreamState) {
        self.event(&format!("{wanted:?} stream"), |event| match event {
            Event::Stream { state, .. } if *state == wanted => Some(()),
            _ => None,
        });
    }

    /// Waits for a warning.
    #[track_caller]
    pub fn warning(&self, code: WarningCode) -> Warning {
        self.event(&format!("warning {code:?}"), |event| match event {
            Event::Warning(warning) if warning.code == code => Some(warning.clone()),
            _ => None,
        })
    }

    /// Waits until the session is over.
    #[track_caller]
    pub fn closed(&self) -> String {
        self.event("end of the session", |event| match event {
            Event::Closed { why } => Some(why.clone()),
            _ => None,
        })
    }

    /// Waits until it fails, with this code and its exit status.
    #[track_caller]
    pub fn fails(&mut self, code: ErrorCode) -> Failure {
        let failure = self.event(&format!("error {code}"), |event| match event {
            Event::Error(failure) => Some(failure.clone()),
            _ => None,
        });
        assert_eq!(failure.code, code, "{failure:?}");
        assert_eq!(self.exit_status(), i32::from(code.exit_status()));
        failure
    }

    /// Ends it by ^C.
    #[cfg(unix)]
    #[track_caller]
    pub fn stop(&mut self) {
        self.interrupt();
        assert_eq!(self.exit_status(), 130);
    }

    /// What it keeps on disk.
    pub fn home(&self) -> Home {
        self.home.clone()
    }
}

impl Drop for Peer {
    /// Holds everything that it printed to the schema.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for line in self.stdout() {
            let event = json(&line);
            assert!(
                event.is_some() || self.has_command,
                "{} printed what is no event: {line}",
                self.name()
            );
        }
    }
}

impl Deref for Peer {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}
