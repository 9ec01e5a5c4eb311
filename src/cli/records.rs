//! `put`, `get`, `delete`, `scan`, `export`: records of a running server, one by one or in key order.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::args::{DeleteArgs, ExportArgs, Format, KeyArgs, PutArgs, ScanArgs, TargetArgs};
use super::client::{Answer, Client, kv_path, percent_encoded};
use super::described::Described;
use super::failure::{Failure, UsageError};
use super::output::Output;
use super::progress::{Progress, Total};
use crate::limits;
use crate::shard::key::KeyType;
use crate::shard::payload::{OCTET_STREAM, TEXT};

const NDJSON: &str = "application/x-ndjson";

pub fn put(args: &PutArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let (value, default_type) = match (&args.value, &args.file) {
        (Some(value), None) => (value.clone().into_bytes(), TEXT),
        (None, Some(path)) => (read_input(path)?, OCTET_STREAM),
        _ => return Err(Failure::Usage(UsageError::Value)),
    };
    let path = kv_path(&args.target.collection, Some(&args.key));
    let ttl = args.ttl.as_ref().map_or_else(String::new, |ttl| format!("?ttl={}", percent_encoded(ttl)));
    let condition = args.if_seq.map(|seq| format!("\"{seq}\""));
    let mut headers = vec![("content-type", args.content_type.as_deref().unwrap_or(default_type))];
    headers.extend(condition.as_deref().map(|seq| ("if-match", seq)));
    headers.extend(args.if_absent.then_some(("if-none-match", "*")));
    headers.extend(args.durability.as_deref().map(|level| ("kyro-durability", level)));
    let answer = client.put(&format!("{path}{ttl}"), &headers, value)?;
    let created = answer.status() == 201;
    let seq = seq_of(&answer);
    out.object(
        &json!({ "key": key_as_told(&client, &args.target, &args.key, out), "created": created, "seq": seq }),
    )
}

pub fn get(args: &KeyArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let answer = client.get(&kv_path(&args.target.collection, Some(&args.key)), &[])?;
    let seq = seq_of(&answer);
    let content_type = answer.header("content-type").unwrap_or_default().to_owned();
    let value = answer.bytes()?;
    if out.format() == Format::Table {
        out.bytes(&value)?;
        return out.flush();
    }
    let key = key_as_told(&client, &args.target, &args.key, out);
    let mut record = json!({ "key": key, "seq": seq, "content_type": content_type });
    match String::from_utf8(value) {
        Ok(text) => record["value"] = text.into(),
        Err(bytes) => record["value_b64"] = base64_text(bytes.as_bytes()).into(),
    }
    out.object(&record)
}

pub fn delete(args: &DeleteArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let condition = args.if_seq.map(|seq| format!("\"{seq}\""));
    let headers: Vec<_> = condition.as_deref().map(|seq| ("if-match", seq)).into_iter().collect();
    client.delete(&kv_path(&args.target.collection, Some(&args.key)), &headers)?;
    out.object(&json!({ "key": key_as_told(&client, &args.target, &args.key, out), "deleted": true }))
}

/// In JSON a number where the collection has numbers, as in a scan. Only a matter of looks: a server that
/// does not tell leaves the text.
fn key_as_told(client: &Client, target: &TargetArgs, key: &str, out: &Output) -> Value {
    if out.format() == Format::Table {
        return key.into();
    }
    let described = Described::ask(client, &target.collection).ok().flatten();
    let is_number = described.is_some_and(|described| described.key_type == KeyType::U64);
    key.parse::<u64>().ok().filter(|_| is_number).map_or_else(|| key.into(), Value::from)
}

#[derive(Deserialize)]
struct ScanPage {
    records: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

/// Records are printed as the server gives them: parsed and printed anew, a number could lose digits.
pub fn scan(args: &ScanArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let mut records = Vec::new();
    let mut cursor = None;
    loop {
        let left = args.limit - records.len() as u64;
        let page: ScanPage = client.get(&scan_path(args, left, cursor.as_deref()), &[])?.json()?;
        records.extend(page.records);
        cursor = page.next_cursor;
        if cursor.is_none() || records.len() as u64 >= args.limit {
            break;
        }
    }
    if out.format() == Format::Table {
        let cells: Vec<_> = records.iter().map(|record| cells(record)).collect();
        return out.table(&["key", "seq", "value"], &cells);
    }
    let mut list = out.records();
    records.iter().try_for_each(|record| list.push(record.get().as_bytes()))?;
    list.end()
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    seq: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    value_b64: Option<&'a RawValue>,
}

/// Tells `null` from no value at all.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(value: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Key, version and value of a record; bytes that are no text stand there as base64.
fn cells(record: &RawValue) -> Vec<String> {
    let Ok(Members { key, seq, value, value_b64 }) = serde_json::from_str(record.get()) else {
        return vec![record.get().to_owned(), String::new(), String::new()];
    };
    let value = match (value, value_b64) {
        (None, Some(base64)) => format!("base64:{}", cell(Some(base64))),
        (value, _) => cell(value),
    };
    vec![cell(key), cell(seq), value]
}

/// A string without its quotes, anything else as it is.
fn cell(raw: Option<&RawValue>) -> String {
    let Some(raw) = raw else { return "-".to_owned() };
    match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => raw.get().to_owned(),
    }
}

