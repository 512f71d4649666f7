//! Two ends of a session in one process: how a direct path is found, lost and found again. Signals go by hand.

use std::{net::Ipv4Addr, time::Duration};

use p2pdbg_net::changes::Reason;
use p2pdbg_proto::{relay::LegId, secret::Secret};
use p2pdbg_punch::{LossReason, Obstacle};

use crate::{traversal_options::Traversal, *};

/// A guard against a test that hangs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(60);

struct Two {
    /// The listener's and the connector's.
    ends: [Paths; 2],
    changes: Changes,
    _directory: tempfile::TempDir,
}

impl Two {
    /// Introduced to each other; not authenticated yet.
    fn introduced() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let changes = Changes::silent();
        let url = "p2pdbg://127.0.0.1:9".parse().unwrap();
        let ends = [Role::Listener, Role::Connector].map(|role| {
            let paths = Paths::open(PathContext {
                role,
                policy: PathPolicy::Direct,
                traversal: Traversal {
                    port_mapping: false,
                    ..Traversal::default()
                },
                search_lock: directory.path().join("lock"),
                route: TcpRoute::new(&url),
                changes: changes.clone(),
            });
            let paths = paths.unwrap();
            paths.command(PathCommand::Introduced(Introduction {
                leg: LegGrant {
                    leg: LegId([0; 16]),
                    key: Secret::from_bytes([0; 32]),
                },
                rendezvous: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
                stun: Vec::new(),
                peer_seen: vec![IpAddr::from(Ipv4Addr::LOCALHOST)],
                peer_bound: false,
                over_tcp: false,
            }));
            paths
        });
        Self {
            ends,
            changes,
            _directory: directory,
        }
    }

    fn tell(&self, command: impl Fn() -> PathCommand) {
        self.ends.iter().for_each(|end| end.command(command()));
    }

    fn authenticate(&self) {
        self.tell(|| PathCommand::Authenticated(PunchKey::new([7; 32])));
    }

    /// What `pick` makes of something that each end tells, the listener being 0, once both have; signals are passed on
    /// meanwhile.
    async fn both<T>(&mut self, mut pick: impl FnMut(usize, &PathEvent) -> Option<T>) -> [T; 2] {
        let mut told = [None, None];
        let [listener, connector] = &mut self.ends;
        let work = async {
            while told.iter().any(Option::is_none) {
                let (end, event) = tokio::select! {
                    event = listener.event() => (0, event),
                    event = connector.event() => (1, event),
                };
                let event = event.expect("the task lives");
                if let Some(picked) = pick(end, &event) {
                    told[end].get_or_insert(picked);
                }
                if let PathEvent::Signal(signal) = event {
                    let other = if end == 0 { &*connector } else { &*listener };
                    other.command(PathCommand::PeerSignal(signal));
                }
            }
        };
        tokio::time::timeout(PATIENCE, work)
            .await
            .expect("it hangs");
        told.map(Option::unwrap)
    }

    /// The paths that were nominated: from where and to where.
    async fn nominated(&mut self) -> [(u16, SocketAddr); 2] {
        let nominated = |_, event: &PathEvent| match event {
            PathEvent::Direct { socket, path } => Some((socket.port?, path.remote)),
            _ => None,
        };
        self.both(nominated).await
    }
}

#[tokio::test]
async fn two_ends_that_authenticated_each_other_nominate_one_path_from_both_sides() {
    let mut two = Two::introduced();
    two.authenticate();
    let [(listener, to_connector), (connector, to_listener)] = two.nominated().await;
    assert_eq!(
        (to_connector.port(), to_listener.port()),
        (connector, listener)
    );
}

#[tokio::test]
async fn path_whose_tunnel_is_lost_is_told_as_lost_and_found_again() {
    let mut two = Two::introduced();
    two.authenticate();
    two.nominated().await;
    two.tell(|| PathCommand::DirectUp);
    two.tell(|| PathCommand::StreamsActive(true));
    two.tell(|| PathCommand::DirectLost);
    let mut lost = [None; 2];
    let found_again = |end: usize, event: &PathEvent| match event {
        PathEvent::DirectLost(reason) => {
            lost[end] = Some(*reason);
            None
        }
        PathEvent::Direct { .. } => lost[end].map(drop),
        _ => None,
    };
    two.both(found_again).await;
    assert_eq!(lost, [Some(LossReason::TunnelLost); 2]);
}

/// Two that have a direct path by TCP in the place of one by UDP, and its sockets.
async fn by_tcp() -> (Two, [SocketId; 2]) {
    let mut two = Two::introduced();
    two.authenticate();
    two.nominated().await;
    two.tell(|| PathCommand::DirectUp);
    two.tell(|| PathCommand::AvoidUdp(10 * PATIENCE));
    let by_tcp = |_, event: &PathEvent| match event {
        PathEvent::Direct { path, .. } if path.technique.is_tcp() => Some(path.socket),
        _ => None,
    };
    let sockets = two.both(by_tcp).await;
    (two, sockets)
}

#[tokio::test]
async fn path_by_tcp_takes_the_place_of_udp_that_is_avoided_and_udp_follows_when_it_is_cut() {
    let (mut two, sockets) = by_tcp().await;
    assert!(sockets.iter().all(|socket| socket.is_stream()));
    // Its tunnel does not come up, so the way is looked for anew.
    two.tell(|| PathCommand::AvoidUdp(Duration::ZERO));
    two.tell(|| PathCommand::DirectLost);
    let by_udp = |_, event: &PathEvent| match event {
        PathEvent::Direct { path, .. } => (!path.technique.is_tcp()).then_some(()),
        _ => None,
    };
    two.both(by_udp).await;
}

#[tokio::test]
async fn socket_of_a_path_is_told_as_closed_when_its_connection_has_ended() {
    let (two, [socket, _]) = by_tcp().await;
    let [mut listener, connector] = two.ends;
    drop(connector);
    let closed = async {
        let is_it =
            |event: &PathEvent| matches!(event, PathEvent::Closed { socket: s } if *s == socket);
        while !is_it(&listener.event().await.expect("the task lives")) {}
    };
    let closed = tokio::time::timeout(PATIENCE, closed).await;
    closed.expect("it is told");
}

#[tokio::test]
async fn silent_path_is_asked_and_answers_after_a_change_of_network() {
    let mut two = Two::introduced();
    two.authenticate();
    two.nominated().await;
    two.tell(|| PathCommand::DirectUp);
    two.changes.announce(Reason::Network);
    two.tell(|| PathCommand::Silent);
    let answers = |_, event: &PathEvent| matches!(event, PathEvent::Answers { .. }).then_some(());
    two.both(answers).await;
}

#[tokio::test]
async fn key_of_somebody_else_convinces_nobody() {
    let mut two = Two::introduced();
    let [listener, connector] = &two.ends;
    listener.command(PathCommand::Authenticated(PunchKey::new([7; 32])));
    connector.command(PathCommand::Authenticated(PunchKey::new([8; 32])));
    let obstacle = |_, event: &PathEvent| match event {
        PathEvent::Direct { .. } => panic!("no check of the other can be valid"),
        PathEvent::Obstacle(Obstacle::Trying { .. } | Obstacle::WaitingForPeer) => None,
        PathEvent::Obstacle(Obstacle::Gathering) => None,
        PathEvent::Obstacle(obstacle) => Some(*obstacle),
        _ => None,
    };
    // Each has tried all that there is to try once.
    two.both(obstacle).await;
}
