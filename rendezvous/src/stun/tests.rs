//! Requests and answers, without sockets.

use super::*;
use crate::stun::topology::{Side, Square, Vantages};

const V4: &str = "192.0.2.7:4000";
const V6: &str = "[2001:db8::7]:4000";

fn request(attributes: &[Attribute<'_>], fingerprint: bool) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut encoder = Encoder::new(&mut buffer, Class::Request, TransactionId([9; 12])).unwrap();
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
    Vantage::alone(AnswerAddress {
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
