//! What follows from how much the ways to the peer carry: which of them the streams use, and over what.

use std::time::{Duration, Instant};

use p2pdbg_base::PathPolicy;
use p2pdbg_path::PathCommand;
use p2pdbg_proto::tunnel::PathKind;

use super::{
    Decisions, Output,
    starvation::{self, Verdict},
};

impl Decisions {
    /// Weighs what the direct path carries against what the relay would.
    pub(super) fn weigh(&mut self, now: Instant) {
        if self.settings.path_policy != PathPolicy::Any {
            return;
        }
        let by_tcp = self.starving.by_tcp;
        if by_tcp.is_some_and(|remote| self.tunnels.reaches(remote)) {
            let instead = self.starving.direct.on_direct_by_tcp();
            self.carry(instead, now);
        }
        let used = self.tunnels.used().map(|used| used.path);
        let direct = self.tunnels.used_counters();
        let direct = direct.filter(|_| used == Some(PathKind::Direct));
        let relay = self.tunnels.serves(PathKind::RelayUdp);
        let flow = self.streams.flow;
        let verdict = self.starving.direct.look(flow, direct, relay, now);
        self.carry(verdict, now);
    }

    /// Moves the streams between the direct path and the relay, for what these carry.
    pub(super) fn carry(&mut self, verdict: Option<Verdict>, now: Instant) {
        let avoided = match verdict {
            None => return,
            Some(Verdict::Try(why)) => {
                self.path_status.on_starved(why);
                starvation::TRIAL
            }
            Some(Verdict::Keep(pause, why)) => {
                let after_ms = self.after_ms(now);
                let report = self.path_status.on_yielded(why, after_ms);
                self.report_path(report);
                pause
            }
            Some(Verdict::Back) => Duration::ZERO,
        };
        self.tunnels
            .prefer_relay(self.starving.direct.prefers_second());
        // What polices UDP between the peers mostly does so towards the relay as well, at whichever end it is.
        self.put(Output::Path(PathCommand::AvoidUdp(avoided)));
        self.put(Output::AskForTcp(avoided));
        self.choose(now);
    }
}
