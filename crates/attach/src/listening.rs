//! Which debuggers listen on this host for their IDE.

use std::net::SocketAddr;

use p2pdbg_debugger::Preset;
use p2pdbg_net::listening::ListeningSocket;

/// A debugger of this host that waits for its IDE at a TCP port, recognised by the command line of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListeningDebugger {
    /// The first preset of the table whose processes look so.
    pub debugger: Preset,
    /// The address that it has bound: loopback, or one by which other hosts reach it.
    pub address: SocketAddr,
    /// The id of the process that holds the socket; a child that inherited it may be meant as well.
    pub pid: u32,
}

/// The debuggers whose sockets are among these, as far as their processes are this user's or this user may look at
/// them; in the order of the sockets. It reads some files of every process: milliseconds.
#[cfg(target_os = "linux")]
pub fn debuggers(sockets: &[ListeningSocket]) -> Vec<ListeningDebugger> {
    let mut found: Vec<(usize, ListeningDebugger)> = Vec::new();
    for process in crate::process::all() {
        let command_line = process.command_line();
        let is_any = |preset: &Preset| {
            let ports = sockets.iter().map(|socket| socket.address.port());
            let mut ports = ports;
            ports.any(|port| preset.debugger().listens_as(&command_line, port))
        };
        // Only those that could be a debugger's have their descriptors looked at.
        if !Preset::ALL.iter().any(is_any) {
            continue;
        }
        let inodes = process.sockets();
        for (index, socket) in sockets.iter().enumerate() {
            let port = socket.address.port();
            let is_it = |preset: &Preset| preset.debugger().listens_as(&command_line, port);
            if inodes.contains(&socket.inode)
                && let Some(debugger) = Preset::ALL.into_iter().find(is_it)
            {
                let known = found.iter().any(|(of, _)| *of == index);
                if !known {
                    let found_now = ListeningDebugger {
                        debugger,
                        address: socket.address,
                        pid: process.pid(),
                    };
                    found.push((index, found_now));
                }
            }
        }
    }
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, found)| found).collect()
}

/// None are seen here: only Linux tells which process a socket belongs to.
#[cfg(not(target_os = "linux"))]
pub fn debuggers(_sockets: &[ListeningSocket]) -> Vec<ListeningDebugger> {
    Vec::new()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{net::TcpListener, os::fd::OwnedFd, process::Command};

    use p2pdbg_net::listening;

    use super::*;
    use crate::process;

    /// A process that has a listening socket as its standard input, and calls itself `name`.
    fn start(name: &str, listener: TcpListener) -> std::process::Child {
        use std::os::unix::process::CommandExt;
        Command::new("sleep")
            .arg0(name)
            .arg("600")
            .stdin(OwnedFd::from(listener))
            .spawn()
            .unwrap()
    }

    #[test]
    fn debugger_that_listens_is_found_by_its_process_and_others_are_not() {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (debugger, other) = (bind(), bind());
        let addresses = [&debugger, &other].map(|socket| socket.local_addr().unwrap());
        let mut gdbserver = start("/usr/bin/gdbserver", debugger);
        let mut server = start("httpd", other);
        for (child, name) in [(&gdbserver, "/usr/bin/gdbserver"), (&server, "httpd")] {
            // A process that has just begun with a program has no command line for a moment.
            while process::find(child.id()).unwrap().command_line() != [name, "600"] {
                std::thread::yield_now();
            }
        }
        let sockets: Vec<ListeningSocket> = listening::all()
            .into_iter()
            .filter(|socket| addresses.contains(&socket.address))
            .collect();
        assert_eq!(sockets.len(), 2);
        let expected = ListeningDebugger {
            debugger: Preset::Gdbserver,
            address: addresses[0],
            pid: gdbserver.id(),
        };
        let found = debuggers(&sockets);
        for child in [&mut gdbserver, &mut server] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found, [expected]);
    }
}
