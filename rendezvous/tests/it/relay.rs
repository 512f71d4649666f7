//! The relay over UDP: who may use it, where it leads, and that it changes nothing on the way.

use p2pdbg_proto::{
    relay::{LegGrant, RelayFrame, RelayRefusal, answer_mac},
    rendezvous::{FromRendezvous, ToRendezvous, close},
};

use crate::support::{Member, Rig, Wire, stun_request};

/// A session with both legs bound.
struct Relayed {
    rig: Rig,
    members: [Member; 2],
    wires: [Wire; 2],
}

impl Relayed {
    async fn start() -> Self {
        let rig = Rig::start().await;
        let (listener, connector) = rig.pair().await;
        let wires = [Wire::new(), Wire::new()];
        let mut members = [listener, connector];
        for (wire, member) in wires.iter().zip(&members) {
            wire.bind_leg(rig.main(), &member.introduction.leg).await;
        }
        for member in &mut members {
            let heard = member.peer.hear().await;
            assert!(matches!(heard, FromRendezvous::PeerSeen { .. }));
        }
        Self {
            rig,
            members,
            wires,
        }
    }
}

/// A datagram that could be QUIC, told by its number.
fn datagram(number: u32, length: usize) -> Vec<u8> {
    let mut datagram: Vec<u8> = (0..length)
        .map(|n| (n as u32).wrapping_mul(number.wrapping_mul(2_654_435_761) | 1) as u8)
        .collect();
    datagram[0] = 0x40 | (number as u8 & 0x3f);
    if length >= 5 {
        datagram[1..5].copy_from_slice(&number.to_be_bytes());
    }
    datagram
}

#[tokio::test]
async fn datagrams_pass_both_ways_unchanged_and_in_order() {
    let relayed = Relayed::start().await;
    let relay = relayed.rig.main();
    for (from, to) in [(0, 1), (1, 0)] {
        let [from, to] = [from, to].map(|n: usize| &relayed.wires[n]);
        for number in 0..600u32 {
            let length = [1, 2, 47, 1_200, 1_452, 9_000][number as usize % 6];
            let sent = datagram(number, length);
            from.send(relay, &sent).await;
            assert!(to.receive_from(relay).await == sent, "datagram {number}");
        }
    }
    let counters = relayed.rig.server.counters();
    assert_eq!(counters.relayed, 1_200);
    assert_eq!(counters.legs, 2);
}

#[tokio::test]
async fn a_batch_arrives_as_the_datagrams_that_it_was_made_of() {
    let relayed = Relayed::start().await;
    let [from, to] = &relayed.wires;
    let relay = relayed.rig.main();
    for (size, count, last) in [(1_200, 40, 700), (60, 64, 60), (1_452, 10, 1)] {
        let mut batch = Vec::new();
        let mut expected = Vec::new();
        for number in 0..count {
            let length = if number == count - 1 { last } else { size };
            expected.push(datagram(number, length));
            batch.extend_from_slice(&expected[number as usize]);
        }
        from.send_batch(relay, &batch, size).await;
        for datagram in expected {
            assert!(to.receive_from(relay).await == datagram);
        }
    }
}

#[tokio::test]
async fn what_is_not_quic_in_a_batch_is_taken_out_of_it() {
    let relayed = Relayed::start().await;
    let [from, to] = &relayed.wires;
    let relay = relayed.rig.main();
    let request = stun_request(100 - 24);
    assert_eq!(request.len(), 100);
    let garbage = vec![20; 100];
    let quic: Vec<Vec<u8>> = (0..4).map(|number| datagram(number, 100)).collect();
    let parts = [&quic[0], &quic[1], &request, &quic[2], &garbage, &quic[3]];
    from.send_batch(relay, &parts.map(|part| &part[..]).concat(), 100)
        .await;
    for datagram in &quic {
        assert!(to.receive_from(relay).await == *datagram);
    }
    // STUN from a bound source is answered, to the source.
    let answer = from.receive_from(relay).await;
    assert_eq!(answer[..2], [0x01, 0x01]);
}

#[tokio::test]
async fn a_source_that_is_not_bound_reaches_nobody() {
    let relayed = Relayed::start().await;
    let relay = relayed.rig.main();
    let stranger = Wire::new();
    for number in 0..50 {
        stranger.send(relay, &datagram(number, 1_200)).await;
    }
    // What the stranger sent was read before this was, so it would have come first.
    let sent = datagram(1_000, 1_200);
    relayed.wires[0].send(relay, &sent).await;
    assert!(relayed.wires[1].receive_from(relay).await == sent);
    assert_eq!(relayed.rig.server.counters().relayed, 1);
    // Nor is the alternative port a way in.
    relayed.wires[0]
        .send(relayed.rig.alternative(), &datagram(2_000, 100))
        .await;
    relayed.wires[0].send(relay, &sent).await;
    assert!(relayed.wires[1].receive_from(relay).await == sent);
}

#[tokio::test]
async fn the_alternative_port_binds_nobody() {
    let rig = Rig::start().await;
    let (listener, _connector) = rig.pair().await;
    let wire = Wire::new();
    let leg = listener.introduction.leg.leg;
    let bind = RelayFrame::Bind { leg, mac: [0; 32] }.encode();
    wire.send(rig.alternative(), &bind).await;
    wire.send(rig.alternative(), &stun_request(40)).await;
    let first = wire.receive_from(rig.alternative()).await;
    assert_eq!(first[..2], [0x01, 0x01]);
}

