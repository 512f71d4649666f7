//! One end of a modelled connection: the handshake, by simultaneous open too, and messages in order.
//!
//! Left out: windows and congestion.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::segment::Segment;

/// When the first SYN is repeated, as by Linux (RFC 6298); doubled each time.
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// A message is repeated a round trip and this later; doubled each time.
const AGAIN: Duration = Duration::from_millis(200);

/// So many acknowledgements of nothing new tell that a message is lost (RFC 5681); fewer if no more can come
/// (RFC 5827).
const DUPLICATES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A SYN has left.
    Asked,
    /// The other end's SYN has come, and was answered.
    Answered,
    /// Both ends know.
    Stands,
}

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    state: State,
    begun: Duration,
    rtt: Duration,
    /// Messages that the other end has not acknowledged.
    unacknowledged: VecDeque<(u32, Vec<u8>)>,
    last_sent: u32,
    received: u32,
    /// What came before what is before it.
    early: BTreeMap<u32, Vec<u8>>,
    again_at: Option<Duration>,
    again_after: Duration,
    /// Acknowledgements of nothing new in a row.
    duplicates: usize,
}

/// What a segment brought about.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// In the order in which they were sent.
    pub(super) messages: Vec<Vec<u8>>,
    /// To be sent.
    pub(super) answers: Vec<(Segment, Vec<u8>)>,
    /// The other end has no such connection.
    pub(super) closed: bool,
}

impl Connection {
    /// Asks the other end for a connection; the SYN is to be sent.
    pub(super) fn dial(now: Duration) -> Self {
        Self {
            state: State::Asked,
            begun: now,
            rtt: Duration::ZERO,
            unacknowledged: VecDeque::new(),
            last_sent: 0,
            received: 0,
            early: BTreeMap::new(),
            again_at: Some(now + SYN_AGAIN),
            again_after: SYN_AGAIN,
            duplicates: 0,
        }
    }

    /// Takes a SYN; the answer is to be sent.
    pub(super) fn accept(now: Duration) -> Self {
        Self {
            state: State::Answered,
            ..Self::dial(now)
        }
    }

    /// What begins it.
    pub(super) fn first(&self) -> Segment {
        Segment {
            syn: self.state != State::Stands,
            ack: self.state != State::Asked,
            received: self.received,
            ..Segment::default()
        }
    }

    pub(super) fn stands(&self) -> bool {
        self.state == State::Stands
    }

    /// How long the other end took to answer.
    pub(super) fn rtt(&self) -> Duration {
        self.rtt
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.again_at
    }

    /// Takes what is to be repeated, if it is time.
    pub(super) fn again(&mut self, now: Duration) -> Vec<(Segment, Vec<u8>)> {
        if self.again_at.is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.again_after *= 2;
        self.again_at = Some(now + self.again_after);
        if self.state != State::Stands {
            return vec![(self.first(), Vec::new())];
        }
        let waiting = self.unacknowledged.iter();
        waiting
            .map(|(number, message)| (self.carrying(*number), message.clone()))
            .collect()
    }

    /// Sends a message, at once if the connection stands.
    pub(super) fn send(&mut self, now: Duration, message: Vec<u8>) -> Option<(Segment, Vec<u8>)> {
        self.last_sent += 1;
        let segment = self.carrying(self.last_sent);
        self.unacknowledged
            .push_back((self.last_sent, message.clone()));
        if self.state != State::Stands {
            return None;
        }
        if self.again_at.is_none() {
            self.wait_anew(now);
        }
        Some((segment, message))
    }

    pub(super) fn handle(&mut self, now: Duration, segment: Segment, message: &[u8]) -> Arrived {
        let mut arrived = Arrived::default();
        if segment.rst {
            arrived.closed = true;
            return arrived;
        }
        match self.state {
            State::Asked if segment.is_first() => {
                self.state = State::Answered;
                arrived.answers.push((self.first(), Vec::new()));
                return arrived;
            }
            State::Asked if !segment.syn => {
                // It is of a connection that this end knows nothing of any more.
                arrived.answers.push((Segment::RESET, Vec::new()));
                return arrived;
            }
            State::Answered if segment.is_first() => {
                arrived.answers.push((self.first(), Vec::new()));
                return arrived;
            }
            State::Asked | State::Answered => self.stand(now, &mut arrived),
            State::Stands => {}
        }
        self.take(segment, message, &mut arrived);
        let before = self.unacknowledged.len();
        self.unacknowledged
            .retain(|(number, _)| *number > segment.received);
        if self.unacknowledged.is_empty() {
            self.again_at = None;
        } else if self.unacknowledged.len() < before {
            self.duplicates = 0;
            self.wait_anew(now);
        } else if !segment.syn && segment.number == 0 {
            self.duplicates += 1;
            arrived.answers.extend(self.lost());
        }
        if segment.syn || segment.number > 0 {
            arrived.answers.push((self.carrying(0), Vec::new()));
        }
        arrived
    }

    /// The first message that is not acknowledged, when it is known to be lost.
    fn lost(&self) -> Option<(Segment, Vec<u8>)> {
        let behind = self.unacknowledged.len() - 1;
        let told = behind > 0 && self.duplicates == DUPLICATES.min(behind);
        let (number, message) = self.unacknowledged.front().filter(|_| told)?;
        Some((self.carrying(*number), message.clone()))
    }

    fn stand(&mut self, now: Duration, arrived: &mut Arrived) {
        self.state = State::Stands;
        self.rtt = (now - self.begun).min(SYN_AGAIN);
        self.again_at = None;
        for (number, message) in &self.unacknowledged {
            arrived
                .answers
                .push((self.carrying(*number), message.clone()));
        }
        if !self.unacknowledged.is_empty() {
            self.wait_anew(now);
        }
    }

    fn take(&mut self, segment: Segment, message: &[u8], arrived: &mut Arrived) {
        if segment.number > self.received {
            self.early.insert(segment.number, message.to_vec());
        }
        while let Some(message) = self.early.remove(&(self.received + 1)) {
            self.received += 1;
            arrived.messages.push(message);
        }
    }

    fn wait_anew(&mut self, now: Duration) {
        self.again_after = AGAIN + self.rtt;
        self.again_at = Some(now + self.again_after);
    }

    fn carrying(&self, number: u32) -> Segment {
        Segment {
            ack: true,
            number,
            received: self.received,
            ..Segment::default()
        }
    }
}
