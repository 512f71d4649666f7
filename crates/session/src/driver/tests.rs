//! The driver with what surrounds it at rest.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use p2pdbg_base::{ErrorCode, HostPort, Opened, PathPolicy};
use p2pdbg_events::{Of, Sink};
use p2pdbg_forward::{Forward, Preset};
use p2pdbg_identity::Identity;
use p2pdbg_net::nat64::Nat64;
use p2pdbg_pairing::{Exchange, Next, SessionKeys};
use p2pdbg_path::{PathContext, PathSocket, traversal_options::Traversal};
use p2pdbg_proto::{
    code::Code,
    tunnel::{Direction, ForwardOffer, ForwardState, TunnelMessage, WhileAbsent},
};
use p2pdbg_punch::{LossReason, Path, SocketId, Technique};
use p2pdbg_rendezvous_client::TcpRoute;
use tokio::sync::oneshot;

use super::*;
use crate::{forward_requests::ForwardRequest, session_policy::SessionPolicy};

/// A guard against a test that hangs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Nobody;

impl Sink for Nobody {
    fn event(&self, _: &Of, _: Report) {}

    fn status(&self, _: &Of, _: Option<Status>) {}

    fn release_terminal(&self) {}
}

fn agreed(own: &Identity) -> SessionKeys {
    let code: Code = "123456-abandon-ability-able".parse().unwrap();
    let exchange = |role| Exchange::by_code(role, &code, own.fingerprint());
    let (listener, to_connector) = exchange(Role::Listener);
    let (connector, to_listener) = exchange(Role::Connector);
    let Next::Wait(waiting) = listener.handle(to_listener).next else {
        panic!("the connector confirms first");
    };
    let confirm = connector.handle(to_connector).reply;
    let Next::Paired(paired) = waiting.handle(confirm.unwrap()).next else {
        panic!("the two words are the same");
    };
    paired.keys
}

/// A session whose task is the test.
fn driver(
    role: Role,
    directory: &std::path::Path,
    settle: impl FnOnce(&mut SessionConfig),
) -> SessionDriver {
    let identity = Arc::new(Identity::ephemeral().unwrap());
    let url = "p2pdbg://127.0.0.1:9".parse().unwrap();
    let mut config = SessionConfig {
        peer: identity.fingerprint(),
        keys: agreed(&identity),
        same_host: false,
        further: false,
        ports: Vec::new(),
        forwards: Vec::new(),
        paths: PathContext {
            role,
            policy: PathPolicy::Direct,
            traversal: Traversal::default(),
            search_lock: directory.join("lock"),
            route: TcpRoute::new(&url),
            changes: Changes::silent(),
        },
        facts: HostFacts::default(),
        policy: Arc::default(),
        approach: None,
        reporter: Reporter::new(Arc::new(Nobody)),
        peer_name: Untrusted::new("peer"),
        known: false,
        identity,
    };
    settle(&mut config);
    let tunnels = TunnelConfig::new(&config.identity, config.peer).unwrap();
    let paths = Paths::open(config.paths.clone()).unwrap();
    SessionDriver::new(config, tunnels, paths, mpsc::channel(QUEUE).0).0
}

