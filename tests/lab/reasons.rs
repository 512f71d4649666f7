//! Why a session stays on the relay: told at both ends as soon as it is found out, with what would help.

use p2pdbg_events::{Event, PathKind};
use p2pdbg_natlab::{Lab, NatKind, TwoNats};

use super::{DELAY, harness::Peer, setting};

/// Waits until the reason for the relay is one that somebody can do something about.
#[track_caller]
fn reason(peer: &Peer) -> String {
    peer.event("the reason for the relay", |event| match event {
        Event::Path(path) if path.kind == PathKind::Relay => path
            .why
            .contains("what would help")
            .then(|| path.why.clone()),
        _ => None,
    })
}

#[test]
fn two_nats_with_random_ports_stay_on_the_relay_and_both_ends_say_why_and_what_would_help() {
    let Some(lab) = Lab::new_or_skip("why") else {
        return;
    };
    let nat = NatKind::SYMMETRIC_RANDOM;
    let lab = TwoNats::new(lab, nat, nat, DELAY).unwrap();
    let setting = setting(&lab);
    let pair = setting.pair(["-L", "0:localhost:9"]);
    for peer in [&pair.listener, &pair.connector] {
        let why = reason(peer);
        assert!(why.contains("both NATs use another port"), "{why}");
        assert!(why.contains("IPv6"), "{why}");
        let all_relayed = peer.paths().iter().all(|path| path.kind == PathKind::Relay);
        assert!(all_relayed, "{:?}", peer.paths());
    }
}
