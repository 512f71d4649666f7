//! What a receiver does, rule by rule.

use bytes::Bytes;
use p2pdbg_ledger::{
    Ack, CarrierHeader, CarrierId, End, EndKind, Frame, MAX_CARRIERS, Opened, Receiver, ResetCode,
    Side, Stop, StreamId,
};

const A: CarrierId = CarrierId(10);
const B: CarrierId = CarrierId(11);

fn stream() -> StreamId {
    StreamId::new(Side::Connector, 3)
}

fn receiver() -> Receiver {
    Receiver::new(stream(), 9)
}

fn header(ordinal: u32, offset: u64) -> CarrierHeader {
    CarrierHeader {
        stream: stream(),
        forward: 9,
        ordinal,
        offset,
    }
}

fn accepted() -> Opened {
    Opened::Accepted {
        displaced: Vec::new(),
    }
}

fn end(kind: EndKind, offset: u64) -> End {
    End {
        stream: stream(),
        forward: 9,
        kind,
        offset,
    }
}

fn ack(offset: u64, ended: bool) -> Option<Frame> {
    Some(Frame::Ack(Ack {
        stream: stream(),
        offset,
        ended,
    }))
}

fn readable(receiver: &Receiver) -> Vec<CarrierId> {
    receiver.readable().collect()
}

fn data(receiver: &mut Receiver, carrier: CarrierId, bytes: &'static str) -> Option<Bytes> {
    receiver
        .handle_data(carrier, Bytes::from_static(bytes.as_bytes()))
        .unwrap()
}

/// Receives and consumes so many bytes from A.
fn take(receiver: &mut Receiver, count: usize) {
    if !receiver.is_open(A) {
        let at = receiver.received();
        receiver.open(A, &header(0, at)).unwrap();
    }
    let new = receiver
        .handle_data(A, Bytes::from(vec![0; count]))
        .unwrap();
    assert_eq!(new.unwrap().len(), count);
    receiver.consumed(count);
}

#[test]
fn new_bytes_are_handed_on_as_the_same_memory_and_repeated_ones_dropped() {
    let mut receiver = receiver();
    assert_eq!(receiver.open(A, &header(0, 0)), Ok(accepted()));
    let chunk = Bytes::from_static(b"hello");
    let new = receiver.handle_data(A, chunk.clone()).unwrap().unwrap();
    assert_eq!(new.as_ptr(), chunk.as_ptr());
    receiver.carrier_ended(A);
    assert_eq!(receiver.open(B, &header(1, 2)), Ok(accepted()));
    assert_eq!(data(&mut receiver, B, "llo"), None);
    assert_eq!(data(&mut receiver, B, ""), None);
    assert_eq!(data(&mut receiver, B, " wo").unwrap(), " wo");
    assert_eq!(data(&mut receiver, A, "rld"), None, "A has ended");
    assert_eq!(receiver.received(), 8);
}

#[test]
fn a_chunk_that_is_partly_new_is_cut() {
    let mut receiver = receiver();
    receiver.open(A, &header(0, 0)).unwrap();
    data(&mut receiver, A, "hel");
    receiver.open(B, &header(1, 0)).unwrap();
    assert_eq!(data(&mut receiver, B, "hello").unwrap(), "lo");
}

#[test]
fn a_carrier_that_is_ahead_waits_until_it_is_its_turn() {
    let mut receiver = receiver();
    receiver.open(B, &header(1, 5)).unwrap();
    assert_eq!(readable(&receiver), []);
    receiver.open(A, &header(0, 0)).unwrap();
    assert_eq!(readable(&receiver), [A]);
    data(&mut receiver, A, "hell");
    assert!(!receiver.is_readable(B));
    data(&mut receiver, A, "o");
    assert_eq!(readable(&receiver), [B, A], "the newest first");
    assert_eq!(data(&mut receiver, B, " world").unwrap(), " world");
}

