//! A receiver whose peer says whatever it likes: no panic, no byte repeated or skipped, bounded memory.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use p2pdbg_ledger::{
    CarrierHeader, CarrierId, End, EndKind, Frame, MAX_CARRIERS, Receiver, ResetCode, StreamId,
};

#[derive(Debug, Arbitrary)]
enum Step {
    Open {
        carrier: u8,
        ordinal: u32,
        offset: u64,
    },
    OpenNear {
        carrier: u8,
        ordinal: u8,
        behind: u8,
        ahead: u8,
    },
    Data {
        carrier: u8,
        len: u16,
    },
    Ended {
        carrier: u8,
    },
    Consume(u16),
    End {
        reset: bool,
        offset: u64,
    },
    EndNear {
        reset: bool,
        ahead: u8,
    },
    Poll {
        timer_fired: bool,
    },
    PollEnd,
    Stop,
    Reannounce,
}

/// The byte that an honest peer would send at an offset.
fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// Opens a carrier, unless the driver would be using an id twice.
fn open(
    receiver: &mut Receiver,
    positions: &mut [u64; 256],
    carrier: u8,
    ordinal: u32,
    offset: u64,
) {
    let id = CarrierId(carrier.into());
    let header = CarrierHeader {
        stream: receiver.stream(),
        forward: 1,
        ordinal,
        offset,
    };
    if !receiver.is_open(id) && receiver.open(id, &header).is_ok() {
        positions[usize::from(carrier)] = offset;
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let stream = StreamId::from_u64(6);
    let kind = |reset| {
        if reset {
            EndKind::Reset(ResetCode::CONNECTION)
        } else {
            EndKind::Fin
        }
    };
    let mut receiver = Receiver::new(stream, 1);
    // Where each carrier stands, as the peer sees it.
    let mut positions = [0u64; 256];
    let mut received = 0u64;
    let mut consumed = 0u64;
    let mut acknowledged = 0u64;
    let mut ends = 0;
    for step in steps {
        match step {
            Step::Open {
                carrier,
                ordinal,
                offset,
            } => {
                open(&mut receiver, &mut positions, carrier, ordinal, offset);
            }
            Step::OpenNear {
                carrier,
                ordinal,
                behind,
                ahead,
            } => {
                let offset = received.saturating_sub(behind.into()) + u64::from(ahead);
                open(
                    &mut receiver,
                    &mut positions,
                    carrier,
                    ordinal.into(),
                    offset,
                );
            }
            Step::Data { carrier, len } => {
                let id = CarrierId(carrier.into());
                let position = &mut positions[usize::from(carrier)];
                let reached = *position + u64::from(len);
                let data: Bytes = (*position..reached).map(byte_at).collect();
                let readable = receiver.is_readable(id);
                match receiver.handle_data(id, data) {
                    Ok(Some(new)) => {
                        assert!(readable && !new.is_empty());
                        for byte in new {
                            assert_eq!(byte, byte_at(received));
                            received += 1;
                        }
                        *position = reached;
                    }
                    Ok(None) if readable => *position = reached,
                    Ok(None) | Err(_) => {}
                }
                assert_eq!(receiver.received(), received);
            }
            Step::Ended { carrier } => receiver.carrier_ended(CarrierId(carrier.into())),
            Step::Consume(count) => {
                let count = u64::from(count).min(receiver.unconsumed());
                receiver.consumed(count as usize);
                consumed += count;
            }
            Step::End { reset, offset } => {
                let _ = receiver.handle_end(End {
                    stream,
                    forward: 1,
                    kind: kind(reset),
                    offset,
                });
            }
            Step::EndNear { reset, ahead } => {
                let offset = received + u64::from(ahead);
                let _ = receiver.handle_end(End {
                    stream,
                    forward: 1,
                    kind: kind(reset),
                    offset,
                });
            }
            Step::Poll { timer_fired } => {
                let mut frames = 0;
                while let Some(frame) = receiver.poll_frame(timer_fired) {
                    frames += 1;
                    assert!(frames <= 3, "frames without end");
                    if let Frame::Ack(ack) = frame {
                        assert!(
                            ack.ended || (ack.offset == consumed && ack.offset >= acknowledged)
                        );
                        acknowledged = ack.offset;
                    }
                }
            }
            Step::PollEnd => {
                if receiver.poll_end().is_some() {
                    ends += 1;
                    assert!(ends == 1 && consumed == received && !receiver.is_stopped());
                }
            }
            Step::Stop => receiver.stop(ResetCode::CONNECTION),
            Step::Reannounce => receiver.reannounce(),
        }
        assert!(receiver.readable().count() <= MAX_CARRIERS);
        assert_eq!(receiver.unconsumed(), received - consumed);
    }
});
