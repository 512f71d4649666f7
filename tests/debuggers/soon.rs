//! The next attach comes through within a second, by the same session: after a detach, after an IDE that was killed,
//! when the debuggee was started again while its IDE was held, and when its whole host was.
//!
//! What is measured is what p2pdbg and the debugger take between two moments that a person sees, with 40 ms between the
//! hosts, not how long either program takes to start. A host that is busy may be late once; a fault is late each time.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use p2pdbg_base::HoldPolicy;
use p2pdbg_events::WaitingFor;
use p2pdbg_forward::{Direction, Preset};
use p2pdbg_natlab::TwoNats;
use p2pdbg_net::listening;

use crate::{
    harness::{Home, Pair, Place, Process, Setting, eventually, skip},
    lab::{setting, two_nats},
    scenario::python,
    script::file,
};

/// How late the next attach may be.
const SOON: Duration = Duration::from_secs(1);

/// How often it may be late before it counts as late.
const ATTEMPTS: usize = 3;

/// A question of a debugger's client, and a part of the answer.
type Turn = (&'static str, &'static str);

/// A debugger that the IDE dials.
pub(crate) struct Debugger {
    pub(crate) preset: &'static str,
    /// The program with its debugger, which listens on a port once it says that it runs; none if it is not installed.
    start: fn(&Place, port: u16) -> Option<Command>,
    pub(crate) attach: &'static [Turn],
    /// What a client says before it leaves in good order.
    detach: Option<Turn>,
    /// Whether a client that ends with a reset leaves it as it was, without p2pdbg too.
    survives_reset: bool,
}

