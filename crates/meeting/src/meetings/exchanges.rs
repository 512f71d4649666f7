//! From an introduction to both keys, and who the peer is.

use std::time::Instant;

use p2pdbg_pairing as pairing;
use p2pdbg_pairing::{CodeFate, Next};
use p2pdbg_path::Introduction;
use p2pdbg_proto::{
    rendezvous::{self, Fate, MeetingPoint, Role, SessionId, ToRendezvous},
    signal::{AbortReason, MAX_NAME, PeerInfo, Signal},
};

use super::{
    super::{
        MeetingEvent, Met,
        channel::Remains,
        encounter::{Encounter, Keyed, PATIENCE, Stage},
        failures::{code_failure, codes_guessed, guessed, known_peer_failure},
        io::Output,
        refusals::RETRY,
    },
    Meetings,
};

/// Exchanges that may be under way at once, besides one for each known peer; whoever comes then is told that the
/// listener is busy.
const EXCHANGES: usize = 4;

impl Meetings {
    pub(super) fn on_introduced(&mut self, now: Instant, introduction: rendezvous::Introduction) {
        let session = introduction.session;
        let Some(at) = self.seen_from_here(&introduction) else {
            return;
        };
        if let MeetingPoint::Handle(handle) = &introduction.place
            && let Some((id, channel)) = self.channels.at(handle)
        {
            channel.carry(session);
            // Nobody else knows the handle, and what is said there is sealed.
            self.send(ToRendezvous::Confirmed { session });
            self.tell(MeetingEvent::Introduced(id, at));
            return;
        }
        let (place, said) = (introduction.place, introduction.prepared);
        let prepared = said
            .as_deref()
            .map(|said| self.registration.take_prepared(&place, said));
        if self.role() == Role::Listener {
            // For whoever comes next.
            self.prepare_anew();
        }
        let most = EXCHANGES + self.registration.awaited.known.len();
        if self.encounters.exchanging() >= most {
            let reason = AbortReason::Busy;
            self.signal(session, &Signal::Abort { reason });
            self.send(ToRendezvous::Leave { session });
            return;
        }
        let begun = match prepared {
            Some(prepared) => prepared.map(|exchange| (exchange, None)),
            None => self
                .registration
                .exchange_at(&place)
                .map(|(exchange, signal)| (exchange, Some(signal))),
        };
        let Some((exchange, signal)) = begun else {
            self.send(ToRendezvous::Leave { session });
            if said.is_some() && self.role() == Role::Connector {
                // It has been given what this end says no more.
                self.retry_within(now, RETRY);
            }
            return;
        };
        if let Some(signal) = signal {
            self.signal(session, &signal);
        }
        self.outputs
            .push_back(Output::MakeReady(session, at.clone()));
        let encounter = Encounter::new(exchange, place, at, now);
        self.encounters.insert(session, encounter);
        self.tell(MeetingEvent::Pairing);
    }

    /// An introduction with what this end's connection to the rendezvous adds; none while there is no connection.
    fn seen_from_here(&self, introduction: &rendezvous::Introduction) -> Option<Introduction> {
        let reached = self.reached.as_ref()?;
        Some(Introduction {
            leg: introduction.leg.clone(),
            rendezvous: reached.address,
            stun: self.further_stun.beside(reached.stun.clone()),
            peer_seen: introduction.peer_seen.clone(),
            peer_bound: false,
            over_tcp: reached.over_tcp,
        })
    }

    pub(super) fn on_signal(&mut self, now: Instant, session: SessionId, payload: &[u8]) {
        if let Some(encounter) = self.encounters.take(session) {
            match encounter.is_exchanging() {
                true => self.on_exchange_signal(now, session, encounter, payload),
                false => self.on_keyed_signal(session, encounter, payload),
            }
        } else if let Some((id, channel)) = self.channels.carried_by(session)
            && let Some(message) = channel.open(payload)
        {
            self.tell(MeetingEvent::Message(id, message));
        }
    }