#[tokio::test]
async fn forged_and_borrowed_proofs_bind_nothing() {
    let rig = Rig::start().await;
    let (listener, connector) = rig.pair().await;
    let relay = rig.main();
    let (grant, other) = (&listener.introduction.leg, &connector.introduction.leg);
    let leg = grant.leg;
    let refused = |reason| RelayFrame::Refused { leg, reason };
    let (honest, thief) = (Wire::new(), Wire::new());
    let cookie = honest.challenge(relay, leg).await;

    let mac = answer_mac(grant, &cookie);
    let stolen = RelayFrame::Answer { leg, cookie, mac };
    assert_eq!(
        thief.exchange(relay, &stolen).await,
        refused(RelayRefusal::Proof)
    );
    let wrong_key = LegGrant {
        leg,
        key: other.key.clone(),
    };
    let mac = answer_mac(&wrong_key, &cookie);
    let forged = RelayFrame::Answer { leg, cookie, mac };
    assert_eq!(
        honest.exchange(relay, &forged).await,
        refused(RelayRefusal::Proof)
    );
    let mut made_up = cookie;
    made_up[20] ^= 1;
    let mac = answer_mac(grant, &made_up);
    let forged = RelayFrame::Answer {
        leg,
        cookie: made_up,
        mac,
    };
    assert_eq!(
        honest.exchange(relay, &forged).await,
        refused(RelayRefusal::Proof)
    );
    assert_eq!(rig.server.counters().legs, 0);
    // The honest one still gets through with the cookie that was stolen from it.
    let bound = honest.exchange(relay, &stolen).await;
    assert!(matches!(
        bound,
        RelayFrame::Bound {
            lifetime_s: 300,
            ..
        }
    ));
}

#[tokio::test]
async fn a_member_that_moves_is_found_at_its_new_address() {
    let relayed = Relayed::start().await;
    let relay = relayed.rig.main();
    let [_, connector] = &relayed.wires;
    let moved = Wire::new();
    let leg = &relayed.members[0].introduction.leg;
    moved.bind_leg(relay, leg).await;
    let sent = datagram(1, 500);
    connector.send(relay, &sent).await;
    assert!(moved.receive_from(relay).await == sent);
    moved.send(relay, &sent).await;
    assert!(connector.receive_from(relay).await == sent);
    assert_eq!(relayed.rig.server.counters().legs, 2);
}

#[tokio::test]
async fn the_other_member_hears_of_an_address_that_the_relay_saw() {
    let rig = Rig::start().await;
    let (listener, mut connector) = rig.pair().await;
    let wire = Wire::at("127.0.0.9:0");
    wire.bind_leg(rig.main(), &listener.introduction.leg).await;
    let seen = connector.peer.hear().await;
    let session = listener.introduction.session;
    let addresses = vec![wire.local().ip()];
    let bound = true;
    assert_eq!(
        seen,
        FromRendezvous::PeerSeen {
            session,
            addresses,
            bound
        }
    );
}

#[tokio::test]
async fn legs_close_when_a_member_leaves_or_says_goodbye() {
    for leave in [true, false] {
        let mut relayed = Relayed::start().await;
        let relay = relayed.rig.main();
        let [listener, connector] = &mut relayed.members;
        let session = listener.introduction.session;
        if leave {
            listener.peer.say(&ToRendezvous::Leave { session }).await;
        } else {
            listener.peer.close(close::DONE);
        }
        let left = connector.peer.hear().await;
        let on_purpose = true;
        assert_eq!(
            left,
            FromRendezvous::PeerLeft {
                session,
                on_purpose
            }
        );
        let leg = connector.introduction.leg.leg;
        let wire = Wire::new();
        let reply = loop {
            // The datapath may be told a moment later than the peer.
            match wire
                .exchange(relay, &RelayFrame::Bind { leg, mac: [0; 32] })
                .await
            {
                RelayFrame::Challenge { .. } => continue,
                other => break other,
            }
        };
        let reason = RelayRefusal::UnknownLeg;
        assert_eq!(reply, RelayFrame::Refused { leg, reason });
        assert_eq!(relayed.rig.server.counters().relayed, 0);
    }
}

#[tokio::test]
async fn sessions_do_not_mix() {
    let rig = Rig::start().await;
    let relay = rig.main();
    let mut sessions = Vec::new();
    for _ in 0..5 {
        let (listener, connector) = rig.pair().await;
        let wires = [Wire::new(), Wire::new()];
        wires[0].bind_leg(relay, &listener.introduction.leg).await;
        wires[1].bind_leg(relay, &connector.introduction.leg).await;
        sessions.push((wires, listener, connector));
    }
    for (number, (wires, ..)) in sessions.iter().enumerate() {
        wires[0].send(relay, &datagram(number as u32, 300)).await;
    }
    for (number, (wires, ..)) in sessions.iter().enumerate() {
        assert!(wires[1].receive_from(relay).await == datagram(number as u32, 300));
    }
    for (wires, ..) in &sessions {
        assert!(wires.iter().all(Wire::is_silent));
    }
}
