//! `p2pdbg ide`: what it prints and what it does to the files of a project.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use p2pdbg::recent_sessions::RecentSession;
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::{Direction, Forward, Preset};
use p2pdbg_identity::StateDir;
use regex::Regex;
use serde_json::{Value, json};

use crate::{
    harness::{Home, Setting, eventually},
    schema::conforms,
};

/// A user with a project and a session that has ended.
pub(crate) struct User {
    home: Home,
    pub(crate) project: PathBuf,
}

impl User {
    pub(crate) fn with_session(forwards: &[Preset], remote: &str) -> Self {
        let home = Home::new();
        let project = home.path().canonicalize().unwrap().join("project");
        fs::create_dir(&project).unwrap();
        let forwards: Vec<_> = forwards
            .iter()
            .map(|preset| Forward::of_preset(*preset, preset.default_port()))
            .collect();
        let mut session = RecentSession::begin(HostFacts::of_directory(Some(&project)), &forwards);
        session.ended = true;
        session.set_peer(&"web-1".parse().unwrap());
        session.there = Some(HostFacts {
            directory: Some(remote.parse().unwrap()),
            ..HostFacts::default()
        });
        let user = Self { home, project };
        user.keep(&[session]);
        user
    }

    /// Has these sessions kept.
    pub(crate) fn keep(&self, sessions: &[RecentSession]) {
        let state = StateDir::open(Some(&self.home.state()), "p2pdbg").unwrap();
        p2pdbg::recent_sessions::write(sessions.iter(), &state).unwrap();
    }

    /// With a session of a `p2pdbg listen` that has two peers, `web` and `db`, on ports of their own.
    fn with_two_peers(preset: Preset) -> Self {
        let user = Self::with_session(&[Preset::Debugpy], "/srv/app");
        let here = HostFacts::of_directory(Some(&user.project));
        let sessions = ["web", "db"].iter().zip(0..).map(|(peer, place)| {
            let mut forward = Forward::of_preset(preset, preset.default_port());
            if forward.direction == Direction::ToDebuggee {
                forward.bind.port += place;
            }
            let mut session = RecentSession::begin(here.clone(), &[forward]);
            session.place = place.into();
            session.set_peer(&peer.parse().unwrap());
            session.there = Some(HostFacts {
                directory: Some(format!("/srv/{peer}").parse().unwrap()),
                ..HostFacts::default()
            });
            session
        });
        user.keep(&sessions.collect::<Vec<_>>());
        user
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
        self.home.settle(&mut command);
        command
            .env("P2PDBG_STATE", self.home.state())
            .current_dir(&self.project)
            .arg("ide")
            .args(arguments)
            .output()
            .unwrap()
    }

