//! The link against a real rendezvous on loopback, over UDP and over TCP, and against what stands in its place.

mod by_web;
mod in_its_place;
mod names;
mod silence;
mod tcp_fallback;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use p2pdbg_identity::{Authority, IDENTITY_FILE, Identity, StateDir, tls};
use p2pdbg_net::changes::{Changes, Reason};
use p2pdbg_proto::{
    code::Nameplate,
    node::{Node, NodeNumber},
    rendezvous::{Credential, FromRendezvous, Refusal, ToRendezvous},
    secret::Secret,
    url::{HostAt, RendezvousUrl},
};
use p2pdbg_rendezvous::{CLUSTER_SECRET, ClusterConfig, Limits, Rate, Server, ServerConfig};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;

use super::*;

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it happens in time")
}

struct Rig {
    server: Server,
    _state: TempDir,
}

fn state() -> TempDir {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir().unwrap()
}

impl Rig {
    async fn start() -> Self {
        Self::at("127.0.0.1:0").await.unwrap()
    }

    async fn at(address: &str) -> Option<Self> {
        Self::in_state(address, state()).await
    }

    /// A node of this number that knows these nodes.
    async fn node(authority: &Authority, number: u8, nodes: &[Node]) -> Self {
        let state = state();
        let dir = StateDir::open(Some(state.path()), "test").unwrap();
        let day = Duration::from_secs(24 * 3600);
        let pem = authority.issue(&["127.0.0.1".into()], day).unwrap();
        dir.write_atomically(IDENTITY_FILE, &pem).unwrap();
        dir.write_atomically(CLUSTER_SECRET, &[7; 32]).unwrap();
        let own = NodeNumber::new(number).unwrap();
        let at = nodes.iter().find(|node| node.number == own).unwrap();
        let server = Server::start(ServerConfig {
            bind: vec![at.at.to_string().parse().unwrap()],
            alt_port: 0,
            state: Some(state.path().into()),
            open: true,
            cluster: Some(ClusterConfig {
                own,
                nodes: nodes.to_vec(),
                relays: Vec::new(),
                store: None,
            }),
            ..ServerConfig::default()
        });
        Self {
            server: server.await.unwrap(),
            _state: state,
        }
    }

    /// With a certificate of this authority, and an access key of its own.
    async fn locked(authority: &Authority) -> Self {
        let mut rig = Self::certified(authority).await;
        drop(rig.server);
        let server = Server::start(ServerConfig {
            bind: vec!["127.0.0.1:0".parse().unwrap()],
            alt_port: 0,
            state: Some(rig._state.path().into()),
            ..ServerConfig::default()
        });
        rig.server = server.await.unwrap();
        rig
    }

    /// With a certificate of this authority.
    async fn certified(authority: &Authority) -> Self {
        let state = state();
        let dir = StateDir::open(Some(state.path()), "test").unwrap();
        let day = Duration::from_secs(24 * 3600);
        let pem = authority.issue(&["127.0.0.1".into()], day).unwrap();
        dir.write_atomically(IDENTITY_FILE, &pem).unwrap();
        Self::in_state("127.0.0.1:0", state).await.unwrap()
    }

    async fn in_state(address: &str, state: TempDir) -> Option<Self> {
        let server = Server::start(ServerConfig {
            bind: vec![address.parse().unwrap()],
            alt_port: 0,
            state: Some(state.path().into()),
            open: true,
            ..ServerConfig::default()
        });
        Some(Self {
            server: server.await.ok()?,
            _state: state,
        })
    }

    fn url(&self) -> RendezvousUrl {
        self.server.url().clone()
    }

    fn host(&self) -> HostAt {
        self.url().hosts().remove(0)
    }
}

fn authority() -> Authority {
    Authority::load_or_make(&StateDir::in_memory()).unwrap()
}

/// The URL of these hosts, which an authority has certified.
fn url_of(authority: &Authority, hosts: &[HostAt]) -> RendezvousUrl {
    RendezvousUrl {
        access_key: None,
        host: hosts[0].host.clone(),
        port: hosts[0].port,
        further: hosts[1..].to_vec(),
        fingerprint: Some(authority.fingerprint()),
    }
}

