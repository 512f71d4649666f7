//! How long the NAT keeps an idle mapping (`--deep`).
//!
//! RFC 5780 section 4.6 searches by bisection, one wait after the other. Here many sockets are mapped at once, each of
//! which is left alone for another time, so that the whole takes no longer than the NAT remembers. When its time has
//! come, a second socket has the server answer to the first one's mapping (RESPONSE-PORT): the answer arrives if the
//! mapping is still there. Asking from the first socket itself would say nothing, since a NAT that keeps ports would
//! map it anew, to the same port.
//!
//! A host that sleeps leaves its mappings alone for longer than it meant to. What is forgotten then says nothing of the
//! time that was meant.
//!
//! A mapping is used for some seconds first, as a session's is: some NATs keep those longer that saw traffic both ways.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use p2pdbg_net::nat64::Nat64;
use p2pdbg_stun::Message;
use tokio::task::JoinSet;

use super::{
    findings::Lifetime,
    stun_client::{Question, StunClient, encode},
};

/// The longest that is waited for: what is kept longer needs no keepalive that would matter.
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// How a mapping is warmed up: so many questions, so far apart.
const WARM_UP: (usize, Duration) = (3, Duration::from_millis(1_500));

/// Until an answer counts as lost; it is tried three times.
const PATIENCE: Duration = Duration::from_millis(600);

/// How much longer than it was meant to a trial may take, asking included, and still tell that a mapping is gone.
const LATE: Duration = Duration::from_secs(5);

/// How long the sockets are left alone: closer where most NATs forget.
fn idle_times() -> Vec<u64> {
    let near = (10..=60).step_by(5);
    let middle = (70..=130).step_by(10);
    let far = (150..=LONGEST.as_secs()).step_by(30);
    near.chain(middle).chain(far).collect()
}

/// Measures it; `progress` is told for how long mappings have been seen alive. None if the server cannot do it.
pub(super) async fn measure(
    server: SocketAddr,
    nat64: &Nat64,
    progress: impl Fn(u64),
) -> Option<Lifetime> {
    measure_at(server, nat64, &idle_times(), progress).await
}

async fn measure_at(
    server: SocketAddr,
    nat64: &Nat64,
    times: &[u64],
    progress: impl Fn(u64),
) -> Option<Lifetime> {
    if !answers_elsewhere(server, nat64).await {
        return None;
    }
    let mut trials = JoinSet::new();
    for &seconds in times {
        let nat64 = nat64.clone();
        trials.spawn(async move { (seconds, outlives(server, &nat64, seconds).await) });
    }
    let mut alive = 0;
    let mut gone: Option<u64> = None;
    while let Some(Ok((seconds, outlived))) = trials.join_next().await {
        match outlived {
            Some(true) => {
                alive = alive.max(seconds);
                progress(alive);
                // One that was lost on the way, not by the NAT.
                gone = gone.filter(|gone| *gone > alive);
            }
            Some(false) if gone.is_some() => break,
            Some(false) => gone = Some(seconds),
            None => {}
        }
    }
    Some(Lifetime {
        at_least_s: alive,
        less_than_s: gone,
    })
}

/// Whether the server answers to another port at all, and the NAT lets the answer in while it is fresh.
async fn answers_elsewhere(server: SocketAddr, nat64: &Nat64) -> bool {
    outlives(server, nat64, 0).await == Some(true)
}

/// Whether a mapping outlives so many idle seconds; none if it could not be tried.
async fn outlives(server: SocketAddr, nat64: &Nat64, seconds: u64) -> Option<bool> {
    let sleeper = StunClient::open_through(nat64, server).ok()?;
    let mut mapped = sleeper.ask(server, Question::default()).await?.mapped?;
    if seconds > 0 {
        for _ in 1..WARM_UP.0 {
            tokio::time::sleep(WARM_UP.1).await;
            mapped = sleeper.ask(server, Question::default()).await?.mapped?;
        }
    }
    let idle = Duration::from_secs(seconds);
    let began = Began::now();
    tokio::time::sleep(idle).await;
    let waker = StunClient::open_through(nat64, server).ok()?;
    // A NAT with several addresses may give the second socket another, where the answer would go in vain.
    let other = waker.ask(server, Question::default()).await?.mapped?;
    if other.ip() != mapped.ip() {
        return None;
    }
    let question = Question {
        to_port: Some(mapped.port()),
        ..Question::default()
    };
    for _ in 0..3 {
        let (id, bytes) = encode(server, question)?;
        waker.send(server, &bytes).await;
        let heard = async {
            loop {
                if let Some((bytes, _)) = sleeper.receive().await
                    && Message::decode(&bytes).is_ok_and(|answer| answer.transaction() == id)
                {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, heard).await.is_ok() {
            return Some(true);
        }
    }
    gone(idle, began.passed())
}

/// When a mapping was used last. While a host sleeps one of its clocks may stand still, and the other one may be set.
struct Began {
    awake: Instant,
    day: SystemTime,
}

impl Began {
    fn now() -> Self {
        Self {
            awake: Instant::now(),
            day: SystemTime::now(),
        }
    }

    /// How long ago that was, by the clock that says more.
    fn passed(&self) -> Duration {
        let by_day = self.day.elapsed().unwrap_or_default();
        self.awake.elapsed().max(by_day)
    }
}

/// What it tells that a mapping is gone which was to be left alone for `idle`, after a time that `passed`.
fn gone(idle: Duration, passed: Duration) -> Option<bool> {
    (passed <= idle + LATE).then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapping_that_is_gone_after_this_host_slept_is_no_trial() {
        let idle = Duration::from_secs(10);
        assert_eq!(gone(idle, idle + 3 * PATIENCE), Some(false));
        assert_eq!(gone(idle, idle + 60 * idle), None);
    }

    #[test]
    fn clock_that_went_on_while_the_other_one_stood_still_tells_how_long_it_was() {
        let hour = Duration::from_secs(3600);
        let slept = Began {
            awake: Instant::now(),
            day: SystemTime::now() - hour,
        };
        assert!(slept.passed() >= hour);
        let set_back = Began {
            day: SystemTime::now() + hour,
            ..Began::now()
        };
        assert!(set_back.passed() < hour);
    }

    #[test]
    fn the_times_are_close_where_nats_forget_and_end_in_minutes() {
        let times = idle_times();
        assert!(times.is_sorted() && times.len() <= 40, "{}", times.len());
        assert_eq!((times[0], times.last()), (10, Some(&300)));
    }
}
