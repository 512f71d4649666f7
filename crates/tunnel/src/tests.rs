//! Tunnels between two endpoints on loopback: what brings one up, and who is turned away.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

use p2pdbg_identity::Identity;
use p2pdbg_pairing::{Exchange, Next, TunnelKey};
use p2pdbg_proto::{rendezvous::Role, tunnel::EXPORTER_LABEL};
use p2pdbg_punch::SocketId;
use quinn::{Endpoint, TokioRuntime};

use super::{
    control_stream::{read_messages, write},
    handshake::{connect, lead},
    *,
};

/// A guard against a test that hangs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(60);

const PING: TunnelMessage = TunnelMessage::Ping { unanswered_ms: 7 };

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it hangs")
}

/// One end.
struct End {
    endpoint: Endpoint,
    identity: Arc<Identity>,
}

impl End {
    fn open() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let config = TunnelConfig::endpoint();
        let endpoint = Endpoint::new(config, None, socket, Arc::new(TokioRuntime)).unwrap();
        Self {
            endpoint,
            identity: Arc::new(Identity::ephemeral().unwrap()),
        }
    }

    fn at(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    fn config(&self, peer: &Self) -> TunnelConfig {
        TunnelConfig::new(&self.identity, peer.identity.fingerprint()).unwrap()
    }
}

/// The keys of both ends, from an exchange by code.
fn keys() -> [TunnelKey; 2] {
    let code = "123456-abandon-ability-able".parse().unwrap();
    let own = [(); 2].map(|()| Identity::ephemeral().unwrap());
    let [(listener, to_connector), (connector, to_listener)] = [
        Exchange::by_code(Role::Listener, &code, own[0].fingerprint()),
        Exchange::by_code(Role::Connector, &code, own[1].fingerprint()),
    ];
    let (listener, connector) = (listener.handle(to_listener), connector.handle(to_connector));
    let (Next::Wait(waiting), Some(confirm)) = (listener.next, connector.reply) else {
        panic!("the connector confirms first");
    };
    let listener = waiting.handle(confirm);
    let (Next::Wait(waiting), Some(confirm)) = (connector.next, listener.reply) else {
        panic!("the listener confirms");
    };
    let connector = waiting.handle(confirm);
    let (Next::Paired(listener), Next::Paired(connector)) = (listener.next, connector.next) else {
        panic!("the two words are the same");
    };
    [listener.keys.tunnel, connector.keys.tunnel]
}

/// A listener and a connector.
struct Pair {
    listener: End,
    connector: End,
    keys: [TunnelKey; 2],
}

type Came = Result<(Tunnel, ControlStreamReader), TunnelError>;

impl Pair {
    fn new() -> Self {
        Self {
            listener: End::open(),
            connector: End::open(),
            keys: keys(),
        }
    }

    /// Accepts the next that comes.
    async fn accept(&self, key: &TunnelKey, admit: bool) -> Came {
        let config = self.listener.config(&self.connector);
        self.listener
            .endpoint
            .set_server_config(Some((*config.server).clone()));
        let endpoint = &self.listener.endpoint;
        let incoming = endpoint.accept().await.expect("the endpoint lives");
        accept(endpoint, incoming, &config, key, |_| admit).await
    }

    async fn dial(&self, config: &TunnelConfig, epoch: u64) -> Came {
        let (endpoint, at) = (&self.connector.endpoint, self.listener.at());
        dial(endpoint, config, at, PathKind::Direct, epoch, &self.keys[1]).await
    }

    /// What both ends come to.
    async fn meet(&self, config: &TunnelConfig, key: &TunnelKey, admit: bool) -> [Came; 2] {
        let met = async { tokio::join!(self.accept(key, admit), self.dial(config, 3)) };
        let (listener, connector) = in_time(met).await;
        [listener, connector]
    }

    fn config(&self) -> TunnelConfig {
        self.connector.config(&self.listener)
    }

    /// A connection of the connector's that has completed TLS alone; what the listener makes of what it then says.
    async fn connected(&self, then: impl AsyncFnOnce(&Connection)) -> (Came, Connection) {
        let dialling = async {
            let (endpoint, at) = (&self.connector.endpoint, self.listener.at());
            let connection = connect(endpoint, &self.config(), at).await.unwrap();
            then(&connection).await;
            connection
        };
        in_time(async { tokio::join!(self.accept(&self.keys[0], true), dialling) }).await
    }
}

fn error(came: &Came) -> &TunnelError {
    came.as_ref().expect_err("no tunnel should have come up")
}

#[tokio::test]
async fn tunnel_comes_up_with_its_epoch_at_both_ends_and_carries_messages() {
    let pair = Pair::new();
    let [listener, connector] = pair.meet(&pair.config(), &pair.keys[0], true).await;
    let (there, mut heard) = listener.unwrap();
    let (here, _) = connector.unwrap();
    assert_eq!((there.epoch, here.epoch), (3, 3));
    assert_eq!(
        (there.path, here.path),
        (PathKind::Direct, PathKind::Direct)
    );
    here.send(PING);
    assert_eq!(in_time(heard.read()).await.unwrap(), PING);
    here.close(close::DONE);
    assert!(!here.is_open());
    assert!(matches!(
        in_time(heard.read()).await,
        Err(TunnelError::Lost(_))
    ));
}

