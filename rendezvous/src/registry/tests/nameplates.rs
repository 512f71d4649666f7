//! Listening, joining, and what becomes of nameplates.

use super::*;
use p2pdbg_proto::rendezvous::MeetingPoint;

#[test]
fn a_connector_without_a_key_joins_by_nameplate() {
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    let effects = bench.join(CONNECTOR, claim.nameplate);
    let (listener, connector) = introductions(&effects);
    for introduction in [&listener, &connector] {
        assert_eq!(introduction.place, MeetingPoint::Nameplate(claim.nameplate));
    }
}

#[test]
fn every_listener_has_a_nameplate_of_its_own() {
    let mut bench = Bench::new();
    let mut drawn = HashSet::new();
    for n in 0..200 {
        bench.arrive(ConnId(n), bench.key());
        assert!(drawn.insert(bench.listen(ConnId(n), None).nameplate));
    }
}

#[test]
fn a_nameplate_that_nobody_has_is_unknown() {
    let mut bench = Bench::new();
    bench.arrive(CONNECTOR, Credential::None);
    let effects = bench.join(CONNECTOR, Nameplate::MIN);
    assert_eq!(refusal(&effects), Some(Refusal::NameplateUnknown));
    assert_eq!(closed(&effects), None);
}

#[test]
fn after_a_restart_a_nameplate_counts_as_unknown_only_when_its_listener_had_time_to_come_back() {
    let mut bench = Bench::new();
    bench.arrive(LISTENER, bench.key());
    let claim = bench.listen(LISTENER, None);
    bench.restart();
    bench.arrive(CONNECTOR, Credential::None);
    // As often as a connector asks: it must not run into the limit of guesses.
    for _ in 0..10 {
        let early = bench.join(CONNECTOR, claim.nameplate);
        assert_eq!(refusal(&early), Some(Refusal::NobodyThere));
        bench.pass(Duration::from_secs(1));
    }
    bench.pass(bench.limits.return_within);
    let late = bench.join(CONNECTOR, claim.nameplate);
    assert_eq!(refusal(&late), Some(Refusal::NameplateUnknown));
    bench.arrive(LISTENER, bench.key());
    bench.listen(LISTENER, Some(claim.clone()));
    let found = bench.join(CONNECTOR, claim.nameplate);
    assert_eq!(refusal(&found), None);
}

#[test]
fn a_late_join_is_told_what_became_of_the_nameplate() {
    for (fate, expected) in [
        (Fate::Used, Refusal::NameplateUsed),
        (Fate::Burned, Refusal::NameplateBurned),
        (Fate::Withdrawn, Refusal::NameplateExpired),
    ] {
        let mut bench = Bench::new();
        let nameplate = bench.listener_and_connector().nameplate;
        bench.unlisten(nameplate, fate);
        assert_eq!(refusal(&bench.join(CONNECTOR, nameplate)), Some(expected));
        bench.pass(Duration::from_secs(25 * 60 * 60));
        bench.registry.expire(bench.now);
        let forgotten = bench.join(CONNECTOR, nameplate);
        assert_eq!(refusal(&forgotten), Some(Refusal::NameplateUnknown));
    }
}

#[test]
fn only_its_listener_gives_a_nameplate_back() {
    let mut bench = Bench::new();
    let nameplate = bench.listener_and_connector().nameplate;
    let fate = Fate::Burned;
    bench.say(CONNECTOR, ToRendezvous::Unlisten { nameplate, fate });
    introductions(&bench.join(CONNECTOR, nameplate));
}

#[test]
fn a_nameplate_at_which_somebody_pairs_is_busy_until_that_is_over() {
    let mut bench = Bench::new();
    let nameplate = bench.listener_and_connector().nameplate;
    let session = introductions(&bench.join(CONNECTOR, nameplate)).0.session;
    bench.arrive(OTHER, Credential::None);
    let busy = bench.join(OTHER, nameplate);
    assert_eq!(refusal(&busy), Some(Refusal::NameplateBusy));
    bench.say(CONNECTOR, ToRendezvous::Leave { session });
    introductions(&bench.join(OTHER, nameplate));
}

#[test]
fn who_joins_and_then_stalls_does_not_keep_the_nameplate() {
    let mut bench = Bench::new();
    let nameplate = bench.listener_and_connector().nameplate;
    let stalled = introductions(&bench.join(CONNECTOR, nameplate)).0.session;
    bench.arrive(OTHER, Credential::None);
    bench.pass(bench.limits.pairing_within);
    introductions(&bench.join(OTHER, nameplate));
    // The end of the first session is no end of the second pairing.
    bench.say(CONNECTOR, ToRendezvous::Leave { session: stalled });
    bench.arrive(ConnId(9), Credential::None);
    let busy = bench.join(ConnId(9), nameplate);
    assert_eq!(refusal(&busy), Some(Refusal::NameplateBusy));
}

