//! What a person is told about the paths, and why this one is used and not a better one.

use std::time::Duration;

use p2pdbg_base::PathPolicy;
use p2pdbg_events::{PathKind as ReportedKind, PathReport, Via};
use p2pdbg_path::LegTransport;
use p2pdbg_proto::{address::canonical, tunnel::PathKind};
use p2pdbg_punch::{LossReason, Obstacle, Path, Technique};
use p2pdbg_rendezvous_client::is_unknown;

use super::io::{Near, TunnelFacts};

/// TCP reaches the relay and UDP does not, as far as this end can tell. Both ends may find that it is neither's fault.
const UDP_SILENT: &str = "the rendezvous answers over TCP and not over UDP: UDP does not get out of this network, or \
                          the rendezvous' UDP port is closed; what would help: allow outgoing UDP from this host, or \
                          open that port in the firewall of the rendezvous";

/// What was told of the paths last, and what has been learnt since.
#[derive(Debug)]
pub(super) struct PathStatus {
    /// The direct path that the traversal found last.
    direct: Option<Path>,
    /// The other direct way, in words with its figure.
    unused: Option<(Technique, String)>,
    obstacle: Option<Obstacle>,
    /// Why the last tunnel in use was left.
    left_because: Option<String>,
    was_direct: bool,
    /// What was told last, so that nothing is told twice.
    told: Option<PathReport>,
    /// Whether the streams use another tunnel since.
    pub(super) untold: bool,
    /// What carries this end's leg of the relay.
    transport: LegTransport,
    /// Whether UDP reaches the relay, and carried no tunnel there.
    uncarried: bool,
    peer_leg: PeerLeg,
    /// Why TCP carries the relay though UDP passes.
    policed: Option<String>,
    /// Why the relay is used though there is a direct path.
    yielded: Option<String>,
    /// Whether the peer has asked for that.
    asked_for_tcp: bool,
    /// The relay besides the rendezvous'.
    near: Option<Near>,
    policy: PathPolicy,
}

/// What is known of the peer's leg, on which hangs what a silent relay means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerLeg {
    /// It has not been bound yet: the peer may be slow.
    Unheard,
    /// The peer is there, and has bound it.
    Bound,
    /// UDP has carried a tunnel there on this network, and the leg was not bound since: where one is silent now, the
    /// peer may be away.
    Carried,
}

impl PathStatus {
    pub(super) fn new(policy: PathPolicy) -> Self {
        Self {
            policy,
            direct: None,
            unused: None,
            obstacle: None,
            left_because: None,
            was_direct: false,
            told: None,
            untold: false,
            transport: LegTransport::Udp,
            uncarried: false,
            peer_leg: PeerLeg::Unheard,
            policed: None,
            yielded: None,
            asked_for_tcp: false,
            near: None,
        }
    }

    pub(super) fn on_direct(&mut self, path: &Path) {
        self.direct = Some(*path);
        self.unused = None;
    }

    /// Notes which other direct way is not used; the report that whoever is on the direct path is told with, unless
    /// what was told differs in its figure alone, which is measured again and again.
    pub(super) fn on_unused(
        &mut self,
        technique: Technique,
        rtt: Duration,
        after_ms: u64,
    ) -> Option<PathReport> {
        let unused = format!("{} ms {technique} not used", rtt.as_millis());
        let before = self.unused.replace((technique, unused));
        if before.is_some_and(|(before, _)| before == technique) {
            return None;
        }
        let why = self.why_direct(self.direct.as_ref()?);
        self.say_direct(why, after_ms)
    }

    /// The direct path leads over a LAN, and not by a VPN as was thought; the report that whoever is on it is told
    /// with.
    pub(super) fn on_lan(&mut self, after_ms: u64) -> Option<PathReport> {
        let vpn = |path: &&mut Path| path.technique == Technique::Vpn;
        self.direct.as_mut().filter(vpn)?.technique = Technique::Lan;
        let why = self.why_direct(self.direct.as_ref()?);
        let vpn = |told: &&mut PathReport| told.technique.as_deref() == Some(Technique::Vpn.name());
        let told = self.told.as_mut().filter(vpn)?;
        told.technique = Some(Technique::Lan.name().to_owned());
        say_again(told, why, after_ms)
    }

