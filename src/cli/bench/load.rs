//! One phase of load, shared by all its connections: what is next, what is right, how long it took.
//!
//! Record `n` has the key `mix(n)`: keys spread evenly over u64, and a key tells its record. Values tell
//! their version, so that every answer can be judged.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::values::{append_versioned, mix, unmix, version_of};
use super::ledger::Ledger;
use super::workload::{Chooser, Operation};

const TOLD_ERRORS_MAX: u64 = 5;
const LATENCY_MAX: Duration = Duration::from_secs(60);

/// Where operations come from.
pub enum Script {
    /// Each record once, in order.
    Fill {
        next: u64,
    },
    Mix(Chooser),
}

/// A request on its way, and what its answer is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Read { record: u64, floor: u32, then_write: bool },
    Put { record: u64, version: u32 },
    Scan { start: u64, limit: u64 },
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    Status(u16),
    Missing,
    /// The bytes are of no version of this record.
    Foreign,
    /// A version that was overwritten before, or never sent.
    Version(u32),
    Unreadable,
    /// Out of order, out of the range, or more than asked for.
    Range,
}

pub struct Load {
    pub script: Script,
    pub ledger: Ledger,
    /// Operations that were not started yet.
    pub left: u64,
    pub value_bytes: usize,
    /// Keys loaded before the run, ascending: a scan must show each of them.
    pub loaded: Vec<u64>,
    /// Nanoseconds from the intended start of an operation to its last answer.
    pub latency: Histogram<u64>,
    pub done: u64,
    pub errors: u64,
    /// Whether the server may refuse what is too much.
    pub may_shed: bool,
    pub shed: u64,
    scratch: Vec<u8>,
}

#[derive(Deserialize)]
struct ScanAnswer<'a> {
    #[serde(borrow)]
    records: Vec<ScanRecord<'a>>,
    next_cursor: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ScanRecord<'a> {
    key: u64,
    /// Text, or base64 when the record is of a type that is no text.
    #[serde(borrow)]
    value: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value_b64: Option<Cow<'a, str>>,
}

impl ScanRecord<'_> {
    fn bytes(&self) -> Option<Cow<'_, [u8]>> {
        match (&self.value, &self.value_b64) {
            (Some(text), _) => Some(Cow::Borrowed(text.as_bytes())),
            (None, Some(text)) => BASE64.decode(text.as_bytes()).ok().map(Cow::Owned),
            (None, None) => None,
        }
    }
}

