//! Two ends on this host that connect by TCP, and strangers at their ports.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use p2pdbg_net::mux::Datagram;
use p2pdbg_punch::{PunchKey, Role, SocketId, TcpProof};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use crate::{
    direct_tcp::{Connected, DirectTcp, DirectTcpEvent, to_ask},
    *,
};

/// A guard against a test that hangs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(60);

struct End {
    tcp: DirectTcp,
    port: u16,
    others: mpsc::Sender<Datagram>,
    heard: mpsc::Receiver<Datagram>,
}

impl End {
    /// It listens, and a server that is not there has been asked.
    async fn new(role: Role, key: u8) -> Self {
        let mut tcp = DirectTcp::new(role);
        tcp.gather(false);
        assert_eq!(
            tcp.v4_port(),
            None,
            "nothing before the peers know each other"
        );
        tcp.authenticated(PunchKey::new([key; 32]));
        let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        tcp.on_servers([nobody; 3].into_iter());
        tcp.expect([IpAddr::from(Ipv4Addr::LOCALHOST)].into_iter());
        tcp.gather(false);
        let port = tcp.v4_port().unwrap();
        let (others, heard) = mpsc::channel(8);
        let mut end = Self {
            tcp,
            port,
            others,
            heard,
        };
        let DirectTcpEvent::Ports(ports) = end.event().await else {
            panic!("nobody has connected yet");
        };
        assert_eq!(end.tcp.on_ports(ports).v4, Some(port));
        end
    }

    async fn event(&mut self) -> DirectTcpEvent {
        let event = tokio::time::timeout(PATIENCE, self.tcp.event()).await;
        event.expect("an event")
    }

    /// The connection that has proved to lead to the peer, as a socket.
    async fn connected(&mut self) -> Connected {
        let DirectTcpEvent::Proven(proven) = self.event().await else {
            panic!("a connection is due");
        };
        self.tcp.connect(proven, &self.others).unwrap()
    }

    async fn ended(&mut self) -> SocketId {
        let DirectTcpEvent::Ended(socket) = self.event().await else {
            panic!("an end is due");
        };
        socket
    }

    fn dial(&mut self, port: u16) {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.tcp.dial(vec![to], PATIENCE);
    }
}

#[tokio::test]
async fn connection_proves_itself_at_both_ends_and_carries_checks_until_one_closes_it() {
    let mut listener = End::new(Role::Controlled, 7).await;
    let mut connector = End::new(Role::Controlling, 7).await;
    connector.dial(listener.port);
    let here = connector.connected().await;
    let there = listener.connected().await;
    assert!(here.dialled && !there.dialled);
    assert_eq!(here.remote.port(), listener.port);
    connector.tcp.rest(Instant::now());
    for (length, byte) in [(20, 0), (1_200, 1)] {
        connector.tcp.send(here.socket.id, vec![byte; length]);
        let heard = listener.heard.recv().await.unwrap();
        assert_eq!(
            (heard.socket, heard.payload),
            (there.socket.id, vec![byte; length])
        );
        listener.tcp.send(there.socket.id, vec![byte; length]);
        let heard = connector.heard.recv().await.unwrap();
        assert_eq!(heard.from, here.remote);
    }
    connector.tcp.close(Instant::now(), here.socket.id);
    assert_eq!(listener.ended().await, there.socket.id);
}

#[tokio::test]
async fn strangers_and_whoever_has_another_key_get_nothing_and_keep_nobody_out() {
    let mut listener = End::new(Role::Controlled, 7).await;
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port));
    let mut held = Vec::new();
    for bytes in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 5, 1, 2, 3, 4, 5],
        &[0xff; 300],
    ] {
        let mut stranger = TcpStream::connect(at).await.unwrap();
        let _ = stranger.write_all(bytes).await;
        held.push(stranger);
    }
    let mut impostor = End::new(Role::Controlling, 8).await;
    impostor.dial(listener.port);
    // All that said something wrong are cut off.
    for stranger in &mut held[1..] {
        let mut answer = Vec::new();
        let cut = tokio::time::timeout(PATIENCE, stranger.read_to_end(&mut answer)).await;
        let _ = cut.expect("an end");
    }
    let mut connector = End::new(Role::Controlling, 7).await;
    connector.dial(listener.port);
    connector.connected().await;
    let connected = listener.connected().await;
    assert_eq!(connected.remote.port(), connector.port);
}

#[tokio::test]
async fn port_that_a_gateway_maps_is_told_once_the_servers_were_asked() {
    let mut end = End::new(Role::Controlled, 7).await;
    let external = Some(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 4_711)));
    assert_eq!(end.tcp.on_mapped(external).unwrap().mapped, external);
    end.tcp.gather(false);
    assert!(end.tcp.on_mapped(None).is_none());
}

