//! The file that `import` reads, record by record: lines of values or of documents, rows of vectors, or the keys of a
//! SOSD file, whose values are made by [`super::values`].
//!
//! What the file is shows in its name and its first bytes; whether lines are values or documents, in the collection
//! into which they go.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::args::FileFormat;
use super::described::{Described, Misfit};
use super::document_line::{DocumentLine, DocumentRow};
use super::failure::{Failure, InputError};
use super::input;
use super::key_file::KeyFile;
use super::line_file::LineFile;
use super::outline::Outline;
use super::progress::Total;
use super::value_line::{self, Line};
use super::values::append_value;
use super::vector_file::{Form, NPY_MAGIC, Number, RowsError, VectorFile};
use crate::shard::key::KeyType;

const ZSTD_MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";
const GZIP_MAGIC: &[u8] = b"\x1f\x8b";

/// A record of the file.
pub enum Record<'a> {
    /// A bare key, whose value is made.
    Key(u64),
    Line(Line<'a>),
    Document(DocumentLine<'a>),
    Row(DocumentRow<'a>),
}

enum Body {
    Keys(KeyFile),
    Lines(LineFile),
    Rows(VectorFile),
}

pub struct Source {
    path: PathBuf,
    body: Body,
    /// The type of the ids, where lines and rows become documents.
    documents: Option<KeyType>,
    /// Records that were given out.
    taken: u64,
    /// Records that will be at most.
    limit: u64,
}

impl Source {
    pub fn open(path: &Path, format: Option<FileFormat>, limit: Option<u64>) -> Result<Source, Failure> {
        let (mut reader, len) = input::open(path)?;
        let format = match format {
            Some(format) => format,
            None => format_of(path, reader.fill_buf().map_err(Failure::file(path))?)?,
        };
        let rows = |form, reader| VectorFile::new(path, form, reader, len).map(Body::Rows);
        let body = match format {
            FileFormat::Sosd => Body::Keys(KeyFile::new(path, reader, len)?),
            FileFormat::Ndjson => Body::Lines(LineFile::new(path, reader, len)),
            FileFormat::Npy => rows(Form::Npy, reader)?,
            FileFormat::Fvecs => rows(Form::Vecs(Number::F32), reader)?,
            FileFormat::Bvecs => rows(Form::Vecs(Number::U8), reader)?,
        };
        if let Body::Rows(file) = &body {
            match (file.number(), file.rows()) {
                (Number::I32, _) => return Err(file.wrong(RowsError::AreIds)),
                (_, Some(0)) => return Err(file.wrong(RowsError::NoRow)),
                _ => (),
            }
        }
        let limit = limit.unwrap_or(u64::MAX);
        Ok(Source { path: path.to_owned(), body, documents: None, taken: 0, limit })
    }

    /// From now on records are such that this collection takes; an error when none of them can be.
    pub fn fit(&mut self, collection: &Described) -> Result<(), Failure> {
        let misfit = match (&self.body, collection.dimension) {
            (Body::Lines(file), _) if collection.has_documents() && file.is_empty() => {
                return Err(Failure::input(&self.path, InputError::Empty));
            }
            (Body::Keys(_), _) if collection.has_documents() => Misfit::KeysIntoDocuments,
            (Body::Rows(_), _) if !collection.has_documents() => Misfit::VectorsIntoValues,
            (Body::Rows(_), None) => Misfit::NoEmbeddings,
            (Body::Rows(file), Some(dimension)) if file.dimension() != dimension => {
                Misfit::Dimension { file: file.dimension(), collection: dimension }
            }
            _ => {
                self.documents = collection.has_documents().then_some(collection.key_type);
                return Ok(());
            }
        };
        Err(Failure::input(&self.path, InputError::Misfit(misfit)))
    }

    /// Records in all, as far as that is known before the end.
    pub fn total(&self) -> Total {
        let known = match &self.body {
            Body::Keys(file) => Some(file.count()),
            Body::Rows(file) => file.rows(),
            Body::Lines(file) => match file.estimate(self.taken) {
                Some(about) if about < self.limit => return Total::About(about),
                _ => None,
            },
        };
        match known.unwrap_or(u64::MAX).min(self.limit) {
            u64::MAX => Total::Unknown,
            total => Total::Exact(total),
        }
    }

    /// The next record; `None` at the end of the file or of the limit.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Failure> {
        if self.taken == self.limit {
            return Ok(None);
        }
        let record = match &mut self.body {
            Body::Keys(file) => file.next_key()?.map(Record::Key),
            Body::Lines(file) => file.parse_next(|text| record_of(text, self.documents))?,
            Body::Rows(file) => {
                let (id, number, key_type) =
                    (self.taken, file.number(), self.documents.unwrap_or(KeyType::U64));
                let row = |bytes| Record::Row(DocumentRow { id, key_type, number, bytes });
                file.next_row()?.map(row)
            }
        };
        self.taken += u64::from(record.is_some());
        Ok(record)
    }

    /// About `count` keys from places spread evenly over the file, up to the limit, as JSON values. Lines that are wrong
    /// have none.
    pub fn sample(mut self, count: u64) -> Result<Vec<Value>, Failure> {
        if let Body::Lines(file) = &mut self.body
            && self.limit < u64::MAX
        {
            file.end_behind(self.limit)?;
        }
        let mut keys = Vec::new();
        for at in 0..count {
            keys.extend(self.key_near(at, count)?);
        }
        Ok(keys)
    }

    fn key_near(&mut self, at: u64, count: u64) -> Result<Option<Value>, Failure> {
        let index_of = |all: u64| (u128::from(all) * u128::from(at) / u128::from(count)) as u64;
        match &mut self.body {
            Body::Keys(file) => match file.count().min(self.limit) {
                0 => Ok(None),
                all => file.key_at(index_of(all)).map(|key| Some(key.into())),
            },
            Body::Rows(file) => {
                let id = index_of(file.rows().unwrap_or(0).min(self.limit));
                let is_text = self.documents == Some(KeyType::String);
                Ok(Some(if is_text { id.to_string().into() } else { id.into() }))
            }
            Body::Lines(file) => file.parse_near(at, count, |text| {
                let record = record_of(text, self.documents).ok()?;
                serde_json::from_str(record.key()?).ok()
            }),
        }
    }

    /// What a collection has to be for this file, by its beginning. What was read of lines is gone.
    pub fn outline(&mut self) -> Result<Outline, Failure> {
        match &mut self.body {
            Body::Keys(_) => Ok(Outline::Values { key_type: KeyType::U64 }),
            Body::Rows(file) => {
                Ok(Outline::Documents { key_type: KeyType::U64, dimension: Some(file.dimension()) })
            }
            Body::Lines(file) => Outline::of_lines(file, self.limit)?
                .ok_or_else(|| Failure::input(&self.path, InputError::Empty)),
        }
    }
}

/// A line as a document with an id of this type, or as a value.
fn record_of(text: &str, documents: Option<KeyType>) -> Result<Record<'_>, InputError> {
    match documents {
        None => value_line::parse(text).map(Record::Line),
        Some(key_type) => DocumentLine::parse(text, key_type).map(Record::Document),
    }
}

