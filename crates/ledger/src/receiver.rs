//! One direction of a stream at the end where its bytes go to.

use bytes::{Buf, Bytes};

use crate::{
    ACK_EVERY, Ack, CarrierHeader, CarrierId, End, EndKind, Frame, MAX_CARRIERS, MAX_RETENTION,
    ResetCode, Stop, StreamId, Violation,
};

/// The bookkeeping of the bytes that come in.
///
/// Several carriers may be open at once, each at its own position; one may be read when its position is not beyond the
/// next byte that is expected. Nothing is buffered here: what is new is handed on, what is not is dropped, and what
/// lies ahead stays unread in QUIC.
#[derive(Debug)]
pub struct Receiver {
    stream: StreamId,
    forward: u16,
    /// The next byte that is expected: everything before was handed to the driver.
    next: u64,
    /// Everything before this was written to the local socket.
    consumed: u64,
    /// The highest offset that was acknowledged.
    acknowledged: u64,
    ack_due: bool,
    /// By ordinal; the highest first.
    carriers: Vec<OpenCarrier>,
    highest_ordinal: u32,
    end: Option<(EndKind, u64)>,
    end_delivered: bool,
    /// No more is wanted: what comes is refused, only the end is still to be known.
    stopped: Option<Stopping>,
}

#[derive(Debug, Clone, Copy)]
struct OpenCarrier {
    id: CarrierId,
    ordinal: u32,
    position: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stopping {
    code: ResetCode,
    announced: bool,
}

/// What to do about a carrier that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Read it as [`Receiver::readable`] says, and stop those that it displaced (mostly none).
    Accepted {
        /// Older carriers that the sender has given up by now; they are forgotten here.
        displaced: Vec<CarrierId>,
    },
    /// Stop it: the sender has given it up, or nothing more is wanted.
    Refused,
}

impl Receiver {
    /// The receiving half of a stream, at offset 0, without a carrier.
    pub fn new(stream: StreamId, forward: u16) -> Self {
        Self {
            stream,
            forward,
            next: 0,
            consumed: 0,
            acknowledged: 0,
            ack_due: false,
            carriers: Vec::new(),
            highest_ordinal: 0,
            end: None,
            end_delivered: false,
            stopped: None,
        }
    }

    // ---- the carriers' side

    /// Registers a carrier that began with `header`, which names this stream.
    pub fn open(
        &mut self,
        carrier: CarrierId,
        header: &CarrierHeader,
    ) -> Result<Opened, Violation> {
        let CarrierHeader {
            ordinal, offset, ..
        } = *header;
        self.check_horizon(offset)?;
        if let Some((_, end)) = self.end
            && offset > end
        {
            return Err(Violation::BeyondEnd { offset, end });
        }
        if self.carriers.iter().any(|known| known.ordinal == ordinal) {
            return Err(Violation::RepeatedCarrier(ordinal));
        }
        let oldest = self
            .highest_ordinal
            .max(ordinal)
            .saturating_sub(MAX_CARRIERS as u32 - 1);
        if self.stopped.is_some() || ordinal < oldest {
            return Ok(Opened::Refused);
        }
        self.highest_ordinal = self.highest_ordinal.max(ordinal);
        let displaced = self
            .carriers
            .extract_if(.., |known| known.ordinal < oldest)
            .map(|known| known.id)
            .collect();
        let place = self
            .carriers
            .partition_point(|known| known.ordinal > ordinal);
        self.carriers.insert(
            place,
            OpenCarrier {
                id: carrier,
                ordinal,
                position: offset,
            },
        );
        Ok(Opened::Accepted { displaced })
    }

