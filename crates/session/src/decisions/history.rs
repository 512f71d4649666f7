//! What was measured of the paths of late, and which there were, for a person who asks why the session is slow.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{io::Counters, path_status::milliseconds};
use p2pdbg_events::{PathReport, snapshot::Sample};

/// How many looks are kept.
const SAMPLES: usize = 120;

/// How many paths are kept.
const PATHS: usize = 16;

/// The shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(400);

/// The measurements and paths of a session.
#[derive(Debug, Default)]
pub(crate) struct History {
    looks: VecDeque<Look>,
    paths: VecDeque<PathReport>,
    /// The tunnel that was looked at last, and its counts of packets sent and lost then.
    counted: Option<(u64, u64, u64)>,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    rtt: Option<Duration>,
    sent: u64,
    lost: u64,
}

impl History {
    /// Notes how the tunnel in use is doing; none while the peer is out of reach.
    pub(crate) fn look(&mut self, tunnel: Option<&Counters>, now: Instant) {
        let last = self.looks.back();
        if last.is_some_and(|last| now.saturating_duration_since(last.at) < PAUSE) {
            return;
        }
        let counts = tunnel.map(|at| (at.epoch, at.packets_sent, at.packets_lost));
        let (sent, lost) = self.count(counts);
        if self.looks.len() == SAMPLES {
            self.looks.pop_front();
        }
        self.looks.push_back(Look {
            at: now,
            rtt: tunnel.map(|counters| counters.rtt),
            sent,
            lost,
        });
    }

    /// What has been sent and lost since the look before, if that was at the same tunnel.
    fn count(&mut self, counts: Option<(u64, u64, u64)>) -> (u64, u64) {
        let before = std::mem::replace(&mut self.counted, counts);
        match (before, counts) {
            (Some((was, sent_then, lost_then)), Some((is, sent, lost))) if was == is => (
                sent.saturating_sub(sent_then),
                lost.saturating_sub(lost_then),
            ),
            (_, Some((_, sent, lost))) => (sent, lost),
            (_, None) => (0, 0),
        }
    }

    /// Notes a path that is used from now on.
    pub(super) fn on_path(&mut self, path: PathReport) {
        if self.paths.len() == PATHS {
            self.paths.pop_front();
        }
        self.paths.push_back(path);
    }

    /// The paths that were used, the latest last.
    pub(crate) fn paths(&self) -> Vec<PathReport> {
        self.paths.iter().cloned().collect()
    }

    /// The measurements, the latest last.
    pub(crate) fn samples(&self, now: Instant) -> Vec<Sample> {
        let sample = |look: &Look| Sample {
            ago_ms: whole_milliseconds(now.saturating_duration_since(look.at)),
            rtt_ms: look.rtt.map(milliseconds),
            sent: look.sent,
            lost: look.lost,
        };
        self.looks.iter().map(sample).collect()
    }
}

/// A time in whole milliseconds, as reports and snapshots have it.
pub(crate) fn whole_milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_counted_from_look_to_look_and_anew_for_each_tunnel() {
        let mut history = History::default();
        assert_eq!(history.count(Some((1, 10, 1))), (10, 1));
        assert_eq!(history.count(Some((1, 25, 1))), (15, 0));
        assert_eq!(history.count(Some((2, 4, 2))), (4, 2));
        assert_eq!(history.count(None), (0, 0));
        assert_eq!(history.count(Some((2, 9, 2))), (9, 2));
    }

    #[test]
    fn no_more_is_kept_than_can_be_shown_and_looks_keep_their_distance() {
        let mut history = History::default();
        let start = Instant::now();
        for tick in 0..1000 {
            history.look(None, start + Duration::from_millis(100 * tick));
        }
        let samples = history.samples(start + Duration::from_secs(100));
        assert_eq!(samples.len(), SAMPLES);
        let apart = |pair: &[Sample]| pair[0].ago_ms - pair[1].ago_ms;
        assert!(samples.windows(2).all(|pair| apart(pair) == 400));
    }
}
