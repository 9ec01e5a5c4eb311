//! The real program: commands against a real server and on the directory that it leaves.

mod program;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use program::{Server, code, file_like, file_like_dir, flip, flip_first, kyrodb, said, text};
use serde_json::Value;

/// Value and type of records whose JSON is not their bytes.
fn odd_records() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("application/json", b"\"abc\"".to_vec()),
        ("application/json", b"{\n  \"n\": 123456789012345678901234567890,\r\n  \"e\": 1e400\n}\n".to_vec()),
        ("application/json", br#"{"b":1,"a":2,"a":3}"#.to_vec()),
        ("application/json", b"no json".to_vec()),
        ("application/json", b"null".to_vec()),
        ("text/plain; charset=utf-8", "sp\u{e9}cial \"\\\n".as_bytes().to_vec()),
        ("text/html", b"<a>".to_vec()),
        ("text/plain", vec![1; 5000]),
        ("image/png", (0..=255).collect()),
        ("application/x-www-form-urlencoded", b"hello".to_vec()),
        ("application/octet-stream", Vec::new()),
    ]
}

#[test]
fn an_export_makes_the_same_records_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (Server::start(&dir.path().join("from")), Server::start(&dir.path().join("to")));
    let records = odd_records();
    for (key, (content_type, value)) in records.iter().enumerate() {
        let ttl = if key == 6 { "?ttl=1h" } else { "" };
        assert_eq!(from.ask(&format!("PUT /v1/kv/default/{key}{ttl}"), content_type, value).0, "201");
    }
    let exported = from.run(&["export"]);
    assert_eq!(code(&exported), 0, "{}", said(&exported));
    let file = dir.path().join("all.ndjson");
    fs::write(&file, &exported.stdout).expect("written");
    let file = file.to_str().expect("a path of letters");

    let imported = to.run(&["import", file]);
    assert_eq!(code(&imported), 0, "{}", said(&imported));
    for (key, (content_type, value)) in records.into_iter().enumerate() {
        let found = to.ask(&format!("GET /v1/kv/default/{key}"), "", b"");
        assert_eq!(found, ("200".to_owned(), content_type.to_owned(), value), "key {key}");
    }
    let without_seq = |lines: &[u8]| -> Vec<Value> {
        let line = |line: &str| {
            let mut record: serde_json::Map<String, Value> =
                serde_json::from_str(&line.replace("e400", "")).expect("a JSON object");
            record.remove("seq").expect("a version");
            Value::from(record)
        };
        text(lines).lines().map(line).collect()
    };
    let again = without_seq(&to.run(&["export"]).stdout);
    assert_eq!(again, without_seq(&exported.stdout));
    assert!(again[6]["expires_ms"].is_u64(), "the moment of expiry goes with it: {}", again[6]);

    let compared = to.run(&["import", file, "--verify"]);
    assert_eq!(code(&compared), 0, "{}", said(&compared));
    // Another type is another record, and so is JSON with other white space.
    to.ask("PUT /v1/kv/default/6", "text/plain", b"<a>");
    to.ask("PUT /v1/kv/default/2", "application/json", br#"{"b":1, "a":2,"a":3}"#);
    let compared = to.run(&["import", file, "--verify", "-o", "json"]);
    let report: Value = serde_json::from_slice(&compared.stdout).expect("a report");
    assert_eq!((code(&compared), &report["different"]), (1, &Value::from(2)), "{}", said(&compared));
}

