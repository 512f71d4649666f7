//! Strangers with forged sources: what the program sends to an address that has proved nothing, in bytes on the wire,
//! against what came from there.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use p2pdbg_identity::tls;
use p2pdbg_proto::{
    relay::{LegId, RelayFrame},
    secret::random_bytes,
    url::RendezvousUrl,
};
use quinn::{ClientConfig, EndpointConfig, crypto::rustls::QuicClientConfig};
use rustix::process::Signal;

use crate::{
    program::Running,
    support::{Wire, state_dir, stun_request},
};

/// What IPv4 and UDP put before each payload.
const HEADERS: usize = 20 + 8;

fn on_wire(datagrams: &[Vec<u8>]) -> usize {
    datagrams
        .iter()
        .map(|datagram| datagram.len() + HEADERS)
        .sum()
}

/// What a peer sends first: its Initial, or the several that its hello fills.
fn hello(url: &RendezvousUrl, to: SocketAddr) -> Vec<Vec<u8>> {
    let tls = tls::control_client(url.fingerprint).unwrap();
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut endpoint =
        quinn_proto::Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
    let now = Instant::now();
    let (_, mut connection) = endpoint.connect(now, config, to, tls::SERVER_NAME).unwrap();
    let mut all = Vec::new();
    loop {
        let mut datagram = Vec::new();
        if connection.poll_transmit(now, 1, &mut datagram).is_none() {
            return all;
        }
        all.push(datagram);
    }
}

/// A forged source, what it has said, and how often it says it.
struct Victim {
    wire: Wire,
    said: Vec<Vec<u8>>,
}

impl Victim {
    async fn of(to: SocketAddr, said: Vec<Vec<u8>>) -> Self {
        let wire = Wire::new();
        for datagram in &said {
            wire.send(to, datagram).await;
        }
        Self { wire, said }
    }
}

#[tokio::test]
async fn handshakes_that_nobody_answers_draw_three_times_their_bytes_at_the_most() {
    const VICTIMS: usize = 20;
    let state = state_dir();
    let mut running = Running::start_piped(state.path(), &["--bind", "127.0.0.1:0", "-vv"]);
    let to: SocketAddr = running.url().authority().parse().unwrap();
    let mut victims = Vec::new();
    for number in 0..VICTIMS {
        let mut said = hello(&running.url(), to);
        // Some say it again, and some send something small behind it.
        match number % 3 {
            1 => said.extend(said.clone()),
            2 => said.push(vec![0xc0; 30]),
            _ => {}
        }
        victims.push(Victim::of(to, said).await);
    }
    // By then each attempt has been repeated as often as it ever is.
    let stderr = BufReader::new(running.child.stderr.take().unwrap());
    let given_up = stderr.lines().map_while(Result::ok);
    let given_up = given_up.filter(|line| line.contains("a handshake took too long"));
    assert_eq!(given_up.take(VICTIMS).count(), VICTIMS);
    running.signal(Signal::TERM);
    running.end();
    let mut most = 0.0_f64;
    for victim in victims {
        let (received, sent) = (on_wire(&victim.said), on_wire(&victim.wire.drain()));
        assert!(sent > 0, "the attack draws something");
        assert!(sent <= 3 * received, "{sent} bytes for {received}");
        most = most.max(sent as f64 / received as f64);
    }
    println!("{VICTIMS} handshakes that nobody answered: {most:.2} times at the most");
}

/// What else draws an answer, each from a source of its own.
fn questions() -> Vec<Vec<u8>> {
    let leg = LegId(random_bytes());
    let mut all = vec![
        RelayFrame::Bind { leg, mac: [0; 32] }.encode(),
        RelayFrame::Answer {
            leg,
            cookie: random_bytes(),
            mac: random_bytes(),
        }
        .encode(),
    ];
    // The bare ones are the dearest.
    all.extend([0, 4, 16, 40, 100, 400].map(stun_request));
    all.push(stun_request(0)[..20].to_vec());
    // Versions of QUIC that nobody speaks, and short headers with connection ids that never were.
    for length in [1_200, 1_400] {
        let mut datagram = vec![0xa5; length];
        datagram[..6].copy_from_slice(&[0xc0, 0xab, 0xad, 0xca, 0xfe, 8]);
        datagram[14] = 8;
        all.push(datagram);
    }
    for length in [22, 40, 300, 1_400] {
        let mut datagram: Vec<u8> = (0..length).map(|n| (n * 37) as u8).collect();
        datagram[0] = 0x43;
        all.push(datagram);
    }
    all
}

#[tokio::test]
async fn no_answer_to_a_forged_source_is_three_times_its_question_on_the_wire() {
    let state = state_dir();
    let running = Running::start(state.path(), &["--bind", "127.0.0.1:0"]);
    let to: SocketAddr = running.url().authority().parse().unwrap();
    let mut victims = Vec::new();
    for question in questions() {
        victims.push(Victim::of(to, vec![question]).await);
    }
    // A hello is answered by more than one datagram, and by then all before it has been read.
    let last = Victim::of(to, vec![stun_request(40)]).await;
    last.wire.receive_from(to).await;
    running.signal(Signal::TERM);
    running.end();
    let mut answered = 0;
    for victim in victims {
        let (received, sent) = (on_wire(&victim.said), on_wire(&victim.wire.drain()));
        assert!(sent <= 3 * received, "{sent} bytes for {received}");
        answered += usize::from(sent > 0);
    }
    assert!(answered >= 8, "{answered} were answered");
}