/// A port at which nothing answers.
fn dead() -> (HostAt, std::net::UdpSocket) {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap().to_string().parse().unwrap();
    (at, silent)
}

async fn up_at(link: &mut Link) -> HostAt {
    loop {
        if let LinkEvent::Up { at, .. } = soon(link.event()).await.expect("another attempt") {
            return at;
        }
    }
}

fn open(url: RendezvousUrl, transports: Transports, changes: &Changes) -> Link {
    let config = LinkConfig {
        route: TcpRoute::new(&url),
        url,
        transports,
    };
    Link::open(config, Credential::None, changes)
}

async fn up(link: &mut Link) -> bool {
    loop {
        match soon(link.event()).await.expect("another attempt") {
            LinkEvent::Up { over_tcp, .. } => return over_tcp,
            LinkEvent::Down(_) | LinkEvent::Message(_) => {}
        }
    }
}

async fn down(link: &mut Link) -> LinkError {
    loop {
        match soon(link.event()).await.expect("an event") {
            LinkEvent::Down(error) => return error,
            LinkEvent::Up { .. } | LinkEvent::Message(_) => {}
        }
    }
}

async fn listens(link: &mut Link) {
    link.send(ToRendezvous::Listen { claim: None });
    loop {
        match soon(link.event()).await {
            // A change of the network is asked about first, or last.
            Some(LinkEvent::Message(FromRendezvous::Pong)) => {}
            Some(LinkEvent::Message(FromRendezvous::Listening(_))) => return,
            other => panic!("{other:?}"),
        }
    }
}

/// A port over which TCP reaches the rendezvous and UDP nothing, and a switch that silences the connections there are.
async fn tcp_alone(to: SocketAddr) -> (SocketAddr, UdpSocket, Arc<Notify>) {
    let silence = Arc::new(Notify::new());
    let (listener, silent) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if let Ok(silent) = UdpSocket::bind(address).await {
            break (listener, silent);
        }
    };
    let address = listener.local_addr().unwrap();
    let switch = Arc::clone(&silence);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let switch = Arc::clone(&switch);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    // Both stay open, and nothing passes any more.
                    () = switch.notified() => std::future::pending().await,
                }
            });
        }
    });
    (address, silent, silence)
}

#[tokio::test]
async fn where_both_are_there_quic_wins() {
    let rig = Rig::start().await;
    let (url, host) = (rig.url(), rig.host());
    let how = dial::Dialling {
        url: url.clone(),
        route: TcpRoute::new(&url),
        transports: Transports::Any,
        allowed: allowed_addresses::AllowedAddresses::anywhere([host.clone()]),
        reached_after: Duration::ZERO,
        // Not as soon as a link has it, so that a host which stalls for that long dials by TCP none the less.
        tcp_later: Duration::from_secs(30),
        patience: Duration::from_secs(30),
        ends_with_patience: false,
    };
    let dialled = soon(dial::dial(&url, &how.route, &how, &host)).await;
    assert!(!dialled.unwrap().is_over_tcp());
    assert_eq!(rig.server.counters().tcp_connections, 0);
}

#[tokio::test]
async fn both_families_reach_a_rendezvous_on_all_addresses_over_tcp() {
    let Some(rig) = Rig::at("[::]:0").await else {
        eprintln!("not tested, for want of IPv6");
        return;
    };
    let port = rig.server.addresses()[0].port();
    for host in ["127.0.0.1", "::1"] {
        let host = host.to_owned();
        let url = RendezvousUrl {
            host,
            port,
            ..rig.url()
        };
        let mut link = open(url, Transports::Tcp, &Changes::silent());
        let Some(LinkEvent::Up {
            observed,
            rendezvous,
            ..
        }) = soon(link.event()).await
        else {
            panic!("not reached");
        };
        // The address as people write it, whatever socket took it.
        assert_eq!(observed.ip(), rendezvous.ip());
        listens(&mut link).await;
    }
}

