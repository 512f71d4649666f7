//! The program as an operator runs it: its first line, its signals, its state, its errors.
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use p2pdbg_proto::{
    rendezvous::{Credential, Fate, FromRendezvous, Refusal, ToRendezvous, close},
    url::RendezvousUrl,
};
use quinn::ConnectionError;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    support::{Peer, Wire, free, soon, state_dir},
    written_programs::{copy_program, write_program},
};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_p2pdbg-rendezvous");

/// A running rendezvous, killed when the test is over.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) first_line: String,
}

impl Running {
    pub(crate) fn start(state: &Path, args: &[&str]) -> Self {
        Self::run(Command::new(PROGRAM), state, args)
    }

    /// The same with so many file descriptors at the most.
    pub(crate) fn start_with_descriptors(count: u32, state: &Path, args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {count}; exec \"$0\" \"$@\"");
        shell.args(["-c", &script, PROGRAM]);
        Self::run(shell, state, args)
    }

    /// The same of a copy of the program.
    pub(crate) fn of_program(program: &Path, state: &Path, args: &[&str]) -> Self {
        Self::run(Command::new(program), state, args)
    }

    /// What it says next on stdout.
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The same with what it says on stderr to be read.
    pub(crate) fn start_piped(state: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.stderr(Stdio::piped());
        Self::run(command, state, args)
    }

    /// The same by a command of its own, which may have another environment.
    pub(crate) fn run(mut command: Command, state: &Path, args: &[&str]) -> Self {
        let mut child = command
            .arg("--state")
            .arg(state)
            .args(["--alt-port", "0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first_line = String::new();
        stdout.read_line(&mut first_line).unwrap();
        let first_line = first_line.trim_end().to_owned();
        Self {
            child,
            stdout,
            first_line,
        }
    }

    pub(crate) fn url(&self) -> RendezvousUrl {
        self.first_line.parse().unwrap()
    }

    pub(crate) async fn peer(&self) -> Peer {
        self.peer_with(self.key()).await
    }

    /// What the URL lets its bearer in with.
    pub(crate) fn key(&self) -> Credential {
        let key = self.url().access_key;
        key.map_or(Credential::None, Credential::AccessKey)
    }

    /// Somebody who was welcomed.
    pub(crate) async fn peer_with(&self, credential: Credential) -> Peer {
        let url = self.url();
        let address = url.authority().parse().unwrap();
        let mut peer = Peer::connect(address, url.fingerprint.unwrap()).await;
        peer.hello(credential).await;
        assert!(matches!(peer.hear().await, FromRendezvous::Welcome { .. }));
        peer
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end: the exit status and the rest of stdout.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program to its end, which is near.
pub(crate) fn run(state: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("--state")
        .arg(state)
        .args(["--alt-port", "0"])
        .args(args)
        .output()
        .unwrap()
}

/// The one line that says why it does not serve.
pub(crate) fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr
}

pub(crate) const ANY: [&str; 2] = ["--bind", "127.0.0.1:0"];

#[tokio::test]
async fn the_first_line_is_the_url_and_peers_can_use_it() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let url = running.url();
    assert_eq!(url.host, "127.0.0.1");
    assert!(url.access_key.is_some() && url.fingerprint.is_some());
    running.peer().await.listen(None).await;
}

#[tokio::test]
async fn sigterm_and_sigint_stop_it_gracefully() {
    for signal in [Signal::TERM, Signal::INT] {
        let state = state_dir();
        let running = Running::start(state.path(), &ANY);
        let mut peer = running.peer().await;
        running.signal(signal);
        assert!(matches!(peer.hear().await, FromRendezvous::Stopping { .. }));
        assert_eq!(peer.closed().await, close::STOPPING);
        assert_eq!(running.end(), (Some(0), String::new()));
    }
}

#[tokio::test]
async fn nobody_at_its_stderr_any_more_keeps_it_neither_from_serving_nor_from_its_farewell() {
    let state = state_dir();
    let (nobody, stderr) = std::io::pipe().unwrap();
    drop(nobody);
    let mut command = Command::new(PROGRAM);
    command.stderr(stderr);
    let running = Running::run(command, state.path(), &[&ANY[..], &["--open"]].concat());
    let mut peer = running.peer().await;
    running.signal(Signal::TERM);
    assert!(matches!(peer.hear().await, FromRendezvous::Stopping { .. }));
    assert_eq!(peer.closed().await, close::STOPPING);
    assert_eq!(running.end(), (Some(0), String::new()));
}

#[tokio::test]
async fn certificate_key_and_nameplates_outlive_a_restart() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let before = running.url();
    let claim = running.peer().await.listen(None).await;
    running.signal(Signal::TERM);
    running.end();
    let again = Running::start(state.path(), &ANY);
    let after = again.url();
    assert_eq!(
        (before.access_key, before.fingerprint),
        (after.access_key, after.fingerprint)
    );
    let mut peer = again.peer().await;
    assert_eq!(peer.listen(Some(claim.clone())).await, claim);
}

