//! What the path carries and how long it takes: the window that follows from both, and which losses say that it is
//! full.
//!
//! In the manner of BBR (Cardwell et al., "BBR: congestion-based congestion control", 2016) the path is known by two
//! figures: the highest rate at which it delivered, and the shortest round trip. Their product is what fits into it
//! without a queue. A sender that is alone keeps a little more than that in flight, and one round in [`CYCLE`] somewhat
//! more again, to find out whether the path has become faster. A packet that is lost meanwhile was not lost to a queue,
//! so it changes nothing.
//!
//! A round trip that stays longer than that makes it is the queue of somebody else: the path is *crowded*, and
//! [`super`] shares it as CUBIC does until the queue has gone.

use std::time::{Duration, Instant};

use super::delivery::{Delivery, HighestRate};
use crate::acks::ACK_WITHIN;

/// How much of what fits into the path is kept in flight, and in the round that looks for more.
const CRUISE: f64 = 1.1;
const PROBE: f64 = 1.25;

/// While each round delivers more than the one before by [`GROWTH`], so much is kept in flight.
const GROW: f64 = 2.0;
const GROWTH: f64 = 1.1;

/// The path is looked over for more once in so many round trips.
const CYCLE: u64 = 8;

/// While the round trip is measured anew, so much is kept in flight.
const DRAINED: f64 = 0.5;

/// What is in flight besides: a batch of 20 packets, since acknowledgements come in batches, in bytes, but at most a
/// quarter of what fits into the path; and what the path carries while the sender's timer and the receiver's scheduling
/// may be late.
const BATCH: f64 = 24e3;
const LATE: Duration = Duration::from_millis(2);

/// quinn sends so many packets at once, however slow the path is (`MIN_BURST_SIZE` of its pacing).
const BURST_PACKETS: f64 = 10.0;

/// The path is drained after so long without a round trip as short as the shortest, to measure that again.
const REFRESH: Duration = Duration::from_secs(10);

/// A path that became crowded is drained sooner: the queue may in truth be our own.
const DOUBT: Duration = Duration::from_secs(2);

/// After so many drains that left a queue the path itself has become longer.
const LONGER: u32 = 3;

/// So many rounds in a row with a long round trip make a path crowded.
const CROWDED: u32 = 4;

/// So many with a short one make it free: whoever shares it lets the queue run empty now and then.
const FREE: u32 = 25;

/// The beginning is over when the rate has not grown by a quarter for so many rounds.
const FLAT: u32 = 3;

/// It is over as well when the newest packets of so many batches of acknowledgements in a row waited.
const LATE_BATCHES: u32 = 4;

/// On a crowded path so much of what fits into it is kept, by the round trip at which its queue overflows: what is left
/// of that when two CUBICs that share it have just given way; at most what BBR keeps.
const GIVEN_WAY: f64 = 0.85;
const MOST_KEPT: f64 = 2.0;

/// More than this share lost within a round is congestion, whatever the queue: a policer, a tiny buffer, an outage.
const FLOOD: f64 = 0.2;

/// The window is never less than so many packets.
const LEAST_PACKETS: f64 = 4.0;

/// The model of one path.
#[derive(Debug, Clone)]
pub(super) struct Model {
    delivery: Delivery,
    rate: HighestRate,
    /// The shortest round trip of late.
    shortest: Option<Duration>,
    /// When the path is to be drained.
    drain_at: Option<Instant>,
    /// How many drains in a row left a queue.
    undrained: u32,
    round: Round,
    phase: Phase,
    /// Whether somebody else's queue is in the path.
    crowded: bool,
    /// How many rounds in a row spoke for the other state.
    evidence: u32,
    /// The highest rate when the round began, and whether it has just grown.
    rate_before: f64,
    grows: bool,
    /// The share of what was sent that is lost, in the mean.
    losses: f64,
    /// How many times the shortest round trip one takes when the queue overflows, in the mean; none before it did.
    full: Option<f64>,
    mtu: f64,
}

/// The round trip that is going on: it ends when a packet is acknowledged that was sent after it began.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    number: u64,
    /// The last packet sent before it began.
    after: u64,
    /// The last packet sent so far: the next round begins behind it.
    sent: u64,
    /// The quickest packet of this round, and of the one before.
    took: Option<Duration>,
    took_before: Option<Duration>,
    acknowledged: u64,
    lost: u64,
    /// The best sample of this round in which the window was the limit.
    rate: f64,
    limited_by_program: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// The window doubles each round until the path is full.
    Begin {
        best: f64,
        /// For so many rounds the rate has not grown.
        flat: u32,
        /// So many batches of acknowledgements in a row waited.
        late: u32,
    },
    /// The path is full.
    Full,
    /// Little is sent for a round trip or two, to see how long it is without our queue.
    Drain { since: u64 },
}

impl Model {
    pub(super) fn new(mtu: u16) -> Self {
        Self {
            delivery: Delivery::default(),
            rate: HighestRate::default(),
            shortest: None,
            drain_at: None,
            undrained: 0,
            round: Round::default(),
            phase: Phase::Begin {
                best: 0.0,
                flat: 0,
                late: 0,
            },
            crowded: false,
            evidence: 0,
            rate_before: 0.0,
            grows: false,
            losses: 0.0,
            full: None,
            mtu: mtu.into(),
        }
    }

