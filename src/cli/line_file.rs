//! Files of NDJSON, line by line; blank lines are passed over.

use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::failure::{Failure, InputError};
use super::input::Input;

pub struct LineFile {
    path: PathBuf,
    reader: BufReader<Input>,
    len: Option<u64>,
    line: Vec<u8>,
    /// Lines read, blank ones included.
    number: u64,
    read_bytes: u64,
}

impl LineFile {
    pub fn new(path: &Path, reader: BufReader<Input>, len: Option<u64>) -> LineFile {
        LineFile { path: path.to_owned(), reader, len, line: Vec::new(), number: 0, read_bytes: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.len == Some(0)
    }

    /// How many there will be in all, going by the length of the first `taken`.
    pub fn estimate(&self, taken: u64) -> Option<u64> {
        let lines = u128::from(taken) * u128::from(self.len?);
        (self.read_bytes > 0).then(|| (lines / u128::from(self.read_bytes)) as u64)
    }

    /// The next line without space around it, read by `parse`; what that does not like is told with its place.
    pub fn parse_next<'a, T>(
        &'a mut self,
        parse: impl FnOnce(&'a str) -> Result<T, InputError>,
    ) -> Result<Option<T>, Failure> {
        if !self.advance()? {
            return Ok(None);
        }
        let wrong = |what| Failure::Input { path: self.path.clone(), line: self.number, what };
        let text = std::str::from_utf8(&self.line).map_err(|_| wrong(InputError::NotUtf8))?;
        parse(text.trim()).map(Some).map_err(wrong)
    }

    /// Reads the next line that is not blank; false at the end.
    fn advance(&mut self) -> Result<bool, Failure> {
        loop {
            self.line.clear();
            let read = self.reader.read_until(b'\n', &mut self.line).map_err(Failure::file(&self.path))?;
            if read == 0 {
                return Ok(false);
            }
            self.number += 1;
            self.read_bytes += read as u64;
            if !self.line.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// From now on the file ends behind its first `lines` that are not blank. What comes next is unknown after it.
    pub fn end_behind(&mut self, lines: u64) -> Result<(), Failure> {
        self.go_to(0)?;
        for _ in 0..lines {
            if !self.advance()? {
                break;
            }
        }
        self.len = Some(self.read_bytes);
        Ok(())
    }

    /// What `parse` makes of the first line that begins behind the `at`th of `count` parts of the file. A line that is
    /// wrong is told by who reads them all: its number is not known here.
    pub fn parse_near<T>(
        &mut self,
        at: u64,
        count: u64,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let len = self.len.unwrap_or(0);
        self.go_to((u128::from(len) * u128::from(at) / u128::from(count)) as u64)?;
        if self.read_bytes > 0 {
            // The rest of the line into which the offset fell.
            self.read_bytes += self.reader.skip_until(b'\n').map_err(Failure::file(&self.path))? as u64;
        }
        if self.read_bytes >= len || !self.advance()? {
            return Ok(None);
        }
        Ok(std::str::from_utf8(&self.line).ok().and_then(|text| parse(text.trim())))
    }

    fn go_to(&mut self, offset: u64) -> Result<(), Failure> {
        self.reader.seek(SeekFrom::Start(offset)).map_err(Failure::file(&self.path))?;
        self.read_bytes = offset;
        Ok(())
    }
}
