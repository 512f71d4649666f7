//! File descriptors: each connection over TCP takes one, and service managers start programs with 1,024 of them unless
//! told otherwise, though the program may have more.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are left for everything but connections: ports, state, and connections that are ending.
const OTHER: u64 = 64;

/// Takes all the descriptors that this process may have; for how many connections over TCP they do.
pub(crate) fn take_all() -> usize {
    let before = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: before.maximum,
        ..before
    };
    // Where the system refuses, the program does with what it has.
    let _ = setrlimit(Resource::Nofile, most);
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, connections)
}

fn connections(descriptors: u64) -> usize {
    let rest = descriptors.saturating_sub(OTHER).max(descriptors / 2);
    usize::try_from(rest).unwrap_or(usize::MAX)
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
