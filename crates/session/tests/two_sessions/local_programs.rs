//! What local programs ask of a session: streams to targets of their own, further ports, conversations.

use p2pdbg_attach::{Consent, Conversation};
use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_events::StreamState;
use p2pdbg_forward::{Preset, Within};
use p2pdbg_proto::{
    attach::{AttachMessage, Refusal},
    tunnel::{Elsewhere, ForwardState, PathKind, TunnelMessage},
};
use p2pdbg_session::{ForwardRequest, PipeRequest, PipeTarget};
use p2pdbg_sources::SourcesOptions;
use p2pdbg_tunnel::ControlStreamReader;

use super::{
    hostile::{Hostile, way_to},
    *,
};

/// A program that has asked for a stream.
struct Program {
    connection: Within,
    opened: oneshot::Receiver<Result<(), Failure>>,
    ended: oneshot::Receiver<StreamState>,
}

fn pipe(end: &End, to: PipeTarget) -> Program {
    let (connection, local) = Within::pair();
    let (opened, is_open) = oneshot::channel();
    let (ended, has_ended) = oneshot::channel();
    end.session.input(SessionInput::Pipe(PipeRequest {
        to,
        local,
        opened,
        ended,
    }));
    Program {
        connection,
        opened: is_open,
        ended: has_ended,
    }
}

async fn further_port(end: &End, port: u16, debugger: Preset) -> Result<HostPort, Failure> {
    let (opened, told) = oneshot::channel();
    end.session.input(SessionInput::Forward(ForwardRequest {
        port,
        debugger,
        opened,
    }));
    in_time(told).await.unwrap()
}

#[tokio::test]
async fn pipe_to_what_is_not_allowed_is_refused_with_what_would_allow_it() {
    let pair = Pair::new(Vec::new()).await;
    let target: HostPort = "192.0.2.7:80".parse().unwrap();
    let program = pipe(&pair.listener, PipeTarget::Port(target));
    let failure = in_time(program.opened).await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::TargetNotAllowed);
    assert!(failure.hint.unwrap().contains("--allow 192.0.2.7:80"));
}

#[tokio::test]
async fn two_pipes_to_one_target_share_its_forward_and_end_apart() {
    let (debuggee, at) = debuggee().await;
    let pair = Pair::new(Vec::new()).await;
    let mut joined = Vec::new();
    for byte in [b'a', b'b'] {
        let mut program = pipe(&pair.listener, PipeTarget::Port(HostPort::from(at)));
        in_time(&mut program.opened).await.unwrap().unwrap();
        program.connection.write_all(&[byte]).await.unwrap();
        let (mut debuggee, _) = in_time(debuggee.accept()).await.unwrap();
        assert_eq!(in_time(debuggee.read_u8()).await.unwrap(), byte);
        joined.push((program, debuggee));
    }
    assert_eq!(pair.listener.describe().await.forwards.len(), 1);
    let (mut first, debuggee) = joined.remove(0);
    drop(debuggee);
    assert_eq!(in_time(first.connection.read(&mut [0])).await.unwrap(), 0);
    drop(first.connection);
    in_time(first.ended).await.unwrap();
    let (mut second, mut debuggee) = joined.remove(0);
    debuggee.write_all(b"c").await.unwrap();
    assert_eq!(in_time(second.connection.read_u8()).await.unwrap(), b'c');
}

#[tokio::test]
async fn pipes_to_more_targets_than_a_session_takes_are_refused() {
    const MOST: u16 = 32;
    let pair = Pair::new(Vec::new()).await;
    let mut opened = Vec::new();
    for port in 1..=MOST {
        let target = HostPort::loopback(port);
        opened.push(pipe(&pair.listener, PipeTarget::Port(target)));
    }
    let one_more = pipe(&pair.listener, PipeTarget::Port(HostPort::loopback(999)));
    let failure = in_time(one_more.opened).await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::NoSession);
    for program in opened {
        in_time(program.opened).await.unwrap().unwrap();
    }
}

/// The next number of forwards that the session tells of on this tunnel.
async fn forwards_told(control: &mut ControlStreamReader) -> usize {
    loop {
        if let TunnelMessage::Forwards(offers) = in_time(control.read()).await.unwrap() {
            return offers.len();
        }
    }
}

