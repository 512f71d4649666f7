//! What a process is doing at one moment: the schema of `p2pdbg status --json`.
//!
//! As stable as the events of docs/JSON.md: fields are added, never renamed or removed, and one that has nothing to say
//! is left out. Nothing in it is secret: neither a code that can still be used nor a key.

use p2pdbg_base::{HostPort, Opened, Untrusted};
use p2pdbg_forward::{Direction, Preset};
use serde::{Deserialize, Serialize};

use crate::{DebuggerReport, PathReport, StreamState, Waiting};

/// A `listen` or a `connect`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessSnapshot {
    /// Its process id on this host.
    pub pid: u32,
    /// That of the process which started it, perhaps npm's launcher, of which alone an editor knows. Not on Windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// Which of the two it is.
    pub command: SessionCommand,
    /// The version of its program.
    pub version: String,
    /// How long it has been running, in milliseconds.
    pub up_ms: u64,
    /// Where it meets its peers, `HOST:PORT`.
    pub rendezvous: String,
    /// How far it has come.
    pub state: ProcessState,
    /// How many peers it lets in at once, if more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<usize>,
    /// Its sessions, one for each peer; empty while none is here.
    #[serde(default)]
    pub sessions: Vec<SessionSnapshot>,
}

/// The two commands that have sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionCommand {
    /// `p2pdbg listen`, beside the IDE.
    Listen,
    /// `p2pdbg connect`, on the debuggee's host.
    Connect,
}

/// How far a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// Connecting to the rendezvous, for the first time or again.
    ReachingRendezvous,
    /// Waiting until the peer comes.
    AwaitingPeer,
    /// Exchanging keys with the peer.
    Pairing,
    /// At least one peer is here.
    InSession,
}

/// A session with one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionSnapshot {
    /// What the peer is called here.
    pub peer: Untrusted,
    /// Whether the two knew each other before.
    pub known: bool,
    /// How long it has lasted, in milliseconds.
    pub age_ms: u64,
    /// Whether the peer can be reached.
    pub state: SessionState,
    /// The directory here whose files are compared with the peer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Untrusted>,
    /// For how long the peer has been out of reach, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_ms: Option<u64>,
    /// The paths that it has used, the last of them now; `after_ms` counts from the start of the process.
    #[serde(default)]
    pub paths: Vec<PathReport>,
    /// The round-trip time now, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// What was measured of late, the oldest first.
    #[serde(default)]
    pub samples: Vec<Sample>,
    /// The forwards, those of `p2pdbg pipe` among them.
    #[serde(default)]
    pub forwards: Vec<ForwardSnapshot>,
    /// The debuggers' connections, in the order of their ids.
    #[serde(default)]
    pub streams: Vec<StreamSnapshot>,
    /// How many more streams there are than are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_streams: usize,
    /// What must come before held connections can go on.
    #[serde(default)]
    pub waiting: Vec<Waiting>,
}

/// Whether the peer can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// No path has been found yet.
    Connecting,
    /// There is a path that answers.
    Connected,
    /// Every path is lost; the streams are held.
    Resuming,
}

/// One look at the path in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// How long ago, in milliseconds.
    pub ago_ms: u64,
    /// The round-trip time, in milliseconds; none while there was no path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Packets sent since the look before.
    pub sent: u64,
    /// How many of them are held to be lost.
    pub lost: u64,
}

/// A forward of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForwardSnapshot {
    /// Which end opens the port; neither does for `p2pdbg pipe`.
    pub direction: Direction,
    /// The open port or Unix socket; none for `p2pdbg pipe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<Opened>,
    /// What is dialled at the other end.
    pub to: HostPort,
    /// The debugger that was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debugger: Option<Preset>,
    /// How far it has come.
    pub state: ForwardStanding,
}

/// How far a forward has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardStanding {
    /// The other end has not answered yet.
    Asked,
    /// Its port is open, or the other end has agreed to dial.
    Up,
    /// It could not be set up.
    Failed,
    /// The other end has agreed, and the port opens once something listens at the target.
    Closed,
}

/// One connection of a debugger, or of what else uses a forward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamSnapshot {
    /// Names it in its session.
    pub id: u64,
    /// Its state; none while it is being dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StreamState>,
    /// What is dialled for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<HostPort>,
    /// How long there has been one, in milliseconds.
    pub age_ms: u64,
    /// Bytes that the local program wrote.
    pub sent: u64,
    /// Bytes that the local program was given.
    pub received: u64,
    /// Bytes that were sent once more, since the path loses packets.
    #[serde(default, skip_serializing_if = "is_none_copied")]
    pub copied: u64,
    /// What was seen of the debugger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debugger: Option<DebuggerReport>,
}

fn is_none_copied(bytes: &u64) -> bool {
    *bytes == 0
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}