#[tokio::test]
async fn peers_of_one_that_was_killed_learn_it_from_the_next_at_their_first_word() {
    let state = state_dir();
    let bind = ["--bind", &free().to_string()];
    let running = Running::start(state.path(), &bind);
    let mut peer = running.peer().await;
    running.signal(Signal::KILL);
    running.end();
    let _again = Running::start(state.path(), &bind);
    peer.say(&ToRendezvous::Listen { claim: None }).await;
    assert_eq!(soon(peer.connection.closed()).await, ConnectionError::Reset);
}

#[tokio::test]
async fn an_upgrade_keeps_process_ports_and_the_ends_of_codes() {
    let state = state_dir();
    let web = free().to_string();
    let arguments = [&ANY[..], &["--web", &web]].concat();
    let mut running = Running::start(state.path(), &arguments);
    let mut listener = running.peer().await;
    let used = listener.listen(None).await.nameplate;
    let fate = Fate::Used;
    listener
        .say(&ToRendezvous::Unlisten {
            nameplate: used,
            fate,
        })
        .await;
    let live = listener.listen(None).await;
    running.signal(Signal::USR2);
    assert!(matches!(
        listener.hear().await,
        FromRendezvous::Stopping { .. }
    ));
    assert_eq!(listener.closed().await, close::STOPPING);
    let mut url = String::new();
    running.stdout.read_line(&mut url).unwrap();
    assert_eq!(url.trim_end(), running.first_line);
    assert!(running.child.try_wait().unwrap().is_none());
    let mut connector = running.peer().await;
    for (nameplate, refusal) in [
        (used, Refusal::NameplateUsed),
        (live.nameplate, Refusal::NobodyThere),
    ] {
        connector.say(&ToRendezvous::Join { nameplate }).await;
        assert_eq!(connector.refused().await, refusal);
    }
    let mut listener = running.peer().await;
    assert_eq!(listener.listen(Some(live.clone())).await, live);
    // And once more: what was inherited is handed on.
    running.signal(Signal::USR2);
    running.stdout.read_line(&mut url).unwrap();
    let mut connector = running.peer().await;
    connector.say(&ToRendezvous::Join { nameplate: used }).await;
    assert_eq!(connector.refused().await, Refusal::NameplateUsed);
    std::net::TcpStream::connect(&web).unwrap();
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

/// The line that says why this one does not make place for a successor, and the rest of what it says.
async fn refused_upgrade(running: &mut Running) -> (String, impl Sized + use<>) {
    running.signal(Signal::USR2);
    let stderr = BufReader::new(running.child.stderr.take().unwrap());
    let refused = tokio::task::spawn_blocking(move || {
        let mut lines = stderr.lines().map_while(Result::ok);
        let refused = lines.find(|line| line.contains("not upgraded"));
        (refused, lines)
    });
    let (refused, rest) = soon(refused).await.unwrap();
    (refused.expect("a line"), rest)
}

#[tokio::test]
async fn upgrade_is_refused_while_what_lets_peers_in_is_missing() {
    for file in ["keys.toml", "identity.pem", "server-secret"] {
        let state = state_dir();
        let mut running = Running::start_piped(state.path(), &ANY);
        let (path, aside) = (state.path().join(file), state.path().join("aside"));
        fs::rename(&path, &aside).unwrap();
        let (refused, _stderr) = refused_upgrade(&mut running).await;
        assert!(refused.contains(&*path.to_string_lossy()), "{refused}");
        assert!(refused.contains("is missing"), "{refused}");
        // It serves as before, and nothing is put in the place of what is missing.
        running.peer().await.listen(None).await;
        assert!(!path.exists());
        fs::rename(&aside, &path).unwrap();
        running.signal(Signal::USR2);
        assert_eq!(running.next_line(), running.first_line);
        running.peer().await.listen(None).await;
    }
}

#[tokio::test]
async fn upgrade_is_refused_while_a_secret_is_damaged_or_the_directory_open_to_others() {
    for file in ["server-secret", "access-key", "identity.pem", ""] {
        let state = state_dir();
        let mut running = Running::start_piped(state.path(), &ANY);
        let path = state.path().join(file);
        let before = fs::read(&path).ok();
        match &before {
            Some(_) => fs::write(&path, "damaged").unwrap(),
            None => fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap(),
        }
        let (refused, _stderr) = refused_upgrade(&mut running).await;
        assert!(
            refused.contains(&*state.path().to_string_lossy()),
            "{refused}"
        );
        assert!(!refused.contains("delete"), "{refused}");
        assert_eq!(refused.contains("a backup in its place"), before.is_some());
        running.peer().await.listen(None).await;
        match &before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap(),
        }
        running.signal(Signal::USR2);
        assert_eq!(running.next_line(), running.first_line);
        running.peer().await.listen(None).await;
    }
}

