//! Lengths of time as people write them: `90s`, `30m`, `12h`, `2d`, `1h30m`.

use std::time::Duration;

/// The longest time that is taken: a year.
const MAX: u64 = 365 * 86_400;

/// A text that is no length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a length of time is a number and a unit, as in 90s, 30m, 12h or 2d, and at most 365d")]
pub struct NotADuration;

/// A text that is no length of time above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAboveZero {
    /// No length of time at all.
    #[error(transparent)]
    NotADuration(#[from] NotADuration),
    /// It reads well and is zero.
    #[error("a time above zero is needed, as in 90s, 30m, 12h or 2d")]
    Zero,
}

/// As [`parse`], for what cannot be done in no time.
pub fn parse_above_zero(text: &str) -> Result<Duration, NotAboveZero> {
    match parse(text)? {
        Duration::ZERO => Err(NotAboveZero::Zero),
        time => Ok(time),
    }
}

/// Reads numbers that are each followed by `s`, `m`, `h` or `d`.
pub fn parse(text: &str) -> Result<Duration, NotADuration> {
    let mut total = 0_u64;
    let mut number = "";
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| !c.is_ascii_digit()) {
        (number, rest) = rest.split_at(at);
        let mut chars = rest.chars();
        let unit = match chars.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(NotADuration),
        };
        rest = chars.as_str();
        let count: u64 = number.parse().map_err(|_| NotADuration)?;
        total = count
            .checked_mul(unit)
            .and_then(|seconds| total.checked_add(seconds))
            .filter(|total| *total <= MAX)
            .ok_or(NotADuration)?;
    }
    // Nothing at all, or a number without a unit.
    if number.is_empty() || !rest.is_empty() {
        return Err(NotADuration);
    }
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_sums_of_numbers_with_units() {
        let seconds = |text| parse(text).unwrap().as_secs();
        assert_eq!(seconds("0s"), 0);
        assert_eq!(seconds("90s"), 90);
        assert_eq!(seconds("12h"), 43_200);
        assert_eq!(seconds("1h30m"), 5_400);
        assert_eq!(seconds("365d"), MAX);
    }

    #[test]
    fn zero_is_a_time_but_not_one_above_zero() {
        assert_eq!(parse("0s"), Ok(Duration::ZERO));
        assert_eq!(parse_above_zero("0h0s"), Err(NotAboveZero::Zero));
        assert_eq!(parse_above_zero("1s"), Ok(Duration::from_secs(1)));
        let fault = NotAboveZero::NotADuration(NotADuration);
        assert_eq!(parse_above_zero("1"), Err(fault));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let faults = [
            "", "12", "h", "12 h", "1.5h", "-1s", "+1s", "1w", "12h5", "366d", "ü",
        ];
        for text in faults {
            assert_eq!(parse(text), Err(NotADuration), "{text:?}");
        }
        assert_eq!(parse("99999999999999999999d"), Err(NotADuration));
        assert_eq!(parse("18446744073709551615d"), Err(NotADuration));
    }
}
