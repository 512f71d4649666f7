//! Meeting at handles.

use super::*;
use p2pdbg_proto::rendezvous::MeetingPoint;

fn both_with_key() -> (Bench, Handle) {
    let mut bench = Bench::new();
    bench.arrive(LISTENER, bench.key());
    bench.arrive(CONNECTOR, bench.key());
    (bench, Secret::random())
}

#[test]
fn peers_meet_in_either_order() {
    for first in [Role::Listener, Role::Connector] {
        let (mut bench, handle) = both_with_key();
        let id = |role| match role {
            Role::Listener => LISTENER,
            Role::Connector => CONNECTOR,
        };
        assert_eq!(bench.meet(id(first), &handle, first), []);
        let second = first.other();
        let effects = bench.meet(id(second), &handle, second);
        let (listener, connector) = introductions(&effects);
        assert_eq!(listener.place, MeetingPoint::Handle(handle.clone()));
        assert_eq!(connector.place, MeetingPoint::Handle(handle));
        assert!(matches!(effects[1], Effect::Tell(LISTENER, _)));
    }
}

#[test]
fn peers_at_different_handles_or_of_one_role_do_not_meet() {
    let (mut bench, handle) = both_with_key();
    assert_eq!(bench.meet(LISTENER, &handle, Role::Listener), []);
    assert_eq!(
        bench.meet(CONNECTOR, &Secret::random(), Role::Connector),
        []
    );
    assert_eq!(bench.meet(CONNECTOR, &handle, Role::Listener), []);
}

#[test]
fn nobody_meets_itself() {
    let (mut bench, handle) = both_with_key();
    assert_eq!(bench.meet(LISTENER, &handle, Role::Listener), []);
    assert_eq!(bench.meet(LISTENER, &handle, Role::Connector), []);
}

#[test]
fn meeting_again_makes_a_new_session() {
    let (mut bench, handle) = both_with_key();
    bench.meet(LISTENER, &handle, Role::Listener);
    let mut sessions = HashSet::new();
    for role in [Role::Connector, Role::Connector, Role::Listener] {
        let id = if role == Role::Listener {
            LISTENER
        } else {
            CONNECTOR
        };
        let effects = bench.meet(id, &handle, role);
        assert!(sessions.insert(introductions(&effects).0.session));
    }
}

#[test]
fn the_newest_registration_of_a_role_is_the_one_that_counts() {
    let (mut bench, handle) = both_with_key();
    bench.meet(LISTENER, &handle, Role::Listener);
    bench.arrive(OTHER, bench.key());
    assert_eq!(bench.meet(OTHER, &handle, Role::Listener), []);
    // What the replaced one does does not touch the newer registration.
    bench.lose(LISTENER);
    let effects = bench.meet(CONNECTOR, &handle, Role::Connector);
    introductions(&effects);
    assert!(matches!(effects[1], Effect::Tell(OTHER, _)));
}

#[test]
fn who_waits_no_longer_is_not_met() {
    let (mut bench, handle) = both_with_key();
    bench.meet(LISTENER, &handle, Role::Listener);
    let role = Role::Listener;
    let unmeet = |handle: &Handle| ToRendezvous::Unmeet {
        handle: handle.clone(),
        role,
    };
    bench.say(CONNECTOR, unmeet(&handle));
    introductions(&bench.meet(CONNECTOR, &handle, Role::Connector));
    bench.say(LISTENER, unmeet(&handle));
    assert_eq!(bench.meet(CONNECTOR, &handle, Role::Connector), []);
}

#[test]
fn a_connector_without_a_key_is_served_only_if_the_listener_is_there() {
    let mut bench = Bench::new();
    let handle = Secret::random();
    bench.arrive(CONNECTOR, Credential::None);
    let alone = bench.meet(CONNECTOR, &handle, Role::Connector);
    assert_eq!(refusal(&alone), Some(Refusal::NobodyThere));
    assert_eq!(closed(&alone), None);

    bench.arrive(LISTENER, bench.key());
    bench.meet(LISTENER, &handle, Role::Listener);
    let session = introductions(&bench.meet(CONNECTOR, &handle, Role::Connector))
        .0
        .session;
    // It has met somebody, which is not enough to wait for the next.
    bench.meet(LISTENER, &Secret::random(), Role::Listener);
    bench.lose(LISTENER);
    bench.arrive(LISTENER, bench.key());
    assert_eq!(bench.meet(LISTENER, &handle, Role::Listener), []);
    let again = introductions(&bench.meet(CONNECTOR, &handle, Role::Connector))
        .0
        .session;
    assert_ne!(session, again);
    bench.confirm(again, [LISTENER, CONNECTOR]);
    // It has a voucher now, and waits like the others.
    let already = Some(again);
    let role = Role::Connector;
    let handle_ = handle.clone();
    let meet = ToRendezvous::Meet {
        handle: handle_,
        role,
        already,
    };
    assert_eq!(bench.say(CONNECTOR, meet), []);
    bench.lose(LISTENER);
    bench.arrive(LISTENER, bench.key());
    introductions(&bench.meet(LISTENER, &handle, Role::Listener));
}

