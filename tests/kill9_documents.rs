//! The real process under `kill -9` while documents are loaded in bulk: after each restart every acknowledged document
//! is there, equal, and found by an exact search with its own embedding; what was deleted is not; and the count is right.
//! Between lives a file of an index is damaged, or all are taken away.
//!
//! Each writer has ids of its own and gives each document rising numbers; every seventh number is a deletion. After a
//! restart the number of a document is at least the last that was acknowledged and at most the last that was sent.
//! `KILL9_DOCUMENT_ROUNDS` (4) and `KILL9_WRITERS` (6) set the size; `tools/kill9.sh` runs more.

mod program;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use program::Server;
use serde_json::{Value, json};

const IDS_A_WRITER: u64 = 48;
const LINES_A_BULK: u64 = 16;
/// Written before the first kill, and never again: enough for parts that are kept in files.
const STILL: u64 = 3000;
const STILL_FROM: u64 = 1 << 32;
const DIMENSION: u64 = 8;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const PATH: &str = "/v1/collections/documents";

/// What is known of one document.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The last number sent; 0 before the first.
    sent: u64,
    /// The last number that the server acknowledged or, after a restart, showed.
    kept: u64,
}

fn is_deletion(number: u64) -> bool {
    number.is_multiple_of(7)
}

fn embedding(id: u64, number: u64) -> Vec<f64> {
    let mut state = id << 20 ^ number;
    let mut next = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Few digits: the same as f32 and back.
        f64::from(((mixed >> 44) as u32) << 4 >> 12) / 64.0
    };
    (0..DIMENSION).map(|_| next()).collect()
}

fn document(id: u64, number: u64) -> Value {
    let text = format!("{number}:{}", "abcdefgh".repeat((number % 40) as usize));
    json!({"id": id, "text": text, "embedding": embedding(id, number), "metadata": {"number": number}})
}

fn line(id: u64, number: u64) -> String {
    let line = match is_deletion(number) {
        true => json!({"op": "delete", "id": id}),
        false => document(id, number),
    };
    format!("{line}\n")
}

struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Connection { reader: BufReader::new(stream.try_clone()?), stream })
    }

    fn send(&mut self, method: &str, path: &str, content_type: &str, body: &str) -> io::Result<u16> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: kyrodb\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.write_all(format!("{head}{body}").as_bytes())?;
        let status = self.line()?;
        let status = status.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Gives each piece of the body when it is there.
    fn body(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let (mut length, mut is_chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            is_chunked |= line.starts_with("transfer-encoding:");
        }
        loop {
            if is_chunked {
                length = usize::from_str_radix(&self.line()?, 16).map_err(io::Error::other)?;
            }
            let mut piece = vec![0; length];
            self.reader.read_exact(&mut piece)?;
            take(&piece);
            if is_chunked {
                self.line()?;
            }
            if !is_chunked || length == 0 {
                return Ok(());
            }
        }
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Value)> {
        let status = self.send(method, path, "application/json", body)?;
        let mut bytes = Vec::new();
        self.body(|piece| bytes.extend_from_slice(piece))?;
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
        Ok((status, body))
    }

    /// Asked again while the index is read.
    fn ask_ready(&mut self, path: &str, body: &Value) -> Value {
        let until = Instant::now() + READY_TIMEOUT;
        loop {
            let (status, answer) = self.ask("POST", path, &body.to_string()).expect("it is answered");
            match status {
                200 => return answer,
                503 if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
                other => panic!("{path} was answered with {other}: {answer}"),
            }
        }
    }

    /// Sends lines; tells each line of the answer, as far as it comes.
    fn bulk(&mut self, lines: &str, mut told: impl FnMut(&Value)) -> io::Result<()> {
        let status = self.send("POST", &format!("{PATH}/bulk"), "application/x-ndjson", lines)?;
        assert_eq!(status, 200, "a bulk is taken");
        let mut held = Vec::new();
        self.body(|piece| {
            held.extend_from_slice(piece);
            while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = held.drain(..=end).collect();
                told(&serde_json::from_slice(&line).expect("a line of JSON"));
            }
        })
    }
}

/// Loads documents with rising numbers until the server is gone.
fn load_until_killed(address: &str, first: u64, known: &mut [Known], killed: &AtomicBool) {
    let mut at = 0;
    let mut load = || -> io::Result<()> {
        let mut connection = Connection::open(address)?;
        loop {
            let mut lines = String::new();
            let mut sent = Vec::new();
            for _ in 0..LINES_A_BULK {
                let index = (at % IDS_A_WRITER) as usize;
                at += 1;
                known[index].sent += 1;
                lines += &line(first + index as u64, known[index].sent);
                sent.push((index, known[index].sent));
            }
            let mut sent = sent.into_iter();
            connection.bulk(&lines, |told| {
                let (index, number) = sent.next().expect("an answer a line");
                match told["status"].as_u64() {
                    Some(200 | 201 | 204) => known[index].kept = number,
                    // There was nothing to delete: the document has never been there.
                    Some(404) if is_deletion(number) => known[index].kept = number,
                    Some(429 | 503) => {}
                    _ => panic!("a line was answered with {told}"),
                }
            })?;
        }
    };
    let error = load().expect_err("it only ends with an error");
    assert!(killed.load(Ordering::SeqCst), "the connection broke before the kill: {error}");
}

