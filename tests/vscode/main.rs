//! A real VS Code with the extension of `editors/vscode`, through two NATs of the kernel: F5 alone leads to a hit
//! breakpoint, an outage in mid-session is survived, and detaching, restarting and stopping do what is expected.
//!
//! `scripts/test-vscode` sets up what this needs and runs it; without that, the tests are skipped. The extension is the
//! packed `.vsix`. Pictures are left in `target/vscode`.
#![cfg(target_os = "linux")]

#[path = "../harness/mod.rs"]
mod harness;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use harness::{Home, Peer, Place, Process, Setting, skip};
use p2pdbg_events::PathKind;
use p2pdbg_natlab::{Lab, NatKind, TwoNats};
use p2pdbg_proto::code::Code;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// On each of the three links to the internet, so that the peers are 40 ms apart and back.
const DELAY: Duration = Duration::from_millis(10);

/// What `scripts/test-vscode` has set up.
struct Tools {
    /// Its node, with which code-server was built.
    node: PathBuf,
    /// The directory with code-server and playwright-core.
    modules: PathBuf,
    /// The extensions, as VS Code installed them.
    extensions: PathBuf,
}

impl Tools {
    fn find() -> Option<Self> {
        let named = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let tools = named("P2PDBG_TEST_VSCODE").zip(named("P2PDBG_TEST_EXTENSIONS"));
        let Some((root, extensions)) = tools else {
            skip("there is no VS Code; run scripts/test-vscode");
            return None;
        };
        Some(Self {
            node: root.join("bin/node"),
            modules: root.join("node_modules"),
            extensions,
        })
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vscode")
        .join(name)
}

/// The IDE's project or the debuggee's directory: the same files.
fn project() -> Home {
    let home = Home::new();
    for entry in fs::read_dir(file("project")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, home.path().join(path.file_name().unwrap())).unwrap();
    }
    // The comparison looks at the files of a work tree.
    fs::create_dir(home.path().join(".git")).unwrap();
    home
}

/// VS Code and its driver, in the IDE's namespace.
struct Ide {
    driver: Process,
    /// Kept while it runs.
    _project: Home,
    user: Home,
}

impl Ide {
    fn start(
        setting: &Setting,
        tools: &Tools,
        configuration: &Value,
        file_name: &str,
        line: u32,
        steps: &[&str],
    ) -> Self {
        let (project, user) = (project(), Home::new());
        Self::start_in(
            setting,
            tools,
            configuration,
            (file_name, line),
            steps,
            (project, user),
        )
    }

