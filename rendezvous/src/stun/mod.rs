//! The STUN server: Binding requests (RFC 8489) and nothing else.
//!
//! Sources of UDP datagrams can be forged, so an answer is never longer than its request, with one exception:
//! the shortest useful answer may be longer than a *bare* request, one that has no attributes or next to none,
//! because that is what most clients in the world send. It is 32 bytes for 20 over IPv4 (60 for 48 with the IP and
//! UDP headers) and 44 for 20 over IPv6; where there is a second address to tell, without which RFC 5780 is of no
//! use to such clients, 56 and 92. Such answers are few: see [`Limits::stun_bare`] and [`Limits::stun_bare_total`].
//! Requests that are as long as their answer are not limited; the peers pad theirs. What else an answer could say is
//! said as far as the request has room for it: first FINGERPRINT, then OTHER-ADDRESS, then RESPONSE-ORIGIN.
//!
//! CHANGE-REQUEST is honoured as far as there is another port or address (see [`crate::stun::topology`]), and
//! RESPONSE-PORT always, both at a limited rate ([`Limits::stun_elsewhere`]): one answer to the host that asked,
//! whatever the port, gives a forger nothing that a plain request does not.
//!
//! Left out are authentication, which Binding does without, and the classic STUN of RFC 3489.

pub(crate) mod over_tcp;
pub(crate) mod topology;

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use p2pdbg_stun::{
    AddressFamily, Attribute, Class, Encoder, FINGERPRINT_LEN, Fingerprint, HEADER_LEN,
    METHOD_BINDING, Message, TransactionId, kind,
};

use crate::{
    limits::{Bucket, HashedBuckets, Limits, Rate},
    stun::topology::{AnswerAddress, Vantage},
};

/// No answer is longer, in bytes.
pub(crate) const LONGEST_ANSWER: usize = 128;

/// How many unknown attributes an answer names at most: an even number.
const UNKNOWN_NAMED: usize = 8;

/// ERROR-CODE with an empty phrase, and UNKNOWN-ATTRIBUTES with no more than two numbers.
const SHORTEST_ERROR: usize = HEADER_LEN + 8 + 8;

/// Sources share this many buckets of each kind: 64 KiB.
const BUCKETS: usize = 4_096;

/// Answers Binding requests. Holds only budgets.
#[derive(Debug)]
pub(crate) struct StunServer {
    bare: Rate,
    bare_total: Rate,
    elsewhere: Rate,
    bare_by_source: HashedBuckets,
    elsewhere_by_source: HashedBuckets,
    total: Bucket,
}

/// An answer, and the way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'b> {
    pub(crate) bytes: &'b [u8],
    /// Where it is sent from.
    pub(crate) from: AnswerAddress,
    /// The port that it is sent to, if it is not the one that asked.
    pub(crate) to_port: Option<u16>,
}

/// What a request asks for besides the answer.
#[derive(Clone, Copy, Debug, Default)]
struct Wishes {
    other_address: bool,
    other_port: bool,
    to_port: Option<u16>,
}

impl Wishes {
    fn of(message: &Message<'_>) -> Self {
        let mut wishes = Self::default();
        for attribute in message.attributes() {
            match attribute {
                Attribute::ChangeRequest { ip, port } => {
                    (wishes.other_address, wishes.other_port) = (ip, port);
                }
                Attribute::ResponsePort(port) => wishes.to_port = Some(port),
                _ => {}
            }
        }
        wishes
    }

    fn are_none(self) -> bool {
        !self.other_address && !self.other_port && self.to_port.is_none()
    }
}

