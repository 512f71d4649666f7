//! What the end of a local program's writing means while nothing has come back for it.
//!
//! An IDE that gives up while it is held leaves bytes and an end behind. Delivered later, they harm the debuggee: a JVM
//! runs on undebugged, delve ends with its program, `gdbserver --once` kills what it debugs. No debugger's client ends
//! its writing before it has had an answer; so as long as nothing has come back, a program that has closed its
//! connection is taken to have left. One that has only ended its writing may still read, and its end is delivered:
//! unless it is a debugger's client that nobody can have answered, because it is held or the peer is out of reach. VS
//! Code ends so, and keeps its socket; and where the system does not show who has closed, nothing else tells.

use std::time::Duration;

use tokio::time::Instant;

/// How long the end of the writing waits for the closing that may be right behind it: many programs shut a connection
/// down and close it in two steps.
const GRACE: Duration = Duration::from_millis(20);

/// How often a program that has ended its writing is looked at while its connection is held.
const LOOK: Duration = Duration::from_millis(250);

/// What is known of a program that may leave.
#[derive(Debug)]
pub(super) struct Leaving {
    /// Whether its connection was accepted here; what was dialled is the debuggee, which cannot give up.
    accepted: bool,
    /// Whether it is a debugger's client, which waits for an answer before it ends.
    is_client: bool,
    /// Whether the end that dials holds the connection, because nothing listens there.
    held: bool,
    /// Whether there is no tunnel to the other end.
    out_of_reach: bool,
    /// Whether it writes no more.
    has_ended: bool,
    /// When to look next whether it is still there.
    look_at: Option<Instant>,
}

/// What follows from a look.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing follows, or it cannot be told yet.
    Wait,
    /// It has ended its writing, and the peer is to hear of it.
    End,
    /// It has left: nothing of it may be delivered.
    Left,
}

impl Leaving {
    pub(super) fn new(accepted: bool, is_client: bool) -> Self {
        Self {
            accepted,
            is_client,
            held: false,
            out_of_reach: false,
            has_ended: false,
            look_at: None,
        }
    }

    /// Whether it writes no more, so that it need not be read from.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether it is held, at either end: nothing listens where it leads.
    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    /// When to call [`on_look`](Self::on_look) next; never again if there is none.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// The program has ended its writing. `answered` is whether anything has come back for it, `has_left` whether its
    /// connection is seen to be closed.
    pub(super) fn on_ended(
        &mut self,
        answered: bool,
        has_left: impl FnOnce() -> bool,
        now: Instant,
    ) -> Verdict {
        self.has_ended = true;
        if !self.matters(answered) {
            return Verdict::End;
        }
        if self.gives_up() || has_left() {
            return Verdict::Left;
        }
        self.look_at = Some(now + GRACE);
        Verdict::Wait
    }

    /// The other end holds the connection from now on, or does so no longer.
    pub(super) fn on_held(&mut self, held: bool, now: Instant) {
        self.held = held;
        if held && self.has_ended && self.look_at.is_none() {
            self.look_at = Some(now);
        }
    }

    /// There is a tunnel to the other end from now on, or there is none.
    pub(super) fn on_reach(&mut self, in_reach: bool) {
        self.out_of_reach = !in_reach;
    }

    /// The time to look has come.
    pub(super) fn on_look(
        &mut self,
        answered: bool,
        has_left: impl FnOnce() -> bool,
        now: Instant,
    ) -> Verdict {
        let matters = self.matters(answered);
        if matters && (self.gives_up() || has_left()) {
            self.look_at = None;
            return Verdict::Left;
        }
        self.look_at = (matters && self.held).then_some(now + LOOK);
        Verdict::End
    }

    /// Whether one that has ended its writing unanswered needs no look: no client of a debugger does so that has not
    /// given up.
    fn gives_up(&self) -> bool {
        self.is_client && (self.held || self.out_of_reach)
    }

