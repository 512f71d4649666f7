//! Tunnels and messages that a session has rejected, and when a person should hear of it.
//!
//! Whoever knows where a session's socket is can knock there, and the peer itself may break the rules. None of it
//! reaches a stream. It is counted, and said when it happens first and each time it has become ten times as much, so
//! that nobody can fill a screen or a log. What an unsteady network does to honest handshakes looks like half of an
//! attack, so those are only spoken of when there are many.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use p2pdbg_events::{Warning, WarningCode};
use tokio::sync::Notify;

/// So many handshakes may come to nothing before it is worth a word.
const UNFINISHED: u64 = 100;

/// Why a handshake came to nothing: the network, or somebody who is not the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// A tunnel with another certificate than the peer's, or without a proof of the session's key.
    Impostor,
    /// A tunnel of an epoch that had been accepted before or was long past.
    OldEpoch,
    /// A message that the rules of tunnels or streams forbid.
    Violation,
    /// A handshake that was begun and not finished, or that was one of too many.
    Unfinished,
}

/// The counts. Clones are the same ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Rejections(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    impostors: AtomicU64,
    old_epochs: AtomicU64,
    violations: AtomicU64,
    unfinished: AtomicU64,
    /// What the total must come to before the next word.
    next: AtomicU64,
    /// The same for handshakes that were not finished.
    next_unfinished: AtomicU64,
    noted: Notify,
}

impl Rejections {
    pub(super) fn note(&self, refusal: Rejection) {
        let count = match refusal {
            Rejection::Impostor => &self.0.impostors,
            Rejection::OldEpoch => &self.0.old_epochs,
            Rejection::Violation => &self.0.violations,
            Rejection::Unfinished => &self.0.unfinished,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.0.noted.notify_one();
    }

    /// Waits until one has been counted; for the session's task alone.
    pub(super) async fn noted(&self) {
        self.0.noted.notified().await;
    }

    /// What a person should hear now, if there is news.
    pub(super) fn poll_warning(&self) -> Option<Warning> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &*self.0;
        let (impostors, old) = (read(&counts.impostors), read(&counts.old_epochs));
        let (violations, unfinished) = (read(&counts.violations), read(&counts.unfinished));
        let many = is_due(&counts.next, 1, impostors + old + violations);
        let floods = is_due(&counts.next_unfinished, UNFINISHED, unfinished);
        if !many && !floods {
            return None;
        }
        let kinds = [
            (impostors, "without this session's key"),
            (old, "of an earlier tunnel"),
            (violations, "against the protocol"),
            (unfinished, "never finished"),
        ];
        let kinds = kinds.into_iter().filter(|(count, _)| *count > 0);
        let list: Vec<String> = kinds
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let message = format!("refused so far: {}", list.join(", "));
        let warning = Warning::new(WarningCode::Refused, message);
        Some(match violations {
            0 => warning.hint("no connection is affected; somebody knocks at this session's port"),
            _ => warning
                .hint("the peer breaks the protocol: use the same version of p2pdbg at both ends"),
        })
    }
}

/// Whether a count has come to what it must, and if so, what it must come to next.
fn is_due(next: &AtomicU64, first: u64, count: u64) -> bool {
    let due = next.load(Ordering::Relaxed).max(first);
    if count < due {
        return false;
    }
    let mut then = due;
    while then <= count {
        then = then.saturating_mul(10);
    }
    next.store(then, Ordering::Relaxed);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_each_tenfold() {
        let rejections = Rejections::default();
        let mut told = Vec::new();
        for count in 1..=2_000 {
            rejections.note(Rejection::Impostor);
            if rejections.poll_warning().is_some() {
                told.push(count);
            }
        }
        assert_eq!(told, [1, 10, 100, 1_000]);
    }

    #[test]
    fn many_between_two_looks_are_one_word() {
        let rejections = Rejections::default();
        for _ in 0..1_234 {
            rejections.note(Rejection::OldEpoch);
        }
        let warning = rejections.poll_warning().unwrap();
        assert_eq!(warning.message, "refused so far: 1234 of an earlier tunnel");
        rejections.note(Rejection::OldEpoch);
        assert_eq!(rejections.poll_warning(), None);
    }

    #[test]
    fn a_few_handshakes_that_were_not_finished_are_the_network_and_many_are_not() {
        let rejections = Rejections::default();
        for _ in 0..99 {
            rejections.note(Rejection::Unfinished);
        }
        assert_eq!(rejections.poll_warning(), None);
        rejections.note(Rejection::Unfinished);
        assert!(rejections.poll_warning().is_some());
    }
}
