//! ^C at every stage: exit status 130, and whoever is at the other end hears of it at once.

use std::{fs::File, io::Write, process::Command};

use p2pdbg_events::{Event, PathKind, StreamState, WaitingFor};
use rustix::process::Signal;

use crate::harness::{
    PATIENCE, Pair, PeerCommand, Place, Process, Setting, Transcript, json,
    traffic::{accept, receive_reset, say},
};

/// Two peers with a forward that nobody uses.
fn a_session(setting: &Setting) -> Pair {
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    setting.pair(["-L", &forward])
}

#[test]
fn interrupted_while_the_rendezvous_does_not_answer() {
    // Takes datagrams and says nothing.
    let silent = Place::Here.udp([127, 0, 0, 1]);
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let transcript = Transcript::new();
    for command in ["listen", "connect"] {
        let mut peer = PeerCommand::new(command, &Place::Here, &transcript)
            .env("P2PDBG_RENDEZVOUS", format!("p2pdbg://127.0.0.1:{port}"))
            .env("P2PDBG_CODE", "482913-orbit-lemon-tiger")
            .start();
        // It is knocking.
        silent.recv_from(&mut [0; 2048]).unwrap();
        peer.stop();
        assert_eq!(peer.events(), []);
        silent.set_nonblocking(true).unwrap();
        while silent.recv_from(&mut [0; 2048]).is_ok() {}
        silent.set_nonblocking(false).unwrap();
    }
}

#[test]
fn a_listener_interrupted_before_anybody_came_takes_its_code_along() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let mut listener = setting.listener().args(["-L", &forward]).start();
    let code = listener.code();
    listener.stop();
    let mut late = setting.connector_with(&code).start();
    let failure = late.event("error", |event| match event {
        Event::Error(failure) => Some(failure.clone()),
        _ => None,
    });
    assert_eq!(failure.exit_status(), 3, "{failure:?}");
    assert_eq!(late.exit_status(), 3);
}

#[test]
fn a_connector_interrupted_while_it_pairs_costs_nobody_the_code() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let listener = setting.listener().args(["-L", &forward]).start();
    let code = listener.code();
    // The listener does not answer, so that the pairing hangs.
    listener.signal(Signal::STOP);
    let mut connector = setting.connector_with(&code).called("first").start();
    connector.waiting(WaitingFor::Peer);
    connector.stop();
    listener.signal(Signal::CONT);
    let again = setting.connector_with(&code).called("second").start();
    listener.paired();
    again.paired();
}

#[test]
fn a_listener_interrupted_ends_the_connector_well() {
    let setting = Setting::loopback();
    let mut pair = a_session(&setting);
    pair.connector.path(PathKind::Direct);
    pair.listener.stop();
    assert!(pair.connector.closed().contains("peer"));
    assert_eq!(pair.connector.exit_status(), 0);
}

#[test]
fn a_connector_interrupted_sends_the_listener_back_to_waiting() {
    let setting = Setting::loopback();
    let mut pair = a_session(&setting);
    pair.connector.path(PathKind::Direct);
    pair.connector.stop();
    assert!(pair.listener.closed().contains("peer"));
    pair.listener.waiting(WaitingFor::Peer);
    pair.listener.stop();
}

#[test]
fn a_request_to_stop_is_as_good_as_an_interrupt() {
    let setting = Setting::loopback();
    let mut pair = a_session(&setting);
    pair.connector.path(PathKind::Direct);
    pair.connector.signal(Signal::TERM);
    assert_eq!(pair.connector.exit_status(), 130);
    pair.listener.closed();
}

#[test]
fn the_end_of_standard_input_is_as_good_as_an_interrupt_where_it_is_asked_for() {
    let setting = Setting::loopback();
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("input");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let arguments = ["-L", &forward, "--until-stdin-ends"];
    let mut listener = setting.listener().reading(&fifo).args(arguments).start();
    let mut input = File::options().write(true).open(&fifo).unwrap();
    // What it says means nothing.
    input.write_all(b"text\n").unwrap();
    let mut connector = setting.connector_with(&listener.code()).start();
    connector.path(PathKind::Direct);
    drop(input);
    assert_eq!(listener.exit_status(), 130);
    assert!(connector.closed().contains("peer"));
    assert_eq!(connector.exit_status(), 0);

    // It has none from the start.
    let listener = setting.listener().args(["-L", &forward]).start();
    let connector = setting.connector_with(&listener.code());
    let mut connector = connector.args(["--until-stdin-ends"]).start();
    assert_eq!(connector.exit_status(), 130);
}

