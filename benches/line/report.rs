//! The results of a measurement: tables for people, one JSON object for programs, both from the same cells.

use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// A whole run.
#[derive(Debug)]
pub(crate) struct Report {
    measurement: &'static str,
    settings: Map<String, Value>,
    machine: Map<String, Value>,
    tables: Vec<Table>,
    notes: Vec<String>,
}

/// Named rows of numbers. Column names end in their unit.
#[derive(Debug)]
pub(crate) struct Table {
    key: &'static str,
    about: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Table {
    pub(crate) fn new<const N: usize>(key: &'static str, about: &'static str, columns: [&'static str; N]) -> Self {
        Self { key, about, columns: columns.into(), rows: Vec::new() }
    }

    /// One more row, with a number for every column; `None` where there is nothing to say.
    pub(crate) fn row<const N: usize>(&mut self, name: impl Into<String>, cells: [Option<f64>; N]) {
        assert_eq!(N, self.columns.len(), "a cell for every column of {}", self.key);
        self.rows.push((name.into(), cells.into()));
    }

    fn write(&self, out: &mut String) {
        let cells: Vec<Vec<String>> =
            self.rows.iter().map(|(_, cells)| cells.iter().map(|cell| number(*cell)).collect()).collect();
        let first = self.rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (self.columns.iter().enumerate())
            .map(|(at, column)| cells.iter().map(|row| row[at].len()).chain([column.len()]).max().unwrap_or(0))
            .collect();
        let _ = write!(out, "\n{}\n{:first$}", self.about, "");
        for (column, width) in self.columns.iter().zip(&widths) {
            let _ = write!(out, "  {column:>width$}");
        }
        for ((name, _), row) in self.rows.iter().zip(&cells) {
            let _ = write!(out, "\n{name:first$}");
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(out, "  {cell:>width$}");
            }
        }
        out.push('\n');
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|(name, cells)| {
            let named = self.columns.iter().zip(cells).map(|(column, cell)| ((*column).to_owned(), json!(cell)));
            (name.clone(), Value::Object(named.collect()))
        });
        Value::Object(rows.collect())
    }
}

impl Report {
    /// A report for this measurement, with the options that it ran with.
    pub(crate) fn new(measurement: &'static str, settings: Value) -> Self {
        let Value::Object(settings) = settings else { panic!("settings have names") };
        Self { measurement, settings, machine: crate::process::machine(), tables: Vec::new(), notes: Vec::new() }
    }

    pub(crate) fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// A sentence that the reader should know beside the numbers.
    pub(crate) fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for (what, values) in [(self.measurement, &self.settings), ("machine", &self.machine)] {
            let values: Vec<_> = values.iter().map(|(name, value)| format!("{name} {}", plain(value))).collect();
            let _ = writeln!(out, "{what}: {}", values.join(", "));
        }
        for table in &self.tables {
            table.write(&mut out);
        }
        if !self.notes.is_empty() {
            out.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(out, "- {note}");
        }
        out
    }

    pub(crate) fn json(&self) -> String {
        let tables: Map<_, _> = self.tables.iter().map(|table| (table.key.to_owned(), table.json())).collect();
        let all = json!({
            "measurement": self.measurement,
            "settings": self.settings,
            "machine": self.machine,
            "tables": tables,
            "notes": self.notes,
        });
        format!("{all:#}\n")
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// Three digits or all before the point, in groups.
fn number(cell: Option<f64>) -> String {
    let Some(value) = cell else { return "-".to_owned() };
    let digits = match value.abs() {
        big if big >= 99.95 => 0,
        middle if middle >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}
