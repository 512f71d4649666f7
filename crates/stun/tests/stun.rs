//! The STUN codec against the vectors of the RFCs, against itself, and against garbage.

use std::net::SocketAddr;

use p2pdbg_stun::{
    AddressFamily, Attribute, AttributeTypes, Class, DecodeError, EncodeError, Encoder,
    FINGERPRINT_LEN, Fingerprint, HEADER_LEN, Integrity, METHOD_BINDING, Message, TransactionId,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// RFC 5769 section 2.1.
const SAMPLE_REQUEST: &str = "
    000100582112a442b7e7a701bc34d686fa87dfae
    802200105354554e207465737420636c69656e74
    002400046e0001ff
    80290008932ff9b151263b36
    000600096576746a3a68367659202020
    000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
    80280004e57a3bcf";

/// RFC 5769 section 2.2.
const SAMPLE_V4_RESPONSE: &str = "
    0101003c2112a442b7e7a701bc34d686fa87dfae
    8022000b7465737420766563746f7220
    002000080001a147e112a643
    000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7
    80280004c07d4c96";

/// RFC 5769 section 2.3.
const SAMPLE_V6_RESPONSE: &str = "
    010100482112a442b7e7a701bc34d686fa87dfae
    8022000b7465737420766563746f7220
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
    00080014a382954e4be67bf11784c97c8292c275bfe3ed41
    80280004c8fb0b4c";

/// RFC 8489 appendix B.1 as corrected by erratum 6268.
const SHA256_REQUEST: &str = "
    000100902112a44278ad3433c6ad72c029da412e
    001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704
    001500296f624d61744a6f7332414141
    43662f2f3439396b39353464364f4c33346f4c394653547679363473
    41000000
    0014000b6578616d706c652e6f726700
    001d000400020000
    001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pair = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const TRANSACTION: TransactionId = TransactionId([
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
]);

#[test]
fn the_sample_request_of_rfc_5769_decodes_and_its_fingerprint_holds() {
    let bytes = hex(SAMPLE_REQUEST);
    let message = Message::decode(&bytes).unwrap();
    assert_eq!(
        (message.class(), message.method()),
        (Class::Request, METHOD_BINDING)
    );
    assert_eq!(message.transaction(), TRANSACTION);
    assert_eq!(message.fingerprint(), Fingerprint::Valid);
    let attributes: Vec<_> = message.attributes().collect();
    assert_eq!(attributes.len(), 6);
    assert_eq!(attributes[0], Attribute::Software(b"STUN test client"));
    assert_eq!(attributes[1], Attribute::Priority(0x6e00_01ff));
    assert_eq!(
        attributes[2],
        Attribute::IceControlled(0x932f_f9b1_5126_3b36)
    );
    assert_eq!(attributes[3], Attribute::Username(b"evtj:h6vY"));
    assert_eq!(message.unknown_required().count(), 0);
    assert_eq!(
        message.integrity(b"VOkJxbRl1RmTxUk/WvJxBt"),
        Integrity::Absent
    );
}

#[test]
fn the_sample_responses_of_rfc_5769_give_their_mapped_addresses() {
    for (sample, expected) in [
        (SAMPLE_V4_RESPONSE, "192.0.2.1:32853"),
        (
            SAMPLE_V6_RESPONSE,
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ),
    ] {
        let bytes = hex(sample);
        let message = Message::decode(&bytes).unwrap();
        assert_eq!(message.class(), Class::Success);
        assert_eq!(message.fingerprint(), Fingerprint::Valid);
        assert_eq!(message.mapped_address(), Some(address(expected)));
    }
}

#[test]
fn the_sha256_integrity_of_rfc_8489_holds_under_its_key_alone() {
    let bytes = hex(SHA256_REQUEST);
    let message = Message::decode(&bytes).unwrap();
    let key =
        Sha256::digest("\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}:example.org:TheMatrIX");
    assert_eq!(message.integrity(&key), Integrity::Valid);
    assert_eq!(message.integrity(b"TheMatrIX"), Integrity::Invalid);
    assert_eq!(message.fingerprint(), Fingerprint::Absent);
}

#[test]
fn what_the_encoder_writes_for_the_samples_parts_is_the_sample() {
    let sample = hex(SAMPLE_REQUEST);
    let decoded = Message::decode(&sample).unwrap();
    let mut buffer = [0; 200];
    let mut encoder = Encoder::new(&mut buffer, Class::Request, TRANSACTION).unwrap();
    for attribute in decoded.attributes().take(5) {
        encoder.push(attribute).unwrap();
    }
    let mut ours = encoder.finish_with_fingerprint().unwrap().to_vec();
    // The sample pads with spaces, we with zeroes; the fingerprint follows from that.
    assert_eq!(&ours[73..76], [0; 3]);
    ours[73..76].copy_from_slice(b"   ");
    assert_eq!(ours[..100], sample[..100]);
}

#[test]
fn any_change_to_a_sealed_message_breaks_its_integrity_or_its_syntax() {
    let mut buffer = [0; 200];
    let mut encoder = Encoder::new(&mut buffer, Class::Request, TRANSACTION).unwrap();
    encoder.push(Attribute::Priority(77)).unwrap();
    encoder.push(Attribute::UseCandidate).unwrap();
    let sealed = encoder
        .finish_with_integrity(b"the key", 20)
        .unwrap()
        .to_vec();
    assert_eq!(
        Message::decode(&sealed).unwrap().integrity(b"the key"),
        Integrity::Valid
    );
    // The fingerprint's eight bytes stand outside the integrity.
    for bit in 0..(sealed.len() - FINGERPRINT_LEN) * 8 {
        let mut altered = sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        if let Ok(message) = Message::decode(&altered) {
            assert_ne!(message.integrity(b"the key"), Integrity::Valid, "bit {bit}");
            assert_ne!(message.fingerprint(), Fingerprint::Valid, "bit {bit}");
        }
    }
}

#[test]
fn what_stands_behind_the_integrity_is_passed_over_except_the_fingerprint() {
    let mut buffer = [0; 200];
    let encoder = Encoder::new(&mut buffer, Class::Request, TRANSACTION).unwrap();
    let sealed = encoder.finish_with_integrity(b"the key", 32).unwrap();
    let without_fingerprint = sealed[..sealed.len() - FINGERPRINT_LEN].to_vec();
    let mut forged = without_fingerprint;
    forged.extend(hex("00250000 80280004 00000000"));
    forged[3] += 4;
    let message = Message::decode(&forged).unwrap();
    assert_eq!(message.integrity(b"the key"), Integrity::Valid);
    assert!(!message.attributes().any(|a| a == Attribute::UseCandidate));
    assert_eq!(message.attributes().count(), 2);
}

#[test]
fn a_reply_is_as_long_as_the_constants_say() {
    let mut buffer = [0; 200];
    let mut encoder = Encoder::new(&mut buffer, Class::Success, TRANSACTION).unwrap();
    encoder
        .push(Attribute::XorMappedAddress(address("192.0.2.1:1")))
        .unwrap();
    encoder
        .push(Attribute::OtherAddress(address("[2001:db8::1]:2")))
        .unwrap();
    let reply = encoder.finish_with_fingerprint().unwrap();
    let expected = HEADER_LEN
        + AddressFamily::V4.attribute_len()
        + AddressFamily::V6.attribute_len()
        + FINGERPRINT_LEN;
    assert_eq!(reply.len(), expected);
}

#[test]
fn unknown_attributes_are_told_by_whether_they_must_be_understood() {
    let mut buffer = [0; 200];
    let mut encoder = Encoder::new(&mut buffer, Class::Request, TRANSACTION).unwrap();
    encoder
        .push(Attribute::Other {
            kind: 0x7777,
            value: b"abc",
        })
        .unwrap();
    encoder
        .push(Attribute::Other {
            kind: 0x8777,
            value: b"",
        })
        .unwrap();
    let request = encoder.finish().to_vec();
    let message = Message::decode(&request).unwrap();
    let unknown: Vec<u16> = message.unknown_required().collect();
    assert_eq!(unknown, [0x7777]);

    let mut encoder = Encoder::new(&mut buffer, Class::Error, TRANSACTION).unwrap();
    encoder
        .push(Attribute::ErrorCode {
            code: 420,
            reason: b"Unknown Attribute   ",
        })
        .unwrap();
    encoder
        .push(Attribute::UnknownAttributes(AttributeTypes::from(
            &unknown[..],
        )))
        .unwrap();
    let refusal = Message::decode(encoder.finish()).unwrap();
    let attributes: Vec<_> = refusal.attributes().collect();
    assert_eq!(
        attributes[0],
        Attribute::ErrorCode {
            code: 420,
            reason: b"Unknown Attribute   "
        }
    );
    assert_eq!(
        attributes[1],
        Attribute::UnknownAttributes(AttributeTypes::from(&[0x7777][..]))
    );
}

#[test]
fn a_classic_request_without_the_cookie_is_not_stun() {
    let classic = hex("0001 0000 0102030405060708090a0b0c0d0e0f10");
    assert_eq!(Message::decode(&classic), Err(DecodeError::NotStun));
}

#[test]
fn lengths_that_lie_are_refused() {
    let sample = hex(SAMPLE_REQUEST);
    for cut in 0..sample.len() {
        assert!(
            Message::decode(&sample[..cut]).is_err(),
            "{cut} bytes of the sample"
        );
    }
    let mut longer = sample.clone();
    longer.extend([0; 4]);
    assert_eq!(Message::decode(&longer), Err(DecodeError::WrongLength));
    longer[3] += 4;
    assert_eq!(Message::decode(&longer), Err(DecodeError::AfterFingerprint));
    let mut past_the_end = sample;
    past_the_end[22..24].copy_from_slice(&200_u16.to_be_bytes());
    assert_eq!(
        Message::decode(&past_the_end),
        Err(DecodeError::Truncated(0x8022))
    );
}

#[test]
fn values_that_their_definitions_forbid_are_refused() {
    for attribute in [
        "0001000800030001c0000201", // an address family that does not exist
        "0020000400010001",         // an address without an address
        "0001001400010001c0000201000000000000000000000000", // sixteen octets of IPv4
        "0003000200000000",         // half a CHANGE-REQUEST
        "0009000400000200",         // error class 2
        "0009000400000464",         // error number 100
        "000a000300010000",         // one type and a half
        "001c000c000000000000000000000000", // a tag of 96 bits
        "0025000400000000",         // USE-CANDIDATE with a value
        "8029000400000000",         // half a tie-breaker
    ] {
        let mut bytes = hex("0001 0000 2112a442 000000000000000000000000");
        bytes.extend(hex(attribute));
        bytes[3] = (bytes.len() - HEADER_LEN) as u8;
        assert!(
            matches!(Message::decode(&bytes), Err(DecodeError::Malformed(_))),
            "{attribute}"
        );
    }
}

#[test]
fn the_encoder_refuses_what_does_not_fit_and_stays_as_it_was() {
    let mut buffer = [0; 28];
    assert!(Encoder::new(&mut buffer[..19], Class::Request, TRANSACTION).is_err());
    let mut encoder = Encoder::new(&mut buffer, Class::Request, TRANSACTION).unwrap();
    let too_long = Attribute::XorMappedAddress(address("192.0.2.1:1"));
    assert_eq!(encoder.push(too_long), Err(EncodeError::NoRoom));
    let not_a_code = Attribute::ErrorCode {
        code: 200,
        reason: b"",
    };
    assert_eq!(encoder.push(not_a_code), Err(EncodeError::Value(0x0009)));
    assert_eq!(encoder.len(), HEADER_LEN);
    assert_eq!(encoder.finish_with_fingerprint().unwrap().len(), 28);
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
    ]
}

