//! Peers that know each other, and several at a time.

use std::{sync::Arc, time::Duration};

use p2pdbg_base::ErrorCode;
use p2pdbg_proto::{rendezvous::Role, signal::PeerMessage};

use super::world::{Who, World};
use crate::{Awaited, MeetingCommand, MeetingEvent, Whom};

const SECOND: Duration = Duration::from_secs(1);

/// A listener and a connector that know each other, both with the access key's help or a session that stands.
fn known_pair(world: &mut World, listener_first: bool) -> (Who, Who) {
    let [(listener, its_view), (connector, other_view)] = World::acquainted();
    let several = Whom::Several(Awaited {
        known: vec![its_view],
        code: false,
    });
    if listener_first {
        let one = world.start_as(Role::Listener, several, listener);
        world.run(SECOND);
        let other = world.start_as(Role::Connector, Whom::Known(other_view), connector);
        (one, other)
    } else {
        let other = world.start_as(Role::Connector, Whom::Known(other_view), connector);
        world.run(SECOND);
        let one = world.start_as(Role::Listener, several, listener);
        (one, other)
    }
}

#[test]
fn known_peers_meet_without_a_code_whoever_is_first() {
    for listener_first in [true, false] {
        let mut world = World::new();
        let (listener, connector) = known_pair(&mut world, listener_first);
        world.run(5 * SECOND);
        assert!(world.are_joined(listener, connector), "{listener_first}");
        let met = world.peers[listener].met.as_ref().unwrap();
        assert!(met.pair_secret.is_none() && met.code.is_none());
    }
}

#[test]
fn known_peer_that_has_come_back_is_introduced_no_more_when_others_are_awaited() {
    let [(listener, its_view), (connector, other_view)] = World::acquainted();
    let mut world = World::new();
    let awaited = Awaited {
        known: vec![its_view],
        code: false,
    };
    let one = world.start_as(Role::Listener, Whom::Several(awaited.clone()), listener);
    let other = world.start_as(Role::Connector, Whom::Known(other_view), connector);
    world.run(5 * SECOND);
    world.cut(other);
    world.run(10 * SECOND);
    assert!(world.are_joined(one, other));
    world.events(one);
    for _ in 0..5 {
        world.command(one, MeetingCommand::Await(awaited.clone()));
        world.run(SECOND);
    }
    let again = |e: &MeetingEvent| matches!(e, MeetingEvent::Introduced(..));
    assert!(!world.events(one).iter().any(again));
    // The one before the last has ended too.
    assert_eq!(world.rendezvous.sessions(), 1);
}

#[test]
fn next_process_of_a_known_peer_is_met_anew_beside_the_session_that_there_was() {
    let [(listener, its_view), (connector, other_view)] = World::acquainted();
    let mut world = World::new();
    let awaited = Awaited {
        known: vec![its_view],
        code: false,
    };
    let one = world.start_as(Role::Listener, Whom::Several(awaited), listener);
    let whom = Whom::Known(other_view);
    let first = world.start_as(Role::Connector, whom.clone(), Arc::clone(&connector));
    world.run(5 * SECOND);
    assert!(world.are_joined(one, first));
    let before = world.channel(one);
    world.kill(first);
    let second = world.start_as(Role::Connector, whom, connector);
    world.run(5 * SECOND);
    assert!(world.are_joined(one, second));
    assert_ne!(world.channel(one), before);

    // The owner ends the old session; the new one is untouched by it.
    world.command(one, MeetingCommand::SessionOver(before));
    world.run(SECOND);
    assert!(world.does_hear(second, one, b"still"));
}

#[test]
fn peer_with_another_secret_is_refused_and_ends_a_connector_alone() {
    let [(listener, its_view), (connector, mut other_view)] = World::acquainted();
    // The handle is the same, and what the certificate should be is not.
    other_view.fingerprint = connector.fingerprint();
    let mut world = World::new();
    let awaited = Awaited {
        known: vec![its_view],
        code: false,
    };
    let one = world.start_as(Role::Listener, Whom::Several(awaited), listener);
    let other = world.start_as(Role::Connector, Whom::Known(other_view), connector);
    world.run(5 * SECOND);
    let events = world.events(other);
    let code = events.iter().find_map(|event| match event {
        MeetingEvent::Failed(failure) => Some(failure.code),
        _ => None,
    });
    assert_eq!(code, Some(ErrorCode::PeerIdentity));
    assert!(!world.peers[one].meetings.is_over());
    assert!(world.peers[one].met.is_none());
}

#[test]
fn known_peer_that_is_awaited_no_more_is_not_met() {
    let [(listener, its_view), (connector, other_view)] = World::acquainted();
    let mut world = World::new();
    let awaited = Awaited {
        known: vec![its_view],
        code: false,
    };
    let one = world.start_as(Role::Listener, Whom::Several(awaited), listener);
    world.run(SECOND);
    world.command(one, MeetingCommand::Await(Awaited::default()));
    world.run(SECOND);
    let other = world.start_as(Role::Connector, Whom::Known(other_view), connector);
    world.run(5 * SECOND);
    assert!(world.peers[one].met.is_none() && world.peers[other].met.is_none());
}

#[test]
fn connector_whose_session_is_over_is_told_by_its_peer_and_by_the_rendezvous() {
    let (mut world, listener, connector) = World::paired();
    world.events(connector);
    let channel = world.channel(listener);
    world.command(listener, MeetingCommand::Message(channel, PeerMessage::Bye));
    world.command(listener, MeetingCommand::SessionOver(channel));
    world.run(SECOND);
    let events = world.events(connector);
    let bye = events
        .iter()
        .position(|e| matches!(e, MeetingEvent::Message(_, PeerMessage::Bye)));
    let left = events
        .iter()
        .position(|e| matches!(e, MeetingEvent::PeerLeft(_)));
    assert!(bye.expect("its word") < left.expect("the rendezvous' word"));
    // What is said on a channel that is over goes nowhere.
    world.command(listener, MeetingCommand::Message(channel, PeerMessage::Bye));
    world.run(SECOND);
    assert!(world.events(connector).is_empty());
}
