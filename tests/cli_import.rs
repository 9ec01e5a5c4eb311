//! Files of documents and of vectors into a real server, and every way in which such a file can be wrong.

mod program;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use program::{Server, code, kyrodb, said, text};
use serde_json::{Value, json};

const JSON: &str = "application/json";

impl Server {
    fn create(&self, name: &str, definition: &Value) {
        let answer =
            self.ask(&format!("PUT /v1/collections/{name}"), JSON, definition.to_string().as_bytes());
        assert_eq!(answer.0, "201", "{}", text(&answer.2));
    }

    fn json(&self, line: &str, body: &Value) -> Value {
        let answer = self.ask(line, JSON, body.to_string().as_bytes());
        assert_eq!(answer.0, "200", "{line}: {}", text(&answer.2));
        serde_json::from_slice(&answer.2).expect("JSON")
    }

    fn document(&self, collection: &str, id: &str) -> Value {
        self.json(&format!("GET /v1/collections/{collection}/docs/{id}"), &json!({}))
    }

    fn count(&self, collection: &str, filter: &Value) -> u64 {
        let told =
            self.json(&format!("POST /v1/collections/{collection}/count"), &json!({ "filter": filter }));
        told["count"].as_u64().expect("a count")
    }

    /// Ids of what is nearest.
    fn nearest(&self, collection: &str, body: &Value) -> Vec<Value> {
        let told = self.json(&format!("POST /v1/collections/{collection}/search"), body);
        told["hits"].as_array().expect("hits").iter().map(|hit| hit["id"].clone()).collect()
    }

    fn import(&self, file: &Path, options: &str) -> Output {
        let file = file.to_str().expect("a path of letters");
        let words = ["import", file, "-o", "json"];
        self.run(&words.into_iter().chain(options.split_whitespace()).collect::<Vec<_>>())
    }

    fn assert_imports(&self, file: &Path, options: &str, count: u64) {
        let output = self.import(file, options);
        assert_eq!(code(&output), 0, "{}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!((&report["written"], &report["rejected"]), (&json!(count), &json!(0)));
    }
}

fn documents() -> Value {
    let fields = json!({ "year": "i64", "tags": "keyword[]" });
    json!({ "embedding": { "dim": 2, "metric": "l2" }, "fields": fields })
}

fn line(id: u64) -> Value {
    let metadata = json!({ "year": 1900 + id % 100, "tags": [format!("t{}", id % 7)] });
    json!({ "id": format!("d{id}"), "text": format!("text of {id}"), "embedding": [id, 1], "metadata": metadata })
}

fn lines(ids: impl Iterator<Item = u64>) -> String {
    ids.map(|id| line(id).to_string() + "\n").collect()
}

/// `rows` of `row` numbers that count up from 0.
fn counted(rows: usize, row: usize) -> Vec<f32> {
    (0..rows * row).map(|number| number as f32).collect()
}

fn npy(descr: &str, order: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\0", &length[..], header.as_bytes(), numbers].concat()
}

fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn fvecs(numbers: &[f32], row: usize) -> Vec<u8> {
    let prefix = (row as i32).to_le_bytes();
    numbers.chunks(row).flat_map(|row| [&prefix[..], &bytes_of(row)].concat()).collect()
}

#[test]
fn lines_of_documents_are_loaded_and_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    let file = dir.path().join("documents.jsonl");
    fs::write(&file, lines(0..3000)).expect("written");
    server.create("d", &documents());
    server.assert_imports(&file, "-c d", 3000);
    assert_eq!(server.document("d", "d77"), line(77));
    let body = json!({ "embedding": [200, 1], "filter": { "tags": "t3" }, "limit": 2, "exact": true });
    assert_eq!(server.nearest("d", &body), ["d199", "d206"]);

    // What was replaced is there once, and a line that deletes does so, twice as well.
    let changes = lines(10..20) + "{\"op\":\"delete\",\"id\":\"d0\"}\n\n{\"op\":\"delete\",\"id\":\"d0\"}\n";
    fs::write(&file, changes).expect("written");
    server.assert_imports(&file, "-c d", 12);
    assert_eq!(server.count("d", &json!({})), 2999);

    let mut import = kyrodb()
        .args(["import", "-", "-c", "d", "--url", &format!("http://{}", server.address)])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    import.stdin.take().expect("piped").write_all(lines(5000..5100).as_bytes()).expect("written");
    assert!(import.wait().expect("it ends").success());
    assert_eq!(server.count("d", &json!({})), 3099);
}