#[test]
fn scan_prints_what_the_server_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    let value = br#"{"n":123456789012345678901234567890,"e":1e400,"b":1,"a":2,"a":3}"#;
    server.ask("PUT /v1/kv/default/1", "application/json", value);
    server.ask("PUT /v1/kv/default/2", "application/json", b"null");
    server.ask("PUT /v1/kv/default/3", "text/plain", b"a\nb");
    server.ask("PUT /v1/kv/default/4", "image/png", b"x");
    let value = text(value);
    for (format, wanted) in [
        ("ndjson", format!("{{\"key\":1,\"value\":{value},\"seq\":1}}\n")),
        ("json", format!("[{{\"key\":1,\"value\":{value},\"seq\":1}}]\n")),
        ("table", format!("KEY  SEQ  VALUE\n1    1    {value}\n")),
    ] {
        let scanned = server.run(&["scan", "--end", "2", "-o", format]);
        assert_eq!(text(&scanned.stdout), wanted, "{}", said(&scanned));
    }
    let rest = text(&server.run(&["scan", "--start", "2"]).stdout);
    let values: Vec<&str> = rest.lines().map(|line| line.split_whitespace().last().unwrap_or("")).collect();
    assert_eq!(values, ["VALUE", "null", "a\\nb", "base64:eA=="]);

    let exported = server.run(&["export", "-o", "json"]);
    assert!(text(&exported.stdout).starts_with("[{\"key\":1,"), "{}", said(&exported));
    let empty = server.run(&["scan", "--start", "9", "-o", "json"]);
    assert_eq!(text(&empty.stdout), "[]\n");
}

#[test]
fn wrong_use_ends_with_2() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    for line in [
        "put 1 a --ttl 5",
        "put 1 a --durability bar",
        "put one a",
        "get one",
        "scan --start x",
        "import keys.u64 --value-bytes 99999999999",
        "import keys.u64 --value-bytes 16777217",
        "import keys.u64 --durability never",
    ] {
        let output = server.run(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(code(&output), 2, "{line}: {}", said(&output));
    }
    let data = dir.path().join("other");
    let output = kyrodb().args(["serve", "--log-segment-bytes", "1234567", "--data-dir"]).arg(&data).output();
    let output = output.expect("it runs");
    assert!(code(&output) == 2 && text(&output.stderr).contains("a multiple of 4KiB"), "{}", said(&output));
    assert!(!data.exists());
}

fn verify(dir: &Path) -> (i32, String) {
    let output = kyrodb().args(["verify", "-o", "ndjson", "--data-dir"]).arg(dir).output().expect("it runs");
    (code(&output), said(&output))
}

/// A data directory of two shards with a few records, stopped in order.
fn stopped() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("d");
    let server = Server::start(&data);
    (0..20).for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", b"value"));
    assert_eq!(server.ask("POST /v1/compact?wait=true", "", b"").0, "200");
    (20..40).for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", b"value"));
    server.stop();
    (dir, data)
}

/// One that was made anew would hide that it was gone.
#[test]
fn a_log_that_is_gone_is_not_made_anew() {
    let (_dir, data) = stopped();
    let log = data.join("shard-001").join("log");
    fs::remove_dir_all(&log).expect("removed");
    for _ in 0..2 {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--shards", "2", "--data-dir"];
        let output = kyrodb().args(serve).arg(&data).output().expect("it runs");
        assert!(code(&output) != 0 && said(&output).contains("the log of the shard is gone"));
        assert!(!log.exists() && verify(&data).0 == 1);
    }
}

#[test]
fn a_missing_shard_is_found() {
    for emptied in [false, true] {
        for shard in ["shard-000", "shard-001"] {
            let (_dir, data) = stopped();
            assert_eq!(verify(&data).0, 0, "{}", verify(&data).1);
            fs::remove_dir_all(data.join(shard)).expect("it was there");
            if emptied {
                fs::create_dir(data.join(shard)).expect("a directory");
            }
            let (code, said) = verify(&data);
            let wanted = if emptied { "the directory was emptied" } else { "there are 2 shards" };
            assert!(code == 1 && said.contains(shard) && said.contains(wanted), "{said}");
        }
    }
}

#[test]
fn damage_of_the_manifest_has_its_place_and_hides_nothing_behind_it() {
    for (name, offsets) in [("manifest-", &[100][..]), ("superblock", &[30, 4096 + 30])] {
        let (_dir, data) = stopped();
        let shard = data.join("shard-000");
        let damaged = file_like(&shard, name);
        offsets.iter().for_each(|offset| flip(&damaged, *offset));
        let said = verify(&data).1;
        let finding = said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{said}"));
        assert!(finding.contains("\"offset\":0"), "{finding}");
        assert!(said.contains("1 damaged places"), "what is whole stays unnamed: {said}");

        let run = file_like(&shard.join("runs"), ".run");
        flip(&run, 5000);
        let log = file_like(&shard.join("log"), ".wal");
        flip(&log, 4096 + 100);
        let (code, said) = verify(&data);
        let names = |path: &Path| said.contains(&*path.file_name().expect("a name").to_string_lossy());
        assert!(code == 1 && names(&damaged) && names(&run) && names(&log), "{said}");
    }
}

