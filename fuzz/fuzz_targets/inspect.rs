//! Any bytes from both ends, in any pieces: nothing panics, and the pieces make no difference.
//!
//! An input is a row of pieces: a byte whose lowest bit says whose it is (1: the IDE's), a length (`u16`, big-endian),
//! and so many bytes or what is left. `fuzz/seeds/inspect` holds conversations to begin with.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use p2pdbg_inspect::{Advice, Context, Debugger, End, Inspector};

fn pieces(mut data: &[u8]) -> Vec<(End, &[u8])> {
    let mut pieces = Vec::new();
    while let Some((&[whose, high, low], rest)) = data.split_first_chunk() {
        let end = if whose & 1 == 1 { End::Ide } else { End::Debuggee };
        let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (piece, behind) = rest.split_at(length);
        pieces.push((end, piece));
        data = behind;
    }
    pieces
}

fn learnt<'a>(
    pieces: impl Iterator<Item = (End, &'a [u8])>,
    now: Instant,
) -> (Option<Debugger>, Vec<Advice>) {
    let mut inspector = Inspector::new(Context::default());
    for (from, bytes) in pieces {
        inspector.handle(now, from, bytes);
    }
    let advice = std::iter::from_fn(|| inspector.poll_advice()).collect();
    (inspector.debugger().cloned(), advice)
}

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let talk = pieces(data);
    let whole = talk.iter().copied();
    let bytewise = whole
        .clone()
        .flat_map(|(from, bytes)| bytes.chunks(1).map(move |byte| (from, byte)));
    assert_eq!(learnt(whole, now), learnt(bytewise, now));
});
