//! Networks that lose a part of what passes: most of one direction, what is long, or a leg of the relay alone; networks
//! that change marks; and hosts whose own routes refuse the peer.

use p2pdbg_events::PathKind;
use p2pdbg_natlab::{Host, Nat};

use crate::{
    harness::eventually,
    session::{Session, both_at_once, setting, two_nats},
};

const TARGET: &str = "longest silence ≤ 4 s";

/// A session with `--path PATH`, unless that is "any".
#[track_caller]
fn begin(name: &'static str, path: &str) -> Option<Session> {
    let lab = two_nats(name)?;
    let setting = setting(&lab);
    let (setting, kind) = match path {
        "any" => (setting, PathKind::Direct),
        "direct" => (setting.with_path(path), PathKind::Direct),
        path => (setting.with_path(path), PathKind::Relay),
    };
    Some(Session::begin(name, lab, setting, kind))
}

/// The host beside the IDE or the debuggee's, and its NAT.
fn end(session: &Session, ide: bool) -> (&Host, &Nat) {
    match ide {
        true => (&session.lab.ide, &session.lab.nat_a),
        false => (&session.lab.debuggee, &session.lab.nat_b),
    }
}

/// The NAT of one end does this to what passes, where HOST is the host behind it and RDV the rendezvous.
#[track_caller]
fn passes(name: &'static str, path: &str, ide: bool, what: &str) {
    let Some(session) = begin(name, path) else {
        return;
    };
    let (host, nat) = end(&session, ide);
    let rule = what
        .replace("HOST", &host.ip().to_string())
        .replace("RDV", &session.lab.rdv.ip().to_string());
    session.blow(&format!("{rule}, path {path}"), TARGET, || {
        nat.nft(&format!(
            "table ip partial {{ chain forward {{ type filter hook forward priority -5; {rule}; }}; }}"
        ))
        .unwrap();
    });
    session.settles();
    session.finish();
}

const OUT: &str = "ip saddr HOST meta l4proto udp numgen random mod 100 < 90 drop";
const IN: &str = "ip daddr HOST meta l4proto udp numgen random mod 100 < 90 drop";

#[test]
fn session_of_which_nine_tenths_are_lost_in_one_direction_goes_on() {
    both_at_once(
        || passes("most-oa", "any", true, OUT),
        || passes("most-ob", "any", false, OUT),
    );
    both_at_once(
        || passes("most-ia", "any", true, IN),
        || passes("most-rb", "relay", false, OUT),
    );
}

const LONG_OUT: &str = "ip saddr HOST meta l4proto udp udp length > 1008 drop";
const LONG_IN: &str = "ip daddr HOST meta l4proto udp udp length > 1008 drop";

#[test]
fn session_whose_long_datagrams_are_lost_in_one_direction_goes_on() {
    both_at_once(
        || passes("long-oa", "any", true, LONG_OUT),
        || passes("long-rb", "relay", false, LONG_OUT),
    );
    both_at_once(
        || passes("long-ia", "direct", true, LONG_IN),
        || passes("long-ob", "direct", false, LONG_OUT),
    );
}

#[test]
fn session_whose_datagrams_of_more_than_1200_bytes_are_lost_goes_on() {
    let long = "meta l4proto udp udp length > 1208 drop";
    both_at_once(
        || passes("wide-b", "any", false, long),
        || passes("wide-rb", "relay", false, long),
    );
}

#[test]
fn session_whose_datagrams_of_more_than_1200_bytes_are_lost_in_one_direction_goes_on() {
    let out = "ip saddr HOST meta l4proto udp udp length > 1208 drop";
    let back = "ip daddr HOST meta l4proto udp udp length > 1208 drop";
    both_at_once(
        || passes("wide-ro", "relay", true, out),
        || passes("wide-ri", "relay", false, back),
    );
    both_at_once(
        || passes("wide-do", "direct", false, out),
        || passes("wide-ai", "any", true, back),
    );
}

#[test]
fn session_whose_marked_datagrams_are_lost_in_one_direction_goes_on() {
    let out = "ip saddr HOST meta l4proto udp ip ecn != not-ect drop";
    let back = "ip daddr HOST meta l4proto udp ip ecn != not-ect drop";
    both_at_once(
        || passes("ecn-ao", "any", true, out),
        || passes("ecn-ri", "relay", false, back),
    );
}

#[test]
fn relayed_session_that_the_rendezvous_does_not_hear_or_answer_over_udp_goes_on() {
    both_at_once(
        || {
            passes(
                "leg-a",
                "relay",
                true,
                "ip saddr HOST ip daddr RDV meta l4proto udp drop",
            )
        },
        || {
            passes(
                "leg-b",
                "relay",
                false,
                "ip saddr RDV ip daddr HOST meta l4proto udp drop",
            )
        },
    );
}

#[test]
fn marks_of_congestion_on_all_datagrams_and_marks_that_are_taken_away_disturb_nothing() {
    both_at_once(
        || {
            passes(
                "mark-ce",
                "any",
                true,
                "ip saddr HOST meta l4proto udp ip ecn set ce",
            )
        },
        || {
            passes(
                "mark-no",
                "any",
                false,
                "ip saddr HOST meta l4proto udp ip ecn set not-ect",
            )
        },
    );
}

/// The host's own routes refuse the peer's address, as a VPN that lets nothing past it does.
#[track_caller]
fn refuses(name: &'static str, ide: bool, kind: &str) {
    let Some(session) = begin(name, "any") else {
        return;
    };
    let (host, _) = end(&session, ide);
    let peer = end(&session, !ide).1.external_ip();
    session.blow(
        &format!("route of the kind {kind} to the peer"),
        TARGET,
        || {
            (**host)
                .ip(&format!("route add {kind} {peer}/32\n"))
                .unwrap();
        },
    );
    for peer in session.peers() {
        eventually("relay", || {
            let last = peer.paths().pop()?;
            (last.kind == PathKind::Relay).then_some(())
        });
    }
    session.finish();
}

#[test]
fn session_whose_host_has_no_route_to_the_peer_any_more_goes_on_by_the_relay() {
    both_at_once(
        || refuses("refuse-a", true, "prohibit"),
        || refuses("refuse-b", false, "unreachable"),
    );
    both_at_once(
        || refuses("refuse-c", true, "blackhole"),
        || refuses("refuse-d", false, "prohibit"),
    );
}
