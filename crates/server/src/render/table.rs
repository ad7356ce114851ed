//! Tables: columns as wide as their widest cell, numbers to the right.

use super::style::{Style, clean, cut};

/// A cell wider than this is cut.
const CELL_MAX: usize = 60;
/// A cell of the last column, where that is for text.
const TEXT_MAX: usize = 240;

/// A table that is filled row by row.
pub struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Whether the last column is for text that does not fit a cell.
    ends_in_text: bool,
}

impl Table {
    /// With these column heads; one that starts with `>` is aligned to the right.
    pub fn new(headers: &[&'static str]) -> Table {
        Table { headers: headers.to_vec(), rows: Vec::new(), ends_in_text: false }
    }

    /// With one more column for text, of which more is shown than of a cell.
    pub fn ending(mut self, header: &'static str) -> Table {
        self.headers.push(header);
        self.ends_in_text = true;
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let last = self.headers.len().saturating_sub(1);
        let width = |column| if self.ends_in_text && column == last { TEXT_MAX } else { CELL_MAX };
        let cells = cells.into_iter().enumerate();
        self.rows.push(cells.map(|(column, cell)| cut(&clean(&cell), width(column))).collect());
    }

    /// Writes it.
    pub fn render(&self, style: Style) -> String {
        let heads: Vec<&str> = self.headers.iter().map(|head| head.trim_start_matches('>')).collect();
        let cell_width =
            |row: &Vec<String>, column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
        let widths: Vec<usize> = heads
            .iter()
            .enumerate()
            .map(|(column, head)| {
                self.rows.iter().map(|row| cell_width(row, column)).max().unwrap_or(0).max(head.len())
            })
            .collect();
        let line = |cells: &[&str]| {
            let mut out = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let right = self.headers.get(column).is_some_and(|head| head.starts_with('>'));
                let width = widths.get(column).copied().unwrap_or(0);
                let space = " ".repeat(width.saturating_sub(cell.chars().count()));
                let gap = if column == 0 { "" } else { "  " };
                out += &if right { format!("{gap}{space}{cell}") } else { format!("{gap}{cell}{space}") };
            }
            out.trim_end().to_owned()
        };
        let mut out = style.dim(&line(&heads)) + "\n";
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            out += &line(&cells);
            out.push('\n');
        }
        out
    }
}
