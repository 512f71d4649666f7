//! What a session tells about its paths: events when something changes, and the status line.

use std::time::Duration;

use p2pdbg_base::PathPolicy;
use p2pdbg_events::{
    Activity, DebuggerReport, Event as Report, PathKind as ReportedKind, PathReport, Reporter,
    Status, Via, Waiting, Warning,
};
use p2pdbg_path::Carrier;
use p2pdbg_proto::tunnel::PathKind;
use p2pdbg_punch::{LossReason, Obstacle, Path, Technique};
use p2pdbg_rendezvous_client::is_unknown;
use p2pdbg_tunnel::Tunnel;
use tokio::time::Instant;

pub(super) struct StatusLine {
    reporter: Reporter,
    /// The direct path that the traversal found last.
    direct: Option<Path>,
    /// The other direct way, in words with its figure.
    unused: Option<String>,
    obstacle: Option<Obstacle>,
    /// Why the last tunnel in use was left.
    left_because: Option<String>,
    was_direct: bool,
    /// What was told last.
    told: Option<PathReport>,
    /// What carries this end's leg of the relay.
    carrier: Carrier,
    policy: PathPolicy,
}

impl StatusLine {
    pub(super) fn new(reporter: Reporter, policy: PathPolicy) -> Self {
        Self {
            reporter,
            policy,
            direct: None,
            unused: None,
            obstacle: None,
            left_because: None,
            was_direct: false,
            told: None,
            carrier: Carrier::Udp,
        }
    }

    pub(super) fn on_direct(&mut self, path: &Path) {
        self.direct = Some(*path);
        self.unused = None;
    }

    /// Notes which other direct way is not used, and tells whoever is on the direct path.
    pub(super) fn on_unused(&mut self, technique: Technique, rtt: Duration) {
        self.unused = Some(format!("{} ms {technique} not used", rtt.as_millis()));
        let Some(why) = self.direct.as_ref().map(|path| self.why_direct(path)) else {
            return;
        };
        let after_ms = self.reporter.after_ms();
        let told = self.told.as_mut();
        if let Some(told) = told.filter(|told| told.kind == ReportedKind::Direct) {
            told.why = why;
            told.after_ms = after_ms;
            self.reporter.emit(Report::Path(told.clone()));
        }
    }

    /// What made the direct path work, and what is not used beside it.
    fn why_direct(&self, path: &Path) -> String {
        match &self.unused {
            Some(unused) => format!("{}; {unused}", path.technique),
            None => path.technique.to_string(),
        }
    }

    pub(super) fn on_direct_lost(&mut self, reason: LossReason) {
        self.left_because = Some(match reason {
            LossReason::ConsentExpired => "the direct path has gone silent".to_owned(),
            LossReason::TunnelLost => "the tunnel on the direct path was lost".to_owned(),
            LossReason::SocketFailed => "the socket of the direct path failed".to_owned(),
        });
    }

    /// Notes what stands in the way of a direct path. Once it is more than that one is being looked for, whoever is on
    /// the relay is told why.
    pub(super) fn on_obstacle(&mut self, obstacle: Obstacle) {
        self.obstacle = Some(obstacle);
        if is_passing(obstacle) {
            return;
        }
        let why = self.why_relayed();
        let after_ms = self.reporter.after_ms();
        let relayed = |told: &&mut PathReport| told.kind == ReportedKind::Relay && told.why != why;
        if let Some(told) = self.told.as_mut().filter(relayed) {
            told.why = why;
            told.after_ms = after_ms;
            self.reporter.emit(Report::Path(told.clone()));
        }
    }

    pub(super) fn on_lost(&mut self, path: PathKind, why: &str) {
        self.left_because
            .get_or_insert_with(|| format!("{} was lost: {why}", name(path)));
    }

    pub(super) fn on_silent(&mut self, path: PathKind) {
        self.left_because = Some(format!("{} has gone silent", name(path)));
    }

    /// Notes what carries this end's leg of the relay; whether it is another than before.
    pub(super) fn on_relay(&mut self, carrier: Carrier) -> bool {
        std::mem::replace(&mut self.carrier, carrier) != carrier
    }

