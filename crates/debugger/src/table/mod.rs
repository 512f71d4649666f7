//! The table: a row for each debugger.
//!
//! A new debugger is a line of `presets!`, with its row; the help text, completions, doctor and the IDEs'
//! configurations follow from it.

use p2pdbg_inspect::Protocol;
use p2pdbg_proto::tunnel::Direction::{ToDebuggee, ToIde};

use crate::{
    ide::{
        Adapter,
        Field::{self, Kept, Proposed},
        Ides, JetBrains, Nvim,
        Value::{
            self, Address, Here, HereByThere, List, Object, Pairs, Port, RdbgMap, Text, There,
            ThereAndHere,
        },
        VsCode, Zed,
    },
    row::{Debugger, FirstWord, ListeningPort, Listens, Presence, WhileAbsent, presets, trap},
};

presets! {
    /// debugpy with `--listen`: VS Code, Visual Studio, nvim-dap, Zed, PyCharm over DAP.
    Debugpy => DEBUGPY,
    /// ptvsd, debugpy's predecessor.
    Ptvsd => PTVSD,
    /// gdbserver.
    Gdbserver => GDBSERVER,
    /// lldb-server in its gdbserver mode.
    Lldb => LLDB,
    /// delve, for Go.
    Delve => DELVE,
    /// A JVM with `server=y`.
    Jdwp => JDWP,
    /// node with `--inspect`.
    Node => NODE,
    /// Ruby's rdbg.
    Rdbg => RDBG,
    /// pydevd-pycharm: PyCharm's Python Debug Server.
    Pydevd => PYDEVD,
    /// debugpy with `--connect`.
    DebugpyConnect => DEBUGPY_CONNECT,
    /// A JVM with `server=n`.
    JdwpListen => JDWP_LISTEN,
    /// PHP's Xdebug.
    Xdebug => XDEBUG,
}

/// gdb repeats what is not answered within two seconds and gets out of step for good when all of it is answered at
/// once later (seen with gdb 13.1: held for five seconds, it took the answers for those to other questions). It tries
/// again by itself for 15 s when it is refused. lldb speaks the same protocol.
const GDB_TIMER: WhileAbsent = WhileAbsent::Refuse {
    why: "gdb repeats what waits for 2 s and gets out of step",
};

/// Where a debugger of this host is reached.
const HOST: Value = Text("127.0.0.1");

/// What gdb and lldb are for.
const NATIVE: &[&str] = &["c", "cpp", "rust"];

const PYTHON_PATHS: Field = Kept("pathMappings", Pairs("localRoot", "remoteRoot"));

/// The directory in which the program is started.
const PYTHON_CWD: Field = Proposed(
    "pathMappings",
    List(&[Object(&[("localRoot", Here), ("remoteRoot", Text("."))])]),
);

const GO_PATHS: Field = Kept("substitutePath", Pairs("from", "to"));

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

const DEBUGPY: Debugger = Debugger {
    name: "debugpy",
    also_called: &[
        "python", "python3", "py", "vscode", "code", "pycharm", "pdb", "ipdb", "django", "flask",
        "fastapi", "uvicorn", "gunicorn", "celery", "pytest", "jupyter", "dap",
    ],
    direction: ToDebuggee,
    port: 5678,
    start: "python -m debugpy --listen 127.0.0.1:PORT --wait-for-client app.py",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Dap],
    is_debugpy: true,
    presence: Presence::PythonPackage("debugpy"),
    listens: Some(Listens {
        programs: &["python", "pypy"],
        argument: "debugpy",
        variables: &[],
        port: ListeningPort::InCommandLine,
    }),
    traps: &[
        trap(
            "breakpoints stay grey: \"file that does not exist\"",
            "map the paths: p2pdbg ide vscode --write fills pathMappings in",
        ),
        trap(
            "subprocesses are not debugged",
            "let the IDE's configuration have \"connect\": debugpy sends the IDE there for each of them",
        ),
    ],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["debugpy", "python"],
            request: "attach",
            fields: &[Kept("connect", Address), PYTHON_PATHS, PYTHON_CWD],
        }),
        zed: Some(Zed {
            adapter: "Debugpy",
            fields: &[Kept("connect", Address), PYTHON_PATHS],
        }),
        nvim: Some(Nvim {
            adapter: Adapter::Server,
            filetypes: &["python"],
            fields: &[Kept("connect", Address), PYTHON_PATHS],
            asks_program: false,
        }),
        jetbrains: Some(JetBrains::AttachToDap),
    },
};

const PTVSD: Debugger = Debugger {
    name: "ptvsd",
    also_called: &[],
    direction: ToDebuggee,
    port: 5678,
    start: "python -m ptvsd --host 127.0.0.1 --port PORT --wait app.py",
    while_absent: WhileAbsent::Hold,
    // Visual Studio waits for the word of ptvsd 2 and 3, which have a secret (`attach_server.py` there).
    first_word: FirstWord::Either,
    speaks: &[Protocol::Dap],
    is_debugpy: true,
    presence: Presence::PythonPackage("ptvsd"),
    listens: Some(Listens {
        programs: &["python", "pypy"],
        argument: "ptvsd",
        variables: &[],
        port: ListeningPort::InCommandLine,
    }),
    traps: &[trap(
        "ptvsd is no longer maintained",
        "use debugpy where its Python can run it (3.8 and later)",
    )],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["debugpy"],
            request: "attach",
            fields: &[Kept("connect", Address), PYTHON_PATHS, PYTHON_CWD],
        }),
        zed: Some(Zed {
            adapter: "Debugpy",
            fields: &[Kept("connect", Address), PYTHON_PATHS],
        }),
        nvim: Some(Nvim {
            adapter: Adapter::Server,
            filetypes: &["python"],
            fields: &[Kept("connect", Address), PYTHON_PATHS],
            asks_program: false,
        }),
        jetbrains: Some(JetBrains::AttachToDap),
    },
};

