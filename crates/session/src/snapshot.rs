//! A session as it is at this moment, for whoever asks by the control socket. Made in one step from what is at hand.

use std::time::Instant;

use p2pdbg_base::Untrusted;
use p2pdbg_events::snapshot::{SessionSnapshot, SessionState};
use p2pdbg_tunnel::Tunnel;

use super::{
    decisions::{milliseconds, whole_milliseconds},
    driver::SessionDriver,
    streams::MOST_DESCRIBED,
};

impl SessionDriver {
    pub(super) fn describe(&mut self) -> SessionSnapshot {
        let now = Instant::now();
        let tunnel = self.connections.current();
        let lost_since = self.decisions.lost_since();
        let state = match (tunnel, lost_since) {
            (_, Some(_)) => SessionState::Resuming,
            (Some(_), None) => SessionState::Connected,
            (None, None) => SessionState::Connecting,
        };
        let counters = self.connections.counters();
        let history = self.decisions.history(&counters, now);
        let forwards = &self.forwards;
        let streams = self.streams.describe(|forward| forwards.target(forward));
        SessionSnapshot {
            peer: self.peers.name.clone(),
            known: self.peers.known,
            age_ms: whole_milliseconds(self.peers.began.elapsed()),
            state,
            sources: self
                .sources
                .sources
                .root()
                .and_then(|root| root.to_str())
                .map(|root| Untrusted::limited(root, p2pdbg_proto::facts::MAX_PATH)),
            lost_ms: lost_since.map(|since| whole_milliseconds(since.elapsed())),
            paths: history.paths(),
            rtt_ms: tunnel.map(Tunnel::rtt).map(milliseconds),
            samples: history.samples(now),
            forwards: forwards.describe(),
            more_streams: self.streams.count().saturating_sub(MOST_DESCRIBED),
            streams,
            waiting: self.streams.waiting(),
        }
    }
}
