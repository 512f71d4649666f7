//! JDWP, both ways round.

use p2pdbg_inspect::Protocol;
use p2pdbg_proto::tunnel::Direction::{ToDebuggee, ToIde};

use crate::{
    ide::{Field::Kept, HOST, Ides, JetBrains, Value::Port, VsCode},
    row::{Debugger, FirstWord, ListeningPort, Listens, Presence, WhileAbsent, trap},
};

pub(super) const JDWP: Debugger = Debugger {
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

pub(super) const JDWP_LISTEN: Debugger = Debugger {
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
