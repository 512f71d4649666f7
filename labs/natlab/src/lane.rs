//! One direction of a shaped link, as a queue in time: no I/O and no clock of its own.
//!
//! [`Lane::admit`] takes a frame and decides its fate; [`Lane::pop_due`] gives back what is due.
//! The thread in `shaper` is the only caller.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use crate::{
    Corruption, Impairments,
    frame::{corrupt, ip_length, is_neighbour_discovery, too_big},
};

/// Bytes that may be on their way at once, whatever the delay: a second at 1 Gbit/s and more.
const IN_FLIGHT: usize = 192 * 1024 * 1024;

/// What becomes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is due at once, with nothing before it: the caller sends it on.
    Now,
    /// It is queued, once or twice.
    Queued {
        /// Whether a second copy is queued too.
        twice: bool,
    },
    /// It is lost, as the impairments want it.
    Lost,
    /// It found the queue full.
    Overflowed,
    /// It is bigger than the MTU; if the sender is to be told, this is the frame that does.
    TooBig(Option<Vec<u8>>),
}

pub(crate) struct Lane {
    rng: fastrand::Rng,
    queue: BinaryHeap<Reverse<InFlight>>,
    bytes: usize,
    /// Tells frames apart that are due at the same instant.
    sequence: u64,
    /// When the last frame has left at the link's rate.
    idle_from: Option<Instant>,
    /// When the last frame in order is due: none overtakes it.
    last_due: Option<Instant>,
}

/// Ordered by due time, then by arrival.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    due: Instant,
    sequence: u64,
    frame: Vec<u8>,
}