    /// The same in a project that is there, of a user who is there.
    fn start_in(
        setting: &Setting,
        tools: &Tools,
        configuration: &Value,
        (file_name, line): (&str, u32),
        steps: &[&str],
        (project, user): (Home, Home),
    ) -> Self {
        fs::create_dir(project.path().join(".vscode")).unwrap();
        let launch = json!({ "version": "0.2.0", "configurations": [configuration] });
        fs::write(
            project.path().join(".vscode/launch.json"),
            launch.to_string(),
        )
        .unwrap();
        let of_user = json!({
            "workbench.startupEditor": "none",
            "security.workspace.trust.enabled": false,
            "telemetry.telemetryLevel": "off",
            "extensions.autoCheckUpdates": false,
            "chat.disableAIFeatures": true,
        });
        // Where a program is, is the host's own setting: a user's would be of another host.
        let of_host = json!({ "p2pdbg.path": env!("CARGO_BIN_EXE_p2pdbg") });
        for (name, settings) in [("User", of_user), ("Machine", of_host)] {
            let directory = user.path().join("data").join(name);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("settings.json"), settings.to_string()).unwrap();
        }
        let code_server = [
            tools.node.to_string_lossy().into_owned(),
            tools
                .modules
                .join("code-server/out/node/entry.js")
                .to_string_lossy()
                .into_owned(),
            "--auth=none".into(),
            "--disable-telemetry".into(),
            "--disable-update-check".into(),
            "--disable-workspace-trust".into(),
            format!("--user-data-dir={}", user.path().join("data").display()),
            format!("--extensions-dir={}", tools.extensions.display()),
        ];
        let plan = json!({
            "modules": tools.modules,
            "chromium": "/usr/bin/chromium",
            "codeServer": code_server,
            "project": project.path(),
            "file": file_name,
            "line": line,
            "configuration": configuration["name"],
            "shots": Path::new(env!("CARGO_MANIFEST_DIR")).join("target/vscode"),
            "steps": steps,
        });
        let plan_file = user.path().join("plan.json");
        fs::write(&plan_file, plan.to_string()).unwrap();
        let mut command = setting.ide.command(&tools.node);
        user.settle(&mut command);
        command
            .arg(file("drive.mjs"))
            .arg(plan_file)
            .env("P2PDBG_STATE", user.state())
            .env("P2PDBG_NAME", "laptop")
            .env("P2PDBG_RENDEZVOUS", setting.rendezvous.url().to_string());
        Self {
            driver: Process::start("vscode", command, &setting.transcript),
            _project: project,
            user,
        }
    }

    /// Waits for what the driver says of an event. The driver keeps its own deadline, since starting VS Code takes
    /// longer than anything else that tests wait for.
    #[track_caller]
    fn event(&mut self, wanted: &str) -> Value {
        loop {
            let is_running = self.driver.is_running();
            let lines = self.driver.stdout();
            let events = lines
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            for event in events {
                assert_ne!(event["event"], "failed", "before {wanted}: {event}");
                if event["event"] == wanted {
                    return event;
                }
            }
            assert!(is_running, "the driver ended before {wanted}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The code that it shows, in the command that it copied.
    #[track_caller]
    fn code(&mut self) -> Code {
        let shown = self.event("code");
        let command = shown["command"].as_str().unwrap();
        command.split(' ').nth(2).unwrap().parse().unwrap()
    }
}

/// The debuggee's host: a directory with the program, and `p2pdbg connect` in it.
struct Debuggee {
    connector: Peer,
    directory: Home,
}

impl Debuggee {
    fn start(setting: &Setting, code: &Code, arguments: &[&str]) -> Self {
        let directory = project();
        let connector = setting
            .connector_with(code)
            .env("P2PDBG_NAME", "web-1")
            .in_directory(directory.path())
            .args(["--sources", "."])
            .args(arguments.iter().copied())
            .start();
        Self {
            connector,
            directory,
        }
    }

    fn program(&self, setting: &Setting, program: &Path, arguments: &[&str]) -> Process {
        let mut command = setting.debuggee.command(program);
        command.args(arguments).current_dir(self.directory.path());
        Process::start("program", command, &setting.transcript)
    }
}

fn two_nats(name: &str) -> Option<(TwoNats, Setting)> {
    let lab = Lab::new_or_skip(name)?;
    let nat = NatKind::PORT_RESTRICTED;
    let lab = TwoNats::new(lab, nat, nat, DELAY).unwrap();
    let place = |host: &p2pdbg_natlab::Host| Place::Node((**host).clone());
    let address = lab.rdv.ip().into();
    let setting = Setting::of(
        place(&lab.ide),
        place(&lab.debuggee),
        place(&lab.rdv),
        address,
    );
    Some((lab, setting))
}

#[test]
fn f5_alone_leads_to_a_breakpoint_in_node_and_an_outage_is_survived() {
    let Some(tools) = Tools::find() else { return };
    let Some((lab, setting)) = two_nats("vsc-node") else {
        return;
    };
    let configuration = json!({
        "name": "Attach", "type": "node", "request": "attach", "p2pdbg": true,
    });
    let steps = [
        "f5", "paused", "outage", "push", "restart", "detach", "stop",
    ];
    let mut ide = Ide::start(&setting, &tools, &configuration, "app.js", 5, &steps);
    let code = ide.code();
    // It differs from the IDE's, until that is pushed.
    let mut debuggee = Debuggee::start(&setting, &code, &["--accept-push", "."]);
    let helper = debuggee.directory.path().join("helper.js");
    fs::write(&helper, "exports.answer = () => 41;\n").unwrap();
    let _program = debuggee.program(
        &setting,
        Path::new("node"),
        &["--inspect-brk=127.0.0.1:9229", "app.js"],
    );
    let paused = ide.event("paused");
    assert!(
        paused["status"]
            .as_str()
            .unwrap()
            .contains("web-1 · direct"),
        "{paused}"
    );
    debuggee.connector.path(PathKind::Direct);
    ide.event("cut");
    lab.nat_b.uplink().cut().unwrap();
    ide.event("lost");
    lab.nat_b.uplink().mend().unwrap();
    ide.event("stepped");
    ide.event("pushed");
    assert_eq!(
        fs::read_to_string(&helper).unwrap(),
        fs::read_to_string(file("project/helper.js")).unwrap()
    );
    ide.event("restarted");
    ide.event("attached_again");
    assert!(debuggee.connector.is_running());
    ide.event("stopped");
    debuggee.connector.closed();
    ide.event("done");
}

/// The Python that has debugpy.
fn python() -> Option<PathBuf> {
    let environment = std::env::var_os("P2PDBG_TEST_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"),
        PathBuf::from,
    );
    let python = environment.join("bin/python");
    if !python.is_file() {
        skip("debugpy is not installed; run scripts/install-test-tools");
        return None;
    }
    Some(python)
}

#[test]
fn f5_alone_leads_to_a_breakpoint_in_debugpy_and_a_killed_p2pdbg_is_said() {
    let (Some(tools), Some(python)) = (Tools::find(), python()) else {
        return;
    };
    let Some((_lab, setting)) = two_nats("vsc-py") else {
        return;
    };
    let configuration = json!({
        "name": "Python", "type": "debugpy", "request": "attach", "p2pdbg": "debugpy",
    });
    let steps = ["f5", "paused", "killed"];
    let mut ide = Ide::start(&setting, &tools, &configuration, "app.py", 6, &steps);
    let code = ide.code();
    let debuggee = Debuggee::start(&setting, &code, &[]);
    let listen = ["-m", "debugpy", "--listen", "127.0.0.1:5678"];
    let arguments = [&listen[..], &["--wait-for-client", "app.py"]].concat();
    let program = debuggee.program(&setting, &python, &arguments);
    ide.event("paused");
    ide.event("kill");
    let sessions = fs::read_to_string(ide.user.state().join("recent_sessions.json")).unwrap();
    let sessions: Value = serde_json::from_str(&sessions).unwrap();
    let own = sessions.as_array().unwrap().last().unwrap()["pid"].as_i64();
    let own = Pid::from_raw(own.unwrap().try_into().unwrap()).unwrap();
    kill_process(own, Signal::KILL).unwrap();
    let again = ide.event("code_again");
    assert_ne!(again["status"].as_str().unwrap(), code.to_string());
    ide.event("done");
    // debugpy's adapter is in a session of its own and keeps the program's output for as long as its IDE is held.
    drop(debuggee);
    drop(program);
}

#[test]
fn f5_uses_the_session_of_a_terminal_without_a_code() {
    let Some(tools) = Tools::find() else { return };
    let Some((_lab, setting)) = two_nats("vsc-term") else {
        return;
    };
    let (project, user) = (project(), Home::new());
    let mut terminal = setting
        .listener()
        .home(user.clone())
        .in_directory(project.path())
        .args(["node"])
        .start();
    let debuggee = Debuggee::start(&setting, &terminal.code(), &[]);
    terminal.forward(9229);
    let _program = debuggee.program(
        &setting,
        Path::new("node"),
        &["--inspect-brk=127.0.0.1:9229", "app.js"],
    );
    let configuration = json!({
        "name": "Terminal", "type": "node", "request": "attach", "p2pdbg": true,
    });
    let steps = ["open", "paused", "stop"];
    let mut ide = Ide::start_in(
        &setting,
        &tools,
        &configuration,
        ("app.js", 5),
        &steps,
        (project, user),
    );
    ide.event("stopped");
    // It is not the window's to end.
    assert!(terminal.is_running());
    ide.event("done");
    drop(debuggee);
    terminal.stop();
}
