//! What becomes of a debugger's connection: held, refused, dialled again, turned away, broken off.

use std::{io::ErrorKind, time::Duration};

use p2pdbg_base::{ErrorCode, HostPort};
use p2pdbg_events::{Event, StreamState, WarningCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::world::{
    Debuggee, Peer, Rendezvous, dial, echo, free_port, held_port, in_time, name_of, state,
};

/// What an IDE says first to debugpy.
const HELLO: &[u8] = b"Content-Length: 2\r\n\r\n{}";

fn at(port: u16) -> HostPort {
    HostPort::loopback(port)
}

/// Two peers, and the state directories that they need.
struct World {
    listener: Peer,
    connector: Peer,
    _rendezvous: Rendezvous,
    _states: [tempfile::TempDir; 2],
}

impl World {
    /// A listener with these options, and whoever comes with its code.
    async fn new(options: &[&str]) -> Self {
        let rendezvous = Rendezvous::start().await;
        let states = [(); 2].map(|()| state());
        let mut listener = Peer::listen(&rendezvous, states[0].path(), options);
        let code = listener.code().await;
        let connector = Peer::connect(&rendezvous, states[1].path(), &[&code, "--name", "web"]);
        Self {
            listener,
            connector,
            _rendezvous: rendezvous,
            _states: states,
        }
    }

    /// With a forward for debugpy whose debuggee listens at `port`; gives the port beside the IDE. That is another one,
    /// since both ends are on one host: so it takes the map of a listener for several.
    async fn for_debugpy(port: u16) -> (Self, u16) {
        let preset = format!("debugpy:{port}");
        let here = free_port();
        let [web, other] = [("web", here), ("other", free_port())].map(|(n, p)| format!("{n}={p}"));
        let options = ["--peers", "2", &*preset, "--map", &web, "--map", &other];
        let mut world = Self::new(&options).await;
        let is_open = |event| matches!(event, Event::Forward { .. }).then_some(());
        world.listener.report(is_open).await;
        (world, here)
    }
}

async fn stream_becomes(peer: &mut Peer, wanted: StreamState) {
    let is_it = |event| match event {
        Event::Stream { state, .. } => (state == wanted).then_some(()),
        _ => None,
    };
    peer.report(is_it).await;
}

#[tokio::test]
async fn refusing_port_is_open_only_while_the_debuggee_listens() {
    let here = free_port();
    let (held, there) = held_port();
    let forward = format!("{here}:localhost:{there}");
    let mut world = World::new(&["--absent", "refuse", "-L", &forward]).await;
    world.listener.paired().await;
    world.connector.paired().await;
    assert!(TcpStream::connect(("127.0.0.1", here)).await.is_err());
    let debuggee = held.listen(8).unwrap();
    let is_open = |event| matches!(event, Event::Forward { .. }).then_some(());
    world.listener.report(is_open).await;
    let mut ide = dial(&at(here)).await;
    let (mut program, _) = in_time(debuggee.accept()).await.unwrap();
    ide.write_all(b"x").await.unwrap();
    assert_eq!(in_time(program.read_u8()).await.unwrap(), b'x');
    drop((debuggee, program, ide));
    // It is looked at now and then.
    in_time(async {
        while TcpStream::connect(("127.0.0.1", here)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn program_that_comes_just_after_its_ide_has_gone_is_refused_rather_than_held() {
    let ide = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ide_port = ide.local_addr().unwrap().port();
    let forward = format!("0:localhost:{ide_port}");
    let mut world = World::new(&["--absent", "refuse", "-R", &forward]).await;
    let port = world.connector.port().await;
    drop(ide);
    // Its port is open until the second look that finds nobody; on a host that stood still meanwhile it is closed.
    if let Ok(mut program) = TcpStream::connect(("127.0.0.1", port.port)).await {
        assert!(in_time(program.read_u8()).await.is_err());
    }
}

#[tokio::test]
async fn debuggee_that_hangs_up_without_a_word_is_dialled_again_with_what_the_ide_said() {
    let debuggee = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = debuggee.local_addr().unwrap().port();
    let (_world, here) = World::for_debugpy(there).await;
    let mut ide = dial(&at(here)).await;
    ide.write_all(HELLO).await.unwrap();
    for _ in 0..2 {
        let (mut hangs_up, _) = in_time(debuggee.accept()).await.unwrap();
        let mut said = [0; HELLO.len()];
        in_time(hangs_up.read_exact(&mut said)).await.unwrap();
        assert_eq!(said, HELLO);
    }
    let (mut program, _) = in_time(debuggee.accept()).await.unwrap();
    let mut said = [0; HELLO.len()];
    in_time(program.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, HELLO, "from the beginning, and once");
    program.write_all(b"hello").await.unwrap();
    assert_eq!(name_of(&mut ide, 5).await, "hello");
    // From now on its end is the end.
    drop(program);
    assert_eq!(in_time(ide.read(&mut [0; 1])).await.unwrap(), 0);
}

#[tokio::test]
async fn web_page_at_the_port_of_a_debugger_is_turned_away_and_told() {
    let debuggee = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = debuggee.local_addr().unwrap().port();
    let (mut world, here) = World::for_debugpy(there).await;
    let mut page = dial(&at(here)).await;
    let request = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\n\r\n";
    page.write_all(request).await.unwrap();
    let error = in_time(page.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    world.listener.warned(WarningCode::WebPage).await;
    // The first that the debuggee hears is its IDE.
    let mut ide = dial(&at(here)).await;
    ide.write_all(HELLO).await.unwrap();
    let (mut program, _) = in_time(debuggee.accept()).await.unwrap();
    let mut said = [0; HELLO.len()];
    in_time(program.read_exact(&mut said)).await.unwrap();
    assert_eq!(said, HELLO);
}

#[tokio::test]
async fn debugger_of_another_kind_than_its_forward_is_for_is_told() {
    let debuggee = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = debuggee.local_addr().unwrap().port();
    let (mut world, here) = World::for_debugpy(there).await;
    let mut ide = dial(&at(here)).await;
    ide.write_all(b"JDWP-Handshake").await.unwrap();
    let (mut jvm, _) = in_time(debuggee.accept()).await.unwrap();
    assert_eq!(name_of(&mut jvm, 14).await, "JDWP-Handshake");
    jvm.write_all(b"JDWP-Handshake").await.unwrap();
    world.listener.warned(WarningCode::DebuggerMismatch).await;
    assert_eq!(name_of(&mut ide, 14).await, "JDWP-Handshake");
}

#[tokio::test]
async fn ide_that_gives_up_while_the_debuggee_is_away_delivers_nothing() {
    let (held, there) = held_port();
    let forward = format!("0:localhost:{there}");
    let mut world = World::new(&["-L", &forward]).await;
    let port = world.listener.port().await;
    let mut ide = dial(&port).await;
    ide.write_all(HELLO).await.unwrap();
    stream_becomes(&mut world.listener, StreamState::Waiting).await;
    drop(ide);
    stream_becomes(&mut world.listener, StreamState::GaveUp).await;
    // Whoever listens then hears the next IDE and nothing of this one.
    let debuggee = held.listen(8).unwrap();
    let mut ide = dial(&port).await;
    ide.write_all(b"next").await.unwrap();
    let (mut program, _) = in_time(debuggee.accept()).await.unwrap();
    assert_eq!(name_of(&mut program, 4).await, "next");
}

#[tokio::test]
async fn ide_that_breaks_off_resets_its_debuggee() {
    let debuggee = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = debuggee.local_addr().unwrap().port();
    let forward = format!("0:localhost:{there}");
    let mut world = World::new(&["-L", &forward]).await;
    let mut ide = dial(&world.listener.port().await).await;
    ide.write_all(b"x").await.unwrap();
    let (mut program, _) = in_time(debuggee.accept()).await.unwrap();
    program.write_all(b"y").await.unwrap();
    assert_eq!(in_time(ide.read_u8()).await.unwrap(), b'y');
    assert_eq!(in_time(program.read_u8()).await.unwrap(), b'x');
    socket2::SockRef::from(&ide)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(ide);
    let error = in_time(program.read_u8()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    stream_becomes(&mut world.listener, StreamState::Reset).await;
}

#[tokio::test]
async fn many_streams_at_once_keep_their_bytes_apart() {
    let debuggee = Debuggee::start("debuggee").await;
    let mut world = World::new(&["-L", &debuggee.forward]).await;
    let port = world.listener.port().await;
    let talks = (0..40_u8).map(|number| {
        let port = port.clone();
        tokio::spawn(async move {
            let mut ide = dial(&port).await;
            assert_eq!(name_of(&mut ide, 8).await, "debuggee");
            let own = vec![number; 50_000];
            assert!(echo(&mut ide, &own).await == own, "stream {number}");
        })
    });
    for talk in talks.collect::<Vec<_>>() {
        in_time(talk).await.unwrap();
    }
}

#[tokio::test]
async fn forward_to_the_ide_opens_a_port_at_the_debuggee_and_a_taken_one_is_told_at_both_ends() {
    let ide = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ide_port = ide.local_addr().unwrap().port();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let (good, bad) = (
        format!("0:localhost:{ide_port}"),
        format!("{taken_port}:localhost:{ide_port}"),
    );
    let mut world = World::new(&["-R", &good, "-R", &bad]).await;
    let port = world.connector.port().await;
    let mut program = dial(&port).await;
    program.write_all(b"init").await.unwrap();
    let (mut ide, _) = in_time(ide.accept()).await.unwrap();
    assert_eq!(name_of(&mut ide, 4).await, "init");
    world.connector.warned(WarningCode::ForwardFailed).await;
    world.listener.warned(WarningCode::ForwardFailed).await;
}

#[tokio::test]
async fn port_beside_the_ide_that_is_taken_ends_listen_before_a_code_is_made() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let rendezvous = Rendezvous::start().await;
    let ide = state();
    let forward = format!("{port}:localhost:1");
    let listener = Peer::listen(&rendezvous, ide.path(), &["-L", &forward]);
    let failure = listener.end().await.unwrap_err();
    assert_eq!(
        (failure.code, failure.exit_status()),
        (ErrorCode::PortInUse, 1)
    );
}
