//! Any bytes on a leg over TCP, arriving in any pieces: they come apart in the same way however they are cut, what came
//! apart is what would be put together, and a packet that reads as JOIN or as a frame of the relay is one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pdbg_proto::{relay::RelayFrame, relay_stream::{Join, MAX_PACKET, PREFIX, encode_packet, split_packet}};

/// What a reader takes of these pieces: its packets, how the stream broke if it did, and what is left over.
struct Taken {
    packets: Vec<Vec<u8>>,
    broken: Option<usize>,
    left: Vec<u8>,
}

/// Reads as the peers and the relay do: what is not a whole packet waits for more.
fn taken<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Taken {
    let (mut packets, mut pending) = (Vec::new(), Vec::new());
    for piece in pieces {
        pending.extend_from_slice(piece);
        let mut rest = &pending[..];
        let broken = loop {
            match split_packet(rest) {
                Ok(Some((packet, behind))) => {
                    packets.push(packet.to_vec());
                    rest = behind;
                }
                Ok(None) => break None,
                Err(too_long) => break Some(too_long.0),
            }
        };
        pending = rest.to_vec();
        if broken.is_some() {
            return Taken { packets, broken, left: pending };
        }
        assert!(pending.len() < PREFIX + MAX_PACKET, "no more waits than a packet");
    }
    Taken { packets, broken: None, left: pending }
}

fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let stream = pieces.concat();
    let whole = taken(std::iter::once(&stream[..]));
    let cut = taken(pieces.iter().map(Vec::as_slice));
    let bytewise = taken(stream.chunks(1));
    for other in [&cut, &bytewise] {
        assert_eq!(whole.packets, other.packets);
        assert_eq!(whole.broken, other.broken);
    }

    let mut again = Vec::new();
    for packet in &whole.packets {
        assert!(encode_packet(packet, &mut again));
        if let Ok(join) = Join::decode(packet) {
            assert_eq!(&join.encode()[..], packet);
        }
        if let Ok(frame) = RelayFrame::decode(packet) {
            assert_eq!(&frame.encode(), packet);
        }
    }
    again.extend_from_slice(&whole.left);
    assert_eq!(again, stream);
});
