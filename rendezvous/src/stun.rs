//! The STUN server: Binding requests (RFC 8489) and nothing else.
//!
//! Sources of UDP datagrams can be forged, so an answer is never longer than its request, with one exception:
//! the shortest useful answer (header and XOR-MAPPED-ADDRESS, or the error 420) may be longer than a *bare*
//! request, one that has no attributes or next to none, because that is what most clients in the world send.
//! It is 32 bytes for 20 over IPv4 (60 for 48 with the IP and UDP headers) and 44 for 20 over IPv6, and such
//! answers are few: see [`Limits::stun_bare`] and [`Limits::stun_bare_total`]. Requests that are as long as
//! their answer are not limited; the peers pad theirs. What else an answer could say is said as far as the request has room for it: first
//! FINGERPRINT, later OTHER-ADDRESS and RESPONSE-ORIGIN where there is a second address to tell.
//!
//! CHANGE-REQUEST (RFC 5780) is answered like an unknown attribute for want of a second address. Left out are
//! authentication, which Binding does without, and the classic STUN of RFC 3489.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use p2pdbg_wire::stun::{
    AddressFamily, Attribute, Class, Encoder, FINGERPRINT_LEN, Fingerprint, HEADER_LEN,
    METHOD_BINDING, Message, kind,
};

use crate::limits::{Bucket, HashedBuckets, Limits, Rate};

/// No answer is longer, in bytes.
pub(crate) const LONGEST_ANSWER: usize = 128;

/// How many unknown attributes an answer names at most: an even number.
const UNKNOWN_NAMED: usize = 8;

/// ERROR-CODE with an empty phrase, and UNKNOWN-ATTRIBUTES with no more than two numbers.
const SHORTEST_ERROR: usize = HEADER_LEN + 8 + 8;

/// Sources of bare requests share this many buckets: 64 KiB.
const BUCKETS: usize = 4_096;

/// Answers Binding requests. Holds only the budgets for answers longer than their request.
#[derive(Debug)]
pub(crate) struct StunServer {
    bare: Rate,
    bare_total: Rate,
    by_source: HashedBuckets,
    total: Bucket,
}

impl StunServer {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            bare: limits.stun_bare,
            bare_total: limits.stun_bare_total,
            by_source: HashedBuckets::new(BUCKETS),
            total: Bucket::default(),
        }
    }

    /// The answer to `request`, which came from `source`, if it deserves one. `source` is given as it is to be
    /// told: not as an IPv4 address mapped into IPv6.
    pub(crate) fn answer<'b>(
        &mut self,
        now: Instant,
        request: &[u8],
        source: SocketAddr,
        buffer: &'b mut [u8; LONGEST_ANSWER],
    ) -> Option<&'b [u8]> {
        let message = Message::decode(request).ok()?;
        let asks = message.class() == Class::Request && message.method() == METHOD_BINDING;
        if !asks || message.fingerprint() == Fingerprint::Invalid {
            return None;
        }
        let mut unknown = [0; UNKNOWN_NAMED];
        let mut count = 0;
        for (slot, number) in unknown.iter_mut().zip(not_understood(&message)) {
            *slot = number;
            count += 1;
        }
        let shortest = match count {
            0 => HEADER_LEN + AddressFamily::of(source.ip()).attribute_len(),
            _ => SHORTEST_ERROR,
        };
        let room = self.room(now, shortest, request.len(), source.ip())?;
        // The buffer's length is the bound: the encoder cannot write past it.
        let buffer = buffer.get_mut(..room)?;
        let class = if count == 0 {
            Class::Success
        } else {
            Class::Error
        };
        let mut answer = Encoder::new(buffer, class, message.transaction()).ok()?;
        if count == 0 {
            answer.push(Attribute::XorMappedAddress(source)).ok()?;
        } else {
            let mut named = count.min((room - SHORTEST_ERROR) / 4 * 2 + 2);
            if !named.is_multiple_of(2) {
                // One is named twice, as RFC 3489 asked for: parsers that know no padding read the rest right.
                unknown[named] = unknown[named - 1];
                named += 1;
            }
            answer
                .push(Attribute::ErrorCode {
                    code: 420,
                    reason: b"",
                })
                .ok()?;
            let numbers = &unknown[..named];
            answer
                .push(Attribute::UnknownAttributes(numbers.into()))
                .ok()?;
        }
        if answer.len() + FINGERPRINT_LEN <= room {
            answer.finish_with_fingerprint().ok()
        } else {
            Some(answer.finish())
        }
    }

    /// How long the answer may be, if there may be one.
    fn room(
        &mut self,
        now: Instant,
        shortest: usize,
        request: usize,
        source: IpAddr,
    ) -> Option<usize> {
        if shortest <= request {
            return Some(request.min(LONGEST_ANSWER));
        }
        self.by_source.take(source, self.bare, now).ok()?;
        self.total.take(self.bare_total, now, 1).ok()?;
        Some(shortest)
    }
}

