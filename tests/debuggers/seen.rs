//! What p2pdbg sees of the debuggers while they are at work: their names and versions, where the program has stopped,
//! what a step costs, and what keeps a breakpoint from being hit.

use p2pdbg_events::{DebuggerReport, Event, ProgramState, WarningCode};

use crate::{
    harness::{Pair, Peer, Setting},
    scenario::{
        DEBUGPY, DEBUGPY_CONNECT, DEBUGPY_UNMAPPED, First, GDB, JDWP, PTVSD, SETTRACE, Scenario,
    },
};

/// All that was reported of the debugger by one end.
fn seen(peer: &Peer) -> Vec<DebuggerReport> {
    let debugger = |event| match event {
        Event::Stream { debugger, .. } => debugger.map(|debugger| *debugger),
        _ => None,
    };
    peer.events().into_iter().filter_map(debugger).collect()
}

/// Runs a scenario; what was seen at both ends holds this, and at the IDE's end the cost of a step.
#[track_caller]
fn sees(scenario: &Scenario, holds: impl Fn(&DebuggerReport) -> bool) -> Option<Pair> {
    let pair = scenario.through(&Setting::loopback(), First::Listener)?;
    for peer in [&pair.listener, &pair.connector] {
        let seen = seen(peer);
        assert!(seen.iter().any(&holds), "{}: {seen:#?}", peer.name());
        let steps = seen.iter().any(|seen| seen.step_round_trips.is_some());
        assert_eq!(steps, peer.name() == "listen", "{seen:#?}");
        let mismatches = peer.events().into_iter().filter(|event| {
            matches!(event, Event::Warning(warning) if warning.code == WarningCode::DebuggerMismatch)
        });
        assert_eq!(mismatches.count(), 0);
    }
    Some(pair)
}

fn named(seen: &DebuggerReport, name: &str) -> bool {
    seen.name.as_ref().is_some_and(|seen| seen.as_str() == name)
}

fn begins(text: Option<&p2pdbg_base::Untrusted>, with: &str) -> bool {
    text.is_some_and(|text| text.as_str().starts_with(with))
}

fn stopped_in(seen: &DebuggerReport, file: &str) -> bool {
    let is_it = |seen: &p2pdbg_base::Untrusted| seen.as_str().ends_with(file);
    seen.program == Some(ProgramState::Stopped)
        && seen.line.is_some()
        && seen.file.as_ref().is_some_and(is_it)
}

#[test]
fn debugpy_is_named_with_its_version_its_process_and_where_it_stopped() {
    let pair = sees(&DEBUGPY, |seen| {
        named(seen, "debugpy")
            && begins(seen.version.as_ref(), "1.")
            && begins(seen.runtime.as_ref(), "Python 3.")
            && seen.pid.is_some()
            && stopped_in(seen, "steps.py")
    });
    // The step itself, then threads, stack, scopes and variables.
    if let Some(pair) = pair {
        let seen = seen(&pair.listener);
        assert!(
            seen.iter().any(|seen| seen.step_round_trips == Some(5)),
            "{seen:#?}"
        );
    }
}

#[test]
fn ptvsd_is_named_with_its_version_and_its_process() {
    sees(&PTVSD, |seen| {
        named(seen, "ptvsd")
            && begins(seen.version.as_ref(), "4.")
            && begins(seen.runtime.as_ref(), "Python 3.")
            && seen.pid.is_some()
    });
}

#[test]
fn debugpy_that_connects_is_named_with_its_process_and_where_it_stopped() {
    sees(&DEBUGPY_CONNECT, |seen| {
        named(seen, "debugpy")
            && begins(seen.runtime.as_ref(), "Python 3.")
            && seen.pid.is_some()
            && stopped_in(seen, "steps.py")
    });
}

#[test]
fn pydevd_is_named_with_its_build_its_process_and_where_it_stopped() {
    sees(&SETTRACE, |seen| {
        named(seen, "pydevd-pycharm")
            && seen.version.is_some()
            && seen.pid.is_some()
            && stopped_in(seen, "steps.py")
    });
}

#[test]
fn gdb_is_seen_to_stop_and_to_step() {
    sees(&GDB, |seen| {
        seen.protocol == "gdb-remote"
            && seen.ide.as_ref().is_some_and(|ide| ide.as_str() == "gdb")
            && seen.pid.is_some()
            && seen.program == Some(ProgramState::Stopped)
    });
}

#[test]
fn a_jvm_is_named_with_its_version() {
    sees(&JDWP, |seen| {
        seen.protocol == "jdwp" && begins(seen.runtime.as_ref(), "Java ")
    });
}

#[test]
fn a_breakpoint_that_debugpy_has_no_file_for_becomes_the_mapping_that_would_help() {
    let setting = Setting::loopback();
    let Some(pair) = DEBUGPY_UNMAPPED.through(&setting, First::Listener) else {
        return;
    };
    let warning = pair.listener.warning(WarningCode::FileMissing);
    assert!(warning.message.contains("steps.py"), "{warning:?}");
    let programs = crate::script::file("programs");
    let hint = warning.hint.unwrap();
    let expected = format!("map /home/nobody/project to {} in", programs.display());
    assert!(hint.starts_with(&expected), "{hint}");
}
