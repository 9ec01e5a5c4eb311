//! Whole commands against a server of a few lines: what they print, how they end, what they notice.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use base64::Engine;
use clap::Parser;
use serde_json::Value;

use super::args::Cli;
use super::failure::Failure;
use super::fake_server::{FakeServer, Fault};
use super::output::Output;
use super::run;
use super::values::value_for;
use super::vector_file::tests::npy_of;

#[derive(Clone, Default)]
struct Captured(Rc<RefCell<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a command line against the server; what it printed, and how it ended.
fn kyrodb(server: &FakeServer, line: &str) -> (String, Result<(), Failure>) {
    let url = server.url();
    let words = ["kyrodb"].into_iter().chain(line.split(' ')).chain(["--url", &url]);
    let cli = Cli::try_parse_from(words).expect("a valid command line");
    let captured = Captured::default();
    let mut out = Output::new(cli.output, captured.clone());
    let ended = run(cli.command, &mut out);
    drop(out);
    (String::from_utf8(captured.0.take()).unwrap(), ended)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn sosd(keys: &[u64]) -> Vec<u8> {
    std::iter::once(keys.len() as u64).chain(keys.iter().copied()).flat_map(u64::to_le_bytes).collect()
}

#[test]
fn a_record_is_put_read_and_deleted() {
    let server = FakeServer::start(Fault::None);
    let (printed, ended) = kyrodb(&server, "put 7 hello -o json");
    ended.unwrap();
    assert_eq!(json(&printed)["created"], true);
    assert_eq!(kyrodb(&server, "get 7").0, "hello");
    assert_eq!(json(&kyrodb(&server, "get 7 -o json").0)["value"], "hello");
    kyrodb(&server, "delete 7").1.unwrap();
    let missing = kyrodb(&server, "get 7").1.unwrap_err();
    assert_eq!(missing.to_string(), "the server answered 404 not_found: no record has this key");
    let wrong = kyrodb(&server, "put seven hello").1.unwrap_err();
    assert!(matches!(wrong, Failure::Refused(refused) if refused.status == 422));
}

#[test]
fn a_server_that_is_not_there_is_unavailable() {
    let server = FakeServer { address: "127.0.0.1:1".parse().unwrap(), ..FakeServer::start(Fault::None) };
    for line in ["get 7", "scan", "export", "import Cargo.toml", "bench kv"] {
        let failure = kyrodb(&server, line).1.unwrap_err();
        assert!(matches!(failure, Failure::Unreachable { .. }), "{line}: {failure}");
    }
}

#[test]
fn scan_and_export_follow_the_cursors() {
    let server = FakeServer::start(Fault::None);
    let keys: Vec<u64> = (0..95).map(|n| n * 7).collect();
    server.state.lock().unwrap().records.extend(keys.iter().map(|key| (*key, "v".into())));
    let (printed, ended) = kyrodb(&server, "export");
    ended.unwrap();
    let exported: Vec<u64> = printed.lines().map(|line| json(line)["key"].as_u64().unwrap()).collect();
    assert_eq!(exported, keys);
    let (printed, ended) = kyrodb(&server, "scan --start 70 --limit 25 -o ndjson");
    ended.unwrap();
    let scanned: Vec<u64> = printed.lines().map(|line| json(line)["key"].as_u64().unwrap()).collect();
    assert_eq!(scanned, keys[10..35]);
    let (table, _) = kyrodb(&server, "scan --limit 1");
    assert_eq!(table, "KEY  SEQ  VALUE\n0    1    v\n");
}

#[test]
fn an_import_survives_broken_connections_and_loses_nothing() {
    let server = FakeServer::start(Fault::BreaksBulkEvery(997));
    let keys: Vec<u64> = (0..20_000).map(|n| n * n).collect();
    let (_dir, path) = file("keys.u64", &sosd(&keys));
    let (printed, ended) = kyrodb(&server, &format!("import {} -o json", path.display()));
    ended.unwrap();
    let report = json(&printed);
    assert_eq!(report["written"], 20_000);
    assert!(report["resent_uploads"].as_u64().unwrap() > 10, "{report}");
    let state = server.state.lock().unwrap();
    let expected = keys.iter().map(|key| (*key, Value::from(value_for(*key, 100)))).collect();
    assert_eq!(state.records, expected);
    // Four shards: three cuts at the quartiles.
    assert_eq!(state.split_at, Some(Value::from([5000u64, 10_000, 15_000].map(|n| n * n).to_vec())));
}

#[test]
fn rows_become_documents_over_broken_connections() {
    let server = FakeServer::start(Fault::BreaksBulkEvery(997));
    let numbers: Vec<u8> = (0..20_000).map(|n| (n % 251) as u8).collect();
    let (_dir, path) = file("rows.npy", &npy_of("|u1", "(10000, 2)", &numbers));
    let import = format!("import {} -o json -c documents", path.display());
    let (printed, ended) = kyrodb(&server, &import);
    ended.unwrap();
    let report = json(&printed);
    assert_eq!(report["written"], 10_000);
    assert!(report["resent_uploads"].as_u64().unwrap() > 5, "{report}");
    let state = server.state.lock().unwrap();
    let base64 = |row: &[u8]| {
        let floats: Vec<u8> = row.iter().flat_map(|number| f32::from(*number).to_le_bytes()).collect();
        Value::from(base64::engine::general_purpose::STANDARD.encode(floats))
    };
    assert_eq!(state.records, (0..).zip(numbers.chunks(2).map(base64)).collect());
    assert_eq!(state.split_at, Some(Value::from(vec![2500, 5000, 7500])));
    drop(state);
    let verify = format!("{import} --verify");
    let (printed, ended) = kyrodb(&server, &verify);
    ended.unwrap();
    assert_eq!(json(&printed)["compared"], 10_000);
    server.state.lock().unwrap().records.insert(7, "AAAAAAAAgD8=".into());
    assert!(matches!(kyrodb(&server, &verify).1, Err(Failure::Found { count: 1, .. })));
}

#[test]
fn verify_names_what_is_missing_and_what_differs() {
    let server = FakeServer::start(Fault::None);
    let (_dir, path) = file("keys.sosd", &sosd(&(0..3000).collect::<Vec<_>>()));
    let import = format!("import {} --value-bytes 8 -o json", path.display());
    kyrodb(&server, &import).1.unwrap();
    let (printed, ended) = kyrodb(&server, &format!("{import} --verify"));
    ended.unwrap();
    assert_eq!(json(&printed)["compared"], 3000);
    server.state.lock().unwrap().records.remove(&1500);
    server.state.lock().unwrap().records.insert(7, "changed!".into());
    let (printed, ended) = kyrodb(&server, &format!("{import} --verify"));
    let report = json(&printed);
    assert_eq!((&report["missing"], &report["different"]), (&1.into(), &1.into()));
    assert!(matches!(ended, Err(Failure::Found { count: 2, .. })));
}

#[test]
fn a_rejected_line_fails_the_import_after_the_rest_is_in() {
    let server = FakeServer::start(Fault::None);
    let (_dir, path) = file(
        "records.ndjson",
        b"{\"key\":1,\"value\":1}\n{\"key\":\"x\",\"value\":2}\n{\"key\":3,\"value\":null}\n",
    );
    let (printed, ended) = kyrodb(&server, &format!("import {} -o json --connections 1", path.display()));
    assert!(matches!(ended, Err(Failure::Found { count: 1, .. })));
    assert_eq!(json(&printed)["written"], 2);
    assert_eq!(server.state.lock().unwrap().records.keys().copied().collect::<Vec<_>>(), [1, 3]);
}

fn bench(server: &FakeServer, options: &str) -> (Value, Result<(), Failure>) {
    let (printed, ended) = kyrodb(
        server,
        &format!("bench kv --records 500 --operations 4000 --connections 8 -o json {options}"),
    );
    (json(&printed), ended)
}

#[test]
fn a_benchmark_ends_when_its_time_is_over() {
    let server = FakeServer::start(Fault::None);
    for pace in ["--pipeline 2", "--rate 2000"] {
        let command = "bench kv --records 50 --operations 100000000 --connections 8 -o json --seconds 1";
        let (printed, ended) = kyrodb(&server, &format!("{command} {pace}"));
        ended.unwrap();
        let report = json(&printed);
        assert_eq!(report["errors"], 0);
        let seconds = report["seconds"].as_f64().unwrap();
        assert!((1.0..3.0).contains(&seconds) && report["operations"].as_u64().unwrap() > 100, "{report}");
    }
}

#[test]
fn every_workload_runs_clean_against_a_right_server() {
    for workload in ["a", "b", "c", "d", "e", "f", "put", "get"] {
        let server = FakeServer::start(Fault::None);
        let (report, ended) = bench(&server, &format!("--workload {workload} --pipeline 4"));
        ended.unwrap_or_else(|failure| panic!("{workload}: {failure}"));
        assert_eq!((&report["operations"], &report["errors"]), (&4000.into(), &0.into()), "{workload}");
        assert!(
            report["latency_us"]["p50"].as_f64().unwrap() > 0.0
                && report["ops_per_s"].as_f64().unwrap() > 0.0
        );
        assert!(report["server_cpu_us_per_op"].is_number());
    }
}

#[test]
fn a_wrong_answer_fails_the_benchmark() {
    for (fault, workload) in
        [(Fault::LosesUpdates, "a"), (Fault::LosesUpdates, "f"), (Fault::SkipsInScans, "e")]
    {
        let server = FakeServer::start(fault);
        let (report, ended) = bench(&server, &format!("--workload {workload}"));
        assert!(report["errors"].as_u64().unwrap() > 0, "{fault:?}");
        assert!(matches!(ended, Err(Failure::Found { .. })), "{fault:?}");
    }
}

#[test]
fn the_open_loop_keeps_its_rate() {
    let server = FakeServer::start(Fault::None);
    let (report, ended) = bench(&server, "--workload c --rate 8000");
    ended.unwrap();
    assert_eq!(report["mode"], "open");
    // 4000 operations take half a second, however fast the server is.
    let seconds = report["seconds"].as_f64().unwrap();
    assert!((0.49..5.0).contains(&seconds), "{seconds}");
}