#[test]
fn a_dead_carrier_that_nobody_noticed_does_not_hold_up_its_replacement() {
    let mut receiver = receiver();
    receiver.open(A, &header(0, 0)).unwrap();
    data(&mut receiver, A, "hel");
    receiver.open(B, &header(1, 0)).unwrap();
    assert_eq!(readable(&receiver), [B, A]);
    assert_eq!(data(&mut receiver, B, "hello").unwrap(), "lo");
}

#[test]
fn carriers_that_the_sender_has_given_up_are_displaced_or_refused() {
    let mut receiver = receiver();
    let last = MAX_CARRIERS as u32 - 1;
    for ordinal in 1..=last {
        let id = CarrierId(ordinal.into());
        assert_eq!(receiver.open(id, &header(ordinal, 0)), Ok(accepted()));
    }
    assert_eq!(
        receiver.open(A, &header(0, 0)),
        Ok(accepted()),
        "late, not too late"
    );
    let displaced = Opened::Accepted {
        displaced: vec![CarrierId(1), A],
    };
    assert_eq!(receiver.open(B, &header(last + 2, 0)), Ok(displaced));
    assert!(!receiver.is_open(A) && receiver.is_open(CarrierId(2)));
    assert_eq!(receiver.open(A, &header(0, 0)), Ok(Opened::Refused));
}

#[test]
fn an_acknowledgement_is_due_after_64_kib_or_by_the_timer() {
    let mut receiver = receiver();
    assert_eq!(receiver.poll_frame(true), None, "nothing to acknowledge");
    take(&mut receiver, 1000);
    assert!(receiver.wants_timer());
    assert_eq!(receiver.poll_frame(false), None);
    assert_eq!(receiver.poll_frame(true), ack(1000, false));
    assert!(!receiver.wants_timer());
    assert_eq!(receiver.poll_frame(true), None);
    take(&mut receiver, (64 << 10) - 1);
    assert_eq!(receiver.poll_frame(false), None);
    take(&mut receiver, 1);
    assert_eq!(receiver.poll_frame(false), ack(1000 + (64 << 10), false));
}

#[test]
fn what_was_received_but_not_written_is_not_acknowledged() {
    let mut receiver = receiver();
    receiver.open(A, &header(0, 0)).unwrap();
    receiver
        .handle_data(A, Bytes::from(vec![0; 100_000]))
        .unwrap();
    assert_eq!(receiver.poll_frame(true), None);
    receiver.consumed(10);
    assert_eq!(receiver.unconsumed(), 99_990);
    assert_eq!(receiver.poll_frame(true), ack(10, false));
}

#[test]
fn an_acknowledgement_that_may_be_lost_is_due_again() {
    let mut receiver = receiver();
    receiver.reannounce();
    assert_eq!(
        receiver.poll_frame(false),
        None,
        "nothing was ever consumed"
    );
    take(&mut receiver, 100_000);
    assert_eq!(receiver.poll_frame(false), ack(100_000, false));
    receiver.reannounce();
    assert_eq!(receiver.poll_frame(false), ack(100_000, false));
    assert_eq!(receiver.poll_frame(true), None);
}

#[test]
fn the_end_comes_once_and_only_when_everything_before_it_is_written() {
    for kind in [EndKind::Fin, EndKind::Reset(ResetCode(77))] {
        let mut receiver = receiver();
        receiver.handle_end(end(kind, 5)).unwrap();
        assert_eq!(receiver.poll_end(), None);
        receiver.open(A, &header(0, 0)).unwrap();
        data(&mut receiver, A, "hello");
        assert_eq!(receiver.poll_end(), None, "received, but not written");
        receiver.consumed(5);
        assert_eq!(receiver.poll_frame(false), None, "written, but not ended");
        assert_eq!(receiver.poll_end(), Some(kind));
        assert_eq!(receiver.poll_end(), None);
        assert!(!receiver.is_finished());
        assert_eq!(receiver.poll_frame(false), ack(5, true));
        assert!(receiver.is_finished());
        receiver.handle_end(end(kind, 5)).unwrap();
        assert_eq!(receiver.poll_frame(false), ack(5, true), "asked again");
        assert_eq!(receiver.poll_end(), None);
    }
}