#[test]
fn documents_come_back_from_an_export() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    let file = dir.path().join("documents.jsonl");
    let lives_on =
        r#"{"id":"x","embedding":[0.1,1e-3],"metadata":{"n":{"a":[1.50,null]}},"expires_ms":99999999999999}"#;
    fs::write(&file, lines(0..3000) + lives_on + "\n").expect("written");
    let halves = json!({ "embedding": { "dim": 2, "metric": "l2", "quantization": "f16" } });
    for (name, definition) in [("a", &documents()), ("b", &documents()), ("halves", &halves)] {
        server.create(name, definition);
    }
    let export = |collection: &str| {
        let output = server.run(&["export", "-c", collection]);
        assert_eq!(code(&output), 0, "{}", said(&output));
        output.stdout
    };
    let verify = |file: &Path, collection: &str| {
        let output = server.import(file, &format!("-c {collection} --verify"));
        (code(&output), serde_json::from_slice::<Value>(&output.stdout).expect("a report"))
    };
    for collection in ["a", "halves"] {
        server.assert_imports(&file, &format!("-c {collection}"), 3001);
        assert_eq!(verify(&file, collection).1["compared"], 3001);
    }
    let exported = dir.path().join("exported.jsonl");
    fs::write(&exported, export("a")).expect("written");
    server.assert_imports(&exported, "-c b", 3001);
    assert_eq!(text(&export("b")), text(&export("a")));
    assert!(text(&export("b")).contains("\"expires_ms\":99999999999999}"));
    assert_eq!(verify(&file, "b").0, 0);

    fs::write(&exported, lines(7..8).replace("text of 7", "another") + &line(5000).to_string())
        .expect("written");
    let (exit, report) = verify(&exported, "b");
    assert_eq!((exit, &report["missing"], &report["different"]), (1, &json!(1), &json!(1)));
}

#[test]
fn lines_without_ids_are_the_same_documents_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    let file = dir.path().join("notes.jsonl");
    fs::write(&file, "{\"text\":\"a\"}\n{\"id\":null,\"text\":\"b\"}\n{\"metadata\":{\"n\":1}}\n")
        .expect("written");
    for _ in 0..2 {
        server.assert_imports(&file, "-c notes --create", 3);
    }
    assert_eq!(server.count("notes", &json!({})), 3);
    assert_eq!(server.count("notes", &json!({ "n": 1 })), 1);
}

#[test]
fn rows_of_vectors_become_documents() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    let numbers = counted(600, 3);
    let halves: Vec<u8> = (0..6).flat_map(|n| (n as u16 * 0x400 + 0x3c00).to_le_bytes()).collect();
    let small: Vec<u8> = (0..60).collect();
    for (name, bytes, rows) in [
        ("floats.npy", npy("<f4", "False", "(600, 3)", &bytes_of(&numbers)), 600),
        ("rows.fvecs", fvecs(&numbers, 3), 600),
        ("halves.npy", npy("<f2", "False", "(2, 3)", &halves), 2),
        ("bytes.npy", npy("|u1", "False", "(20, 3)", &small), 20),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).expect("written");
        let collection = format!("{name}-new");
        server.assert_imports(&file, &format!("-c {collection} --create --metric l2"), rows);
        assert_eq!(server.count(&collection, &json!({})), rows);
        let row = match name {
            "halves.npy" => json!([8, 16, 32]),
            _ => json!([3, 4, 5]),
        };
        assert_eq!(server.document(&collection, "1"), json!({ "id": 1, "embedding": row, "metadata": {} }));
        assert_eq!(server.nearest(&collection, &json!({ "embedding": row, "limit": 1 })), [1]);
        server.assert_imports(&file, &format!("-c {collection} --create --metric l2"), rows);
    }
    server.create("named", &json!({ "embedding": { "dim": 3, "metric": "cosine" } }));
    server.assert_imports(&dir.path().join("floats.npy"), "-c named --limit 7", 7);
    assert_eq!(server.document("named", "6")["embedding"], json!([18, 19, 20]));
    assert_eq!(server.count("named", &json!({})), 7);
}

