//! What follows from how much the ways to the peer carry: which of them the streams use, and over what.

use std::time::{Duration, Instant};

use p2pdbg_base::PathPolicy;
use p2pdbg_path::PathCommand;
use p2pdbg_proto::tunnel::PathKind;

use super::{
    Decisions, Output,
    starved_path::{TRIAL, Verdict},
};

impl Decisions {
    /// Weighs what the way that the streams use carries against what another would.
    pub(super) fn weigh(&mut self, now: Instant) {
        if self.settings.path_policy.allows_direct() {
            self.weigh_direct(now);
        }
        self.weigh_relay(now);
    }

    fn weigh_direct(&mut self, now: Instant) {
        let by_tcp = self.starving.by_tcp;
        let by_tcp = by_tcp.filter(|remote| self.tunnels.reaches(*remote));
        if self.tunnels.answers_directly_but_at(by_tcp) {
            let over = self.starving.direct.on_silence_over();
            let is_over = over.is_some();
            self.carry(over, now);
            if is_over {
                let report = self.path_status.on_not_starving(self.after_ms(now));
                self.report_path(report);
            }
        }
        if by_tcp.is_some() {
            let instead = self.starving.direct.on_direct_by_tcp();
            self.carry(instead, now);
        }
        let direct = self.tunnels.used_counters();
        let direct = direct.filter(|_| self.uses_direct());
        let (flow, relay) = (self.streams.flow, self.has_relay());
        let verdict = self.starving.direct.look(flow, direct, relay, now);
        self.carry(verdict, now);
    }

    /// Weighs what the relay carries over UDP, while streams have no other way, against what it would over TCP.
    fn weigh_relay(&mut self, now: Instant) {
        // While they could have the direct path, that is what counts, and TCP carries the relay by then.
        if self.starving.direct.prefers_second() {
            return;
        }
        if self.uses_direct() {
            let back = self.starving.relay.start_anew();
            return self.carry_relayed(back, now);
        }
        let relay = self.tunnels.used_counters();
        let relay = relay.filter(|counters| !self.tunnels.leads_near(counters.epoch));
        let flow = self.streams.flow;
        let verdict = self.starving.relay.look(flow, relay, true, now);
        self.carry_relayed(verdict, now);
    }

    /// The tunnel that streams use has become suspect, and they have not left it yet.
    pub(super) fn on_used_silent(&mut self, now: Instant) {
        let (flow, relay) = (self.streams.flow, self.has_relay());
        if self.uses_direct() {
            if self.starving.by_tcp.is_none() {
                // What falls silent with the relay while little is sent is an outage, and says nothing of UDP.
                let relay_answers = relay && self.tunnels.relay_answers();
                let alone = relay_answers || self.settings.path_policy == PathPolicy::Direct;
                let verdict = self.starving.direct.on_silent(flow, relay, alone, now);
                self.carry(verdict, now);
            }
        } else {
            let verdict = self.starving.relay.on_silent(flow, true, false, now);
            self.carry_relayed(verdict, now);
        }
    }

    fn uses_direct(&self) -> bool {
        let used = self.tunnels.used();
        used.is_some_and(|used| used.path == PathKind::Direct)
    }

    /// Whether the relay could take the direct path's place.
    fn has_relay(&self) -> bool {
        let allowed = self.settings.path_policy == PathPolicy::Any;
        allowed && self.tunnels.serves(PathKind::RelayUdp)
    }

    /// Moves the streams between the direct path and the relay, for what these carry.
    pub(super) fn carry(&mut self, verdict: Option<Verdict>, now: Instant) {
        let after_ms = self.after_ms(now);
        let avoided = match verdict {
            None => return,
            Some(Verdict::Try(why)) => {
                self.path_status.on_starved(why);
                TRIAL
            }
            Some(Verdict::Seek(time, why)) => {
                tracing::info!(why, "the direct path starves");
                let report = self.path_status.on_starving(&why, after_ms);
                self.report_path(report);
                time
            }
            Some(Verdict::Keep(pause, why)) => {
                let report = self.path_status.on_yielded(why, after_ms);
                self.report_path(report);
                pause
            }
            Some(Verdict::Back) => Duration::ZERO,
        };
        let yields = self.starving.direct.prefers_second();
        if !yields {
            self.path_status.on_not_yielded();
        }
        self.tunnels.prefer_relay(yields);
        self.avoid_udp(avoided, now);
        self.choose(now);
    }

    /// Has the relay's legs carried over TCP, or over UDP again, for what they carry.
    pub(super) fn carry_relayed(&mut self, verdict: Option<Verdict>, now: Instant) {
        let (avoided, why) = match verdict {
            None => return,
            Some(Verdict::Try(why)) => (TRIAL, Some(why)),
            Some(Verdict::Keep(pause, why)) => (pause, Some(why)),
            Some(Verdict::Seek(..) | Verdict::Back) => (Duration::ZERO, None),
        };
        tracing::info!(why, "TCP in place of UDP to the relay");
        let report = self.path_status.on_policed(why, self.after_ms(now));
        self.report_path(report);
        self.avoid_udp(avoided, now);
    }

    /// Has UDP avoided by both ends: what polices it between the peers mostly does so towards the relay as well, at
    /// whichever end it is.
    fn avoid_udp(&mut self, time: Duration, now: Instant) {
        if !time.is_zero() || self.starving.avoids_until.is_some() {
            self.starving.avoids_until = Some(now + time);
        }
        self.put(Output::Path(PathCommand::AvoidUdp(time)));
        self.put(Output::AskForTcp(time));
    }

    /// Says again on a new tunnel for how long UDP is avoided, or that it is no longer: the one before may have been
    /// lost with that on it.
    pub(super) fn ask_again_for_tcp(&mut self, now: Instant) {
        if let Some(until) = self.starving.avoids_until {
            self.put(Output::AskForTcp(until.saturating_duration_since(now)));
        }
    }

    /// The peer wants UDP to be avoided for so long from now on, or no more.
    pub(super) fn on_asked_for_tcp(&mut self, time: Duration, now: Instant) {
        if !self.starving.of_peer.take(time, now) {
            tracing::debug!("the peer asks for TCP too often");
            return;
        }
        self.path_status.on_asked_for_tcp(!time.is_zero());
        self.put(Output::AvoidUdpForPeer(time));
    }
}