    #[track_caller]
    pub(crate) fn write(&self, ide: &str) -> String {
        let output = self.run(&[ide, "--write"]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn file(&self, path: &str) -> String {
        fs::read_to_string(self.project.join(path)).unwrap()
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.file(path)).unwrap()
    }

    pub(crate) fn put(&self, path: &str, text: &str) {
        let path = self.project.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

pub(crate) const EVERYTHING_OF_VSCODE: [Preset; 10] = [
    Preset::Debugpy,
    Preset::DebugpyConnect,
    Preset::Ptvsd,
    Preset::Gdbserver,
    Preset::Lldb,
    Preset::Delve,
    Preset::Jdwp,
    Preset::Node,
    Preset::Rdbg,
    Preset::Xdebug,
];

#[test]
fn what_is_written_for_vs_code_conforms_to_the_schemas() {
    let user = User::with_session(&EVERYTHING_OF_VSCODE, "/srv/app");
    user.write("vscode");
    let launch = user.json(".vscode/launch.json");
    conforms(&launch, include_str!("schemas/launch.json"));
    conforms(
        &user.json(".vscode/tasks.json"),
        include_str!("schemas/tasks.json"),
    );
    // Each once for a tunnel that runs, and once with the task that starts it.
    let configurations = launch["configurations"].as_array().unwrap();
    assert_eq!(configurations.len(), 2 * EVERYTHING_OF_VSCODE.len());
    assert_eq!(
        configurations[0]["pathMappings"][0]["remoteRoot"],
        "/srv/app"
    );
    assert_eq!(configurations[1]["preLaunchTask"], "p2pdbg tunnel");
    let text = user.file(".vscode/launch.json");
    assert!(user.write("vscode").contains("nothing to change"));
    assert_eq!(user.file(".vscode/launch.json"), text);
}

#[test]
fn file_in_another_encoding_is_left_alone_and_told() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.put(".vscode/launch.json", "");
    let path = user.project.join(".vscode/launch.json");
    let utf16: Vec<u8> = "\u{feff}{}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(&path, &utf16).unwrap();
    let output = user.run(&["vscode", "--write"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("it is not UTF-8") && said.contains("save it as UTF-8"),
        "{said}"
    );
    assert_eq!(fs::read(&path).unwrap(), utf16);
    assert!(!user.project.join(".vscode/tasks.json").exists());
}

#[test]
fn two_peers_have_a_configuration_each_and_vs_code_one_that_starts_both() {
    let user = User::with_two_peers(Preset::Debugpy);
    user.write("vscode");
    let launch = user.json(".vscode/launch.json");
    conforms(&launch, include_str!("schemas/launch.json"));
    let port = |name: &str| {
        let configurations = launch["configurations"].as_array().unwrap();
        let one = configurations.iter().find(|one| one["name"] == name);
        let one = one.unwrap_or_else(|| panic!("no {name}: {launch}"));
        let remote = one["pathMappings"][0]["remoteRoot"].as_str().unwrap();
        (one["connect"]["port"].as_u64().unwrap(), remote.to_owned())
    };
    assert_eq!(port("p2pdbg debugpy web"), (5678, "/srv/web".to_owned()));
    assert_eq!(port("p2pdbg debugpy db"), (5679, "/srv/db".to_owned()));
    let all = &launch["compounds"][0];
    assert_eq!(all["name"], "p2pdbg all");
    assert_eq!(
        all["configurations"],
        json!(["p2pdbg debugpy web", "p2pdbg debugpy db"])
    );
    assert_eq!(launch["compounds"][1]["preLaunchTask"], "p2pdbg tunnel");
    assert_eq!(
        user.json(".vscode/tasks.json")["tasks"][0]["args"],
        json!(["listen", "debugpy", "--peer", "web", "--peer", "db"])
    );
    assert!(user.write("vscode").contains("nothing to change"));
    // One of them by its name, as when it were alone.
    let output = user.run(&["vscode", "--peer", "db"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\"p2pdbg debugpy\"") && !text.contains("compounds"));
    for (ide, file) in [("zed", ".zed/debug.json"), ("nvim", ".p2pdbg/dap.lua")] {
        user.write(ide);
        let text = user.file(file);
        for of_one in ["p2pdbg debugpy web", "p2pdbg debugpy db", "5679"] {
            assert!(text.contains(of_one), "{ide}: {text}");
        }
        assert!(user.write(ide).contains("nothing to change"));
    }
}

#[test]
fn a_debug_server_to_which_all_peers_come_is_configured_once() {
    let user = User::with_two_peers(Preset::Pydevd);
    user.write("pycharm");
    let directory = user.project.join(".idea/runConfigurations");
    let files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(files, ["p2pdbg_pydevd.xml"]);
}

#[test]
fn nothing_is_written_without_being_asked() {
    let user = User::with_session(&[Preset::Debugpy, Preset::Pydevd], "/srv/app");
    for ide in ["vscode", "pycharm", "nvim", "zed"] {
        let output = user.run(&[ide]);
        assert!(output.status.success(), "{output:?}");
        assert!(
            String::from_utf8(output.stdout)
                .unwrap()
                .contains("/srv/app"),
            "{ide}"
        );
    }
    assert_eq!(fs::read_dir(&user.project).unwrap().count(), 0);
}

#[test]
fn a_launch_json_that_does_not_parse_is_left_alone_and_so_is_everything_else() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    let broken = "{\n  // mine\n  \"configurations\": [\n    { \"name\": }\n  ]\n}\n";
    user.put(".vscode/launch.json", broken);
    let output = user.run(&["vscode", "--write"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("launch.json") && text.contains("line 4"),
        "{text}"
    );
    assert_eq!(user.file(".vscode/launch.json"), broken);
    assert!(!user.project.join(".vscode/tasks.json").exists());
}

#[test]
fn without_a_session_it_says_what_to_do_first() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    let output = user.run(&["vscode", "--peer", "db-1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("p2pdbg listen"), "{text}");
}

#[test]
fn of_two_sessions_that_run_the_one_of_the_project_is_taken_and_elsewhere_none() {
    let setting = Setting::loopback();
    let home = Home::new();
    // Each as its user calls it, behind a link.
    let projects = match cfg!(unix) {
        true => home.path().join("projects"),
        false => home.path().canonicalize().unwrap(),
    };
    #[cfg(unix)]
    {
        fs::create_dir(home.path().join("disk")).unwrap();
        std::os::unix::fs::symlink("disk", &projects).unwrap();
    }
    let project = |name: &str| {
        let project = projects.join(name);
        fs::create_dir_all(project.join(".git")).unwrap();
        fs::write(project.join(".git/HEAD"), "").unwrap();
        project
    };
    let [one, other, neither] = ["one", "other", "neither"].map(project);
    let ports = [setting.port(), setting.port()];
    let listening = [&one, &other].map(|project| {
        let port = ports[usize::from(project == &other)];
        let listener = setting
            .listener()
            .home(home.clone())
            .in_directory(project)
            .env("PWD", project.to_str().unwrap())
            .args([format!("debugpy:{port}")])
            .start();
        listener.code();
        listener
    });
    let write = |project: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
        home.settle(&mut command);
        command
            .env("P2PDBG_STATE", home.state())
            .current_dir(project)
            .args(["ide", "vscode", "--write"])
            .output()
            .unwrap()
    };
    for (project, port) in [(&one, ports[0]), (&other, ports[1])] {
        let written = write(project);
        assert!(written.status.success(), "{written:?}");
        let launch = fs::read_to_string(project.join(".vscode/launch.json")).unwrap();
        let launch: Value = serde_json::from_str(&launch).unwrap();
        assert_eq!(launch["configurations"][0]["connect"]["port"], port);
    }
    let refused = write(&neither);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    for part in [
        "several sessions run",
        "--peer NAME",
        &ports[0].to_string(),
        &ports[1].to_string(),
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!neither.join(".vscode").exists());
    drop(listening);
}

/// The mapping in the XML of a PyCharm configuration, and its port.
fn pycharm(text: &str) -> (String, String) {
    let after = |anchor: &str| {
        let (_, rest) = text
            .split_once(anchor)
            .unwrap_or_else(|| panic!("{anchor}: {text}"));
        rest.split_once('"').unwrap().0.to_owned()
    };
    (after("remote-root=\""), after("name=\"PORT\" value=\""))
}

#[test]
fn pycharm_gets_a_file_of_its_own_and_changes_made_in_its_dialogue_stay() {
    let user = User::with_session(&[Preset::Pydevd], "/srv/a&b");
    user.put(".idea/workspace.xml", "<project/>");
    user.write("pycharm");
    let path = ".idea/runConfigurations/p2pdbg_pydevd.xml";
    let text = user.file(path);
    assert!(
        text.contains(
            "type=\"PyRemoteDebugConfigurationType\" factoryName=\"Python Remote Debug\""
        )
    );
    assert_eq!(
        pycharm(&text),
        ("/srv/a&#38;b".to_owned(), "5678".to_owned())
    );
    let own = text
        .replace(
            "SUSPEND_AFTER_CONNECT\" value=\"true",
            "SUSPEND_AFTER_CONNECT\" value=\"false",
        )
        .replace("/srv/a&#38;b", "/old")
        .replace("5678", "1");
    user.put(path, &own);
    user.write("pycharm");
    assert_eq!(
        user.file(path),
        own.replace("/old", "/srv/a&#38;b")
            .replace("value=\"1\"", "value=\"5678\"")
    );
    assert_eq!(user.file(".idea/workspace.xml"), "<project/>");
}

#[test]
fn the_jetbrains_ides_for_go_and_java_get_theirs() {
    let user = User::with_session(&[Preset::Delve, Preset::JdwpListen], "/srv/app");
    user.write("goland");
    let go = user.file(".idea/runConfigurations/p2pdbg_delve.xml");
    assert!(go.contains(
        "type=\"GoRemoteDebugConfigurationType\" factoryName=\"Go Remote\" port=\"2345\""
    ));
    // Once it was put into a folder, in which the IDE shows it.
    let path = ".idea/runConfigurations/p2pdbg_delve.xml";
    let remote = "factoryName=\"Go Remote\"";
    let own = go.replace(remote, &format!("{remote} folderName=\"remote\""));
    user.put(path, &own.replace("2345", "1"));
    user.write("goland");
    assert_eq!(user.file(path), own);
    user.write("idea");
    let java = user.file(".idea/runConfigurations/p2pdbg_jdwp-listen.xml");
    assert!(
        java.contains("type=\"Remote\"") && java.contains("name=\"SERVER_MODE\" value=\"true\"")
    );
    assert!(java.contains("name=\"PORT\" value=\"5005\""));
}

#[test]
fn zeds_other_configurations_stay() {
    let user = User::with_session(&[Preset::Debugpy, Preset::Delve], "/srv/app");
    user.put(
        ".zed/debug.json",
        "[\n  // mine\n  { \"label\": \"app\", \"adapter\": \"Debugpy\" }\n]\n",
    );
    user.write("zed");
    let text = user.file(".zed/debug.json");
    assert!(
        text.starts_with("[\n  // mine\n  { \"label\": \"app\", \"adapter\": \"Debugpy\" },\n"),
        "{text}"
    );
    assert_eq!(text.matches("\"label\"").count(), 3);
}

/// F5: VS Code runs the task, and goes on when a line matches `endsPattern`.
#[test]
fn the_task_of_vs_code_sees_the_ready_line_that_listen_prints() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.write("vscode");
    let task = &user.json(".vscode/tasks.json")["tasks"][0];
    let matcher = &task["problemMatcher"];
    let pattern = |value: &Value| Regex::new(value.as_str().unwrap()).unwrap();
    let begins = pattern(&matcher["background"]["beginsPattern"]);
    let ready = pattern(&matcher["background"]["endsPattern"]);
    let problem = pattern(&matcher["pattern"]["regexp"]);
    assert_eq!(task["command"], "p2pdbg");
    assert_eq!(
        task["args"],
        serde_json::json!(["listen", "debugpy", "--peer", "web-1"])
    );

    let setting = Setting::loopback();
    let port = setting.port();
    let (mut listener, _home) = setting
        .listener()
        .env("TERM", "dumb")
        .args([format!("debugpy:{port}")])
        .start_for_people();
    let seen = |pattern: &Regex| {
        let lines = [listener.stderr(), listener.stdout()].concat();
        lines.iter().any(|line| pattern.is_match(line))
    };
    eventually("beginning", || seen(&begins).then_some(()));
    let code = listener.line("-").trim().parse().unwrap();
    assert!(!seen(&ready), "nothing stands before the peer is there");
    let connector = setting.connector_with(&code).start();
    eventually("ready line", || seen(&ready).then_some(()));
    assert!(!seen(&problem));
    drop(connector);
    listener.kill();
    // What ends it is seen too.
    let blocked = setting.ide.listen(setting.port());
    let port = blocked.local_addr().unwrap().port();
    let (mut listener, _home) = setting
        .listener()
        .args([format!("debugpy:{port}")])
        .start_for_people();
    assert_eq!(listener.exit_status(), 1);
    assert!(listener.stderr().iter().any(|line| problem.is_match(line)));
}

/// The whole way: both ends run, and the mapping leads from the one checkout to the other.
#[test]
fn the_path_mapping_comes_from_what_the_other_end_says() {
    let setting = Setting::loopback();
    let (here, there) = (checkout(), checkout());
    let port = setting.port();
    let listener = setting
        .listener()
        .in_directory(here.path())
        .args([format!("debugpy:{port}")])
        .start();
    let connector = setting
        .connector_with(&listener.code())
        .in_directory(there.path())
        .start();
    listener.event("facts", |event| {
        matches!(event, p2pdbg_events::Event::Facts(_)).then_some(())
    });
    let mut command = Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
    listener.home().settle(&mut command);
    let output = command
        .args(["ide", "vscode", "--write", "--dir"])
        .arg(here.path().join("web"))
        .arg("--state")
        .arg(listener.home().state())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let launch = fs::read_to_string(here.path().join("web/.vscode/launch.json")).unwrap();
    let launch: Value = serde_json::from_str(&launch).unwrap();
    let configuration = &launch["configurations"][0];
    assert_eq!(configuration["connect"]["port"], port);
    let remote = there.path().canonicalize().unwrap().join("web");
    assert_eq!(
        configuration["pathMappings"][0]["remoteRoot"]
            .as_str()
            .map(Path::new),
        Some(remote.as_path())
    );
    drop(connector);
}

fn checkout() -> Home {
    let home = Home::new();
    fs::create_dir_all(home.path().join(".git")).unwrap();
    fs::create_dir_all(home.path().join("web")).unwrap();
    fs::write(home.path().join(".git/HEAD"), "").unwrap();
    home
}

/// A directory at the debuggee whose name is a variable, a command or a macro of an IDE is not taken for a path of it.
#[test]
fn a_directory_that_an_ide_would_expand_gives_no_mapping_and_a_note() {
    let all = [
        Preset::Debugpy,
        Preset::Delve,
        Preset::Node,
        Preset::Lldb,
        Preset::Pydevd,
    ];
    for (ide, remote) in [
        ("vscode", "/srv/${env:HOME}"),
        ("vscode", "/srv/${command:workbench.action.quit}/app"),
        ("nvim", "/srv/${env:HOME}"),
        ("zed", "/srv/$ZED_WORKTREE_ROOT"),
        ("zed", "/srv/${env:HOME}"),
        ("pycharm", "/srv/$USER_HOME$"),
    ] {
        let user = User::with_session(&all, remote);
        let said = user.write(ide);
        assert!(said.contains("no path mapping"), "{ide}: {said}");
        let files = walkdir(&user.project);
        assert!(!files.is_empty(), "{ide}");
        for (path, text) in files {
            assert!(!text.contains("/srv"), "{ide}: {path:?}: {text}");
        }
    }
    let user = User::with_session(&[Preset::Rdbg], "/srv/a:b");
    assert!(user.write("vscode").contains("no path mapping"));
    assert!(!user.file(".vscode/launch.json").contains("/srv"));
}

fn walkdir(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files.extend(walkdir(&path)),
            false => files.push((path.clone(), fs::read_to_string(&path).unwrap())),
        }
    }
    files
}

