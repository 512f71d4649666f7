//! The same rendezvous over TLS on TCP: the conversation, and legs of the relay.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use p2pdbg_identity::tls;
use p2pdbg_proto::{
    fingerprint::Fingerprint,
    frame,
    relay::{LegGrant, LegId, RelayFrame, RelayRefusal},
    relay_stream::{self, Join, encode_packet},
    rendezvous::{Credential, FromRendezvous, Refusal, Request, ToRendezvous},
    secret::Secret,
    url::RendezvousUrl,
};
use p2pdbg_rendezvous::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{Member, Rig, Wire, next_attempt, soon};

/// A TLS connection to the rendezvous, with the ALPN of one of its protocols, another, or none.
async fn connect(rig: &Rig, alpn: Option<&[u8]>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = soon(TcpStream::connect(rig.main())).await?;
    stream.set_nodelay(true)?;
    shake_hands(stream, rig.server.url().fingerprint, alpn).await
}

async fn shake_hands(
    stream: TcpStream,
    fingerprint: Option<Fingerprint>,
    alpn: Option<&[u8]>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = tls::control_client(fingerprint).unwrap();
    config.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
    let name = tls::SERVER_NAME.try_into().unwrap();
    let connector = TlsConnector::from(std::sync::Arc::new(config));
    soon(connector.connect(name, stream)).await
}

/// A control connection over TCP.
pub(crate) struct Talker(TlsStream<TcpStream>);

impl Talker {
    async fn connect(rig: &Rig) -> Self {
        let alpn = Some(p2pdbg_proto::rendezvous::ALPN);
        Self(connect(rig, alpn).await.unwrap())
    }

    async fn welcome(rig: &Rig, credential: Credential) -> Self {
        let mut talker = Self::connect(rig).await;
        let agent = "test 1.0".into();
        talker.say(&ToRendezvous::Hello { credential, agent }).await;
        let local = talker.0.get_ref().0.local_addr().unwrap();
        match talker.hear().await {
            Some(FromRendezvous::Welcome { observed, stun, .. }) => {
                assert_eq!(observed, local);
                assert_eq!(stun[0].port(), rig.main().port());
            }
            other => panic!("{other:?}"),
        }
        talker
    }

    /// A connection from this address of this host, welcomed; `None` if it is refused on the way.
    pub(crate) async fn from(
        source: IpAddr,
        url: &RendezvousUrl,
        credential: Credential,
    ) -> Option<Self> {
        let address: SocketAddr = url.authority().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        let stream = soon(socket.connect(address)).await.ok()?;
        let alpn = Some(p2pdbg_proto::rendezvous::ALPN);
        let mut talker = Self(shake_hands(stream, url.fingerprint, alpn).await.ok()?);
        let agent = "test 1.0".into();
        let mut hello = Vec::new();
        frame::encode(&ToRendezvous::Hello { credential, agent }, &mut hello).unwrap();
        soon(talker.0.write_all(&hello)).await.ok()?;
        soon(talker.0.flush()).await.ok()?;
        let answer = talker.hear().await?;
        matches!(answer, FromRendezvous::Welcome { .. }).then_some(talker)
    }

    pub(crate) async fn say(&mut self, message: &ToRendezvous) {
        soon(p2pdbg_frames::write(&mut self.0, message))
            .await
            .unwrap();
    }