#[test]
fn a_carrier_that_comes_after_everything_is_drained_not_refused() {
    let mut receiver = receiver();
    receiver.open(A, &header(0, 0)).unwrap();
    data(&mut receiver, A, "hello");
    receiver.handle_end(end(EndKind::Fin, 5)).unwrap();
    assert_eq!(receiver.open(B, &header(1, 0)), Ok(accepted()));
    assert_eq!(readable(&receiver), [B, A]);
    assert_eq!(data(&mut receiver, B, "hello"), None);
}

#[test]
fn a_receiver_that_wants_no_more_says_so_until_it_knows_the_end() {
    let mut receiver = receiver();
    take(&mut receiver, 10);
    receiver.stop(ResetCode::NOT_ALLOWED);
    let stop = Some(Frame::Stop(Stop {
        stream: stream(),
        forward: 9,
        code: ResetCode::NOT_ALLOWED,
    }));
    assert_eq!(receiver.poll_frame(false), stop);
    assert_eq!(receiver.poll_frame(false), None);
    assert_eq!(readable(&receiver), []);
    assert_eq!(receiver.open(B, &header(1, 0)), Ok(Opened::Refused));
    receiver.reannounce();
    assert_eq!(receiver.poll_frame(false), stop);
    assert_eq!(receiver.poll_frame(false), ack(10, false));
    assert!(!receiver.is_finished());
    receiver.handle_end(end(EndKind::Fin, 5000)).unwrap();
    assert_eq!(receiver.poll_end(), None, "nobody wants to hear it");
    assert_eq!(receiver.poll_frame(false), ack(5000, true));
    assert!(receiver.is_finished());
    receiver.reannounce();
    assert_eq!(receiver.poll_frame(false), ack(5000, true));
}

#[test]
fn a_receiver_that_wants_no_more_and_knows_the_end_just_confirms_it() {
    let mut receiver = receiver();
    receiver.handle_end(end(EndKind::Fin, 50)).unwrap();
    receiver.stop(ResetCode::CONNECTION);
    assert_eq!(receiver.poll_frame(false), ack(50, true));
    assert!(receiver.is_finished());
}

#[test]
fn to_want_no_more_after_the_end_changes_nothing() {
    let mut receiver = receiver();
    receiver.handle_end(end(EndKind::Fin, 0)).unwrap();
    assert_eq!(receiver.poll_end(), Some(EndKind::Fin));
    assert_eq!(receiver.poll_frame(false), ack(0, true));
    receiver.stop(ResetCode::CONNECTION);
    assert!(!receiver.is_stopped() && receiver.is_finished());
    assert_eq!(receiver.poll_frame(true), None);
}

#[test]
fn a_copy_goes_on_where_the_carriers_are_and_what_they_bring_of_it_is_dropped() {
    let mut receiver = receiver();
    receiver.open(A, &header(0, 0)).unwrap();
    assert_eq!(data(&mut receiver, A, "ab").unwrap(), "ab");
    let copy = |receiver: &mut Receiver, offset, bytes: &'static str| {
        receiver.handle_copy(offset, Bytes::from_static(bytes.as_bytes()))
    };
    let new = copy(&mut receiver, 1, "bcd").unwrap();
    assert_eq!(new.unwrap(), "cd");
    // Again, and ahead of what is expected.
    assert_eq!(copy(&mut receiver, 2, "cd"), Ok(None));
    assert_eq!(copy(&mut receiver, 5, "f"), Ok(None));
    assert_eq!(data(&mut receiver, A, "cde").unwrap(), "e");
    assert_eq!(receiver.received(), 5);
}

#[test]
fn a_copy_beyond_the_end_or_after_a_stop_gives_nothing() {
    let mut receiver = receiver();
    receiver.handle_end(end(EndKind::Fin, 3)).unwrap();
    let beyond = receiver.handle_copy(0, Bytes::from_static(b"abcd"));
    assert!(beyond.is_err());
    receiver.stop(ResetCode::CONNECTION);
    let stopped = receiver.handle_copy(0, Bytes::from_static(b"abc"));
    assert_eq!(stopped, Ok(None));
}