impl Load {
    pub fn new(script: Script, ledger: Ledger, operations: u64, value_bytes: usize) -> Load {
        let latency = Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, 3).expect("valid bounds");
        Load {
            script,
            ledger,
            left: operations,
            value_bytes,
            loaded: Vec::new(),
            latency,
            done: 0,
            errors: 0,
            may_shed: false,
            shed: 0,
            scratch: Vec::new(),
        }
    }

    /// The next operation's first request; `None` when all were started.
    pub fn next(&mut self) -> Option<Request> {
        self.left = self.left.checked_sub(1)?;
        let (operation, record) = match &mut self.script {
            Script::Fill { next } => {
                *next += 1;
                (Operation::Insert, None)
            }
            Script::Mix(chooser) => {
                let operation = chooser.operation();
                let is_new = operation == Operation::Insert;
                (operation, (!is_new).then(|| chooser.record(self.ledger.records())))
            }
        };
        let record = record.unwrap_or_else(|| self.ledger.add_record());
        Some(self.request(operation, record))
    }

    fn request(&mut self, operation: Operation, record: u64) -> Request {
        let floor = self.ledger.floor(record);
        match operation {
            Operation::Read => Request::Read { record, floor, then_write: false },
            Operation::ReadModifyWrite => Request::Read { record, floor, then_write: true },
            Operation::Update | Operation::Insert => self.put(record),
            Operation::Scan => Request::Scan { start: mix(record), limit: self.scan_limit() },
        }
    }

    pub fn put(&mut self, record: u64) -> Request {
        Request::Put { record, version: self.ledger.put_sent(record) }
    }

    fn scan_limit(&mut self) -> u64 {
        match &mut self.script {
            Script::Mix(chooser) => chooser.scan_limit(),
            Script::Fill { .. } => unreachable!("filling does not scan"),
        }
    }

    /// Appends the value that a put sends.
    pub fn append_value(&self, record: u64, version: u32, out: &mut Vec<u8>) {
        append_versioned(mix(record), version, self.value_bytes, out);
    }

    /// An operation got its last answer.
    pub fn finish(&mut self, latency_ns: u64) {
        self.done += 1;
        self.latency.saturating_record(latency_ns.max(1));
    }

    pub fn is_filling(&self) -> bool {
        matches!(self.script, Script::Fill { .. })
    }

    /// True for an answer that says to come back later, where that is no error. Such a put was refused before it
    /// was written to the log, so it has no effect later either.
    pub fn is_shed(&mut self, request: Request, status: u16, retry_after: Option<Duration>) -> bool {
        let is_shed = self.may_shed && status == 503 && retry_after.is_some();
        if is_shed {
            self.shed += 1;
            if let Request::Put { record, .. } = request {
                self.ledger.put_refused(record);
            }
        }
        is_shed
    }

    /// Judges an answer; a wrong one is counted and told. True when it was right.
    pub fn judge(&mut self, request: Request, status: u16, body: &[u8]) -> bool {
        let judged = match request {
            Request::Read { record, floor, .. } => self.judge_read(record, floor, status, body),
            Request::Put { record, .. } => self.judge_put(record, status),
            Request::Scan { start, limit } => self.judge_scan(start, limit, status, body),
        };
        if let Err(wrong) = &judged {
            self.errors += 1;
            if self.errors <= TOLD_ERRORS_MAX {
                eprintln!("wrong answer: {wrong:?} for {request:?}");
            }
        }
        judged.is_ok()
    }

    fn judge_read(&mut self, record: u64, floor: u32, status: u16, body: &[u8]) -> Result<(), Wrong> {
        let version = match status {
            200 => Some(version_of(mix(record), body, &mut self.scratch).ok_or(Wrong::Foreign)?),
            404 => None,
            _ => return Err(Wrong::Status(status)),
        };
        if self.ledger.allows(record, floor, version) {
            return Ok(());
        }
        Err(version.map_or(Wrong::Missing, Wrong::Version))
    }

    fn judge_put(&mut self, record: u64, status: u16) -> Result<(), Wrong> {
        if !matches!(status, 200 | 201 | 204) {
            return Err(Wrong::Status(status));
        }
        self.ledger.put_acknowledged(record);
        Ok(())
    }

    fn judge_scan(&mut self, start: u64, limit: u64, status: u16, body: &[u8]) -> Result<(), Wrong> {
        if status != 200 {
            return Err(Wrong::Status(status));
        }
        let answer: ScanAnswer<'_> = serde_json::from_slice(body).map_err(|_| Wrong::Unreadable)?;
        let keys: Vec<u64> = answer.records.iter().map(|record| record.key).collect();
        if keys.len() as u64 > limit || keys.first().is_some_and(|first| *first < start) || !keys.is_sorted()
        {
            return Err(Wrong::Range);
        }
        for found in &answer.records {
            self.judge_scanned(found)?;
        }
        let has_more = answer.next_cursor.is_some() || keys.len() as u64 == limit;
        self.judge_completeness(start, has_more, &keys)
    }

    fn judge_scanned(&mut self, found: &ScanRecord<'_>) -> Result<(), Wrong> {
        let bytes = found.bytes().ok_or(Wrong::Unreadable)?;
        let version = version_of(found.key, &bytes, &mut self.scratch).ok_or(Wrong::Foreign)?;
        let record = unmix(found.key);
        // A record of an earlier, larger run is none of ours.
        let is_ours = record < self.ledger.records();
        if is_ours && !self.ledger.allows(record, 0, Some(version)) {
            return Err(Wrong::Version(version));
        }
        Ok(())
    }

    /// Every loaded key from `start` to the last key shown must be there, and all up to the end when
    /// there is no more.
    fn judge_completeness(&self, start: u64, has_more: bool, keys: &[u64]) -> Result<(), Wrong> {
        let from = self.loaded.partition_point(|key| *key < start);
        let to = match keys.last() {
            Some(last) if has_more => self.loaded.partition_point(|key| key <= last),
            _ => self.loaded.len(),
        };
        let mut shown = keys.iter();
        let complete = self.loaded[from..to].iter().all(|wanted| shown.any(|key| key == wanted));
        if complete { Ok(()) } else { Err(Wrong::Missing) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::workload::{Distribution, Workload};
    use super::*;

    const VALUE_BYTES: usize = 20;

    fn filled(records: u64) -> Load {
        let mut load = Load::new(Script::Fill { next: 0 }, Ledger::default(), records, VALUE_BYTES);
        while let Some(request) = load.next() {
            assert!(load.judge(request, 201, b""));
        }
        load.loaded = (0..records).map(mix).collect();
        load.loaded.sort_unstable();
        load.script = Script::Mix(Chooser::new(Workload::E, Distribution::Uniform, records, 1));
        load
    }

    fn value(record: u64, version: u32) -> String {
        let mut value = Vec::new();
        append_versioned(mix(record), version, VALUE_BYTES, &mut value);
        String::from_utf8(value).unwrap()
    }

    fn scan_of(keys: &[u64]) -> String {
        let record =
            |key: &u64| format!("{{\"key\":{key},\"value\":\"{}\",\"seq\":1}}", value(unmix(*key), 1));
        format!(
            "{{\"records\":[{}],\"next_cursor\":null}}",
            keys.iter().map(record).collect::<Vec<_>>().join(",")
        )
    }

    #[test]
    fn reads_are_judged_by_what_was_written() {
        let mut load = filled(10);
        let read = load.request(Operation::Read, 3);
        assert!(load.judge(read, 200, value(3, 1).as_bytes()));
        assert!(!load.judge(read, 404, b""), "missing");
        assert!(!load.judge(read, 200, value(4, 1).as_bytes()), "of another record");
        assert!(!load.judge(read, 200, value(3, 2).as_bytes()), "never sent");
        assert!(!load.judge(read, 503, b""), "refused");
        assert_eq!(load.errors, 4);
    }

    #[test]
    fn what_is_shed_is_told_apart_where_it_may_be() {
        let mut load = filled(1);
        let later = Some(Duration::from_secs(1));
        let read = load.request(Operation::Read, 0);
        assert!(!load.is_shed(read, 503, later));
        load.may_shed = true;
        assert!(!load.is_shed(read, 503, None) && !load.is_shed(read, 500, later));
        assert!(load.is_shed(read, 503, later));
        assert_eq!(load.shed, 1);
    }

    #[test]
    fn writes_rule_out_older_ones_after_one_was_shed() {
        let mut load = filled(1);
        load.may_shed = true;
        let put = load.put(0);
        assert!(load.is_shed(put, 503, Some(Duration::from_secs(1))));
        let read = load.request(Operation::Read, 0);
        assert!(load.judge(read, 200, value(0, 1).as_bytes()), "nothing was written");
        let put = load.put(0);
        assert!(load.judge(put, 204, b""));
        let read = load.request(Operation::Read, 0);
        assert!(!load.judge(read, 200, value(0, 1).as_bytes()), "lost");
        assert!(load.judge(read, 200, value(0, 3).as_bytes()));
    }

    #[test]
    fn a_refused_put_is_an_error_and_rules_nothing_out() {
        let mut load = filled(1);
        let put = load.put(0);
        assert!(!load.judge(put, 503, b""));
        let read = load.request(Operation::Read, 0);
        assert!(
            load.judge(read, 200, value(0, 1).as_bytes()) && load.judge(read, 200, value(0, 2).as_bytes())
        );
    }

    #[test]
    fn a_scan_shows_every_loaded_key_in_order() {
        let mut load = filled(10);
        let keys = load.loaded.clone();
        let scan = |start, limit| Request::Scan { start, limit };
        assert!(load.judge(scan(keys[2], 3), 200, scan_of(&keys[2..5]).as_bytes()));
        assert!(load.judge(scan(keys[8], 5), 200, scan_of(&keys[8..]).as_bytes()), "the end of the keys");
        let gap = [keys[2], keys[4], keys[5]];
        assert!(!load.judge(scan(keys[2], 3), 200, scan_of(&gap).as_bytes()), "a key left out");
        assert!(!load.judge(scan(keys[2], 3), 200, scan_of(&keys[2..4]).as_bytes()), "cut short");
        assert!(!load.judge(scan(keys[2], 3), 200, scan_of(&keys[2..6]).as_bytes()), "too many");
        assert!(!load.judge(scan(keys[2], 3), 200, scan_of(&keys[1..4]).as_bytes()), "before the start");
        let swapped = [keys[3], keys[2], keys[4]];
        assert!(!load.judge(scan(keys[2], 3), 200, scan_of(&swapped).as_bytes()), "out of order");
        assert!(!load.judge(scan(keys[2], 3), 200, b"{}"), "no records at all");
        let base64 = BASE64.encode(value(unmix(keys[9]), 1));
        let bytes = format!("{{\"records\":[{{\"key\":{},\"value_b64\":\"{base64}\"}}]}}", keys[9]);
        assert!(load.judge(scan(keys[9], 3), 200, bytes.as_bytes()), "as base64");
    }
}
