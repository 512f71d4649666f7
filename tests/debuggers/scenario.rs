//! The debuggers, and how their two ends are brought together.

use p2pdbg_events::{StreamState, WaitingFor};

use crate::{
    harness::{Pair, Place, Setting, Transcript, skip},
    script::{self, Missing, Script},
};

/// A debugger: two scripts, with their arguments, and the preset that joins them.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// The forward's name on the command line of `p2pdbg listen`.
    preset: &'static str,
    /// The end that listens, which also says where the forward's port is opened: at the other end.
    pub(crate) listens: &'static [&'static str],
    /// The end that connects.
    pub(crate) connects: &'static [&'static str],
}

/// An IDE attaches to `debugpy --listen`.
pub(crate) const DEBUGPY: Scenario = Scenario {
    preset: "debugpy",
    listens: &["debuggee/debugpy_listen.py"],
    connects: &["ide/dap_attach.py"],
};

/// An IDE attaches to debugpy by a forward that is meant for delve.
pub(crate) const DEBUGPY_AS_DELVE: Scenario = Scenario {
    preset: "delve",
    ..DEBUGPY
};

/// An IDE attaches to ptvsd.
pub(crate) const PTVSD: Scenario = Scenario {
    preset: "ptvsd",
    listens: &["debuggee/ptvsd_listen.py"],
    connects: &["ide/dap_attach.py", "--ptvsd"],
};

/// An IDE attaches to debugpy without a path mapping, so that no breakpoint is hit.
pub(crate) const DEBUGPY_UNMAPPED: Scenario = Scenario {
    preset: "debugpy",
    listens: &["debuggee/debugpy_listen.py"],
    connects: &["ide/dap_attach.py", "--unmapped"],
};

/// An IDE attaches to debugpy, with subprocesses on connections of their own.
pub(crate) const DEBUGPY_SUBPROCESSES: Scenario = Scenario {
    preset: "debugpy",
    listens: &["debuggee/debugpy_listen.py", "--program", "spawning.py"],
    connects: &["ide/dap_attach.py", "--program", "spawning.py"],
};

/// `debugpy --connect` comes to an IDE.
pub(crate) const DEBUGPY_CONNECT: Scenario = Scenario {
    preset: "debugpy-connect",
    listens: &["ide/dap_listen.py"],
    connects: &["debuggee/debugpy_connect.py"],
};

/// The same, with subprocesses on connections of their own.
pub(crate) const DEBUGPY_CONNECT_SUBPROCESSES: Scenario = Scenario {
    preset: "debugpy-connect",
    listens: &["ide/dap_listen.py", "--program", "spawning.py"],
    connects: &["debuggee/debugpy_connect.py", "--program", "spawning.py"],
};

/// `pydevd_pycharm.settrace` comes to PyCharm's debug server.
pub(crate) const SETTRACE: Scenario = Scenario {
    preset: "pydevd",
    listens: &["ide/pydevd_server.py"],
    connects: &["debuggee/pydevd_settrace.py"],
};

/// The same from three processes.
pub(crate) const SETTRACE_PROCESSES: Scenario = Scenario {
    preset: "pydevd",
    listens: &["ide/pydevd_server.py", "--program", "processes"],
    connects: &["debuggee/pydevd_settrace.py", "--program", "processes"],
};

/// gdb comes to gdbserver.
pub(crate) const GDB: Scenario = Scenario {
    preset: "gdbserver",
    listens: &["debuggee/gdbserver.py"],
    connects: &["ide/gdb_remote.py"],
};

/// delve's client comes to `dlv exec --headless`.
pub(crate) const DELVE: Scenario = Scenario {
    preset: "delve",
    listens: &["debuggee/delve.py"],
    connects: &["ide/dlv_connect.py"],
};

/// lldb comes to lldb-server.
pub(crate) const LLDB: Scenario = Scenario {
    preset: "lldb",
    listens: &["debuggee/lldb_server.py"],
    connects: &["ide/lldb_remote.py"],
};

/// An IDE attaches to node's inspector.
pub(crate) const NODE: Scenario = Scenario {
    preset: "node",
    listens: &["debuggee/node.py"],
    connects: &["ide/cdp.py"],
};

/// A tool attaches to node's inspector by chrome-remote-interface.
pub(crate) const NODE_BY_PACKAGE: Scenario = Scenario {
    preset: "node",
    listens: &["debuggee/node.py"],
    connects: &["ide/chrome_remote_interface.py"],
};

/// An IDE attaches to rdbg.
pub(crate) const RDBG: Scenario = Scenario {
    preset: "rdbg",
    listens: &["debuggee/rdbg.py"],
    connects: &["ide/rdbg_attach.py"],
};

/// PHP's Xdebug comes to an IDE.
pub(crate) const XDEBUG: Scenario = Scenario {
    preset: "xdebug",
    listens: &["ide/dbgp_server.py"],
    connects: &["debuggee/xdebug.py"],
};

/// jdb attaches to a JVM with `server=y`.
pub(crate) const JDWP: Scenario = Scenario {
    preset: "jdwp",
    listens: &["debuggee/jdwp.py", "--server", "y"],
    connects: &["ide/jdb.py", "--attach"],
};

/// A JVM with `server=n` comes to jdb.
pub(crate) const JDWP_LISTEN: Scenario = Scenario {
    preset: "jdwp-listen",
    listens: &["ide/jdb.py", "--listen"],
    connects: &["debuggee/jdwp.py", "--server", "n"],
};

/// Which end is started first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The one that listens, as manuals ask for.
    Listener,
    /// The one that connects, which has to be held.
    Connector,
    /// The one that connects, which is refused until the other listens, and tries again by itself.
    RefusedConnector,
}

