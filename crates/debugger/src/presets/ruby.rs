//! rdbg.

use p2pdbg_inspect::Protocol;
use p2pdbg_proto::tunnel::Direction::ToDebuggee;

use crate::{
    ide::{
        Adapter,
        Field::Kept,
        Ides, Nvim,
        Value::{RdbgMap, Text},
        VsCode,
    },
    row::{Debugger, FirstWord, ListeningPort, Listens, Presence, WhileAbsent, trap},
};

pub(super) const RDBG: Debugger = Debugger {
    name: "rdbg",
    also_called: &["ruby", "rails", "rubymine", "debug"],
    direction: ToDebuggee,
    port: 12345,
    start: "rdbg --open --host 127.0.0.1 --port PORT app.rb",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Rdbg, Protocol::Cdp, Protocol::Dap],
    is_debugpy: false,
    presence: Presence::Program("rdbg"),
    listens: Some(Listens {
        programs: &["ruby"],
        // rdbg runs the program anew and tells it by variables.
        argument: "RUBY_DEBUG_PORT",
        variables: &["RUBY_DEBUG_PORT"],
        port: ListeningPort::InArgument,
    }),
    traps: &[trap(
        "rdbg --open listens on a Unix socket",
        "give it --host 127.0.0.1 --port 12345",
    )],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["rdbg"],
            request: "attach",
            fields: &[
                Kept("debugPort", Text("127.0.0.1:PORT")),
                Kept("localfsMap", RdbgMap),
            ],
        }),
        zed: None,
        nvim: Some(Nvim {
            adapter: Adapter::Server,
            filetypes: &["ruby"],
            fields: &[Kept("localfsMap", RdbgMap)],
            asks_program: false,
        }),
        jetbrains: None,
    },
};
