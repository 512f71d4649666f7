//! One end of a stream: the ledger, driven by its book, and the local program beside it.

use std::collections::VecDeque;

use bytes::Bytes;
use p2pdbg_ledger::{
    Budget, CarrierHeader, CarrierId, EndKind, Frame, Limits, Opened, Receiver, ResetCode, Retire,
    Sender, StreamId, Violation,
};

use crate::{
    End, Mutant,
    network::Packet,
    oracle::{Oracle, byte_at},
};

/// The most that a program writes at once, in bytes.
const CHUNK: usize = 2 << 10;

pub(crate) struct StreamEnd {
    id: StreamId,
    me: End,
    sender: Sender,
    receiver: Receiver,
    outgoing: Vec<(CarrierId, u64)>,
    next_outgoing: u64,
    incoming: Vec<Incoming>,
    next_incoming: u64,
    /// What the local program still writes; none once it is gone.
    unwritten: Option<usize>,
    end_came_by: Option<u64>,
    fin_given: bool,
}

struct Incoming {
    id: CarrierId,
    epoch: u64,
    number: u64,
    unread: VecDeque<Bytes>,
    finished: bool,
}

/// What an end sends, and on the tunnel of which epoch.
pub(crate) type Sent = Vec<(u64, Packet)>;

impl StreamEnd {
    pub(crate) fn new(id: StreamId, me: End, writes: usize) -> Self {
        let budget = Budget::new(64 << 20);
        Self {
            id,
            me,
            sender: Sender::new(id, 0, Limits::default(), &budget),
            receiver: Receiver::new(id, 0),
            outgoing: Vec::new(),
            next_outgoing: 0,
            incoming: Vec::new(),
            next_incoming: 0,
            unwritten: Some(writes),
            end_came_by: None,
            fin_given: false,
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.sender.is_finished() && self.receiver.is_finished()
    }

    pub(crate) fn is_delivered(&self) -> bool {
        self.sender.is_finished()
    }

    /// The local program writes some, and ends its direction once it has written all.
    pub(crate) fn write(&mut self, oracle: &mut Oracle) {
        let Some(left) = &mut self.unwritten else {
            return;
        };
        if self.sender.is_closed() {
            return;
        }
        let count = self.sender.capacity().min(*left).min(CHUNK);
        *left -= count;
        let all = *left == 0;
        if count > 0 {
            let at = oracle.on_written(self.id, self.me, count);
            let chunk: Bytes = (at..at + count as u64).map(byte_at).collect();
            let pushed = self.sender.push(chunk);
            debug_assert!(pushed.is_ok());
        }
        if all {
            oracle.on_closed(self.id, self.me, EndKind::Fin);
            self.sender.close(EndKind::Fin);
        }
    }

    /// The local program breaks the connection off, or the session does for it.
    pub(crate) fn break_off(&mut self, code: ResetCode, oracle: &mut Oracle) {
        oracle.on_broken(self.id);
        self.unwritten = None;
        self.sender.close(EndKind::Reset(code));
        self.stop_reading(code);
    }

    fn stop_reading(&mut self, code: ResetCode) {
        self.receiver.stop(code);
        for carrier in self.incoming.drain(..) {
            self.receiver.carrier_ended(carrier.id);
        }
    }

    pub(crate) fn on_open(
        &mut self,
        epoch: u64,
        number: u64,
        header: &CarrierHeader,
    ) -> Result<Sent, Violation> {
        let id = CarrierId(self.next_incoming);
        self.next_incoming += 1;
        let mut sent = Vec::new();
        let stream = self.id;
        match self.receiver.open(id, header)? {
            Opened::Accepted { displaced } => {
                self.incoming.push(Incoming {
                    id,
                    epoch,
                    number,
                    unread: VecDeque::new(),
                    finished: false,
                });
                for gone in self.incoming.iter().filter(|c| displaced.contains(&c.id)) {
                    let number = gone.number;
                    sent.push((gone.epoch, Packet::Stopped { stream, number }));
                    self.receiver.carrier_ended(gone.id);
                }
                self.incoming.retain(|c| !displaced.contains(&c.id));
            }
            Opened::Refused => sent.push((epoch, Packet::Stopped { stream, number })),
        }
        Ok(sent)
    }

    pub(crate) fn on_data(&mut self, epoch: u64, number: u64, bytes: Bytes) {
        let is_it = |c: &&mut Incoming| (c.epoch, c.number) == (epoch, number);
        if let Some(carrier) = self.incoming.iter_mut().find(is_it) {
            carrier.unread.push_back(bytes);
        }
    }

    /// A carrier has ended: after what came on it, or at once if it was reset.
    pub(crate) fn on_carrier_end(&mut self, epoch: u64, number: u64, reset: bool) {
        let is_it = |c: &&mut Incoming| (c.epoch, c.number) == (epoch, number);
        if let Some(carrier) = self.incoming.iter_mut().find(is_it) {
            carrier.finished = true;
            if reset {
                carrier.unread.clear();
            }
        }
    }

    /// The peer reads a carrier no more.
    pub(crate) fn on_stopped(&mut self, number: u64) {
        self.sender.carrier_lost(CarrierId(number));
        self.outgoing.retain(|(id, _)| id.0 != number);
    }

    pub(crate) fn on_frame(
        &mut self,
        epoch: u64,
        frame: Frame,
        mutant: Mutant,
        oracle: &mut Oracle,
    ) -> Result<(), Violation> {
        match frame {
            Frame::Ack(ack) => self.sender.handle_ack(ack).map(drop),
            Frame::End(end) => {
                self.end_came_by = Some(epoch);
                if mutant == Mutant::FinRepeated && self.fin_given {
                    oracle.on_end(self.id, self.me.other(), end.kind);
                }
                self.receiver.handle_end(end)
            }
            Frame::Stop(stop) => {
                self.sender.handle_stop(stop);
                self.stop_reading(stop.code);
                self.unwritten = None;
                oracle.on_broken(self.id);
                Ok(())
            }
        }
    }

    /// What was on a tunnel is lost.
    pub(crate) fn on_tunnel_lost(&mut self, epoch: u64, mutant: Mutant) {
        let lost: Vec<CarrierId> = self
            .outgoing
            .iter()
            .filter(|(_, on)| *on == epoch)
            .map(|(id, _)| *id)
            .collect();
        if mutant != Mutant::LossForgotten {
            self.sender.carriers_lost(|carrier| lost.contains(&carrier));
        }
        self.outgoing.retain(|(_, on)| *on != epoch);
        for carrier in self.incoming.iter().filter(|c| c.epoch == epoch) {
            self.receiver.carrier_ended(carrier.id);
        }
        self.incoming.retain(|carrier| carrier.epoch != epoch);
        self.reannounce();
    }

    /// What was sent on a silent tunnel goes again on another.
    pub(crate) fn on_tunnel_left(&mut self, epoch: u64) -> Sent {
        let (stream, mut sent) = (self.id, Vec::new());
        let mut lost = Vec::new();
        for (id, _) in self.outgoing.iter().filter(|(_, on)| *on == epoch) {
            sent.push((
                epoch,
                Packet::Reset {
                    stream,
                    number: id.0,
                },
            ));
            lost.push(*id);
        }
        self.sender.carriers_lost(|carrier| lost.contains(&carrier));
        self.outgoing.retain(|(_, on)| *on != epoch);
        self.reannounce();
        sent
    }

    pub(crate) fn reannounce(&mut self) {
        self.sender.reannounce();
        self.receiver.reannounce();
    }

    /// Moves whatever can be moved.
    pub(crate) fn pump(
        &mut self,
        used: Option<u64>,
        is_up: impl Fn(u64) -> bool,
        oracle: &mut Oracle,
    ) -> Result<Sent, Violation> {
        let mut sent = Vec::new();
        self.read(oracle)?;
        if let Some(used) = used {
            self.send(used, &mut sent);
            self.retire(&mut sent);
            while let Some(frame) = self.receiver.poll_frame(true) {
                // A confirmation goes back by the tunnel on which the end came.
                let confirms = matches!(&frame, Frame::Ack(ack) if ack.ended);
                let back = self.end_came_by.filter(|by| confirms && is_up(*by));
                sent.push((back.unwrap_or(used), Packet::Frame(frame)));
            }
            while let Some(frame) = self.sender.poll_frame() {
                sent.push((used, Packet::Frame(frame)));
            }
        }
        Ok(sent)
    }

    fn send(&mut self, used: u64, sent: &mut Sent) {
        let stream = self.id;
        let current = self.sender.current();
        let on = self.outgoing.iter().find(|(id, _)| Some(*id) == current);
        if on.is_none_or(|(_, epoch)| *epoch != used) && self.sender.has_use_for_carrier() {
            let id = CarrierId(self.next_outgoing);
            self.next_outgoing += 1;
            let header = self.sender.attach(id);
            self.outgoing.push((id, used));
            let number = id.0;
            sent.push((used, Packet::Open { number, header }));
        }
        while let Some(transmit) = self.sender.poll_transmit() {
            let (id, bytes) = (transmit.carrier, transmit.data.clone());
            self.sender.transmitted(id, bytes.len());
            if let Some((_, epoch)) = self.outgoing.iter().find(|(known, _)| *known == id) {
                let number = id.0;
                sent.push((
                    *epoch,
                    Packet::Data {
                        stream,
                        number,
                        bytes,
                    },
                ));
            }
        }
    }

    fn retire(&mut self, sent: &mut Sent) {
        let stream = self.id;
        while let Some(retire) = self.sender.poll_retire() {
            let (Retire::Finish(id) | Retire::Reset(id)) = retire;
            let Some((_, epoch)) = self.outgoing.iter().find(|(known, _)| *known == id) else {
                continue;
            };
            let number = id.0;
            let packet = match retire {
                Retire::Finish(_) => Packet::Finish { stream, number },
                Retire::Reset(_) => Packet::Reset { stream, number },
            };
            sent.push((*epoch, packet));
        }
        let (sender, current) = (&self.sender, self.sender.current());
        self.outgoing
            .retain(|(id, _)| Some(*id) == current || sender.depends_on(*id));
    }

    fn read(&mut self, oracle: &mut Oracle) -> Result<(), Violation> {
        let from = self.me.other();
        loop {
            let receiver = &self.receiver;
            let readable = |c: &&mut Incoming| {
                receiver.is_readable(c.id) && (c.finished || !c.unread.is_empty())
            };
            let Some(carrier) = self.incoming.iter_mut().find(readable) else {
                break;
            };
            let id = carrier.id;
            match carrier.unread.pop_front() {
                Some(bytes) => {
                    if let Some(new) = self.receiver.handle_data(id, bytes)? {
                        oracle.on_bytes(self.id, from, &new);
                        self.receiver.consumed(new.len());
                    }
                }
                None => {
                    self.receiver.carrier_ended(id);
                    self.incoming.retain(|carrier| carrier.id != id);
                }
            }
        }
        match self.receiver.poll_end() {
            Some(EndKind::Fin) => {
                self.fin_given = true;
                oracle.on_end(self.id, from, EndKind::Fin);
            }
            Some(EndKind::Reset(code)) => {
                oracle.on_end(self.id, from, EndKind::Reset(code));
                self.unwritten = None;
                self.sender.close(EndKind::Reset(code));
            }
            None => {}
        }
        Ok(())
    }
}
