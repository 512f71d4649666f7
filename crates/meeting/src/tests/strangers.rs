//! What a rendezvous or a peer may say that is not what it should be.

use std::time::Duration;

use p2pdbg_base::ErrorCode;
use p2pdbg_proto::{
    relay::{LegGrant, LegId},
    rendezvous::{
        FromRendezvous, Introduction, MeetingPoint, NameplateClaim, Refusal, Request, Role,
        SessionId,
    },
    secret::Secret,
};
use p2pdbg_rendezvous_client::LinkError;
use proptest::prelude::*;

use super::world::World;
use crate::{Awaited, MeetingEvent, Whom, io::Input};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn introduction(session: u8, place: MeetingPoint) -> FromRendezvous {
    FromRendezvous::Introduced(Introduction {
        session: SessionId([session; 16]),
        place,
        role: Role::Listener,
        peer_seen: Vec::new(),
        leg: LegGrant {
            leg: LegId([session; 16]),
            key: Secret::random(),
        },
        prepared: None,
    })
}

#[test]
fn exchanges_beyond_their_bound_are_told_that_the_listener_is_busy() {
    let mut world = World::new();
    let listener = world.start(Role::Listener, Whom::CodeHolder);
    world.run(SECOND);
    let code = world.code(listener);
    for session in 0..50 {
        let place = MeetingPoint::Nameplate(code.nameplate);
        let message = Input::Rendezvous(introduction(session, place));
        world.input(listener, message);
    }
    let pairing = |e: &MeetingEvent| matches!(e, MeetingEvent::Pairing);
    let begun = world.events(listener).iter().filter(|e| pairing(e)).count();
    assert_eq!(begun, 4);
    let awaits = |session| {
        world.peers[listener]
            .meetings
            .awaits(SessionId([session; 16]))
    };
    assert_eq!((0..50).filter(|s| awaits(*s)).count(), 4);
}

#[test]
fn introduction_at_a_place_where_nobody_is_awaited_is_left() {
    let mut world = World::new();
    let listener = world.start(Role::Listener, Whom::Several(Awaited::default()));
    world.run(SECOND);
    world.events(listener);
    let place = MeetingPoint::Handle(Secret::random());
    world.input(listener, Input::Rendezvous(introduction(1, place)));
    assert!(world.events(listener).is_empty());
    assert!(!world.peers[listener].meetings.awaits(SessionId([1; 16])));
}

#[test]
fn access_key_that_is_refused_ends_the_meeting() {
    let mut world = World::new();
    let listener = world.start(Role::Listener, Whom::CodeHolder);
    world.run(SECOND);
    world.events(listener);
    let refused = FromRendezvous::Refused {
        request: Request::Hello,
        refusal: Refusal::AccessKey,
    };
    world.input(listener, Input::Rendezvous(refused));
    let events = world.events(listener);
    assert!(
        matches!(&events[..], [MeetingEvent::Failed(f)] if f.code == ErrorCode::RendezvousRefused)
    );
    assert!(world.peers[listener].meetings.is_over());
}

#[test]
fn link_error_that_lasts_ends_the_meeting_and_another_does_not() {
    let mut world = World::new();
    let listener = world.start(Role::Listener, Whom::CodeHolder);
    let authority = || "192.0.2.1:3478".to_owned();
    let passing = LinkError::Unreachable {
        authority: authority(),
    };
    world.input(listener, Input::LinkDown(passing));
    assert!(!world.peers[listener].meetings.is_over());
    let lasting = LinkError::Version {
        authority: authority(),
    };
    world.input(listener, Input::LinkDown(lasting));
    assert!(world.peers[listener].meetings.is_over());
}

