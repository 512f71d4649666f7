//! A path that loses packets: what goes twice on it, and what is done with what comes twice.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use p2pdbg_ledger::{CarrierHeader, CopyHeader, StreamId};
use p2pdbg_proto::tunnel::PathKind as Way;
use p2pdbg_tunnel::Tunnel;
use tokio_util::task::AbortOnDropHandle;

use super::{
    hostile::{Hostile, way_to},
    *,
};

/// Of so many datagrams one is lost, on the average.
const EVERY: u32 = 3;

/// A session and its peer, with a path on which nothing is lost until that is wanted.
struct Lossy {
    hostile: Hostile,
    tunnel: Tunnel,
    _control: p2pdbg_tunnel::ControlStreamReader,
    loses: Arc<AtomicBool>,
    _way: AbortOnDropHandle<()>,
}

impl Lossy {
    async fn new() -> Self {
        let hostile = Hostile::with(|_| {}).await;
        let loses = Arc::new(AtomicBool::new(false));
        let (does, mut draw) = (Arc::clone(&loses), 1_u32);
        let passes = move || {
            // Not each third: a step of three datagrams would lose the same one each time.
            draw = draw.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            !does.load(Ordering::Relaxed) || !(draw >> 16).is_multiple_of(EVERY)
        };
        let (at, way) = way_to(hostile.at, passes).await;
        let (tunnel, control) = hostile.dial_by(at, Way::Direct, 1).await.unwrap();
        Self {
            hostile,
            tunnel,
            _control: control,
            loses,
            _way: way,
        }
    }

    /// An IDE, and the carrier of what it writes.
    async fn ide(&mut self) -> (TcpStream, CarrierHeader, quinn::RecvStream) {
        let port = self.hostile.listener.port().await;
        let mut ide = dial(&port).await;
        ide.write_all(b"hello").await.unwrap();
        let mut carrier = in_time(self.tunnel.connection.accept_uni()).await.unwrap();
        let mut header = [0; CarrierHeader::LEN];
        in_time(carrier.read_exact(&mut header)).await.unwrap();
        let mut hello = [0; 5];
        in_time(carrier.read_exact(&mut hello)).await.unwrap();
        (ide, CarrierHeader::decode(&header).unwrap(), carrier)
    }

    fn send_copy(&self, stream: StreamId, offset: u64, data: &[u8]) {
        let mut datagram = CopyHeader { stream, offset }.encode().to_vec();
        datagram.extend_from_slice(data);
        let sent = self.tunnel.connection.send_datagram(Bytes::from(datagram));
        sent.unwrap();
    }
}

#[tokio::test]
async fn small_write_comes_again_as_a_copy_once_the_path_loses_packets() {
    let mut lossy = Lossy::new().await;
    let (mut ide, header, mut carrier) = lossy.ide().await;
    lossy.loses.store(true, Ordering::Relaxed);
    let mut written = b"hello".to_vec();
    let connection = lossy.tunnel.connection.clone();
    let copy = async {
        let mut step = 0_u8;
        loop {
            // A step is a word and, some time later, another.
            let word = [step; 20];
            step = step.wrapping_add(1);
            ide.write_all(&word).await.unwrap();
            written.extend(word);
            let mut got = [0; 20];
            carrier.read_exact(&mut got).await.unwrap();
            assert_eq!(got, word);
            let pause = tokio::time::sleep(Duration::from_millis(60));
            tokio::select! {
                copy = connection.read_datagram() => return copy.unwrap(),
                () = pause => {}
            }
        }
    };
    let copy = in_time(copy).await;
    let (head, data) = copy.split_at(CopyHeader::LEN);
    let head = CopyHeader::decode(head).unwrap();
    assert_eq!(head.stream, header.stream);
    let from = usize::try_from(head.offset).unwrap();
    assert_eq!(data, &written[from..from + data.len()]);
}

#[tokio::test]
async fn copy_that_comes_first_is_delivered_and_the_carriers_same_bytes_are_not_repeated() {
    let mut lossy = Lossy::new().await;
    let (mut ide, header, _carrier) = lossy.ide().await;
    // What is no copy, and what is one of a stream that there is not, costs nothing.
    let garbage = lossy
        .tunnel
        .connection
        .send_datagram(Bytes::from_static(&[7]));
    garbage.unwrap();
    let unknown = StreamId::new(p2pdbg_ledger::Side::Connector, 70);
    lossy.send_copy(unknown, 0, b"lost");
    lossy.send_copy(header.stream, 0, b"answer");
    let mut answer = [0; 6];
    in_time(ide.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
    let mut back = in_time(lossy.tunnel.connection.open_uni()).await.unwrap();
    let header = CarrierHeader {
        stream: header.stream,
        forward: 0,
        ordinal: 0,
        offset: 0,
    };
    back.write_all(&header.encode()).await.unwrap();
    back.write_all(b"answer, and more").await.unwrap();
    let mut more = [0; 10];
    in_time(ide.read_exact(&mut more)).await.unwrap();
    assert_eq!(&more, b", and more");
    // Nor does one that is behind all that was delivered.
    lossy.send_copy(header.stream, 0, b"answer");
    back.write_all(b"!").await.unwrap();
    assert_eq!(in_time(ide.read_u8()).await.unwrap(), b'!');
    assert!(lossy.tunnel.is_open());
}

#[tokio::test]
async fn copy_ahead_of_what_was_delivered_is_not_kept_and_one_beyond_any_sender_breaks_off() {
    let mut lossy = Lossy::new().await;
    let (mut ide, header, _carrier) = lossy.ide().await;
    lossy.send_copy(header.stream, 1, b"ahead");
    lossy.send_copy(header.stream, 0, b"x");
    assert_eq!(in_time(ide.read_u8()).await.unwrap(), b'x');
    lossy.send_copy(header.stream, 1, b"y");
    assert_eq!(in_time(ide.read_u8()).await.unwrap(), b'y');
    lossy.send_copy(header.stream, 1 << 40, b"z");
    let end = in_time(ide.read_u8()).await.unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
}
