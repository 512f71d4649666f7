//! Any bytes from both ends, in any pieces: nothing panics, and the pieces make no difference.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use p2pdbg_inspect::{Advice, Context, Debugger, End, Inspector};

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

fuzz_target!(|talk: Vec<(bool, Vec<u8>)>| {
    let now = Instant::now();
    let end = |ide| if ide { End::Ide } else { End::Debuggee };
    let whole = talk.iter().map(|(ide, bytes)| (end(*ide), &bytes[..]));
    let bytewise = whole
        .clone()
        .flat_map(|(from, bytes)| bytes.chunks(1).map(move |byte| (from, byte)));
    assert_eq!(learnt(whole, now), learnt(bytewise, now));
});
