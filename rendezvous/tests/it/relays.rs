//! Relay tickets: a host that relays alone, and the node that says for whom.

use std::{net::SocketAddr, path::Path, time::Duration};

use p2pdbg_identity::{Authority, IDENTITY_FILE, StateDir, tls::SERVER_NAME};
use p2pdbg_proto::{
    node::NodeNumber,
    relay::{
        LegGrant, LegId, RelayFrame, RelayRefusal, answer_mac, bind_mac, bind_with_ticket,
        ticket_in,
    },
    rendezvous::{Credential, FromRendezvous, Refusal, ToRendezvous},
    secret::Secret,
};
use p2pdbg_rendezvous::{
    CLUSTER_SECRET, ClusterConfig, PROGRAM, RELAY_KEY, Server, ServerConfig, relay_key,
};
use tempfile::TempDir;

use crate::support::{Member, Peer, Rig, Wire, soon, state_dir};

const RELAY: u8 = 30;

fn number(number: u8) -> NodeNumber {
    NodeNumber::new(number).unwrap()
}

/// A node, and a host that relays for it.
struct Two {
    home: Rig,
    relay: Server,
    state_of_relay: TempDir,
}

async fn serve(state: &Path, config: ServerConfig) -> Server {
    let config = ServerConfig {
        bind: vec!["127.0.0.1:0".parse().unwrap()],
        alt_port: 0,
        state: Some(state.into()),
        ..config
    };
    Server::start(config).await.unwrap()
}

impl Two {
    async fn start() -> Self {
        let state = state_dir();
        let of_relay = StateDir::open(Some(state.path()), PROGRAM).unwrap();
        let home = state_dir();
        let of_home = StateDir::open(Some(home.path()), PROGRAM).unwrap();
        let secret = of_home.secret32(CLUSTER_SECRET).unwrap();
        let key = relay_key(&secret, number(RELAY));
        of_relay.write_atomically(RELAY_KEY, key.expose()).unwrap();
        let relay = ServerConfig {
            relays_alone: true,
            ..ServerConfig::default()
        };
        let relay = serve(state.path(), relay).await;
        let authority = Authority::load_or_make(&StateDir::in_memory()).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let pem = authority
            .issue(&["127.0.0.1".to_owned(), SERVER_NAME.to_owned()], day)
            .unwrap();
        of_home.write_atomically(IDENTITY_FILE, &pem).unwrap();
        let cluster = ClusterConfig {
            own: number(17),
            nodes: vec!["17=127.0.0.1".parse().unwrap()],
            relays: vec![format!("{RELAY}={}", relay.addresses()[0]).parse().unwrap()],
            store: None,
        };
        let config = ServerConfig {
            cluster: Some(cluster),
            ..ServerConfig::default()
        };
        let server = serve(home.path(), config).await;
        Self {
            home: Rig {
                server,
                state: home,
            },
            relay,
            state_of_relay: state,
        }
    }

    fn at(&self) -> SocketAddr {
        self.relay.addresses()[0]
    }

