//! Sets of UDP ports, and drawing from a range without drawing one twice.

use crate::random::Random;

/// A set of ports, so that none is tried twice.
#[derive(Clone)]
pub(crate) struct PortSet {
    words: Box<[u64; 1024]>,
}

impl PortSet {
    pub(crate) fn new() -> Self {
        Self {
            words: Box::new([0; 1024]),
        }
    }

    /// Adds a port; false if it was there.
    pub(crate) fn insert(&mut self, port: u16) -> bool {
        let (word, bit) = (usize::from(port / 64), port % 64);
        let fresh = self.words[word] >> bit & 1 == 0;
        self.words[word] |= 1 << bit;
        fresh
    }

    pub(crate) fn contains(&self, port: u16) -> bool {
        self.words[usize::from(port / 64)] >> (port % 64) & 1 == 1
    }

    /// Draws a port of `first..=last` that is not in the set, adds it and gives it back; `None` when there is none.
    pub(crate) fn draw(&mut self, first: u16, last: u16, random: &mut Random) -> Option<u16> {
        let count = u32::from(last.checked_sub(first)?) + 1;
        for _ in 0..16 {
            let port = first + random.below(count) as u16;
            if self.insert(port) {
                return Some(port);
            }
        }
        // Nearly all are taken: look on from a random place.
        let start = random.below(count);
        let port = (0..count)
            .map(|n| first + ((start + n) % count) as u16)
            .find(|&port| !self.contains(port))?;
        self.insert(port);
        Some(port)
    }
}

impl std::fmt::Debug for PortSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PortSet(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_a_range_is_drawn_once_and_no_other() {
        let mut random = Random::new([1; 32]);
        let mut set = PortSet::new();
        let mut drawn: Vec<u16> =
            std::iter::from_fn(|| set.draw(65_000, 65_535, &mut random)).collect();
        drawn.sort_unstable();
        assert_eq!(drawn, (65_000..=65_535).collect::<Vec<u16>>());
        assert!(set.contains(65_535) && !set.contains(64_999));
    }
}
