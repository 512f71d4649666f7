//! A rendezvous that is killed and comes back.

use std::time::{Duration, Instant};

use p2pdbg::{
    failure::ErrorCode,
    report::{Event, PathKind, WarningCode},
};

use crate::{
    harness::eventually,
    session::{Session, setting, two_nats},
};

const GONE: Duration = Duration::from_secs(1);

/// Kills the rendezvous for a second.
#[track_caller]
fn kill(session: &mut Session, target: &str) {
    let began = session.fault("rendezvous killed for 1 s");
    session.setting.rendezvous.process().kill();
    std::thread::sleep(GONE);
    session.setting.rendezvous.start_again();
    session.resumes("rendezvous killed for 1 s", began, Instant::now(), target);
}

#[test]
fn a_direct_session_does_not_notice_a_killed_rendezvous() {
    let Some(mut session) = Session::direct("rdv-d") else {
        return;
    };
    let before = session.peers().map(|peer| peer.paths());
    kill(&mut session, "longest silence ≤ 0.1 s");
    assert_eq!(session.lost(), 0);
    assert_eq!(session.peers().map(|peer| peer.paths()), before);
    session.finish();
}

#[test]
fn a_relayed_session_resumes_after_its_rendezvous_was_killed() {
    let Some(session) = Session::relayed("rdv-r") else {
        return;
    };
    let mut session = session.with_debugger();
    kill(&mut session, "first byte ≤ 5 s after mending");
    session.finish();
}

#[test]
fn a_code_is_still_good_after_the_rendezvous_was_killed() {
    let Some(lab) = two_nats("rdv-code") else {
        return;
    };
    let mut setting = setting(&lab);
    let listener = setting.listener().args(["debugpy"]).start();
    let code = listener.code();
    setting.rendezvous.process().kill();
    setting.rendezvous.start_again();
    // Until the listener has registered again nobody is there under the code.
    let connector = eventually("listener behind the code", || {
        let connector = setting.connector_with(&code).start();
        connector
            .event("answer", |event| match event {
                Event::Paired { .. } => Some(true),
                Event::Error(failure) => {
                    assert_eq!(failure.code, ErrorCode::NameplateUnknown, "{failure:?}");
                    Some(false)
                }
                _ => None,
            })
            .then_some(connector)
    });
    listener.paired();
    listener.path(PathKind::Direct);
    connector.path(PathKind::Direct);
    let burned = |event: &Event| match event {
        Event::Warning(warning) => warning.code == WarningCode::CodeBurned,
        _ => false,
    };
    assert!(!listener.events().iter().any(burned));
}