#[tokio::test]
async fn certificate_that_is_not_the_pinned_one_is_an_impostors() {
    let pair = Pair::new();
    let stranger = End::open();
    let config = pair.connector.config(&stranger);
    let [listener, connector] = pair.meet(&config, &pair.keys[0], true).await;
    let found = error(&connector);
    assert!(matches!(found, TunnelError::Impostor(_)), "{found}");
    assert!(listener.is_err());
}

#[tokio::test]
async fn peer_with_the_key_of_another_session_is_an_impostor_and_its_connection_is_closed() {
    let pair = Pair::new();
    let [other, _] = keys();
    let [listener, connector] = pair.meet(&pair.config(), &other, true).await;
    let found = error(&listener);
    assert!(matches!(found, TunnelError::Impostor(_)), "{found}");
    let found = error(&connector);
    assert!(matches!(found, TunnelError::Lost(_)), "{found}");
}

#[tokio::test]
async fn tunnel_of_an_old_epoch_is_refused_though_its_proof_is_right() {
    let pair = Pair::new();
    let [listener, connector] = pair.meet(&pair.config(), &pair.keys[0], false).await;
    assert!(matches!(error(&listener), TunnelError::OldEpoch));
    assert!(connector.is_err());
}

#[tokio::test]
async fn peer_that_begins_with_anything_but_hello_misbehaves() {
    let pair = Pair::new();
    let (came, connection) = pair
        .connected(async |connection| {
            let (mut send, _) = connection.open_bi().await.unwrap();
            write(&mut send, &PING).await.unwrap();
        })
        .await;
    assert!(matches!(error(&came), TunnelError::Misbehaved));
    let why = in_time(connection.closed()).await;
    let quinn::ConnectionError::ApplicationClosed(closed) = why else {
        panic!("{why}");
    };
    assert_eq!(closed.error_code, VarInt::from_u32(close::PROTOCOL));
}

#[tokio::test]
async fn length_beyond_the_bound_misbehaves_before_anything_is_read() {
    let pair = Pair::new();
    let (came, _) = pair
        .connected(async |connection| {
            let (mut send, _) = connection.open_bi().await.unwrap();
            send.write_all(&[0xff; 4]).await.unwrap();
        })
        .await;
    assert!(matches!(error(&came), TunnelError::Misbehaved));
}

#[tokio::test]
async fn listener_that_answers_with_another_epoch_or_proof_is_not_taken() {
    let pair = Pair::new();
    let answer = |epoch, proves: u64, key: TunnelKey| {
        let pair = &pair;
        async move {
            let config = pair.listener.config(&pair.connector);
            let endpoint = &pair.listener.endpoint;
            endpoint.set_server_config(Some((*config.server).clone()));
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            let (mut send, recv) = connection.accept_bi().await.unwrap();
            ControlStreamReader(recv).read().await.unwrap();
            let mut exported = [0; 32];
            connection
                .export_keying_material(&mut exported, EXPORTER_LABEL, b"")
                .unwrap();
            let path = PathKind::Direct;
            let proof = key.prove(Role::Listener, proves, path, &exported);
            write(&mut send, &TunnelMessage::Hello { epoch, path, proof })
                .await
                .unwrap();
            connection.closed().await
        }
    };
    let [_, other] = keys();
    for (answer, impostor) in [
        (answer(4, 4, pair.keys[0].clone()), false),
        (answer(3, 4, pair.keys[0].clone()), true),
        (answer(3, 3, other), true),
    ] {
        let config = pair.config();
        let (_, came) = in_time(async { tokio::join!(answer, pair.dial(&config, 3)) }).await;
        let found = error(&came);
        match impostor {
            true => assert!(matches!(found, TunnelError::Impostor(_)), "{found}"),
            false => assert!(matches!(found, TunnelError::Misbehaved), "{found}"),
        }
    }
}

#[tokio::test]
async fn garbage_after_the_proofs_closes_the_tunnel() {
    let pair = Pair::new();
    let dialling = async {
        let (endpoint, at) = (&pair.connector.endpoint, pair.listener.at());
        let connection = connect(endpoint, &pair.config(), at).await.unwrap();
        let mut exported = [0; 32];
        connection
            .export_keying_material(&mut exported, EXPORTER_LABEL, b"")
            .unwrap();
        let (mut send, recv) = connection.open_bi().await.unwrap();
        let (epoch, path) = (1, PathKind::Direct);
        let proof = pair.keys[1].prove(Role::Connector, epoch, path, &exported);
        let hello = TunnelMessage::Hello { epoch, path, proof };
        write(&mut send, &hello).await.unwrap();
        ControlStreamReader(recv).read().await.unwrap();
        send.write_all(&[0, 0, 0, 1, 0xff]).await.unwrap();
        connection.closed().await
    };
    let reading = async {
        let (tunnel, control) = pair.accept(&pair.keys[0], true).await.unwrap();
        let (to, _heard) = mpsc::channel(1);
        read_messages(tunnel.connection.clone(), control, to, |message| message).await
    };
    let (why, error) = in_time(async { tokio::join!(dialling, reading) }).await;
    assert!(matches!(error, TunnelError::Misbehaved), "{error}");
    assert!(
        matches!(why, quinn::ConnectionError::ApplicationClosed(_)),
        "{why}"
    );
}

