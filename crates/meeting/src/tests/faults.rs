//! Links that break, a rendezvous that is started again, and both at random.

use std::time::Duration;

use p2pdbg_proto::{rendezvous::Role, signal::PeerMessage};
use proptest::prelude::*;

use super::world::World;
use crate::{Awaited, MeetingCommand, MeetingEvent, Whom, io::Input, io::Output};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn channel_goes_on_after_either_link_was_lost_or_both() {
    for lost in [&[0][..], &[1], &[0, 1]] {
        let (mut world, listener, connector) = World::paired();
        for who in lost {
            world.cut(*who);
        }
        world.run(10 * SECOND);
        for who in [listener, connector] {
            let events = world.events(who);
            let again = |e: &MeetingEvent| matches!(e, MeetingEvent::Introduced(..));
            assert!(events.iter().any(again), "{lost:?}: {events:?}");
        }
        assert!(world.are_joined(listener, connector), "{lost:?}");
        assert_eq!(world.peers[listener].times_met, 1, "it is the same session");
    }
}

#[test]
fn channel_goes_on_after_the_rendezvous_was_started_again() {
    let (mut world, listener, connector) = World::paired();
    world.restart();
    world.run(10 * SECOND);
    assert!(world.are_joined(listener, connector));
}

#[test]
fn channel_goes_on_after_its_session_ended_while_both_links_stand() {
    let (mut world, listener, connector) = World::paired();
    for _ in 0..3 {
        world.end_sessions();
        world.run(3 * SECOND);
        assert!(world.are_joined(listener, connector));
    }
    // Whoever has them ended again and again costs the other end little.
    world.events(listener);
    for _ in 0..40 {
        world.end_sessions();
        world.run(SECOND / 10);
    }
    let again = |e: &MeetingEvent| matches!(e, MeetingEvent::Introduced(..));
    let times = world.events(listener).into_iter().filter(again).count();
    assert!((2..=6).contains(&times), "{times}");
    world.run(3 * SECOND);
    assert!(world.are_joined(listener, connector));
}

#[test]
fn code_outlives_the_rendezvous() {
    let mut world = World::new();
    let listener = world.start(Role::Listener, Whom::CodeHolder);
    world.run(SECOND);
    let code = world.code(listener);
    world.restart();
    world.run(10 * SECOND);
    let connector = world.start(Role::Connector, Whom::CodeMaker(code));
    world.run(SECOND);
    assert!(world.are_joined(listener, connector));
}

#[test]
fn doubt_dials_again_at_once_and_looks_for_the_peer() {
    let (mut world, _, connector) = World::paired();
    world.peers[connector].asked.clear();
    world.command(connector, MeetingCommand::Doubt);
    let redial = |o: &Output| matches!(o, Output::Redial);
    assert!(world.peers[connector].asked.iter().any(redial));
    world.input(connector, Input::NetworkChanged);
    world.run(SECOND);
    // Both share the session, so that nobody is introduced anew.
    let again = |e: &MeetingEvent| matches!(e, MeetingEvent::Introduced(..));
    assert!(!world.events(connector).iter().any(again));
}

#[test]
fn leg_that_the_relay_does_not_know_is_replaced_with_its_session_and_not_too_often() {
    let (mut world, listener, connector) = World::paired();
    let channel = world.peers[connector].met.as_ref().unwrap().channel;
    world.command(connector, MeetingCommand::LegLost(channel));
    world.run(SECOND);
    let again = |e: &MeetingEvent| matches!(e, MeetingEvent::Introduced(..));
    for who in [listener, connector] {
        assert_eq!(world.events(who).into_iter().filter(again).count(), 1);
    }
    assert!(world.are_joined(listener, connector));
    assert_eq!(world.peers[listener].times_met, 1, "it is the same channel");
    for _ in 0..20 {
        world.command(connector, MeetingCommand::LegLost(channel));
        world.run(SECOND / 10);
    }
    world.run(10 * SECOND);
    let times = world.events(connector).into_iter().filter(again).count();
    assert!((1..=3).contains(&times), "{times}");
    assert!(world.rendezvous.sessions() <= 3, "older ones end");
    assert!(world.are_joined(listener, connector));
}

