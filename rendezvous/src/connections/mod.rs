//! One control connection: frames in, frames out. Knows nothing of QUIC, so that the same conversation is held over
//! TLS on TCP.

pub(crate) mod by_reverse_proxy;
pub(crate) mod given_up_ids;
pub(crate) mod handshake_limits;
pub(crate) mod intake;
pub(crate) mod quic;
pub(crate) mod stream_io;
pub(crate) mod tcp;
mod tcp_leg;

use std::{future, io, time::Duration};

use p2pdbg_frames::ReadError;
use p2pdbg_proto::{frame, rendezvous::MAX_SIGNAL};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::{
    connections::handshake_limits::Established,
    hub_event::HubEvent,
    outgoing::{Inlet, Outgoing},
    registry::ConnId,
};

/// The longest body that a peer may send, in bytes: the longest signal with its session and its lengths. It
/// is the longest message by far.
const LONGEST_BODY: usize = MAX_SIGNAL + 256;

/// How much of what waits is written at once, in bytes: quinn keeps each write apart until it is acknowledged, which
/// costs some 70 bytes however short it is.
const AT_ONCE: usize = 16 * 1024;

/// How long a peer may take to make room for what is written at once.
const WRITE_WITHIN: Duration = Duration::from_secs(20);

/// How long it may once the hub has closed the connection, for all that waits and the last word: one that reads nothing
/// would keep its place among the connections, though another has its place among the peers.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

/// How a conversation with a peer ended, as it is logged and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The peer finished its side.
    Finished,
    /// The connection broke, or the peer reads too slowly.
    Lost,
    /// The hub ends it, with this code; everything before has been written, if the peer has made room for it.
    Close(u32),
}

/// Holds the conversation of `id` until either side ends it, or until it has to make room before the peer has been let
/// in.
pub(crate) async fn converse(
    id: ConnId,
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    hub: &mpsc::Sender<HubEvent>,
    inlet: Inlet,
    place: &Established,
) -> Ending {
    let closing = inlet.closing();
    let leaves = async {
        let code = closing.await;
        tokio::time::sleep(LEAVES_WITHIN).await;
        Ending::Close(code)
    };
    tokio::select! {
        ending = listen(id, reader, hub) => ending,
        ending = leaves => ending,
        ending = speak(writer, inlet, place) => ending,
        () = place.crowded_out() => Ending::Lost,
    }
}

