//! What is said in advance, and to whom.

use super::*;
use p2pdbg_proto::rendezvous::MeetingPoint;

fn prepare(bench: &mut Bench, id: ConnId, place: &MeetingPoint, payload: &[u8]) -> Vec<Effect> {
    let (place, payload) = (place.clone(), payload.to_vec());
    bench.say(id, ToRendezvous::Prepare { place, payload })
}

/// What somebody has prepared and what the other has, as far as it is told.
type Told<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// What those who are introduced are told of what was prepared, the listener first.
fn told(effects: &[Effect]) -> [Told<'_>; 2] {
    [LISTENER, CONNECTOR].map(|id| {
        let (mut own, mut other) = (None, None);
        for effect in effects {
            match effect {
                Effect::Tell(to, FromRendezvous::Introduced(it)) if *to == id => {
                    own = it.prepared.as_deref();
                }
                Effect::Tell(to, FromRendezvous::Signal { payload, .. }) if *to == id => {
                    other = Some(&payload[..]);
                }
                _ => {}
            }
        }
        (own, other)
    })
}

#[test]
fn what_both_have_prepared_comes_behind_the_introduction_once() {
    let mut bench = Bench::new();
    let nameplate = bench.listener_and_connector().nameplate;
    let place = MeetingPoint::Nameplate(nameplate);
    assert_eq!(prepare(&mut bench, LISTENER, &place, b"old"), []);
    assert_eq!(prepare(&mut bench, LISTENER, &place, b"listener"), []);
    assert_eq!(prepare(&mut bench, CONNECTOR, &place, b"connector"), []);
    let effects = bench.join(CONNECTOR, nameplate);
    let (listener, connector) = (Some(&b"listener"[..]), Some(&b"connector"[..]));
    assert_eq!(
        told(&effects),
        [(listener, connector), (connector, listener)]
    );
    let signals = effects
        .iter()
        .skip_while(|e| !matches!(e, Effect::Tell(_, FromRendezvous::Signal { .. })));
    assert_eq!(
        signals.count(),
        2,
        "each signal comes behind both introductions"
    );

    bench.lose(CONNECTOR);
    bench.arrive(CONNECTOR, Credential::None);
    prepare(&mut bench, CONNECTOR, &place, b"again");
    let effects = bench.join(CONNECTOR, nameplate);
    assert_eq!(told(&effects), [(None, None), (None, None)]);
}

#[test]
fn what_one_alone_or_for_another_place_has_prepared_is_kept() {
    let mut bench = Bench::new();
    let nameplate = bench.listener_and_connector().nameplate;
    let place = MeetingPoint::Nameplate(nameplate);
    prepare(&mut bench, LISTENER, &place, b"listener");
    let elsewhere = MeetingPoint::Handle(Secret::random());
    prepare(&mut bench, CONNECTOR, &elsewhere, b"connector");
    let effects = bench.join(CONNECTOR, nameplate);
    assert_eq!(told(&effects), [(None, None), (None, None)]);

    bench.lose(CONNECTOR);
    bench.arrive(CONNECTOR, Credential::None);
    prepare(&mut bench, CONNECTOR, &place, b"connector");
    let effects = bench.join(CONNECTOR, nameplate);
    assert_eq!(told(&effects)[1].1, Some(&b"listener"[..]));
}

#[test]
fn little_is_kept_and_for_few_places() {
    let mut bench = Bench::new();
    let nameplate = bench.listener_and_connector().nameplate;
    let place = MeetingPoint::Nameplate(nameplate);
    prepare(&mut bench, LISTENER, &place, b"oldest");
    for _ in 0..16 {
        let elsewhere = MeetingPoint::Handle(Secret::random());
        assert_eq!(prepare(&mut bench, LISTENER, &elsewhere, &[0; 256]), []);
    }
    prepare(&mut bench, CONNECTOR, &place, b"connector");
    let effects = bench.join(CONNECTOR, nameplate);
    assert_eq!(told(&effects), [(None, None), (None, None)]);
    let (request, refusal) = (Request::Prepare(place.clone()), Refusal::Protocol);
    let effects = prepare(&mut bench, CONNECTOR, &place, &[0; 257]);
    assert_eq!(
        effects[0],
        Effect::Tell(CONNECTOR, FromRendezvous::Refused { request, refusal })
    );
}
