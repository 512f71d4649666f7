//! This end's leg of the relay: bound over UDP, and over TCP where UDP does not get through; sans-IO.
//!
//! UDP is tried first, with frames as long as QUIC's first packets, so that a leg that is bound is known to carry QUIC.
//! TCP is tried when that takes too long, or at once when the rendezvous could be reached over TCP only. The relay
//! sends to wherever the leg was bound last. So while TCP carries it, BIND still goes out over UDP, ever more rarely,
//! and once it is answered the leg moves there. After UDP has failed once it must be heard for a while first, longer
//! each time, so that a network that comes and goes does not make the leg do the same.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use p2pdbg_base::Probation;
use p2pdbg_proto::relay::{LegGrant, RelayFrame, RelayRefusal};
use p2pdbg_punch::SocketId;

use super::{
    LegTransport,
    relay_udp_leg::{Leg, LegAction},
};

/// How long the connector waits to hear that the peer's leg is bound, before it dials all the same.
const PEER_LEG: Duration = Duration::from_secs(1);

/// TCP is tried when UDP has taken this long: two round trips, and a repetition.
const TCP_AFTER: Duration = Duration::from_millis(700);

/// The first pause after TCP has failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after TCP has failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A connection that has lasted for so long is made again without a pause.
const LASTED: Duration = Duration::from_secs(3);

/// Between two attempts over TCP at the least, however often the peer asks for it. Once TCP has carried the leg,
/// [`LASTED`] after it changed last.
const ATTEMPTS: Duration = Duration::from_secs(1);

/// UDP that has carried the leg for so long is as good as new.
const FORGIVEN: Duration = Duration::from_secs(300);

/// How long a connection that is not needed any more stays for what is still on its way.
const LINGER: Duration = Duration::from_secs(1);

/// Which transports may be used, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegTransports {
    /// UDP, and TCP if that takes too long.
    UdpFirst,
    /// Both at once: the rendezvous could be reached over TCP only.
    Both,
    /// UDP alone: there is another relay beside this one, which has the detour over TCP.
    UdpAlone,
    /// TCP alone: UDP was tried and does not get through.
    TcpAlone,
}

/// What is to be done for the leg.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RelayAction {
    /// Send this to the relay over UDP.
    Send(Vec<u8>),
    /// Connect over TCP, and join the leg there.
    Connect,
    /// Find out whether the connection lives.
    Check,
    /// Send what goes to the relay over UDP again.
    LeaveTcp,
    /// End the connection, or the attempt.
    HangUp,
    /// BIND is on its way over UDP: what is sent to the relay now comes behind it.
    Near,
    /// The peer can be dialled through the relay.
    Ready(LegTransport),
    /// The relay knows the leg no longer.
    Gone,
}

/// The state of the leg.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    /// The socket that is bound to the leg.
    pub(super) socket: SocketId,
    pub(super) grant: LegGrant,
    /// The binding over UDP, which is kept up while TCP carries the leg.
    leg: Leg,
    udp: bool,
    tcp: TcpState,
    /// When the last attempt over TCP began, and whether one has ever carried the leg.
    tried_at: Option<Instant>,
    was_by_stream: bool,
    /// The next pause after a failure of TCP.
    pause: Duration,
    /// Until when UDP is not to carry the leg, though it could.
    avoided_until: Option<Instant>,
    transport: Option<LegTransport>,
    /// Since when the transport is what it is.
    since: Instant,
    trial: Trial,
    progress: Progress,
    actions: VecDeque<RelayAction>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TcpState {
    /// Only UDP may carry the leg.
    Never,
    /// Not needed: UDP carries the leg.
    Idle,
    /// To be tried then, if UDP has not come up.
    At(Instant),
    /// A connection to the relay is being made.
    Connecting,
    /// The leg was joined there.
    Up,
    /// Not needed any more, and ended then.
    Until(Instant),
}

/// How UDP has to prove itself while TCP carries the leg.
#[derive(Debug)]
struct Trial {
    /// For how long it must be heard.
    probation: Probation,
    /// Whether it has failed before, so that it is on trial at all.
    on: bool,
    heard_since: Option<Instant>,
    /// Whether the last BIND was answered.
    answered: bool,
}