    /// The carriers that may be read now, newest first: read from whichever has data, the first ones preferred.
    ///
    /// Nearly always there is one. The others must stay unread until they become readable.
    pub fn readable(&self) -> impl Iterator<Item = CarrierId> + '_ {
        self.carriers
            .iter()
            .filter(|carrier| carrier.position <= self.next)
            .map(|carrier| carrier.id)
    }

    /// Whether this carrier may be read now.
    pub fn is_readable(&self, carrier: CarrierId) -> bool {
        self.carriers
            .iter()
            .any(|known| known.id == carrier && known.position <= self.next)
    }

    /// Whether this carrier is known, to be read now or later.
    pub fn is_open(&self, carrier: CarrierId) -> bool {
        self.carriers.iter().any(|known| known.id == carrier)
    }

    /// Handles bytes that were read from a carrier; returns those that are new, to be written to the local socket.
    ///
    /// Bytes of unknown carriers are dropped. Those of a carrier that is not readable cannot be kept and are an error.
    pub fn handle_data(
        &mut self,
        carrier: CarrierId,
        mut data: Bytes,
    ) -> Result<Option<Bytes>, Violation> {
        let Some(index) = self.carriers.iter().position(|known| known.id == carrier) else {
            return Ok(None);
        };
        let position = self.carriers[index].position;
        if position > self.next {
            return Err(Violation::ReadAhead {
                offset: position,
                expected: self.next,
            });
        }
        let reached = position.saturating_add(data.len() as u64);
        if let Some((_, end)) = self.end
            && reached > end
        {
            return Err(Violation::BeyondEnd {
                offset: reached,
                end,
            });
        }
        self.carriers[index].position = reached;
        if reached <= self.next {
            return Ok(None);
        }
        data.advance((self.next - position) as usize);
        self.next = reached;
        Ok(Some(data))
    }

    /// Handles bytes that came as a copy, beside the carrier that brings them too; returns those that are new, to be
    /// written to the local socket. A copy that lies ahead is dropped, as one is that has nothing new.
    ///
    /// # Errors
    /// If it lies beyond the end, or where no sender can be.
    pub fn handle_copy(
        &mut self,
        offset: u64,
        mut data: Bytes,
    ) -> Result<Option<Bytes>, Violation> {
        self.check_horizon(offset)?;
        let reached = offset.saturating_add(data.len() as u64);
        if let Some((_, end)) = self.end
            && reached > end
        {
            return Err(Violation::BeyondEnd {
                offset: reached,
                end,
            });
        }
        if self.stopped.is_some() || offset > self.next || reached <= self.next {
            return Ok(None);
        }
        data.advance((self.next - offset) as usize);
        self.next = reached;
        Ok(Some(data))
    }

    /// Reports that a carrier has ended, was reset, or was lost with its tunnel. Unknown ones are ignored.
    pub fn carrier_ended(&mut self, carrier: CarrierId) {
        self.carriers.retain(|known| known.id != carrier);
    }

    // ---- the local socket's side

    /// Reports that `count` bytes more were written to the local socket.
    pub fn consumed(&mut self, count: usize) {
        debug_assert!(
            count as u64 <= self.next - self.consumed,
            "more was consumed than was received"
        );
        self.consumed = self.consumed.saturating_add(count as u64).min(self.next);
    }

    /// The end, once, when everything before it has been consumed: close or reset the local socket's writing half.
    pub fn poll_end(&mut self) -> Option<EndKind> {
        let (kind, offset) = self.end?;
        if self.end_delivered || self.stopped.is_some() || self.consumed < offset {
            return None;
        }
        self.end_delivered = true;
        self.ack_due = true;
        Some(kind)
    }

    /// Wants no more: the local program closed its reading half or is gone. Carriers are to be stopped, and the sender
    /// is told; the end will not be delivered any more, only awaited.
    pub fn stop(&mut self, code: ResetCode) {
        if self.stopped.is_none() && !self.end_delivered {
            self.stopped = Some(Stopping {
                code,
                announced: false,
            });
            self.carriers.clear();
            self.ack_due |= self.end.is_some();
        }
    }

    /// Whether everything and the end has been delivered, or the end is known and no more was wanted, and that has been
    /// acknowledged. The acknowledgement may be lost still: see [`Frame::reply_if_closed`].
    pub fn is_finished(&self) -> bool {
        self.is_over() && !self.ack_due
    }

    // ---- the control stream's side

    /// Handles the announcement of the end. A repeated one makes the acknowledgement due again.
    pub fn handle_end(&mut self, end: End) -> Result<(), Violation> {
        let End { kind, offset, .. } = end;
        if let Some((first, first_at)) = self.end {
            if (first, first_at) != (kind, offset) {
                let first = Some(first);
                return Err(Violation::ContradictoryEnd {
                    first,
                    first_at,
                    second: kind,
                    second_at: offset,
                });
            }
            self.ack_due |= self.is_over();
            return Ok(());
        }
        self.check_horizon(offset)?;
        let reached = self
            .carriers
            .iter()
            .map(|carrier| carrier.position)
            .fold(self.next, u64::max);
        if offset < reached {
            return Err(Violation::ContradictoryEnd {
                first: None,
                first_at: reached,
                second: kind,
                second_at: offset,
            });
        }
        self.end = Some((kind, offset));
        self.ack_due |= self.stopped.is_some();
        Ok(())
    }

    /// A frame to send to the peer; call until there is none. An acknowledgement is among them when 64 KiB were
    /// consumed since the last, when the end was delivered, and, if `timer_fired`, when there is anything to
    /// acknowledge.
    pub fn poll_frame(&mut self, timer_fired: bool) -> Option<Frame> {
        let stream = self.stream;
        if let Some(Stopping { code, announced }) = &mut self.stopped
            && !*announced
            && self.end.is_none()
        {
            *announced = true;
            return Some(Frame::Stop(Stop {
                stream,
                forward: self.forward,
                code: *code,
            }));
        }
        let pending = self.consumed - self.acknowledged;
        if self.ack_due || pending >= ACK_EVERY || (timer_fired && pending > 0) {
            self.ack_due = false;
            let ended = self.is_over();
            let offset = match self.end {
                Some((_, end)) if ended => end,
                _ => self.consumed,
            };
            self.acknowledged = self.consumed;
            return Some(Frame::Ack(Ack {
                stream,
                offset,
                ended,
            }));
        }
        None
    }

    /// Whether there is anything that an acknowledgement by the timer would say: if so, the timer should run (200 ms).
    pub fn wants_timer(&self) -> bool {
        self.consumed > self.acknowledged
    }

    /// Says that frames may have been lost, or that a new tunnel stands: they are due again.
    pub fn reannounce(&mut self) {
        self.ack_due |= self.consumed > 0 || self.is_over();
        if let Some(stopping) = &mut self.stopped {
            stopping.announced = false;
        }
    }

    // ---- for reports

    /// The stream whose bytes it takes.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The next byte that is expected.
    pub fn received(&self) -> u64 {
        self.next
    }

    /// How the sequence ends, and behind how many bytes, once that was announced.
    pub fn end(&self) -> Option<(EndKind, u64)> {
        self.end
    }

    /// The bytes that were received and not yet consumed.
    pub fn unconsumed(&self) -> u64 {
        self.next - self.consumed
    }

    /// Whether the driver said that it wants no more.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    // ----

    fn is_over(&self) -> bool {
        self.end_delivered || (self.stopped.is_some() && self.end.is_some())
    }

    /// The sender cannot hold anything that lies further than its retention beyond the last acknowledgement.
    fn check_horizon(&self, offset: u64) -> Result<(), Violation> {
        let horizon = self.acknowledged.saturating_add(MAX_RETENTION);
        if offset > horizon {
            Err(Violation::FromTheFuture { offset, horizon })
        } else {
            Ok(())
        }
    }
}
