//! The tunnel through a relay besides the rendezvous' own. It is preferred to the one through the rendezvous, which
//! stays as it is: when the nearer relay goes silent, streams are back there at once.

use std::time::{Duration, Instant};

use p2pdbg_proto::tunnel::PathKind;

use super::{Decisions, Near, Output, listener_dial::Ends, starved_path::Verdict};

/// A nearer relay whose tunnel is suspect twice within this time is left. The home's serves meanwhile, and each change
/// costs the streams about a second.
const COMES_AND_GOES: Duration = Duration::from_secs(60);

impl Decisions {
    pub(super) fn on_near_at(&mut self, near: Option<Near>, now: Instant) {
        // Tunnels through another one lead nowhere from now on.
        for epoch in self.tunnels.set_near(near.map(|near| near.address)) {
            self.close(epoch);
        }
        let node = |near: Option<Near>| near.map(|near| near.node);
        let is_another = node(self.path_status.near()) != node(near);
        self.path_status.on_near(near);
        if is_another {
            self.starving.near_suspect_at = None;
            self.weigh_near_anew(now);
        }
        self.choose(now);
    }

    /// Weighs what the nearer relay carries against what the home's would. One that carries far less is left: it may
    /// answer what is small, as a tunnel's signs of life are, and drop the rest.
    pub(super) fn weigh_near(&mut self, now: Instant) {
        let used = self.tunnels.used();
        if used.is_some_and(|used| used.path == PathKind::Direct) {
            return self.weigh_near_anew(now);
        }
        let near = self.tunnels.used_counters();
        let home = self.tunnels.serves(PathKind::RelayUdp);
        let near = near.filter(|counters| home && self.tunnels.leads_near(counters.epoch));
        let verdict = self.starving.near.look(self.streams.flow, near, home, now);
        match verdict {
            None => return,
            Some(Verdict::Try(why)) => tracing::info!(why, "the home's relay is tried"),
            Some(Verdict::Keep(_, why)) => {
                tracing::info!(why, "the home's relay is kept");
                self.put(Output::NearLost);
            }
            Some(Verdict::Seek(..) | Verdict::Back) => {
                tracing::info!("the home's relay carries no more");
            }
        }
        self.tunnels
            .prefer_home(self.starving.near.prefers_second());
        self.choose(now);
    }

    /// Its tunnel does not answer. One that has bulk to carry and drops it seems to come and go.
    pub(super) fn on_near_suspect(&mut self, now: Instant) {
        let before = self.starving.near_suspect_at.replace(now);
        let is_again = before.is_some_and(|before| now < before + COMES_AND_GOES);
        if is_again && self.tunnels.serves(PathKind::RelayUdp) {
            self.put(Output::NearLost);
        }
    }

    /// The streams have another way: what was found counts no more.
    pub(super) fn weigh_near_anew(&mut self, now: Instant) {
        if self.starving.near.start_anew().is_some() {
            self.tunnels.prefer_home(false);
            self.choose(now);
        }
    }

    pub(super) fn on_near_relay(&mut self, (socket, remote): Ends, now: Instant) {
        if self.tunnels.is_near(remote) && !self.tunnels.serves_near() {
            self.dial((socket, remote), PathKind::RelayUdp, now);
        }
    }
}
