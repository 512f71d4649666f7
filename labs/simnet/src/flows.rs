//! The flows through a box, as a firewall counts them: where a table runs out and a guard takes fright.

use std::{collections::BTreeMap, collections::VecDeque, net::SocketAddr, time::Duration};

use crate::config::{FloodGuard, Overflow, Table};

/// An inside endpoint and where it sends to.
pub(crate) type Flow = (SocketAddr, SocketAddr);

/// What becomes of a packet from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passes,
    /// It passes, and this flow had to go for it.
    Evicts(Flow),
    Dropped,
}

/// All flows of a box.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flows {
    live: BTreeMap<Flow, Duration>,
    /// When the flows of the last second began.
    begun: VecDeque<Duration>,
    banned_until: Duration,
    evicted: u64,
    bans: u64,
}

impl Flows {
    /// A packet from inside, at a box whose idle flows live for `timeout`.
    pub(crate) fn outbound(
        &mut self,
        now: Duration,
        flow: Flow,
        timeout: Duration,
        guard: Option<FloodGuard>,
        table: Option<Table>,
    ) -> Verdict {
        if now < self.banned_until {
            return Verdict::Dropped;
        }
        let known = self
            .live
            .get(&flow)
            .is_some_and(|&used| now <= used + timeout);
        if known {
            self.live.insert(flow, now);
            return Verdict::Passes;
        }
        if let Some(guard) = guard {
            self.begun.push_back(now);
            while self
                .begun
                .front()
                .is_some_and(|&at| at + Duration::from_secs(1) < now)
            {
                self.begun.pop_front();
            }
            if self.begun.len() > guard.flows_per_second {
                self.banned_until = now + guard.ban;
                self.bans += 1;
                self.begun.clear();
                return Verdict::Dropped;
            }
        }
        let mut verdict = Verdict::Passes;
        if table.is_some_and(|table| self.live.len() >= table.flows) {
            self.live.retain(|_, used| now <= *used + timeout);
        }
        if let Some(table) = table
            && self.live.len() >= table.flows
        {
            let oldest = self.live.iter().min_by_key(|(_, used)| **used);
            match (table.overflow, oldest) {
                (Overflow::Evicts, Some((&oldest, _))) => {
                    self.live.remove(&oldest);
                    self.evicted += 1;
                    verdict = Verdict::Evicts(oldest);
                }
                _ => return Verdict::Dropped,
            }
        }
        self.live.insert(flow, now);
        verdict
    }

    /// A packet from outside keeps a flow alive, too.
    pub(crate) fn inbound(&mut self, now: Duration, flow: Flow) {
        if let Some(used) = self.live.get_mut(&flow) {
            *used = now;
        }
    }

    /// Flows that had to go before their time.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How often the guard took fright.
    pub(crate) fn bans(&self) -> u64 {
        self.bans
    }
}
