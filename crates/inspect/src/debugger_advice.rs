//! What is learnt of a debugger, whichever protocol it speaks, and the advice that follows.

use std::{collections::VecDeque, time::Instant};

use super::{
    mapping::{Files, Mapping},
    step_round_trips::StepRoundTrips,
    text::{self, cut},
};

/// Pieces of advice that are given for one connection, at the most.
const MOST_ADVICE: usize = 8;

/// Which end of a connection writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The IDE, or a debugger's front end.
    Ide,
    /// The program that is debugged, or its debugger's back end.
    Debuggee,
}

/// The language that the two ends speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// The Debug Adapter Protocol: debugpy, ptvsd, delve, netcoredbg, rdbg and many more.
    Dap,
    /// The line protocol of pydevd, with which PyCharm debugs.
    Pydevd,
    /// DBGp, of Xdebug: the debuggee dials the IDE.
    Dbgp,
    /// The GDB remote serial protocol: gdbserver, lldb-server.
    GdbRemote,
    /// The Java Debug Wire Protocol.
    Jdwp,
    /// The Chrome DevTools Protocol: node, over HTTP and WebSocket.
    Cdp,
    /// delve's own, over JSON-RPC: GoLand.
    Delve,
    /// The line protocol of Ruby's rdbg.
    Rdbg,
    /// TLS: whatever is in it cannot be seen.
    Tls,
    /// Something else, which is passed on all the same.
    Unknown,
}

impl Protocol {
    /// A short name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dap => "dap",
            Self::Pydevd => "pydevd",
            Self::Dbgp => "dbgp",
            Self::GdbRemote => "gdb-remote",
            Self::Jdwp => "jdwp",
            Self::Cdp => "cdp",
            Self::Delve => "delve",
            Self::Rdbg => "rdbg",
            Self::Tls => "tls",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known of the debugger at the debuggee's end, and of its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debugger {
    /// The language that the two ends speak on this connection.
    pub protocol: Protocol,
    /// What it is called: `debugpy`, `Xdebug`.
    pub name: Option<String>,
    /// Its version, in its own words: `1.8.22`.
    pub version: Option<String>,
    /// What runs the program: `Python 3.11`.
    pub runtime: Option<String>,
    /// The process id of the program.
    pub pid: Option<u32>,
    /// What the IDE calls itself.
    pub ide: Option<String>,
    /// What the program is doing.
    pub activity: Option<Activity>,
    /// How many round trips the last step took, with all that the IDE asked for after it.
    pub step_round_trips: Option<u32>,
}

/// What a program that is debugged is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// It runs, as far as was said.
    Running,
    /// It has stopped at a breakpoint, after a step or on an exception; and where, if that was said.
    Stopped(Option<Location>),
    /// It has ended, as far as was said.
    Ended,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file, as the debugger names it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// The debuggee has no such file, so that a breakpoint in it is never hit.
    FileMissing {
        /// The file, as the IDE named it.
        file: String,
        /// Where the path mapping that is in force leads to.
        tried: Option<String>,
        /// The debuggee's file that seems to be meant.
        there: Option<String>,
        /// The path mapping that would help, if enough is known: never the one that has just failed, and none to a file
        /// whose own name differs in case.
        mapping: Option<Mapping>,
    },
    /// The program has stopped in a file that no path mapping makes one of the IDE's.
    StopUnmapped {
        /// The file, as the debugger names it.
        file: String,
        /// The IDE's file that seems to be meant.
        here: Option<String>,
        /// The path mapping that would help.
        mapping: Mapping,
    },
    /// pydevd-pycharm is not the one that the IDE was built with.
    PydevdVersion {
        /// The version of pydevd-pycharm at the debuggee.
        debuggee: String,
        /// The build of the IDE, which is the version that it wants.
        ide: String,
    },
}

/// What is known before the two ends have said anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The build of the PyCharm that listens, `263.7307.50`.
    pub ide_build: Option<String>,
    /// Where the same sources are at the IDE and at the debuggee, as far as that can be told.
    pub roots: Option<Mapping>,
}

