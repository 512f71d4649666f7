//! `p2pdbg ide`: what it writes leads a real IDE's end to a hit breakpoint, in a project whose directory is another one
//! than the debuggee's.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    harness::{Home, Setting, skip},
    scenario::python,
    script::{self, Missing, Script},
};

/// A project with its own copy of the programs.
fn project() -> Home {
    let home = Home::new();
    for entry in fs::read_dir(script::file("programs")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, home.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    home
}

#[test]
fn the_configuration_for_vs_code_leads_to_a_hit_breakpoint() {
    let Some(python) = python() else { return };
    let setting = Setting::loopback();
    let project = project();
    let (open, target) = (setting.port(), setting.port());
    let listener = setting
        .listener()
        .in_directory(project.path())
        .args(["-L", &format!("{open}:localhost:{target}")])
        .start();
    let connector = setting
        .connector_with(&listener.code())
        .in_directory(&script::file("programs"))
        .args(["--no-sources"])
        .start();
    listener.event("facts", |event| {
        matches!(event, p2pdbg_events::Event::Facts(_)).then_some(())
    });
    let written = Command::new(env!("CARGO_BIN_EXE_p2pdbg"))
        .args(["ide", "vscode", "--write", "--state"])
        .arg(listener.home().state())
        .current_dir(project.path())
        .output()
        .unwrap();
    assert!(written.status.success(), "{written:?}");
    let launch = fs::read_to_string(project.path().join(".vscode/launch.json")).unwrap();
    let launch: Value = serde_json::from_str(&launch).unwrap();
    let configuration = &launch["configurations"][0];
    let mapping = &configuration["pathMappings"][0];
    // The debuggee's directory lies in a work tree, and the project does not: the directories are taken for each other.
    let remote = mapping["remoteRoot"].as_str().unwrap();
    assert_eq!(
        Path::new(remote),
        script::file("programs").canonicalize().unwrap()
    );
    let local = mapping["localRoot"].as_str().unwrap();
    let local = local.replace("${workspaceFolder}", project.path().to_str().unwrap());
    let port = configuration["connect"]["port"].to_string();

    let start = |place, script: &str, arguments: &[&str]| {
        Script::start(place, &python, script, arguments, &setting.transcript)
    };
    let target = target.to_string();
    let debuggee = start(
        &setting.debuggee,
        "debuggee/debugpy_listen.py",
        &["--port", &target],
    );
    let attach = [
        "--port",
        &port,
        "--local-root",
        &local,
        "--remote-root",
        remote,
    ];
    let seen = debuggee
        .port()
        .and_then(|_| start(&setting.ide, "ide/dap_attach.py", &attach).seen())
        .and_then(|seen| debuggee.seen().map(|_| seen));
    if let Err(Missing(why)) = seen {
        skip(&why);
    }
    drop(connector);
}