#[test]
fn what_the_user_added_to_our_lists_stays_and_what_is_wanted_no_more_goes() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.write("vscode");
    let tasks = user.file(".vscode/tasks.json");
    let anchor = "\"web-1\"";
    let own = tasks.replacen(
        anchor,
        "\"web-1\", // my peer\n\t\t\t\t\"-L\",\n\t\t\t\t\"8000:localhost:80\",\n\t\t\t\t\"-v\" // more\n",
        1,
    );
    assert_ne!(own, tasks);
    user.put(".vscode/tasks.json", &own);
    user.write("vscode");
    assert_eq!(user.file(".vscode/tasks.json"), own);
    // Another session: what it does not have goes, the user's stays.
    let mut session = RecentSession::begin(
        HostFacts::of_directory(Some(&user.project)),
        &[Forward::of_preset(Preset::Node, 9229)],
    );
    session.ended = true;
    session.began += 1;
    session.options = vec!["--no-inspect".to_owned(), "--name=laptop".to_owned()];
    session
        .options
        .push(format!("--sources={}", user.project.join("web").display()));
    user.keep(&[session]);
    user.write("vscode");
    let text = user.file(".vscode/tasks.json");
    let after: Value = json5(&text);
    assert_eq!(
        after["tasks"][0]["args"],
        json!([
            "listen",
            "node",
            "--no-inspect",
            "--name",
            "laptop",
            "--sources",
            "${workspaceFolder}/web",
            "-L",
            "8000:localhost:80",
            "-v"
        ]),
        "{text}"
    );
    assert!(text.contains("// more"), "{text}");
    assert!(user.write("vscode").contains("nothing to change"));
}

