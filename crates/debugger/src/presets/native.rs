//! gdbserver and lldb-server.

use p2pdbg_inspect::Protocol;
use p2pdbg_proto::tunnel::Direction::ToDebuggee;

use crate::{
    ide::{
        Adapter,
        Field::{self, Kept, Proposed},
        Ides, Nvim,
        Value::{HereByThere, List, Object, Text, ThereAndHere},
        VsCode, Zed,
    },
    row::{Debugger, FirstWord, ListeningPort, Listens, Presence, WhileAbsent, trap},
};

/// gdb repeats what is not answered within two seconds and gets out of step for good when all of it is answered at
/// once later (seen with gdb 13.1: held for five seconds, it took the answers for those to other questions). It tries
/// again by itself for 15 s when it is refused. lldb speaks the same protocol.
const GDB_TIMER: WhileAbsent = WhileAbsent::Refuse {
    why: "gdb repeats what waits for 2 s and gets out of step",
};

/// What gdb and lldb are for.
const NATIVE: &[&str] = &["c", "cpp", "rust"];

const CODELLDB: &[Field] = &[
    Proposed(
        "targetCreateCommands",
        List(&[Text("target create FOLDER/app")]),
    ),
    Kept(
        "processCreateCommands",
        List(&[Text("gdb-remote 127.0.0.1:PORT")]),
    ),
    Kept("sourceMap", HereByThere),
];

pub(super) const GDBSERVER: Debugger = Debugger {
    name: "gdbserver",
    also_called: &[
        "gdb", "c", "cpp", "c++", "cppdbg", "cppvsdbg", "rust", "clion", "cuda-gdb", "qemu",
        "openocd", "jlink", "rr", "valgrind", "vgdb",
    ],
    direction: ToDebuggee,
    port: 1234,
    start: "gdbserver 127.0.0.1:PORT ./app",
    while_absent: GDB_TIMER,
    first_word: FirstWord::Client,
    speaks: &[Protocol::GdbRemote],
    is_debugpy: false,
    presence: Presence::Program("gdbserver"),
    listens: Some(Listens {
        programs: &["gdbserver"],
        argument: "",
        variables: &[],
        port: ListeningPort::Any,
    }),
    traps: &[
        trap(
            "\"Ignoring packet error\", or answers to other questions",
            "set remotetimeout 60, before target remote: gdb repeats what waits for 2 s",
        ),
        trap(
            "connecting takes long",
            "set sysroot / if both hosts have the same libraries, else a copy of them; gdb fetches them",
        ),
        trap(
            "listens on 0.0.0.0 although told 127.0.0.1",
            "close the port in the debuggee's firewall",
        ),
    ],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["cppdbg"],
            request: "launch",
            fields: &[
                Proposed("program", Text("FOLDER/app")),
                Proposed("cwd", Text("FOLDER")),
                Kept("MIMode", Text("gdb")),
                Kept("miDebuggerServerAddress", Text("127.0.0.1:PORT")),
                Proposed(
                    "setupCommands",
                    List(&[Object(&[("text", Text("set remotetimeout 60"))])]),
                ),
                Kept("sourceFileMap", HereByThere),
            ],
        }),
        zed: None,
        nvim: Some(Nvim {
            adapter: Adapter::Executable(
                "gdb",
                &["--interpreter=dap", "-ex", "set remotetimeout 60"],
            ),
            filetypes: NATIVE,
            fields: &[Kept("target", Text("127.0.0.1:PORT"))],
            asks_program: true,
        }),
        jetbrains: None,
    },
};

pub(super) const LLDB: Debugger = Debugger {
    name: "lldb",
    also_called: &["lldb-server", "codelldb", "rust", "swift"],
    direction: ToDebuggee,
    port: 1234,
    start: "lldb-server gdbserver 127.0.0.1:PORT -- ./app",
    while_absent: GDB_TIMER,
    first_word: FirstWord::Client,
    speaks: &[Protocol::GdbRemote, Protocol::Dap],
    is_debugpy: false,
    presence: Presence::Program("lldb-server"),
    listens: Some(Listens {
        programs: &["lldb-server"],
        argument: "",
        variables: &[],
        port: ListeningPort::Any,
    }),
    traps: &[
        trap(
            "the connection is lost after a pause of some seconds",
            "settings set plugin.process.gdb-remote.packet-timeout 60",
        ),
        trap(
            "platform mode opens a second port that is not forwarded",
            "give it --gdbserver-port 1235, and forward both: p2pdbg listen lldb lldb:1235",
        ),
    ],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["lldb", "lldb-dap"],
            request: "attach",
            fields: CODELLDB,
        }),
        zed: Some(Zed {
            adapter: "CodeLLDB",
            fields: CODELLDB,
        }),
        nvim: Some(Nvim {
            adapter: Adapter::Executable("lldb-dap", &[]),
            filetypes: NATIVE,
            fields: &[
                Kept("attachCommands", List(&[Text("gdb-remote 127.0.0.1:PORT")])),
                Kept("sourceMap", ThereAndHere),
            ],
            asks_program: true,
        }),
        jetbrains: None,
    },
};
