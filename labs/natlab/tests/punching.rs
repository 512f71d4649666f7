//! Peers behind two NATs punch through, or do not, as their kinds decide.
#![cfg(target_os = "linux")]

mod common;

use std::{net::SocketAddr, time::Duration};

use common::Udp;
use p2pdbg_natlab::{Error, Lab, NatKind, TwoNats};

/// A pair of peers that know each other's external endpoint.
struct Peers {
    ide: Udp,
    debuggee: Udp,
    server: Udp,
    ide_external: SocketAddr,
    debuggee_external: SocketAddr,
}

impl Peers {
    fn new(lab: &TwoNats) -> Result<Self, Error> {
        let (ide, debuggee) = (Udp::new(&lab.ide)?, Udp::new(&lab.debuggee)?);
        let server = Udp::new(&lab.rdv)?;
        Ok(Self {
            ide_external: ide.seen_by(&server, lab.rdv.ip()),
            debuggee_external: debuggee.seen_by(&server, lab.rdv.ip()),
            ide,
            debuggee,
            server,
        })
    }
}

fn two_nats(a: NatKind, b: NatKind, delay: Duration) -> Result<Option<TwoNats>, Error> {
    Lab::new_or_skip("punching")
        .map(|lab| TwoNats::new(lab, a, b, delay))
        .transpose()
}

/// Waits until what the peers have sent so far has passed the boxes at the other end.
fn settle(lab: &TwoNats, peers: &Peers) {
    for (peer, nat) in [(&peers.ide, &lab.nat_a), (&peers.debuggee, &lab.nat_b)] {
        assert_eq!(
            peer.seen_by(&peers.server, lab.rdv.ip()).ip(),
            nat.external_ip()
        );
    }
}

#[test]
fn port_restricted_peers_get_through_whoever_is_first() -> Result<(), Error> {
    let kind = NatKind::PORT_RESTRICTED;
    let Some(lab) = two_nats(kind, kind, Duration::ZERO)? else {
        return Ok(());
    };
    for round in 0..20 {
        let peers = Peers::new(&lab)?;
        let (ide, debuggee) = (&peers.ide, &peers.debuggee);
        let (first, first_external, second, second_external) = if round % 2 == 0 {
            (ide, peers.ide_external, debuggee, peers.debuggee_external)
        } else {
            (debuggee, peers.debuggee_external, ide, peers.ide_external)
        };
        // The first packet meets a box that knows nothing of its sender.
        first.send(b"too early", second_external);
        settle(&lab, &peers);
        second.send(b"through", first_external);
        assert_eq!(first.recv(), (b"through".to_vec(), second_external));
        first.send(b"and back", second_external);
        assert_eq!(second.recv(), (b"and back".to_vec(), first_external));
    }
    Ok(())
}

#[test]
fn port_restricted_peers_get_through_with_packets_that_cross() -> Result<(), Error> {
    let kind = NatKind::PORT_RESTRICTED;
    let Some(lab) = two_nats(kind, kind, Duration::from_millis(5))? else {
        return Ok(());
    };
    for _ in 0..20 {
        let peers = Peers::new(&lab)?;
        peers.ide.send(b"from ide", peers.debuggee_external);
        peers.debuggee.send(b"from debuggee", peers.ide_external);
        let expected = (b"from debuggee".to_vec(), peers.debuggee_external);
        assert_eq!(peers.ide.recv(), expected);
        let expected = (b"from ide".to_vec(), peers.ide_external);
        assert_eq!(peers.debuggee.recv(), expected);
    }
    Ok(())
}

#[test]
fn a_symmetric_peer_meets_a_port_restricted_one_at_the_wrong_port() -> Result<(), Error> {
    let (a, b) = (NatKind::SYMMETRIC_RANDOM, NatKind::PORT_RESTRICTED);
    let Some(lab) = two_nats(a, b, Duration::ZERO)? else {
        return Ok(());
    };
    let peers = Peers::new(&lab)?;
    for _ in 0..3 {
        peers.debuggee.send(b"to the port seen", peers.ide_external);
        peers.ide.send(b"from a new port", peers.debuggee_external);
        settle(&lab, &peers);
    }
    assert_eq!(peers.ide.arrived(), []);
    assert_eq!(peers.debuggee.arrived(), []);
    Ok(())
}

#[test]
fn a_symmetric_peer_gets_through_to_an_address_restricted_one() -> Result<(), Error> {
    let (a, b) = (NatKind::SYMMETRIC_RANDOM, NatKind::ADDRESS_RESTRICTED);
    let Some(lab) = two_nats(a, b, Duration::ZERO)? else {
        return Ok(());
    };
    let peers = Peers::new(&lab)?;
    peers.debuggee.send(b"opens the door", peers.ide_external);
    settle(&lab, &peers);
    peers.ide.send(b"from a new port", peers.debuggee_external);
    let (payload, from) = peers.debuggee.recv();
    assert_eq!(payload, b"from a new port");
    assert_ne!(from, peers.ide_external);
    peers.debuggee.send(b"and back", from);
    assert_eq!(peers.ide.recv().0, b"and back");
    Ok(())
}

#[test]
fn a_packet_with_a_low_ttl_opens_its_own_nat_and_dies_before_the_other() -> Result<(), Error> {
    let kind = NatKind::PORT_RESTRICTED;
    let Some(lab) = two_nats(kind, kind, Duration::ZERO)? else {
        return Ok(());
    };
    let peers = Peers::new(&lab)?;
    let before = lab.nat_b.uplink().counters()?.1.received;
    peers.ide.set_ttl(2);
    peers.ide.send(b"low", peers.debuggee_external);
    peers.ide.set_ttl(64);
    settle(&lab, &peers);
    // The one answer of the server is all that has come down to the other box.
    let after = lab.nat_b.uplink().counters()?.1.received;
    assert_eq!(after - before, 1);
    peers.debuggee.send(b"through", peers.ide_external);
    assert_eq!(peers.ide.recv().0, b"through");
    Ok(())
}