impl Scenario {
    /// Brings the two ends together without p2pdbg.
    #[track_caller]
    pub(crate) fn bare(&self) {
        let transcript = Transcript::new();
        let Some(python) = python() else { return };
        let start = |script: &[&str], port: &str| {
            let arguments = [&script[1..], &["--port", port]].concat();
            Script::start(&Place::Here, &python, script[0], &arguments, &transcript)
        };
        let listening = start(self.listens, "0");
        let ends = listening.port().map(|port| {
            let connecting = start(self.connects, &port.to_string());
            [connecting, listening]
        });
        finish(ends);
    }

    /// Brings the two ends together through a session. `None` if something that they need is not installed.
    #[track_caller]
    pub(crate) fn through(&self, setting: &Setting, first: First) -> Option<Pair> {
        self.through_ports(setting, first).map(|(pair, _)| pair)
    }

    /// The same; gives the port that is open and the one that is dialled too.
    #[track_caller]
    fn through_ports(&self, setting: &Setting, first: First) -> Option<(Pair, (u16, u16))> {
        let python = python()?;
        let (option, opener, dialler, awaited) = self.ends(setting);
        let open = setting.port();
        // On one host the two ends cannot have the same port; elsewhere they do, as the presets have it.
        let (target, forward) = if matches!(setting.ide, Place::Here) {
            let target = setting.port();
            let spec = format!("{open}:localhost:{target}");
            (target, vec![option.to_owned(), spec])
        } else {
            (open, vec![format!("{}:{open}", self.preset)])
        };
        let pair = if first == First::RefusedConnector {
            setting.pair(
                forward
                    .into_iter()
                    .chain(["--absent".into(), "refuse".into()]),
            )
        } else if ["gdbserver:", "lldb:", "xdebug:"]
            .iter()
            .any(|refused| forward[0].starts_with(refused))
        {
            // This preset opens the port only once the other end listens.
            setting.pair(forward)
        } else {
            setting.pair_with_port(forward, open)
        };

        let start = |script: &[&str], place: &Place, port: u16| {
            let port = port.to_string();
            let arguments = [&script[1..], &["--port", &port]].concat();
            Script::start(place, &python, script[0], &arguments, &setting.transcript)
        };
        let ends = match first {
            First::Listener => {
                let listening = start(self.listens, dialler, target);
                listening.port().map(|_| {
                    if self.preset == "xdebug" && !matches!(setting.ide, Place::Here) {
                        // It dials once, and goes on without a debugger where it is refused.
                        pair.connector.forward(open);
                    }
                    [start(self.connects, opener, open), listening]
                })
            }
            First::Connector => {
                let connecting = start(self.connects, opener, open);
                pair.listener.waiting(awaited);
                Ok([connecting, start(self.listens, dialler, target)])
            }
            First::RefusedConnector => {
                let connecting = start(self.connects, opener, open);
                connecting
                    .connecting()
                    .map(|()| [connecting, start(self.listens, dialler, target)])
            }
        };
        finish(ends).then_some((pair, (open, target)))
    }

    /// The option that forwards it, who opens the port, who dials, and for whom the others wait.
    fn ends<'a>(&self, setting: &'a Setting) -> (&'static str, &'a Place, &'a Place, WaitingFor) {
        if self.listens[0].starts_with("debuggee/") {
            ("-L", &setting.ide, &setting.debuggee, WaitingFor::Debuggee)
        } else {
            ("-R", &setting.debuggee, &setting.ide, WaitingFor::Ide)
        }
    }

    /// Brings the two ends together, has one come that is ended while it is held, and brings them together again
    /// through the same session: as after a reload, or a restart of the IDE. On this host alone.
    #[track_caller]
    pub(crate) fn again(&self, setting: &Setting) {
        let Some((pair, (open, target))) = self.through_ports(setting, First::Listener) else {
            return;
        };
        let Some(python) = python() else { return };
        let (_, opener, dialler, awaited) = self.ends(setting);
        let start = |script: &[&str], place: &Place, port: u16| {
            let port = port.to_string();
            let arguments = [&script[1..], &["--port", &port]].concat();
            Script::start(place, &python, script[0], &arguments, &setting.transcript)
        };
        let given_up = start(self.connects, opener, open);
        pair.listener.waiting(awaited);
        drop(given_up);
        let holder = match awaited {
            WaitingFor::Ide => &pair.connector,
            _ => &pair.listener,
        };
        holder.stream(StreamState::GaveUp);
        let listening = start(self.listens, dialler, target);
        let ends = listening
            .port()
            .map(|_| [start(self.connects, opener, open), listening]);
        print!("{}, again: ", self.preset);
        finish(ends);
    }
}

/// Waits for what both ends saw. False if it is not known, since something is not installed.
#[track_caller]
fn finish(ends: Result<[Script; 2], Missing>) -> bool {
    let seen = ends.and_then(|ends| {
        ends.into_iter()
            .map(Script::seen)
            .collect::<Result<Vec<_>, _>>()
    });
    match seen {
        Ok(seen) => {
            // Shown by `cargo test -- --nocapture`: what was seen, and how long a step took.
            seen.iter().for_each(|seen| println!("{seen}"));
            true
        }
        Err(Missing(why)) => {
            skip(&why);
            false
        }
    }
}

/// The Python to run the scripts with.
pub(crate) fn python() -> Option<std::path::PathBuf> {
    let python = script::python();
    if python.is_none() {
        skip("debugpy and pydevd-pycharm are not installed; run scripts/install-test-tools");
    }
    python
}
