//! By code, for the first time.

use std::time::Duration;

use p2pdbg_base::ErrorCode;
use p2pdbg_pairing::{Exchange, Failure, PairSecret};
use p2pdbg_proto::{
    code::{Code, Nameplate, Words},
    fingerprint::Fingerprint,
    frame,
    rendezvous::{
        FromRendezvous, MeetingPoint, NameplateClaim, Refusal, Request, Role, SessionId,
        ToRendezvous,
    },
    signal::{PeerMessage, Signal},
};
use p2pdbg_rendezvous_client::LinkError;

use super::{
    strangers::introduction,
    world::{Who, World},
};
use crate::{
    Awaited, MeetingCommand, MeetingEvent, Whom,
    io::{Input, Output, Reached},
};

const SECOND: Duration = Duration::from_secs(1);

fn failure_of(events: Vec<MeetingEvent>) -> Option<ErrorCode> {
    let mut events = events.into_iter();
    events.find_map(|event| match event {
        MeetingEvent::Failed(failure) => Some(failure.code),
        _ => None,
    })
}

fn listener_with_code(world: &mut World) -> (Who, Code) {
    let listener = world.start(Role::Listener, Whom::CodeHolder);
    world.run(SECOND);
    let code = world.code(listener);
    (listener, code)
}

/// The same nameplate, with words that are certainly others.
fn guess(code: &Code) -> Code {
    let mut words = std::iter::repeat_with(Words::random);
    let words = words.find(|words| words.password() != code.words.password());
    Code {
        nameplate: code.nameplate,
        words: words.unwrap(),
    }
}

#[test]
fn pairing_by_code_gives_both_the_same_keys_and_each_others_certificate() {
    let (mut world, listener, connector) = World::paired();
    let fingerprint = |who: Who| world.peers[who].identity.fingerprint();
    let (at_listener, at_connector) = (fingerprint(connector), fingerprint(listener));
    let [one, other] = [listener, connector].map(|who| world.peers[who].met.as_ref().unwrap());
    assert_eq!(one.peer, at_listener);
    assert_eq!(other.peer, at_connector);
    assert_eq!(one.keys.resume, other.keys.resume);
    let secret = |s: &Option<PairSecret>| *s.as_ref().expect("new to each other").expose();
    assert_eq!(secret(&one.pair_secret), secret(&other.pair_secret));
    assert!(one.code.is_some() && one.code == other.code);
    assert_eq!(one.info.name, "host");
    assert!(world.are_joined(listener, connector));
}

#[test]
fn pairing_makes_paths_ready_and_expects_the_claimed_certificate_at_both_ends() {
    let (world, listener, connector) = World::paired();
    for (who, other) in [(listener, connector), (connector, listener)] {
        let claimed = world.peers[other].identity.fingerprint();
        let asked = &world.peers[who].asked;
        let ready = asked
            .iter()
            .position(|o| matches!(o, Output::MakeReady(..)));
        let expected = asked.iter().position(|output| {
            matches!(output, Output::ExpectTunnel { peer, key, .. }
                if *peer == claimed && key.is_some() == (who == connector))
        });
        assert!(ready.expect("paths") < expected.expect("a certificate"));
    }
}

#[test]
fn pairing_with_a_wrong_word_burns_the_code_and_ends_the_connector() {
    let mut world = World::new();
    let (listener, code) = listener_with_code(&mut world);
    let guesser = world.start(Role::Connector, Whom::CodeMaker(guess(&code)));
    world.run(2 * SECOND);
    assert_eq!(
        failure_of(world.events(guesser)),
        Some(ErrorCode::CodeRefused)
    );
    let events = world.events(listener);
    assert!(events.iter().any(|e| matches!(e, MeetingEvent::CodeBurned)));
    let next = events.into_iter().find_map(|event| match event {
        MeetingEvent::Code(code) => Some(code),
        _ => None,
    });
    let next = next.expect("another code");
    assert_ne!(next.nameplate, code.nameplate);

    // The burned one leads nowhere though its words are right, and the next one does.
    let late = world.start(Role::Connector, Whom::CodeMaker(code));
    let right = world.start(Role::Connector, Whom::CodeMaker(next));
    world.run(SECOND);
    assert_eq!(failure_of(world.events(late)), Some(ErrorCode::CodeExpired));
    assert!(world.are_joined(listener, right));
}

#[test]
fn code_that_was_used_is_refused_to_whoever_comes_later() {
    let (mut world, listener, _) = World::paired();
    let code = world.peers[listener]
        .met
        .as_ref()
        .unwrap()
        .code
        .clone()
        .unwrap();
    let late = world.start(Role::Connector, Whom::CodeMaker(code));
    world.run(SECOND);
    assert_eq!(failure_of(world.events(late)), Some(ErrorCode::CodeExpired));
}

#[test]
fn code_that_nobody_has_is_refused() {
    let mut world = World::new();
    let code = Code {
        nameplate: p2pdbg_proto::code::Nameplate::new(100_007).unwrap(),
        words: Words::random(),
    };
    let connector = world.start(Role::Connector, Whom::CodeMaker(code));
    world.run(SECOND);
    let failure = failure_of(world.events(connector));
    assert_eq!(failure, Some(ErrorCode::NameplateUnknown));
    assert!(world.peers[connector].meetings.is_over());
}

