//! What a sender does, rule by rule.

use bytes::Bytes;
use p2pdbg_ledger::{
    Ack, Budget, CarrierId, End, EndKind, Frame, Limits, MAX_CARRIERS, PushError, ResetCode,
    Retire, Sender, Side, Stop, StreamId,
};

const A: CarrierId = CarrierId(10);
const B: CarrierId = CarrierId(11);
const C: CarrierId = CarrierId(12);

fn stream() -> StreamId {
    StreamId::new(Side::Connector, 3)
}

fn sender() -> Sender {
    Sender::new(stream(), 9, Limits::default(), &Budget::default())
}

fn ack(offset: u64) -> Ack {
    Ack {
        stream: stream(),
        offset,
        ended: false,
    }
}

fn ended(offset: u64) -> Ack {
    Ack {
        ended: true,
        ..ack(offset)
    }
}

fn push(sender: &mut Sender, len: usize) {
    sender.push(Bytes::from(vec![1; len])).unwrap();
}

/// Puts everything that is unsent on the current carrier; returns how much that was.
fn transmit_all(sender: &mut Sender) -> usize {
    let mut sent = 0;
    while let Some(transmit) = sender.poll_transmit() {
        sent += transmit.data.len();
        sender.transmitted(transmit.carrier, transmit.data.len());
    }
    sent
}

fn retired(sender: &mut Sender) -> Vec<Retire> {
    std::iter::from_fn(|| sender.poll_retire()).collect()
}

#[test]
fn a_chunk_goes_out_as_the_same_memory_in_as_many_parts_as_the_carrier_takes() {
    let mut sender = sender();
    let chunk = Bytes::from_static(b"twelve bytes");
    sender.push(chunk.clone()).unwrap();
    assert_eq!(sender.poll_transmit(), None, "there is no carrier yet");
    assert!(sender.wants_carrier());
    sender.attach(A);
    assert!(!sender.wants_carrier());
    let first = sender.poll_transmit().unwrap();
    assert_eq!((first.carrier, first.data.as_ptr()), (A, chunk.as_ptr()));
    assert_eq!(sender.poll_transmit(), Some(first), "nothing was taken yet");
    sender.transmitted(A, 7);
    assert_eq!(&sender.poll_transmit().unwrap().data[..], b"bytes");
    sender.transmitted(A, 5);
    assert_eq!(sender.poll_transmit(), None);
    assert_eq!(sender.sent(), 12);
}

#[test]
fn several_chunks_go_out_at_once() {
    let mut sender = sender();
    for chunk in [&b"ab"[..], b"cd", b"ef", b"gh"] {
        sender.push(Bytes::from_static(chunk)).unwrap();
    }
    sender.attach(A);
    sender.transmitted(A, 1);
    let mut slots = [const { Bytes::new() }; 3];
    assert_eq!(sender.poll_transmit_many(&mut slots), Some((A, 3)));
    assert_eq!(slots.concat(), b"bcdef");
    sender.transmitted(A, 4);
    assert_eq!(sender.poll_transmit_many(&mut slots), Some((A, 2)));
    assert_eq!(slots[..2].concat(), b"fgh");
    sender.transmitted(A, 3);
    assert_eq!(sender.poll_transmit_many(&mut slots), None);
}

#[test]
fn a_better_carrier_begins_where_the_old_one_stopped_and_the_old_one_drains() {
    let mut sender = sender();
    push(&mut sender, 100);
    let header = sender.attach(A);
    assert_eq!((header.stream, header.forward), (stream(), 9));
    assert_eq!((header.ordinal, header.offset), (0, 0));
    sender.transmitted(A, 60);
    let header = sender.attach(B);
    assert_eq!((header.ordinal, header.offset), (1, 60));
    assert_eq!(retired(&mut sender), [Retire::Finish(A)]);
    assert!(sender.depends_on(A), "it has not delivered all");
    assert_eq!(transmit_all(&mut sender), 40);
    sender.handle_ack(ack(60)).unwrap();
    assert!(!sender.depends_on(A) && sender.depends_on(B));
    sender.carrier_lost(A);
    assert_eq!(sender.current(), Some(B), "its loss costs nothing any more");
}

#[test]
fn a_lost_carrier_is_replaced_at_the_acknowledged_offset() {
    let mut sender = sender();
    push(&mut sender, 100);
    sender.attach(A);
    transmit_all(&mut sender);
    sender.handle_ack(ack(30)).unwrap();
    sender.carrier_lost(A);
    assert!(sender.wants_carrier());
    assert_eq!(retired(&mut sender), [], "what is lost needs no reset");
    assert_eq!(sender.attach(B).offset, 30);
    assert_eq!(transmit_all(&mut sender), 70);
}

