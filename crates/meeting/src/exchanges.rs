//! Exchanges under way at a meeting: from an introduction to a peer that has said who it is, or to a failure.

use std::{collections::HashMap, task::Poll};

use p2pdbg_base::{ErrorCode, Failure};
use p2pdbg_net::same_host::host_tag;
use p2pdbg_pairing as pairing;
use p2pdbg_pairing::{CodeFate, Exchange, Next};
use p2pdbg_path::{Approach, Introduction, PathEvent};
use p2pdbg_proto::{
    code::Code,
    control::{self, Fate, Place, Role, SessionId, ToRendezvous},
    signal::{AbortReason, MAX_NAME, PeerInfo, PeerMessage, SessionTag, Signal},
};
use tokio::time::Instant;

use super::{
    MeetingEvent, Met, Whom,
    channel::{Channel, Remains, split},
    driver::{Driver, RETRY},
};

/// Messages of an arriving peer that wait until it is known to be here.
const SAID_SINCE: usize = 16;

/// Exchanges that may be under way at once, besides one for each known peer; whoever comes then is told that the
/// listener is busy.
const EXCHANGES: usize = 4;

/// An exchange that has not come to its end.
pub(super) struct Pending {
    /// Taken out while a signal is handled.
    pub(super) exchange: Option<Exchange>,
    /// What brought the two together.
    pub(super) place: Place,
    pub(super) at: Introduction,
    /// What is made ready meanwhile.
    pub(super) approach: Option<Approach>,
    /// Whether this side has said who it is.
    pub(super) introduced: bool,
    /// Which session it said that there is with this peer.
    pub(super) said: Option<SessionTag>,
    pub(super) began: Instant,
}

impl Pending {
    fn is_by_code(&self) -> bool {
        matches!(self.place, Place::Nameplate(_))
    }
}

/// A peer that has paired and has not introduced itself yet.
pub(super) struct Arriving {
    pub(super) channel: Channel,
    pub(super) remains: Remains,
    pub(super) at: Introduction,
    pub(super) approach: Option<Approach>,
    pub(super) code: Option<Code>,
    /// Which session this side said that there is with this peer.
    pub(super) said: Option<SessionTag>,
    /// What it says of itself, until it is known that it has not left.
    pub(super) info: Option<PeerInfo>,
    /// What it has said since.
    pub(super) said_since: Vec<PeerMessage>,
    pub(super) began: Instant,
}

impl Driver {
    pub(super) async fn on_introduced(&mut self, mut introduction: control::Introduction) {
        let session = introduction.session;
        let Some(at) = self.seen_from_here(&introduction) else {
            return;
        };
        if let Place::Handle(handle) = &introduction.place
            && let Some((id, channel)) = self.channels.at(handle)
        {
            channel.carried_by = Some(session);
            // Nobody else knows the handle, and what is said there is sealed.
            self.link.send(ToRendezvous::Confirmed { session });
            self.tell(MeetingEvent::Introduced(id, at)).await;
            return;
        }
        let said = introduction.prepared.take();
        let ahead = said
            .as_ref()
            .map(|said| self.take_ahead(&introduction.place, said));
        if self.config.paths.role == Role::Listener {
            // For whoever comes next.
            self.prepare_anew();
        }
        if self.exchanges.len() >= EXCHANGES + self.awaited.known.len() {
            let reason = AbortReason::Busy;
            self.signal(session, &Signal::Abort { reason });
            self.link.send(ToRendezvous::Leave { session });
            return;
        }
        let begun = match ahead {
            Some(ahead) => ahead.map(|exchange| (exchange, None)),
            None => self
                .exchange_at(&introduction.place)
                .map(|(exchange, signal)| (exchange, Some(signal))),
        };
        let Some((exchange, signal)) = begun else {
            self.link.send(ToRendezvous::Leave { session });
            if said.is_some() && self.config.paths.role == Role::Connector {
                // It has been given what this end says no more.
                self.retry_at = Some(Instant::now() + RETRY);
            }
            return;
        };
        if let Some(signal) = signal {
            self.signal(session, &signal);
        }
        let pending = Pending {
            exchange: Some(exchange),
            // Without UDP the session finds the same, and says it.
            approach: Approach::begin(self.config.paths.clone(), at.clone()).ok(),
            introduced: false,
            said: None,
            place: introduction.place,
            at,
            began: Instant::now(),
        };
        self.exchanges.insert(session, pending);
        self.tell(MeetingEvent::Pairing).await;
    }

