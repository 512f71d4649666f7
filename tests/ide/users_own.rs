//! What of an entry of ours is the user's, and stays so when it is written again.

use p2pdbg::recent_sessions::RecentSession;
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::{Forward, Preset};
use serde_json::{Value, json};

use crate::configurations::User;

const TASKS: &str = ".vscode/tasks.json";
const LAUNCH: &str = ".vscode/launch.json";

/// Has a session kept that was started with these options, to a deployment behind a link.
fn session(user: &User, options: &[&str], release: &str) {
    let here = HostFacts::of_directory(Some(&user.project));
    let forward = Forward::of_preset(Preset::Debugpy, 5678);
    let mut session = RecentSession::begin(here, &[forward]);
    session.ended = true;
    session.set_peer(&"web-1".parse().unwrap());
    let project = user.project.display().to_string();
    let options = options
        .iter()
        .map(|option| option.replace("PROJECT", &project));
    session.options = options.collect();
    session.there = Some(HostFacts {
        directory: Some("/srv/current".parse().unwrap()),
        root: Some("/srv/current".parse().unwrap()),
        root_resolved: Some(release.parse().unwrap()),
        ..HostFacts::default()
    });
    user.keep(&[session]);
}

/// Puts words into the task behind those that stand there.
fn add_words(user: &User, words: &[&str]) {
    let peer = "\"web-1\"";
    let words = words.iter().map(|word| format!(", {word:?}"));
    let text = user.file(TASKS);
    let own = text.replacen(peer, &format!("{peer}{}", words.collect::<String>()), 1);
    assert_ne!(own, text);
    user.put(TASKS, &own);
}

fn words(user: &User) -> Value {
    let tasks: Value = serde_json::from_str(&user.file(TASKS)).unwrap();
    tasks["tasks"][0]["args"].clone()
}

#[test]
fn option_that_may_be_given_once_is_not_put_beside_the_users_own() {
    for (own, options, is_told) in [
        (&["--sources", "backend"][..], "--sources=PROJECT/web", true),
        (&["--sources=backend"], "--sources=PROJECT/backend", false),
        (
            &["--sources", "./backend/"],
            "--sources=PROJECT/backend",
            false,
        ),
        (&["--sources", "backend"], "--no-sources", true),
        (&["--no-sources"], "--sources=PROJECT/web", true),
        (&["--name=laptop"], "--name=laptop", false),
        (&["--name", "desk"], "--name=laptop", true),
    ] {
        let user = User::with_session(&[Preset::Debugpy], "/srv/app");
        user.write("vscode");
        add_words(&user, own);
        session(&user, &[options], "/srv/releases/5");
        let said = user.write("vscode");
        let mut expected = vec!["listen", "debugpy", "--peer", "web-1"];
        expected.extend(own);
        assert_eq!(words(&user), json!(expected), "{options}");
        let told = format!("{} stands there", own.join(" "));
        assert_eq!(said.contains(&told), is_told, "{own:?} {options}: {said}");
        assert!(user.write("vscode").contains("nothing to change"));
        // It is the user's also when the session has it no more.
        session(&user, &[], "/srv/releases/5");
        user.write("vscode");
        assert_eq!(words(&user), json!(expected), "{options}");
    }
}

#[test]
fn element_that_the_user_had_written_already_is_not_taken_out() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/current");
    user.write("vscode");
    add_words(&user, &["--no-inspect"]);
    let list = "\"pathMappings\": [";
    let element = "{ \"localRoot\": \"${workspaceFolder}\", \"remoteRoot\": \"/srv/releases/5\" }";
    let text = user.file(LAUNCH);
    let own = text.replace(list, &format!("{list}\n{element},"));
    assert_ne!(own, text);
    user.put(LAUNCH, &own);
    for (options, release) in [(&["--no-inspect"][..], "5"), (&[], "6")] {
        session(&user, options, &format!("/srv/releases/{release}"));
        user.write("vscode");
        assert!(user.file(LAUNCH).contains(element), "{}", user.file(LAUNCH));
        let expected = json!(["listen", "debugpy", "--peer", "web-1", "--no-inspect"]);
        assert_eq!(words(&user), expected);
    }
}

