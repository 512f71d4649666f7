//! The leg over TCP: what comes, what goes, and what ends it.

use std::{net::Ipv4Addr, time::Duration};

use bytes::BytesMut;
use p2pdbg_proto::{
    relay::{LegId, RelayFrame, RelayRefusal},
    relay_stream::{encode_packet, split_packet},
    secret::Secret,
    url::RendezvousUrl,
};
use p2pdbg_rendezvous::{Server, ServerConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{Notify, watch},
    time::Instant,
};

use crate::{relay_tcp_leg::*, *};

/// A guard against a test that hangs, and no measure of anything.
const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it hangs")
}

/// What a leg is made with, where what comes by it arrives, and what becomes of it.
struct Rig {
    config: LegStreamConfig,
    arrivals: mpsc::Receiver<p2pdbg_net::tcp_detour::Arrival>,
    events: mpsc::Receiver<(u64, TcpLegEvent)>,
}

impl Rig {
    fn new(url: &RendezvousUrl, address: SocketAddr) -> Self {
        let (arrivals, arrived) = mpsc::channel(8);
        let (events, told) = mpsc::channel(8);
        let config = LegStreamConfig {
            id: 1,
            route: TcpRoute::new(url),
            address,
            grant: LegGrant {
                leg: LegId([1; 16]),
                key: Secret::from_bytes([2; 32]),
            },
            arrivals,
            events,
        };
        Self {
            config,
            arrivals: arrived,
            events: told,
        }
    }

    fn of_nobody() -> Self {
        let url = "p2pdbg://127.0.0.1:9".parse().unwrap();
        Self::new(&url, SocketAddr::from((Ipv4Addr::LOCALHOST, 9)))
    }
}

/// The packets as they come on the connection.
fn packets(all: &[&[u8]]) -> BytesMut {
    let mut bytes = Vec::new();
    for packet in all {
        encode_packet(packet, &mut bytes);
    }
    BytesMut::from(&bytes[..])
}

/// What comes of a connection on which the relay says this, and then ends it.
async fn receive_all(rig: &Rig, said: &[&[u8]]) -> std::io::Result<RelayRefusal> {
    let (heard, _) = watch::channel(Instant::now());
    let nothing: &[u8] = &[];
    in_time(receive(nothing, packets(said), &rig.config, heard)).await
}

#[tokio::test]
async fn datagrams_arrive_as_from_the_relay_and_empty_packets_are_signs_of_life() {
    let mut rig = Rig::of_nobody();
    let ended = receive_all(&rig, &[&[], &[64, 1, 2], &[], &[200]]).await;
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    for bytes in [&[64, 1, 2][..], &[200]] {
        let arrival = rig.arrivals.try_recv().unwrap();
        assert_eq!(
            (arrival.from, &arrival.bytes[..]),
            (rig.config.address, bytes)
        );
    }
    assert!(rig.arrivals.try_recv().is_err());
}

#[tokio::test]
async fn refusal_in_the_middle_ends_the_leg_with_its_reason() {
    let rig = Rig::of_nobody();
    let refused = RelayFrame::Refused {
        leg: LegId([1; 16]),
        reason: RelayRefusal::UnknownLeg,
    };
    let ended = receive_all(&rig, &[&[64], &refused.encode()]).await;
    assert_eq!(ended.unwrap(), RelayRefusal::UnknownLeg);
}

#[tokio::test]
async fn frame_that_does_not_belong_there_breaks_the_protocol() {
    let bound = RelayFrame::Bound {
        leg: LegId([1; 16]),
        lifetime_s: 60,
    };
    for said in [&bound.encode()[..], &[5, 5, 5]] {
        let ended = receive_all(&Rig::of_nobody(), &[said]).await;
        assert_eq!(
            ended.unwrap_err().to_string(),
            "the relay broke the protocol"
        );
    }
}

