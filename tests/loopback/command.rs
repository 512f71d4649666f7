//! The COMMAND of `connect`: its variables, its signals, its output and its exit status.

use std::{fs, os::unix::fs::PermissionsExt};

use p2pdbg_base::ErrorCode;
use p2pdbg_events::WaitingFor;
use rustix::process::Signal;
#[cfg(target_os = "linux")]
use rustix::process::{Pid, kill_process};

#[cfg(target_os = "linux")]
use p2pdbg_natlab::Lab;

use crate::harness::{
    Peer, PeerCommand, Setting,
    traffic::{accept, receive_end, receive_reset, say},
    write_program,
};

/// A listener with this forward, and a connector that runs a shell script.
fn runs(setting: &Setting, forward: &[&str], script: &str) -> (Peer, PeerCommand) {
    let listener = setting.listener().args(forward.iter().copied()).start();
    let connector = setting
        .connector_with(&listener.code())
        .args(["--", "sh", "-c", script]);
    (listener, connector)
}

const TELL: &str = r#"echo "told $START_DEBUGGER $DEBUGGER_HOST $DEBUGGER_PORT $DEBUGGER_MODE""#;

#[test]
fn the_command_is_told_where_to_listen_and_its_status_is_handed_on() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let script = format!("{TELL}; exit 7");
    let (listener, connector) = runs(&setting, &["-L", &forward], &script);
    let mut connector = connector.start();
    assert_eq!(
        connector.line("told"),
        format!("told 1 127.0.0.1 {target} listen")
    );
    assert_eq!(connector.exit_status(), 7);
    listener.closed();
    listener.waiting(WaitingFor::Peer);
}

#[test]
fn the_command_is_told_where_to_connect_when_the_ide_listens() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let (_listener, connector) = runs(&setting, &["-R", &forward], TELL);
    let mut connector = connector.start();
    assert_eq!(
        connector.line("told"),
        format!("told 1 127.0.0.1 {port} connect")
    );
    assert_eq!(connector.exit_status(), 0);
}

#[test]
fn the_first_forward_is_the_debuggers() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let first = format!("{port}:localhost:{target}");
    let second = format!("{}:localhost:{}", setting.port(), setting.port());
    let (_listener, connector) = runs(&setting, &["-R", &first, "-R", &second], TELL);
    let connector = connector.start();
    assert_eq!(
        connector.line("told"),
        format!("told 1 127.0.0.1 {port} connect")
    );
}

#[test]
fn the_command_runs_once_its_forward_is_open() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    // What the kernel lists as listening (state 0A) when the COMMAND begins.
    let script = format!("grep -ci ':{port:04X} .* 0A ' /proc/net/tcp; true");
    let (_listener, connector) = runs(&setting, &["-R", &forward], &script);
    let mut connector = connector.start();
    assert_eq!(connector.exit_status(), 0);
    if cfg!(target_os = "linux") {
        assert!(connector.stdout().contains(&"1".to_owned()));
    }
}

#[test]
fn signals_reach_the_command_and_p2pdbg_stays_until_it_has_ended() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let script = r#"
        trap 'echo got USR1' USR1
        trap 'echo got HUP' HUP
        trap 'echo got WINCH' WINCH
        trap 'echo got INT' INT
        trap 'echo got TERM; exit 9' TERM
        echo ready
        for _ in $(seq 1000); do sleep 0.05; done"#;
    let (_listener, connector) = runs(&setting, &["-L", &forward], script);
    let mut connector = connector.start();
    connector.line("ready");
    for (signal, line) in [
        (Signal::USR1, "got USR1"),
        (Signal::HUP, "got HUP"),
        (Signal::WINCH, "got WINCH"),
        (Signal::INT, "got INT"),
    ] {
        connector.signal(signal);
        connector.line(line);
        assert!(connector.is_running());
    }
    connector.signal(Signal::TERM);
    connector.line("got TERM");
    assert_eq!(connector.exit_status(), 9);
}

/// Counts each SIGINT, and says how many came once what was sent to p2pdbg behind the first has come too.
const COUNTS: &str = r#"
    n=0
    trap 'n=$((n + 1)); kill -CONT $PPID; kill -USR1 $PPID' INT
    trap 'asked=yes' USR1"#;

