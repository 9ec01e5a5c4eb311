//! `put`, `get`, `delete`, `scan`, `export`: records of a running server, one by one or in key order.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::args::{DeleteArgs, ExportArgs, Format, KeyArgs, PutArgs, ScanArgs};
use super::client::{Answer, Client, kv_path, percent_encoded};
use super::failure::{Failure, UsageError};
use super::output::Output;
use super::progress::Progress;
use crate::limits;
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
    out.object(&json!({ "key": args.key, "created": created, "seq": seq_of(&answer) }))
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
    let mut record = json!({ "key": args.key, "seq": seq, "content_type": content_type });
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
    out.object(&json!({ "key": args.key, "deleted": true }))
}

#[derive(Deserialize)]
struct ScanPage {
    records: Vec<Value>,
    next_cursor: Option<String>,
}

pub fn scan(args: &ScanArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let left = args.limit - rows.len() as u64;
        let page: ScanPage = client.get(&scan_path(args, left, cursor.as_deref()), &[])?.json()?;
        rows.extend(page.records);
        cursor = page.next_cursor;
        if cursor.is_none() || rows.len() as u64 >= args.limit {
            break;
        }
    }
    if out.format() == Format::Table {
        rows.iter_mut().for_each(show_base64);
    }
    out.rows(&["key", "seq", "value"], &rows)
}

/// In a table bytes that are no text stand in the same column, as base64.
fn show_base64(row: &mut Value) {
    if let Some(base64) = row.get("value_b64").and_then(Value::as_str) {
        row["value"] = format!("base64:{base64}").into();
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

pub fn export(args: &ExportArgs, out: &mut Output) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let mut progress = Progress::new("export", None);
    let records = progress.counter();
    let base = kv_path(&args.target.collection, None);
    let mut path = base.clone();
    loop {
        let answer = client.get(&path, &[("accept", NDJSON)])?;
        let next = copy_lines(&client, answer, out, || {
            records.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            progress.draw();
        })?;
        match next {
            Some(cursor) => path = format!("{base}?cursor={}", percent_encoded(&cursor)),
            None => break,
        }
    }
    out.flush()?;
    let (done, seconds) = (progress.done(), progress.elapsed().as_secs_f64());
    drop(progress);
    eprintln!("exported {done} records in {seconds:.1} s");
    Ok(())
}

/// Copies record lines to `out`. Returns the cursor when the answer ends in one.
fn copy_lines(
    client: &Client,
    answer: Answer,
    out: &mut Output,
    mut on_record: impl FnMut(),
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
        out.bytes(&line)?;
        on_record();
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