    /// Begins an exchange with whoever comes to this place; gives what this end says first.
    pub(super) fn exchange_at(&self, place: &Place) -> Option<(Exchange, Signal)> {
        let own = self.config.identity.fingerprint();
        let role = self.config.paths.role;
        let known = &self.awaited.known;
        match place {
            Place::Nameplate(nameplate) => self
                .own_code()
                .filter(|code| code.nameplate == *nameplate)
                .map(|code| Exchange::by_code(role, code, own)),
            Place::Handle(handle) => known
                .iter()
                .find(|known| *handle == known.meeting_handle())
                .map(|known| Exchange::by_secret(role, &known.secret, own, known.fingerprint)),
        }
    }

    pub(super) async fn handle_signal(&mut self, session: SessionId, payload: &[u8]) {
        if let Some(pending) = self.exchanges.get_mut(&session) {
            let Some(exchange) = pending.exchange.take() else {
                return;
            };
            let step = exchange.handle_payload(payload);
            if matches!(step.next, Next::Paired(_)) {
                // Before the reply, on which the peer's follows: the second of the two is what brings the voucher.
                self.link.send(ToRendezvous::Confirmed { session });
            }
            if let Some(reply) = &step.reply {
                self.signal(session, reply);
            }
            match step.next {
                Next::Wait(exchange) => {
                    if let Some(pending) = self.exchanges.get_mut(&session) {
                        if let (Some(approach), Some(claimed)) =
                            (&mut pending.approach, exchange.claimed())
                        {
                            let key = exchange.tunnel_key();
                            approach.expect(claimed, &self.config.identity, key);
                        }
                        pending.exchange = Some(exchange);
                    }
                    self.say_early(session);
                }
                Next::Paired(paired) => self.on_paired(session, *paired),
                Next::Failed(failure) => self.on_exchange_failed(session, failure).await,
            }
            return;
        }
        if let Some(arriving) = self.arriving.get_mut(&session) {
            let message = arriving.channel.open(payload);
            if arriving.info.is_some() {
                let room = arriving.said_since.len() < SAID_SINCE;
                arriving.said_since.extend(message.filter(|_| room));
            } else if let Some(PeerMessage::Introduce(info)) = message {
                if arriving.code.is_some() && self.config.paths.role == Role::Listener {
                    // It may have said all this long ago, to a listener that was asleep, and have left. The answer comes
                    // behind whatever the rendezvous has had to say until then.
                    arriving.info = Some(info);
                    self.link.send(ToRendezvous::Ping);
                    return;
                }
                self.on_arrived(session, info).await;
            }
            return;
        }
        if let Some((id, channel)) = self.channels.carried_by(session)
            && let Some(message) = channel.open(payload)
        {
            self.tell(MeetingEvent::Message(id, message)).await;
        }
    }

    /// Hears what the approaches tell: to which session it belongs.
    pub(super) async fn approach_event(
        exchanges: &mut HashMap<SessionId, Pending>,
        arriving: &mut HashMap<SessionId, Arriving>,
    ) -> (SessionId, PathEvent) {
        std::future::poll_fn(|cx| {
            let pending = exchanges.iter_mut().map(|(id, p)| (id, &mut p.approach));
            let arriving = arriving.iter_mut().map(|(id, a)| (id, &mut a.approach));
            for (session, approach) in pending.chain(arriving) {
                if let Some(approach) = approach
                    && let Poll::Ready(event) = approach.poll_event(cx)
                {
                    return Poll::Ready((*session, event));
                }
            }
            Poll::Pending
        })
        .await
    }

    pub(super) fn on_approach(&mut self, session: SessionId, event: PathEvent) {
        let pending = self.exchanges.get_mut(&session).map(|p| &mut p.approach);
        let arriving = self.arriving.get_mut(&session).map(|a| &mut a.approach);
        if let Some(Some(approach)) = pending.or(arriving) {
            approach.keep(event);
        }
        self.say_early(session);
        self.say_candidates(session);
    }

    /// Says under seal, to a peer that has confirmed, where this side may be reached, before there is a session.
    fn say_candidates(&mut self, session: SessionId) {
        if let Some(arriving) = self.arriving.get_mut(&session)
            && let Some(approach) = &mut arriving.approach
        {
            for signal in approach.take_signals() {
                let sealed = arriving.channel.seal(&PeerMessage::Punch(signal));
                if let Some((session, payload)) = sealed {
                    self.link.send(ToRendezvous::Signal { session, payload });
                }
            }
        }
    }

