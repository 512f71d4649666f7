//! `connect --accept-attach` on a terminal: whoever sits there is asked for each program.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    process::Command,
};

use crate::{
    attach::{attach, program},
    harness::{Home, Process, Setting, skip},
    scenario::python,
};

/// `p2pdbg connect --accept-attach` on a terminal of its own, which shows what is written to the returned pipe.
fn connector(setting: &Setting, home: &Home, code: &str) -> Option<(Process, File)> {
    let keys = home.path().join("keys");
    let made = Command::new("mkfifo").arg(&keys).status();
    let script = Command::new("script").arg("--version").output();
    if !made.is_ok_and(|status| status.success()) || script.is_err() {
        skip("there is no script(1)");
        return None;
    }
    let line = format!("{} connect --accept-attach", env!("CARGO_BIN_EXE_p2pdbg"));
    let mut command = setting.debuggee.command("sh");
    home.settle(&mut command);
    command
        .env(
            "P2PDBG_RENDEZVOUS",
            setting.rendezvous.url().without_key().to_string(),
        )
        .env("P2PDBG_CODE", code)
        .env("TERM", "xterm")
        .args(["-c", r#"exec script -qec "$0" /dev/null < "$1""#, &line])
        .arg(&keys)
        .current_dir(home.path());
    // Open at both ends, so that neither waits for the other.
    let typed = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&keys)
        .unwrap();
    let process = Process::start("connect", command, &setting.transcript);
    Some((process, typed))
}

/// Has gdbserver attach while somebody at the debuggee answers the question; what `p2pdbg attach` printed, and whether
/// it succeeded.
#[track_caller]
fn asked(
    listener_home: &Home,
    (connector, typed): (&Process, &mut File),
    pid: &str,
    (seen, answer): (usize, &str),
) -> (String, bool) {
    let question = format!("wants gdbserver to attach to process {pid} (");
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| attach(listener_home, &[pid, "--with", "gdbserver"]));
        connector.find("question", |lines| {
            let questions = lines.iter().filter(|line| line.contains(&question));
            (questions.count() > seen).then_some(())
        });
        typed.write_all(answer.as_bytes()).unwrap();
        let output = asking.join().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8(said).unwrap(), output.status.success())
    })
}

#[test]
fn user_at_the_debuggees_terminal_is_asked_and_a_no_is_heard_beside_the_ide() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let unused = format!("{}:localhost:{}", setting.port(), setting.port());
    let listener = setting.listener().args(["-L", &unused]).start();
    let home = Home::new();
    let code = listener.code().to_string();
    let Some((connector, mut typed)) = connector(&setting, &home, &code) else {
        return;
    };
    listener.paired();
    let python = Path::new(&python).to_str().unwrap();
    let process = program(&setting, python, "programs/endless.py", "for-consent");
    let pid = process.id().to_string();
    let ends = (&connector, &mut typed);
    let (said, attached) = asked(&listener.home(), ends, &pid, (0, "no\n"));
    assert!(!attached && said.contains("has not agreed"), "{said}");
    let ends = (&connector, &mut typed);
    let (said, attached) = asked(&listener.home(), ends, &pid, (1, "y\n"));
    assert!(attached && said.contains("let the IDE attach"), "{said}");
}
