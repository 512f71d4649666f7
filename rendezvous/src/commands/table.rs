//! Tables and quantities for people.

/// Rows below each other, each column as wide as it must be.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let text: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// Bytes, in the largest unit of which there is one.
pub(super) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = count as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && amount < 100.0);
    format!("{amount:.digits$} {}", units[unit])
}

/// Bytes a second, in bits.
pub(super) fn rate(bytes: u64) -> String {
    format!("{:.1} Mbit/s", bytes as f64 * 8.0 / 1e6)
}

/// How long, in the two largest units.
pub(super) fn time(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = parts[first..]
        .iter()
        .take(2)
        .filter(|(count, _)| *count > 0);
    let text: String = shown
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short() {
        let sizes = [0, 1_023, 1_536, 200 << 20, 3 << 40].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "200 MiB", "3.0 TiB"]);
        let times = [0, 59, 60, 3_661, 90_000, 86_400 * 9].map(time);
        assert_eq!(times, ["0s", "59s", "1m", "1h1m", "1d1h", "9d"]);
        assert_eq!(rate(1_000_000), "8.0 Mbit/s");
    }

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = table(&[row(["NAME", "PEERS"]), row(["a", "12"])]);
        assert_eq!(text, "NAME  PEERS\na     12\n");
    }
}
