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
    stun::topology::{Place, Vantage},
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
    pub(crate) from: Place,
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
    answers_from: Option<Place>,
) -> impl Iterator<Item = u16> + 'a {
    let change = answers_from.is_none().then_some(kind::CHANGE_REQUEST);
    change.into_iter().chain(message.unknown_required())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::topology::{Side, Square, Vantages};

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

    /// A server with one address, whose system does not say where a datagram came to.
    fn alone() -> Vantage {
        Vantage::alone(Place {
            socket: 0,
            from: None,
            told: None,
        })
    }

    fn ask(server: &mut StunServer, request: &[u8], source: &str) -> Option<Vec<u8>> {
        let mut buffer = [0; LONGEST_ANSWER];
        let source = source.parse().unwrap();
        server
            .answer(Instant::now(), request, source, &alone(), &mut buffer)
            .map(|answer| answer.bytes.to_vec())
    }

    /// A corner of a square of two addresses with two ports each.
    fn of_two() -> Vantage {
        let side = |ip: &str, sockets: [usize; 2]| Side {
            bound: ip.parse().unwrap(),
            told: ip.parse().unwrap(),
            sockets: sockets.map(Some),
            ports: [3478, 3479],
        };
        let square = |first: &str, second: &str| Square {
            first: side(first, [0, 1]),
            second: Some(side(second, [2, 3])),
            wildcard: false,
            dual_stack: false,
        };
        let vantages = Vantages(vec![square("192.0.2.1", "192.0.2.2")]);
        vantages.at(0, None, V4.parse().unwrap())
    }

    fn change(ip: bool, port: bool) -> Attribute<'static> {
        Attribute::ChangeRequest { ip, port }
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
            .filter(|_| {
                server
                    .answer(now, &bare, source, &alone(), &mut buffer)
                    .is_some()
            })
            .count();
        assert_eq!(answered, 8);
        let padded = request(&[Attribute::Padding(32)], false);
        assert!((0..100).all(|_| {
            server
                .answer(now, &padded, source, &alone(), &mut buffer)
                .is_some()
        }));
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
                server
                    .answer(now, &bare, source, &alone(), &mut buffer)
                    .is_some()
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
    fn a_client_that_pads_nothing_is_told_the_second_address_as_often_as_it_may() {
        let mut server = server();
        let now = Instant::now();
        let mut buffer = [0; LONGEST_ANSWER];
        let source = V4.parse().unwrap();
        for (request, at_last) in [
            (request(&[], false), None),
            (request(&[Attribute::Padding(8)], false), Some(32)),
        ] {
            let mut lengths = Vec::new();
            for _ in 0..20 {
                let answer = server.answer(now, &request, source, &of_two(), &mut buffer);
                lengths.extend(answer.map(|answer| answer.bytes.len()));
            }
            // What a source may have beyond its requests is used up by the first eight.
            let long = lengths.iter().filter(|&&length| length == 56).count();
            assert_eq!(long, if at_last.is_none() { 8 } else { 0 });
            let short: Vec<_> = lengths
                .iter()
                .copied()
                .filter(|&length| length < 56)
                .collect();
            assert!(
                short.iter().all(|&length| Some(length) == at_last),
                "{short:?}"
            );
        }
    }

    #[test]
    fn a_padded_request_learns_all_in_no_more_bytes() {
        let request = request(&[Attribute::Padding(32)], true);
        assert_eq!(request.len(), 64);
        let mut buffer = [0; LONGEST_ANSWER];
        let mut server = server();
        let source = V4.parse().unwrap();
        let answer = server.answer(Instant::now(), &request, source, &of_two(), &mut buffer);
        let bytes = answer.unwrap().bytes;
        assert_eq!(bytes.len(), 64);
        let message = Message::decode(bytes).unwrap();
        let attributes: Vec<_> = message.attributes().collect();
        let other = Attribute::OtherAddress("192.0.2.2:3479".parse().unwrap());
        let origin = Attribute::ResponseOrigin("192.0.2.1:3478".parse().unwrap());
        assert_eq!(
            attributes[..3],
            [Attribute::XorMappedAddress(source), other, origin]
        );
        assert_eq!(message.fingerprint(), Fingerprint::Valid);
    }

    #[test]
    fn a_change_request_is_answered_from_the_corner_that_it_asks_for() {
        let mut server = server();
        let mut buffer = [0; LONGEST_ANSWER];
        let source = V4.parse().unwrap();
        for (ip, port, socket, origin) in [
            (false, false, 0, "192.0.2.1:3478"),
            (false, true, 1, "192.0.2.1:3479"),
            (true, false, 2, "192.0.2.2:3478"),
            (true, true, 3, "192.0.2.2:3479"),
        ] {
            let request = request(&[change(ip, port), Attribute::Padding(28)], true);
            let answer = server
                .answer(Instant::now(), &request, source, &of_two(), &mut buffer)
                .unwrap();
            assert_eq!(answer.from.socket, socket);
            let message = Message::decode(answer.bytes).unwrap();
            let told = Attribute::ResponseOrigin(origin.parse().unwrap());
            assert!(message.attributes().any(|a| a == told), "{origin}");
        }
    }

    #[test]
    fn an_answer_goes_to_another_port_of_the_one_who_asks_at_a_limited_rate() {
        let mut server = server();
        let mut buffer = [0; LONGEST_ANSWER];
        let now = Instant::now();
        let source = V4.parse().unwrap();
        let to = |port| {
            request(
                &[Attribute::ResponsePort(port), Attribute::Padding(32)],
                true,
            )
        };
        let mut answered = 0;
        for _ in 0..100 {
            if let Some(answer) = server.answer(now, &to(5000), source, &alone(), &mut buffer) {
                assert_eq!(answer.to_port, Some(5000));
                assert!(answer.bytes.len() <= to(5000).len());
                answered += 1;
            }
        }
        assert_eq!(answered, 40);
        let plain = request(&[Attribute::Padding(32)], true);
        let answer = server.answer(now, &plain, source, &alone(), &mut buffer);
        assert_eq!(
            answer.unwrap().to_port,
            None,
            "who asks plainly is answered"
        );
        let other = "192.0.2.9:4000".parse().unwrap();
        assert!(
            server
                .answer(now, &to(0), other, &alone(), &mut buffer)
                .is_none()
        );
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
