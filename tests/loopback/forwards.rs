//! Forwards: in both directions, several at once, and what they do while nothing listens at their target.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
};

#[cfg(unix)]
use std::os::unix::net::UnixListener;

use p2pdbg_base::ErrorCode;
use p2pdbg_events::{StreamState, WaitingFor, WarningCode};

use crate::control_socket;
use crate::harness::{
    Home, PATIENCE, Setting, eventually,
    traffic::{accept, finish, receive, receive_end, receive_reset, reset, say, send},
};

#[test]
fn several_forwards_in_both_directions_do_not_mix() {
    let setting = Setting::loopback();
    let ports: Vec<(u16, u16)> = (0..4).map(|_| (setting.port(), setting.port())).collect();
    let options = ["-L", "-R", "-L", "-R"];
    let arguments = options
        .iter()
        .zip(&ports)
        .flat_map(|(option, (port, target))| {
            [option.to_string(), format!("{port}:localhost:{target}")]
        });
    let pair = setting.pair(arguments);
    for (port, _) in &ports {
        pair.listener.forward(*port);
        pair.connector.forward(*port);
    }
    let targets: Vec<_> = ports
        .iter()
        .map(|(_, t)| setting.debuggee.listen(*t))
        .collect();
    let opened: Vec<_> = ports.iter().map(|(p, _)| setting.ide.connect(*p)).collect();
    let dialled: Vec<_> = targets.iter().map(|t| accept(t)).collect();
    for (index, (opened, dialled)) in opened.iter().zip(&dialled).enumerate() {
        say(opened, dialled, &format!("forward {index}, there"));
        say(dialled, opened, &format!("forward {index}, back"));
    }
}

/// The IDE is early: its connection is held, both ends say what is awaited, and what it wrote is not lost.
fn held_until_the_target_listens(option: &str, awaited: WaitingFor) {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair_with_port([option, &forward], port);

    let opened = setting.ide.connect(port);
    send(&opened, 1, 100_000);
    for peer in [&pair.listener, &pair.connector] {
        let at = peer.waiting(awaited).unwrap();
        assert_eq!(at.to_string(), format!("localhost:{target}"));
        peer.stream(StreamState::Waiting);
    }
    let listener = setting.debuggee.listen(target);
    let dialled = accept(&listener);
    receive(&dialled, 1, 100_000);
    say(&dialled, &opened, "there you are");
    for peer in [&pair.listener, &pair.connector] {
        peer.stream(StreamState::Open);
    }
}

#[test]
fn a_connection_to_the_debuggee_is_held_until_something_listens_there() {
    held_until_the_target_listens("-L", WaitingFor::Debuggee);
}

#[test]
fn a_connection_to_the_ide_is_held_until_something_listens_there() {
    held_until_the_target_listens("-R", WaitingFor::Ide);
}

#[test]
fn an_ide_that_gives_up_waiting_is_not_connected_later() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let gives_up = setting.ide.connect(port);
    pair.connector.stream(StreamState::Waiting);
    reset(gives_up);
    pair.connector.stream(StreamState::Reset);
    // The next one gets the first session that there is to be had.
    let opened = setting.ide.connect(port);
    let listener = setting.debuggee.listen(target);
    let dialled = accept(&listener);
    say(&opened, &dialled, "I am still here");
}

#[test]
fn a_debuggee_that_was_restarted_is_reached_through_the_same_forward() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let _pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    for round in 0..3 {
        let listener = setting.debuggee.listen(target);
        let opened = setting.ide.connect(port);
        let dialled = accept(&listener);
        drop(listener);
        say(&dialled, &opened, &format!("round {round}"));
        finish(&opened);
        receive_end(&dialled);
    }
}

