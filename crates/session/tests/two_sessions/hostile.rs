//! A session at the listener, and a peer that has its keys and says what it must not.

use std::sync::Weak;

use p2pdbg_ledger::{CarrierHeader, Frame, Side, StreamId};
use p2pdbg_net::nat64::Nat64;
use p2pdbg_path::PathSocket;
use p2pdbg_proto::{
    relay::RelayFrame,
    tunnel::{ForwardState, PathKind as Way, TunnelMessage, close},
};
use p2pdbg_punch::SocketId;
use p2pdbg_tunnel::{ControlStreamReader, Tunnel, TunnelConfig, TunnelError, dial as dial_tunnel};
use quinn::{ConnectionError, Endpoint, ReadError, ReadExactError, VarInt};
use tokio_util::task::AbortOnDropHandle;

use super::*;

const LEG: LegId = LegId([0; 16]);

/// The session, and the other end of its tunnels.
pub(super) struct Hostile {
    pub(super) listener: End,
    endpoint: Endpoint,
    config: TunnelConfig,
    keys: SessionKeys,
    /// Where the session takes tunnels.
    pub(super) at: SocketAddr,
    epoch: u64,
    _relay: UdpSocket,
    _directory: tempfile::TempDir,
}

impl Hostile {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// With what `settle` makes of the session's configuration.
    pub(super) async fn with(settle: impl Fn(&mut SessionConfig)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let relay_socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let identities = [(); 2].map(|()| Arc::new(Identity::ephemeral().unwrap()));
        let [a, b] = &identities;
        let [to_listener, keys] = agree([a, b]);
        let forwards = vec![forward(
            Direction::ToDebuggee,
            SocketAddr::from(([127, 0, 0, 1], 9)),
        )];
        let policy = PathPolicy::Relay;
        let (listener, outputs, tell) = start(
            Role::Listener,
            [a, b],
            to_listener,
            forwards,
            policy,
            directory.path(),
            &settle,
        )
        .await;
        tokio::spawn(relay(outputs, tell, Weak::new()));
        let at = relay_socket.local_addr().unwrap();
        listener
            .session
            .input(SessionInput::Introduced(introduction(at)));
        // Its leg is bound from the socket on which it takes tunnels.
        let mut bind = [0; 2048];
        let (length, at) = in_time(relay_socket.recv_from(&mut bind)).await.unwrap();
        let bind = RelayFrame::decode(&bind[..length]).unwrap();
        assert!(matches!(bind, RelayFrame::Bind { leg: LEG, .. }));
        let (others, _) = mpsc::channel(1);
        let any = Ipv4Addr::UNSPECIFIED.into();
        let socket = PathSocket::open(SocketId::V4, any, &Nat64::default(), others).unwrap();
        Self {
            listener,
            endpoint: socket.endpoint,
            config: TunnelConfig::new(b, a.fingerprint()).unwrap(),
            keys,
            at,
            epoch: 0,
            _relay: relay_socket,
            _directory: directory,
        }
    }

    pub(super) async fn dial(
        &self,
        epoch: u64,
    ) -> Result<(Tunnel, ControlStreamReader), TunnelError> {
        self.dial_by(self.at, Way::RelayUdp, epoch).await
    }

    /// Dials the session by this address.
    pub(super) async fn dial_by(
        &self,
        at: SocketAddr,
        way: Way,
        epoch: u64,
    ) -> Result<(Tunnel, ControlStreamReader), TunnelError> {
        let (endpoint, key) = (&self.endpoint, &self.keys.tunnel);
        in_time(dial_tunnel(endpoint, &self.config, at, way, epoch, key)).await
    }

    /// A tunnel that is newer than those before.
    pub(super) async fn tunnel(&mut self) -> (Tunnel, ControlStreamReader) {
        self.epoch += 1;
        self.dial(self.epoch).await.unwrap()
    }
}

