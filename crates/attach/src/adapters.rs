//! debugpy's adapters: which port an IDE dials for which program.
//!
//! `debugpy --listen` is two processes: the debugger in the program, and an adapter that the IDE dials. The port is the
//! adapter's, which is nobody's child and names its program nowhere; but the debugger keeps a connection to it over
//! the loopback, and by that the two are brought together. Left out: an adapter at a port that its command line does
//! not tell (`--listen 0`).

use std::collections::HashSet;

use p2pdbg_debugger::Preset;
use p2pdbg_net::listening::{self, ConnectedSocket, ListeningSocket};

use crate::process;

/// An adapter that awaits its IDE.
pub(crate) struct Adapter {
    /// The port that the IDE dials.
    pub(crate) port: u16,
    /// The ends at the debuggees of its connections.
    pub(crate) debuggees: Vec<ConnectedSocket>,
}

/// The adapters whose sockets are among these, in their order. It reads some files of every process: milliseconds.
pub(crate) fn adapters(sockets: &[ListeningSocket]) -> Vec<Adapter> {
    let mut found = crate::debuggers(sockets);
    found.retain(|found| found.debugger == Preset::Debugpy);
    if found.is_empty() {
        return Vec::new();
    }
    let connected = listening::connected();
    let adapter = |found: crate::ListeningDebugger| {
        let its_own = process::find(found.pid)?.sockets();
        Some(Adapter {
            port: found.address.port(),
            debuggees: other_ends(&its_own, connected.iter().copied()),
        })
    };
    found.into_iter().filter_map(adapter).collect()
}

/// The ends of connections whose other end is one of these sockets. Each is looked at twice, however many a busy host
/// has.
pub(crate) fn other_ends(
    its_own: &HashSet<u64>,
    connected: impl Iterator<Item = ConnectedSocket> + Clone,
) -> Vec<ConnectedSocket> {
    let is_its_own = |end: &ConnectedSocket| its_own.contains(&end.inode);
    let own = connected.clone().filter(is_its_own);
    let other: HashSet<_> = own.map(|end| (end.remote, end.local)).collect();
    let leads_to_it =
        |end: &ConnectedSocket| !is_its_own(end) && other.contains(&(end.local, end.remote));
    connected.filter(leads_to_it).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        cell::Cell,
        fs,
        net::{TcpListener, TcpStream},
        os::{fd::OwnedFd, unix::process::CommandExt},
        process::{Child, Command},
    };

    use rustix::fs::fstat;

    use super::*;

    /// Connections of a test, of which each takes two of the 1,024 descriptors that it may have.
    const CONNECTIONS: usize = 400;

    /// An adapter by its command line, which listens and has a connection, and the debuggee's end of that.
    pub(crate) struct Pair {
        pub(crate) port: u16,
        pub(crate) adapter: Child,
        pub(crate) debuggee: TcpStream,
        _dir: tempfile::TempDir,
    }

    impl Pair {
        pub(crate) fn new(name: &str) -> Self {
            let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
            let (for_ides, for_debuggees) = (bind(), bind());
            let port = for_ides.local_addr().unwrap().port();
            let debuggee = TcpStream::connect(for_debuggees.local_addr().unwrap()).unwrap();
            let (accepted, _) = for_debuggees.accept().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join(name).join(port.to_string());
            fs::create_dir(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            let adapter = Command::new("tail")
                .arg0("python3")
                .arg("-f")
                .arg(file)
                .stdin(OwnedFd::from(for_ides))
                .stdout(OwnedFd::from(accepted))
                .spawn()
                .unwrap();
            Self {
                port,
                adapter,
                debuggee,
                _dir: dir,
            }
        }

        /// The debuggee's end, for a process to have.
        pub(crate) fn end(&self) -> OwnedFd {
            self.debuggee.try_clone().unwrap().into()
        }
    }

    impl Drop for Pair {
        fn drop(&mut self) {
            end(&mut self.adapter);
        }
    }

    pub(crate) fn end(child: &mut Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn each_connection_of_the_host_is_looked_at_twice() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let dialled = TcpStream::connect(address).unwrap();
                (dialled, listener.accept().unwrap().0)
            })
            .collect();
        let inode = |socket: &TcpStream| fstat(socket).unwrap().st_ino;
        let own = connections.iter().map(|(_, accepted)| inode(accepted));
        let connected = listening::connected();
        let looks = Cell::new(0);
        let looked_at = connected
            .iter()
            .copied()
            .inspect(|_| looks.set(looks.get() + 1));
        let found = other_ends(&own.collect(), looked_at);
        let found: HashSet<u64> = found.iter().map(|end| end.inode).collect();
        let other = connections.iter().map(|(dialled, _)| inode(dialled));
        assert_eq!(found, other.collect());
        assert!(connected.len() >= 2 * CONNECTIONS);
        assert_eq!(looks.get(), 2 * connected.len());
    }
}
