//! Strangers with forged sources: what the program sends to an address that has proved nothing, in bytes on the wire,
//! against what came from there.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use p2pdbg_identity::tls;
use p2pdbg_proto::{
    frame,
    relay::{LegId, RelayFrame},
    rendezvous::{Credential, ToRendezvous},
    secret::random_bytes,
    url::RendezvousUrl,
};
use p2pdbg_rendezvous::{Limits, Rate};
use quinn::{ClientConfig, EndpointConfig, TransportConfig, crypto::rustls::QuicClientConfig};
use quinn_proto::{ConnectionHandle, DatagramEvent, Dir};
use rustix::process::Signal;

use crate::{
    program::Running,
    support::{Rig, Wire, state_dir, stun_request},
};

/// What IPv4 and UDP put before each payload.
const HEADERS: usize = 20 + 8;

fn on_wire(datagrams: &[Vec<u8>]) -> usize {
    datagrams
        .iter()
        .map(|datagram| datagram.len() + HEADERS)
        .sum()
}

fn client_config(url: &RendezvousUrl) -> ClientConfig {
    let tls = tls::control_client(url.fingerprint).unwrap();
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

fn client_endpoint() -> quinn_proto::Endpoint {
    quinn_proto::Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None)
}

/// What a peer sends first: its Initial, or the several that its hello fills.
fn hello(url: &RendezvousUrl, to: SocketAddr) -> Vec<Vec<u8>> {
    let now = Instant::now();
    let (_, mut connection) = client_endpoint()
        .connect(now, client_config(url), to, tls::SERVER_NAME)
        .unwrap();
    said(&mut connection)
}

/// A first Initial whose decryption fails, of a connection id that was not there before: an attempt that ends at once.
fn spoilt_hello(url: &RendezvousUrl, to: SocketAddr) -> Vec<u8> {
    let mut first = hello(url, to).swap_remove(0);
    *first.last_mut().unwrap() ^= 1;
    first
}

/// What a connection has to say now.
fn said(connection: &mut quinn_proto::Connection) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut datagram = Vec::new();
        let transmit = connection.poll_transmit(Instant::now(), 1, &mut datagram);
        if transmit.is_none() {
            return all;
        }
        all.push(datagram);
    }
}

/// A connection of somebody who can have what it says come from elsewhere.
struct Forger {
    endpoint: quinn_proto::Endpoint,
    handle: ConnectionHandle,
    connection: quinn_proto::Connection,
    own: Wire,
    to: SocketAddr,
}

impl Forger {
    async fn connect(url: &RendezvousUrl, to: SocketAddr) -> Self {
        let mut transport = TransportConfig::default();
        transport.mtu_discovery_config(None);
        let mut config = client_config(url);
        config.transport_config(Arc::new(transport));
        let mut endpoint = client_endpoint();
        let (handle, connection) = endpoint
            .connect(Instant::now(), config, to, tls::SERVER_NAME)
            .unwrap();
        let mut forger = Self {
            endpoint,
            handle,
            connection,
            own: Wire::new(),
            to,
        };
        forger.speak().await;
        // What comes from elsewhere before that is passed over.
        while forger.connection.stats().frame_rx.handshake_done == 0 {
            forger.listen().await;
            forger.speak().await;
        }
        // Who says nothing is shut out after 10 s.
        let (credential, agent) = (Credential::None, "test".into());
        let mut hello = Vec::new();
        frame::encode(&ToRendezvous::Hello { credential, agent }, &mut hello).unwrap();
        let stream = forger.connection.streams().open(Dir::Bi).unwrap();
        let written = forger.connection.send_stream(stream).write(&hello);
        assert_eq!(written, Ok(hello.len()));
        forger.speak().await;
        forger
    }

    /// Says what there is to say from where it is.
    async fn speak(&mut self) {
        for datagram in said(&mut self.connection) {
            self.own.send(self.to, &datagram).await;
        }
    }

    /// Takes the next datagram that comes there.
    async fn listen(&mut self) {
        let datagram = self.own.receive_from(self.to).await;
        let (data, mut answer) = (BytesMut::from(&datagram[..]), Vec::new());
        let now = Instant::now();
        let event = self
            .endpoint
            .handle(now, self.to, None, None, data, &mut answer);
        if let Some(DatagramEvent::ConnectionEvent(_, event)) = event {
            self.connection.handle_event(event);
        }
        while let Some(event) = self.connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(self.handle, event) {
                self.connection.handle_event(event);
            }
        }
    }

    /// Says something small as if it were somewhere else.
    async fn forge(&mut self, victim: &mut Victim) {
        self.connection.ping();
        for datagram in said(&mut self.connection) {
            victim.wire.send(self.to, &datagram).await;
            victim.said.push(datagram);
        }
    }
}

#[tokio::test]
async fn a_connection_that_claims_to_have_moved_draws_three_times_its_bytes_and_few_datagrams() {
    const TURNS: usize = 40;
    const MOST: usize = 1_200 + HEADERS;
    const MOMENT: Duration = Duration::from_millis(20);
    let few = Rate {
        burst: 2,
        per_minute: 1,
    };
    let limits = Limits {
        moved: few,
        ..Limits::default()
    };
    let rig = Rig::with(limits).await;
    let to = rig.main();
    let mut forger = Forger::connect(rig.server.url(), to).await;
    // Attempts that end at once, and must not be counted twice.
    let spoilt = || (0..4).map(|_| spoilt_hello(rig.server.url(), to)).collect();
    let mut victims = [
        Victim::of(to, spoilt()).await,
        Victim::of(to, spoilt()).await,
    ];
    forger.forge(&mut victims[0]).await;
    let mut sent = on_wire(&[victims[0].wire.receive_from(to).await]);
    for turn in 0..TURNS {
        forger.connection.ping();
        forger.speak().await;
        forger.listen().await;
        forger.speak().await;
        let victim = &mut victims[turn % 2];
        forger.forge(victim).await;
        // Whoever attacks gives the challenge a moment: moved back at once, the connection sends none.
        let challenge = victim.wire.receive_from(to);
        if let Ok(challenge) = tokio::time::timeout(MOMENT, challenge).await {
            sent += on_wire(&[challenge]);
        }
    }
    rig.server.shutdown().await;
    let received: usize = victims.iter().map(|victim| on_wire(&victim.said)).sum();
    let rest = victims.iter().map(|victim| on_wire(&victim.wire.drain()));
    sent += rest.sum::<usize>();
    println!("{received} bytes with forged sources: {sent} bytes");
    // One more may have come back within a minute.
    assert!(
        sent <= 3 * received + 3 * MOST,
        "{sent} bytes for {received}"
    );
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