impl StunServer {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            bare: limits.stun_bare,
            bare_total: limits.stun_bare_total,
            elsewhere: limits.stun_elsewhere,
            bare_by_source: HashedBuckets::new(BUCKETS),
            elsewhere_by_source: HashedBuckets::new(BUCKETS),
            total: Bucket::default(),
        }
    }

    /// The answer to `request`, which came from `source` to the place of `vantage`, if it deserves one. `source` is
    /// given as it is to be told: not as an IPv4 address mapped into IPv6.
    pub(crate) fn answer<'b>(
        &mut self,
        now: Instant,
        request: &[u8],
        source: SocketAddr,
        vantage: &Vantage,
        buffer: &'b mut [u8; LONGEST_ANSWER],
    ) -> Option<Answer<'b>> {
        let message = Message::decode(request).ok()?;
        let asks = message.class() == Class::Request && message.method() == METHOD_BINDING;
        if !asks || message.fingerprint() == Fingerprint::Invalid {
            return None;
        }
        let here = vantage.place(false, false)?;
        let wishes = Wishes::of(&message);
        let from = vantage.place(wishes.other_address, wishes.other_port);
        let mut unknown = [0; UNKNOWN_NAMED];
        let mut count = 0;
        for (slot, number) in unknown.iter_mut().zip(not_understood(&message, from)) {
            *slot = number;
            count += 1;
        }
        if count > 0 {
            let room = self.room_for_error(now, request.len(), source.ip())?;
            let bytes = refuse(
                buffer.get_mut(..room)?,
                message.transaction(),
                unknown,
                count,
            )?;
            return Some(Answer {
                bytes,
                from: here,
                to_port: None,
            });
        }
        if wishes.to_port == Some(0) {
            return None;
        }
        if !wishes.are_none() {
            let buckets = &mut self.elsewhere_by_source;
            buckets.take(source.ip(), self.elsewhere, now).ok()?;
        }
        let from = from?;
        let room = self.room(now, request.len(), source.ip(), vantage.other().is_some())?;
        // The buffer's length is the bound: the encoder cannot write past it.
        let buffer = buffer.get_mut(..room.len)?;
        let more = [
            vantage.other().map(Attribute::OtherAddress),
            vantage.origin(from).map(Attribute::ResponseOrigin),
        ];
        let bytes = succeed(buffer, message.transaction(), room.seal, source, more)?;
        Some(Answer {
            bytes,
            from,
            to_port: wishes.to_port,
        })
    }

    /// How long an error may be, if it may be at all.
    fn room_for_error(&mut self, now: Instant, asked: usize, source: IpAddr) -> Option<usize> {
        if asked >= SHORTEST_ERROR {
            Some(asked.min(LONGEST_ANSWER))
        } else {
            self.may_be_longer(now, source).then_some(SHORTEST_ERROR)
        }
    }

    /// How long the answer to `asked` bytes may be, if it may be at all. `is_square` says that there is a second
    /// address to tell of.
    fn room(
        &mut self,
        now: Instant,
        asked: usize,
        source: IpAddr,
        is_square: bool,
    ) -> Option<Room> {
        let address_len = AddressFamily::of(source).attribute_len();
        let shortest = HEADER_LEN + address_len;
        // What a client needs that pads nothing.
        let told = 1 + usize::from(is_square) * 2;
        let useful = HEADER_LEN + told * address_len;
        let sealed_if_it_fits = |len| Room {
            len,
            seal: len >= shortest + FINGERPRINT_LEN,
        };
        if asked >= useful {
            Some(sealed_if_it_fits(asked.min(LONGEST_ANSWER)))
        } else if self.may_be_longer(now, source) {
            Some(Room {
                len: useful,
                seal: false,
            })
        } else {
            (asked >= shortest).then(|| sealed_if_it_fits(asked))
        }
    }

    /// Whether an answer to this source may be longer than its request now.
    fn may_be_longer(&mut self, now: Instant, source: IpAddr) -> bool {
        self.bare_by_source.take(source, self.bare, now).is_ok()
            && self.total.take(self.bare_total, now, 1).is_ok()
    }
}

/// What an answer may take.
struct Room {
    /// Its length in bytes.
    len: usize,
    /// Whether FINGERPRINT is among them.
    seal: bool,
}

/// An answer that tells the source, and what else there is room for.
fn succeed<'b>(
    buffer: &'b mut [u8],
    transaction: TransactionId,
    seal: bool,
    source: SocketAddr,
    more: [Option<Attribute<'_>>; 2],
) -> Option<&'b [u8]> {
    let room = buffer.len();
    let mut answer = Encoder::new(buffer, Class::Success, transaction).ok()?;
    answer.push(Attribute::XorMappedAddress(source)).ok()?;
    let kept = if seal { FINGERPRINT_LEN } else { 0 };
    for attribute in more.into_iter().flatten() {
        if answer.len() + attribute.encoded_len() + kept <= room {
            answer.push(attribute).ok()?;
        }
    }
    if seal {
        answer.finish_with_fingerprint().ok()
    } else {
        Some(answer.finish())
    }
}

/// An error 420 that names the first of the unknown attributes, as many as fit.
fn refuse(
    buffer: &mut [u8],
    transaction: TransactionId,
    mut unknown: [u16; UNKNOWN_NAMED],
    count: usize,
) -> Option<&[u8]> {
    let room = buffer.len();
    let mut answer = Encoder::new(buffer, Class::Error, transaction).ok()?;
    let mut named = count.min((room - SHORTEST_ERROR) / 4 * 2 + 2);
    if !named.is_multiple_of(2) {
        // One is named twice, as RFC 3489 asked for: parsers that know no padding read the rest right.
        unknown[named] = unknown[named - 1];
        named += 1;
    }
    let error = Attribute::ErrorCode {
        code: 420,
        reason: b"",
    };
    answer.push(error).ok()?;
    let numbers = &unknown[..named];
    answer
        .push(Attribute::UnknownAttributes(numbers.into()))
        .ok()?;
    if answer.len() + FINGERPRINT_LEN <= room {
        answer.finish_with_fingerprint().ok()
    } else {
        Some(answer.finish())
    }
}

/// The comprehension-required attributes of a request that this server does not understand; a CHANGE-REQUEST is one of
/// them if there is no place that answers it (RFC 5780 section 6.1).
fn not_understood<'a>(
    message: &Message<'a>,
    answers_from: Option<AnswerAddress>,
) -> impl Iterator<Item = u16> + 'a {
    let change = answers_from.is_none().then_some(kind::CHANGE_REQUEST);
    change.into_iter().chain(message.unknown_required())
}

#[cfg(test)]
mod tests;
