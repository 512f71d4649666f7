//! What peers say to the rendezvous, and what it says to them.

use std::net::SocketAddr;

use p2pdbg_proto::{
    code::Nameplate,
    rendezvous::{
        Credential, Fate, FromRendezvous, MeetingPoint, Refusal, Role, ToRendezvous, close,
    },
    secret::Secret,
    url::AccessKey,
};
use quinn::ConnectionError;

use crate::support::{Peer, Rig, dial, endpoint, soon};

#[tokio::test]
async fn a_listener_and_a_connector_are_introduced_and_signal_both_ways() {
    let rig = Rig::start().await;
    let (mut listener, mut connector) = rig.pair().await;
    let session = listener.introduction.session;
    assert_eq!(session, connector.introduction.session);
    assert!(matches!(
        listener.introduction.place,
        MeetingPoint::Nameplate(_)
    ));
    let members = [&mut listener, &mut connector];
    let [one, two] = members.map(|member| &mut member.peer);
    pass(one, two, session).await;
    pass(two, one, session).await;
    two.say(&ToRendezvous::Leave { session }).await;
    let on_purpose = true;
    let left = FromRendezvous::PeerLeft {
        session,
        on_purpose,
    };
    assert_eq!(one.hear().await, left);
}

async fn pass(from: &mut Peer, to: &mut Peer, session: p2pdbg_proto::rendezvous::SessionId) {
    for length in [0, 1, 1_000, 16 * 1024] {
        let payload = vec![7; length];
        let signal = ToRendezvous::Signal {
            session,
            payload: payload.clone(),
        };
        from.say(&signal).await;
        assert_eq!(to.hear().await, FromRendezvous::Signal { session, payload });
    }
}

#[tokio::test]
async fn a_peer_is_welcomed_with_its_address_and_where_to_ask_for_it() {
    let rig = Rig::start().await;
    let mut peer = rig.stranger().await;
    peer.hello(Credential::None).await;
    let unspecified = |port: SocketAddr| SocketAddr::new([0, 0, 0, 0].into(), port.port());
    assert_eq!(
        peer.hear().await,
        FromRendezvous::Welcome {
            observed: peer.local,
            stun: vec![unspecified(rig.main()), unspecified(rig.alternative())],
            up_s: u32::MAX,
        }
    );
}

#[tokio::test]
async fn a_wrong_access_key_is_refused_and_the_connection_closed() {
    let rig = Rig::start().await;
    let mut peer = rig.stranger().await;
    peer.hello(Credential::AccessKey(AccessKey::random())).await;
    assert_eq!(peer.refused().await, Refusal::AccessKey);
    assert_eq!(peer.closed().await, close::REFUSED);
}

#[tokio::test]
async fn a_peer_without_the_access_key_may_not_listen() {
    let rig = Rig::start().await;
    let mut peer = rig.peer(Credential::None).await;
    peer.say(&ToRendezvous::Listen { claim: None }).await;
    assert_eq!(peer.refused().await, Refusal::AccessKey);
    assert_eq!(peer.closed().await, close::REFUSED);
}

#[tokio::test]
async fn joins_at_unknown_used_and_burned_nameplates_say_so() {
    let rig = Rig::start().await;
    let mut listener = rig.peer(rig.key()).await;
    let mut connector = rig.peer(Credential::None).await;
    for (fate, refusal) in [
        (None, Refusal::NameplateUnknown),
        (Some(Fate::Used), Refusal::NameplateUsed),
        (Some(Fate::Burned), Refusal::NameplateBurned),
    ] {
        let mut nameplate = listener.listen(None).await.nameplate;
        match fate {
            Some(fate) => {
                listener
                    .say(&ToRendezvous::Unlisten { nameplate, fate })
                    .await;
                // It has been heard once the next is answered.
                listener.listen(None).await;
            }
            None if nameplate == Nameplate::MIN => nameplate = Nameplate::MAX,
            None => nameplate = Nameplate::MIN,
        }
        connector.say(&ToRendezvous::Join { nameplate }).await;
        assert_eq!(connector.refused().await, refusal);
    }
}

#[tokio::test]
async fn a_listener_keeps_its_nameplate_over_a_restart_of_the_rendezvous() {
    let rig = Rig::start().await;
    let (mut listener, claim) = rig.listener().await;
    let (main, url) = (rig.main(), rig.server.url().to_string());
    let rig = rig.restart().await;
    assert!(matches!(
        listener.hear().await,
        FromRendezvous::Stopping { .. }
    ));
    assert_eq!(listener.closed().await, close::STOPPING);
    let again = rig.server.url().to_string();
    assert_eq!(
        url.replace(&main.to_string(), ""),
        again.replace(&rig.main().to_string(), "")
    );
    let mut listener = rig.peer(rig.key()).await;
    assert_eq!(listener.listen(Some(claim.clone())).await, claim);
    let nameplate = claim.nameplate;
    let mut connector = rig.peer(Credential::None).await;
    connector.say(&ToRendezvous::Join { nameplate }).await;
    connector.introduced().await;
    listener.introduced().await;
}

#[tokio::test]
async fn known_peers_meet_at_a_handle() {
    let rig = Rig::start().await;
    let handle: Secret<32> = Secret::random();
    let mut listener = rig.peer(rig.key()).await;
    let mut connector = rig.peer(rig.key()).await;
    for (peer, role) in [
        (&mut connector, Role::Connector),
        (&mut listener, Role::Listener),
    ] {
        let handle = handle.clone();
        peer.say(&ToRendezvous::Meet {
            handle,
            role,
            already: None,
        })
        .await;
    }
    let (one, two) = (listener.introduced().await, connector.introduced().await);
    assert_eq!((one.role, two.role), (Role::Listener, Role::Connector));
    assert_eq!(one.place, MeetingPoint::Handle(handle));
    assert_eq!(one.session, two.session);
}

#[tokio::test]
async fn the_other_member_hears_of_one_that_closes_its_connection() {
    for (code, on_purpose) in [(close::DONE, true), (close::PROTOCOL, false)] {
        let rig = Rig::start().await;
        let (listener, mut connector) = rig.pair().await;
        let session = connector.introduction.session;
        listener.peer.close(code);
        let left = FromRendezvous::PeerLeft {
            session,
            on_purpose,
        };
        assert_eq!(connector.peer.hear().await, left);
    }
}

#[tokio::test]
async fn who_speaks_another_version_does_not_get_past_the_handshake() {
    let rig = Rig::start().await;
    let mut tls = p2pdbg_identity::tls::control_client(rig.server.url().fingerprint).unwrap();
    tls.alpn_protocols = vec![b"p2pdbg-rdv/999".to_vec()];
    let result = soon(crate::support::dial_with(&endpoint(), rig.main(), tls)).await;
    match result {
        // TLS alert 120, no_application_protocol.
        Err(ConnectionError::ConnectionClosed(closed)) => {
            assert_eq!(u64::from(closed.error_code), 0x178);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn counters_follow_who_comes_and_goes() {
    let rig = Rig::start().await;
    let (listener, connector) = rig.pair().await;
    let counters = rig.server.counters();
    assert_eq!((counters.peers, counters.sessions), (2, 1));
    for member in [listener, connector] {
        member.peer.close(close::DONE);
    }
    soon(async {
        while rig.server.counters().peers > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(rig.server.counters().sessions, 0);
    let fingerprint = rig.server.url().fingerprint.unwrap();
    soon(dial(&endpoint(), rig.main(), fingerprint))
        .await
        .unwrap();
}
