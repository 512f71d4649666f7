//! What other commands ask of a `listen` that runs: streams and ports of their own, source files, programs.
//!
//! All processes of a user have their control sockets in one directory, so each test calls its debuggee otherwise.

use std::fs;

use clap::Parser;
use p2pdbg_base::{ErrorCode, Failure, HostPort};
use p2pdbg_events::{Event, snapshot::SessionState};
use p2pdbg_forward::Preset;
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::world::{Debuggee, Peer, Rendezvous, dial, in_time, name_of, state};
use crate::{
    cli::args::{Cli, CliCommand},
    control_socket::{
        Client, Frame,
        protocol::{Reply, Request},
        read_frame, running, write_data, write_frame,
    },
};

/// Two peers, the debuggee's under a name of the test's own.
struct World {
    listener: Peer,
    connector: Peer,
    name: &'static str,
    debuggee: Debuggee,
    _rendezvous: Rendezvous,
    _states: [tempfile::TempDir; 2],
}

impl World {
    async fn new(name: &'static str, here: &[&str], there: &[&str]) -> Self {
        let rendezvous = Rendezvous::start().await;
        let states = [(); 2].map(|()| state());
        let debuggee = Debuggee::start("debuggee").await;
        let options = [&["-L", &*debuggee.forward], here].concat();
        let mut listener = Peer::listen(&rendezvous, states[0].path(), &options);
        let code = listener.code().await;
        let options = [&[&*code, "--name", name], there].concat();
        let connector = Peer::connect(&rendezvous, states[1].path(), &options);
        // A stream that runs shows that the session stands.
        let mut ide = dial(&listener.port().await).await;
        assert_eq!(name_of(&mut ide, 8).await, "debuggee");
        Self {
            listener,
            connector,
            name,
            debuggee,
            _rendezvous: rendezvous,
            _states: states,
        }
    }

    /// A connection to the listener's control socket, and what it told of its session.
    async fn client(&self) -> (Client, p2pdbg_events::snapshot::SessionSnapshot) {
        for socket in running().unwrap() {
            let Ok(mut client) = Client::connect(&socket).await else {
                continue;
            };
            let Ok(Reply::Status(status)) = client.ask(&Request::Status).await else {
                continue;
            };
            let mut sessions = status.sessions.into_iter();
            if let Some(session) = sessions.find(|session| session.peer.as_str() == self.name) {
                return (client, session);
            }
        }
        panic!("no process has a session with {}", self.name);
    }

    fn target(&self) -> HostPort {
        let (_, port) = self.debuggee.forward.rsplit_once(':').unwrap();
        HostPort::loopback(port.parse().unwrap())
    }

    async fn ask(&self, request: &Request) -> (Client, Reply) {
        let (mut client, _) = self.client().await;
        let reply = client.ask_at_length(request).await.unwrap();
        (client, reply)
    }

    /// Runs another command as a person does on the listener's host.
    async fn run(&self, command: &str, options: &[&str]) -> Result<(), Failure> {
        let line = [&["p2pdbg", command, "--peer", self.name], options].concat();
        in_time(async {
            match Cli::parse_from(line).command {
                CliCommand::Sources(args) => crate::commands::sources::list(args).await,
                CliCommand::Push(args) => crate::commands::sources::push(args).await,
                CliCommand::Attach(args) => crate::commands::attach::run(args).await,
                other => panic!("{other:?}"),
            }
        })
        .await
    }
}

#[tokio::test]
async fn status_tells_of_the_session_its_forward_and_its_path() {
    let world = World::new("web-status", &[], &[]).await;
    let (_, session) = world.client().await;
    assert_eq!(session.state, SessionState::Connected);
    assert_eq!(session.forwards.len(), 1);
    assert!(!session.paths.is_empty());
}

#[tokio::test]
async fn pipe_talks_to_a_target_of_its_own_and_learns_how_it_ended() {
    let world = World::new("web-pipe", &[], &[]).await;
    let to = world.target();
    let (client, reply) = world.ask(&Request::Open { to, peer: None }).await;
    assert_eq!(reply, Reply::Opened);
    let (mut from, mut into) = client.into_stream();
    write_data(&mut into, b"hello").await.unwrap();
    write_frame(&mut into, &Frame::Fin).await.unwrap();
    let mut heard = Vec::new();
    let last = loop {
        match in_time(read_frame(&mut from)).await.unwrap() {
            Frame::Data(bytes) => heard.extend(bytes),
            Frame::Fin => {}
            last => break last,
        }
    };
    assert_eq!(heard, b"debuggeehello");
    assert_eq!(last, Frame::Closed);
}

