//! What keys have relayed in a month, while the clock may be set: a month that is left for another keeps its counts,
//! for the case that the clock comes back to it.
//!
//! A host that starts without a clock is in 1970 until it has asked for the time, and one that was told a wrong time
//! was years ahead for a while. Neither may give the keys their month back, nor keep it from them for years.

use crate::{
    keys::{KeyId, OfMonth},
    month::Month,
};

/// The month that it is, and the one that was left for it.
#[derive(Debug)]
pub(super) struct Months {
    current: Month,
    left: Option<OfMonth>,
}

impl Months {
    pub(super) fn new(current: Month) -> Self {
        Self {
            current,
            left: None,
        }
    }

    pub(super) fn current(&self) -> Month {
        self.current
    }

    pub(super) fn left(&self) -> Option<&OfMonth> {
        self.left.as_ref()
    }

    /// It is another month, and `counts` are those of the one before; what is counted from now on.
    pub(super) fn turn(&mut self, month: Month, counts: Vec<(KeyId, u64)>) -> Vec<(KeyId, u64)> {
        let before = std::mem::replace(&mut self.current, month);
        let next = match self.left.take() {
            Some((left, known)) if left == month => known,
            // Back, and further than is remembered.
            _ if month < before => counts.clone(),
            _ => Vec::new(),
        };
        self.left = Some((before, counts));
        next
    }

    /// Takes over what a process before this one has counted, the month first in which it ended; what is counted from
    /// now on.
    pub(super) fn restore(&mut self, months: Vec<OfMonth>) -> Vec<(KeyId, u64)> {
        let mut months = months.into_iter();
        let (last, before) = (months.next(), months.next());
        match last {
            None => Vec::new(),
            Some((month, counts)) if month == self.current => {
                self.left = before;
                counts
            }
            Some((month, counts)) => {
                let known = before.filter(|(before, _)| *before == self.current);
                let next = match known {
                    Some((_, known)) => known,
                    // The clock is behind, or that one's was ahead.
                    None if self.current < month => counts.clone(),
                    None => Vec::new(),
                };
                self.left = Some((month, counts));
                next
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyId = KeyId([1; 8]);

    fn month(number: u64) -> Month {
        Month::of(number * 31 * 86_400)
    }

    fn bytes(count: u64) -> Vec<(KeyId, u64)> {
        vec![(KEY, count)]
    }

    #[test]
    fn month_that_the_clock_comes_back_to_has_what_was_counted_in_it() {
        let mut months = Months::new(month(10));
        // Years ahead for a moment, and back.
        assert_eq!(months.turn(month(150), bytes(7)), []);
        assert_eq!(months.turn(month(10), bytes(1)), bytes(7));
        // Without a clock for a moment.
        assert_eq!(months.turn(month(0), bytes(8)), bytes(8));
        assert_eq!(months.turn(month(10), bytes(9)), bytes(8));
        // The next one begins with nothing.
        assert_eq!(months.turn(month(11), bytes(9)), []);
    }

    #[test]
    fn process_that_begins_with_a_wrong_clock_knows_the_month_when_that_is_set() {
        for (wrong, meanwhile) in [(0, bytes(7)), (150, vec![])] {
            let mut months = Months::new(month(wrong));
            let counted = months.restore(vec![(month(10), bytes(7)), (month(9), bytes(5))]);
            assert_eq!(counted, meanwhile);
            assert_eq!(months.turn(month(10), counted), bytes(7));
        }
        let mut months = Months::new(month(10));
        // The one before had been ahead when it ended.
        assert_eq!(
            months.restore(vec![(month(150), bytes(1)), (month(10), bytes(7))]),
            bytes(7)
        );
        assert_eq!(Months::new(month(10)).restore(vec![]), []);
        let mut later = Months::new(month(11));
        assert_eq!(later.restore(vec![(month(10), bytes(7))]), []);
    }
}
