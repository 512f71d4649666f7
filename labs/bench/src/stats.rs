//! Medians, percentiles and spreads.

/// A value and how far single rounds were from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Summary {
    /// Of at least one value.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: percentile(&sorted, 50.0),
            low: *sorted.first()?,
            high: *sorted.last()?,
        })
    }
}

/// The value below which so many in a hundred of the sorted values are; 0 of none.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let position = last as f64 * percent / 100.0;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    let share = position - position.floor();
    sorted[below] * (1.0 - share) + sorted[above] * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((summary.median, summary.low, summary.high), (2.5, 1.0, 4.0));
        assert_eq!(Summary::of(&[]), None);
    }
}
