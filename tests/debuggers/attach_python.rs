//! `p2pdbg attach` and programs of Python, which debugpy gets into as they run.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    attach::{accepting, accepting_with, attach, attached, port, program, seen, told},
    harness::{Pair, Process, Setting, skip},
    scenario::python,
    script::{Missing, Script, file},
};

/// An IDE that attaches at this port beside it, and sees the program stop.
#[track_caller]
fn debugged(setting: &Setting, python: &Path, port: &str) {
    let arguments = ["--port", port];
    let ide = "ide/dap_running.py";
    seen(Script::start(
        &setting.ide,
        python,
        ide,
        &arguments,
        &setting.transcript,
    ));
}

/// The port at the debuggee where the list of programs says that this one awaits its IDE.
#[track_caller]
fn listed_port(pair: &Pair, process: &Process) -> Option<u16> {
    let pid = process.id().to_string();
    let listed = attached(pair, &[]);
    let line = listed.lines().find(|line| line.trim().starts_with(&pid));
    let line = line.unwrap_or_else(|| panic!("{listed}"));
    assert!(line.contains("debugpy"), "{listed}");
    let (_, port) = line.split_once("(listens on ")?;
    Some(port.trim_end_matches(')').parse().unwrap())
}

/// programs/endless.py, started by debugpy itself.
#[track_caller]
fn by_debugpy(setting: &Setting, python: &Path, how: &str, port: u16) -> Process {
    let mut command = setting.debuggee.command(python);
    command
        .args(["-Xfrozen_modules=off", "-m", "debugpy", how])
        .arg(format!("127.0.0.1:{port}"))
        .arg(file("programs/endless.py"));
    Process::start("endless.py", command, &setting.transcript)
}

#[test]
fn debugpy_attaches_to_a_python_program_that_runs_and_its_ide_comes_twice() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let process = program(
        &setting,
        python.to_str().unwrap(),
        "programs/endless.py",
        "for-debugpy",
    );
    assert_eq!(listed_port(&pair, &process), None);
    let port = port(&attached(&pair, &[&process.id().to_string()]));
    told(&pair, &process, "debugpy");
    for _ in 0..2 {
        debugged(&setting, &python, &port);
    }
    // The same place again, for an IDE that has forgotten it.
    assert_eq!(self::port(&attached(&pair, &["for-debugpy"])), port);
    // And for another session, which has not had it attach.
    let awaits = listed_port(&pair, &process);
    assert!(awaits.is_some());
    drop(pair);
    let pair = accepting(&setting);
    assert_eq!(listed_port(&pair, &process), awaits);
    let port = self::port(&attached(&pair, &["for-debugpy"]));
    debugged(&setting, &python, &port);
}

/// To have debugpy attach once more would end the debugger that is there, and then fail.
#[test]
fn program_that_debugpy_listens_for_is_found_at_its_port_and_its_ide_stays() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let own = setting.port();
    let process = by_debugpy(&setting, &python, "--listen", own);
    process.line("running");
    assert_eq!(listed_port(&pair, &process), Some(own));
    let pid = process.id().to_string();
    let port = port(&attached(&pair, &[&pid]));
    let directory = tempfile::tempdir().unwrap();
    let until = directory.path().join("until");
    let arguments = ["--port", &port, "--stay", until.to_str().unwrap()];
    let ide = "ide/dap_running.py";
    let ide = Script::start(&setting.ide, &python, ide, &arguments, &setting.transcript);
    if let Err(Missing(why)) = ide.stopped() {
        return skip(&why);
    }
    assert_eq!(self::port(&attached(&pair, &[&pid])), port);
    std::fs::write(until, "").unwrap();
    seen(ide);
}

#[test]
fn program_whose_debugger_has_gone_to_its_ide_is_refused_and_the_two_stay_together() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let (own, at_ide) = (setting.port(), setting.port());
    let pair = accepting_with(&setting, ["-R", &format!("{own}:localhost:{at_ide}")]);
    pair.connector.forward(own);
    let ide = setting.ide.listen(at_ide);
    let process = by_debugpy(&setting, &python, "--connect", own);
    // The program does not begin before this IDE says that it may.
    let (mut debugger, _) = ide.accept().unwrap();
    let output = attach(&pair.listener.home(), &[&process.id().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("a debugger is in the program already"),
        "{said}"
    );
    debugger.set_nonblocking(true).unwrap();
    let mut read = [0; 4096];
    while let Ok(length) = debugger.read(&mut read) {
        assert_ne!(length, 0, "the debugger has left its IDE");
    }
}

/// As kernels of Jupyter do, which begin to listen when a notebook is debugged. That it has a database too, which it
/// has dialled over the loopback as a debugger dials its IDE, is no matter.
#[test]
fn debugpy_attaches_to_a_program_that_has_imported_it_and_does_not_listen() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let mut command = setting.debuggee.command(&python);
    let database = setting.port();
    let listener = setting.debuggee.listen(database);
    let source = "import sys, runpy, socket, debugpy.server.api\n\
                  database = socket.create_connection(('127.0.0.1', int(sys.argv[2])))\n\
                  runpy.run_path(sys.argv[1])";
    command
        .args(["-c", source])
        .arg(file("programs/endless.py"))
        .arg(database.to_string());
    let process = Process::start("endless.py", command, &setting.transcript);
    process.line("running");
    let _database = listener.accept().unwrap();
    attached(&pair, &[&process.id().to_string()]);
    told(&pair, &process, "debugpy");
    assert!(listed_port(&pair, &process).is_some());
}

/// As of the system's Python, after `pip install --user debugpy`.
#[test]
fn debugpy_that_a_programs_own_variables_lead_to_attaches_where_its_python_has_none_beside_it() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let pair = accepting(&setting);
    let bare = tempfile::tempdir().unwrap();
    let made = Command::new(&python)
        .args(["-m", "venv", "--without-pip", "--system-site-packages"])
        .arg(bare.path())
        .status();
    assert!(made.unwrap().success());
    let base = tempfile::tempdir().unwrap();
    let ask = |python: &Path, what: &str| {
        let mut command = Command::new(python);
        command.args(["-c", &format!("import site, sysconfig; print({what})")]);
        let output = command.env("PYTHONUSERBASE", base.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let bare = bare.path().join("bin/python");
    let user_site = PathBuf::from(ask(&bare, "site.getusersitepackages()"));
    std::fs::create_dir_all(&user_site).unwrap();
    let packages = ask(&python, "sysconfig.get_path('purelib')");
    std::fs::write(user_site.join("debuggers.pth"), packages).unwrap();
    let mut command = setting.debuggee.command("sh");
    // By a name that its own PATH alone leads to.
    command
        .args(["-c", "PATH=$1:$PATH; export PATH; exec python \"$2\"", "sh"])
        .args([bare.parent().unwrap(), &file("programs/endless.py")])
        .env("PYTHONUSERBASE", base.path());
    let process = Process::start("endless.py", command, &setting.transcript);
    process.line("running");
    let port = port(&attached(&pair, &[&process.id().to_string()]));
    debugged(&setting, &python, &port);
}