    /// Says under seal, at the connector, what needs not wait for the listener's confirmation.
    fn say_early(&mut self, session: SessionId) {
        // A connector has one session, whoever its peer will turn out to be.
        let said = self.channels.iter().next().map(Channel::tag);
        let introduce = self.introduction(said);
        let Some(pending) = self.exchanges.get_mut(&session) else {
            return;
        };
        let Some(exchange) = &mut pending.exchange else {
            return;
        };
        let mut signals = Vec::new();
        if !pending.introduced
            && let Some(signal) = exchange.seal(&introduce)
        {
            pending.introduced = true;
            pending.said = said;
            signals.push(signal);
        }
        if pending.introduced
            && let Some(approach) = &mut pending.approach
        {
            let waiting = approach.take_signals().into_iter();
            signals.extend(waiting.filter_map(|s| exchange.seal(&PeerMessage::Punch(s))));
        }
        for signal in signals {
            self.signal(session, &signal);
        }
    }

    /// Who this side is, and which session there is with the peer.
    fn introduction(&self, session: Option<SessionTag>) -> PeerMessage {
        PeerMessage::Introduce(PeerInfo {
            name: self.config.name.to_string(),
            agent: concat!("p2pdbg/", env!("CARGO_PKG_VERSION")).to_owned(),
            host: host_tag(),
            process: self.config.process,
            session,
        })
    }

    pub(super) fn on_paired(&mut self, session: SessionId, paired: pairing::Paired) {
        let Some(pending) = self.exchanges.remove(&session) else {
            return;
        };
        let (mut channel, remains) = split(paired, session);
        let mut said = pending.said;
        if !pending.introduced {
            said = self.channels.tag_with(channel.peer);
            if let Some((session, payload)) = channel.seal(&self.introduction(said)) {
                self.link.send(ToRendezvous::Signal { session, payload });
            }
        }
        let by_code = pending.is_by_code();
        let arriving = Arriving {
            channel,
            remains,
            at: pending.at,
            approach: pending.approach,
            info: None,
            said_since: Vec::new(),
            began: Instant::now(),
            code: self.own_code().filter(|_| by_code).cloned(),
            said,
        };
        self.arriving.insert(session, arriving);
        self.say_candidates(session);
    }

    /// The rendezvous has answered: those who have not left by then are here.
    pub(super) async fn on_pong(&mut self) {
        let here = self.arriving.iter_mut();
        let here = here.filter_map(|(session, a)| Some((*session, a.info.take()?)));
        for (session, info) in here.collect::<Vec<_>>() {
            self.on_arrived(session, info).await;
        }
    }

    /// The peer has said who it is, and is here: a session can begin.
    pub(super) async fn on_arrived(&mut self, session: SessionId, mut info: PeerInfo) {
        let Some(arriving) = self.arriving.remove(&session) else {
            return;
        };
        truncate(&mut info.name, MAX_NAME);
        truncate(&mut info.agent, MAX_NAME);
        if arriving.code.is_some()
            && let Some(listening) = self.code.take()
        {
            self.unlisten(&listening, Fate::Used);
            self.awaited.code = false;
            self.drop_exchanges_by_code();
        }
        let (at, channel) = (arriving.at, arriving.channel);
        if let Some(tag) = info.session.filter(|_| info.session == arriving.said)
            && let Some((id, old)) = self.channels.tagged(channel.peer, tag)
        {
            // The same process, met at another place: what the two have goes on.
            old.carried_by = Some(session);
            self.tell(MeetingEvent::Introduced(id, at)).await;
            return;
        }
        if !self.channels.have_room() {
            self.link.send(ToRendezvous::Leave { session });
            return;
        }
        self.meet(channel.handle.clone(), channel.carried_by);
        if self.config.paths.role == Role::Connector {
            // Only a listener waits for its peer's next process.
            for known in &self.awaited.known {
                let (handle, role) = (known.meeting_handle(), Role::Connector);
                self.link.send(ToRendezvous::Unmeet { handle, role });
            }
        }
        let peer = channel.peer;
        let channel = self.channels.add(channel);
        let Remains { keys, pair_secret } = arriving.remains;
        let met = Met {
            channel,
            peer,
            info,
            keys,
            pair_secret,
            code: arriving.code,
            at,
            approach: arriving.approach,
        };
        self.tell(MeetingEvent::Met(Box::new(met))).await;
        for message in arriving.said_since {
            self.tell(MeetingEvent::Message(channel, message)).await;
        }
    }

    /// An introduction with what this end's connection to the rendezvous adds; none while there is no connection.
    fn seen_from_here(&self, introduction: &control::Introduction) -> Option<Introduction> {
        let up = self.up.as_ref()?;
        Some(Introduction {
            leg: introduction.leg.clone(),
            rendezvous: up.address,
            stun: self.config.further_stun.beside(up.stun.clone()),
            peer_seen: introduction.peer_seen.clone(),
            peer_bound: false,
            over_tcp: up.over_tcp,
        })
    }