pub(crate) const DEBUGPY: Debugger = Debugger {
    preset: "debugpy",
    start: |place, port| {
        let mut command = place.command(python()?);
        command
            .args(["-Xfrozen_modules=off", "-m", "debugpy", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .arg(file("programs/endless.py"));
        Some(command)
    },
    attach: &[
        (
            "Content-Length: 85\r\n\r\n{\"seq\":1,\"type\":\"request\",\"command\":\"initialize\",\"arguments\":{\"adapterID\":\"debugpy\"}}",
            "\"command\": \"initialize\"",
        ),
        (
            "Content-Length: 77\r\n\r\n{\"seq\":2,\"type\":\"request\",\"command\":\"attach\",\"arguments\":{\"justMyCode\":true}}",
            "\"event\": \"initialized\"",
        ),
        (
            "Content-Length: 56\r\n\r\n{\"seq\":3,\"type\":\"request\",\"command\":\"configurationDone\"}",
            "\"command\": \"attach\"",
        ),
    ],
    detach: Some((
        "Content-Length: 89\r\n\r\n{\"seq\":4,\"type\":\"request\",\"command\":\"disconnect\",\"arguments\":{\"terminateDebuggee\":false}}",
        "\"command\": \"disconnect\"",
    )),
    survives_reset: true,
};

const NODE: Debugger = Debugger {
    preset: "node",
    start: |place, port| {
        let mut command = place.command(installed("node")?);
        command
            .arg(format!("--inspect=127.0.0.1:{port}"))
            .arg(file("programs/endless.js"));
        Some(command)
    },
    attach: &[(
        "GET /json/version HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "node.js/",
    )],
    detach: None,
    survives_reset: true,
};

pub(crate) const PTVSD: Debugger = Debugger {
    preset: "ptvsd",
    start: |place, port| {
        let mut command = place.command(python()?);
        command
            .args(["-m", "ptvsd", "--host", "127.0.0.1", "--port"])
            .arg(port.to_string())
            .arg(file("programs/endless.py"));
        Some(command)
    },
    attach: &[
        (DEBUGPY.attach[0].0, "\"event\": \"initialized\""),
        (DEBUGPY.attach[1].0, "\"command\": \"attach\""),
        (DEBUGPY.attach[2].0, "\"command\": \"configurationDone\""),
    ],
    detach: DEBUGPY.detach,
    survives_reset: true,
};

const DELVE: Debugger = Debugger {
    preset: "delve",
    start: |place, port| {
        let program = compiled_go()?;
        let mut command = place.command(installed("dlv")?);
        command
            .args(["exec", "--headless", "--accept-multiclient", "--continue"])
            .args(["--check-go-version=false", "--api-version=2"])
            .arg(format!("--listen=127.0.0.1:{port}"))
            .arg(program);
        Some(command)
    },
    attach: &[(
        "{\"method\":\"RPCServer.GetVersion\",\"params\":[{}],\"id\":1}\n",
        "\"id\":1",
    )],
    detach: None,
    survives_reset: true,
};

const JDWP: Debugger = Debugger {
    preset: "jdwp",
    start: |place, port| {
        let classes = compiled_java()?;
        let mut command = place.command(installed("java")?);
        command
            .arg(format!(
                "-agentlib:jdwp=transport=dt_socket,server=y,suspend=n,address=127.0.0.1:{port}"
            ))
            .arg("-cp")
            .arg(classes)
            .arg("Endless");
        Some(command)
    },
    attach: &[
        ("JDWP-Handshake", "JDWP-Handshake"),
        // VirtualMachine.Version.
        ("\0\0\0\x0b\0\0\0\x01\0\x01\x01", "Java Debug Wire Protocol"),
    ],
    // VirtualMachine.Dispose, whose answer has this length and number.
    detach: Some(("\0\0\0\x0b\0\0\0\x02\0\x01\x06", "\0\0\0\x0b\0\0\0\x02")),
    survives_reset: true,
};

/// It stays for the next gdb after one that has asked for the extended protocol.
const GDBSERVER_MULTI: Debugger = Debugger {
    preset: "gdbserver",
    start: |place, port| {
        let mut command = place.command(installed("gdbserver")?);
        command.arg("--multi").arg(format!("127.0.0.1:{port}"));
        Some(command)
    },
    attach: &[
        ("+$qSupported:multiprocess+#c6", "PacketSize="),
        ("+$!#21", "$OK#9a"),
    ],
    detach: None,
    // Version 13.1 interrupts its own process group then.
    survives_reset: false,
};

const LLDB_PLATFORM: Debugger = Debugger {
    preset: "lldb",
    start: |place, port| {
        let mut command = place.command(installed("lldb-server")?);
        command
            .args(["platform", "--server", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--gdbserver-port")
            .arg((port + 1).to_string());
        Some(command)
    },
    attach: &[("+$QStartNoAckMode#b0", "$OK#9a")],
    detach: None,
    survives_reset: true,
};

/// The path of a program; none, which is told, if it is not there.
fn installed(program: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file());
    if found.is_none() {
        skip(&format!("{program} is not installed"));
    }
    found
}

/// programs/endless.go, compiled once for all tests of this process.
fn compiled_go() -> Option<PathBuf> {
    let go = installed("go")?;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("endless-go");
    let built = Command::new(go)
        .args(["build", "-gcflags=all=-N -l", "-o"])
        .arg(&target)
        .arg(file("programs/endless.go"))
        .status();
    assert!(built.unwrap().success());
    Some(target)
}

/// programs/Endless.java, compiled once for all tests of this process.
fn compiled_java() -> Option<PathBuf> {
    let javac = installed("javac")?;
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("endless-java");
    let built = Command::new(javac)
        .arg("-d")
        .arg(&target)
        .arg(file("programs/Endless.java"))
        .status();
    assert!(built.unwrap().success());
    Some(target)
}

/// A session with a debugger's preset, and where both its ends are.
pub(crate) struct Session {
    pub(crate) port: u16,
    home: Home,
    pub(crate) pair: Pair,
    /// Whether an IDE that comes before the debuggee is held.
    holds: bool,
    setting: Setting,
    _lab: TwoNats,
}

impl Session {
    pub(crate) fn new(name: &str, preset: &str) -> Option<Self> {
        let lab = two_nats(name)?;
        let setting = setting(&lab);
        let (port, home) = (setting.ports(2), Home::new());
        let listener = setting
            .listener()
            .args([format!("{preset}:{port}")])
            .start();
        let command = setting.connector_with(&listener.code());
        let connector = command.home(home.clone()).start();
        listener.paired();
        connector.paired();
        let pair = Pair {
            listener,
            connector,
        };
        // Open at the end at which it is opened; where IDEs are refused until the debuggee listens, once it does.
        let preset = preset.parse().map(Preset::debugger);
        let refuses = preset.is_ok_and(|debugger| {
            debugger.direction == Direction::ToDebuggee
                && debugger.while_absent.policy() == HoldPolicy::Refuse
        });
        if refuses {
            pair.listener.waiting(WaitingFor::Debuggee);
        } else if preset.is_ok_and(|debugger| debugger.direction == Direction::ToIde) {
            pair.connector.forward(port);
        } else {
            pair.listener.forward(port);
        }
        Some(Self {
            port,
            home,
            pair,
            holds: !refuses,
            setting,
            _lab: lab,
        })
    }

    pub(crate) fn start(&self, debugger: &Debugger) -> Option<Process> {
        let command = (debugger.start)(&self.setting.debuggee, self.port)?;
        let process = Process::start(debugger.preset, command, &self.setting.transcript);
        Some(process)
    }

    /// Waits until a debuggee runs its program, for which it waits for no IDE; if it has none, the kernel tells.
    fn runs(&self, debuggee: &Process) {
        match debuggee.name() {
            "gdbserver" | "lldb" => self.listens(),
            _ => drop(debuggee.line("running")),
        }
    }

    /// Waits until a debuggee takes its IDE. A held one it may have taken before anybody looks, and a JVM does not
    /// listen while it has one.
    fn listens(&self) {
        eventually("debuggee that listens", || {
            let sockets = self.setting.debuggee.enter(listening::all);
            let mut ports = sockets.iter().map(|socket| socket.address.port());
            ports.any(|port| port == self.port).then_some(())
        });
    }

    /// An IDE that has just connected.
    pub(crate) fn ide(&self) -> TcpStream {
        // gdb and lldb try again when they are refused.
        let place = &self.setting.ide;
        let ide = eventually("open port", || place.try_connect(self.port).ok());
        ide.set_nodelay(true).unwrap();
        ide.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        ide
    }
}

/// Says one thing and reads until the answer has come.
#[track_caller]
pub(crate) fn ask(ide: &mut TcpStream, (question, answer): Turn) {
    ide.write_all(question.as_bytes()).unwrap();
    hear(ide, answer);
}

#[track_caller]
pub(crate) fn hear(ide: &mut TcpStream, answer: &str) {
    let (mut heard, mut piece) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&heard).contains(answer) {
        let length = ide.read(&mut piece).unwrap();
        let heard_so_far = String::from_utf8_lossy(&heard).into_owned();
        assert_ne!(length, 0, "{answer} has not come: {heard_so_far}");
        heard.extend_from_slice(&piece[..length]);
    }
}

/// Ends an IDE as its death does: with a reset.
fn kill(ide: TcpStream) {
    socket2::SockRef::from(&ide)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(ide);
}

/// Has something happen again until it took no longer than it may.
#[track_caller]
fn soon(what: &str, mut attempt: impl FnMut() -> Duration) {
    let mut took = Vec::new();
    while took.len() < ATTEMPTS && took.last().is_none_or(|last| *last > SOON) {
        took.push(attempt());
    }
    println!("{what}: {took:?}");
    assert!(
        took.last().is_some_and(|last| *last <= SOON),
        "{what}: {took:?}"
    );
}

/// Attaches, again and again, in each way that the IDE or the debuggee may have left.
#[track_caller]
fn next_attach_comes_soon(name: &str, debugger: &Debugger) {
    let Some(mut session) = Session::new(name, debugger.preset) else {
        return;
    };
    let Some(mut debuggee) = session.start(debugger) else {
        return;
    };
    session.runs(&debuggee);
    session.listens();
    let attach = |session: &Session| {
        let began = Instant::now();
        let mut ide = session.ide();
        for turn in debugger.attach {
            ask(&mut ide, *turn);
        }
        (ide, began.elapsed())
    };
    let detach = |mut ide: TcpStream| {
        if let Some(detach) = debugger.detach {
            ask(&mut ide, detach);
        }
    };
    detach(attach(&session).0);
    soon("after a detach", || {
        let (ide, took) = attach(&session);
        detach(ide);
        took
    });
    soon("after an IDE that was killed", || {
        let (ide, _) = attach(&session);
        match debugger.survives_reset {
            true => kill(ide),
            false => drop(ide),
        }
        let (ide, took) = attach(&session);
        detach(ide);
        took
    });
    soon("after a debuggee that was started again", || {
        debuggee.interrupt();
        debuggee.wait();
        // The IDE has come first, and is held with what it has said, or tries again.
        let (question, answer) = debugger.attach[0];
        let held = session.holds.then(|| {
            let mut ide = session.ide();
            ide.write_all(question.as_bytes()).unwrap();
            ide
        });
        debuggee = session.start(debugger).unwrap();
        session.runs(&debuggee);
        if held.is_none() {
            session.listens();
        }
        let began = Instant::now();
        let mut ide = match held {
            Some(mut ide) => {
                hear(&mut ide, answer);
                ide
            }
            None => {
                let mut ide = session.ide();
                ask(&mut ide, debugger.attach[0]);
                ide
            }
        };
        for turn in &debugger.attach[1..] {
            ask(&mut ide, *turn);
        }
        let took = began.elapsed();
        detach(ide);
        took
    });
    soon("after a debuggee's host that was started again", || {
        session.pair.connector.kill();
        let code = session.pair.listener.first_code().unwrap();
        let command = session.setting.connector_with(&code);
        session.pair.connector = command.home(session.home.clone()).start();
        session.pair.connector.paired();
        session.pair.listener.paired();
        let (ide, took) = attach(&session);
        detach(ide);
        took
    });
}

#[test]
fn debugpy_is_attached_to_within_a_second_whatever_has_left() {
    next_attach_comes_soon("soon-debugpy", &DEBUGPY);
}

#[test]
fn node_is_attached_to_within_a_second_whatever_has_left() {
    next_attach_comes_soon("soon-node", &NODE);
}

#[test]
fn delve_is_attached_to_within_a_second_whatever_has_left() {
    next_attach_comes_soon("soon-delve", &DELVE);
}

#[test]
fn ptvsd_is_attached_to_within_a_second_whatever_has_left() {
    next_attach_comes_soon("soon-ptvsd", &PTVSD);
}

#[test]
fn jvm_is_attached_to_within_a_second_whatever_has_left() {
    next_attach_comes_soon("soon-jdwp", &JDWP);
}

#[test]
fn gdbserver_that_stays_is_attached_to_within_a_second_whatever_has_left() {
    next_attach_comes_soon("soon-gdbserver", &GDBSERVER_MULTI);
}

#[test]
fn lldbs_platform_is_attached_to_within_a_second_whatever_has_left() {
    next_attach_comes_soon("soon-lldb", &LLDB_PLATFORM);
}

/// A program that comes to PyCharm's debug server, and says when.
const SETTRACE: &str = "\
import sys, time
import pydevd_pycharm
print(f'connecting {time.time()}', flush=True)
pydevd_pycharm.settrace('127.0.0.1', port=int(sys.argv[1]), suspend=False)
";

#[test]
fn settrace_comes_within_a_second_after_a_reload_and_after_an_ide_that_was_started_again() {
    let Some(python) = python() else { return };
    let Some(session) = Session::new("soon-pydevd", "pydevd") else {
        return;
    };
    let listen = || {
        let server = session.setting.ide.listen(session.port);
        // Of an accept, too, on Linux.
        let patience = Some(Duration::from_secs(30));
        socket2::SockRef::from(&server)
            .set_read_timeout(patience)
            .unwrap();
        server
    };
    let come = |server: &std::net::TcpListener| {
        let mut command = session.setting.debuggee.command(&python);
        command
            .args(["-c", SETTRACE, &session.port.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let program = Process::start("settrace", command, &session.setting.transcript);
        let line = program.line("connecting");
        let (_, said) = line.rsplit_once(' ').unwrap();
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(said.parse().unwrap());
        let (mut ide, _) = server.accept().unwrap();
        ide.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        ask(&mut ide, ("501\t1\t0.1\tUNIX\n", "501\t"));
        let took = SystemTime::now().duration_since(began).unwrap_or_default();
        (program, ide, took)
    };
    let server = listen();
    drop(come(&server));
    soon("after a reload", || come(&server).2);
    soon("after an IDE that was killed", || {
        let (_program, ide, _) = come(&server);
        kill(ide);
        come(&server).2
    });
    drop(server);
    soon("after an IDE that was started again", || come(&listen()).2);
}
