//! The table: a row for each debugger.

use p2pdbg_base::Absent;
use p2pdbg_inspect::{Debugger as Seen, Protocol};
use p2pdbg_proto::tunnel::Direction::{self, ToDebuggee, ToIde};

use crate::Preset;

/// What is known of a debugger.
#[derive(Debug)]
pub struct Debugger {
    /// Its name on the command line, in JSON and in the documents.
    pub name: &'static str,
    /// What people call it, its language or its IDE where they are asked for its name. One word may be said of several.
    pub also_called: &'static [&'static str],
    /// Which way its connections go: who listens is at the end of the arrow.
    pub direction: Direction,
    /// The port used when none is given: the debugger's own, or a customary one where it has none.
    pub port: u16,
    /// The command, or the line of code, that starts the debuggee, with `PORT` for the port.
    pub start: &'static str,
    /// What becomes of a connection while nothing listens at the other end.
    pub while_absent: WhileAbsent,
    /// Which end writes first on a new connection.
    pub first_word: FirstWord,
    /// The languages in which it may speak, the most telling first.
    pub speaks: &'static [Protocol],
    /// Whether its DAP is the one in which the adapter names itself debugpy or ptvsd.
    pub is_debugpy: bool,
    /// By which files its presence on a host is seen.
    pub presence: Presence,
    /// How a process of it that listens is recognised.
    pub listens: Option<Listens>,
    /// What people stumble over.
    pub traps: &'static [Trap],
}

/// How a process that listens for its IDE is told from other processes, by its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listens {
    /// How the file name of its program begins.
    pub program: &'static str,
    /// What one of its arguments contains; nothing where the program is the debugger itself.
    pub argument: &'static str,
    /// Which of the ports on which it listens is the debugger's.
    pub port: ListeningPort,
}

/// Which of the ports on which a process listens is its debugger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListeningPort {
    /// Any: the process does nothing else.
    Any,
    /// One whose number stands in the command line.
    InCommandLine,
    /// One whose number stands in the argument that contains [`Listens::argument`].
    InArgument,
    /// The same, or one of so many from the debugger's own port on: processes that it starts count up from there.
    InArgumentOrOwn(u16),
}

impl Debugger {
    /// Whether a process with this command line, which listens on `port`, does so for this debugger's IDE.
    pub fn listens_as(&self, command_line: &[String], port: u16) -> bool {
        let Some(listens) = self.listens else {
            return false;
        };
        let mut words = command_line.iter();
        let program = words.next().map_or("", String::as_str);
        let program = program.rsplit('/').next().unwrap_or_default();
        if !program.starts_with(listens.program) {
            return false;
        }
        let says = |word: &&String| word.contains(listens.argument);
        let names = |word: &String| {
            let mut numbers = word.split(|c: char| !c.is_ascii_digit());
            numbers.any(|number| number.parse() == Ok(port))
        };
        match listens.port {
            ListeningPort::Any => true,
            ListeningPort::InCommandLine => {
                words.clone().any(|word| says(&word)) && words.any(names)
            }
            ListeningPort::InArgument => words.filter(says).any(names),
            ListeningPort::InArgumentOrOwn(count) => {
                let own = self.port..self.port.saturating_add(count);
                own.contains(&port) || words.filter(says).any(names)
            }
        }
    }
}

/// What becomes of a connection while nothing listens at the other end, unless the user says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhileAbsent {
    /// It is accepted and held until something listens.
    Hold,
    /// It is held until the other end was reached once: a program that is started to be debugged waits for its IDE.
    /// From then on it is refused: one that only tries whether somebody debugs goes on.
    HoldOnce,
    /// It is refused, for this reason.
    Refuse {
        /// Why holding harms, for the documents and for whoever changes the row.
        why: &'static str,
    },
}

impl WhileAbsent {
    /// The same in the words of `--absent`.
    pub fn policy(self) -> Absent {
        match self {
            Self::Hold => Absent::Hold,
            Self::HoldOnce => Absent::HoldOnce,
            Self::Refuse { .. } => Absent::Refuse,
        }
    }
}

/// Which end writes on a new connection without waiting for a word of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstWord {
    /// The end that connects (the other may speak unasked too): until it has written, nothing is lost by not dialling
    /// the other end.
    Client,
    /// The end that accepts, and the one that connects waits for it: the far end has to be dialled at once.
    Server,
}

/// By which files a debugger is found on a host. Nothing is run for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// A program of this name in `PATH`.
    Program(&'static str),
    /// A Python package, as its metadata directory spells it.
    PythonPackage(&'static str),
    /// It cannot be seen from files.
    Unseen,
}

/// Something that goes wrong with a debugger, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trap {
    /// What one sees.
    pub symptom: &'static str,
    /// What helps.
    pub fix: &'static str,
}

