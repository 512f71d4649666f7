//! How often the targets of forwards are looked at: by how the session is used.

use std::time::{Duration, Instant};

use p2pdbg_net::{deadline::sleep_until, listening};
use tokio::sync::watch;

/// How often the table of listening sockets is looked at for a forward that refuses while its target is absent.
const LOOK: Duration = Duration::from_millis(250);

/// The same while the session has not been used for a while.
const CALM_LOOK: Duration = Duration::from_secs(1);

/// For how long it counts as used after its last stream, or after a target has begun or ceased to listen: a program
/// that is started again soon is not waited for.
const USED: Duration = Duration::from_secs(30);

/// How the session is used, by which targets are looked at more or less often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    has_tunnel: bool,
    has_streams: bool,
    /// How many times a target has begun or ceased to listen.
    turns: u32,
}

/// Notes whether somebody could be told of a target, and whether there are streams.
pub(super) fn note_usage(of: &watch::Sender<Usage>, has_tunnel: bool, has_streams: bool) {
    of.send_if_modified(|usage| {
        let now = Usage {
            has_tunnel,
            has_streams,
            ..*usage
        };
        std::mem::replace(usage, now) != now
    });
}

/// Notes that a target has begun or ceased to listen.
pub(super) fn note_turn(of: &watch::Sender<Usage>) {
    of.send_modify(|usage| usage.turns = usage.turns.wrapping_add(1));
}

/// When a target is looked at: the first time at once, then as often as the session's use makes it worth, and not at
/// all while there is no tunnel by which the other end could be told.
pub(super) struct LookTimes {
    usage: watch::Receiver<Usage>,
    used_until: Instant,
    /// When the last look began.
    last: Option<Instant>,
    /// How long it took.
    took: Duration,
}

impl LookTimes {
    pub(super) fn new(usage: watch::Receiver<Usage>, now: Instant) -> Self {
        Self {
            usage,
            used_until: now + USED,
            last: None,
            took: Duration::ZERO,
        }
    }

    /// Waits until it is time to look.
    pub(super) async fn next(&mut self) {
        self.took = self.last.map_or(Duration::ZERO, |last| last.elapsed());
        loop {
            let due = self.due(Instant::now());
            tokio::select! {
                () = sleep_until(due) => break,
                changed = self.usage.changed() => match changed {
                    Ok(()) => self.used_until = Instant::now() + USED,
                    // The session is over, and this task with it.
                    Err(_) => std::future::pending().await,
                }
            }
        }
        self.last = Some(Instant::now());
    }

    /// When the next look is due.
    fn due(&self, now: Instant) -> Option<Instant> {
        let Some(last) = self.last else {
            return Some(now);
        };
        let usage = *self.usage.borrow();
        let pause = match usage.has_streams || now < self.used_until {
            true => LOOK,
            false => CALM_LOOK,
        };
        let pause = listening::rest_after(pause, self.took);
        usage.has_tunnel.then_some(last + pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_looked_at_closely_while_streams_run_and_a_while_longer_and_never_without_a_tunnel()
    {
        let (tell, usage) = watch::channel(Usage::default());
        let now = Instant::now();
        let mut times = LookTimes::new(usage, now);
        assert_eq!(times.due(now), Some(now), "the first is due at once");
        times.last = Some(now);
        assert_eq!(times.due(now), None, "nobody can be told");
        tell.send_modify(|usage| usage.has_tunnel = true);
        assert_eq!(times.due(now), Some(now + LOOK));
        let later = now + USED;
        assert_eq!(times.due(later), Some(now + CALM_LOOK));
        tell.send_modify(|usage| usage.has_streams = true);
        assert_eq!(times.due(later), Some(now + LOOK));
        times.took = Duration::from_millis(100);
        assert_eq!(times.due(later), Some(now + Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn target_waits_for_a_tunnel_and_is_looked_at_closely_from_then_on() {
        let (tell, usage) = watch::channel(Usage::default());
        let before = Instant::now().checked_sub(2 * LOOK).unwrap();
        let mut times = LookTimes {
            usage,
            used_until: before,
            last: Some(before),
            took: Duration::ZERO,
        };
        tokio::select! {
            biased;
            () = times.next() => panic!("nobody can be told"),
            () = std::future::ready(()) => {}
        }
        tell.send_modify(|usage| usage.has_tunnel = true);
        times.next().await;
        assert!(times.used_until > Instant::now());
    }
}
