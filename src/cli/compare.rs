//! `import --verify`: reads every record of a file back, in batches over several connections, and
//! compares it byte by byte with what the file says. The content type is compared where the file has one.
//!
//! Documents are compared in the bytes that the server keeps of them, to which both are brought here. When records expire
//! is not compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossbeam_channel::{Receiver, bounded};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::RawValue;

use super::args::ImportArgs;
use super::client::{Client, kv_path};
use super::described::Described;
use super::document_line::DocumentLine;
use super::failure::Failure;
use super::output::Output;
use super::progress::Progress;
use super::source::{Record, Source};
use super::value_line::Op;
use super::values::value_for;
use crate::shard::document::parse::{Shape, parse_line};

const BATCH_KEYS: usize = 1000;
/// Values of a batch, so that the answer stays a size that both sides hold easily.
const BATCH_VALUE_BYTES: usize = 4 << 20;
const QUEUE_BATCHES: usize = 8;
const TOLD_RECORDS_MAX: u64 = 10;

/// A key, as JSON, and what the server must answer for it.
struct Wanted {
    key: String,
    /// `None` of a document that the server does not take: it is not there, or another one is.
    value: Option<Vec<u8>>,
    content_type: Option<String>,
}

#[derive(Deserialize)]
struct Answers {
    records: Vec<Option<Found>>,
}

/// A record in the exact form.
#[derive(Deserialize)]
struct Found {
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    value_b64: Option<Box<RawValue>>,
    #[serde(default)]
    content_type: String,
}

/// Tells `null` from no value at all.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(value).map(Some)
}

#[derive(Default)]
struct Tally {
    compared: Arc<AtomicU64>,
    missing: AtomicU64,
    different: AtomicU64,
}

/// Fails with exit code 1 when a record is missing or differs. Lines that are no puts are skipped; of a
/// key that stands in the file more than once, the last line counts on the server.
pub fn compare(
    args: &ImportArgs,
    collection: &Described,
    source: Source,
    out: &mut Output,
) -> Result<(), Failure> {
    let shape = collection.shape();
    if collection.has_documents() && shape.is_none() {
        let url = Client::of(&args.target)?.server().url();
        return Err(Failure::BadAnswer {
            url,
            what: "a collection whose documents this version does not know",
        });
    }
    let mut progress = Progress::new("verify", source.total());
    let tally = Tally { compared: progress.counter(), ..Tally::default() };
    let (sender, receiver) = bounded(QUEUE_BATCHES);
    let compared = thread::scope(|scope| {
        let start = |_| {
            let (batches, tally) = (receiver.clone(), &tally);
            scope.spawn(move || work(args, shape.as_ref(), &batches, tally))
        };
        let workers: Vec<_> = (0..args.connections).map(start).collect();
        // The workers hold the only receivers: when all of them failed, nobody waits for room.
        drop(receiver);
        let wanted = |record: &Record<'_>| wanted(record, args.value_bytes as usize, shape.as_ref());
        let read = deal(source, wanted, |batch| {
            progress.draw();
            sender.send(batch).is_ok()
        });
        drop(sender);
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join().expect("no panic")).collect();
        results.into_iter().collect::<Result<Vec<()>, _>>().and(read)
    });
    let (rate, seconds) = (progress.rate(), progress.elapsed().as_secs_f64());
    drop(progress);
    compared?;
    let [compared, missing, different] =
        [&*tally.compared, &tally.missing, &tally.different].map(|count| count.load(Ordering::Relaxed));
    out.object(&json!({
        "compared": compared, "missing": missing, "different": different,
        "seconds": seconds, "records_per_s": rate,
    }))?;
    match missing + different {
        0 => Ok(()),
        count => Err(Failure::Found { count, what: "records are missing or differ" }),
    }
}

/// Cuts the file into batches; stops when nobody takes one.
fn deal(
    mut source: Source,
    wanted: impl Fn(&Record<'_>) -> Option<Wanted>,
    mut take: impl FnMut(Vec<Wanted>) -> bool,
) -> Result<(), Failure> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while let Some(record) = source.next()? {
        let Some(wanted) = wanted(&record) else { continue };
        bytes += wanted.value.as_ref().map_or(0, Vec::len);
        batch.push(wanted);
        if batch.len() == BATCH_KEYS || bytes >= BATCH_VALUE_BYTES {
            bytes = 0;
            if !take(std::mem::take(&mut batch)) {
                return Ok(());
            }
        }
    }
    if !batch.is_empty() {
        take(batch);
    }
    Ok(())
}