    /// The streams leave a direct path that carries too little, for this reason.
    pub(super) fn on_starved(&mut self, why: String) {
        self.left_because = Some(why.clone());
        self.yielded = Some(why);
    }

    /// The direct path is to be used again, whatever it carries.
    pub(super) fn on_not_yielded(&mut self) {
        self.yielded = None;
    }

    /// The direct path carries too little and there is no other; the report that whoever is on it is told with.
    pub(super) fn on_starving(&mut self, why: &str, after_ms: u64) -> Option<PathReport> {
        let way = self.why_direct(self.direct.as_ref()?);
        self.say_direct(format!("{way}; {why}"), after_ms)
    }

    /// The direct path answers again, and no other is looked for; the report that whoever is on it is told with.
    pub(super) fn on_not_starving(&mut self, after_ms: u64) -> Option<PathReport> {
        let way = self.why_direct(self.direct.as_ref()?);
        self.say_direct(way, after_ms)
    }

    /// Tells this of the direct path, if that is what was told last; another one that was found is told of when streams
    /// use it.
    fn say_direct(&mut self, why: String, after_ms: u64) -> Option<PathReport> {
        let technique = self.direct.as_ref()?.technique.name();
        let is_it = |told: &PathReport| {
            told.kind == ReportedKind::Direct && told.technique.as_deref() == Some(technique)
        };
        say_again(
            self.told.as_mut().filter(|told| is_it(told))?,
            why,
            after_ms,
        )
    }

    /// Notes why TCP carries the relay though UDP passes, or that it does no more; the report that whoever is on the
    /// relay is told with.
    pub(super) fn on_policed(&mut self, why: Option<String>, after_ms: u64) -> Option<PathReport> {
        self.policed = why;
        self.policed.as_ref()?;
        let why = self.why_relayed();
        self.say_relayed(why, after_ms)
    }

    /// Notes whether the peer wants TCP to carry this end's leg.
    pub(super) fn on_asked_for_tcp(&mut self, asked: bool) {
        self.asked_for_tcp = asked;
    }

    /// Notes why the relay is kept though a direct path is up; the report that whoever is on the relay is told with.
    pub(super) fn on_yielded(&mut self, why: String, after_ms: u64) -> Option<PathReport> {
        self.yielded = Some(why.clone());
        self.say_relayed(why, after_ms)
    }

    fn say_relayed(&mut self, why: String, after_ms: u64) -> Option<PathReport> {
        let relayed = |told: &&mut PathReport| told.kind == ReportedKind::Relay;
        say_again(self.told.as_mut().filter(relayed)?, why, after_ms)
    }

    /// What made the direct path work, and what is not used beside it.
    fn why_direct(&self, path: &Path) -> String {
        match &self.unused {
            Some((_, unused)) => format!("{}; {unused}", path.technique),
            None => path.technique.to_string(),
        }
    }

    pub(super) fn on_direct_lost(&mut self, reason: LossReason) {
        self.left_because = Some(match reason {
            LossReason::ConsentExpired => "the direct path has gone silent".to_owned(),
            LossReason::TunnelLost => "the tunnel on the direct path was lost".to_owned(),
            LossReason::SocketFailed => "the socket of the direct path failed".to_owned(),
            LossReason::Disconnected => "the direct path's TCP connection has ended".to_owned(),
        });
    }

