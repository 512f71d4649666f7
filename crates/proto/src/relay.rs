//! The relay's frames over UDP: how a member of a session ties its source address to its leg.
//!
//! ```text
//! member → relay   BIND       4 | version 1 | leg (16) | mac (32) | length (u16) | ticket | zeros to 1,200 bytes
//! relay → member   CHALLENGE  5 | version 1 | leg (16) | cookie (32) | zeros to 1,200 bytes
//! member → relay   ANSWER     6 | version 1 | leg (16) | cookie (32) | mac (32)
//! relay → member   BOUND      7 | version 1 | leg (16) | lifetime in seconds (u16)
//! relay → member   REFUSED    8 | version 1 | leg (16) | reason (1)
//! ```
//!
//! The cookie is the relay's MAC over the source address and the time, so the relay stores nothing until the member
//! has shown that it receives at that address; the member's MAC shows that it holds the leg's key, which the
//! rendezvous gave it over TLS. BIND has such a MAC too, without a cookie: with it the relay may begin at once, as
//! far as a spoofed source address could do no harm. A ticket is for a relay that does not know the leg: with it the
//! leg's home tells of the session, and nobody else can read or make one; without it its length is 0. Both frames are
//! as long as QUIC's first packets (RFC 9000 section 14.1), so that a leg is not bound by a path that carries small
//! datagrams only. A reply is never longer than the request that caused it. After BOUND, every datagram from that
//! source whose first byte is 64 or more goes verbatim to the session's other member. The first byte of each frame
//! lies in 4–15, which neither STUN (0–3) nor QUIC (64–255) uses. A member that changes its address, or hears nothing
//! of its leg, binds again.

use std::time::Duration;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::secret::Secret;

/// The version of these frames.
pub const VERSION: u8 = 1;

/// Names a leg. Random, known to the member and the relay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct LegId(pub [u8; 16]);

/// What the rendezvous gives a member for its leg.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegGrant {
    /// Names the leg in every frame; random, and not secret.
    pub leg: LegId,
    /// Proves the right to it.
    pub key: Secret<32>,
}

/// The relay's proof of address, opaque to the member.
pub type Cookie = [u8; 32];

/// Why the relay refuses a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelayRefusal {
    /// The leg does not exist, or no longer.
    UnknownLeg,
    /// The cookie or the MAC is wrong, or the cookie too old.
    Proof,
    /// A newer connection of this member carries the leg.
    Superseded,
    /// A reason that this version does not know.
    Other(u8),
}

impl RelayRefusal {
    fn code(self) -> u8 {
        match self {
            RelayRefusal::UnknownLeg => 1,
            RelayRefusal::Proof => 2,
            RelayRefusal::Superseded => 3,
            RelayRefusal::Other(code) => code,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            1 => RelayRefusal::UnknownLeg,
            2 => RelayRefusal::Proof,
            3 => RelayRefusal::Superseded,
            other => RelayRefusal::Other(other),
        }
    }
}

/// One frame of the relay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RelayFrame {
    /// A member asks to bind its source address.
    Bind {
        /// The leg that the member's source address is to be bound to.
        leg: LegId,
        /// [`bind_mac`]; with another one the frame is good for a challenge and nothing else.
        mac: [u8; 32],
    },
    /// The relay asks for proof.
    Challenge {
        /// The leg of the BIND that is answered.
        leg: LegId,
        /// What the member has to return, so that it is seen to receive at its source address.
        cookie: Cookie,
    },
    /// The member proves that it receives at its source address and holds the leg's key.
    Answer {
        /// The leg to bind, as in BIND.
        leg: LegId,
        /// The cookie of the challenge, as it came.
        cookie: Cookie,
        /// [`answer_mac`] over the cookie, by which the member shows that it has the leg's key.
        mac: [u8; 32],
    },
    /// The leg is bound to the source address of the answer.
    Bound {
        /// The leg that is bound now.
        leg: LegId,
        /// How long the leg lasts without a datagram, in seconds.
        lifetime_s: u16,
    },
    /// The leg is not bound.
    Refused {
        /// The leg that it asked for.
        leg: LegId,
        /// Why, which says whether another try can help.
        reason: RelayRefusal,
    },
}

const BIND: u8 = 4;
const CHALLENGE: u8 = 5;
const ANSWER: u8 = 6;
const BOUND: u8 = 7;
const REFUSED: u8 = 8;

/// Where the length of a ticket stands in BIND.
const TICKET_AT: usize = 50;

/// The longest ticket, in bytes.
pub const MAX_TICKET: usize = 512;

/// For how long a ticket is good. Members that need their relay longer have another made in time; a key that is revoked
/// at the home is of no use at a relay any more after that.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(3600);

/// BIND and CHALLENGE are padded to this length, in bytes.
pub const PADDED_LENGTH: usize = 1_200;

/// Whether a datagram with this first byte is one of these frames.
pub fn is_relay_frame(first_byte: u8) -> bool {
    (4..=15).contains(&first_byte)
}