/// The comprehension-required attributes of a request that this server does not understand.
fn not_understood<'a>(message: &Message<'a>) -> impl Iterator<Item = u16> + 'a {
    let change = message.attributes().find_map(|attribute| match attribute {
        Attribute::ChangeRequest { .. } => Some(kind::CHANGE_REQUEST),
        _ => None,
    });
    change.into_iter().chain(message.unknown_required())
}

#[cfg(test)]
mod tests {
    use p2pdbg_wire::stun::TransactionId;

    use super::*;

    const V4: &str = "192.0.2.7:4000";
    const V6: &str = "[2001:db8::7]:4000";

    fn request(attributes: &[Attribute<'_>], fingerprint: bool) -> Vec<u8> {
        let mut buffer = [0; 512];
        let mut encoder =
            Encoder::new(&mut buffer, Class::Request, TransactionId([9; 12])).unwrap();
        for attribute in attributes {
            encoder.push(*attribute).unwrap();
        }
        if fingerprint {
            encoder.finish_with_fingerprint().unwrap().to_vec()
        } else {
            encoder.finish().to_vec()
        }
    }

    fn server() -> StunServer {
        StunServer::new(&Limits::default())
    }

    fn ask(server: &mut StunServer, request: &[u8], source: &str) -> Option<Vec<u8>> {
        let mut buffer = [0; LONGEST_ANSWER];
        server
            .answer(
                Instant::now(),
                request,
                source.parse().unwrap(),
                &mut buffer,
            )
            .map(<[u8]>::to_vec)
    }

    #[test]
    fn a_padded_request_gets_its_address_and_a_fingerprint_in_no_more_bytes() {
        for (source, padding) in [(V4, 16), (V6, 28)] {
            let request = request(&[Attribute::Padding(padding)], true);
            let answer = ask(&mut server(), &request, source).unwrap();
            assert!(answer.len() <= request.len());
            let message = Message::decode(&answer).unwrap();
            assert_eq!(message.class(), Class::Success);
            assert_eq!(message.mapped_address(), Some(source.parse().unwrap()));
            assert_eq!(message.fingerprint(), Fingerprint::Valid);
            assert_eq!(message.transaction(), TransactionId([9; 12]));
        }
    }

    #[test]
    fn no_answer_is_longer_than_its_request_unless_that_was_bare_and_few() {
        for source in [V4, V6] {
            for padding in 0..100 {
                for fingerprint in [false, true] {
                    let request = request(&[Attribute::Padding(padding)], fingerprint);
                    if let Some(answer) = ask(&mut server(), &request, source) {
                        assert!(answer.len() <= request.len().max(44), "{}", request.len());
                    }
                }
            }
        }
        let bare = request(&[], false);
        assert_eq!(ask(&mut server(), &bare, V4).unwrap().len(), 32);
        assert_eq!(ask(&mut server(), &bare, V6).unwrap().len(), 44);
    }

    #[test]
    fn bare_requests_of_one_source_are_answered_up_to_a_rate_and_long_ones_always() {
        let mut server = server();
        let bare = request(&[], false);
        let now = Instant::now();
        let mut buffer = [0; LONGEST_ANSWER];
        let source = V4.parse().unwrap();
        let answered = (0..100)
            .filter(|_| server.answer(now, &bare, source, &mut buffer).is_some())
            .count();
        assert_eq!(answered, 8);
        let padded = request(&[Attribute::Padding(32)], false);
        assert!((0..100).all(|_| server.answer(now, &padded, source, &mut buffer).is_some()));
    }

    #[test]
    fn bare_requests_of_forged_sources_are_answered_up_to_a_rate_of_all_together() {
        let mut server = server();
        let bare = request(&[], false);
        let now = Instant::now();
        let mut buffer = [0; LONGEST_ANSWER];
        let answered = (0..20_000u32)
            .filter(|n| {
                let source = SocketAddr::new(std::net::Ipv4Addr::from(*n).into(), 53);
                server.answer(now, &bare, source, &mut buffer).is_some()
            })
            .count();
        assert_eq!(answered, 400);
    }

    #[test]
    fn unknown_required_attributes_are_refused_by_name() {
        let unknown = Attribute::Other {
            kind: 0x7abc,
            value: &[0; 24],
        };
        let request = request(&[unknown, Attribute::Padding(8)], true);
        let answer = ask(&mut server(), &request, V4).unwrap();
        assert!(answer.len() <= request.len());
        let message = Message::decode(&answer).unwrap();
        assert_eq!(message.class(), Class::Error);
        let attributes: Vec<_> = message.attributes().collect();
        assert!(matches!(
            attributes[0],
            Attribute::ErrorCode { code: 420, .. }
        ));
        assert_eq!(
            attributes[1],
            Attribute::UnknownAttributes((&[0x7abc, 0x7abc][..]).into())
        );
    }

    #[test]
    fn many_unknown_attributes_do_not_make_the_answer_longer_than_the_request() {
        let kinds: Vec<u16> = (0..40).map(|n| 0x7000 + n).collect();
        let attributes: Vec<_> = kinds
            .iter()
            .map(|&kind| Attribute::Other { kind, value: &[] })
            .collect();
        for count in 1..attributes.len() {
            let request = request(&attributes[..count], false);
            let answer = ask(&mut server(), &request, V4).unwrap();
            assert!(answer.len() <= request.len().max(SHORTEST_ERROR));
            assert_eq!(Message::decode(&answer).unwrap().class(), Class::Error);
        }
    }

    #[test]
    fn a_change_request_is_refused_for_want_of_a_second_address() {
        let change = Attribute::ChangeRequest {
            ip: true,
            port: false,
        };
        let request = request(&[change, Attribute::Padding(32)], false);
        let answer = ask(&mut server(), &request, V4).unwrap();
        let message = Message::decode(&answer).unwrap();
        let named = message
            .attributes()
            .any(|a| a == Attribute::UnknownAttributes((&[kind::CHANGE_REQUEST; 2][..]).into()));
        assert!(named);
    }

    #[test]
    fn what_is_not_a_binding_request_gets_no_answer() {
        let mut spoilt = request(&[Attribute::Padding(32)], true);
        *spoilt.last_mut().unwrap() ^= 1;
        assert_eq!(ask(&mut server(), &spoilt, V4), None);
        let mut allocate = request(&[Attribute::Padding(32)], false);
        allocate[1] = 3;
        assert_eq!(ask(&mut server(), &allocate, V4), None);
        for class in [Class::Indication, Class::Success, Class::Error] {
            let mut buffer = [0; 64];
            let mut encoder = Encoder::new(&mut buffer, class, TransactionId([9; 12])).unwrap();
            encoder.push(Attribute::Padding(32)).unwrap();
            assert_eq!(ask(&mut server(), encoder.finish(), V4), None);
        }
        assert_eq!(ask(&mut server(), &[0; 20], V4), None);
        assert_eq!(ask(&mut server(), &[], V4), None);
    }
}