    /// Notes what stands in the way of a direct path. Once it is more than that one is being looked for, whoever is on
    /// the relay is told why by the report that this gives.
    pub(super) fn on_obstacle(&mut self, obstacle: Obstacle, after_ms: u64) -> Option<PathReport> {
        self.obstacle = Some(obstacle);
        if is_passing(obstacle) {
            return None;
        }
        let why = self.why_relayed();
        let relayed = |told: &&mut PathReport| told.kind == ReportedKind::Relay && told.why != why;
        let told = self.told.as_mut().filter(relayed)?;
        told.why = why;
        told.after_ms = after_ms;
        Some(told.clone())
    }

    pub(super) fn on_lost(&mut self, path: PathKind, why: &str) {
        self.left_because
            .get_or_insert_with(|| format!("{} was lost: {why}", name(path)));
    }

    pub(super) fn on_silent(&mut self, path: PathKind) {
        self.left_because = Some(format!("{} has gone silent", name(path)));
    }

    /// Notes what carries this end's leg of the relay; whether it is another than before.
    pub(super) fn on_relay(&mut self, transport: LegTransport) -> bool {
        std::mem::replace(&mut self.transport, transport) != transport
    }

    /// What carries this end's leg of the relay.
    pub(super) fn transport(&self) -> LegTransport {
        self.transport
    }

    /// Whether UDP reaches the relay, and carried no tunnel there.
    pub(super) fn is_uncarried(&self) -> bool {
        self.uncarried
    }

    /// Notes whether UDP reaches the relay and carries no tunnel; whether that was so before.
    pub(super) fn on_uncarried(&mut self, uncarried: bool) -> bool {
        std::mem::replace(&mut self.uncarried, uncarried)
    }

    /// Whether a tunnel by the relay may be silent because the peer is away, and not for want of UDP.
    pub(super) fn may_peer_be_away(&self) -> bool {
        self.peer_leg != PeerLeg::Bound
    }

    /// UDP has carried a tunnel by the relay.
    pub(super) fn on_carried_by_udp(&mut self) {
        self.peer_leg = PeerLeg::Carried;
    }

    /// The peer has bound its leg, so it is there: a tunnel by the relay comes up soon where UDP carries one.
    pub(super) fn on_peer_bound(&mut self) {
        self.peer_leg = PeerLeg::Bound;
    }

    /// This host is in another network, of which nothing is known yet. A peer that was there is.
    pub(super) fn on_network_changed(&mut self) {
        if self.peer_leg == PeerLeg::Carried {
            self.peer_leg = PeerLeg::Bound;
        }
    }

    /// The relay besides the rendezvous'.
    pub(super) fn near(&self) -> Option<Near> {
        self.near
    }

    /// Notes which relay there is besides the rendezvous'.
    pub(super) fn on_near(&mut self, near: Option<Near>) {
        self.near = near;
    }

    /// The report of the path that streams use from now on; none if that one was told last.
    pub(super) fn on_path(&mut self, tunnel: &TunnelFacts, after_ms: u64) -> Option<PathReport> {
        let is_direct = tunnel.path == PathKind::Direct;
        let path = self.direct.filter(|_| is_direct);
        let by_tcp = path.is_some_and(|path| path.technique.is_tcp());
        let near = self
            .near
            .filter(|near| !is_direct && leads_to(tunnel, near));
        let (kind, via) = match (is_direct, near) {
            (true, _) if by_tcp => (ReportedKind::Direct, Via::Tcp),
            (true, _) => (ReportedKind::Direct, Via::Udp),
            (false, Some(_)) => (ReportedKind::Relay, Via::Udp),
            // The peer's leg may be carried otherwise; this end's is what somebody here can do something about.
            (false, None) => (ReportedKind::Relay, self.transport.via()),
        };
        let why = match (path, self.left_because.take()) {
            (Some(path), _) => self.why_direct(&path),
            (None, Some(why)) if self.was_direct => why,
            (None, _) => self.why_relayed(),
        };
        let why = match near {
            Some(Near { node, .. }) => {
                format!("{why}; node {node} relays, which is nearer to both")
            }
            None => why,
        };
        self.was_direct = is_direct;
        let report = PathReport {
            kind,
            via,
            local: tunnel.local,
            remote: Some(tunnel.remote).filter(|remote| !is_unknown(*remote)),
            technique: path.map(|path| path.technique.name().to_owned()),
            rtt_ms: Some(milliseconds(tunnel.rtt)),
            after_ms,
            why,
        };
        let way = |path: &PathReport| (path.kind, path.via, path.remote);
        let before = self.told.replace(report.clone());
        if before.as_ref().map(way) == Some(way(&report)) {
            // The reason that was told still stands, whatever has come and gone since.
            self.told = before;
            return None;
        }
        Some(report)
    }

