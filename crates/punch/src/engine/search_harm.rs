//! Has a search tripped a guard of this network? What is asked while one runs, and what counts as harm; what follows
//! for the next search is [`crate::caution`]'s.

use std::time::{Duration, Instant};

use super::Engine;
use crate::PunchEvent;

/// How often a server is asked whether it still answers while a search makes flows.
pub(super) const CANARY_INTERVAL: Duration = Duration::from_millis(500);

/// For how long the server is asked after the last flow was made.
pub(super) const CANARY_AFTER: Duration = Duration::from_secs(3);

/// Flows that were made in this time before the harm may have done it, if there were so many of them.
const HARM_WITHIN: Duration = Duration::from_secs(10);

/// See [`HARM_WITHIN`]: the touchiest table or guard known bears more.
const HARMFUL: u32 = 20;

impl Engine {
    /// A tunnel has gone silent, which may be the search's doing.
    pub(super) fn suspend_search(&mut self) {
        if self.search.running.is_some() {
            self.search.suspended.get_or_insert(self.now);
            self.search.canary = Some((self.now, self.now + CANARY_AFTER));
        }
    }

    /// A server has answered: whatever was silent, UDP gets through.
    pub(super) fn on_server_alive(&mut self) {
        self.search.suspended = None;
    }

    /// While a search makes flows, and shortly afterwards, asks a server again and again whether it still answers. One
    /// that falls silent then, several times in a row, was silenced by the search for all that can be known from here.
    pub(super) fn look_for_harm(&mut self) {
        if self.host.gathering.has_fallen_silent() && self.search.canary.is_some() {
            self.on_harm();
        }
        let Some((at, until)) = self.search.canary else {
            return;
        };
        if self.now >= until {
            self.search.canary = None;
            self.search.suspended = None;
        } else if self.now >= at {
            self.host.gathering.ask_again(self.now);
            self.search.canary = Some((self.now + CANARY_INTERVAL, until));
        }
    }

    pub(super) fn look_for_harm_at(&self) -> Option<Instant> {
        self.search.canary.map(|(at, until)| at.min(until))
    }

    /// UDP stopped, or our mapping vanished, right after a search: ends it, and has the next one be less, if any.
    pub(super) fn on_harm(&mut self) {
        let recently = self.now.checked_sub(HARM_WITHIN).unwrap_or(self.now);
        let flows = self.out.flows.since(recently);
        if self.search.canary.take().is_none() || flows < HARMFUL {
            return;
        }
        self.search.suspended = None;
        self.stop_search();
        let again = self.search.caution.on_harm(self.now);
        self.search.canary = None;
        self.out.flows.set_interval(self.search.caution.interval());
        self.out.event(PunchEvent::SearchHarmful { flows, again });
    }
}