    /// Reports the path that streams use from now on, and gives what was reported.
    pub(super) fn on_path(&mut self, tunnel: &Tunnel) -> Option<PathReport> {
        let is_direct = tunnel.path == PathKind::Direct;
        let (kind, via) = match is_direct {
            true => (ReportedKind::Direct, Via::Udp),
            // The peer's leg may be carried otherwise; this end's is what somebody here can do something about.
            false => (ReportedKind::Relay, self.carrier.via()),
        };
        let path = self.direct.filter(|_| is_direct);
        let why = match (path, self.left_because.take()) {
            (Some(path), _) => self.why_direct(&path),
            (None, Some(why)) if self.was_direct => why,
            (None, _) => self.why_relayed(),
        };
        self.was_direct = is_direct;
        let report = PathReport {
            kind,
            via,
            local: tunnel.local,
            remote: Some(tunnel.connection.remote_address()).filter(|remote| !is_unknown(*remote)),
            technique: path.map(|path| path.technique.name().to_owned()),
            rtt_ms: Some(milliseconds(tunnel.rtt())),
            after_ms: self.reporter.after_ms(),
            why,
        };
        let way = |path: &PathReport| (path.kind, path.via, path.remote);
        let before = self.told.replace(report.clone());
        if before.as_ref().map(way) == Some(way(&report)) {
            // The reason that was told still stands, whatever has come and gone since.
            self.told = before;
            return None;
        }
        self.reporter.emit(Report::Path(report.clone()));
        Some(report)
    }

    /// Why there is no direct path.
    pub(super) fn why_relayed(&self) -> String {
        match self.policy {
            PathPolicy::Relay => return "--path relay was given".to_owned(),
            PathPolicy::RelayTcp => return "--path relay-tcp was given".to_owned(),
            PathPolicy::Any | PathPolicy::Direct => {}
        }
        let blocked = match self.carrier {
            Carrier::Udp => None,
            // STUN says the same a little later.
            Carrier::Tcp => Some(Obstacle::UdpBlockedHere),
        };
        let known = self.obstacle.filter(|obstacle| !is_passing(*obstacle));
        let Some(obstacle) = known.or(blocked).or(self.obstacle) else {
            return "a direct path is being looked for".to_owned();
        };
        match obstacle.help() {
            Some(help) => format!("{obstacle}; what would help: {help}"),
            None => obstacle.to_string(),
        }
    }

    pub(super) fn on_refused(&self, warning: Warning) {
        self.reporter.emit(Report::Warning(warning));
    }

    pub(super) fn on_peer_lost(&self, streams: usize) {
        self.reporter.emit(Report::PeerLost { streams });
    }

    pub(super) fn on_resumed(&self, gap: Duration, streams: usize) {
        let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        self.reporter.emit(Report::Resumed { gap_ms, streams });
    }

    /// Redraws the status line.
    pub(super) fn update(
        &self,
        tunnel: Option<&Tunnel>,
        lost_since: Option<Instant>,
        streams: usize,
        waiting: Vec<Waiting>,
        debugger: Option<Box<DebuggerReport>>,
    ) {
        let activity = match (tunnel, lost_since) {
            (Some(tunnel), None) => Activity::Connected {
                searching: tunnel.path != PathKind::Direct && self.policy == PathPolicy::Any,
            },
            (_, Some(since)) => Activity::Resuming {
                since: since.into_std(),
            },
            (None, None) => Activity::Connecting,
        };
        let mut status = Status::new(activity);
        status.rtt = tunnel.map(Tunnel::rtt);
        status.streams = streams;
        status.waiting = waiting;
        status.debugger = debugger;
        self.reporter.status(status);
    }

    pub(super) fn on_over(&self) {
        self.reporter.status(Status::new(Activity::Closing));
    }
}

fn name(path: PathKind) -> &'static str {
    match path {
        PathKind::Direct => "the direct path",
        PathKind::RelayUdp | PathKind::RelayTcp => "the relay",
    }
}

/// Whether it is about an attempt that goes on, rather than about what came of one.
fn is_passing(obstacle: Obstacle) -> bool {
    matches!(
        obstacle,
        Obstacle::WaitingForPeer | Obstacle::Gathering | Obstacle::Trying { .. } | Obstacle::Lost
    )
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