fn scan_path(args: &ScanArgs, left: u64, cursor: Option<&str>) -> String {
    let limit = left.min(limits::SCAN_PAGE_RECORDS_MAX as u64);
    let mut path = format!("{}?limit={limit}", kv_path(&args.target.collection, None));
    let parts = [("start", args.start.as_deref()), ("end", args.end.as_deref())];
    let parts = parts.into_iter().chain([("prefix", args.prefix.as_deref()), ("cursor", cursor)]);
    for (name, text) in parts {
        if let Some(text) = text {
            path += &format!("&{name}={}", percent_encoded(text));
        }
    }
    if args.reverse {
        path += "&reverse=true";
    }
    path
}

/// Lines of an export that are not records: where to go on.
#[derive(Deserialize)]
struct LastLine {
    next_cursor: Option<String>,
}

/// A document in a scan, in the exact form.
#[derive(Deserialize)]
struct FoundDocument<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    expires_ms: Option<u64>,
}

/// As a line of documents has it.
fn as_document_line(record: &[u8]) -> Option<Vec<u8>> {
    let FoundDocument { value, expires_ms } = serde_json::from_slice(record).ok()?;
    let document = value.get();
    Some(match expires_ms {
        None => document.as_bytes().to_vec(),
        // It has an id, so there is something before it.
        Some(at) => format!("{},\"expires_ms\":{at}}}", document.strip_suffix('}')?).into_bytes(),
    })
}

/// In the exact form, so that `import` makes the same records of it.
pub fn export(args: &ExportArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let described = Described::ask(&client, &args.target.collection)?;
    let are_documents = described.is_some_and(|described| described.has_documents());
    let mut progress = Progress::new("export", Total::Unknown);
    let counter = progress.counter();
    let base = format!("{}?exact=true", kv_path(&args.target.collection, None));
    let mut path = base.clone();
    let mut records = out.records();
    loop {
        let answer = client.get(&path, &[("accept", NDJSON)])?;
        let next = copy_lines(&client, answer, |record| {
            match are_documents {
                false => records.push(record)?,
                true => records.push(&as_document_line(record).ok_or_else(|| not_a_document(&client))?)?,
            }
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            progress.draw();
            Ok(())
        })?;
        match next {
            Some(cursor) => path = format!("{base}&cursor={}", percent_encoded(&cursor)),
            None => break,
        }
    }
    records.end()?;
    let (done, seconds) = (progress.done(), progress.elapsed().as_secs_f64());
    drop(progress);
    eprintln!("exported {done} records in {seconds:.1} s");
    Ok(())
}

fn not_a_document(client: &Client) -> Failure {
    Failure::BadAnswer { url: client.server().url(), what: "a line that is no document" }
}

/// Hands on the lines of records. Returns the cursor when the answer ends in one.
fn copy_lines(
    client: &Client,
    answer: Answer,
    mut on_record: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<Option<String>, Failure> {
    let mut reader = BufReader::with_capacity(1 << 16, answer.into_reader());
    let mut line = Vec::new();
    loop {
        line.clear();
        let count = reader.read_until(b'\n', &mut line);
        if count.map_err(|source| client.server().unreachable(source))? == 0 {
            return Ok(None);
        }
        if line.starts_with(b"{\"next_cursor\"") {
            let last: Result<LastLine, _> = serde_json::from_slice(&line);
            return Ok(last.ok().and_then(|last| last.next_cursor));
        }
        on_record(line.trim_ascii_end())?;
    }
}

fn seq_of(answer: &Answer) -> Option<u64> {
    let text = answer.header("kyro-seq").or_else(|| answer.header("etag"))?;
    text.trim_matches('"').parse().ok()
}

fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    if path != Path::new("-") {
        return fs::read(path).map_err(Failure::file(path));
    }
    let mut value = Vec::new();
    io::stdin().read_to_end(&mut value).map_err(Failure::file(path))?;
    Ok(value)
}

fn base64_text(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