impl Lane {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            queue: BinaryHeap::new(),
            bytes: 0,
            sequence: 0,
            idle_from: None,
            last_due: None,
        }
    }

    /// Decides what becomes of a frame that arrives now. It may be changed (corrupted).
    pub(crate) fn admit(&mut self, now: Instant, frame: &mut [u8], how: &Impairments) -> Fate {
        if is_neighbour_discovery(frame) {
            return Fate::Now;
        }
        if let Some(mtu) = how.mtu
            && ip_length(frame).is_some_and(|length| length > mtu.bytes.into())
        {
            return Fate::TooBig(mtu.icmp.then(|| too_big(frame, mtu.bytes)).flatten());
        }
        if self.draw(how.loss) {
            return Fate::Lost;
        }
        let Some(mut due) = self.departure(now, frame.len(), how) else {
            return Fate::Overflowed;
        };
        due += how.delay + how.jitter.mul_f64(self.rng.f64());
        due = due.max(self.last_due.unwrap_or(due));
        if self.draw(how.reorder) {
            due += how.reorder_by;
        } else {
            self.last_due = Some(due);
        }
        if self.draw(how.corrupt) {
            let mend = how.corruption == Corruption::Undetectable;
            corrupt(frame, mend, |bits| self.rng.usize(..bits));
        }
        let twice = self.draw(how.duplicate);
        if due <= now && self.queue.is_empty() && !twice {
            return Fate::Now;
        }
        if self.bytes + frame.len() > IN_FLIGHT {
            return Fate::Overflowed;
        }
        self.push(due, frame);
        if twice {
            self.push(due, frame);
        }
        Fate::Queued { twice }
    }

    /// The next frame that is due by now.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(next) = self.queue.pop()?;
        self.bytes -= next.frame.len();
        Some(next.frame)
    }

    /// When [`Lane::pop_due`] has something next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse(next)| next.due)
    }

    /// Forgets what is on its way; returns how many frames that were.
    pub(crate) fn clear(&mut self) -> usize {
        let lost = self.queue.len();
        self.queue.clear();
        self.bytes = 0;
        lost
    }

    /// When the frame has left at the link's rate; `None` where the queue ahead of it is full.
    fn departure(&mut self, now: Instant, bytes: usize, how: &Impairments) -> Option<Instant> {
        let Some(rate) = how.rate else {
            self.idle_from = None;
            return Some(now);
        };
        let time = |bytes: usize| Duration::from_secs_f64(bytes as f64 * 8.0 / rate as f64);
        let start = self.idle_from.unwrap_or(now).max(now);
        if start - now > time(how.queue) {
            return None;
        }
        let end = start + time(bytes);
        self.idle_from = Some(end);
        Some(end)
    }

    fn push(&mut self, due: Instant, frame: &[u8]) {
        self.sequence += 1;
        self.bytes += frame.len();
        self.queue.push(Reverse(InFlight {
            due,
            sequence: self.sequence,
            frame: frame.to_vec(),
        }));
    }

    fn draw(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.f64() < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Frames of 100 bytes, numbered in the first.
    fn send(lane: &mut Lane, now: Instant, number: u8, how: &Impairments) -> Fate {
        let mut frame = [0; 100];
        frame[0] = number;
        lane.admit(now, &mut frame, how)
    }

    fn arrivals(lane: &mut Lane, now: Instant) -> Vec<u8> {
        std::iter::from_fn(|| lane.pop_due(now))
            .map(|frame| frame[0])
            .collect()
    }

    #[test]
    fn a_perfect_link_hands_frames_over_at_once() {
        let mut lane = Lane::new(1);
        let fate = send(&mut lane, Instant::now(), 0, &Impairments::NONE);
        assert_eq!(fate, Fate::Now);
    }

    #[test]
    fn a_delayed_frame_is_due_after_the_delay_and_not_before() {
        let mut lane = Lane::new(1);
        let now = Instant::now();
        send(&mut lane, now, 7, &Impairments::delayed(10 * MS));
        assert_eq!(lane.next_due(), Some(now + 10 * MS));
        assert!(arrivals(&mut lane, now + 10 * MS - Duration::from_nanos(1)).is_empty());
        assert_eq!(arrivals(&mut lane, now + 10 * MS), [7]);
    }

    #[test]
    fn jitter_keeps_the_order_and_stays_within_its_bounds() {
        let mut lane = Lane::new(1);
        let now = Instant::now();
        let how = Impairments::delayed(10 * MS).with_jitter(5 * MS);
        for number in 0..100 {
            send(&mut lane, now, number, &how);
        }
        assert!(lane.next_due().unwrap() >= now + 10 * MS);
        assert_eq!(
            arrivals(&mut lane, now + 15 * MS),
            (0..100).collect::<Vec<u8>>()
        );
    }

    #[test]
    fn a_shorter_delay_does_not_let_later_frames_overtake() {
        let mut lane = Lane::new(1);
        let now = Instant::now();
        send(&mut lane, now, 0, &Impairments::delayed(10 * MS));
        send(&mut lane, now + MS, 1, &Impairments::delayed(MS));
        assert!(arrivals(&mut lane, now + 9 * MS).is_empty());
        assert_eq!(arrivals(&mut lane, now + 10 * MS), [0, 1]);
    }

    #[test]
    fn reordering_lets_later_frames_overtake_and_loses_none() {
        let mut lane = Lane::new(3);
        let now = Instant::now();
        let how = Impairments::delayed(MS).with_reordering(0.3, MS);
        for number in 0..100 {
            send(&mut lane, now, number, &how);
        }
        let mut arrived = arrivals(&mut lane, now + 2 * MS);
        assert!(!arrived.is_sorted());
        arrived.sort_unstable();
        assert_eq!(arrived, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn loss_and_duplication_follow_their_probabilities() {
        let mut lane = Lane::new(4);
        let now = Instant::now();
        let how = Impairments::NONE.with_loss(0.2).with_duplication(0.1);
        let (mut lost, mut twice) = (0, 0);
        for _ in 0..10_000 {
            match send(&mut lane, now, 0, &how) {
                Fate::Lost => lost += 1,
                Fate::Queued { twice: true } => twice += 1,
                _ => {}
            }
        }
        assert!((1800..2200).contains(&lost), "{lost} of 10000 at 0.2");
        assert!((680..920).contains(&twice), "{twice} of 8000 at 0.1");
    }

    #[test]
    fn the_rate_spaces_frames_and_the_full_queue_drops_the_tail() {
        let mut lane = Lane::new(5);
        let now = Instant::now();
        // 100 bytes take 1 ms; four frames may wait beside the one that is leaving.
        let how = Impairments::NONE.with_rate(800_000).with_queue(400);
        let fates: Vec<Fate> = (0..7).map(|n| send(&mut lane, now, n, &how)).collect();
        assert_eq!(fates[5..], [Fate::Overflowed, Fate::Overflowed]);
        assert_eq!(arrivals(&mut lane, now + 2 * MS), [0, 1]);
        assert_eq!(arrivals(&mut lane, now + 5 * MS), [2, 3, 4]);
    }

    #[test]
    fn one_seed_gives_one_course_of_events() {
        let how = Impairments::NONE.with_loss(0.5);
        let now = Instant::now();
        let course = |seed| {
            let mut lane = Lane::new(seed);
            (0..64)
                .map(|n| send(&mut lane, now, n, &how) == Fate::Lost)
                .collect::<Vec<bool>>()
        };
        assert_eq!(course(6), course(6));
        assert_ne!(course(6), course(7));
    }
}
