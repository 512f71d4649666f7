//! Connections that end while the peers are out of reach: each end comes once, at its byte.

use std::{io::Write, net::TcpStream, time::Duration};

use p2pdbg_events::{StreamState, WarningCode};

use crate::{
    harness::traffic::{finish, receive_end, receive_reset, reset, say},
    session::Session,
};

/// Does something while the IDE's link is cut, and mends it when the peers have had time to notice.
#[track_caller]
fn while_cut(session: &Session, what: &str, work: impl FnOnce()) {
    let link = session.lab.nat_a.uplink();
    session.outage(
        what,
        Duration::from_secs(3),
        "first byte ≤ 5 s after mending",
        || {
            link.cut().unwrap();
            work();
        },
        || link.mend().unwrap(),
    );
}

#[test]
fn a_half_close_in_an_outage_arrives_behind_the_last_byte() {
    let Some(session) = Session::direct("fin") else {
        return;
    };
    let [ide, debuggee] = session.connect();
    say(&ide, &debuggee, "before");
    while_cut(&session, "half-close in an outage", || {
        (&ide).write_all(b"last words").unwrap();
        finish(&ide);
    });
    heard(&debuggee, "last words");
    receive_end(&debuggee);
    // The other direction goes on.
    say(&debuggee, &ide, "answer");
    finish(&debuggee);
    receive_end(&ide);
    session.pair.listener.stream(StreamState::Closed);
    session.finish();
}

#[test]
fn a_reset_in_an_outage_arrives_as_a_reset() {
    let Some(session) = Session::direct("rst") else {
        return;
    };
    let [ide, debuggee] = session.connect();
    say(&ide, &debuggee, "before");
    while_cut(&session, "reset in an outage", || reset(ide));
    receive_reset(&debuggee);
    session.finish_with_resets(2);
}

#[test]
fn last_words_before_a_reset_in_an_outage_arrive_before_it_both_ways() {
    for (name, from_ide) in [("words", true), ("answer", false)] {
        let Some(session) = Session::direct(name) else {
            return;
        };
        let [ide, debuggee] = session.connect();
        say(&ide, &debuggee, "before");
        say(&debuggee, &ide, "before");
        let [breaks_off, hears] = match from_ide {
            true => [ide, debuggee],
            false => [debuggee, ide],
        };
        while_cut(&session, "last words and a reset in an outage", || {
            (&breaks_off).write_all(b"last words").unwrap();
            reset(breaks_off);
        });
        heard(&hears, "last words");
        receive_reset(&hears);
        session.finish_with_resets(2);
    }
}

#[test]
fn a_connector_that_comes_back_as_another_process_pairs_again_without_a_code() {
    let Some(mut session) = Session::direct("again") else {
        return;
    };
    let [ide, _debuggee] = session.connect();
    let home = session.pair.connector.home();
    session.fault("connector killed");
    session.pair.connector.kill();
    let code = session.pair.listener.first_code().unwrap();
    let again = session.setting.connector_with(&code).home(home).start();
    let (_, known) = again.paired();
    assert!(known);
    let warning = session.pair.listener.warning(WarningCode::PeerRestarted);
    assert!(warning.message.contains("reset"), "{warning:?}");
    receive_reset(&ide);
}

#[track_caller]
fn heard(mut from: &TcpStream, what: &str) {
    let mut bytes = vec![0; what.len()];
    std::io::Read::read_exact(&mut from, &mut bytes).unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), what);
}
