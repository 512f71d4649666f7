//! Sampling: a few fresh sockets ask two servers each, to see how a NAT chooses ports that depend on the destination.
//!
//! Only done when the session's own socket showed that they do: eight mappings tell a sequence with its stride, a block
//! and chance apart, which two cannot.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{
    SocketId,
    budget::{SAMPLING_SERVERS, SAMPLING_SOCKETS},
    nat_observation::Sample,
};

/// Until a question is asked again.
const RETRY: Duration = Duration::from_millis(150);

/// Until the sample is taken as it is.
const PATIENCE: Duration = Duration::from_millis(700);

#[derive(Debug)]
struct Probe {
    socket: SocketId,
    server: SocketAddr,
    asked: Option<Instant>,
    next_at: Instant,
    mapped: Option<SocketAddr>,
}

/// A sample being taken: a few fresh sockets, and how servers see each.
#[derive(Debug)]
pub(crate) struct Sampling {
    began: Instant,
    /// The sockets that are not open yet.
    awaited: Vec<SocketId>,
    sockets: Vec<SocketId>,
    probes: Vec<Probe>,
}

impl Sampling {
    /// Begins with sockets numbered from `first` on, which the caller opens.
    pub(crate) fn new(now: Instant, first: SocketId, servers: &[SocketAddr]) -> Self {
        let sockets: Vec<SocketId> = (first.0..first.0 + SAMPLING_SOCKETS)
            .map(SocketId)
            .collect();
        let servers = servers.iter().take(SAMPLING_SERVERS);
        let probe = |socket, server: &SocketAddr| Probe {
            socket,
            server: *server,
            asked: None,
            next_at: now,
            mapped: None,
        };
        Self {
            began: now,
            awaited: sockets.clone(),
            probes: sockets
                .iter()
                .flat_map(|&socket| servers.clone().map(move |s| probe(socket, s)))
                .collect(),
            sockets,
        }
    }

    pub(crate) fn sockets(&self) -> &[SocketId] {
        &self.sockets
    }

    pub(crate) fn on_opened(&mut self, socket: SocketId) {
        self.awaited.retain(|&s| s != socket);
    }

    pub(crate) fn on_failed(&mut self, socket: SocketId) {
        self.on_opened(socket);
        self.probes.retain(|p| p.socket != socket);
    }

    /// The next question that is due, in the order that the sample counts on.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(SocketId, SocketAddr)> {
        if !self.awaited.is_empty() {
            return None;
        }
        let probe = self
            .probes
            .iter_mut()
            .find(|p| p.mapped.is_none() && p.next_at <= now)?;
        probe.asked.get_or_insert(now);
        probe.next_at = now + RETRY;
        Some((probe.socket, probe.server))
    }

    pub(crate) fn on_answer(&mut self, socket: SocketId, server: SocketAddr, mapped: SocketAddr) {
        let asked = |p: &&mut Probe| p.socket == socket && p.server == server;
        if let Some(probe) = self.probes.iter_mut().find(asked) {
            probe.mapped = Some(mapped);
        }
    }

    /// What was seen, once all is answered or patience is at its end.
    pub(crate) fn finished(&self, now: Instant) -> Option<Vec<Sample>> {
        let complete = self.probes.iter().all(|p| p.mapped.is_some());
        (complete || now >= self.began + PATIENCE).then(|| {
            let sample = |p: &Probe| {
                Some(Sample {
                    socket: p.socket,
                    server: p.server,
                    mapped: p.mapped?,
                    asked: p.asked?,
                })
            };
            self.probes.iter().filter_map(sample).collect()
        })
    }

    pub(crate) fn next_at(&self) -> Instant {
        let end = self.began + PATIENCE;
        if !self.awaited.is_empty() {
            return end;
        }
        let open = self.probes.iter().filter(|p| p.mapped.is_none());
        open.map(|p| p.next_at).min().unwrap_or(end).min(end)
    }
}
