//! The engine's only randomness: SHA-256 over the seed and a counter.
//!
//! Transaction ids must not be guessable, and a test must be able to repeat a run: a keyed generator gives both.

use p2pdbg_stun::TransactionId;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub(crate) struct Random {
    seed: Zeroizing<[u8; 32]>,
    counter: u64,
    block: Zeroizing<[u8; 32]>,
    used: usize,
}

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            seed: Zeroizing::new(seed),
            counter: 0,
            block: Zeroizing::new([0; 32]),
            used: 32,
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 32) };
        if self.used + N > self.block.len() {
            let mut hash = Sha256::new();
            hash.update(self.seed.as_slice());
            hash.update(self.counter.to_be_bytes());
            self.block.copy_from_slice(&hash.finalize());
            self.counter += 1;
            self.used = 0;
        }
        let mut out = [0; N];
        out.copy_from_slice(&self.block[self.used..self.used + N]);
        self.used += N;
        out
    }

    pub(crate) fn transaction(&mut self) -> TransactionId {
        TransactionId(self.bytes())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    /// A number below `bound`, which is not 0. The bias, at most one in 2^32 / `bound`, matters to nobody here.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.u32()) * u64::from(bound)) >> 32) as u32
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random(..)")
    }
}
