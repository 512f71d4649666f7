//! What was measured: a list of values for each cell of a table, kept as JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::stats::Summary;

/// What one run of the benchmark has measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The command line by which it was started.
    pub(crate) command: String,
    /// When, as `date` says it.
    pub(crate) date: String,
    /// The machine that it ran on: processor, kernel, versions of the programs.
    pub(crate) machine: Map<String, Value>,
    /// What each program says of its version.
    pub(crate) versions: Map<String, Value>,
    pub(crate) rows: Vec<Row>,
}

/// One row of the benchmark: a table or several.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// The number by which the row is chosen.
    pub(crate) number: u8,
    pub(crate) title: String,
    /// How it was measured, in a sentence for the document.
    pub(crate) how: String,
    /// How long it took, in seconds.
    pub(crate) took_s: f64,
    pub(crate) cells: Vec<Cell>,
}

/// One cell of a table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// The table, by its caption with the unit.
    pub(crate) table: String,
    /// The line of the table, usually who carried it.
    pub(crate) line: String,
    /// The column of the table, usually what was measured.
    pub(crate) column: String,
    /// One value for each round, in the order of the rounds.
    pub(crate) values: Vec<f64>,
}

impl Row {
    /// A row that has no cells yet.
    pub(crate) fn new(number: u8, title: &str, how: &str) -> Self {
        Self {
            number,
            title: title.to_owned(),
            how: how.to_owned(),
            took_s: 0.0,
            cells: Vec::new(),
        }
    }

    /// Adds a value to a cell.
    pub(crate) fn add(&mut self, table: &str, line: &str, column: &str, value: f64) {
        let same = |c: &&mut Cell| (&*c.table, &*c.line, &*c.column) == (table, line, column);
        if let Some(cell) = self.cells.iter_mut().find(same) {
            cell.values.push(value);
            return;
        }
        self.cells.push(Cell {
            table: table.to_owned(),
            line: line.to_owned(),
            column: column.to_owned(),
            values: vec![value],
        });
    }

    /// The median and the spread of a cell.
    pub(crate) fn summary(&self, table: &str, line: &str, column: &str) -> Option<Summary> {
        let cell = self
            .cells
            .iter()
            .find(|c| (&*c.table, &*c.line, &*c.column) == (table, line, column))?;
        Summary::of(&cell.values)
    }

    /// Names in the order in which they first come.
    pub(crate) fn names<'a>(&'a self, name: impl Fn(&'a Cell) -> Option<&'a str>) -> Vec<&'a str> {
        let mut names = Vec::new();
        for cell in &self.cells {
            if let Some(name) = name(cell)
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
    }
}

impl Results {
    /// The median of a cell.
    pub(crate) fn median(&self, row: u8, table: &str, line: &str, column: &str) -> Option<f64> {
        let row = self.rows.iter().find(|r| r.number == row)?;
        row.summary(table, line, column)
            .map(|summary| summary.median)
    }
}