const GDBSERVER: Debugger = Debugger {
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

const LLDB: Debugger = Debugger {
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

const DELVE: Debugger = Debugger {
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

const JDWP: Debugger = Debugger {
    name: "jdwp",
    also_called: &["java", "jvm", "jdb", "kotlin", "scala", "idea", "intellij"],
    direction: ToDebuggee,
    port: 5005,
    start: "java -agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address=127.0.0.1:PORT -jar app.jar",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Jdwp],
    is_debugpy: false,
    presence: Presence::Program("java"),
    listens: Some(Listens {
        programs: &["java"],
        argument: "jdwp",
        variables: &["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"],
        port: ListeningPort::InArgument,
    }),
    traps: &[trap(
        "address=5005 is open to everybody before Java 9",
        "write address=127.0.0.1:5005",
    )],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["java"],
            request: "attach",
            fields: &[Kept("hostName", HOST), Kept("port", Port)],
        }),
        zed: None,
        nvim: None,
        jetbrains: Some(JetBrains::RemoteJvmAttach),
    },
};

const NODE: Debugger = Debugger {
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

const RDBG: Debugger = Debugger {
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

const PYDEVD: Debugger = Debugger {
    name: "pydevd",
    also_called: &["pycharm", "pydevd-pycharm", "pydevd_pycharm", "settrace"],
    direction: ToIde,
    port: 5678,
    start: "import pydevd_pycharm; pydevd_pycharm.settrace('127.0.0.1', port=PORT)",
    while_absent: WhileAbsent::HoldOnce,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Pydevd],
    is_debugpy: false,
    presence: Presence::PythonPackage("pydevd_pycharm"),
    listens: None,
    traps: &[
        trap(
            "settrace() got an unexpected keyword argument 'stdoutToServer'",
            "it is stdout_to_server now, and stderr_to_server",
        ),
        trap(
            "a warning about versions, or the IDE never shows the program",
            "install the pydevd-pycharm that PyCharm's dialogue names, of the IDE's own build",
        ),
        trap(
            "PyCharm waits on another port each time",
            "set a single fixed port in the Python Debug Server configuration: the forward's",
        ),
    ],
    ides: Ides {
        vscode: Err("; use p2pdbg listen debugpy or debugpy-connect"),
        zed: None,
        nvim: None,
        jetbrains: Some(JetBrains::PythonDebugServer),
    },
};

const DEBUGPY_CONNECT: Debugger = Debugger {
    name: "debugpy-connect",
    also_called: &[],
    direction: ToIde,
    port: 5678,
    start: "python -m debugpy --connect 127.0.0.1:PORT app.py",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Server,
    speaks: &[Protocol::Dap],
    is_debugpy: true,
    presence: Presence::PythonPackage("debugpy"),
    listens: None,
    traps: &[trap(
        "the program gives up after 10 s",
        "start p2pdbg at both ends before it; connections are held from then on",
    )],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["debugpy"],
            request: "attach",
            fields: &[Kept("listen", Address), PYTHON_PATHS, PYTHON_CWD],
        }),
        zed: None,
        nvim: Some(Nvim {
            adapter: Adapter::Executable("python3", &["-m", "debugpy.adapter"]),
            filetypes: &["python"],
            fields: &[Kept("listen", Address), PYTHON_PATHS],
            asks_program: false,
        }),
        jetbrains: None,
    },
};

const JDWP_LISTEN: Debugger = Debugger {
    name: "jdwp-listen",
    also_called: &[],
    direction: ToIde,
    port: 5005,
    start: "java -agentlib:jdwp=transport=dt_socket,server=n,suspend=y,address=127.0.0.1:PORT -jar app.jar",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Server,
    speaks: &[Protocol::Jdwp],
    is_debugpy: false,
    presence: Presence::Program("java"),
    listens: None,
    traps: &[trap(
        "the JVM ends at once if nobody listens",
        "start p2pdbg at both ends first; connections are held from then on",
    )],
    ides: Ides {
        vscode: Err("; use p2pdbg listen jdwp"),
        zed: None,
        nvim: None,
        jetbrains: Some(JetBrains::RemoteJvmListen),
    },
};

const XDEBUG: Debugger = Debugger {
    name: "xdebug",
    also_called: &["php", "phpstorm", "dbgp", "laravel", "symfony"],
    direction: ToIde,
    port: 9003,
    start: "php -d xdebug.mode=debug -d xdebug.start_with_request=yes -d xdebug.client_host=127.0.0.1 -d xdebug.client_port=PORT app.php",
    while_absent: WhileAbsent::Refuse {
        why: "each request of a web server tries, and would hang until an IDE listens",
    },
    first_word: FirstWord::Client,
    speaks: &[Protocol::Dbgp],
    is_debugpy: false,
    presence: Presence::Unseen,
    listens: None,
    traps: &[trap(
        "nothing happens",
        "Xdebug 3 dials port 9003 (Xdebug 2: 9000), and only with xdebug.mode=debug",
    )],
    ides: Ides {
        vscode: Ok(VsCode {
            types: &["php"],
            request: "launch",
            fields: &[
                Kept("hostname", HOST),
                Kept("port", Port),
                Kept("pathMappings", HereByThere),
            ],
        }),
        zed: None,
        nvim: None,
        jetbrains: None,
    },
};

#[cfg(test)]
mod tests;
