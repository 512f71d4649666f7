//! Crowds of connections that say nothing, at the program as an operator runs it.
#![cfg(target_os = "linux")]

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use p2pdbg_proto::{
    frame,
    rendezvous::{Credential, FromRendezvous, ToRendezvous},
    url::RendezvousUrl,
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{
    operator::{self, ask},
    program::Running,
    support::{dial, endpoint_on, soon, state_dir},
    tcp::Talker,
};

const ANY: [&str; 2] = ["--bind", "127.0.0.1:0"];

/// Silent connections that there are at a time.
const CROWD: usize = 1_000;

/// Where they come from.
const ATTACKER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 66));

fn honest(n: u8) -> IpAddr {
    [127, 0, 1, n].into()
}

/// This process needs some more descriptors than it may have been started with.
fn take_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all).unwrap();
}

async fn silent(url: &RendezvousUrl) -> TcpStream {
    let address: SocketAddr = url.authority().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(ATTACKER, 0)).unwrap();
    socket.connect(address).await.unwrap()
}

/// Keeps a crowd of silent connections up, with 200 new ones a second.
async fn crowd(url: RendezvousUrl, gathered: tokio::sync::oneshot::Sender<()>) {
    let mut crowd = VecDeque::new();
    while crowd.len() < CROWD {
        crowd.push_back(silent(&url).await);
    }
    let _ = gathered.send(());
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    loop {
        pace.tick().await;
        crowd.pop_front();
        crowd.push_back(silent(&url).await);
    }
}

/// The figure in docs/SECURITY.md is what this prints with `--nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_silent_connections_and_two_hundred_more_a_second_keep_nobody_out() {
    take_descriptors();
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let url = running.url();
    let (gathered, up) = tokio::sync::oneshot::channel();
    let attack = tokio::spawn(crowd(url.clone(), gathered));
    up.await.unwrap();
    let mut slowest = [Duration::ZERO; 2];
    for n in 0..20 {
        let began = Instant::now();
        running.peer_with(running.key()).await;
        slowest[0] = slowest[0].max(began.elapsed());
        let began = Instant::now();
        let talker = Talker::from(honest(n), &url, Credential::None).await;
        assert!(talker.is_some(), "over TCP, from another address");
        slowest[1] = slowest[1].max(began.elapsed());
    }
    println!(
        "let in within {:?} over QUIC, {:?} over TCP",
        slowest[0], slowest[1]
    );
    assert!(!attack.is_finished());
    attack.abort();
}

/// One of the addresses of a crowd.
fn from(n: u16) -> IpAddr {
    let [_, last] = n.to_be_bytes();
    [127, 0, 2, last].into()
}

