//! Real debuggers, driven through the built programs as their users do: an IDE's end and a debuggee's end, each a
//! script (see README.md here), with `p2pdbg listen` and `p2pdbg connect` between them.
//!
//! Without a fault in p2pdbg nothing here can fail that does not fail in [`bare`] too, where the two ends meet without
//! it.
#![cfg(target_os = "linux")]

#[path = "../harness/mod.rs"]
mod harness;

mod again;
mod attach;
mod attach_python;
mod bare;
mod command;
mod configured;
mod consent;
mod elsewhere;
mod first_word;
mod lab;
mod loopback;
mod neovim;
mod package;
mod pipe;
mod scenario;
mod script;
mod seen;
mod several;
mod socket;
mod soon;
mod watch;
