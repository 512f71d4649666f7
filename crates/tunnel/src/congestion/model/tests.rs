//! A sender that always has something to send, on a link with a rate, a queue and losses, in virtual time.

use std::collections::VecDeque;

use super::*;

const MTU: u16 = 1200;
const STEP: Duration = Duration::from_micros(200);
const RTT: Duration = Duration::from_millis(40);
/// Bytes a second: 20 Mbit/s.
const RATE: f64 = 2.5e6;
/// What fits into the path.
const FITS: f64 = RATE * 0.04;

/// A link, and the sender before it.
struct Link {
    model: Model,
    now: Instant,
    rate: f64,
    /// Bytes that may wait.
    room: f64,
    /// One of so many packets is lost; 0 for none.
    loses: u64,
    /// Bytes that wait, of which a part is somebody else's.
    queue: f64,
    others: f64,
    /// Sent packets: number, when, and when its acknowledgement comes, if ever.
    flight: VecDeque<(u64, Instant, Option<Instant>)>,
    sent: u64,
    delivered: u64,
    /// The window while the path is crowded, which the caller keeps.
    crowded_window: u64,
    congested: u64,
    longest: Duration,
}

impl Link {
    fn new(room: f64, loses: u64) -> Self {
        Self {
            model: Model::new(MTU),
            now: Instant::now(),
            rate: RATE,
            room,
            loses,
            queue: 0.0,
            others: 0.0,
            flight: VecDeque::new(),
            sent: 0,
            delivered: 0,
            crowded_window: 0,
            congested: 0,
            longest: Duration::ZERO,
        }
    }

    /// Runs for so long; returns the rate of delivery in it, in bytes a second.
    fn run(&mut self, time: Duration) -> f64 {
        let (until, before) = (self.now + time, self.delivered);
        self.longest = Duration::ZERO;
        let mut beginning = 12_000.0_f64;
        while self.now < until {
            self.now += STEP;
            self.queue = (self.queue - self.rate * STEP.as_secs_f64()).max(self.others);
            let acknowledged = self.take_acknowledgements();
            beginning += acknowledged as f64;
            let window = match self.model.window() {
                _ if self.model.is_crowded() => self.crowded_window,
                Some(window) => window,
                None => beginning as u64,
            };
            if !self.model.is_crowded() {
                self.crowded_window = window;
            }
            self.fill(window);
        }
        (self.delivered - before) as f64 / time.as_secs_f64()
    }

    fn fill(&mut self, window: u64) {
        while (self.flight.len() as u64 + 1) * u64::from(MTU) <= window {
            self.sent += 1;
            self.model.on_sent(self.now, self.sent);
            let random = self.loses > 0 && self.sent.is_multiple_of(self.loses);
            let arrives = !random && self.queue + f64::from(MTU) <= self.room.max(2400.0);
            let due = arrives.then(|| {
                self.queue += f64::from(MTU);
                self.now + RTT + Duration::from_secs_f64(self.queue / self.rate)
            });
            self.flight.push_back((self.sent, self.now, due));
        }
    }

    fn take_acknowledgements(&mut self) -> u64 {
        let (now, mtu) = (self.now, u64::from(MTU));
        let mut newest = None;
        for (number, sent, due) in &self.flight {
            if due.is_some_and(|due| due <= now) {
                self.model.on_acknowledged(now, *sent, mtu);
                self.longest = self.longest.max(now - *sent);
                newest = Some((*number, *sent));
            }
        }
        let Some((largest, sent)) = newest else {
            self.lose(|_, sent| sent + RTT * 3 < now);
            return 0;
        };
        let before = self.flight.len();
        self.flight
            .retain(|(_, _, due)| due.is_none_or(|due| due > now));
        let acknowledged = (before - self.flight.len()) as u64 * mtu;
        self.delivered += acknowledged;
        let in_flight = self.flight.len() as u64 * mtu;
        self.model.on_batch(now, sent, largest, in_flight, false);
        self.lose(|number, _| number + 3 <= largest);
        acknowledged
    }

    /// Gives up those of which `lost` says so, if they were lost on the way.
    fn lose(&mut self, lost: impl Fn(u64, Instant) -> bool) {
        let before = self.flight.len();
        self.flight
            .retain(|(number, sent, due)| due.is_some() || !lost(*number, *sent));
        let bytes = (before - self.flight.len()) as u64 * u64::from(MTU);
        if bytes > 0 && self.model.on_lost(self.now, bytes, false) {
            self.congested += 1;
        }
    }

    /// How many times what fits into the path the window is.
    fn window(&self) -> f64 {
        self.model.window().map_or(0.0, |window| window as f64) / (self.rate * RTT.as_secs_f64())
    }
}

const S: Duration = Duration::from_secs(1);