#[tokio::test]
async fn where_udp_gets_no_answer_tcp_serves_and_says_goodbye() {
    let rig = Rig::start().await;
    let (address, _silent, _) = tcp_alone(rig.server.addresses()[0]).await;
    let url = RendezvousUrl {
        port: address.port(),
        ..rig.url()
    };
    let mut link = open(url, Transports::Any, &Changes::silent());
    assert!(up(&mut link).await);
    listens(&mut link).await;
    assert_eq!(rig.server.counters().peers, 1);
    link.close().await;
    soon(async {
        while rig.server.counters().peers > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_over_tcp_that_is_dead_after_a_change_of_the_network_is_made_again() {
    let rig = Rig::start().await;
    let (address, _silent, silence) = tcp_alone(rig.server.addresses()[0]).await;
    let url = RendezvousUrl {
        port: address.port(),
        ..rig.url()
    };
    let changes = Changes::silent();
    let mut link = open(url, Transports::Any, &changes);
    assert!(up(&mut link).await);
    // One that lives survives the change.
    changes.announce(Reason::Network);
    listens(&mut link).await;
    silence.notify_waiters();
    changes.announce(Reason::Network);
    let error = down(&mut link).await;
    assert!(matches!(error, LinkError::Lost(_)), "{error}");
    assert!(up(&mut link).await);
}

/// Serves TLS with a certificate of its own.
#[tokio::test]
async fn connection_that_moves_goes_on_though_the_rendezvous_says_no_more_than_three_times_what_came()
 {
    let state = state();
    let none = Rate {
        burst: 1,
        per_minute: 1,
    };
    let limits = Limits {
        moved: none,
        ..Limits::default()
    };
    let server = Server::start(ServerConfig {
        bind: vec!["127.0.0.1:0".parse().unwrap()],
        alt_port: 0,
        state: Some(state.path().into()),
        open: true,
        limits,
        ..ServerConfig::default()
    });
    let server = server.await.unwrap();
    let changes = Changes::silent();
    let mut link = open(server.url().clone(), Transports::Any, &changes);
    assert!(!up(&mut link).await, "over UDP");
    // The first time there is a datagram beyond; a challenge that does not come is not repeated.
    for _ in 0..3 {
        changes.announce(Reason::Network);
        pong(&mut link).await;
        listens(&mut link).await;
    }
    server.shutdown().await;
}

/// The next thing that happens is an answer to what the link asks when its network has changed.
async fn pong(link: &mut Link) {
    match soon(link.event()).await {
        Some(LinkEvent::Message(FromRendezvous::Pong)) => {}
        other => panic!("{other:?}"),
    }
}

async fn impostor(listener: TcpListener) {
    let state = state();
    let dir = StateDir::open(Some(state.path()), "impostor").unwrap();
    let identity = Identity::load_or_make(&dir).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls::stream_server(&identity).unwrap()));
    while let Ok((stream, _)) = listener.accept().await {
        let _ = acceptor.accept(stream).await;
    }
}

#[tokio::test]
async fn what_answers_over_tcp_in_the_place_of_the_rendezvous_is_told_and_ends_nothing() {
    let rig = Rig::start().await;
    for is_tls in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            if is_tls {
                return impostor(listener).await;
            }
            while let Ok((mut stream, _)) = listener.accept().await {
                let page = b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n";
                let _ = stream.write_all(page).await;
            }
        });
        let url = RendezvousUrl { port, ..rig.url() };
        let mut link = open(url, Transports::Tcp, &Changes::silent());
        let error = down(&mut link).await;
        assert!(error.is_passing(), "{error}");
        let LinkError::InItsPlace(spoken) = &error else {
            panic!("{error}");
        };
        assert_eq!(matches!(**spoken, LinkError::Identity { .. }), is_tls);
        // It goes on trying.
        down(&mut link).await;
        serving.abort();
    }
}

