//! Notices that this host has slept, or that this process stood still.
//!
//! A laptop that wakes is often on another network, and in any case its NAT has forgotten it and its peer has given it
//! up. No interface needs to change for that. What tells is a clock: while the host sleeps, the time since it was
//! started goes on (`CLOCK_BOOTTIME`), and the time for which it has been running does not (`CLOCK_MONOTONIC`). Where
//! the system has no such pair, the time of day stands in for the first. Of a process that was stopped (SIGSTOP, a
//! frozen container) another thing tells: it looks much later than it meant to.
//!
//! On Linux the timer between two looks runs by the clock that goes on, so it is due the moment the host wakes.

use std::{io, time::Duration};

use super::{Changes, Reason};

/// Between two looks. Each is a wake-up of this process, also when nothing happens for hours.
const LOOK: Duration = Duration::from_secs(10);

/// A shorter sleep is no reason to look anew: NATs remember for longer, and so do peers.
const NAP: Duration = Duration::from_secs(5);

/// What the clocks show at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    /// For how long this host has been running, without the time that it slept.
    awake: Duration,
    /// A clock that went on meanwhile, from some moment on.
    passed: Duration,
}

/// Tells by two successive readings whether the host slept between them.
#[derive(Debug)]
struct Sleep {
    before: Reading,
}

impl Sleep {
    fn new(now: Reading) -> Self {
        Self { before: now }
    }

    /// For how long this host slept or this process stood still since the look before, which was `LOOK` ago by
    /// intention; `None` if it did neither for long.
    fn look(&mut self, now: Reading) -> Option<Duration> {
        let before = std::mem::replace(&mut self.before, now);
        let awake = now.awake.saturating_sub(before.awake);
        let passed = now.passed.saturating_sub(before.passed);
        let stood_still = awake.saturating_sub(LOOK);
        let slept = passed.saturating_sub(awake) + stood_still;
        (slept >= NAP).then_some(slept)
    }
}

/// Announces for ever when this host has slept.
pub(super) async fn watch(changes: Changes) {
    let mut timer = match Timer::new() {
        Ok(timer) => timer,
        Err(error) => {
            tracing::warn!(%error, "cannot see whether this host sleeps");
            return;
        }
    };
    let mut sleep = Sleep::new(timer.read());
    while timer.wait().await.is_ok() {
        if let Some(slept) = sleep.look(timer.read()) {
            changes.announce(Reason::Woke { slept });
        }
    }
}

/// A timer by `CLOCK_BOOTTIME`, so that it is due at once when the host wakes.
#[cfg(target_os = "linux")]
struct Timer(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>);

#[cfg(target_os = "linux")]
impl Timer {
    fn new() -> io::Result<Self> {
        use rustix::time::{
            Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
            timerfd_settime,
        };
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags)?;
        let every = LOOK.try_into().map_err(io::Error::other)?;
        let times = Itimerspec {
            it_interval: every,
            it_value: every,
        };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that may close their descriptor early; this one does not"
        )]
        let timer = tokio::io::unix::AsyncFd::new(timer)?;
        Ok(Self(timer))
    }

    /// Waits until it is due; several times that have been missed are one.
    async fn wait(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; 8];
            match ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?)) {
                Ok(read) => return read.map(|_| ()),
                Err(_would_block) => {}
            }
        }
    }

    fn read(&self) -> Reading {
        use rustix::time::{ClockId, Timespec, clock_gettime};
        let since = |time: Timespec| Duration::try_from(time).unwrap_or_default();
        Reading {
            awake: since(clock_gettime(ClockId::Monotonic)),
            passed: since(clock_gettime(ClockId::Boottime)),
        }
    }
}

/// The time of day, and the clock of tokio's timers.
#[cfg(not(target_os = "linux"))]
struct Timer {
    began: std::time::Instant,
}

#[cfg(not(target_os = "linux"))]
impl Timer {
    fn new() -> io::Result<Self> {
        Ok(Self {
            began: std::time::Instant::now(),
        })
    }

    async fn wait(&mut self) -> io::Result<()> {
        tokio::time::sleep(LOOK).await;
        Ok(())
    }

    fn read(&self) -> Reading {
        let day = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Reading {
            awake: self.began.elapsed(),
            passed: day.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(awake: u64, passed: u64) -> Reading {
        Reading {
            awake: Duration::from_secs(awake),
            passed: Duration::from_secs(passed),
        }
    }

    #[test]
    fn a_host_that_is_awake_does_not_sleep() {
        let mut sleep = Sleep::new(reading(100, 5000));
        for look in 1..100 {
            let now = reading(100 + 10 * look, 5000 + 10 * look);
            assert_eq!(sleep.look(now), None);
        }
    }

    #[test]
    fn what_passes_while_a_host_does_not_run_is_sleep() {
        let mut sleep = Sleep::new(reading(100, 5000));
        // Due at once on waking: the timer runs by the clock that goes on.
        let slept = Duration::from_secs(3600);
        assert_eq!(sleep.look(reading(104, 8604)), Some(slept));
        assert_eq!(sleep.look(reading(114, 8614)), None);
    }

    #[test]
    fn a_process_that_was_stopped_looks_late() {
        let mut sleep = Sleep::new(reading(100, 5000));
        let stopped = Duration::from_secs(60);
        assert_eq!(sleep.look(reading(170, 5070)), Some(stopped));
    }

    #[test]
    fn a_busy_machine_and_a_clock_that_is_set_a_little_are_no_sleep() {
        let mut sleep = Sleep::new(reading(100, 5000));
        assert_eq!(sleep.look(reading(113, 5014)), None);
        assert_eq!(sleep.look(reading(123, 4000)), None);
        assert_eq!(sleep.look(reading(133, 4010)), None);
    }

    #[test]
    fn the_clocks_of_this_host_agree_while_it_is_awake() {
        let timer = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async { Timer::new() });
        let timer = timer.unwrap();
        let mut sleep = Sleep::new(timer.read());
        assert_eq!(sleep.look(timer.read()), None);
    }
}
