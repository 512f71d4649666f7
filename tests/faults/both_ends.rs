//! Mappings, addresses and routes that move at both ends at once, or are gone for some seconds.

use std::time::Duration;

use p2pdbg_events::PathKind;
use p2pdbg_natlab::{Allocation, Flow, Nat, NatKind};

use crate::session::{Session, both_at_once, setting, two_nats_of};

const TARGET: &str = "longest silence ≤ 3 s";

/// Behind two port-restricted NATs, with `--path PATH` unless that is "any"; if the direct path is to be by TCP,
/// without UDP, else with NATs that map another port each time.
#[track_caller]
fn begin(name: &'static str, path: &str, by_tcp: bool) -> Option<Session> {
    let kind = match by_tcp {
        true => NatKind::PORT_RESTRICTED,
        false => NatKind::PORT_RESTRICTED.with_allocation(Allocation::Random),
    };
    let lab = two_nats_of(name, kind)?;
    if by_tcp {
        for nat in [&lab.nat_a, &lab.nat_b] {
            nat.block(Flow::udp()).unwrap();
        }
    }
    let setting = setting(&lab);
    let (setting, kind) = match path {
        "any" => (setting, PathKind::Direct),
        "direct" => (setting.with_path(path), PathKind::Direct),
        path => (setting.with_path(path), PathKind::Relay),
    };
    Some(Session::begin(name, lab, setting, kind))
}

/// The NATs do something at once, three times.
#[track_caller]
fn nats(name: &'static str, path: &str, by_tcp: bool, what: &str, act: impl Fn(&Nat)) {
    let Some(session) = begin(name, path, by_tcp) else {
        return;
    };
    for round in 1..=3 {
        session.blow(
            &format!("both NATs {what}, path {path}, {round}"),
            TARGET,
            || {
                act(&session.lab.nat_a);
                act(&session.lab.nat_b);
            },
        );
    }
    session.finish();
}

#[test]
fn mappings_that_both_nats_forget_at_once_cost_a_direct_session_no_byte() {
    let forget = |nat: &Nat| nat.flush().unwrap();
    both_at_once(
        || nats("both-fd", "direct", false, "forgot", forget),
        || nats("both-fa", "any", false, "forgot", forget),
    );
    both_at_once(
        || nats("both-ft", "direct", true, "forgot", forget),
        || nats("both-fu", "any", true, "forgot", forget),
    );
}

#[test]
fn addresses_that_both_nats_get_at_once_cost_a_direct_session_no_byte() {
    let renumber = |nat: &Nat| _ = nat.renumber().unwrap();
    both_at_once(
        || nats("both-rd", "direct", false, "got other addresses", renumber),
        || nats("both-rt", "direct", true, "got other addresses", renumber),
    );
}

/// A NAT is off for a while and knows nothing afterwards.
#[track_caller]
fn reboots(name: &'static str, path: &str, by_tcp: bool, seconds: u64) {
    let Some(session) = begin(name, path, by_tcp) else {
        return;
    };
    let nat = &session.lab.nat_b;
    session.outage(
        &format!("NAT off for {seconds} s, path {path}"),
        Duration::from_secs(seconds),
        "first byte ≤ 5 s after mending",
        || nat.uplink().cut().unwrap(),
        || {
            nat.flush().unwrap();
            nat.uplink().mend().unwrap();
        },
    );
    session.finish();
}

#[test]
fn nat_that_is_started_again_costs_a_session_no_byte_over_udp_or_tcp() {
    both_at_once(
        || reboots("boot-d", "direct", false, 5),
        || reboots("boot-t", "direct", true, 5),
    );
    both_at_once(
        || reboots("boot-a", "any", true, 5),
        || reboots("boot-r", "relay-tcp", false, 20),
    );
}

/// The default routes of both hosts move to other links, by which no more than 1,280 bytes pass, and the links before
/// are dead.
#[track_caller]
fn moves(name: &'static str, path: &str) {
    let Some(session) = begin(name, path, false) else {
        return;
    };
    let lab = &session.lab;
    let links = [(&lab.ide, "dock-a"), (&lab.debuggee, "dock-b")].map(|(host, name)| {
        let dock = lab.net.nat(name, NatKind::PORT_RESTRICTED).unwrap();
        let link = host.attach(dock.lan()).unwrap();
        let narrow = format!("link set {} mtu 1280\n", link.interface());
        (**host).ip(&narrow).unwrap();
        link
    });
    session.blow(&format!("both routes moved, path {path}"), TARGET, || {
        links.iter().for_each(|link| link.prefer().unwrap());
        for nat in [&lab.nat_a, &lab.nat_b] {
            nat.uplink().cut().unwrap();
        }
    });
    session.finish();
}

#[test]
fn routes_that_move_at_both_ends_at_once_to_narrower_links_are_followed() {
    both_at_once(|| moves("both-md", "direct"), || moves("both-mr", "relay"));
    both_at_once(|| moves("both-ma", "any"), || moves("both-mt", "relay-tcp"));
}

/// The default routes of both hosts are gone for 3 s, while links and addresses stay: sending fails aloud.
#[track_caller]
fn without_routes(name: &'static str, path: &str) {
    let Some(session) = begin(name, path, false) else {
        return;
    };
    let hosts = [&session.lab.ide, &session.lab.debuggee];
    let routes = hosts.map(|host| {
        let mut show = host.command("ip");
        let show = show.args(["route", "show", "default"]).output().unwrap();
        String::from_utf8(show.stdout).unwrap()
    });
    session.outage(
        &format!("no default route for 3 s, path {path}"),
        Duration::from_secs(3),
        "first byte ≤ 2 s after mending",
        || {
            for host in hosts {
                (**host).ip("route del default\n").unwrap();
            }
        },
        || {
            for (host, route) in hosts.iter().zip(&routes) {
                (***host).ip(&format!("route add {route}")).unwrap();
            }
        },
    );
    session.finish();
}

#[test]
fn default_routes_that_are_gone_for_seconds_cost_no_byte() {
    both_at_once(
        || without_routes("gone-d", "direct"),
        || without_routes("gone-a", "any"),
    );
    both_at_once(
        || without_routes("gone-r", "relay"),
        || without_routes("gone-t", "relay-tcp"),
    );
}
