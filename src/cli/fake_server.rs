//! A server of a few lines for the tests of the commands: one map of u64 keys behind the routes that
//! they use, and faults to plant. A document is its embedding in base64.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::wire::{BodyReader, Framing};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Acknowledges puts of existing keys without taking them.
    LosesUpdates,
    /// Every so many bulk lines the connection breaks, once the line was taken.
    BreaksBulkEvery(u64),
    /// Answers scans without their second record.
    SkipsInScans,
}

#[derive(Default)]
pub struct State {
    pub records: BTreeMap<u64, Value>,
    pub fault: Fault,
    pub split_at: Option<Value>,
    bulk_lines: u64,
}

pub struct FakeServer {
    pub address: SocketAddr,
    pub state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    accepts_ndjson: bool,
}

impl FakeServer {
    /// Serves until the process ends.
    pub fn start(fault: Fault) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { fault, ..State::default() }));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = shared.clone();
                // A client that goes away is no error here.
                thread::spawn(move || _ = serve(&stream.unwrap(), &state));
            }
        });
        FakeServer { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let (request, framing) = read_request(&mut reader)?;
        let mut body = BodyReader::new(&mut reader, framing);
        if request.path.ends_with("/bulk") {
            return serve_bulk(stream, body, state);
        }
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)?;
        let (status, answer) = answer(&request, &bytes, &mut state.lock().unwrap());
        let length =
            if status == 204 { String::new() } else { format!("content-length: {}\r\n", answer.len()) };
        let mut out = format!("HTTP/1.1 {status} X\r\nkyro-seq: 1\r\n{length}\r\n").into_bytes();
        out.extend_from_slice(&answer);
        (&*stream).write_all(&out)?;
    }
}

fn read_request(reader: &mut impl BufRead) -> io::Result<(Request, Framing)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_ascii_lowercase());
    }
    let header = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let framing = match header("content-length:") {
        Some(length) => Framing::Length(length.parse().unwrap()),
        None if header("transfer-encoding:").is_some() => Framing::Chunked,
        None => Framing::Length(0),
    };
    let mut first = lines[0].split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let accepts_ndjson = header("accept:").is_some_and(|accept| accept.contains("ndjson"));
    Ok((Request { method, path: path.to_owned(), query, accepts_ndjson }, framing))
}

fn answer(request: &Request, body: &[u8], state: &mut State) -> (u16, Vec<u8>) {
    let json = |value: Value| (200, value.to_string().into_bytes());
    match (request.method.as_str(), request.path.as_str()) {
        ("get", "/build_info") => json(json!({ "pid": std::process::id() })),
        ("get", "/v1/router") => {
            let collection =
                |name: &str| json!({ "name": name, "records": state.records.len(), "tablets": [{}] });
            json(json!({ "shards": 4, "collections": [collection("default"), collection("documents")] }))
        }
        ("get", "/v1/collections/default") => json(json!({ "key_type": "u64" })),
        ("get", "/v1/collections/documents") => {
            json(json!({ "key_type": "u64", "embedding": { "dim": 2, "metric": "l2" }, "fields": {} }))
        }
        ("put", "/v1/collections/bench") => (201, b"{}".to_vec()),
        ("post", "/v1/router/rebalance") => {
            state.split_at = Some(serde_json::from_slice::<Value>(body).unwrap()["split_at"].clone());
            json(json!({}))
        }
        ("post", path) if path.ends_with("/mget") => json(mget(path.contains("/documents/"), body, state)),
        ("get", "/v1/kv/default" | "/v1/kv/bench") => (200, scan(request, state)),
        (method, path) => one_record(method, path.rsplit('/').next().unwrap(), body, state),
    }
}

fn one_record(method: &str, key: &str, body: &[u8], state: &mut State) -> (u16, Vec<u8>) {
    let Ok(key) = key.parse() else {
        return (422, br#"{"code":"wrong_key","detail":"the key is not a number"}"#.to_vec());
    };
    let is_there = state.records.contains_key(&key);
    match method {
        "put" => {
            if !(is_there && state.fault == Fault::LosesUpdates) {
                state.records.insert(key, String::from_utf8_lossy(body).into_owned().into());
            }
            (if is_there { 204 } else { 201 }, Vec::new())
        }
        _ if !is_there => (404, br#"{"code":"not_found","detail":"no record has this key"}"#.to_vec()),
        "delete" => {
            state.records.remove(&key);
            (204, Vec::new())
        }
        _ => (200, state.records[&key].as_str().unwrap().as_bytes().to_vec()),
    }
}

fn mget(are_documents: bool, body: &[u8], state: &State) -> Value {
    let wanted: Value = serde_json::from_slice(body).unwrap();
    let record = |key: &Value| match state.records.get(&key.as_u64().unwrap()) {
        Some(value) if are_documents => {
            json!({ "key": key, "value": { "id": key, "embedding_b64": value }, "seq": 1 })
        }
        Some(value) => json!({ "key": key, "value": value, "seq": 1 }),
        None => Value::Null,
    };
    json!({ "records": wanted["keys"].as_array().unwrap().iter().map(record).collect::<Vec<_>>() })
}

/// Pages of at most ten records, so that cursors are needed; a cursor is the next key.
fn scan(request: &Request, state: &State) -> Vec<u8> {
    let number = |name: &str| request.query.get(name).map(|text| text.parse::<u64>().unwrap());
    let start = number("cursor").or(number("start")).unwrap_or(0);
    let limit = number("limit").unwrap_or(10).min(if request.accepts_ndjson { 10 } else { 1000 }) as usize;
    let mut rows =
        state.records.range(start..).map(|(key, value)| json!({ "key": key, "seq": 1, "value": value }));
    let mut page: Vec<Value> = rows.by_ref().take(limit).collect();
    let next = rows.next().map(|row| row["key"].to_string());
    if state.fault == Fault::SkipsInScans && page.len() > 2 {
        page.remove(1);
    }
    if !request.accepts_ndjson {
        return json!({ "records": page, "next_cursor": next }).to_string().into_bytes();
    }
    let cursor = next.map(|next| json!({ "next_cursor": next }));
    page.into_iter().chain(cursor).flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

fn serve_bulk(mut stream: &TcpStream, body: impl Read, state: &Mutex<State>) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    for line in BufReader::new(body).lines() {
        let line: Value = serde_json::from_str(&line?).unwrap();
        let status = {
            let mut state = state.lock().unwrap();
            state.bulk_lines += 1;
            let put = [("key", "value"), ("id", "embedding_b64")].into_iter();
            let mut put = put.filter_map(|(key, value)| Some((line[key].as_u64()?, line[value].clone())));
            let taken = put.next().map(|(key, value)| state.records.insert(key, value));
            match state.fault {
                Fault::BreaksBulkEvery(lines) if state.bulk_lines.is_multiple_of(lines) => return Ok(()),
                _ if taken.is_some() => 200,
                _ => 422,
            }
        };
        let answer = format!("{{\"status\":{status},\"seq\":1}}\n");
        write!(stream, "{:x}\r\n{answer}\r\n", answer.len())?;
    }
    stream.write_all(b"0\r\n\r\n")
}
