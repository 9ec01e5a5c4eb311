//! The file that `import` reads: NDJSON lines, or the keys of a SOSD file.
//!
//! A SOSD file is a u64 count and that many sorted u64 keys, little-endian; its values are made by
//! [`super::values`]. An NDJSON line is one of the bulk route, or one without `"op"`, which is a put, as
//! `export` prints them; the `seq` of such a line says which version it was and is not sent.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Stdin};
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_64;

use super::args::FileFormat;
use super::failure::{Failure, InputError};
use super::values::append_value;
use crate::net::json::object::JsonObject;
use crate::net::json::value::append_string;

const KEY_BYTES: u64 = 8;
const BUFFER_BYTES: usize = 1 << 18;

/// A record of the file.
pub enum Record<'a> {
    /// A bare key, whose value is made.
    Key(u64),
    Line(Line<'a>),
}

/// A line of the bulk format, as it stands in the file.
pub struct Line<'a> {
    pub text: &'a str,
    pub op: Option<Op>,
    pub key: &'a RawValue,
    pub value: Option<&'a RawValue>,
    pub value_b64: Option<&'a RawValue>,
    pub content_type: Option<&'a RawValue>,
    has_seq: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Put,
    Delete,
    Get,
}

#[derive(Deserialize)]
struct Fields<'a> {
    op: Option<Op>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    value_b64: Option<&'a RawValue>,
    #[serde(borrow)]
    content_type: Option<&'a RawValue>,
    seq: Option<IgnoredAny>,
}

/// Tells `null` from no value at all.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(value: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// What is read: `-` is standard input.
enum Input {
    File(File),
    Stdin(Stdin),
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::File(file) => file.read(buf),
            Input::Stdin(stdin) => stdin.read(buf),
        }
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Input::File(file) => file.seek(to),
            Input::Stdin(_) => Err(io::ErrorKind::NotSeekable.into()),
        }
    }
}

pub fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

pub struct Source {
    path: PathBuf,
    reader: BufReader<Input>,
    format: FileFormat,
    /// The last key of a SOSD file that was given out.
    last_key: Option<u64>,
    /// Records that were given out.
    taken: u64,
    /// Records that will be at most.
    limit: u64,
    line: String,
    /// Lines read, blank ones included.
    line_number: u64,
}

impl Source {
    pub fn open(path: &Path, format: Option<FileFormat>, limit: Option<u64>) -> Result<Source, Failure> {
        let input = match is_stdin(path) {
            true => Input::Stdin(io::stdin()),
            false => Input::File(File::open(path).map_err(Failure::file(path))?),
        };
        let mut source = Source {
            path: path.to_owned(),
            reader: BufReader::with_capacity(BUFFER_BYTES, input),
            last_key: None,
            format: format.unwrap_or_else(|| format_of(path)),
            taken: 0,
            limit: limit.unwrap_or(u64::MAX),
            line: String::new(),
            line_number: 0,
        };
        if source.format == FileFormat::Sosd {
            source.limit = source.limit.min(source.read_count()?);
        }
        Ok(source)
    }

    /// Records in all, where that is known before the end.
    pub fn total(&self) -> Option<u64> {
        (self.format == FileFormat::Sosd || self.limit < u64::MAX).then_some(self.limit)
    }

