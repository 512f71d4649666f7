//! When the rendezvous is dialled again, and how long an attempt may take.
//!
//! Two kinds of peers come back. One that *needs* the rendezvous now (a person waits, or a session has no path) dials
//! at once and often. One that merely waits for others to come takes its time: after an outage there are thousands of
//! them, and a handshake that is given up was paid for by the rendezvous already. So its waits and its patience grow.

use std::time::Duration;

use p2pdbg_base::Backoff;

/// The shortest wait after a lost connection.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The longest wait of a peer that needs the rendezvous now.
const LONGEST_WAIT_IN_NEED: Duration = Duration::from_secs(1);

/// The longest wait of one that is idle.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The shortest wait of an idle peer whose attempt was refused before the handshake: the rendezvous has more to do than
/// it can.
const CROWDED_WAIT: Duration = Duration::from_secs(2);

/// How long an attempt may take when there has been a connection before. What is lost is repeated later and later, so
/// in an outage a new attempt finds the rendezvous sooner than an old one.
const PATIENCE: Duration = Duration::from_secs(3);

/// Each third attempt in need may take twice as long: a WebSocket takes four round trips, which on a slow network are
/// more than the patience of one who has met an outage.
const LONG_TURN: u32 = 3;

/// How often the patience of an idle peer doubles, which is twice as long from the start: 6, 12 s.
const DOUBLINGS: u32 = 1;

/// TCP begins this much later than QUIC.
const TCP_LATER: Duration = Duration::from_millis(300);

/// A connection that has lasted for so long was a good one: waits and patience begin anew.
const STEADY: Duration = Duration::from_secs(2);

/// The policy of one link. It keeps no time.
#[derive(Debug)]
pub(super) struct Reconnection {
    idle: Backoff,
    crowded: Backoff,
    in_need: Backoff,
    failures: u32,
    /// Whether the last attempt was refused for the crowd.
    refused: bool,
    asked: Option<Duration>,
}

impl Reconnection {
    pub(super) fn new() -> Self {
        Self {
            idle: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            crowded: Backoff::new(CROWDED_WAIT, LONGEST_WAIT),
            in_need: Backoff::new(FIRST_WAIT, LONGEST_WAIT_IN_NEED),
            failures: 0,
            refused: false,
            asked: None,
        }
    }

    /// How long the next attempt may take.
    pub(super) fn patience(&self, in_need: bool) -> Duration {
        match in_need {
            true if self.failures % LONG_TURN == LONG_TURN - 1 => 2 * PATIENCE,
            true => PATIENCE,
            false => 2 * PATIENCE * 2_u32.pow(self.failures.min(DOUBLINGS)),
        }
    }

    /// How much later than QUIC the attempt may use TCP. Where QUIC got through the last time (`had_quic`), an idle
    /// peer that hears nothing has met a crowd rather than a network that lets no UDP through, and a second handshake
    /// would only make the crowd larger.
    pub(super) fn tcp_later(&self, in_need: bool, had_quic: bool) -> Duration {
        match had_quic && !in_need {
            true => self.patience(in_need) / 2,
            false => TCP_LATER,
        }
    }

    /// An attempt came to nothing, perhaps since the rendezvous was too `busy` for it.
    pub(super) fn on_failed(&mut self, busy: bool) {
        self.failures = self.failures.saturating_add(1);
        self.refused = busy;
    }

    /// A connection has ended. If the rendezvous had announced that, it had said `asked` for how long to stay away.
    pub(super) fn on_lost(&mut self, lasted: Duration, asked: Option<Duration>) {
        if lasted >= STEADY {
            self.begin_anew();
        }
        self.asked = asked;
    }

    /// This host's network has changed: what failed before says nothing about now.
    pub(super) fn begin_anew(&mut self) {
        self.idle.reset();
        self.crowded.reset();
        self.in_need.reset();
        self.failures = 0;
        self.refused = false;
    }

    /// How long to wait before the next attempt.
    pub(super) fn next_wait(&mut self, in_need: bool) -> Duration {
        let asked = self.asked.take();
        match (in_need, asked) {
            (true, _) => self.in_need.next_wait(),
            (false, Some(asked)) => asked,
            (false, None) if self.refused => self.crowded.next_wait(),
            (false, None) => self.idle.next_wait(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnection_of_an_idle_peer_waits_longer_and_more_patiently_each_time() {
        let mut policy = Reconnection::new();
        let mut patience = Vec::new();
        for _ in 0..4 {
            patience.push(policy.patience(false).as_secs());
            policy.on_failed(false);
        }
        assert_eq!(patience, [6, 12, 12, 12]);
        // They are drawn, so one of many is looked for.
        let longest = (0..1_000).map(|_| policy.next_wait(false)).max();
        assert!(longest > Some(LONGEST_WAIT / 2));
    }

    #[test]
    fn reconnection_in_need_is_soon_however_often_it_failed() {
        let mut policy = Reconnection::new();
        let mut patience = Vec::new();
        for _ in 0..7 {
            patience.push(policy.patience(true).as_secs());
            policy.on_failed(true);
            assert!(policy.next_wait(true) <= LONGEST_WAIT_IN_NEED);
        }
        assert_eq!(patience, [3, 3, 6, 3, 3, 6, 3]);
    }

    #[test]
    fn reconnection_after_a_stop_comes_when_it_was_asked_to_and_once() {
        let mut policy = Reconnection::new();
        let asked = Duration::from_secs(9);
        policy.on_lost(Duration::from_secs(60), Some(asked));
        assert_eq!(policy.next_wait(false), asked);
        assert!(policy.next_wait(false) <= FIRST_WAIT * 3);
    }

    #[test]
    fn reconnection_is_hasty_again_only_after_a_connection_that_lasted() {
        let mut policy = Reconnection::new();
        for _ in 0..3 {
            policy.on_failed(false);
        }
        policy.on_lost(Duration::from_millis(100), None);
        assert_eq!(policy.patience(false).as_secs(), 12);
        policy.on_lost(STEADY, None);
        assert_eq!(policy.patience(false).as_secs(), 6);
    }

    #[test]
    fn reconnection_of_an_idle_peer_stays_away_from_a_crowd_and_forgets_it_once_it_was_let_in() {
        let mut policy = Reconnection::new();
        policy.on_failed(true);
        assert!(policy.next_wait(false) >= CROWDED_WAIT);
        policy.on_lost(STEADY, None);
        assert!(policy.next_wait(false) <= FIRST_WAIT * 3);
    }

    #[test]
    fn reconnection_tries_tcp_soon_but_when_an_idle_peer_was_connected_over_quic() {
        let policy = Reconnection::new();
        assert_eq!(policy.tcp_later(false, true).as_secs(), 3);
        for (in_need, had_quic) in [(true, true), (true, false), (false, false)] {
            assert_eq!(policy.tcp_later(in_need, had_quic), TCP_LATER);
        }
    }
}
