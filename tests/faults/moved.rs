//! Mappings and routes that move under a path that stands: its tunnel does not follow, and the path does.

use std::time::{Duration, Instant};

use p2pdbg_events::PathKind;
use p2pdbg_natlab::{Allocation, Flow, Host, Nat, NatKind};

use crate::{
    harness::{Peer, Setting},
    session::{Session, both_at_once, setting, two_nats, two_nats_of},
};

/// With `--path`, unless any may be used.
fn pinned(setting: Setting, path: &str) -> Setting {
    match path {
        "any" => setting,
        path => setting.with_path(path),
    }
}

/// Two NATs that map another port each time.
#[track_caller]
fn forgets(name: &'static str, path: &str, nat: impl Fn(&Session) -> &Nat) {
    let kind = NatKind::PORT_RESTRICTED.with_allocation(Allocation::Random);
    let Some(lab) = two_nats_of(name, kind) else {
        return;
    };
    let setting = pinned(setting(&lab), path);
    let session = Session::begin(name, lab, setting, PathKind::Direct);
    for round in 1..=3 {
        let what = format!("{} forgot, path {path}, {round}", nat(&session).name());
        session.blow(&what, "longest silence ≤ 1.5 s", || {
            nat(&session).flush().unwrap();
        });
        is_direct(&session);
    }
    session.finish();
}

/// Waits until both ends use a direct path.
#[track_caller]
fn is_direct(session: &Session) {
    let began = std::time::Instant::now();
    for peer in session.peers() {
        crate::harness::eventually("direct path", || {
            let last = peer.paths().pop()?;
            (last.kind == PathKind::Direct).then_some(())
        });
    }
    println!(
        "direct at both ends {:.2} s after the bytes",
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn mapping_that_is_forgotten_at_either_end_costs_a_direct_only_session_a_new_tunnel() {
    both_at_once(
        || forgets("mv-da", "direct", |session| &session.lab.nat_a),
        || forgets("mv-db", "direct", |session| &session.lab.nat_b),
    );
}

#[test]
fn mapping_that_is_forgotten_at_either_end_costs_a_session_a_new_tunnel() {
    both_at_once(
        || forgets("mv-aa", "any", |session| &session.lab.nat_a),
        || forgets("mv-ab", "any", |session| &session.lab.nat_b),
    );
}

/// How often the two have looked at all paths again.
fn looks(session: &Session) -> usize {
    let of = |peer: &Peer| {
        let lines = peer.stderr();
        lines
            .iter()
            .filter(|line| line.contains("looking at all paths again"))
            .count()
    };
    session.peers().map(of).iter().sum()
}

/// A host with two links whose default route moves to the other one, and back.
#[track_caller]
fn reroutes(name: &'static str, path: &str, target: &str, host: impl Fn(&Session) -> &Host) {
    let Some(lab) = two_nats(name) else {
        return;
    };
    let setting = pinned(setting(&lab), path);
    let kind = match path {
        "relay" | "relay-tcp" => PathKind::Relay,
        _ => PathKind::Direct,
    };
    let session = Session::begin(name, lab, setting, kind);
    let host = host(&session);
    let nat = session
        .lab
        .net
        .nat("dock", NatKind::PORT_RESTRICTED)
        .unwrap();
    let looked = looks(&session);
    let links = [host.attach(nat.lan()).unwrap(), host.link()];
    // What the new address itself sets off is over: its host has looked at all paths again, and bytes pass that left
    // after it.
    crate::harness::eventually("look at the new address", || {
        (looks(&session) > looked).then_some(())
    });
    session.flows_since(Instant::now() + Duration::from_millis(500));
    for link in links {
        let what = format!(
            "{}: default route to {}, path {path}",
            host.name(),
            link.interface()
        );
        session.blow(&what, target, || link.prefer().unwrap());
    }
    if kind == PathKind::Direct {
        is_direct(&session);
    }
    session.finish();
}

#[test]
fn default_route_that_moves_at_either_end_is_followed_by_a_direct_session() {
    let target = "longest silence ≤ 2 s";
    both_at_once(
        || reroutes("rt-da", "any", target, |session| &session.lab.ide),
        || reroutes("rt-db", "any", target, |session| &session.lab.debuggee),
    );
}

#[test]
fn default_route_that_moves_at_either_end_is_followed_by_a_direct_only_session() {
    let target = "longest silence ≤ 2 s";
    both_at_once(
        || reroutes("rt-oa", "direct", target, |session| &session.lab.ide),
        || reroutes("rt-ob", "direct", target, |session| &session.lab.debuggee),
    );
}

#[test]
fn default_route_that_moves_at_either_end_is_followed_by_a_relayed_session() {
    let target = "longest silence ≤ 3 s";
    both_at_once(
        || reroutes("rt-ra", "relay", target, |session| &session.lab.ide),
        || reroutes("rt-rb", "relay", target, |session| &session.lab.debuggee),
    );
}

#[test]
fn default_route_that_moves_at_either_end_is_followed_by_a_session_relayed_over_tcp() {
    let target = "longest silence ≤ 5 s";
    both_at_once(
        || reroutes("rt-ta", "relay-tcp", target, |session| &session.lab.ide),
        || {
            reroutes("rt-tb", "relay-tcp", target, |session| {
                &session.lab.debuggee
            })
        },
    );
}

/// No UDP passes, so the direct path is by TCP, and a NAT forgets its connections.
#[track_caller]
fn forgets_tcp(name: &'static str, path: &str, nat: impl Fn(&Session) -> &Nat) {
    let Some(lab) = two_nats(name) else {
        return;
    };
    // The rendezvous is met over TCP too.
    for nat in [&lab.nat_a, &lab.nat_b] {
        nat.block(Flow::udp()).unwrap();
    }
    let setting = pinned(setting(&lab), path);
    let session = Session::begin(name, lab, setting, PathKind::Direct);
    for round in 1..=2 {
        let what = format!("{} forgot TCP, path {path}, {round}", nat(&session).name());
        session.blow(&what, "longest silence ≤ 5 s", || {
            nat(&session).flush().unwrap();
        });
    }
    session.finish();
}

#[test]
fn connections_that_a_nat_forgets_at_either_end_cost_a_direct_path_by_tcp_no_byte() {
    both_at_once(
        || forgets_tcp("mv-ta", "any", |session| &session.lab.nat_a),
        || forgets_tcp("mv-tb", "any", |session| &session.lab.nat_b),
    );
}
