//! Forwards as they are written, read and refused.

use std::path::Path;

use super::*;

fn left(spec: &str) -> Result<Forward, NotAForward> {
    Forward::parse(Direction::ToDebuggee, spec)
}

#[test]
fn a_short_spec_opens_loopback() {
    let forward = left("8000:db.internal:80").unwrap();
    assert_eq!(forward.bind, Bind::loopback(8000));
    assert_eq!(forward.target.to_string(), "db.internal:80");
    assert_eq!(forward.to_string(), "-L localhost:8000:db.internal:80");
}

#[test]
fn a_bind_address_may_be_v4_v6_a_star_or_left_empty() {
    let bind = |spec: &str| left(spec).unwrap().bind.to_string();
    assert_eq!(bind("127.0.0.1:1:localhost:2"), "127.0.0.1:1");
    assert_eq!(bind("[::1]:1:[::1]:2"), "[::1]:1");
    assert_eq!(bind("*:1:localhost:2"), "*:1");
    assert_eq!(bind(":1:localhost:2"), "*:1");
    assert_eq!(bind("localhost:0:localhost:2"), "localhost:0");
}

#[test]
fn what_is_printed_parses_again() {
    for spec in [
        "[::1]:1:[2001:db8::1]:2",
        "*:0:a.example:2",
        "5:localhost:6",
    ] {
        let forward = left(spec).unwrap();
        let printed = forward.to_string();
        assert_eq!(left(printed.strip_prefix("-L ").unwrap()), Ok(forward));
    }
}

#[cfg(unix)]
#[test]
fn path_before_host_and_port_is_a_unix_socket_as_for_ssh() {
    let forward = left("/run/user/1000/gdb.sock:localhost:1234").unwrap();
    let path = Path::new("/run/user/1000/gdb.sock");
    assert_eq!(forward.socket.as_deref(), Some(path));
    let written = "-L /run/user/1000/gdb.sock:localhost:1234";
    assert_eq!(forward.to_string(), written);
    let there = Forward::from_offer(&forward.to_offer(0, WhileAbsent::Hold));
    assert_eq!(there, Ok(forward));
    let relative = left("./gdb.sock:[::1]:1234").unwrap().socket.unwrap();
    assert_eq!(relative, std::env::current_dir().unwrap().join("gdb.sock"));
}

#[test]
fn path_behind_a_port_is_a_unix_socket_that_is_dialled() {
    for (direction, spec, bind) in [
        (Direction::ToDebuggee, "5678:/run/x.sock", "localhost:5678"),
        (Direction::ToIde, "*:5678:/run/x.sock", "*:5678"),
        (
            Direction::ToDebuggee,
            "[::1]:5678:/run/x.sock",
            "[::1]:5678",
        ),
    ] {
        let forward = Forward::parse(direction, spec).unwrap();
        assert_eq!(forward.target.socket(), Some("/run/x.sock"));
        assert_eq!(forward.bind.to_string(), bind);
        let written = forward.to_string();
        assert!(
            written.ends_with(&format!("{bind}:/run/x.sock")),
            "{written}"
        );
        let there = Forward::from_offer(&forward.to_offer(0, WhileAbsent::Hold));
        assert_eq!(there, Ok(forward));
    }
}

#[cfg(unix)]
#[test]
fn path_at_both_ends_joins_two_unix_sockets() {
    let forward = left("/run/here.sock:/run/there.sock").unwrap();
    assert_eq!(forward.socket.as_deref(), Some(Path::new("/run/here.sock")));
    assert_eq!(forward.target.socket(), Some("/run/there.sock"));
    assert_eq!(forward.to_string(), "-L /run/here.sock:/run/there.sock");
}

#[cfg(unix)]
#[test]
fn socket_where_none_can_be_is_told_apart() {
    let fault = |direction, spec: &str| match Forward::parse(direction, spec).unwrap_err() {
        NotAForward::Spec { fault, .. } => fault,
        other => panic!("{other}"),
    };
    let (left, right) = (Direction::ToDebuggee, Direction::ToIde);
    assert_eq!(fault(right, "/a:localhost:1"), SpecFault::SocketThere);
    assert_eq!(fault(right, "/a:/b"), SpecFault::SocketThere);
    assert_eq!(fault(left, "1234:./x.sock"), SpecFault::RelativeDialled);
    assert_eq!(fault(left, "/a:b"), SpecFault::Shape);
    assert_eq!(fault(left, "1234:/a:/b"), SpecFault::Shape);
    assert_eq!(
        fault(left, "1234:/run/"),
        SpecFault::Target(NotAHostPort::Socket)
    );
    assert_eq!(fault(left, "/:localhost:1"), SpecFault::Path);
    let long = format!("/{}:localhost:1", "a".repeat(LONGEST_SOCKET));
    assert_eq!(fault(left, &long), SpecFault::Path);
}

