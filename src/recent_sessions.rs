//! The recent sessions of `p2pdbg listen` on this host, kept for `p2pdbg ide`: which ports, which direction, which
//! peer, and where both ends run. No secrets.
//!
//! Several run at once, so there is one entry for each process, or for each place of one that has several peers, in one
//! file of the state directory. A process that was killed leaves its entries as they were; whether it still runs is
//! looked up when the file is read.

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use p2pdbg_base::{HostPort, PeerName};
use p2pdbg_facts::{HostFacts, SourceRoots};
use p2pdbg_forward::{Direction, Forward, Preset};
use p2pdbg_identity::{StateDir, StateError};
use serde::{Deserialize, Serialize};

/// The file in the state directory.
const FILE: &str = "recent_sessions.json";

/// How many sessions are kept; the one that began first makes room, one that is over before one that runs.
const KEPT: usize = 48;

/// What is kept of one run of `p2pdbg listen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentSession {
    /// The id of its process, to see whether it still runs.
    pub pid: u32,
    /// When it began, in Unix seconds.
    pub began: u64,
    /// Which of its places for peers it is.
    #[serde(default)]
    pub place: usize,
    /// Whether it has ended in good order.
    #[serde(default)]
    pub ended: bool,
    /// The host that it runs on, and the directory there.
    pub here: HostFacts,
    /// Its forwards, with the ports that were opened.
    pub forwards: Vec<RecentForward>,
    /// Under which name the peer is known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Where the peer runs, as it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub there: Option<HostFacts>,
    /// Which directories hold the same files at both ends, once comparing them has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<SourceRoots>,
    /// Whether comparing has found no file here that is taken for one there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nothing_in_common: bool,
    /// The other options of this `p2pdbg listen` that were given on its command line, as `OPTION` or `OPTION=VALUE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Whether the rendezvous was named on the command line, with a key that is nobody's business.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rendezvous_given: bool,
}

/// A forward of a recent session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecentForward {
    /// Which end opens the port.
    pub direction: Direction,
    /// The port that is opened; 0 of a Unix socket.
    pub port: u16,
    /// The Unix socket that is opened in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// What is dialled at the other end.
    pub to: HostPort,
    /// The debugger, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debugger: Option<Preset>,
}

impl RecentForward {
    /// The port beside the IDE: where it attaches, or where it listens.
    pub fn ide_port(&self) -> u16 {
        match self.direction {
            Direction::ToDebuggee => self.port,
            Direction::ToIde => self.to.port,
        }
    }

    /// What `p2pdbg listen` is given for the same forward.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        if let Some(path) = &self.socket {
            return vec!["-L".to_owned(), format!("{}:{}", path.display(), self.to)];
        }
        let same_port = self.to == HostPort::loopback(self.to.port) && self.port == self.to.port
            || self.to.to_string() == format!("localhost:{}", self.port);
        match (self.debugger, self.direction) {
            (Some(debugger), _) if same_port && self.port == debugger.default_port() => {
                vec![debugger.name().to_owned()]
            }
            (Some(debugger), _) if same_port => vec![format!("{}:{}", debugger.name(), self.port)],
            (_, Direction::ToDebuggee) => {
                vec!["-L".to_owned(), format!("{}:{}", self.port, self.to)]
            }
            (_, Direction::ToIde) => vec!["-R".to_owned(), format!("{}:{}", self.port, self.to)],
        }
    }
}

impl From<&Forward> for RecentForward {
    fn from(forward: &Forward) -> Self {
        Self {
            direction: forward.direction,
            port: forward.bind.port,
            socket: forward.socket.clone(),
            to: forward.target.clone(),
            debugger: forward.preset(),
        }
    }
}

impl RecentSession {
    /// The session that this process begins.
    pub fn begin(here: HostFacts, forwards: &[Forward]) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            pid: std::process::id(),
            began: now.map_or(0, |since| since.as_secs()),
            place: 0,
            ended: false,
            here,
            forwards: forwards.iter().map(RecentForward::from).collect(),
            peer: None,
            there: None,
            roots: None,
            nothing_in_common: false,
            options: Vec::new(),
            rendezvous_given: false,
        }
    }

    /// Notes which peer it is; what was known of another one's host is forgotten.
    pub fn set_peer(&mut self, name: &PeerName) {
        if self.peer.as_deref() != Some(name.as_str()) {
            self.peer = Some(name.to_string());
            self.there = None;
            self.roots = None;
            self.nothing_in_common = false;
        }
    }

    /// Notes where the peer runs, as it says. What was found of another directory of its host says nothing of this one.
    pub(crate) fn set_there(&mut self, there: HostFacts) {
        let root = |facts: &HostFacts| facts.source_root().cloned();
        if self.there.as_ref().map(root) != Some(root(&there)) {
            self.roots = None;
            self.nothing_in_common = false;
        }
        self.there = Some(there);
    }

    /// Notes what comparing has found. What was found before is not forgotten: the files there may be away for a
    /// moment.
    pub fn set_roots(&mut self, roots: Option<SourceRoots>) {
        self.roots = roots.or(self.roots.take());
        self.nothing_in_common = self.roots.is_none();
    }

    /// The other options with which it was started, with their values.
    pub fn options(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.options
            .iter()
            .map(|option| match option.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (option.as_str(), None),
            })
    }

    /// The value of an option with which it was started.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options().find(|(option, _)| *option == name)?.1
    }

    /// Whether its process is still there.
    pub fn is_running(&self) -> bool {
        !self.ended && is_alive(self.pid)
    }

    /// Which run of a process it is of.
    pub fn process(&self) -> (u32, u64) {
        (self.pid, self.began)
    }

    /// Whether it tells of the same as another, at another time.
    fn is(&self, other: &Self) -> bool {
        (self.process(), self.place) == (other.process(), other.place)
    }
}

