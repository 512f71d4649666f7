//! Two ends of one direction of a stream, and tunnels between them that die, delay and reorder.
//!
//! What a tunnel does is what QUIC does: each carrier is a byte sequence of which a prefix has arrived, carriers arrive
//! independently of each other, the control stream is a queue of frames each way, and death takes everything that has not
//! arrived with it. Either end notices the death later, or never as long as it does not ask. The driver's part is played
//! by the book (the crate's first page), and what must hold at every moment is checked after every step.

use std::collections::VecDeque;

use bytes::Bytes;
use p2pdbg_ledger::{
    Admission, Budget, CarrierHeader, CarrierId, EndKind, Frame, Limits, MAX_CARRIERS, Opened,
    Openings, Receiver, ResetCode, Retire, Sender, Side, StreamId,
};

const FORWARD: u16 = 7;

/// The byte that belongs at an offset: neighbours and far away ones differ.
pub(crate) fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// The bytes of a range.
pub(crate) fn bytes_at(from: u64, len: usize) -> Bytes {
    (from..from + len as u64).map(byte_at).collect()
}

/// One step. Numbers choose among what there is, counted back from the newest, modulo how much there is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// The local program writes so many bytes, as far as there is room.
    Write(usize),
    /// The local program ends.
    Close(EndKind),
    /// A new tunnel stands at both ends.
    OpenTunnel,
    /// The sender moves to a tunnel that it believes alive.
    Attach(usize),
    /// The sender writes up to so many bytes to its current carrier, in one chunk or in several.
    Transmit { most: usize, many: bool },
    /// The sender hands a chunk to the carrier and learns only after the next step how much was taken
    /// (before it, if that transmits too).
    TransmitLate { most: usize },
    /// So many more bytes of a carrier arrive, or its end.
    Arrive { carrier: usize, count: usize },
    /// The receiver reads from one of the carriers that it may read.
    Read { carrier: usize, most: usize },
    /// The receiver's local program takes so many bytes.
    Consume(usize),
    /// The receiver's acknowledgement timer fires.
    Timer,
    /// A frame arrives, and arrives again if `twice`.
    Control {
        tunnel: usize,
        to_sender: bool,
        twice: bool,
    },
    /// A tunnel dies.
    Kill(usize),
    /// The sender notices a death.
    SenderNotices(usize),
    /// The receiver notices a death.
    ReceiverNotices(usize),
    /// The sender learns which of its carriers the receiver refused.
    SenderSeesRefusals,
    /// The receiver's local program is gone.
    Stop,
    /// Frames are said again without a need.
    Reannounce { sender: bool },
}

struct Tunnel {
    alive: bool,
    sender_believes: bool,
    receiver_believes: bool,
    to_receiver: VecDeque<Vec<u8>>,
    to_sender: VecDeque<Vec<u8>>,
}

/// One carrier's QUIC stream.
struct Wire {
    tunnel: usize,
    written: Vec<u8>,
    /// Its range, as far as reported.
    from: u64,
    until: u64,
    arrived: usize,
    read: usize,
    opened: bool,
    finished: bool,
    reset: bool,
    /// The receiver read its end, saw its reset, or lost it.
    over: bool,
    refused: bool,
}

enum Incoming {
    Unknown,
    Open(Box<Receiver>),
    Closed,
}

/// How often the rare things happened, to show that the steps reach them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    /// Bytes put on carriers that never arrived.
    pub(crate) lost: usize,
    /// Bytes read that had been received before.
    pub(crate) repeated: usize,
    /// Moments with a carrier that must stay unread because it is ahead.
    pub(crate) ahead: usize,
    /// Moments with two carriers that may be read.
    pub(crate) two_readable: usize,
    /// Carriers displaced by others far newer.
    pub(crate) displaced: usize,
    /// Carriers refused because others far newer came before them.
    pub(crate) overtaken: usize,
    /// Acknowledgements beyond what was being sent again.
    pub(crate) skipped: usize,
    /// Streams opened by their end.
    pub(crate) opened_by_end: usize,
    /// Answers on behalf of a closed stream.
    pub(crate) replies: usize,
    /// Senders whose limit grew.
    pub(crate) grown: usize,
    /// Moments without room although the limit was not reached.
    pub(crate) out_of_budget: usize,
}

