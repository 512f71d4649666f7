//! A peer within the test: paired by code, with everything that the connector of a session has.

use std::{net::SocketAddr, sync::Arc};

use p2pdbg_base::PathPolicy;
use p2pdbg_identity::{Identity, tls};
use p2pdbg_ledger::CarrierHeader;
use p2pdbg_meeting::{Meeting, MeetingCommand, MeetingConfig, MeetingEvent, Met, Whom};
use p2pdbg_net::changes::Changes;
use p2pdbg_path::{
    PathCommand, PathContext, PathEvent, PathSocket, Paths, traversal_options::Traversal,
};
use p2pdbg_proto::{
    code::Code,
    frame,
    rendezvous::Role,
    signal::PeerMessage,
    tunnel::{EXPORTER_LABEL, ForwardState, PathKind, TunnelMessage},
    url::RendezvousUrl,
};
use p2pdbg_rendezvous_client::TcpRoute;
use quinn::{
    ClientConfig, Connection, ConnectionError, RecvStream, SendStream,
    crypto::rustls::QuicClientConfig,
};

/// One who has paired with the listener.
pub(crate) struct Friend {
    pub(crate) met: Met,
    /// Where the listener's session receives.
    pub(crate) listener: SocketAddr,
    identity: Identity,
    socket: PathSocket,
    /// As long as these live, the listener can reach this end.
    _meeting: Meeting,
    _paths: Paths,
}

impl Friend {
    /// Pairs, and finds the direct path.
    pub(crate) async fn pair(url: RendezvousUrl, code: Code) -> Self {
        let identity = Identity::ephemeral().unwrap();
        let copy = Identity::from_pem(pem(&identity).as_bytes()).unwrap();
        // Nothing through the relay, where the listener would call.
        let context = context(&url, PathPolicy::Direct);
        let whom = Whom::CodeMaker(code);
        let mut meeting = Meeting::start(MeetingConfig {
            paths: context.clone(),
            ..MeetingConfig::detached(Role::Connector, Arc::new(copy), whom, url)
        });
        let mut met = loop {
            match meeting.event().await.expect("the meeting goes on") {
                MeetingEvent::Met(met) => break *met,
                MeetingEvent::Failed(failure) => panic!("{failure:?}"),
                _ => {}
            }
        };
        // What the meeting has made ready gives way to what is seen through from here.
        met.approach = None;
        let mut paths = Paths::open(context).unwrap();
        paths.command(PathCommand::Introduced(met.at.clone()));
        paths.command(PathCommand::Authenticated(met.keys.punch.clone()));
        let (socket, listener) = loop {
            tokio::select! {
                event = meeting.event() => if let Some(MeetingEvent::Message(_, PeerMessage::Punch(signal))) = event {
                    paths.command(PathCommand::PeerSignal(signal));
                },
                event = paths.event() => match event {
                    Some(PathEvent::Signal(signal)) => {
                        meeting.command(MeetingCommand::Message(met.channel, PeerMessage::Punch(signal)));
                    }
                    Some(PathEvent::Direct { socket, path }) => break (socket, path.remote),
                    _ => {}
                },
            }
        };
        paths.command(PathCommand::DirectUp);
        Self {
            met,
            listener,
            identity,
            socket,
            _meeting: meeting,
            _paths: paths,
        }
    }

    /// How it dials: with the right certificate.
    pub(crate) fn dials(&self) -> ClientConfig {
        dials_as(&self.identity, self)
    }

    /// A connection to the listener's session on which nothing has been said.
    pub(crate) async fn knock(&self) -> Connection {
        self.try_knock().await.unwrap()
    }

    /// The same, where it may be refused.
    pub(crate) async fn try_knock(&self) -> Result<Connection, ConnectionError> {
        let endpoint = &self.socket.endpoint;
        let connecting = endpoint.connect_with(self.dials(), self.listener, "p2pdbg");
        connecting.unwrap().await
    }