#[test]
fn a_damaged_file_of_keys_is_found() {
    let (_dir, data) = stopped();
    let made =
        kyrodb().args(["key", "create", "--name", "x", "--role", "read", "--data-dir"]).arg(&data).output();
    assert_eq!(code(&made.expect("it runs")), 0);
    assert_eq!(verify(&data).0, 0, "{}", verify(&data).1);
    fs::write(data.join("keys.json"), "{").expect("written");
    let (code, said) = verify(&data);
    assert!(code == 1 && said.contains("keys.json") && said.contains("1 damaged places"), "{said}");
}

#[test]
fn a_directory_without_data_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("notes.txt"), "mine").expect("written");
    for command in [&["verify"][..], &["wal", "dump"]] {
        for (path, wanted) in
            [(dir.path(), "no KyroDB data here"), (&dir.path().join("nope"), "no such directory")]
        {
            let output = kyrodb().args(command).arg("--data-dir").arg(path).output().expect("it runs");
            assert!(code(&output) == 2 && said(&output).contains(wanted), "{}", said(&output));
        }
    }
    for command in [&["verify"][..], &["wal", "dump"], &["repair"]] {
        let output = kyrodb().args(command).env("KYRODB_DATA_DIR", dir.path()).output().expect("it runs");
        assert!(code(&output) == 2 && said(&output).contains("no KyroDB data here"), "{}", said(&output));
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "nothing was created");
}

fn value_of(server: &Server, key: u64) -> String {
    text(&server.ask(&format!("GET /v1/kv/default/{key}"), "", b"").2)
}

fn restore(from: &Path, to: &Path) -> Output {
    kyrodb().arg("restore").arg(from).arg("--data-dir").arg(to).output().expect("it runs")
}

#[test]
fn a_snapshot_is_restored_while_the_server_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, copy) = (dir.path().join("d"), dir.path().join("copy"));
    let server = Server::start(&data);
    (0..20).for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", b"sealed"));
    assert_eq!(server.ask("POST /v1/compact?wait=true", "", b"").0, "200");
    (20..40).for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", b"logged"));
    let taken: Value =
        serde_json::from_slice(&server.ask("POST /v1/snapshot?wait=true", "", b"").2).expect("JSON");
    (10..60).for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", b"later"));
    let snapshot = data.join("snapshots").join(taken["id"].as_str().expect("an id"));
    assert_eq!(verify(&snapshot).0, 0, "{}", verify(&snapshot).1);

    let restored = restore(&snapshot, &copy);
    assert!(code(&restored) == 0 && said(&restored).contains("--shards 2"), "{}", said(&restored));
    assert_eq!(verify(&copy).0, 0, "{}", verify(&copy).1);
    for _ in 0..2 {
        let other = Server::start(&copy);
        for (key, wanted) in [(0, "sealed"), (10, "sealed"), (20, "logged"), (39, "logged")] {
            assert_eq!(value_of(&other, key), wanted, "key {key}");
        }
        assert_eq!(other.ask("GET /v1/kv/default/40", "", b"").0, "404", "written after the snapshot");
        other.stop();
    }
    assert_eq!(value_of(&server, 10), "later");

    // A name alone, in the working directory.
    let mut command = kyrodb();
    command.current_dir(dir.path()).arg("restore").arg(&snapshot).args(["--data-dir", "bare"]);
    let restored = command.output().expect("it runs");
    assert!(code(&restored) == 0 && verify(&dir.path().join("bare")).0 == 0, "{}", said(&restored));
    let again = restore(&snapshot, &copy);
    assert!(code(&again) == 4 && said(&again).contains("is not empty"), "{}", said(&again));
    // One that was killed before it began: the claim, and the mark not yet under its name.
    let begun = dir.path().join("begun");
    fs::create_dir(&begun).expect("made");
    ["LOCK", "RESTORING.tmp"].iter().for_each(|name| fs::write(begun.join(name), "").expect("written"));
    let restored = restore(&snapshot, &begun);
    assert!(code(&restored) == 0 && verify(&begun).0 == 0, "{}", said(&restored));
    let again = restore(&snapshot, &begun);
    assert!(code(&again) == 4 && said(&again).contains("is not empty"), "{}", said(&again));
    let none = restore(&data, &dir.path().join("new"));
    assert!(code(&none) == 2 && said(&none).contains("no snapshot here"), "{}", said(&none));
    // A copy of it, so that the server's files stay whole.
    let damaged = dir.path().join("damaged");
    assert!(Command::new("cp").arg("-r").arg(&snapshot).arg(&damaged).status().expect("cp runs").success());
    flip(&file_like(&damaged.join("shard-000").join("runs"), ".run"), 5000);
    let refused = restore(&damaged, &dir.path().join("new"));
    assert!(code(&refused) == 1 && said(&refused).contains("1 damaged places"), "{}", said(&refused));
    assert!(!dir.path().join("new").exists());
}

