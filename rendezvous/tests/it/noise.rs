//! A million datagrams, and frames, that mean nothing: at the program as an operator runs it.
#![cfg(target_os = "linux")]

use std::{fs, net::SocketAddr, time::Duration};

use p2pdbg_proto::{
    rendezvous::{Credential, FromRendezvous, ToRendezvous},
    secret::random_bytes,
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::{
    program::{ANY, Running},
    support::{Peer, Wire, soon, state_dir, stun_request},
};

/// How many datagrams each port gets.
const EACH: usize = 500_000;

/// Datagrams of one size that go out in one call.
const BATCH: usize = 50;

/// After how many batches it is waited until the program has read what came.
const PACE: usize = 64;

/// What may stay of all of it in the program's memory, in bytes: buffers of sockets and of the allocator.
const MOST_LEFT: u64 = 16 << 20;

/// What the program has in memory, in bytes.
fn resident(running: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib << 10
}

/// Random bytes, of which the first is `first`: so each protocol of a port gets its share.
fn noise(first: u8, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 32);
    while bytes.len() < size {
        bytes.extend(random_bytes::<32>());
    }
    bytes.truncate(size);
    bytes[0] = first;
    bytes
}

/// Waits until the port has read what was sent to it before.
async fn caught_up(port: SocketAddr) {
    loop {
        let wire = Wire::new();
        wire.send(port, &stun_request(40)).await;
        // A question is lost where the port's buffer is full.
        let answer = timeout(Duration::from_millis(200), wire.receive_from(port));
        if answer.await.is_ok() {
            return;
        }
    }
}

async fn flood(port: SocketAddr) {
    let sizes = [1, 20, 48, 82, 200, 600, 1_200];
    let wire = Wire::new();
    for n in 0..EACH / BATCH {
        let size = sizes[n % sizes.len()];
        let first = u8::try_from(n % 256).unwrap();
        let mut batch = noise(first, size * BATCH);
        batch
            .chunks_mut(size)
            .for_each(|datagram| datagram[0] = first);
        wire.send_batch(port, &batch, size).await;
        if n % PACE == 0 {
            caught_up(port).await;
            wire.drain();
        }
    }
    caught_up(port).await;
}

#[tokio::test]
async fn a_million_random_datagrams_leave_the_program_serving_and_its_memory_bounded() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let main: SocketAddr = running.url().authority().parse().unwrap();
    let mut listener = Peer::connect(main, running.url().fingerprint.unwrap()).await;
    listener.hello(running.key()).await;
    let FromRendezvous::Welcome { stun, .. } = listener.hear().await else {
        panic!("no welcome");
    };
    let claim = listener.listen(None).await;
    let before = resident(&running);
    flood(main).await;
    flood(SocketAddr::new(main.ip(), stun[1].port())).await;
    let left = resident(&running).saturating_sub(before);
    println!(
        "{} KiB more in memory after {} datagrams",
        left >> 10,
        2 * EACH
    );
    assert!(left < MOST_LEFT, "{left} bytes");
    // Who was there is there, and who comes is served.
    assert_eq!(listener.listen(Some(claim.clone())).await, claim);
    let mut joiner = running.peer_with(Credential::None).await;
    let nameplate = claim.nameplate;
    joiner.say(&ToRendezvous::Join { nameplate }).await;
    joiner.introduced().await;
}

#[tokio::test]
async fn random_frames_before_and_after_the_handshakes_end_their_connections_alone() {
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let url = running.url();
    let main: SocketAddr = url.authority().parse().unwrap();
    let mut listener = running.peer().await;
    let claim = listener.listen(None).await;
    for n in 0..=255u8 {
        // Before TLS, instead of its first record.
        let mut tcp = TcpStream::connect(main).await.unwrap();
        // It may have been closed already.
        let _ = tcp.write_all(&noise(n, 2_000)).await;
        drop(tcp);
        // Behind the handshake, instead of the first message and of a later one. A length that is none ends it at once.
        let mut stranger = Peer::connect(main, url.fingerprint.unwrap()).await;
        let is_welcome = n % 2 == 0;
        if is_welcome {
            stranger.hello(Credential::None).await;
            stranger.hear().await;
        }
        let mut frame = noise(n, 400);
        frame[..4].copy_from_slice(&[0, 0, 1, n]);
        let _ = stranger.send.write_all(&frame).await;
        let _ = stranger.send.finish();
        soon(stranger.connection.closed()).await;
    }
    assert!(listener.connection.close_reason().is_none());
    assert_eq!(listener.listen(Some(claim.clone())).await, claim);
}
