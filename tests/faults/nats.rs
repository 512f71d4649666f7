//! NATs that forget, and firewalls that change their mind.

use std::time::{Duration, Instant};

use p2pdbg_events::{PathKind, WaitingFor};
use p2pdbg_natlab::{Allocation, Flow, Nat, NatKind};

use crate::{
    harness::{
        eventually,
        traffic::{accept, say},
    },
    session::{Session, setting, two_nats, two_nats_of},
};

const TARGET: &str = "longest silence ≤ 3 s";

/// Every mapping of these NATs gone at once.
fn flush(session: &Session, what: &str, nats: &[&Nat]) {
    session.blow(what, TARGET, || {
        nats.iter().for_each(|nat| nat.flush().unwrap());
    });
}

/// Has either NAT, and then both, forget every mapping.
fn flush_all_ways(session: &Session) {
    let lab = &session.lab;
    flush(session, "IDE's NAT flushed", &[&lab.nat_a]);
    flush(session, "debuggee's NAT flushed", &[&lab.nat_b]);
    flush(session, "both NATs flushed", &[&lab.nat_a, &lab.nat_b]);
}

#[test]
fn nats_that_forget_every_mapping_are_asked_again() {
    let Some(session) = Session::direct("flush") else {
        return;
    };
    flush_all_ways(&session);
    session.finish();
}

#[test]
fn nats_that_forget_every_mapping_are_asked_again_by_a_relayed_session() {
    let Some(session) = Session::relayed("flush-r") else {
        return;
    };
    flush_all_ways(&session);
    session.finish();
}

#[test]
fn nats_that_choose_other_ports_after_forgetting_are_found_again() {
    let kind = NatKind::PORT_RESTRICTED.with_allocation(Allocation::Random);
    let Some(lab) = two_nats_of("flush-p", kind) else {
        return;
    };
    let setting = setting(&lab);
    let session = Session::begin("flush-p", lab, setting, PathKind::Direct);
    let lab = &session.lab;
    flush(&session, "IDE's NAT flushed", &[&lab.nat_a]);
    flush(&session, "both NATs flushed", &[&lab.nat_a, &lab.nat_b]);
    session.finish();
}

#[test]
fn an_ides_nat_with_a_new_address_is_found_again() {
    new_address("renum-a", |session| &session.lab.nat_a);
}

#[test]
fn a_debuggees_nat_with_a_new_address_is_found_again() {
    new_address("renum-b", |session| &session.lab.nat_b);
}

#[track_caller]
fn new_address(name: &'static str, nat: impl Fn(&Session) -> &Nat) {
    let Some(session) = Session::direct(name) else {
        return;
    };
    session.blow("new external address", TARGET, || {
        nat(&session).renumber().unwrap();
    });
    session.finish();
}

#[test]
fn target_that_begins_to_listen_while_the_direct_path_is_dead_is_heard_of_by_the_relay() {
    let Some(lab) = two_nats("deaf") else {
        return;
    };
    let setting = setting(&lab);
    let port = setting.port();
    let pair = setting.pair([
        "--absent",
        "refuse",
        "-L",
        &format!("{port}:localhost:{port}"),
    ]);
    pair.listener.path(PathKind::Direct);
    pair.connector.path(PathKind::Direct);
    pair.listener.waiting(WaitingFor::Debuggee);
    assert!(setting.ide.try_connect(port).is_err());
    // What the debuggee's end says of it goes by a path on which nothing arrives.
    let between = Flow::between(lab.nat_a.external_ip(), lab.nat_b.external_ip());
    lab.net.router().block(between).unwrap();
    let target = setting.debuggee.listen(port);
    let opened = eventually("open port", || setting.ide.try_connect(port).ok());
    say(&opened, &accept(&target), "hello");
}

#[test]
fn a_direct_path_that_is_blocked_is_left_for_the_relay_and_taken_back() {
    let Some(session) = Session::direct("block") else {
        return;
    };
    let lab = &session.lab;
    let between = Flow::between(lab.nat_a.external_ip(), lab.nat_b.external_ip());
    session.blow("direct path blocked", TARGET, || {
        lab.net.router().block(between).unwrap();
    });
    session.path(PathKind::Relay);
    let began = session.fault("direct path unblocked");
    lab.net.router().unblock(between).unwrap();
    session.path(PathKind::Direct);
    println!(
        "block: direct again {:.1} s after",
        began.elapsed().as_secs_f64()
    );
    let target = "longest silence ≤ 0.14 s";
    session.resumes("back to the direct path", began, Instant::now(), target);
    assert_eq!(session.lost(), 0);
    session.finish();
}

#[test]
fn a_direct_path_that_comes_and_goes_does_not_make_the_streams_do_the_same() {
    let Some(session) = Session::direct("flap") else {
        return;
    };
    let lab = &session.lab;
    let between = Flow::between(lab.nat_a.external_ip(), lab.nat_b.external_ip());
    let before = session.peers().map(|peer| peer.paths().len());
    for _ in 0..4 {
        let block = || lab.net.router().block(between).unwrap();
        let unblock = || lab.net.router().unblock(between).unwrap();
        let lasting = Duration::from_secs(3);
        session.outage(
            "direct path blocked for 3 s",
            lasting,
            TARGET,
            block,
            unblock,
        );
    }
    for (peer, before) in session.peers().into_iter().zip(before) {
        let changes = peer.paths().len() - before;
        println!("flap: {} changes of path at {}", changes, peer.name());
        assert!(changes <= 6, "{changes} changes of path in four faults");
    }
    assert_eq!(session.lost(), 0);
    session.finish();
}
