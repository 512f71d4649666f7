//! A debuggee's host where p2pdbg is not installed: the line of `p2pdbg listen` is run as it is shown, by sh.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

use p2pdbg_events::Event;
use rustix::process::{Pid, Signal, kill_process_group};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::harness::{
    Home, Place, Process, Rendezvous, RendezvousCommand, Transcript, skip, write_program,
};

const SCRIPT: &str = include_str!("../../packaging/offer/run.sh.in");
const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pdbg");

/// A release as it lies on the hosts of the rendezvous and of the IDE, and a rendezvous that offers it.
struct Released {
    rendezvous: Rendezvous,
    transcript: Transcript,
    directory: TempDir,
}

/// The SHA-256 of the program under test, which is large enough for that to take a while.
fn hash_of_program() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| sha256(fs::read(PROGRAM).unwrap()))
}

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Released {
    /// Of the program under test, which is for this host's processor.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let offer = directory.path().join("offer");
        fs::create_dir(&offer).unwrap();
        let arch = std::env::consts::ARCH;
        // A link, since it is a large file and this test changes it in no way.
        symlink(PROGRAM, offer.join(format!("p2pdbg-{arch}-linux"))).unwrap();
        let script = SCRIPT.replace(&format!("@{arch}@"), hash_of_program());
        let script = script.replace("@x86_64@", "").replace("@aarch64@", "");
        fs::write(offer.join("run.sh"), &script).unwrap();

        let package = directory.path().join("package");
        fs::create_dir_all(package.join("bin")).unwrap();
        fs::create_dir_all(package.join("share/p2pdbg")).unwrap();
        fs::hard_link(PROGRAM, package.join("bin/p2pdbg"))
            .or_else(|_| fs::copy(PROGRAM, package.join("bin/p2pdbg")).map(|_| ()))
            .unwrap();
        fs::write(package.join("share/p2pdbg/offer.sha256"), sha256(&script)).unwrap();

        let transcript = Transcript::new();
        let rendezvous =
            RendezvousCommand::new(&Place::Here, "127.0.0.1:0", "127.0.0.1", &transcript)
                .args([OsString::from("--offer"), offer.into()])
                .start();
        Self {
            rendezvous,
            transcript,
            directory,
        }
    }

    fn offered(&self, name: &str) -> PathBuf {
        self.directory.path().join("offer").join(name)
    }

    fn package(&self) -> PathBuf {
        self.directory.path().join("package")
    }

    /// A listener from the package, and what it shows.
    fn listener(&self) -> (Process, Option<String>) {
        let home = Home::new();
        let mut command = Place::Here.command(self.package().join("bin/p2pdbg"));
        home.settle(&mut command);
        command.env("P2PDBG_STATE", home.state());
        command.args(["listen", "--json", "-L", "0:localhost:9", "--rendezvous"]);
        command.arg(self.rendezvous.url().to_string());
        let listener = Process::start("listen", command, &self.transcript);
        let line = listener.find("ready", |lines| {
            lines
                .iter()
                .find_map(|line| match serde_json::from_str(line) {
                    Ok(Event::Ready {
                        without_install, ..
                    }) => Some(without_install),
                    _ => None,
                })
        });
        (listener, line)
    }
}

/// A host of whose programs only these are on PATH, besides the plainest ones, and its temporary directory.
struct Bare(TempDir);

impl Bare {
    fn with(fetcher: &str) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::create_dir(root.path().join("tmp")).unwrap();
        let plain = [
            "sh",
            "uname",
            "mkdir",
            "rm",
            "chmod",
            "cut",
            "date",
            "sha256sum",
            "env",
            "sleep",
        ];
        for program in plain.into_iter().chain([fetcher]) {
            symlink(find(program)?, bin.join(program)).unwrap();
        }
        Some(Self(root))
    }

    fn run(&self, line: &str, arguments: &str) -> Output {
        self.shell(line, arguments).output().unwrap()
    }

    fn shell(&self, line: &str, arguments: &str) -> Command {
        let mut shell = Command::new(self.0.path().join("bin/sh"));
        shell
            .env_clear()
            .env("PATH", self.0.path().join("bin"))
            .env("TMPDIR", self.tmp())
            .env("HOME", self.0.path())
            .current_dir(self.0.path())
            .args(["-c", &format!("{line} {arguments}")]);
        shell
    }

    fn tmp(&self) -> PathBuf {
        self.0.path().join("tmp")
    }

    /// Whether nothing was left behind.
    #[track_caller]
    fn is_as_before(&self) {
        let left = |path: &Path| fs::read_dir(path).unwrap().flatten().count();
        assert_eq!(left(&self.tmp()), 0);
        assert_eq!(left(self.0.path()), 2);
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
        .and_then(|file| match program {
            // What is on PATH may be a script that chooses one of several.
            "python3" => real_python(&file),
            _ => Some(file),
        })
}