    fn on_exchange_signal(
        &mut self,
        now: Instant,
        session: SessionId,
        mut encounter: Encounter,
        payload: &[u8],
    ) {
        let by_code = encounter.is_by_code();
        let Stage::Exchanging(exchange) = encounter.stage else {
            return;
        };
        let step = exchange.handle_payload(payload);
        // Counted before it leaves: what becomes of the link afterwards may be the guesser's choice.
        if by_code
            && self.role() == Role::Connector
            && matches!(step.reply, Some(Signal::Confirm { .. }))
            && !self.registration.code.confirm()
        {
            self.send(ToRendezvous::Leave { session });
            self.fail(guessed());
            return;
        }
        if matches!(step.next, Next::Paired(_)) {
            // Before the reply, on which the peer's follows: the second of the two is what brings the voucher.
            self.send(ToRendezvous::Confirmed { session });
            self.outputs.push_back(Output::Confirmed(session));
        }
        if let Some(reply) = &step.reply {
            self.signal(session, reply);
        }
        match step.next {
            Next::Wait(exchange) => {
                if let Some(peer) = exchange.claimed() {
                    let key = exchange.tunnel_key();
                    let expect = Output::ExpectTunnel { session, peer, key };
                    self.outputs.push_back(expect);
                }
                encounter.stage = Stage::Exchanging(exchange);
                self.go_on(session, encounter);
            }
            Next::Paired(paired) => {
                let code = self.registration.code.get().filter(|_| by_code).cloned();
                encounter.stage = Stage::keyed(*paired, session, code);
                encounter.until = now + PATIENCE;
                self.go_on(session, encounter);
            }
            Next::Failed(failure) => self.on_exchange_failed(now, session, by_code, failure),
        }
    }

    fn on_keyed_signal(&mut self, session: SessionId, mut encounter: Encounter, payload: &[u8]) {
        let Stage::Keyed(keyed) = &mut encounter.stage else {
            return;
        };
        let is_introduced = keyed.hear(payload);
        let may_have_left = keyed.code.is_some() && self.role() == Role::Listener;
        match (is_introduced, may_have_left) {
            (true, false) => self.on_arrived(session, encounter),
            (true, true) => {
                // It may have said all this long ago, to a listener that was asleep, and have left. The answer comes
                // behind whatever the rendezvous has had to say until then.
                self.encounters.insert(session, encounter);
                self.send(ToRendezvous::Ping);
            }
            (false, _) => self.encounters.insert(session, encounter),
        }
    }

    /// Puts an encounter back that goes on, after it has said what it can say now.
    pub(super) fn go_on(&mut self, session: SessionId, mut encounter: Encounter) {
        let host = &self.registration.host;
        for payload in encounter.speak(&self.channels, |tag| host.introduce(tag)) {
            self.outputs
                .push_back(Output::Send(ToRendezvous::Signal { session, payload }));
        }
        self.encounters.insert(session, encounter);
    }

    /// The rendezvous has answered: those who have not left by then are here.
    pub(super) fn on_pong(&mut self) {
        let is_introduced =
            |one: &Encounter| matches!(&one.stage, Stage::Keyed(k) if k.info.is_some());
        for session in self.encounters.sessions(is_introduced) {
            if let Some(encounter) = self.encounters.take(session) {
                self.on_arrived(session, encounter);
            }
        }
    }