#[test]
fn each_fault_of_a_spec_is_named() {
    let fault = |spec: &str| match left(spec).unwrap_err() {
        NotAForward::Spec { fault, .. } => fault,
        other => panic!("{other}"),
    };
    assert_eq!(fault(""), SpecFault::Shape);
    assert_eq!(fault("5678"), SpecFault::Shape);
    assert_eq!(fault("5678:localhost"), SpecFault::Shape);
    assert_eq!(fault("1:2:3:4:5"), SpecFault::Shape);
    assert_eq!(fault("::1:1:localhost:2"), SpecFault::Shape);
    assert_eq!(
        fault("http:localhost:2"),
        SpecFault::Bind(NotAHostPort::Port)
    );
    assert_eq!(
        fault("web:1:localhost:2"),
        SpecFault::Bind(NotAHostPort::BindName)
    );
    assert_eq!(
        fault("1:localhost:0"),
        SpecFault::Target(NotAHostPort::Port)
    );
    assert_eq!(
        fault("1:localhost:70000"),
        SpecFault::Target(NotAHostPort::Port)
    );
    assert_eq!(fault("1::2"), SpecFault::Target(NotAHostPort::NoHost));
    assert_eq!(fault("1:[::1:2"), SpecFault::Shape);
    assert_eq!(fault("1:0.0.0.0:2"), SpecFault::Unspecified);
}

#[test]
fn presets_take_their_own_port_or_the_one_given() {
    let fixed = |text: &str| match text.parse().unwrap() {
        ForwardSpec::Fixed(forward) => forward.to_string(),
        ForwardSpec::Auto { port } => format!("auto {port}"),
    };
    assert_eq!(fixed("debugpy"), "-L localhost:5678:localhost:5678");
    assert_eq!(fixed("debugpy:5679"), "-L localhost:5679:localhost:5679");
    assert_eq!(fixed("xdebug"), "-R localhost:9003:localhost:9003");
    assert_eq!(fixed("auto"), "auto 5678");
    assert_eq!(fixed("auto:9000"), "auto 9000");
    let wrong = |text: &str| text.parse::<ForwardSpec>().unwrap_err();
    assert_eq!(wrong("gdb"), NotAForward::UnknownPreset("gdb".into()));
    assert_eq!(wrong("node:0"), NotAForward::PresetPort("node:0".into()));
    assert_eq!(wrong("auto:x"), NotAForward::PresetPort("auto:x".into()));
}

#[test]
fn a_forward_survives_being_offered_to_the_peer() {
    for spec in [
        "[::1]:1:[2001:db8::1]:2",
        "*:0:a.example:2",
        "5:localhost:6",
    ] {
        let forward = left(spec).unwrap();
        assert_eq!(
            Forward::from_offer(&forward.to_offer(3, WhileAbsent::Refuse)),
            Ok(forward)
        );
    }
    let preset = Forward::of_preset(Preset::Xdebug, 9003);
    assert_eq!(
        Forward::from_offer(&preset.to_offer(0, WhileAbsent::Hold)),
        Ok(preset)
    );
}

#[test]
fn an_offer_with_a_malformed_address_is_refused() {
    let sound = Forward::of_preset(Preset::Debugpy, 5678).to_offer(0, WhileAbsent::Hold);
    let mut offer = sound.clone();
    offer.target_host = "\u{1b}[2J".to_owned();
    let name = SpecFault::Target(NotAHostPort::Name);
    assert_eq!(Forward::from_offer(&offer), Err(name));
    let mut offer = sound.clone();
    offer.target_port = 0;
    let port = SpecFault::Target(NotAHostPort::Port);
    assert_eq!(Forward::from_offer(&offer), Err(port));
    let mut offer = sound;
    offer.bind = "web".to_owned();
    let bind = SpecFault::Bind(NotAHostPort::BindName);
    assert_eq!(Forward::from_offer(&offer), Err(bind));
}

#[test]
fn auto_goes_to_the_ide_only_if_something_listens_beside_it() {
    let direction = |listens| ForwardSpec::default().resolve(|_| listens).direction;
    assert_eq!(direction(true), Direction::ToIde);
    assert_eq!(direction(false), Direction::ToDebuggee);
}

#[test]
fn the_start_command_names_the_port_at_the_debuggees_end() {
    let mut forward = Forward::of_preset(Preset::Debugpy, 5678);
    forward.bind.port = 7000;
    assert!(forward.start_debuggee().unwrap().contains("127.0.0.1:5678"));
    let reverse = Forward::of_preset(Preset::Xdebug, 9009);
    assert!(
        reverse
            .start_debuggee()
            .unwrap()
            .contains("client_port=9009")
    );
}
