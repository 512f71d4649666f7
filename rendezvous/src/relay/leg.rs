//! A leg: what it was granted with, and where it is bound.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use p2pdbg_proto::relay::{Cookie, LegGrant};

use super::{
    io::{Route, TcpLegId},
    routes::Heard,
};
use crate::relay_allowance::LegMeter;

/// How long a leg may go on with a source that is not proved, which may be forged: some round trips of a slow member.
const UNPROVED_FOR: Duration = Duration::from_secs(3);

/// How long after it has begun so a leg may not do so again, so that few legs cannot occupy a source for ever. Its
/// member loses a round trip by that, and no more.
pub(super) const UNPROVED_AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Leg {
    pub(super) grant: LegGrant,
    /// Says whether the member may send.
    pub(super) meter: Arc<LegMeter>,
    pub(super) bound: Option<Bound>,
    /// When it last began with a source that was not proved, if it ever has.
    pub(super) began: Option<Instant>,
    /// The member's connection over TCP, whether or not it is the route.
    pub(super) stream: Option<TcpLegId>,
    /// The newest attempt over TCP that was accepted: the JOIN of an older one may have been on its way for long.
    pub(super) attempt: Option<u64>,
    /// The newest cookie that was accepted, so that an older answer cannot take the leg back.
    pub(super) newest: Option<Cookie>,
}

#[derive(Debug)]
pub(super) struct Bound {
    pub(super) route: Route,
    /// How many bytes on the wire may be sent to an address that is not proved yet; none for one that is.
    pub(super) credit: Option<usize>,
    pub(super) heard: Heard,
}

impl Leg {
    /// Whether it has begun with a source that is not proved, and may have one yet.
    pub(super) fn goes_on_unproved(&self, now: Instant) -> bool {
        let since = |began| now.saturating_duration_since(began);
        self.began.is_some_and(|began| since(began) < UNPROVED_FOR)
    }

    /// Whether a BIND may begin with it, from a source that is not proved.
    pub(super) fn may_begin(&self, now: Instant) -> bool {
        let again = |began| now.saturating_duration_since(began) >= UNPROVED_AGAIN;
        self.goes_on_unproved(now) || self.began.is_none_or(again)
    }

    /// Whether it is bound, and its member has shown that it receives there and holds the key.
    pub(super) fn is_proved(&self) -> bool {
        self.bound
            .as_ref()
            .is_some_and(|bound| bound.credit.is_none())
    }
}
