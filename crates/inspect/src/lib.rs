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
mod debugger_advice;
mod detect;
mod framing;
mod jdwp;
mod mapping;
mod pydevd;
mod rsp;
mod step_round_trips;
mod text;

use std::{collections::VecDeque, time::Instant};

use self::{
    dap::Dap, dbgp::Dbgp, debugger_advice::Knowledge, detect::Detector, jdwp::Jdwp, mapping::Files,
    pydevd::Pydevd, rsp::Rsp, step_round_trips::StepRoundTrips,
};
pub use self::{
    debugger_advice::{Activity, Advice, Context, Debugger, End, Location, Protocol},
    mapping::Mapping,
};

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