/// What a file with line comments holds.
fn json5(text: &str) -> Value {
    let lines = text.lines().map(|line| match line.find(" //") {
        Some(at) => &line[..at],
        None => line,
    });
    serde_json::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap()
}

#[test]
fn a_configuration_that_the_user_added_to_the_compound_stays_also_where_nothing_is_known_of_it() {
    for forgets in [false, true] {
        let user = User::with_two_peers(Preset::Debugpy);
        user.write("vscode");
        let text = user.file(".vscode/launch.json");
        let own = text.replacen(
            "\"p2pdbg debugpy db\"\n",
            "\"p2pdbg debugpy db\",\n        \"my tests\" // mine\n",
            1,
        );
        let own = match own == text {
            true => {
                let at = text.rfind("\"p2pdbg debugpy db\"").unwrap();
                let at = text[..at]
                    .rfind("\"p2pdbg debugpy db\"")
                    .map_or(at, |other| other.max(at));
                let end = at + "\"p2pdbg debugpy db\"".len();
                format!("{}, \"my tests\"{}", &text[..end], &text[end..])
            }
            false => own,
        };
        user.put(".vscode/launch.json", &own);
        if forgets {
            fs::remove_file(user.home.state().join("ide_written.json")).unwrap();
        }
        user.write("vscode");
        assert_eq!(user.file(".vscode/launch.json"), own, "{forgets}");
    }
}

