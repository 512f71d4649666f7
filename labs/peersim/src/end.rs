//! One peer: the decisions of its session, its epochs, its streams.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_base::PathPolicy;
use p2pdbg_ledger::{Epochs, Openings, ResetCode, Side, StreamId};
use p2pdbg_proto::rendezvous::Role;
use p2pdbg_session::{
    SessionPolicy,
    decisions::{Decisions, Settings},
};

use crate::{End, oracle::Oracle, stream::StreamEnd};

pub(crate) struct Peer {
    pub(crate) decisions: Decisions,
    pub(crate) epochs: Epochs,
    pub(crate) openings: Openings,
    pub(crate) streams: BTreeMap<StreamId, StreamEnd>,
    /// The tunnel that streams use.
    pub(crate) used: Option<u64>,
    /// Whether the session has ended here.
    pub(crate) over: bool,
    /// Until when the process is stopped.
    pub(crate) stopped_until: Duration,
    /// Whether there is a session: the peer has been met.
    pub(crate) has_met: bool,
    pub(crate) searching: bool,
    pub(crate) nominated: bool,
    /// Whether the leg of the relay is to be bound, or bound again.
    pub(crate) binding: bool,
}

impl Peer {
    pub(crate) fn new(end: End, base: Instant, relay: bool) -> Self {
        let (role, side) = match end {
            End::Listener => (Role::Listener, Side::Listener),
            End::Connector => (Role::Connector, Side::Connector),
        };
        let settings = Settings {
            role,
            path_policy: match relay {
                true => PathPolicy::Any,
                false => PathPolicy::Direct,
            },
            policy: Arc::new(SessionPolicy {
                resume_for: Duration::from_secs(600),
                ..SessionPolicy::default()
            }),
            started: base,
        };
        Self {
            decisions: Decisions::new(settings, base),
            epochs: Epochs::new(),
            openings: Openings::new(side),
            streams: BTreeMap::new(),
            used: None,
            over: false,
            stopped_until: Duration::ZERO,
            has_met: false,
            searching: false,
            nominated: false,
            binding: false,
        }
    }

    /// Ends all streams, as a session does that is over.
    pub(crate) fn break_off_all(&mut self, oracle: &mut Oracle) {
        for stream in self.streams.values_mut() {
            stream.break_off(ResetCode::SESSION, oracle);
        }
        self.over = true;
    }

    /// Forgets the streams that are finished.
    pub(crate) fn forget_finished(&mut self) {
        let (streams, openings) = (&mut self.streams, &mut self.openings);
        streams.retain(|id, stream| {
            let finished = stream.is_finished();
            if finished {
                openings.close(*id);
            }
            !finished
        });
    }

    pub(crate) fn all_delivered(&self) -> bool {
        self.streams.values().all(StreamEnd::is_delivered)
    }
}
