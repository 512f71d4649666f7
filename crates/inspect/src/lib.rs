//! Looks on while an IDE and a debuggee talk, and says what it understands of it: which debugger this is, where the
//! program has stopped, why a breakpoint is not hit, how many round trips a step takes.
//!
//! One [`Inspector`] looks at one connection. It is told what each end wrote, in the order in which it was seen
//! ([`Inspector::handle`]), and never answers: whatever it makes of the bytes, they have gone their way. It may be told
//! less than was written ([`Inspector::handle_gap`]), and may then understand no more. What was learnt is read with
//! [`Inspector::debugger`], and with [`Inspector::poll_advice`] what a person should do.
//!
//! By its first bytes a debugger is recognised, whichever it is. The messages are read of the Debug Adapter Protocol,
//! of pydevd and of DBGp, and a little of the GDB remote protocol and of JDWP. Both ends may lie, and may write
//! anything for any length of time: a message that is longer than 256 KiB is passed over, what is kept of the others is
//! bounded, and so is the work for each byte. Strings that are given out are cut in length, but not made fit for a
//! terminal.

mod dap;
mod dbgp;
mod detect;
mod framing;
mod jdwp;
mod mapping;
mod pydevd;
mod rsp;
mod step_round_trips;
mod text;

use std::{collections::VecDeque, time::Instant};