#[test]
fn tasks_of_another_version_are_left_alone_and_no_configuration_needs_them() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    let old = "{\n  \"version\": \"0.1.0\",\n  \"command\": \"tsc\"\n}\n";
    user.put(".vscode/tasks.json", old);
    let said = user.write("vscode");
    assert!(said.contains("left .vscode/tasks.json as it is"), "{said}");
    assert_eq!(user.file(".vscode/tasks.json"), old);
    assert!(!user.file(".vscode/launch.json").contains("preLaunchTask"));
}

/// Like JSON.parse and VS Code's own parser, which let the last one win.
#[test]
fn of_two_keys_of_one_name_the_last_one_is_changed() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.put(
        ".vscode/launch.json",
        "{\n  \"configurations\": [],\n  \"version\": \"0.2.0\",\n  \"configurations\": [\n    { \"name\": \"app\" }\n  ]\n}\n",
    );
    user.write("vscode");
    let launch = user.json(".vscode/launch.json");
    let names: Vec<_> = launch["configurations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].clone())
        .collect();
    assert_eq!(
        names,
        ["app", "p2pdbg debugpy", "p2pdbg debugpy, with the tunnel"]
    );
    assert!(
        user.file(".vscode/launch.json")
            .starts_with("{\n  \"configurations\": [],\n")
    );
    assert!(user.write("vscode").contains("nothing to change"));
}