#[tokio::test]
async fn a_rendezvous_that_is_not_there_is_told_as_that() {
    let rig = Rig::start().await;
    let url = rig.url();
    rig.server.shutdown().await;
    let mut link = open(url, Transports::Tcp, &Changes::silent());
    let error = down(&mut link).await;
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn host_that_is_dead_or_of_another_authority_is_passed_over() {
    let (ours, theirs) = (authority(), authority());
    let (node, stranger) = (Rig::certified(&ours).await, Rig::certified(&theirs).await);
    let (dead, _silent) = dead();
    let url = url_of(&ours, &[dead, stranger.host(), node.host()]);
    let mut link = open(url, Transports::Any, &Changes::silent());
    assert_eq!(up_at(&mut link).await, node.host());
    link.close().await;

    let url = url_of(&ours, &[stranger.host()]);
    let mut link = open(url, Transports::Any, &Changes::silent());
    assert!(matches!(
        down(&mut link).await,
        LinkError::Identity { pinned: true, .. }
    ));
}

#[tokio::test]
async fn home_that_is_gone_is_replaced_by_another_host_over_either_transport() {
    for transports in [Transports::Any, Transports::Tcp] {
        let authority = authority();
        let (one, other) = (
            Rig::certified(&authority).await,
            Rig::certified(&authority).await,
        );
        let hosts = [one.host(), other.host()];
        let mut link = open(url_of(&authority, &hosts), transports, &Changes::silent());
        let first = up_at(&mut link).await;
        let (home, left) = match first == one.host() {
            true => (one, other),
            false => (other, one),
        };
        // Without a farewell.
        drop(home);
        link.nudge();
        assert_eq!(up_at(&mut link).await, left.host());
    }
}

/// A node that can be started on this host: at a port that is free over TCP and over UDP, and which the operating
/// system gives to no socket that asks for any.
fn node(number: u8) -> Node {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 8_000;
    const COUNT: u16 = 2_000;
    let start = u16::try_from(std::process::id() % 100).unwrap() * 20;
    loop {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start);
        let at = SocketAddr::from(([127, 0, 0, 1], FIRST + offset % COUNT));
        let tcp = std::net::TcpListener::bind(at);
        if tcp.is_ok() && std::net::UdpSocket::bind(at).is_ok() {
            return format!("{number}={at}").parse().unwrap();
        }
    }
}

/// Asks for a code of this node's at the beginning of each connection.
fn join(link: &Link, node: u8) {
    let nameplate = Nameplate::random_of(NodeNumber::new(node).unwrap());
    link.begin_with(vec![ToRendezvous::Join { nameplate }]);
}

#[tokio::test]
async fn peer_with_a_code_goes_to_the_node_that_has_given_it() {
    let authority = authority();
    let nodes = [node(17), node(23)];
    let home = Rig::node(&authority, 17, &nodes).await;
    let other = Rig::node(&authority, 23, &nodes).await;
    assert_eq!(home.server.url().hosts().len(), 2);
    let url = url_of(&authority, &[home.host()]);
    let mut link = open(url, Transports::Any, &Changes::silent());
    join(&link, 23);
    assert_eq!(up_at(&mut link).await, nodes[0].at);
    assert!(matches!(down(&mut link).await, LinkError::Moved { .. }));
    assert_eq!(up_at(&mut link).await, nodes[1].at);
    assert!(matches!(
        soon(link.event()).await,
        Some(LinkEvent::Message(FromRendezvous::Refused { .. }))
    ));
    // It has learnt where the others are, which its URL does not say.
    drop(other);
    link.nudge();
    assert_eq!(up_at(&mut link).await, nodes[0].at);
}