#[test]
fn what_is_not_put_back_into_an_older_file_is_told() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.write("vscode");
    let older = user.file(LAUNCH);
    session(&user, &[], "/srv/next");
    user.write("vscode");
    assert!(user.file(LAUNCH).contains("/srv/next"));
    user.put(LAUNCH, &older);
    let said = user.write("vscode");
    assert!(
        said.contains("/srv/next") && said.contains("was taken out or changed there"),
        "{said}"
    );
    assert!(said.contains("p2pdbg debugpy"), "{said}");
}

#[test]
fn task_before_a_start_and_matcher_of_another_kind_stay_the_users() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.write("vscode");
    let before = "\"preLaunchTask\": \"p2pdbg tunnel\"";
    let launch = user.file(LAUNCH);
    let own = launch.replace(before, "\"preLaunchTask\": \"build and tunnel\"");
    assert_ne!(own, launch);
    user.put(LAUNCH, &own);
    let mut tasks: Value = serde_json::from_str(&user.file(TASKS)).unwrap();
    tasks["tasks"][0]["problemMatcher"] = json!(["$mine"]);
    let tasks = serde_json::to_string_pretty(&tasks).unwrap();
    user.put(TASKS, &tasks);
    user.write("vscode");
    assert_eq!(user.file(LAUNCH), own);
    assert_eq!(user.file(TASKS), tasks);
}

#[test]
fn port_of_a_debug_adapter_follows_behind_the_host_that_the_user_has_written() {
    const FILE: &str = ".idea/runConfigurations/p2pdbg_debugpy.xml";
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.write("pycharm");
    let own = user.file(FILE).replace("127.0.0.1:5678", "localhost:1");
    user.put(FILE, &own);
    user.write("pycharm");
    assert_eq!(
        user.file(FILE),
        own.replace("localhost:1", "localhost:5678")
    );
}

#[test]
fn list_of_mappings_has_the_line_ends_of_its_file() {
    const FILE: &str = ".idea/runConfigurations/p2pdbg_pydevd.xml";
    let user = User::with_session(&[Preset::Pydevd], "/srv/app");
    user.write("pycharm");
    let whole = user.file(FILE).replace('\n', "\r\n");
    let (before, rest) = whole.split_once("<list>").unwrap();
    let (_, after) = rest.split_once("</list>").unwrap();
    user.put(FILE, &format!("{before}<list />{after}"));
    user.write("pycharm");
    assert_eq!(user.file(FILE), whole);
}

/// One that is found by a shell's own `PATH`, or has words of its own before `listen`.
#[test]
fn task_that_the_user_has_a_shell_run_stays_one() {
    for (command, is_line) in [
        ("exec p2pdbg", false),
        (". ~/.env && p2pdbg listen debugpy", true),
    ] {
        let user = User::with_session(&[Preset::Debugpy], "/srv/app");
        user.write("vscode");
        let mut tasks: Value = serde_json::from_str(&user.file(TASKS)).unwrap();
        let task = tasks["tasks"][0].as_object_mut().unwrap();
        task["type"] = json!("shell");
        task["command"] = json!(command);
        if is_line {
            task.remove("args");
        }
        user.put(TASKS, &serde_json::to_string_pretty(&tasks).unwrap());
        session(&user, &["--no-inspect"], "/srv/releases/5");
        user.write("vscode");
        let tasks: Value = serde_json::from_str(&user.file(TASKS)).unwrap();
        let task = &tasks["tasks"][0];
        assert_eq!(
            (&task["type"], &task["command"]),
            (&json!("shell"), &json!(command))
        );
        let expected = match is_line {
            true => Value::Null,
            false => json!(["listen", "debugpy", "--peer", "web-1", "--no-inspect"]),
        };
        assert_eq!(task["args"], expected, "{command}");
    }
}
