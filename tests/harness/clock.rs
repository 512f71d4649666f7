//! Waiting for conditions.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long something that must happen may take: the end of patience, on a machine that has other things to do too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds what it looks for.
///
/// # Panics
/// When patience ends first; `what` says in the message what was awaited.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "still no {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
