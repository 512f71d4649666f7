//! Two sessions in one process, over a direct path on loopback: what the task of a session moves, with nothing but
//! sockets of this host. The rendezvous between them is a channel.

mod forwards;
mod held_up;
mod hostile;
mod local_programs;
mod lossy;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use p2pdbg_base::{Bind, HostPort, PathPolicy, Untrusted};
use p2pdbg_events::{
    Event, PathKind, Reporter, Sink, Status, WarningCode,
    snapshot::{SessionSnapshot, SessionState},
};
use p2pdbg_facts::HostFacts;
use p2pdbg_forward::{Direction, Forward};
use p2pdbg_identity::Identity;
use p2pdbg_net::changes::{Changes, Reason};
use p2pdbg_pairing::{Exchange, Next, SessionKeys};
use p2pdbg_path::{Introduction, PathContext, traversal_options::Traversal};
use p2pdbg_proto::{
    code::Code,
    relay::{LegGrant, LegId},
    rendezvous::Role,
    secret::Secret,
    signal::PeerMessage,
};
use p2pdbg_rendezvous_client::TcpRoute;
use p2pdbg_session::{
    Session, SessionConfig, SessionEnd, SessionInput, SessionOutput, SessionPolicy,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::{mpsc, oneshot},
};

/// A guard against a test that hangs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it hangs")
}

/// Passes what is reported to the test.
#[derive(Debug)]
struct Reports(mpsc::UnboundedSender<Event>);

impl Sink for Reports {
    fn event(&self, _: &p2pdbg_events::Of, event: Event) {
        let _ = self.0.send(event);
    }

    fn status(&self, _: &p2pdbg_events::Of, _: Option<Status>) {}

    fn release_terminal(&self) {}
}

/// One end.
struct End {
    session: Arc<Session>,
    reports: mpsc::UnboundedReceiver<Event>,
    /// What it tells besides messages for its peer.
    told: mpsc::UnboundedReceiver<SessionOutput>,
    changes: Changes,
}