/// A datagram that is no frame of the relay, of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a frame of the relay")]
pub struct NotARelayFrame;

impl RelayFrame {
    /// The frame as a datagram.
    pub fn encode(&self) -> Vec<u8> {
        let start = |kind: u8, leg: &LegId| {
            let mut out = Vec::with_capacity(82);
            out.extend_from_slice(&[kind, VERSION]);
            out.extend_from_slice(&leg.0);
            out
        };
        match self {
            RelayFrame::Bind { leg, mac } => {
                let mut out = start(BIND, leg);
                out.extend_from_slice(mac);
                out.resize(PADDED_LENGTH, 0);
                out
            }
            RelayFrame::Challenge { leg, cookie } => {
                let mut out = start(CHALLENGE, leg);
                out.extend_from_slice(cookie);
                out.resize(PADDED_LENGTH, 0);
                out
            }
            RelayFrame::Answer { leg, cookie, mac } => {
                let mut out = start(ANSWER, leg);
                out.extend_from_slice(cookie);
                out.extend_from_slice(mac);
                out
            }
            RelayFrame::Bound { leg, lifetime_s } => {
                let mut out = start(BOUND, leg);
                out.extend_from_slice(&lifetime_s.to_be_bytes());
                out
            }
            RelayFrame::Refused { leg, reason } => {
                let mut out = start(REFUSED, leg);
                out.push(reason.code());
                out
            }
        }
    }

    /// Reads a datagram.
    ///
    /// # Errors
    /// [`NotARelayFrame`] unless kind, version and length are exactly right.
    pub fn decode(datagram: &[u8]) -> Result<Self, NotARelayFrame> {
        let (&[kind, version], rest) = datagram.split_first_chunk().ok_or(NotARelayFrame)?;
        let (&leg, rest) = rest.split_first_chunk().ok_or(NotARelayFrame)?;
        if version != VERSION {
            return Err(NotARelayFrame);
        }
        let leg = LegId(leg);
        let exactly = |bytes: &[u8]| Cookie::try_from(bytes).map_err(|_| NotARelayFrame);
        match kind {
            BIND if datagram.len() == PADDED_LENGTH => {
                let (&mac, _) = rest.split_first_chunk().ok_or(NotARelayFrame)?;
                Ok(RelayFrame::Bind { leg, mac })
            }
            CHALLENGE if datagram.len() == PADDED_LENGTH => {
                let (&cookie, _) = rest.split_first_chunk().ok_or(NotARelayFrame)?;
                Ok(RelayFrame::Challenge { leg, cookie })
            }
            ANSWER => {
                let (&cookie, mac) = rest.split_first_chunk().ok_or(NotARelayFrame)?;
                let mac = exactly(mac)?;
                Ok(RelayFrame::Answer { leg, cookie, mac })
            }
            BOUND => {
                let lifetime = rest.try_into().map_err(|_| NotARelayFrame)?;
                Ok(RelayFrame::Bound {
                    leg,
                    lifetime_s: u16::from_be_bytes(lifetime),
                })
            }
            REFUSED => match rest {
                &[code] => Ok(RelayFrame::Refused {
                    leg,
                    reason: RelayRefusal::from_code(code),
                }),
                _ => Err(NotARelayFrame),
            },
            _ => Err(NotARelayFrame),
        }
    }
}

/// BIND with a ticket, as a datagram. One that is too long is left out.
pub fn bind_with_ticket(grant: &LegGrant, ticket: &[u8]) -> Vec<u8> {
    let bind = RelayFrame::Bind {
        leg: grant.leg,
        mac: bind_mac(grant),
    };
    let mut out = bind.encode();
    if let Ok(length) = u16::try_from(ticket.len())
        && ticket.len() <= MAX_TICKET
    {
        let at = TICKET_AT + 2;
        out[TICKET_AT..at].copy_from_slice(&length.to_be_bytes());
        out[at..at + ticket.len()].copy_from_slice(ticket);
    }
    out
}

/// The ticket in a BIND, if it is one and has one.
pub fn ticket_in(bind: &[u8]) -> Option<&[u8]> {
    if bind.len() != PADDED_LENGTH || bind.first() != Some(&BIND) {
        return None;
    }
    let (length, rest) = bind.get(TICKET_AT..)?.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length));
    (1..=MAX_TICKET)
        .contains(&length)
        .then(|| rest.get(..length))?
}

/// The member's MAC in an answer: HMAC-SHA256 under the leg's key over a label, the leg and the cookie.
pub fn answer_mac(grant: &LegGrant, cookie: &Cookie) -> [u8; 32] {
    mac_state(&grant.key, &grant.leg, cookie)
        .finalize()
        .into_bytes()
        .into()
}

/// Whether `mac` is [`answer_mac`] of that leg and cookie; in constant time.
pub fn answer_is_genuine(key: &Secret<32>, leg: &LegId, cookie: &Cookie, mac: &[u8; 32]) -> bool {
    mac_state(key, leg, cookie).verify_slice(mac).is_ok()
}

