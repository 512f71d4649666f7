//! The driver at the end where the bytes come from.

use std::collections::VecDeque;

use bytes::Bytes;
use p2pdbg_ledger::{Admission, CarrierId, EndKind, Frame};

use super::{Incoming, Tunnel, Wire, World, bytes_at, index};

impl World {
    pub(super) fn write(&mut self, len: usize) {
        let room = self.sender.capacity();
        let len = len.min(room);
        if len > 0 {
            let chunk = bytes_at(self.sender.pushed(), len);
            self.sender
                .push(chunk)
                .expect("what capacity promised is taken");
        } else if room == 0 && !self.sender.is_closed() {
            assert!(
                self.sender.held() > 0,
                "a sender that holds nothing has room"
            );
            if self.sender.limit() - self.sender.held() > 8 << 10 {
                self.seen.out_of_budget += 1;
            }
        }
    }

    /// Writes as much as there was room for a step ago.
    pub(super) fn write_promised(&mut self, promised: Option<usize>) {
        if let Some(len) = promised.filter(|len| *len > 0)
            && !self.sender.is_closed()
        {
            let chunk = bytes_at(self.sender.pushed(), len);
            self.sender
                .push(chunk)
                .expect("what was promised is taken, whatever happened since");
        }
    }

    pub(super) fn close(&mut self, kind: EndKind) {
        if !self.sender.is_closed() {
            self.closed = Some(kind);
            self.sender.close(kind);
        }
    }

    pub(super) fn open_tunnel(&mut self) {
        self.tunnels.push(Tunnel {
            alive: true,
            sender_believes: true,
            receiver_believes: true,
            to_receiver: VecDeque::new(),
            to_sender: VecDeque::new(),
        });
        self.sender.reannounce();
        if let Incoming::Open(receiver) = &mut self.incoming {
            receiver.reannounce();
        }
        self.send_receiver_frames(false);
    }

    pub(super) fn attach(&mut self, tunnel: usize) {
        let Some(tunnel) = index(tunnel, self.tunnels.len()) else {
            return;
        };
        if !self.tunnels[tunnel].sender_believes || !self.sender.has_use_for_carrier() {
            return;
        }
        let header = self.sender.attach(CarrierId(self.wires.len() as u64));
        self.wires.push(Wire {
            tunnel,
            written: header.encode().to_vec(),
            from: header.offset,
            until: header.offset,
            arrived: 0,
            read: 0,
            opened: false,
            finished: false,
            reset: false,
            over: false,
            refused: false,
        });
    }

    pub(super) fn transmit(&mut self, most: usize, many: bool) {
        let (carrier, data) = if many {
            let mut slots = vec![Bytes::new(); 16];
            let Some((carrier, filled)) = self.sender.poll_transmit_many(&mut slots) else {
                return;
            };
            (carrier, slots[..filled].concat())
        } else {
            let Some(transmit) = self.sender.poll_transmit() else {
                return;
            };
            (transmit.carrier, transmit.data.to_vec())
        };
        assert!(!data.is_empty());
        let count = most.min(data.len());
        let wire = &mut self.wires[carrier.0 as usize];
        assert!(!wire.finished && !wire.reset, "a retired carrier was fed");
        wire.written.extend_from_slice(&data[..count]);
        self.transmitted(carrier, count);
    }

    pub(super) fn transmit_late(&mut self, most: usize) {
        let Some(transmit) = self.sender.poll_transmit() else {
            return;
        };
        let count = most.min(transmit.data.len());
        let wire = &mut self.wires[transmit.carrier.0 as usize];
        wire.written.extend_from_slice(&transmit.data[..count]);
        self.late = Some((transmit.carrier, count));
    }

    pub(super) fn report(&mut self, late: Option<(CarrierId, usize)>) {
        if let Some((carrier, count)) = late {
            self.transmitted(carrier, count);
        }
    }

    pub(super) fn transmitted(&mut self, carrier: CarrierId, count: usize) {
        let counts = self.sender.current() == Some(carrier);
        self.sender.transmitted(carrier, count);
        if counts {
            let wire = &mut self.wires[carrier.0 as usize];
            wire.until = wire.until.max(self.sender.sent());
        }
    }

    pub(super) fn sender_notices(&mut self, tunnel: usize) {
        let Some(tunnel) = index(tunnel, self.tunnels.len()) else {
            return;
        };
        if self.tunnels[tunnel].alive || !self.tunnels[tunnel].sender_believes {
            return;
        }
        self.tunnels[tunnel].sender_believes = false;
        let wires = &self.wires;
        self.sender
            .carriers_lost(|carrier| wires[carrier.0 as usize].tunnel == tunnel);
        self.sender.reannounce();
    }

    pub(super) fn sender_sees_refusals(&mut self) {
        for (number, wire) in self.wires.iter().enumerate() {
            if wire.refused {
                self.sender.carrier_lost(CarrierId(number as u64));
            }
        }
    }

    pub(super) fn handle_at_sender(&mut self, frame: Frame) {
        let admission = self
            .opener
            .admit(frame.stream(), frame.forward().is_some())
            .unwrap();
        match (admission, frame) {
            (Admission::Closed, frame) => assert_eq!(frame.reply_if_closed(), None),
            (_, Frame::Ack(ack)) => {
                let before = self.sender.acknowledged();
                self.seen.skipped += usize::from(ack.offset > self.sender.sent());
                let outcome = self.sender.handle_ack(ack).expect("an honest ack");
                assert_eq!(self.sender.acknowledged(), before + outcome.released);
                assert_eq!(outcome.finished, self.sender.is_finished());
                if outcome.finished {
                    self.opener.close(self.stream);
                }
            }
            (_, Frame::Stop(stop)) => {
                self.sender.handle_stop(stop);
                self.closed.get_or_insert(EndKind::Reset(stop.code));
            }
            (_, frame) => panic!("{frame:?} came to the sender"),
        }
    }
}