#[test]
fn a_backup_copies_what_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, backups) = (dir.path().join("d"), dir.path().join("backups"));
    let server = Server::start(&data);
    let back_up = || {
        let paths = [&backups, &data].map(|path| path.to_str().expect("a path of letters"));
        let output = server.run(&["backup", "-o", "json", "--to", paths[0], "--data-dir", paths[1]]);
        assert_eq!(code(&output), 0, "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("a report")
    };
    (0..200).for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", b"one"));
    assert_eq!(server.ask("POST /v1/compact?wait=true", "", b"").0, "200");
    let first = back_up();
    assert_eq!((&first["records"], &first["linked_files"]), (&Value::from(200), &Value::from(0)));
    (0..10).for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", b"two"));
    // The second of an id: the order of the backups is that of their names.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let second = back_up();
    assert!(second["linked_files"].as_u64() > Some(0), "runs did not change: {second}");
    // Two that were killed: before the snapshot had a name here, and before the server was started anew.
    let begun = server.ask("POST /v1/snapshot", "", b"").2;
    let begun: Value = serde_json::from_slice(&begun).expect("JSON");
    for operation in [begun["operation"].as_str().expect("an id"), "0123456789abcdef"] {
        fs::write(backups.join("UNDER_WAY"), operation).expect("written");
        back_up();
        assert!(!backups.join("UNDER_WAY").exists());
    }
    assert_eq!(text(&server.ask("GET /v1/snapshots", "", b"").2), "{\"snapshots\":[]}");
    server.stop();

    for (report, wanted) in [(first, "one"), (second, "two")] {
        let to = dir.path().join(wanted);
        let from = backups.join(report["id"].as_str().expect("an id"));
        let restored = restore(&from, &to);
        assert_eq!(code(&restored), 0, "{}", said(&restored));
        let other = Server::start(&to);
        assert_eq!((value_of(&other, 5), value_of(&other, 199)), (wanted.to_owned(), "one".to_owned()));
        other.stop();
    }
}

#[test]
fn an_import_creates_what_it_is_told_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    let file = dir.path().join("people.ndjson");
    fs::write(&file, "{\"key\":\"ada\",\"value\":1815}\n{\"key\":\"alan\",\"value\":1912}\n")
        .expect("written");
    let file = file.to_str().expect("a path of letters");
    let refused = server.run(&["import", file, "-c", "people"]);
    assert!(code(&refused) == 3 && said(&refused).contains("`--create` makes it"), "{}", said(&refused));
    for _ in 0..2 {
        let imported = server.run(&["import", file, "-c", "people", "--create"]);
        assert_eq!(code(&imported), 0, "{}", said(&imported));
    }
    assert_eq!(text(&server.run(&["get", "ada", "-c", "people"]).stdout), "1815");
    let piped = server.run(&["import", "-", "-c", "other", "--create"]);
    assert_eq!(code(&piped), 2, "{}", said(&piped));
}

#[test]
fn an_import_reads_standard_input() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    let mut import = kyrodb()
        .args(["import", "-"])
        .env("KYRODB_URL", format!("http://{}", server.address))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let lines = b"{\"key\":1,\"value\":\"a\"}\n{\"key\":2,\"value\":\"b\"}\n";
    import.stdin.take().expect("piped").write_all(lines).expect("written");
    assert!(import.wait().expect("it ends").success());
    assert_eq!(text(&server.run(&["get", "2"]).stdout), "b");
}

