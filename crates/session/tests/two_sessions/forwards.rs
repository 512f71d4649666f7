//! Forwards between two sessions: ports that are open only while their target listens, who is let in, and what cannot
//! be opened.

use std::net::Ipv4Addr;

use p2pdbg_base::HoldPolicy;
use p2pdbg_events::StreamState;
use p2pdbg_forward::{Preset, Purpose};

use super::*;

/// A forward of a debugger.
fn of(preset: Preset, target: SocketAddr) -> Forward {
    let forward = Forward::of_preset(preset, target.port());
    Forward {
        bind: Bind::loopback(0),
        target: HostPort::from(target),
        ..forward
    }
}

/// A port that is free, and which the operating system gives to no socket that asks for any.
fn unused_port() -> SocketAddr {
    let first = 2_000 + u16::try_from(std::process::id() % 1_000).unwrap();
    (first..4_000)
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|at| std::net::TcpListener::bind(at).is_ok())
        .unwrap()
}

/// Waits until nothing takes connections at a port.
async fn closed(port: &HostPort) {
    in_time(async {
        while TcpStream::connect(("127.0.0.1", port.port)).await.is_ok() {
            // Each of these is a connection that both ends carry.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn port_of_a_forward_that_refuses_is_open_only_while_its_target_listens() {
    let (held, at) = held_port();
    let forwards = vec![forward(Direction::ToDebuggee, at)];
    let mut pair = Pair::settled(forwards, |config| {
        config.policy = Arc::new(SessionPolicy {
            absent: Some(HoldPolicy::Refuse),
            ..SessionPolicy::default()
        });
    })
    .await;
    let ready = |output| matches!(output, SessionOutput::Ready(_)).then_some(());
    pair.listener.told(ready).await;
    let debuggee = held.listen(8).unwrap();
    let port = pair.listener.port().await;
    let mut ide = dial(&port).await;
    ide.write_all(b"x").await.unwrap();
    let (mut joined, _) = in_time(debuggee.accept()).await.unwrap();
    assert_eq!(in_time(joined.read_u8()).await.unwrap(), b'x');
    drop(debuggee);
    closed(&port).await;
    // The connection that it has goes on.
    ide.write_all(b"y").await.unwrap();
    assert_eq!(in_time(joined.read_u8()).await.unwrap(), b'y');
}

#[tokio::test]
async fn port_at_the_debuggee_that_refuses_opens_when_the_ide_listens() {
    let (held, at) = held_port();
    let mut pair = Pair::new(vec![of(Preset::Xdebug, at)]).await;
    let ready = |output| matches!(output, SessionOutput::Ready(_)).then_some(());
    pair.listener.told(ready).await;
    let ide = held.listen(8).unwrap();
    let mut debuggee = dial(&pair.connector.port().await).await;
    debuggee.write_all(b"z").await.unwrap();
    let (mut ide, _) = in_time(ide.accept()).await.unwrap();
    assert_eq!(in_time(ide.read_u8()).await.unwrap(), b'z');
}

#[tokio::test]
async fn forward_that_holds_once_refuses_when_the_ide_that_was_reached_has_gone() {
    let (held, at) = held_port();
    let mut pair = Pair::new(vec![of(Preset::Pydevd, at)]).await;
    let port = pair.connector.port().await;
    // The program is there first, and waits.
    let mut debuggee = dial(&port).await;
    debuggee.write_all(b"p").await.unwrap();
    let ide = held.listen(8).unwrap();
    let (mut joined, _) = in_time(ide.accept()).await.unwrap();
    assert_eq!(in_time(joined.read_u8()).await.unwrap(), b'p');
    drop(ide);
    closed(&port).await;
}

#[tokio::test]
async fn web_page_at_a_debuggers_port_is_reset_and_told_and_the_debugger_let_in() {
    let (debuggee, at) = debuggee().await;
    let mut pair = Pair::new(vec![of(Preset::Debugpy, at)]).await;
    let port = pair.listener.port().await;
    let mut page = dial(&port).await;
    let request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    page.write_all(request).await.unwrap();
    let end = in_time(page.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(pair.listener.warning().await, WarningCode::WebPage);
    // One that says nothing yet is nobody's.
    let _silent = dial(&port).await;
    let mut ide = dial(&port).await;
    ide.write_all(b"Content-Length: 2\r\n\r\n{}").await.unwrap();
    let (mut joined, _) = in_time(debuggee.accept()).await.unwrap();
    assert_eq!(in_time(joined.read_u8()).await.unwrap(), b'C');
}

#[tokio::test]
async fn held_client_that_ends_its_writing_and_keeps_its_socket_is_not_delivered() {
    let (held, at) = held_port();
    let mut pair = Pair::new(vec![of(Preset::Debugpy, at)]).await;
    let port = pair.listener.port().await;
    let state = |wanted| {
        move |event| match event {
            Event::Stream { state, .. } if state == wanted => Some(()),
            _ => None,
        }
    };
    let mut gives_up = dial(&port).await;
    gives_up
        .write_all(b"Content-Length: 2\r\n\r\n{}")
        .await
        .unwrap();
    pair.listener.report(state(StreamState::Waiting)).await;
    gives_up.shutdown().await.unwrap();
    pair.listener.report(state(StreamState::GaveUp)).await;
    pair.connector.report(state(StreamState::Reset)).await;
    let debuggee = held.listen(8).unwrap();
    let mut ide = dial(&port).await;
    ide.write_all(b"Content-Length: 4\r\n\r\nnull")
        .await
        .unwrap();
    let (mut joined, _) = in_time(debuggee.accept()).await.unwrap();
    let mut first = [0; 17];
    in_time(joined.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"Content-Length: 4");
}

#[tokio::test]
async fn port_of_auto_is_no_web_pages_either_and_who_says_nothing_there_is_told_of() {
    let (debuggee, at) = debuggee().await;
    let auto = Forward {
        purpose: Purpose::SomeDebugger,
        ..of(Preset::Debugpy, at)
    };
    let mut pair = Pair::new(vec![auto]).await;
    let port = pair.listener.port().await;
    let _silent = dial(&port).await;
    let mut page = dial(&port).await;
    let request = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n\r\n";
    page.write_all(request).await.unwrap();
    let end = in_time(page.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(pair.listener.warning().await, WarningCode::WebPage);
    assert_eq!(pair.listener.warning().await, WarningCode::SilentClient);
    let mut ide = dial(&port).await;
    ide.write_all(b"Content-Length: 2\r\n\r\n{}").await.unwrap();
    let (mut joined, _) = in_time(debuggee.accept()).await.unwrap();
    assert_eq!(in_time(joined.read_u8()).await.unwrap(), b'C');
}

#[tokio::test]
async fn client_of_ptvsd_that_waits_for_its_word_hears_it_and_a_crowd_of_them_does_not() {
    let (debuggee, at) = debuggee().await;
    let mut pair = Pair::new(vec![of(Preset::Ptvsd, at)]).await;
    let port = pair.listener.port().await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(dial(&port).await);
    }
    assert_eq!(pair.listener.warning().await, WarningCode::SilentClient);
    drop(crowd);
    let mut ide = dial(&port).await;
    let (mut joined, _) = in_time(debuggee.accept()).await.unwrap();
    joined.write_all(b"w").await.unwrap();
    assert_eq!(in_time(ide.read_u8()).await.unwrap(), b'w');
    ide.write_all(b"i").await.unwrap();
    assert_eq!(in_time(joined.read_u8()).await.unwrap(), b'i');
}

#[tokio::test]
async fn target_that_hangs_up_without_a_word_is_told_once_and_dialled_again_with_what_was_written()
{
    let (proxy, at) = debuggee().await;
    let mut pair = Pair::new(vec![of(Preset::Debugpy, at)]).await;
    let port = pair.listener.port().await;
    let mut ide = dial(&port).await;
    ide.write_all(b"Content-Length: 2\r\n\r\n{}").await.unwrap();
    for _ in 0..2 {
        let (connection, _) = in_time(proxy.accept()).await.unwrap();
        drop(connection);
    }
    assert_eq!(pair.connector.warning().await, WarningCode::TargetHangsUp);
    let (mut debuggee, _) = in_time(proxy.accept()).await.unwrap();
    let mut got = [0; 23];
    in_time(debuggee.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"Content-Length: 2\r\n\r\n{}");
    debuggee.write_all(b"answer").await.unwrap();
    let mut answer = [0; 6];
    in_time(ide.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
    let told: Vec<Event> = std::iter::from_fn(|| pair.connector.reports.try_recv().ok()).collect();
    let hung_up = |event: &&Event| matches!(event, Event::Warning(warning) if warning.code == WarningCode::TargetHangsUp);
    assert_eq!(told.iter().filter(hung_up).count(), 0, "it was told before");
}

#[tokio::test]
async fn one_port_for_both_ends_of_one_host_fails_with_what_to_write_instead() {
    let at = unused_port();
    let mut ends = of(Preset::Node, at);
    ends.bind = Bind::loopback(at.port());
    let mut pair = Pair::settled(vec![ends], |config| config.same_host = true).await;
    let warning = |event| match event {
        Event::Warning(warning) => Some(warning),
        _ => None,
    };
    let warning = pair.listener.report(warning).await;
    assert_eq!(warning.code, WarningCode::ForwardFailed);
    let instead = format!(
        "-L {}:localhost:{}",
        u32::from(at.port()) + 10_000,
        at.port()
    );
    assert!(warning.message.contains(&instead), "{}", warning.message);
}

#[tokio::test]
async fn forward_of_a_debugger_is_told_first_at_the_debuggee_however_they_are_given() {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let (plain, debugger) = (at(1), at(2));
    let forwards = vec![
        crate::forward(Direction::ToDebuggee, plain),
        of(Preset::Debugpy, debugger),
    ];
    let mut pair = Pair::new(forwards).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let to = |event| match event {
            Event::Forward { to, .. } => Some(to.port),
            _ => None,
        };
        told.push(pair.connector.report(to).await);
    }
    assert_eq!(told, [debugger.port(), plain.port()]);
}

#[tokio::test]
async fn port_that_is_in_use_at_the_debuggee_is_told_at_both_ends() {
    let (_taken, at) = debuggee().await;
    let mut pair = Pair::new(vec![to_ide(at)]).await;
    for end in [&mut pair.listener, &mut pair.connector] {
        assert_eq!(end.warning().await, WarningCode::ForwardFailed);
    }
}

#[tokio::test]
async fn port_that_is_in_use_at_a_host_with_further_processes_is_moved_and_leads_to_the_ide() {
    let (_taken, at) = debuggee().await;
    let (ide, target) = debuggee().await;
    let mut moved = to_ide(at);
    moved.target = HostPort::from(target);
    let mut pair = Pair::settled(vec![moved], |config| config.further = true).await;
    assert_eq!(pair.connector.warning().await, WarningCode::PortMoved);
    let port = pair.connector.port().await;
    assert_ne!(port.port, at.port());
    dial(&port).await.write_all(b"m").await.unwrap();
    let (mut ide, _) = in_time(ide.accept()).await.unwrap();
    assert_eq!(in_time(ide.read_u8()).await.unwrap(), b'm');
    // The listener learns which port it has become.
    assert_eq!(pair.listener.port().await.port, port.port);
}

/// A forward to the IDE whose port at the debuggee is taken.
fn to_ide(taken: SocketAddr) -> Forward {
    Forward {
        bind: Bind::loopback(taken.port()),
        ..forward(Direction::ToIde, SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
    }
}

#[tokio::test]
async fn port_that_is_in_use_beside_the_ide_ends_the_session_before_it_begins() {
    let (_taken, at) = debuggee().await;
    let taken = Forward {
        bind: Bind::loopback(at.port()),
        ..forward(Direction::ToDebuggee, at)
    };
    let mut pair = Pair::new(vec![taken]).await;
    let SessionEnd::Failed(failure) = pair.listener.over().await else {
        panic!("it fails");
    };
    assert_eq!(failure.code, p2pdbg_base::ErrorCode::PortInUse);
    assert!(failure.message.contains(&at.port().to_string()));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn program_of_another_user_is_turned_away_where_only_ones_own_are_let_in() {
    use std::os::unix::process::CommandExt;
    let (debuggee, at) = debuggee().await;
    let mut pair = Pair::settled(vec![forward(Direction::ToDebuggee, at)], |config| {
        config.policy = Arc::new(SessionPolicy {
            same_user: true,
            ..SessionPolicy::default()
        });
    })
    .await;
    let port = pair.listener.port().await;
    if rustix::process::geteuid().is_root() {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{}; read -r _ <&3 2> /dev/null",
            port.port
        );
        let mut other = std::process::Command::new("bash")
            .args(["-c", &script])
            .uid(65_534)
            .gid(65_534)
            .spawn()
            .unwrap();
        assert_eq!(pair.listener.warning().await, WarningCode::OtherUser);
        let ended = tokio::task::spawn_blocking(move || other.wait().unwrap());
        assert!(!in_time(ended).await.unwrap().success(), "it saw a RST");
    }
    let mut own = dial(&port).await;
    own.write_all(b"o").await.unwrap();
    let (mut joined, _) = in_time(debuggee.accept()).await.unwrap();
    assert_eq!(in_time(joined.read_u8()).await.unwrap(), b'o');
}
