//! Row 4: a step with the views that an IDE asks for, with real debuggers.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};
use p2pdbg_natlab::{Host, Impairments};
use serde_json::Value;

use super::{
    Context,
    names::{AS_COMMAND, STEP},
};
use crate::{
    contenders::{Contender, Kind},
    process::Process,
    results::Row,
    site::Site,
};

/// A debugger: who listens, who connects, and whether the one that listens is the debuggee.
struct Debugger {
    name: &'static str,
    listens: &'static str,
    connects: &'static str,
    debuggee_listens: bool,
}

const DEBUGGERS: [Debugger; 4] = [
    Debugger {
        name: "debugpy --listen",
        listens: "debuggee/debugpy_listen.py",
        connects: "ide/dap_attach.py",
        debuggee_listens: true,
    },
    Debugger {
        name: "debugpy --connect",
        listens: "ide/dap_listen.py",
        connects: "debuggee/debugpy_connect.py",
        debuggee_listens: false,
    },
    Debugger {
        name: "pydevd",
        listens: "ide/pydevd_server.py",
        connects: "debuggee/pydevd_settrace.py",
        debuggee_listens: false,
    },
    Debugger {
        name: "gdb",
        listens: "debuggee/gdbserver.py",
        connects: "ide/gdb_remote.py",
        debuggee_listens: true,
    },
];

/// The port of the end that listens.
const PORT: u16 = 5_678;

pub(super) fn run(context: &mut Context) -> Result<Row> {
    let how = "the scripts of tests/debuggers: step, then threads, stack, scopes and variables, the median of a session's \
               steps; in turns";
    let mut row = Row::new(4, "Real debuggers", how);
    let Some(python) = context.tools.python.clone() else {
        bail!("debugpy and pydevd-pycharm are not installed; run scripts/install-test-tools");
    };
    let rtts: &[u64] = if context.quick {
        &[0, 10]
    } else {
        &[0, 10, 40, 100]
    };
    let rounds = context.rounds(1, 1);
    for rtt in rtts {
        let link = Impairments::delayed(Duration::from_millis(*rtt) / 4);
        let site = Site::far(&context.tools, link, Duration::ZERO)?;
        for debugger in &DEBUGGERS {
            for _ in 0..rounds {
                for kind in [Kind::Raw, Kind::Ssh, Kind::Direct] {
                    let line = format!("{}, {}", debugger.name, kind.name());
                    match step(&site, &python, debugger, kind) {
                        Ok(step) => row.add(STEP, &line, &format!("RTT {rtt} ms"), step),
                        Err(error) => eprintln!("{line}: {error:#}"),
                    }
                }
            }
        }
        for _ in 0..rounds {
            match step_as_command(&site, &python) {
                Ok(step) => row.add(STEP, AS_COMMAND, &format!("RTT {rtt} ms"), step),
                Err(error) => eprintln!("{AS_COMMAND}: {error:#}"),
            }
        }
    }
    Ok(row)
}

/// The median of the steps of one session of `debugpy --listen`.
pub(super) fn debugpy_step(site: &Site, python: &Path, kind: Kind) -> Result<f64> {
    step(site, python, &DEBUGGERS[0], kind)
}

/// The same of a debuggee that `p2pdbg connect` has started.
fn step_as_command(site: &Site, python: &Path) -> Result<f64> {
    let debugger = &DEBUGGERS[0];
    let script = |name| Path::new("tests/debuggers").join(name).into_os_string();
    let mut command = vec![python.as_os_str().to_owned(), script(debugger.listens)];
    let port = PORT.to_string();
    command.extend(["--timeout", "50", "--port", &port].map(Into::into));
    let (contender, mut connect) = Contender::with_command(site, PORT, &command)?;
    connect.event("listening", |_| true)?;
    let mut command: Command = site.ide.command(python);
    command
        .arg(script(debugger.connects))
        .args(["--timeout", "50", "--host", &contender.host()])
        .args(["--port", &contender.port.to_string()])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let mut ide = Process::start(debugger.connects, command)?;
    let (_, done) = ide.event("done", |_| true)?;
    let step = done["seen"]["step_ms"].as_f64();
    step.with_context(|| format!("no step was timed: {}", done["error"]))
}

/// The median of the steps of one session.
fn step(site: &Site, python: &Path, debugger: &Debugger, kind: Kind) -> Result<f64> {
    let (listens_at, connects_at) = match debugger.debuggee_listens {
        true => (&site.debuggee, &site.ide),
        false => (&site.ide, &site.debuggee),
    };
    let bind = match kind {
        Kind::Raw => listens_at.ip().to_string(),
        _ => "127.0.0.1".to_owned(),
    };
    let start = |name: &'static str, host: &Host, address: &str, port: u16| {
        let mut command: Command = host.command(python);
        command
            .arg(Path::new("tests/debuggers").join(name))
            .args(["--timeout", "50", "--host", address])
            .args(["--port", &port.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Process::start(name, command)
    };
    let mut listening = start(debugger.listens, listens_at, &bind, PORT)?;
    listening.event("listening", |_| true)?;
    let reverse = !debugger.debuggee_listens;
    let contender = Contender::one(site, kind, PORT, reverse)?;
    let mut connecting = start(
        debugger.connects,
        connects_at,
        &contender.host(),
        contender.port,
    )?;
    let seen = [&mut connecting, &mut listening].map(|script| -> Result<Value> {
        let (_, done) = script.event("done", |_| true)?;
        if done["ok"] != true {
            bail!("{}", done["error"]);
        }
        script.wait()?;
        Ok(done["seen"].clone())
    });
    for seen in seen {
        if let Some(step) = seen?["step_ms"].as_f64() {
            return Ok(step);
        }
    }
    None.context("no step was timed")
}
