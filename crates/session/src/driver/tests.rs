//! The driver with what surrounds it at rest.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use p2pdbg_base::PathPolicy;
use p2pdbg_events::{Of, Sink};
use p2pdbg_identity::Identity;
use p2pdbg_net::nat64::Nat64;
use p2pdbg_pairing::{Exchange, Next, SessionKeys};
use p2pdbg_path::{PathContext, PathSocket, traversal_options::Traversal};
use p2pdbg_proto::code::Code;
use p2pdbg_punch::{LossReason, Path, SocketId, Technique};
use p2pdbg_rendezvous_client::TcpRoute;

use super::*;

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

/// A listener's session whose task is the test.
fn listener(directory: &std::path::Path) -> SessionDriver {
    let identity = Arc::new(Identity::ephemeral().unwrap());
    let url = "p2pdbg://127.0.0.1:9".parse().unwrap();
    let config = SessionConfig {
        peer: identity.fingerprint(),
        keys: agreed(&identity),
        same_host: false,
        further: false,
        ports: Vec::new(),
        forwards: Vec::new(),
        paths: PathContext {
            role: Role::Listener,
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
    let tunnels = TunnelConfig::new(&config.identity, config.peer).unwrap();
    let paths = Paths::open(config.paths.clone()).unwrap();
    SessionDriver::new(config, tunnels, paths, mpsc::channel(QUEUE).0).0
}

#[tokio::test]
async fn sockets_of_paths_that_were_found_and_lost_do_not_stay_open() {
    let directory = tempfile::tempdir().unwrap();
    let mut driver = listener(directory.path());
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
