//! The sealed channel to a peer through the rendezvous, which outlives the rendezvous' own sessions.

use p2pdbg_pairing::{Opener, PairSecret, Paired, Sealer, SessionKeys};
use p2pdbg_proto::{
    fingerprint::Fingerprint,
    frame,
    rendezvous::{Handle, SessionId},
    signal::{PeerMessage, SessionTag, Signal},
};

/// A channel to the peer of one session between two processes.
pub(super) struct Channel {
    sealer: Sealer,
    opener: Opener,
    pub(super) peer: Fingerprint,
    /// Where both meet when they have lost each other at the rendezvous.
    pub(super) handle: Handle,
    /// The session at the rendezvous that carries the channel now.
    pub(super) carried_by: Option<SessionId>,
    /// Whether the relay does not know that session's leg.
    pub(super) leg_lost: bool,
}

impl Channel {
    /// The channel that an exchange has set up, carried by the session in which it took place.
    fn new(paired: (Sealer, Opener, Fingerprint), handle: Handle, carrier: SessionId) -> Self {
        let (sealer, opener, peer) = paired;
        Self {
            sealer,
            opener,
            peer,
            handle,
            carried_by: Some(carrier),
            leg_lost: false,
        }
    }

    /// This session carries it from now on. One before it is not left, since the peer may not have moved yet: the
    /// rendezvous ends those that are too many.
    pub(super) fn carry(&mut self, session: SessionId) {
        self.carried_by = Some(session);
        self.leg_lost = false;
    }

    /// What tells it from others, between the two.
    pub(super) fn tag(&self) -> SessionTag {
        SessionTag::of(&self.handle)
    }

    /// The payload that carries a message, and the session to send it in.
    pub(super) fn seal(&mut self, message: &PeerMessage) -> Option<(SessionId, Vec<u8>)> {
        let session = self.carried_by?;
        match self.sealer.seal(message) {
            Ok(signal) => encode(&signal).map(|payload| (session, payload)),
            Err(error) => {
                tracing::warn!(%error, "cannot seal a message for the peer");
                None
            }
        }
    }

    /// The message in a payload; `None` if it is not the peer's.
    pub(super) fn open(&mut self, payload: &[u8]) -> Option<PeerMessage> {
        let Ok(Signal::Sealed {
            counter,
            ciphertext,
        }) = frame::decode(payload)
        else {
            tracing::debug!("ignored a signal that is not sealed");
            return None;
        };
        self.opener
            .open(counter, &ciphertext)
            .inspect_err(|error| tracing::warn!(%error, "ignored a signal"))
            .ok()
    }
}

/// A signal as a payload.
pub(super) fn encode(signal: &Signal) -> Option<Vec<u8>> {
    frame::encode_body(signal)
        .inspect_err(|error| tracing::warn!(%error, "cannot encode a signal"))
        .ok()
}

/// What is left of an exchange once its channel has been taken out.
pub(super) fn split(paired: Paired, carrier: SessionId) -> (Channel, Remains) {
    let Paired {
        peer,
        sealer,
        opener,
        keys,
        pair_secret,
    } = paired;
    let channel = Channel::new((sealer, opener, peer), keys.resume.clone(), carrier);
    let remains = Remains { keys, pair_secret };
    (channel, remains)
}

/// What an exchange gave besides its channel.
pub(super) struct Remains {
    pub(super) keys: SessionKeys,
    pub(super) pair_secret: Option<PairSecret>,
}