#[test]
fn connector_that_is_silent_in_the_exchange_is_given_up_and_the_code_stays_good() {
    let mut world = World::new();
    let (listener, code) = listener_with_code(&mut world);
    // It joins and says nothing: its process is stopped.
    let silent = world.start(Role::Connector, Whom::CodeMaker(code.clone()));
    world.run(Duration::from_millis(25));
    world.kill(silent);
    world.run(21 * SECOND);
    let events = world.events(listener);
    let failed = |e: &MeetingEvent| matches!(e, MeetingEvent::PairingFailed(Failure::PeerLeft));
    assert!(events.iter().any(failed), "{events:?}");
    let right = world.start(Role::Connector, Whom::CodeMaker(code));
    world.run(SECOND);
    assert!(world.are_joined(listener, right));
}

#[test]
fn connector_whose_listener_dies_in_the_exchange_looks_for_it_again() {
    let mut world = World::new();
    let (listener, code) = listener_with_code(&mut world);
    let connector = world.start(Role::Connector, Whom::CodeMaker(code));
    // Introduced, and no word of the listener's has come.
    world.run(Duration::from_millis(25));
    world.kill(listener);
    world.run(SECOND);
    let events = world.events(connector);
    let failed = |e: &MeetingEvent| matches!(e, MeetingEvent::PairingFailed(_));
    assert!(events.iter().any(failed), "{events:?}");
    assert!(!world.peers[connector].meetings.is_over());
}

#[test]
fn listener_that_leaves_takes_its_code_along_and_one_that_is_told_to_gives_it_back() {
    for leaves in [true, false] {
        let mut world = World::new();
        let (listener, code) = listener_with_code(&mut world);
        if leaves {
            world.close(listener);
        } else {
            world.command(listener, MeetingCommand::Await(Awaited::default()));
            world.run(SECOND);
        }
        let late = world.start(Role::Connector, Whom::CodeMaker(code));
        world.run(SECOND);
        assert_eq!(failure_of(world.events(late)), Some(ErrorCode::CodeExpired));
    }
}

#[test]
fn nameplate_that_comes_when_no_code_is_wanted_is_given_back() {
    let mut world = World::new();
    let listener = world.start(Role::Listener, Whom::CodeHolder);
    // Asked for, and not answered yet.
    world.run(Duration::from_millis(15));
    world.command(listener, MeetingCommand::Await(Awaited::default()));
    world.run(SECOND);
    let events = world.events(listener);
    assert!(!events.iter().any(|e| matches!(e, MeetingEvent::Code(_))));
    world.command(
        listener,
        MeetingCommand::Await(Awaited {
            known: Vec::new(),
            code: true,
        }),
    );
    world.run(SECOND);
    world.code(listener);
}

#[test]
fn signals_of_the_paths_are_heard_by_the_peer_after_it_was_met_in_order() {
    let mut world = World::new();
    let (listener, code) = listener_with_code(&mut world);
    let connector = world.start(Role::Connector, Whom::CodeMaker(code));
    let ready = |world: &World, who: Who| {
        let mut asked = world.peers[who].asked.iter();
        asked.find_map(|output| match output {
            Output::MakeReady(session, _) => Some(*session),
            _ => None,
        })
    };
    while ready(&world, connector).is_none() || ready(&world, listener).is_none() {
        world.run(Duration::from_millis(1));
    }
    for who in [connector, listener] {
        let session = ready(&world, who).unwrap();
        for number in 0..3 {
            world.input(who, Input::PathSignal(session, vec![number]));
        }
    }
    world.run(SECOND);
    for who in [connector, listener] {
        let heard = world
            .events(who)
            .into_iter()
            .filter_map(|event| match event {
                MeetingEvent::Message(_, PeerMessage::Punch(signal)) => Some(signal),
                _ => None,
            });
        let heard: Vec<_> = heard.collect();
        assert_eq!(heard, [[0], [1], [2]]);
    }
    assert!(world.are_joined(listener, connector));
}

#[test]
fn code_that_waits_too_long_is_replaced_by_another() {
    let mut world = World::new();
    let (listener, code) = listener_with_code(&mut world);
    world.run(Duration::from_secs(48 * 3600));
    let next = world.code(listener);
    assert_ne!(next.nameplate, code.nameplate);
}

#[test]
fn codes_that_are_guessed_at_come_later_each_time_and_after_the_fifth_no_more() {
    let mut world = World::new();
    let (listener, mut code) = listener_with_code(&mut world);
    for pause_ms in [500, 1_000, 2_000, 4_000] {
        world.start(Role::Connector, Whom::CodeMaker(guess(&code)));
        let step = Duration::from_millis(5);
        let mut events = Vec::new();
        while !events.iter().any(|e| matches!(e, MeetingEvent::CodeBurned)) {
            world.run(step);
            events.extend(world.events(listener));
        }
        world.run(Duration::from_millis(pause_ms) - step);
        assert!(world.events(listener).is_empty(), "within {pause_ms} ms");
        world.run(SECOND / 4);
        code = world.code(listener);
    }
    world.start(Role::Connector, Whom::CodeMaker(guess(&code)));
    world.run(SECOND);
    let failure = failure_of(world.events(listener));
    assert_eq!(failure, Some(ErrorCode::CodeRefused));
}