    fn matters(&self, answered: bool) -> bool {
        self.accepted && !answered && (self.is_client || self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_client_of_a_debugger_is_not_delivered() {
        let now = Instant::now();
        let mut leaving = Leaving::new(true, true);
        assert_eq!(leaving.on_ended(false, || true, now), Verdict::Left);
    }

    #[test]
    fn leaving_in_two_steps_is_seen_a_moment_later() {
        let now = Instant::now();
        let mut leaving = Leaving::new(true, true);
        assert_eq!(leaving.on_ended(false, || false, now), Verdict::Wait);
        let later = leaving.look_at().unwrap();
        assert_eq!(leaving.on_look(false, || true, later), Verdict::Left);
    }

    #[test]
    fn ended_writing_of_a_program_that_still_reads_is_delivered() {
        let now = Instant::now();
        let mut leaving = Leaving::new(true, true);
        assert_eq!(leaving.on_ended(false, || false, now), Verdict::Wait);
        assert_eq!(leaving.on_look(false, || false, now), Verdict::End);
        assert_eq!(leaving.look_at(), None, "it is not held");
    }

    #[test]
    fn client_that_ends_its_writing_while_it_is_held_has_left_though_it_may_still_read() {
        let now = Instant::now();
        let mut leaving = Leaving::new(true, true);
        leaving.on_held(true, now);
        assert_eq!(leaving.on_ended(false, || false, now), Verdict::Left);
    }

    #[test]
    fn client_that_had_ended_its_writing_when_it_came_to_be_held_has_left() {
        let now = Instant::now();
        let mut leaving = Leaving::new(true, true);
        assert_eq!(leaving.on_ended(false, || false, now), Verdict::Wait);
        let later = leaving.look_at().unwrap();
        assert_eq!(leaving.on_look(false, || false, later), Verdict::End);
        leaving.on_held(true, later);
        assert_eq!(leaving.look_at(), Some(later));
        assert_eq!(leaving.on_look(false, || false, later), Verdict::Left);
    }

    #[test]
    fn client_that_ends_its_writing_while_the_peer_is_out_of_reach_has_left() {
        let now = Instant::now();
        for (is_client, verdict) in [(true, Verdict::Left), (false, Verdict::End)] {
            let mut leaving = Leaving::new(true, is_client);
            leaving.on_reach(false);
            assert_eq!(leaving.on_ended(false, || false, now), verdict);
        }
        let mut leaving = Leaving::new(true, true);
        leaving.on_reach(false);
        leaving.on_reach(true);
        assert_eq!(leaving.on_ended(false, || false, now), Verdict::Wait);
    }

    #[test]
    fn ended_writing_after_an_answer_is_an_end_whoever_has_left() {
        let now = Instant::now();
        let mut leaving = Leaving::new(true, true);
        leaving.on_held(true, now);
        assert_eq!(leaving.on_ended(true, || true, now), Verdict::End);
    }

    #[test]
    fn plain_connection_is_delivered_unless_it_is_held() {
        let now = Instant::now();
        let mut leaving = Leaving::new(true, false);
        assert_eq!(leaving.on_ended(false, || true, now), Verdict::End);
        leaving.on_held(true, now);
        assert_eq!(leaving.look_at(), Some(now));
        assert_eq!(leaving.on_look(false, || true, now), Verdict::Left);
    }

    #[test]
    fn held_program_that_has_ended_is_looked_at_until_it_leaves() {
        let mut now = Instant::now();
        let mut leaving = Leaving::new(true, false);
        leaving.on_held(true, now);
        assert_eq!(leaving.on_ended(false, || false, now), Verdict::Wait);
        for _ in 0..3 {
            now = leaving.look_at().unwrap();
            assert_eq!(leaving.on_look(false, || false, now), Verdict::End);
        }
        now = leaving.look_at().unwrap();
        assert_eq!(leaving.on_look(false, || true, now), Verdict::Left);
    }
}
