//! Which streams there are: new, live or closed already.
//!
//! Each end numbers the streams that it opens, upwards and without a gap, and announces every one of them, at the least
//! by its end. Announcements travel on several tunnels and QUIC streams, so they arrive out of order, and may arrive
//! again when the stream is long closed. A floor below which every id has been seen, and the few seen above it, tell
//! which.

use std::collections::BTreeSet;

use crate::{Side, StreamId, Violation};

/// Streams of one opener that may live at once, as [`Openings::draw`] keeps to: 1024.
const MAX_DRAWN: usize = 1024;

/// Streams of the peer that may live here at once. More than [`MAX_DRAWN`], because the opener may know first that a
/// stream is closed.
const MAX_ADMITTED: usize = 2 * MAX_DRAWN;

/// How far the peer's ids may run ahead of the lowest that has not been seen.
const WINDOW: u64 = 4096;

/// The streams of a session at one end.
#[derive(Debug)]
pub struct Openings {
    side: Side,
    /// The counter of the next stream that this end opens.
    next: u64,
    ours: BTreeSet<u64>,
    /// Every counter of the peer's below this has been seen.
    floor: u64,
    /// Those at or above the floor that have been seen.
    ahead: BTreeSet<u64>,
    theirs: BTreeSet<u64>,
}

/// What an incoming carrier or frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// A stream that the peer opens with it; it lives from now on.
    New,
    /// A stream that was opened before and has not closed.
    Live,
    /// A stream that is closed here: answer with `reply_if_closed`, and refuse it quietly.
    Closed,
}

impl Openings {
    /// No streams yet; `side` is this end's.
    pub fn new(side: Side) -> Self {
        Self {
            side,
            next: 0,
            ours: BTreeSet::new(),
            floor: 0,
            ahead: BTreeSet::new(),
            theirs: BTreeSet::new(),
        }
    }

    /// Draws the id of a stream that this end opens, or nothing if too many of its streams live.
    ///
    /// An id once drawn must be announced to the peer, even if the stream ends at once.
    pub fn draw(&mut self) -> Option<StreamId> {
        if self.ours.len() >= MAX_DRAWN {
            return None;
        }
        let counter = self.next;
        self.next += 1;
        self.ours.insert(counter);
        Some(StreamId::new(self.side, counter))
    }

    /// Says what an id that came from the peer belongs to, and registers it if it is new.
    ///
    /// `opens` tells whether what came can open a stream, which a carrier's header can, and a frame that names a
    /// forward ([`Frame::forward`](crate::Frame::forward)); for others an id that was never seen is a violation.
    pub fn admit(&mut self, stream: StreamId, opens: bool) -> Result<Admission, Violation> {
        let counter = stream.counter();
        if stream.opener() == self.side {
            return match counter {
                _ if self.ours.contains(&counter) => Ok(Admission::Live),
                _ if counter < self.next => Ok(Admission::Closed),
                _ => Err(Violation::NeverOpened(stream)),
            };
        }
        if self.theirs.contains(&counter) {
            return Ok(Admission::Live);
        }
        if counter < self.floor || self.ahead.contains(&counter) {
            return Ok(Admission::Closed);
        }
        if !opens {
            return Err(Violation::NeverOpened(stream));
        }
        if counter - self.floor >= WINDOW {
            return Err(Violation::IdTooFar(stream));
        }
        if self.theirs.len() >= MAX_ADMITTED {
            return Err(Violation::TooManyStreams(MAX_ADMITTED));
        }
        self.theirs.insert(counter);
        self.ahead.insert(counter);
        while self.ahead.remove(&self.floor) {
            self.floor += 1;
        }
        Ok(Admission::New)
    }

    /// Closes a stream whose halves are both finished.
    pub fn close(&mut self, stream: StreamId) {
        let live = if stream.opener() == self.side {
            &mut self.ours
        } else {
            &mut self.theirs
        };
        live.remove(&stream.counter());
    }

    /// How many streams live, opened by either end.
    pub fn live(&self) -> usize {
        self.ours.len() + self.theirs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(counter: u64) -> StreamId {
        StreamId::new(Side::Connector, counter)
    }

    #[test]
    fn a_stream_is_new_then_live_then_closed() {
        let mut openings = Openings::new(Side::Listener);
        assert_eq!(openings.admit(theirs(0), true), Ok(Admission::New));
        assert_eq!(openings.admit(theirs(0), true), Ok(Admission::Live));
        assert_eq!(openings.admit(theirs(0), false), Ok(Admission::Live));
        openings.close(theirs(0));
        assert_eq!(openings.admit(theirs(0), true), Ok(Admission::Closed));
    }

    #[test]
    fn ids_may_come_out_of_order_and_are_remembered_in_bounded_memory() {
        let mut openings = Openings::new(Side::Listener);
        for block in 0..100 {
            for counter in (block * 100..block * 100 + 100).rev() {
                assert_eq!(openings.admit(theirs(counter), true), Ok(Admission::New));
                openings.close(theirs(counter));
            }
            assert!(openings.ahead.is_empty());
        }
        for counter in 0..10_000 {
            assert_eq!(openings.admit(theirs(counter), true), Ok(Admission::Closed));
        }
        assert_eq!(openings.floor, 10_000);
    }

    #[test]
    fn a_peer_that_skips_ids_or_opens_without_end_is_caught() {
        let mut openings = Openings::new(Side::Listener);
        assert_eq!(
            openings.admit(theirs(WINDOW), true),
            Err(Violation::IdTooFar(theirs(WINDOW)))
        );
        assert_eq!(
            openings.admit(theirs(u64::MAX >> 1), true),
            Err(Violation::IdTooFar(theirs(u64::MAX >> 1)))
        );
        for counter in 0..MAX_ADMITTED as u64 {
            assert_eq!(openings.admit(theirs(counter), true), Ok(Admission::New));
        }
        let next = theirs(MAX_ADMITTED as u64);
        assert_eq!(
            openings.admit(next, true),
            Err(Violation::TooManyStreams(MAX_ADMITTED))
        );
        openings.close(theirs(5));
        assert_eq!(openings.admit(next, true), Ok(Admission::New));
    }

    #[test]
    fn a_frame_that_cannot_open_a_stream_does_not() {
        let mut openings = Openings::new(Side::Listener);
        assert_eq!(
            openings.admit(theirs(0), false),
            Err(Violation::NeverOpened(theirs(0)))
        );
        assert_eq!(openings.admit(theirs(0), true), Ok(Admission::New));
    }

    #[test]
    fn our_own_ids_are_drawn_once_and_only_drawn_ones_are_known() {
        let mut openings = Openings::new(Side::Listener);
        let first = openings.draw().unwrap();
        let second = openings.draw().unwrap();
        assert_ne!(first, second);
        assert_eq!(openings.admit(first, true), Ok(Admission::Live));
        let undrawn = StreamId::new(Side::Listener, 2);
        assert_eq!(
            openings.admit(undrawn, true),
            Err(Violation::NeverOpened(undrawn))
        );
        openings.close(first);
        assert_eq!(openings.admit(first, true), Ok(Admission::Closed));
        for _ in 1..MAX_DRAWN {
            assert!(openings.draw().is_some());
        }
        assert_eq!(openings.draw(), None);
        openings.close(second);
        assert!(openings.draw().is_some());
    }
}
