//! What is written for VS Code, held against the schemas of VS Code itself (see vscode.mjs).

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{
    configurations::{EVERYTHING_OF_VSCODE, User},
    harness::skip,
};

/// Where `scripts/install-test-tools` has put what comes from npm.
fn node_modules() -> Option<PathBuf> {
    let environment = std::env::var_os("P2PDBG_TEST_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"),
        PathBuf::from,
    );
    let modules = environment.join("node/node_modules");
    let there = modules.join("@codingame/monaco-vscode-api").is_dir();
    if !there {
        skip("the schemas of VS Code are not installed; scripts/install-test-tools does it");
    }
    there.then(|| fs::canonicalize(modules).unwrap())
}

fn check(modules: &Path, launch: &Path, tasks: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ide/vscode.mjs");
    Command::new("node")
        .arg(script)
        .args([modules, launch, tasks])
        .output()
        .unwrap()
}

#[test]
fn what_is_written_for_vs_code_conforms_to_its_own_schemas() {
    let Some(modules) = node_modules() else {
        return;
    };
    let user = User::with_session(&EVERYTHING_OF_VSCODE, "/srv/app");
    user.write("vscode");
    let launch = user.project.join(".vscode/launch.json");
    let tasks = user.project.join(".vscode/tasks.json");
    let checked = check(&modules, &launch, &tasks);
    assert!(checked.status.success(), "{checked:?}");

    // And these schemas are no friends of everything.
    for (good, file, from, to) in [
        (
            &launch,
            "launch.json",
            "\"version\": \"0.2.0\"",
            "\"version\": 2",
        ),
        (
            &tasks,
            "tasks.json",
            "\"isBackground\": true",
            "\"isBackground\": 1",
        ),
        (
            &tasks,
            "tasks.json",
            "\"beginsPattern\": \"",
            "\"beginsPattern\": [], \"x\": \"",
        ),
    ] {
        let text = fs::read_to_string(good).unwrap();
        assert!(text.contains(from), "{text}");
        let bad = user.project.join(file);
        fs::write(&bad, text.replace(from, to)).unwrap();
        let (launch, tasks) = match file {
            "launch.json" => (&bad, &tasks),
            _ => (&launch, &bad),
        };
        let checked = check(&modules, launch, tasks);
        assert_eq!(checked.status.code(), Some(1), "{checked:?}");
        let said = String::from_utf8(checked.stdout).unwrap();
        assert!(said.contains(file), "{said}");
    }
}
