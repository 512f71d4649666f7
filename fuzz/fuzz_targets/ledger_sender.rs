//! A sender whose peer confirms, stops and refuses whatever it likes: no panic, nothing beyond the limits.

#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use p2pdbg_ledger::{Ack, Budget, CarrierId, EndKind, Limits, ResetCode, Sender, Stop, StreamId};

#[derive(Debug, Arbitrary)]
enum Step {
    Push(u32),
    Close {
        reset: bool,
    },
    Attach,
    Detach,
    Lose {
        back: u8,
    },
    LoseSome {
        modulo: u8,
    },
    Transmit {
        count: u32,
        many: bool,
    },
    Ack {
        offset: u64,
        ended: bool,
    },
    AckNear {
        behind: u16,
        from_end: bool,
        ended: bool,
    },
    Stop,
    Reannounce,
    PathWindow(u64),
}

fuzz_target!(|steps: Vec<Step>| {
    let stream = StreamId::from_u64(6);
    let budget = Budget::new(1 << 20);
    let limits = Limits {
        guaranteed: 0,
        initial: 512 << 10,
        max: 2 << 20,
    }
    .normalized();
    let mut sender = Sender::new(stream, 1, limits, &budget);
    let zeros = Bytes::from(vec![0; 128 << 10]);
    let mut carriers = 0u64;
    for step in steps {
        match step {
            Step::Push(len) => {
                let room = sender.capacity().min(len as usize);
                if room > 0 {
                    sender
                        .push(zeros.slice(..room))
                        .expect("capacity is a promise");
                }
            }
            Step::Close { reset } => sender.close(if reset {
                EndKind::Reset(ResetCode::CONNECTION)
            } else {
                EndKind::Fin
            }),
            Step::Attach => {
                let sent = sender.sent();
                let header = sender.attach(CarrierId(carriers));
                assert!(header.offset <= sent && header.offset >= sender.acknowledged());
                assert_eq!(u64::from(header.ordinal), carriers);
                carriers += 1;
            }
            Step::Detach => sender.detach(),
            Step::Lose { back } => {
                sender.carrier_lost(CarrierId(carriers.wrapping_sub(back.into())));
            }
            Step::LoseSome { modulo } => {
                sender.carriers_lost(|carrier| carrier.0 % (u64::from(modulo) + 1) == 0);
            }
            Step::Transmit { count, many } => {
                let mut slots = [const { Bytes::new() }; 4];
                let offered = if many {
                    sender
                        .poll_transmit_many(&mut slots)
                        .map(|(carrier, filled)| {
                            (
                                carrier,
                                slots[..filled].iter().map(Bytes::len).sum::<usize>(),
                            )
                        })
                } else {
                    sender
                        .poll_transmit()
                        .map(|next| (next.carrier, next.data.len()))
                };
                if let Some((carrier, len)) = offered {
                    assert!(len > 0 && Some(carrier) == sender.current());
                    sender.transmitted(carrier, len.min(count as usize));
                }
            }
            Step::Ack { offset, ended } => {
                let _ = sender.handle_ack(Ack {
                    stream,
                    offset,
                    ended,
                });
            }
            Step::AckNear {
                behind,
                from_end,
                ended,
            } => {
                let from = if from_end {
                    sender.pushed()
                } else {
                    sender.sent()
                };
                let offset = from.saturating_sub(behind.into());
                let _ = sender.handle_ack(Ack {
                    stream,
                    offset,
                    ended,
                });
            }
            Step::Stop => {
                sender.handle_stop(Stop {
                    stream,
                    forward: 1,
                    code: ResetCode::CONNECTION,
                });
            }
            Step::Reannounce => sender.reannounce(),
            Step::PathWindow(bytes) => sender.handle_path_window(bytes),
        }
        while sender.poll_retire().is_some() {}
        while sender.poll_frame().is_some() {}
        assert!(sender.acknowledged() <= sender.sent() && sender.sent() <= sender.pushed());
        assert!(sender.held() <= sender.limit() && sender.limit() <= limits.max);
        assert!(budget.leased() <= budget.total());
        assert!(!sender.is_finished() || (sender.held() == 0 && budget.leased() == 0));
    }
});
