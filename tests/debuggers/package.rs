//! The Python package: its wheel, installed in a fresh environment, with real debuggers behind a real tunnel.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use p2pdbg_proto::code::Code;
use rustix::process::Signal;

use crate::{
    command::run_in,
    harness::{Setting, skip, traffic::say},
    scenario::python,
    script::{self, Missing, Script},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The wheel, built once by maturin; none if there is no maturin.
fn wheel() -> Option<&'static Path> {
    static WHEEL: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let maturin = python()?.with_file_name("maturin");
        if !maturin.is_file() {
            skip("maturin is not installed; scripts/install-test-tools does it");
            return None;
        }
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wheel");
        let _ = std::fs::remove_dir_all(&out);
        succeed(
            Command::new(maturin)
                .args(["build", "--profile", "dev", "--locked", "--out"])
                .arg(&out)
                .current_dir(root().join("python")),
        );
        let mut files = std::fs::read_dir(&out).unwrap();
        Some(files.next().unwrap().unwrap().path())
    };
    WHEEL.get_or_init(build).as_deref()
}

/// An environment of its own, with the wheel and nothing else.
struct Fresh(tempfile::TempDir);

impl Fresh {
    #[track_caller]
    fn new(base: &Path) -> Option<Self> {
        let wheel = wheel()?;
        let dir = tempfile::tempdir().unwrap();
        succeed(
            Command::new(base)
                .args(["-m", "venv", "--without-pip"])
                .arg(dir.path()),
        );
        let fresh = Self(dir);
        succeed(
            Command::new(python()?)
                .args(["-m", "pip", "--python"])
                .arg(fresh.python())
                .args(["install", "-q", "--no-index", "--no-deps"])
                .arg(wheel),
        );
        Some(fresh)
    }

    /// With the debuggers and Flask, as they are in the environment of the tests.
    #[track_caller]
    fn with_debuggers() -> Option<Self> {
        let python = python()?;
        let fresh = Self::new(&python)?;
        let tell = "import sysconfig; print(sysconfig.get_path('purelib'))";
        let purelib = |python: &Path| {
            let said = succeed(Command::new(python).args(["-c", tell])).stdout;
            String::from_utf8(said).unwrap().trim().to_owned()
        };
        let link = Path::new(&purelib(&fresh.python())).join("debuggers.pth");
        std::fs::write(link, purelib(&python)).unwrap();
        Some(fresh)
    }

    fn python(&self) -> PathBuf {
        self.0.path().join("bin/python")
    }
}

#[test]
fn the_package_does_without_a_tunnel_what_it_says_on_every_python_that_is_here() {
    if python().is_none() {
        skip("there is no Python with debuggers; scripts/install-test-tools makes one");
        return;
    }
    let candidates = (9..15).map(|minor| format!("python3.{minor}"));
    let mut tried = Vec::new();
    for name in candidates.chain(["python3".to_owned()]) {
        let runs = Command::new(&name).args(["-c", "import venv"]).output();
        if !runs.is_ok_and(|output| output.status.success()) {
            continue;
        }
        let Some(fresh) = Fresh::new(Path::new(&name)) else {
            return;
        };
        succeed(
            Command::new(fresh.python())
                .args(["-m", "unittest", "discover", "-s"])
                .arg(root().join("python/tests"))
                .env("PYTHONDONTWRITEBYTECODE", "1")
                .current_dir(fresh.0.path()),
        );
        tried.push(name);
    }
    assert!(!tried.is_empty());
    println!("tried with {}", tried.join(", "));
}

#[test]
fn the_package_waits_no_longer_for_a_debuggers_ide_than_it_is_told() {
    let Some(fresh) = Fresh::with_debuggers() else {
        return;
    };
    let tested = succeed(
        Command::new(fresh.python())
            .args(["-m", "unittest", "-v", "test_debuggers"])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(root().join("python/tests")),
    );
    let said = String::from_utf8_lossy(&tested.stderr);
    assert!(!said.contains("skipped"), "{said}");
}