/// `shape`: of the collection's documents.
fn wanted(record: &Record<'_>, value_bytes: usize, shape: Option<&Shape<'_>>) -> Option<Wanted> {
    match record {
        Record::Key(key) => {
            let value = value_for(*key, value_bytes).into_bytes();
            Some(Wanted { key: key.to_string(), value: Some(value), content_type: None })
        }
        Record::Line(line) if matches!(line.op, None | Some(Op::Put)) => Some(Wanted {
            key: line.key.get().to_owned(),
            value: Some(value_bytes_of(line.value, line.value_b64)?),
            content_type: line.content_type.and_then(|raw| serde_json::from_str(raw.get()).ok()),
        }),
        Record::Line(_) => None,
        Record::Document(line) => document(line, shape?),
        Record::Row(row) => {
            let mut text = Vec::new();
            row.append_bulk_line(&mut text);
            let line = std::str::from_utf8(&text).ok()?;
            document(&DocumentLine::parse(line.trim_end(), row.key_type).ok()?, shape?)
        }
    }
}

/// `None` for a delete.
fn document(line: &DocumentLine<'_>, shape: &Shape<'_>) -> Option<Wanted> {
    let mut text = Vec::new();
    line.append_bulk_line(&mut text);
    let value = match parse_line(&text, shape) {
        Ok(new) => Some(new.encoded),
        Err(invalid) if invalid.pointer == "/op" => return None,
        Err(_) => None,
    };
    Some(Wanted { key: line.id()?.to_owned(), value, content_type: None })
}

/// The bytes that a put of these members stores; `None` when the server does not take them.
fn value_bytes_of(value: Option<&RawValue>, value_b64: Option<&RawValue>) -> Option<Vec<u8>> {
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).ok();
    match value {
        Some(raw) if raw.get().starts_with('"') => text(raw).map(String::into_bytes),
        Some(raw) => Some(raw.get().as_bytes().to_vec()),
        None => STANDARD.decode(text(value_b64?)?).ok(),
    }
}

fn work(
    args: &ImportArgs,
    shape: Option<&Shape<'_>>,
    batches: &Receiver<Vec<Wanted>>,
    tally: &Tally,
) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let path = format!("{}/mget", kv_path(&args.target.collection, None));
    for batch in batches {
        let found = mget(&client, &path, &batch)?;
        for (wanted, found) in batch.iter().zip(&found) {
            tally.compared.fetch_add(1, Ordering::Relaxed);
            tally.judge(wanted, found.as_ref(), shape);
        }
    }
    Ok(())
}

fn mget(client: &Client, path: &str, batch: &[Wanted]) -> Result<Vec<Option<Found>>, Failure> {
    let keys: Vec<&str> = batch.iter().map(|wanted| wanted.key.as_str()).collect();
    let body = format!("{{\"keys\":[{}],\"exact\":true}}", keys.join(","));
    let answers: Answers = client.post_json_text(path, body)?.json()?;
    if answers.records.len() != batch.len() {
        return Err(Failure::BadAnswer {
            url: client.server().url(),
            what: "more or fewer records than keys",
        });
    }
    Ok(answers.records)
}

impl Tally {
    fn judge(&self, wanted: &Wanted, found: Option<&Found>, shape: Option<&Shape<'_>>) {
        let (count, what) = match found {
            None => (&self.missing, "missing"),
            Some(found) if !agree(wanted, found, shape) => (&self.different, "different"),
            Some(_) => return,
        };
        if count.fetch_add(1, Ordering::Relaxed) < TOLD_RECORDS_MAX {
            eprintln!("{what}: key {}", wanted.key);
        }
    }
}

