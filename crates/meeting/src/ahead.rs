//! What this end says first in an exchange to come, left at the rendezvous before anybody is there to hear it.
//!
//! The first messages of both sides depend on nothing but the code or the pair secret, so they can be said in advance: the
//! rendezvous passes them on as it introduces the two, and neither waits for the other's. Each is one side's part of one
//! exchange. The rendezvous may hand it to whom it likes and as often as it likes; it is finished once, and what came of
//! it counts against the code as ever.

use p2pdbg_pairing::Exchange;
use p2pdbg_proto::control::{Place, ToRendezvous};

use super::{Whom, channel::encode, driver::Driver};

/// Places for which this is done; the rendezvous keeps as many.
const PLACES: usize = 16;

/// One side's part of an exchange, begun.
pub(super) struct Ahead {
    place: Place,
    payload: Vec<u8>,
    exchange: Exchange,
}

impl Driver {
    /// Begins an exchange for each place at which this end waits for one, and forgets those for other places.
    pub(super) fn prepare(&mut self) {
        let places = self.awaited_places();
        self.ahead.retain(|ahead| places.contains(&ahead.place));
        for place in places {
            if self.ahead.iter().all(|ahead| ahead.place != place)
                && let Some((exchange, signal)) = self.exchange_at(&place)
                && let Some(payload) = encode(&signal)
            {
                self.ahead.push(Ahead {
                    place,
                    payload,
                    exchange,
                });
            }
        }
    }

    /// The same, and tells the rendezvous what is new.
    pub(super) fn prepare_anew(&mut self) {
        let before = self.preparations();
        self.prepare();
        for message in self.preparations() {
            if self.up.is_some() && !before.contains(&message) {
                self.link.send(message);
            }
        }
    }

    /// What the rendezvous is told of it.
    pub(super) fn preparations(&self) -> Vec<ToRendezvous> {
        let message = |ahead: &Ahead| ToRendezvous::Prepare {
            place: ahead.place.clone(),
            payload: ahead.payload.clone(),
        };
        self.ahead.iter().map(message).collect()
    }

    /// The exchange of which this was said; never twice the same.
    pub(super) fn take_ahead(&mut self, place: &Place, payload: &[u8]) -> Option<Exchange> {
        let said = |ahead: &Ahead| ahead.place == *place && ahead.payload == payload;
        let index = self.ahead.iter().position(said)?;
        Some(self.ahead.swap_remove(index).exchange)
    }

    /// Where the next exchanges may be.
    fn awaited_places(&self) -> Vec<Place> {
        let known = self.awaited.known.iter();
        let handles = known.map(|peer| Place::Handle(peer.meeting_handle()));
        let code = match &self.config.whom {
            // Whose session goes on joins nobody.
            Whom::CodeMaker(code) if self.channels.iter().next().is_none() => Some(code),
            Whom::CodeMaker(_) => None,
            _ => self.code.as_ref().map(|listening| &listening.code),
        };
        let nameplate = code.map(|code| Place::Nameplate(code.nameplate));
        nameplate.into_iter().chain(handles).take(PLACES).collect()
    }
}