#[tokio::test]
async fn pipe_to_a_target_that_is_not_allowed_or_to_a_peer_that_is_not_there_is_refused() {
    let world = World::new("web-refused", &[], &[]).await;
    let to: HostPort = "192.0.2.7:80".parse().unwrap();
    let (_, reply) = world.ask(&Request::Open { to, peer: None }).await;
    assert!(
        matches!(&reply, Reply::Refused(failure) if failure.code == ErrorCode::TargetNotAllowed),
        "{reply:?}"
    );
    let peer = Some("nobody".to_owned());
    let to = world.target();
    let (_, reply) = world.ask(&Request::Open { to, peer }).await;
    assert!(
        matches!(&reply, Reply::Refused(failure) if failure.code == ErrorCode::NoSession),
        "{reply:?}"
    );
}

#[tokio::test]
async fn port_that_is_asked_for_later_leads_to_its_debugger() {
    let world = World::new("web-forward", &[], &[]).await;
    let program = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = program.local_addr().unwrap().port();
    let request = Request::Forward {
        port,
        debugger: Preset::Debugpy,
        peer: None,
    };
    let (_, reply) = world.ask(&request).await;
    let Reply::Forwarded { listen } = reply else {
        panic!("{reply:?}");
    };
    assert_ne!(listen.port, port, "that one is taken on this host");
    let mut ide = dial(&listen).await;
    ide.write_all(b"Content-Length: 2\r\n\r\n{}").await.unwrap();
    let (mut program, _) = in_time(program.accept()).await.unwrap();
    assert_eq!(name_of(&mut program, 14).await, "Content-Length");
}

#[tokio::test]
async fn sources_that_differ_are_told_and_pushed_and_then_do_not() {
    let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for root in [&here, &there] {
        for (name, text) in [
            ("a.py", "a = 1\n"),
            ("b.py", "b = 1\n"),
            ("c.py", "c = 1\n"),
        ] {
            fs::write(root.path().join(name), text).unwrap();
        }
    }
    fs::write(here.path().join("app.py"), "print('new')\n").unwrap();
    fs::write(there.path().join("app.py"), "print('old')\n").unwrap();
    let [local, remote] = [&here, &there].map(|root| root.path().to_str().unwrap());
    let (at_ide, at_web) = (
        ["--sources", local],
        ["--sources", remote, "--accept-push", remote],
    );
    let mut world = World::new("web-sources", &at_ide, &at_web).await;
    let told = |event| match event {
        Event::Sources(report) => Some(report),
        _ => None,
    };
    let report = world.listener.report(told).await;
    let differ: Vec<&str> = report.differ.iter().map(|name| name.as_str()).collect();
    assert_eq!((differ, report.same), (vec!["app.py"], 3));
    world.run("sources", &at_ide).await.unwrap();
    world.run("push", &at_ide).await.unwrap();
    let received = |event| match event {
        Event::Received { name } => Some(name.as_str().to_owned()),
        _ => None,
    };
    assert_eq!(world.connector.report(received).await, "app.py");
    let pushed = fs::read_to_string(there.path().join("app.py")).unwrap();
    assert_eq!(pushed, "print('new')\n");
}

#[tokio::test]
async fn push_to_an_end_that_takes_none_is_refused_and_changes_nothing() {
    let [here, there] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for (root, text) in [(&here, "1\n"), (&there, "2\n")] {
        fs::write(root.path().join("app.py"), text).unwrap();
        fs::write(root.path().join("same.py"), "same\n").unwrap();
    }
    let [local, remote] = [&here, &there].map(|root| root.path().to_str().unwrap());
    let (at_ide, at_web) = (["--sources", local], ["--sources", remote]);
    let world = World::new("web-no-push", &at_ide, &at_web).await;
    let failure = world.run("push", &at_ide).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::PushIncomplete, "{failure}");
    assert_eq!(
        fs::read_to_string(there.path().join("app.py")).unwrap(),
        "2\n"
    );
}

#[tokio::test]
async fn programs_are_looked_for_where_the_debuggee_lets_debuggers_attach_alone() {
    let world = World::new("web-attach", &[], &["--accept-attach"]).await;
    let failure = world
        .run("attach", &["no-such-program-anywhere"])
        .await
        .unwrap_err();
    assert_eq!(failure.code, ErrorCode::NotAttached, "{failure}");
    let world = World::new("web-no-attach", &[], &[]).await;
    let failure = world.run("attach", &[]).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::NotAttached, "{failure}");
}