const fn trap(symptom: &'static str, fix: &'static str) -> Trap {
    Trap { symptom, fix }
}

impl Debugger {
    /// Whether what was seen on a connection can be this debugger.
    pub fn can_be(&self, seen: &Seen) -> bool {
        // What it is cannot be told.
        if matches!(seen.protocol, Protocol::Unknown | Protocol::Tls) {
            return true;
        }
        if !self.speaks.contains(&seen.protocol) {
            return false;
        }
        // DAP alone does not say whose it is, until the debugger names itself.
        if seen.protocol == Protocol::Dap && seen.version.is_some() {
            let is_debugpy = matches!(seen.name.as_deref(), Some("debugpy" | "ptvsd"));
            return self.is_debugpy == is_debugpy;
        }
        true
    }
}

/// gdb repeats what is not answered within two seconds and gets out of step for good when all of it is answered at
/// once later (seen with gdb 13.1: held for five seconds, it took the answers for those to other questions). It tries
/// again by itself for 15 s when it is refused. lldb speaks the same protocol.
const GDB_TIMER: WhileAbsent = WhileAbsent::Refuse {
    why: "gdb repeats what waits for 2 s and gets out of step",
};

pub(crate) fn row(preset: Preset) -> &'static Debugger {
    match preset {
        Preset::Debugpy => &DEBUGPY,
        Preset::Ptvsd => &PTVSD,
        Preset::Gdbserver => &GDBSERVER,
        Preset::Lldb => &LLDB,
        Preset::Delve => &DELVE,
        Preset::Jdwp => &JDWP,
        Preset::Node => &NODE,
        Preset::Rdbg => &RDBG,
        Preset::Pydevd => &PYDEVD,
        Preset::DebugpyConnect => &DEBUGPY_CONNECT,
        Preset::JdwpListen => &JDWP_LISTEN,
        Preset::Xdebug => &XDEBUG,
    }
}

const DEBUGPY: Debugger = Debugger {
    name: "debugpy",
    also_called: &[
        "python", "python3", "py", "vscode", "code", "pycharm", "pdb",
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
        program: "python",
        argument: "debugpy",
        port: ListeningPort::InCommandLine,
    }),
    traps: &[
        trap(
            "breakpoints stay grey: \"file that does not exist\"",
            "map the paths: p2pdbg ide vscode --write fills pathMappings in",
        ),
        trap(
            "subprocesses are not debugged",
            "keep one port number at both ends, since they dial the number that the IDE used",
        ),
    ],
};

const PTVSD: Debugger = Debugger {
    name: "ptvsd",
    also_called: &[],
    direction: ToDebuggee,
    port: 5678,
    start: "python -m ptvsd --host 127.0.0.1 --port PORT --wait app.py",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Dap],
    is_debugpy: true,
    presence: Presence::PythonPackage("ptvsd"),
    listens: Some(Listens {
        program: "python",
        argument: "ptvsd",
        port: ListeningPort::InCommandLine,
    }),
    traps: &[trap(
        "ptvsd is no longer maintained",
        "use debugpy where its Python can run it (3.8 and later)",
    )],
};

const GDBSERVER: Debugger = Debugger {
    name: "gdbserver",
    also_called: &["gdb", "c", "cpp", "c++", "rust", "clion"],
    direction: ToDebuggee,
    port: 1234,
    start: "gdbserver 127.0.0.1:PORT ./app",
    while_absent: GDB_TIMER,
    first_word: FirstWord::Client,
    speaks: &[Protocol::GdbRemote],
    is_debugpy: false,
    presence: Presence::Program("gdbserver"),
    listens: Some(Listens {
        program: "gdbserver",
        argument: "",
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
        program: "lldb-server",
        argument: "",
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
        program: "dlv",
        argument: "",
        port: ListeningPort::Any,
    }),
    traps: &[trap(
        "delve ends when the IDE detaches, or at the first connection",
        "start it with --headless --accept-multiclient",
    )],
};

const JDWP: Debugger = Debugger {
    name: "jdwp",
    also_called: &["java", "jvm", "jdb", "kotlin", "idea", "intellij"],
    direction: ToDebuggee,
    port: 5005,
    start: "java -agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address=127.0.0.1:PORT -jar app.jar",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Jdwp],
    is_debugpy: false,
    presence: Presence::Program("java"),
    listens: Some(Listens {
        program: "java",
        argument: "jdwp",
        port: ListeningPort::InArgument,
    }),
    traps: &[trap(
        "address=5005 is open to everybody before Java 9",
        "write address=127.0.0.1:5005",
    )],
};