#[test]
fn a_file_that_is_wrong_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    server.create("d", &documents());
    server.create("plain", &json!({ "fields": {} }));
    server.create("numbers", &json!({ "key_type": "u64", "fields": {} }));
    let two = bytes_of(&[1.0, 2.0]);
    for (name, bytes, options, exit, wanted) in [
        (
            "three.npy",
            npy("<f4", "False", "(1, 3)", &[0; 12]),
            "-c d",
            1,
            "have 3 numbers, and the embeddings of the collection 2",
        ),
        ("three.fvecs", fvecs(&[1.0, 2.0, 3.0], 3), "-c d", 1, "have 3 numbers"),
        ("fortran.npy", npy("<f4", "True", "(1, 2)", &two), "-c d", 1, "Fortran's order"),
        ("double.npy", npy("<f8", "False", "(1, 2)", &[0; 16]), "-c d", 1, "type '<f8'"),
        ("big.npy", npy(">f4", "False", "(1, 2)", &two), "-c d", 1, "type '>f4'"),
        ("flat.npy", npy("<f4", "False", "(2,)", &two), "-c d", 1, "two dimensions"),
        ("short.npy", npy("<f4", "False", "(2, 2)", &two), "-c d", 1, "cut short"),
        ("short.fvecs", fvecs(&[1.0, 2.0, 3.0, 4.0], 2)[..20].to_vec(), "-c d", 1, "cut short in row 1"),
        ("none.npy", npy("<f4", "False", "(0, 2)", &[]), "-c d", 1, "there is no vector in it"),
        ("empty.npy", vec![], "-c d", 1, "the file is empty"),
        ("empty.fvecs", vec![], "-c d", 1, "the file is empty"),
        ("empty.jsonl", vec![], "-c d", 1, "the file is empty"),
        ("empty.jsonl", vec![], "-c new --create", 1, "the file is empty"),
        ("text.npy", b"{\"id\":\"a\"}".to_vec(), "-c d", 1, "no .npy file"),
        ("ids.ivecs", vec![1, 0, 0, 0, 7, 0, 0, 0], "-c d", 1, "these are ids"),
        ("packed.jsonl.zst", b"\x28\xb5\x2f\xfd".to_vec(), "-c d", 1, "compressed"),
        ("rows.npy", npy("<f4", "False", "(1, 2)", &two), "-c plain", 1, "have no embeddings"),
        ("rows.npy", npy("<f4", "False", "(1, 2)", &two), "-c default", 1, "and the collection values"),
        ("rows.npy", npy("<f4", "False", "(1, 2)", &two), "-c new", 3, "no collection `new`"),
        ("rows.npy", npy("<f4", "False", "(1, 2)", &two), "-c new --create", 2, "--metric"),
        ("rows.npy", npy("<f4", "False", "(1, 2)", &two), "-c d --metric l2", 2, "--create"),
        (
            "rows.npy",
            npy("<f4", "False", "(1, 2)", &two),
            "-c d --create --metric dot",
            4,
            "the collection `d` is there and compares by l2, not by dot",
        ),
        (
            "rows.npy",
            npy("<f4", "False", "(1, 2)", &two),
            "-c d --verify",
            1,
            "1 records are missing or differ",
        ),
        ("keys.u64", [1_u64, 7].map(u64::to_le_bytes).concat(), "-c d", 1, "the file has keys"),
        (
            "values.jsonl",
            b"{\"key\":\"a\",\"value\":1}\n".to_vec(),
            "-c d",
            1,
            "values.jsonl:1: the collection has documents",
        ),
        (
            "documents.jsonl",
            b"{\"id\":\"a\",\"text\":\"x\"}\n".to_vec(),
            "-c default",
            1,
            "documents go into a collection",
        ),
        (
            "no-ids.jsonl",
            b"{\"text\":\"x\"}\n".to_vec(),
            "-c numbers",
            1,
            "no-ids.jsonl:1: the line has no \"id\"",
        ),
        ("no-json.jsonl", b"{\"id\":\"a\"\n".to_vec(), "-c d", 1, "no-json.jsonl:1: not a line"),
        ("latin.jsonl", b"{\"id\":\"\xe9\"}\n".to_vec(), "-c d", 1, "latin.jsonl:1: not UTF-8"),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).expect("written");
        let output = server.import(&file, options);
        assert!(
            code(&output) == exit && text(&output.stderr).contains(wanted),
            "{name} {options}: {}",
            said(&output)
        );
    }
    let output = server.import(dir.path(), "-c d");
    assert!(code(&output) == 1 && said(&output).contains("this is a directory"), "{}", said(&output));
    let output = server.import(&dir.path().join("nowhere.npy"), "-c d");
    assert!(code(&output) == 1 && said(&output).contains("No such file"), "{}", said(&output));
    for collection in ["d", "plain", "numbers"] {
        assert_eq!(server.count(collection, &json!({})), 0, "{collection}");
    }
    assert_eq!(server.ask("GET /v1/collections/new", "", b"").0, "404");
}

