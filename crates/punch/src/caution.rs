//! What searches have done to this network, and what follows for the next one: slower, smaller, later, or none.

use std::time::{Duration, Instant};

use crate::Budget;

/// Time between two new flows of a search while something depends on the network: forty a second and ten at once stay
/// below the sixty in a second at which the touchiest guard known stops everything.
pub(crate) const CAREFUL_INTERVAL: Duration = Duration::from_millis(25);

/// Until the next search after the first and the second one that did harm. After a third there is none.
const RESTS: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(1800)];

/// The longest such time of a search that is still made.
pub(crate) const SLOWEST_INTERVAL: Duration =
    Duration::from_millis((CAREFUL_INTERVAL.as_millis() as u64) << RESTS.len());

/// What was learnt on this network; forgotten when the network changes.
#[derive(Debug, Default)]
pub(crate) struct Caution {
    harms: usize,
    rest_until: Option<Instant>,
}

impl Caution {
    /// A search was followed by harm. How long none is made now; none for as long as this network lasts.
    pub(crate) fn on_harm(&mut self, now: Instant) -> Option<Duration> {
        let rest = RESTS.get(self.harms).copied();
        self.harms += 1;
        self.rest_until = rest.map(|rest| now + rest);
        rest
    }

    /// Whether a search may be made now.
    pub(crate) fn allows(&self, now: Instant) -> bool {
        match self.rest_until {
            Some(until) => now >= until,
            None => self.harms == 0,
        }
    }

    /// Whether this network has shown that it is easily harmed.
    pub(crate) fn is_wary(&self) -> bool {
        self.harms > 0
    }

    /// The time between two new flows of a careful search: twice as long after each harm.
    pub(crate) fn interval(&self) -> Duration {
        CAREFUL_INTERVAL * (1 << self.harms.min(4))
    }

    /// What a search may spend here: a quarter after each harm.
    pub(crate) fn budget(&self, usual: &Budget) -> Budget {
        let share = 2 * self.harms.min(4) as u32;
        Budget {
            search_sockets: (usual.search_sockets >> share).max(8),
            search_ports: (usual.search_ports >> share).max(64),
            search_flows: (usual.search_flows >> share).max(64),
            ..*usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_makes_the_next_search_later_smaller_and_slower_and_a_third_one_the_last() {
        let now = Instant::now();
        let usual = Budget::default();
        let mut caution = Caution::default();
        assert!(caution.allows(now) && caution.budget(&usual) == usual);
        let rest = caution.on_harm(now).expect("there is another chance");
        assert!(!caution.allows(now) && caution.allows(now + rest));
        let less = caution.budget(&usual);
        assert_eq!(less.search_flows, usual.search_flows / 4);
        assert_eq!(caution.interval(), 2 * CAREFUL_INTERVAL);
        assert!(caution.on_harm(now).expect("and another") > rest);
        assert_eq!(caution.on_harm(now), None);
        assert!(!caution.allows(now + Duration::from_secs(1_000_000)));
    }
}