#[test]
fn the_loss_of_a_draining_carrier_takes_those_after_it_along() {
    let mut sender = sender();
    push(&mut sender, 100);
    sender.attach(A);
    sender.transmitted(A, 60);
    sender.attach(B);
    sender.transmitted(B, 20);
    retired(&mut sender);
    sender.handle_ack(ack(10)).unwrap();
    sender.carrier_lost(A);
    assert_eq!(retired(&mut sender), [Retire::Reset(B)]);
    assert_eq!(sender.attach(C).offset, 10);
}

#[test]
fn the_loss_of_the_current_carrier_leaves_those_before_it_draining() {
    let mut sender = sender();
    push(&mut sender, 100);
    sender.attach(A);
    sender.transmitted(A, 60);
    sender.attach(B);
    sender.transmitted(B, 20);
    sender.handle_ack(ack(10)).unwrap();
    sender.carrier_lost(B);
    assert_eq!(retired(&mut sender), [Retire::Finish(A)]);
    assert_eq!(sender.attach(C).offset, 60, "A delivers what is before");
    transmit_all(&mut sender);
    sender.carriers_lost(|carrier| carrier == A || carrier == C);
    assert_eq!(retired(&mut sender), [], "both are lost, none is reset");
    assert_eq!(sender.attach(B).offset, 10);
}

#[test]
fn the_loss_of_a_carrier_that_carried_nothing_costs_nothing() {
    let mut sender = sender();
    push(&mut sender, 100);
    sender.attach(A);
    sender.transmitted(A, 60);
    sender.attach(B);
    sender.attach(C);
    transmit_all(&mut sender);
    assert!(!sender.depends_on(B));
    sender.carrier_lost(B);
    assert_eq!((sender.current(), sender.sent()), (Some(C), 100));
}

#[test]
fn what_a_carrier_took_before_it_was_replaced_but_reported_after_is_sent_again() {
    let mut sender = sender();
    push(&mut sender, 100);
    sender.attach(A);
    let transmit = sender.poll_transmit().unwrap();
    assert_eq!(sender.attach(B).offset, 0);
    sender.transmitted(A, transmit.data.len());
    assert_eq!(sender.sent(), 0);
    let outcome = sender.handle_ack(ack(100));
    assert_eq!(outcome.unwrap().released, 100, "A may have delivered it");
}

#[test]
fn bytes_acknowledged_while_they_are_sent_again_are_skipped_by_a_new_carrier() {
    let mut sender = sender();
    push(&mut sender, 100);
    sender.attach(A);
    transmit_all(&mut sender);
    sender.carrier_lost(A);
    sender.attach(B);
    sender.transmitted(B, 10);
    sender.handle_ack(ack(80)).unwrap();
    assert_eq!(retired(&mut sender), [Retire::Reset(B)]);
    assert!(sender.wants_carrier());
    assert_eq!(sender.attach(C).offset, 80);
    assert_eq!(transmit_all(&mut sender), 20);
}

#[test]
fn carriers_far_behind_the_newest_are_given_up() {
    let mut sender = sender();
    push(&mut sender, 100);
    for number in 0..MAX_CARRIERS as u64 {
        assert_eq!(sender.attach(CarrierId(number)).offset, number);
        sender.transmitted(CarrierId(number), 1);
    }
    assert!(sender.depends_on(CarrierId(0)));
    retired(&mut sender);
    let header = sender.attach(CarrierId(99));
    assert_eq!((header.ordinal, header.offset), (8, 0));
    assert!((0..8).all(|number| !sender.depends_on(CarrierId(number))));
    let mut resets = retired(&mut sender);
    resets.retain(|retire| matches!(retire, Retire::Reset(_)));
    assert_eq!(resets.len(), 8);
}

#[test]
fn stale_acknowledgements_are_ignored() {
    let mut sender = sender();
    push(&mut sender, 100);
    sender.attach(A);
    transmit_all(&mut sender);
    assert_eq!(sender.handle_ack(ack(50)).unwrap().released, 50);
    for stale in [50, 20, 0] {
        assert_eq!(sender.handle_ack(ack(stale)).unwrap().released, 0);
    }
    assert_eq!(sender.acknowledged(), 50);
}