#[test]
fn a_key_looks_the_same_in_every_command() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&dir.path().join("d"));
    for line in ["put 7 seven", "get 7", "scan", "delete 7"] {
        let mut words: Vec<&str> = line.split(' ').collect();
        words.extend(["-o", "ndjson"]);
        let printed = text(&server.run(&words).stdout);
        let record: Value = serde_json::from_str(&printed).expect("one object");
        assert_eq!(record["key"], 7, "{line}");
    }
}

#[test]
fn a_refused_start_drains_nothing() {
    let (_dir, data) = stopped();
    let output = kyrodb()
        .args(["serve", "--listen", "127.0.0.1:0", "--shards", "3", "--data-dir"])
        .arg(&data)
        .env("RUST_LOG", "info")
        .output()
        .expect("it runs");
    assert!(code(&output) == 2 && said(&output).contains("--shards 2"), "{}", said(&output));
    assert!(!said(&output).contains("draining"), "{}", said(&output));
    assert!(!data.join("shard-002").exists(), "a start that is refused changes nothing");
    assert_eq!(verify(&data).0, 0, "{}", verify(&data).1);
}

/// An earlier version left it behind.
#[test]
fn what_a_start_with_other_shards_has_left_is_not_made_a_shard() {
    let (_dir, data) = stopped();
    let left = data.join("shard-002");
    ["log", "runs"].iter().for_each(|name| fs::create_dir_all(left.join(name)).expect("made"));
    flip(&file_like(&data.join("shard-000").join("runs"), ".run"), 4096 + 60);
    let (code, told) = repair(&data, &["--apply"]);
    assert!(code == 1 && told.contains("aside") && told.contains("remove it"), "{told}");
    assert_eq!(fs::read_dir(&left).expect("a directory").count(), 2, "nothing is made in it");
    fs::remove_dir_all(&left).expect("removed");
    assert_eq!(verify(&data).0, 0, "{}", verify(&data).1);
}

#[test]
fn a_wrong_filter_of_the_log_is_told() {
    let file = tempfile::NamedTempFile::new().expect("a file, which is no directory");
    for (filter, is_wrong) in [(Some("kyrodb=dbg"), true), (Some("kyrodb=debug"), false), (None, false)] {
        let mut command = kyrodb();
        command.args(["serve", "--data-dir"]).arg(file.path()).env_remove("RUST_LOG");
        command.envs(filter.map(|filter| ("RUST_LOG", filter)));
        let output = command.output().expect("it runs");
        let told = text(&output.stderr);
        assert_eq!(told.contains("RUST_LOG is ignored, `info` taken"), is_wrong, "{filter:?}: {told}");
    }
}

fn repair(dir: &Path, flags: &[&str]) -> (i32, String) {
    let output = kyrodb().arg("repair").args(flags).arg(dir).output().expect("it runs");
    (code(&output), text(&output.stdout) + &said(&output))
}

