//! Garbage, floods and lies: the rendezvous keeps serving, and sends nobody more than it was sent.

use std::time::Duration;

use p2pdbg_proto::{
    frame,
    relay::{LegId, RelayFrame},
    rendezvous::{Credential, FromRendezvous, Refusal, Role, SessionId, ToRendezvous, close},
    secret::{Secret, random_bytes},
};
use p2pdbg_rendezvous::Limits;

use crate::support::{Peer, Rig, Wire, dial, endpoint, soon, stun_request};

/// Datagrams of every first byte and many lengths, some of which begin like something.
fn garbage() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for first in 0..=255u8 {
        for length in [1, 3, 19, 20, 21, 64, 82, 600, 1_200, 1_472, 3_000] {
            let mut datagram = vec![0; length];
            for (n, byte) in datagram.iter_mut().enumerate() {
                *byte = (n as u8).wrapping_mul(37) ^ first;
            }
            datagram[0] = first;
            all.push(datagram);
        }
    }
    for kind in 0..4u8 {
        for lie in [0, 4, 8, 24, 0xffff_u16] {
            let mut datagram = stun_request(16);
            datagram[1] = kind;
            datagram[2..4].copy_from_slice(&lie.to_be_bytes());
            all.push(datagram);
        }
    }
    for version in [0, 1, 0xff00_001d, 0xabad_cafe_u32] {
        for length in [30, 600, 1_199, 1_200, 1_400] {
            let mut datagram = vec![0xa5; length];
            datagram[0] = 0xc0;
            datagram[1..5].copy_from_slice(&version.to_be_bytes());
            datagram[5] = 8;
            datagram[14] = 8;
            all.push(datagram);
        }
    }
    let leg = LegId(random_bytes());
    all.push(RelayFrame::Bind { leg, mac: [0; 32] }.encode());
    let answer = RelayFrame::Answer {
        leg,
        cookie: random_bytes(),
        mac: random_bytes(),
    };
    all.push(answer.encode());
    all
}

#[tokio::test]
async fn garbage_at_every_port_is_survived_and_never_answered_with_more() {
    let rig = Rig::start().await;
    let (listener, _) = rig.listener().await;
    let mut asked = Vec::new();
    for port in [rig.main(), rig.alternative()] {
        for datagram in garbage() {
            // A socket each, so that what comes back is known to be the answer to this.
            let wire = Wire::new();
            wire.send(port, &datagram).await;
            asked.push((wire, datagram));
        }
        // All of it has been read once this is answered.
        let wire = Wire::new();
        wire.send(port, &stun_request(40)).await;
        wire.receive_from(port).await;
    }
    rig.peer(rig.key()).await;
    assert!(listener.connection.close_reason().is_none());
    // Nothing is on its way any more after this.
    rig.server.shutdown().await;
    for (wire, datagram) in asked {
        let answered: usize = wire.drain().iter().map(Vec::len).sum();
        assert!(
            answered <= datagram.len(),
            "{answered} bytes for {} that began with {}",
            datagram.len(),
            datagram[0]
        );
    }
}

#[tokio::test]
async fn a_frame_that_is_no_message_ends_the_connection_that_it_came_on() {
    let rig = Rig::start().await;
    let (mut bystander, claim) = rig.listener().await;
    let too_long = [&u32::MAX.to_be_bytes()[..], &[7; 64]].concat();
    let long_as_allowed = u32::try_from(frame::MAX_BODY).unwrap().to_be_bytes();
    for bytes in [
        &[0, 0, 0, 1, 250][..],
        &[0, 0, 0, 0],
        &too_long,
        &long_as_allowed,
        // A hello with a byte behind it.
        &[0, 0, 0, 4, 0, 0, 0, 0],
    ] {
        for greeted in [false, true] {
            let mut peer = rig.stranger().await;
            if greeted {
                peer.hello(Credential::None).await;
                peer.hear().await;
            }
            soon(peer.send.write_all(bytes)).await.unwrap();
            assert_eq!(peer.refused().await, Refusal::Protocol);
            assert_eq!(peer.closed().await, close::PROTOCOL);
        }
    }
    assert_eq!(bystander.listen(Some(claim.clone())).await, claim);
}