#[test]
fn two_connections_that_are_introduced_again_and_again_share_few_sessions_the_newest_among_them() {
    let mut bench = Bench::new();
    bench.arrive(LISTENER, bench.key());
    bench.arrive(CONNECTOR, bench.key());
    let handle = Handle::random();
    bench.meet(LISTENER, &handle, Role::Listener);
    let mut begun = Vec::new();
    for round in 0..10 {
        let effects = bench.meet(CONNECTOR, &handle, Role::Connector);
        let ends = |effect: &Effect| {
            let left = |message: &_| matches!(message, FromRendezvous::PeerLeft { .. });
            let tells = matches!(effect, Effect::Tell(_, message) if left(message));
            tells || matches!(effect, Effect::CloseLegs { .. })
        };
        let (ends, begins): (Vec<_>, Vec<_>) = effects.into_iter().partition(ends);
        begun.push(introductions(&begins).0.session);
        let ended = ends.iter().filter_map(|effect| match effect {
            Effect::Tell(
                to,
                FromRendezvous::PeerLeft {
                    session,
                    on_purpose: false,
                },
            ) => Some((*to, *session)),
            _ => None,
        });
        let ended: HashSet<_> = ended.collect();
        let expected: HashSet<_> = match begun.len().checked_sub(4) {
            Some(oldest) => [LISTENER, CONNECTOR].map(|to| (to, begun[oldest])).into(),
            None => HashSet::new(),
        };
        assert_eq!(ended, expected, "{round}");
    }
    assert_eq!(bench.registry.sessions(), 3);
}

#[test]
fn a_voucher_takes_both_confirmations_and_a_member_with_the_key() {
    let mut bench = Bench::new();
    let session = bench.pair();
    let confirmed = ToRendezvous::Confirmed { session };
    assert_eq!(bench.say(CONNECTOR, confirmed.clone()), []);
    assert_eq!(bench.say(CONNECTOR, confirmed.clone()), []);
    bench.arrive(OTHER, Credential::None);
    let stranger = bench.say(OTHER, confirmed.clone());
    assert_eq!(refusal(&stranger), Some(Refusal::NoSuchSession));
    let effects = bench.say(LISTENER, confirmed);
    let to = effects.iter().find_map(|effect| match effect {
        Effect::Tell(to, FromRendezvous::Vouched { .. }) => Some(*to),
        _ => None,
    });
    assert_eq!(to, Some(CONNECTOR));
}

#[test]
fn two_without_the_key_do_not_meet_whatever_vouchers_they_have() {
    let mut bench = Bench::new();
    bench.arrive(LISTENER, bench.key());
    let handle = Secret::random();
    let roles = [Role::Listener, Role::Connector];
    for (n, role) in [10, 11].into_iter().zip(roles) {
        let nameplate = bench.listen(LISTENER, None).nameplate;
        bench.arrive(CONNECTOR, Credential::None);
        let voucher = bench.voucher(CONNECTOR, nameplate);
        bench.lose(CONNECTOR);
        bench.arrive(ConnId(n), Credential::Voucher(voucher));
        assert_eq!(bench.meet(ConnId(n), &handle, role), []);
    }
    bench.arrive(OTHER, Credential::None);
    for role in roles {
        let effects = bench.meet(OTHER, &handle, role);
        assert_eq!(refusal(&effects), Some(Refusal::NobodyThere));
    }
    introductions(&bench.meet(LISTENER, &handle, Role::Listener));
}

#[test]
fn a_voucher_lets_its_bearer_wait_even_after_a_restart() {
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    let voucher = bench.voucher(CONNECTOR, claim.nameplate);
    bench.restart();
    let handle = Secret::random();
    bench.arrive(CONNECTOR, Credential::Voucher(voucher.clone()));
    assert_eq!(bench.meet(CONNECTOR, &handle, Role::Connector), []);
    bench.arrive(LISTENER, bench.key());
    introductions(&bench.meet(LISTENER, &handle, Role::Listener));
    // It is no access key.
    let listen = bench.say(CONNECTOR, ToRendezvous::Listen { claim: None });
    assert_eq!(refusal(&listen), Some(Refusal::AccessKey));
}

#[test]
fn a_voucher_that_is_forged_or_old_is_worth_nothing() {
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    let voucher = bench.voucher(CONNECTOR, claim.nameplate);
    let mut forged = voucher.clone();
    forged[20] ^= 1;
    let handle = Secret::random();
    bench.arrive(OTHER, Credential::Voucher(forged));
    let effects = bench.meet(OTHER, &handle, Role::Connector);
    assert_eq!(refusal(&effects), Some(Refusal::NobodyThere));
    bench.arrive(OTHER, Credential::Voucher(claim.voucher));
    let effects = bench.meet(OTHER, &handle, Role::Connector);
    assert_eq!(refusal(&effects), Some(Refusal::NobodyThere));
    bench.pass(bench.limits.voucher_lifetime);
    bench.arrive(OTHER, Credential::Voucher(voucher));
    let effects = bench.meet(OTHER, &handle, Role::Connector);
    assert_eq!(refusal(&effects), Some(Refusal::NobodyThere));
}