#[test]
fn peer_that_is_lost_in_the_middle_of_the_exchange_is_met_after_all_or_told_why_not() {
    // At every step of the exchange, either end.
    for after_ms in (0..80).step_by(5) {
        for lost in [0, 1] {
            let mut world = World::new();
            let listener = world.start(Role::Listener, Whom::CodeHolder);
            world.run(SECOND);
            let code = world.code(listener);
            let mut connector = world.start(Role::Connector, Whom::CodeMaker(code.clone()));
            world.run(Duration::from_millis(after_ms));
            world.cut([listener, connector][lost]);
            world.run(30 * SECOND);
            let met = [listener, connector].map(|who| world.peers[who].met.is_some());
            match met {
                [true, true] => {}
                // The connector has heard the listener, which was lost before it could know that the connector is here.
                // A next process pairs all the same.
                [false, true] => {
                    assert_eq!(lost, 0);
                    world.kill(connector);
                    connector = world.start(Role::Connector, Whom::CodeMaker(code));
                    world.run(SECOND);
                }
                // The listener has heard the connector, which was lost before it could hear the listener: half a round
                // trip, in which the code is used up. It is told so.
                [true, false] => {
                    assert_eq!(lost, 1);
                    assert!(world.peers[connector].meetings.is_over());
                    continue;
                }
                [false, false] => panic!("nobody was met: lost end {lost} after {after_ms} ms"),
            }
            let met = world.are_joined(listener, connector);
            assert!(met, "lost end {lost} after {after_ms} ms");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever breaks, and whenever: once it holds, the two hear each other, on one and the same session.
    #[test]
    fn session_survives_any_faults_of_links_and_rendezvous(
        faults in proptest::collection::vec((0u64..20_000, 0u8..3), 1..12)
    ) {
        let (mut world, listener, connector) = World::paired();
        let mut faults = faults;
        faults.sort_unstable();
        let mut passed = 0;
        for (at_ms, what) in faults {
            world.run(Duration::from_millis(at_ms - passed));
            passed = at_ms;
            match what {
                0 => world.cut(listener),
                1 => world.cut(connector),
                _ => world.restart(),
            }
            // What is said now is lost, or is not: nothing that comes is another's or comes twice.
            let channel = world.channel(connector);
            let message = PeerMessage::Punch(passed.to_be_bytes().to_vec());
            world.command(connector, MeetingCommand::Message(channel, message));
        }
        world.run(30 * SECOND);
        let mut heard: Vec<_> = world.events(listener).into_iter().filter_map(|e| match e {
            MeetingEvent::Message(_, PeerMessage::Punch(signal)) => Some(signal),
            _ => None,
        }).collect();
        let before = heard.len();
        prop_assert!(heard.is_sorted());
        heard.dedup();
        prop_assert!(before <= 12 && heard.len() + 12 >= before);
        prop_assert!(world.are_joined(listener, connector));
        prop_assert_eq!((world.peers[listener].times_met, world.peers[connector].times_met), (1, 1));
    }
}

#[test]
fn several_peers_have_a_channel_each_and_one_that_dies_leaves_the_others_alone() {
    let mut world = World::new();
    let whom = Whom::Several(Awaited {
        known: Vec::new(),
        code: true,
    });
    let listener = world.start(Role::Listener, whom);
    let mut connectors = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..3 {
        world.run(SECOND);
        let code = world.code(listener);
        connectors.push(world.start(Role::Connector, Whom::CodeMaker(code)));
        world.run(SECOND);
        channels.push(world.channel(listener));
        world.command(
            listener,
            MeetingCommand::Await(Awaited {
                known: Vec::new(),
                code: true,
            }),
        );
    }
    world.kill(connectors[1]);
    world.run(SECOND);
    world.events(listener);
    for (index, connector) in connectors.iter().enumerate() {
        let message = PeerMessage::Punch(vec![9]);
        let channel = world.channel(*connector);
        world.command(*connector, MeetingCommand::Message(channel, message));
        world.run(SECOND);
        let heard = world.events(listener).into_iter().any(|event| {
            matches!(event, MeetingEvent::Message(id, PeerMessage::Punch(_)) if id == channels[index])
        });
        assert_eq!(heard, index != 1);
    }
}