impl End {
    /// The first report of which `pick` makes something.
    async fn report<T>(&mut self, pick: impl Fn(Event) -> Option<T>) -> T {
        in_time(async {
            loop {
                let event = self.reports.recv().await.expect("it reports");
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        })
        .await
    }

    async fn told<T>(&mut self, pick: impl Fn(SessionOutput) -> Option<T>) -> T {
        in_time(async {
            loop {
                let output = self.told.recv().await.expect("it tells");
                if let Some(picked) = pick(output) {
                    return picked;
                }
            }
        })
        .await
    }

    async fn over(&mut self) -> SessionEnd {
        self.told(|output| match output {
            SessionOutput::Over(end) => Some(end),
            _ => None,
        })
        .await
    }

    /// The port that this end opened.
    async fn port(&mut self) -> HostPort {
        self.report(|event| match event {
            Event::Forward { listen, .. } => listen.address().cloned(),
            _ => None,
        })
        .await
    }

    async fn warning(&mut self) -> WarningCode {
        self.report(|event| match event {
            Event::Warning(warning) => Some(warning.code),
            _ => None,
        })
        .await
    }

    async fn describe(&self) -> SessionSnapshot {
        let (answer, snapshot) = oneshot::channel();
        self.session.input(SessionInput::Describe(answer));
        in_time(snapshot).await.unwrap()
    }
}

/// Both ends, introduced to each other.
struct Pair {
    listener: End,
    connector: End,
    _rendezvous: UdpSocket,
    _directory: tempfile::TempDir,
}

fn agree(own: [&Identity; 2]) -> [SessionKeys; 2] {
    let code: Code = "123456-abandon-ability-able".parse().unwrap();
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
    [listener.keys, connector.keys]
}

async fn start(
    role: Role,
    identities: [&Arc<Identity>; 2],
    keys: SessionKeys,
    forwards: Vec<Forward>,
    policy: PathPolicy,
    directory: &std::path::Path,
    settle: &impl Fn(&mut SessionConfig),
) -> (
    End,
    mpsc::Receiver<SessionOutput>,
    mpsc::UnboundedSender<SessionOutput>,
) {
    let (sink, reports) = mpsc::unbounded_channel();
    let (report, outputs) = mpsc::channel(256);
    let (tell, told) = mpsc::unbounded_channel();
    let changes = Changes::silent();
    let [own, peer] = identities;
    let url = "p2pdbg://127.0.0.1:9".parse().unwrap();
    let mut config = SessionConfig {
        identity: Arc::clone(own),
        peer: peer.fingerprint(),
        keys,
        same_host: false,
        further: false,
        ports: vec![None; forwards.len()],
        forwards,
        paths: PathContext {
            role,
            policy,
            traversal: Traversal {
                port_mapping: false,
                ..Traversal::default()
            },
            search_lock: directory.join("lock"),
            route: TcpRoute::new(&url),
            changes: changes.clone(),
        },
        facts: HostFacts::default(),
        policy: Arc::new(SessionPolicy {
            resume_for: Duration::from_secs(60),
            ..SessionPolicy::default()
        }),
        approach: None,
        reporter: Reporter::new(Arc::new(Reports(sink))),
        peer_name: Untrusted::new("peer"),
        known: false,
    };
    settle(&mut config);
    let session = Arc::new(Session::start(config, report).unwrap());
    let end = End {
        session,
        reports,
        told,
        changes,
    };
    (end, outputs, tell)
}

/// Brings what one end says to the other, and keeps the rest for the test.
async fn relay(
    mut outputs: mpsc::Receiver<SessionOutput>,
    tell: mpsc::UnboundedSender<SessionOutput>,
    peer: std::sync::Weak<Session>,
) {
    while let Some(output) = outputs.recv().await {
        match output {
            // The goodbye is to come by the tunnels.
            SessionOutput::Message(message @ PeerMessage::Punch(_)) => {
                if let Some(peer) = peer.upgrade() {
                    peer.input(SessionInput::Message(message));
                }
            }
            output => drop(tell.send(output)),
        }
    }
}

fn introduction(rendezvous: SocketAddr) -> Introduction {
    Introduction {
        leg: LegGrant {
            leg: LegId([0; 16]),
            key: Secret::from_bytes([0; 32]),
        },
        rendezvous,
        stun: Vec::new(),
        peer_seen: vec![IpAddr::from(Ipv4Addr::LOCALHOST)],
        peer_bound: false,
        over_tcp: false,
    }
}

impl Pair {
    async fn new(forwards: Vec<Forward>) -> Self {
        Self::settled(forwards, |_| {}).await
    }

    /// With what `settle` makes of either end's configuration.
    async fn settled(forwards: Vec<Forward>, settle: impl Fn(&mut SessionConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let rendezvous = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let identities = [(); 2].map(|()| Arc::new(Identity::ephemeral().unwrap()));
        let [a, b] = &identities;
        let [to_listener, to_connector] = agree([a, b]);
        let (listener, from_listener, tell_listener) = start(
            Role::Listener,
            [a, b],
            to_listener,
            forwards,
            PathPolicy::Direct,
            directory.path(),
            &settle,
        )
        .await;
        let (connector, from_connector, tell_connector) = start(
            Role::Connector,
            [b, a],
            to_connector,
            Vec::new(),
            PathPolicy::Direct,
            directory.path(),
            &settle,
        )
        .await;
        let (l, c) = (
            Arc::downgrade(&listener.session),
            Arc::downgrade(&connector.session),
        );
        tokio::spawn(relay(from_listener, tell_listener, c));
        tokio::spawn(relay(from_connector, tell_connector, l));
        for end in [&listener, &connector] {
            let at = rendezvous.local_addr().unwrap();
            end.session
                .input(SessionInput::Introduced(introduction(at)));
        }
        Self {
            listener,
            connector,
            _rendezvous: rendezvous,
            _directory: directory,
        }
    }
}

fn forward(direction: Direction, target: SocketAddr) -> Forward {
    Forward {
        direction,
        bind: Bind::loopback(0),
        socket: None,
        target: HostPort::from(target),
        purpose: p2pdbg_forward::Purpose::Anything,
    }
}

/// A debuggee that nobody has connected to yet.
async fn debuggee() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    (listener, at)
}

/// A socket that has its port, and refuses whoever comes until it listens.
fn held_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let at = socket.local_addr().unwrap();
    (socket, at)
}

