//! The real process under `kill -9`: concurrent writers at `fsync`, a kill at a random moment, a
//! restart, and the question whether every acknowledged write is there and nothing else.
//!
//! Each writer has keys of its own and writes rising numbers to them. After a restart the number under
//! a key must be at least the last acknowledged one (else a write was lost) and at most the last one
//! sent (else one was invented). `KILL9_ROUNDS` (3) and `KILL9_WRITERS` (32) set the
//! size; `tools/kill9.sh` runs 200 rounds.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

const KEYS_A_WRITER: u64 = 16;
const VALUE_BYTES: usize = 100;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is known of one key.
#[derive(Clone, Copy, Default)]
struct Known {
    /// The last number sent; 0 before the first.
    sent: u64,
    /// The last number that the server acknowledged or, after a restart, showed.
    kept: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    lost: Vec<String>,
    invented: Vec<String>,
}

/// A server process; killed, never asked to stop.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(dir: &Path) -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kyrodb"));
        // What is set for a server of the user's is not meant for this one.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("KYRODB_") {
                command.env_remove(name);
            }
        }
        // The world of the HTTP tests.
        if let Ok(world) = std::env::var("TEST_WORLD") {
            command.env("KYRODB_RUNTIME", world);
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--shards", "2", "--log-segment-bytes", "1MiB"]);
        command.arg("--data-dir").arg(dir).env("KYRODB_DISABLE_HTTP_LOG", "1");
        let errors = dir.with_extension("stderr");
        let sink = fs::OpenOptions::new().create(true).append(true).open(&errors).expect("a log of errors");
        let mut process = command.stdout(Stdio::piped()).stderr(sink).spawn().expect("the server starts");
        let address = ready_address(process.stdout.take().expect("piped")).unwrap_or_else(|line| {
            let _ = process.kill();
            panic!("not ready: {line:?}\n{}", fs::read_to_string(&errors).unwrap_or_default());
        });
        Server { process, address }
    }

    /// kill -9, and until the process is gone.
    fn kill(mut self) {
        self.process.kill().expect("the server was still running");
        self.process.wait().expect("a killed process ends");
    }
}

/// From the line `ready http://ADDR shards=N`; the line itself when it is another.
fn ready_address(stdout: ChildStdout) -> Result<SocketAddr, String> {
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut line = String::new();
        // The reader of the channel tells what is wrong when nothing comes.
        let _ = BufReader::new(stdout).read_line(&mut line);
        let _ = sender.send(line);
    });
    let line = receiver.recv_timeout(READY_TIMEOUT).map_err(|error| error.to_string())?;
    let address = line.strip_prefix("ready http://").and_then(|rest| rest.split(' ').next());
    address.and_then(|address| address.parse().ok()).ok_or(line)
}

struct Connection {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Connection { reader: BufReader::new(stream.try_clone()?), stream })
    }

    fn request(&mut self, method: &str, key: u64, body: &str) -> io::Result<(u16, String)> {
        let length = body.len();
        let head = format!(
            "{method} /v1/kv/default/{key} HTTP/1.1\r\nHost: kyrodb\r\nKyro-Durability: fsync\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body).map_err(io::Error::other)?))
    }
}

/// The number, and so many bytes that a torn value would show.
fn value_of(number: u64) -> String {
    let text = format!("{number}:");
    let fill = char::from(b'a' + (number % 26) as u8);
    text.chars().chain(std::iter::repeat(fill)).take(VALUE_BYTES).collect()
}

fn number_in(value: &str) -> Option<u64> {
    let number = value.split(':').next()?.parse().ok()?;
    (value_of(number) == value).then_some(number)
}

/// Writes rising numbers to the writer's keys until the server is gone.
fn write_until_killed(address: SocketAddr, first_key: u64, known: &mut [Known], killed: &AtomicBool) {
    let mut next = 0;
    let mut write = || -> io::Result<()> {
        let mut connection = Connection::open(address)?;
        loop {
            let at = next % known.len();
            next += 1;
            known[at].sent += 1;
            let (status, body) =
                connection.request("PUT", first_key + at as u64, &value_of(known[at].sent))?;
            match status {
                200 | 201 | 204 => known[at].kept = known[at].sent,
                429 | 503 => thread::sleep(Duration::from_millis(10)),
                other => panic!("a put was answered with {other}: {body}"),
            }
        }
    };
    let error = write().expect_err("it only ends with an error");
    let is_late = killed.load(Ordering::SeqCst);
    assert!(is_late, "the connection broke before the kill: {error}");
}

/// Compares what the server has with what is known, and takes over what it showed.
fn judge(address: SocketAddr, known: &mut [Known]) -> Verdict {
    let mut connection = Connection::open(address).expect("a ready server takes connections");
    let mut verdict = Verdict::default();
    for (key, known) in known.iter_mut().enumerate() {
        let (status, body) = connection.request("GET", key as u64, "").expect("a ready server answers");
        let found = match status {
            200 => number_in(&body),
            404 => Some(0),
            other => panic!("a get was answered with {other}: {body}"),
        };
        let told = format!("key {key}: kept {}, sent {}, found {found:?}", known.kept, known.sent);
        match found {
            Some(number) if number < known.kept => verdict.lost.push(told),
            Some(number) if number <= known.sent => known.kept = number,
            _ => verdict.invented.push(told),
        }
    }
    verdict
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// From 20 ms to half a second: short lives catch the start-up, long ones checkpoints.
fn random_life() -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Duration::from_millis(20 + u64::from(now.subsec_nanos()) / 1000 * 7919 % 480)
}

#[test]
fn no_acknowledged_write_is_lost_and_none_is_invented() {
    let rounds = setting("KILL9_ROUNDS", 3);
    let writers = setting("KILL9_WRITERS", 32);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the data");
    let mut known = vec![Known::default(); (writers * KEYS_A_WRITER) as usize];
    let data = dir.path().join("data");
    let mut server = Server::start(&data);
    for round in 1..=rounds {
        let killed = AtomicBool::new(false);
        let address = server.address;
        thread::scope(|scope| {
            for (writer, known) in known.chunks_mut(KEYS_A_WRITER as usize).enumerate() {
                let first_key = writer as u64 * KEYS_A_WRITER;
                let killed = &killed;
                scope.spawn(move || write_until_killed(address, first_key, known, killed));
            }
            thread::sleep(random_life());
            killed.store(true, Ordering::SeqCst);
            server.kill();
        });
        server = Server::start(&data);
        let verdict = judge(server.address, &mut known);
        assert_eq!(verdict, Verdict::default(), "in round {round}");
    }
    server.kill();
    let acknowledged: u64 = known.iter().map(|known| known.kept).sum();
    assert!(acknowledged > 0, "nothing was written at all");
    println!("{rounds} rounds, {writers} writers, {acknowledged} writes kept, 0 lost, 0 invented");
}

#[test]
fn the_judge_tells_lost_and_invented_writes() {
    assert_eq!((number_in(&value_of(7)), number_in("7:"), number_in("x")), (Some(7), None, None));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the judge");
        let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
        for number in [4, 5, 6, 7] {
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).expect("a request");
            }
            let value = value_of(number);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{value}", value.len())
                .expect("an answer");
        }
    });
    let mut known = [Known { kept: 5, sent: 6 }; 4];
    let verdict = judge(address, &mut known);
    assert_eq!((verdict.lost.len(), verdict.invented.len()), (1, 1), "{verdict:?}");
    assert_eq!(known[2].kept, 6);
}
