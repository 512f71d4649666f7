//! Who speaks first at the port of a real debugger.

use p2pdbg_events::WarningCode;

use crate::soon::{DEBUGPY, PTVSD, Session, ask, hear};

/// A scan of ports as VS Code makes it, which debugpy (1.8.22) does not survive: its adapter closes its port for a
/// client that leaves without a word.
#[test]
fn debugpy_survives_a_scan_of_ports_where_listen_was_given_no_debugger() {
    let Some(session) = Session::new("scan", "auto") else {
        return;
    };
    let Some(debuggee) = session.start(&DEBUGPY) else {
        return;
    };
    debuggee.line("running");
    for _ in 0..3 {
        drop(session.ide());
    }
    let mut ide = session.ide();
    for turn in DEBUGPY.attach {
        ask(&mut ide, *turn);
    }
}

/// Visual Studio says nothing to a ptvsd of its time before that has said what it is; this one says it as well.
#[test]
fn client_that_waits_for_the_word_of_ptvsd_hears_it_and_is_debugged() {
    let Some(session) = Session::new("waits", "ptvsd") else {
        return;
    };
    let Some(debuggee) = session.start(&PTVSD) else {
        return;
    };
    debuggee.line("running");
    let mut ide = session.ide();
    hear(&mut ide, "\"output\": \"ptvsd\"");
    for turn in PTVSD.attach {
        ask(&mut ide, *turn);
    }
}

#[test]
fn client_that_waits_for_the_word_of_debugpy_is_told_of_and_the_next_one_is_debugged() {
    let Some(session) = Session::new("silent-debugpy", "debugpy") else {
        return;
    };
    let Some(debuggee) = session.start(&DEBUGPY) else {
        return;
    };
    debuggee.line("running");
    let waits = session.ide();
    let warning = session.pair.listener.warning(WarningCode::SilentClient);
    assert!(
        warning.message.contains(&session.port.to_string()),
        "{warning:?}"
    );
    drop(waits);
    let mut ide = session.ide();
    for turn in DEBUGPY.attach {
        ask(&mut ide, *turn);
    }
}