async fn dial(port: &HostPort) -> TcpStream {
    in_time(TcpStream::connect(("127.0.0.1", port.port)))
        .await
        .unwrap()
}

/// An IDE and a debuggee joined by a pair of sessions.
async fn joined() -> (Pair, TcpStream, TcpStream) {
    let (debuggee, at) = debuggee().await;
    let mut pair = Pair::new(vec![forward(Direction::ToDebuggee, at)]).await;
    let port = pair.listener.port().await;
    let ide = dial(&port).await;
    let (debuggee, _) = in_time(debuggee.accept()).await.unwrap();
    (pair, ide, debuggee)
}

#[tokio::test]
async fn bytes_pass_both_ways_over_the_direct_path_and_each_direction_ends_alone() {
    let (mut pair, mut ide, mut debuggee) = joined().await;
    let kind = |event| match event {
        Event::Path(path) => Some(path.kind),
        _ => None,
    };
    assert_eq!(pair.listener.report(kind).await, PathKind::Direct);
    assert_eq!(pair.connector.report(kind).await, PathKind::Direct);
    let bulk: Vec<u8> = (0..3_000_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    let sent = bulk.clone();
    let writing = tokio::spawn(async move {
        ide.write_all(&sent).await.unwrap();
        ide.shutdown().await.unwrap();
        let mut answer = String::new();
        ide.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let mut got = Vec::new();
    in_time(debuggee.read_to_end(&mut got)).await.unwrap();
    assert!(got == bulk, "{} of {} bytes", got.len(), bulk.len());
    debuggee.write_all(b"still here").await.unwrap();
    drop(debuggee);
    assert_eq!(in_time(writing).await.unwrap(), "still here");
}

#[tokio::test]
async fn connection_broken_off_at_one_end_is_broken_off_at_the_other() {
    let (_pair, mut ide, mut debuggee) = joined().await;
    // A target that closes without a word would be dialled again.
    debuggee.write_all(b"x").await.unwrap();
    assert_eq!(in_time(ide.read_u8()).await.unwrap(), b'x');
    socket2::SockRef::from(&debuggee)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(debuggee);
    let error = in_time(ide.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn goodbye_on_the_tunnel_ends_the_other_session_and_resets_its_streams() {
    let (mut pair, mut ide, _debuggee) = joined().await;
    let Pair {
        listener,
        connector,
        ..
    } = &mut pair;
    connector
        .session
        .input(SessionInput::Message(PeerMessage::Bye));
    assert_eq!(connector.over().await, SessionEnd::PeerClosed);
    assert_eq!(listener.over().await, SessionEnd::PeerClosed);
    let error = in_time(ide.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn session_whose_peer_came_back_as_another_process_is_replaced() {
    let (mut pair, mut ide, _debuggee) = joined().await;
    pair.listener.session.input(SessionInput::Replaced);
    assert_eq!(pair.listener.over().await, SessionEnd::Replaced);
    assert!(in_time(ide.read_u8()).await.is_err());
}

#[tokio::test]
async fn drain_is_told_once_the_last_bytes_are_delivered() {
    let (mut pair, mut ide, mut debuggee) = joined().await;
    debuggee.write_all(b"last words").await.unwrap();
    drop(debuggee);
    pair.connector.session.input(SessionInput::Drain);
    let mut words = String::new();
    in_time(ide.read_to_string(&mut words)).await.unwrap();
    assert_eq!(words, "last words");
    drop(ide);
    let drained = |output| matches!(output, SessionOutput::Drained).then_some(());
    pair.connector.told(drained).await;
}

#[tokio::test]
async fn session_describes_its_path_forward_and_stream() {
    let (mut pair, mut ide, mut debuggee) = joined().await;
    ide.write_all(b"hello").await.unwrap();
    let mut got = [0; 5];
    in_time(debuggee.read_exact(&mut got)).await.unwrap();
    let open = |event| match event {
        Event::Stream { state, .. } => Some(state),
        _ => None,
    };
    pair.listener.report(open).await;
    let snapshot = pair.listener.describe().await;
    assert_eq!(snapshot.state, SessionState::Connected);
    assert_eq!(snapshot.paths[0].kind, PathKind::Direct);
    assert_eq!((snapshot.forwards.len(), snapshot.streams.len()), (1, 1));
    assert_eq!(snapshot.streams[0].sent, 5);
    assert!(!snapshot.samples.is_empty());
}

#[tokio::test]
async fn forward_opened_at_the_debuggee_leads_to_the_ide() {
    let (ide, at) = debuggee().await;
    let mut pair = Pair::new(vec![forward(Direction::ToIde, at)]).await;
    let port = pair.connector.port().await;
    let mut debuggee = dial(&port).await;
    debuggee.write_all(b"init").await.unwrap();
    let (mut ide, _) = in_time(ide.accept()).await.unwrap();
    let mut got = [0; 4];
    in_time(ide.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"init");
    let ready = |output| match output {
        SessionOutput::Ready(forwards) => Some(forwards.len()),
        _ => None,
    };
    assert_eq!(pair.listener.told(ready).await, 1);
}

#[tokio::test]
async fn target_that_is_not_allowed_is_named_at_both_ends() {
    let target = SocketAddr::from(([192, 0, 2, 7], 80));
    let mut pair = Pair::new(vec![forward(Direction::ToDebuggee, target)]).await;
    assert_eq!(pair.listener.warning().await, WarningCode::TargetNotAllowed);
    assert_eq!(
        pair.connector.warning().await,
        WarningCode::TargetNotAllowed
    );
}

#[tokio::test]
async fn connection_waits_until_its_target_listens() {
    let (held, at) = held_port();
    let mut pair = Pair::new(vec![forward(Direction::ToDebuggee, at)]).await;
    let port = pair.listener.port().await;
    let mut ide = dial(&port).await;
    let waits = |event| matches!(event, Event::Waiting(_)).then_some(());
    pair.listener.report(waits).await;
    let debuggee = held.listen(8).unwrap();
    let (mut debuggee, _) = in_time(debuggee.accept()).await.unwrap();
    ide.write_all(b"x").await.unwrap();
    assert_eq!(in_time(debuggee.read_u8()).await.unwrap(), b'x');
}

#[tokio::test]
async fn changed_network_leaves_the_stream_where_it_was() {
    let (pair, mut ide, mut debuggee) = joined().await;
    pair.listener.changes.announce(Reason::Network);
    pair.connector.changes.announce(Reason::Network);
    ide.write_all(b"x").await.unwrap();
    assert_eq!(in_time(debuggee.read_u8()).await.unwrap(), b'x');
    debuggee.write_all(b"y").await.unwrap();
    assert_eq!(in_time(ide.read_u8()).await.unwrap(), b'y');
}

#[tokio::test]
async fn pipe_is_joined_to_a_target_of_its_own_and_refused_at_the_debuggees_end() {
    use p2pdbg_session::{PipeRequest, PipeTarget};
    let (debuggee, at) = debuggee().await;
    let pair = Pair::new(Vec::new()).await;
    let ask = |end: &End| {
        let (mine, local) = p2pdbg_forward::Within::pair();
        let (opened, is_open) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        let to = PipeTarget::Port(HostPort::from(at));
        end.session.input(SessionInput::Pipe(PipeRequest {
            to,
            local,
            opened,
            ended,
        }));
        (mine, is_open, has_ended)
    };
    let (mut mine, is_open, has_ended) = ask(&pair.listener);
    in_time(is_open).await.unwrap().unwrap();
    mine.write_all(b"z").await.unwrap();
    let (mut debuggee, _) = in_time(debuggee.accept()).await.unwrap();
    assert_eq!(in_time(debuggee.read_u8()).await.unwrap(), b'z');
    drop((mine, debuggee));
    in_time(has_ended).await.unwrap();
    let (_mine, is_open, _) = ask(&pair.connector);
    assert!(in_time(is_open).await.unwrap().is_err());
}

#[tokio::test]
async fn close_tells_the_peer_at_once() {
    let (pair, _ide, _debuggee) = joined().await;
    let Pair {
        listener,
        mut connector,
        ..
    } = pair;
    let session = Arc::into_inner(listener.session).expect("the test alone holds it");
    in_time(session.close()).await;
    assert_eq!(connector.over().await, SessionEnd::PeerClosed);
}