    pub(super) async fn on_peer_left(&mut self, session: SessionId, on_purpose: bool) {
        if self.exchanges.contains_key(&session) {
            self.on_exchange_failed(session, pairing::Failure::PeerLeft)
                .await;
            return;
        }
        if self.arriving.remove(&session).is_some() {
            self.register();
        }
        if let Some((id, channel)) = self.channels.carried_by(session) {
            // It comes back to the handle at which this side waits.
            channel.carried_by = None;
            if on_purpose {
                self.tell(MeetingEvent::PeerLeft(id)).await;
            }
        }
    }

    pub(super) async fn on_exchange_failed(
        &mut self,
        session: SessionId,
        failure: pairing::Failure,
    ) {
        let Some(pending) = self.exchanges.remove(&session) else {
            return;
        };
        if failure != pairing::Failure::PeerLeft {
            self.link.send(ToRendezvous::Leave { session });
        }
        let by_code = pending.is_by_code();
        match (&mut self.code, &self.config.whom) {
            (Some(listening), _) if by_code => {
                if listening.attempts.failed(&failure) == CodeFate::Burned {
                    self.burn_code().await;
                } else {
                    self.tell(MeetingEvent::PairingFailed(failure)).await;
                }
            }
            (None, Whom::CodeMaker(_)) if by_code => {
                let fate = self.attempts.failed(&failure);
                let passing = failure == pairing::Failure::PeerLeft && fate == CodeFate::Good;
                if passing {
                    self.retry_at = Some(Instant::now() + RETRY);
                    self.tell(MeetingEvent::PairingFailed(failure)).await;
                } else {
                    self.fail(code_failure(&failure)).await;
                }
            }
            _ => match failure {
                pairing::Failure::PeerLeft
                | pairing::Failure::Aborted(AbortReason::Busy | AbortReason::Protocol) => {
                    self.retry_at = Some(Instant::now() + RETRY);
                    self.tell(MeetingEvent::PairingFailed(failure)).await;
                }
                // Of several peers, one that is not what it should be does not end the others' sessions.
                lasting if matches!(self.config.whom, Whom::Several(_)) => {
                    self.tell(MeetingEvent::PairingFailed(lasting)).await;
                }
                lasting => self.fail(known_peer_failure(&lasting)).await,
            },
        }
    }

    pub(super) async fn burn_code(&mut self) {
        if let Some(listening) = self.code.take() {
            self.unlisten(&listening, Fate::Burned);
        }
        self.drop_exchanges_by_code();
        self.tell(MeetingEvent::CodeBurned).await;
        self.register();
    }

    /// A code is good for one pairing or one wrong guess; whoever else was trying it at the same time has lost.
    pub(super) fn drop_exchanges_by_code(&mut self) {
        let link = &self.link;
        let keep = |session: &SessionId, by_code: bool| {
            if by_code {
                let session = *session;
                link.send(ToRendezvous::Leave { session });
            }
            !by_code
        };
        self.exchanges
            .retain(|session, pending| keep(session, pending.is_by_code()));
        self.arriving
            .retain(|session, arriving| keep(session, arriving.code.is_some()));
    }
}

/// What a failed exchange by code means for the person who typed the code.
fn code_failure(failure: &pairing::Failure) -> Failure {
    let (code, hint) = match failure {
        pairing::Failure::Version { .. } => (
            ErrorCode::PeerVersion,
            "use the same version of p2pdbg at both ends",
        ),
        pairing::Failure::Protocol | pairing::Failure::Aborted(_) => (
            ErrorCode::PeerMisbehaved,
            "use the same version of p2pdbg at both ends, and try again",
        ),
        _ => (
            ErrorCode::CodeRefused,
            "the code is burned: use the one that p2pdbg listen shows now",
        ),
    };
    Failure::new(code, failure.to_string()).hint(hint)
}

/// What a failed exchange between known peers means.
fn known_peer_failure(failure: &pairing::Failure) -> Failure {
    let code = match failure {
        pairing::Failure::Version { .. } => ErrorCode::PeerVersion,
        pairing::Failure::Protocol => ErrorCode::PeerMisbehaved,
        _ => ErrorCode::PeerIdentity,
    };
    Failure::new(code, failure.to_string()).hint("pair the two hosts again with a new code")
}

fn truncate(text: &mut String, limit: usize) {
    while text.len() > limit {
        text.pop();
    }
}
