//! A rendezvous to test, and a peer that says what it is told to say.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use p2pdbg_identity::tls;
use p2pdbg_proto::{
    fingerprint::Fingerprint,
    frame,
    relay::{Cookie, LegGrant, LegId, RelayFrame, RelayRefusal, answer_mac},
    rendezvous::{
        Credential, FromRendezvous, Introduction, NameplateClaim, Refusal, Role, ToRendezvous,
    },
    url::AccessKey,
};
use p2pdbg_rendezvous::{Limits, Server, ServerConfig};
use p2pdbg_stun::{Attribute, Class, Encoder, TransactionId};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream,
    TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
    udp::{Transmit, UdpSocketState},
};
use tempfile::TempDir;
use tokio::net::UdpSocket;

/// Longer than anything here takes; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it happens in time")
}

/// The number of a member's next attempt at a leg over TCP: greater than those before it.
pub(crate) fn next_attempt() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    since.as_nanos().try_into().unwrap()
}

/// A rendezvous on loopback with a state directory of its own.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) state: TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let state = state_dir();
        let server = serve(&state, limits).await;
        Self { server, state }
    }

    /// Stops the server and starts another with the same state.
    pub(crate) async fn restart(self) -> Self {
        let Self { server, state } = self;
        server.shutdown().await;
        let server = serve(&state, Limits::default()).await;
        Self { server, state }
    }

    pub(crate) fn main(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub(crate) fn alternative(&self) -> SocketAddr {
        self.server.alternatives()[0]
    }

    pub(crate) fn key(&self) -> Credential {
        let key: AccessKey = self.server.url().access_key.clone().expect("not open");
        Credential::AccessKey(key)
    }

    /// Somebody who has connected and not said anything yet.
    pub(crate) async fn stranger(&self) -> Peer {
        let fingerprint = self.server.url().fingerprint.expect("always given");
        Peer::connect(self.main(), fingerprint).await
    }

    /// Somebody who was welcomed.
    pub(crate) async fn peer(&self, credential: Credential) -> Peer {
        let mut peer = self.stranger().await;
        peer.hello(credential).await;
        assert!(matches!(peer.hear().await, FromRendezvous::Welcome { .. }));
        peer
    }

    /// A listener with a nameplate.
    pub(crate) async fn listener(&self) -> (Peer, NameplateClaim) {
        let mut listener = self.peer(self.key()).await;
        let claim = listener.listen(None).await;
        (listener, claim)
    }

    /// Two peers that have been introduced and have not confirmed yet.
    pub(crate) async fn introduced(&self) -> (Member, Member) {
        let (mut listener, claim) = self.listener().await;
        let nameplate = claim.nameplate;
        let mut connector = self.peer(Credential::None).await;
        connector.say(&ToRendezvous::Join { nameplate }).await;
        let listener = Member {
            introduction: listener.introduced().await,
            peer: listener,
        };
        let connector = Member {
            introduction: connector.introduced().await,
            peer: connector,
        };
        assert_eq!(listener.introduction.role, Role::Listener);
        assert_eq!(connector.introduction.role, Role::Connector);
        (listener, connector)
    }

    /// Two peers in a session that both have confirmed.
    pub(crate) async fn pair(&self) -> (Member, Member) {
        let (mut listener, mut connector) = self.introduced().await;
        let session = listener.introduction.session;
        for member in [&mut listener, &mut connector] {
            let confirmed = ToRendezvous::Confirmed { session };
            member.peer.say(&confirmed).await;
        }
        for member in [&mut listener, &mut connector] {
            let seen = FromRendezvous::PeerSeen {
                session,
                addresses: vec![[127, 0, 0, 1].into()],
                bound: false,
            };
            assert!(member.introduction.peer_seen.is_empty());
            assert_eq!(member.peer.hear().await, seen);
        }
        let vouched = connector.peer.hear().await;
        assert!(matches!(vouched, FromRendezvous::Vouched { .. }));
        (listener, connector)
    }
}

