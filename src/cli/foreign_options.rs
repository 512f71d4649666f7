//! Options that other programs have, and what p2pdbg has in their place.

/// The commands that an option is looked for behind: none are all.
type Commands = &'static [&'static str];

/// What is written in the place of options: behind which commands, which options, and what.
const INSTEAD: &[(Commands, &[&str], &str)] = &[
    (
        &["listen"],
        &["--port", "-p", "-P"],
        "say what listens at the port, as in debugpy:5678, or forward it alone: -L 5678:localhost:5678",
    ),
    (
        &["listen"],
        &["--listen", "--forward", "--debugger", "--preset", "--type"],
        "what is forwarded stands alone, as in p2pdbg listen debugpy:5678",
    ),
    (
        &["listen"],
        &["--bind", "--address", "--interface"],
        if cfg!(windows) {
            "to open a port on every address here: -L *:5678:localhost:5678"
        } else {
            "to open a port on every address here: -L '*:5678:localhost:5678'"
        },
    ),
    (
        &["listen"],
        &["--code", "-c"],
        "p2pdbg listen makes the code, which is for p2pdbg connect on the debuggee's host",
    ),
    (
        &["listen"],
        &["-D"],
        "p2pdbg has no SOCKS: forward each port, as in -L 8000:localhost:8000",
    ),
    (
        &["listen"],
        SSH,
        "that is an option of ssh: p2pdbg listen runs no shell, and stays until ^C; -L and -R are as in ssh",
    ),
    (
        &["connect"],
        &["--port", "-p", "-P"],
        "the ports are those of p2pdbg listen beside the IDE, as in p2pdbg listen debugpy:5679",
    ),
    (
        &["connect"],
        &["--code", "-c"],
        "the code stands alone: p2pdbg connect CODE",
    ),
    (
        &["connect"],
        SSH,
        "that is an option of ssh: what is forwarded is given to p2pdbg listen, beside the IDE, as -L or -R",
    ),
    (
        &["connect"],
        &[
            "-D",
            "--listen",
            "--forward",
            "--debugger",
            "--preset",
            "--type",
        ],
        "what is forwarded is given to p2pdbg listen, beside the IDE",
    ),
    (
        &["connect", "unit"],
        &["--command", "--cmd", "--exec", "--run", "-e", "-x"],
        "the program to run stands behind --, as in -- python app.py",
    ),
    (
        &["connect"],
        &["--wait", "--retry"],
        "it waits for the peer, and comes back after an outage, by itself",
    ),
    (
        &["listen", "connect"],
        &["--daemon", "--background", "--detach", "-d", "-b"],
        if cfg!(windows) {
            "it stays in the foreground: leave its window open, or have the task scheduler start it"
        } else {
            "it stays in the foreground: nohup with & behind it keeps it running; p2pdbg unit makes a service of connect"
        },
    ),
    (
        &["listen", "connect"],
        &[
            "--direct",
            "--relay",
            "--tcp",
            "--udp",
            "--no-relay",
            "--force-relay",
        ],
        "the way is chosen by --path direct, --path relay or --path relay-tcp",
    ),
    (
        &["listen", "connect"],
        &["--timeout", "--ttl", "--keepalive"],
        "--resume-for TIME says for how long connections of a lost peer are held; else it waits until ^C",
    ),
    (
        &["listen", "connect", "doctor"],
        &["--server", "--url", "--host", "--rdv", "-s"],
        "the rendezvous is given as --rendezvous URL, or kept by p2pdbg setup",
    ),
    (
        &["listen", "connect", "doctor", "setup"],
        &["--key", "--token", "--password", "--secret", "-k"],
        "the access key is part of the rendezvous' URL, which p2pdbg setup asks for and keeps",
    ),
    (
        &["attach"],
        &["--port", "-p", "-P", "--pid"],
        "the process id stands alone, as in p2pdbg attach 4242",
    ),
    (
        &["attach"],
        &["--list", "-l", "--all", "-a"],
        "p2pdbg attach alone lists the programs",
    ),
    (
        &["pipe"],
        &["--port", "-p", "-P", "--host"],
        "the target stands alone, as in p2pdbg pipe localhost:1234",
    ),
    (
        &["setup"],
        &["--rendezvous", "--url"],
        "the URL stands alone: p2pdbg setup, which asks for it, or p2pdbg setup URL",
    ),
    (
        &["push"],
        &["--all", "-a"],
        "p2pdbg push alone takes all the files that differ",
    ),
    (
        &["sources"],
        &["--all", "-a"],
        "p2pdbg sources alone lists all the files that differ",
    ),
    (
        &["push"],
        &["--dry-run", "-n", "--list"],
        "p2pdbg sources lists what differs, and copies nothing",
    ),
    (
        &["push"],
        &["--recursive", "-r", "-R"],
        "a directory is copied with all that is in it",
    ),
    (
        &["push"],
        &["--delete"],
        "nothing is deleted at the debuggee's host: do that there",
    ),
    (
        &["status"],
        &["--follow", "-w", "-f"],
        "p2pdbg status --watch stays on the screen",
    ),
    (&["status"], &["--all", "-a"], "it shows all sessions"),
    (
        &["forward"],
        &["--list", "-l"],
        "p2pdbg status shows the forwards",
    ),
    (
        &["forward"],
        &["--remove", "--delete", "-d"],
        "a forward ends with its session",
    ),
    (&["ide"], &["-w"], "write --write"),
    (
        &["unit"],
        &["--user"],
        "without --system it is a unit for your user",
    ),
    (
        &["unit"],
        &["--install", "--enable", "--output", "-o"],
        "it prints the unit, whose first line says where to put it",
    ),
    (
        &[],
        &["--debug", "--log-level", "--log", "--trace", "--loglevel"],
        "-v tells more, -vv and -vvv more yet",
    ),
    (
        &[],
        &["-q", "--quiet", "--silent"],
        if cfg!(windows) {
            "2>NUL (in PowerShell 2>$null) leaves out what is told beside the result"
        } else {
            "2>/dev/null leaves out what is told beside the result"
        },
    ),
    (
        &[],
        &["-V", "--version"],
        "p2pdbg --version says which version it is",
    ),
    (
        &[],
        &["--config", "--config-file"],
        if cfg!(windows) {
            "the configuration file is %APPDATA%\\p2pdbg\\config.toml"
        } else {
            "the configuration file lies in ~/.config/p2pdbg; XDG_CONFIG_HOME names another directory"
        },
    ),
];

/// Options of ssh by which a forward alone is asked for, or how the host is reached.
const SSH: &[&str] = &[
    "-N", "-f", "-n", "-T", "-t", "-g", "-A", "-C", "-J", "-i", "-o", "-W", "-l", "-F", "-X",
];

/// What to write in place of an option that other programs have, or that was meant for something else.
pub(super) fn instead_of_option(command: &str, name: &str) -> Option<&'static str> {
    let suits = |commands: Commands| commands.is_empty() || commands.contains(&command);
    let mut rows = INSTEAD.iter();
    let row = rows.find(|(commands, names, _)| suits(commands) && names.contains(&name))?;
    Some(row.2)
}
