//! Several peers of one `p2pdbg listen`, and several `p2pdbg listen` on one host.

use std::net::TcpStream;

use p2pdbg_base::ErrorCode;
use p2pdbg_events::{
    Event, WarningCode,
    snapshot::{ProcessSnapshot, ProcessState},
};
use p2pdbg_forward::Direction;
use p2pdbg_proto::code::Code;

use crate::harness::{
    Home, Peer, Setting, eventually,
    traffic::{accept, receive_reset, say},
};

/// A listener for two, with a forward of its own port, and where it leads.
struct Two {
    setting: Setting,
    port: u16,
    target: u16,
}

impl Two {
    fn new() -> Self {
        let setting = Setting::loopback();
        // Those of further peers are the next ones.
        let (port, target) = (setting.ports(3), setting.port());
        Self {
            setting,
            port,
            target,
        }
    }

    fn listen(&self, arguments: &[&str]) -> Peer {
        let forward = format!("{}:localhost:{}", self.port, self.target);
        let listener = self
            .setting
            .listener()
            .args(["--name", "laptop", "-L", &forward]);
        listener.args(arguments).start()
    }

    /// A peer of that name that comes with the next code.
    fn come(&self, listener: &Peer, name: &str) -> Peer {
        let peer = self
            .setting
            .connector_with(&listener.code())
            .called(name)
            .args(["--name", name])
            .start();
        assert_eq!(listener.paired(), (name.to_owned(), false));
        peer.paired();
        peer
    }
}

/// Waits for the forward of one peer; gives the port beside the IDE.
#[track_caller]
fn port_of(listener: &Peer, peer: &str) -> u16 {
    listener.event_of(peer, "forward", |event| match event {
        Event::Forward { listen, .. } => Some(listen.address()?.port),
        _ => None,
    })
}

#[track_caller]
fn closed(listener: &Peer, peer: &str) -> String {
    listener.event_of(peer, "end", |event| match event {
        Event::Closed { why } => Some(why.clone()),
        _ => None,
    })
}