/// Attributes that own what they refer to, so that proptest can make them up.
#[derive(Debug, Clone)]
enum Owned {
    Mapped(SocketAddr),
    Xor(SocketAddr),
    Origin(SocketAddr),
    Other(SocketAddr),
    Change(bool, bool),
    Username(Vec<u8>),
    Error(u16, Vec<u8>),
    Unknown(Vec<u16>),
    Priority(u32),
    Use,
    Padding(u16),
    ResponsePort(u16),
    Software(Vec<u8>),
    Controlled(u64),
    Controlling(u64),
    Foreign(u16, Vec<u8>),
}

impl Owned {
    fn borrow(&self) -> Attribute<'_> {
        match self {
            Self::Mapped(a) => Attribute::MappedAddress(*a),
            Self::Xor(a) => Attribute::XorMappedAddress(*a),
            Self::Origin(a) => Attribute::ResponseOrigin(*a),
            Self::Other(a) => Attribute::OtherAddress(*a),
            Self::Change(ip, port) => Attribute::ChangeRequest {
                ip: *ip,
                port: *port,
            },
            Self::Username(v) => Attribute::Username(v),
            Self::Error(code, reason) => Attribute::ErrorCode {
                code: *code,
                reason,
            },
            Self::Unknown(types) => Attribute::UnknownAttributes(AttributeTypes::from(&types[..])),
            Self::Priority(v) => Attribute::Priority(*v),
            Self::Use => Attribute::UseCandidate,
            Self::Padding(len) => Attribute::Padding(*len),
            Self::ResponsePort(port) => Attribute::ResponsePort(*port),
            Self::Software(v) => Attribute::Software(v),
            Self::Controlled(v) => Attribute::IceControlled(*v),
            Self::Controlling(v) => Attribute::IceControlling(*v),
            Self::Foreign(kind, value) => Attribute::Other { kind: *kind, value },
        }
    }
}