/// Says something short and accepts the connection on which it is heard: before it may come some whose far end has been
/// reset already.
#[track_caller]
fn accept_of(listener: &TcpListener, mut opened: &TcpStream, what: &str) -> TcpStream {
    opened.write_all(what.as_bytes()).unwrap();
    loop {
        let dialled = accept(listener);
        dialled.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut heard = vec![0; what.len()];
        match (&dialled).read_exact(&mut heard) {
            Ok(()) => {
                assert_eq!(String::from_utf8_lossy(&heard), what);
                return dialled;
            }
            Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock, "nothing was heard"),
        }
    }
}

/// With `--absent refuse` the port is open exactly while the target listens.
fn refused_while_absent(option: &str) {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let forward = format!("{port}:localhost:{target}");
    let pair = setting.pair(["--absent", "refuse", option, &forward]);
    let (opener, awaited) = match option {
        "-L" => (&pair.listener, WaitingFor::Debuggee),
        _ => (&pair.connector, WaitingFor::Ide),
    };
    let at = opener.waiting(awaited).unwrap();
    assert_eq!(at.to_string(), format!("localhost:{target}"));
    let closed = |port_is_closed: bool| {
        eventually("state of the forward", || {
            let output = control_socket::run(&opener.home(), &["status"]);
            let said = String::from_utf8_lossy(&output.stdout);
            let closed = said.contains("closed until something listens there");
            (closed == port_is_closed).then_some(())
        });
    };
    closed(true);
    // The table of sockets is looked at now and then: a connection may be accepted just after the target has gone.
    let refused = || match setting.ide.try_connect(port) {
        Ok(late) => {
            reset(late);
            None
        }
        Err(error) => (error.kind() == ErrorKind::ConnectionRefused).then_some(()),
    };
    assert!(refused().is_some());
    for round in 0..2 {
        let listener = setting.debuggee.listen(target);
        let opened = eventually("open port", || setting.ide.try_connect(port).ok());
        let dialled = accept_of(&listener, &opened, &format!("round {round}"));
        closed(false);
        drop(listener);
        eventually("refusal", refused);
        closed(true);
        // What stands is not touched.
        say(&dialled, &opened, "still here");
    }
}

#[test]
fn a_port_beside_the_ide_can_refuse_while_the_debuggee_is_absent() {
    refused_while_absent("-L");
}

#[test]
fn a_port_at_the_debuggee_can_refuse_while_the_ide_is_absent() {
    refused_while_absent("-R");
}

#[test]
fn a_target_that_is_not_allowed_is_named_at_both_ends_and_the_rest_goes_on() {
    let setting = Setting::loopback();
    let (port, good_port, good_target) = (setting.port(), setting.port(), setting.port());
    let forbidden = format!("{port}:db.invalid:5432");
    let good = format!("{good_port}:localhost:{good_target}");
    let pair = setting.pair(["-L", &forbidden, "-L", &good]);
    for peer in [&pair.listener, &pair.connector] {
        let warning = peer.warning(WarningCode::TargetNotAllowed);
        assert!(warning.message.contains("db.invalid:5432"), "{warning:?}");
        let allow = "--allow db.invalid:5432";
        assert!(warning.hint.unwrap().contains(allow));
    }
    pair.connector.forward(good_port);
    let listener = setting.debuggee.listen(good_target);
    let opened = setting.ide.connect(good_port);
    say(&opened, &accept(&listener), "hello");
    // A debuggee may hang when it is accepted and closed; but a reset it understands, and nothing else can come of it.
    if let Ok(opened) = setting.ide.try_connect(port) {
        receive_reset(&opened);
    }
}

#[test]
fn one_port_for_both_ends_of_one_host_fails_with_advice_and_the_rest_goes_on() {
    let setting = Setting::loopback();
    let (port, good_port, good_target) = (setting.port(), setting.port(), setting.port());
    let same = format!("{port}:localhost:{port}");
    let good = format!("{good_port}:localhost:{good_target}");
    let pair = setting.pair(["-L", &same, "-L", &good]);
    let warning = pair.listener.warning(WarningCode::ForwardFailed);
    assert!(warning.message.contains(&port.to_string()), "{warning:?}");
    pair.connector.forward(good_port);
    let listener = setting.debuggee.listen(good_target);
    let opened = setting.ide.connect(good_port);
    say(&opened, &accept(&listener), "hello");
}