/// `--json` and what people are shown alike: nobody could come where nobody sees the code.
#[test]
#[cfg(target_os = "linux")]
fn a_listener_whose_code_cannot_be_written_ends() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let listener = || {
        let listener = setting.listener().args(["-L", &forward]);
        listener.writing(std::path::Path::new("/dev/full"))
    };
    let fault = "error: cannot write to standard output: No space left on device";
    let mut by_json = listener().start();
    assert_eq!(by_json.exit_status(), 1);
    assert!(by_json.stderr().iter().any(|line| line.starts_with(fault)));
    let (mut for_people, _home) = listener().start_for_people();
    assert_eq!(for_people.exit_status(), 1);
    assert!(
        for_people
            .stderr()
            .iter()
            .any(|line| line.starts_with(fault))
    );
}

/// As of a `listen` that was disowned by its shell, whose window or ssh has gone.
#[test]
#[cfg(target_os = "linux")]
fn a_listener_whose_terminal_has_gone_goes_on_as_one_whose_reader_has() {
    const TERMINAL: &str = "import os, pty; ours, theirs = pty.openpty(); \
                            print('at', os.ttyname(theirs), flush=True); \
                            [os.write(1, os.read(ours, 4096)) for _ in iter(int, 1)]";
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL]);
    let terminal = Process::start("terminal", command, &setting.transcript);
    let at = terminal.line("at /dev/");
    let listener = setting.listener().args(["-L", &forward]);
    let listener = listener
        .writing(at.trim_start_matches("at ").as_ref())
        .start();
    let code = terminal.find("code", |lines| {
        lines.iter().find_map(|line| match json(line)? {
            Event::Ready { code, .. } => code,
            _ => None,
        })
    });
    drop(terminal);
    let mut connector = setting.connector_with(&code).start();
    let (name, _) = connector.paired();
    connector.stop();
    let again = setting.connector().home(connector.home());
    let again = again.args(["--peer", &name]).start();
    again.path(PathKind::Direct);
    let said = listener.stderr().concat();
    assert!(said.contains("nothing more is written there"), "{said}");
}

#[test]
fn an_end_just_after_pairing_is_heard_though_no_tunnel_may_stand_yet() {
    for _ in 0..5 {
        let setting = Setting::loopback();
        let mut pair = a_session(&setting);
        pair.listener.stop();
        pair.connector.closed();
        assert_eq!(pair.connector.exit_status(), 0);

        let mut pair = a_session(&setting);
        pair.connector.stop();
        pair.listener.closed();
    }
}

#[test]
fn connections_that_stand_are_reset_at_both_ends_whoever_was_interrupted() {
    for listener_goes in [true, false] {
        let setting = Setting::loopback();
        let (port, target) = (setting.port(), setting.port());
        let forward = format!("{port}:localhost:{target}");
        let mut pair = setting.pair_with_port(["-L", &forward], port);
        let target = setting.debuggee.listen(target);
        let opened = setting.ide.connect(port);
        let dialled = accept(&target);
        say(&opened, &dialled, "hello");
        if listener_goes {
            pair.listener.stop();
            pair.connector.closed();
        } else {
            pair.connector.stop();
            pair.listener.closed();
        }
        // Not an end that could be taken for a good one.
        receive_reset(&opened);
        receive_reset(&dialled);
    }
}

#[test]
fn connections_that_are_held_are_reset_too() {
    for listener_goes in [true, false] {
        let setting = Setting::loopback();
        let (port, target) = (setting.port(), setting.port());
        let forward = format!("{port}:localhost:{target}");
        let mut pair = setting.pair_with_port(["-L", &forward], port);
        let opened = setting.ide.connect(port);
        pair.listener.stream(StreamState::Waiting);
        if listener_goes {
            pair.listener.stop();
            pair.connector.closed();
        } else {
            pair.connector.stop();
            pair.listener.closed();
        }
        receive_reset(&opened);
    }
}

#[test]
fn a_second_interrupt_is_not_needed_while_a_lot_is_under_way() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let mut pair = setting.pair_with_port(["-L", &forward], port);
    let target = setting.debuggee.listen(target);
    let opened = setting.ide.connect(port);
    let dialled = accept(&target);
    std::thread::scope(|scope| {
        // As much as will go, to somebody who does not read.
        scope.spawn(|| {
            let block = [0; 65_536];
            while std::io::Write::write_all(&mut &opened, &block).is_ok() {}
        });
        std::io::Read::read_exact(&mut &dialled, &mut [0; 1000]).unwrap();
        pair.connector.stop();
        pair.listener.closed();
    });
    receive_reset(&dialled);
}
