//! Processes that stand still, as on a host that sleeps.

use std::time::Duration;

use rustix::process::Signal;

use crate::{
    harness::Peer,
    session::{Session, both_at_once},
};

#[test]
fn a_peer_that_stands_still_for_a_minute_loses_nothing_whichever_it_is() {
    both_at_once(
        || stands_still("stop-l", |session| &session.pair.listener),
        || stands_still("stop-c", |session| &session.pair.connector),
    );
}

#[track_caller]
fn stands_still(name: &'static str, peer: impl Fn(&Session) -> &Peer) {
    let Some(session) = Session::direct(name) else {
        return;
    };
    let peer = peer(&session);
    session.outage(
        &format!("{} stopped for 60 s", peer.name()),
        Duration::from_secs(60),
        "first byte ≤ 5 s after mending",
        || peer.signal(Signal::STOP),
        || peer.signal(Signal::CONT),
    );
    session.finish();
}