#[test]
fn pycharm_gets_a_client_of_dap_for_debugpy() {
    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    user.write("pycharm");
    let path = ".idea/runConfigurations/p2pdbg_debugpy.xml";
    let text = user.file(path);
    for part in [
        "type=\"PythonDapAttachConfiguration\"",
        "name=\"remoteAddress\" value=\"127.0.0.1:5678\"",
        "name=\"localRoot\" value=\"$PROJECT_DIR$\"",
        "name=\"remoteRoot\" value=\"/srv/app\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    user.put(
        path,
        &text.replace(":5678", ":1").replace("/srv/app", "/old"),
    );
    user.write("pycharm");
    assert_eq!(user.file(path), text);
}

/// As root, in the project of another user.
#[test]
#[cfg(target_os = "linux")]
fn the_files_of_a_project_stay_the_users_also_when_root_writes_them() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

    let user = User::with_session(&[Preset::Debugpy], "/srv/app");
    if chown(&user.project, Some(1234), Some(1235)).is_err() {
        crate::harness::skip("only root can give files away");
        return;
    }
    let launch = user.project.join(".vscode/launch.json");
    user.put(".vscode/launch.json", "{}");
    chown(&launch, Some(1236), Some(1237)).unwrap();
    fs::set_permissions(&launch, fs::Permissions::from_mode(0o640)).unwrap();
    fs::remove_dir_all(user.project.join(".zed")).ok();
    user.write("vscode");
    user.write("zed");
    let of = |path: &str| {
        let metadata = fs::metadata(user.project.join(path)).unwrap();
        (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
    };
    assert_eq!(of(".vscode/launch.json"), (1236, 1237, 0o640));
    assert_eq!((of(".zed").0, of(".zed").1), (1234, 1235));
    assert_eq!(
        (of(".zed/debug.json").0, of(".zed/debug.json").1),
        (1234, 1235)
    );
}