    /// The next record; `None` at the end of the file or of the limit.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Failure> {
        if self.taken == self.limit {
            return Ok(None);
        }
        self.taken += 1;
        match self.format {
            FileFormat::Sosd => self.next_key().map(|key| Some(Record::Key(key))),
            FileFormat::Ndjson => self.next_line(),
        }
    }

    fn next_key(&mut self) -> Result<u64, Failure> {
        let key = self.read_u64()?;
        match self.last_key.replace(key) {
            Some(before) if before >= key => {
                Err(self.wrong(self.taken, InputError::NotSorted { before, key }))
            }
            _ => Ok(key),
        }
    }

    fn wrong(&self, line: u64, what: InputError) -> Failure {
        Failure::Input { path: self.path.clone(), line, what }
    }

    fn next_line(&mut self) -> Result<Option<Record<'_>>, Failure> {
        loop {
            self.line.clear();
            if self.reader.read_line(&mut self.line).map_err(Failure::file(&self.path))? == 0 {
                return Ok(None);
            }
            self.line_number += 1;
            if !self.line.trim().is_empty() {
                break;
            }
        }
        let wrong = |what| Failure::Input { path: self.path.clone(), line: self.line_number, what };
        parse_line(self.line.trim()).map(|line| Some(Record::Line(line))).map_err(wrong)
    }

    /// The count at the front, when the file is as long as it says.
    fn read_count(&mut self) -> Result<u64, Failure> {
        let count = self.read_u64()?;
        let Some(len) = self.file_len()? else { return Ok(count) };
        match count.checked_add(1).and_then(|words| words.checked_mul(KEY_BYTES)) {
            Some(wanted) if wanted == len => Ok(count),
            Some(wanted) if wanted < len => Err(self.wrong(0, InputError::GoesOn { bytes: len - wanted })),
            _ => Err(self.wrong(0, InputError::Truncated)),
        }
    }

    /// `None` for standard input, whose end is known when it comes.
    fn file_len(&self) -> Result<Option<u64>, Failure> {
        match self.reader.get_ref() {
            Input::File(file) => Ok(Some(file.metadata().map_err(Failure::file(&self.path))?.len())),
            Input::Stdin(_) => Ok(None),
        }
    }

    fn read_u64(&mut self) -> Result<u64, Failure> {
        let mut bytes = [0; KEY_BYTES as usize];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => Ok(u64::from_le_bytes(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.wrong(0, InputError::Truncated))
            }
            Err(error) => Err(Failure::file(&self.path)(error)),
        }
    }

    /// About `count` keys from places spread evenly over the file, as JSON values. The source is at an
    /// unknown place after it.
    pub fn sample(mut self, count: u64) -> Result<Vec<serde_json::Value>, Failure> {
        let mut keys = Vec::new();
        for at in 0..count {
            let key = match self.format {
                FileFormat::Sosd if self.limit == 0 => None,
                FileFormat::Sosd => Some(self.key_near(at, count)?.into()),
                FileFormat::Ndjson => self.line_key_near(at, count)?,
            };
            keys.extend(key);
        }
        Ok(keys)
    }

    fn key_near(&mut self, at: u64, count: u64) -> Result<u64, Failure> {
        let index = (u128::from(self.limit) * u128::from(at) / u128::from(count)) as u64;
        self.reader.seek(SeekFrom::Start((1 + index) * KEY_BYTES)).map_err(Failure::file(&self.path))?;
        self.read_u64()
    }

    fn line_key_near(&mut self, at: u64, count: u64) -> Result<Option<serde_json::Value>, Failure> {
        let len = self.file_len()?.unwrap_or(0);
        let offset = (u128::from(len) * u128::from(at) / u128::from(count)) as u64;
        self.reader.seek(SeekFrom::Start(offset)).map_err(Failure::file(&self.path))?;
        if offset > 0 {
            // The rest of the line into which the offset fell.
            self.reader.skip_until(b'\n').map_err(Failure::file(&self.path))?;
        }
        match self.next_line()? {
            Some(Record::Line(line)) => Ok(serde_json::from_str(line.key.get()).ok()),
            _ => Ok(None),
        }
    }
}

fn format_of(path: &Path) -> FileFormat {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("u64" | "sosd") => FileFormat::Sosd,
        _ => FileFormat::Ndjson,
    }
}

fn parse_line(text: &str) -> Result<Line<'_>, InputError> {
    let fields: Fields<'_> = serde_json::from_str(text).map_err(InputError::NotAnObject)?;
    let Fields { op, key, value, value_b64, content_type, seq } = fields;
    let key = key.ok_or(InputError::KeyMissing)?;
    if op == Some(Op::Get) {
        return Err(InputError::Reads);
    }
    let is_put = op != Some(Op::Delete);
    if is_put && value.is_none() && value_b64.is_none() {
        return Err(InputError::ValueMissing);
    }
    Ok(Line { text, op, key, value, value_b64, content_type, has_seq: seq.is_some() })
}

