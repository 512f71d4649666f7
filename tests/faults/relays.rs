//! A relay that is nearer to both peers than the nodes are: taken, used, lost, and left alone where it is of no use.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use p2pdbg_events::{Event, PathKind};
use p2pdbg_natlab::{Flow, Host, Impairments};

use crate::{
    cluster::{Scene, kill_home, place},
    harness::{NodeAt, RelayAlone, eventually},
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

#[test]
fn session_moves_to_the_relay_that_is_nearest_for_both_and_back_when_that_is_killed() {
    let Some(far) = Far::new("rl-kill") else {
        return;
    };
    let Far {
        scene,
        mut relay,
        at,
        ..
    } = far;
    let Scene {
        setting,
        others,
        lab,
        ..
    } = scene;
    let setting = setting.with_path("relay");
    let session = Session::begin("rl-kill", lab, setting, PathKind::Relay);
    relayed_at(&session, at);
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
    session.finish();
    drop(others);
}

/// A session at a nearer relay is back at its home's, and stays there, though that relay goes on to answer.
#[track_caller]
fn leaves(name: &'static str, dropped: Flow) {
    let Some(far) = Far::new(name) else {
        return;
    };
    let Far {
        scene,
        relay,
        host,
        at,
    } = far;
    let Scene {
        setting,
        others,
        lab,
        ..
    } = scene;
    let setting = setting.with_path("relay");
    let session = Session::begin(name, lab, setting, PathKind::Relay);
    relayed_at(&session, at);
    let began = session.fault("the nearer relay drops bulk");
    host.block(dropped).unwrap();
    for peer in session.peers() {
        eventually("the nearer relay is left", || {
            let left = |line: &str| line.contains("the nearer relay is left");
            peer.stderr().iter().any(|line| left(line)).then_some(())
        });
        let mut paths = peer.events().into_iter().filter_map(|event| match event {
            Event::Path(path) => Some(path),
            _ => None,
        });
        let last = paths.next_back().unwrap();
        assert_ne!(last.remote.unwrap().ip(), at, "{last:?}");
    }
    let took = began.elapsed().as_secs_f64();
    println!("{name}: both have left the nearer relay after {took:.1} s");
    session.flows();
    assert_eq!(session.lost(), 0);
    session.finish();
    drop((relay, others));
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
    let Some(far) = Far::new("rl-home") else {
        return;
    };
    let Far {
        scene, relay, at, ..
    } = far;
    let Scene {
        setting,
        mut others,
        nodes,
        lab,
        ..
    } = scene;
    let setting = setting.with_path("relay");
    let mut session = Session::begin("rl-home", lab, setting, PathKind::Relay);
    relayed_at(&session, at);
    // What was on its way by the home when the streams left it has arrived: nothing of them depends on it.
    session.settles();
    let began = session.fault("home killed");
    kill_home(&mut session, &nodes, &mut others);
    session.resumes(
        "home of a session at a nearer relay killed for good",
        began,
        Instant::now(),
        "no gap",
    );
    assert_eq!(session.lost(), 0);
    session.finish();
    drop(relay);
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
