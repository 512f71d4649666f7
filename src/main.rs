//! p2pdbg.
fn main() {}
