//! File descriptors: each connection over TCP takes one.

use p2pdbg_base::{Descriptors, descriptors};

/// Descriptors that are left for everything but connections: ports, state, and connections that are ending.
const OTHER: usize = 64;

/// Takes all the descriptors that this process may have; for how many connections over TCP they do.
pub(crate) fn take_all() -> usize {
    // It starts no program but its own successor, which may have them too.
    Descriptors::take_all();
    connections(descriptors::limit())
}

fn connections(descriptors: usize) -> usize {
    descriptors.saturating_sub(OTHER).max(descriptors / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_left_for_everything_else() {
        assert_eq!(connections(1_024), 960);
        assert_eq!(connections(40), 20);
    }
}
