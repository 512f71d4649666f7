//! Networks that drop UDP which is marked for ECN, as QUIC's is and STUN's is not.

use p2pdbg_events::PathKind;
use p2pdbg_natlab::{Flow, Nat, TwoNats};

use crate::session::{Session, both_at_once, first_byte, setting, two_nats};

/// From the start of `connect` to the first byte, where a NAT drops what is marked.
#[track_caller]
fn begins(name: &'static str, nat: impl Fn(&TwoNats) -> &Nat) {
    let Some(lab) = two_nats(name) else {
        return;
    };
    nat(&lab).block(Flow::udp().marked()).unwrap();
    let setting = setting(&lab);
    let begun = first_byte(name, &setting);
    for peer in &begun.peers {
        peer.path(PathKind::Direct);
    }
    println!(
        "{name}: direct {:.2} s after the start of connect",
        begun.began.elapsed().as_secs_f64()
    );
}

#[test]
fn session_begins_where_a_nat_drops_udp_that_is_marked_for_ecn() {
    both_at_once(
        || begins("ecn-a", |lab| &lab.nat_a),
        || begins("ecn-b", |lab| &lab.nat_b),
    );
}

/// A NAT that begins to drop what is marked.
#[track_caller]
fn goes_on(session: Option<Session>, nat: impl Fn(&Session) -> &Nat) {
    let Some(session) = session else {
        return;
    };
    let nat = nat(&session);
    let what = format!("{} drops what is marked for ECN", nat.name());
    session.blow(&what, "longest silence ≤ 5 s", || {
        nat.block(Flow::udp().marked()).unwrap()
    });
    session.finish();
}

#[test]
fn direct_session_goes_on_where_a_nat_begins_to_drop_udp_that_is_marked_for_ecn() {
    both_at_once(
        || goes_on(Session::direct("ecn-da"), |session| &session.lab.nat_a),
        || goes_on(Session::direct("ecn-db"), |session| &session.lab.nat_b),
    );
}

#[test]
fn relayed_session_goes_on_where_a_nat_begins_to_drop_udp_that_is_marked_for_ecn() {
    both_at_once(
        || goes_on(Session::relayed("ecn-ra"), |session| &session.lab.nat_a),
        || goes_on(Session::relayed("ecn-rb"), |session| &session.lab.nat_b),
    );
}