    pub(super) fn on_mtu(&mut self, mtu: u16) {
        self.mtu = mtu.into();
    }

    /// Packets up to this number have been sent.
    pub(super) fn on_sent(&mut self, now: Instant, last: u64) {
        self.round.sent = last;
        self.delivery.on_sent(now);
    }

    /// Takes in that a packet was acknowledged, with so many bytes.
    pub(super) fn on_acknowledged(&mut self, now: Instant, sent: Instant, bytes: u64) {
        self.delivery.on_acknowledged(bytes);
        self.round.acknowledged += bytes;
        let took = now.saturating_duration_since(sent);
        self.round.took = Some(self.round.took.map_or(took, |least| least.min(took)));
        if self.shortest.is_none_or(|shortest| took <= shortest) {
            self.shortest = Some(took);
            self.drain_at = Some(now + REFRESH);
        }
    }

    /// A batch of acknowledgements is over: the newest packet in it was sent at `newest`, `largest` is the highest
    /// number acknowledged. Returns whether a round has ended.
    pub(super) fn on_batch(
        &mut self,
        now: Instant,
        newest: Instant,
        largest: u64,
        in_flight: u64,
        limited_by_program: bool,
    ) -> bool {
        let least = self.shortest.unwrap_or_default();
        self.round.limited_by_program |= limited_by_program;
        if let Some(rate) = self.delivery.sample(now, newest, least, in_flight) {
            // A program that sends little shows less than the path can do, and never more.
            if !limited_by_program || self.rate.get().is_some_and(|highest| rate > highest) {
                self.round.rate = self.round.rate.max(rate);
                self.rate.add(self.round.number, rate);
            }
        }
        if !limited_by_program {
            self.end_beginning(now.saturating_duration_since(newest), least);
        }
        let ended = largest > self.round.after;
        if ended {
            self.end_round(now);
        }
        ended
    }

    /// So many bytes were lost; whether that is congestion, to be answered as CUBIC does. Without bytes it is a mark of
    /// a router (ECN), which says that it queues.
    pub(super) fn on_lost(&mut self, now: Instant, bytes: u64, persistent: bool) -> bool {
        if bytes == 0 {
            if !self.crowded {
                self.set_crowded(now, true);
            }
            self.fill();
            return true;
        }
        self.round.lost += bytes;
        if persistent {
            self.rate.reset(self.round.number, self.round.rate);
            return true;
        }
        let queues = self.is_crowded() && self.queues();
        if queues {
            self.note_overflow();
        }
        self.is_flooded() || queues
    }