#[tokio::test]
async fn forward_that_a_dead_tunnel_took_is_told_of_on_the_one_that_takes_its_place() {
    for newer_is_direct in [true, false] {
        let hostile = Hostile::new().await;
        let (at, way) = way_to(hostile.at, || true).await;
        let [direct, relayed] = if newer_is_direct { [2, 1] } else { [1, 2] };
        let mut tunnels = [
            (direct, at, PathKind::Direct),
            (relayed, hostile.at, PathKind::RelayUdp),
        ];
        tunnels.sort_unstable_by_key(|(epoch, ..)| *epoch);
        let mut controls = Vec::new();
        for (epoch, at, path) in tunnels {
            let (tunnel, mut control) = hostile.dial_by(at, path, epoch).await.unwrap();
            assert_eq!(forwards_told(&mut control).await, 1);
            controls.push((path, tunnel, control));
        }
        // Streams use the direct one, on which nothing passes any more.
        drop(way);
        let other = "localhost:7".parse().unwrap();
        let _program = pipe(&hostile.listener, PipeTarget::Port(other));
        let mut of_relay = controls
            .into_iter()
            .find(|(path, ..)| *path == PathKind::RelayUdp)
            .unwrap();
        assert_eq!(forwards_told(&mut of_relay.2).await, 2, "{newer_is_direct}");
    }
}

#[tokio::test]
async fn further_port_leads_to_a_debugger_that_came_later() {
    let pair = Pair::new(Vec::new()).await;
    let (debuggee, at) = debuggee().await;
    // The same number is taken on this host, by the debugger itself: the next that is free.
    let port = further_port(&pair.listener, at.port(), Preset::Node).await;
    let port = port.unwrap();
    assert_ne!(port.port, at.port());
    let mut ide = dial(&port).await;
    let request = format!(
        "GET /json HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n",
        port.port
    );
    ide.write_all(request.as_bytes()).await.unwrap();
    let (mut debuggee, _) = in_time(debuggee.accept()).await.unwrap();
    assert_eq!(in_time(debuggee.read_u8()).await.unwrap(), b'G');
}

#[tokio::test]
async fn further_port_is_refused_at_the_debuggee_and_for_a_debugger_that_dials_its_ide() {
    let pair = Pair::new(Vec::new()).await;
    let failure = further_port(&pair.connector, 9229, Preset::Node).await;
    assert_eq!(failure.unwrap_err().code, ErrorCode::NoSession);
    let failure = further_port(&pair.listener, 5678, Preset::Pydevd).await;
    assert!(failure.unwrap_err().message.contains("connects to its IDE"));
}

#[tokio::test]
async fn worker_of_node_that_the_peer_tells_of_gets_a_port_where_that_was_asked_for() {
    for follows_ports in [true, false] {
        let mut hostile = Hostile::with(|config| {
            config.policy = Arc::new(SessionPolicy {
                follows_ports,
                ..SessionPolicy::default()
            });
            let node = Forward::of_preset(Preset::Node, 9229);
            config.forwards = vec![Forward {
                bind: Bind::loopback(0),
                ..node
            }];
        })
        .await;
        let (tunnel, mut control) = hostile.tunnel().await;
        let told = |further, address: &str| Elsewhere {
            forward: 0,
            debugger: "node".to_owned(),
            address: address.parse().unwrap(),
            pid: 7,
            further,
        };
        // Neither an address that is not the loopback's nor a port far from the user's opens anything.
        tunnel.send(TunnelMessage::Elsewhere(told(true, "192.0.2.1:9230")));
        tunnel.send(TunnelMessage::Elsewhere(told(true, "127.0.0.1:22")));
        for _ in 0..2 {
            let code = hostile.listener.warning().await;
            assert_eq!(code, WarningCode::DebuggerElsewhere);
        }
        tunnel.send(TunnelMessage::Elsewhere(told(true, "127.0.0.1:9230")));
        if !follows_ports {
            let code = hostile.listener.warning().await;
            assert_eq!(code, WarningCode::DebuggerElsewhere);
            continue;
        }
        let offered = async {
            loop {
                if let TunnelMessage::Forwards(offers) = control.read().await.unwrap()
                    && offers.len() == 2
                {
                    return offers;
                }
            }
        };
        assert_eq!(in_time(offered).await[1].target_port, 9230);
        let state = ForwardState::Up {
            listen: String::new(),
        };
        tunnel.send(TunnelMessage::ForwardState { forward: 1, state });
        hostile.listener.port().await;
    }
}