#[tokio::test]
async fn nodes_that_send_a_peer_in_a_circle_do_so_three_times() {
    let authority = authority();
    let (one, other) = (node(17), node(18));
    // Each believes that the other is node 23.
    let third = |at: &Node| Node {
        number: NodeNumber::new(23).unwrap(),
        at: at.at.clone(),
    };
    let first = Rig::node(&authority, 17, &[one.clone(), third(&other)]).await;
    let _second = Rig::node(&authority, 18, &[other.clone(), third(&one)]).await;
    let url = url_of(&authority, &[first.host()]);
    let mut link = open(url, Transports::Any, &Changes::silent());
    join(&link, 23);
    let mut moves = 0;
    loop {
        match soon(link.event()).await.expect("an event") {
            LinkEvent::Down(LinkError::Moved { .. }) => moves += 1,
            LinkEvent::Message(FromRendezvous::GoTo { .. }) => break,
            LinkEvent::Up { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(moves, 3);
}

#[tokio::test]
async fn hostile_node_cannot_send_a_peer_to_a_host_of_another_authority() {
    let (ours, theirs) = (authority(), authority());
    let stranger = Rig::certified(&theirs).await;
    let honest = node(17);
    let lure = Node {
        number: NodeNumber::new(23).unwrap(),
        at: stranger.host(),
    };
    let node = Rig::node(&ours, 17, &[honest.clone(), lure]).await;
    let url = url_of(&ours, &[node.host()]);
    let mut link = open(url, Transports::Any, &Changes::silent());
    join(&link, 23);
    assert_eq!(up_at(&mut link).await, honest.at);
    assert!(matches!(down(&mut link).await, LinkError::Moved { .. }));
    // The stranger learns nothing but that somebody came, and the peer goes back to where it was.
    match down(&mut link).await {
        LinkError::OfOneHost(why) => {
            assert!(
                matches!(*why, LinkError::Identity { pinned: true, .. }),
                "{why}"
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(up_at(&mut link).await, honest.at);
    assert_eq!(stranger.server.counters().connections, 0);
}

#[tokio::test]
async fn host_that_refuses_a_key_is_passed_over_and_the_last_one_to_do_so_is_believed() {
    let authority = authority();
    let (one, two) = (Rig::locked(&authority).await, Rig::locked(&authority).await);
    let unlocked = Rig::certified(&authority).await;
    let open = |hosts: &[HostAt]| {
        let url = url_of(&authority, hosts);
        let config = LinkConfig {
            route: TcpRoute::new(&url),
            url,
            transports: Transports::Any,
        };
        let credential = Credential::AccessKey(Secret::random());
        Link::open(config, credential, &Changes::silent())
    };
    let mut link = open(&[one.host(), unlocked.host(), two.host()]);
    assert_eq!(up_at(&mut link).await, unlocked.host());

    let mut link = open(&[one.host(), two.host()]);
    let is_key = |error: &LinkError| {
        matches!(
            error,
            LinkError::Refused {
                refusal: Refusal::AccessKey,
                ..
            }
        )
    };
    match down(&mut link).await {
        LinkError::OfOneHost(why) => assert!(is_key(&why), "{why}"),
        other => panic!("{other:?}"),
    }
    let last = down(&mut link).await;
    assert!(is_key(&last), "{last}");
    assert!(soon(link.event()).await.is_none());
}

#[tokio::test]
async fn refusal_of_the_urls_own_host_is_told_though_a_node_of_an_earlier_start_is_gone() {
    let authority = authority();
    let locked = Rig::locked(&authority).await;
    let url = url_of(&authority, &[locked.host()]);
    let gone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let gone = gone.local_addr().unwrap();
    let memory = NodeMemory::new(StateDir::in_memory());
    let remembered = node_memory::Remembered {
        nodes: vec![format!("18={gone}").parse().unwrap()],
        told_inside: true,
    };
    memory.write(url.fingerprint.unwrap(), &remembered);
    let config = LinkConfig {
        route: TcpRoute::new(&url).remembering(memory),
        url,
        transports: Transports::Any,
    };
    let credential = Credential::AccessKey(Secret::random());
    let mut link = Link::open(config, credential, &Changes::silent());
    let last = loop {
        match down(&mut link).await {
            error if error.is_passing() => {}
            error => break error,
        }
    };
    let is_key = matches!(
        &last,
        LinkError::Refused { refusal: Refusal::AccessKey, authority } if *authority == locked.host().to_string()
    );
    assert!(is_key, "{last}");
    assert!(soon(link.event()).await.is_none());
}
