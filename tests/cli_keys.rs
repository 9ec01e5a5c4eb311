//! The real program with keys: made, used, revoked while it runs, and in none of its words.

mod program;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use program::{code, kyrodb, said, text};
use serde_json::Value;

/// A server with everything that it says in a file.
struct Loud {
    process: Child,
    address: String,
    log: std::path::PathBuf,
}

impl Drop for Loud {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Loud {
    fn start(dir: &Path, more: &[&str]) -> Loud {
        let log = dir.join("log");
        let mut process = kyrodb()
            .args(["serve", "--listen", "127.0.0.1:0", "--shards", "2", "--log-segment-bytes", "1MiB"])
            .arg("--data-dir")
            .arg(dir.join("data"))
            .args(more)
            .env("RUST_LOG", "trace")
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.strip_prefix("ready http://").and_then(|rest| rest.split(' ').next());
        let address = address.unwrap_or_else(|| panic!("{}", fs::read_to_string(&log).unwrap_or_default()));
        Loud { address: address.to_owned(), process, log }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    fn status(&self, line: &str, key: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        ask(&mut stream, line, key)
    }

    /// Until the answer is this, as keys are looked at once a second.
    fn becomes(&self, line: &str, key: &str, wanted: u16) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.status(line, key) != wanted {
            assert!(Instant::now() < deadline, "{line} is {} and not {wanted}", self.status(line, key));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        kyrodb()
            .args(arguments)
            .args(["--url", &format!("http://{}", self.address)])
            .output()
            .expect("it runs")
    }
}

fn ask(stream: &mut TcpStream, line: &str, key: &str) -> u16 {
    let shown = if key.is_empty() { String::new() } else { format!("Authorization: Bearer {key}\r\n") };
    write!(stream, "{line} HTTP/1.1\r\nHost: kyrodb\r\n{shown}Content-Length: 0\r\n\r\n").expect("sent");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("ASCII").to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
    stream.read_exact(&mut body).expect("a body");
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

fn key_command(dir: &Path, arguments: &[&str]) -> Output {
    kyrodb().arg("key").args(arguments).arg("--data-dir").arg(dir.join("data")).output().expect("it runs")
}

/// Id and text of a new key.
fn create(dir: &Path, role: &str, more: &[&str]) -> (String, String) {
    let arguments = [&["create", "--name", "test", "--role", role, "-o", "json"], more].concat();
    let output = key_command(dir, &arguments);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    (made["id"].as_str().expect("an id").to_owned(), made["key"].as_str().expect("a key").to_owned())
}

fn secret_of(key: &str) -> &str {
    &key[22..]
}

#[test]
fn a_running_server_takes_keys_up_and_none_of_them_is_in_its_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Loud::start(dir.path(), &[]);
    assert!(server.said().contains("no API keys are set"));
    let get = "GET /v1/kv/default/1";
    assert_eq!(server.status(get, ""), 404);

    let (writer_id, writer) = create(dir.path(), "write", &[]);
    let (_, admin) = create(dir.path(), "admin", &[]);
    server.becomes(get, "", 401);
    server.becomes("POST /v1/compact", &admin, 202);
    assert_eq!(server.status(get, &writer), 404);
    assert_eq!(server.status("GET /metrics", &writer), 200);
    assert_eq!(server.status("POST /v1/compact", &writer), 403);
    // A key that is wrong in its last character, one cut short, one that nobody knows.
    let last = if writer.ends_with('A') { "B" } else { "A" };
    let almost = format!("{}{last}", &writer[..writer.len() - 1]);
    let stranger = "kyro_0011223344556677_0123456789012345678901234567890123456789abc";
    for wrong in [&almost, &writer[..60], stranger] {
        assert_eq!(server.status(get, wrong), 401);
    }

    let mut open = TcpStream::connect(&server.address).expect("it listens");
    assert_eq!(ask(&mut open, get, &writer), 404);
    let revoked = key_command(dir.path(), &["revoke", &writer_id]);
    assert_eq!(code(&revoked), 0, "{}", said(&revoked));
    server.becomes(get, &writer, 401);
    assert_eq!(ask(&mut open, get, &writer), 401, "also on a connection that was open");
    assert_eq!(code(&key_command(dir.path(), &["revoke", &writer_id])), 3);
    assert_eq!(code(&key_command(dir.path(), &["revoke", "nonsense"])), 3);

    // Damage changes nothing, and the error is told.
    let file = dir.path().join("data").join("keys.json");
    let whole = fs::read_to_string(&file).expect("a file");
    fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !server.said().contains("the API keys of this file stay as they were") {
        assert!(Instant::now() < deadline, "{}", server.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!((server.status(get, &admin), server.status(get, "")), (404, 401));
    // The last key goes, and the server stays shut.
    fs::write(&file, "{\"format\":1,\"keys\":[]}").expect("written");
    server.becomes(get, &admin, 401);
    assert_eq!(server.status(get, ""), 401);

    let said = server.said();
    for audited in ["kyrodb::audit", "admin action", "denied", "wrong_key", &writer_id] {
        assert!(said.contains(audited), "{audited} in\n{said}");
    }
    for key in [&writer, &admin, &almost, stranger] {
        assert!(!said.contains(&secret_of(key)[..20]), "{said}");
    }
}

#[test]
fn a_scan_that_is_being_sent_ends_with_its_key() {
    const RECORDS: usize = 3_000;
    let dir = tempfile::tempdir().expect("a directory");
    let server = Loud::start(dir.path(), &["--disable-http-log"]);
    let records = dir.path().join("records.ndjson");
    // More than the sockets between them hold.
    let lines = (0..RECORDS).map(|at| format!("{{\"key\":{at},\"value\":\"{at:010000}\"}}\n"));
    fs::write(&records, lines.collect::<String>()).expect("written");
    let imported = server.run(&["import", records.to_str().expect("letters")]);
    assert_eq!(code(&imported), 0, "{}", said(&imported));
    let (id, reader) = create(dir.path(), "read", &[]);
    server.becomes("GET /v1/kv/default/1", "", 401);

    let scan = |connection: &str| {
        let mut stream = TcpStream::connect(&server.address).expect("it listens");
        let head = format!("Host: kyrodb\r\nAuthorization: Bearer {reader}\r\nAccept: application/x-ndjson");
        write!(stream, "GET /v1/kv/default HTTP/1.1\r\n{head}\r\nConnection: {connection}\r\n\r\n")
            .expect("sent");
        stream
    };
    let read = |mut stream: TcpStream| {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        (answer.ends_with(b"\r\n0\r\n\r\n"), answer.iter().filter(|byte| **byte == b'{').count())
    };
    assert_eq!(read(scan("close")), (true, RECORDS));
    let mut cut = scan("keep-alive");
    cut.read_exact(&mut [0; 15]).expect("it begins");
    assert_eq!(code(&key_command(dir.path(), &["revoke", &id])), 0);
    server.becomes("GET /v1/kv/default/1", &reader, 401);
    let (is_whole, count) = read(cut);
    assert!(!is_whole && count < RECORDS, "{count} records");
}

#[test]
fn keys_are_made_listed_and_never_shown_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (id, key) = create(dir.path(), "read", &["--collection", "b", "-c", "a"]);
    let printed = key_command(dir.path(), &["create", "--name", "second", "--role", "admin"]);
    let alone = text(&printed.stdout);
    assert!(alone.starts_with("kyro_") && alone.lines().count() == 1, "{}", said(&printed));
    for format in ["table", "json", "ndjson"] {
        let listed = key_command(dir.path(), &["list", "-o", format]);
        let words = said(&listed);
        assert!(code(&listed) == 0 && words.contains(&id) && words.contains("second"), "{words}");
        assert!(!words.contains(secret_of(&key)) && !words.contains(secret_of(alone.trim())), "{words}");
    }
    let listed: Value =
        serde_json::from_slice(&key_command(dir.path(), &["list", "-o", "json"]).stdout).expect("JSON");
    assert_eq!(listed[0]["collections"], serde_json::json!(["a", "b"]));
    assert_eq!((&listed[0]["role"], &listed[1]["collections"]), (&"read".into(), &Value::Null));
    let file = dir.path().join("data").join("keys.json");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let stored = fs::read_to_string(&file).expect("text");
    assert!(!stored.contains(secret_of(&key)) && stored.contains("sha256"), "{stored}");
    for wrong in [
        &["create", "--name", "a b", "--role", "read"][..],
        &["create", "--name", "a", "--role", "root"],
        &["create", "--name", "a", "--role", "read", "-c", "../x"],
        &["create", "--role", "read"],
    ] {
        assert_eq!(code(&key_command(dir.path(), wrong)), 2, "{wrong:?}");
    }
}

/// As a mistyped directory, or a file that nobody has made, would be taken for one without keys.
#[test]
fn where_no_keys_are_the_list_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let (missing, strange) = (dir.path().join("missing"), dir.path().join("data"));
    fs::create_dir(&strange).expect("made");
    let list = |option: &str, place: &Path| {
        kyrodb().args(["key", "list", "-o", "json", option]).arg(place).output().expect("it runs")
    };
    for (place, wanted) in [(&missing, "no such directory"), (&strange, "no KyroDB data here")] {
        let listed = list("--data-dir", place);
        assert!(code(&listed) == 2 && said(&listed).contains(wanted), "{}", said(&listed));
        assert_eq!(text(&listed.stdout), "");
    }
    let file = list("--keys-file", &missing);
    assert!(code(&file) == 1 && said(&file).contains("missing: "), "{}", said(&file));

    // Before the first start, and with the last key revoked.
    let (id, _) = create(dir.path(), "read", &[]);
    assert!(text(&list("--data-dir", &strange).stdout).contains(&id));
    assert_eq!(code(&key_command(dir.path(), &["revoke", &id])), 0);
    let none = |place: &Path| {
        let listed = list("--data-dir", place);
        assert_eq!((code(&listed), text(&listed.stdout).as_str()), (0, "[]\n"), "{}", said(&listed));
        assert!(text(&listed.stderr).contains("no keys"), "{}", said(&listed));
    };
    none(&strange);
    let started = dir.path().join("started");
    program::Server::start(&started).stop();
    none(&started);
}

#[test]
fn only_loopback_without_keys_and_plain_text_only_when_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let serve = |more: &[&str]| {
        let mut command = kyrodb();
        command
            .args(["serve", "--listen", "0.0.0.0:0", "--shards", "1", "--data-dir"])
            .arg(dir.path().join("data"));
        command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    for (more, wanted) in [(&[][..], "kyrodb key create"), (&["--insecure-plaintext"], "kyrodb key create")] {
        let output = serve(more).wait_with_output().expect("it ends");
        assert!(code(&output) == 2 && said(&output).contains(wanted), "{}", said(&output));
    }
    create(dir.path(), "admin", &[]);
    let output = serve(&[]).wait_with_output().expect("it ends");
    assert!(code(&output) == 2 && said(&output).contains("--insecure-plaintext"), "{}", said(&output));
    let mut running = serve(&["--insecure-plaintext"]);
    let mut line = String::new();
    BufReader::new(running.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let _ = running.kill();
    let _ = running.wait();
    assert!(line.starts_with("ready http://0.0.0.0:"), "{line}");
}

#[test]
fn other_files_of_keys_count_and_bad_ones_keep_the_server_from_starting() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("more.json");
    let path = file.to_str().expect("a path of letters");
    let made =
        kyrodb().args(["key", "create", "--name", "x", "--role", "read", "--keys-file", path]).output();
    let key = text(&made.expect("it runs").stdout).trim().to_owned();
    let server = Loud::start(dir.path(), &["--keys-file", path]);
    assert_eq!(server.status("GET /v1/kv/default/1", &key), 404);
    assert_eq!(server.status("GET /v1/kv/default/1", ""), 401);
    drop(server);
    let start = |credentials: &Path| {
        let mut command = kyrodb();
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--shards",
            "2",
            "--keys-file",
            path,
            "--data-dir",
        ]);
        command.arg(dir.path().join("data")).env("CREDENTIALS_DIRECTORY", credentials);
        command.output().expect("it ends")
    };
    // The same file twice: two keys of one id.
    fs::copy(&file, dir.path().join("kyrodb-keys")).expect("copied");
    let twice = start(dir.path());
    assert!(code(&twice) == 1 && said(&twice).contains("two keys have the id"), "{}", said(&twice));
    fs::remove_file(&file).expect("removed");
    let missing = start(Path::new("/nowhere"));
    assert!(code(&missing) == 1 && said(&missing).contains(path), "{}", said(&missing));
    fs::write(&file, &key).expect("written");
    let not_a_file = start(Path::new("/nowhere"));
    assert!(code(&not_a_file) == 1, "{}", said(&not_a_file));
    assert!(!said(&not_a_file).contains(secret_of(&key)), "{}", said(&not_a_file));
}

