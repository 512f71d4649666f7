//! Which debuggers listen on this host for their IDE.

use std::net::SocketAddr;

use p2pdbg_debugger::Preset;
use p2pdbg_net::listening::ListeningSocket;

/// A debugger of this host that waits for its IDE at a TCP port, recognised by the words of the process.
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
        let fitting = fitting(&process.words(), sockets.iter());
        // Only those that could be a debugger's have their descriptors looked at.
        if fitting.is_empty() {
            continue;
        }
        let inodes = process.sockets();
        for (index, debugger) in fitting {
            let socket = &sockets[index];
            let is_known = found.iter().any(|(of, _)| *of == index);
            if inodes.contains(&socket.inode) && !is_known {
                let found_now = ListeningDebugger {
                    debugger,
                    address: socket.address,
                    pid: process.pid(),
                };
                found.push((index, found_now));
            }
        }
    }
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, found)| found).collect()
}

/// Which of the sockets, by their place, are those of a debugger if a process with these words has them, and of
/// which. What most processes are is told without a look at the sockets, of which a busy host has hundreds.
#[cfg(target_os = "linux")]
fn fitting<'a>(
    words: &[String],
    sockets: impl Iterator<Item = &'a ListeningSocket>,
) -> Vec<(usize, Preset)> {
    let may_be = |preset: &Preset| preset.debugger().may_listen_as(words);
    let may_be: Vec<Preset> = Preset::ALL.into_iter().filter(may_be).collect();
    if may_be.is_empty() {
        return Vec::new();
    }
    let fits = |(index, socket): (usize, &ListeningSocket)| {
        let port = socket.address.port();
        let is_it = |preset: &&Preset| preset.debugger().listens_as(words, port);
        may_be.iter().find(is_it).map(|preset| (index, *preset))
    };
    sockets.enumerate().filter_map(fits).collect()
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
    use crate::{process, written_programs::copy_program};

    /// A process that has a listening socket as its standard input, and calls itself `name`.
    fn start(name: &str, listener: TcpListener, variable: (&str, &str)) -> std::process::Child {
        use std::os::unix::process::CommandExt;
        Command::new("sleep")
            .arg0(name)
            .arg("600")
            .env(variable.0, variable.1)
            .stdin(OwnedFd::from(listener))
            .spawn()
            .unwrap()
    }

    #[test]
    fn debugger_that_listens_is_found_by_its_process_and_others_are_not() {
        let jdwp = "-Xmx1g -agentlib:jdwp=transport=dt_socket,server=y,address=127.0.0.1:";
        let no_debugger = "-Xmx1g -Dport=";
        let told = [
            ("/usr/bin/gdbserver", "NONE", "", Some(Preset::Gdbserver)),
            ("httpd", "JAVA_TOOL_OPTIONS", jdwp, None),
            ("java", "JAVA_TOOL_OPTIONS", jdwp, Some(Preset::Jdwp)),
            ("/jdk/bin/java", "JDK_JAVA_OPTIONS", no_debugger, None),
            ("ruby3.1", "RUBY_DEBUG_PORT", "", Some(Preset::Rdbg)),
        ];
        let mut children = Vec::new();
        for (name, variable, value, debugger) in told {
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let value = format!("{value}{}", address.port());
            let child = start(name, socket, (variable, &value));
            // A process that has just begun with a program has no command line for a moment.
            while process::find(child.id()).unwrap().command_line() != [name, "600"] {
                std::thread::yield_now();
            }
            children.push((child, address, debugger));
        }
        let mut sockets = listening::all();
        sockets.retain(|socket| children.iter().any(|(_, own, _)| *own == socket.address));
        assert_eq!(sockets.len(), children.len());
        let found = debuggers(&sockets);
        for (mut child, address, debugger) in children {
            let its = found.iter().find(|found| found.address == address);
            let expected = debugger.map(|debugger| (debugger, child.id()));
            child.kill().unwrap();
            child.wait().unwrap();
            assert_eq!(its.map(|its| (its.debugger, its.pid)), expected);
        }
    }

    #[test]
    fn process_with_a_title_is_known_by_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let node = directory.path().join("node");
        // Of a system whose tools are one file it looks at the name that it is called by.
        let shell = std::fs::canonicalize("/bin/sh").unwrap();
        copy_program(&shell, &node);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        use std::os::unix::process::CommandExt;
        let mut child = Command::new(&node)
            .arg0("next-server (v15)")
            .args([
                "-c",
                "read -r line; exit 0 # a second command, or it becomes the first",
            ])
            .env("NODE_OPTIONS", format!("--inspect={}", address.port()))
            .stdin(std::process::Stdio::piped())
            .stdout(OwnedFd::from(socket))
            .spawn()
            .unwrap();
        let title = |child: &std::process::Child| {
            process::find(child.id())?.command_line().first().cloned()
        };
        while title(&child).is_none_or(|title| title != "next-server (v15)") {
            std::thread::yield_now();
        }
        let mut sockets = listening::all();
        sockets.retain(|socket| socket.address == address);
        let found = debuggers(&sockets);
        let pid = child.id();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((found[0].debugger, found[0].pid), (Preset::Node, pid));
    }

    #[test]
    fn process_that_is_no_debugger_is_told_without_a_look_at_the_sockets() {
        let socket = |port| ListeningSocket {
            address: ([127, 0, 0, 1], port).into(),
            inode: 0,
        };
        let sockets: Vec<_> = (2000..2300).map(socket).collect();
        for (line, looks, fitting_places) in [
            ("/usr/sbin/httpd -p 2000", 0, vec![]),
            ("python3 app.py --port 2000", 0, vec![]),
            ("python3 /v/debugpy/adapter --port 2007", 300, vec![7]),
        ] {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let mut looked_at = 0;
            let fitting = fitting(&line, sockets.iter().inspect(|_| looked_at += 1));
            let places: Vec<usize> = fitting.into_iter().map(|(place, _)| place).collect();
            assert_eq!((looked_at, places), (looks, fitting_places), "{line:?}");
        }
    }
}