/// Writes sessions to the state directory, in the place of what was written of them before.
///
/// # Errors
/// When the file cannot be written.
pub fn write<'a>(
    sessions: impl Iterator<Item = &'a RecentSession>,
    state: &StateDir,
) -> Result<(), StateError> {
    let mut sessions = sessions.peekable();
    if sessions.peek().is_none() {
        return Ok(());
    }
    let _lock = state.lock(FILE)?;
    let mut all = read(state)?;
    for session in sessions {
        all.retain(|other| !other.is(session));
        while all.len() >= KEPT {
            let over = all.iter().position(|session| !session.is_running());
            all.remove(over.unwrap_or(0));
        }
        all.push(session.clone());
    }
    let json = serde_json::to_vec_pretty(&all).unwrap_or_default();
    state.write_atomically(FILE, &json)
}

/// The recent sessions, in the order in which they were last written.
///
/// # Errors
/// When the file cannot be read, or is open to others.
pub fn read(state: &StateDir) -> Result<Vec<RecentSession>, StateError> {
    let Some(bytes) = state.read(FILE)? else {
        return Ok(Vec::new());
    };
    // It holds nothing that cannot be had again: what does not parse is another version's.
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot read {FILE}");
        Vec::new()
    }))
}

#[cfg(unix)]
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    match pid.map(rustix::process::test_kill_process) {
        Some(Ok(())) => true,
        Some(Err(error)) => error == rustix::io::Errno::PERM,
        None => false,
    }
}

/// The file of its control socket tells, which nobody can remove while it runs.
#[cfg(not(unix))]
fn is_alive(pid: u32) -> bool {
    crate::control_socket::runs(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&dir.path().join("state")), "p2pdbg").unwrap();
        (dir, state)
    }

    fn session(pid: u32) -> RecentSession {
        let forward = Forward::of_preset(Preset::Debugpy, 5679);
        let mut session = RecentSession::begin(HostFacts::default(), &[forward]);
        session.pid = pid;
        session
    }

    #[test]
    fn a_session_is_written_over_its_own_entry_and_nobody_elses() {
        let (_dir, state) = state();
        let mut own = session(std::process::id());
        let write_one = |session: &RecentSession| write(std::iter::once(session), &state).unwrap();
        write_one(&own);
        write_one(&session(1));
        own.set_peer(&"web-1".parse().unwrap());
        write_one(&own);
        let all = read(&state).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1], own);
        assert!(own.is_running());
        own.ended = true;
        assert!(!own.is_running());
    }

    #[test]
    fn what_comparing_has_found_is_forgotten_with_the_directory_that_it_was_of() {
        let path = |text: &str| -> p2pdbg_facts::HostPath { text.parse().unwrap() };
        let facts = |root: &str| HostFacts {
            root: Some(path(root)),
            ..HostFacts::default()
        };
        let roots = SourceRoots {
            here: path("/home/me/p"),
            there: path("/srv/app"),
            resolved: None,
        };
        let mut session = session(1);
        session.set_there(facts("/srv/app"));
        session.set_roots(None);
        session.set_there(facts("/srv/app"));
        assert!(session.nothing_in_common);
        session.set_there(facts("/srv/other"));
        assert!(!session.nothing_in_common);
        session.set_roots(Some(roots));
        session.set_roots(None);
        assert!(!session.nothing_in_common && session.roots.is_some());
        session.set_there(facts("/srv/app"));
        assert_eq!(session.roots, None);
    }

    #[test]
    fn the_file_does_not_grow_and_those_that_run_stay() {
        let (_dir, state) = state();
        let own = session(std::process::id());
        write(std::iter::once(&own), &state).unwrap();
        for n in 0..80 {
            let mut other = session(1_000_000_000 + n);
            other.ended = true;
            write(std::iter::once(&other), &state).unwrap();
        }
        let all = read(&state).unwrap();
        assert_eq!(all.len(), KEPT);
        assert!(all.contains(&own));
    }

    #[test]
    fn a_file_that_does_not_parse_or_has_a_path_that_leads_up_counts_as_none() {
        let (_dir, state) = state();
        for text in [
            "nonsense",
            r#"[{"pid":1,"began":1,"here":{"os":"","arch":"","directory":"/a/.."},"forwards":[]}]"#,
        ] {
            state.write_atomically(FILE, text.as_bytes()).unwrap();
            assert_eq!(read(&state).unwrap(), []);
        }
    }

    #[test]
    fn a_forward_gives_the_arguments_that_make_it_again() {
        let arguments = |forward: Forward| RecentForward::from(&forward).to_arguments().join(" ");
        assert_eq!(
            arguments(Forward::of_preset(Preset::Debugpy, 5678)),
            "debugpy"
        );
        assert_eq!(arguments(Forward::of_preset(Preset::Xdebug, 9)), "xdebug:9");
        let spec = Forward::parse(Direction::ToIde, "8000:db:80").unwrap();
        assert_eq!(arguments(spec), "-R 8000:db:80");
    }
}