#[test]
fn a_file_that_is_damaged_holds_up_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let extra = dir.path().join("extra.json");
    let path = extra.to_str().expect("a path of letters");
    let made =
        kyrodb().args(["key", "create", "--name", "x", "--role", "read", "--keys-file", path]).output();
    let other = text(&made.expect("it runs").stdout).trim().to_owned();
    let (id, key) = create(dir.path(), "read", &[]);
    let server = Loud::start(dir.path(), &["--keys-file", path]);
    let get = "GET /v1/kv/default/1";
    assert_eq!((server.status(get, &key), server.status(get, &other)), (404, 404));

    fs::write(&extra, "{").expect("written");
    let revoked = key_command(dir.path(), &["revoke", &id]);
    assert_eq!(code(&revoked), 0, "{}", said(&revoked));
    server.becomes(get, &key, 401);
    let (_, new) = create(dir.path(), "read", &[]);
    server.becomes(get, &new, 404);
    assert_eq!(server.status(get, &other), 404, "it keeps what it had");
    let said = server.said();
    let told: Vec<&str> = said.lines().filter(|line| line.contains("stay as they were")).collect();
    assert!(told.len() == 1 && told[0].contains(path), "{told:?}");
}

#[test]
fn the_commands_show_the_key_of_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_, admin) = create(dir.path(), "admin", &[]);
    let (_, writer) = create(dir.path(), "write", &["-c", "default"]);
    let server = Loud::start(dir.path(), &[]);
    let file = |name: &str, key: &str| {
        let path = dir.path().join(name);
        fs::write(&path, format!("{key}\n")).expect("written");
        path.to_str().expect("a path of letters").to_owned()
    };
    let (admin, writer) = (file("admin", &admin), file("writer", &writer));
    let denied = server.run(&["put", "1", "one"]);
    assert!(code(&denied) == 1 && said(&denied).contains("401 unauthorized"), "{}", said(&denied));
    let records = dir.path().join("records");
    fs::write(&records, "{\"key\":2,\"value\":\"two\"}\n").expect("written");
    let records = records.to_str().expect("a path of letters");
    for line in [
        &["put", "1", "one"][..],
        &["get", "1"],
        &["scan"],
        &["export"],
        &["import", records],
        &["import", records, "--verify"],
        &["delete", "1"],
    ] {
        let output = server.run(&[line, &["--api-key-file", &writer]].concat());
        assert_eq!(code(&output), 0, "{line:?} {}", said(&output));
    }
    let url = format!("http://{}", server.address);
    let bench = ["bench", "kv", "--records", "50", "--operations", "50", "--connections", "2", "--url", &url];
    let output = kyrodb().args(bench).env("KYRODB_API_KEY_FILE", &admin).output().expect("it runs");
    assert_eq!(code(&output), 0, "{}", said(&output));
    let to = dir.path().join("backups");
    let to = to.to_str().expect("a path of letters");
    let data = dir.path().join("data");
    let data = data.to_str().expect("a path of letters");
    let output = server.run(&["backup", "--to", to, "--data-dir", data, "--api-key-file", &admin]);
    assert_eq!(code(&output), 0, "{}", said(&output));
    let wrong = server.run(&["get", "1", "--api-key-file", records]);
    assert!(code(&wrong) == 2 && !said(&wrong).contains("two"), "{}", said(&wrong));
}
