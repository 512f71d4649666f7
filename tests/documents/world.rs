//! The two hosts of a reader, and the story that a page tells.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use p2pdbg_natlab::{Host, Lab, NatKind, TwoNats};
use p2pdbg_net::listening;

use crate::{
    harness::{Home, Place, Process, Setting, eventually, skip, write_program},
    pages::Shown,
    rules::How,
};

/// Stands in front of p2pdbg and puts in what a reader puts in: the code, and the name of a STUN server.
const READER: &str = r#"#!/bin/sh
n=$#
while [ $n -gt 0 ]; do
    word=$1; shift; n=$((n - 1))
    case $word in
        482913-orbit-lemon-tiger) word=$READER_CODE ;;
        HOST) word=$READER_STUN ;;
    esac
    set -- "$@" "$word"
done
exec "$READER_P2PDBG" "$@"
"#;

/// A program that runs until it is ended, so that it can be attached to.
const APP: &str = "import time\nprint('running', flush=True)\nwhile True:\n    time.sleep(0.1)\n";

/// Two hosts, 40 ms apart, with the files that the documents speak of.
pub(crate) struct World {
    setting: Setting,
    files: tempfile::TempDir,
    _lab: TwoNats,
}

impl World {
    /// None if this host is not root, or lacks a tool.
    pub(crate) fn new() -> Option<Self> {
        let lab = Lab::new_or_skip("documents")?;
        let nat = NatKind::PORT_RESTRICTED;
        let lab = TwoNats::new(lab, nat, nat, Duration::from_millis(10)).unwrap();
        let place = |host: &Host| Place::Node((**host).clone());
        let (ide, debuggee, public) = (place(&lab.ide), place(&lab.debuggee), place(&lab.rdv));
        let setting = Setting::of(ide, debuggee, public, lab.rdv.ip().into());
        let world = Self {
            setting,
            files: tempfile::tempdir().unwrap(),
            _lab: lab,
        };
        if !world.make() {
            skip("cc, javac or Python's debugpy is missing; run scripts/install-test-tools");
            return None;
        }
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Makes the project at both ends, and the programs that are debugged.
    fn make(&self) -> bool {
        for folder in ["bin", "ide/app/web", "srv/app/web"] {
            fs::create_dir_all(self.path(folder)).unwrap();
        }
        let reader = self.path("bin/p2pdbg");
        write_program(&reader, READER);
        let rendezvous =
            Path::new(env!("CARGO_BIN_EXE_p2pdbg")).with_file_name("p2pdbg-rendezvous");
        std::os::unix::fs::symlink(rendezvous, self.path("bin/p2pdbg-rendezvous")).unwrap();
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/debuggers/programs");
        for project in ["ide/app", "srv/app"] {
            fs::write(self.path(project).join("app.py"), APP).unwrap();
            fs::write(self.path(project).join("web/page.py"), "").unwrap();
            fs::write(self.path(project).join("go.mod"), "module app\n\ngo 1.18\n").unwrap();
            fs::copy(
                programs.join("steps.go"),
                self.path(project).join("main.go"),
            )
            .unwrap();
        }
        let built = [
            format!("cc -g -O0 -o app {}/steps.c", programs.display()),
            format!("cp app {}/app", self.path("ide/app").display()),
            format!("javac -g -d classes {}/Steps.java", programs.display()),
            "jar cfe app.jar Steps -C classes .".to_owned(),
        ];
        let succeeds = |line: &String| {
            let mut shell = Command::new("sh");
            shell.args(["-c", line]).current_dir(self.path("srv/app"));
            shell.output().is_ok_and(|output| output.status.success())
        };
        built.iter().all(succeeds) && venv().join("bin/python").is_file()
    }

    /// A shell with this line at one end, in the directory of the project there.
    fn shell(&self, there: bool, home: &Home, line: &str, puts_in: &[(&str, String)]) -> Command {
        let (place, project, name) = match there {
            false => (&self.setting.ide, self.path("ide/app"), "laptop"),
            true => (&self.setting.debuggee, PathBuf::from("/srv/app"), "web-1"),
        };
        let mut command = place.command("sh");
        home.settle(&mut command);
        // A node has mounts of its own, so nobody else sees these.
        let mounts = "mount --bind \"$READER_SRV\" /srv && mount -t tmpfs none /run && mkdir -p /run/user/1000 && \
                      cd \"$READER_PROJECT\" && eval \"$READER_LINE\"";
        let path = std::env::var("PATH").unwrap_or_default();
        let (bin, venv) = (self.path("bin"), venv().join("bin"));
        let url = self.setting.rendezvous.url().to_string();
        command
            .args(["-c", mounts])
            .env(
                "PATH",
                format!("{}:{}:{path}", bin.display(), venv.display()),
            )
            .env(
                "GOCACHE",
                Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache"),
            )
            .env("GOFLAGS", "-mod=mod")
            .env("READER_P2PDBG", env!("CARGO_BIN_EXE_p2pdbg"))
            .env("READER_SRV", self.path("srv"))
            .env("READER_PROJECT", project)
            .env("READER_LINE", line)
            .env(
                "READER_STUN",
                self.setting
                    .rendezvous
                    .url()
                    .to_string()
                    .split(['@', '#'])
                    .nth(1)
                    .unwrap_or_default(),
            )
            .env("P2PDBG_NAME", name)
            .env("P2PDBG_RENDEZVOUS", url)
            .envs(puts_in.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Whether something listens on this port of the debuggee's host.
    fn serves(&self, port: u16) -> bool {
        let on_port = |address: SocketAddr| address.port() == port;
        let sockets = self.setting.debuggee.enter(listening::all);
        sockets.iter().any(|socket| on_port(socket.address))
    }
}

/// Where the tests' Python tools are.
fn venv() -> PathBuf {
    std::env::var_os("P2PDBG_TEST_VENV").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv"),
        PathBuf::from,
    )
}

/// What runs of a page so far.
pub(crate) struct Story<'a> {
    world: &'a World,
    page: &'a str,
    here: Home,
    there: Home,
    listened: String,
    listener: Option<Process>,
    connector: Option<Process>,
    program: Option<Process>,
    /// Whether the rendezvous has served beside the IDE.
    served: bool,
}

impl<'a> Story<'a> {
    pub(crate) fn new(world: &'a World, page: &'a str) -> Self {
        Self {
            world,
            page,
            here: Home::new(),
            there: Home::new(),
            listened: "p2pdbg listen debugpy".to_owned(),
            listener: None,
            connector: None,
            program: None,
            served: false,
        }
    }

