//! Two traversal engines and whatever may happen to them; the module says what must hold.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/punch/tests/ordeal/mod.rs"]
mod ordeal;

fuzz_target!(|bytes: &[u8]| ordeal::run(bytes));