#[tokio::test]
async fn a_signal_that_is_too_long_ends_the_connection() {
    let rig = Rig::start().await;
    let (mut listener, _connector) = rig.pair().await;
    let session = listener.introduction.session;
    let payload = vec![0; 20_000];
    listener
        .peer
        .say(&ToRendezvous::Signal { session, payload })
        .await;
    assert_eq!(listener.peer.refused().await, Refusal::Protocol);
    assert_eq!(listener.peer.closed().await, close::PROTOCOL);
}

#[tokio::test]
async fn a_made_up_session_is_refused_and_the_connection_stays() {
    let rig = Rig::start().await;
    let (mut peer, _) = rig.listener().await;
    let session = SessionId(random_bytes());
    let payload = vec![1];
    peer.say(&ToRendezvous::Signal { session, payload }).await;
    assert_eq!(peer.refused().await, Refusal::NoSuchSession);
    peer.listen(None).await;
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_shown_out() {
    let limits = Limits {
        greeting_within: Duration::from_secs(5),
        ..Limits::default()
    };
    let rig = Rig::with(limits).await;
    let fingerprint = rig.server.url().fingerprint.unwrap();
    let endpoint = endpoint();
    let silent = soon(dial(&endpoint, rig.main(), fingerprint))
        .await
        .unwrap();
    let mut half = rig.stranger().await;
    soon(half.send.write_all(&[0, 0])).await.unwrap();
    soon(silent.closed()).await;
    assert_eq!(half.closed().await, close::IDLE);
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_they_come_back() {
    let limits = Limits {
        connections_per_address: 3,
        ..Limits::default()
    };
    let rig = Rig::with(limits).await;
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(rig.peer(Credential::None).await);
    }
    let fingerprint = rig.server.url().fingerprint.unwrap();
    let refused = || async {
        let endpoint = endpoint();
        match soon(dial(&endpoint, rig.main(), fingerprint)).await {
            Ok(connection) => {
                soon(connection.closed()).await;
                true
            }
            Err(_) => true,
        }
    };
    assert!(refused().await);
    assert!(rig.server.counters().connections_refused > 0);
    peers.pop().unwrap().close(close::DONE);
    // The place is free once the rendezvous has noticed.
    soon(async {
        while rig.server.counters().peers > 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    rig.peer(Credential::None).await;
}

#[tokio::test]
async fn a_crowd_that_says_hello_and_asks_for_nothing_keeps_nobody_out_for_long() {
    let limits = Limits {
        connections: 8,
        keyless_rest: Duration::from_millis(200),
        ..Limits::default()
    };
    let rig = Rig::with(limits).await;
    let (mut listener, claim) = rig.listener().await;
    let mut crowd = Vec::new();
    for _ in 0..6 {
        crowd.push(rig.peer(Credential::None).await);
    }
    let mut refused = 0;
    let mut joiner = soon(async {
        loop {
            let mut joiner = rig.stranger().await;
            joiner.hello(Credential::None).await;
            match joiner.hear().await {
                FromRendezvous::Welcome { .. } => break joiner,
                FromRendezvous::Refused { refusal, .. } => assert_eq!(refusal, Refusal::Full),
                other => panic!("{other:?}"),
            }
            refused += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let nameplate = claim.nameplate;
    joiner.say(&ToRendezvous::Join { nameplate }).await;
    joiner.introduced().await;
    listener.introduced().await;
    assert_eq!(crowd[0].refused().await, Refusal::Full);
    assert_eq!(crowd[0].closed().await, close::REFUSED);
    // Those who were not let in, and who made room.
    let counters = rig.server.counters();
    assert_eq!(counters.connections_refused, refused + 1);
}

#[tokio::test]
async fn newcomers_prove_their_address_when_many_shake_hands_at_once() {
    let limits = Limits {
        handshakes_unproven: 0,
        ..Limits::default()
    };
    let rig = Rig::with(limits).await;
    // Every handshake goes by a Retry here, and peers do not notice.
    rig.pair().await;
}

#[tokio::test]
async fn a_member_that_does_not_read_loses_the_session_and_keeps_its_connection() {
    let limits = Limits {
        signals: p2pdbg_rendezvous::Rate {
            burst: 10_000,
            per_minute: 10_000,
        },
        ..Limits::default()
    };
    let rig = Rig::with(limits).await;
    let (mut deaf, mut talker) = rig.pair().await;
    let session = talker.introduction.session;
    let left = FromRendezvous::PeerLeft {
        session,
        on_purpose: false,
    };
    // More than the buffers on the way hold.
    for _ in 0..150 {
        let payload = vec![0; 16_000];
        let signal = ToRendezvous::Signal { session, payload };
        talker.peer.say(&signal).await;
    }
    assert_eq!(talker.peer.hear().await, left);
    // What was on its way still comes, and then why nothing more does.
    while deaf.peer.hear().await != left {}
    deaf.peer.listen(None).await;
}

#[tokio::test]
async fn a_joiner_without_the_words_cannot_talk_the_listener_out_of_its_connection() {
    let rig = Rig::start().await;
    let (mut listener, mut joiner) = rig.introduced().await;
    let session = joiner.introduction.session;
    for _ in 0..250 {
        let payload = vec![0; 16_000];
        let signal = ToRendezvous::Signal { session, payload };
        joiner.peer.say(&signal).await;
    }
    let mut heard = 0;
    loop {
        match listener.peer.hear().await {
            FromRendezvous::Signal { payload, .. } => heard += payload.len(),
            FromRendezvous::PeerLeft { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(heard <= Limits::default().unconfirmed_bytes, "{heard}");
    listener.peer.listen(None).await;
}

/// Has two peers meet at a handle of their own, as members of a session.
async fn meet(first: &mut Peer, second: &mut Peer) -> SessionId {
    let handle = Secret::random();
    for (peer, role) in [
        (&mut *first, Role::Listener),
        (&mut *second, Role::Connector),
    ] {
        let (handle, already) = (handle.clone(), None);
        let meet = ToRendezvous::Meet {
            handle,
            role,
            already,
        };
        peer.say(&meet).await;
        if role == Role::Listener {
            assert_eq!(peer.told().await, []);
        }
    }
    first.introduced().await;
    second.introduced().await.session
}

/// How many bytes may wait on the account of a key here.
const OF_KEY: usize = 64 * 1024;

/// What a connection takes without waiting: what is being written, and what is not acknowledged.
const AT_ONCE: usize = 64 * 1024;

#[tokio::test]
async fn what_waits_for_members_that_do_not_read_is_bounded_for_all_of_one_key() {
    let limits = Limits {
        outgoing_bytes_per_key: OF_KEY,
        ..Limits::default()
    };
    let rig = Rig::with(limits).await;
    let fingerprint = rig.server.url().fingerprint.unwrap();
    let mut loud = rig.peer(rig.key()).await;
    let (mut deaf, mut sessions) = (Vec::new(), Vec::new());
    for _ in 0..11 {
        let mut peer = Peer::connect_deaf(rig.main(), fingerprint, 1_024).await;
        peer.hello(rig.key()).await;
        assert!(matches!(peer.hear().await, FromRendezvous::Welcome { .. }));
        // Two connections have no more together.
        for _ in 0..3 {
            sessions.push(meet(&mut loud, &mut peer).await);
        }
        deaf.push(peer);
    }
    // As much as a session may have waiting.
    for session in sessions.repeat(2) {
        let payload = vec![0; 16_000];
        loud.say(&ToRendezvous::Signal { session, payload }).await;
    }
    loud.told().await;
    // Another member of the same key, whose session keeps its queue short.
    let [mut quiet, mut friend] = [rig.peer(rig.key()).await, rig.peer(rig.key()).await];
    let session = meet(&mut quiet, &mut friend).await;
    for number in 0..20 {
        let payload = vec![number];
        let signal = ToRendezvous::Signal {
            session,
            payload: payload.clone(),
        };
        quiet.say(&signal).await;
        let signal = FromRendezvous::Signal { session, payload };
        assert_eq!(friend.hear().await, signal);
    }
    let mut waited = 0;
    for peer in &mut deaf {
        for message in peer.told().await {
            if let FromRendezvous::Signal { payload, .. } = message {
                waited += payload.len();
            }
        }
    }
    assert!(
        waited > 0 && waited <= OF_KEY + deaf.len() * AT_ONCE,
        "{waited}"
    );
}
