//! The real program as a service: what a manager hears of it and hands down, how it stops, whose its files are.

mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::{Server, code, kyrodb, said, text};
use serde_json::Value;

/// What a service manager hears and hands down: readiness, signs of life, the end; and its socket is the one served.
#[test]
fn a_service_manager_hears_of_the_server_and_hands_its_socket_down() {
    let dir = tempfile::tempdir().expect("a directory");
    let heard = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
    heard.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = port.local_addr().expect("an address");
    let data = dir.path().join("data");
    // Who connects before there is a server waits for it.
    let mut early = TcpStream::connect(address).expect("the port is open");
    early.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    early.write_all(b"GET /v1/kv/default/1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").expect("sent");
    // A descriptor is handed down as number 3, to the process that the variable names.
    let mut server = Command::new("sh")
        .args(["-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ exec \"$@\"", "sh", env!("CARGO_BIN_EXE_kyrodb")])
        .args(["serve", "--shards", "2", "--disable-http-log", "--data-dir"])
        .arg(&data)
        .env("LISTEN_FDS", "1")
        .env("NOTIFY_SOCKET", dir.path().join("notify"))
        .env("WATCHDOG_USEC", "400000")
        .env("RUST_LOG", "error")
        .stdin(OwnedFd::from(port))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    let next = || {
        let mut message = [0; 1024];
        let len = heard.recv(&mut message).expect("the server says something");
        text(&message[..len])
    };
    let ready = std::iter::repeat_with(next).find(|said| !said.contains("WATCHDOG=1")).expect("endless");
    assert!(ready.contains("READY=1") && ready.contains(&address.to_string()), "{ready}");
    let mut answer = String::new();
    early.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(next().contains("WATCHDOG=1") && next().contains("WATCHDOG=1"));
    let asked = kyrodb().args(["get", "1", "--url", &format!("http://{address}")]).output().expect("it runs");
    assert_eq!(code(&asked), 3, "{}", said(&asked));
    let told = Command::new("kill").arg(server.id().to_string()).status().expect("kill runs");
    assert!(told.success() && server.wait().expect("it ends").success());
    let rest: Vec<String> = std::iter::from_fn(|| {
        heard.set_nonblocking(true).expect("not waiting");
        let mut message = [0; 1024];
        heard.recv(&mut message).ok().map(|len| text(&message[..len]))
    })
    .collect();
    assert!(rest.iter().any(|message| message.contains("STOPPING=1")), "{rest:?}");
}

#[test]
fn a_stop_ends_in_order_although_clients_do_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let server = Server::start_with(&data, &["--drain-seconds", "1"]);
    assert_eq!(server.ask("PUT /v1/kv/default/1", "text/plain", b"kept").0, "201");
    let mut slow = TcpStream::connect(&server.address).expect("it listens");
    slow.write_all(
        b"PUT /v1/kv/default/2 HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    )
    .expect("sent");
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).expect("an answer");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    slow.write_all(b"half").expect("sent");
    let began = Instant::now();
    // With status 0: what was acknowledged is closed in order.
    server.stop();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let server = Server::start(&data);
    assert_eq!(server.ask("GET /v1/kv/default/1", "", b"").2, b"kept");
    assert_eq!(server.ask("GET /v1/kv/default/2", "", b"").0, "404");
}

#[test]
fn the_doctor_says_that_a_server_runs_there_and_finds_no_fault_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let told = || {
        let options = ["-o", "json", "--listen", "127.0.0.1:0", "--shards", "2", "--memory", "64MiB"];
        let output = kyrodb().arg("doctor").args(options).arg("--data-dir").arg(&data).output();
        let output = output.expect("it runs");
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list");
        let row = rows.into_iter().find(|row| row["check"] == "data").expect("it was looked at");
        assert_eq!(row["verdict"], "good", "{}", said(&output));
        row["found"].as_str().expect("text").to_owned()
    };
    assert_eq!(told(), "none yet");
    let server = Server::start(&data);
    assert_eq!(told(), "2 shards, in use by a kyrodb that runs");
    server.stop();
    assert_eq!(told(), "2 shards");
}

