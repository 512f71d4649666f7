//! Where and how each command is run.

/// How a command is run, and what it has to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How {
    /// Beside the IDE: it ends well.
    Ends,
    /// On the debuggee's host: it ends well.
    EndsThere,
    /// Beside the IDE: it shows a code, and goes on.
    Listens,
    /// On the debuggee's host, with the code of the page's last `listen`: it pairs, and goes on.
    Connects,
    /// On the debuggee's host: it listens on this port, and goes on.
    Serves(u16),
    /// Beside the IDE: it prints the rendezvous' URL, and goes on.
    Rendezvous,
    /// Beside the IDE, with what is typed into it: it ends well, and stops in the program.
    Debugs,
    /// It is not run, for this reason.
    Not(&'static str),
}

use How::{Connects, Debugs, Ends, EndsThere, Listens, Not, Rendezvous, Serves};

const SYSTEMD: How =
    Not("needs systemd as the first process; tests/loopback has systemd-analyze verify the unit");
const DOCKER: How = Not("needs Docker; what runs in the container is run by other pages");
const ATTACH: How = Not(
    "each process here has mounts of its own, as in a container; tests/debuggers/attach.rs runs it with each debugger",
);
const CARGO: How = Not("builds or tests this repository, as its own tests do");
const KEYS: How = Not("takes several nodes; rendezvous/tests/it/shared_keys.rs runs it on two");
const CLUSTER: How = Not("takes several hosts; tests/faults/cluster.rs runs the same on three");
const RELAY: How = Not("takes several hosts; tests/faults/relays.rs runs it");
const NEOVIM: How = Not("tests/debuggers/neovim.rs runs neovim with what is written for it");

/// By how a command begins; the first that fits holds.
pub(crate) const RULES: &[(&str, How)] = &[
    ("p2pdbg attach 4242", ATTACH),
    ("p2pdbg attach app.py", ATTACH),
    (":", NEOVIM),
    ("cargo test", CARGO),
    ("cargo build", CARGO),
    ("cargo run", CARGO),
    (
        "target/release/p2pdbg-herd",
        Not("loads two cores for minutes; rendezvous/tests/herd.rs does the same with fewer peers"),
    ),
    (
        "npx p2pdbg",
        Not("needs the packages of a release, which scripts/try-release installs and runs"),
    ),
    ("docker run", DOCKER),
    ("systemctl", SYSTEMD),
    ("loginctl", SYSTEMD),
    (
        "install -m 755",
        Not("replaces a program of the host; tests/faults has one replaced while it serves"),
    ),
    (
        "ssh web-1",
        Not("tests/loopback/ssh.rs runs it with an ssh server of its own"),
    ),
    (
        "rsync -a",
        Not("tests/loopback/ssh.rs runs it with an ssh server of its own"),
    ),
    (
        "socat",
        Not("socat is no test tool, and the line is for Visual Studio, on Windows"),
    ),
    (
        "python -m p2pdbg connect",
        Not("needs the wheel, which tests/debuggers/package.rs builds and runs"),
    ),
    (
        "p2pdbg doctor --deep",
        Not("takes minutes; tests/lab/doctor.rs runs it against NATs that forget sooner"),
    ),
    (
        "p2pdbg connect 482913-orbit-lemon-tiger -- watchgod",
        Not("watchgod is no test tool; other pages run connect with a COMMAND"),
    ),
    (
        "python -m debugpy --connect",
        Not("dials an IDE that listens, which tests/debuggers has as a scenario"),
    ),
    (
        "lldb ./app",
        Not("the lldb of Debian 12 finds no Python; tests/debuggers types the same by its script"),
    ),
    ("export ", Ends),
    ("p2pdbg listen", Listens),
    ("p2pdbg connect", Connects),
    ("p2pdbg-rendezvous keys revoke team-a --state", KEYS),
    ("p2pdbg-rendezvous keys", Ends),
    ("p2pdbg-rendezvous authority", CLUSTER),
    ("p2pdbg-rendezvous --node", CLUSTER),
    ("p2pdbg-rendezvous --relays-alone", RELAY),
    ("p2pdbg-rendezvous nodes", CLUSTER),
    ("p2pdbg-rendezvous", Rendezvous),
    ("p2pdbg unit", EndsThere),
    ("mkdir -p", EndsThere),
    ("install -m 600", EndsThere),
    ("echo ", EndsThere),
    ("p2pdbg ", Ends),
    ("gdbserver", Serves(1234)),
    ("lldb-server", Serves(1234)),
    ("go build", EndsThere),
    ("dlv exec", Serves(2345)),
    ("java ", Serves(5005)),
    ("gdb ./app", Debugs),
];

/// The rule for a command.
pub(crate) fn rule(line: &str) -> Option<(&'static str, How)> {
    RULES
        .iter()
        .find(|(prefix, _)| line.starts_with(prefix))
        .copied()
}