#[test]
fn nameplate_that_is_busy_is_tried_again() {
    let mut world = World::new();
    let listener = world.start(Role::Listener, Whom::CodeHolder);
    world.run(SECOND);
    let code = world.code(listener);
    // It is introduced and says nothing more, and keeps the nameplate while it lasts.
    let silent = world.start(Role::Connector, Whom::CodeMaker(code.clone()));
    world.run(Duration::from_millis(15));
    let connector = world.start(Role::Connector, Whom::CodeMaker(code));
    world.run(Duration::from_millis(11));
    world.kill(silent);
    world.run(SECOND);
    assert!(world.peers[connector].met.is_none(), "it was refused");
    world.run(5 * SECOND);
    assert!(world.are_joined(listener, connector));
}

#[test]
fn retry_that_is_planned_is_not_put_off_by_what_plans_another() {
    let mut world = World::new();
    let listener = world.start(Role::Listener, Whom::Several(Awaited::default()));
    world.run(SECOND);
    let go = || FromRendezvous::GoTo {
        node: "17=192.0.2.17:3478".parse().unwrap(),
    };
    world.input(listener, Input::Rendezvous(go()));
    let planned = world.peers[listener].meetings.poll_timeout();
    assert!(planned.is_some());
    world.run(SECOND);
    world.input(listener, Input::Rendezvous(go()));
    assert_eq!(world.peers[listener].meetings.poll_timeout(), planned);
}

fn message() -> impl Strategy<Value = FromRendezvous> {
    let session = (0u8..4).prop_map(|id| SessionId([id; 16]));
    let refusal = prop_oneof![
        Just(Refusal::NameplateUnknown),
        Just(Refusal::NameplateBusy),
        Just(Refusal::Full),
        Just(Refusal::Draining),
        Just(Refusal::NoSuchSession),
        Just(Refusal::NobodyThere),
        any::<u32>().prop_map(|retry_after_s| Refusal::Limit { retry_after_s }),
    ];
    prop_oneof![
        (
            session.clone(),
            proptest::collection::vec(any::<u8>(), 0..200)
        )
            .prop_map(|(session, payload)| FromRendezvous::Signal { session, payload }),
        (session.clone(), any::<bool>(), any::<[u8; 4]>()).prop_map(|(session, bound, ip)| {
            let addresses = vec![ip.into()];
            FromRendezvous::PeerSeen {
                session,
                addresses,
                bound,
            }
        }),
        (session.clone(), any::<bool>()).prop_map(|(session, on_purpose)| {
            FromRendezvous::PeerLeft {
                session,
                on_purpose,
            }
        }),
        (session, refusal).prop_map(|(session, refusal)| FromRendezvous::Refused {
            request: Request::Session(session),
            refusal,
        }),
        (0u8..4, 100_001u32..100_004).prop_map(|(session, nameplate)| {
            let nameplate = p2pdbg_proto::code::Nameplate::new(nameplate).unwrap();
            introduction(session, MeetingPoint::Nameplate(nameplate))
        }),
        (100_001u32..100_004).prop_map(|nameplate| FromRendezvous::Listening(NameplateClaim {
            nameplate: p2pdbg_proto::code::Nameplate::new(nameplate).unwrap(),
            voucher: Vec::new(),
        })),
        Just(FromRendezvous::Pong),
        Just(FromRendezvous::Draining { left_s: Some(600) }),
        proptest::collection::vec(any::<u8>(), 0..64)
            .prop_map(|voucher| FromRendezvous::Vouched { voucher }),
    ]
}

proptest! {
    /// A rendezvous that lies at random brings about no session, no panic, and no more encounters than there may be.
    #[test]
    fn rendezvous_that_lies_brings_about_nothing(
        messages in proptest::collection::vec((message(), 0u64..3_000), 0..60)
    ) {
        let mut world = World::new();
        let listener = world.start(Role::Listener, Whom::CodeHolder);
        world.run(SECOND);
        for (message, pause) in messages {
            world.input(listener, Input::Rendezvous(message));
            world.run(Duration::from_millis(pause));
            let awaits = |id| world.peers[listener].meetings.awaits(SessionId([id; 16]));
            prop_assert!((0..4).filter(|id| awaits(*id)).count() <= 4);
        }
        prop_assert!(world.peers[listener].met.is_none());
    }
}