    /// Waits until the relay has so many: it counts them once it has answered.
    async fn has_guests(&self, count: u64) {
        let counted = async {
            while self.relay.counters().guests != count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon(counted).await;
    }

    /// A session, and what both of its members are given for the relay.
    async fn granted(&self) -> [Granted; 2] {
        let (mut listener, mut connector) = self.pair().await;
        let session = listener.introduction.session;
        let node = number(RELAY);
        let ask = ToRendezvous::Relay { session, node };
        connector.peer.say(&ask).await;
        [granted(&mut listener).await, granted(&mut connector).await]
    }

    async fn pair(&self) -> (Member, Member) {
        let (mut listener, claim) = {
            let mut listener = self.peer(self.home.key()).await;
            let claim = listener.listen(None).await;
            (listener, claim)
        };
        let mut connector = self.peer(Credential::None).await;
        let nameplate = claim.nameplate;
        connector.say(&ToRendezvous::Join { nameplate }).await;
        let mut members = [
            Member {
                introduction: listener.introduced().await,
                peer: listener,
            },
            Member {
                introduction: connector.introduced().await,
                peer: connector,
            },
        ];
        for member in &mut members {
            let session = member.introduction.session;
            member.peer.say(&ToRendezvous::Confirmed { session }).await;
        }
        let [listener, connector] = members;
        (listener, connector)
    }

    async fn peer(&self, credential: Credential) -> Peer {
        let mut peer = self.home.peer(credential).await;
        let FromRendezvous::Nodes { relays, .. } = peer.hear().await else {
            panic!("no nodes are told");
        };
        assert_eq!(relays.len(), 1);
        peer
    }
}

/// What a member is given for a relay.
#[derive(Clone)]
struct Granted {
    leg: LegGrant,
    ticket: Vec<u8>,
}

async fn granted(member: &mut Member) -> Granted {
    loop {
        match member.peer.hear().await {
            FromRendezvous::RelayAt {
                session,
                node,
                leg,
                ticket,
            } => {
                assert_eq!(session, member.introduction.session);
                assert_eq!(node, number(RELAY));
                return Granted { leg, ticket };
            }
            FromRendezvous::PeerSeen { .. } | FromRendezvous::Vouched { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn send(wire: &Wire, to: SocketAddr, datagram: &[u8]) -> RelayFrame {
    wire.send(to, datagram).await;
    RelayFrame::decode(&wire.receive_from(to).await).unwrap()
}

/// Binds with a ticket as a member does: again and again until it is heard.
async fn bind(wire: &Wire, to: SocketAddr, granted: &Granted) {
    let bind = bind_with_ticket(&granted.leg, &granted.ticket);
    assert_eq!(ticket_in(&bind), Some(&granted.ticket[..]));
    let leg = granted.leg.leg;
    let cookie = soon(async {
        loop {
            wire.send(to, &bind).await;
            let heard = wire.receive_from(to);
            let pause = Duration::from_millis(100);
            if let Ok(reply) = tokio::time::timeout(pause, heard).await
                && let Ok(RelayFrame::Challenge { cookie, .. }) = RelayFrame::decode(&reply)
            {
                return cookie;
            }
        }
    });
    let cookie = cookie.await;
    let mac = answer_mac(&granted.leg, &cookie);
    let answer = RelayFrame::Answer { leg, cookie, mac };
    loop {
        match send(wire, to, &answer.encode()).await {
            RelayFrame::Bound { .. } => return,
            // Of a BIND that was repeated.
            RelayFrame::Challenge { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn refused(leg: LegId, reason: RelayRefusal) -> RelayFrame {
    RelayFrame::Refused { leg, reason }
}

#[tokio::test]
async fn session_is_relayed_by_a_host_that_only_knows_of_it_by_ticket() {
    let two = Two::start().await;
    let [listener, connector] = two.granted().await;
    assert_eq!(listener.ticket, connector.ticket);
    assert_ne!(listener.leg, connector.leg);
    let wires = [Wire::new(), Wire::new()];
    bind(&wires[0], two.at(), &listener).await;
    bind(&wires[1], two.at(), &connector).await;
    assert_eq!(two.relay.counters().guests, 1);
    wires[1].drain();
    for (from, to) in [(0, 1), (1, 0)] {
        wires[to].drain();
        wires[from].send(two.at(), &[77; 900]).await;
        assert_eq!(wires[to].receive_from(two.at()).await, [77; 900]);
    }
    assert_eq!(two.relay.counters().relayed, 2);
}

#[tokio::test]
async fn ticket_that_is_forged_or_of_another_session_opens_no_leg_and_a_third_host_cannot_use_one()
{
    let two = Two::start().await;
    let [listener, connector] = two.granted().await;
    let [other, _] = two.granted().await;
    let wire = Wire::new();
    let leg = listener.leg.leg;
    let unknown = refused(leg, RelayRefusal::UnknownLeg);
    let mut forged = listener.ticket.clone();
    *forged.last_mut().unwrap() ^= 1;
    for ticket in [&forged, &other.ticket, &Vec::new()] {
        let bind = bind_with_ticket(&listener.leg, ticket);
        assert_eq!(send(&wire, two.at(), &bind).await, unknown);
    }
    // Who has caught the ticket, and not the leg's key.
    let stolen = LegGrant {
        leg,
        key: Secret::random(),
    };
    let caught = bind_with_ticket(&stolen, &listener.ticket);
    assert_eq!(send(&wire, two.at(), &caught).await, unknown);
    assert_eq!(two.relay.counters().guests, 0);
    let members = [Wire::new(), Wire::new()];
    bind(&members[0], two.at(), &listener).await;
    // Who has caught the whole BIND on its way, and repeats it.
    let whole = bind_with_ticket(&listener.leg, &listener.ticket);
    let third = Wire::new();
    let RelayFrame::Challenge { cookie, .. } = send(&third, two.at(), &whole).await else {
        panic!("no challenge");
    };
    let mac = bind_mac(&stolen);
    let answer = RelayFrame::Answer { leg, cookie, mac };
    let proof = refused(leg, RelayRefusal::Proof);
    assert_eq!(send(&third, two.at(), &answer.encode()).await, proof);
    bind(&members[1], two.at(), &connector).await;
    members[0].drain();
    members[1].send(two.at(), &[99; 200]).await;
    assert_eq!(members[0].receive_from(two.at()).await, [99; 200]);
    assert!(third.is_silent());
}

#[tokio::test]
async fn session_that_has_many_tickets_made_has_two_places_at_the_relay() {
    let two = Two::start().await;
    let (mut listener, mut connector) = two.pair().await;
    let session = listener.introduction.session;
    let node = number(RELAY);
    let mut wires = Vec::new();
    for _ in 0..6 {
        let ask = ToRendezvous::Relay { session, node };
        connector.peer.say(&ask).await;
        let leg = granted(&mut listener).await;
        granted(&mut connector).await;
        let wire = Wire::new();
        bind(&wire, two.at(), &leg).await;
        wires.push(wire);
    }
    two.has_guests(2).await;
    let [others, _] = two.granted().await;
    bind(&Wire::new(), two.at(), &others).await;
    two.has_guests(3).await;
}

#[tokio::test]
async fn relay_that_drains_keeps_its_sessions_and_lets_others_in_again_when_that_is_taken_back() {
    let two = Two::start().await;
    let [listener, connector] = two.granted().await;
    let wires = [Wire::new(), Wire::new()];
    bind(&wires[0], two.at(), &listener).await;
    bind(&wires[1], two.at(), &connector).await;
    two.has_guests(1).await;
    let operator = two.relay.operator();
    operator.drain(Some(Duration::from_secs(3_600))).await;
    // By the answer the hub has told the datapath.
    assert!(operator.status().await.unwrap().draining_s.is_some());
    let [late, _] = two.granted().await;
    let wire = Wire::new();
    let ask = bind_with_ticket(&late.leg, &late.ticket);
    let unknown = refused(late.leg.leg, RelayRefusal::UnknownLeg);
    for _ in 0..3 {
        assert_eq!(send(&wire, two.at(), &ask).await, unknown);
    }
    wires[1].drain();
    wires[0].send(two.at(), &[77; 900]).await;
    assert_eq!(wires[1].receive_from(two.at()).await, [77; 900]);
    // A member that comes from elsewhere is none that comes anew.
    let moved = Wire::new();
    bind(&moved, two.at(), &listener).await;
    assert!(operator.undrain().await);
    bind(&wire, two.at(), &late).await;
    two.has_guests(2).await;
}

#[tokio::test]
async fn host_that_relays_alone_lets_no_peer_in() {
    let two = Two::start().await;
    let fingerprint = two.relay.url().fingerprint.unwrap();
    let key = two.relay.url().access_key.clone().unwrap();
    for credential in [Credential::None, Credential::AccessKey(key)] {
        let mut peer = Peer::connect(two.at(), fingerprint).await;
        peer.hello(credential).await;
        assert_eq!(peer.refused().await, Refusal::RelaysAlone);
    }
}

#[tokio::test]
async fn node_and_relay_make_no_place_for_a_successor_that_would_lack_their_secret() {
    let two = Two::start().await;
    let of_home = (two.home.state.path(), CLUSTER_SECRET, &two.home.server);
    let of_relay = (two.state_of_relay.path(), RELAY_KEY, &two.relay);
    for (state, file, server) in [of_home, of_relay] {
        server.can_be_succeeded().unwrap();
        let path = state.join(file);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, "damaged").unwrap();
        let why = server.can_be_succeeded().unwrap_err().to_string();
        assert!(why.contains("a backup in its place"), "{why}");
        std::fs::remove_file(&path).unwrap();
        let why = server.can_be_succeeded().unwrap_err().to_string();
        assert!(why.contains(file), "{why}");
        assert!(!path.exists());
        StateDir::open(Some(state), PROGRAM)
            .unwrap()
            .write_atomically(file, &before)
            .unwrap();
        server.can_be_succeeded().unwrap();
    }
}

#[tokio::test]
async fn node_makes_no_ticket_for_itself_a_stranger_or_a_session_that_is_not_confirmed() {
    let two = Two::start().await;
    let (mut listener, mut connector) = two.pair().await;
    let session = listener.introduction.session;
    let mut stranger = two.peer(Credential::None).await;
    for node in [17, 18, 99].map(number) {
        let ask = ToRendezvous::Relay { session, node };
        listener.peer.say(&ask).await;
    }
    let node = number(RELAY);
    let ask = ToRendezvous::Relay { session, node };
    stranger.say(&ask).await;
    stranger.say(&ToRendezvous::Ping).await;
    assert_eq!(stranger.hear().await, FromRendezvous::Pong);
    for member in [&mut listener, &mut connector] {
        member.peer.say(&ToRendezvous::Ping).await;
        loop {
            match member.peer.hear().await {
                FromRendezvous::Pong => break,
                FromRendezvous::RelayAt { .. } => panic!("a ticket was made"),
                _ => {}
            }
        }
    }
}
