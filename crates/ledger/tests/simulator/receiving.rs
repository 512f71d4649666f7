//! The driver at the end where the bytes go to.

use bytes::Bytes;
use p2pdbg_ledger::{Admission, CarrierHeader, CarrierId, Frame, Opened, Receiver, ResetCode};

use super::{Incoming, World, bytes_at, index};

impl World {
    pub(super) fn arrive(&mut self, carrier: usize, count: usize) {
        let Some(number) = index(carrier, self.wires.len()) else {
            return;
        };
        let wire = &mut self.wires[number];
        if !self.tunnels[wire.tunnel].alive || wire.over {
            return;
        }
        if wire.reset {
            wire.over = true;
            if let Incoming::Open(receiver) = &mut self.incoming {
                receiver.carrier_ended(CarrierId(number as u64));
            }
            return;
        }
        wire.arrived = wire.arrived.saturating_add(count).min(wire.written.len());
        if !wire.opened && wire.arrived >= CarrierHeader::LEN {
            wire.opened = true;
            wire.read = CarrierHeader::LEN;
            let header = wire.written.first_chunk().unwrap();
            let header = CarrierHeader::decode(header).unwrap();
            self.open(number, &header);
        }
    }

    pub(super) fn open(&mut self, number: usize, header: &CarrierHeader) {
        match self.accepter.admit(header.stream, true).unwrap() {
            Admission::New => {
                self.incoming =
                    Incoming::Open(Box::new(Receiver::new(header.stream, header.forward)));
            }
            Admission::Live => {}
            Admission::Closed => {
                self.refuse(number);
                let reply = header.reply_if_closed();
                self.send(true, &reply);
                return;
            }
        }
        let Incoming::Open(receiver) = &mut self.incoming else {
            panic!("a live stream without a receiver")
        };
        match receiver
            .open(CarrierId(number as u64), header)
            .expect("an honest carrier")
        {
            Opened::Accepted { displaced } => {
                self.seen.displaced += displaced.len();
                for carrier in displaced {
                    assert!(
                        !self.sender.depends_on(carrier),
                        "{carrier:?} was displaced, but the sender counts on it"
                    );
                    self.refuse(carrier.0 as usize);
                }
            }
            Opened::Refused => {
                let stopped = receiver.is_stopped();
                self.seen.overtaken += usize::from(!stopped);
                assert!(
                    stopped || !self.sender.depends_on(CarrierId(number as u64)),
                    "a carrier was refused that the sender counts on"
                );
                self.refuse(number);
            }
        }
    }

    pub(super) fn refuse(&mut self, number: usize) {
        self.wires[number].refused = true;
        self.wires[number].over = true;
    }

    pub(super) fn read(&mut self, carrier: usize, most: usize) {
        let Incoming::Open(receiver) = &mut self.incoming else {
            return;
        };
        let readable: Vec<_> = receiver.readable().collect();
        let Some(choice) = index(carrier, readable.len()) else {
            return;
        };
        let id = readable[choice];
        assert!(receiver.is_readable(id) && receiver.is_open(id));
        let wire = &mut self.wires[id.0 as usize];
        let count = most.min(wire.arrived - wire.read);
        let data = Bytes::copy_from_slice(&wire.written[wire.read..wire.read + count]);
        wire.read += count;
        let before = self.received;
        if wire.finished && wire.read == wire.written.len() {
            wire.over = true;
        }
        let over = wire.over;
        if let Some(new) = receiver.handle_data(id, data).expect("honest bytes") {
            assert!(!new.is_empty());
            let right = new == bytes_at(self.received, new.len());
            assert!(right, "wrong bytes from {} on", self.received);
            self.received += new.len() as u64;
        }
        self.seen.repeated += count - (self.received - before) as usize;
        if over {
            receiver.carrier_ended(id);
        }
        assert_eq!(receiver.received(), self.received);
    }

    pub(super) fn consume(&mut self, count: usize) {
        if let Incoming::Open(receiver) = &mut self.incoming {
            let count = (count as u64).min(self.received - self.consumed);
            receiver.consumed(count as usize);
            self.consumed += count;
            assert_eq!(receiver.unconsumed(), self.received - self.consumed);
        }
    }

    pub(super) fn stop(&mut self) {
        if let Incoming::Open(receiver) = &mut self.incoming
            && self.delivered.is_empty()
        {
            self.stopped = true;
            receiver.stop(ResetCode::CONNECTION);
            for wire in self.wires.iter_mut().filter(|wire| wire.opened) {
                wire.refused = true;
                wire.over = true;
            }
        }
    }

    pub(super) fn receiver_notices(&mut self, tunnel: usize) {
        let Some(tunnel) = index(tunnel, self.tunnels.len()) else {
            return;
        };
        if self.tunnels[tunnel].alive || !self.tunnels[tunnel].receiver_believes {
            return;
        }
        self.tunnels[tunnel].receiver_believes = false;
        for (number, wire) in self.wires.iter_mut().enumerate() {
            if wire.tunnel == tunnel {
                wire.over = true;
                if let Incoming::Open(receiver) = &mut self.incoming {
                    receiver.carrier_ended(CarrierId(number as u64));
                }
            }
        }
        if let Incoming::Open(receiver) = &mut self.incoming {
            receiver.reannounce();
        }
        self.send_receiver_frames(false);
    }

    pub(super) fn handle_at_receiver(&mut self, frame: Frame) {
        match self
            .accepter
            .admit(frame.stream(), frame.forward().is_some())
            .unwrap()
        {
            Admission::New => {
                self.seen.opened_by_end += 1;
                let receiver = Receiver::new(frame.stream(), frame.forward().unwrap());
                self.incoming = Incoming::Open(Box::new(receiver));
            }
            Admission::Live => {}
            Admission::Closed => {
                if let Some(reply) = frame.reply_if_closed() {
                    self.seen.replies += 1;
                    self.send(true, &reply);
                }
                return;
            }
        }
        let (Incoming::Open(receiver), Frame::End(end)) = (&mut self.incoming, frame) else {
            panic!("{frame:?} came to the receiver")
        };
        receiver.handle_end(end).expect("an honest end");
    }

    pub(super) fn send_receiver_frames(&mut self, timer_fired: bool) {
        if !self.tunnels.iter().any(|tunnel| tunnel.receiver_believes) {
            return;
        }
        while let Incoming::Open(receiver) = &mut self.incoming {
            match receiver.poll_frame(timer_fired) {
                Some(frame) => self.send(true, &frame),
                None => return,
            }
        }
    }
}