/// What has been learnt, and how to learn more.
#[derive(Debug)]
pub(super) struct Knowledge {
    pub(super) context: Context,
    pub(super) debugger: Option<Debugger>,
    pub(super) round_trips: StepRoundTrips,
    pub(super) files: Files,
    pub(super) advice: VecDeque<Advice>,
    pub(super) advised: usize,
    /// Counts the changes of `debugger`.
    pub(super) revision: u64,
}

impl Knowledge {
    pub(super) fn begin(&mut self, protocol: Protocol) {
        let name = match protocol {
            Protocol::Pydevd => Some("pydevd"),
            Protocol::Delve => Some("delve"),
            Protocol::Rdbg => Some("rdbg"),
            _ => None,
        };
        self.debugger = Some(Debugger {
            protocol,
            name: name.map(str::to_owned),
            version: None,
            runtime: None,
            pid: None,
            ide: None,
            activity: None,
            step_round_trips: None,
        });
        self.revision += 1;
    }

    /// Changes what is known of the debugger.
    pub(super) fn learn(&mut self, change: impl FnOnce(&mut Debugger)) {
        if let Some(debugger) = &mut self.debugger {
            let before = debugger.clone();
            change(debugger);
            if *debugger != before {
                self.revision += 1;
            }
        }
    }

    /// Notes what the IDE asked for.
    pub(super) fn on_request(&mut self, now: Instant, is_step: bool) {
        self.round_trips.on_request(now, is_step);
        let steps = self.round_trips.of_last_step();
        if steps.is_some() {
            self.learn(|debugger| debugger.step_round_trips = steps);
        }
    }

    /// Notes that the debuggee said something.
    pub(super) fn on_answer(&mut self, now: Instant) {
        self.round_trips.on_answer(now);
    }

    pub(super) fn on_running(&mut self) {
        self.learn(|debugger| debugger.activity = Some(Activity::Running));
    }

    pub(super) fn on_stopped(&mut self, at: Option<Location>) {
        self.learn(|debugger| debugger.activity = Some(Activity::Stopped(at)));
    }

    pub(super) fn on_ended(&mut self) {
        self.learn(|debugger| debugger.activity = Some(Activity::Ended));
    }

    /// Infers the version of Python from where its library is.
    pub(super) fn on_path(&mut self, path: &str) {
        let known = self
            .debugger
            .as_ref()
            .is_none_or(|debugger| debugger.runtime.is_some());
        if let (false, Some(version)) = (known, text::python_of_path(path)) {
            self.learn(|debugger| debugger.runtime = Some(format!("Python {version}")));
        }
    }

    /// The program that is debugged.
    pub(super) fn on_program(&mut self, path: &str) {
        self.on_path(path);
        self.files.on_program(path);
        self.advise_on_files();
    }

    /// A file that the debuggee has.
    pub(super) fn on_debuggee_file(&mut self, path: &str) {
        self.on_path(path);
        self.files.on_debuggee_file(path);
        self.advise_on_files();
    }

    /// A file that the IDE named and the debuggee does not have; `translated` if it is by the debuggee's path.
    pub(super) fn on_missing_file(&mut self, path: &str, translated: bool) {
        self.files.on_missing(path, translated);
        self.advise_on_files();
    }

    /// The program has stopped in a file.
    pub(super) fn on_stop_in(&mut self, path: &str) {
        if let Some(told) = self.files.on_stop(path, self.context.roots.as_ref()) {
            self.advise(Advice::StopUnmapped {
                file: cut(path),
                here: told.here.as_deref().map(cut),
                mapping: told.mapping,
            });
        }
    }

    pub(super) fn advise_on_files(&mut self) {
        while let Some(missing) = self.files.poll(self.context.roots.as_ref()) {
            self.advise(Advice::FileMissing {
                file: cut(&missing.file),
                tried: missing.tried,
                there: missing.there,
                mapping: missing.mapping,
            });
        }
    }

    pub(super) fn advise(&mut self, advice: Advice) {
        if self.advised < MOST_ADVICE {
            self.advised += 1;
            self.advice.push_back(advice);
        }
    }
}
