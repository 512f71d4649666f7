//! A peer with the right keys that breaks the rules of streams: it harms what it touches and nothing else.

use std::net::TcpStream;

use p2pdbg_ledger::{Ack, CarrierHeader, Frame, Side, StreamId};
use p2pdbg_proto::tunnel::{TunnelMessage, close};
use quinn::ConnectionError;

use crate::{
    harness::traffic::receive_reset,
    scene::{EPOCH, Scene},
};

/// More than anybody has sent or could hold.
const FAR: u64 = 1 << 40;

fn ledger(frame: Frame) -> TunnelMessage {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    TunnelMessage::Ledger(bytes)
}

async fn reset(ide: TcpStream) {
    let reset = tokio::task::spawn_blocking(move || receive_reset(&ide));
    reset.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_of_what_was_never_sent_costs_that_stream_alone() {
    let mut scene = Scene::begin().await;
    let (ide, stream) = scene.another().await;
    let ack = Frame::Ack(Ack {
        stream: stream.header.stream,
        offset: FAR,
        ended: false,
    });
    scene.talk.say(&ledger(ack)).await;
    reset(ide).await;
    scene.counted("against the protocol");
    scene.works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_from_the_future_cost_that_stream_alone() {
    let mut scene = Scene::begin().await;
    let (ide, stream) = scene.another().await;
    let header = CarrierHeader {
        ordinal: stream.header.ordinal + 1,
        offset: FAR,
        ..stream.header
    };
    let mut carrier = scene.talk.connection.open_uni().await.unwrap();
    carrier.write_all(&header.encode()).await.unwrap();
    carrier.write_all(b"from the future").await.unwrap();
    reset(ide).await;
    scene.counted("against the protocol");
    scene.works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_for_a_stream_that_never_was_costs_the_tunnel_and_the_next_one_goes_on() {
    let mut scene = Scene::begin().await;
    let ack = Frame::Ack(Ack {
        stream: StreamId::new(Side::Listener, 1_000),
        offset: 1,
        ended: false,
    });
    scene.talk.say(&ledger(ack)).await;
    match scene.talk.connection.closed().await {
        ConnectionError::ApplicationClosed(closed) => {
            assert_eq!(closed.error_code, close::PROTOCOL.into());
        }
        other => panic!("{other}"),
    }
    scene.counted("against the protocol");
    scene.talk = scene.friend.tunnel(EPOCH + 1).await;
    scene.stream = scene.talk.stream().await;
    // What was never acknowledged comes again, from its first byte on.
    assert_eq!(scene.stream.header.offset, 0);
    let mut again = vec![0; "?to the debuggee".len()];
    scene.stream.from.read_exact(&mut again).await.unwrap();
    assert_eq!(again, b"?to the debuggee");
    // What the IDE has had already is cut off.
    scene.stream.to.write_all(b"to the IDE").await.unwrap();
    scene.works().await;
}