const NODE: Debugger = Debugger {
    name: "node",
    also_called: &["nodejs", "js", "javascript", "typescript", "ts", "chrome"],
    direction: ToDebuggee,
    port: 9229,
    start: "node --inspect-brk=127.0.0.1:PORT app.js",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Cdp],
    is_debugpy: false,
    presence: Presence::Program("node"),
    listens: Some(Listens {
        program: "node",
        argument: "inspect",
        port: ListeningPort::InArgumentOrOwn(100),
    }),
    traps: &[trap(
        "--inspect=0.0.0.0 is open to everybody",
        "write --inspect=127.0.0.1:9229, and --inspect-brk to wait for the IDE",
    )],
};

const RDBG: Debugger = Debugger {
    name: "rdbg",
    also_called: &["ruby", "rails", "debug"],
    direction: ToDebuggee,
    port: 12345,
    start: "rdbg --open --host 127.0.0.1 --port PORT app.rb",
    while_absent: WhileAbsent::Hold,
    first_word: FirstWord::Client,
    speaks: &[Protocol::Rdbg, Protocol::Cdp, Protocol::Dap],
    is_debugpy: false,
    presence: Presence::Program("rdbg"),
    listens: Some(Listens {
        program: "ruby",
        argument: "rdbg",
        port: ListeningPort::InCommandLine,
    }),
    traps: &[trap(
        "rdbg --open listens on a Unix socket",
        "give it --host 127.0.0.1 --port 12345",
    )],
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
};

const XDEBUG: Debugger = Debugger {
    name: "xdebug",
    also_called: &["php", "phpstorm"],
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
};

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(protocol: Protocol, name: Option<&str>, version: Option<&str>) -> Seen {
        Seen {
            protocol,
            name: name.map(str::to_owned),
            version: version.map(str::to_owned),
            runtime: None,
            pid: None,
            ide: None,
            activity: None,
            step_round_trips: None,
        }
    }

    #[test]
    fn debugger_row_fits_its_own_protocol_and_no_other() {
        let pydevd = seen(Protocol::Pydevd, Some("pydevd"), None);
        let debugpy = seen(Protocol::Dap, Some("debugpy"), Some("1.8.22"));
        // VS Code calls the adapter so before it has said a word.
        let unnamed = seen(Protocol::Dap, Some("python"), None);
        let unknown = seen(Protocol::Unknown, None, None);
        assert!(DEBUGPY.can_be(&debugpy) && DEBUGPY.can_be(&unnamed));
        assert!(PYDEVD.can_be(&pydevd) && !PYDEVD.can_be(&debugpy));
        assert!(!DELVE.can_be(&debugpy) && DELVE.can_be(&unnamed));
        assert!(!DEBUGPY.can_be(&pydevd));
        for preset in Preset::ALL {
            assert!(row(preset).can_be(&unknown));
        }
    }

    #[test]
    fn process_that_listens_for_its_ide_is_known_by_its_command_line() {
        let line = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let adapter = line(
            "/usr/bin/python3.11 /v/site-packages/debugpy/adapter --for-server 41231 --host 127.0.0.1 --port 5679",
        );
        assert!(DEBUGPY.listens_as(&adapter, 5679));
        // That for the program's own processes.
        assert!(!DEBUGPY.listens_as(&adapter, 40_001) && !DEBUGPY.listens_as(&adapter, 567));
        let server = line("python app.py --port 5679");
        assert!(!DEBUGPY.listens_as(&server, 5679));
        let worker = line("/usr/bin/node --inspect=127.0.0.1:9229 --inspect-port=9230 app.js");
        assert!(NODE.listens_as(&worker, 9230) && !NODE.listens_as(&worker, 3000));
        assert!(NODE.listens_as(&line("node server.js 3000"), 9231));
        assert!(!NODE.listens_as(&line("node server.js 3000"), 3000));
        let jvm =
            line("java -agentlib:jdwp=transport=dt_socket,server=y,address=*:5006 -Dport=8080");
        assert!(JDWP.listens_as(&jvm, 5006) && !JDWP.listens_as(&jvm, 8080));
        assert!(GDBSERVER.listens_as(&line("gdbserver :2000 ./app"), 2000));
        assert!(!GDBSERVER.listens_as(&[], 2000));
    }

    #[test]
    fn debugger_row_has_traps_in_words_that_fit_a_line() {
        for preset in Preset::ALL {
            let traps = row(preset).traps;
            assert!(!traps.is_empty(), "{preset:?}");
            for trap in traps {
                assert!(
                    trap.symptom.len() <= 72 && trap.fix.len() <= 100,
                    "{trap:?}"
                );
            }
        }
    }

    #[test]
    fn debugger_row_that_the_ide_dials_says_that_the_ide_speaks_first() {
        for preset in Preset::ALL {
            let row = row(preset);
            if row.direction == ToDebuggee {
                assert_eq!(row.first_word, FirstWord::Client, "{preset:?}");
            }
        }
    }
}
