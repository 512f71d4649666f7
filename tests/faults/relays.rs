//! A relay that is nearer to both peers than the nodes are: taken, used, lost, and left alone where it is of no use.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use p2pdbg_events::{Event, PathKind};
use p2pdbg_natlab::{Flow, Host, Impairments};

use crate::{
    cluster::{Scene, Store, kill_home, place},
    harness::{Cluster, NodeAt, RelayAlone, Rendezvous, eventually},
    session::{Session, both_at_once},
};

/// Three nodes that are far from both peers, and a host near to them that relays alone.
struct Far {
    scene: Scene,
    relay: RelayAlone,
    /// Where the latter runs.
    host: Host,
    at: IpAddr,
}

impl Far {
    #[track_caller]
    fn new(name: &'static str) -> Option<Self> {
        let mut near = None;
        let scene = Scene::with(name, false, |lab| {
            let host = lab.net.host("relay30").unwrap();
            let argument = format!("30={}", host.ip());
            near = Some(host);
            vec!["--relays".to_owned(), argument]
        })?;
        let near = near.unwrap();
        let away = Impairments::delayed(Duration::from_millis(60));
        for host in &scene.hosts {
            host.link().impair(away).unwrap();
        }
        let at: IpAddr = near.ip().into();
        let relay = NodeAt {
            number: 30,
            place: place(&near),
            ip: at,
        };
        let relay = scene.cluster.start_relay(&relay);
        Some(Self {
            scene,
            relay,
            host: near,
            at,
        })
    }
}

/// Waits until both peers say that they are relayed from there.
#[track_caller]
fn relayed_at(session: &Session, at: IpAddr) {
    for peer in session.peers() {
        eventually("a path through the nearer relay", || {
            let mut paths = peer.events().into_iter().filter_map(|event| match event {
                Event::Path(path) => Some(path),
                _ => None,
            });
            let near = paths.find(|path| path.remote.is_some_and(|remote| remote.ip() == at))?;
            assert_eq!(near.kind, PathKind::Relay);
            assert!(near.why.contains("node 30 relays"), "{}", near.why);
            Some(())
        });
    }
}

/// A session of both peers that is relayed from there.
struct Relayed {
    session: Session,
    relay: RelayAlone,
    host: Host,
    at: IpAddr,
    nodes: Vec<NodeAt>,
    /// The nodes besides the one of the session.
    others: Vec<Rendezvous>,
    /// What must stay as long.
    _rest: (Vec<Host>, Cluster, Option<Store>),
}

impl Relayed {
    #[track_caller]
    fn begin(name: &'static str) -> Option<Self> {
        let far = Far::new(name)?;
        let scene = far.scene;
        let setting = scene.setting.with_path("relay");
        let session = Session::begin(name, scene.lab, setting, PathKind::Relay);
        relayed_at(&session, far.at);
        Some(Self {
            session,
            relay: far.relay,
            host: far.host,
            at: far.at,
            nodes: scene.nodes,
            others: scene.others,
            _rest: (scene.hosts, scene.cluster, scene.store),
        })
    }
}

#[test]
fn session_moves_to_the_relay_that_is_nearest_for_both_and_back_when_that_is_killed() {
    let Some(mut relayed) = Relayed::begin("rl-kill") else {
        return;
    };
    let (session, relay) = (&relayed.session, &mut relayed.relay);
    assert_eq!(relay.guests(), 1);
    session.flows();
    let began = session.fault("nearer relay killed");
    relay.kill();
    session.resumes(
        "nearer relay of a session killed for good",
        began,
        Instant::now(),
        "gap ≤ 5 s",
    );
    assert_eq!(session.lost(), 0, "the home's relay stood all the time");
    relayed.session.finish();
}

/// A session at a nearer relay is back at its home's, and stays there, though that relay goes on to answer.
#[track_caller]
fn leaves(name: &'static str, dropped: Flow) {
    let Some(relayed) = Relayed::begin(name) else {
        return;
    };
    let (session, at) = (&relayed.session, relayed.at);
    let began = session.fault("the nearer relay drops bulk");
    relayed.host.block(dropped).unwrap();
    for peer in session.peers() {
        eventually("the nearer relay is left", || {
            let left = |line: &str| line.contains("the nearer relay is left");
            let told = peer.stderr().iter().any(|line| left(line));
            let mut paths = peer.events().into_iter().filter_map(|event| match event {
                Event::Path(path) => Some(path),
                _ => None,
            });
            let last = paths.next_back().unwrap();
            // What is logged and what is reported come by two pipes.
            (told && last.remote.unwrap().ip() != at).then_some(())
        });
    }
    let took = began.elapsed().as_secs_f64();
    println!("{name}: both have left the nearer relay after {took:.1} s");
    session.flows();
    assert_eq!(session.lost(), 0);
    relayed.session.finish();
}

#[test]
fn nearer_relay_that_drops_bulk_or_most_of_it_is_left_by_both_peers() {
    both_at_once(
        || leaves("rl-bulk", Flow::longer_than(600)),
        || leaves("rl-poor", Flow::udp().faster_than(60)),
    );
}

#[test]
fn session_at_a_nearer_relay_goes_on_without_a_gap_when_its_home_is_killed() {
    let Some(mut relayed) = Relayed::begin("rl-home") else {
        return;
    };
    let session = &mut relayed.session;
    // What was on its way by the home when the streams left it has arrived: nothing of them depends on it.
    session.settles();
    let began = session.fault("home killed");
    kill_home(session, &relayed.nodes, &mut relayed.others);
    session.resumes(
        "home of a session at a nearer relay killed for good",
        began,
        Instant::now(),
        "no gap",
    );
    assert_eq!(session.lost(), 0);
    relayed.session.finish();
}

#[test]
fn session_with_a_direct_path_asks_for_no_nearer_relay() {
    let Some(far) = Far::new("rl-direct") else {
        return;
    };
    let Far { scene, relay, .. } = far;
    let Scene {
        setting,
        others,
        lab,
        ..
    } = scene;
    let session = Session::begin("rl-direct", lab, setting, PathKind::Direct);
    for peer in session.peers() {
        eventually("a look that finds no need", || {
            let stderr = peer.stderr();
            let mut lines = stderr.iter();
            lines.find(|line| line.contains("no nearer relay is looked for"))?;
            Some(())
        });
    }
    session.flows();
    assert_eq!(relay.guests(), 0);
    session.finish();
    drop(others);
}