#[test]
fn a_repair_says_first_what_it_would_do_and_keeps_what_it_replaces() {
    let (_dir, data) = stopped();
    let (code, told) = repair(&data, &[]);
    assert!(code == 0 && told.contains("nothing is damaged"), "{told}");
    let runs = data.join("shard-000").join("runs");
    let run = file_like(&runs, ".run");
    flip(&run, 4096 + 60);
    let before = fs::read(&run).expect("readable");
    let (code, told) = repair(&data, &[]);
    assert!(
        code == 1 && told.contains("nothing was changed") && told.contains("20 entries in 1 ranges"),
        "{told}"
    );
    assert_eq!(fs::read(&run).expect("readable"), before);
    let (code, told) = repair(&data, &["--apply"]);
    assert!(code == 0 && told.contains("aside"), "{told}");
    let aside = file_like_dir(&data.join("aside"));
    let kept = file_like(&aside.join("shard-000").join("runs"), ".run");
    assert_eq!(fs::read(kept).expect("readable"), before);
    let report: Value =
        serde_json::from_slice(&fs::read(aside.join("report.json")).expect("a report")).expect("JSON");
    let range = &report["shards"][0]["runs"][0]["lost_ranges"][0];
    assert_eq!(
        (&range["from"]["key"], &range["to"]["key"]),
        (&Value::from("0"), &Value::from("19")),
        "{report}"
    );
    assert!(fs::read_to_string(aside.join("report.txt")).expect("a report").contains("lost"));
    assert_eq!(verify(&data).0, 0, "{}", verify(&data).1);
    let server = Server::start(&data);
    assert_eq!(server.ask("GET /v1/kv/default/5", "", b"").0, "404");
    assert_eq!(value_of(&server, 25), "value");
    server.stop();

    // Runs have all that is in the first segment.
    let log = data.join("shard-000").join("log");
    flip(&file_like(&log, ".wal"), 100);
    let (code, told) = repair(&data, &["--apply"]);
    assert!(code == 0 && told.contains("none is needed") && told.contains("starts all the same"), "{told}");
    let server = Server::start(&data);
    assert_eq!(value_of(&server, 25), "value");
    (100..200)
        .for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", b"in the log"));
    server.stop();

    flip_first(&log, b"in the log");
    let (code, told) = repair(&data, &["--apply"]);
    assert!(code == 1 && told.contains("--cut-log"), "{told}");
    let (code, told) = repair(&data, &["--apply", "--cut-log"]);
    assert!(code == 0, "{told}");
    // The block that nobody needs is there, and is told.
    let (code, told) = verify(&data);
    assert!(
        code == 1 && told.lines().filter(|line| line.contains("nothing is missing")).count() == 1,
        "{told}"
    );
    Server::start(&data).stop();

    for (dir, wanted) in [(data.join("missing"), 2), (data.join("aside"), 2)] {
        assert_eq!(repair(&dir, &[]).0, wanted, "{}", dir.display());
    }
}

/// What `verify` finds, a repair either mends or names.
#[test]
fn what_is_not_repaired_is_listed_and_no_success() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("d");
    let server = Server::start(&data);
    let large = vec![b'x'; 100_000];
    (0..20).for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", &large));
    assert_eq!(server.ask("POST /v1/compact?wait=true", "", b"").0, "200");
    assert_eq!(server.ask("POST /v1/snapshot?wait=true", "", b"").0, "200");
    server.stop();
    let runs = data.join("shard-000").join("runs");
    let values = file_like(&runs, ".values");
    let away = values.with_extension("away");
    // A copy: the snapshot has the other name of the file.
    fs::copy(&values, &away).expect("copied");
    let whole = || {
        let _ = fs::remove_file(&values);
        fs::copy(&away, &values).expect("put back");
        assert_eq!(repair(&data, &[]).0, 0);
    };
    let damages: [&dyn Fn(); 3] =
        [&|| flip(&values, 5000), &|| fs::write(&values, "").expect("emptied"), &|| {
            fs::remove_file(&values).expect("removed")
        }];
    for damage in damages {
        whole();
        damage();
        for flags in [&[][..], &["--apply"]] {
            let (code, told) = repair(&data, flags);
            assert!(code == 1 && told.contains(".values") && told.contains("not repaired"), "{told}");
        }
        assert!(!data.join("aside").exists());
    }
    // What can be repaired is, beside it.
    [30, 4096 + 30].iter().for_each(|slot| flip(&data.join("shard-001").join("superblock"), *slot));
    let (code, told) = repair(&data, &["--apply"]);
    assert!(code == 1 && told.contains("aside") && told.contains("1 damaged places are left"), "{told}");
    whole();
    let snapshot = file_like_dir(&data.join("snapshots"));
    flip(&file_like(&snapshot.join("shard-001"), "manifest-"), 100);
    let (code, told) = repair(&data, &["--apply"]);
    assert!(code == 1 && told.contains("snapshots/") && told.contains("not repaired"), "{told}");
}