/// Compares what the server has with what is known, and takes over what it showed. The number of documents there.
fn judge(address: &str, known: &mut [Known]) -> u64 {
    let mut connection = Connection::open(address).expect("a ready server takes connections");
    let mut there = 0;
    for (id, known) in known.iter_mut().enumerate() {
        let id = id as u64;
        let (status, found) =
            connection.ask("GET", &format!("{PATH}/docs/{id}"), "").expect("a ready server answers");
        let Known { kept, sent } = *known;
        let told = format!("document {id}: kept {kept}, sent {sent}, found {found}");
        if status == 404 {
            let gone = (kept..=sent).find(|number| is_deletion(*number));
            known.kept = gone.unwrap_or_else(|| panic!("lost, {told}"));
            continue;
        }
        there += 1;
        let number = found["metadata"]["number"].as_u64().unwrap_or_else(|| panic!("{told}"));
        assert!((kept..=sent).contains(&number), "lost or invented, {told}");
        assert!(same(&found, &document(id, number)), "not equal, {told}");
        known.kept = number;
        assert_nearest_to_itself(&mut connection, id, number);
    }
    there
}

fn same(one: &Value, other: &Value) -> bool {
    let numbers = |value: &Value| -> Vec<f64> {
        value["embedding"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
    };
    let rest = |value: &Value| ["id", "text", "metadata"].map(|member| value[member].clone());
    numbers(one) == numbers(other) && rest(one) == rest(other)
}

fn assert_nearest_to_itself(connection: &mut Connection, id: u64, number: u64) {
    let body = json!({"embedding": embedding(id, number), "exact": true, "limit": 1});
    let found = connection.ask_ready(&format!("{PATH}/search"), &body);
    let hit = &found["hits"][0];
    assert_eq!((&hit["id"], &hit["metadata"]["number"]), (&json!(id), &json!(number)), "{found}");
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// From 50 ms to two seconds.
fn random_life() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Duration::from_millis(50 + u64::from(now.subsec_nanos()) / 1000 * 7919 % 1950)
}

fn index_files(dir: &Path) -> Vec<PathBuf> {
    let dirs =
        fs::read_dir(dir).expect("the data").map(|entry| entry.expect("readable").path().join("index"));
    let files = dirs.filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    let files = files.map(|entry| entry.expect("readable").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "index")).collect()
}

fn prepare(address: &str) {
    let mut connection = Connection::open(address).expect("it listens");
    let definition = json!({"key_type": "u64", "embedding": {"dim": DIMENSION, "metric": "l2"}, "fields": {"number": "i64"}});
    let (status, told) = connection.ask("PUT", PATH, &definition.to_string()).expect("answered");
    assert_eq!(status, 201, "{told}");
    let lines: String = (STILL_FROM..STILL_FROM + STILL).map(|id| line(id, 1)).collect();
    let mut taken = 0;
    let told = |told: &Value| {
        assert_eq!(told["status"], 201, "{told}");
        taken += 1;
    };
    connection.bulk(&lines, told).expect("answered");
    assert_eq!(taken, STILL);
}

fn wait_for_files(dir: &Path) {
    let until = Instant::now() + READY_TIMEOUT;
    while index_files(dir).is_empty() {
        assert!(Instant::now() < until, "no part of an index is in a file");
        thread::sleep(Duration::from_millis(50));
    }
}

/// In odd rounds one bit of each, in even rounds all of them.
fn damage(dir: &Path, round: u64) -> usize {
    let files = index_files(dir);
    for file in &files {
        if round.is_multiple_of(2) {
            fs::remove_file(file).expect("removed");
            continue;
        }
        let mut bytes = fs::read(file).expect("readable");
        let at = bytes.len() * (round as usize % 7) / 7;
        bytes[at] ^= 1;
        fs::write(file, bytes).expect("writable");
    }
    files.len()
}

#[test]
fn acknowledged_documents_are_there_and_found_after_a_kill() {
    let (rounds, writers) = (setting("KILL9_DOCUMENT_ROUNDS", 4), setting("KILL9_WRITERS", 6));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the data");
    let mut known = vec![Known::default(); (writers * IDS_A_WRITER) as usize];
    let (mut damaged, mut server) = (0, Server::start(dir.path()));
    prepare(&server.address);
    wait_for_files(dir.path());
    for round in 1..=rounds {
        let killed = AtomicBool::new(false);
        let address = server.address.clone();
        thread::scope(|scope| {
            for (writer, known) in known.chunks_mut(IDS_A_WRITER as usize).enumerate() {
                let (first, killed, address) = (writer as u64 * IDS_A_WRITER, &killed, &address);
                scope.spawn(move || load_until_killed(address, first, known, killed));
            }
            thread::sleep(random_life());
            // What is to be damaged has to be there: in the round before, all may have been taken away.
            wait_for_files(dir.path());
            killed.store(true, Ordering::SeqCst);
            // Killed, and waited for.
            drop(server);
        });
        if round > 1 {
            let files = damage(dir.path(), round);
            assert!(files > 0, "no part of an index is in a file before round {round}");
            damaged += files;
        }
        server = Server::start(dir.path());
        let there = judge(&server.address, &mut known);
        let mut connection = Connection::open(&server.address).expect("it listens");
        let counted = connection.ask_ready(&format!("{PATH}/count"), &json!({}));
        assert_eq!(counted["count"], there + STILL, "in round {round}");
        for id in (STILL_FROM..STILL_FROM + STILL).step_by(29) {
            assert_nearest_to_itself(&mut connection, id, 1);
        }
    }
    wait_for_files(dir.path());
    let kept: u64 = known.iter().map(|known| known.kept).sum();
    assert!(kept > 0, "nothing was written at all");
    println!("{rounds} rounds, {writers} writers, {kept} writes kept, {damaged} files damaged or taken away");
}
