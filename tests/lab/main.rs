//! Which way the traffic goes: the three programs in a kernel lab, behind NATs of several kinds.
//!
//! What the events say is held against what went over the links: the rendezvous' link carries the traffic of a relayed
//! session and next to nothing of a direct one.
#![cfg(target_os = "linux")]

mod addresses;
mod direct_tcp;
mod doctor;
mod first_word;
#[path = "../harness/mod.rs"]
mod harness;
mod matrix;
mod names;
mod narrow;
mod nat64;
mod proxy;
mod reasons;
mod shared_nat;
mod udp_blocked;
mod web;

use std::time::Duration;

use harness::{
    Place, Setting,
    traffic::{accept, finish, receive, receive_end, say, send},
};
use p2pdbg_events::{Event, PathKind, StreamState};
use p2pdbg_natlab::{Flow, Host, Lab, NatKind, TwoNats};

/// On each of the three links to the internet, so that the peers are 40 ms apart and back.
const DELAY: Duration = Duration::from_millis(10);

const MEGABYTE: usize = 1 << 20;

fn place(host: &Host) -> Place {
    Place::Node((**host).clone())
}

fn setting(lab: &TwoNats) -> Setting {
    let address = lab.rdv.ip().into();
    Setting::of(
        place(&lab.ide),
        place(&lab.debuggee),
        place(&lab.rdv),
        address,
    )
}

/// Bytes that the rendezvous' link has carried so far, both ways.
fn through_the_rendezvous(lab: &TwoNats) -> u64 {
    let (up, down) = lab.rdv.link().counters().unwrap();
    up.forwarded_bytes + down.forwarded_bytes
}

#[test]
fn two_hundred_megabytes_cross_the_switch_from_the_relay_to_the_direct_path() {
    const LENGTH: usize = 200 * MEGABYTE;
    let Some(lab) = Lab::new_or_skip("switch") else {
        return;
    };
    let nat = NatKind::PORT_RESTRICTED;
    let lab = TwoNats::new(lab, nat, nat, DELAY).unwrap();
    // The direct path may stand before the first byte has passed, so it has to wait.
    let peers = Flow::between(lab.nat_a.external_ip(), lab.nat_b.external_ip()).over_udp();
    let router = lab.net.router();
    router.block(peers).unwrap();
    let setting = setting(&lab);
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let listener = setting
        .listener()
        .args(["-L", &format!("{port}:localhost:{target}")])
        .start();
    let code = listener.code();
    // The IDE is there before the peer is, so its bytes wait for the first path.
    let ide = setting.ide.connect(port);
    let connector = setting.connector_with(&code).start();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            send(&ide, 1, LENGTH);
            finish(&ide);
        });
        let debuggee = accept(&debuggee);
        // What is not read holds the sender up, so the transfer is in its midst when the path changes.
        let relayed = listener.path(PathKind::Relay);
        router.unblock(peers).unwrap();
        let direct = listener.path(PathKind::Direct);
        // Where a host is busy, the relay is told twice: over TCP first. What comes later is not what this is about.
        let mut kinds: Vec<_> = listener.paths().iter().map(|path| path.kind).collect();
        kinds.dedup();
        assert!(kinds.starts_with(&[PathKind::Relay, PathKind::Direct]));
        println!(
            "relayed after {} ms, direct after {} ms",
            relayed.after_ms, direct.after_ms
        );
        receive(&debuggee, 1, LENGTH);
        receive_end(&debuggee);
    });
    connector.path(PathKind::Direct);
}

/// Sends some megabytes through a session; returns how many bytes the rendezvous' link carried for it.
fn carried_by_the_rendezvous(lab: &TwoNats, setting: &Setting, kind: PathKind) -> u64 {
    const LENGTH: usize = 8 * MEGABYTE;
    let (port, target) = (setting.port(), setting.port());
    let debuggee = setting.debuggee.listen(target);
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    pair.listener.path(kind);
    pair.connector.path(kind);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&debuggee);
    say(&ide, &debuggee, "before");
    let before = through_the_rendezvous(lab);
    std::thread::scope(|scope| {
        scope.spawn(|| send(&ide, 2, LENGTH));
        receive(&debuggee, 2, LENGTH);
    });
    through_the_rendezvous(lab) - before
}

#[track_caller]
fn goes_direct(name: &str, a: NatKind, b: NatKind) {
    let Some(lab) = Lab::new_or_skip(name) else {
        return;
    };
    let lab = TwoNats::new(lab, a, b, DELAY).unwrap();
    let carried = carried_by_the_rendezvous(&lab, &setting(&lab), PathKind::Direct);
    assert!(
        carried < MEGABYTE as u64,
        "the rendezvous carried {carried} bytes"
    );
}

#[test]
fn port_restricted_peers_go_direct_and_the_rendezvous_carries_nothing() {
    goes_direct("d-pp", NatKind::PORT_RESTRICTED, NatKind::PORT_RESTRICTED);
}