#[tokio::test]
async fn sockets_of_paths_that_were_found_and_lost_do_not_stay_open() {
    let directory = tempfile::tempdir().unwrap();
    let mut driver = driver(Role::Listener, directory.path(), |_| {});
    for number in 2..40 {
        let id = SocketId(number);
        let (others, _) = mpsc::channel(1);
        let here = Ipv4Addr::LOCALHOST.into();
        let socket = PathSocket::open(id, here, &Nat64::default(), others).unwrap();
        let open = Arc::downgrade(&socket.mux);
        let path = Path {
            socket: id,
            remote: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
            technique: Technique::Lan,
            rtt: Duration::ZERO,
            after: Duration::ZERO,
        };
        let before = driver.tasks.len();
        driver.handle_path(PathEvent::Direct { socket, path });
        assert_eq!(driver.tasks.len(), before + 1, "tunnels are accepted there");
        driver.handle_path(PathEvent::DirectLost(LossReason::ConsentExpired));
        driver.handle_path(PathEvent::Closed { socket: id });
        let closed = async {
            while open.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let closed = tokio::time::timeout(PATIENCE, closed).await;
        closed.expect("something holds it");
    }
}

/// What a listener offers: a port at the debuggee that leads to its IDE, and is open only while that listens.
fn refusing(bind: &str, port: u16) -> ForwardOffer {
    ForwardOffer {
        forward: 0,
        direction: Direction::ToIde,
        bind: bind.to_owned(),
        port,
        target_host: "localhost".to_owned(),
        target_port: 9,
        preset: String::new(),
        while_absent: WhileAbsent::Refuse,
    }
}

fn listening(forward: u16, listening: bool) -> TunnelMessage {
    TunnelMessage::TargetListening {
        forward,
        number: 1,
        listening,
    }
}

#[tokio::test]
async fn port_that_the_connector_has_refused_stays_closed_when_the_ide_listens() {
    let directory = tempfile::tempdir().unwrap();
    let mut driver = driver(Role::Connector, directory.path(), |_| {});
    let offers = vec![refusing("*", 0), refusing("", 0)];
    driver
        .handle_control(1, TunnelMessage::Forwards(offers))
        .await;
    assert_eq!(driver.forwards.state(0), Some(&ForwardState::NotAllowed));
    driver.handle_control(1, listening(0, true)).await;
    assert_eq!(driver.tasks.len(), 0, "nobody accepts there");
    driver.handle_control(1, listening(1, true)).await;
    assert_eq!(driver.tasks.len(), 1, "loopback is open to the peer");
}

#[tokio::test]
async fn port_that_is_taken_is_not_moved_to_one_that_was_not_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let at = taken.local_addr().unwrap();
    let mut driver = driver(Role::Connector, directory.path(), |config| {
        config.further = true;
        config.policy = Arc::new(SessionPolicy {
            allow: [HostPort::from(at)].into_iter().collect(),
            ..SessionPolicy::default()
        });
    });
    let offer = ForwardOffer {
        while_absent: WhileAbsent::Hold,
        ..refusing("*", at.port())
    };
    driver
        .handle_control(1, TunnelMessage::Forwards(vec![offer]))
        .await;
    assert_eq!(driver.forwards.state(0), Some(&ForwardState::PortInUse));
    assert_eq!(driver.tasks.len(), 0, "nobody accepts at a neighbour");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn port_that_is_closed_and_opened_in_one_go_is_the_same_port() {
    let directory = tempfile::tempdir().unwrap();
    let mut driver = driver(Role::Connector, directory.path(), |config| {
        // What a COMMAND would be told of a port that has moved is wrong.
        config.further = true;
    });
    let offers = TunnelMessage::Forwards(vec![refusing("", 0)]);
    driver.handle_control(1, offers).await;
    driver.handle_control(1, listening(0, true)).await;
    let port = |driver: &SessionDriver| driver.forwards.describe()[0].listen.clone();
    let opened = port(&driver);
    for _ in 0..50 {
        driver.handle_control(1, listening(0, false)).await;
        driver.handle_control(1, listening(0, true)).await;
        assert_eq!(port(&driver), opened);
    }
}

#[tokio::test]
async fn port_that_was_asked_for_and_is_refused_there_is_not_kept_open_here() {
    let directory = tempfile::tempdir().unwrap();
    let mut driver = driver(Role::Listener, directory.path(), |_| {});
    let (opened, told) = oneshot::channel();
    driver.handle_input(SessionInput::Forward(ForwardRequest {
        port: 0,
        debugger: Preset::Node,
        opened,
    }));
    let asked = driver.forwards.describe().remove(0).listen;
    let port = asked.as_ref().and_then(Opened::address).unwrap().port;
    let taken = std::net::TcpListener::bind(("127.0.0.1", port));
    assert!(taken.is_err(), "it is kept until the connector has said");
    let (forward, state) = (0, ForwardState::NotAllowed);
    driver
        .handle_control(1, TunnelMessage::ForwardState { forward, state })
        .await;
    assert!(told.await.unwrap().is_err());
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
}

#[tokio::test]
async fn port_that_the_session_itself_opened_there_is_not_forwarded_back() {
    let directory = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut driver = driver(Role::Listener, directory.path(), |config| {
        config.forwards = vec![Forward::of_preset(Preset::DebugpyConnect, port)];
    });
    let ask = |driver: &mut SessionDriver| {
        let (opened, told) = oneshot::channel();
        driver.handle_input(SessionInput::Forward(ForwardRequest {
            port,
            debugger: Preset::Debugpy,
            opened,
        }));
        told
    };
    let listen = format!("127.0.0.1:{port}");
    let (forward, state) = (0, ForwardState::Up { listen });
    let up = TunnelMessage::ForwardState { forward, state };
    driver.handle_control(1, up).await;
    let failure = ask(&mut driver).try_recv().unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::ForwardMalformed);
    // Where that one is not open, whatever listens there is another program.
    let (forward, state) = (0, ForwardState::PortInUse);
    let in_use = TunnelMessage::ForwardState { forward, state };
    driver.handle_control(1, in_use).await;
    assert!(ask(&mut driver).try_recv().is_err(), "it is asked for");
}
