//! Whether UDP carries a tunnel through the relay, or TCP has to.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_path::{LegTransport, PathCommand};
use p2pdbg_proto::tunnel::PathKind;

use super::{Decisions, Output, io::Timer};

/// How long a tunnel may take to come up through the relay over UDP, once both legs are bound, before TCP is tried as
/// well. Only on a very long way does a handshake take more, and there it comes up meanwhile.
pub(super) const UNCARRIED: Duration = Duration::from_secs(1);

/// For how long TCP carries the relay's leg where UDP carried no tunnel. What stands then goes on over UDP: it has no
/// handshake before it.
pub(super) const BY_TCP: Duration = Duration::from_secs(600);

impl Decisions {
    /// Notes what carries this end's leg of the relay.
    pub(super) fn note_transport(&mut self, transport: LegTransport, now: Instant) {
        let changed = self.path_status.on_relay(transport);
        let used = self.tunnels.used();
        if changed && used.is_some_and(|used| used.path != PathKind::Direct) {
            self.tell_path(now);
        }
    }

    /// The relay's leg is bound: a tunnel is to come up there soon, whoever dials it. Binds are no proof of that, since
    /// some networks let through what they do not know and drop what looks like QUIC, or what comes often.
    pub(super) fn expect_relayed(
        &mut self,
        transport: LegTransport,
        remote: SocketAddr,
        now: Instant,
    ) {
        if transport == LegTransport::Udp && !self.tunnels.serves(PathKind::RelayUdp) {
            if !self.path_status.may_peer_be_away() {
                self.timers.set_sooner(Timer::Uncarried, now + UNCARRIED);
            }
            return;
        }
        self.timers.clear(Timer::Uncarried);
        if self.path_status.is_uncarried() {
            // What was dialled over UDP repeats itself after seconds only, so it keeps nobody from dialling now.
            self.tunnels
                .dials
                .leave(transport.path(), remote, Duration::ZERO, now);
        }
    }

    /// The peer has bound its leg, so it is there. Where a tunnel serves, that is no news.
    pub(super) fn on_peer_bound(&mut self) {
        if !self.tunnels.serves(PathKind::RelayUdp) {
            self.path_status.on_peer_bound();
        }
    }

    pub(super) fn on_uncarried(&mut self) {
        if !self.tunnels.serves(PathKind::RelayUdp) {
            tracing::info!(
                "the relay is reached over UDP and no tunnel comes up there, so TCP is tried"
            );
            self.path_status.on_uncarried(true);
            self.put(Output::Path(PathCommand::AvoidUdp(BY_TCP)));
        }
    }

    /// A tunnel has come up: if by the relay, it is known now whether UDP carries it there.
    pub(super) fn on_carried(&mut self, path: PathKind) {
        if path == PathKind::Direct {
            return;
        }
        self.timers.clear(Timer::Uncarried);
        if self.path_status.transport() != LegTransport::Udp {
            return;
        }
        self.path_status.on_carried_by_udp();
        if self.path_status.on_uncarried(false) {
            // It was slow, or the peer's leg was the one that could not.
            self.put(Output::Path(PathCommand::AvoidUdp(Duration::ZERO)));
        }
    }
}