    /// Whether somebody else's queue is in the path, and CUBIC's window counts.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded && !self.drains()
    }

    /// Whether little is sent, to measure the round trip.
    pub(super) fn drains(&self) -> bool {
        matches!(self.phase, Phase::Drain { .. })
    }

    /// Whether the path is not yet known to be full, so the window may double.
    pub(super) fn begins(&self) -> bool {
        matches!(self.phase, Phase::Begin { .. })
    }

    /// How long the shortest round trip was.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.shortest
    }

    /// What should be in flight, in bytes, on a path that is not crowded; none before it is known.
    pub(super) fn window(&self) -> Option<u64> {
        let rate = self.rate.get()?;
        let shortest = self.shortest?;
        let fits = rate * shortest.as_secs_f64();
        let least = LEAST_PACKETS * self.mtu;
        // What is lost on the way takes part of the window and is not delivered.
        let fits = fits / (1.0 - self.losses.min(FLOOD));
        let slack = rate * LATE.as_secs_f64() + BATCH.min(fits / 4.0);
        let window = match self.phase {
            Phase::Begin { .. } => return None,
            Phase::Drain { .. } => DRAINED * fits,
            Phase::Full => self.gain() * fits + slack,
        };
        Some(window.max(least) as u64)
    }

    /// What would have to be in flight for the same rate while the queue of somebody else is in the path.
    pub(super) fn crowded_window(&self) -> Option<u64> {
        let took = self.round.took.or(self.round.took_before)?;
        Some((self.rate.get()? * took.as_secs_f64()) as u64)
    }

    /// What is kept in flight on a crowded path at least, whatever was lost: others who do not give way would take all.
    pub(super) fn kept(&self) -> Option<u64> {
        let fits = self.rate.get()? * self.shortest?.as_secs_f64();
        let full = self.full.map_or(MOST_KEPT, |full| full * GIVEN_WAY);
        Some((fits * full.clamp(1.0, MOST_KEPT)) as u64)
    }

    fn note_overflow(&mut self) {
        let took = self.round.took.max(self.round.took_before);
        if let Some((took, shortest)) = took.zip(self.shortest) {
            let now = took.as_secs_f64() / shortest.as_secs_f64().max(1e-6);
            self.full = Some(self.full.map_or(now, |full| full + (now - full) / 4.0));
        }
    }

    fn gain(&self) -> f64 {
        if self.grows {
            GROW
        } else if self.round.number.is_multiple_of(CYCLE) {
            PROBE
        } else {
            CRUISE
        }
    }

    fn is_flooded(&self) -> bool {
        let Round {
            acknowledged, lost, ..
        } = self.round;
        // A few packets are no share of anything.
        let sent = (acknowledged + lost) as f64;
        sent > 50.0 * self.mtu && lost as f64 > FLOOD * sent
    }

    /// Whether the round trips of late are longer than they would be without a queue.
    fn queues(&self) -> bool {
        let took = [self.round.took, self.round.took_before];
        let longest = took.into_iter().flatten().max();
        let Some((longest, shortest)) = longest.zip(self.shortest) else {
            return false;
        };
        longest > shortest + (shortest / 8).max(LATE)
    }

    /// Whether even the quickest packet of the round waited longer than in our own queue.
    fn waits_for_others(&self, took: Duration, shortest: Duration) -> bool {
        let rate = self.rate.get().unwrap_or(f64::MAX);
        let batch = (BATCH / rate).min(shortest.as_secs_f64() / 4.0);
        took > shortest.mul_f64(PROBE) + LATE + Duration::from_secs_f64(batch)
    }

    /// The beginning is over as soon as the newest packets wait, not only at the end of the round, by which the window
    /// would be twice as large and thousands of packets lost, more than quinn keeps apart in a stream (1,024).
    fn end_beginning(&mut self, took: Duration, shortest: Duration) {
        let waits = self.waits_for_others(took, shortest);
        if let Phase::Begin { late, .. } = &mut self.phase {
            *late = if waits { *late + 1 } else { 0 };
            if *late >= LATE_BATCHES {
                self.phase = Phase::Full;
            }
        }
    }

    fn fill(&mut self) {
        if self.begins() {
            self.phase = Phase::Full;
        }
    }

    fn end_round(&mut self, now: Instant) {
        let round = self.round;
        let flooded = self.is_flooded();
        self.round = Round {
            number: round.number + 1,
            after: round.sent,
            sent: round.sent,
            took_before: round.took,
            ..Round::default()
        };
        let Some((took, shortest)) = round.took.zip(self.shortest) else {
            return;
        };
        if flooded && round.rate > 0.0 {
            self.fill();
            self.rate.reset(self.round.number, round.rate);
        }
        let waits = self.waits_for_others(took, shortest);
        let rate = self.rate.get().unwrap_or_default();
        self.grows = !waits && !round.limited_by_program && rate > self.rate_before * GROWTH;
        self.rate_before = rate;
        if round.acknowledged > 0 {
            let share = round.lost as f64 / (round.acknowledged + round.lost) as f64;
            self.losses += (share - self.losses) / 8.0;
        }
        match &mut self.phase {
            Phase::Begin { best, flat, .. } if !round.limited_by_program => {
                *flat = if rate >= *best * 1.25 { 0 } else { *flat + 1 };
                *best = best.max(rate);
                if *flat >= FLAT || waits {
                    self.phase = Phase::Full;
                }
            }
            Phase::Begin { .. } => {}
            // The first round only empties the path.
            Phase::Drain { since } if self.round.number > *since + 2 => {
                self.phase = Phase::Full;
                self.on_drained(now, took, shortest);
            }
            Phase::Drain { .. } => {}
            Phase::Full => {
                self.gather_evidence(now, waits);
                if !round.limited_by_program && self.drain_at.is_some_and(|at| at <= now) {
                    let since = self.round.number;
                    self.phase = Phase::Drain { since };
                }
            }
        }
    }

    /// The path holds little of ours now: whatever queue is left is somebody else's.
    fn on_drained(&mut self, now: Instant, took: Duration, shortest: Duration) {
        // Of a burst the first packet waits for its acknowledgement, and the others for those before them.
        let burst = BURST_PACKETS * self.mtu / self.rate.get().unwrap_or(f64::MAX);
        let burst = Duration::from_secs_f64(burst).min(ACK_WITHIN);
        let queued = took > shortest.mul_f64(CRUISE) + LATE + burst;
        self.undrained = if queued { self.undrained + 1 } else { 0 };
        let longer = self.undrained >= LONGER;
        if !queued || longer {
            self.undrained = 0;
            self.shortest = Some(took);
        }
        self.set_crowded(now, queued && !longer);
        self.drain_at = Some(now + REFRESH);
    }

    fn gather_evidence(&mut self, now: Instant, waits: bool) {
        if waits == self.crowded {
            self.evidence = 0;
            return;
        }
        self.evidence += 1;
        if self.evidence >= if waits { CROWDED } else { FREE } {
            self.set_crowded(now, waits);
        }
    }

    fn set_crowded(&mut self, now: Instant, crowded: bool) {
        self.evidence = 0;
        self.crowded = crowded;
        if crowded {
            let soon = now + DOUBT;
            self.drain_at = Some(self.drain_at.map_or(soon, |at| at.min(soon)));
        }
    }
}

#[cfg(test)]
mod tests;
