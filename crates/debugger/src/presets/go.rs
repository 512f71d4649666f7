//! delve.

use p2pdbg_inspect::Protocol;
use p2pdbg_proto::tunnel::Direction::ToDebuggee;

use crate::{
    ide::{
        Adapter,
        Field::{self, Kept},
        HOST, Ides, JetBrains, Nvim,
        Value::{Address, Pairs, Port, Text},
        VsCode, Zed,
    },
    row::{Debugger, FirstWord, ListeningPort, Listens, Presence, WhileAbsent, trap},
};

const GO_PATHS: Field = Kept("substitutePath", Pairs("from", "to"));

pub(super) const DELVE: Debugger = Debugger {
    name: "delve",
    also_called: &["dlv", "go", "golang", "goland"],
    direction: ToDebuggee,
    port: 2345,
    start: "dlv exec --headless --accept-multiclient --listen=127.0.0.1:PORT ./app",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Delve, Protocol::Dap],
    is_debugpy: false,
    presence: Presence::Program("dlv"),
    listens: Some(Listens {
        programs: &["dlv"],
        argument: "",
        variables: &[],
        port: ListeningPort::Any,
    }),
    traps: &[trap(
        "delve ends when the IDE detaches, or at the first connection",
        "start it with --headless --accept-multiclient",
    )],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["go"],
            request: "attach",
            fields: &[
                Kept("mode", Text("remote")),
                Kept("host", HOST),
                Kept("port", Port),
                GO_PATHS,
            ],
        }),
        zed: Some(Zed {
            adapter: "Delve",
            fields: &[
                Kept("mode", Text("remote")),
                Kept("tcp_connection", Address),
                GO_PATHS,
            ],
        }),
        nvim: Some(Nvim {
            adapter: Adapter::Server,
            filetypes: &["go"],
            fields: &[Kept("mode", Text("remote")), GO_PATHS],
            asks_program: false,
        }),
        jetbrains: Some(JetBrains::GoRemote),
    },
};
