//! Results: one table of cells that is printed for people or as JSON.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::bars::Verdict;

/// A result with a headline.
pub struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    notes: Vec<String>,
}

/// One field of a row.
pub enum Cell {
    /// Words.
    Text(String),
    /// A number and how many decimals to print.
    Number(f64, usize),
    /// Judged against a bar.
    Verdict(Verdict),
    /// Does not apply.
    Empty,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Cell {
    /// A number, or nothing.
    pub fn number(value: Option<f64>, decimals: usize) -> Self {
        value.map_or(Self::Empty, |value| Self::Number(value, decimals))
    }

    fn print(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(value, decimals) => format!("{value:.decimals$}"),
            Self::Verdict(verdict) => verdict.to_string(),
            Self::Empty => "-".to_owned(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(..) => self.print().parse::<f64>().map_or(Value::Null, |v| json!(v)),
            Self::Verdict(verdict) => json!(verdict.to_string()),
            Self::Empty => Value::Null,
        }
    }
}

impl Table {
    /// An empty table; the columns are also the names in JSON.
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), rows: Vec::new(), notes: vec![] }
    }

    /// Adds a line about how this was measured.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds a row with one cell for each column.
    pub fn push<const N: usize>(&mut self, row: [Cell; N]) {
        assert_eq!(N, self.columns.len(), "a row of {:?} has {N} cells", self.title);
        self.rows.push(row.into());
    }

    /// Whether a row missed its bar.
    pub fn missed(&self) -> bool {
        let cells = self.rows.iter().flatten();
        cells.into_iter().any(|cell| matches!(cell, Cell::Verdict(Verdict::Missed)))
    }

    /// For people: aligned columns, numbers to the right.
    pub fn print(&self) -> String {
        let widths = self.widths();
        let mut text = format!("{}\n", self.title);
        for (column, width) in self.columns.iter().zip(&widths) {
            let _ = write!(text, "  {column:>width$}");
        }
        for row in &self.rows {
            text.push('\n');
            for (cell, width) in row.iter().zip(&widths) {
                let _ = write!(text, "  {:>width$}", cell.print());
            }
        }
        text.push('\n');
        for note in &self.notes {
            let _ = writeln!(text, "  ({note})");
        }
        text
    }

    /// For programs: the title and one object a row.
    pub fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| -> Map<String, Value> {
            let names = self.columns.iter().map(|column| (*column).to_owned());
            names.zip(row.iter().map(Cell::json)).collect()
        };
        let rows: Vec<_> = self.rows.iter().map(object).collect();
        json!({ "title": self.title, "rows": rows, "notes": self.notes })
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.print().len());
            }
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_aligned_and_as_json() {
        let mut table = Table::new("t", &["who", "n"]);
        table.push(["ab".into(), Cell::Number(1.25, 1)]);
        table.push(["c".into(), Cell::Empty]);
        assert_eq!(table.print(), "t\n  who    n\n   ab  1.2\n    c    -\n");
        assert_eq!(table.json()["rows"][0], json!({ "who": "ab", "n": 1.2 }));
        table.note("how");
        assert!(table.print().ends_with("    c    -\n  (how)\n"));
        assert_eq!(table.json()["notes"], json!(["how"]));
        assert!(!table.missed());
    }
}