fn any_attribute() -> impl Strategy<Value = Owned> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        any_address().prop_map(Owned::Mapped),
        any_address().prop_map(Owned::Xor),
        any_address().prop_map(Owned::Origin),
        any_address().prop_map(Owned::Other),
        any::<(bool, bool)>().prop_map(|(ip, port)| Owned::Change(ip, port)),
        bytes().prop_map(Owned::Username),
        (300_u16..700, bytes()).prop_map(|(code, reason)| Owned::Error(code, reason)),
        prop::collection::vec(any::<u16>(), 0..6).prop_map(Owned::Unknown),
        any::<u32>().prop_map(Owned::Priority),
        Just(Owned::Use),
        (0_u16..300).prop_map(Owned::Padding),
        any::<u16>().prop_map(Owned::ResponsePort),
        bytes().prop_map(Owned::Software),
        any::<u64>().prop_map(Owned::Controlled),
        any::<u64>().prop_map(Owned::Controlling),
        (
            prop_oneof![0x5000_u16..0x6000, 0xC000_u16..=0xFFFF],
            bytes()
        )
            .prop_map(|(kind, value)| Owned::Foreign(kind, value)),
    ]
}

proptest! {
    #[test]
    fn messages_survive_the_round_trip(
        class in prop::sample::select(vec![Class::Request, Class::Indication, Class::Success, Class::Error]),
        transaction in any::<[u8; 12]>(),
        attributes in prop::collection::vec(any_attribute(), 0..12),
        key in any::<[u8; 32]>(),
        tag_words in 4_usize..=8,
    ) {
        let mut buffer = vec![0xAA; 8000];
        let transaction = TransactionId(transaction);
        let mut encoder = Encoder::new(&mut buffer, class, transaction).unwrap();
        let mut len = HEADER_LEN;
        for attribute in &attributes {
            encoder.push(attribute.borrow()).unwrap();
            len += attribute.borrow().encoded_len();
            prop_assert_eq!(encoder.len(), len);
        }
        let bytes = encoder.finish_with_integrity(&key, tag_words * 4).unwrap().to_vec();
        let message = Message::decode(&bytes).unwrap();
        prop_assert_eq!(message.class(), class);
        prop_assert_eq!(message.transaction(), transaction);
        prop_assert_eq!(message.integrity(&key), Integrity::Valid);
        prop_assert_eq!(message.fingerprint(), Fingerprint::Valid);
        let read: Vec<_> = message.attributes().collect();
        prop_assert_eq!(read.len(), attributes.len() + 2);
        for (read, written) in read.iter().zip(&attributes) {
            prop_assert_eq!(*read, written.borrow());
        }
    }

    #[test]
    fn garbage_never_panics(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        framed in any::<bool>(),
    ) {
        if framed && bytes.len() >= HEADER_LEN {
            bytes.truncate(bytes.len() / 4 * 4);
            bytes[0] &= 3;
            let len = (bytes.len() - HEADER_LEN) as u16;
            bytes[2..4].copy_from_slice(&len.to_be_bytes());
            bytes[4..8].copy_from_slice(&0x2112_A442_u32.to_be_bytes());
        }
        read_everything(&bytes);
    }

    #[test]
    fn damaged_samples_never_panic(
        which in 0_usize..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = hex([SAMPLE_REQUEST, SAMPLE_V4_RESPONSE, SAMPLE_V6_RESPONSE, SHA256_REQUEST][which]);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read_everything(&bytes);
    }
}

fn read_everything(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        let _ = (
            message.fingerprint(),
            message.integrity(b"key"),
            message.mapped_address(),
        );
        let _ = (
            message.unknown_required().count(),
            message.attributes().count(),
        );
    }
}
