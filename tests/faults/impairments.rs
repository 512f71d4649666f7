//! Paths that carry most of what they are given, or nearly so, or late.

use std::time::{Duration, Instant};

use p2pdbg_natlab::{Corruption, Impairments};

use crate::session::{DELAY, Session};

const TARGET: &str = "the round trips of a repetition";

/// Impairs the debuggee's link for a time.
#[track_caller]
fn impair(session: &Session, what: &str, lasting: Duration, impairments: Impairments) {
    let link = session.lab.nat_b.uplink();
    let began = session.fault(what);
    link.impair(impairments).unwrap();
    std::thread::sleep(lasting);
    let mended = Instant::now();
    link.impair(Impairments::delayed(DELAY)).unwrap();
    session.resumes(what, began, mended, TARGET);
}

const LINK: Impairments = Impairments::delayed(DELAY);
const WHILE: Duration = Duration::from_secs(8);

#[test]
fn lost_datagrams_lose_no_byte() {
    let Some(session) = Session::direct("loss") else {
        return;
    };
    impair(
        &session,
        "5 % of datagrams lost",
        WHILE,
        LINK.with_loss(0.05),
    );
    impair(
        &session,
        "20 % of datagrams lost",
        WHILE,
        LINK.with_loss(0.2),
    );
    session.finish();
}

#[test]
fn lost_datagrams_lose_no_byte_on_the_relay() {
    let Some(session) = Session::relayed("loss-r") else {
        return;
    };
    impair(
        &session,
        "20 % of datagrams lost",
        WHILE,
        LINK.with_loss(0.2),
    );
    session.finish();
}

#[test]
fn datagrams_out_of_order_or_repeated_change_no_byte() {
    let Some(session) = Session::direct("disorder") else {
        return;
    };
    let by = Duration::from_millis(30);
    impair(
        &session,
        "10 % overtaken",
        WHILE,
        LINK.with_reordering(0.1, by),
    );
    impair(&session, "10 % repeated", WHILE, LINK.with_duplication(0.1));
    session.finish();
}

#[test]
fn corrupted_datagrams_change_no_byte() {
    let Some(session) = Session::direct("corrupt") else {
        return;
    };
    let seen = LINK.with_corruption(0.01, Corruption::Detectable);
    impair(&session, "1 % corrupted, checksum wrong", WHILE, seen);
    let unseen = LINK.with_corruption(0.01, Corruption::Undetectable);
    impair(&session, "1 % corrupted, checksum right", WHILE, unseen);
    session.finish();
}

#[test]
fn a_far_away_peer_with_jitter_is_kept() {
    let Some(session) = Session::direct("far") else {
        return;
    };
    let far =
        Impairments::delayed(Duration::from_millis(90)).with_jitter(Duration::from_millis(60));
    impair(&session, "200 ms round trip with jitter", WHILE, far);
    assert_eq!(session.lost(), 0);
    session.finish();
}

#[test]
fn a_path_that_becomes_narrower_in_mid_session_is_kept() {
    let Some(session) = Session::direct("mtu") else {
        return;
    };
    let while_narrow = Duration::from_secs(6);
    let told = LINK.with_mtu(1280);
    impair(&session, "MTU 1280, reported by ICMP", while_narrow, told);
    let silent = LINK.with_black_hole_above(1280);
    impair(&session, "MTU 1280, a black hole", while_narrow, silent);
    session.finish();
}
