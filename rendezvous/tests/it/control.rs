//! What peers say to the rendezvous, and what it says to them.

use p2pdbg_wire::{
    control::{Credential, Fate, FromRendezvous, Place, Refusal, Role, ToRendezvous, close},
    secret::Secret,
    url::AccessKey,
};

use crate::support::{Rig, soon};

#[tokio::test]
async fn a_listener_and_a_connector_are_introduced_and_signal_both_ways() {
    let rig = Rig::start().await;
    let (mut listener, mut connector) = rig.pair().await;
    let session = listener.introduction.session;
    assert_eq!(session, connector.introduction.session);
    assert_ne!(
        listener.introduction.leg.leg,
        connector.introduction.leg.leg
    );
    assert!(matches!(listener.introduction.place, Place::Nameplate(_)));
    for member in [&listener, &connector] {
        assert_eq!(
            member.introduction.peer_seen,
            ["127.0.0.1".parse::<std::net::IpAddr>().unwrap()]
        );
    }
    for (from, to) in [(0, 1), (1, 0)] {
        let members = &mut [&mut listener, &mut connector];
        let payload = vec![from as u8; 1_000];
        let signal = ToRendezvous::Signal {
            session,
            payload: payload.clone(),
        };
        members[from].peer.say(&signal).await;
        let heard = members[to].peer.hear().await;
        assert_eq!(heard, FromRendezvous::Signal { session, payload });
    }
    connector.peer.say(&ToRendezvous::Leave { session }).await;
    let left = listener.peer.hear().await;
    assert_eq!(
        left,
        FromRendezvous::PeerLeft {
            session,
            on_purpose: true
        }
    );
}
