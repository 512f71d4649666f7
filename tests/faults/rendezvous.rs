//! A rendezvous that is killed and comes back.

use std::time::{Duration, Instant};

use p2pdbg_events::{Event, PathKind, WarningCode};
use p2pdbg_natlab::{Flow, TwoNats};
use rustix::process::Signal;

use crate::{
    harness::Setting,
    session::{Session, both_at_once, setting, setting_with, two_nats},
};

/// Kills the rendezvous for a time.
#[track_caller]
pub(crate) fn kill(session: &mut Session, seconds: u64, target: &str) {
    let what = format!("rendezvous killed for {seconds} s");
    let began = session.fault(&what);
    session.setting.rendezvous.process().kill();
    std::thread::sleep(Duration::from_secs(seconds));
    session.setting.rendezvous.start_again();
    session.resumes(&what, began, Instant::now(), target);
}

#[test]
fn a_direct_session_does_not_notice_a_killed_rendezvous() {
    unnoticed("rdv-d", 1);
}

#[track_caller]
fn unnoticed(name: &'static str, seconds: u64) {
    let Some(mut session) = Session::direct(name) else {
        return;
    };
    let before = session.peers().map(|peer| peer.paths());
    kill(&mut session, seconds, "longest silence ≤ 0.1 s");
    assert_eq!(session.lost(), 0);
    assert_eq!(session.peers().map(|peer| peer.paths()), before);
    session.finish();
}

#[test]
fn a_relayed_session_resumes_after_its_rendezvous_was_killed() {
    resumes_afterwards("rdv-r", 1);
}

#[test]
fn a_rendezvous_that_is_away_for_a_minute_is_missed_by_relayed_sessions_alone() {
    both_at_once(
        || unnoticed("rdv-d60", 60),
        || resumes_afterwards("rdv-r60", 60),
    );
}

#[track_caller]
fn resumes_afterwards(name: &'static str, seconds: u64) {
    let Some(mut session) = Session::relayed(name) else {
        return;
    };
    kill(&mut session, seconds, "first byte ≤ 5 s after mending");
    session.finish();
}

#[test]
fn a_relay_that_has_forgotten_an_idle_session_is_asked_again() {
    let Some(lab) = two_nats("idle-r") else {
        return;
    };
    let setting = forgetful(&lab).with_path("relay");
    let session = Session::begin("idle-r", lab, setting, PathKind::Relay);
    session.rest(true);
    // Half-way between two datagrams that keep a tunnel open.
    std::thread::sleep(Duration::from_secs(4));
    let began = session.fault("streams move again");
    session.rest(false);
    session.resumes("relay's idle limit", began, began, "first byte ≤ 3 s");
    session.finish();
}

#[test]
fn a_relay_that_has_forgotten_its_standby_tunnel_takes_over_all_the_same() {
    let Some(lab) = two_nats("idle-d") else {
        return;
    };
    let setting = forgetful(&lab);
    let session = Session::begin("idle-d", lab, setting, PathKind::Direct);
    std::thread::sleep(Duration::from_secs(4));
    let between = Flow::between(
        session.lab.nat_a.external_ip(),
        session.lab.nat_b.external_ip(),
    );
    session.blow(
        "direct path blocked, standby forgotten",
        "longest silence ≤ 3 s",
        || {
            session.lab.net.router().block(between).unwrap();
        },
    );
    session.path(PathKind::Relay);
    session.finish();
}

/// A rendezvous whose relay forgets a leg after a second without a datagram.
fn forgetful(lab: &TwoNats) -> Setting {
    setting_with(lab, ["--relay-idle", "1s"])
}

#[test]
fn a_code_is_good_at_any_moment_after_the_rendezvous_was_killed() {
    let Some(lab) = two_nats("rdv-code") else {
        return;
    };
    let mut setting = setting(&lab);
    let listener = setting.listener().args(["debugpy"]).start();
    let code = listener.code();
    setting.rendezvous.process().kill();
    setting.rendezvous.start_again();
    // The listener has not noticed yet.
    let connector = setting.connector_with(&code).start();
    connector.paired();
    listener.paired();
    listener.path(PathKind::Direct);
    connector.path(PathKind::Direct);
    let burned = |event: &Event| match event {
        Event::Warning(warning) => warning.code == WarningCode::CodeBurned,
        _ => false,
    };
    assert!(!listener.events().iter().any(burned));
}

#[test]
fn a_relayed_session_goes_on_while_its_rendezvous_is_upgraded() {
    let Some(lab) = two_nats("rdv-up") else {
        return;
    };
    // Who says hello is told at this level alone.
    let setting = setting_with(&lab, ["-vv"]).with_path("relay");
    let mut session = Session::begin("rdv-up", lab, setting, PathKind::Relay);
    let said_hello = |session: &mut Session| {
        let stderr = session.setting.rendezvous.process().stderr();
        let hellos = stderr.iter().filter(|line| line.contains("said hello"));
        hellos.count()
    };
    let before = said_hello(&mut session);
    let began = session.fault("rendezvous upgraded");
    session.setting.rendezvous.process().signal(Signal::USR2);
    let served_again = |lines: &[String]| (lines.len() == 2).then(Instant::now);
    let process = session.setting.rendezvous.process();
    let mended = process.find("URL of the successor", served_again);
    // Both come back, and are given new legs, while bytes flow.
    let patience = Instant::now() + Duration::from_secs(60);
    while said_hello(&mut session) < before + 2 {
        assert!(Instant::now() < patience, "the peers do not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    let back = mended.max(Instant::now());
    session.resumes(
        "rendezvous upgraded",
        began,
        back,
        "longest silence ≤ 0.2 s",
    );
    assert_eq!(session.lost(), 0);
    session.finish();
}