#[tokio::test]
async fn upgrade_is_refused_while_what_is_handed_out_is_missing() {
    let (state, offer) = (state_dir(), tempfile::tempdir().unwrap());
    let script = offer.path().join("run.sh");
    fs::write(&script, "echo\n").unwrap();
    let args = [&ANY[..], &["--offer", offer.path().to_str().unwrap()]].concat();
    let mut running = Running::start_piped(state.path(), &args);
    fs::remove_file(&script).unwrap();
    let (refused, _stderr) = refused_upgrade(&mut running).await;
    assert!(refused.contains("run.sh cannot be read"), "{refused}");
    // It serves as before.
    running.peer().await;
    fs::write(&script, "echo\n").unwrap();
    running.signal(Signal::USR2);
    assert_eq!(running.next_line(), running.first_line);
}

#[tokio::test]
async fn program_that_does_not_say_its_version_keeps_the_one_that_runs_from_nothing() {
    let (state, home) = (state_dir(), state_dir());
    let program = home.path().join("p2pdbg-rendezvous");
    copy_program(Path::new(PROGRAM), &program);
    let running = Running::of_program(&program, state.path(), &ANY);
    let (new, begun) = (home.path().join("new"), home.path().join("begun"));
    let hangs = format!("#!/bin/sh\n: > {}\nexec sleep 1000\n", begun.display());
    write_program(&new, &hangs);
    fs::rename(&new, &program).unwrap();
    running.signal(Signal::USR2);
    let is_asked = async {
        while !begun.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    soon(is_asked).await;
    let mut peer = running.peer().await;
    peer.listen(None).await;
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_before_its_peers_have_taken_leave() {
    let state = state_dir();
    let mut running = Running::start_piped(state.path(), &[&ANY[..], &["--json"]].concat());
    let mut stderr = running.child.stderr.take().unwrap();
    let serving: serde_json::Value = serde_json::from_str(&running.first_line).unwrap();
    let url: RendezvousUrl = serving["url"].as_str().unwrap().parse().unwrap();
    let address = url.authority().parse().unwrap();
    let mut peer = Peer::connect(address, url.fingerprint.unwrap()).await;
    peer.hello(Credential::None).await;
    peer.hear().await;
    // From here on this test waits without its runtime, so its peer answers nothing.
    running.signal(Signal::TERM);
    assert!(running.next_line().contains("stopping"));
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.contains("ended at once"), "{said}");
}

#[test]
fn json_says_the_same_for_programs() {
    let state = state_dir();
    let running = Running::start(state.path(), &[&ANY[..], &["--json"]].concat());
    let serving: serde_json::Value = serde_json::from_str(&running.first_line).unwrap();
    assert_eq!(serving["event"], "serving");
    let url: RendezvousUrl = serving["url"].as_str().unwrap().parse().unwrap();
    let shown = serving["url_without_key"].as_str().unwrap();
    assert_eq!(shown, url.without_key().to_string());
    assert_eq!(serving["addresses"][0], url.authority());
    assert_eq!(serving["stun_alternatives"].as_array().unwrap().len(), 1);
    running.signal(Signal::TERM);
    let (status, rest) = running.end();
    assert_eq!(status, Some(0));
    assert_eq!(rest, "{\"event\":\"stopping\"}\n");
}

#[test]
fn the_url_says_what_the_operator_says() {
    let state = state_dir();
    let args = ["--public", "rdv.example.org:443", "--open"];
    let running = Running::start(state.path(), &[&ANY[..], &args].concat());
    let url = running.url();
    assert_eq!((url.host.as_str(), url.port), ("rdv.example.org", 443));
    assert_eq!(url.access_key, None);
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let state = state_dir();
    let line = complaint(&run(state.path(), &["--bind", &taken.to_string()]));
    for part in [
        &taken.port().to_string(),
        "127.0.0.1",
        "another program",
        "--bind",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let json = run(state.path(), &["--json", "--bind", &taken.to_string()]);
    let error: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&error["event"], &error["code"]),
        (&"error".into(), &"bind".into())
    );
}