/// With which code the session has closed a tunnel.
async fn closed_with(tunnel: &Tunnel) -> VarInt {
    match in_time(tunnel.connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => close.error_code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn messages_that_a_connector_must_not_say_close_the_tunnel_and_are_told() {
    let mut hostile = Hostile::new().await;
    let unknown = Frame::Stop(p2pdbg_ledger::Stop {
        stream: StreamId::new(Side::Listener, 5),
        forward: 0,
        code: p2pdbg_ledger::ResetCode::CONNECTION,
    });
    let mut never_opened = Vec::new();
    unknown.encode(&mut never_opened);
    for message in [
        TunnelMessage::Ledger(vec![0x4f, 1, 2]),
        TunnelMessage::Ledger(never_opened),
        TunnelMessage::Forwards(Vec::new()),
        TunnelMessage::Hello {
            epoch: 9,
            path: Way::Direct,
            proof: [0; 32],
        },
    ] {
        let (tunnel, _control) = hostile.tunnel().await;
        tunnel.send(message.clone());
        let code = closed_with(&tunnel).await;
        assert_eq!(code, VarInt::from_u32(close::PROTOCOL), "{message:?}");
    }
    assert_eq!(hostile.listener.warning().await, WarningCode::Refused);
    // An honest tunnel comes up all the same.
    let (tunnel, mut control) = hostile.tunnel().await;
    assert!(in_time(control.read()).await.is_ok());
    assert!(tunnel.is_open());
}

#[tokio::test]
async fn state_of_a_forward_that_there_is_not_changes_nothing() {
    let mut hostile = Hostile::new().await;
    let (tunnel, _control) = hostile.tunnel().await;
    tunnel.send(TunnelMessage::ForwardState {
        forward: 900,
        state: ForwardState::NotAllowed,
    });
    tunnel.send(TunnelMessage::TargetListening {
        forward: 900,
        listening: true,
        number: 1,
    });
    tunnel.send(TunnelMessage::StreamWaiting {
        stream: 77,
        waiting: true,
        number: 1,
    });
    tunnel.send(TunnelMessage::ForwardState {
        forward: 0,
        state: ForwardState::NotAllowed,
    });
    assert_eq!(
        hostile.listener.warning().await,
        WarningCode::TargetNotAllowed
    );
    assert!(tunnel.is_open());
}

#[tokio::test]
async fn carrier_without_a_header_is_stopped_and_costs_no_more() {
    let mut hostile = Hostile::new().await;
    let (tunnel, _control) = hostile.tunnel().await;
    let mut carrier = in_time(tunnel.connection.open_uni()).await.unwrap();
    carrier
        .write_all(&[0xff; CarrierHeader::LEN])
        .await
        .unwrap();
    assert!(in_time(carrier.stopped()).await.unwrap().is_some());
    assert!(tunnel.is_open());
}

#[tokio::test]
async fn stream_to_a_forward_that_there_is_not_is_ended_at_once() {
    let mut hostile = Hostile::new().await;
    let (tunnel, mut control) = hostile.tunnel().await;
    let stream = StreamId::new(Side::Connector, 0);
    let header = CarrierHeader {
        stream,
        forward: 900,
        ordinal: 0,
        offset: 0,
    };
    let mut carrier = in_time(tunnel.connection.open_uni()).await.unwrap();
    carrier.write_all(&header.encode()).await.unwrap();
    let ended = async {
        loop {
            if let TunnelMessage::Ledger(bytes) = control.read().await.unwrap() {
                let frame = Frame::decode(&bytes).unwrap();
                assert_eq!(frame.stream(), stream);
                if let Frame::Stop(stop) = frame {
                    return stop.code;
                }
            }
        }
    };
    let code = in_time(ended).await;
    assert_eq!(code, p2pdbg_ledger::ResetCode::NOT_ALLOWED);
    assert!(tunnel.is_open());
}

#[tokio::test]
async fn tunnel_of_an_epoch_that_was_up_is_refused_and_told() {
    let mut hostile = Hostile::new().await;
    let (tunnel, _control) = hostile.tunnel().await;
    assert!(hostile.dial(1).await.is_err());
    assert_eq!(hostile.listener.warning().await, WarningCode::Refused);
    assert!(tunnel.is_open(), "the one that was up stays");
}

#[tokio::test]
async fn impostor_without_the_key_gets_no_tunnel_and_is_told() {
    let mut hostile = Hostile::new().await;
    let others = [(); 2].map(|()| Identity::ephemeral().unwrap());
    let [_, keys] = agree([&others[0], &others[1]]);
    let right = std::mem::replace(&mut hostile.keys, keys);
    assert!(hostile.dial(1).await.is_err());
    assert_eq!(hostile.listener.warning().await, WarningCode::Refused);
    hostile.keys = right;
    hostile.tunnel().await;
}

#[tokio::test]
async fn goodbye_of_the_peer_ends_the_session() {
    let mut hostile = Hostile::new().await;
    let (tunnel, _control) = hostile.tunnel().await;
    tunnel.close(close::DONE);
    assert_eq!(hostile.listener.over().await, SessionEnd::PeerClosed);
}

/// Passes datagrams on to the session and back, as long as the handle lives; the address at which it does. What comes
/// from the session passes if `passes` says so.
pub(super) async fn way_to(
    session: SocketAddr,
    mut passes: impl FnMut() -> bool + Send + 'static,
) -> (SocketAddr, AbortOnDropHandle<()>) {
    let [front, back] = [
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    ];
    let at = front.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut there, mut here) = ([0; 2048], [0; 2048]);
        let mut peer = None;
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut there) => {
                    peer = Some(from);
                    let _ = back.send_to(&there[..length], session).await;
                }
                Ok((length, _)) = back.recv_from(&mut here) => {
                    if let Some(peer) = peer
                        && passes()
                    {
                        let _ = front.send_to(&here[..length], peer).await;
                    }
                }
            }
        }
    });
    (at, AbortOnDropHandle::new(task))
}