    /// Runs the next command of the page.
    #[track_caller]
    pub(crate) fn go_on(&mut self, shown: &Shown, how: How) {
        let line = &shown.line;
        match how {
            How::Not(reason) => eprintln!("{}: not run: {line}: {reason}", self.page),
            How::Ends => self.ends(false, line),
            How::EndsThere => self.ends(true, line),
            How::Listens => self.listen(line),
            How::Connects => self.connect(line),
            How::Serves(port) => self.serve(line, port),
            How::Rendezvous => self.serve_rendezvous(line),
            How::Debugs => self.debug(shown),
        }
    }

    fn start(&self, there: bool, line: &str, puts_in: &[(&str, String)]) -> Process {
        let home = if there { &self.there } else { &self.here };
        let command = self.world.shell(there, home, line, puts_in);
        let name = format!("{}: {line}", self.page);
        Process::start(&name, command, &self.world.setting.transcript)
    }

    /// The rendezvous prints its URL, and ends again.
    #[track_caller]
    fn serve_rendezvous(&mut self, line: &str) {
        // Dropped, it is killed.
        self.start(false, line, &[]).line("p2pdbg://");
        self.served = true;
    }

    #[track_caller]
    fn ends(&mut self, there: bool, line: &str) {
        // Its keys are known once it has served.
        if line.starts_with("p2pdbg-rendezvous keys") && !self.served {
            self.serve_rendezvous("p2pdbg-rendezvous");
        }
        // What asks a session needs one.
        let asks = ["attach", "sources", "push", "status", "ide", "forward"];
        let mut words = line.split_whitespace();
        let is_asked =
            words.next() == Some("p2pdbg") && words.next().is_some_and(|w| asks.contains(&w));
        if is_asked && self.connector.is_none() {
            self.connect("p2pdbg connect 482913-orbit-lemon-tiger");
        }
        let mut process = self.start(there, line, &[]);
        assert_eq!(
            process.exit_status(),
            0,
            "{}: {line}: {:?}",
            self.page,
            process.stderr()
        );
    }

    #[track_caller]
    fn listen(&mut self, line: &str) {
        (self.connector, self.program) = (None, None);
        self.listened = line.to_owned();
        self.listener = None;
        self.listener = Some(self.start(false, line, &[]));
        self.code();
    }

    /// The code that the page's `listen` shows.
    #[track_caller]
    fn code(&self) -> String {
        let listener = self.listener.as_ref().unwrap();
        let shown = |line: &String| {
            let is_code =
                line.split('-').count() == 4 && line.starts_with(|c: char| c.is_ascii_digit());
            is_code.then(|| line.trim().to_owned())
        };
        eventually("code", || {
            listener
                .stdout()
                .iter()
                .chain(&listener.stderr())
                .rev()
                .find_map(shown)
        })
    }

    #[track_caller]
    fn connect(&mut self, line: &str) {
        if self.listener.is_none() || self.connector.is_some() {
            let listened = self.listened.clone();
            self.listen(&listened);
        }
        let code = self.code();
        let connector = self.start(true, line, &[("READER_CODE", code)]);
        let paired = |lines: Vec<String>| lines.iter().any(|line| line.contains("paired with"));
        eventually("pairing", || {
            (paired(connector.stdout()) || paired(connector.stderr())).then_some(())
        });
        // Each end says of the other what it is, upon which `p2pdbg ide` depends.
        let listener = self.listener.as_ref().unwrap();
        let told = |lines: Vec<String>| lines.iter().any(|line| line.contains(": linux "));
        eventually("facts", || {
            (told(listener.stdout()) || told(listener.stderr())).then_some(())
        });
        self.connector = Some(connector);
    }

    #[track_caller]
    fn serve(&mut self, line: &str, port: u16) {
        self.program = None;
        eventually("port to be free", || {
            (!self.world.serves(port)).then_some(())
        });
        self.program = Some(self.start(true, line, &[]));
        eventually("port of the debuggee", || {
            self.world.serves(port).then_some(())
        });
    }

    /// Types the lines into the debugger; `continue` comes to the breakpoint.
    #[track_caller]
    fn debug(&mut self, shown: &Shown) {
        let typed = format!("set confirm off\n{}\nquit\n", shown.typed.join("\n"));
        let line = format!("printf '%s' \"$READER_TYPED\" | {}", shown.line);
        let mut process = self.start(false, &line, &[("READER_TYPED", typed)]);
        assert_eq!(process.exit_status(), 0, "{line}: {:?}", process.stderr());
        process.line("Breakpoint 1, main");
    }
}