#[test]
fn host_that_serves_the_web_is_asked_at_the_usual_port_too() {
    let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let asked = |texts: &[&str]| to_ask(addresses(texts).into_iter());
    let (v4, v6) = ("192.0.2.1:443", "[2001:db8::1]:80");
    let usual = ["192.0.2.1:3478", "[2001:db8::1]:3478"];
    assert_eq!(asked(&[v4, v6]), addresses(&[v4, v6, usual[0], usual[1]]));
    assert_eq!(
        asked(&[v4, "192.0.2.1:3479"]).last(),
        addresses(&usual).first()
    );
    assert_eq!(asked(&[usual[0], v4]), addresses(&[usual[0], v4]));
    assert_eq!(asked(&["192.0.2.1:5"]), addresses(&["192.0.2.1:5"]));
}

#[tokio::test]
async fn ports_close_once_nothing_is_looked_for_and_no_connection_stands() {
    let mut listener = End::new(Role::Controlled, 7).await;
    let mut connector = End::new(Role::Controlling, 7).await;
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port));
    assert_eq!(listener.tcp.poll_timeout(), None, "it is looked for");
    connector.dial(listener.port);
    connector.connected().await;
    let socket = listener.connected().await.socket.id;
    let start = Instant::now();
    listener.tcp.rest(start);
    assert_eq!(listener.tcp.poll_timeout(), None, "a connection stands");
    listener.tcp.close(start, socket);
    let closes = listener.tcp.poll_timeout().unwrap();
    assert!(closes > start && !listener.tcp.handle_timeout(start));
    // Whatever is looked for in between keeps them.
    listener.tcp.gather(false);
    assert!(!listener.tcp.handle_timeout(closes));
    listener.tcp.rest(start);
    assert!(listener.tcp.handle_timeout(closes));
    assert_eq!(
        (listener.tcp.v4_port(), listener.tcp.poll_timeout()),
        (None, None)
    );
    // The task that accepts ends when it is polled next.
    while TcpStream::connect(at).await.is_ok() {
        tokio::task::yield_now().await;
    }
    listener.tcp.gather(false);
    assert!(listener.tcp.v4_port().is_some());
}

#[tokio::test]
async fn port_of_the_web_is_listened_on_while_it_is_wanted_and_no_connection_goes_by_another() {
    let mut listener = End::new(Role::Controlled, 7).await;
    let mut connector = End::new(Role::Controlling, 7).await;
    assert!(listener.tcp.gather(true) && !listener.tcp.gather(true));
    assert!(listener.tcp.gather(false) && !listener.tcp.gather(false));
    let port = listener.tcp.v4_port().unwrap();
    assert_ne!(port, p2pdbg_punch::WEB_PORT);
    connector.dial(port);
    connector.connected().await;
    let socket = loop {
        if let DirectTcpEvent::Proven(proven) = listener.event().await {
            break listener
                .tcp
                .connect(proven, &listener.others)
                .unwrap()
                .socket
                .id;
        }
    };
    assert!(!listener.tcp.gather(true), "a connection stands");
    assert_eq!(listener.tcp.v4_port(), Some(port));
    listener.tcp.close(Instant::now(), socket);
    assert!(listener.tcp.gather(true));
}

#[tokio::test]
async fn strangers_at_the_peers_address_cannot_push_out_who_has_begun_as_the_peer_does() {
    let mut listener = End::new(Role::Controlled, 7).await;
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, listener.port));
    let key = PunchKey::new([7; 32]);
    let mut proof = TcpProof::new(&key, Role::Controlling, true, [1; 32]);
    let mut peer = TcpStream::connect(at).await.unwrap();
    say(&mut peer, &proof.begin().unwrap()).await;
    let answer = hear(&mut peer).await;
    // Many more than there are places, all from the address of the peer, before it goes on.
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(TcpStream::connect(at).await.unwrap());
    }
    // The last of them has been let in when one of those before it had to go.
    let cut = tokio::time::timeout(PATIENCE, crowd[30].read(&mut [0])).await;
    let _ = cut.expect("an end");
    let step = proof.handle(&answer).unwrap();
    say(&mut peer, &step.reply.unwrap()).await;
    let proven = proof.handle(&hear(&mut peer).await).unwrap();
    assert!(proven.proven);
    listener.connected().await;
}

async fn say(stream: &mut TcpStream, message: &[u8]) {
    let length = (message.len() as u16).to_be_bytes();
    stream
        .write_all(&[&length, message].concat())
        .await
        .unwrap();
}

async fn hear(stream: &mut TcpStream) -> Vec<u8> {
    let length = tokio::time::timeout(PATIENCE, stream.read_u16());
    let mut message = vec![0; length.await.unwrap().unwrap().into()];
    stream.read_exact(&mut message).await.unwrap();
    message
}
