//! Draining: no new codes and sessions, own ones or other nodes', while those that there are go on until they end, or
//! until a deadline.
//!
//! The operator begins it and may take it back; who runs the server awaits its end ([`Drain::ended`]) and stops then.
//! What is refused meanwhile is the affair of the registry, and of the relay for sessions of other nodes; the hub tells
//! both.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep};

use crate::counters::Tallies;

/// How long it lasts at the most, unless told otherwise.
pub(crate) const DRAIN_FOR: Duration = Duration::from_secs(600);

/// No deadline is further away, whatever is asked for.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// How often is looked whether a session is left.
const LOOK: Duration = Duration::from_millis(500);

/// Until when a server drains; shared by whoever asks.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    until: watch::Sender<Option<Instant>>,
    tallies: Arc<Tallies>,
    /// Whether it waits for all peers to have gone, since they are sent to other nodes.
    sends_on: bool,
}

impl Drain {
    /// A rendezvous that does not drain.
    pub(crate) fn new(tallies: Arc<Tallies>) -> Self {
        Self {
            until: watch::Sender::new(None),
            tallies,
            sends_on: false,
        }
    }

    /// At a node of several, which sends its peers to the others.
    pub(crate) fn sending_on(mut self, sends_on: bool) -> Self {
        self.sends_on = sends_on;
        self
    }

    /// Begins, or goes on as before: only a time that is given changes a deadline that there is. Says how long it may
    /// last.
    pub(crate) fn begin(&self, now: Instant, most: Option<Duration>) -> Duration {
        let mut left = Duration::ZERO;
        self.until.send_modify(|until| {
            let deadline = match (most, *until) {
                (None, Some(deadline)) => deadline,
                (most, _) => now + most.unwrap_or(DRAIN_FOR).min(LONGEST),
            };
            *until = Some(deadline);
            left = deadline.saturating_duration_since(now);
        });
        left
    }

    /// Takes it back; whether it had begun.
    pub(crate) fn take_back(&self) -> bool {
        self.until.send_replace(None).is_some()
    }

    /// How long it may last yet; `None` if it has not begun.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let until = *self.until.borrow();
        until.map(|until| until.saturating_duration_since(now))
    }

    /// Waits until it has begun and either no session is left, its own or another node's, nor a peer that is sent on,
    /// or the deadline has come.
    pub(crate) async fn ended(&self) {
        loop {
            match self.left(Instant::now()) {
                // Two looks, so that what was asked before it began has been seen to.
                Some(left) if !left.is_zero() => {
                    let empty = self.is_empty();
                    sleep(LOOK.min(left)).await;
                    if empty && self.is_empty() && self.left(Instant::now()).is_some() {
                        return;
                    }
                }
                Some(_) => return,
                None => {
                    // This holds a sender itself, so it does not fail.
                    let _ = self.until.subscribe().wait_for(Option::is_some).await;
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        let tallies = self.tallies.snapshot();
        let no_session = tallies.sessions == 0 && tallies.guests == 0;
        no_session && (!self.sends_on || tallies.peers == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_awaits_sessions_of_its_own_and_of_other_nodes_and_peers_where_it_sends_them_on() {
        let tallies = Arc::<Tallies>::default();
        let drain = Drain::new(tallies.clone());
        let sending = drain.clone().sending_on(true);
        assert!(drain.is_empty() && sending.is_empty());
        for gauge in [&tallies.sessions, &tallies.guests] {
            gauge.set(1);
            assert!(!drain.is_empty());
            gauge.set(0);
        }
        tallies.peers.set(1);
        assert!(drain.is_empty() && !sending.is_empty());
    }

    #[test]
    fn a_drain_that_is_repeated_keeps_its_deadline_unless_another_is_given() {
        let drain = Drain::new(Arc::default());
        let now = Instant::now();
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        assert_eq!(drain.left(now), None);
        assert!(!drain.take_back());
        assert_eq!(drain.begin(now, Some(minute)), minute);
        let later = now + minute / 2;
        assert_eq!(drain.begin(later, None), minute / 2);
        assert_eq!(drain.begin(later, Some(hour)), hour);
        assert!(drain.take_back());
        assert_eq!(drain.left(later), None);
        assert_eq!(drain.begin(later, None), DRAIN_FOR);
        // Whatever the control socket is told.
        assert_eq!(drain.begin(later, Some(Duration::MAX)), LONGEST);
    }
}