/// Two debuggees of one IDE's user, or one debuggee: a connection would go round without end.
#[test]
fn port_of_another_listener_is_no_ide() {
    let setting = Setting::loopback();
    let (opened, dialled) = (setting.port(), setting.port());
    let first = setting
        .listener()
        .args([format!("auto:{opened}"), format!("pydevd:{dialled}")])
        .start();
    first.code();
    for preset in [
        format!("auto:{opened}"),
        format!("pydevd:{opened}"),
        format!("auto:{dialled}"),
        format!("debugpy:{dialled}"),
    ] {
        let second = setting.listener().called("second").home(first.home());
        let mut second = second.args([preset, "--absent=refuse".into()]).start();
        second.fails(ErrorCode::PortInUse);
    }
    // A chain of hosts, and an IDE that is one.
    let plain = format!("{}:localhost:{opened}", setting.port());
    let ide = setting.ide.listen(setting.port());
    let auto = format!("auto:{}", ide.local_addr().unwrap().port());
    let second = setting.listener().called("third").home(first.home());
    second.args(["-R", &plain, &auto]).start().code();
}

#[test]
fn connections_that_were_held_together_are_served_apart() {
    let setting = Setting::loopback();
    let (port, target) = (setting.port(), setting.port());
    let pair = setting.pair_with_port(["-L", &format!("{port}:localhost:{target}")], port);
    let held: Vec<_> = (0..10).map(|_| setting.ide.connect(port)).collect();
    for (mut opened, name) in held.iter().zip(b'0'..) {
        opened.write_all(&[name]).unwrap();
        pair.listener.stream(StreamState::Waiting);
    }
    let listener = setting.debuggee.listen(target);
    let mut names: Vec<u8> = Vec::new();
    for _ in &held {
        let mut dialled = accept(&listener);
        dialled.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut name = [0];
        dialled.read_exact(&mut name).unwrap();
        let opened = &held[usize::from(name[0] - b'0')];
        say(&dialled, opened, &format!("you are {}", name[0]));
        names.push(name[0]);
    }
    names.sort();
    assert_eq!(names, b"0123456789");
}

#[cfg(unix)]
#[test]
fn a_unix_socket_at_the_debuggee_is_dialled_where_its_path_is_allowed_and_nowhere_else() {
    let setting = Setting::loopback();
    let home = Home::new();
    let sockets = ["app.sock", "docker.sock"].map(|name| home.path().join(name));
    let ports = [setting.port(), setting.port()];
    let forwards = ports
        .iter()
        .zip(&sockets)
        .flat_map(|(port, path)| ["-L".to_owned(), format!("{port}:{}", path.display())]);
    let listener = setting.listener().args(forwards).start();
    let allowed = sockets[0].to_str().unwrap();
    let connector = setting
        .connector_with(&listener.code())
        .args(["--allow", allowed])
        .start();
    for peer in [&listener, &connector] {
        let refused = peer.warning(WarningCode::TargetNotAllowed);
        let told = format!("{} {}", refused.message, refused.hint.unwrap());
        assert!(
            told.contains("docker.sock") && told.contains("--allow"),
            "{told}"
        );
    }
    // The IDE comes first, and is held with what it has said.
    let ide = setting.ide.connect(ports[0]);
    send(&ide, 1, 100_000);
    assert_eq!(
        listener.waiting(WaitingFor::Debuggee).unwrap().to_string(),
        allowed
    );
    let debuggee = UnixListener::bind(&sockets[0]).unwrap();
    let (mut dialled, _) = debuggee.accept().unwrap();
    dialled.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut first = vec![0; 100_000];
    dialled.read_exact(&mut first).unwrap();
    dialled.write_all(b"there you are").unwrap();
    drop(dialled);
    let mut answer = String::new();
    (&ide).read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "there you are");
}
