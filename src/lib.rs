//! The p2pdbg program.