    /// Why the streams are on the relay as they are.
    pub(super) fn why_relayed(&self) -> String {
        if let Some(yielded) = &self.yielded {
            return yielded.clone();
        }
        let why = self.why_not_direct();
        match &self.policed {
            Some(policed) => format!("{why}; {policed}"),
            None => why,
        }
    }

    fn why_not_direct(&self) -> String {
        match self.policy {
            PathPolicy::Relay => return "--path relay was given".to_owned(),
            PathPolicy::RelayTcp => return "--path relay-tcp was given".to_owned(),
            PathPolicy::Any | PathPolicy::Direct => {}
        }
        let silent = match self.transport {
            LegTransport::Udp => None,
            _ if self.uncarried => {
                return "UDP gets out of this network, or the peer's, and carries no tunnel; what would help: a \
                        firewall that lets UDP pass whatever is in it"
                    .to_owned();
            }
            // It is not blocked, and carries little at one of the ends.
            _ if self.policed.is_some() || self.asked_for_tcp => None,
            LegTransport::Tcp | LegTransport::Web => Some(UDP_SILENT.to_owned()),
        };
        let known = self.obstacle.filter(|obstacle| !is_passing(*obstacle));
        // What TCP gets through is no outage. Nor is it known yet whose fault it is.
        let known = known.filter(|obstacle| silent.is_none() || *obstacle != Obstacle::Outage);
        if known.is_none()
            && let Some(silent) = &silent
        {
            return silent.clone();
        }
        let Some(obstacle) = known.or(self.obstacle) else {
            return "a direct path is being looked for".to_owned();
        };
        let why = match obstacle.help() {
            Some(help) => format!("{obstacle}; what would help: {help}"),
            None => obstacle.to_string(),
        };
        match silent {
            // Each would keep the streams from going directly over UDP.
            Some(silent) if is_of_nats(obstacle) => format!("{why}; besides, {silent}"),
            _ => why,
        }
    }
}

/// Tells once more what was told last, with another reason.
fn say_again(told: &mut PathReport, why: String, after_ms: u64) -> Option<PathReport> {
    told.why = why;
    told.after_ms = after_ms;
    Some(told.clone())
}

fn leads_to(tunnel: &TunnelFacts, near: &Near) -> bool {
    canonical(tunnel.remote) == canonical(near.address)
}

fn name(path: PathKind) -> &'static str {
    match path {
        PathKind::Direct => "the direct path",
        PathKind::RelayUdp | PathKind::RelayTcp => "the relay",
    }
}

/// Whether it is about what the NATs do with UDP that passes them.
fn is_of_nats(obstacle: Obstacle) -> bool {
    matches!(
        obstacle,
        Obstacle::BothSymmetric
            | Obstacle::SymmetricHere
            | Obstacle::SymmetricThere
            | Obstacle::NoHairpin
            | Obstacle::Filtered
    )
}

/// Whether it is about an attempt that goes on, rather than about what came of one.
fn is_passing(obstacle: Obstacle) -> bool {
    matches!(
        obstacle,
        Obstacle::WaitingForPeer | Obstacle::Gathering | Obstacle::Trying { .. } | Obstacle::Lost
    )
}

/// A time in milliseconds, to the microsecond, as reports have it.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
