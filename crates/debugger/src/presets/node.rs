//! node's inspector.

use p2pdbg_inspect::Protocol;
use p2pdbg_proto::tunnel::Direction::ToDebuggee;

use crate::{
    ide::{
        Field::Kept,
        HOST, Ides,
        Value::{Here, Port, Text, There},
        VsCode, Zed,
    },
    row::{Debugger, FirstWord, ListeningPort, Listens, Presence, WhileAbsent, trap},
};

pub(super) const NODE: Debugger = Debugger {
    name: "node",
    also_called: &[
        "nodejs",
        "js",
        "javascript",
        "typescript",
        "ts",
        "chrome",
        "inspect",
        "inspector",
        "deno",
        "cdp",
    ],
    direction: ToDebuggee,
    port: 9229,
    start: "node --inspect-brk=127.0.0.1:PORT app.js",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Cdp],
    is_debugpy: false,
    presence: Presence::Program("node"),
    listens: Some(Listens {
        programs: &["node", "deno"],
        argument: "inspect",
        variables: &["NODE_OPTIONS"],
        port: ListeningPort::InArgumentOrOwn(100),
    }),
    traps: &[trap(
        "--inspect=0.0.0.0 is open to everybody",
        "write --inspect=127.0.0.1:9229, and --inspect-brk to wait for the IDE",
    )],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["node", "pwa-node"],
            request: "attach",
            fields: &[
                Kept("address", HOST),
                Kept("port", Port),
                Kept("localRoot", Here),
                Kept("remoteRoot", There),
            ],
        }),
        zed: Some(Zed {
            adapter: "JavaScript",
            fields: &[
                Kept("type", Text("pwa-node")),
                Kept("address", HOST),
                Kept("port", Port),
                Kept("localRoot", Here),
                Kept("remoteRoot", There),
            ],
        }),
        nvim: None,
        jetbrains: None,
    },
};