/// The whole of it.
pub(crate) struct World {
    pub(crate) seen: Seen,
    stream: StreamId,
    budget: Budget,
    limits: Limits,
    sender: Sender,
    opener: Openings,
    accepter: Openings,
    incoming: Incoming,
    tunnels: Vec<Tunnel>,
    wires: Vec<Wire>,
    late: Option<(CarrierId, usize)>,
    /// The tunnel by which the receiver was told the end last: its confirmation goes back there.
    end_came_by: Option<usize>,
    closed: Option<EndKind>,
    /// What the receiver handed out, and how much of it the local program took.
    received: u64,
    consumed: u64,
    delivered: Vec<(EndKind, u64)>,
    stopped: bool,
}

impl World {
    pub(crate) fn new(limits: Limits, budget: Budget) -> Self {
        let mut opener = Openings::new(Side::Connector);
        let stream = opener.draw().unwrap();
        Self {
            seen: Seen::default(),
            stream,
            sender: Sender::new(stream, FORWARD, limits, &budget),
            budget,
            limits: limits.normalized(),
            opener,
            accepter: Openings::new(Side::Listener),
            incoming: Incoming::Unknown,
            tunnels: Vec::new(),
            wires: Vec::new(),
            late: None,
            end_came_by: None,
            closed: None,
            received: 0,
            consumed: 0,
            delivered: Vec::new(),
            stopped: false,
        }
    }

    /// Takes one step and checks what must always hold.
    pub(crate) fn step(&mut self, step: Step) {
        let mut late = self.late.take();
        if matches!(step, Step::Transmit { .. } | Step::TransmitLate { .. }) {
            self.report(late.take());
        }
        match step {
            Step::Write(len) => self.write(len),
            Step::Close(kind) => self.close(kind),
            Step::OpenTunnel => self.open_tunnel(),
            Step::Attach(tunnel) => self.attach(tunnel),
            Step::Transmit { most, many } => self.transmit(most, many),
            Step::TransmitLate { most } => self.transmit_late(most),
            Step::Arrive { carrier, count } => self.arrive(carrier, count),
            Step::Read { carrier, most } => self.read(carrier, most),
            Step::Consume(count) => self.consume(count),
            Step::Timer => self.send_receiver_frames(true),
            Step::Control {
                tunnel,
                to_sender,
                twice,
            } => self.control(tunnel, to_sender, twice),
            Step::Kill(tunnel) => {
                if let Some(tunnel) = pick(&mut self.tunnels, tunnel) {
                    tunnel.alive = false;
                }
            }
            Step::SenderNotices(tunnel) => self.sender_notices(tunnel),
            Step::ReceiverNotices(tunnel) => self.receiver_notices(tunnel),
            Step::SenderSeesRefusals => self.sender_sees_refusals(),
            Step::Stop => self.stop(),
            Step::Reannounce { sender: true } => self.sender.reannounce(),
            Step::Reannounce { sender: false } => {
                if let Incoming::Open(receiver) = &mut self.incoming {
                    receiver.reannounce();
                }
            }
        }
        self.report(late);
        self.settle();
        self.check();
    }

    /// Lets the network be good from now on, until both ends are finished, and checks that everything
    /// arrived. The receiver notices past deaths, or takes dead tunnels for alive to the last.
    pub(crate) fn finish(mut self, receiver_notices: bool) -> Seen {
        if self.closed.is_none() {
            self.step(Step::Close(EndKind::Fin));
        }
        for tunnel in 0..self.tunnels.len() {
            if !self.tunnels[tunnel].alive {
                let choice = self.tunnels.len() - 1 - tunnel;
                self.step(Step::SenderNotices(choice));
                if receiver_notices {
                    self.step(Step::ReceiverNotices(choice));
                }
            }
        }
        if !receiver_notices || !self.tunnels.iter().any(|tunnel| tunnel.alive) {
            self.step(Step::OpenTunnel);
        }
        let mut rounds = 0;
        while !self.is_finished() {
            rounds += 1;
            assert!(rounds < 100, "stalled: {}", self.describe());
            self.step(Step::SenderSeesRefusals);
            if self.sender.wants_carrier() {
                let alive = self.tunnels.iter().rev().position(|tunnel| tunnel.alive);
                self.step(Step::Attach(alive.unwrap()));
            }
            self.step(Step::Transmit {
                most: usize::MAX,
                many: true,
            });
            for carrier in 0..self.wires.len() {
                self.step(Step::Arrive {
                    carrier,
                    count: usize::MAX,
                });
            }
            for carrier in 0..self.wires.len() {
                self.step(Step::Read {
                    carrier,
                    most: usize::MAX,
                });
            }
            self.step(Step::Consume(usize::MAX));
            self.step(Step::Timer);
            for tunnel in 0..self.tunnels.len() {
                for to_sender in [false, true] {
                    for _ in 0..self.queue(self.tunnels.len() - 1 - tunnel, to_sender).len() {
                        self.step(Step::Control {
                            tunnel,
                            to_sender,
                            twice: false,
                        });
                    }
                }
            }
        }
        if self.stopped {
            assert!(self.consumed <= self.sender.pushed());
        } else {
            let end = self.closed.unwrap();
            assert_eq!(self.consumed, self.sender.pushed());
            assert_eq!(self.delivered, [(end, self.sender.pushed())]);
        }
        assert_eq!(self.sender.held(), 0);
        assert_eq!(self.budget.leased(), 0);
        assert_eq!(self.opener.live() + self.accepter.live(), 0);
        self.seen.lost = self
            .wires
            .iter()
            .map(|wire| wire.written.len() - wire.arrived)
            .sum();
        self.seen.grown = usize::from(self.sender.limit() > self.limits.initial);
        self.seen
    }