/// A terminal sends ^C to its whole foreground group, whatever the standard input is; anybody else to p2pdbg alone.
#[test]
fn interrupt_reaches_the_command_once_whoever_sends_it() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let in_group: &[&str] = &["sh", "-c"];
    // It is in a group of its own then, which the terminal leaves alone.
    let in_session: &[&str] = &["setsid", "sh", "-c"];
    for (reads_terminal, command, is_by_key) in [
        (true, in_group, true),
        (false, in_group, true),
        (true, in_group, false),
        (false, in_group, false),
        (true, in_session, true),
        (false, in_session, true),
    ] {
        let sends = match (is_by_key, command == in_group) {
            (false, _) => "kill -INT $PPID",
            // What p2pdbg passes on comes behind the first, and is not taken for the same.
            (true, true) => "kill -STOP $PPID",
            (true, false) => "",
        };
        let script = format!(
            "{COUNTS}\n {sends}\n echo ready\n while test -z \"$asked\"; do sleep 0.05; done\n \
             true\n echo \"INT came $n times\""
        );
        let listener = setting.listener().args(["-L", &forward]).start();
        let connector = setting.connector_with(&listener.code());
        let mut connector = connector
            .args([&["--"], command, &[script.as_str()]].concat())
            .on_terminal(reads_terminal)
            .start();
        connector.line("ready");
        if is_by_key {
            connector.signal(Signal::USR1);
        }
        let said = connector.line("INT came");
        assert_eq!(
            said, "INT came 1 times",
            "{reads_terminal} {command:?} {is_by_key}"
        );
        assert_eq!(connector.exit_status(), 0);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn p2pdbg_takes_all_descriptors_and_the_command_has_those_that_it_would_have_without_it() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let script =
        "echo descriptors: $(ulimit -Sn) of $(ulimit -Hn); grep 'open files' /proc/$PPID/limits";
    let (_listener, connector) = runs(&setting, &["-L", &forward], script);
    let mut connector = connector.with_descriptors(500).start();
    assert_eq!(connector.exit_status(), 0);
    let line = connector.line("descriptors:");
    let most = line.strip_prefix("descriptors: 500 of ").unwrap();
    assert_ne!(most, "500");
    let own = connector.line("Max open files");
    let own: Vec<&str> = own.split_whitespace().collect();
    assert_eq!(own, ["Max", "open", "files", most, most, "files"]);
}

/// `nohup`, and what stands before a `&` in a script, whose ^C is for what runs in the foreground.
#[test]
fn signals_that_were_ignored_at_the_start_end_neither_p2pdbg_nor_the_command() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let ignored = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1];
    let script = "grep SigIgn /proc/self/status; trap 'exit 9' TERM; echo ready
        for _ in $(seq 1000); do sleep 0.05; done";
    let (_listener, connector) = runs(&setting, &["-L", &forward], script);
    let mut connector = connector.ignoring("HUP INT QUIT USR1").start();
    connector.line("ready");
    if cfg!(target_os = "linux") {
        let mask = connector.line("SigIgn:");
        let mask = u64::from_str_radix(mask.rsplit('\t').next().unwrap(), 16).unwrap();
        for signal in ignored {
            assert_eq!(mask >> (signal.as_raw() - 1) & 1, 1, "{signal:?} {mask:x}");
        }
    }
    for signal in ignored {
        connector.signal(signal);
    }
    connector.signal(Signal::TERM);
    assert_eq!(connector.exit_status(), 9);
}

/// As docs/use/service.md has it: p2pdbg cannot know how it was started itself.
#[test]
#[cfg(target_os = "linux")]
fn command_that_is_to_ignore_sigpipe_does_by_the_line_of_the_documents() {
    let page = include_str!("../../docs/use/service.md");
    let line = r#"sh -c 'trap "" PIPE; exec "$@"' sh"#;
    assert!(page.contains(&format!("`-- {line} COMMAND`")));
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let script = format!("{line} grep SigIgn /proc/self/status");
    let (_listener, connector) = runs(&setting, &["-L", &forward], &script);
    let connector = connector.start();
    let mask = connector.line("SigIgn:");
    let mask = u64::from_str_radix(mask.rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask >> (Signal::PIPE.as_raw() - 1) & 1, 1, "{mask:x}");
}

