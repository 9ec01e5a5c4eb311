//! `import --verify`: reads every record of a file back, in batches over several connections, and
//! compares it with what the file says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::args::ImportArgs;
use super::client::{Client, kv_path};
use super::failure::Failure;
use super::output::Output;
use super::progress::Progress;
use super::source::{Op, Record, Source};
use super::values::value_for;

const BATCH_KEYS: usize = 1000;
const QUEUE_BATCHES: usize = 8;
const TOLD_RECORDS_MAX: u64 = 10;

/// A key, as JSON, and what the server must answer for it.
struct Wanted {
    key: String,
    value: WantedValue,
}

enum WantedValue {
    Text(String),
    Json(String),
    Base64(String),
}

#[derive(Deserialize)]
struct Answers {
    records: Vec<Option<Found>>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default, deserialize_with = "present")]
    value: Option<Box<RawValue>>,
    value_b64: Option<String>,
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
pub fn compare(args: &ImportArgs, out: &mut Output) -> Result<(), Failure> {
    let source = Source::open(&args.file, args.format, args.limit)?;
    let mut progress = Progress::new("verify", source.total());
    let tally = Tally { compared: progress.counter(), ..Tally::default() };
    let (sender, receiver) = bounded(QUEUE_BATCHES);
    let compared = thread::scope(|scope| {
        let start = |_| {
            let (batches, tally) = (receiver.clone(), &tally);
            scope.spawn(move || work(args, &batches, tally))
        };
        let workers: Vec<_> = (0..args.connections).map(start).collect();
        // The workers hold the only receivers: when all of them failed, nobody waits for room.
        drop(receiver);
        let read = deal(source, args.value_bytes as usize, |batch| {
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
    value_bytes: usize,
    mut take: impl FnMut(Vec<Wanted>) -> bool,
) -> Result<(), Failure> {
    let mut batch = Vec::new();
    while let Some(record) = source.next()? {
        batch.extend(wanted(&record, value_bytes));
        if batch.len() == BATCH_KEYS && !take(std::mem::take(&mut batch)) {
            return Ok(());
        }
    }
    if !batch.is_empty() {
        take(batch);
    }
    Ok(())
}

fn wanted(record: &Record<'_>, value_bytes: usize) -> Option<Wanted> {
    match record {
        Record::Key(key) => {
            Some(Wanted { key: key.to_string(), value: WantedValue::Text(value_for(*key, value_bytes)) })
        }
        Record::Line(line) if matches!(line.op, None | Some(Op::Put)) => {
            let value = match (line.value, line.value_b64) {
                (Some(value), _) => WantedValue::Json(value.get().to_owned()),
                (None, base64) => WantedValue::Base64(serde_json::from_str(base64?.get()).ok()?),
            };
            Some(Wanted { key: line.key.get().to_owned(), value })
        }
        Record::Line(_) => None,
    }
}

fn work(args: &ImportArgs, batches: &Receiver<Vec<Wanted>>, tally: &Tally) -> Result<(), Failure> {
    let client = Client::of(&args.target)?;
    let path = format!("{}/mget", kv_path(&args.target.collection, None));
    for batch in batches {
        let found = mget(&client, &path, &batch)?;
        for (wanted, found) in batch.iter().zip(&found) {
            tally.compared.fetch_add(1, Ordering::Relaxed);
            tally.judge(wanted, found.as_ref());
        }
    }
    Ok(())
}

fn mget(client: &Client, path: &str, batch: &[Wanted]) -> Result<Vec<Option<Found>>, Failure> {
    let keys: Vec<&str> = batch.iter().map(|wanted| wanted.key.as_str()).collect();
    let body = format!("{{\"keys\":[{}]}}", keys.join(","));
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
    fn judge(&self, wanted: &Wanted, found: Option<&Found>) {
        let (count, what) = match found {
            None => (&self.missing, "missing"),
            Some(found) if !agree(&wanted.value, found) => (&self.different, "different"),
            Some(_) => return,
        };
        if count.fetch_add(1, Ordering::Relaxed) < TOLD_RECORDS_MAX {
            eprintln!("{what}: key {}", wanted.key);
        }
    }
}

fn agree(wanted: &WantedValue, found: &Found) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    match (wanted, &found.value, &found.value_b64) {
        // The common case, without parsing: text that needs no escapes.
        (WantedValue::Text(text), Some(value), _) => {
            value.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) == Some(text)
        }
        (WantedValue::Json(text), Some(value), _) => text == value.get() || json(text) == json(value.get()),
        (WantedValue::Base64(text), None, Some(found)) => text == found,
        // Bytes that happen to be text come back as text.
        (WantedValue::Base64(text), Some(value), _) => {
            let text = base64_decoded(text);
            text.is_some()
                && text
                    == json(value.get()).and_then(|value| match value {
                        Value::String(text) => Some(text.into_bytes()),
                        _ => None,
                    })
        }
        _ => false,
    }
}

fn base64_decoded(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(json: &str) -> Found {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn equal_values_agree_however_they_are_spelled() {
        let text = WantedValue::Text("abc".into());
        assert!(agree(&text, &found(r#"{"value":"abc"}"#)));
        let json = WantedValue::Json(r#"{"a": "\u0041", "b":[1]}"#.into());
        assert!(agree(&json, &found(r#"{"value":{"a":"A","b":[1]}}"#)));
        let base64 = WantedValue::Base64("AP8=".into());
        assert!(agree(&base64, &found(r#"{"value_b64":"AP8="}"#)));
        assert!(agree(&WantedValue::Base64("YWJj".into()), &found(r#"{"value":"abc"}"#)));
        assert!(agree(&WantedValue::Json("null".into()), &found(r#"{"value":null}"#)));
    }

    #[test]
    fn any_difference_is_seen() {
        let text = WantedValue::Text("abc".into());
        for other in [
            r#"{"value":"abd"}"#,
            r#"{"value":"abcd"}"#,
            r#"{"value":"ab"}"#,
            r#"{"value_b64":"YWJj"}"#,
            "{}",
        ] {
            assert!(!agree(&text, &found(other)), "{other}");
        }
        let json = WantedValue::Json(r#"{"a":1}"#.into());
        assert!(!agree(&json, &found(r#"{"value":{"a":2}}"#)));
        assert!(!agree(&json, &found(r#"{"value":"{\"a\":1}"}"#)));
        assert!(!agree(&WantedValue::Base64("AP8=".into()), &found(r#"{"value_b64":"AP4="}"#)));
    }
}
