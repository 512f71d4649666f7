//! debugpy's messages, spared the wait for an acknowledgement.
//!
//! The debugger in the program has a connection to its adapter ([`crate::adapters`]), on which it writes each message
//! in two pieces, its header and its body (`pydevd_net_command.py`, debugpy 1.8.22). It leaves Nagle's algorithm on, so
//! the body waits for the acknowledgement of the header, and the adapter's kernel puts that off for 40 ms: 0.2 s for a
//! step and the views after it.
//!
//! So that algorithm is switched off, from here: the kernel gives a process a second descriptor of another's socket
//! (`pidfd_getfd`), if it may trace that process. Nothing else of the program is touched, nor any socket but those
//! that lead to the adapter. What is left out: programs that are neither this process' descendants nor attached to by
//! it.

use std::{collections::HashMap, io, net::TcpStream, os::fd::OwnedFd};

use p2pdbg_net::listening::{self, ConnectedSocket};
use rustix::{
    fs::fstat,
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use crate::{
    adapters::adapters,
    process::{self, Process},
};

/// How many ancestors of a process are looked at.
const MOST_ANCESTORS: usize = 64;

/// The looks that are under way, one for each port of an adapter; whether another is to follow.
#[derive(Debug, Default)]
pub(crate) struct Looks(HashMap<u16, bool>);

impl Looks {
    /// Whether to look at a port now. If somebody does already another look follows that one, which may be past what
    /// is new.
    pub(crate) fn begin(&mut self, port: u16) -> bool {
        let is_under_way = self.0.contains_key(&port);
        self.0.insert(port, is_under_way);
        !is_under_way
    }

    /// A look has ended; whether another one follows.
    pub(crate) fn ended(&mut self, port: u16) -> bool {
        let follows = self.0.remove(&port) == Some(true);
        follows && self.begin(port)
    }
}

/// Has the debuggers that the adapter on `port` has to do with send without delay, in this process' descendants and
/// in `roots`, by number and start, and theirs. How many sockets there were. It reads some files of every process:
/// milliseconds.
pub(crate) fn send_at_once(port: u16, roots: &[(u32, u64)]) -> usize {
    let ends = ends_at_debuggees(port);
    if ends.is_empty() {
        return 0;
    }
    let mut found = 0;
    for process in process::all() {
        let sockets = process.socket_descriptors().into_iter();
        let mut sockets = sockets.filter(|(_, inode)| ends.iter().any(|end| end.inode == *inode));
        let Some(first) = sockets.next() else {
            continue;
        };
        // Held from before it is judged whose it is: its number may belong to another process a moment later.
        let held = hold(&process);
        if !is_of(&process, roots) {
            continue;
        }
        for (descriptor, inode) in [first].into_iter().chain(sockets) {
            let held = held.as_ref().map_err(|error| io::Error::from(error.kind()));
            match held.and_then(|held| set(held, descriptor, inode)) {
                Ok(()) => found += 1,
                Err(error) => {
                    let pid = process.pid();
                    tracing::info!(pid, %error, "debugpy's messages wait 40 ms each: cannot reach its socket");
                }
            }
        }
    }
    found
}

/// The other ends of the connections that the adapter on `port` has.
fn ends_at_debuggees(port: u16) -> Vec<ConnectedSocket> {
    let mut sockets = listening::all();
    sockets.retain(|socket| socket.address.port() == port);
    let adapter = adapters(&sockets).into_iter().next();
    adapter.map_or_else(Vec::new, |adapter| adapter.debuggees)
}

/// Whether a process is one of `roots`, or descends from one or from this one. A number may belong to another process
/// than it did, which its start tells.
fn is_of(process: &Process, roots: &[(u32, u64)]) -> bool {
    if process.is_self() {
        return false;
    }
    let own = std::process::id();
    let mut pid = process.pid();
    for _ in 0..MOST_ANCESTORS {
        if pid == own {
            return true;
        }
        let Some(ancestor) = process::find(pid) else {
            return false;
        };
        let started = ancestor.started();
        if started.is_some_and(|started| roots.contains(&(pid, started))) {
            return true;
        }
        match ancestor.parent() {
            Some(parent) => pid = parent,
            None => return false,
        }
    }
    false
}

/// A descriptor of a process, which leads to no other one when its number does.
fn hold(process: &Process) -> io::Result<OwnedFd> {
    let pid = i32::try_from(process.pid()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Has one of its sockets send without delay, if it is the one that was seen.
fn set(process: &OwnedFd, descriptor: i32, inode: u64) -> io::Result<()> {
    let socket: OwnedFd = pidfd_getfd(process, descriptor, PidfdGetfdFlags::empty())?;
    // The descriptor may be another by now. No two sockets have one number.
    if fstat(&socket)?.st_ino != inode {
        return Err(io::ErrorKind::NotFound.into());
    }
    TcpStream::from(socket).set_nodelay(true)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;
    use crate::adapters::tests::{Pair, end};

    fn program(socket: OwnedFd) -> Child {
        let mut command = Command::new("tail");
        command.args(["-f", "/dev/null"]).stdin(socket);
        command.spawn().unwrap()
    }

    #[test]
    fn child_sends_to_the_adapter_without_delay_and_to_others_as_before() {
        let pair = Pair::new("debugpy");
        let other = Pair::new("database");
        let mut children = [&pair, &other].map(|pair| program(pair.end()));
        let found = [pair.port, other.port].map(|port| send_at_once(port, &[]));
        children.iter_mut().for_each(end);
        assert_eq!(found, [1, 0]);
        let nodelay = [&pair, &other].map(|pair| pair.debuggee.nodelay().unwrap());
        assert_eq!(nodelay, [true, false]);
    }

    #[test]
    fn looks_at_a_port_are_taken_one_at_a_time_and_the_last_is_after_the_last_word() {
        let mut looks = Looks::default();
        assert!(looks.begin(5678) && looks.begin(5679));
        assert!(!looks.begin(5678) && !looks.begin(5678));
        assert!(looks.ended(5678), "for both of the words meanwhile");
        assert!(!looks.ended(5678) && !looks.ended(5679));
        assert!(looks.begin(5678));
    }

    #[test]
    fn descriptor_that_has_become_another_socket_is_left_alone() {
        let [seen, other] = ["debugpy", "database"].map(Pair::new);
        let mut child = program(other.end());
        let process = process::find(child.id()).unwrap();
        let (descriptor, inode) = process.socket_descriptors()[0];
        let held = hold(&process).unwrap();
        let of = |pair: &Pair| fstat(pair.end()).unwrap().st_ino;
        let left = set(&held, descriptor, of(&seen)).unwrap_err();
        assert_eq!(left.kind(), io::ErrorKind::NotFound);
        assert!(!other.debuggee.nodelay().unwrap());
        assert_eq!(inode, of(&other));
        set(&held, descriptor, inode).unwrap();
        assert!(other.debuggee.nodelay().unwrap());
        end(&mut child);
        assert!(
            set(&held, descriptor, inode).is_err(),
            "the process has ended"
        );
    }

    #[test]
    fn program_that_was_not_started_here_is_left_alone_unless_it_was_attached_to() {
        let pair = Pair::new("debugpy");
        // Its parent ends at once, so that it is nobody's descendant.
        let started = Command::new("sh")
            .args(["-c", "exec 3<&0; tail -f /dev/null <&3 3<&- >&2 & echo $!"])
            .stdin(pair.end())
            .stderr(Stdio::null())
            .output()
            .unwrap();
        let pid: u32 = String::from_utf8(started.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let before = send_at_once(pair.port, &[]);
        let nodelay_before = pair.debuggee.nodelay().unwrap();
        let started = process::find(pid).unwrap().started().unwrap();
        let another = send_at_once(pair.port, &[(pid, started + 1)]);
        assert_eq!(another, 0, "the process that had its number before");
        let attached = send_at_once(pair.port, &[(pid, started)]);
        let raw = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(raw, rustix::process::Signal::KILL).unwrap();
        assert_eq!((before, nodelay_before, attached), (0, false, 1));
        assert!(pair.debuggee.nodelay().unwrap());
    }
}