#[test]
fn nameplate_that_comes_unasked_after_a_burned_code_makes_no_code() {
    let mut world = World::new();
    let (listener, code) = listener_with_code(&mut world);
    world.start(Role::Connector, Whom::CodeMaker(guess(&code)));
    world.run(SECOND / 4);
    let events = world.events(listener);
    assert!(events.iter().any(|e| matches!(e, MeetingEvent::CodeBurned)));
    let claim = NameplateClaim {
        nameplate: Nameplate::random(),
        voucher: vec![1],
    };
    let unasked = FromRendezvous::Listening(claim);
    world.input(listener, Input::Rendezvous(unasked));
    assert!(world.events(listener).is_empty());
}

/// A nameplate that the rendezvous gives.
fn given() -> FromRendezvous {
    FromRendezvous::Listening(NameplateClaim {
        nameplate: Nameplate::random(),
        voucher: vec![1],
    })
}

fn codes(world: &mut World, who: Who) -> usize {
    let events = world.events(who).into_iter();
    events
        .filter(|e| matches!(e, MeetingEvent::Code(_)))
        .count()
}

#[test]
fn nameplates_that_come_unasked_beside_a_code_are_given_back_and_the_code_stays_good() {
    let mut world = World::new();
    let (listener, code) = listener_with_code(&mut world);
    for _ in 0..3 {
        world.input(listener, Input::Rendezvous(given()));
    }
    // Its own once more is no other.
    world.cut(listener);
    world.run(5 * SECOND);
    assert_eq!(codes(&mut world, listener), 0);
    let connector = world.start(Role::Connector, Whom::CodeMaker(code));
    world.run(SECOND);
    assert!(world.are_joined(listener, connector));
}

#[test]
fn claim_that_is_worth_nothing_brings_one_new_code_however_often_it_is_answered() {
    let mut world = World::new();
    let (listener, _) = listener_with_code(&mut world);
    let awaited = || Awaited {
        known: Vec::new(),
        code: true,
    };
    // It claims its nameplate twice, and is not heard.
    for _ in 0..2 {
        world.command(listener, MeetingCommand::Await(awaited()));
    }
    for _ in 0..4 {
        world.input(listener, Input::Rendezvous(given()));
    }
    assert_eq!(codes(&mut world, listener), 1);
}

#[test]
fn rendezvous_that_takes_back_each_code_it_gives_has_few_shown() {
    let mut world = World::new();
    let (listener, mut code) = listener_with_code(&mut world);
    let mut shown = 0;
    for _ in 0..100 {
        let expired = FromRendezvous::Refused {
            request: Request::Listen(Some(code.nameplate)),
            refusal: Refusal::NameplateExpired,
        };
        world.input(listener, Input::Rendezvous(expired));
        world.run(SECOND / 10);
        for event in world.events(listener) {
            if let MeetingEvent::Code(next) = event {
                code = next;
                shown += 1;
            }
        }
    }
    assert!((3..=5).contains(&shown), "{shown} in 10 s");
}

#[test]
fn connector_whose_links_break_after_it_confirmed_confirms_five_times_and_ends() {
    let mut world = World::new();
    let code = Code {
        nameplate: Nameplate::random(),
        words: Words::random(),
    };
    let connector = world.start(Role::Connector, Whom::CodeMaker(code.clone()));
    let now = world.now;
    let meetings = &mut world.peers[connector].meetings;
    let mut confirmations = 0;
    for number in 0..6 {
        let reached = Reached {
            address: "192.0.2.1:3478".parse().unwrap(),
            stun: Vec::new(),
            over_tcp: false,
            returns_until: now,
        };
        let told = Vec::new();
        meetings.handle(now, Input::LinkUp { told, reached });
        let session = SessionId([number; 16]);
        let introduced = introduction(number, MeetingPoint::Nameplate(code.nameplate));
        meetings.handle(now, Input::Rendezvous(introduced));
        let own = Fingerprint::from_bytes([7; 32]);
        let (_, first) = Exchange::by_code(Role::Listener, &guess(&code), own);
        let payload = frame::encode_body(&first).unwrap();
        let said = FromRendezvous::Signal { session, payload };
        meetings.handle(now, Input::Rendezvous(said));
        while let Some(output) = meetings.poll_output() {
            if let Output::Send(ToRendezvous::Signal { payload, .. }) = output
                && matches!(frame::decode(&payload), Ok(Signal::Confirm { .. }))
            {
                confirmations += 1;
            }
        }
        assert_eq!(meetings.is_over(), number == 5);
        let broken = LinkError::Lost("broken".into());
        meetings.handle(now, Input::LinkDown(broken));
    }
    assert_eq!(confirmations, 5);
}