#[test]
fn a_line_that_is_wrong_is_told_with_its_number_and_is_no_matter_behind_the_limit() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    let file = dir.path().join("values.ndjson");
    let line = |n: u64| match n {
        1500 => "not json\n".to_owned(),
        n => format!("{{\"key\":{n},\"value\":{n}}}\n"),
    };
    fs::write(&file, (1..=5000).map(line).collect::<String>()).expect("written");
    let output = server.import(&file, "-c v --create");
    let told = text(&output.stderr);
    assert_eq!(code(&output), 1, "{}", said(&output));
    assert!(told.contains("values.ndjson:1500: not a line"), "{told}");
    assert!(told.contains("mend the file") && !told.contains("to go on"), "{told}");
    server.assert_imports(&file, "-c few --create --limit 10", 10);
}

/// The server is the judge of single documents; the rest of the file goes in.
#[test]
fn what_single_documents_have_wrong_is_told_line_by_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    server
        .create("d", &json!({ "embedding": { "dim": 2, "metric": "cosine" }, "fields": { "year": "i64" } }));
    let mut numbers = counted(10, 2);
    (numbers[4], numbers[7], numbers[1]) = (f32::NAN, f32::INFINITY, 0.0);
    let file = dir.path().join("odd.fvecs");
    fs::write(&file, fvecs(&numbers, 2)).expect("written");
    let output = server.import(&file, "-c d");
    let told = text(&output.stderr);
    assert_eq!(code(&output), 1, "{}", said(&output));
    for wanted in [
        "3 lines were rejected",
        "{\"id\":\"0\"",
        "{\"id\":\"2\"",
        "{\"id\":\"3\"",
        "not a finite number",
        "zero vector",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert_eq!(server.count("d", &json!({})), 7);
    let file = dir.path().join("odd.jsonl");
    let odd = "{\"id\":\"a\",\"metadata\":{\"year\":\"old\"}}\n{\"id\":\"b\",\"_id\":1}\n{\"id\":\"c\",\"embedding\":[1]}\n{\"id\":\"e\"}\n";
    fs::write(&file, odd).expect("written");
    let output = server.import(&file, "-c d");
    let told = text(&output.stderr);
    assert_eq!(code(&output), 1, "{}", said(&output));
    for wanted in [
        "3 lines were rejected",
        "/metadata/year: is not an integer",
        "/_id: is not known",
        "/embedding: has 1 numbers",
    ] {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    assert_eq!(server.count("d", &json!({})), 8);
}

/// Told once for all of its connections, and not again before it goes on.
#[test]
fn an_import_says_that_it_waits_for_the_server_and_that_it_goes_on() {
    const RECORDS: usize = 2_000;
    let dir = tempfile::tempdir().expect("a directory");
    let (data, errors) = (dir.path().join("data"), dir.path().join("errors"));
    let server = Server::start(&data);
    let address = server.address.clone();
    let mut import = kyrodb()
        .args(["import", "-", "-o", "json", "--url", &format!("http://{address}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(&errors).expect("a file"))
        .spawn()
        .expect("it runs");
    let mut input = import.stdin.take().expect("piped");
    let mut feed = |keys: std::ops::Range<usize>| {
        let lines: String =
            keys.map(|key| format!("{{\"key\":{key},\"value\":\"{key:01000}\"}}\n")).collect();
        input.write_all(lines.as_bytes()).expect("read");
    };
    let said = || fs::read_to_string(&errors).expect("readable");
    feed(0..RECORDS / 2);
    let until = Instant::now() + Duration::from_secs(40);
    while server.ask("GET /v1/kv/default/1", "", b"").0 != "200" {
        assert!(Instant::now() < until, "nothing arrives: {}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    server.stop();
    feed(RECORDS / 2..RECORDS);
    drop(input);
    while !said().contains("waiting for the server") {
        assert!(Instant::now() < until, "{}", said());
        std::thread::sleep(Duration::from_millis(20));
    }
    let _server = Server::start_at(&address, &data, &[]);
    let output = import.wait_with_output().expect("it ends");
    assert_eq!(code(&output), 0, "{}", said());
    assert!(text(&output.stdout).contains(&format!("\"written\":{RECORDS}")), "{}", text(&output.stdout));
    for told in ["waiting for the server", "goes on"] {
        assert_eq!(said().matches(told).count(), 1, "{}", said());
    }
}