#[test]
fn the_package_has_true_types() {
    let Some(mypy) = python().map(|python| python.with_file_name("mypy")) else {
        skip("there is no Python with debuggers; scripts/install-test-tools makes one");
        return;
    };
    if !mypy.is_file() {
        skip("mypy is not installed; scripts/install-test-tools does it");
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    succeed(
        Command::new(mypy)
            .args(["--strict", "src", "tests", "--cache-dir"])
            .arg(cache.path())
            .current_dir(root().join("python")),
    );
}

#[test]
fn a_program_waits_for_its_ide_by_one_call() {
    let setting = Setting::loopback();
    let Some(fresh) = Fresh::with_debuggers() else {
        return;
    };
    let (ide, app) = (["ide/dap_attach.py"], ["package", "--status", "3"]);
    let Some(mut run) = run_in(&setting, &fresh.python(), "-L", &ide, &app) else {
        return;
    };
    if run.debugged() {
        run.pair.connector.line("attached True");
        assert_eq!(run.pair.connector.exit_status(), 3);
    }
}

#[test]
fn a_program_pauses_in_pycharm_by_one_call() {
    let setting = Setting::loopback();
    let Some(fresh) = Fresh::with_debuggers() else {
        return;
    };
    let ide = ["ide/pydevd_server.py", "--entry", "app.py"];
    let app = ["package-break", "--status", "4"];
    let Some(mut run) = run_in(&setting, &fresh.python(), "-R", &ide, &app) else {
        return;
    };
    if run.debugged() {
        assert_eq!(run.pair.connector.exit_status(), 4);
    }
}

#[test]
fn a_web_application_starts_the_tunnel_itself_and_each_worker_of_its_reloader_attaches() {
    let setting = Setting::loopback();
    let (Some(fresh), Some(python)) = (Fresh::with_debuggers(), python()) else {
        return;
    };
    let (open, target, http) = (setting.port(), setting.port(), setting.port());
    let listener = setting
        .listener()
        .args(["-L", &format!("{open}:localhost:{target}")])
        .start();
    let program = fresh.0.path().join("shop.py");
    std::fs::copy(script::file("programs/shop.py"), &program).unwrap();
    let mut command = setting.debuggee.command(fresh.python());
    command
        .args(["-Xfrozen_modules=off".as_ref(), program.as_os_str()])
        .arg(http.to_string())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("START_DEBUGGER", "1")
        .env("P2PDBG_CODE", listener.code().to_string())
        .env("P2PDBG_STATE", fresh.0.path().join("state"))
        .env(
            "P2PDBG_RENDEZVOUS",
            setting.rendezvous.url().without_key().to_string(),
        );
    let shop = crate::harness::Process::start("shop", command, &setting.transcript);
    listener.forward(open);
    let (port, http) = (open.to_string(), http.to_string());
    let dir = fresh.0.path().to_str().unwrap();
    let arguments = ["--port", &port, "--http", &http, "--root", dir];
    let ide = Script::start(
        &setting.ide,
        &python,
        "ide/dap_reload.py",
        &arguments,
        &setting.transcript,
    );
    if let Err(Missing(why)) = ide.seen() {
        skip(&why);
        return;
    }
    // p2pdbg did not start it, so it is the package that sees to this, in the process that watches and in each worker.
    let output = shop.stdout();
    let said: Vec<&String> = output
        .iter()
        .filter(|line| line.starts_with("sends at once:"))
        .collect();
    assert!(said.len() >= 2, "{output:?}");
    assert!(
        said.iter().all(|line| *line == "sends at once: True"),
        "{said:?}"
    );
}

/// A program in the fresh environment that starts its own tunnel.
fn with_its_own_tunnel(
    setting: &Setting,
    fresh: &Fresh,
    code: &Code,
    program: &str,
) -> crate::harness::Process {
    let mut command = setting.debuggee.command(fresh.python());
    command
        .args(["-c", program])
        .env("P2PDBG_CODE", code.to_string())
        .env("P2PDBG_STATE", fresh.0.path().join("state"))
        .env(
            "P2PDBG_RENDEZVOUS",
            setting.rendezvous.url().without_key().to_string(),
        );
    crate::harness::Process::start("program", command, &setting.transcript)
}

#[test]
fn a_tunnel_that_a_program_started_ends_with_it_and_the_other_side_is_told() {
    let setting = Setting::loopback();
    let Some(fresh) = python().and_then(|python| Fresh::new(&python)) else {
        return;
    };
    let (open, target) = (setting.port(), setting.port());
    let listener = setting
        .listener()
        .args(["-L", &format!("{open}:localhost:{target}")])
        .start();
    let start = "import p2pdbg; print(p2pdbg.start_tunnel())";
    let mut program = with_its_own_tunnel(&setting, &fresh, &listener.code(), start);
    program.find("the endpoint", |lines| {
        let said = format!("Endpoint(host='127.0.0.1', port={target}, mode='listen')");
        lines.contains(&said).then_some(())
    });
    assert_eq!(program.exit_status(), 0);
    listener.closed();
}

/// It leaves behind what it forked and what it started, as killed servers do; none of them keeps the tunnel. And it has
/// replaced itself before, as some reloaders do, which the tunnel outlives.
#[test]
fn a_program_that_is_killed_leaves_no_tunnel_behind() {
    let setting = Setting::loopback();
    let Some(fresh) = python().and_then(|python| Fresh::new(&python)) else {
        return;
    };
    let (open, target) = (setting.port(), setting.port());
    let server = setting.debuggee.listen(target);
    let listener = setting
        .listener()
        .args(["-L", &format!("{open}:localhost:{target}")])
        .start();
    let start = "
import os, sys, time
import p2pdbg
p2pdbg.start_tunnel()
if os.fork() == 0:
    time.sleep(600)
os.system('sleep 600 &')
again = 'import p2pdbg, time; print(p2pdbg.endpoint(), flush=True); time.sleep(600)'
os.execv(sys.executable, [sys.executable, '-c', again])
";
    let program = with_its_own_tunnel(&setting, &fresh, &listener.code(), start);
    program.line("Endpoint");
    let here = setting.ide.connect(open);
    let (there, _) = server.accept().unwrap();
    say(&here, &there, "hello");
    program.signal(Signal::KILL);
    listener.closed();
}
