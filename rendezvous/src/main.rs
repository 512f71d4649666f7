//! p2pdbg-rendezvous.
fn main() {}
