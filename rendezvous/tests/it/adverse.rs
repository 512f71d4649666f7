//! The program under what an operator or a machine does to it: state directories that cannot be written or come from a
//! backup, keys that end while they are used, limits that are reached, and successors of another version.
#![cfg(unix)]

use std::{fs, net::SocketAddr, path::Path, process::Command};

use p2pdbg_proto::{
    rendezvous::{Credential, FromRendezvous, Refusal, ToRendezvous, close},
    url::RendezvousUrl,
};
use rustix::process::Signal;

use crate::{
    operator::{ask, ask_json, peer, shut_out},
    program::{ANY, PROGRAM, Running, complaint, run},
    support::{Peer, Wire, free, soon, state_dir},
    written_programs::{copy_program, write_program},
};

/// Two members of a session, with what they send by. The listener has that key, the connector this one or none.
struct Pair {
    members: [Peer; 2],
    wires: [Wire; 2],
}

impl Pair {
    async fn new(running: &Running, listener: &str, connector: Credential) -> Self {
        let mut listener = peer(listener).await;
        let nameplate = listener.listen(None).await.nameplate;
        let mut connector = running.peer_with(connector).await;
        connector.say(&ToRendezvous::Join { nameplate }).await;
        let legs = [
            listener.introduced().await.leg,
            connector.introduced().await.leg,
        ];
        let wires = [Wire::new(), Wire::new()];
        for (wire, leg) in wires.iter().zip(&legs) {
            wire.bind_leg(relay(running), leg).await;
        }
        let members = [listener, connector];
        Self { members, wires }
    }

    /// Whether a datagram gets through.
    async fn relays(&self, running: &Running) {
        let [one, other] = &self.wires;
        one.send(relay(running), &[0xc0, 1, 2]).await;
        assert_eq!(other.receive_from(relay(running)).await, [0xc0, 1, 2]);
    }
}

fn relay(running: &Running) -> SocketAddr {
    running.url().authority().parse().unwrap()
}

async fn parts(peer: &mut Peer) {
    loop {
        if let FromRendezvous::PeerLeft { .. } = peer.hear().await {
            return;
        }
    }
}

#[tokio::test]
async fn a_key_that_expires_while_it_is_used_shuts_its_peers_out_and_nobody_else() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let url = ask(state.path(), &["keys", "add", "short", "--expires", "2s"]);
    let mut theirs = peer(&url).await;
    theirs.listen(None).await;
    let mut ours = running.peer().await;
    shut_out(&mut theirs).await;
    ours.listen(None).await;
    let list = ask(state.path(), &["keys", "list"]);
    assert!(list.contains("expired"), "{list}");
}

