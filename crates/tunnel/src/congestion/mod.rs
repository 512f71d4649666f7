//! Congestion control: a short queue, and no fear of losses that no queue has caused.
//!
//! CUBIC (RFC 9438) takes each loss for a full queue. On a path that loses one packet in a hundred for other reasons,
//! as radio does, that leaves it a few Mbit/s whatever the path could carry; on one that loses none it fills the queue
//! before the slowest link, in which all else then waits. So which rule counts depends on the path:
//!
//! - *short* (below [`SHORT`]): CUBIC, bounded to a queue that nobody notices, see [`short`];
//! - *long*: what [`model`] says that the path carries;
//! - *long and crowded*, while somebody else's queue is in it: CUBIC, which shares it with TCP as TCP does. It begins
//!   at what this sender had, and is told of the losses in a queue. Beside a BBR, which does not give way to losses, it
//!   would end with nothing, so a part is kept that is fair to CUBIC in a queue as deep as the path's.
//!
//! Not quinn's BBR, which its authors call experimental, and which has no part for TCP that gives way to losses.

mod delivery;
mod held_acks;
mod model;
mod short;
#[cfg(test)]
mod simulated_link;

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::congestion::{Controller, ControllerFactory, ControllerMetrics, CubicConfig};
use quinn_proto::RttEstimator;

use self::{
    held_acks::HeldAcks,
    model::Model,
    short::{Bound, SHORT},
};

/// What CUBIC leaves of its window when it meets congestion.
const CUBIC_BETA: f64 = 0.7;

/// CUBIC's window on a crowded path stands for so long while the path is free.
const RESUMED: Duration = Duration::from_secs(20);

/// The settings of this congestion control.
#[derive(Debug, Clone)]
pub(super) struct PathControlConfig {
    cubic: Arc<CubicConfig>,
    /// What time it is when the window is asked for.
    clock: fn() -> Instant,
}

impl Default for PathControlConfig {
    fn default() -> Self {
        Self {
            cubic: Arc::default(),
            clock: Instant::now,
        }
    }
}

impl ControllerFactory for PathControlConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(PathControl {
            cubic: Arc::clone(&self.cubic).build(now, current_mtu),
            bound: Bound::default(),
            model: Model::new(current_mtu),
            newest: None,
            crowd: None,
            held_acks: HeldAcks::default(),
            mtu: current_mtu,
            clock: self.clock,
        })
    }
}

struct PathControl {
    cubic: Box<dyn Controller>,
    /// For a short path.
    bound: Bound,
    /// For a long one.
    model: Model,
    /// When the newest packet of this batch of acknowledgements was sent.
    newest: Option<Instant>,
    /// Whether the path is crowded now, and when it last was.
    crowd: Option<(bool, Instant)>,
    held_acks: HeldAcks,
    mtu: u16,
    clock: fn() -> Instant,
}

impl PathControl {
    /// Whether the path is long, as far as it is known.
    fn is_long(&self) -> bool {
        self.model.shortest().is_some_and(|least| least >= SHORT)
    }

    /// What bounds the window besides CUBIC's, and in its place on a long path that is not crowded.
    fn modelled(&self) -> Option<u64> {
        if self.model.is_crowded() {
            return None;
        }
        // A short path is drained too, or its own queue would in time be taken for its length.
        let model = self.is_long() || self.model.drains();
        self.model.window().filter(|_| model)
    }

    /// What may be in flight on this path, in bytes.
    fn path_window(&self) -> u64 {
        let cubic = self.cubic.window();
        let window = match self.modelled() {
            Some(window) => window,
            None if self.is_long() && self.model.is_crowded() => {
                cubic.max(self.model.kept().unwrap_or_default())
            }
            None => cubic,
        };
        window.min(self.bound.window)
    }

    /// CUBIC has its part when the path becomes crowded: it begins at what keeps this sender's share then. Where the
    /// path was crowded a short time ago it goes on where it was, since whoever shares it goes on too.
    fn follow_crowd(&mut self, now: Instant) {
        let crowded = self.is_long() && self.model.is_crowded();
        let (was, at) = self.crowd.unwrap_or((false, now));
        let stale = self.crowd.is_none() || now.saturating_duration_since(at) > RESUMED;
        if crowded
            && !was
            && stale
            && let Some(share) = self.model.crowded_window()
        {
            let mut config = CubicConfig::default();
            config.initial_window((share as f64 / CUBIC_BETA) as u64);
            self.cubic = Arc::new(config).build(now, self.mtu);
            // So that it does not begin by doubling.
            self.cubic.on_congestion_event(now, now, false, 1);
        }
        if crowded || was {
            self.crowd = Some((crowded, now));
        }
    }
}

impl Controller for PathControl {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.held_acks.on_sent(now, bytes, self.path_window());
        self.bound.sent = last_packet_number;
        self.model.on_sent(now, last_packet_number);
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        let took = now.saturating_duration_since(sent);
        self.model.on_acknowledged(now, sent, bytes);
        // The model's, since a path may become longer.
        let unloaded = self.model.shortest().unwrap_or(took);
        self.bound.on_acknowledged(took, unloaded);
        self.newest = self.newest.max(Some(sent));
        // CUBIC grows by what is acknowledged, and must not while it is not its window that bounds.
        let bounded = self.bound.window < self.cubic.window() || self.modelled().is_some();
        self.cubic
            .on_ack(now, sent, bytes, app_limited || bounded, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        self.cubic
            .on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
        let window = self.path_window();
        self.held_acks.on_acknowledged(in_flight, window);
        let newest = self.newest.take();
        let Some((largest, newest)) = largest_packet_num_acked.zip(newest) else {
            return;
        };
        self.bound.on_largest(largest, window, app_limited);
        self.model
            .on_batch(now, newest, largest, in_flight, app_limited);
        self.follow_crowd(now);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        let congested = self
            .model
            .on_lost(now, lost_bytes, is_persistent_congestion);
        self.follow_crowd(now);
        if congested || !self.is_long() {
            self.cubic
                .on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
        self.model.on_mtu(new_mtu);
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        let (window, mtu) = (self.path_window(), self.mtu.into());
        self.held_acks.window(self.clock, window, mtu)
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = self.cubic.metrics();
        metrics.congestion_window = self.path_window();
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            cubic: self.cubic.clone_box(),
            bound: self.bound,
            model: self.model.clone(),
            ..*self
        })
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_on_a_path_of_unknown_length_shrinks_the_window_and_a_clone_has_its_own() {
        let now = Instant::now();
        let built = || Arc::new(PathControlConfig::default()).build(now, 1200);
        let mut lossy = built();
        let whole = lossy.window();
        assert_eq!(whole, lossy.initial_window());
        let spared = lossy.clone_box();
        lossy.on_sent(now, 1200, 1);
        let later = now + Duration::from_millis(50);
        lossy.on_congestion_event(later, now, false, 1200);
        assert!(lossy.window() < whole);
        assert_eq!(lossy.metrics().congestion_window, lossy.window());
        assert_eq!(spared.window(), whole);
        lossy.on_mtu_update(9000);
        assert!(lossy.window() >= 2 * 9000, "two packets may always be sent");
    }
}