impl Trial {
    fn new() -> Self {
        Self {
            probation: Probation::default(),
            on: false,
            heard_since: None,
            answered: true,
        }
    }

    /// UDP carried the leg and has failed.
    fn begin(&mut self) {
        if self.on {
            self.probation = self.probation.longer();
        }
        self.on = true;
        self.heard_since = None;
    }

    /// A BIND goes out; if the one before was not answered, the trial begins anew.
    fn on_asked(&mut self) {
        if !self.answered {
            self.heard_since = None;
        }
        self.answered = false;
    }

    /// The relay has answered a BIND; whether that is enough.
    fn on_answered(&mut self, now: Instant) -> bool {
        self.answered = true;
        let since = *self.heard_since.get_or_insert(now);
        !self.on || now.saturating_duration_since(since) >= self.probation.lasts()
    }
}

/// How far the relay is from carrying something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// This leg is not bound.
    Binding { peer_bound: bool },
    /// This leg is bound; the other one, not as far as this end knows, until then.
    Bound { dial_at: Instant },
    /// The session was told that the peer can be dialled through the relay.
    Told,
}

impl Relay {
    /// A leg that is to be bound at once.
    pub(super) fn new(
        grant: LegGrant,
        address: SocketAddr,
        socket: SocketId,
        transports: LegTransports,
        peer_bound: bool,
        now: Instant,
    ) -> Self {
        let tcp = match transports {
            LegTransports::UdpFirst => TcpState::At(now + TCP_AFTER),
            LegTransports::UdpAlone => TcpState::Never,
            LegTransports::Both | LegTransports::TcpAlone => TcpState::At(now),
        };
        Self {
            address,
            socket,
            leg: Leg::new(grant.clone(), Vec::new(), now),
            grant,
            udp: transports != LegTransports::TcpAlone,
            tcp,
            tried_at: None,
            was_by_stream: false,
            pause: FIRST_PAUSE,
            avoided_until: None,
            transport: None,
            since: now,
            trial: Trial::new(),
            progress: Progress::Binding { peer_bound },
            actions: VecDeque::new(),
        }
    }

    /// A leg at a relay that knows of the session by ticket, to be bound over UDP.
    pub(super) fn by_ticket(
        grant: LegGrant,
        ticket: Vec<u8>,
        address: SocketAddr,
        socket: SocketId,
        now: Instant,
    ) -> Self {
        let leg = Leg::new(grant.clone(), ticket, now);
        let relay = Self::new(grant, address, socket, LegTransports::UdpAlone, false, now);
        Self { leg, ..relay }
    }

    /// Whether the leg is bound, as far as is known.
    pub(super) fn is_bound(&self) -> bool {
        !matches!(self.progress, Progress::Binding { .. })
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let bind = self.leg.poll_timeout().filter(|_| self.udp);
        let tcp = match self.tcp {
            TcpState::At(at) | TcpState::Until(at) => Some(at),
            TcpState::Never | TcpState::Idle | TcpState::Connecting | TcpState::Up => None,
        };
        let dial = match self.progress {
            Progress::Bound { dial_at } => Some(dial_at),
            Progress::Binding { .. } | Progress::Told => None,
        };
        let timers = [bind, tcp, dial, self.avoided_until];
        timers.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.avoided_until.take_if(|until| *until <= now).is_some() {
            // The relay sends over TCP until the leg is bound again.
            self.leg.rebind(now);
        }
        let is_carried = self.is_by_stream();
        if self.udp
            && let Some(LegAction::Send(frame)) = self.leg.handle_timeout(now, is_carried)
        {
            self.trial.on_asked();
            self.actions.push_back(RelayAction::Send(frame));
            self.actions.push_back(RelayAction::Near);
        }
        match self.tcp {
            TcpState::At(at) if at <= now => {
                self.tcp = TcpState::Connecting;
                self.tried_at = Some(now);
                self.actions.push_back(RelayAction::Connect);
            }
            TcpState::Until(at) if at <= now => self.hang_up(now),
            _ => {}
        }
    }

