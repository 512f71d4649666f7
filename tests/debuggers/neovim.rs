//! The plugin of `editors/nvim` in a real neovim: its reading of events, and a tunnel that it starts through two NATs
//! to a breakpoint in debugpy. What stands in for nvim-dap is in `editors/nvim/test/run.lua`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use p2pdbg_events::PathKind;
use serde_json::Value;

use crate::{
    harness::{Home, Place, Process, Setting, Transcript, skip},
    lab::{setting, two_nats},
    scenario::python,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The neovim of the test environment: the one of a distribution may be too old for the plugin.
fn nvim() -> Option<PathBuf> {
    let nvim = python()?.with_file_name("nvim");
    if !nvim.is_file() {
        skip("neovim 0.11 is not installed; run scripts/install-test-tools");
        return None;
    }
    Some(nvim)
}

fn start(
    nvim: &Path,
    place: &Place,
    home: &Home,
    more: &[(&str, String)],
    project: Option<&Path>,
    transcript: &Transcript,
) -> Process {
    let mut command = place.command(nvim);
    home.settle(&mut command);
    command
        .args(["--clean", "--headless", "-l"])
        .arg(root().join("editors/nvim/test/run.lua"))
        .args(project)
        .envs(more.iter().cloned());
    Process::start("nvim", command, transcript)
}

/// Waits for what the script says of an event.
#[track_caller]
fn event(nvim: &Process, wanted: &str) -> Value {
    nvim.find(wanted, |lines| {
        let events = lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.into_iter().find(|event| event["event"] == wanted)
    })
}

#[test]
fn the_plugin_for_neovim_reads_events() {
    let Some(nvim) = nvim() else { return };
    let transcript = Transcript::new();
    let mut nvim = start(&nvim, &Place::Here, &Home::new(), &[], None, &transcript);
    assert_eq!(nvim.exit_status(), 0, "{}", transcript.text());
    let passed = nvim
        .stdout()
        .iter()
        .filter(|line| line.contains("\"ok\":true"))
        .count();
    assert_eq!(passed, 11, "{}", transcript.text());
}

#[test]
fn the_plugin_for_neovim_leads_to_a_breakpoint_twice_with_one_code() {
    let (Some(nvim), Some(python)) = (nvim(), python()) else {
        return;
    };
    let Some(lab) = two_nats("nvim") else { return };
    let setting = setting(&lab);
    let (project, directory, home) = (Home::new(), Home::new(), Home::new());
    for place in [&project, &directory] {
        fs::copy(
            root().join("tests/vscode/project/app.py"),
            place.path().join("app.py"),
        )
        .unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_p2pdbg")).parent().unwrap();
    let path = format!("{}:{}", program.display(), env::var("PATH").unwrap());
    let more = [
        ("PATH", path),
        ("P2PDBG_STATE", home.state().display().to_string()),
        ("P2PDBG_RENDEZVOUS", setting.rendezvous.url().to_string()),
    ];
    let mut nvim = start(
        &nvim,
        &setting.ide,
        &home,
        &more,
        Some(project.path()),
        &setting.transcript,
    );
    let shown = event(&nvim, "code");
    let code = shown["command"]
        .as_str()
        .unwrap()
        .split(' ')
        .nth(2)
        .unwrap();
    let connector = setting
        .connector_with(&code.parse().unwrap())
        .in_directory(directory.path())
        .start();
    let _debuggee = debuggee(&setting, &python, directory.path());
    let paused = event(&nvim, "paused");
    assert_eq!(paused["line"], 6);
    // The debuggee's file, by the path that the project has here.
    let here = project.path().join("app.py").canonicalize().unwrap();
    assert_eq!(
        Path::new(paused["path"].as_str().unwrap())
            .canonicalize()
            .unwrap(),
        here
    );
    connector.path(PathKind::Direct);
    event(&nvim, "attached_again");
    event(&nvim, "done");
    connector.closed();
    assert_eq!(nvim.exit_status(), 0);
}

fn debuggee(setting: &Setting, python: &Path, directory: &Path) -> Process {
    let mut command = setting.debuggee.command(python);
    command
        .args([
            "-m",
            "debugpy",
            "--listen",
            "127.0.0.1:5678",
            "--wait-for-client",
            "app.py",
        ])
        .current_dir(directory);
    Process::start("program", command, &setting.transcript)
}
