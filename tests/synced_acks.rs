//! The real process: every answer at `fsync` stands behind a synced write of its own.
//!
//! One client, one write after the other, so no two can share a commit: the log must have completed at
//! least one synced write, and the kernel must have taken at least one block, for each answer.
//! (`sim_audit` shows the same for concurrent clients, block by block.)

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

const WRITES: u64 = 100;
const BLOCK_BYTES: u64 = 4096;

struct Server {
    process: Child,
    stream: TcpStream,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(dir: &std::path::Path) -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_kyrodb"))
            .args(["serve", "--listen", "127.0.0.1:0", "--shards", "1", "--log-segment-bytes", "1MiB"])
            .arg("--data-dir")
            .arg(dir)
            .env("RUST_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.strip_prefix("ready http://").and_then(|rest| rest.split(' ').next());
        let address = address.expect("a ready line; standard error says why there is none");
        let stream = TcpStream::connect(address.trim()).expect("it listens");
        stream.set_nodelay(true).expect("a socket option");
        Server { process, stream }
    }

    /// Sends one request on the open connection and gives head and body.
    fn ask(&mut self, request: &str) -> (String, String) {
        self.stream.write_all(request.as_bytes()).expect("sent");
        let mut reader = BufReader::new(&mut self.stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).expect("a head") > 0, "an answer is whole");
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            head += &line;
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        (head, String::from_utf8(body).expect("text"))
    }

    fn completed_commits(&mut self) -> u64 {
        let (_, metrics) = self.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let is_count = |line: &&str| line.starts_with("kyrodb_log_commit_latency_seconds_count");
        let line = metrics.lines().find(is_count).expect("the histogram of commits");
        line.rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count")
    }

    /// Bytes that the process has handed to the storage layer.
    fn written_bytes(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.process.id())).expect("/proc");
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("write_bytes");
        line.parse().expect("a number")
    }
}

#[test]
fn each_answer_at_fsync_has_a_synced_write_behind_it() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let mut server = Server::start(dir.path());
    let (commits, bytes) = (server.completed_commits(), server.written_bytes());
    for n in 0..WRITES {
        let request = format!("PUT /v1/kv/default/{n} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nvalue");
        let (head, _) = server.ask(&request);
        assert!(head.starts_with("HTTP/1.1 201") && head.contains("Kyro-Durability: fsync"), "{head}");
        let done = server.completed_commits() - commits;
        assert!(done > n, "{} answers behind {done} completed synced writes", n + 1);
    }
    assert!(server.written_bytes() - bytes >= WRITES * BLOCK_BYTES, "a block for each answer");
}
