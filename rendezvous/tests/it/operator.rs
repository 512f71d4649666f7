//! The program as a team's operator runs it: keys, the control socket, what is told of it and what is not.
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Command, Output, Stdio},
};

use p2pdbg_proto::{
    rendezvous::{Credential, FromRendezvous, Refusal, ToRendezvous, close},
    url::RendezvousUrl,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    program::{ANY, PROGRAM, Running, complaint, run},
    support::{Peer, Wire, state_dir},
};

pub(crate) fn command(state: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words).arg("--state").arg(state);
    command
}

pub(crate) fn ask(state: &Path, words: &[&str]) -> String {
    let output = command(state, words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn ask_json(state: &Path, words: &[&str]) -> Value {
    serde_json::from_str(&ask(state, words)).unwrap()
}

/// What the key of that name takes, as `status` says.
fn used(state: &Path, name: &str, what: &str) -> u64 {
    let status = ask_json(state, &["status", "--json"]);
    let keys = status["keys"].as_array().unwrap().clone();
    let key = keys.into_iter().find(|key| key["name"] == name).unwrap();
    key[what].as_u64().unwrap()
}

/// A peer with the key of that URL.
pub(crate) async fn peer(url: &str) -> Peer {
    let url: RendezvousUrl = url.trim().parse().unwrap();
    let address = url.authority().parse().unwrap();
    let mut peer = Peer::connect(address, url.fingerprint.unwrap()).await;
    peer.hello(Credential::AccessKey(url.access_key.unwrap()))
        .await;
    assert!(matches!(peer.hear().await, FromRendezvous::Welcome { .. }));
    peer
}

pub(crate) async fn shut_out(peer: &mut Peer) {
    assert_eq!(peer.refused().await, Refusal::AccessKey);
    assert_eq!(peer.closed().await, close::REFUSED);
}

#[tokio::test]
async fn a_key_that_is_added_lets_in_and_revoking_it_shuts_out_nobody_else() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let url = ask(
        state.path(),
        &["keys", "add", "team-a", "--expires", "1h30m"],
    );
    let mut theirs = peer(&url).await;
    theirs.listen(None).await;
    let mut ours = running.peer().await;
    assert_eq!(used(state.path(), "team-a", "peers"), 1);
    assert_eq!(used(state.path(), "team-a", "codes"), 1);
    let file = state.path().join("keys.toml");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let secret = url
        .trim()
        .strip_prefix("p2pdbg://")
        .unwrap()
        .split('@')
        .next()
        .unwrap();
    assert!(!fs::read_to_string(&file).unwrap().contains(secret));
    ask(state.path(), &["keys", "revoke", "team-a"]);
    shut_out(&mut theirs).await;
    ours.listen(None).await;
    let list = ask(state.path(), &["keys", "list"]);
    assert!(
        list.contains("team-a") && list.contains("revoked"),
        "{list}"
    );
}

#[tokio::test]
async fn a_rotated_key_takes_both_secrets_and_the_url_follows() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let before = running.first_line.clone();
    assert_eq!(ask(state.path(), &["url"]).trim(), before);
    let after = ask(
        state.path(),
        &["keys", "rotate", "default", "--grace", "7d"],
    );
    assert_eq!(ask(state.path(), &["url"]), after);
    assert_ne!(after.trim(), before);
    peer(&before).await.listen(None).await;
    peer(&after).await.listen(None).await;
    running.signal(Signal::TERM);
    running.end();
    let again = Running::start(state.path(), &ANY);
    let key = |url: &str| url.trim().parse::<RendezvousUrl>().unwrap().access_key;
    assert_eq!(key(&again.first_line), key(&after));
}

#[tokio::test]
async fn sighup_reads_the_keys_again_and_ends_nothing_else() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let url = ask(state.path(), &["keys", "add", "team-a"]);
    let mut theirs = peer(&url).await;
    let mut ours = running.peer().await;
    let file = state.path().join("keys.toml");
    let good = fs::read_to_string(&file).unwrap();
    // A file that makes no sense changes nothing.
    fs::write(&file, "version = 1\nkey = 7").unwrap();
    let refused = command(state.path(), &["reload"]).output().unwrap();
    assert!(complaint(&refused).contains("keys.toml"));
    theirs.listen(None).await;
    let expired = good.replace("name = \"team-a\"", "name = \"team-a\"\nexpires = 1");
    fs::write(&file, expired).unwrap();
    running.signal(Signal::HUP);
    shut_out(&mut theirs).await;
    ours.listen(None).await;
}