#[test]
fn status_of_a_command_is_known_where_the_end_of_processes_was_ignored() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let (_listener, connector) = runs(&setting, &["-L", &forward], "exit 7");
    let mut connector = connector.ignoring("CHLD").start();
    assert_eq!(connector.exit_status(), 7);
}

/// Waits in a container until an orphan there has ended, and then until nothing is left of it.
#[cfg(target_os = "linux")]
const ORPHAN: &str = "
    zombies() { grep -qs '^State:.Z' /proc/[0-9]*/status; }
    until zombies; do (true &); sleep 0.02; done
    while zombies; do sleep 0.02; done
    exit 6";

/// The first process of a peer's container, as it is known outside.
#[cfg(target_os = "linux")]
fn first_of(peer: &Peer) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", peer.id());
    let first = fs::read_to_string(children).unwrap();
    Pid::from_raw(first.trim().parse().unwrap()).unwrap()
}

/// The system ends no first process by itself: a STOPSIGNAL would be waited for in vain.
#[cfg(target_os = "linux")]
#[test]
fn first_process_of_a_container_ends_on_its_stop_signal_before_the_command_runs() {
    if Lab::new_or_skip("stopsignal").is_none() {
        return;
    }
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    for signal in [Signal::QUIT, Signal::USR1, Signal::USR2] {
        let (listener, connector) = runs(&setting, &["-L", &forward], "echo it ran");
        listener.signal(Signal::STOP);
        let mut connector = connector.first_process().start();
        connector.waiting(WaitingFor::Peer);
        kill_process(first_of(&connector), signal).unwrap();
        assert_eq!(connector.exit_status(), 130, "{signal:?}");
        assert!(!connector.stdout().contains(&"it ran".to_owned()));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn orphans_are_reaped_by_a_connect_that_is_the_first_process_of_a_container() {
    if Lab::new_or_skip("orphans").is_none() {
        return;
    }
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let (listener, connector) = runs(&setting, &["-L", &forward], ORPHAN);
    assert_eq!(connector.first_process().start().exit_status(), 6);
    drop(listener);
    // Without a COMMAND: somebody else's, as of `docker exec`.
    let listener = setting.listener().args(["-L", &forward]).start();
    let connector = setting.connector_with(&listener.code());
    let connector = connector.first_process().start();
    connector.paired();
    let first = first_of(&connector).as_raw_pid().to_string();
    let mut entered = std::process::Command::new("nsenter");
    entered.args([
        "--target", &first, "--pid", "--mount", "--", "sh", "-c", ORPHAN,
    ]);
    assert_eq!(entered.status().unwrap().code(), Some(6));
}

#[test]
fn a_script_that_names_nothing_to_run_it_is_run_as_a_shell_would() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let listener = setting.listener().args(["-L", &forward]).start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run");
    write_program(&file, "echo \"$1 $DEBUGGER_MODE\"; exit 5\n");
    let mut connector = setting
        .connector_with(&listener.code())
        .args(["--".as_ref(), file.as_os_str(), "app".as_ref()])
        .start();
    assert_eq!(connector.exit_status(), 5);
    connector.line("app listen");
}

#[test]
fn a_command_killed_by_a_signal_gives_the_status_that_a_shell_would() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let (listener, connector) = runs(&setting, &["-L", &forward], "kill -KILL $$");
    assert_eq!(connector.start().exit_status(), 128 + 9);
    listener.closed();
}

#[test]
fn the_last_bytes_of_a_command_arrive_before_p2pdbg_ends() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let listener = setting.listener().args(["-R", &forward]).start();
    // The only shell with sockets; a COMMAND that ends while most of what it wrote is still on its way.
    let script = "exec 3<>/dev/tcp/$DEBUGGER_HOST/$DEBUGGER_PORT; head -c 3000000 /dev/zero >&3";
    let mut connector = setting
        .connector_with(&listener.code())
        .args(["--", "bash", "-c", script])
        .start();
    let ide = setting.ide.listen(target);
    let mut debuggee = accept(&ide);
    let read = std::io::copy(&mut debuggee, &mut std::io::sink()).unwrap();
    assert_eq!(read, 3_000_000);
    assert_eq!(connector.exit_status(), 0);
}

