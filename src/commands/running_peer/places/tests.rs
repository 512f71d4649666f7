use p2pdbg_base::{Bind, HostPort};
use p2pdbg_forward::Preset;

use super::*;
use crate::commands::tests::world::{free_port, free_ports};

fn name(text: &str) -> PeerName {
    text.parse().unwrap()
}

/// A forward that opens this port beside the IDE; 0 for any.
fn forward(port: u16) -> Forward {
    Forward {
        socket: None,
        direction: Direction::ToDebuggee,
        bind: Bind::loopback(port),
        target: HostPort::loopback(5678),
        purpose: p2pdbg_forward::Purpose::Anything,
    }
}

fn peers(most: usize, known: &[&str], maps: Vec<PortMap>) -> PeersOptions {
    PeersOptions {
        most,
        known: known.iter().map(|text| name(text)).collect(),
        makes_codes: known.len() < most,
        maps,
    }
}

fn map(of: &str, ports: &[u16]) -> PortMap {
    PortMap {
        name: name(of),
        ports: ports.to_vec(),
    }
}

fn open(forwards: Vec<Forward>, peers: &PeersOptions) -> Result<Places, Failure> {
    Places::open(forwards, None, peers)
}

/// The first port of the place that a peer gets.
fn port(places: &mut Places, of: &str) -> Option<u16> {
    let index = places.take(&name(of)).unwrap()?;
    Some(places.get(index).unwrap().forwards[0].bind.port)
}

#[tokio::test]
async fn each_place_has_ports_of_its_own_and_all_are_open_from_the_start() {
    let asked = free_ports(3);
    let places = open(vec![forward(asked)], &peers(3, &[], vec![])).unwrap();
    let ports: Vec<u16> = places.iter().map(|p| p.forwards[0].bind.port).collect();
    assert_eq!(ports[0], asked);
    assert!(ports[0] < ports[1] && ports[1] < ports[2], "{ports:?}");
    for port in ports {
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}

#[tokio::test]
async fn a_port_that_somebody_has_is_passed_over() {
    let asked = free_ports(3);
    let taken = asked + 1;
    let _somebody = std::net::TcpListener::bind(("127.0.0.1", taken)).unwrap();
    let places = open(vec![forward(asked)], &peers(2, &[], vec![])).unwrap();
    let second = places.get(1).unwrap().forwards[0].bind.port;
    assert!(second > taken, "{second}");
    let failure = open(vec![forward(taken)], &peers(2, &[], vec![])).unwrap_err();
    assert_eq!(failure.code, ErrorCode::PortInUse);
}

#[tokio::test]
async fn a_peer_that_returns_gets_its_place_back_and_who_left_first_makes_room() {
    let mut places = open(vec![forward(0)], &peers(2, &[], vec![])).unwrap();
    let a = port(&mut places, "a").unwrap();
    let b = port(&mut places, "b").unwrap();
    assert_ne!(a, b);
    assert_eq!(port(&mut places, "c"), None);
    let place_of = |places: &Places, of: &str| {
        let of = name(of);
        places.iter().position(|p| p.owner() == Some(&of)).unwrap()
    };
    for who in ["b", "a"] {
        places.release(place_of(&places, who));
    }
    assert_eq!(port(&mut places, "a"), Some(a));
    assert_eq!(port(&mut places, "b"), Some(b));
    for who in ["b", "a"] {
        places.release(place_of(&places, who));
    }
    assert_eq!(port(&mut places, "c"), Some(b));
}

#[tokio::test]
async fn a_place_is_kept_for_who_was_named() {
    let mut places = open(vec![forward(0)], &peers(2, &["a"], vec![])).unwrap();
    assert_eq!(places.room(), 1);
    let b = port(&mut places, "b").unwrap();
    assert_eq!(places.room(), 0);
    assert_eq!(port(&mut places, "c"), None);
    assert!(places.has_room_for(&name("a")));
    assert_ne!(port(&mut places, "a").unwrap(), b);
}

#[tokio::test]
async fn mapped_ports_are_their_owners_and_nobody_elses() {
    let mapped = free_port();
    let options = peers(2, &[], vec![map("db", &[mapped])]);
    let mut places = open(vec![forward(0), forward(0)], &options).unwrap();
    let first = port(&mut places, "web").unwrap();
    assert_ne!(first, mapped);
    let unused: Vec<_> = places.unused_maps().cloned().collect();
    assert_eq!(unused, [name("db")]);
    assert_eq!(port(&mut places, "db"), Some(mapped));
    assert_eq!(places.unused_maps().count(), 0);
    drop(places);
    // Two that were not named, and the mapped port goes on waiting for its owner.
    let mut places = open(vec![forward(0)], &peers(2, &[], options.maps)).unwrap();
    let strangers = [port(&mut places, "a"), port(&mut places, "b")];
    assert!(!strangers.contains(&Some(mapped)) && !strangers.contains(&None));
}

#[tokio::test]
async fn more_mapped_ports_than_forwards_are_refused() {
    let pydevd = Forward::of_preset(Preset::Pydevd, 5678);
    for (forwards, ports) in [(vec![pydevd], 1), (vec![forward(0)], 2)] {
        let ports: Vec<u16> = (0..ports).map(|_| free_port()).collect();
        let options = peers(2, &[], vec![map("db", &ports)]);
        let failure = open(forwards, &options).unwrap_err();
        assert_eq!(failure.code, ErrorCode::Usage);
    }
}
