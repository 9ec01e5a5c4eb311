//! Data on stdout: a table for people, JSON or NDJSON for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::args::Format;
use super::failure::Failure;

pub struct Output {
    format: Format,
    out: Box<dyn Write>,
}

impl Output {
    pub fn stdout(format: Format) -> Output {
        Output::new(format, io::BufWriter::with_capacity(1 << 16, io::stdout().lock()))
    }

    pub fn new(format: Format, out: impl Write + 'static) -> Output {
        Output { format, out: Box::new(out) }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(Failure::Output)
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(Failure::Output)
    }

    /// One object: its fields one below the other, or one line of JSON.
    pub fn object(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let value = serde_json::to_value(object).expect("a report has plain fields");
        match self.format {
            Format::Table => self.fields("", &value)?,
            Format::Json | Format::Ndjson => self.line(&value)?,
        }
        self.flush()
    }

    /// Several objects with the same `columns`: a table, one JSON list, or a line each.
    pub fn rows(&mut self, columns: &[&str], rows: &[serde_json::Value]) -> Result<(), Failure> {
        match self.format {
            Format::Table => {
                let cells = |row: &serde_json::Value| columns.iter().map(|name| plain(&row[*name])).collect();
                self.table(columns, &rows.iter().map(cells).collect::<Vec<_>>())?;
            }
            Format::Json => self.line(&serde_json::Value::from(rows.to_vec()))?,
            Format::Ndjson => rows.iter().try_for_each(|row| self.line(row))?,
        }
        self.flush()
    }

    /// A list of records whose length is not known, each JSON text that is printed as it is.
    pub fn records(&mut self) -> Records<'_> {
        Records { out: self, count: 0 }
    }

    /// Rows with a head above; what breaks a line is for the caller to escape.
    pub fn table(&mut self, columns: &[&str], cells: &[Vec<String>]) -> Result<(), Failure> {
        let width = |at: usize| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns.len()).map(|at| width(at).max(columns[at].len())).collect();
        let head: Vec<String> = columns.iter().map(|column| column.to_uppercase()).collect();
        for row in std::iter::once(&head).chain(cells) {
            let line: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(self.out, "{}", line.join("  ").trim_end()).map_err(Failure::Output)?;
        }
        self.flush()
    }

    /// One line of a long list: its text, or its JSON.
    pub fn entry(&mut self, text: &impl std::fmt::Display, json: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => writeln!(self.out, "{text}"),
            Format::Json | Format::Ndjson => writeln!(self.out, "{json}"),
        }
        .map_err(Failure::Output)
    }

    fn line(&mut self, value: &serde_json::Value) -> Result<(), Failure> {
        writeln!(self.out, "{value}").map_err(Failure::Output)
    }

    fn fields(&mut self, prefix: &str, value: &serde_json::Value) -> Result<(), Failure> {
        for (name, value) in value.as_object().into_iter().flatten() {
            match value {
                serde_json::Value::Object(_) => self.fields(&format!("{prefix}{name}."), value)?,
                _ => writeln!(self.out, "{:<28} {}", format!("{prefix}{name}"), plain(value))
                    .map_err(Failure::Output)?,
            }
        }
        Ok(())
    }
}

/// One JSON array, or a line each.
pub struct Records<'a> {
    out: &'a mut Output,
    count: u64,
}

impl Records<'_> {
    pub fn push(&mut self, record: &[u8]) -> Result<(), Failure> {
        let before: &[u8] = match (self.out.format, self.count) {
            (Format::Json, 0) => b"[",
            (Format::Json, _) => b",\n",
            (Format::Table | Format::Ndjson, 0) => b"",
            (Format::Table | Format::Ndjson, _) => b"\n",
        };
        self.count += 1;
        self.out.bytes(before)?;
        self.out.bytes(record)
    }

    /// Without it an array is seen to be cut.
    pub fn end(self) -> Result<(), Failure> {
        let end: &[u8] = match (self.out.format, self.count) {
            (Format::Json, 0) => b"[]\n",
            (Format::Json, _) => b"]\n",
            (Format::Table | Format::Ndjson, 0) => b"",
            (Format::Table | Format::Ndjson, _) => b"\n",
        };
        self.out.bytes(end)?;
        self.out.flush()
    }
}

/// As people read it: a string without quotes, a measured number with two digits behind the point.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.escape_debug().to_string(),
        serde_json::Value::Number(number) if number.is_f64() => {
            format!("{:.2}", number.as_f64().unwrap_or(f64::NAN))
        }
        serde_json::Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_never_break_a_line() {
        assert_eq!(plain(&json!("a\nb\t\u{7}")), "a\\nb\\t\\u{7}");
        assert_eq!(
            (plain(&json!(1.234)), plain(&json!(7)), plain(&json!(null))),
            ("1.23".into(), "7".into(), "-".into())
        );
    }
}
