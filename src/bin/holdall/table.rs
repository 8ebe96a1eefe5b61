//! How tables, sizes and times look for people.

use holdall::clock::Timestamp;
use indicatif::{BinaryBytes, HumanCount};
use jiff::tz::TimeZone;

use crate::output::plain;

/// Lines of cells, each column as wide as its widest cell.
pub struct Table {
    rows: Vec<Vec<String>>,
    columns: Vec<Align>,
}

/// On which side a column's cells begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[(&str, Align)]) -> Self {
        let heading = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
        Self { rows: vec![heading], columns: columns.iter().map(|(_, align)| *align).collect() }
    }

    /// Adds a line.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell).into_owned()).collect());
    }

    /// The whole table, without a line break at its end.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.columns).map(|((cell, width), align)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Names with their values, one a line; a value may have several lines.
#[derive(Default)]
pub struct Sheet(Vec<(&'static str, String)>);

impl Sheet {
    /// Adds a value.
    pub fn field(&mut self, name: &'static str, value: impl AsRef<str>) {
        self.0.push((name, plain(value.as_ref()).into_owned()));
    }

    /// Adds values below one another.
    pub fn fields(&mut self, name: &'static str, values: impl IntoIterator<Item = String>) {
        for (at, value) in values.into_iter().enumerate() {
            self.field(if at == 0 { name } else { "" }, value);
        }
    }

    /// The whole, without a line break at its end.
    pub fn text(&self) -> String {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        self.0.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect::<Vec<_>>().join("\n")
    }
}

/// A size in units of 1024.
pub fn size(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// A number with its thousands apart, and what is counted, in the plural unless it is one.
pub fn count(number: u64, what: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {what}{end}", HumanCount(number))
}

/// A moment in local time, to the minute.
pub fn minute(moment: Timestamp) -> String {
    moment.to_jiff().to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// A moment in local time, to the second, with the offset from UTC.
pub fn second(moment: Timestamp) -> String {
    moment.to_jiff().to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}