/// The member's MAC in BIND: HMAC-SHA256 under the leg's key over a label and the leg.
pub fn bind_mac(grant: &LegGrant) -> [u8; 32] {
    bind_mac_state(&grant.key, &grant.leg)
        .finalize()
        .into_bytes()
        .into()
}

/// Whether `mac` is [`bind_mac`] of that leg; in constant time.
pub fn bind_is_genuine(key: &Secret<32>, leg: &LegId, mac: &[u8; 32]) -> bool {
    bind_mac_state(key, leg).verify_slice(mac).is_ok()
}

fn bind_mac_state(key: &Secret<32>, leg: &LegId) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key.expose())
        .expect("HMAC takes keys of any length")
        .chain_update(b"p2pdbg relay bind 1")
        .chain_update(leg.0)
}

fn mac_state(key: &Secret<32>, leg: &LegId, cookie: &Cookie) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key.expose())
        .expect("HMAC takes keys of any length")
        .chain_update(b"p2pdbg relay answer 1")
        .chain_update(leg.0)
        .chain_update(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEG: LegId = LegId([7; 16]);

    fn every_frame() -> [RelayFrame; 5] {
        [
            RelayFrame::Bind {
                leg: LEG,
                mac: [3; 32],
            },
            RelayFrame::Challenge {
                leg: LEG,
                cookie: [1; 32],
            },
            RelayFrame::Answer {
                leg: LEG,
                cookie: [1; 32],
                mac: [2; 32],
            },
            RelayFrame::Bound {
                leg: LEG,
                lifetime_s: 300,
            },
            RelayFrame::Refused {
                leg: LEG,
                reason: RelayRefusal::UnknownLeg,
            },
        ]
    }

    #[test]
    fn every_frame_reads_back_and_is_told_from_stun_and_quic_by_its_first_byte() {
        for frame in every_frame() {
            let datagram = frame.encode();
            assert!(is_relay_frame(datagram[0]));
            assert_eq!(RelayFrame::decode(&datagram), Ok(frame));
        }
    }

    #[test]
    fn a_frame_cut_short_or_with_bytes_after_it_is_no_frame() {
        for frame in every_frame() {
            let mut datagram = frame.encode();
            datagram.push(0);
            assert_eq!(RelayFrame::decode(&datagram), Err(NotARelayFrame));
            for length in 0..datagram.len() - 1 {
                assert_eq!(RelayFrame::decode(&datagram[..length]), Err(NotARelayFrame));
            }
        }
    }

    #[test]
    fn no_reply_is_longer_than_the_request_that_causes_it() {
        let [bind, challenge, answer, bound, refused] = every_frame().map(|f| f.encode().len());
        assert!(challenge <= bind && refused <= bind);
        assert!(bound <= answer && refused <= answer);
    }

    #[test]
    fn ticket_travels_in_the_padding_of_a_bind_and_one_that_is_too_long_does_not() {
        let grant = LegGrant {
            leg: LEG,
            key: Secret::random(),
        };
        let mac = bind_mac(&grant);
        let bind = RelayFrame::Bind { leg: LEG, mac };
        for length in [1, MAX_TICKET] {
            let ticket = vec![7; length];
            let datagram = bind_with_ticket(&grant, &ticket);
            assert_eq!(RelayFrame::decode(&datagram), Ok(bind.clone()));
            assert_eq!(ticket_in(&datagram), Some(&ticket[..]));
        }
        for ticket in [vec![], vec![7; MAX_TICKET + 1]] {
            assert_eq!(bind_with_ticket(&grant, &ticket), bind.encode());
        }
        assert_eq!(ticket_in(&bind.encode()), None);
        let mut long = bind.encode();
        long[TICKET_AT..TICKET_AT + 2].copy_from_slice(&[2, 1]);
        assert_eq!(ticket_in(&long), None);
        assert_eq!(ticket_in(&[]), None);
    }

    #[test]
    fn a_bind_proves_key_and_leg_and_is_no_answer() {
        let grant = LegGrant {
            leg: LEG,
            key: Secret::random(),
        };
        let mac = bind_mac(&grant);
        assert!(bind_is_genuine(&grant.key, &LEG, &mac));
        assert!(!bind_is_genuine(&grant.key, &LegId([8; 16]), &mac));
        assert!(!bind_is_genuine(&Secret::random(), &LEG, &mac));
        assert!(!answer_is_genuine(&grant.key, &LEG, &[0; 32], &mac));
    }

    #[test]
    fn an_answer_proves_key_leg_and_cookie() {
        let grant = LegGrant {
            leg: LEG,
            key: Secret::random(),
        };
        let mac = answer_mac(&grant, &[1; 32]);
        assert!(answer_is_genuine(&grant.key, &LEG, &[1; 32], &mac));
        assert!(!answer_is_genuine(&grant.key, &LEG, &[2; 32], &mac));
        assert!(!answer_is_genuine(
            &grant.key,
            &LegId([8; 16]),
            &[1; 32],
            &mac
        ));
        assert!(!answer_is_genuine(&Secret::random(), &LEG, &[1; 32], &mac));
    }
}
