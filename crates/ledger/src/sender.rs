//! One direction of a stream at the end where its bytes come from.

use bytes::Bytes;

use crate::budget::{KEPT, Lease, STEP};
use crate::carriers::Carriers;
use crate::frame::MAX_OFFSET;
use crate::growth::Growth;
use crate::retention::{CHUNK_OVERHEAD, Retention};
use crate::{
    Ack, Budget, CarrierHeader, CarrierId, End, EndKind, Frame, Limits, Retire, Stop, StreamId,
    Violation,
};

/// Room below this is reported as none, so that a full sender does not trickle: 4 KiB.
const LEAST_ROOM: usize = 4 << 10;

/// Room above this is not promised: an acknowledgement in between gives back what is leased beyond it.
const MOST_ROOM: usize = KEPT - CHUNK_OVERHEAD;

/// The bookkeeping of the bytes that go out.
///
/// Bytes are held from [`push`](Self::push) until they are acknowledged. At most one carrier is *current* and is fed;
/// older ones may still drain. Together they cover, without a gap, what was sent and is not acknowledged. When one is
/// lost, it and those that began after it are given up, and the next carrier begins where the lost one began or at the
/// acknowledged offset, whichever is later.
#[derive(Debug)]
pub struct Sender {
    stream: StreamId,
    forward: u16,
    retention: Retention,
    carriers: Carriers,
    /// The highest offset ever handed out to be sent.
    handed_out: u64,
    end: Ending,
    /// The receiver wants no more: nothing is held or sent any longer, only the end is still to be confirmed.
    stopped: bool,
    limits: Limits,
    growth: Growth,
    lease: Lease,
}

/// How far the end of the sequence has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Open,
    Closed { kind: EndKind, announced: bool },
    Confirmed,
}

/// Something to put on a carrier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The carrier that takes it, always the current one.
    pub carrier: CarrierId,
    /// The bytes to write, a clone of what was pushed; never empty.
    pub data: Bytes,
}

/// What an acknowledgement achieved, for the driver to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckOutcome {
    /// The bytes that were released, 0 for a stale acknowledgement.
    pub released: u64,
    /// Whether this one finished the sender.
    pub finished: bool,
}

/// Why bytes were not taken; a mistake of the driver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// It was so many bytes, more than [`Sender::capacity`] allowed.
    #[error("the sender has no room for {0} bytes")]
    Full(usize),
    /// The sequence has ended, or the receiver wants no more.
    #[error("the sequence has ended")]
    Closed,
}

impl Sender {
    /// The sending half of a stream of some forward, at offset 0, without a carrier.
    pub fn new(stream: StreamId, forward: u16, limits: Limits, budget: &Budget) -> Self {
        let limits = limits.normalized();
        Self {
            stream,
            forward,
            retention: Retention::default(),
            carriers: Carriers::default(),
            handed_out: 0,
            end: Ending::Open,
            stopped: false,
            limits,
            growth: Growth::new(limits),
            lease: Lease::new(budget.clone()),
        }
    }

    // ---- the local socket's side

    /// The bytes that may be pushed now as one chunk, at least 4 KiB and at most 128 KiB less the charge for a chunk;
    /// 0 means: do not read the local socket until an acknowledgement came.
    ///
    /// Leases from the session's budget what it promises; ask again before each read. The promise holds until bytes are
    /// pushed.
    pub fn capacity(&mut self) -> usize {
        if self.is_closed() {
            return 0;
        }
        let charge = self.retention.charge() + CHUNK_OVERHEAD;
        let limit = self.growth.limit;
        let mut allowed = self.limits.guaranteed + self.lease.held();
        if allowed < limit && allowed < charge + STEP && self.lease.grow() {
            allowed = self.limits.guaranteed + self.lease.held();
        }
        let room = limit.min(allowed).saturating_sub(charge);
        if room >= LEAST_ROOM {
            return room.min(MOST_ROOM);
        }
        if limit <= allowed && self.retention.cursor() == self.retention.end() {
            self.growth.on_limited();
        }
        0
    }