/// A connector that answers calls from the listener, which may be the relay's address or not.
fn calls(pair: &Pair, relay: bool) -> Calls {
    let mut calls = Calls::expect(Caller {
        identity: Arc::clone(&pair.connector.identity),
        peer: pair.listener.identity.fingerprint(),
        relay: relay.then(|| (pair.listener.at(), PathKind::RelayUdp)),
        key: pair.keys[1].clone(),
    });
    let endpoint = pair.connector.endpoint.clone();
    calls.answer_on(SocketId::V4, endpoint, &pair.config());
    calls
}

#[tokio::test]
async fn call_by_the_relay_is_answered_and_carries_messages() {
    let pair = Pair::new();
    let mut calls = calls(&pair, true);
    let (endpoint, config) = (
        pair.listener.endpoint.clone(),
        pair.listener.config(&pair.connector),
    );
    let call = call(endpoint.clone(), config, pair.connector.at());
    let completing = complete(&endpoint, call, &pair.keys[0], |_| true);
    let (there, here) = in_time(async { tokio::join!(completing, calls.next()) }).await;
    let ((there, _), mut here) = (there.unwrap(), here.unwrap());
    assert_eq!(
        (there.path, here.tunnel.path),
        (PathKind::RelayUdp, PathKind::RelayUdp)
    );
    assert_eq!(there.epoch, here.tunnel.epoch);
    assert_eq!(here.remote, pair.listener.at());
    there.send(PING);
    assert_eq!(in_time(here.control.read()).await.unwrap(), PING);
}

#[tokio::test]
async fn call_that_is_not_by_the_relay_is_refused_until_the_peers_have_authenticated() {
    let pair = Pair::new();
    let mut calls = calls(&pair, false);
    let (endpoint, config) = (
        pair.listener.endpoint.clone(),
        pair.listener.config(&pair.connector),
    );
    let refused = call(endpoint.clone(), config.clone(), pair.connector.at());
    assert!(in_time(refused).await.unwrap().is_err());
    calls.answer_direct();
    let call = call(endpoint.clone(), config, pair.connector.at());
    let completing = complete(&endpoint, call, &pair.keys[0], |_| true);
    let (there, here) = in_time(async { tokio::join!(completing, calls.next()) }).await;
    assert_eq!(there.unwrap().0.path, PathKind::Direct);
    assert_eq!(here.unwrap().tunnel.path, PathKind::Direct);
}

#[tokio::test]
async fn early_call_shows_no_certificate_before_the_gate_opens_and_calls_again_then() {
    let pair = Pair::new();
    let mut calls = calls(&pair, true);
    let gate = Gate::shut();
    let peer = pair.connector.identity.fingerprint();
    let config = TunnelConfig::behind(&gate, &pair.listener.identity, peer).unwrap();
    let endpoint = pair.listener.endpoint.clone();
    let mut call = call_early(endpoint.clone(), config, pair.connector.at(), gate.clone());
    // Whoever has not confirmed gets a handshake that ends, and nothing after it.
    let ended = tokio::time::timeout(Duration::from_millis(500), &mut call).await;
    assert!(ended.is_err(), "it waits for the gate");
    gate.open();
    let completing = complete(&endpoint, call, &pair.keys[0], |_| true);
    let (there, here) = in_time(async { tokio::join!(completing, calls.next()) }).await;
    assert_eq!(there.unwrap().0.epoch, here.unwrap().tunnel.epoch);
}

#[tokio::test]
async fn answer_is_no_tunnel_to_a_caller_with_another_key() {
    let pair = Pair::new();
    let _calls = calls(&pair, true);
    let (endpoint, config) = (
        pair.listener.endpoint.clone(),
        pair.listener.config(&pair.connector),
    );
    let call = call(endpoint.clone(), config, pair.connector.at());
    let [other, _] = keys();
    let came = in_time(complete(&endpoint, call, &other, |_| true)).await;
    let found = error(&came);
    assert!(matches!(found, TunnelError::Impostor(_)), "{found}");
}

#[tokio::test]
async fn connector_takes_no_listener_whose_material_is_not_that_of_the_connection() {
    let pair = Pair::new();
    let accepting = pair.accept(&pair.keys[0], true);
    let dialling = async {
        let (endpoint, at) = (&pair.connector.endpoint, pair.listener.at());
        let connection = connect(endpoint, &pair.config(), at).await.unwrap();
        let key = &pair.keys[1];
        lead(
            connection,
            endpoint,
            PathKind::Direct,
            1,
            key,
            &[0; 32],
            None,
        )
        .await
    };
    let (listener, connector) = in_time(async { tokio::join!(accepting, dialling) }).await;
    assert!(matches!(error(&listener), TunnelError::Impostor(_)));
    assert!(connector.is_err());
}