#[test]
fn the_end_is_announced_once_and_again_when_it_may_have_been_lost() {
    let mut sender = sender();
    push(&mut sender, 10);
    sender.attach(A);
    assert_eq!(sender.poll_frame(), None);
    sender.close(EndKind::Fin);
    sender.close(EndKind::Reset(ResetCode::CONNECTION));
    let end = Frame::End(End {
        stream: stream(),
        forward: 9,
        kind: EndKind::Fin,
        offset: 10,
    });
    assert_eq!(sender.poll_frame(), Some(end));
    assert_eq!(sender.poll_frame(), None);
    sender.reannounce();
    assert_eq!(sender.poll_frame(), Some(end));
    assert_eq!(
        sender.push(Bytes::from_static(b"more")),
        Err(PushError::Closed)
    );
    assert_eq!(sender.capacity(), 0);

    transmit_all(&mut sender);
    assert_eq!(retired(&mut sender), [Retire::Finish(A)]);
    assert!(!sender.wants_carrier(), "everything is on its way");
    assert!(!sender.handle_ack(ack(10)).unwrap().finished);
    assert!(sender.handle_ack(ended(10)).unwrap().finished);
    assert!(sender.is_finished());
    sender.reannounce();
    assert_eq!(sender.poll_frame(), None);
    assert_eq!(sender.handle_ack(ended(10)), Ok(Default::default()));
}

#[test]
fn a_stream_that_ends_at_once_needs_no_carrier() {
    let mut sender = sender();
    sender.close(EndKind::Fin);
    assert!(!sender.wants_carrier());
    assert!(matches!(
        sender.poll_frame(),
        Some(Frame::End(End { offset: 0, .. }))
    ));
    assert!(sender.handle_ack(ended(0)).unwrap().finished);
}

#[test]
fn a_closed_sender_wants_a_carrier_again_when_its_bytes_are_lost() {
    let mut sender = sender();
    push(&mut sender, 10);
    sender.attach(A);
    transmit_all(&mut sender);
    sender.close(EndKind::Fin);
    assert_eq!(retired(&mut sender), [Retire::Finish(A)]);
    assert!(!sender.wants_carrier());
    sender.carrier_lost(A);
    assert!(sender.wants_carrier());
    assert_eq!(sender.attach(B).offset, 0);
}

#[test]
fn a_receiver_that_wants_no_more_gets_the_end_and_nothing_else() {
    let mut sender = sender();
    push(&mut sender, 100);
    sender.attach(A);
    sender.transmitted(A, 40);
    sender.handle_stop(Stop {
        stream: stream(),
        forward: 9,
        code: ResetCode::NOT_ALLOWED,
    });
    assert!(sender.is_stopped() && sender.is_closed() && !sender.is_finished());
    assert_eq!(sender.held(), 0, "nothing is kept");
    assert_eq!(retired(&mut sender), [Retire::Reset(A)]);
    assert_eq!(sender.poll_transmit(), None);
    assert!(!sender.wants_carrier());
    let kind = EndKind::Reset(ResetCode::NOT_ALLOWED);
    let Some(Frame::End(end)) = sender.poll_frame() else {
        panic!("no end")
    };
    assert_eq!((end.kind, end.offset), (kind, 100));
    assert!(sender.handle_ack(ended(100)).unwrap().finished);
}

#[test]
fn a_stop_after_the_end_keeps_the_end_and_says_it_again() {
    let mut sender = sender();
    push(&mut sender, 100);
    sender.close(EndKind::Fin);
    let end = sender.poll_frame();
    sender.handle_stop(Stop {
        stream: stream(),
        forward: 9,
        code: ResetCode::CONNECTION,
    });
    assert_eq!(sender.poll_frame(), end);
}

#[test]
fn a_sender_takes_its_limit_and_not_a_byte_more() {
    let mut sender = sender();
    let mut pushed = 0;
    loop {
        let room = sender.capacity();
        if room == 0 {
            break;
        }
        assert!((4 << 10..=128 << 10).contains(&room), "{room}");
        assert_eq!(
            sender.push(Bytes::from(vec![0; room + (4 << 20)])),
            Err(PushError::Full(room + (4 << 20)))
        );
        push(&mut sender, room);
        pushed += room;
        assert!(sender.held() <= sender.limit());
    }
    assert_eq!(sender.limit(), 4 << 20);
    assert!(pushed > (4 << 20) - (16 << 10), "{pushed}");
    sender.attach(A);
    transmit_all(&mut sender);
    sender.handle_ack(ack(64 << 10)).unwrap();
    assert!(sender.capacity() >= 60 << 10, "room comes back with an ack");
}

