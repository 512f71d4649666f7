//! Whether QUIC's datagrams to an address go out marked as capable of ECN (RFC 3168); no I/O.
//!
//! STUN and the relay's frames are not marked and QUIC is, so a box that drops marked datagrams lets a path be found
//! that carries no tunnel, and QUIC would repeat itself with marks for ever. So marks are left out towards whoever has
//! not been heard for a while since the first marked datagram went there, and towards whoever sends without marks: that
//! one has found out already, or the marks do not come through. Nothing is lost by it but the warnings of a full queue,
//! which then come as losses. A change of the network has marks tried again.
//!
//! What has come and was not read yet may be the answer: a process that was stopped for a while finds it so.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use quinn::udp::EcnCodepoint;

/// How long marked datagrams may go unanswered. QUIC repeats itself after 0.3 s at first, and by then without marks.
const UNANSWERED: Duration = Duration::from_millis(250);

/// After a pause of so long without a datagram the count begins anew: the last one before it may have been an
/// acknowledgement, which is not answered.
const REST: Duration = Duration::from_millis(400);

/// Addresses that are remembered; the one that was used longest ago makes room.
const REMOTES: usize = 16;

/// What is known of marks, by address.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<Vec<Remote>>);

#[derive(Debug)]
struct Remote {
    address: SocketAddr,
    used_at: Instant,
    /// When the first and the last marked datagram went there since something came from there or nothing went there.
    marked: Option<(Instant, Instant)>,
    plain: bool,
}

impl Marks {
    /// The mark of a datagram that goes there now, of which QUIC wants this one. `unread` says whether anything waits
    /// to be received; it is asked only where that matters.
    pub(crate) fn outgoing(
        &self,
        to: SocketAddr,
        wanted: Option<EcnCodepoint>,
        now: Instant,
        unread: impl FnOnce() -> bool,
    ) -> Option<EcnCodepoint> {
        let wanted = wanted?;
        let mut remotes = self.lock();
        let remote = find_or_add(&mut remotes, to, now);
        let since = match remote.marked {
            Some((first, last)) if now.saturating_duration_since(last) < REST => first,
            _ => now,
        };
        remote.marked = Some((since, now));
        let unanswered = now.saturating_duration_since(since) >= UNANSWERED;
        if !remote.plain && unanswered && !unread() {
            tracing::info!(%to, "datagrams marked for ECN are not answered, so they go without marks");
            remote.plain = true;
        }
        (!remote.plain).then_some(wanted)
    }

    /// It has left only now: this process may have been stopped before.
    pub(crate) fn on_sent(&self, to: SocketAddr, now: Instant) {
        let mut remotes = self.lock();
        if let Some(Some((first, last))) = remotes
            .iter_mut()
            .find(|remote| remote.address == to)
            .map(|remote| &mut remote.marked)
        {
            if first == last {
                *first = now;
            }
            *last = now;
        }
    }

    /// QUIC has come from there, with such a mark.
    pub(crate) fn on_heard(&self, from: SocketAddr, mark: Option<EcnCodepoint>, now: Instant) {
        let mut remotes = self.lock();
        let remote = find_or_add(&mut remotes, from, now);
        remote.marked = None;
        remote.plain |= mark.is_none();
    }

    /// The network is another: marks are tried again.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Remote>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find_or_add(remotes: &mut Vec<Remote>, address: SocketAddr, now: Instant) -> &mut Remote {
    let index = match remotes.iter().position(|remote| remote.address == address) {
        Some(index) => index,
        None => {
            if remotes.len() >= REMOTES
                && let Some(oldest) = (0..remotes.len()).min_by_key(|index| remotes[*index].used_at)
            {
                remotes.swap_remove(oldest);
            }
            remotes.push(Remote {
                address,
                used_at: now,
                marked: None,
                plain: false,
            });
            remotes.len() - 1
        }
    };
    remotes[index].used_at = now;
    &mut remotes[index]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Option<EcnCodepoint> = Some(EcnCodepoint::Ect0);

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn marks_are_kept_towards_whoever_answers_with_marks() {
        let (marks, mut now) = (Marks::default(), Instant::now());
        for _ in 0..100 {
            now += UNANSWERED / 2;
            assert_eq!(marks.outgoing(at(1), MARK, now, || false), MARK);
            marks.on_heard(at(1), MARK, now);
        }
    }

    #[test]
    fn marks_are_left_out_once_they_are_not_answered_and_towards_that_address_alone() {
        let (marks, start) = (Marks::default(), Instant::now());
        assert_eq!(marks.outgoing(at(1), MARK, start, || false), MARK);
        let later = start + UNANSWERED;
        assert_eq!(marks.outgoing(at(1), MARK, later, || false), None);
        assert_eq!(marks.outgoing(at(2), MARK, later, || false), MARK);
        marks.on_heard(at(1), MARK, later);
        assert_eq!(
            marks.outgoing(at(1), MARK, later, || false),
            None,
            "it stays so"
        );
        marks.forget();
        assert_eq!(marks.outgoing(at(1), MARK, later, || false), MARK);
    }

    #[test]
    fn whoever_sends_without_marks_is_answered_without() {
        let (marks, now) = (Marks::default(), Instant::now());
        marks.on_heard(at(1), None, now);
        assert_eq!(marks.outgoing(at(1), MARK, now, || false), None);
    }

    #[test]
    fn rest_without_a_datagram_is_not_held_against_marks() {
        let (marks, now) = (Marks::default(), Instant::now());
        // An acknowledgement, say.
        marks.outgoing(at(1), MARK, now, || false);
        let later = now + REST;
        assert_eq!(marks.outgoing(at(1), MARK, later, || false), MARK);
        assert_eq!(
            marks.outgoing(at(1), MARK, later + UNANSWERED, || false),
            None
        );
    }

    #[test]
    fn answer_that_waits_to_be_read_after_a_stop_of_this_process_is_an_answer() {
        let (marks, start) = (Marks::default(), Instant::now());
        marks.outgoing(at(1), MARK, start, || false);
        let woken = start + UNANSWERED;
        assert_eq!(marks.outgoing(at(1), MARK, woken, || true), MARK);
        marks.on_heard(at(1), MARK, woken);
        assert_eq!(marks.outgoing(at(1), MARK, woken, || false), MARK);
    }

    #[test]
    fn stop_of_this_process_before_the_datagram_has_left_is_not_held_against_marks() {
        let (marks, start) = (Marks::default(), Instant::now());
        marks.outgoing(at(1), MARK, start, || false);
        let left = start + UNANSWERED;
        marks.on_sent(at(1), left);
        assert_eq!(marks.outgoing(at(1), MARK, left, || false), MARK);
        marks.on_sent(at(1), left);
        let later = left + UNANSWERED;
        assert_eq!(marks.outgoing(at(1), MARK, later, || false), None);
    }

    #[test]
    fn strangers_take_no_more_room_than_there_is() {
        let (marks, now) = (Marks::default(), Instant::now());
        for port in 1..1000 {
            marks.on_heard(at(port), MARK, now);
        }
        assert_eq!(marks.lock().len(), REMOTES);
    }
}