#[tokio::test]
async fn conversation_about_programs_is_refused_where_nobody_allowed_it_and_answered_where_somebody_did()
 {
    for consent in [Consent::Refused, Consent::Given] {
        let pair = Pair::settled(Vec::new(), |config| {
            config.policy = Arc::new(SessionPolicy {
                attach: consent.clone(),
                ..SessionPolicy::default()
            });
        })
        .await;
        let program = pipe(&pair.listener, PipeTarget::Programs);
        in_time(program.opened).await.unwrap().unwrap();
        let mut talk = Conversation::over(program.connection);
        let question = AttachMessage::List {
            meant: std::process::id().to_string(),
        };
        let answer = in_time(talk.ask(&question)).await.unwrap();
        match consent {
            Consent::Given => assert!(matches!(answer, AttachMessage::Listed { .. }), "{answer:?}"),
            _ => assert_eq!(answer, AttachMessage::Refused(Refusal::NotAccepted)),
        }
        drop(talk);
        in_time(program.ended).await.unwrap();
    }
}

#[tokio::test]
async fn conversation_with_a_peer_that_is_out_of_reach_is_refused() {
    let mut hostile = Hostile::with(|_| {}).await;
    let (at, way) = way_to(hostile.at, || true).await;
    let tunnel = hostile.dial_by(at, PathKind::RelayUdp, 1).await.unwrap();
    drop(way);
    // Nothing is missed while nothing is asked.
    let asked = pipe(&hostile.listener, PipeTarget::Sources);
    let lost = |event| matches!(event, Event::PeerLost { .. }).then_some(());
    hostile.listener.report(lost).await;
    drop((asked, tunnel));
    let refused = pipe(&hostile.listener, PipeTarget::Sources);
    let failure = in_time(refused.opened).await.unwrap().unwrap_err();
    assert_eq!(failure.code, ErrorCode::PeerGone);
}

#[tokio::test]
async fn files_of_both_ends_are_compared_and_what_differs_is_told() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for (directory, text) in directories.iter().zip(["old", "new"]) {
        std::fs::write(directory.path().join("app.py"), text).unwrap();
        std::fs::write(directory.path().join("same.py"), "same").unwrap();
    }
    let mut pair = compared(&directories).await;
    let report = |event| match event {
        Event::Sources(report) => Some(report),
        _ => None,
    };
    let report = pair.listener.report(report).await;
    let differ: Vec<String> = report.differ.iter().map(ToString::to_string).collect();
    assert_eq!((differ, report.same), (vec!["app.py".to_owned()], 1));
    let roots = |output| match output {
        SessionOutput::Roots(roots) => roots,
        _ => None,
    };
    let roots = pair.listener.told(roots).await;
    let [here, there] = directories
        .each_ref()
        .map(|dir| dir.path().to_str().unwrap());
    assert_eq!((roots.here.as_str(), roots.there.as_str()), (here, there));
}

#[tokio::test]
async fn directories_with_no_file_in_common_are_warned_of() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for (directory, name) in directories.iter().zip(["a.py", "b.rb"]) {
        std::fs::write(directory.path().join(name), name).unwrap();
    }
    let mut pair = compared(&directories).await;
    assert_eq!(pair.listener.warning().await, WarningCode::NothingInCommon);
    let roots = |output| match output {
        SessionOutput::Roots(roots) => Some(roots),
        _ => None,
    };
    assert_eq!(pair.listener.told(roots).await, None);
}

#[tokio::test]
async fn that_no_file_is_anothers_is_told_also_where_one_end_had_none_at_first() {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    std::fs::write(directories[1].path().join("b.rb"), "b").unwrap();
    let mut pair = compared(&directories).await;
    assert_eq!(pair.listener.warning().await, WarningCode::NothingInCommon);
    std::fs::write(directories[0].path().join("a.py"), "a").unwrap();
    let roots = |output| match output {
        SessionOutput::Roots(roots) => Some(roots),
        _ => None,
    };
    assert_eq!(pair.listener.told(roots).await, None);
}

/// A pair with a stream between them, whose ends compare these directories: the listener's and the connector's.
async fn compared(directories: &[tempfile::TempDir; 2]) -> Pair {
    Pair::settled(Vec::new(), |config| {
        let root = match config.paths.role {
            Role::Listener => directories[0].path(),
            Role::Connector => directories[1].path(),
        };
        config.facts = HostFacts::default().with_root(Some(root));
        config.policy = Arc::new(SessionPolicy {
            sources: SourcesOptions {
                root: Some(root.to_owned()),
                is_named: true,
                compares: true,
                inbox: None,
            },
            ..SessionPolicy::default()
        });
    })
    .await
}
