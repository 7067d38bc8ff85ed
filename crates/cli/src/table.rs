//! Rows of a query, as a table or as JSON.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::output;

/// Most characters of a cell in a table of several rows.
const WIDEST: usize = 72;

/// Columns from which a single row is printed with one column on each line.
const MANY_COLUMNS: usize = 9;

/// A row: its columns in order, each value as JSON.
#[derive(Debug)]
pub(crate) struct AnswerRow(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for AnswerRow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Columns;
        impl<'de> Visitor<'de> for Columns {
            type Value = AnswerRow;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AnswerRow, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = map.next_entry()? {
                    columns.push(column);
                }
                Ok(AnswerRow(columns))
            }
        }
        deserializer.deserialize_map(Columns)
    }
}

impl Serialize for AnswerRow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl AnswerRow {
    /// Returns a column as text.
    pub(crate) fn column(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(column, _)| column == name).map(|(_, value)| text(value))
    }
}

/// Returns the rows as a table. A single row of many columns has a line for each column.
pub(crate) fn table(rows: &[AnswerRow]) -> String {
    let Some(AnswerRow(first)) = rows.first() else { return "no rows".to_owned() };
    if let ([row], true) = (rows, first.len() >= MANY_COLUMNS) {
        let width = row.0.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let lines = row.0.iter().map(|(name, value)| {
            let value = text(value);
            format!("{name:<width$}  {}", output::indented(&value, width + 2)).trim_end().to_owned()
        });
        return lines.collect::<Vec<_>>().join("\n");
    }
    let header: Vec<_> = first.iter().map(|(name, _)| name.clone()).collect();
    let cells: Vec<Vec<_>> = rows.iter().map(|row| row.0.iter().map(|(_, value)| cell(value)).collect()).collect();
    let widths: Vec<_> = (0..header.len())
        .map(|column| {
            let lengths = cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            lengths.chain([header[column].len()]).max().unwrap_or_default()
        })
        .collect();
    // Numbers are aligned to the right.
    let is_number = |column: usize| {
        let mut values = rows.iter().filter_map(|row| row.0.get(column)).map(|(_, value)| value.get());
        values.all(|value| value == "null" || value.starts_with(|first: char| first == '-' || first.is_ascii_digit()))
    };
    let right: Vec<_> = (0..header.len()).map(is_number).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).zip(&right).map(|((cell, &width), &right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(&header).chain(&cells).map(|row| line(row)).collect::<Vec<_>>().join("\n")
}

/// Returns a value without the quotes of JSON. `null` is empty.
fn text(value: &RawValue) -> String {
    match serde_json::from_str(value.get()) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Null) => String::new(),
        _ => value.get().to_owned(),
    }
}

/// Returns a value on one line, shortened.
fn cell(value: &RawValue) -> String {
    let text = text(value);
    let line = output::one_line(&text);
    match line.char_indices().nth(WIDEST) {
        None => line.into_owned(),
        Some((end, _)) => format!("{}…", &line[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<AnswerRow> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn columns_keep_their_order_and_numbers_are_aligned_to_the_right() {
        let rows = rows(r#"[{"name":"a.b","tasks":7,"at":null},{"name":"c","tasks":1234,"at":"x\ny"}]"#);
        assert_eq!(table(&rows), "name  tasks  at\na.b       7\nc      1234  x\\ny");
        let json = serde_json::to_string(&rows).unwrap();
        assert!(json.starts_with(r#"[{"name":"a.b","tasks":7,"at":null}"#), "{json}");
        assert_eq!(table(&[]), "no rows");
    }

    #[test]
    fn a_long_cell_is_cut_in_a_table_and_whole_in_a_single_row() {
        let long = "é".repeat(100);
        let short = table(&rows(&format!(r#"[{{"a":"{long}"}}]"#)));
        assert_eq!(short, format!("a\n{}…", "é".repeat(72)));
        let columns: Vec<_> = (0..9).map(|column| format!(r#""c{column}":"{long}\n2""#)).collect();
        let whole = table(&rows(&format!("[{{{}}}]", columns.join(","))));
        assert!(whole.starts_with(&format!("c0  {long}\n    2\nc1  ")), "{whole}");
    }
}