#[tokio::test]
async fn leg_that_nobody_listens_to_any_more_ends() {
    let mut rig = Rig::of_nobody();
    rig.arrivals.close();
    let ended = receive_all(&rig, &[&[64]]).await;
    assert_eq!(ended.unwrap_err().to_string(), "nobody needs it");
}

#[tokio::test]
async fn request_for_a_sign_of_life_is_an_empty_packet() {
    let (mut relay, here) = tokio::io::duplex(1 << 16);
    let (_outbox, backlog) = p2pdbg_net::tcp_detour::outbox();
    let ask = Notify::new();
    ask.notify_one();
    let mut bytes = [0; p2pdbg_proto::relay_stream::PREFIX];
    tokio::select! {
        sent = send(here, backlog, &ask) => panic!("{sent:?}"),
        read = in_time(relay.read_exact(&mut bytes)) => drop(read.unwrap()),
    }
    assert_eq!(split_packet(&bytes).unwrap(), Some((&[][..], &[][..])));
}

#[tokio::test]
async fn connection_that_does_not_answer_when_it_is_doubted_is_given_up_and_one_that_does_is_not() {
    let (doubt, ask) = (Notify::new(), Notify::new());
    let (_heard, last_heard) = watch::channel(Instant::now());
    doubt.notify_one();
    in_time(watch_over(last_heard, &doubt, &ask)).await;
    in_time(ask.notified()).await;
    let (heard, last_heard) = watch::channel(Instant::now());
    doubt.notify_one();
    let answering = async {
        ask.notified().await;
        heard.send_replace(Instant::now());
        // For as long as a doubt lasts that begins now: that of another connection, which does not answer.
        let (doubt, ask) = (Notify::new(), Notify::new());
        let (_heard, last_heard) = watch::channel(Instant::now());
        doubt.notify_one();
        watch_over(last_heard, &doubt, &ask).await;
    };
    tokio::select! {
        biased;
        () = watch_over(last_heard, &doubt, &ask) => panic!("it has answered"),
        () = in_time(answering) => {}
    }
}

#[tokio::test]
async fn connection_is_asked_before_it_is_given_up_by_a_process_that_was_stopped() {
    let (doubt, ask) = (Notify::new(), Notify::new());
    let before = Instant::now() - Duration::from_secs(30);
    let (_heard, last_heard) = watch::channel(before);
    in_time(watch_over(last_heard, &doubt, &ask)).await;
    in_time(ask.notified()).await;
}

#[tokio::test]
async fn relay_refuses_a_leg_that_it_has_not_granted() {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let state = builder.tempdir().unwrap();
    let config = ServerConfig {
        bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        alt_port: 0,
        state: Some(state.path().to_owned()),
        relay_workers: 1,
        ..ServerConfig::default()
    };
    let server = Server::start(config).await.unwrap();
    let mut rig = Rig::new(server.url(), server.addresses()[0]);
    let _leg = RelayTcpLeg::open(rig.config);
    let (id, event) = in_time(rig.events.recv()).await.unwrap();
    assert_eq!(id, 1);
    assert!(matches!(event, TcpLegEvent::Refused(_)), "{event:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn leg_ends_where_nothing_listens_and_where_what_listens_is_no_relay() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let at = listener.local_addr().unwrap();
    let url = format!("p2pdbg://{at}").parse().unwrap();
    let mut rig = Rig::new(&url, at);
    let _leg = RelayTcpLeg::open(rig.config);
    let (mut stranger, _) = in_time(listener.accept()).await.unwrap();
    stranger
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    drop(stranger);
    let (_, event) = in_time(rig.events.recv()).await.unwrap();
    assert!(matches!(event, TcpLegEvent::Ended(_)), "{event:?}");
    drop(listener);
    let mut rig = Rig::new(&url, at);
    let leg = RelayTcpLeg::open(rig.config);
    leg.check();
    let (_, event) = in_time(rig.events.recv()).await.unwrap();
    assert!(matches!(event, TcpLegEvent::Ended(_)), "{event:?}");
}