/// By the end of the name, else by the first bytes.
fn format_of(path: &Path, first: &[u8]) -> Result<FileFormat, Failure> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    Ok(match extension {
        Some("u64" | "sosd") => FileFormat::Sosd,
        Some("npy") => FileFormat::Npy,
        Some("fvecs") => FileFormat::Fvecs,
        Some("bvecs") => FileFormat::Bvecs,
        Some("ivecs") => return Err(Failure::input(path, InputError::Rows(RowsError::AreIds))),
        _ if first.starts_with(NPY_MAGIC) => FileFormat::Npy,
        _ => match [(ZSTD_MAGIC, "zstd"), (GZIP_MAGIC, "gzip")]
            .iter()
            .find(|(magic, _)| first.starts_with(magic))
        {
            Some((_, with)) => return Err(Failure::input(path, InputError::Compressed { with })),
            None => FileFormat::Ndjson,
        },
    })
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
            Record::Line(line) => line.append_bulk_line(out),
            Record::Document(line) => line.append_bulk_line(out),
            Record::Row(row) => row.append_bulk_line(out),
        }
    }

    /// The key of a line, as JSON.
    fn key(&self) -> Option<&str> {
        match self {
            Record::Line(line) => Some(line.key.get()),
            Record::Document(line) => line.id(),
            Record::Key(_) | Record::Row(_) => None,
        }
    }

    /// Equal for equal keys: all lines of a key take the same connection, so their order stays.
    pub fn key_hash(&self) -> u64 {
        match self {
            Record::Key(key) => xxh3_64(&key.to_le_bytes()),
            Record::Row(row) => xxh3_64(&row.id.to_le_bytes()),
            line => xxh3_64(line.key().unwrap_or_default().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vector_file::tests::npy_of;
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

    #[test]
    fn a_sample_passes_over_wrong_lines_and_ends_at_the_limit() {
        let line = |n: u64| match n {
            1500 => "not json\n\n".to_owned(),
            n => format!("{{\"key\":{n},\"value\":0}}\n"),
        };
        let (_dir, path) = write("x.ndjson", (0..3000).map(line).collect::<String>().as_bytes());
        let sample = |limit| {
            let mut source = Source::open(&path, None, limit).unwrap();
            source.outline().unwrap();
            source.sample(2000).unwrap().iter().map(|key| key.as_u64().unwrap()).collect::<Vec<_>>()
        };
        let all = sample(None);
        assert!(all.len() > 1990 && all.is_sorted() && !all.contains(&1500), "{}", all.len());
        let first = sample(Some(10));
        assert!(first.len() > 1500 && (0..10).all(|key| first.contains(&key)), "{}", first.len());
        assert_eq!(first.last(), Some(&9));
        assert_eq!(sample(Some(9_999)), all);
        let mut source = Source::open(&path, None, None).unwrap();
        let told = std::iter::repeat_with(|| source.next().map(|_| ())).find_map(Result::err).unwrap();
        assert!(told.to_string().contains("x.ndjson:1501: not a line"), "{told}");
    }

    fn documents(key_type: &str, dim: usize) -> Described {
        Described::from_json(&format!(
            r#"{{"key_type":"{key_type}","embedding":{{"dim":{dim},"metric":"l2"}},"fields":{{}}}}"#
        ))
    }

    #[test]
    fn rows_have_their_numbers_as_ids() {
        let two = 2_i32.to_le_bytes();
        let row = |n: f32| [&two[..], &n.to_le_bytes(), &n.to_le_bytes()].concat();
        let (_dir, path) = write("x.fvecs", &(0..1000).flat_map(|n| row(n as f32)).collect::<Vec<u8>>());
        for (key_type, wanted) in [("u64", "{\"id\":999,"), ("string", "{\"id\":\"999\",")] {
            let mut source = Source::open(&path, None, None).unwrap();
            assert_eq!(source.total(), Total::Exact(1000));
            source.fit(&documents(key_type, 2)).unwrap();
            let read = lines(source);
            assert!(read.len() == 1000 && read[999].starts_with(wanted), "{}", read[999]);
            let mut source = Source::open(&path, None, Some(10)).unwrap();
            source.fit(&documents(key_type, 2)).unwrap();
            assert_eq!(source.total(), Total::Exact(10));
            let sample = source.sample(5).unwrap();
            assert_eq!(sample[4], if key_type == "u64" { Value::from(8) } else { Value::from("8") });
        }
    }

    #[test]
    fn the_format_shows_in_the_name_or_the_first_bytes() {
        let npy = npy_of("|u1", "(1, 2)", &[1, 2]);
        for (name, bytes, wanted) in [
            ("x.npy", &npy[..], ""),
            ("rows", &npy, ""),
            ("x.jsonl", b"{\"id\":1}", ""),
            ("x.ivecs", b"", "these are ids"),
            ("x.npy", &npy_of("<i4", "(1, 1)", &[0; 4]), "these are ids"),
            ("x.npy", &npy_of("<f4", "(0, 4)", &[]), "there is no vector in it"),
            ("x.jsonl.zst", b"\x28\xb5\x2f\xfd\x04", "`zstd -dc FILE"),
            ("x.gz", b"\x1f\x8b\x08", "`gzip -dc FILE"),
        ] {
            let (_dir, path) = write(name, bytes);
            match Source::open(&path, None, None) {
                Ok(mut source) => {
                    assert!(wanted.is_empty() && source.fit(&documents("u64", 2)).is_ok(), "{name}")
                }
                Err(failure) => {
                    let told = failure.to_string();
                    assert!(!wanted.is_empty() && told.contains(wanted), "{told}");
                }
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let told = Source::open(dir.path(), None, None).err().expect("an error").to_string();
        assert!(told.contains("this is a directory"), "{told}");
        let (_dir, path) = write("x.jsonl", b"{\"id\":1}\n\xff\n");
        let mut source = Source::open(&path, None, None).unwrap();
        source.fit(&documents("u64", 2)).unwrap();
        assert!(source.next().is_ok());
        let told = source.next().err().expect("an error").to_string();
        assert!(told.contains("x.jsonl:2: not UTF-8"), "{told}");
    }

    #[test]
    fn what_does_not_fit_the_collection_is_told_at_once() {
        let values = Described::from_json(r#"{"key_type":"u64"}"#);
        let plain = Described::from_json(r#"{"key_type":"u64","embedding":null,"fields":{}}"#);
        let npy = npy_of("|u1", "(1, 2)", &[1, 2]);
        let keys = sosd(&[1]);
        for (name, bytes, collection, wanted) in [
            ("x.npy", &npy[..], &values, "the file has vectors, and the collection values"),
            ("x.npy", &npy, &plain, "have no embeddings"),
            ("x.npy", &npy, &documents("u64", 3), "have 2 numbers, and the embeddings of the collection 3"),
            ("x.u64", &keys, &plain, "the file has keys"),
            ("x.jsonl", b"", &plain, "the file is empty"),
        ] {
            let (_dir, path) = write(name, bytes);
            let told = Source::open(&path, None, None).unwrap().fit(collection).unwrap_err().to_string();
            assert!(told.contains(wanted), "{told}");
        }
        let (_dir, path) = write("x.jsonl", b"");
        assert!(Source::open(&path, None, None).unwrap().fit(&values).is_ok(), "an export of nothing");
    }

    #[test]
    fn the_number_of_lines_is_estimated() {
        let (_dir, path) = write("x.jsonl", "{\"id\":\"a\"}\n".repeat(1000).as_bytes());
        let mut source = Source::open(&path, None, None).unwrap();
        source.fit(&documents("string", 2)).unwrap();
        assert_eq!(source.total(), Total::Unknown);
        (0..7).for_each(|_| assert!(source.next().unwrap().is_some()));
        assert_eq!(source.total(), Total::About(1000));
        assert_eq!(Source::open(&path, None, Some(5)).unwrap().total(), Total::Exact(5));
    }
}
