//! A leg of the relay over TCP, for members whose network lets no UDP through.
//!
//! ```text
//! member → relay   JOIN      9 | version 1 | leg (16) | attempt (u64) | mac (32)
//! relay → member   BOUND     7 | version 1 | leg (16) | seconds of silence that end it (u16)
//! relay → member   REFUSED   8 | version 1 | leg (16) | reason (1)
//! ```
//!
//! The connection is TLS 1.3 with an ALPN of its own. Everything on it goes in *packets*, each a length as a `u16`
//! (big-endian) and so many bytes. The member's first one is JOIN; its MAC, under the leg's key, covers keying
//! material exported from this very TLS connection, so it is of use on no other. A member numbers its attempts at a
//! leg: a JOIN that was on its way for long does not take the leg from the connection that was made after it. The
//! reply is a frame of [`crate::relay`]. After BOUND each packet is one datagram, exactly as it would go over UDP; an
//! empty one asks for an empty one, and so tells both ends that the connection lives. Refused or replaced, the
//! connection ends after REFUSED.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::{
    relay::{LegGrant, LegId, NotARelayFrame, VERSION},
    secret::Secret,
};

/// The ALPN of a leg over TCP, version 1.
pub const ALPN: &[u8] = b"p2pdbg-relay/1";

/// The label with which the keying material for JOIN is exported (RFC 8446 section 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-p2pdbg-relay-1";

/// The length of a packet's prefix, in bytes.
pub const PREFIX: usize = 2;

/// The longest packet, in bytes: no QUIC of ours sends longer datagrams.
pub const MAX_PACKET: usize = 1_500;

/// The length of JOIN, in bytes.
const JOIN_LENGTH: usize = 58;

const JOIN: u8 = 9;

/// A member asks that the datagrams of its leg come by this connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The leg, of which the connection carries one member's datagrams.
    pub leg: LegId,
    /// Which of the member's attempts at this leg it is; they grow.
    pub attempt: u64,
    /// Shows that it holds the leg's key, and that it is the one who made this connection.
    pub mac: [u8; 32],
}

impl Join {
    /// For the leg of this grant, on the connection with this keying material.
    pub fn new(grant: &LegGrant, attempt: u64, exported: &[u8; 32]) -> Self {
        let mac = mac_state(&grant.key, &grant.leg, attempt, exported).finalize();
        Self {
            leg: grant.leg,
            attempt,
            mac: mac.into_bytes().into(),
        }
    }

    /// Whether it was made with this key on the connection with this keying material; compares in constant time.
    pub fn is_genuine(&self, key: &Secret<32>, exported: &[u8; 32]) -> bool {
        mac_state(key, &self.leg, self.attempt, exported)
            .verify_slice(&self.mac)
            .is_ok()
    }

    /// The packet's bytes, without their length.
    pub fn encode(&self) -> [u8; JOIN_LENGTH] {
        let mut out = [0; JOIN_LENGTH];
        out[0] = JOIN;
        out[1] = VERSION;
        out[2..18].copy_from_slice(&self.leg.0);
        out[18..26].copy_from_slice(&self.attempt.to_be_bytes());
        out[26..].copy_from_slice(&self.mac);
        out
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// [`NotARelayFrame`] unless kind, version and length are exactly right.
    pub fn decode(packet: &[u8]) -> Result<Self, NotARelayFrame> {
        let (head, rest) = packet.split_first_chunk().ok_or(NotARelayFrame)?;
        let (&leg, rest) = rest.split_first_chunk().ok_or(NotARelayFrame)?;
        let (&attempt, mac) = rest.split_first_chunk().ok_or(NotARelayFrame)?;
        let mac = mac.try_into().map_err(|_| NotARelayFrame)?;
        if *head != [JOIN, VERSION] {
            return Err(NotARelayFrame);
        }
        Ok(Self {
            leg: LegId(leg),
            attempt: u64::from_be_bytes(attempt),
            mac,
        })
    }
}

/// Appends a packet to `out`; whether it is short enough to be one.
pub fn encode_packet(packet: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(length) = u16::try_from(packet.len())
        .ok()
        .filter(|length| usize::from(*length) <= MAX_PACKET)
    else {
        return false;
    };
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(packet);
    true
}

/// A packet that announces to be longer than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a packet of {0} bytes is longer than {MAX_PACKET}")]
pub struct TooLong(pub usize);

/// A packet, and the bytes that follow it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The first packet in `bytes`, once all of it is there, and what follows it.
///
/// # Errors
/// [`TooLong`] as soon as the length says so.
pub fn split_packet(bytes: &[u8]) -> Result<Option<Split<'_>>, TooLong> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*prefix));
    if length > MAX_PACKET {
        return Err(TooLong(length));
    }
    Ok(rest.split_at_checked(length))
}

fn mac_state(key: &Secret<32>, leg: &LegId, attempt: u64, exported: &[u8; 32]) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key.expose())
        .expect("HMAC takes keys of any length")
        .chain_update(b"p2pdbg relay join 1")
        .chain_update(leg.0)
        .chain_update(attempt.to_be_bytes())
        .chain_update(exported)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> LegGrant {
        LegGrant {
            leg: LegId([7; 16]),
            key: Secret::random(),
        }
    }

    #[test]
    fn a_join_reads_back_and_nothing_shorter_or_longer_does() {
        let join = Join::new(&grant(), 3, &[1; 32]);
        let packet = join.encode();
        assert_eq!(Join::decode(&packet), Ok(join));
        assert_eq!(Join::decode(&packet[..57]), Err(NotARelayFrame));
        let longer = [&packet[..], &[0]].concat();
        assert_eq!(Join::decode(&longer), Err(NotARelayFrame));
        let mut other = packet;
        other[1] = 2;
        assert_eq!(Join::decode(&other), Err(NotARelayFrame));
    }

    #[test]
    fn a_join_proves_key_leg_attempt_and_connection() {
        let grant = grant();
        let join = Join::new(&grant, 3, &[1; 32]);
        assert!(join.is_genuine(&grant.key, &[1; 32]));
        assert!(!join.is_genuine(&grant.key, &[2; 32]));
        assert!(!join.is_genuine(&Secret::random(), &[1; 32]));
        let leg = LegId([8; 16]);
        let borrowed = Join {
            leg,
            ..join.clone()
        };
        assert!(!borrowed.is_genuine(&grant.key, &[1; 32]));
        let later = Join { attempt: 4, ..join };
        assert!(!later.is_genuine(&grant.key, &[1; 32]));
    }

    #[test]
    fn packets_come_apart_where_they_were_put_together() {
        let mut bytes = Vec::new();
        for packet in [&[64; 1_200][..], &[], &[70]] {
            assert!(encode_packet(packet, &mut bytes));
        }
        for cut in 0..bytes.len() {
            let mut rest = &bytes[..cut];
            while let Some((_, behind)) = split_packet(rest).unwrap() {
                rest = behind;
            }
        }
        let (first, rest) = split_packet(&bytes).unwrap().unwrap();
        let (second, rest) = split_packet(rest).unwrap().unwrap();
        let (third, rest) = split_packet(rest).unwrap().unwrap();
        assert_eq!((first.len(), second, third), (1_200, &[][..], &[70][..]));
        assert_eq!(split_packet(rest), Ok(None));
    }

    #[test]
    fn a_packet_that_is_too_long_is_known_by_its_length() {
        assert_eq!(split_packet(&[0xff, 0xff]), Err(TooLong(65_535)));
        let mut out = Vec::new();
        assert!(!encode_packet(&[64; MAX_PACKET + 1], &mut out));
        assert!(out.is_empty());
    }
}