/// What comes on the next carrier: where it begins, and as many bytes as `length` says. One that the session takes back
/// is no carrier: its bytes come on another one.
async fn carried(tunnel: &Tunnel, length: usize) -> (CarrierHeader, Vec<u8>) {
    loop {
        let mut carrier = in_time(tunnel.connection.accept_uni()).await.unwrap();
        let read = async {
            let mut header = [0; CarrierHeader::LEN];
            carrier.read_exact(&mut header).await?;
            let mut bytes = vec![0; length];
            carrier.read_exact(&mut bytes).await?;
            Ok((CarrierHeader::decode(&header).unwrap(), bytes))
        };
        match in_time(read).await {
            Ok(carried) => return carried,
            Err(ReadExactError::ReadError(ReadError::Reset(_))) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn bytes_on_a_tunnel_that_falls_silent_go_again_on_another_from_where_they_began() {
    let mut hostile = Hostile::new().await;
    let port = hostile.listener.port().await;
    let (relayed, _control) = hostile.tunnel().await;
    let (at, way) = way_to(hostile.at, || true).await;
    let (direct, _control) = hostile.dial_by(at, Way::Direct, 2).await.unwrap();
    // It is up at this end first: what is written before the session uses it begins on the other one.
    let is_direct = |event| match event {
        Event::Path(path) => (path.kind == PathKind::Direct).then_some(()),
        _ => None,
    };
    hostile.listener.report(is_direct).await;
    let mut ide = dial(&port).await;
    ide.write_all(b"hello").await.unwrap();
    let (header, bytes) = carried(&direct, 5).await;
    assert_eq!((header.offset, &bytes[..]), (0, &b"hello"[..]));
    // Nobody acknowledges it in the ledger, and now nothing passes any more.
    drop(way);
    ide.write_all(b" again").await.unwrap();
    let (moved, bytes) = carried(&relayed, 11).await;
    assert_eq!((moved.stream, moved.offset), (header.stream, 0));
    assert_eq!(bytes, b"hello again");
    assert!(moved.ordinal > header.ordinal);
}

/// Says something about a stream on the tunnel's control stream.
fn say(tunnel: &Tunnel, frame: Frame) {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    tunnel.send(TunnelMessage::Ledger(bytes));
}

/// Waits until the session has ended its own direction of a stream.
async fn ended(control: &mut ControlStreamReader, stream: StreamId) {
    in_time(async {
        loop {
            if let TunnelMessage::Ledger(bytes) = control.read().await.unwrap()
                && let Frame::End(end) = Frame::decode(&bytes).unwrap()
                && end.stream == stream
            {
                return;
            }
        }
    })
    .await;
}

/// Writes this on a new carrier.
async fn carry(tunnel: &Tunnel, header: CarrierHeader, bytes: &[u8]) {
    let mut carrier = in_time(tunnel.connection.open_uni()).await.unwrap();
    carrier.write_all(&header.encode()).await.unwrap();
    carrier.write_all(bytes).await.unwrap();
    carrier.finish().unwrap();
}

#[tokio::test]
async fn what_was_dialled_here_is_broken_off_behind_the_last_words_of_the_other_end() {
    let (target, at) = debuggee().await;
    let mut hostile = Hostile::with(|config| {
        config.forwards.push(forward(Direction::ToIde, at));
        config.ports.push(None);
    })
    .await;
    let (tunnel, mut control) = hostile.tunnel().await;
    let mut header = CarrierHeader {
        stream: StreamId::new(Side::Connector, 0),
        forward: 1,
        ordinal: 0,
        offset: 0,
    };
    carry(&tunnel, header, b"hello").await;
    let (mut program, _) = in_time(target.accept()).await.unwrap();
    let mut hello = [0; 5];
    in_time(program.read_exact(&mut hello)).await.unwrap();
    (header.ordinal, header.offset) = (1, 5);
    broken_off(&tunnel, &mut control, header, &mut program).await;
}

#[tokio::test]
async fn what_was_accepted_here_is_broken_off_behind_the_last_words_of_the_other_end() {
    let mut hostile = Hostile::new().await;
    let (tunnel, mut control) = hostile.tunnel().await;
    let mut program = dial(&hostile.listener.port().await).await;
    program.write_all(b"hello").await.unwrap();
    let (mut header, _) = carried(&tunnel, 5).await;
    (header.ordinal, header.offset) = (0, 0);
    broken_off(&tunnel, &mut control, header, &mut program).await;
}

/// Breaks a stream off, its last words at the place that the header names; the program hears them, and then a RST.
async fn broken_off(
    tunnel: &Tunnel,
    control: &mut ControlStreamReader,
    header: CarrierHeader,
    program: &mut TcpStream,
) {
    let (stream, forward) = (header.stream, header.forward);
    let code = p2pdbg_ledger::ResetCode::CONNECTION;
    let stop = p2pdbg_ledger::Stop {
        stream,
        forward,
        code,
    };
    say(tunnel, Frame::Stop(stop));
    ended(control, stream).await;
    carry(tunnel, header, b"last words").await;
    let end = p2pdbg_ledger::End {
        stream,
        forward,
        kind: p2pdbg_ledger::EndKind::Reset(code),
        offset: header.offset + 10,
    };
    say(tunnel, Frame::End(end));
    let mut words = [0; 10];
    in_time(program.read_exact(&mut words)).await.unwrap();
    assert_eq!(&words, b"last words");
    let end = in_time(program.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}
