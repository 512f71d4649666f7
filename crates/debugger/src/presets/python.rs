//! debugpy, ptvsd and pydevd: the debuggers of Python.

use p2pdbg_inspect::Protocol;
use p2pdbg_proto::tunnel::Direction::{ToDebuggee, ToIde};

use crate::{
    ide::{
        Adapter,
        Field::{self, Kept, Proposed},
        Ides, JetBrains, Nvim,
        Value::{Address, Here, List, Object, Pairs, Text},
        VsCode, Zed,
    },
    row::{Debugger, FirstWord, ListeningPort, Listens, Presence, WhileAbsent, trap},
};

const PYTHON_PATHS: Field = Kept("pathMappings", Pairs("localRoot", "remoteRoot"));

/// The directory in which the program is started.
const PYTHON_CWD: Field = Proposed(
    "pathMappings",
    List(&[Object(&[("localRoot", Here), ("remoteRoot", Text("."))])]),
);

/// How the IDEs are set up that connect to the debugger; `types` are those of VS Code's configurations.
const fn that_connect(types: &'static [&'static str]) -> Ides {
    Ides {
        vscode: Ok(VsCode {
            types,
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
    }
}

pub(super) const DEBUGPY: Debugger = Debugger {
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
    ides: that_connect(&["debugpy", "python"]),
};

pub(super) const PTVSD: Debugger = Debugger {
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
    ides: that_connect(&["debugpy"]),
};

pub(super) const PYDEVD: Debugger = Debugger {
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

pub(super) const DEBUGPY_CONNECT: Debugger = Debugger {
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