#[test]
fn a_link_is_filled_whatever_one_packet_in_twenty_costs() {
    for loses in [0, 100, 20, 10] {
        let mut link = Link::new(FITS, loses);
        link.run(2 * S);
        let congested = link.congested;
        let rate = link.run(5 * S) / RATE;
        assert!(rate > 0.85, "one of {loses} lost: {rate}");
        assert_eq!(link.congested, congested, "one of {loses} lost");
    }
}

#[test]
fn a_sender_that_is_alone_makes_a_short_queue_in_a_deep_buffer() {
    let mut link = Link::new(8.0 * FITS, 0);
    link.run(3 * S);
    let rate = link.run(20 * S) / RATE;
    assert!(rate > 0.95, "{rate}");
    // CUBIC would fill the buffer: nine round trips.
    assert!(link.longest < RTT * 3, "{:?}", link.longest);
    assert!(!link.model.is_crowded());
}

#[test]
fn the_queue_of_somebody_else_makes_a_path_crowded_until_it_is_gone() {
    let mut link = Link::new(4.0 * FITS, 0);
    link.run(3 * S);
    link.others = FITS;
    link.run(S);
    assert!(link.model.is_crowded());
    link.others = 0.0;
    link.run(2 * S);
    assert!(!link.model.is_crowded());
}

#[test]
fn a_loss_is_congestion_only_where_a_queue_is_seen_on_a_crowded_path() {
    let mut link = Link::new(4.0 * FITS, 0);
    link.run(3 * S);
    let now = link.now;
    assert!(!link.model.on_lost(now, 1200, false));
    link.others = FITS;
    link.run(S);
    assert!(link.model.on_lost(now, 1200, false));
}

#[test]
fn a_mark_of_a_router_makes_a_path_crowded_at_once() {
    let mut link = Link::new(4.0 * FITS, 0);
    link.run(S);
    assert!(link.model.on_lost(link.now, 0, false));
    assert!(link.model.is_crowded());
}

#[test]
fn a_link_that_becomes_slow_is_believed() {
    let mut link = Link::new(FITS, 0);
    link.run(3 * S);
    link.rate = RATE / 10.0;
    link.run(15 * S);
    let rate = link.run(5 * S);
    assert!(rate > 0.8 * RATE / 10.0, "{rate}");
    assert!(!link.model.is_crowded());
    assert!((1.0..3.0).contains(&link.window()), "{}", link.window());
}

#[test]
fn a_link_that_becomes_fast_is_found_out() {
    let mut link = Link::new(FITS, 0);
    link.rate = RATE / 10.0;
    link.run(3 * S);
    link.rate = RATE;
    link.run(8 * S);
    let rate = link.run(2 * S);
    assert!(rate > 0.8 * RATE, "{rate}");
}

#[test]
fn a_policer_is_not_flooded() {
    // Two packets of buffer before a tenth of the rate, while the sender begins.
    let mut link = Link::new(2400.0, 0);
    link.rate = RATE / 10.0;
    link.run(5 * S);
    let (sent, delivered) = (link.sent, link.delivered);
    link.run(10 * S);
    let sent = (link.sent - sent) as f64 * f64::from(MTU);
    let share = (link.delivered - delivered) as f64 / sent;
    assert!(share > 0.6, "{share} of what was sent arrived");
}

#[test]
fn a_path_that_has_become_longer_is_measured_again() {
    let mut link = Link::new(FITS, 0);
    link.run(2 * S);
    // Half a round trip less than it was when it was measured.
    link.model.shortest = Some(RTT / 2);
    link.run(45 * S);
    assert!(link.model.shortest().is_some_and(|least| least >= RTT));
    assert!(!link.model.is_crowded());
}

#[test]
fn a_program_that_sends_little_does_not_lower_the_window() {
    let mut link = Link::new(FITS, 0);
    link.run(3 * S);
    let before = link.window();
    for _ in 0..200 {
        link.flight.clear();
        link.sent += 1;
        let sent = link.now;
        link.model.on_sent(sent, link.sent);
        link.now += RTT;
        link.model.on_acknowledged(link.now, sent, 1200);
        link.model.on_batch(link.now, sent, link.sent, 0, true);
    }
    assert!(link.window() >= before * 0.9, "{} {before}", link.window());
}

#[test]
fn a_program_that_sends_little_and_is_answered_late_does_not_end_the_beginning() {
    let mut link = Link::new(FITS, 0);
    for (number, took) in [RTT, 3 * RTT, 3 * RTT, 3 * RTT, 3 * RTT, 3 * RTT]
        .into_iter()
        .enumerate()
    {
        let (sent, number) = (link.now, number as u64 + 1);
        link.model.on_sent(sent, number);
        link.now += took;
        link.model.on_acknowledged(link.now, sent, 1200);
        link.model.on_batch(link.now, sent, number, 0, true);
    }
    assert!(link.model.begins());
}
