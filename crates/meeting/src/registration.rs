//! What this end has the rendezvous know: where it waits, for whom, and what it says there first.
//!
//! The first messages of both sides of an exchange depend on nothing but the code or the pair secret, so they are said
//! in advance: the rendezvous passes them on as it introduces the two, and neither waits for the other's. Each is one
//! side's part of one exchange. The rendezvous may hand it to whom it likes and as often as it likes; it is finished
//! once, and what came of it counts against the code as ever.

use p2pdbg_base::PeerName;
use p2pdbg_net::same_host::host_tag;
use p2pdbg_pairing::Exchange;
use p2pdbg_proto::{
    fingerprint::Fingerprint,
    rendezvous::{MAX_PREPARED_PLACES, MeetingPoint, Role, ToRendezvous},
    signal::{PeerInfo, PeerMessage, SessionTag, Signal},
};

use super::{
    Awaited, MeetingConfig, Whom,
    channel::{Channel, encode},
    channels::Channels,
    own_code::OwnCode,
};

/// This end, as its peers and the rendezvous know it.
pub(super) struct Host {
    pub(super) role: Role,
    pub(super) authority: String,
    /// Whether the rendezvous lets it in by its key, so that it needs no voucher.
    pub(super) has_key: bool,
    /// Whether it may have several peers, so that one that misbehaves does not end the others' sessions.
    pub(super) is_for_several: bool,
    fingerprint: Fingerprint,
    name: PeerName,
    process: u16,
}

impl Host {
    /// Who this side is, and which session there is with the peer.
    pub(super) fn introduce(&self, session: Option<SessionTag>) -> PeerMessage {
        PeerMessage::Introduce(PeerInfo {
            name: self.name.to_string(),
            agent: concat!("p2pdbg/", env!("CARGO_PKG_VERSION")).to_owned(),
            host: host_tag(),
            process: self.process,
            session,
        })
    }
}

/// Whom this end awaits, and what it has told the rendezvous of it.
pub(super) struct Registration {
    pub(super) host: Host,
    pub(super) code: OwnCode,
    pub(super) awaited: Awaited,
    prepared: Vec<Prepared>,
}

/// One side's part of an exchange, begun before anybody is there.
struct Prepared {
    place: MeetingPoint,
    payload: Vec<u8>,
    exchange: Exchange,
}

impl Registration {
    pub(super) fn new(config: &MeetingConfig) -> Self {
        let awaited = match &config.whom {
            Whom::Known(peer) => Awaited {
                known: vec![peer.clone()],
                code: false,
            },
            Whom::CodeHolder => Awaited {
                known: Vec::new(),
                code: true,
            },
            Whom::CodeMaker(_) => Awaited::default(),
            Whom::Several(awaited) => awaited.clone(),
        };
        let host = Host {
            role: config.paths.role,
            authority: config.rendezvous.authority(),
            has_key: config.rendezvous.access_key.is_some(),
            is_for_several: matches!(config.whom, Whom::Several(_)),
            fingerprint: config.identity.fingerprint(),
            name: config.name.clone(),
            process: config.process,
        };
        Self {
            host,
            code: OwnCode::of(&config.whom),
            awaited,
            prepared: Vec::new(),
        }
    }

    /// Begins an exchange with whoever comes to this place; gives what this end says first. None where it awaits
    /// nobody.
    pub(super) fn exchange_at(&self, place: &MeetingPoint) -> Option<(Exchange, Signal)> {
        let (role, own) = (self.host.role, self.host.fingerprint);
        match place {
            MeetingPoint::Nameplate(nameplate) => {
                let code = self.code.get();
                code.filter(|code| code.nameplate == *nameplate)
                    .map(|code| Exchange::by_code(role, code, own))
            }
            MeetingPoint::Handle(handle) => {
                let mut known = self.awaited.known.iter();
                known
                    .find(|known| *handle == known.meeting_handle())
                    .map(|known| Exchange::by_secret(role, &known.secret, own, known.fingerprint))
            }
        }
    }