    /// The next message, or the end.
    pub(crate) async fn hear(&mut self) -> Option<FromRendezvous> {
        match soon(p2pdbg_frames::read(&mut self.0)).await {
            Ok(message) => message,
            Err(p2pdbg_frames::ReadError::Stream(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn is_closed(&mut self) -> bool {
        matches!(soon(self.0.read(&mut [0; 64])).await, Ok(0) | Err(_))
    }
}

/// A leg over TCP.
struct Leg(TlsStream<TcpStream>);

impl Leg {
    async fn connect(rig: &Rig) -> Self {
        let alpn = Some(relay_stream::ALPN);
        Self(connect(rig, alpn).await.unwrap())
    }

    fn exported(&self) -> [u8; 32] {
        let label = relay_stream::EXPORTER_LABEL;
        let session = self.0.get_ref().1;
        session
            .export_keying_material([0; 32], label, None)
            .unwrap()
    }

    async fn join(&mut self, grant: &LegGrant) -> Option<RelayFrame> {
        let join = Join::new(grant, next_attempt(), &self.exported());
        self.send(&join.encode()).await;
        self.frame().await
    }

    async fn bound(rig: &Rig, grant: &LegGrant) -> Self {
        let mut leg = Self::connect(rig).await;
        match leg.join(grant).await {
            Some(RelayFrame::Bound {
                lifetime_s: 300, ..
            }) => leg,
            other => panic!("{other:?}"),
        }
    }

    async fn frame(&mut self) -> Option<RelayFrame> {
        let packet = self.receive().await?;
        Some(RelayFrame::decode(&packet).unwrap())
    }

    async fn send(&mut self, packet: &[u8]) {
        let mut bytes = Vec::new();
        assert!(encode_packet(packet, &mut bytes));
        self.send_raw(&bytes).await.unwrap();
    }

    async fn send_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        soon(self.0.write_all(bytes)).await?;
        soon(self.0.flush()).await
    }

    /// The next packet, or the end.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        let length = soon(self.0.read_u16()).await.ok()?;
        let mut packet = vec![0; length.into()];
        soon(self.0.read_exact(&mut packet)).await.ok()?;
        Some(packet)
    }
}

/// A datagram that could be QUIC, told by its number.
fn datagram(number: u32, length: usize) -> Vec<u8> {
    let mut datagram = vec![number as u8; length];
    datagram[0] = 0x40 | (number as u8 & 0x3f);
    datagram
}

async fn hear_of_a_bound_leg(member: &mut Member) {
    let heard = member.peer.hear().await;
    assert!(matches!(heard, FromRendezvous::PeerSeen { .. }));
}

#[tokio::test]
async fn the_conversation_is_the_same_over_tcp_and_meets_peers_over_quic() {
    let rig = Rig::start().await;
    let mut listener = Talker::welcome(&rig, rig.key()).await;
    listener.say(&ToRendezvous::Listen { claim: None }).await;
    let Some(FromRendezvous::Listening(claim)) = listener.hear().await else {
        panic!("no nameplate");
    };
    let mut connector = rig.peer(Credential::None).await;
    let nameplate = claim.nameplate;
    connector.say(&ToRendezvous::Join { nameplate }).await;
    let session = connector.introduced().await.session;
    let heard = listener.hear().await;
    assert!(matches!(heard, Some(FromRendezvous::Introduced(i)) if i.session == session));
    let payload = vec![7; 16_384];
    let signal = ToRendezvous::Signal { session, payload };
    listener.say(&signal).await;
    let heard = connector.hear().await;
    assert!(matches!(heard, FromRendezvous::Signal { payload, .. } if payload.len() == 16_384));
    let counters = rig.server.counters();
    assert_eq!((counters.connections, counters.tcp_connections), (2, 1));
}

#[tokio::test]
async fn a_ping_is_answered() {
    let rig = Rig::start().await;
    let mut talker = Talker::welcome(&rig, Credential::None).await;
    talker.say(&ToRendezvous::Ping).await;
    assert_eq!(talker.hear().await, Some(FromRendezvous::Pong));
}

#[tokio::test]
async fn a_goodbye_is_told_from_a_connection_that_breaks() {
    let rig = Rig::start().await;
    for (says_so, on_purpose) in [(true, true), (false, false)] {
        let (mut listener, claim) = rig.listener().await;
        let mut connector = Talker::welcome(&rig, Credential::None).await;
        let nameplate = claim.nameplate;
        connector.say(&ToRendezvous::Join { nameplate }).await;
        let session = listener.introduced().await.session;
        if says_so {
            soon(connector.0.shutdown()).await.unwrap();
        }
        drop(connector);
        let left = FromRendezvous::PeerLeft {
            session,
            on_purpose,
        };
        assert_eq!(listener.hear().await, left);
    }
}

#[tokio::test]
async fn a_stopping_rendezvous_says_so_over_tcp() {
    let rig = Rig::start().await;
    let mut talker = Talker::welcome(&rig, Credential::None).await;
    let (heard, ()) = tokio::join!(
        async { [talker.hear().await, talker.hear().await] },
        rig.server.shutdown()
    );
    assert!(matches!(
        heard,
        [Some(FromRendezvous::Stopping { .. }), None]
    ));
}

#[tokio::test]
async fn datagrams_pass_between_tcp_and_udp_and_between_tcp_and_tcp() {
    for other_over_tcp in [false, true] {
        let rig = Rig::start().await;
        let (mut listener, mut connector) = rig.pair().await;
        let mut over_tcp = Leg::bound(&rig, &listener.introduction.leg).await;
        hear_of_a_bound_leg(&mut connector).await;
        let lengths = [1, 47, 1_200, 1_200, 1_200, 800, 1_452, 1_452, 1_500];
        let sent: Vec<_> = (0..180u32)
            .map(|number| datagram(number, lengths[number as usize % lengths.len()]))
            .collect();
        if other_over_tcp {
            let mut other = Leg::bound(&rig, &connector.introduction.leg).await;
            hear_of_a_bound_leg(&mut listener).await;
            for datagram in &sent {
                over_tcp.send(datagram).await;
                assert!(other.receive().await.as_ref() == Some(datagram));
                other.send(datagram).await;
                assert!(over_tcp.receive().await.as_ref() == Some(datagram));
            }
            assert_eq!(rig.server.counters().tcp_legs, 2);
        } else {
            let other = Wire::new();
            other
                .bind_leg(rig.main(), &connector.introduction.leg)
                .await;
            hear_of_a_bound_leg(&mut listener).await;
            // Many at once, so that they come and go in batches.
            for datagrams in sent.chunks(30) {
                for datagram in datagrams {
                    over_tcp.send(datagram).await;
                }
                for datagram in datagrams {
                    assert!(other.receive_from(rig.main()).await == *datagram);
                }
            }
            for datagrams in sent.chunks(30) {
                for datagram in datagrams {
                    other.send(rig.main(), datagram).await;
                }
                for datagram in datagrams {
                    assert!(over_tcp.receive().await.as_ref() == Some(datagram));
                }
            }
            assert_eq!(rig.server.counters().tcp_legs, 1);
        }
        let counters = rig.server.counters();
        assert_eq!((counters.legs, counters.relayed), (2, 360));
    }
}

#[tokio::test]
async fn a_member_may_change_between_udp_and_tcp_and_loses_nothing_in_flight() {
    let rig = Rig::start().await;
    let (mut listener, mut connector) = rig.pair().await;
    let other = Wire::new();
    other
        .bind_leg(rig.main(), &connector.introduction.leg)
        .await;
    hear_of_a_bound_leg(&mut listener).await;
    let grant = &listener.introduction.leg;
    let udp = Wire::new();
    for _ in 0..2 {
        udp.bind_leg(rig.main(), grant).await;
        hear_of_a_bound_leg(&mut connector).await;
        other.send(rig.main(), &datagram(1, 100)).await;
        assert!(udp.receive_from(rig.main()).await == datagram(1, 100));

        let mut tcp = Leg::bound(&rig, grant).await;
        hear_of_a_bound_leg(&mut connector).await;
        other.send(rig.main(), &datagram(2, 100)).await;
        assert!(tcp.receive().await == Some(datagram(2, 100)));

        udp.bind_leg(rig.main(), grant).await;
        hear_of_a_bound_leg(&mut connector).await;
        // What was sent by the old way just before arrives all the same.
        tcp.send(&datagram(3, 100)).await;
        assert!(other.receive_from(rig.main()).await == datagram(3, 100));
        other.send(rig.main(), &datagram(4, 100)).await;
        assert!(udp.receive_from(rig.main()).await == datagram(4, 100));
    }
}

#[tokio::test]
async fn members_that_come_to_different_ports_reach_each_other() {
    let state = crate::support::state_dir();
    let any = || "127.0.0.1:0".parse().unwrap();
    let server = p2pdbg_rendezvous::Server::start(p2pdbg_rendezvous::ServerConfig {
        bind: vec![any(), any()],
        alt_port: 0,
        state: Some(state.path().into()),
        ..Default::default()
    });
    let server = server.await.unwrap();
    let other_port = server.addresses()[1];
    let rig = Rig { server, state };
    let (listener, connector) = rig.pair().await;
    let mut one = Leg::bound(&rig, &listener.introduction.leg).await;
    let other = Wire::new();
    other
        .bind_leg(other_port, &connector.introduction.leg)
        .await;
    one.send(&datagram(1, 1_200)).await;
    assert!(other.receive_from(other_port).await == datagram(1, 1_200));
    other.send(other_port, &datagram(2, 1_200)).await;
    assert!(one.receive().await == Some(datagram(2, 1_200)));
}

#[tokio::test]
async fn an_empty_packet_is_answered_by_an_empty_packet() {
    let rig = Rig::start().await;
    let (listener, _connector) = rig.pair().await;
    let mut leg = Leg::bound(&rig, &listener.introduction.leg).await;
    leg.send(&[]).await;
    assert_eq!(leg.receive().await, Some(Vec::new()));
}

#[tokio::test]
async fn a_leg_over_tcp_ends_with_its_session_and_is_told_so() {
    let rig = Rig::start().await;
    let (mut listener, connector) = rig.pair().await;
    let mut leg = Leg::bound(&rig, &connector.introduction.leg).await;
    let session = connector.introduction.session;
    listener.peer.say(&ToRendezvous::Leave { session }).await;
    let refused = RelayFrame::Refused {
        leg: connector.introduction.leg.leg,
        reason: RelayRefusal::UnknownLeg,
    };
    assert_eq!(leg.frame().await, Some(refused));
    assert_eq!(leg.receive().await, None);
}

#[tokio::test]
async fn a_second_connection_takes_the_leg_over_from_the_first() {
    let rig = Rig::start().await;
    let (listener, connector) = rig.pair().await;
    let other = Wire::new();
    other
        .bind_leg(rig.main(), &connector.introduction.leg)
        .await;
    let mut first = Leg::bound(&rig, &listener.introduction.leg).await;
    let mut second = Leg::bound(&rig, &listener.introduction.leg).await;
    assert!(matches!(
        first.frame().await,
        Some(RelayFrame::Refused { .. })
    ));
    assert_eq!(first.receive().await, None);
    other.send(rig.main(), &datagram(1, 100)).await;
    assert!(second.receive().await == Some(datagram(1, 100)));
}

#[tokio::test]
async fn wrong_borrowed_and_replayed_proofs_bind_no_leg() {
    let rig = Rig::start().await;
    let (listener, connector) = rig.pair().await;
    let grant = &listener.introduction.leg;
    let refused = |leg, reason| Some(RelayFrame::Refused { leg, reason });

    let unknown = LegGrant {
        leg: LegId([9; 16]),
        key: Secret::random(),
    };
    let mut leg = Leg::connect(&rig).await;
    let reply = leg.join(&unknown).await;
    assert_eq!(reply, refused(unknown.leg, RelayRefusal::UnknownLeg));
    assert_eq!(leg.receive().await, None);

    let wrong_key = LegGrant {
        leg: grant.leg,
        key: connector.introduction.leg.key.clone(),
    };
    let mut leg = Leg::connect(&rig).await;
    let reply = leg.join(&wrong_key).await;
    assert_eq!(reply, refused(grant.leg, RelayRefusal::Proof));

    // What was said on one connection is of no use on another.
    let honest = Leg::connect(&rig).await;
    let said = Join::new(grant, next_attempt(), &honest.exported()).encode();
    let mut thief = Leg::connect(&rig).await;
    thief.send(&said).await;
    let reply = thief.frame().await;
    assert_eq!(reply, refused(grant.leg, RelayRefusal::Proof));
    let counters = rig.server.counters();
    assert_eq!((counters.legs, counters.tcp_failed), (0, 3));
}

#[tokio::test]
async fn whoever_speaks_no_protocol_of_ours_is_hung_up_on() {
    let rig = Rig::start().await;
    let (mut bystander, claim) = rig.listener().await;
    assert!(connect(&rig, Some(b"h2")).await.is_err());
    for garbage in [
        &[0; 3_000][..],
        &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 1],
        &[0xc0; 2_000],
    ] {
        let mut stream = soon(TcpStream::connect(rig.main())).await.unwrap();
        soon(stream.write_all(garbage)).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert!(answer.len() <= garbage.len(), "{} bytes", answer.len());
    }
    assert_eq!(bystander.listen(Some(claim.clone())).await, claim);
}

#[tokio::test]
async fn what_breaks_the_protocol_of_a_leg_ends_it_and_nothing_else() {
    let rig = Rig::start().await;
    let (listener, connector) = rig.pair().await;
    let mut other = Leg::bound(&rig, &connector.introduction.leg).await;
    let too_long = 1_501u16.to_be_bytes();
    // Longer than any packet, STUN, a frame of the relay, what is nothing at all.
    for bytes in [
        &too_long[..],
        &[0xff, 0xff],
        &[0, 20, 0, 1],
        &[0, 1, 4],
        &[0, 1, 63],
    ] {
        let mut leg = Leg::bound(&rig, &listener.introduction.leg).await;
        // What is behind the length need not be there for the length to be a breach.
        let whole = [bytes, &[0; 40]].concat();
        let _ = leg.send_raw(&whole).await;
        assert_eq!(leg.receive().await, None, "{bytes:?}");
    }
    for before in [&[0, 50, 9, 2][..], &[0, 49], &[0, 0], &[1, 0, 64]] {
        let mut leg = Leg::connect(&rig).await;
        let _ = leg.send_raw(&[before, &[0; 400]].concat()).await;
        assert_eq!(leg.receive().await, None, "{before:?}");
    }
    let mut leg = Leg::bound(&rig, &listener.introduction.leg).await;
    leg.send(&datagram(1, 100)).await;
    assert!(other.receive().await == Some(datagram(1, 100)));
}

#[tokio::test]
async fn who_dawdles_is_hung_up_on_at_every_step() {
    let rig = Rig::with(Limits {
        greeting_within: Duration::from_secs(5),
        ..Limits::default()
    })
    .await;
    // Nothing at all; a piece of a handshake; a handshake and no hello; a handshake and no JOIN.
    let silent = soon(TcpStream::connect(rig.main())).await.unwrap();
    let mut dripping = soon(TcpStream::connect(rig.main())).await.unwrap();
    soon(dripping.write_all(&[0x16, 3, 1])).await.unwrap();
    let mut speechless = Talker::connect(&rig).await;
    let mut legless = Leg::connect(&rig).await;
    soon(legless.send_raw(&[0, 50, 9])).await.unwrap();
    for mut stream in [silent, dripping] {
        let mut rest = Vec::new();
        let _ = soon(stream.read_to_end(&mut rest)).await;
    }
    assert!(speechless.is_closed().await);
    assert_eq!(legless.receive().await, None);
    // A connection is closed a moment before it is counted.
    soon(async {
        while rig.server.counters().tcp_failed < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(rig.server.counters().tcp_failed, 3);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up() {
    let rig = Rig::with(Limits {
        idle: Duration::from_secs(5),
        ..Limits::default()
    })
    .await;
    let (listener, _connector) = rig.pair().await;
    let mut leg = Leg::bound(&rig, &listener.introduction.leg).await;
    let mut talker = Talker::welcome(&rig, Credential::None).await;
    assert!(talker.is_closed().await);
    assert_eq!(leg.receive().await, None);
}

#[tokio::test]
async fn an_address_has_so_many_connections_over_tcp_and_quic_together() {
    let rig = Rig::with(Limits {
        connections_per_address: 3,
        ..Limits::default()
    })
    .await;
    let mut held = [
        Talker::welcome(&rig, Credential::None).await,
        Talker::welcome(&rig, Credential::None).await,
    ];
    let _third = rig.peer(Credential::None).await;
    assert!(connect(&rig, Some(relay_stream::ALPN)).await.is_err());
    assert_eq!(rig.server.counters().connections_refused, 1);
    // One that ends makes room for another.
    soon(held[0].0.shutdown()).await.unwrap();
    assert!(held[0].is_closed().await);
    while connect(&rig, Some(relay_stream::ALPN)).await.is_err() {}
}

#[tokio::test]
async fn a_crowd_of_silent_connections_keeps_nobody_out() {
    let rig = Rig::start().await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(soon(TcpStream::connect(rig.main())).await.unwrap());
    }
    // QUIC is let in all the same, though it has to prove its address first now.
    rig.peer(Credential::None).await;
    Talker::welcome(&rig, Credential::None).await;
}

#[tokio::test]
async fn a_member_that_does_not_read_holds_up_nobody_else() {
    let rig = Rig::start().await;
    let (slow, fast) = (rig.pair().await, rig.pair().await);
    let _stuck = Leg::bound(&rig, &slow.0.introduction.leg).await;
    let mut flooding = Leg::bound(&rig, &slow.1.introduction.leg).await;
    let mut to = Leg::bound(&rig, &fast.0.introduction.leg).await;
    let from = Wire::new();
    from.bind_leg(rig.main(), &fast.1.introduction.leg).await;
    // More than all buffers on the way hold. What does not fit is dropped, so the sender is never stuck.
    for number in 0..20_000 {
        flooding.send(&datagram(number, 1_200)).await;
    }
    from.send(rig.main(), &datagram(1, 1_200)).await;
    assert!(to.receive().await == Some(datagram(1, 1_200)));
    soon(async {
        while rig.server.counters().dropped < 1_000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_hello_is_refused_over_tcp_as_over_quic() {
    let rig = Rig::start().await;
    let mut talker = Talker::connect(&rig).await;
    let credential = Credential::AccessKey(Secret::random());
    let agent = "test 1.0".into();
    talker.say(&ToRendezvous::Hello { credential, agent }).await;
    let (request, refusal) = (Request::Hello, Refusal::AccessKey);
    assert_eq!(
        talker.hear().await,
        Some(FromRendezvous::Refused { request, refusal })
    );
    assert!(talker.is_closed().await);
}

#[tokio::test]
async fn a_port_that_is_taken_over_tcp_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let state = crate::support::state_dir();
    let started = p2pdbg_rendezvous::Server::start(p2pdbg_rendezvous::ServerConfig {
        bind: vec![address],
        alt_port: 0,
        state: Some(state.path().into()),
        ..Default::default()
    })
    .await;
    let why = started.expect_err("the port is taken").to_string();
    assert!(why.starts_with("cannot open TCP port"), "{why}");
}
