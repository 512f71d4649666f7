//! Small SVG plots: one bar for each line of a table's first column.

use std::fmt::Write;

use crate::{number::number, results::Row};

const WIDTH: f64 = 640.0;
const LABEL: f64 = 190.0;
const BAR: f64 = 22.0;
const TOP: f64 = 30.0;

/// The plots of a row, with their file names.
pub(crate) fn of(row: &Row) -> Vec<(String, String)> {
    let tables = row.names(|cell| Some(&cell.table));
    let plots = tables.iter().enumerate().filter_map(|(index, table)| {
        let lines = row.names(|c| (c.table == *table).then_some(&*c.line));
        let columns = row.names(|c| (c.table == *table).then_some(&*c.column));
        let column = columns.first()?;
        if lines.len() < 3 {
            return None;
        }
        let bars: Vec<_> = lines
            .iter()
            .filter_map(|line| Some((*line, row.summary(table, line, column)?)))
            .map(|(line, summary)| (line, [summary.low, summary.median, summary.high]))
            .collect();
        let caption = format!("{table}: {column}");
        let name = format!("row{}-{}.svg", row.number, index + 1);
        Some((name, draw(&caption, &bars)))
    });
    plots.collect()
}

fn draw(caption: &str, bars: &[(&str, [f64; 3])]) -> String {
    let most = bars.iter().map(|(_, [.., high])| *high).fold(0.0, f64::max);
    let scale = if most > 0.0 {
        (WIDTH - LABEL - 90.0) / most
    } else {
        0.0
    };
    let height = TOP + BAR * bars.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"6\" y=\"19\" font-weight=\"bold\">{}</text>\n",
        escape(caption)
    );
    for (index, (line, [low, median, high])) in bars.iter().enumerate() {
        let y = TOP + BAR * index as f64;
        let middle = y + BAR / 2.0 - 2.0;
        let colour = if line.starts_with("p2pdbg") {
            "#2a6fb0"
        } else {
            "#a8b3bd"
        };
        let _ = writeln!(
            svg,
            "<text x=\"6\" y=\"{ty:.1}\">{line}</text>\
             <rect x=\"{LABEL}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h}\" fill=\"{colour}\"/>\
             <line x1=\"{x1:.1}\" x2=\"{x2:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#222\"/>\
             <text x=\"{tx:.1}\" y=\"{ty:.1}\">{value}</text>",
            ty = y + 14.0,
            line = escape(line),
            w = median * scale,
            h = BAR - 5.0,
            x1 = LABEL + low * scale,
            x2 = LABEL + high * scale,
            tx = LABEL + high * scale + 6.0,
            value = number(*median),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