    /// The next thing to do.
    pub(super) fn poll_action(&mut self, now: Instant) -> Option<RelayAction> {
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        match (self.progress, self.transport) {
            (Progress::Bound { dial_at }, Some(transport)) if dial_at <= now => {
                self.progress = Progress::Told;
                Some(RelayAction::Ready(transport))
            }
            _ => None,
        }
    }

    /// Takes a frame that came from the relay's address over UDP.
    pub(super) fn handle_frame(&mut self, now: Instant, frame: &RelayFrame) {
        let is_challenge = matches!(frame, RelayFrame::Challenge { .. });
        let by_tcp = matches!(self.tcp, TcpState::Connecting | TcpState::Up);
        if is_challenge && by_tcp && self.avoids_udp(now) {
            // An answer would bind the leg to UDP.
            return;
        }
        if is_challenge {
            let is_enough = self.trial.on_answered(now);
            if self.is_by_stream() {
                self.leg.keep_asking(now);
                if !is_enough {
                    return;
                }
            }
        }
        match self.leg.handle_frame(frame) {
            Some(LegAction::Send(frame)) => self.actions.push_back(RelayAction::Send(frame)),
            Some(LegAction::Bound) => self.on_bound_over_udp(now),
            Some(LegAction::Gone) => self.actions.push_back(RelayAction::Gone),
            None => {}
        }
    }

    fn on_bound_over_udp(&mut self, now: Instant) {
        match self.tcp {
            TcpState::Up => {
                self.tcp = TcpState::Until(now + LINGER);
                self.actions.push_back(RelayAction::LeaveTcp);
            }
            // The relay may have heard of it all the same, so that the leg has to be bound once more.
            TcpState::Connecting => self.hang_up(now),
            // UDP serves until TCP does.
            TcpState::At(_) if self.avoids_udp(now) => {}
            TcpState::At(_) => self.tcp = TcpState::Idle,
            TcpState::Never | TcpState::Idle | TcpState::Until(_) => {}
        }
        self.set_transport(LegTransport::Udp, now);
    }

    /// Ends the connection, and binds once more over UDP in case that unbound the leg.
    fn hang_up(&mut self, now: Instant) {
        self.tcp = TcpState::Idle;
        self.actions.push_back(RelayAction::HangUp);
        self.bind(now);
    }

    /// Binds over UDP again, and over TCP if that takes too long.
    fn bind(&mut self, now: Instant) {
        self.leg.rebind(now);
        if self.tcp == TcpState::Idle {
            self.tcp = TcpState::At(now + TCP_AFTER);
        }
    }

    fn set_transport(&mut self, transport: LegTransport, now: Instant) {
        if self.transport != Some(transport) {
            self.since = now;
        }
        self.transport = Some(transport);
        let dial_at = match self.progress {
            Progress::Binding { peer_bound: false } => now + PEER_LEG,
            _ => now,
        };
        self.progress = Progress::Bound { dial_at };
    }

    /// The leg was joined over TCP, or over a WebSocket.
    pub(super) fn on_stream_bound(&mut self, now: Instant, transport: LegTransport) {
        if self.transport == Some(LegTransport::Udp) && !self.avoids_udp(now) {
            if now.saturating_duration_since(self.since) >= FORGIVEN {
                self.trial = Trial::new();
            }
            self.trial.begin();
        }
        self.tcp = TcpState::Up;
        self.was_by_stream = true;
        self.set_transport(transport, now);
    }

    /// The relay refuses the leg over TCP, or takes it back.
    pub(super) fn on_stream_refused(&mut self, now: Instant, reason: RelayRefusal) {
        if reason == RelayRefusal::UnknownLeg && self.transport != Some(LegTransport::Udp) {
            self.actions.push_back(RelayAction::Gone);
        }
        self.on_stream_ended(now);
    }

