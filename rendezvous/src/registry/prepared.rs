//! What peers have said for whoever they meet next at a place.
//!
//! Where two meet who have both said something, each gets the other's words right behind the introduction. They are
//! said once: whoever wants to say something at the next meeting too prepares it anew.

use p2pdbg_proto::{
    code::Nameplate,
    rendezvous::{MAX_PREPARED, MAX_PREPARED_PLACES, MeetingPoint, Refusal},
};
use sha2::{Digest, Sha256};

use super::{ConnId, Registry};

/// A place without its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    Nameplate(Nameplate),
    Handle([u8; 32]),
}

impl Spot {
    fn of(place: &MeetingPoint) -> Self {
        match place {
            MeetingPoint::Nameplate(nameplate) => Self::Nameplate(*nameplate),
            MeetingPoint::Handle(handle) => Self::Handle(Sha256::digest(handle.expose()).into()),
        }
    }
}

/// What a connection has prepared.
#[derive(Debug, Default)]
pub(super) struct Prepared(Vec<(Spot, Vec<u8>)>);

impl Prepared {
    fn put(&mut self, spot: Spot, payload: Vec<u8>) {
        self.0.retain(|(other, _)| *other != spot);
        if self.0.len() >= MAX_PREPARED_PLACES {
            self.0.remove(0);
        }
        self.0.push((spot, payload));
    }

    fn has(&self, spot: Spot) -> bool {
        self.0.iter().any(|(other, _)| *other == spot)
    }

    fn take(&mut self, spot: Spot) -> Option<Vec<u8>> {
        let index = self.0.iter().position(|(other, _)| *other == spot)?;
        Some(self.0.remove(index).1)
    }
}

impl Registry {
    /// Keeps what a peer says for the next one whom it meets at a place.
    pub(super) fn prepare(
        &mut self,
        id: ConnId,
        place: &MeetingPoint,
        payload: Vec<u8>,
    ) -> Result<(), Refusal> {
        if payload.len() > MAX_PREPARED {
            return Err(Refusal::Protocol);
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.prepared.put(Spot::of(place), payload);
        }
        Ok(())
    }

    /// What both of two peers have prepared for a place, in their order; nothing if one of them has not.
    pub(super) fn take_prepared(
        &mut self,
        place: &MeetingPoint,
        ids: [ConnId; 2],
    ) -> [Option<Vec<u8>>; 2] {
        let spot = Spot::of(place);
        let ready = |id: &ConnId| {
            self.connections
                .get(id)
                .is_some_and(|c| c.prepared.has(spot))
        };
        if !ids.iter().all(ready) {
            return [None, None];
        }
        ids.map(|id| self.connections.get_mut(&id)?.prepared.take(spot))
    }
}
