//! What a run of `listen` or `connect` was asked to do. Everything here is parsed and decided.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use p2pdbg_attach::Consent;
use p2pdbg_base::{Absent, PathPolicy, PeerName};
use p2pdbg_forward::{AllowList, ForwardSpec};
use p2pdbg_net::stun_servers::StunServer;
use p2pdbg_path::traversal::Traversal;
use p2pdbg_proto::{code::Code, url::RendezvousUrl};
use p2pdbg_sources::SourcesOptions;

use crate::ide::Ide;

/// What `p2pdbg listen` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// What both commands have.
    pub session: SessionOptions,
    /// Who may come.
    pub peers: PeersOptions,
    /// The forwards; never empty.
    pub forwards: Vec<ForwardSpec>,
    /// What every forward does while nothing listens at its far end; none for what suits its debugger.
    pub absent: Option<Absent>,
    /// How it was started, but for what else is here.
    pub given: super::given::Given,
}

/// Who may have a session with a `listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeersOptions {
    /// How many at once.
    pub most: usize,
    /// Known peers for whom it waits.
    pub known: Vec<PeerName>,
    /// Whether it makes codes for others.
    pub makes_codes: bool,
    /// The ports beside the IDE that some of them have.
    pub maps: Vec<PortMap>,
}

impl PeersOptions {
    /// One peer, as `connect` has.
    pub fn one() -> Self {
        Self {
            most: 1,
            known: Vec::new(),
            makes_codes: false,
            maps: Vec::new(),
        }
    }
}

/// The ports beside the IDE of one peer's forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMap {
    /// The peer, as it is called here.
    pub name: PeerName,
    /// A port for each forward that opens one here, in their order; the further ones get ports that are free.
    pub ports: Vec<u16>,
}

/// What `p2pdbg connect` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectOptions {
    /// What both commands have.
    pub session: SessionOptions,
    /// How the listener is found.
    pub meeting: Meeting,
    /// Whether somebody is there to be asked: a terminal that is no COMMAND's.
    pub asks: bool,
    /// The process with which it ends.
    pub owner: Option<i32>,
    /// The program to run once the forwards stand, and its arguments; none to serve until ^C.
    pub command: Option<Command>,
}

/// What `p2pdbg ide` was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdeOptions {
    /// For which IDE.
    pub ide: Ide,
    /// Whether files are changed, rather than printed.
    pub write: bool,
    /// The project; none for the working directory.
    pub directory: Option<PathBuf>,
    /// The peer whose session is meant.
    pub peer: Option<String>,
    /// The state directory; none for the platform's own.
    pub state: Option<PathBuf>,
}

/// What `listen` and `connect` have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where the peers meet.
    pub rendezvous: RendezvousUrl,
    /// What this host calls itself towards the peer.
    pub name: PeerName,
    /// What the peer may reach from here besides loopback.
    pub allow: AllowList,
    /// Which paths may be used.
    pub path: PathPolicy,
    /// How a direct path is looked for.
    pub traversal: Traversal,
    /// Whether to look at what the debuggers say.
    pub inspect: bool,
    /// For how long the streams of a lost peer are held.
    pub resume_for: Duration,
    /// STUN servers that are asked besides the rendezvous.
    pub stun: Vec<StunServer>,
    /// The state directory; none for the platform's own.
    pub state: Option<PathBuf>,
    /// Whether the ports that are opened here are for this user's programs alone.
    pub same_user: bool,
    /// Whether the debuggers of further processes are forwarded as they come.
    pub follows_ports: bool,
    /// Whether the peer may have debuggers attach to programs that run here.
    pub attach: Consent,
    /// What is done about source files.
    pub sources: SourcesOptions,
}

/// How a connector finds its listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meeting {
    /// By the code that the listener printed.
    Code(Code),
    /// As one of the peers known from an earlier session.
    Known(PeerName),
}

/// A program to run, and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program.
    pub program: OsString,
    /// What it is given.
    pub arguments: Vec<OsString>,
}