#[test]
fn address_restricted_and_port_restricted_peers_go_direct() {
    goes_direct(
        "d-ap",
        NatKind::ADDRESS_RESTRICTED,
        NatKind::PORT_RESTRICTED,
    );
}

#[test]
fn full_cone_peers_go_direct() {
    goes_direct("d-ff", NatKind::FULL_CONE, NatKind::FULL_CONE);
}

#[test]
fn a_symmetric_and_a_full_cone_peer_go_direct() {
    goes_direct("d-sf", NatKind::SYMMETRIC_RANDOM, NatKind::FULL_CONE);
}

#[test]
fn with_the_direct_path_forbidden_the_rendezvous_carries_everything() {
    let Some(lab) = Lab::new_or_skip("relay") else {
        return;
    };
    let nat = NatKind::PORT_RESTRICTED;
    let lab = TwoNats::new(lab, nat, nat, DELAY).unwrap();
    let setting = setting(&lab).with_path("relay");
    let carried = carried_by_the_rendezvous(&lab, &setting, PathKind::Relay);
    // It comes in and goes out again.
    assert!(
        carried > 16 * MEGABYTE as u64,
        "the rendezvous carried {carried} bytes"
    );
}

#[test]
fn a_search_waits_until_no_other_session_of_the_host_searches() {
    let Some(lab) = Lab::new_or_skip("permit") else {
        return;
    };
    let (hard, easy) = (NatKind::SYMMETRIC_RANDOM, NatKind::PORT_RESTRICTED);
    let lab = TwoNats::new(lab, hard, easy, DELAY).unwrap();
    let setting = setting(&lab);
    let listener = setting.listener().start();
    let code = listener.code();
    let lock = listener.home().state().join("search.lock");
    let other = std::fs::File::create(lock).unwrap();
    other.lock().unwrap();
    let connector = setting.connector_with(&code).start();
    connector.path(PathKind::Relay);
    harness::eventually("an attempt has failed", || {
        setting
            .transcript
            .text()
            .contains("AttemptFailed")
            .then_some(())
    });
    other.unlock().unwrap();
    let path = listener.path(PathKind::Direct);
    assert_eq!(path.technique.as_deref(), Some("birthday-search"));
}

/// An hour of a debugger at its breakpoint, in little: nothing is said for longer than the NATs remember.
#[track_caller]
fn stays_alive_while_idle(name: &str, path: &str, kind: PathKind) {
    const FORGET: Duration = Duration::from_secs(8);
    let Some(lab) = Lab::new_or_skip(name) else {
        return;
    };
    let nat = NatKind::PORT_RESTRICTED.with_timeout(FORGET);
    let lab = TwoNats::new(lab, nat, nat, DELAY).unwrap();
    let setting = setting(&lab).with_path(path);
    let (port, target) = (setting.port(), setting.port());
    let listening = setting.debuggee.listen(target);
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    pair.listener.path(kind);
    pair.connector.path(kind);
    let ide = setting.ide.connect(port);
    let debuggee = accept(&listening);
    say(&ide, &debuggee, "stopped at a breakpoint");
    // All that the session has told on its way here.
    for peer in [&pair.listener, &pair.connector] {
        peer.stream(StreamState::Open);
        peer.event("facts", |event| {
            matches!(event, Event::Facts(_)).then_some(())
        });
    }
    let before = (pair.listener.events().len(), pair.connector.events().len());
    std::thread::sleep(FORGET * 2);
    say(&ide, &debuggee, "and on");
    let after = (pair.listener.events().len(), pair.connector.events().len());
    assert_eq!(after, before, "nobody noticed anything");
}

#[test]
fn an_idle_session_stays_direct_behind_nats_that_forget_after_eight_seconds() {
    stays_alive_while_idle("idle-direct", "direct", PathKind::Direct);
}

#[test]
fn an_idle_session_stays_on_the_relay_behind_nats_that_forget_after_eight_seconds() {
    stays_alive_while_idle("idle-relay", "relay", PathKind::Relay);
}

#[test]
fn peers_on_one_lan_go_direct_without_leaving_it() {
    let Some(lab) = Lab::new_or_skip("lan") else {
        return;
    };
    let net = lab.internet().unwrap().with_delay(DELAY);
    let rdv = net.host("rdv").unwrap();
    let home = net.nat("home", NatKind::PORT_RESTRICTED).unwrap();
    let (ide, debuggee) = (home.host("ide").unwrap(), home.host("dbg").unwrap());
    let address = rdv.ip().into();
    let setting = Setting::of(place(&ide), place(&debuggee), place(&rdv), address);
    let (port, target) = (setting.port(), setting.port());
    let listening = setting.debuggee.listen(target);
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port(["-L", &forward], port);
    let path = pair.connector.path(PathKind::Direct);
    assert_eq!(path.technique.as_deref(), Some("lan"));
    assert_eq!(path.remote.map(|remote| remote.ip()), Some(ide.ip().into()));
    let opened = setting.ide.connect(port);
    say(&opened, &accept(&listening), "across the room");
}