#[track_caller]
fn status(home: &Home) -> ProcessSnapshot {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
    home.settle(&mut command);
    let output = command.args(["status", "--json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.trim()).unwrap()
}

/// All codes so far.
fn codes(listener: &Peer) -> Vec<Code> {
    let code = |event| match event {
        Event::Ready { code, .. } => code,
        _ => None,
    };
    listener.events().into_iter().filter_map(code).collect()
}

/// An IDE's connection that has come through to the debuggee.
#[track_caller]
fn connect(setting: &Setting, port: u16, target: &std::net::TcpListener) -> (TcpStream, TcpStream) {
    let opened = setting.ide.connect(port);
    let dialled = accept(target);
    say(&opened, &dialled, "hello");
    (opened, dialled)
}

#[test]
fn two_peers_have_a_code_a_session_and_ports_each_and_one_that_dies_leaves_the_other_alone() {
    let two = Two::new();
    let target = two.setting.debuggee.listen(two.target);
    let mut listener = two.listen(&["--peers", "2"]);
    let mut web = two.come(&listener, "web");
    let first = port_of(&listener, "web");
    assert_eq!(first, two.port);
    let db = two.come(&listener, "db");
    let second = port_of(&listener, "db");
    assert_eq!(second, first + 1);

    let (to_web, of_web) = connect(&two.setting, first, &target);
    let (to_db, of_db) = connect(&two.setting, second, &target);
    let process = status(&listener.home());
    assert_eq!(
        (process.state, process.places),
        (ProcessState::InSession, Some(2))
    );
    let session = |index: usize| {
        let session = &process.sessions[index];
        let port = session.forwards[0]
            .listen
            .as_ref()
            .unwrap()
            .address()
            .unwrap()
            .port;
        (session.peer.to_string(), port, session.streams.len())
    };
    assert_eq!(process.sessions.len(), 2);
    assert_eq!(session(0), ("web".to_owned(), first, 1));
    assert_eq!(session(1), ("db".to_owned(), second, 1));

    web.kill();
    drop(of_web);
    say(&to_db, &of_db, "on with it");
    say(&of_db, &to_db, "as before");
    // Its place is still its own: the streams are held for it.
    let code = listener.first_code().unwrap();
    let mut web = two
        .setting
        .connector_with(&code)
        .called("web again")
        .home(web.home())
        .args(["--name", "web"])
        .start();
    assert_eq!(listener.paired(), ("web".to_owned(), true));
    receive_reset(&to_web);
    assert_eq!(port_of(&listener, "web"), first);
    let (_to_web, _of_web) = connect(&two.setting, first, &target);
    say(&to_db, &of_db, "and still");
    web.stop();
    assert!(closed(&listener, "web").contains("ended the session"));
    say(&to_db, &of_db, "alone");
    listener.stop();
    drop(db);
}

#[test]
fn a_place_is_free_again_when_its_peer_has_left_and_its_own_when_it_returns() {
    let two = Two::new();
    let mut listener = two.listen(&["--peers", "2"]);
    let mut web = two.come(&listener, "web");
    let mut db = two.come(&listener, "db");
    let (first, second) = (port_of(&listener, "web"), port_of(&listener, "db"));
    // Nobody else is let in: no code leads here.
    db.stop();
    closed(&listener, "db");
    web.stop();
    closed(&listener, "web");
    // Both places are free, and the one whose peer left first is the next one's. It returns before that.
    let returning = |of: &Peer, name: &str| {
        let peer = two
            .setting
            .connector()
            .called(name)
            .home(of.home())
            .args(["--name", name, "--peer", "laptop"])
            .start();
        assert_eq!(listener.paired(), (name.to_owned(), true));
        peer.paired();
        peer
    };
    let mut web = returning(&web, "web");
    assert_eq!(port_of(&listener, "web"), first);
    let mut db = returning(&db, "db");
    assert_eq!(port_of(&listener, "db"), second);
    // The code that was open for the second place was withdrawn when it filled up.
    let before = codes(&listener).len();
    db.stop();
    closed(&listener, "db");
    let third = eventually("code for the free place", || {
        codes(&listener).get(before).cloned()
    });
    let cache = two
        .setting
        .connector_with(&third)
        .args(["--name", "cache"])
        .start();
    cache.paired();
    assert_eq!(port_of(&listener, "cache"), second);
    web.stop();
    listener.stop();
}

#[test]
fn what_cannot_be_is_said_at_once() {
    let setting = Setting::loopback();
    let (taken, port) = (setting.port(), setting.ports(2));
    let _holder = setting.ide.listen(taken);
    let own = format!("a={taken}");
    let twice = [format!("a={taken}"), format!("b={taken}")];
    let too_many = format!("a={},{}", setting.port(), setting.port());
    for (arguments, code) in [
        (&["--peers", "0"][..], ErrorCode::Usage),
        (&["--peers", "1000"], ErrorCode::Usage),
        (
            &["--peers", "2", "--map", &twice[0], "--map", &twice[1]],
            ErrorCode::Usage,
        ),
        (&["--peers", "2", "--map", &too_many], ErrorCode::Usage),
        (&["--peers", "2", "--map", &own], ErrorCode::PortInUse),
        (
            &["--peer", "nobody", "--peer", "no-one"],
            ErrorCode::PeerUnknown,
        ),
    ] {
        let forward = format!("{port}:localhost:1");
        let listener = setting
            .listener()
            .args(["-L", &forward])
            .args(arguments.iter().copied());
        listener.start().fails(code);
    }
}

#[test]
fn names_that_nobody_has_are_told_when_everybody_is_here() {
    let two = Two::new();
    let mapped = two.setting.port();
    let listener = two.listen(&["--peers", "2", "--map", &format!("bd={mapped}")]);
    let _web = two.come(&listener, "web");
    let _db = two.come(&listener, "db");
    let warning = listener.warning(WarningCode::MapUnused);
    assert!(warning.message.contains("bd"), "{warning:?}");
    assert_ne!(port_of(&listener, "db"), mapped);
}

#[test]
fn a_peer_gets_the_port_that_its_name_is_given_and_of_two_with_one_name_the_second_gets_another() {
    let two = Two::new();
    let mapped = two.setting.port();
    let listener = two.listen(&["--peers", "3", "--map", &format!("db={mapped}")]);
    let _web = two.come(&listener, "web");
    let _db = two.come(&listener, "db");
    assert_eq!(port_of(&listener, "web"), two.port);
    assert_eq!(port_of(&listener, "db"), mapped);
    let _other = two
        .setting
        .connector_with(&listener.code())
        .args(["--name", "db"])
        .start();
    assert_eq!(listener.paired(), ("db-2".to_owned(), false));
    listener.warning(WarningCode::NameTaken);
    let third = port_of(&listener, "db-2");
    assert_eq!(third, two.port + 1);
}

#[test]
fn each_line_for_people_says_which_peer_it_is_of() {
    let setting = Setting::loopback();
    let (listener, _home) = setting
        .listener()
        .args(["--peers", "2", "-L", "0:localhost:1"])
        .start_for_people();
    let code = eventually("code", || listener.stdout().pop()?.parse().ok());
    let _db = setting
        .connector_with(&code)
        .args(["--name", "db.x+1"])
        .start();
    for line in ["db.x+1: paired with db.x+1", "db.x+1: forward: "] {
        eventually(line, || {
            let lines = listener.stderr();
            lines.iter().any(|l| l.starts_with(line)).then_some(())
        });
    }
}

#[test]
fn each_stream_of_a_forward_to_the_ide_says_which_peer_it_is_from() {
    let setting = Setting::loopback();
    let (ide, asked) = (setting.port(), setting.ports(2));
    let ide_listens = setting.ide.listen(ide);
    let forward = format!("{asked}:localhost:{ide}");
    let listener = setting
        .listener()
        .args(["--name", "laptop", "--peers", "2", "-R", &forward])
        .start();
    let home = Home::new();
    let come = |name: &str, port: u16| {
        let peer = setting
            .connector_with(&listener.code())
            .called(name)
            .home(home.clone())
            .args(["--name", "web"])
            .start();
        peer.forward(port);
        assert_eq!(port_of(&listener, name), port);
        peer
    };
    let _first = come("web", asked);
    // On the same host, where the port is open for the first.
    let second = come("web-2", asked + 1);
    second.warning(WarningCode::PortMoved);
    // One after the other: which of two that dial at once is accepted first is not settled.
    let _streams = [(asked, "web"), (asked + 1, "web-2")].map(|(port, name)| {
        let debuggee = setting.debuggee.connect(port);
        let accepted = accept(&ide_listens);
        say(&debuggee, &accepted, "it is me");
        listener.event_of(name, "stream", |event| match event {
            Event::Stream { .. } => Some(()),
            _ => None,
        });
        (debuggee, accepted)
    });
    for (session, n) in status(&listener.home()).sessions.iter().zip(0..) {
        let forward = &session.forwards[0];
        assert_eq!(forward.direction, Direction::ToIde);
        assert_eq!(
            forward.listen.as_ref().unwrap().address().unwrap().port,
            asked + n
        );
        assert_eq!(session.streams.len(), 1);
    }
}

#[test]
fn a_wrong_word_burns_the_code_and_touches_no_session() {
    let two = Two::new();
    let target = two.setting.debuggee.listen(two.target);
    let mut listener = two.listen(&["--peers", "2"]);
    let _web = two.come(&listener, "web");
    let (opened, dialled) = connect(&two.setting, port_of(&listener, "web"), &target);
    let code = listener.code();
    let wrong: Code = loop {
        let words = p2pdbg_proto::code::Words::random();
        if words != code.words {
            break Code {
                nameplate: code.nameplate,
                words,
            };
        }
    };
    let mut guesser = two.setting.connector_with(&wrong).start();
    guesser.fails(ErrorCode::CodeRefused);
    listener.warning(WarningCode::CodeBurned);
    let mut late = two.setting.connector_with(&code).start();
    late.fails(ErrorCode::CodeExpired);
    say(&opened, &dialled, "undisturbed");
    let _db = two.come(&listener, "db");
    port_of(&listener, "db");
    say(&dialled, &opened, "still");
    listener.stop();
}

#[test]
fn a_pipe_takes_the_session_of_the_peer_that_is_named() {
    let two = Two::new();
    let target = two.setting.debuggee.listen(two.target);
    let listener = two.listen(&["--peers", "2"]);
    let _peers = [two.come(&listener, "web"), two.come(&listener, "db")];
    port_of(&listener, "db");
    let to = format!("localhost:{}", two.target);
    let pipe = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_p2pdbg"));
        listener.home().settle(&mut command);
        command.arg("pipe").args(arguments).arg(&to);
        command.stdin(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let output = pipe(&[]).wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("web, db") && text.contains("--peer"),
        "{text}"
    );
    let mut piped = pipe(&["--peer", "db"]);
    let _dialled = accept(&target);
    listener.event_of("db", "stream", |event| match event {
        Event::Stream { .. } => Some(()),
        _ => None,
    });
    piped.kill().unwrap();
    piped.wait().unwrap();
}

#[test]
fn two_debuggees_of_one_host_and_user_are_two_peers_and_each_comes_back_to_its_own_port() {
    let two = Two::new();
    let mut listener = two.listen(&["--peers", "2"]);
    let target = two.setting.debuggee.listen(two.target);
    let home = Home::new();
    let first_code = listener.code();
    let come = |code: &Code| {
        let command = two.setting.connector_with(code).home(home.clone());
        command.args(["--name", "web"]).start()
    };
    let mut first = come(&first_code);
    assert_eq!(listener.paired(), ("web".to_owned(), false));
    let second = come(&listener.code());
    assert_eq!(listener.paired(), ("web-2".to_owned(), false));
    let ports = [port_of(&listener, "web"), port_of(&listener, "web-2")];
    assert_eq!(ports, [two.port, two.port + 1]);
    let (to_second, of_second) = connect(&two.setting, ports[1], &target);

    first.kill();
    let mut first = come(&first_code);
    assert_eq!(listener.paired(), ("web".to_owned(), true));
    assert_eq!(port_of(&listener, "web"), ports[0]);
    say(&to_second, &of_second, "undisturbed");
    first.stop();
    closed(&listener, "web");
    listener.stop();
    drop(second);
}

#[test]
fn a_second_debuggee_of_a_host_that_is_known_needs_no_code_and_is_known_from_then_on() {
    let two = Two::new();
    let mut listener = two.listen(&["--peers", "2"]);
    let mut first = two.come(&listener, "web");
    let home = first.home();
    let again = || {
        let command = two.setting.connector().home(home.clone());
        command.args(["--name", "web", "--peer", "laptop"]).start()
    };
    let mut second = again();
    assert_eq!(listener.paired(), ("web-2".to_owned(), true));
    assert_eq!(port_of(&listener, "web-2"), two.port + 1);
    // There is no place for a third.
    let mut third = again();
    let warning = listener.warning(WarningCode::PeerTurnedAway);
    assert!(warning.message.contains("web-3"), "{warning:?}");
    third.fails(ErrorCode::NoPlace);
    second.stop();
    closed(&listener, "web-2");
    listener.stop();
    // Its session ended with the listener's process, and it with its session: its number is free.
    assert_eq!(first.exit_status(), 0);

    let forward = format!("{}:localhost:{}", two.port, two.target);
    let named = ["--name", "laptop", "--peer", "web", "--peer", "web-2"];
    let listener = two
        .setting
        .listener()
        .home(listener.home())
        .args(["-L", &forward])
        .args(named)
        .start();
    let _both = [again(), again()];
    let mut names = [listener.paired().0, listener.paired().0];
    names.sort();
    assert_eq!(names, ["web", "web-2"]);
}

#[test]
fn two_listeners_of_one_host_have_a_debuggee_each_that_comes_back_to_its_own() {
    let setting = Setting::loopback();
    let (ide_home, debuggee_home) = (Home::new(), Home::new());
    let (ports, targets) = (
        [setting.port(), setting.port()],
        [setting.port(), setting.port()],
    );
    let listening = targets.map(|target| setting.debuggee.listen(target));
    let mut pairs = Vec::new();
    for (port, target) in ports.iter().zip(targets) {
        let listener = setting
            .listener()
            .called(&format!("listen {port}"))
            .home(ide_home.clone())
            .args([
                "--name",
                "laptop",
                "-L",
                &format!("{port}:localhost:{target}"),
            ])
            .start();
        let code = listener.code();
        let connector = setting
            .connector_with(&code)
            .home(debuggee_home.clone())
            .args(["--name", "web"])
            .start();
        listener.paired();
        pairs.push((listener, connector.paired().0, connector, code));
    }
    assert_eq!(
        (pairs[0].1.as_str(), pairs[1].1.as_str()),
        ("laptop", "laptop-2")
    );
    let (first, _, mut connector, code) = pairs.remove(0);
    connector.kill();
    let connector = setting
        .connector_with(&code)
        .home(debuggee_home.clone())
        .args(["--name", "web"])
        .start();
    assert_eq!(connector.paired(), ("laptop".to_owned(), true));
    assert!(first.paired().1);
    for (port, target) in ports.iter().zip(&listening) {
        let opened = setting.ide.connect(*port);
        say(&opened, &accept(target), "still here");
    }
    drop(connector);
}