/// What cannot be read may be whole: nobody knows, and nothing is made of it.
#[test]
fn a_file_that_the_system_does_not_give_is_not_repaired() {
    let (_dir, data) = stopped();
    let shard = data.join("shard-000");
    let log = file_like(&shard.join("log"), ".wal");
    for file in [file_like(&shard.join("runs"), ".run"), shard.join("superblock"), log] {
        let away = file.with_extension("away");
        fs::rename(&file, &away).expect("moved");
        // As root everything may be read: this cannot, by anybody.
        std::os::unix::fs::symlink(&file, &file).expect("a loop");
        let (code, told) = repair(&data, &["--apply", "--cut-log"]);
        let name = file.file_name().expect("a name").to_string_lossy();
        assert!(code == 1 && told.contains(&*name) && told.contains("no damage"), "{told}");
        assert!(!told.contains("write a new") && !data.join("aside").exists(), "{told}");
        fs::rename(&away, &file).expect("moved back");
    }
    assert_eq!(repair(&data, &[]).0, 0);
}

#[test]
fn damage_in_a_snapshot_or_a_backup_is_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, backups) = (dir.path().join("d"), dir.path().join("backups"));
    let server = Server::start(&data);
    (0..200).for_each(|key| _ = server.ask(&format!("PUT /v1/kv/default/{key}"), "text/plain", b"one"));
    assert_eq!(server.ask("POST /v1/compact?wait=true", "", b"").0, "200");
    assert_eq!(server.ask("POST /v1/snapshot?wait=true", "", b"").0, "200");
    // A backup that was killed has left this.
    fs::create_dir_all(backups.join("20260101T000000Z-dead.tmp/shard-000")).expect("made");
    // This is none of its business.
    for mine in ["photos.tmp", "20260101T000000Z-dead-2.tmp"] {
        fs::create_dir_all(backups.join(mine).join("shard-000")).expect("made");
    }
    let paths = [&backups, &data].map(|path| path.to_str().expect("a path of letters"));
    let output = server.run(&["backup", "-o", "json", "--to", paths[0], "--data-dir", paths[1]]);
    assert!(code(&output) == 0 && said(&output).contains("did not finish"), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(report["copied_bytes"].as_u64() < Some(4 << 20), "zeros of the log were copied: {report}");
    assert!(!backups.join("20260101T000000Z-dead.tmp").exists());
    for mine in ["photos.tmp", "20260101T000000Z-dead-2.tmp"] {
        fs::remove_dir_all(backups.join(mine)).expect("it was left alone");
    }
    server.stop();
    for place in [&data, &backups] {
        assert_eq!(verify(place).0, 0, "{}", verify(place).1);
    }
    let snapshot = file_like_dir(&data.join("snapshots"));
    let manifest = file_like(&snapshot.join("shard-001"), "manifest-");
    flip(&manifest, 100);
    let (code, told) = verify(&data);
    assert!(code == 1 && told.contains("snapshots") && told.contains("manifest-"), "{told}");
    let backup = file_like_dir(&backups);
    flip(&file_like(&backup.join("shard-000").join("runs"), ".run"), 5000);
    let (code, told) = verify(&backups);
    assert!(code == 1 && told.contains("runs/"), "{told}");
    assert_eq!(repair(&backup, &["--apply"]).0, 4);
}

/// What the doctor looked at, and how it was.
fn verdicts(output: &Output) -> Vec<(String, String)> {
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list");
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (text(row, "check"), text(row, "verdict"))).collect()
}