async fn listen(
    id: ConnId,
    reader: &mut (impl AsyncRead + Unpin),
    hub: &mpsc::Sender<HubEvent>,
) -> Ending {
    loop {
        let event = match p2pdbg_frames::read_body(reader, LONGEST_BODY).await {
            Ok(Some(body)) => match frame::decode_extensible(&body) {
                Ok(message) => HubEvent::Message(id, message),
                Err(_) => HubEvent::Malformed(id),
            },
            Err(ReadError::Malformed(_)) => HubEvent::Malformed(id),
            Ok(None) => return Ending::Finished,
            Err(ReadError::Stream(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ending::Finished;
            }
            Err(ReadError::Stream(_)) => return Ending::Lost,
        };
        let malformed = matches!(event, HubEvent::Malformed(_));
        if hub.send(event).await.is_err() || malformed {
            // What is left to do is the hub's: to say why, and to close. If it has gone, so has the inlet.
            return future::pending().await;
        }
    }
}

async fn speak(
    writer: &mut (impl AsyncWrite + Unpin),
    mut inlet: Inlet,
    place: &Established,
) -> Ending {
    loop {
        let Some(first) = inlet.next().await else {
            return Ending::Lost;
        };
        let (bytes, close) = gather(first, &mut inlet, place);
        let write = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        let write: Result<io::Result<()>, _> = tokio::time::timeout(WRITE_WITHIN, write).await;
        if let Some(code) = close {
            // That the peer is gone already changes nothing.
            let _ = writer.shutdown().await;
            return Ending::Close(code);
        }
        if !matches!(write, Ok(Ok(()))) {
            return Ending::Lost;
        }
    }
}

/// The frames that wait, one behind the other, and with which code the connection is closed behind them, if it is.
/// A peer that is let in is no attempt any more; one that is refused is until it has gone, and makes room.
fn gather(first: Outgoing, inlet: &mut Inlet, place: &Established) -> (Vec<u8>, Option<u32>) {
    let mut bytes = Vec::new();
    let mut next = Some(first);
    while let Some(outgoing) = next {
        match outgoing {
            Outgoing::Welcome(frame) => {
                place.greeted();
                bytes.extend(frame);
            }
            Outgoing::Frame(frame, _) if bytes.is_empty() => bytes = frame,
            Outgoing::Frame(frame, _) => bytes.extend(frame),
            Outgoing::Close(code) => return (bytes, Some(code)),
        }
        next = match bytes.len() < AT_ONCE {
            true => inlet.try_next(),
            false => None,
        };
    }
    (bytes, None)
}

#[cfg(test)]
mod tests {
    use p2pdbg_base::Room;
    use p2pdbg_proto::rendezvous::{Credential, SessionId, ToRendezvous};

    use super::*;
    use std::{
        pin::Pin,
        sync::Arc,
        task::{Context, Poll},
        time::Instant,
    };

    use crate::{
        connections::handshake_limits::{Admission, Transport, Verdict},
        limits::Limits,
        outgoing::{Lane, Pushed, outgoing_queue},
    };

    async fn events_of(bytes: &[u8]) -> Vec<HubEvent> {
        let (sender, mut receiver) = mpsc::channel(16);
        let (_outlet, inlet) = outgoing_queue(1_000);
        let (mut reader, mut writer) = (bytes, tokio::io::sink());
        let place = place();
        let conversation = converse(ConnId(1), &mut reader, &mut writer, &sender, inlet, &place);
        let collect = async {
            let mut events = Vec::new();
            while let Some(event) = receiver.recv().await {
                let last = matches!(event, HubEvent::Malformed(_));
                events.push(event);
                if last {
                    break;
                }
            }
            events
        };
        tokio::select! {
            events = collect => events,
            ending = conversation => {
                assert_eq!(ending, Ending::Finished);
                std::iter::from_fn(|| receiver.try_recv().ok()).collect()
            }
        }
    }

    fn framed(message: &ToRendezvous) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::encode(message, &mut bytes).unwrap();
        bytes
    }

    /// A place among the connections.
    fn place() -> Established {
        let admission = Admission::new(&Limits::default());
        let ip = [192, 0, 2, 1].into();
        match admission.judge(Instant::now(), Transport::Quic, ip, true) {
            Verdict::Accept(handshake) => handshake.complete().expect("a place"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn frames_become_messages_and_an_end_is_an_end() {
        let hello = ToRendezvous::Hello {
            credential: Credential::None,
            agent: "test".into(),
        };
        let longest = ToRendezvous::Signal {
            session: SessionId([1; 16]),
            payload: vec![7; MAX_SIGNAL],
        };
        let bytes = [framed(&hello), framed(&longest)].concat();
        let events = events_of(&bytes).await;
        assert!(
            matches!(&events[..], [HubEvent::Message(_, a), HubEvent::Message(_, b)] if *a == hello && *b == longest)
        );
        assert!(events_of(&bytes[..3]).await.is_empty());
        assert!(events_of(&bytes[..9]).await.is_empty());
    }

    #[tokio::test]
    async fn what_is_no_message_is_malformed() {
        for bytes in [
            &[0, 0, 0, 1, 200][..],
            &[0, 0, 0, 0],
            &[0xff; 4],
            &[0, 0, 0x50, 0],
        ] {
            assert!(matches!(
                events_of(bytes).await[..],
                [HubEvent::Malformed(_)]
            ));
        }
    }

    #[tokio::test]
    async fn closing_comes_after_what_was_said_before() {
        let (hub, _events) = mpsc::channel(1);
        let (outlet, inlet) = outgoing_queue(1_000);
        let said = outlet.push(Outgoing::Frame(b"said".to_vec(), None));
        assert_eq!(said, Pushed::Queued);
        assert_eq!(outlet.push(Outgoing::Close(3)), Pushed::Queued);
        let (mut silent, _open) = tokio::io::duplex(1);
        let mut written = Vec::new();
        let ending = converse(ConnId(1), &mut silent, &mut written, &hub, inlet, &place()).await;
        assert_eq!(ending, Ending::Close(3));
        assert_eq!(written, b"said");
    }

    /// Counts what is written at once.
    #[derive(Default)]
    struct Writes {
        count: usize,
        bytes: Vec<u8>,
    }

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.count += 1;
            self.bytes.extend(buf);
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The end of a peer that reads nothing.
    struct Shut;

    impl AsyncWrite for Shut {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn peer_that_reads_nothing_keeps_no_connection_that_the_hub_closes() {
        let (hub, _heard) = mpsc::channel(1);
        let (mut reader, _peer) = tokio::io::duplex(1);
        let (outlet, inlet) = outgoing_queue(1_000);
        let said = outlet.push(Outgoing::Welcome(b"said".to_vec()));
        assert_eq!(said, Pushed::Queued);
        let (mut shut, place) = (Shut, place());
        let conversation = converse(ConnId(1), &mut reader, &mut shut, &hub, inlet, &place);
        let mut conversation = std::pin::pin!(conversation);
        // It is being written to.
        let waits = tokio::time::timeout(Duration::from_millis(20), &mut conversation).await;
        assert!(waits.is_err());
        assert_eq!(outlet.push(Outgoing::Close(3)), Pushed::Queued);
        let ending = tokio::time::timeout(LEAVES_WITHIN * 5, conversation).await;
        assert_eq!(ending, Ok(Ending::Close(3)));
    }

    #[tokio::test]
    async fn peer_that_is_refused_and_reads_nothing_makes_room_and_one_that_is_let_in_does_not() {
        let limits = Limits {
            handshakes: 1,
            ..Limits::default()
        };
        let refused = Outgoing::Frame(b"refused".to_vec(), None);
        let welcome = Outgoing::Welcome(b"welcome".to_vec());
        for (said, stays) in [(refused, false), (welcome, true)] {
            let admission = Admission::new(&limits);
            let attempt = |last, now| {
                let ip = [192, 0, 2, last].into();
                match admission.judge(now, Transport::Quic, ip, true) {
                    Verdict::Accept(handshake) => handshake,
                    other => panic!("{other:?}"),
                }
            };
            let place = attempt(1, Instant::now()).complete().expect("a place");
            let (outlet, inlet) = outgoing_queue(1_000);
            assert_eq!(outlet.push(said), Pushed::Queued);
            let (hub, _heard) = mpsc::channel(1);
            // It says nothing more, and does not hang up.
            let (mut reader, _peer) = tokio::io::duplex(1);
            let mut writer = Shut;
            let conversation = converse(ConnId(1), &mut reader, &mut writer, &hub, inlet, &place);
            let mut conversation = std::pin::pin!(conversation);
            let a_moment = Duration::from_millis(20);
            let waits = tokio::time::timeout(a_moment, &mut conversation).await;
            assert!(waits.is_err());
            let _another = attempt(2, Instant::now() + Duration::from_secs(3));
            let ended = tokio::time::timeout(a_moment, &mut conversation).await;
            assert_eq!(ended.ok(), (!stays).then_some(Ending::Lost));
        }
    }

    #[tokio::test]
    async fn what_waits_is_written_at_once() {
        let (outlet, inlet) = outgoing_queue(100_000);
        for number in 0..100 {
            let frame = Outgoing::Frame(vec![number; 5], None);
            assert_eq!(outlet.push(frame), Pushed::Queued);
        }
        assert_eq!(outlet.push(Outgoing::Close(3)), Pushed::Queued);
        let mut writes = Writes::default();
        assert_eq!(speak(&mut writes, inlet, &place()).await, Ending::Close(3));
        assert_eq!(writes.count, 1);
        let said: Vec<u8> = (0..100).flat_map(|number| [number; 5]).collect();
        assert_eq!(writes.bytes, said);
    }

    #[tokio::test]
    async fn a_queue_that_runs_full_says_so() {
        let (outlet, mut inlet) = outgoing_queue(200);
        let frame = || Outgoing::Frame(vec![0; 6], None);
        assert_eq!(outlet.push(frame()), Pushed::Queued);
        assert_eq!(outlet.push(frame()), Pushed::Full);
        assert!(matches!(inlet.next().await, Some(Outgoing::Frame(..))));
        assert_eq!(outlet.push(frame()), Pushed::Queued);
    }

    #[tokio::test]
    async fn a_session_that_fills_its_lane_takes_no_room_from_others() {
        let (outlet, mut inlet) = outgoing_queue(200);
        let lane = || Lane::new(Arc::new(Room::new(100_000)));
        let (busy, other) = (lane(), lane());
        let signal = |lane: &Lane| Outgoing::Frame(vec![0; 16_000], Some(lane.clone()));
        assert_eq!(outlet.push(signal(&busy)), Pushed::Queued);
        assert_eq!(outlet.push(signal(&busy)), Pushed::Queued);
        assert_eq!(outlet.push(signal(&busy)), Pushed::LaneFull);
        assert_eq!(outlet.push(signal(&other)), Pushed::Queued);
        assert_eq!(
            outlet.push(Outgoing::Frame(vec![0; 6], None)),
            Pushed::Queued
        );
        inlet.next().await;
        assert_eq!(outlet.push(signal(&busy)), Pushed::Queued);
    }

    #[tokio::test]
    async fn the_queue_of_a_connection_that_has_ended_is_never_full() {
        let (outlet, inlet) = outgoing_queue(10);
        drop(inlet);
        let frame = Outgoing::Frame(vec![0; 60], None);
        assert_eq!(outlet.push(frame), Pushed::Queued);
    }
}