#[tokio::test]
async fn a_key_that_is_revoked_in_mid_session_ends_its_relay_at_once_and_no_other() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let url = ask(state.path(), &["keys", "add", "team-a"]);
    let theirs = Pair::new(&running, &url, Credential::None).await;
    let ours = Pair::new(&running, &running.first_line, Credential::None).await;
    theirs.relays(&running).await;
    ask(state.path(), &["keys", "revoke", "team-a"]);
    let [mut listener, mut connector] = theirs.members;
    loop {
        match listener.hear().await {
            FromRendezvous::PeerSeen { .. } => {}
            FromRendezvous::Refused { refusal, .. } => {
                break assert_eq!(refusal, Refusal::AccessKey);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(listener.closed().await, close::REFUSED);
    parts(&mut connector).await;
    // The relay forgets it; what comes through the other session is all that comes.
    let sessions = ask_json(state.path(), &["status", "--json"])["counters"]["sessions"].as_u64();
    assert_eq!(sessions, Some(1));
    theirs.wires[0].send(relay(&running), &[0xc0, 9, 9]).await;
    ours.relays(&running).await;
    assert!(theirs.wires[1].drain().is_empty());
}

#[tokio::test]
async fn limits_of_a_key_hold_for_its_peers_codes_and_sessions() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let limits = ["--peers", "2", "--codes", "2", "--sessions", "1"];
    let url = ask(
        state.path(),
        &[&["keys", "add", "small"][..], &limits].concat(),
    );
    let mut one = peer(&url).await;
    let codes = [
        one.listen(None).await.nameplate,
        one.listen(None).await.nameplate,
    ];
    one.say(&ToRendezvous::Listen { claim: None }).await;
    assert!(matches!(one.refused().await, Refusal::Limit { .. }));
    let mut joiners = Vec::new();
    for nameplate in codes {
        let mut joiner = running.peer_with(Credential::None).await;
        joiner.say(&ToRendezvous::Join { nameplate }).await;
        joiners.push(joiner);
    }
    joiners[0].introduced().await;
    assert!(matches!(joiners[1].refused().await, Refusal::Limit { .. }));
    let _two = peer(&url).await;
    let parsed: RendezvousUrl = url.trim().parse().unwrap();
    let mut three = Peer::connect(relay(&running), parsed.fingerprint.unwrap()).await;
    three
        .hello(Credential::AccessKey(parsed.access_key.unwrap()))
        .await;
    assert_eq!(three.refused().await, Refusal::Full);
    // Nobody else is held to them.
    for _ in 0..3 {
        running.peer().await.listen(None).await;
    }
}

/// The month that was written down last.
fn month_of(state: &Path) -> i64 {
    let usage = fs::read_to_string(state.join("usage.toml")).unwrap();
    let usage: toml::Table = usage.parse().unwrap();
    usage["month"].as_integer().unwrap()
}

fn id_of(state: &Path, name: &str) -> String {
    let keys = fs::read_to_string(state.join("keys.toml")).unwrap();
    let keys: toml::Table = keys.parse().unwrap();
    let keys = keys["key"].as_array().unwrap();
    let key = keys.iter().find(|key| key["name"].as_str() == Some(name));
    key.unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_month_is_kept_when_the_clock_was_years_ahead_as_the_program_ended() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let (month, id) = (month_of(state.path()), id_of(state.path(), "default"));
    let key =
        |table: &str, bytes: u64| format!("[[{table}]]\nid = \"{id}\"\nrelay_bytes = {bytes}\n");
    let (ahead, now) = (key("key", 5), key("left.key", 7_000));
    let used = format!(
        "month = {}\n{ahead}[left]\nmonth = {month}\n{now}",
        month + 120
    );
    fs::write(state.path().join("usage.toml"), used).unwrap();
    let running = Running::start(state.path(), &ANY);
    assert_eq!(used_by(state.path(), "default"), 7_000);
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    assert_eq!(month_of(state.path()), month);
}

/// What a key has relayed this month, as the status says it.
fn used_by(state: &Path, name: &str) -> u64 {
    let status = ask_json(state, &["status", "--json"]);
    let keys = status["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["name"] == name).unwrap();
    key["relay_bytes_month"].as_u64().unwrap()
}

#[tokio::test]
async fn what_sessions_relay_that_are_over_in_no_time_counts_for_the_month_too() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let mut received = 0;
    for _ in 0..10 {
        let pair = Pair::new(&running, &running.first_line, running.key()).await;
        pair.relays(&running).await;
        let flood = vec![0xc0; 20_000];
        let [one, other] = &pair.wires;
        one.send_batch(relay(&running), &flood, 1_000).await;
        received += 3;
        for _ in 0..20 {
            received += other.receive_from(relay(&running)).await.len() as u64;
        }
        let [mut listener, connector] = pair.members;
        drop(connector);
        parts(&mut listener).await;
    }
    soon(async {
        while used_by(state.path(), "default") < received {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(used_by(state.path(), "default"), received);
}

#[tokio::test]
async fn a_key_that_has_used_up_its_month_is_slowed_down_and_not_cut_off() {
    let state = state_dir();
    let bind = ["--bind", &free().to_string()];
    let running = Running::start(state.path(), &bind);
    let url = ask(
        state.path(),
        &["keys", "add", "big", "--relay-gib-month", "1"],
    );
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let (month, id) = (month_of(state.path()), id_of(state.path(), "big"));
    let used = format!(
        "month = {month}\n[[key]]\nid = \"{id}\"\nrelay_bytes = {}\n",
        1_u64 << 30
    );
    fs::write(state.path().join("usage.toml"), used).unwrap();

    let running = Running::start(state.path(), &bind);
    let pair = Pair::new(&running, &url, Credential::None).await;
    pair.relays(&running).await;
    let flood = vec![0xc0; 60_000];
    let policed = || ask_json(state.path(), &["status", "--json"])["counters"]["policed"].as_u64();
    while policed() == Some(0) {
        for _ in 0..20 {
            pair.wires[0]
                .send_batch(relay(&running), &flood, 1_000)
                .await;
        }
    }
    let sessions = ask_json(state.path(), &["status", "--json"])["counters"]["sessions"].as_u64();
    assert_eq!(sessions, Some(1));
}

#[tokio::test]
async fn a_state_that_comes_from_a_backup_serves_under_the_same_url_and_knows_its_codes() {
    let state = state_dir();
    let bind = ["--bind", &free().to_string()];
    let running = Running::start(state.path(), &bind);
    let claim = running.peer().await.listen(None).await;
    let theirs = ask(state.path(), &["keys", "add", "team-a"]);
    let backup = state_dir();
    for file in ["identity.pem", "server-secret", "keys.toml", "access-key"] {
        fs::copy(state.path().join(file), backup.path().join(file)).unwrap();
    }
    // Revoked after the backup was made, and alive again with it, as docs/OPERATING.md says.
    ask(state.path(), &["keys", "revoke", "team-a"]);
    let before = running.first_line.clone();
    running.signal(Signal::TERM);
    assert_eq!(running.end().0, Some(0));
    let again = Running::start(backup.path(), &bind);
    assert_eq!(again.first_line, before);
    let mut listener = again.peer().await;
    assert_eq!(listener.listen(Some(claim.clone())).await, claim);
    peer(&theirs).await.listen(None).await;
}

/// Runs a script in a mount namespace of its own, with the program as `$0` and the directory as `$1`.
#[cfg(target_os = "linux")]
fn in_mount_namespace(script: &str, state: &Path) -> std::process::Output {
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--mount", "sh", "-c", script, PROGRAM])
        .arg(state);
    unshare.output().unwrap()
}

#[cfg(target_os = "linux")]
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"));
        eprintln!("skipped: it takes root to mount");
    }
    root
}

#[test]
#[cfg(target_os = "linux")]
fn a_state_directory_that_is_read_only_is_named_and_left_as_it_was() {
    if !is_root() {
        return;
    }
    let state = state_dir();
    let listing = |path: &Path| {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    ask(state.path(), &["keys", "list"]);
    let before = listing(state.path());
    let script = r#"mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$0" --bind 127.0.0.1:0 --alt-port 0 --state "$1""#;
    let output = in_mount_namespace(script, state.path());
    let line = complaint(&output);
    assert!(
        line.contains("not writable") && line.contains("Read-only"),
        "{line}"
    );
    assert_eq!(listing(state.path()), before);
}

#[test]
#[cfg(target_os = "linux")]
fn a_first_start_on_a_full_disk_is_refused_with_the_reason_and_the_next_one_works() {
    if !is_root() {
        return;
    }
    let state = state_dir();
    let script = r#"mount -t tmpfs -o size=64k,mode=700 tmpfs "$1"
        head -c 1m /dev/zero > "$1/full" 2> /dev/null
        "$0" --bind 127.0.0.1:0 --alt-port 0 --state "$1"
        echo "status $?"
        rm "$1/full"
        "$0" keys list --state "$1""#;
    let output = in_mount_namespace(script, state.path());
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(out.starts_with("status 1\n"), "{out}{err}");
    assert!(
        err.contains("cannot write") && err.contains("No space left"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(out.contains("default"), "{out}{err}");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn an_upgrade_to_another_version_of_the_state_starts_empty_and_serves() {
    let (state, home) = (state_dir(), state_dir());
    let program = home.path().join("p2pdbg-rendezvous");
    copy_program(Path::new(PROGRAM), &program);
    let mut running = Running::of_program(&program, state.path(), &ANY);
    let mut listener = running.peer().await;
    let used = listener.listen(None).await.nameplate;
    let (nameplate, fate) = (used, p2pdbg_proto::rendezvous::Fate::Used);
    listener
        .say(&ToRendezvous::Unlisten { nameplate, fate })
        .await;
    let kept = listener.listen(None).await;

    // What stands in its place hands the state on as one of a version that the program does not know.
    let other = format!(
        r#"#!/usr/bin/env python3
import array, os, socket, sys
if sys.argv[1:] == ["--version"]:
    sys.exit(0)
left, fds, _, _ = socket.recv_fds(socket.socket(fileno=os.dup(0)), 4, 253)
os.pwrite(fds[0], bytes([0, 0, 0, 1]), 0)
here, there = socket.socketpair()
socket.send_fds(here, [left], fds)
os.dup2(there.fileno(), 0)
os.execv("{PROGRAM}", sys.argv)
"#
    );
    let new = home.path().join("new");
    write_program(&new, &other);
    fs::rename(&new, &program).unwrap();
    running.signal(Signal::USR2);
    assert_eq!(running.next_line(), running.first_line);

    // It has not heard that the code was used, and knows that it may not have heard of it.
    let mut connector = running.peer_with(Credential::None).await;
    connector.say(&ToRendezvous::Join { nameplate: used }).await;
    assert_eq!(connector.refused().await, Refusal::NobodyThere);
    let mut listener = running.peer().await;
    assert_eq!(listener.listen(Some(kept.clone())).await, kept);
}

#[test]
fn a_state_file_of_a_wrong_length_or_kind_is_named() {
    for (file, contents) in [
        ("identity.pem", &b"-----BEGIN nothing"[..]),
        ("server-secret", b"short"),
        ("access-key", b"short"),
    ] {
        let state = state_dir();
        drop(Running::start(state.path(), &ANY));
        fs::write(state.path().join(file), contents).unwrap();
        let line = complaint(&run(state.path(), &ANY));
        assert!(line.contains(file), "{line}");
    }
}