#[tokio::test]
async fn sighup_while_the_file_of_keys_is_missing_shuts_nobody_out_and_makes_none() {
    let state = state_dir();
    let mut running = Running::start_piped(state.path(), &ANY);
    let mut stderr = BufReader::new(running.child.stderr.take().unwrap());
    let url = ask(state.path(), &["keys", "add", "team-a"]);
    let mut theirs = peer(&url).await;
    let mut ours = running.peer().await;
    let file = state.path().join("keys.toml");
    fs::rename(&file, state.path().join("aside")).unwrap();
    running.signal(Signal::HUP);
    let mut line = String::new();
    while !line.contains("keys.toml") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0);
    }
    assert!(line.contains("missing"), "{line}");
    for words in [
        &["reload"][..],
        &["url"],
        &["keys", "list"],
        &["keys", "add", "b"],
    ] {
        let line = complaint(&command(state.path(), words).output().unwrap());
        assert!(line.contains("keys.toml"), "{line}");
        assert!(!file.exists(), "{words:?}");
    }
    theirs.listen(None).await;
    ours.listen(None).await;
    fs::rename(state.path().join("aside"), &file).unwrap();
    ask(state.path(), &["reload"]);
    theirs.listen(None).await;
    peer(&url).await;
}

#[test]
fn keys_that_do_not_parse_are_named_and_nothing_is_overwritten() {
    let state = state_dir();
    let file = state.path().join("keys.toml");
    ask(state.path(), &["keys", "list"]);
    fs::write(&file, "version = 9").unwrap();
    for output in [
        run(state.path(), &ANY),
        command(state.path(), &["keys", "add", "a"])
            .output()
            .unwrap(),
        command(state.path(), &["keys", "list"]).output().unwrap(),
    ] {
        let line = complaint(&output);
        assert!(
            line.contains("keys.toml") && line.contains("version 9"),
            "{line}"
        );
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "version = 9");
}

#[test]
fn a_second_process_on_one_state_directory_is_refused() {
    let state = state_dir();
    let _running = Running::start(state.path(), &ANY);
    let line = complaint(&run(state.path(), &ANY));
    assert!(line.contains("another p2pdbg-rendezvous"), "{line}");
    // The first one still answers.
    ask(state.path(), &["status"]);
}

#[test]
fn a_state_directory_that_is_full_loses_no_key() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let before = fs::read_to_string(state.path().join("keys.toml")).unwrap();
    let full = format!(
        "trap '' XFSZ; ulimit -f 0; exec {PROGRAM} keys add a --state {}",
        state.path().display()
    );
    let output = Command::new("sh").args(["-c", &full]).output().unwrap();
    let line = complaint(&output);
    assert!(
        line.contains("cannot write") && line.contains("keys.toml"),
        "{line}"
    );
    assert!(output.stdout.is_empty());
    assert_eq!(
        fs::read_to_string(state.path().join("keys.toml")).unwrap(),
        before
    );
    drop(running);
}

#[test]
fn an_access_key_from_before_becomes_the_key_default_and_a_foreign_one_does_not() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let before = running.url().access_key;
    running.signal(Signal::TERM);
    running.end();
    fs::remove_file(state.path().join("keys.toml")).unwrap();
    let running = Running::start(state.path(), &ANY);
    assert_eq!(running.url().access_key, before);
    running.signal(Signal::TERM);
    running.end();
    // Half of a backup: the other file knows another secret.
    fs::write(state.path().join("access-key"), [7; 16]).unwrap();
    let running = Running::start(state.path(), &ANY);
    assert_eq!(running.url().access_key, None);
    let url = command(state.path(), &["url"]).output().unwrap();
    let advice = String::from_utf8(url.stderr).unwrap();
    assert!(advice.contains("keys rotate default"), "{advice}");
}

