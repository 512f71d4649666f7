//! Encounters: from an introduction to a peer that has said who it is, or to nothing.

use std::{
    collections::VecDeque,
    net::IpAddr,
    time::{Duration, Instant},
};

use p2pdbg_pairing::{Exchange, Paired};
use p2pdbg_path::Introduction;
use p2pdbg_proto::{
    code::Code,
    rendezvous::{MeetingPoint, SessionId},
    signal::{PeerInfo, PeerMessage, SessionTag},
};

use super::{
    channel::{Channel, Remains, encode, split},
    channels::Channels,
};

/// How long an exchange may take, and after it the peer to say who it is.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Messages of a peer that wait until it is known to be here.
const SAID_SINCE: usize = 16;

/// Signals for the peer's engine that wait until they can be sealed; later ones repeat what matters.
const UNSAID: usize = 64;

/// Addresses of the peer that are kept for the session.
const PEER_SEEN: usize = 32;

/// Two peers that have been introduced and are not in a session yet.
pub(super) struct Encounter {
    /// What brought the two together.
    pub(super) place: MeetingPoint,
    /// Where they can reach each other.
    pub(super) at: Introduction,
    /// How far they have come.
    pub(super) stage: Stage,
    /// When this stage ends without a result.
    pub(super) until: Instant,
    /// Whether this side has said who it is, and which session it said that there is with the peer.
    said: Option<Option<SessionTag>>,
    unsaid: VecDeque<Vec<u8>>,
}

/// How far two peers have come.
pub(super) enum Stage {
    /// They exchange keys, and nothing of it is sealed yet.
    Exchanging(Exchange),
    /// They have keys, and what they say is sealed.
    Keyed(Box<Keyed>),
}

impl Stage {
    /// The exchange has succeeded; `code` is the one by which it was made.
    pub(super) fn keyed(paired: Paired, session: SessionId, code: Option<Code>) -> Self {
        let (channel, remains) = split(paired, session);
        Self::Keyed(Box::new(Keyed {
            channel,
            remains,
            code,
            info: None,
            said_since: Vec::new(),
        }))
    }
}

/// A peer that has the keys.
pub(super) struct Keyed {
    pub(super) channel: Channel,
    pub(super) remains: Remains,
    /// The code by which it came.
    pub(super) code: Option<Code>,
    /// What it says of itself, once it has, until it is known that it has not left.
    pub(super) info: Option<PeerInfo>,
    /// What it has said since.
    pub(super) said_since: Vec<PeerMessage>,
}

impl Encounter {
    /// Two peers that begin to exchange keys.
    pub(super) fn new(
        exchange: Exchange,
        place: MeetingPoint,
        at: Introduction,
        now: Instant,
    ) -> Self {
        Self {
            place,
            at,
            stage: Stage::Exchanging(exchange),
            until: now + PATIENCE,
            said: None,
            unsaid: VecDeque::new(),
        }
    }

    pub(super) fn is_by_code(&self) -> bool {
        matches!(self.place, MeetingPoint::Nameplate(_))
    }

    pub(super) fn is_exchanging(&self) -> bool {
        matches!(self.stage, Stage::Exchanging(_))
    }

    /// Which session this side said that there is with the peer.
    pub(super) fn said(&self) -> Option<SessionTag> {
        self.said.flatten()
    }

    /// The rendezvous sees the peer there too.
    pub(super) fn on_peer_seen(&mut self, addresses: Vec<IpAddr>, bound: bool) {
        self.at.peer_seen.extend(addresses);
        self.at.peer_seen.truncate(PEER_SEEN);
        self.at.peer_bound |= bound;
    }

    /// This is for the peer's engine, as soon as it can be sealed.
    pub(super) fn keep_for_peer(&mut self, signal: Vec<u8>) {
        if self.unsaid.len() < UNSAID {
            self.unsaid.push_back(signal);
        }
    }

    /// What can be said under seal now: who this side is, once, and then what waits for the peer's engine. A connector
    /// can seal as soon as it has confirmed, a listener when it has verified that.
    pub(super) fn speak(
        &mut self,
        channels: &Channels,
        introduce: impl FnOnce(Option<SessionTag>) -> PeerMessage,
    ) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        if self.said.is_none() {
            let tag = match &self.stage {
                // A connector has one session, whoever its peer will turn out to be.
                Stage::Exchanging(_) => channels.iter().next().map(Channel::tag),
                Stage::Keyed(keyed) => channels.tag_with(keyed.channel.peer),
            };
            let Some(payload) = self.seal(&introduce(tag)) else {
                return payloads;
            };
            self.said = Some(tag);
            payloads.push(payload);
        }
        while let Some(signal) = self.unsaid.pop_front() {
            payloads.extend(self.seal(&PeerMessage::Punch(signal)));
        }
        payloads
    }

    fn seal(&mut self, message: &PeerMessage) -> Option<Vec<u8>> {
        match &mut self.stage {
            Stage::Exchanging(exchange) => exchange.seal(message).as_ref().and_then(encode),
            Stage::Keyed(keyed) => keyed.channel.seal(message).map(|(_, payload)| payload),
        }
    }
}

impl Keyed {
    /// Takes what the peer says; true when it has just said who it is.
    pub(super) fn hear(&mut self, payload: &[u8]) -> bool {
        match (self.channel.open(payload), &self.info) {
            (Some(PeerMessage::Introduce(info)), None) => {
                self.info = Some(info);
                true
            }
            (Some(message), Some(_)) if self.said_since.len() < SAID_SINCE => {
                self.said_since.push(message);
                false
            }
            _ => false,
        }
    }
}

/// The encounters under way, by the rendezvous' session. There are few: the meeting bounds how many exchanges it
/// begins.
#[derive(Default)]
pub(super) struct Encounters(Vec<(SessionId, Encounter)>);

impl Encounters {
    pub(super) fn insert(&mut self, session: SessionId, encounter: Encounter) {
        // A rendezvous that names two sessions alike loses the older one.
        self.take(session);
        self.0.push((session, encounter));
    }

    /// Takes one out: whatever comes of it, it is put back only if it goes on.
    pub(super) fn take(&mut self, session: SessionId) -> Option<Encounter> {
        let index = self.0.iter().position(|(id, _)| *id == session)?;
        Some(self.0.swap_remove(index).1)
    }

    pub(super) fn get_mut(&mut self, session: SessionId) -> Option<&mut Encounter> {
        let mut all = self.0.iter_mut();
        all.find(|(id, _)| *id == session).map(|(_, one)| one)
    }

    pub(super) fn contains(&self, session: SessionId) -> bool {
        self.0.iter().any(|(id, _)| *id == session)
    }

    /// How many are still exchanging keys, for a bound on guesses.
    pub(super) fn exchanging(&self) -> usize {
        self.0.iter().filter(|(_, one)| one.is_exchanging()).count()
    }

    /// The sessions of those for which this holds.
    pub(super) fn sessions(&self, holds: impl Fn(&Encounter) -> bool) -> Vec<SessionId> {
        let chosen = self.0.iter().filter(|(_, one)| holds(one));
        chosen.map(|(session, _)| *session).collect()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.0.iter().map(|(_, one)| one.until).min()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