    /// Begins an exchange for each place at which this end waits for one, and forgets those for other places.
    pub(super) fn prepare(&mut self, channels: &Channels) {
        let places = self.places(channels);
        self.prepared.retain(|one| places.contains(&one.place));
        for place in places {
            if self.prepared.iter().all(|one| one.place != place)
                && let Some((exchange, signal)) = self.exchange_at(&place)
                && let Some(payload) = encode(&signal)
            {
                self.prepared.push(Prepared {
                    place,
                    payload,
                    exchange,
                });
            }
        }
    }

    /// What the rendezvous is told of it.
    pub(super) fn preparations(&self) -> Vec<ToRendezvous> {
        let message = |prepared: &Prepared| ToRendezvous::Prepare {
            place: prepared.place.clone(),
            payload: prepared.payload.clone(),
        };
        self.prepared.iter().map(message).collect()
    }

    /// The exchange of which this was said; never twice the same.
    pub(super) fn take_prepared(
        &mut self,
        place: &MeetingPoint,
        payload: &[u8],
    ) -> Option<Exchange> {
        let said = |one: &Prepared| one.place == *place && one.payload == payload;
        let index = self.prepared.iter().position(said)?;
        Some(self.prepared.swap_remove(index).exchange)
    }

    /// All that the rendezvous must know of this end.
    pub(super) fn messages(&self, channels: &Channels) -> Vec<ToRendezvous> {
        // Before anything that may lead to an introduction.
        let mut messages = self.preparations();
        messages.extend(self.requests(channels));
        messages
    }

    fn requests(&self, channels: &Channels) -> Vec<ToRendezvous> {
        let role = self.host.role;
        let mut requests = Vec::new();
        for channel in channels.iter() {
            requests.push(channel.meet(role));
            if role == Role::Connector && channel.carried_by.is_some() {
                // Whose session goes on looks for nobody else.
                return requests;
            }
        }
        for peer in &self.awaited.known {
            requests.push(ToRendezvous::Meet {
                handle: peer.meeting_handle(),
                role,
                already: None,
            });
        }
        if self.awaited.code && self.code.may_ask() {
            requests.push(self.code.request());
        }
        if role == Role::Connector
            && requests.is_empty()
            && let Some(nameplate) = self.code.nameplate()
        {
            requests.push(ToRendezvous::Join { nameplate });
        }
        requests
    }

    /// Where the next exchanges may be.
    fn places(&self, channels: &Channels) -> Vec<MeetingPoint> {
        // A connector whose session goes on joins nobody by its code.
        let joins = self.host.role == Role::Listener || channels.iter().next().is_none();
        let nameplate = self.code.nameplate().filter(|_| joins);
        let known = self.awaited.known.iter();
        let handles = known.map(|peer| MeetingPoint::Handle(peer.meeting_handle()));
        let nameplate = nameplate.map(MeetingPoint::Nameplate);
        nameplate
            .into_iter()
            .chain(handles)
            .take(MAX_PREPARED_PLACES)
            .collect()
    }

    /// What tells the rendezvous that this end does not wait at a known peer's handle any more.
    pub(super) fn unmeet_known(&self) -> Vec<ToRendezvous> {
        let role = self.host.role;
        let handles = self.awaited.known.iter().map(|peer| peer.meeting_handle());
        let unmeet = |handle| ToRendezvous::Unmeet { handle, role };
        handles.map(unmeet).collect()
    }

    /// Awaits these from now on; tells the rendezvous whom this end does not await any more.
    pub(super) fn await_others(&mut self, awaited: Awaited) -> Vec<ToRendezvous> {
        let before = self.unmeet_known();
        self.awaited = awaited;
        let after = self.unmeet_known();
        let gone = before.into_iter().filter(|unmeet| !after.contains(unmeet));
        gone.collect()
    }
}

impl Channel {
    /// Waits for the channel's peer where both meet again.
    pub(super) fn meet(&self, role: Role) -> ToRendezvous {
        ToRendezvous::Meet {
            handle: self.handle.clone(),
            role,
            already: self.carried_by.filter(|_| !self.leg_lost),
        }
    }
}
