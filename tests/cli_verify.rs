//! `verify` where nothing is lost: what is only there to be read again faster, or to be written over next.

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use program::{Server, code, flip, kyrodb, said};
use serde_json::{Value, json};

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";
const SLOT_BYTES: usize = 4096;

/// What was found, by the name of its file, and what is said of it.
fn verify(data: &Path) -> Vec<(String, u64, String)> {
    let output = kyrodb().args(["verify", "-o", "json", "--data-dir"]).arg(data).output().expect("it runs");
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list");
    assert_eq!(code(&output), i32::from(!rows.is_empty()), "{}", said(&output));
    let told = |row: &Value| {
        let file = Path::new(row["file"].as_str().expect("a path")).file_name().expect("a name").to_owned();
        let what = row["what"].as_str().expect("words").to_owned();
        (file.to_string_lossy().into_owned(), row["offset"].as_u64().unwrap_or(0), what)
    };
    rows.iter().map(told).collect()
}

fn starts(data: &Path) {
    Server::start(data).stop();
}

#[test]
fn a_damaged_file_of_an_index_is_named_and_the_next_start_makes_it_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path());
    let definition = json!({"embedding": {"dim": 4, "metric": "l2"}}).to_string();
    assert_eq!(server.ask("PUT /v1/collections/d", JSON, definition.as_bytes()).0, "201");
    let line =
        |id: usize| json!({"id": id.to_string(), "embedding": [id, id % 7, id % 11, 1]}).to_string() + "\n";
    let lines: String = (0..3000).map(line).collect();
    assert_eq!(server.ask("POST /v1/collections/d/bulk", NDJSON, lines.as_bytes()).0, "200");
    let until = Instant::now() + Duration::from_secs(120);
    let file = loop {
        if let Some(file) = index_file(dir.path()) {
            break file;
        }
        assert!(Instant::now() < until, "no file of an index is written");
        std::thread::sleep(Duration::from_millis(100));
    };
    server.stop();
    // A merge may have replaced it meanwhile.
    let file = index_file(dir.path()).unwrap_or(file);
    assert_eq!(verify(dir.path()), []);
    let whole = fs::read(&file).expect("readable");
    let name = file.file_name().expect("a name").to_string_lossy().into_owned();
    for offset in [50, 3 * SLOT_BYTES / 2, whole.len() / 2] {
        flip(&file, offset);
        let found = verify(dir.path());
        assert!(found.len() == 1 && found[0].0 == name, "{found:?}");
        assert!(found[0].2.contains("nothing is lost") && found[0].2.contains("next start"), "{found:?}");
        fs::write(&file, &whole).expect("put back");
    }
    fs::write(&file, &whole[..whole.len() - SLOT_BYTES]).expect("cut");
    assert_eq!(verify(dir.path()).len(), 1);
    starts(dir.path());
}

/// On the shard that keeps the indexes of the collection.
fn index_file(data: &Path) -> Option<PathBuf> {
    let dirs = ["shard-000", "shard-001"].map(|shard| data.join(shard).join("index"));
    let entries = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
    let mut files = entries.map(|entry| entry.expect("readable").path());
    files.find(|path| path.extension().is_some_and(|end| end == "index"))
}

#[test]
fn a_damaged_older_slot_of_the_superblock_is_named_and_the_next_start_mends_it() {
    let dir = tempfile::tempdir().expect("a directory");
    starts(dir.path());
    assert_eq!(verify(dir.path()), []);
    let superblock = dir.path().join("shard-000/superblock");
    for slot in 0..2 {
        flip(&superblock, slot * SLOT_BYTES + 30);
        let found = verify(dir.path());
        assert!(found.len() == 1 && found[0].0 == "superblock", "{found:?}");
        assert_eq!(found[0].1, (slot * SLOT_BYTES) as u64, "{found:?}");
        assert!(found[0].2.contains("the next start writes both"), "{found:?}");
        starts(dir.path());
        assert_eq!(verify(dir.path()), [], "mended");
    }
}