#[test]
fn nobody_joins_itself() {
    let mut bench = Bench::new();
    let nameplate = bench.listener_and_connector().nameplate;
    let effects = bench.join(LISTENER, nameplate);
    assert_eq!(refusal(&effects), Some(Refusal::Protocol));
}

#[test]
fn a_nameplate_expires_and_its_listener_is_told() {
    let mut bench = Bench::new();
    let nameplate = bench.listener_and_connector().nameplate;
    bench.pass(bench.limits.nameplate_lifetime);
    let refusal_ = Refusal::NameplateExpired;
    let told = FromRendezvous::Refused {
        request: Request::Listen(Some(nameplate)),
        refusal: refusal_,
    };
    assert_eq!(
        bench.registry.expire(bench.now),
        [Effect::Tell(LISTENER, told)]
    );
    assert_eq!(refusal(&bench.join(CONNECTOR, nameplate)), Some(refusal_));
}

#[test]
fn a_listener_that_was_lost_claims_its_nameplate_back() {
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    bench.lose(LISTENER);
    // It may be on its way back, so the connector is to wait; as often as it asks, that costs it no more than asking.
    for _ in 0..10 {
        let gone = bench.join(CONNECTOR, claim.nameplate);
        assert_eq!(refusal(&gone), Some(Refusal::NobodyThere));
        bench.pass(Duration::from_secs(2));
    }
    bench.pass(bench.limits.return_within);
    let gone = bench.join(CONNECTOR, claim.nameplate);
    assert_eq!(refusal(&gone), Some(Refusal::NameplateExpired));
    bench.arrive(OTHER, bench.key());
    assert_eq!(bench.listen(OTHER, Some(claim.clone())), claim);
    introductions(&bench.join(CONNECTOR, claim.nameplate));
}

#[test]
fn a_listener_that_comes_back_before_it_was_missed_takes_over() {
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    bench.arrive(OTHER, bench.key());
    assert_eq!(bench.listen(OTHER, Some(claim.clone())), claim);
    // The old connection ends at last; the nameplate is no longer its own.
    bench.lose(LISTENER);
    let effects = bench.join(CONNECTOR, claim.nameplate);
    introductions(&effects);
    assert!(matches!(effects[1], Effect::Tell(OTHER, _)));
}

#[test]
fn a_claim_holds_after_a_restart_and_keeps_its_expiry() {
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    bench.pass(Duration::from_secs(23 * 60 * 60));
    bench.restart();
    bench.arrive(LISTENER, bench.key());
    assert_eq!(bench.listen(LISTENER, Some(claim.clone())), claim);
    bench.pass(Duration::from_secs(60 * 60));
    assert_eq!(bench.registry.expire(bench.now).len(), 1);
    assert_ne!(
        bench.listen(LISTENER, Some(claim.clone())).nameplate,
        claim.nameplate
    );
}

#[test]
fn a_claim_is_worth_nothing_once_the_nameplate_was_used_or_is_somebody_elses() {
    let mut bench = Bench::new();
    let claim = bench.listener_and_connector();
    bench.unlisten(claim.nameplate, Fate::Used);
    assert_ne!(
        bench.listen(LISTENER, Some(claim.clone())).nameplate,
        claim.nameplate
    );

    bench.restart();
    bench.arrive(OTHER, bench.key());
    let expires = bench.now.instant + Duration::from_secs(60);
    let nameplates = &mut bench.registry.nameplates;
    nameplates.register(claim.nameplate, OTHER, (KeyId::NOBODY, [7; 16]), expires);
    bench.arrive(LISTENER, bench.key());
    assert_ne!(
        bench.listen(LISTENER, Some(claim.clone())).nameplate,
        claim.nameplate
    );
}

#[test]
fn a_forged_claim_gets_a_nameplate_of_its_own() {
    let mut bench = Bench::new();
    let mut claim = bench.listener_and_connector();
    bench.lose(LISTENER);
    claim.voucher[30] ^= 1;
    bench.arrive(OTHER, bench.key());
    assert_ne!(
        bench.listen(OTHER, Some(claim.clone())).nameplate,
        claim.nameplate
    );
}