#[test]
fn an_address_of_another_host_is_refused_with_what_to_do() {
    let state = state_dir();
    let line = complaint(&run(state.path(), &["--bind", "192.0.2.1:0"]));
    assert!(
        line.contains("192.0.2.1") && line.contains("--bind"),
        "{line}"
    );
}

#[test]
fn a_state_directory_that_is_open_to_others_is_refused() {
    let state = state_dir();
    let loose = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(state.path(), loose).unwrap();
    let line = complaint(&run(state.path(), &ANY));
    assert!(line.contains("chmod 700"), "{line}");
}

#[test]
fn a_state_directory_that_cannot_be_made_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = complaint(&run(&file.path().join("below"), &ANY));
    assert!(
        line.contains("below") || line.contains("not a directory"),
        "{line}"
    );
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    let state = state_dir();
    for args in [
        &["--bind", "nowhere"][..],
        &["--public", "a b"],
        &["--alt-port", "5000", "--bind", "127.0.0.1:5000"],
        &["--code-lifetime", "never"],
        &["--unknown"],
    ] {
        let output = run(state.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn every_flow_through_two_relay_workers_arrives_whole_and_in_order() {
    const SESSIONS: usize = 12;
    const ROUNDS: u32 = 100;
    /// In flight for each flow: so few that no buffer of the system overflows.
    const WINDOW: u32 = 3;
    let state = state_dir();
    let args = ["--bind", "127.0.0.1:0", "--relay-workers", "2"];
    let running = Running::start(state.path(), &args);
    let relay: SocketAddr = running.url().authority().parse().unwrap();
    assert_eq!(sockets_on(relay.port()), 2);

    let mut peers = Vec::new();
    let mut flows = Vec::new();
    for _ in 0..SESSIONS {
        let mut listener = running.peer().await;
        let nameplate = listener.listen(None).await.nameplate;
        let mut connector = running.peer().await;
        connector.say(&ToRendezvous::Join { nameplate }).await;
        let ours = listener.introduced().await.leg;
        let theirs = connector.introduced().await.leg;
        let wires = [Wire::new(), Wire::new()];
        for (wire, leg) in wires.iter().zip([ours, theirs]) {
            wire.bind_leg(relay, &leg).await;
        }
        peers.push([listener, connector]);
        flows.push(wires);
    }

    for round in 0..ROUNDS {
        let numbers = round * WINDOW..(round + 1) * WINDOW;
        for number in numbers.clone() {
            for wire in flows.iter().flatten() {
                wire.send(relay, &numbered(number, wire.local())).await;
            }
        }
        for [one, other] in &flows {
            for (from, to) in [(one, other), (other, one)] {
                for number in numbers.clone() {
                    let received = to.receive_from(relay).await;
                    assert_eq!(received, numbered(number, from.local()), "round {round}");
                }
            }
        }
    }
    assert!(flows.iter().flatten().all(Wire::is_silent));
}

/// A datagram that could be QUIC, of one of several lengths.
#[cfg(target_os = "linux")]
fn numbered(number: u32, from: SocketAddr) -> Vec<u8> {
    let mut datagram = vec![0x40; [200, 200, 90, 201][number as usize % 4]];
    datagram[1..5].copy_from_slice(&number.to_be_bytes());
    datagram[5..7].copy_from_slice(&from.port().to_be_bytes());
    datagram
}

/// How many UDP sockets of this network namespace are bound to a port of IPv4 (proc_net_udp).
#[cfg(target_os = "linux")]
fn sockets_on(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let local = format!(":{port:04X}");
    let lines = table.lines().skip(1);
    lines
        .filter(|line| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|at| at.ends_with(&local))
        })
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_port_that_relay_workers_share_is_not_shared_with_a_second_program() {
    let state = state_dir();
    let args = ["--bind", "127.0.0.1:0", "--relay-workers", "2"];
    let running = Running::start(state.path(), &args);
    let url = running.url();
    let again = run(
        state_dir().path(),
        &["--bind", url.authority().as_str(), "--relay-workers", "2"],
    );
    assert!(!again.status.success());
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(said.contains("cannot open UDP port"), "{said}");
}

#[test]
fn directory_of_a_host_that_serves_peers_is_not_made_one_of_a_host_that_relays_alone() {
    let (authority, node, relay) = (state_dir(), state_dir(), state_dir());
    let ask = |args: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("authority").args(args);
        command.arg("--state").arg(authority.path());
        command.output().unwrap()
    };
    let issue = |into: &Path, more: &[&str]| {
        let into = into.to_str().unwrap();
        ask(&[&["issue", "127.0.0.1", "--into", into], more].concat())
    };
    assert!(ask(&["new"]).status.success());
    assert!(issue(node.path(), &[]).status.success());
    let secrets = |state: &Path| {
        let files = std::fs::read_dir(state).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = secrets(node.path());
    let why = complaint(&issue(node.path(), &["--relay", "30"]));
    assert!(why.contains("cluster-secret"), "{why}");
    assert_eq!(secrets(node.path()), before);
    // A host with a URL of its own.
    let alone = state_dir();
    drop(Running::start(alone.path(), &["--bind", "127.0.0.1:0"]));
    let why = complaint(&issue(alone.path(), &["--relay", "30"]));
    assert!(why.contains("keys.toml"), "{why}");
    // A relay's may be given another certificate, also once it has served.
    assert!(issue(relay.path(), &["--relay", "30"]).status.success());
    let args = ["--bind", "127.0.0.1:0", "--relays-alone"];
    drop(Running::start(relay.path(), &args));
    assert!(issue(relay.path(), &["--relay", "30"]).status.success());
}