pub use self::mapping::Mapping;
use self::{
    dap::Dap, dbgp::Dbgp, detect::Detector, jdwp::Jdwp, mapping::Files, pydevd::Pydevd, rsp::Rsp,
    step_round_trips::StepRoundTrips, text::cut,
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
        /// The path mapping that would help, if enough is known: never the one that has just failed.
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

/// Looks on at one connection.
#[derive(Debug)]
pub struct Inspector {
    state: State,
    knowledge: Knowledge,
}

#[derive(Debug)]
enum State {
    /// Not enough has been said.
    Listening(Detector),
    Dap(Box<Dap>),
    Pydevd(Pydevd),
    Dbgp(Dbgp),
    GdbRemote(Rsp),
    Jdwp(Jdwp),
    /// Nothing more can be learnt.
    Done,
}

/// What has been learnt, and how to learn more.
#[derive(Debug)]
struct Knowledge {
    context: Context,
    debugger: Option<Debugger>,
    round_trips: StepRoundTrips,
    files: Files,
    advice: VecDeque<Advice>,
    advised: usize,
    /// Counts the changes of `debugger`.
    revision: u64,
}

impl Inspector {
    /// Looks on from the beginning of a connection.
    pub fn new(context: Context) -> Self {
        Self {
            state: State::Listening(Detector::default()),
            knowledge: Knowledge {
                context,
                debugger: None,
                round_trips: StepRoundTrips::default(),
                files: Files::default(),
                advice: VecDeque::new(),
                advised: 0,
                revision: 0,
            },
        }
    }

    /// Takes in what an end wrote.
    pub fn handle(&mut self, now: Instant, from: End, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let State::Listening(detector) = &mut self.state {
            let Some(detected) = detector.handle(from, bytes) else {
                return;
            };
            let early = std::mem::take(detector);
            self.begin(detected);
            // In the order in which it came, though its round trips are lost.
            for (from, bytes) in early.into_heard() {
                self.read(now, from, &bytes);
            }
        } else {
            self.read(now, from, bytes);
        }
    }

    /// Takes note that an end wrote so many bytes that were not seen. Where messages can be told apart again, inside a
    /// long one of DAP or at pydevd's next line, that does no harm; else nothing more can be understood.
    pub fn handle_gap(&mut self, from: End, length: u64) {
        let harmless = match &mut self.state {
            State::Dap(dap) => dap.handle_gap(from, length),
            State::Pydevd(pydevd) => {
                pydevd.handle_gap(from);
                true
            }
            State::Done => true,
            _ => false,
        };
        if !harmless {
            self.state = State::Done;
            self.knowledge.learn(|debugger| debugger.activity = None);
        }
    }

    /// Learns which build of PyCharm the IDE is.
    pub fn on_ide_build(&mut self, build: &str) {
        if let State::Pydevd(pydevd) = &mut self.state {
            pydevd.on_ide_build(build, &mut self.knowledge);
        }
    }

    /// Whether nothing more can be learnt, so that nothing more need be shown.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// What is known of the debugger, once it is recognised.
    pub fn debugger(&self) -> Option<&Debugger> {
        self.knowledge.debugger.as_ref()
    }

    /// Grows whenever what [`Inspector::debugger`] tells has changed, so that the caller need not compare.
    pub fn revision(&self) -> u64 {
        self.knowledge.revision
    }

    /// The next thing that a person should know.
    pub fn poll_advice(&mut self) -> Option<Advice> {
        self.knowledge.advice.pop_front()
    }

    fn begin(&mut self, protocol: Protocol) {
        self.knowledge.begin(protocol);
        self.state = match protocol {
            Protocol::Dap => State::Dap(Box::default()),
            Protocol::Pydevd => State::Pydevd(Pydevd::default()),
            Protocol::Dbgp => State::Dbgp(Dbgp::default()),
            Protocol::GdbRemote => State::GdbRemote(Rsp::default()),
            Protocol::Jdwp => State::Jdwp(Jdwp::default()),
            _ => State::Done,
        };
    }

    fn read(&mut self, now: Instant, from: End, bytes: &[u8]) {
        let knowledge = &mut self.knowledge;
        let understood = match &mut self.state {
            State::Dap(dap) => dap.handle(now, from, bytes, knowledge),
            State::Pydevd(pydevd) => pydevd.handle(now, from, bytes, knowledge),
            State::Dbgp(dbgp) => dbgp.handle(now, from, bytes, knowledge),
            State::GdbRemote(rsp) => rsp.handle(now, from, bytes, knowledge),
            State::Jdwp(jdwp) => jdwp.handle(now, from, bytes, knowledge),
            State::Listening(_) | State::Done => return,
        };
        if understood.is_none() {
            self.state = State::Done;
        }
    }
}

impl Knowledge {
    fn begin(&mut self, protocol: Protocol) {
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
    fn learn(&mut self, change: impl FnOnce(&mut Debugger)) {
        if let Some(debugger) = &mut self.debugger {
            let before = debugger.clone();
            change(debugger);
            if *debugger != before {
                self.revision += 1;
            }
        }
    }

    /// Notes what the IDE asked for.
    fn on_request(&mut self, now: Instant, is_step: bool) {
        self.round_trips.on_request(now, is_step);
        let steps = self.round_trips.of_last_step();
        if steps.is_some() {
            self.learn(|debugger| debugger.step_round_trips = steps);
        }
    }

    /// Notes that the debuggee said something.
    fn on_answer(&mut self, now: Instant) {
        self.round_trips.on_answer(now);
    }

    fn on_running(&mut self) {
        self.learn(|debugger| debugger.activity = Some(Activity::Running));
    }

    fn on_stopped(&mut self, at: Option<Location>) {
        self.learn(|debugger| debugger.activity = Some(Activity::Stopped(at)));
    }

    fn on_ended(&mut self) {
        self.learn(|debugger| debugger.activity = Some(Activity::Ended));
    }

    /// Infers the version of Python from where its library is.
    fn on_path(&mut self, path: &str) {
        let known = self
            .debugger
            .as_ref()
            .is_none_or(|debugger| debugger.runtime.is_some());
        if let (false, Some(version)) = (known, text::python_of_path(path)) {
            self.learn(|debugger| debugger.runtime = Some(format!("Python {version}")));
        }
    }

    /// A file that the debuggee has.
    fn on_debuggee_file(&mut self, path: &str) {
        self.on_path(path);
        self.files.on_debuggee_file(path);
        self.advise_on_files();
    }

    /// A file that the IDE named and the debuggee does not have; `translated` if it is by the debuggee's path.
    fn on_missing_file(&mut self, path: &str, translated: bool) {
        self.files.on_missing(path, translated);
        self.advise_on_files();
    }

    /// The program has stopped in a file.
    fn on_stop_in(&mut self, path: &str) {
        if let Some(told) = self.files.on_stop(path, self.context.roots.as_ref()) {
            self.advise(Advice::StopUnmapped {
                file: cut(path),
                here: told.here.as_deref().map(cut),
                mapping: told.mapping,
            });
        }
    }

    fn advise_on_files(&mut self) {
        while let Some(missing) = self.files.poll(self.context.roots.as_ref()) {
            self.advise(Advice::FileMissing {
                file: cut(&missing.file),
                tried: missing.tried,
                there: missing.there,
                mapping: missing.mapping,
            });
        }
    }

    fn advise(&mut self, advice: Advice) {
        if self.advised < MOST_ADVICE {
            self.advised += 1;
            self.advice.push_back(advice);
        }
    }
}
