//! The month by which bytes are counted: the calendar's, in UTC.

/// A month, counted from January of the year 0.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub(crate) struct Month(u64);

impl Month {
    /// As a number: from January of the year 0.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// The month of a time in Unix seconds.
    pub(crate) fn of(unix_s: u64) -> Self {
        // Years that begin in March, so that the day which comes and goes is the last of its year.
        let days = unix_s / 86_400 + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        Self((era * 400 + year) * 12 + month_from_march + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_where_the_calendar_has_them() {
        let month = |year: u64, month: u64| Month(year * 12 + month - 1);
        for (unix_s, expected) in [
            (0, month(1970, 1)),
            (951_782_400, month(2000, 2)),    // 29 February
            (951_868_800, month(2000, 3)),    // 1 March
            (1_767_225_599, month(2025, 12)), // the last second
            (1_767_225_600, month(2026, 1)),
            (4_107_542_399, month(2100, 2)), // 28 February, of a year that has no 29th
            (4_107_542_400, month(2100, 3)),
        ] {
            assert_eq!(Month::of(unix_s), expected, "{unix_s}");
        }
    }
}
