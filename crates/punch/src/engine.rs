//! The engine's outside: inputs in, outputs and the next deadline out.

use std::{collections::VecDeque, time::Instant};

use crate::{Config, Input, Obstacle, Output, Path, observe::NatReport};

/// The traversal engine of one session at one peer. See the crate's documentation for the calling order.
#[derive(Debug)]
pub struct Engine {
    #[allow(dead_code)]
    config: Config,
    outputs: VecDeque<Output>,
    nominated: Option<Path>,
    report: NatReport,
}

impl Engine {
    /// An engine that has not done anything yet. `seed` must come from the operating system's randomness outside
    /// of tests: transaction ids, which must not be guessable, are drawn from it.
    #[must_use]
    pub fn new(config: Config, _seed: [u8; 32], _now: Instant) -> Self {
        Self {
            config,
            outputs: VecDeque::new(),
            nominated: None,
            report: NatReport::default(),
        }
    }

    /// Takes one input and does whatever is due at `now`.
    pub fn handle(&mut self, _now: Instant, _input: Input<'_>) {}

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to hand in [`Input::Timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The path that both peers agree on, if there is one.
    #[must_use]
    pub fn nominated(&self) -> Option<&Path> {
        self.nominated.as_ref()
    }

    /// Why the session is not direct now; `None` when it is.
    #[must_use]
    pub fn why_relayed(&self) -> Option<Obstacle> {
        self.nominated.is_none().then_some(Obstacle::WaitingForPeer)
    }

    /// What the NAT in front of this host looks like so far.
    #[must_use]
    pub fn nat_report(&self) -> &NatReport {
        &self.report
    }
}
