//! The frames' bytes, and what is refused.

use super::*;
use crate::Side;

fn frames() -> Vec<(Frame, Vec<u8>)> {
    let stream = StreamId::new(Side::Connector, 0x81);
    let id = [0, 0, 0, 0, 0, 0, 1, 3];
    let offset = 0x0102_0304_0506;
    let at = [0, 0, 1, 2, 3, 4, 5, 6];
    let bytes = |parts: &[&[u8]]| parts.concat();
    vec![
        (
            Frame::Ack(Ack {
                stream,
                offset,
                ended: true,
            }),
            bytes(&[&[0x40], &id, &at, &[1]]),
        ),
        (
            Frame::Ack(Ack {
                stream,
                offset,
                ended: false,
            }),
            bytes(&[&[0x40], &id, &at, &[0]]),
        ),
        (
            Frame::End(End {
                stream,
                forward: 0x0708,
                kind: EndKind::Fin,
                offset,
            }),
            bytes(&[&[0x41], &id, &[7, 8, 0], &at]),
        ),
        (
            Frame::End(End {
                stream,
                forward: 0x0708,
                kind: EndKind::Reset(ResetCode(9)),
                offset,
            }),
            bytes(&[&[0x41], &id, &[7, 8, 1], &at, &[9]]),
        ),
        (
            Frame::Stop(Stop {
                stream,
                forward: 0x0708,
                code: ResetCode::NOT_ALLOWED,
            }),
            bytes(&[&[0x42], &id, &[7, 8, 2]]),
        ),
    ]
}

#[test]
fn every_frame_is_the_documented_bytes() {
    for (frame, bytes) in frames() {
        let mut out = vec![0xaa];
        frame.encode(&mut out);
        assert_eq!(out, [&[0xaa], &bytes[..]].concat(), "{frame:?}");
        assert_eq!(Frame::decode(&bytes), Ok(frame));
        assert!(bytes.len() <= MAX_FRAME_LEN && Frame::is_type(bytes[0]));
    }
}

#[test]
fn frames_that_are_cut_or_too_long_are_refused() {
    for (frame, bytes) in frames() {
        for cut in 0..bytes.len() {
            assert_eq!(
                Frame::decode(&bytes[..cut]),
                Err(FrameError::Truncated),
                "{frame:?} cut at {cut}"
            );
        }
        let long = [&bytes[..], &[0, 0]].concat();
        assert_eq!(
            Frame::decode(&long),
            Err(FrameError::Trailing(2)),
            "{frame:?}"
        );
    }
}

#[test]
fn an_unknown_type_is_refused_and_named() {
    for first in (0..=255).filter(|first| !(0x40..=0x42).contains(first)) {
        assert_eq!(
            Frame::decode(&[first; 18]),
            Err(FrameError::UnknownType(first))
        );
        assert_eq!(Frame::is_type(first), (0x43..=0x4f).contains(&first));
    }
}

#[test]
fn fields_without_a_meaning_are_refused() {
    for (frame, mut bytes) in frames() {
        match frame {
            Frame::Ack(_) => bytes[17] = 2,
            Frame::End(_) => bytes[11] = 2,
            Frame::Stop(_) => continue,
        }
        assert!(
            matches!(
                Frame::decode(&bytes),
                Err(FrameError::Value { value: 2, .. })
            ),
            "{frame:?}"
        );
    }
    let far = Frame::Ack(Ack {
        stream: StreamId::from_u64(0),
        offset: MAX_OFFSET + 1,
        ended: false,
    });
    let mut bytes = Vec::new();
    far.encode(&mut bytes);
    assert_eq!(
        Frame::decode(&bytes),
        Err(FrameError::Offset(MAX_OFFSET + 1))
    );
}

#[test]
fn a_carrier_header_is_the_documented_bytes() {
    let stream = StreamId::new(Side::Listener, 0x81);
    let header = CarrierHeader {
        stream,
        forward: 0x0304,
        ordinal: 0x0900_0000,
        offset: 0x0506_0708,
    };
    let bytes = [
        1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 9, 0, 0, 0, 0, 0, 0, 0, 5, 6, 7, 8,
    ];
    assert_eq!(header.encode(), bytes);
    assert_eq!(CarrierHeader::decode(&bytes), Ok(header));
    let mut other = bytes;
    other[0] = 2;
    assert_eq!(
        CarrierHeader::decode(&other),
        Err(FrameError::UnknownType(2))
    );
    let mut far = bytes;
    far[15] = 0x40;
    assert_eq!(
        CarrierHeader::decode(&far),
        Err(FrameError::Offset(0x4000_0000_0506_0708))
    );
}

#[test]
fn an_end_of_a_closed_stream_is_confirmed_and_no_answer_is_answered() {
    let stream = StreamId::new(Side::Connector, 1);
    let end = Frame::End(End {
        stream,
        forward: 3,
        kind: EndKind::Fin,
        offset: 77,
    });
    let reply = Frame::Ack(Ack {
        stream,
        offset: 77,
        ended: true,
    });
    assert_eq!(end.reply_if_closed(), Some(reply));
    assert_eq!(reply.reply_if_closed(), None);
    let header = CarrierHeader {
        stream,
        forward: 3,
        ordinal: 0,
        offset: 5,
    };
    let reply = header.reply_if_closed();
    assert!(matches!(reply, Frame::Stop(Stop { forward: 3, .. })));
    assert_eq!(reply.reply_if_closed(), None);
}

#[test]
fn a_copy_header_comes_back_as_it_was_and_nothing_else_is_one() {
    let header = CopyHeader {
        stream: StreamId::from_u64(0x0102_0304_0506_0709),
        offset: 77,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend_from_slice(b"data");
    assert_eq!(CopyHeader::decode(&bytes), Ok(header));
    assert_eq!(CopyHeader::decode(&bytes[..16]), Err(FrameError::Truncated));
    bytes[0] = 1;
    assert_eq!(CopyHeader::decode(&bytes), Err(FrameError::UnknownType(1)));
}
