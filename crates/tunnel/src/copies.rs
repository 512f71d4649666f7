//! What goes twice: the small writes of programs that take turns, on a path that loses packets.
//!
//! A debugger's step is a dozen small messages, each of which waits for the answer to the one before. QUIC notices the
//! loss of such a message after more than a round trip, since nothing follows it that could show the gap. So while the
//! path loses packets, each goes once more a little later, as a copy in a datagram; where it loses many, twice more.
//! The ledger takes what comes first.
//!
//! Bulk is never copied: only what a program writes before it has heard an answer counts as a turn, and no more than
//! [`TURN`] of it.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

/// What is copied of one turn, in bytes.
const TURN: usize = 4 << 10;

/// A program that wrote nothing for so long begins a turn, whether or not it has heard anything: it tells of an event.
const QUIET: Duration = Duration::from_millis(50);

/// The first copy follows after an eighth of the round trip, within these bounds: what is lost together is mostly sent
/// together.
const SOONEST: Duration = Duration::from_millis(1);
const LATEST: Duration = Duration::from_millis(20);

/// How many copies may wait.
const WAITING: usize = 32;

/// What was measured of losses counts half after this time, in which somebody may look at what a breakpoint has shown,
/// and after so many packets more, which say how the path is now.
const HALF_LIFE: Duration = Duration::from_secs(60);
const HALF_LIFE_PACKETS: f64 = 400.0;

/// How often QUIC's counters are looked at, at most.
const LOOK: Duration = Duration::from_millis(100);

/// So many packets lost of late, though half forgotten, make a path lossy.
const LOSSY: f64 = 0.5;

/// From this share of lost packets on, each write goes three times. Where one in twenty is lost each way, one turn in
/// two hundred would lose a message with its only copy, and take more than three round trips. What is lost is counted
/// low, since packets of acknowledgements alone are sent and never known to be lost.
const HEAVY: f64 = 0.02;

/// QUIC's counters of one tunnel.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    /// The epoch of the tunnel; the counters of another one go on from nothing.
    pub epoch: u64,
    /// QUIC packets sent on it since it came up.
    pub sent: u64,
    /// Those of them that were lost.
    pub lost: u64,
    /// Its smoothed round trip, after which a loss is noticed.
    pub rtt: Duration,
}

/// The copies of one direction of a stream.
#[derive(Debug, Default)]
pub struct Copies {
    losses: Losses,
    /// What is left of the turn, in bytes.
    left: usize,
    /// How much had been heard when something was written last.
    heard: u64,
    written_at: Option<Instant>,
    due: VecDeque<Due>,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    offset: u64,
    data: Bytes,
}

impl Copies {
    /// The program wrote this, at that offset, after it had been given so much in all.
    pub fn on_written(
        &mut self,
        now: Instant,
        (offset, data): (u64, Bytes),
        heard: u64,
        counted: impl FnOnce() -> Option<Counted>,
    ) {
        let was_quiet = self.written_at.is_none_or(|at| now - at >= QUIET);
        self.written_at = Some(now);
        if was_quiet || heard != self.heard {
            self.left = TURN;
        }
        self.heard = heard;
        if data.len() > self.left {
            self.left = 0;
            return;
        }
        self.left -= data.len();
        let Some(rtt) = self.losses.look(now, counted) else {
            return;
        };
        let apart = (rtt / 8).clamp(SOONEST, LATEST);
        for number in 1..=self.losses.copies() {
            if self.due.len() < WAITING {
                let (at, data) = (now + apart * number, data.clone());
                self.due.push_back(Due { at, offset, data });
            }
        }
    }

    /// When the next copy is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.due.iter().map(|due| due.at).min()
    }

    /// Forgets the copies that wait; none of them goes.
    pub fn clear(&mut self) {
        self.due.clear();
    }

    /// A copy that is due, and its offset.
    pub fn pop_due(&mut self, now: Instant) -> Option<(u64, Bytes)> {
        let index = self.due.iter().position(|due| due.at <= now)?;
        let due = self.due.remove(index)?;
        Some((due.offset, due.data))
    }
}

/// What a tunnel has lost of late.
#[derive(Debug, Default)]
struct Losses {
    last: Option<(Counted, Instant)>,
    sent: f64,
    lost: f64,
}

impl Losses {
    /// Looks at the counters, unless that was done just now; returns the round trip.
    fn look(
        &mut self,
        now: Instant,
        counted: impl FnOnce() -> Option<Counted>,
    ) -> Option<Duration> {
        if let Some((last, at)) = self.last
            && now - at < LOOK
        {
            return Some(last.rtt);
        }
        let counted = counted()?;
        let last = self.last.filter(|(last, _)| last.epoch == counted.epoch);
        let (since, kept) = match last {
            Some((last, at)) => {
                let age = (now - at).as_secs_f64() / HALF_LIFE.as_secs_f64();
                let more = counted.sent.saturating_sub(last.sent) as f64 / HALF_LIFE_PACKETS;
                ((last.sent, last.lost), 0.5_f64.powf(age + more))
            }
            // Another path, of which all that was ever counted is known.
            None => ((0, 0), 0.0),
        };
        self.sent = self.sent * kept + counted.sent.saturating_sub(since.0) as f64;
        self.lost = self.lost * kept + counted.lost.saturating_sub(since.1) as f64;
        self.last = Some((counted, now));
        Some(counted.rtt)
    }