    fn is_finished(&self) -> bool {
        self.sender.is_finished() && matches!(self.incoming, Incoming::Closed)
    }

    // ---- the sending end

    fn write(&mut self, len: usize) {
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

    fn close(&mut self, kind: EndKind) {
        if !self.sender.is_closed() {
            self.closed = Some(kind);
            self.sender.close(kind);
        }
    }

    fn open_tunnel(&mut self) {
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

    fn attach(&mut self, tunnel: usize) {
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

    fn transmit(&mut self, most: usize, many: bool) {
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

    fn transmit_late(&mut self, most: usize) {
        let Some(transmit) = self.sender.poll_transmit() else {
            return;
        };
        let count = most.min(transmit.data.len());
        let wire = &mut self.wires[transmit.carrier.0 as usize];
        wire.written.extend_from_slice(&transmit.data[..count]);
        self.late = Some((transmit.carrier, count));
    }

    fn report(&mut self, late: Option<(CarrierId, usize)>) {
        if let Some((carrier, count)) = late {
            self.transmitted(carrier, count);
        }
    }

    fn transmitted(&mut self, carrier: CarrierId, count: usize) {
        let counts = self.sender.current() == Some(carrier);
        self.sender.transmitted(carrier, count);
        if counts {
            let wire = &mut self.wires[carrier.0 as usize];
            wire.until = wire.until.max(self.sender.sent());
        }
    }

    fn sender_notices(&mut self, tunnel: usize) {
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

    fn sender_sees_refusals(&mut self) {
        for (number, wire) in self.wires.iter().enumerate() {
            if wire.refused {
                self.sender.carrier_lost(CarrierId(number as u64));
            }
        }
    }

    fn handle_at_sender(&mut self, frame: Frame) {
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

    // ---- the receiving end

    fn arrive(&mut self, carrier: usize, count: usize) {
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

    fn open(&mut self, number: usize, header: &CarrierHeader) {
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

    fn refuse(&mut self, number: usize) {
        self.wires[number].refused = true;
        self.wires[number].over = true;
    }

    fn read(&mut self, carrier: usize, most: usize) {
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
            for byte in &new {
                assert_eq!(
                    *byte,
                    byte_at(self.received),
                    "wrong byte at {}",
                    self.received
                );
                self.received += 1;
            }
        }
        self.seen.repeated += count - (self.received - before) as usize;
        if over {
            receiver.carrier_ended(id);
        }
        assert_eq!(receiver.received(), self.received);
    }

    fn consume(&mut self, count: usize) {
        if let Incoming::Open(receiver) = &mut self.incoming {
            let count = (count as u64).min(self.received - self.consumed);
            receiver.consumed(count as usize);
            self.consumed += count;
            assert_eq!(receiver.unconsumed(), self.received - self.consumed);
        }
    }

    fn stop(&mut self) {
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

    fn receiver_notices(&mut self, tunnel: usize) {
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

    fn handle_at_receiver(&mut self, frame: Frame) {
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

    fn send_receiver_frames(&mut self, timer_fired: bool) {
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

    // ---- both ends

    fn queue(&mut self, tunnel: usize, to_sender: bool) -> &mut VecDeque<Vec<u8>> {
        let tunnel = &mut self.tunnels[tunnel];
        if to_sender {
            &mut tunnel.to_sender
        } else {
            &mut tunnel.to_receiver
        }
    }

    /// Puts a frame on the newest tunnel that its author believes alive; the confirmation of an end
    /// goes back the way that the end came, if it can.
    fn send(&mut self, to_sender: bool, frame: &Frame) {
        let believed = |tunnel: &Tunnel| {
            if to_sender {
                tunnel.receiver_believes
            } else {
                tunnel.sender_believes
            }
        };
        let asked = match frame {
            Frame::Ack(ack) if ack.ended => self.end_came_by,
            _ => None,
        };
        let newest = self.tunnels.iter().rposition(believed);
        let tunnel = asked
            .filter(|tunnel| believed(&self.tunnels[*tunnel]))
            .or(newest);
        if let Some(tunnel) = tunnel {
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            self.queue(tunnel, to_sender).push_back(bytes);
        }
    }

    fn control(&mut self, tunnel: usize, to_sender: bool, twice: bool) {
        let Some(tunnel) = index(tunnel, self.tunnels.len()) else {
            return;
        };
        if !self.tunnels[tunnel].alive {
            return;
        }
        let Some(bytes) = self.queue(tunnel, to_sender).pop_front() else {
            return;
        };
        let frame = Frame::decode(&bytes).unwrap();
        assert_eq!(frame.is_for_receiver(), !to_sender);
        for _ in 0..1 + usize::from(twice) {
            if to_sender {
                self.handle_at_sender(frame);
            } else {
                self.end_came_by = Some(tunnel);
                self.handle_at_receiver(frame);
            }
        }
    }

    /// What a driver does after everything that happens.
    fn settle(&mut self) {
        while let Some(retire) = self.sender.poll_retire() {
            let (Retire::Finish(carrier) | Retire::Reset(carrier)) = retire;
            let wire = &mut self.wires[carrier.0 as usize];
            match retire {
                Retire::Finish(_) => wire.finished = true,
                Retire::Reset(_) => wire.reset = true,
            }
        }
        if self.tunnels.iter().any(|tunnel| tunnel.sender_believes) {
            while let Some(frame) = self.sender.poll_frame() {
                self.send(false, &frame);
            }
        }
        if let Incoming::Open(receiver) = &mut self.incoming
            && let Some(kind) = receiver.poll_end()
        {
            self.delivered.push((kind, self.consumed));
        }
        self.send_receiver_frames(false);
        if let Incoming::Open(receiver) = &self.incoming
            && receiver.is_finished()
        {
            self.accepter.close(self.stream);
            self.incoming = Incoming::Closed;
        }
    }

    fn check(&mut self) {
        let sender = &self.sender;
        assert!(sender.held() <= sender.limit(), "{}", self.describe());
        assert!(sender.limit() <= self.limits.max);
        assert!(sender.held() <= self.limits.guaranteed + self.budget.leased());
        assert!(self.budget.leased() <= self.budget.total());
        assert!(sender.acknowledged() <= sender.sent() && sender.sent() <= sender.pushed());
        if !self.stopped {
            assert!(sender.acknowledged() <= self.consumed);
            assert!(
                self.delivered.len() <= 1,
                "the end came twice: {:?}",
                self.delivered
            );
        }
        let counted_on = (0..self.wires.len())
            .filter(|number| sender.depends_on(CarrierId(*number as u64)))
            .count();
        assert!(counted_on <= MAX_CARRIERS);
        for (number, wire) in self.wires.iter().enumerate() {
            let lost = wire.refused || !self.tunnels[wire.tunnel].sender_believes;
            let current = sender.current() == Some(CarrierId(number as u64));
            assert!(
                current || lost || wire.finished || wire.reset,
                "carrier {number} was left open, its bytes would hold up flow control"
            );
            let given_up = !sender.depends_on(CarrierId(number as u64));
            let acknowledged = wire.until <= sender.acknowledged() || wire.until == wire.from;
            assert!(
                lost || !given_up || wire.reset || acknowledged,
                "carrier {number} was forgotten with bytes underway"
            );
        }
        if let Incoming::Open(receiver) = &self.incoming {
            let open = (0..self.wires.len())
                .filter(|number| receiver.is_open(CarrierId(*number as u64)))
                .count();
            assert!(open <= MAX_CARRIERS);
            let readable = receiver.readable().count();
            self.seen.two_readable += usize::from(readable > 1);
            self.seen.ahead += usize::from(readable < open);
        }
    }

    fn describe(&self) -> String {
        let receiver = match &self.incoming {
            Incoming::Unknown => "none yet".to_string(),
            Incoming::Open(receiver) => format!("{receiver:?}"),
            Incoming::Closed => "closed".to_string(),
        };
        format!(
            "{:?}; {receiver}; received {}, consumed {}, delivered {:?}",
            self.sender, self.received, self.consumed, self.delivered
        )
    }
}

fn index(choice: usize, len: usize) -> Option<usize> {
    choice.checked_rem(len).map(|choice| len - 1 - choice)
}

fn pick<T>(all: &mut [T], choice: usize) -> Option<&mut T> {
    let index = index(choice, all.len())?;
    all.get_mut(index)
}
