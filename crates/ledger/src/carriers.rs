//! The carriers on which a sender counts.

use std::collections::VecDeque;

use crate::{CarrierId, MAX_CARRIERS};

/// What to do with a carrier that the sender no longer feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retire {
    /// Finish the QUIC stream; what it has taken must still arrive.
    Finish(CarrierId),
    /// Reset the QUIC stream; what it has taken is sent again elsewhere, and must not hold up flow control.
    Reset(CarrierId),
}

/// The carriers that matter, in the order of their ranges.
///
/// Each covers the bytes from its start to the next one's start, the last one to the sender's cursor, so that together
/// they cover without a gap what was sent and is not acknowledged. The last one may be *current*; the others drain.
#[derive(Debug, Default)]
pub(crate) struct Carriers {
    ranges: VecDeque<Range>,
    /// Whether the last one is current.
    feeding: bool,
    next_ordinal: u32,
    retired: VecDeque<Retire>,
}

#[derive(Debug, Clone, Copy)]
struct Range {
    carrier: CarrierId,
    ordinal: u32,
    start: u64,
}

impl Carriers {
    pub(crate) fn current(&self) -> Option<CarrierId> {
        let last = self.ranges.back().filter(|_| self.feeding)?;
        Some(last.carrier)
    }

    pub(crate) fn contains(&self, carrier: CarrierId) -> bool {
        self.ranges.iter().any(|range| range.carrier == carrier)
    }

    /// Draws the ordinal of the next carrier, and says whether the oldest ones are too far behind it to be counted on.
    pub(crate) fn draw_ordinal(&mut self) -> (u32, bool) {
        let ordinal = self.next_ordinal;
        self.next_ordinal = ordinal.saturating_add(1);
        let behind = |oldest: &Range| ordinal - oldest.ordinal >= MAX_CARRIERS as u32;
        (ordinal, self.ranges.front().is_some_and(behind))
    }

    /// Makes a carrier current that begins at the cursor. There is no other current one.
    pub(crate) fn attach(&mut self, carrier: CarrierId, ordinal: u32, cursor: u64) {
        self.ranges.push_back(Range {
            carrier,
            ordinal,
            start: cursor,
        });
        self.feeding = true;
    }

    /// Lets the current carrier finish, and forgets it at once if it carried nothing.
    pub(crate) fn detach(&mut self, cursor: u64) {
        if let Some(current) = self.current() {
            self.retired.push_back(Retire::Finish(current));
            self.feeding = false;
            self.ranges.pop_back_if(|range| range.start == cursor);
        }
    }

    /// Forgets the carriers at the front whose ranges are acknowledged.
    pub(crate) fn forget_drained(&mut self, acknowledged: u64, cursor: u64) {
        let draining = self.ranges.len() - usize::from(self.current().is_some());
        for _ in 0..draining {
            let until = self.ranges.get(1).map_or(cursor, |next| next.start);
            if until > acknowledged {
                return;
            }
            self.ranges.pop_front();
        }
    }

    /// Gives up the first carrier of which `lost` says so and all after it; returns where it began.
    pub(crate) fn give_up(&mut self, lost: impl Fn(CarrierId) -> bool) -> Option<u64> {
        let first = self.ranges.iter().position(|range| lost(range.carrier))?;
        let start = self.ranges.get(first)?.start;
        self.reset_from(first, lost);
        Some(start)
    }

    /// Gives up all carriers although none is lost; returns where the first began.
    pub(crate) fn give_up_all(&mut self) -> Option<u64> {
        let start = self.ranges.front()?.start;
        self.reset_from(0, |_| false);
        Some(start)
    }

    pub(crate) fn poll_retire(&mut self) -> Option<Retire> {
        self.retired.pop_front()
    }

    /// Removes the carriers from the one at `first` on; those that are not lost are to be reset.
    fn reset_from(&mut self, first: usize, lost: impl Fn(CarrierId) -> bool) {
        let given_up = self.ranges.drain(first..).map(|range| range.carrier);
        self.retired.extend(
            given_up
                .filter(|carrier| !lost(*carrier))
                .map(Retire::Reset),
        );
        self.feeding = false;
    }
}