    /// How many copies of each write are worth their bytes.
    fn copies(&self) -> u32 {
        match self.lost {
            lost if lost < LOSSY => 0,
            lost if lost < HEAVY * self.sent => 1,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn counted(sent: u64, lost: u64) -> Option<Counted> {
        let (epoch, rtt) = (1, RTT);
        Some(Counted {
            epoch,
            sent,
            lost,
            rtt,
        })
    }

    fn write(copies: &mut Copies, now: Instant, len: usize, heard: u64, lost: u64) -> usize {
        let before = copies.due.len();
        copies.on_written(now, (0, Bytes::from(vec![0; len])), heard, || {
            counted(1000, lost)
        });
        copies.due.len() - before
    }

    #[test]
    fn a_write_is_copied_once_where_packets_are_lost_and_twice_where_many_are() {
        let now = Instant::now();
        for (lost, expected) in [(0, 0), (10, 1), (30, 2)] {
            assert_eq!(write(&mut Copies::default(), now, 200, 0, lost), expected);
        }
    }

    #[test]
    fn a_copy_is_due_an_eighth_of_a_round_trip_later() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        write(&mut copies, now, 200, 0, 10);
        assert_eq!(copies.next_at(), Some(now + RTT / 8));
        assert_eq!(copies.pop_due(now + RTT / 9), None);
        let data = Bytes::from(vec![0; 200]);
        assert_eq!(copies.pop_due(now + RTT / 8), Some((0, data)));
        assert_eq!(copies.next_at(), None);
    }

    #[test]
    fn bulk_is_not_copied_whether_in_large_or_in_small_writes() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        assert_eq!(write(&mut copies, now, TURN + 1, 0, 10), 0);
        let copied: usize = (1..100u32)
            .map(|step| {
                let at = now + Duration::from_millis(1) * step;
                write(&mut copies, at, 1000, 0, 10)
            })
            .sum();
        assert_eq!(copied, 0, "it goes on with what began as bulk");
    }

    #[test]
    fn an_answer_begins_a_turn() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        for step in 0..10u32 {
            let at = now + Duration::from_millis(1) * step;
            assert_eq!(write(&mut copies, at, TURN, step.into(), 10), 1);
        }
    }

    #[test]
    fn copies_that_wait_for_a_path_are_bounded_and_forgotten_with_it() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        // Each is a turn, since something was heard before it.
        for heard in 0..1000 {
            write(&mut copies, now, 200, heard, 100);
        }
        assert_eq!(copies.due.len(), WAITING);
        copies.clear();
        assert_eq!(copies.next_at(), None);
        // A path of which nothing is known is no reason to copy.
        copies.losses = Losses::default();
        copies.on_written(now, (0, Bytes::from_static(b"x")), 1000, || None);
        assert_eq!(copies.next_at(), None);
    }

    #[test]
    fn losses_of_another_path_do_not_count() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        assert_eq!(write(&mut copies, now, 200, 0, 100), 2);
        let later = now + LOOK;
        let clean = |epoch| {
            move || {
                Some(Counted {
                    epoch,
                    sent: 1000,
                    lost: 0,
                    rtt: RTT,
                })
            }
        };
        copies.clear();
        copies.on_written(later, (0, Bytes::from_static(b"x")), 1, clean(2));
        assert_eq!(copies.next_at(), None);
    }

    #[test]
    fn losses_count_after_a_pause_at_a_breakpoint_and_not_after_much_that_was_not_lost() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        let write = |copies: &mut Copies, now, sent, heard| {
            copies.clear();
            copies.on_written(now, (0, Bytes::from_static(b"x")), heard, || {
                counted(sent, 2)
            });
            copies.due.len()
        };
        assert_eq!(write(&mut copies, now, 50, 0), 2);
        let later = now + Duration::from_secs(90);
        assert_eq!(write(&mut copies, later, 60, 1), 2);
        let soon = later + LOOK;
        assert_eq!(write(&mut copies, soon, 1000, 2), 0);
    }

    #[test]
    fn a_loss_is_forgotten_in_time() {
        let (mut copies, now) = (Copies::default(), Instant::now());
        assert_eq!(write(&mut copies, now, 200, 0, 1), 1);
        let later = now + HALF_LIFE * 2;
        assert_eq!(write(&mut copies, later, 200, 1, 1), 0);
    }
}
