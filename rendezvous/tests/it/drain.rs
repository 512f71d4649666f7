//! The program as it is taken out of service and back.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

use p2pdbg_proto::rendezvous::{Credential, FromRendezvous, Introduction, Refusal, ToRendezvous};
use serde_json::Value;

use crate::{
    program::{ANY, PROGRAM, Running},
    support::{Peer, Wire, state_dir},
};

/// Tells the rendezvous that serves there; what it says.
fn tell(state: &Path, words: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    let output = command.args(words).arg("--state").arg(state).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn status(state: &Path) -> Value {
    serde_json::from_str(&tell(state, &["status", "--json"])).unwrap()
}

/// A session whose members have both confirmed.
async fn session(running: &Running) -> [(Peer, Introduction); 2] {
    let mut listener = running.peer().await;
    let nameplate = listener.listen(None).await.nameplate;
    let mut connector = running.peer_with(Credential::None).await;
    connector.say(&ToRendezvous::Join { nameplate }).await;
    let introductions = [listener.introduced().await, connector.introduced().await];
    let [one, other] = introductions;
    for member in [&mut listener, &mut connector] {
        let session = one.session;
        member.say(&ToRendezvous::Confirmed { session }).await;
    }
    [(listener, one), (connector, other)]
}

/// What somebody is told who asks for a code.
async fn asks_for_a_code(peer: &mut Peer) -> FromRendezvous {
    peer.say(&ToRendezvous::Listen { claim: None }).await;
    peer.hear().await
}

/// How long the rendezvous may be there yet, which is what it says next.
async fn hears_of_the_drain(peer: &mut Peer) -> Option<u32> {
    match peer.hear().await {
        FromRendezvous::Draining { left_s } => left_s,
        other => panic!("{other:?}"),
    }
}

/// The status of the answer.
fn ready(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_drain_refuses_new_codes_and_sessions_keeps_those_that_run_and_is_taken_back() {
    let state = state_dir();
    let args = [&ANY[..], &["--metrics", "127.0.0.1:0"]].concat();
    let mut running = Running::start_piped(state.path(), &args);
    let mut stderr = BufReader::new(running.child.stderr.take().unwrap()).lines();
    let metrics: SocketAddr = stderr
        .find_map(|line| {
            let line = line.unwrap();
            let (_, url) = line.split_once("a page at http://")?;
            url.trim_end_matches('/').parse().ok()
        })
        .unwrap();
    let members = session(&running).await;
    let mut waiting = running.peer().await;
    let nameplate = waiting.listen(None).await.nameplate;
    assert_eq!(ready(metrics), "200");

    assert!(tell(state.path(), &["drain", "--for", "1h"]).contains("no new codes"));
    // Who is here is told at once, and who comes when it comes.
    let hour = 3_500..=3_600;
    let left = hears_of_the_drain(&mut waiting).await;
    assert!(left.is_some_and(|left| hour.contains(&left)), "{left:?}");
    let mut late = running.peer().await;
    let left = hears_of_the_drain(&mut late).await;
    assert!(left.is_some_and(|left| hour.contains(&left)), "{left:?}");
    let told = asks_for_a_code(&mut late).await;
    let draining = |told: &FromRendezvous| matches!(told, FromRendezvous::Refused { refusal, .. } if *refusal == Refusal::Draining);
    assert!(draining(&told), "{told:?}");
    late.say(&ToRendezvous::Join { nameplate }).await;
    assert_eq!(late.refused().await, Refusal::Draining);
    assert_eq!(ready(metrics), "503");
    // A second one, without a time, changes nothing; one with another time is told.
    tell(state.path(), &["drain"]);
    assert!(status(state.path())["draining_s"].as_u64().unwrap() > 600);
    tell(state.path(), &["drain", "--for", "2h"]);
    let left = hears_of_the_drain(&mut waiting).await;
    assert!(left.is_some_and(|left| left > 7_000), "{left:?}");

    let relay: SocketAddr = running.url().authority().parse().unwrap();
    let wires = [Wire::new(), Wire::new()];
    for (wire, (_, introduction)) in wires.iter().zip(&members) {
        wire.bind_leg(relay, &introduction.leg).await;
    }
    let datagram = [&[0x40][..], &[7; 99]].concat();
    wires[0].send(relay, &datagram).await;
    assert_eq!(wires[1].receive_from(relay).await, datagram);

    assert!(tell(state.path(), &["undrain"]).contains("again"));
    assert!(tell(state.path(), &["undrain"]).contains("not draining"));
    assert_eq!(status(state.path())["draining_s"], Value::Null);
    assert_eq!(ready(metrics), "200");
    assert_eq!(hears_of_the_drain(&mut waiting).await, None);
    let told = asks_for_a_code(&mut running.peer().await).await;
    assert!(matches!(told, FromRendezvous::Listening(_)), "{told:?}");
}

#[tokio::test]
async fn a_drain_ends_the_process_with_the_last_session_and_tells_who_waits_when_to_come_back() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let [(listener, introduction), (connector, _)] = session(&running).await;
    let mut waiting = running.peer().await;
    tell(state.path(), &["drain", "--for", "1h"]);
    let session = introduction.session;
    let mut listener = listener;
    listener.say(&ToRendezvous::Leave { session }).await;
    assert!(hears_of_the_drain(&mut waiting).await.is_some());
    let told = waiting.hear().await;
    assert!(matches!(told, FromRendezvous::Stopping { .. }), "{told:?}");
    drop(connector);
    assert_eq!(running.end().0, Some(0));
}

#[tokio::test]
async fn a_drain_ends_the_process_at_its_deadline_whatever_runs() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let _members = session(&running).await;
    tell(state.path(), &["drain", "--for", "1s"]);
    assert_eq!(running.end().0, Some(0));
}