#[test]
fn half_a_snapshot_or_backup_is_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, backups) = (dir.path().join("d"), dir.path().join("backups"));
    let server = Server::start(&data);
    assert_eq!(server.ask("POST /v1/snapshot?wait=true", "", b"").0, "200");
    let paths = [&backups, &data].map(|path| path.to_str().expect("a path of letters"));
    let output = server.run(&["backup", "--to", paths[0], "--data-dir", paths[1]]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    server.stop();
    fs::create_dir_all(backups.join("20260101T000000Z-dead.tmp/shard-000")).expect("made");
    fs::create_dir(backups.join("lost+found")).expect("made");
    for (place, all) in [(&data, data.join("snapshots")), (&backups, backups.clone())] {
        let whole = fs::read_dir(&all).expect("a directory").map(|entry| entry.expect("readable").path());
        let whole = whole.filter(|path| path.join("snapshot.json").exists()).collect::<Vec<_>>().remove(0);
        assert_eq!(verify(place).0, 0, "{}", verify(place).1);
        let (description, shard) = (whole.join("snapshot.json"), whole.join("shard-001"));
        let text = fs::read(&description).expect("readable");
        fs::write(&description, "").expect("emptied");
        let (emptied, told) = verify(place);
        assert!(emptied == 1 && told.contains("nothing is restored from here"), "{told}");
        fs::remove_file(&description).expect("removed");
        assert_eq!(verify(place).0, 1, "{}", verify(place).1);
        fs::write(&description, text).expect("put back");
        for (removed, damaged) in [(shard, "1 damaged"), (whole.join("shard-000"), "2 damaged")] {
            fs::remove_dir_all(removed).expect("removed");
            let (code, told) = verify(place);
            assert!(code == 1 && told.contains("there are 2 shards") && told.contains(damaged), "{told}");
        }
        assert_eq!(verify(&whole).0, 1, "{}", verify(&whole).1);
    }
}

#[test]
fn the_doctor_looks_at_what_a_server_would_get() {
    // On the disk of the build: /tmp may be one without direct I/O.
    let program = std::env::current_exe().expect("a path");
    let dir = tempfile::tempdir_in(program.parent().expect("a directory")).expect("a directory");
    let doctor = |data_dir: &Path, memory: &str| {
        let options =
            ["doctor", "-o", "json", "--listen", "127.0.0.1:0", "--shards", "1", "--memory", memory];
        kyrodb().args(options).arg("--data-dir").arg(data_dir).output().expect("it runs")
    };
    let missing = dir.path().join("not/yet");
    let well = doctor(&missing, "64MiB");
    assert_eq!(code(&well), 0, "{}", said(&well));
    assert!(!missing.exists() && verdicts(&well).contains(&("disk".to_owned(), "good".to_owned())));
    // As where 16 MiB are free, or 8, as the shell counts.
    let mut little = std::process::Command::new("sh");
    little.args(["-c", "ulimit -f 16384; exec \"$0\" doctor -o json --data-dir \"$1\""]);
    let little = little.arg(kyrodb().get_program()).arg(dir.path()).output().expect("it runs");
    assert!(verdicts(&little).contains(&("disk".to_owned(), "good".to_owned())), "{}", said(&little));
    let ill = doctor(Path::new("/dev/shm"), "1000000GiB");
    assert_eq!(code(&ill), 1, "{}", said(&ill));
    for check in ["memory", "file system"] {
        assert!(verdicts(&ill).contains(&(check.to_owned(), "bad".to_owned())), "{}", said(&ill));
    }
}

#[test]
fn the_doctor_says_bad_where_a_server_refuses_to_start() {
    let (_dir, data) = stopped();
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(&data).expect("there").map(|entry| entry.expect("readable").file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let check = |check: &str, options: &str, verdict: &str, wanted: &str| {
        let mut doctor = kyrodb();
        let output = doctor
            .args(["doctor", "-o", "json", "--memory", "64MiB"])
            .args(options.split(' '))
            .arg("--data-dir");
        let output = output.arg(&data).output().expect("it runs");
        let is_there = verdicts(&output).contains(&(check.to_owned(), verdict.to_owned()));
        assert!(is_there && said(&output).contains(wanted), "{options}: {}", said(&output));
        assert!(verdict == "good" || code(&output) == 1);
    };
    let well = "--shards 2 --listen 127.0.0.1:0";
    for good in ["data", "keys", "tls"] {
        check(good, well, "good", "");
    }
    check("data", "--shards 3 --listen 127.0.0.1:0", "bad", "--shards 2");
    check("keys", "--shards 2 --listen 0.0.0.0:0", "bad", "kyrodb key create");
    check("keys", &format!("{well} --keys-file /no/keys"), "bad", "/no/keys");
    check("tls", &format!("{well} --tls-certificate /no/pem --tls-key /no/key"), "bad", "/no/pem");
    assert_eq!(names(), before, "nothing was changed");
    fs::write(data.join("keys.json"), "{").expect("written");
    check("keys", well, "bad", "keys.json");
    fs::write(data.join("RESTORING"), "").expect("written");
    check("data", well, "bad", "cut short");
}