/// A peer in a session.
pub(crate) struct Member {
    pub(crate) peer: Peer,
    pub(crate) introduction: Introduction,
}

pub(crate) fn state_dir() -> TempDir {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir().expect("a temporary directory")
}

/// An address that is free over TCP and over UDP, at a port that the operating system gives to no socket that asks for
/// any: it stays free until a program is there, and while that is started again.
pub(crate) fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 4_000;
    const COUNT: u16 = 4_000;
    let start = u16::try_from(std::process::id() % 200).unwrap() * 20;
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start);
        let at = SocketAddr::from(([127, 0, 0, 1], FIRST + offset % COUNT));
        let tcp = std::net::TcpListener::bind(at);
        if tcp.is_ok() && std::net::UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

async fn serve(state: &TempDir, limits: Limits) -> Server {
    Server::start(ServerConfig {
        bind: vec!["127.0.0.1:0".parse().unwrap()],
        alt_port: 0,
        state: Some(state.path().into()),
        web: Some("127.0.0.1:0".parse().unwrap()),
        limits,
        ..ServerConfig::default()
    })
    .await
    .expect("the rendezvous starts")
}

/// One control connection.
pub(crate) struct Peer {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    receive: RecvStream,
    pub(crate) local: SocketAddr,
    _endpoint: Endpoint,
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr, fingerprint: Fingerprint) -> Self {
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => "127.0.0.1:0".parse().unwrap(),
            SocketAddr::V6(_) => "[::1]:0".parse().unwrap(),
        };
        Self::connect_from(endpoint_at(local), address, fingerprint).await
    }

    /// From a socket of the caller's.
    pub(crate) async fn connect_from(
        endpoint: Endpoint,
        address: SocketAddr,
        fingerprint: Fingerprint,
    ) -> Self {
        let connection = soon(dial(&endpoint, address, fingerprint));
        let connection = connection.await.expect("a handshake");
        Self::over(endpoint, connection).await
    }

    /// With room for so many bytes that it has not heard yet, so that the rendezvous keeps what comes on top.
    pub(crate) async fn connect_deaf(
        address: SocketAddr,
        fingerprint: Fingerprint,
        window: u32,
    ) -> Self {
        let mut transport = TransportConfig::default();
        transport.receive_window(VarInt::from_u32(window));
        let endpoint = endpoint();
        let tls = tls::control_client(Some(fingerprint)).unwrap();
        let connection = soon(dial_through(&endpoint, address, tls, transport));
        let connection = connection.await.expect("a handshake");
        Self::over(endpoint, connection).await
    }

    async fn over(endpoint: Endpoint, connection: Connection) -> Self {
        let (send, receive) = soon(connection.open_bi()).await.expect("a stream");
        Self {
            local: endpoint.local_addr().unwrap(),
            connection,
            send,
            receive,
            _endpoint: endpoint,
        }
    }

    pub(crate) async fn say(&mut self, message: &ToRendezvous) {
        let mut bytes = Vec::new();
        frame::encode(message, &mut bytes).unwrap();
        soon(self.send.write_all(&bytes)).await.unwrap();
    }

    pub(crate) async fn hello(&mut self, credential: Credential) {
        let agent = "test 1.0".into();
        self.say(&ToRendezvous::Hello { credential, agent }).await;
    }

    /// The next message.
    pub(crate) async fn hear(&mut self) -> FromRendezvous {
        soon(self.read()).await.expect("a message")
    }

    async fn read(&mut self) -> Option<FromRendezvous> {
        match p2pdbg_frames::read(&mut self.receive).await {
            Ok(message) => message,
            Err(p2pdbg_frames::ReadError::Stream(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn listen(&mut self, claim: Option<NameplateClaim>) -> NameplateClaim {
        self.say(&ToRendezvous::Listen { claim }).await;
        match self.hear().await {
            FromRendezvous::Listening(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn introduced(&mut self) -> Introduction {
        match self.hear().await {
            FromRendezvous::Introduced(introduction) => introduction,
            other => panic!("{other:?}"),
        }
    }

    /// What it is told until its ping is answered.
    pub(crate) async fn told(&mut self) -> Vec<FromRendezvous> {
        self.say(&ToRendezvous::Ping).await;
        let mut all = Vec::new();
        loop {
            match self.hear().await {
                FromRendezvous::Pong => return all,
                message => all.push(message),
            }
        }
    }

    pub(crate) async fn refused(&mut self) -> Refusal {
        match self.hear().await {
            FromRendezvous::Refused { refusal, .. } => refusal,
            other => panic!("{other:?}"),
        }
    }

    /// The code with which the rendezvous closes the connection.
    pub(crate) async fn closed(&self) -> u32 {
        match soon(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(closed) => {
                u32::try_from(closed.error_code.into_inner()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn close(&self, code: u32) {
        self.connection.close(VarInt::from_u32(code), b"");
    }
}

/// A client's endpoint, set up as the peers' are.
pub(crate) fn endpoint() -> Endpoint {
    endpoint_at("127.0.0.1:0".parse().unwrap())
}

fn endpoint_at(local: SocketAddr) -> Endpoint {
    endpoint_on(std::net::UdpSocket::bind(local).unwrap())
}

pub(crate) fn endpoint_on(socket: std::net::UdpSocket) -> Endpoint {
    let mut config = EndpointConfig::default();
    config.grease_quic_bit(false);
    Endpoint::new(config, None, socket, Arc::new(TokioRuntime)).unwrap()
}

pub(crate) async fn dial(
    endpoint: &Endpoint,
    address: SocketAddr,
    fingerprint: Fingerprint,
) -> Result<Connection, ConnectionError> {
    let tls = tls::control_client(Some(fingerprint)).unwrap();
    dial_with(endpoint, address, tls).await
}

pub(crate) async fn dial_with(
    endpoint: &Endpoint,
    address: SocketAddr,
    tls: rustls::ClientConfig,
) -> Result<Connection, ConnectionError> {
    dial_through(endpoint, address, tls, TransportConfig::default()).await
}

async fn dial_through(
    endpoint: &Endpoint,
    address: SocketAddr,
    tls: rustls::ClientConfig,
    mut transport: TransportConfig,
) -> Result<Connection, ConnectionError> {
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    // As peers do it: what a test does meanwhile may take longer than a silence may last.
    transport.keep_alive_interval(Some(Duration::from_secs(10)));
    config.transport_config(Arc::new(transport));
    endpoint
        .connect_with(config, address, tls::SERVER_NAME)
        .unwrap()
        .await
}

/// A UDP socket that says exactly what it is told to.
pub(crate) struct Wire {
    io: UdpSocket,
    state: UdpSocketState,
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self::at("127.0.0.1:0")
    }

    pub(crate) fn at(local: &str) -> Self {
        let socket = std::net::UdpSocket::bind(local).unwrap();
        socket.set_nonblocking(true).unwrap();
        // Made from another socket, since it would make this one receive in batches.
        let template = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let state = UdpSocketState::new((&template).into()).unwrap();
        let plain = socket2::SockRef::from(&socket);
        plain.set_recv_buffer_size(1 << 20).unwrap();
        Self {
            io: UdpSocket::from_std(socket).unwrap(),
            state,
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.io.local_addr().unwrap()
    }

    pub(crate) async fn send(&self, to: SocketAddr, datagram: &[u8]) {
        let sent = soon(self.io.send_to(datagram, to)).await.unwrap();
        assert_eq!(sent, datagram.len());
    }

    /// Sends datagrams of `size` bytes each, the last one perhaps shorter, in one go where the system can.
    pub(crate) async fn send_batch(&self, to: SocketAddr, batch: &[u8], size: usize) {
        let most = size * self.state.max_gso_segments();
        for contents in batch.chunks(most) {
            let transmit = Transmit {
                destination: to,
                ecn: None,
                contents,
                segment_size: Some(size),
                src_ip: None,
            };
            soon(self.io.writable()).await.unwrap();
            self.state.try_send((&self.io).into(), &transmit).unwrap();
        }
    }

    /// The next datagram, which has to come from `from`.
    pub(crate) async fn receive_from(&self, from: SocketAddr) -> Vec<u8> {
        let (datagram, source) = soon(self.receive()).await;
        assert_eq!(source, from);
        datagram
    }

    async fn receive(&self) -> (Vec<u8>, SocketAddr) {
        loop {
            self.io.readable().await.unwrap();
            if let Some(received) = self.try_receive() {
                return received;
            }
        }
    }

    fn try_receive(&self) -> Option<(Vec<u8>, SocketAddr)> {
        let mut buffer = vec![0; 65_536];
        let (length, source) = self.io.try_recv_from(&mut buffer).ok()?;
        buffer.truncate(length);
        Some((buffer, source))
    }

    /// Whatever has come.
    pub(crate) fn drain(&self) -> Vec<Vec<u8>> {
        let socket = socket2::SockRef::from(&self.io);
        let mut all = Vec::new();
        // Past tokio, which may not have noticed yet that there is something.
        let mut buffer = vec![std::mem::MaybeUninit::uninit(); 65_536];
        while let Ok(length) = socket.recv(&mut buffer) {
            all.push(vec![0; length]);
        }
        all
    }

    /// Whether nothing has come.
    pub(crate) fn is_silent(&self) -> bool {
        self.drain().is_empty()
    }

    /// Sends a frame of the relay and takes the reply, which is never longer.
    pub(crate) async fn exchange(&self, relay: SocketAddr, frame: &RelayFrame) -> RelayFrame {
        let request = frame.encode();
        self.send(relay, &request).await;
        let reply = self.receive_from(relay).await;
        assert!(reply.len() <= request.len());
        RelayFrame::decode(&reply).unwrap()
    }

    pub(crate) async fn challenge(&self, relay: SocketAddr, leg: LegId) -> Cookie {
        match self
            .exchange(relay, &RelayFrame::Bind { leg, mac: [0; 32] })
            .await
        {
            RelayFrame::Challenge { cookie, .. } => cookie,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the relay does not know a leg any more; it may learn that a moment later than the peers.
    pub(crate) async fn leg_is_gone(&self, relay: SocketAddr, leg: LegId) {
        let reason = RelayRefusal::UnknownLeg;
        let gone = RelayFrame::Refused { leg, reason };
        let bind = RelayFrame::Bind { leg, mac: [0; 32] };
        soon(async { while self.exchange(relay, &bind).await != gone {} }).await;
    }

    /// Binds a leg that others bind at the same time, so that either step may come too late.
    pub(crate) async fn bind_again(&self, relay: SocketAddr, grant: &LegGrant) {
        let leg = grant.leg;
        let RelayFrame::Challenge { cookie, .. } = self
            .exchange(relay, &RelayFrame::Bind { leg, mac: [0; 32] })
            .await
        else {
            return;
        };
        let mac = answer_mac(grant, &cookie);
        let answer = RelayFrame::Answer { leg, cookie, mac };
        self.exchange(relay, &answer).await;
    }

    pub(crate) async fn bind_leg(&self, relay: SocketAddr, grant: &LegGrant) {
        let leg = grant.leg;
        let cookie = self.challenge(relay, leg).await;
        let mac = answer_mac(grant, &cookie);
        let answer = RelayFrame::Answer { leg, cookie, mac };
        let bound = self.exchange(relay, &answer).await;
        assert!(matches!(bound, RelayFrame::Bound { .. }), "{bound:?}");
    }
}

/// A Binding request with that much padding.
pub(crate) fn stun_request(padding: usize) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut request = Encoder::new(&mut buffer, Class::Request, TransactionId([9; 12])).unwrap();
    let padding = u16::try_from(padding).unwrap();
    request.push(Attribute::Padding(padding)).unwrap();
    request.finish().to_vec()
}
