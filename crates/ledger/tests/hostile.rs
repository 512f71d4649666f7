//! A peer that lies: every lie is caught where it is told, and costs bounded memory.

use bytes::Bytes;
use p2pdbg_ledger::{
    Ack, Budget, CarrierHeader, CarrierId, End, EndKind, Limits, MAX_CARRIERS, MAX_RETENTION,
    Opened, Receiver, ResetCode, Scope, Sender, Side, StreamId, Violation,
};

const A: CarrierId = CarrierId(10);

fn stream() -> StreamId {
    StreamId::new(Side::Connector, 3)
}

fn ack(offset: u64, ended: bool) -> Ack {
    Ack {
        stream: stream(),
        offset,
        ended,
    }
}

fn header(ordinal: u32, offset: u64) -> CarrierHeader {
    CarrierHeader {
        stream: stream(),
        forward: 0,
        ordinal,
        offset,
    }
}

fn end(kind: EndKind, offset: u64) -> End {
    End {
        stream: stream(),
        forward: 0,
        kind,
        offset,
    }
}

fn sender_of(bytes: usize) -> Sender {
    let mut sender = Sender::new(stream(), 0, Limits::default(), &Budget::default());
    sender.push(Bytes::from(vec![0; bytes])).unwrap();
    sender
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_caught() {
    let mut sender = sender_of(100);
    let lie = sender.handle_ack(ack(1, false)).unwrap_err();
    assert_eq!(lie, Violation::AckedUnsent { acked: 1, sent: 0 });
    assert_eq!(lie.scope(), Scope::Stream);
    sender.attach(A);
    sender.poll_transmit().unwrap();
    sender.transmitted(A, 100);
    for acked in [101, u64::MAX] {
        let lie = Violation::AckedUnsent { acked, sent: 100 };
        assert_eq!(sender.handle_ack(ack(acked, false)), Err(lie));
    }
    assert_eq!(sender.acknowledged(), 0, "a lie changes nothing");
    assert!(sender.handle_ack(ack(100, false)).is_ok());
}

#[test]
fn the_confirmation_of_an_end_that_was_not_announced_is_caught() {
    let mut sender = sender_of(100);
    sender.attach(A);
    sender.poll_transmit().unwrap();
    sender.transmitted(A, 100);
    let lie = Err(Violation::AckedNoEnd { acked: 100 });
    assert_eq!(sender.handle_ack(ack(100, true)), lie);
    sender.close(EndKind::Fin);
    for acked in [0, 99, 101] {
        let lie = Err(Violation::AckedNoEnd { acked });
        assert_eq!(sender.handle_ack(ack(acked, true)), lie);
    }
    assert!(!sender.is_finished());
}

#[test]
fn carriers_and_ends_from_the_future_are_caught() {
    let mut receiver = Receiver::new(stream(), 0);
    let horizon = MAX_RETENTION;
    assert!(receiver.open(A, &header(0, horizon)).is_ok());
    for offset in [horizon + 1, u64::MAX] {
        let lie = Violation::FromTheFuture { offset, horizon };
        assert_eq!(receiver.open(A, &header(1, offset)), Err(lie));
        assert_eq!(receiver.handle_end(end(EndKind::Fin, offset)), Err(lie));
    }
    receiver.open(CarrierId(1), &header(1, 0)).unwrap();
    receiver
        .handle_data(CarrierId(1), Bytes::from_static(&[0; 1000]))
        .unwrap();
    receiver.consumed(1000);
    assert!(
        receiver.open(A, &header(2, horizon + 1000)).is_err(),
        "not acknowledged yet"
    );
    receiver.poll_frame(true).unwrap();
    assert!(receiver.open(A, &header(2, horizon + 1000)).is_ok());
}

#[test]
fn contradictory_ends_are_caught() {
    let mut receiver = Receiver::new(stream(), 0);
    receiver.handle_end(end(EndKind::Fin, 10)).unwrap();
    for (kind, offset) in [
        (EndKind::Fin, 11),
        (EndKind::Fin, 9),
        (EndKind::Reset(ResetCode::CONNECTION), 10),
    ] {
        let lie = Violation::ContradictoryEnd {
            first: Some(EndKind::Fin),
            first_at: 10,
            second: kind,
            second_at: offset,
        };
        assert_eq!(receiver.handle_end(end(kind, offset)), Err(lie));
    }
    assert!(receiver.handle_end(end(EndKind::Fin, 10)).is_ok());
}

#[test]
fn an_end_before_what_was_sent_is_caught() {
    for ahead in [false, true] {
        let mut receiver = Receiver::new(stream(), 0);
        receiver
            .open(A, &header(0, if ahead { 5 } else { 0 }))
            .unwrap();
        if !ahead {
            receiver
                .handle_data(A, Bytes::from_static(b"hello"))
                .unwrap();
        }
        let lie = Violation::ContradictoryEnd {
            first: None,
            first_at: 5,
            second: EndKind::Fin,
            second_at: 4,
        };
        assert_eq!(receiver.handle_end(end(EndKind::Fin, 4)), Err(lie));
        assert!(receiver.handle_end(end(EndKind::Fin, 5)).is_ok());
    }
}

#[test]
fn bytes_and_carriers_behind_the_end_are_caught() {
    let mut receiver = Receiver::new(stream(), 0);
    receiver.handle_end(end(EndKind::Fin, 5)).unwrap();
    let lie = Violation::BeyondEnd { offset: 6, end: 5 };
    assert_eq!(receiver.open(A, &header(0, 6)), Err(lie));
    receiver.open(A, &header(0, 0)).unwrap();
    assert_eq!(
        receiver.handle_data(A, Bytes::from_static(b"hello!")),
        Err(lie)
    );
    assert_eq!(receiver.received(), 0);
}

#[test]
fn a_carrier_read_before_its_turn_is_an_error_and_its_bytes_are_not_used() {
    let mut receiver = Receiver::new(stream(), 0);
    receiver.open(A, &header(0, 5)).unwrap();
    let mistake = receiver
        .handle_data(A, Bytes::from_static(b"x"))
        .unwrap_err();
    assert_eq!(
        mistake,
        Violation::ReadAhead {
            offset: 5,
            expected: 0
        }
    );
    assert_eq!(mistake.scope(), Scope::Tunnel);
}

#[test]
fn endless_carriers_cost_bounded_memory() {
    let mut receiver = Receiver::new(stream(), 0);
    let mut open = 0i64;
    for ordinal in 0..10_000u32 {
        let id = CarrierId(ordinal.into());
        match receiver.open(id, &header(ordinal, u64::from(ordinal % 2) * 100)) {
            Ok(Opened::Accepted { displaced }) => open += 1 - displaced.len() as i64,
            other => panic!("{other:?}"),
        }
        assert!(open <= MAX_CARRIERS as i64);
    }
    let repeated = receiver.open(A, &header(9_999, 0));
    assert_eq!(repeated, Err(Violation::RepeatedCarrier(9_999)));
    for _ in 0..10_000 {
        assert_eq!(receiver.open(A, &header(0, 0)), Ok(Opened::Refused));
    }
    assert!(receiver.open(A, &header(u32::MAX, 0)).is_ok());
    assert_eq!(receiver.readable().count(), 1);
}