    /// The peer has said who it is, and is here: a session can begin, or go on.
    fn on_arrived(&mut self, session: SessionId, encounter: Encounter) {
        let said = encounter.said();
        let (at, Stage::Keyed(keyed)) = (encounter.at, encounter.stage) else {
            return;
        };
        let Keyed {
            channel,
            remains,
            code,
            info: Some(mut info),
            said_since,
        } = *keyed
        else {
            return;
        };
        truncate(&mut info);
        if code.is_some() && self.end_code(Fate::Used) {
            self.registration.code.on_paired();
            self.registration.awaited.code = false;
        }
        if let Some(tag) = info.session.filter(|_| info.session == said)
            && let Some((id, old)) = self.channels.tagged(channel.peer, tag)
        {
            // The same process, met at another place: what the two have goes on.
            old.carry(session);
            self.tell(MeetingEvent::Introduced(id, at));
            self.look_for_nobody_else();
            return;
        }
        if !self.channels.have_room() {
            self.send(ToRendezvous::Leave { session });
            return;
        }
        self.send(channel.meet(self.role()));
        self.look_for_nobody_else();
        let peer = channel.peer;
        let channel = self.channels.add(channel);
        let Remains { keys, pair_secret } = remains;
        let met = Met {
            channel,
            peer,
            info,
            keys,
            pair_secret,
            code,
            at,
            approach: None,
        };
        self.outputs.push_back(Output::Met(session, Box::new(met)));
        for message in said_since {
            self.tell(MeetingEvent::Message(channel, message));
        }
    }

    /// A connector that has met its peer leaves the handle at which it looked for it: only a listener waits for its
    /// peer's next process.
    fn look_for_nobody_else(&mut self) {
        if self.role() == Role::Connector {
            for message in self.registration.unmeet_known() {
                self.send(message);
            }
        }
    }

    /// An encounter has ended without keys; it is out of the table already.
    pub(super) fn on_exchange_failed(
        &mut self,
        now: Instant,
        session: SessionId,
        by_code: bool,
        failure: pairing::Failure,
    ) {
        if failure != pairing::Failure::PeerLeft {
            self.send(ToRendezvous::Leave { session });
        }
        let left = failure == pairing::Failure::PeerLeft;
        let several = self.registration.host.is_for_several;
        if by_code && self.registration.code.get().is_some() {
            let fate = self.registration.code.failed(&failure);
            match (self.role(), fate) {
                (Role::Listener, CodeFate::Burned) => self.on_burned(now),
                (Role::Connector, CodeFate::Good) if left => self.pair_again(now, failure),
                (Role::Connector, _) => self.fail(code_failure(&failure)),
                (Role::Listener, CodeFate::Good) => self.tell(MeetingEvent::PairingFailed(failure)),
            }
            return;
        }
        match failure {
            pairing::Failure::PeerLeft
            | pairing::Failure::Aborted(AbortReason::Busy | AbortReason::Protocol) => {
                self.pair_again(now, failure);
            }
            // Of several peers, one that is not what it should be does not end the others' sessions.
            lasting if several => self.tell(MeetingEvent::PairingFailed(lasting)),
            lasting => self.fail(known_peer_failure(&lasting)),
        }
    }

    /// The listener's code was guessed at: the next comes later, and after several in a row none does.
    fn on_burned(&mut self, now: Instant) {
        self.end_code(Fate::Burned);
        if self.registration.code.on_burned(now) {
            self.tell(MeetingEvent::CodeBurned);
        } else if self.channels.iter().next().is_some() {
            // What there is with peers goes on.
            self.tell(MeetingEvent::CodesOver(codes_guessed()));
        } else {
            self.fail(codes_guessed());
            return;
        }
        self.register();
    }

    fn pair_again(&mut self, now: Instant, failure: pairing::Failure) {
        self.retry_within(now, RETRY);
        self.tell(MeetingEvent::PairingFailed(failure));
    }

    /// The listener's code leads here no more. It is good for one pairing or one wrong guess; whoever else was trying
    /// it at the same time has lost. Whether there was one.
    pub(super) fn end_code(&mut self, fate: Fate) -> bool {
        let Some(nameplate) = self.registration.code.take() else {
            return false;
        };
        self.send(ToRendezvous::Unlisten { nameplate, fate });
        for session in self.encounters.sessions(Encounter::is_by_code) {
            self.encounters.take(session);
            self.send(ToRendezvous::Leave { session });
        }
        true
    }
}

/// What a peer says of itself is shown and kept: no more of it than the protocol lets it say.
fn truncate(info: &mut PeerInfo) {
    for text in [&mut info.name, &mut info.agent] {
        while text.len() > MAX_NAME {
            text.pop();
        }
    }
}