    /// What opens a tunnel over this very connection.
    pub(crate) fn hello(&self, over: &Connection, epoch: u64) -> TunnelMessage {
        let mut exported = [0; 32];
        over.export_keying_material(&mut exported, EXPORTER_LABEL, b"")
            .unwrap();
        let (role, path) = (Role::Connector, PathKind::Direct);
        TunnelMessage::Hello {
            epoch,
            path,
            proof: self.met.keys.tunnel.prove(role, epoch, path, &exported),
        }
    }

    /// A tunnel of this epoch, whose forwards stand.
    pub(crate) async fn tunnel(&self, epoch: u64) -> Talk {
        let connection = self.knock().await;
        let hello = self.hello(&connection, epoch);
        let mut talk = Talk::begin(connection, &hello).await;
        let answer = talk.hear().await;
        assert!(matches!(answer, TunnelMessage::Hello { epoch: named, .. } if named == epoch));
        let offers = loop {
            if let TunnelMessage::Forwards(offers) = talk.hear().await {
                break offers;
            }
        };
        for offer in offers {
            let state = ForwardState::Up {
                listen: String::new(),
            };
            let forward = offer.forward;
            talk.say(&TunnelMessage::ForwardState { forward, state })
                .await;
        }
        talk
    }
}

/// What holds for the paths of a peer within the test.
pub(crate) fn context(url: &RendezvousUrl, policy: PathPolicy) -> PathContext {
    PathContext {
        role: Role::Connector,
        policy,
        traversal: Traversal {
            port_mapping: false,
            ..Traversal::default()
        },
        // There is no such directory, so nobody else holds it.
        search_lock: "/nowhere/search.lock".into(),
        route: TcpRoute::new(url),
        changes: Changes::silent(),
    }
}

/// Dialling the listener of that friend with any identity.
pub(crate) fn dials_as(identity: &Identity, friend: &Friend) -> ClientConfig {
    let tls = tls::tunnel_client(identity, friend.met.peer).unwrap();
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// An identity as it is kept in a file.
fn pem(identity: &Identity) -> String {
    let block = |name: &str, der: &[u8]| {
        let base64 = data_encoding::BASE64.encode(der);
        format!("-----BEGIN {name}-----\n{base64}\n-----END {name}-----\n")
    };
    let key = identity.key();
    block("CERTIFICATE", &identity.certificate()) + &block("PRIVATE KEY", key.secret_der())
}

/// A control stream.
pub(crate) struct Talk {
    pub(crate) connection: Connection,
    send: SendStream,
    recv: RecvStream,
}

impl Talk {
    /// Says the first message.
    pub(crate) async fn begin(connection: Connection, first: &TunnelMessage) -> Self {
        let (send, recv) = connection.open_bi().await.unwrap();
        let mut talk = Self {
            connection,
            send,
            recv,
        };
        talk.say(first).await;
        talk
    }

    pub(crate) async fn say(&mut self, message: &TunnelMessage) {
        let mut bytes = Vec::new();
        frame::encode(message, &mut bytes).unwrap();
        self.send.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn hear(&mut self) -> TunnelMessage {
        let mut prefix = [0; frame::PREFIX];
        self.recv.read_exact(&mut prefix).await.unwrap();
        let mut body = vec![0; frame::body_length(prefix).unwrap()];
        self.recv.read_exact(&mut body).await.unwrap();
        frame::decode(&body).unwrap()
    }

    /// The next stream that the listener opens, or goes on with.
    pub(crate) async fn stream(&self) -> Stream {
        let mut from = self.connection.accept_uni().await.unwrap();
        let mut header = [0; CarrierHeader::LEN];
        from.read_exact(&mut header).await.unwrap();
        let header = CarrierHeader::decode(&header).unwrap();
        let mut to = self.connection.open_uni().await.unwrap();
        let back = CarrierHeader {
            ordinal: header.ordinal,
            offset: 0,
            ..header
        };
        to.write_all(&back.encode()).await.unwrap();
        Stream { header, from, to }
    }
}

/// One debugger's connection, as the peer sees it.
pub(crate) struct Stream {
    pub(crate) header: CarrierHeader,
    pub(crate) from: RecvStream,
    pub(crate) to: SendStream,
}
