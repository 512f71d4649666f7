//! Both peers in virtual time through any script of faults: no user observes what must not be.
//!
//! What is guided by coverage here are the decisions of a meeting and of a session, the ledger, and the engine that
//! looks for a path.
//! A script that fails is printed, and can be made a test of labs/peersim. `fuzz/seeds/peersim` holds scripts to begin
//! with, which a test there runs too.

#![no_main]

use libfuzzer_sys::fuzz_target;
use p2pdbg_peersim::{Mutant, Script, run};

fuzz_target!(|bytes: &[u8]| {
    let script = Script::from_bytes(bytes);
    if let Err(violation) = run(&script, Mutant::None) {
        panic!("{violation}\n{script:#?}");
    }
});
