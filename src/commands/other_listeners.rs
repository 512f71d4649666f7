//! The ports beside the IDE that other `p2pdbg listen`s of this user's have to do with: where one of them has opened a
//! port, or dials an IDE, no second one's debugger is. A connection to both would go round between the two hosts
//! without end, if the debuggee is the same.

use std::path::Path;

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_forward::{Direction, Forward, ForwardSpec, Purpose};
use p2pdbg_identity::StateDir;
use p2pdbg_net::listening;

use crate::{
    control_socket,
    recent_sessions::{self, RecentForward, RecentSession},
};

/// Those that run.
#[derive(Debug)]
pub(super) struct OtherListeners(Vec<RecentSession>);

impl OtherListeners {
    /// Those that are noted in this state directory; what cannot be read is told of where it is needed.
    pub(super) fn look(state: Option<&Path>) -> Self {
        let state = StateDir::open(state, "p2pdbg").ok();
        let noted = state.and_then(|state| recent_sessions::read(&state).ok());
        let mut noted = noted.unwrap_or_default();
        // The number of one that was killed may be another program's by now; this one has noted nothing yet, so what
        // has its number runs in another container.
        let is_this = |pid| pid == std::process::id();
        noted.retain(|one| !is_this(one.pid) && one.is_running() && control_socket::runs(one.pid));
        Self(noted)
    }

    /// The forwards that were asked for. What another listener has opened is no IDE.
    ///
    /// # Errors
    /// If one is for a debugger and meets another listener's port.
    pub(super) fn settle(&self, specs: Vec<ForwardSpec>) -> Result<Vec<Forward>, Failure> {
        let is_ide = |port| listening::seen_on(port) && self.which_opened(port).is_none();
        let specs = specs.into_iter();
        let forwards: Vec<Forward> = specs.map(|spec| spec.resolve(is_ide)).collect();
        self.refuse_their_ports(&forwards)?;
        Ok(forwards)
    }

    /// Refuses what is for a debugger and meets another listener's port in place of the IDE's. What connects by `-L`
    /// and `-R` may be meant to go on from one host to the next.
    ///
    /// # Errors
    /// Says whose port it is.
    fn refuse_their_ports(&self, forwards: &[Forward]) -> Result<(), Failure> {
        let mut asked = forwards.iter();
        let Some((port, pid)) = asked.find_map(|forward| self.which_is_at(forward)) else {
            return Ok(());
        };
        let message =
            format!("port {port} beside the IDE is that of another p2pdbg listen (process {pid})");
        Err(Failure::new(ErrorCode::PortInUse, message)
            .hint("end that one, or name another port for one of them, as in pydevd:5679"))
    }

    /// The port at which a forward for a debugger meets another listener, and that listener's process.
    fn which_is_at(&self, forward: &Forward) -> Option<(u16, u32)> {
        let (port, other) = match forward.direction {
            _ if forward.purpose == Purpose::Anything || forward.socket.is_some() => return None,
            Direction::ToIde if !forward.target.is_loopback() => return None,
            Direction::ToIde => (forward.target.port, self.which_opened(forward.target.port)),
            Direction::ToDebuggee => {
                let port = forward.bind.port;
                (
                    port,
                    self.which_opened(port).or_else(|| self.which_dials(port)),
                )
            }
        };
        Some((port, other?.pid))
    }

    /// The listener that has opened a port here.
    fn which_opened(&self, port: u16) -> Option<&RecentSession> {
        let opened = |forward: &RecentForward| {
            forward.direction == Direction::ToDebuggee
                && forward.socket.is_none()
                && forward.port == port
        };
        self.which(opened).filter(|_| listening::seen_on(port))
    }

    /// The listener whose debugger dials its IDE at a port here.
    fn which_dials(&self, port: u16) -> Option<&RecentSession> {
        self.which(|forward| {
            forward.direction == Direction::ToIde
                && forward.debugger.is_some()
                && forward.to.is_loopback()
                && forward.to.port == port
        })
    }

    fn which(&self, has: impl Fn(&RecentForward) -> bool) -> Option<&RecentSession> {
        let mut others = self.0.iter();
        others.find(|session| session.forwards.iter().any(&has))
    }
}