    /// Takes a chunk of what the local program wrote, of at most [`capacity`](Self::capacity) bytes.
    ///
    /// The chunk keeps the whole allocation alive that it is a slice of; read into buffers of which little is wasted.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), PushError> {
        if self.is_closed() {
            return Err(PushError::Closed);
        }
        let allowed = self
            .growth
            .limit
            .min(self.limits.guaranteed + self.lease.held());
        let full = self.retention.charge() + CHUNK_OVERHEAD + chunk.len() > allowed;
        if full || self.retention.end() + chunk.len() as u64 > MAX_OFFSET {
            return Err(PushError::Full(chunk.len()));
        }
        self.retention.push(chunk);
        Ok(())
    }

    /// Ends the sequence behind what has been pushed. Only the first end counts.
    pub fn close(&mut self, kind: EndKind) {
        if self.end == Ending::Open {
            self.end = Ending::Closed {
                kind,
                announced: false,
            };
            self.finish_if_sent();
        }
    }

    /// Whether the sequence has ended, by [`close`](Self::close) or because the receiver wants no more.
    pub fn is_closed(&self) -> bool {
        self.end != Ending::Open
    }

    /// Whether the receiver said that it wants no more: the local program's bytes go nowhere, so reset its connection.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether everything, and the end, has been confirmed.
    pub fn is_finished(&self) -> bool {
        self.end == Ending::Confirmed
    }

    // ---- the carriers' side

    /// Whether a carrier is wanted: none is current, and there is or may come something to send.
    pub fn wants_carrier(&self) -> bool {
        self.current().is_none() && self.has_use_for_carrier()
    }

    /// Whether a carrier, current or new, is of any use: not when all that will ever be sent has been.
    pub fn has_use_for_carrier(&self) -> bool {
        !self.stopped
            && (self.end == Ending::Open || self.retention.cursor() < self.retention.end())
    }

    /// Makes a new QUIC stream the current carrier and returns the header to write first.
    ///
    /// A carrier that was current drains from now on, see [`poll_retire`](Self::poll_retire).
    pub fn attach(&mut self, carrier: CarrierId) -> CarrierHeader {
        self.detach();
        let (ordinal, oldest_too_old) = self.carriers.draw_ordinal();
        if oldest_too_old {
            let start = self.carriers.give_up_all();
            self.go_back(start);
        }
        let offset = self.retention.cursor();
        self.carriers.attach(carrier, ordinal, offset);
        self.finish_if_sent();
        CarrierHeader {
            stream: self.stream,
            forward: self.forward,
            ordinal,
            offset,
        }
    }

    /// Feeds the current carrier no longer; what it has taken drains.
    pub fn detach(&mut self) {
        self.carriers.detach(self.retention.cursor());
        self.forget_drained();
    }

    /// The carrier that is fed now.
    pub fn current(&self) -> Option<CarrierId> {
        self.carriers.current()
    }

    /// Whether the loss of this carrier would cost anything: it is current, or has not delivered everything.
    pub fn depends_on(&self, carrier: CarrierId) -> bool {
        self.carriers.contains(carrier)
    }

    /// Reports that a carrier is lost: its tunnel died, or the receiver refused it. Unknown ones are ignored.
    pub fn carrier_lost(&mut self, carrier: CarrierId) {
        self.carriers_lost(|lost| lost == carrier);
    }

    /// Reports that all carriers are lost of which `lost` says so, in one go.
    pub fn carriers_lost(&mut self, lost: impl Fn(CarrierId) -> bool) {
        let start = self.carriers.give_up(lost);
        self.go_back(start);
    }

    /// What to write to the current carrier next, at most one chunk.
    ///
    /// Gives the same again until [`transmitted`](Self::transmitted) says how much was taken.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let carrier = self.current()?;
        let data = self.retention.unsent()?;
        self.handed_out = self
            .handed_out
            .max(self.retention.cursor() + data.len() as u64);
        Some(Transmit { carrier, data })
    }

    /// Like [`poll_transmit`](Self::poll_transmit) for several chunks: fills `slots` from the front, says how many.
    pub fn poll_transmit_many(&mut self, slots: &mut [Bytes]) -> Option<(CarrierId, usize)> {
        let carrier = self.current()?;
        let (filled, bytes) = self.retention.unsent_into(slots);
        self.handed_out = self.handed_out.max(self.retention.cursor() + bytes as u64);
        (filled > 0).then_some((carrier, filled))
    }

    /// Reports that a carrier took `count` bytes of what was handed out last. Ignored if it is not current any more:
    /// what it took is sent again by another, and dropped by the receiver.
    pub fn transmitted(&mut self, carrier: CarrierId, count: usize) {
        if self.current() == Some(carrier) {
            self.retention.advance(count);
            self.handed_out = self.handed_out.max(self.retention.cursor());
            self.finish_if_sent();
        }
    }

    /// A carrier to finish or to reset; call until there is none.
    pub fn poll_retire(&mut self) -> Option<Retire> {
        self.carriers.poll_retire()
    }

    // ---- the control stream's side

    /// A frame to send to the peer: the end, once it is known.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        match &mut self.end {
            Ending::Closed { kind, announced } if !*announced => {
                *announced = true;
                let offset = self.retention.end();
                Some(Frame::End(End {
                    stream: self.stream,
                    forward: self.forward,
                    kind: *kind,
                    offset,
                }))
            }
            _ => None,
        }
    }

    /// Says that frames may have been lost, or that a new tunnel stands: they are due again.
    pub fn reannounce(&mut self) {
        if let Ending::Closed { announced, .. } = &mut self.end {
            *announced = false;
        }
    }

    /// Handles an acknowledgement. One that says nothing new is ignored.
    pub fn handle_ack(&mut self, ack: Ack) -> Result<AckOutcome, Violation> {
        let Ack { offset, ended, .. } = ack;
        let closed = match self.end {
            Ending::Open => false,
            Ending::Closed { .. } => true,
            Ending::Confirmed => return Ok(AckOutcome::default()),
        };
        if ended {
            // An ended acknowledgement may cover bytes that were never sent: the receiver's last word if it wants no
            // more.
            if !closed || offset != self.retention.end() {
                return Err(Violation::AckedNoEnd { acked: offset });
            }
        } else if offset > self.handed_out {
            return Err(Violation::AckedUnsent {
                acked: offset,
                sent: self.handed_out,
            });
        }
        let released = self.release(offset);
        if ended {
            self.detach();
            self.end = Ending::Confirmed;
        }
        Ok(AckOutcome {
            released,
            finished: ended,
        })
    }

    /// Handles the receiver's wish to get no more. What is held is dropped; the sequence ends where it is, by a reset
    /// if it has not ended before.
    pub fn handle_stop(&mut self, stop: Stop) {
        match &mut self.end {
            Ending::Confirmed => return,
            Ending::Closed { announced, .. } => *announced = false,
            open @ Ending::Open => {
                *open = Ending::Closed {
                    kind: EndKind::Reset(stop.code),
                    announced: false,
                }
            }
        }
        self.stopped = true;
        self.carriers.give_up_all();
        self.release(self.retention.end());
    }

    // ---- for the growth of the limit, and for reports

    /// Tells the congestion window of the current path in bytes, which is about its bandwidth-delay product: the limit
    /// does not grow beyond twice that. Without it the limit may grow to [`Limits::max`].
    pub fn handle_path_window(&mut self, bytes: u64) {
        self.growth.ceiling = usize::try_from(bytes.saturating_mul(2)).unwrap_or(usize::MAX);
    }

    /// The stream whose bytes it keeps.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The limit of what may be held now, in bytes.
    pub fn limit(&self) -> usize {
        self.growth.limit
    }

    /// What is held now and counts against the limit, in bytes, a charge for each chunk included.
    pub fn held(&self) -> usize {
        self.retention.charge()
    }

    /// The offset before which everything is acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.retention.start()
    }

    /// The offset before which everything has been put on a carrier.
    pub fn sent(&self) -> u64 {
        self.retention.cursor()
    }

    /// The offset behind the last byte that was pushed.
    pub fn pushed(&self) -> u64 {
        self.retention.end()
    }

    // ----

    /// Drops what is acknowledged; returns how much that was.
    fn release(&mut self, offset: u64) -> u64 {
        let released = offset.saturating_sub(self.retention.start());
        if released == 0 {
            return 0;
        }
        if offset > self.retention.cursor() {
            // Sending again had begun, and was for nothing up to here. A carrier cannot skip, so the next one will.
            self.carriers.give_up_all();
        }
        self.retention.release(offset);
        self.forget_drained();
        self.growth.on_released(released);
        self.lease
            .shrink_to((self.retention.charge() + KEPT).saturating_sub(self.limits.guaranteed));
        released
    }

    /// Sends again what was sent from `start` on and is not acknowledged.
    fn go_back(&mut self, start: Option<u64>) {
        if let Some(start) = start {
            self.retention.seek(start.max(self.retention.start()));
        }
    }

    fn forget_drained(&mut self) {
        self.carriers
            .forget_drained(self.retention.start(), self.retention.cursor());
    }

    /// Lets the current carrier finish when it has taken all that will ever be sent.
    fn finish_if_sent(&mut self) {
        if self.is_closed() && self.retention.cursor() == self.retention.end() {
            self.detach();
        }
    }
}