fn agree(wanted: &Wanted, found: &Found, shape: Option<&Shape<'_>>) -> bool {
    let value = match (shape, &found.value) {
        (Some(shape), Some(json)) => parse_line(json.get().as_bytes(), shape).ok().map(|new| new.encoded),
        _ => value_bytes_of(found.value.as_deref(), found.value_b64.as_deref()),
    };
    value.is_some()
        && value == wanted.value
        && wanted.content_type.as_ref().is_none_or(|content_type| *content_type == found.content_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Found {
        serde_json::from_str(json).unwrap()
    }

    /// Whether the record of the answer is what the line of a file asks for.
    fn agrees(line: &str, answer: &str) -> bool {
        let (_dir, mut source) = source_of(line);
        let record = source.next().unwrap().expect("one line");
        agree(&wanted(&record, 0, None).expect("a put"), &found(answer), None)
    }

    const DOCUMENTS: &str = r#"{"key_type":"string","embedding":{"dim":2,"metric":"l2","quantization":"f16"},
        "fields":{"year":"i64"}}"#;

    /// The same of documents.
    fn document_agrees(line: &str, answer: &str) -> bool {
        let (_dir, mut source) = source_of(line);
        let collection = Described::from_json(DOCUMENTS);
        source.fit(&collection).unwrap();
        let (record, shape) = (source.next().unwrap().expect("one line"), collection.shape());
        let wanted = wanted(&record, 0, shape.as_ref()).expect("a document");
        let answer = found(&format!(r#"{{"key":"a","value":{answer}}}"#));
        agree(&wanted, &answer, shape.as_ref())
    }

    #[test]
    fn documents_agree_when_the_same_would_be_kept_of_them() {
        // 0.1 is kept as the nearest half.
        let line = r#"{"id":"a","embedding":[0.1,2],"metadata":{"year": 2010,"x":[1, null]},"ttl":"1h"}"#;
        let kept = r#"{"id":"a","embedding":[0.099975586,2],"metadata":{"year":2010,"x":[1,null]}}"#;
        assert!(document_agrees(line, kept));
        assert!(document_agrees(
            r#"{"id":"a","embedding_b64":"AACAPwAAAEA="}"#,
            r#"{"id":"a","embedding":[1,2]}"#
        ));
        for (part, other) in [("0.099975586", "0.1001"), ("2010", "2011"), ("[1,null]", "[null,1]")] {
            assert!(!document_agrees(line, &kept.replace(part, other)), "{other}");
        }
        assert!(!document_agrees(line, r#"{"id":"a","text":"","embedding":[0.1,2]}"#));
        // What the server refuses is not what is there.
        assert!(!document_agrees(r#"{"id":"a","embedding":[1]}"#, r#"{"id":"a"}"#));
    }

    fn source_of(line: &str) -> (tempfile::TempDir, Source) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.ndjson");
        std::fs::write(&path, line).unwrap();
        let source = Source::open(&path, None, None).unwrap();
        (dir, source)
    }

    #[test]
    fn equal_bytes_agree_however_they_are_spelled() {
        for (line, answer) in [
            (r#"{"key":1,"value":"a\u0062c"}"#, r#"{"value":"abc","content_type":"text/plain"}"#),
            (r#"{"key":1,"value":{"a": 1}}"#, r#"{"value":{"a": 1},"content_type":"application/json"}"#),
            (r#"{"key":1,"value":null}"#, r#"{"value":null}"#),
            (r#"{"key":1,"value_b64":"AP8="}"#, r#"{"value_b64":"AP8="}"#),
            (r#"{"key":1,"value_b64":"YWJj"}"#, r#"{"value":"abc"}"#),
            (r#"{"key":1,"value":"1","content_type":"a/b"}"#, r#"{"value_b64":"MQ==","content_type":"a/b"}"#),
        ] {
            assert!(agrees(line, answer), "{line}");
        }
    }

    #[test]
    fn any_difference_of_bytes_or_type_is_seen() {
        for (line, answer) in [
            (r#"{"key":1,"value":"abc"}"#, r#"{"value":"abd"}"#),
            (r#"{"key":1,"value":"abc"}"#, "{}"),
            // JSON that is a string, or has other white space, is other bytes.
            (r#"{"key":1,"value":"abc"}"#, r#"{"value":"\"abc\""}"#),
            (r#"{"key":1,"value":{"a":1}}"#, r#"{"value":{"a": 1}}"#),
            (r#"{"key":1,"value_b64":"AP8="}"#, r#"{"value_b64":"AP4="}"#),
            (r#"{"key":1,"value":"1","content_type":"a/b"}"#, r#"{"value":"1","content_type":"a/c"}"#),
        ] {
            assert!(!agrees(line, answer), "{line}");
        }
    }
}