#[test]
fn many_small_chunks_cannot_outgrow_the_limit() {
    let mut sender = sender();
    let mut chunks = 0usize;
    while sender.capacity() > 0 {
        push(&mut sender, 1);
        chunks += 1;
    }
    assert!(chunks * (1 + 128) <= 4 << 20, "{chunks}");
}

#[test]
fn a_stream_keeps_its_guarantee_when_others_have_used_up_the_budget() {
    let budget = Budget::default();
    let mut hogs: Vec<Sender> = (0..32)
        .map(|counter| {
            let stream = StreamId::new(Side::Listener, counter);
            let limits = Limits {
                initial: 32 << 20,
                ..Limits::default()
            };
            Sender::new(stream, 0, limits, &budget)
        })
        .collect();
    let mut held = 0;
    let chunk = Bytes::from(vec![0; 128 << 10]);
    for hog in &mut hogs {
        loop {
            let room = hog.capacity();
            if room == 0 {
                break;
            }
            hog.push(chunk.slice(..room)).unwrap();
        }
        held += hog.held();
    }
    assert_eq!(budget.leased(), budget.total());
    assert!(held <= (64 << 20) + 32 * (256 << 10), "{held}");
    let mut late = Sender::new(stream(), 0, Limits::default(), &budget);
    let mut room = 0;
    while late.capacity() > 0 {
        let more = late.capacity();
        push(&mut late, more);
        room += more;
    }
    assert!(room > 240 << 10, "{room}");

    let mut hog = hogs.swap_remove(0);
    hog.attach(A);
    let everything = transmit_all(&mut hog);
    hog.handle_ack(ack(everything as u64)).unwrap();
    assert!(
        budget.leased() < budget.total(),
        "an idle sender leases nothing"
    );
    assert!(late.capacity() > 0);
    drop(hogs);
    drop(hog);
    drop(late);
    assert_eq!(budget.leased(), 0);
}

/// Fills the sender, sends all or half of what it holds, and acknowledges in steps of 64 KiB, for so many bytes.
fn stream_through(sender: &mut Sender, total: u64, carrier_keeps_up: bool) {
    if sender.current().is_none() {
        sender.attach(A);
    }
    let target = sender.acknowledged() + total;
    while sender.acknowledged() < target {
        loop {
            let room = sender.capacity();
            if room == 0 {
                break;
            }
            push(sender, room);
            if carrier_keeps_up {
                transmit_all(sender);
            }
        }
        if !carrier_keeps_up {
            let transmit = sender.poll_transmit().unwrap();
            sender.transmitted(A, transmit.data.len());
        }
        let next = sender.sent().min(sender.acknowledged() + (64 << 10));
        sender.handle_ack(ack(next)).unwrap();
        sender.capacity();
    }
}

#[test]
fn the_limit_doubles_when_it_is_what_holds_the_sender_up() {
    let mut sender = sender();
    stream_through(&mut sender, 2 << 20, true);
    assert_eq!(sender.limit(), 4 << 20, "not before a whole limit's worth");
    stream_through(&mut sender, 3 << 20, true);
    assert_eq!(sender.limit(), 8 << 20);
    stream_through(&mut sender, 200 << 20, true);
    assert_eq!(sender.limit(), 32 << 20, "but not beyond the maximum");
}

#[test]
fn the_limit_stays_when_the_path_or_the_program_is_what_is_slow() {
    let mut slow_path = sender();
    stream_through(&mut slow_path, 50 << 20, false);
    assert_eq!(slow_path.limit(), 4 << 20);

    let mut slow_program = sender();
    slow_program.attach(A);
    for _ in 0..1000 {
        assert!(slow_program.capacity() > 0);
        push(&mut slow_program, 64 << 10);
        transmit_all(&mut slow_program);
        let sent = slow_program.sent();
        slow_program.handle_ack(ack(sent)).unwrap();
    }
    assert_eq!(slow_program.limit(), 4 << 20);
}

#[test]
fn the_limit_does_not_grow_beyond_twice_the_paths_window() {
    let mut sender = sender();
    sender.handle_path_window(1 << 20);
    stream_through(&mut sender, 50 << 20, true);
    assert_eq!(sender.limit(), 4 << 20, "nor shrink below where it was");
    sender.handle_path_window(5 << 20);
    stream_through(&mut sender, 100 << 20, true);
    assert_eq!(sender.limit(), 10 << 20);
}