#[test]
fn the_command_goes_on_when_the_peer_ends_the_session() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let script = "trap 'exit 5' TERM; echo ready; for _ in $(seq 1000); do sleep 0.05; done";
    let (mut listener, connector) = runs(&setting, &["-L", &forward], script);
    let mut connector = connector.start();
    connector.line("ready");
    let target = setting.debuggee.listen(target);
    let opened = setting.ide.connect(port);
    let dialled = accept(&target);
    say(&opened, &dialled, "hello");
    listener.stop();
    connector.closed();
    receive_reset(&dialled);
    assert!(connector.is_running());
    connector.signal(Signal::TERM);
    assert_eq!(connector.exit_status(), 5);
}

#[test]
fn what_the_command_prints_comes_through_unchanged() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let script = r#"echo '{"not":"an event"}'; echo plain; echo trouble >&2"#;
    let (_listener, connector) = runs(&setting, &["-L", &forward], script);
    let mut connector = connector.start();
    assert_eq!(connector.exit_status(), 0);
    let out = connector.stdout();
    assert!(out.contains(&r#"{"not":"an event"}"#.to_owned()) && out.contains(&"plain".to_owned()));
    assert!(connector.stderr().contains(&"trouble".to_owned()));
}

#[test]
fn a_command_that_does_not_exist_is_a_127_and_the_listener_goes_on() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let listener = setting.listener().args(["-L", &forward]).start();
    let code = listener.code();
    let mut connector = setting
        .connector_with(&code)
        .args(["--", "/nonexistent/program", "--option"])
        .start();
    let failure = connector.fails(ErrorCode::CommandNotFound);
    assert_eq!(connector.exit_status(), 127);
    assert!(
        failure.message.contains("/nonexistent/program"),
        "{failure:?}"
    );
    // It was noticed before the code was used up.
    let mut connector = setting.connector_with(&code).args(["--", "true"]).start();
    assert_eq!(connector.exit_status(), 0);
    listener.closed();
    listener.waiting(WaitingFor::Peer);
}

#[test]
fn a_command_that_is_no_program_is_a_126() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let listener = setting.listener().args(["-L", &forward]).start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data");
    fs::write(&file, "no program").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let code = listener.code();
    let mut connector = setting
        .connector_with(&code)
        .args(["--".as_ref(), file.as_os_str()])
        .start();
    connector.fails(ErrorCode::CommandNotStarted);
    assert_eq!(connector.exit_status(), 126);
    // A script whose first line names nothing that is there.
    write_program(&file, "#!/no/such/python3\n");
    let mut connector = setting
        .connector_with(&code)
        .args(["--".as_ref(), file.as_os_str()])
        .start();
    let failure = connector.fails(ErrorCode::CommandNotFound);
    assert!(failure.message.contains("/no/such/python3"), "{failure:?}");
    assert_eq!(connector.exit_status(), 127);
    // It was noticed before the code was used up.
    let mut connector = setting.connector_with(&code).args(["--", "true"]).start();
    assert_eq!(connector.exit_status(), 0);
}

#[test]
fn an_interrupt_before_the_command_runs_ends_p2pdbg() {
    let setting = Setting::loopback();
    let forward = format!("{}:localhost:{}", setting.port(), setting.port());
    let (listener, connector) = runs(&setting, &["-L", &forward], "echo it ran");
    listener.signal(Signal::STOP);
    let mut connector = connector.start();
    connector.waiting(WaitingFor::Peer);
    connector.stop();
    assert!(!connector.stdout().contains(&"it ran".to_owned()));
}

#[test]
fn a_connection_that_the_command_closed_ends_well() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let listener = setting.listener().args(["-R", &forward]).start();
    let mut connector = setting
        .connector_with(&listener.code())
        .args([
            "--",
            "bash",
            "-c",
            "echo hello >/dev/tcp/$DEBUGGER_HOST/$DEBUGGER_PORT",
        ])
        .start();
    let ide = setting.ide.listen(target);
    let debuggee = accept(&ide);
    let mut heard = [0; 6];
    std::io::Read::read_exact(&mut &debuggee, &mut heard).unwrap();
    assert_eq!(&heard, b"hello\n");
    receive_end(&debuggee);
    assert_eq!(connector.exit_status(), 0);
}