#[test]
fn the_journal_is_not_told_the_key() {
    let state = state_dir();
    let (journal, stdout) = UnixStream::pair().unwrap();
    let stat = rustix::fs::fstat(&stdout).unwrap();
    let mut child = Command::new(PROGRAM)
        .args(ANY)
        .args(["--alt-port", "0", "--state"])
        .arg(state.path())
        .env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino))
        .stdout(Stdio::from(OwnedFd::from(stdout)))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(journal).read_line(&mut line).unwrap();
    let url: RendezvousUrl = line.trim().parse().unwrap();
    assert_eq!(url.access_key, None);
    let printed: RendezvousUrl = ask(state.path(), &["url"]).trim().parse().unwrap();
    assert!(printed.access_key.is_some());
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("p2pdbg-rendezvous url"), "{stderr}");
}

#[test]
fn status_says_how_things_are_and_when_nothing_runs() {
    let state = state_dir();
    let output = command(state.path(), &["status"]).output().unwrap();
    assert!(complaint(&output).contains("no p2pdbg-rendezvous serves"));
    let running = Running::start(state.path(), &ANY);
    let status = ask_json(state.path(), &["status", "--json"]);
    assert_eq!(status["healthy"], true);
    assert_eq!(
        status["url_without_key"],
        running.url().without_key().to_string()
    );
    assert_eq!(status["keys"][0]["name"], "default");
    assert!(ask(state.path(), &["status"]).contains("default"));
}

#[test]
fn the_control_socket_turns_other_users_away() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: it takes root to be another user");
        return;
    }
    let state = state_dir();
    let _running = Running::start(state.path(), &ANY);
    let socket = state.path().join("control.sock");
    assert_eq!(
        fs::metadata(&socket).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // Even where somebody has opened what keeps others out.
    for (path, mode) in [(state.path(), 0o777), (&socket, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let ask = |uid: u32| -> Output {
        let script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                      s.sendall(b'{\"ask\":\"status\"}\\n'); sys.stdout.buffer.write(s.makefile('rb').readline())";
        let mut python = Command::new("python3");
        python
            .args(["-c", script])
            .arg(&socket)
            .uid(uid)
            .output()
            .unwrap()
    };
    assert!(
        String::from_utf8(ask(0).stdout)
            .unwrap()
            .contains("\"status\"")
    );
    assert!(ask(65_534).stdout.is_empty());
}

#[tokio::test]
async fn a_key_that_floods_the_relay_is_held_to_its_bandwidth_and_another_is_not() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let slow = ask(state.path(), &["keys", "add", "slow", "--relay-mbit", "1"]);
    let relay = running.url().authority().parse().unwrap();
    let mut wires = Vec::new();
    for url in [slow, running.first_line.clone()] {
        let mut listener = peer(&url).await;
        let nameplate = listener.listen(None).await.nameplate;
        let mut connector = peer(&url).await;
        connector.say(&ToRendezvous::Join { nameplate }).await;
        let legs = [
            listener.introduced().await.leg,
            connector.introduced().await.leg,
        ];
        let ends = [Wire::new(), Wire::new()];
        for (wire, leg) in ends.iter().zip(&legs) {
            wire.bind_leg(relay, leg).await;
        }
        wires.push((ends, [listener, connector]));
    }
    let [slow, free] = [&wires[0].0, &wires[1].0];
    // A minute's worth, in no time.
    let flood = vec![0xc0; 60_000];
    let mut policed = 0;
    while policed == 0 {
        for _ in 0..20 {
            slow[0].send_batch(relay, &flood, 1_000).await;
        }
        let status = ask_json(state.path(), &["status", "--json"]);
        policed = status["counters"]["policed"].as_u64().unwrap();
    }
    for n in 0..50 {
        free[0].send(relay, &[0xc0, n, n]).await;
        assert_eq!(free[1].receive_from(relay).await, [0xc0, n, n]);
    }
    assert!(used(state.path(), "slow", "sessions") == 1);
}
