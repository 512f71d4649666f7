//! docs/BENCHMARKS.md, from the results.

use std::{fmt::Write, fs, path::Path};

use anyhow::Result;
use serde_json::{Map, Value};

use crate::{
    number::number,
    plot,
    results::{Results, Row},
    stats::Summary,
    targets,
};

/// Writes BENCHMARKS.md and the plots. What was tried and what bounds the rest is kept by hand in bench/notes.md.
pub(crate) fn write(results: &Results, docs: &Path) -> Result<()> {
    let bench = docs.join("bench");
    let mut text = head(results);
    text.push_str(&targets(results));
    for row in &results.rows {
        text.push('\n');
        text.push_str(&self::row(row));
        for (name, svg) in plot::of(row) {
            fs::write(bench.join(&name), svg)?;
            let _ = writeln!(text, "\n![{}](bench/{name})", row.title);
        }
    }
    if let Ok(notes) = fs::read_to_string(bench.join("notes.md")) {
        text.push('\n');
        text.push_str(&notes);
    }
    fs::write(docs.join("BENCHMARKS.md"), text)?;
    Ok(())
}

fn head(results: &Results) -> String {
    let mut text = String::from(
        "# Benchmarks\n\n\
         Written by `scripts/bench`; do not edit, except `bench/notes.md`, whose text stands at the end. Everything in a\n\
         table ran side by side, in turns, in one run on one machine, so **only ratios mean anything**. A cell is the\n\
         median of the rounds, with the lowest and the highest round in brackets. All values are in\n\
         [bench/results.json](bench/results.json).\n\n",
    );
    let _ = writeln!(text, "`{}`, {}", results.command, results.date);
    text.push_str(&pairs("Machine", &results.machine));
    text.push_str(&pairs("Version of", &results.versions));
    text
}

fn pairs(title: &str, map: &Map<String, Value>) -> String {
    let mut text = format!("\n| {title} | |\n|---|---|\n");
    for (key, value) in map {
        let value = match value {
            Value::String(value) => value.clone(),
            Value::Null => "not here: left out".into(),
            other => other.to_string(),
        };
        let _ = writeln!(text, "| {} | {value} |", key.replace('_', " "));
    }
    text
}

/// The targets, and what came of them.
pub(crate) fn targets(results: &Results) -> String {
    let mut text = String::from("\n## Targets\n\n| target | measured | |\n|---|---|---|\n");
    for judged in targets::judge(results) {
        let met = match judged.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        let _ = writeln!(text, "| {} | {} | {met} |", judged.target, judged.measured);
    }
    text
}

/// One row of the benchmark as a table in Markdown.
pub(crate) fn row(row: &Row) -> String {
    let mut text = format!("## {}. {}\n\n", row.number, row.title);
    let how = capitalised(&row.how);
    let _ = writeln!(text, "{how}. ({:.0} s)", row.took_s);
    for table in row.names(|cell| Some(&cell.table)) {
        let of = |c: &crate::results::Cell| c.table == table;
        let lines = row.names(|c| of(c).then_some(&*c.line));
        let columns = row.names(|c| of(c).then_some(&*c.column));
        let _ = write!(text, "\n| {table} |");
        for column in &columns {
            let _ = write!(text, " {column} |");
        }
        let _ = write!(text, "\n|---|{}\n", "---:|".repeat(columns.len()));
        for line in lines {
            let _ = write!(text, "| {line} |");
            for column in &columns {
                let cell = row.summary(table, line, column);
                let _ = write!(text, " {} |", cell.map_or_else(String::new, of_summary));
            }
            text.push('\n');
        }
    }
    text
}

fn of_summary(summary: Summary) -> String {
    let Summary { median, low, high } = summary;
    if low == high {
        return number(median);
    }
    format!("{} ({}–{})", number(median), number(low), number(high))
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