/// A line of an export as a put: as it stands, but for `seq`, which is no condition.
fn append_as_put(line: &Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"op\":\"put\"");
    // A line with a member twice goes as it is: the server says what is wrong with it.
    match line.has_seq.then(|| JsonObject::parse(line.text.as_bytes())) {
        Some(Ok(object)) => {
            for (name, value) in object.members().filter(|(name, _)| *name != "seq") {
                out.push(b',');
                append_string(name, out);
                out.push(b':');
                out.extend_from_slice(value.get().as_bytes());
            }
            out.push(b'}');
        }
        _ => {
            out.push(b',');
            let rest = line.text.strip_prefix('{').expect("an object starts with a brace");
            out.extend_from_slice(rest.as_bytes());
        }
    }
}

impl Record<'_> {
    /// Appends the line of the bulk route that writes this record.
    pub fn append_bulk_line(&self, value_bytes: usize, out: &mut Vec<u8>) {
        match self {
            Record::Key(key) => {
                out.extend_from_slice(b"{\"op\":\"put\",\"key\":");
                out.extend_from_slice(itoa::Buffer::new().format(*key).as_bytes());
                out.extend_from_slice(b",\"value\":\"");
                append_value(*key, value_bytes, out);
                out.extend_from_slice(b"\"}\n");
            }
            Record::Line(line) => {
                match line.op {
                    Some(_) => out.extend_from_slice(line.text.as_bytes()),
                    None => append_as_put(line, out),
                }
                out.push(b'\n');
            }
        }
    }

    /// Equal for equal keys: all lines of a key take the same connection, so their order stays.
    pub fn key_hash(&self) -> u64 {
        match self {
            Record::Key(key) => xxh3_64(&key.to_le_bytes()),
            Record::Line(line) => xxh3_64(line.key.get().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sosd(keys: &[u64]) -> Vec<u8> {
        std::iter::once(keys.len() as u64).chain(keys.iter().copied()).flat_map(u64::to_le_bytes).collect()
    }

    fn write(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn lines(mut source: Source) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(record) = source.next().unwrap() {
            let mut out = Vec::new();
            record.append_bulk_line(4, &mut out);
            lines.push(String::from_utf8(out).unwrap());
        }
        lines
    }

    #[test]
    fn sosd_keys_become_puts() {
        let (_dir, path) = write("keys.u64", &sosd(&[1, 2, u64::MAX]));
        let read = lines(Source::open(&path, None, None).unwrap());
        let value = super::super::values::value_for(u64::MAX, 4);
        assert_eq!(read.len(), 3);
        assert_eq!(
            read[2],
            format!("{{\"op\":\"put\",\"key\":18446744073709551615,\"value\":\"{value}\"}}\n")
        );
        assert_eq!(lines(Source::open(&path, None, Some(2)).unwrap()).len(), 2);
    }

    #[test]
    fn a_short_sosd_file_is_refused() {
        for bytes in [&sosd(&[1, 2])[..23], &u64::MAX.to_le_bytes(), b"1234"] {
            let (_dir, path) = write("keys.sosd", bytes);
            assert!(Source::open(&path, None, None).is_err());
        }
    }

    #[test]
    fn a_sosd_file_is_sorted_and_ends_with_its_keys() {
        for (keys, wanted) in
            [(&[1, 3, 2, 4][..], "x.u64:3: key 2 comes after 3"), (&[5, 5], "x.u64:2: key 5 comes after 5")]
        {
            let (_dir, path) = write("x.u64", &sosd(keys));
            let mut source = Source::open(&path, None, None).unwrap();
            let told = std::iter::repeat_with(|| source.next().map(|_| ())).find_map(Result::err).unwrap();
            assert!(told.to_string().contains(wanted), "{told}");
        }
        let (_dir, path) = write("x.u64", &[&sosd(&[1, 2])[..], b"abc"].concat());
        let told = Source::open(&path, None, None).err().expect("an error").to_string();
        assert!(told.contains("x.u64: 3 bytes follow"), "{told}");
        let (_dir, path) = write("empty.u64", b"");
        let told = Source::open(&path, None, None).err().expect("an error").to_string();
        assert!(told.contains("shorter than its count"), "{told}");
    }

    #[test]
    fn lines_pass_through_and_bare_ones_become_puts() {
        let text = "{\"key\":1,\"value\":{\"a\": 1}}\n\n {\"op\":\"delete\",\"key\":\"x\"} \n{\"key\":2,\"value\":null}";
        let (_dir, path) = write("records.ndjson", text.as_bytes());
        assert_eq!(
            lines(Source::open(&path, None, None).unwrap()),
            [
                "{\"op\":\"put\",\"key\":1,\"value\":{\"a\": 1}}\n",
                "{\"op\":\"delete\",\"key\":\"x\"}\n",
                "{\"op\":\"put\",\"key\":2,\"value\":null}\n",
            ]
        );
    }

    #[test]
    fn the_version_of_an_exported_line_is_not_sent() {
        let text = "{\"key\":1,\"value\":{\"seq\": 1},\"content_type\":\"a/b\",\"seq\":7,\"expires_ms\":9}\n\
                    {\"seq\":1,\"key\":\"x\",\"value_b64\":\"\"}\n\
                    {\"op\":\"put\",\"key\":2,\"value\":0,\"seq\":7}";
        let (_dir, path) = write("export.ndjson", text.as_bytes());
        assert_eq!(
            lines(Source::open(&path, None, None).unwrap()),
            [
                "{\"op\":\"put\",\"key\":1,\"value\":{\"seq\": 1},\"content_type\":\"a/b\",\"expires_ms\":9}\n",
                "{\"op\":\"put\",\"key\":\"x\",\"value_b64\":\"\"}\n",
                // Made by hand: the server says what it thinks of it.
                "{\"op\":\"put\",\"key\":2,\"value\":0,\"seq\":7}\n",
            ]
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, wanted) in [
            ("{\"key\":1}", "neither"),
            ("{\"value\":1}", "no \"key\""),
            ("[1]", "not a line"),
            ("{", "not a line"),
            ("{\"op\":\"get\",\"key\":1}", "no place"),
        ] {
            let (_dir, path) = write("x.ndjson", format!("{{\"key\":0,\"value\":0}}\n\n{text}\n").as_bytes());
            let mut source = Source::open(&path, None, None).unwrap();
            assert!(source.next().is_ok());
            let told = source.next().err().expect("an error").to_string();
            assert!(told.contains("x.ndjson:3:") && told.contains(wanted), "{told}");
        }
    }

    #[test]
    fn a_sample_is_spread_over_the_file() {
        let keys: Vec<u64> = (0..1000).map(|n| n * 3).collect();
        let (_dir, path) = write("keys.u64", &sosd(&keys));
        let sample = Source::open(&path, None, None).unwrap().sample(10).unwrap();
        assert_eq!(sample, (0..10).map(|n| serde_json::Value::from(n * 300)).collect::<Vec<_>>());

        let text: String = (0..1000).map(|n| format!("{{\"key\":{},\"value\":0}}\n", 1000 + n)).collect();
        let (_dir, path) = write("records.ndjson", text.as_bytes());
        let sample = Source::open(&path, None, None).unwrap().sample(10).unwrap();
        let distances: Vec<u64> =
            sample.windows(2).map(|pair| pair[1].as_u64().unwrap() - pair[0].as_u64().unwrap()).collect();
        assert!(
            sample.len() == 10 && distances.iter().all(|distance| (90..=110).contains(distance)),
            "{sample:?}"
        );
    }
}
