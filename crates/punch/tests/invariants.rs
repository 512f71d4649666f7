//! What must hold whatever happens to an engine, with random sequences of events; the fuzz target `punch_engine` runs
//! the same with better ones.

mod ordeal;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn nothing_that_happens_makes_an_engine_panic_stall_or_exceed_its_caps(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        ordeal::run(&bytes);
    }
}