/// A connection of the crowd from there that says one byte, and is made anew as soon as it is dropped.
async fn insist(address: SocketAddr, from: IpAddr) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        // Refused and reset, it tries again.
        if let Ok(mut stream) = socket.connect(address).await
            && stream.write_all(&[22]).await.is_ok()
        {
            let _ = stream.read(&mut [0; 64]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_fill_all_places_and_come_again_at_once_keep_nobody_out() {
    take_descriptors();
    let state = state_dir();
    let running = Running::start(state.path(), &ANY);
    let url = running.url();
    let address: SocketAddr = url.authority().parse().unwrap();
    // As many as there are places for attempts over TCP: 512, 32 of an address.
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..512u16 {
        crowd.spawn(insist(address, from(n / 32)));
    }
    for n in 0..20 {
        let talker = Talker::from(honest(n), &url, Credential::None).await;
        assert!(talker.is_some(), "peer {n}");
    }
    assert_eq!(crowd.len(), 512);
}

/// A peer of a crowd that has this key, which comes from there, and again as soon as it is shut out or refused.
async fn hold_a_place(url: RendezvousUrl, from: IpAddr, key: Credential, held: Arc<AtomicUsize>) {
    let address: SocketAddr = url.authority().parse().unwrap();
    let fingerprint = url.fingerprint.unwrap();
    let agent = "test 1.0".to_owned();
    let credential = key;
    let mut hello = Vec::new();
    frame::encode(&ToRendezvous::Hello { credential, agent }, &mut hello).unwrap();
    let socket = std::net::UdpSocket::bind((from, 0)).unwrap();
    let endpoint = endpoint_on(socket);
    loop {
        let Ok(connection) = dial(&endpoint, address, fingerprint).await else {
            continue;
        };
        let Ok((mut send, mut receive)) = connection.open_bi().await else {
            continue;
        };
        let _ = send.write_all(&hello).await;
        let heard = p2pdbg_frames::read::<FromRendezvous>(&mut receive).await;
        if let Ok(Some(FromRendezvous::Welcome { .. })) = heard {
            held.fetch_add(1, Ordering::Relaxed);
            connection.closed().await;
            held.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The figure in docs/SECURITY.md is what this prints with `--nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_that_fills_every_place_from_many_addresses_keeps_no_other_key_out() {
    let state = state_dir();
    let args = [
        "--max-peers",
        "64",
        "--max-peers-per-address",
        "40",
        "--bind",
        "127.0.0.1:0",
    ];
    let running = Running::start(state.path(), &args);
    let other = ask(state.path(), &["keys", "add", "other"]);
    let held = Arc::new(AtomicUsize::new(0));
    let mut crowd = tokio::task::JoinSet::new();
    for n in 0..96 {
        let (url, key) = (running.url(), running.key());
        crowd.spawn(hold_a_place(url, from(n / 8), key, held.clone()));
    }
    soon(async {
        while held.load(Ordering::Relaxed) < 48 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut slowest = Duration::ZERO;
    let mut honest = Vec::new();
    for n in 0..20 {
        let began = Instant::now();
        let mut peer = operator::peer(&other).await;
        let nameplate = peer.listen(None).await.nameplate;
        if n % 4 == 0 {
            let mut joiner = running.peer_with(Credential::None).await;
            joiner.say(&ToRendezvous::Join { nameplate }).await;
            joiner.introduced().await;
            honest.push(joiner);
        }
        slowest = slowest.max(began.elapsed());
        honest.push(peer);
    }
    println!("let in within {slowest:?}");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    // Nobody of them has to go for those who come again and again.
    for peer in &mut honest[..] {
        peer.told().await;
    }
    assert_eq!(crowd.len(), 96);
}

#[tokio::test]
async fn strangers_over_tcp_leave_descriptors_to_those_who_have_the_key() {
    let state = state_dir();
    let args = [&ANY[..], &["--max-peers-per-address", "4"]].concat();
    let running = Running::start_with_descriptors(128, state.path(), &args);
    let url = running.url();
    let mut strangers = Vec::new();
    for n in 0..128 {
        let stranger = Talker::from(honest(n), &url, Credential::None).await;
        strangers.extend(stranger);
    }
    // Of 128, 64 are for connections, and of these three quarters for those without the key.
    assert_eq!(strangers.len(), 48);
    let friend = Talker::from(honest(200), &url, running.key()).await;
    assert!(friend.is_some());
}

#[tokio::test]
async fn running_out_of_descriptors_is_survived_and_said_once() {
    let state = state_dir();
    let mut running = Running::start_piped(state.path(), &ANY);
    let url = running.url();
    let pid = Pid::from_child(&running.child);
    let before = prlimit(
        Some(pid),
        Resource::Nofile,
        Rlimit {
            current: Some(1),
            maximum: getrlimit(Resource::Nofile).maximum,
        },
    )
    .unwrap();
    let stderr = running.child.stderr.take().unwrap();
    let mut lines = BufReader::new(stderr).lines();
    let waiting = silent(&url).await;
    let said = loop {
        let line = lines.next().unwrap().unwrap();
        if line.contains("cannot accept connections over TCP") {
            break line;
        }
    };
    assert!(said.contains("Too many open files"), "{said}");
    // QUIC needs none.
    running.peer_with(running.key()).await;
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    assert!(Talker::from(honest(1), &url, running.key()).await.is_some());
    drop((waiting, running));
    let more: Vec<_> = lines.map_while(Result::ok).collect();
    let again = more.iter().filter(|line| line.contains("cannot accept"));
    assert!(again.count() <= 1, "{more:?}");
}