fn real_python(python: &Path) -> Option<PathBuf> {
    let mut asked = Command::new(python);
    let said = asked.args(["-c", "import sys; print(sys.executable)"]);
    let said = String::from_utf8(said.output().ok()?.stdout).ok()?;
    Some(said.trim().into())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn bare_host_runs_the_line_of_listen_and_keeps_nothing() {
    let released = Released::new();
    for fetcher in ["curl", "wget", "python3"] {
        let Some(bare) = Bare::with(fetcher) else {
            skip(&format!("there is no {fetcher}"));
            continue;
        };
        let (listener, line) = released.listener();
        // The caller's mask is COMMAND's, though what is fetched is closed to others.
        let line = format!("umask 027; {}", line.expect("a line"));
        let output = bare.run(&line, "-- sh -c 'echo it ran under $(umask); exit 7'");
        assert_eq!(output.status.code(), Some(7), "{fetcher}: {output:?}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            stdout.contains("it ran under 0027"),
            "{fetcher}: {output:?}"
        );
        bare.is_as_before();
        drop(listener);
    }
}

#[test]
fn command_that_is_interrupted_on_a_bare_host_gives_its_own_exit_status() {
    let released = Released::new();
    let bare = Bare::with("curl").expect("curl");
    for (signal, name) in [(Signal::INT, "INT"), (Signal::TERM, "TERM")] {
        let (_listener, line) = released.listener();
        // A terminal's shell has a group for itself, which hears nothing of ^C.
        let line = line.expect("a line").replace("; sh -c ", "; exec sh -c ");
        let command =
            format!("-- sh -c 'trap \"exit 7\" {name}; echo runs; while :; do sleep 0.1; done'");
        let mut shell = bare.shell(&line, &command);
        shell.process_group(0).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "runs");
        kill_process_group(Pid::from_child(&shell), signal).unwrap();
        assert_eq!(shell.wait().unwrap().code(), Some(7), "{name}");
    }
    bare.is_as_before();
}

#[test]
fn command_on_a_bare_host_has_the_variables_of_its_user_alone() {
    let released = Released::new();
    let bare = Bare::with("curl").expect("curl");
    let (_listener, line) = released.listener();
    let mut shell = bare.shell(&line.expect("a line"), "-- env");
    let output = shell.env("P2PDBG_LOG", "warn").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let variables = String::from_utf8_lossy(&output.stdout);
    let of_p2pdbg: Vec<_> = variables
        .lines()
        .filter(|line| line.starts_with("P2PDBG_") || line.starts_with("XDG_"))
        .collect();
    assert_eq!(of_p2pdbg, ["P2PDBG_LOG=warn"]);
    let said = stderr(&output);
    assert!(!said.contains("control socket"), "{said}");
    bare.is_as_before();
}

#[test]
fn another_program_than_was_promised_is_not_run() {
    let released = Released::new();
    let (_listener, line) = released.listener();
    let line = line.expect("a line");
    let bare = Bare::with("curl").expect("curl");
    let program = released.offered(&format!("p2pdbg-{}-linux", std::env::consts::ARCH));
    fs::remove_file(&program).unwrap();
    write_program(&program, "#!/bin/sh\necho evil\n");
    let output = bare.run(&line, "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("not the program that was promised"));
    assert_eq!(output.stdout, b"");

    // Nor is a script that has another hash than the line.
    fs::write(released.offered("run.sh"), "echo evil\n").unwrap();
    let output = bare.run(&line, "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("nothing was run"), "{output:?}");
    assert_eq!(output.stdout, b"");
    bare.is_as_before();
}

#[test]
fn host_of_another_processor_is_told_what_there_is() {
    let released = Released::new();
    let (_listener, line) = released.listener();
    let bare = Bare::with("curl").expect("curl");
    let uname = bare.0.path().join("bin/uname");
    fs::remove_file(&uname).unwrap();
    let script = "#!/bin/sh\n[ \"$1\" = -s ] && echo Linux || echo riscv64\n";
    write_program(&uname, script);
    let output = bare.run(&line.expect("a line"), "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("Linux on riscv64"), "{output:?}");
    bare.is_as_before();
}

#[test]
fn listener_whose_package_promises_another_script_shows_no_line() {
    let released = Released::new();
    let promise = released.package().join("share/p2pdbg/offer.sha256");
    fs::write(promise, sha256("another script")).unwrap();
    let (_listener, line) = released.listener();
    assert_eq!(line, None);
}