    /// There is no connection over TCP, or no more.
    pub(super) fn on_stream_ended(&mut self, now: Instant) {
        let was = std::mem::replace(&mut self.tcp, TcpState::Idle);
        if self.is_by_stream() {
            self.transport = None;
            self.progress = Progress::Binding { peer_bound: true };
            self.actions.push_back(RelayAction::LeaveTcp);
            self.leg.rebind(now);
        }
        if was == TcpState::Up && now.saturating_duration_since(self.since) >= LASTED {
            // Failures before it say nothing of the next attempts.
            self.pause = FIRST_PAUSE;
            self.tcp = TcpState::At(now);
        } else if self.transport.is_none() || was == TcpState::Connecting {
            self.tcp = TcpState::At(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// No other connection could be had, and the one that carries the leg is still there: whether it lives is asked.
    pub(super) fn on_stream_kept(&mut self, now: Instant) {
        self.tcp = TcpState::Up;
        self.actions.push_back(RelayAction::Check);
        self.progress = Progress::Bound { dial_at: now };
    }

    /// Has TCP carry the leg for so long, though UDP may be bound; for no time: UDP again as soon as it is.
    pub(super) fn avoid_udp(&mut self, time: Duration, now: Instant) {
        if time.is_zero() && self.avoided_until.is_none() {
            return;
        }
        self.avoided_until = Some(now + time);
        if !time.is_zero() && matches!(self.tcp, TcpState::Idle | TcpState::Until(_)) {
            let next = self.tried_at.map_or(now, |tried| tried + ATTEMPTS);
            let settled = match self.was_by_stream {
                true => self.since + LASTED,
                false => now,
            };
            self.tcp = TcpState::At(now.max(next).max(settled));
        }
    }

    /// Whether a connection over TCP carries the leg.
    pub(super) fn is_by_stream(&self) -> bool {
        matches!(self.transport, Some(LegTransport::Tcp | LegTransport::Web))
    }

    fn avoids_udp(&self, now: Instant) -> bool {
        self.avoided_until.is_some_and(|until| now < until)
    }

    /// Binds again, because the relay is silent or the source address may be another. It is taken that the peer's leg
    /// is where it was: if it is not, dialling costs a repetition.
    pub(super) fn rebind(&mut self, now: Instant) {
        let peer_bound = match self.progress {
            Progress::Binding { peer_bound } => peer_bound,
            Progress::Bound { dial_at } => dial_at <= now,
            Progress::Told => true,
        };
        self.leg.rebind(now);
        self.progress = Progress::Binding { peer_bound };
        match self.tcp {
            TcpState::Up => {
                self.actions.push_back(RelayAction::Check);
                if self.is_by_stream() {
                    self.progress = Progress::Bound { dial_at: now };
                }
            }
            TcpState::Idle => self.tcp = TcpState::At(now + TCP_AFTER),
            TcpState::Never | TcpState::At(_) | TcpState::Connecting | TcpState::Until(_) => {}
        }
    }

    /// The network is another: what has failed before may work now.
    pub(super) fn on_network_changed(&mut self, now: Instant) {
        self.pause = FIRST_PAUSE;
        self.trial = Trial::new();
        match &mut self.tcp {
            TcpState::At(at) => *at = (*at).min(now + TCP_AFTER),
            // TCP does not move to another address. The old connection serves until the new one does, if it does.
            // An attempt from an address that is gone would take seconds to find that out.
            TcpState::Up | TcpState::Connecting => {
                self.tcp = TcpState::Connecting;
                self.actions.push_back(RelayAction::Connect);
            }
            TcpState::Never | TcpState::Idle | TcpState::Until(_) => {}
        }
        self.rebind(now);
    }

    /// The peer has bound its leg.
    pub(super) fn on_peer_bound(&mut self, now: Instant) {
        match &mut self.progress {
            Progress::Binding { peer_bound } => *peer_bound = true,
            Progress::Bound { dial_at } => *dial_at = now,
            // Its leg is another than before: what was dialled meanwhile may have gone into the old one.
            told @ Progress::Told => *told = Progress::Bound { dial_at: now },
        }
    }
}

#[cfg(test)]
mod tests;
