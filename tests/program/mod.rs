//! The real program for tests: servers and commands as processes.
#![allow(dead_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

pub fn kyrodb() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kyrodb"));
    // What is set for a server of the user's is not meant for this one.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KYRODB_") {
            command.env_remove(name);
        }
    }
    // The world of the HTTP tests, for servers.
    if let Ok(world) = std::env::var("TEST_WORLD") {
        command.env("KYRODB_RUNTIME", world);
    }
    command.env("RUST_LOG", "error");
    command
}

pub struct Server {
    process: Child,
    pub address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    pub fn start(dir: &Path) -> Server {
        Server::start_with(dir, &[])
    }

    pub fn start_with(dir: &Path, options: &[&str]) -> Server {
        Server::start_at("127.0.0.1:0", dir, options)
    }

    pub fn start_at(address: &str, dir: &Path, options: &[&str]) -> Server {
        let mut process = kyrodb()
            .args(["serve", "--listen", address, "--shards", "2", "--log-segment-bytes", "1MiB"])
            .args(["--disable-http-log", "--data-dir"])
            .arg(dir)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.strip_prefix("ready http://").and_then(|rest| rest.split(' ').next());
        let address = address.expect("a ready line; standard error says why there is none").to_owned();
        Server { process, address }
    }

    /// SIGTERM, and until the process is gone.
    pub fn stop(mut self) {
        let told = Command::new("kill").arg(self.process.id().to_string()).status().expect("kill runs");
        assert!(told.success() && self.process.wait().expect("it ends").success());
    }

    /// A command of the program against this server.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let url = format!("http://{}", self.address);
        kyrodb().args(arguments).args(["--url", &url]).output().expect("it runs")
    }

    /// One request on a connection of its own: status, content type, body.
    pub fn ask(&self, line: &str, content_type: &str, body: &[u8]) -> (String, String, Vec<u8>) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let typed =
            if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: kyrodb\r\nConnection: close\r\n{typed}Content-Length: {length}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), body].concat()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        let content_type =
            head.lines().find_map(|line| line.strip_prefix("content-type:")).unwrap_or_default();
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        (status, content_type.trim().to_owned(), answer[end + 4..].to_vec())
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn said(output: &Output) -> String {
    format!("{:?}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))
}

pub fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended on its own")
}

pub fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[offset] ^= 0x10;
    fs::write(path, bytes).expect("writable");
}

/// In whichever file of `dir` has these bytes.
pub fn flip_first(dir: &Path, wanted: &[u8]) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("readable").path();
        let bytes = fs::read(&path).expect("readable");
        if let Some(at) = bytes.windows(wanted.len()).position(|bytes| bytes == wanted) {
            return flip(&path, at);
        }
    }
    panic!("nowhere in {}", dir.display());
}

/// The file in `dir` whose name begins or ends so.
pub fn file_like(dir: &Path, part: &str) -> PathBuf {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("readable").path());
    let mut found: Vec<_> = entries
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(part)))
        .filter(|path| fs::metadata(path).is_ok_and(|file| file.len() > 0))
        .collect();
    found.sort();
    found.into_iter().next().unwrap_or_else(|| panic!("no {part} in {}", dir.display()))
}

/// The only directory in this one.
pub fn file_like_dir(dir: &Path) -> PathBuf {
    let mut dirs = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("readable").path());
    dirs.find(|path| path.is_dir()).expect("one")
}