#[test]
fn what_root_restores_into_the_directory_of_a_service_is_that_services() {
    const SERVICE: u32 = 64217;
    let dir = tempfile::tempdir().expect("a directory");
    if fs::metadata(dir.path()).expect("it is there").uid() != 0 {
        return eprintln!("skipped: only root can make files for others");
    }
    let data = dir.path().join("data");
    let server = Server::start(&data);
    assert_eq!(server.ask("PUT /v1/kv/default/1", "text/plain", b"kept").0, "201");
    let taken = server.ask("POST /v1/snapshot?wait=true", "", b"").2;
    let taken: Value = serde_json::from_slice(&taken).expect("JSON");
    server.stop();
    let snapshot = data.join("snapshots").join(taken["id"].as_str().expect("an id"));
    let new = dir.path().join("new");
    fs::create_dir(&new).expect("made");
    chown(&new, Some(SERVICE), Some(SERVICE)).expect("given away");
    let restored =
        kyrodb().arg("restore").arg(&snapshot).arg("--data-dir").arg(&new).output().expect("it runs");
    assert_eq!(code(&restored), 0, "{}", said(&restored));
    let owners = owners_below(&new);
    assert!(owners.len() > 4 && owners.iter().all(|owner| *owner == SERVICE), "{owners:?}");
}

#[test]
fn keys_that_root_makes_in_the_directory_of_a_service_are_that_services() {
    const SERVICE: u32 = 64219;
    let dir = tempfile::tempdir().expect("a directory");
    if fs::metadata(dir.path()).expect("it is there").uid() != 0 {
        return eprintln!("skipped: only root can make files for others");
    }
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("made");
    chown(&data, Some(SERVICE), Some(SERVICE)).expect("given away");
    for _ in 0..2 {
        let create = ["key", "create", "--name", "a", "--role", "admin", "--data-dir"];
        let made = kyrodb().args(create).arg(&data).output().expect("it runs");
        assert_eq!(code(&made), 0, "{}", said(&made));
    }
    let owners = owners_below(&data);
    assert_eq!(owners, [SERVICE; 2], "the keys and their lock");
}

/// As from read-only media: neither the snapshot nor a data directory takes a file of this user.
#[test]
fn what_may_only_be_read_is_verified_and_restored() {
    const OTHER: u32 = 64218;
    let dir = tempfile::tempdir().expect("a directory");
    if fs::metadata(dir.path()).expect("it is there").uid() != 0 {
        return eprintln!("skipped: only root can run a program as somebody else");
    }
    let (data, other) = (dir.path().join("data"), dir.path().join("other"));
    let server = Server::start(&data);
    assert_eq!(server.ask("PUT /v1/kv/default/1", "text/plain", b"kept").0, "201");
    let taken = server.ask("POST /v1/snapshot?wait=true", "", b"").2;
    let taken: Value = serde_json::from_slice(&taken).expect("JSON");
    let snapshot = data.join("snapshots").join(taken["id"].as_str().expect("an id"));
    fs::create_dir(&other).expect("made");
    chown(&other, Some(OTHER), Some(OTHER)).expect("given away");
    // The program lies where others may not look.
    let program = dir.path().join("kyrodb");
    fs::copy(env!("CARGO_BIN_EXE_kyrodb"), &program).expect("copied");
    let open_to_readers = || {
        let opened = Command::new("chmod").args(["-R", "a+rX"]).arg(dir.path()).status();
        assert!(opened.expect("chmod runs").success());
    };
    open_to_readers();
    let run = |words: &[&str], data_dir: &Path| {
        let mut command = Command::new(&program);
        command.uid(OTHER).gid(OTHER).env_clear().args(words).arg("--data-dir").arg(data_dir);
        command.output().expect("it runs")
    };
    let in_use = run(&["verify"], &data);
    assert!(code(&in_use) == 5 && said(&in_use).contains("in use"), "{}", said(&in_use));
    let restored = run(&["restore", snapshot.to_str().expect("letters")], &other.join("restored"));
    assert_eq!(code(&restored), 0, "{}", said(&restored));
    server.stop();
    open_to_readers();
    for (words, place) in [(&["verify"][..], &snapshot), (&["verify"], &data), (&["wal", "dump"], &data)] {
        let done = run(words, place);
        assert_eq!(code(&done), 0, "{words:?} {}: {}", place.display(), said(&done));
    }
    assert!(!snapshot.join("LOCK").exists());
}

fn owners_below(dir: &Path) -> Vec<u32> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| {
            let own = fs::symlink_metadata(&path).expect("it is there");
            let below = if own.is_dir() { owners_below(&path) } else { Vec::new() };
            [vec![own.uid()], below].concat()
        })
        .collect()
}
