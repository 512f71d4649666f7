//! What the paths' task says to the relay, and what it makes of the answers.

use std::{net::Ipv4Addr, time::Duration};

use p2pdbg_net::changes::Reason;
use p2pdbg_proto::{
    relay::{LegId, RelayFrame, RelayRefusal, answer_is_genuine},
    secret::Secret,
};
use tokio::net::{TcpSocket, UdpSocket};

use crate::{traversal_options::Traversal, *};

/// A guard against a test that hangs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(60);

const LEG: LegId = LegId([7; 16]);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it hangs")
}

/// A relay, and what leads to it.
struct FakeRelay {
    socket: UdpSocket,
    /// At the same port; it refuses whoever comes, until it listens.
    tcp: Option<TcpSocket>,
    grant: LegGrant,
    changes: Changes,
    directory: tempfile::TempDir,
}

impl FakeRelay {
    async fn start() -> Self {
        let (socket, tcp) = loop {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let tcp = TcpSocket::new_v4().unwrap();
            if tcp.bind(socket.local_addr().unwrap()).is_ok() {
                break (socket, tcp);
            }
        };
        Self {
            socket,
            tcp: Some(tcp),
            grant: LegGrant {
                leg: LEG,
                key: Secret::from_bytes([3; 32]),
            },
            changes: Changes::silent(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// What holds for paths that may use it alone.
    fn context(&self) -> PathContext {
        let url = "p2pdbg://127.0.0.1:9".parse().unwrap();
        PathContext {
            role: Role::Connector,
            policy: PathPolicy::Relay,
            traversal: Traversal::default(),
            search_lock: self.directory.path().join("lock"),
            route: TcpRoute::new(&url),
            changes: self.changes.clone(),
        }
    }

    fn introduction(&self, peer_bound: bool) -> Introduction {
        Introduction {
            leg: self.grant.clone(),
            rendezvous: self.socket.local_addr().unwrap(),
            stun: Vec::new(),
            peer_seen: Vec::new(),
            peer_bound,
            over_tcp: false,
        }
    }
    /// The next frame for the relay of which `pick` makes something, and where it came from.
    async fn hear<T>(&self, pick: impl Fn(RelayFrame) -> Option<T>) -> (T, SocketAddr) {
        let mut buffer = [0; 2048];
        in_time(async {
            loop {
                let (length, from) = self.socket.recv_from(&mut buffer).await.unwrap();
                let frame = RelayFrame::decode(&buffer[..length]).unwrap();
                if let Some(picked) = pick(frame) {
                    return (picked, from);
                }
            }
        })
        .await
    }

    async fn say(&self, frame: RelayFrame, to: SocketAddr) {
        self.socket.send_to(&frame.encode(), to).await.unwrap();
    }

    /// Where a BIND of the leg comes from.
    async fn bind(&self) -> SocketAddr {
        let is_bind = |frame| matches!(frame, RelayFrame::Bind { leg: LEG, .. }).then_some(());
        self.hear(is_bind).await.1
    }

    /// Binds the leg as a relay does; where it is bound to.
    async fn bound(&self) -> SocketAddr {
        let from = self.bind().await;
        let cookie = [9; 32];
        self.say(RelayFrame::Challenge { leg: LEG, cookie }, from)
            .await;
        let answer = |frame| match frame {
            RelayFrame::Answer { cookie, mac, .. } => Some((cookie, mac)),
            _ => None,
        };
        let ((returned, mac), from) = self.hear(answer).await;
        assert_eq!(returned, cookie);
        assert!(answer_is_genuine(&self.grant.key, &LEG, &cookie, &mac));
        let bound = RelayFrame::Bound {
            leg: LEG,
            lifetime_s: 60,
        };
        self.say(bound, from).await;
        from
    }
}

/// Paths that may use the relay alone, and the relay.
struct World {
    paths: Paths,
    relay: FakeRelay,
}

impl World {
    async fn introduced(peer_bound: bool) -> Self {
        let relay = FakeRelay::start().await;
        let paths = Paths::open(relay.context()).unwrap();
        paths.command(PathCommand::Introduced(relay.introduction(peer_bound)));
        Self { paths, relay }
    }

    async fn event<T>(&mut self, pick: impl Fn(PathEvent) -> Option<T>) -> T {
        in_time(async {
            loop {
                let event = self.paths.event().await.expect("the task lives");
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        })
        .await
    }

    /// Where the peer can be dialled through the relay.
    async fn relay_is_ready(&mut self) -> (SocketAddr, LegTransport) {
        self.event(|event| match event {
            PathEvent::Relay {
                remote, transport, ..
            } => Some((remote, transport)),
            _ => None,
        })
        .await
    }
}

#[tokio::test]
async fn leg_is_bound_and_the_relay_is_told_as_ready_once_the_peer_has_bound_too() {
    let mut world = World::introduced(false).await;
    world.relay.bound().await;
    world.paths.command(PathCommand::PeerSeen {
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
        bound: true,
    });
    let at = world.relay.socket.local_addr().unwrap();
    assert_eq!(world.relay_is_ready().await, (at, LegTransport::Udp));
}

#[tokio::test]
async fn leg_is_bound_again_when_its_tunnel_is_lost_or_silent_or_the_network_changes() {
    let mut world = World::introduced(true).await;
    world.relay.bound().await;
    world.relay_is_ready().await;
    for command in [PathCommand::RelayLost, PathCommand::Silent] {
        world.paths.command(command);
        world.relay.bound().await;
        world.relay_is_ready().await;
    }
    world.relay.changes.announce(Reason::Network);
    world.relay.bound().await;
    world.relay_is_ready().await;
}

#[tokio::test]
async fn relay_that_does_not_know_the_leg_any_more_is_told() {
    let mut world = World::introduced(true).await;
    let from = world.relay.bound().await;
    world.relay_is_ready().await;
    world.paths.command(PathCommand::RelayLost);
    world.relay.bind().await;
    let refused = RelayFrame::Refused {
        leg: LEG,
        reason: RelayRefusal::UnknownLeg,
    };
    world.relay.say(refused, from).await;
    world
        .event(|event| matches!(event, PathEvent::RelayGone).then_some(()))
        .await;
}

#[tokio::test]
async fn frames_of_another_host_than_the_relay_bind_nothing() {
    let mut world = World::introduced(false).await;
    let from = world.relay.bind().await;
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let bound = RelayFrame::Bound {
        leg: LEG,
        lifetime_s: 60,
    };
    stranger.send_to(&bound.encode(), from).await.unwrap();
    stranger.send_to(&[4, 0], from).await.unwrap();
    world.paths.command(PathCommand::PeerSeen {
        addresses: Vec::new(),
        bound: true,
    });
    // It goes on asking for its leg.
    world.relay.bind().await;
    assert!(
        !std::iter::from_fn(|| world.paths.try_event())
            .any(|event| matches!(event, PathEvent::Relay { .. }))
    );
    world.relay.bound().await;
    world.relay_is_ready().await;
}

#[tokio::test]
async fn second_introduction_moves_the_leg_to_its_grant() {
    let world = World::introduced(false).await;
    world.relay.bound().await;
    let another = LegId([8; 16]);
    let grant = LegGrant {
        leg: another,
        key: Secret::from_bytes([4; 32]),
    };
    world.paths.command(PathCommand::Introduced(Introduction {
        leg: grant,
        ..world.relay.introduction(true)
    }));
    let is_it =
        |frame| matches!(frame, RelayFrame::Bind { leg, .. } if leg == another).then_some(());
    world.relay.hear(is_it).await;
}

#[tokio::test]
async fn peer_that_binds_while_the_exchange_is_under_way_is_kept_for_the_session() {
    let relay = FakeRelay::start().await;
    let mut approach = Approach::begin(relay.context(), relay.introduction(false)).unwrap();
    relay.bound().await;
    approach.on_peer_seen(vec![Ipv4Addr::LOCALHOST.into()], true);
    let ready = async {
        loop {
            let event = std::future::poll_fn(|cx| approach.poll_event(cx)).await;
            let is_ready = matches!(event, PathEvent::Relay { .. });
            approach.keep(event);
            if is_ready {
                return;
            }
        }
    };
    in_time(ready).await;
    let kept = approach.told.iter();
    assert!(
        kept.filter(|told| matches!(told, PathEvent::Relay { .. }))
            .count()
            == 1
    );
    assert!(
        approach.tunnel.is_none(),
        "nobody has claimed a certificate"
    );
    assert!(format!("{approach:?}").starts_with("Approach"));
}

#[tokio::test]
async fn leg_that_is_to_avoid_udp_tries_tcp_and_goes_on_over_udp_where_that_ends() {
    let mut world = World::introduced(true).await;
    world.relay.bound().await;
    assert_eq!(world.relay_is_ready().await.1, LegTransport::Udp);
    // Nothing but the connection's coming is of interest: it ends without a word.
    let tcp = world.relay.tcp.take().unwrap().listen(8).unwrap();
    let avoid = Duration::from_secs(30);
    world.paths.command(PathCommand::AvoidUdp(avoid));
    let (connection, _) = in_time(tcp.accept()).await.unwrap();
    drop((connection, tcp));
    world.paths.command(PathCommand::AvoidUdp(Duration::ZERO));
    world.paths.command(PathCommand::RelayLost);
    world.relay.bound().await;
    assert_eq!(world.relay_is_ready().await.1, LegTransport::Udp);
}
