//! Two ends of one direction of a stream, and tunnels between them that die, delay and reorder.
//!
//! What a tunnel does is what QUIC does: each carrier is a byte sequence of which a prefix has arrived, carriers arrive
//! independently of each other, the control stream is a queue of frames each way, and death takes everything that has
//! not arrived with it. Either end notices the death later, or never as long as it does not ask. The driver's part is
//! played by the book (the crate's first page), and what must hold at every moment is checked after every step.

mod receiving;
mod sending;

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;
use p2pdbg_ledger::{
    Budget, CarrierId, EndKind, Frame, Limits, MAX_CARRIERS, Openings, Receiver, Retire, Sender,
    Side, StreamId,
};

const FORWARD: u16 = 7;

/// After so many bytes the stream's bytes repeat: a prime, so that no mistake is a multiple of it.
const PERIOD: usize = 1_000_003;

/// More than is ever pushed or read at once.
const LONGEST: usize = 8 << 20;

/// The bytes that belong at a range of offsets: neighbours and far away ones differ.
fn bytes_at(from: u64, len: usize) -> Bytes {
    static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
        let byte = |at: usize| ((at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        let period: Vec<u8> = (0..PERIOD).map(byte).collect();
        period.into_iter().cycle().take(PERIOD + LONGEST).collect()
    });
    let at = (from % PERIOD as u64) as usize;
    PATTERN.slice(at..at + len)
}

/// One step. Numbers choose among what there is, counted back from the newest, modulo how much there is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// The local program writes so many bytes, as far as there is room.
    Write(usize),
    /// The driver asks for room and begins to read, and the bytes come only after the next step (before
    /// it, if that writes or ends too).
    WriteLate(usize),
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
    promised: Option<usize>,
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
            promised: None,
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
        let mut promised = self.promised.take();
        if matches!(step, Step::Write(_) | Step::WriteLate(_) | Step::Close(_)) {
            self.write_promised(promised.take());
        }
        match step {
            Step::Write(len) => self.write(len),
            Step::WriteLate(len) => self.promised = Some(self.sender.capacity().min(len)),
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
        self.write_promised(promised);
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
        assert_eq!(matches!(frame, Frame::End(_)), !to_sender);
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
