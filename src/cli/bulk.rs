//! One open upload to the bulk route: lines go out while their answers come in.
//!
//! Lines travel in batches. A batch stays in the [`Window`] until each of its lines was answered; the
//! window is bounded, so a slow server slows the sender down. When the connection is lost, or the
//! server refuses a line for the moment, the upload goes back to the first unanswered line and sends
//! everything from there again, in order: puts are idempotent, and the last line of a key stays last.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use serde::Deserialize;

use super::api_key::ApiKeyLine;
use super::client::{Server, refused};
use super::duplex::{Duplex, Sealing};
use super::failure::{Failure, Refused};
use super::wire::{BodyReader, read_head};

/// Batches that wait for their answers.
const WINDOW_BATCHES_MAX: usize = 32;
/// Without an answer for so long the connection counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Without any progress for so long the upload gives up.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// The code of a line that deletes what is not there.
const NOT_THERE: &str = "no_such_record";
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Who waits for longer is told: what is over sooner happens under load all the time.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// Lines of NDJSON, one after the other.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

impl Batch {
    /// Where the next line is to be appended, with its line feed; then call [`Batch::end_line`].
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub fn end_line(&mut self) {
        assert_eq!(self.bytes.last(), Some(&b'\n'), "a line without its end");
        self.ends.push(self.bytes.len());
    }

    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The lines from number `first` on.
    fn lines_from(&self, first: usize) -> &[u8] {
        &self.bytes[first.checked_sub(1).map_or(0, |last| self.ends[last])..]
    }

    fn line(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.bytes[start..self.ends[number]]
    }
}

/// Where an upload goes.
#[derive(Clone)]
pub struct Target {
    pub server: Server,
    pub address: SocketAddr,
    pub sealing: Option<Sealing>,
    pub api_key: ApiKeyLine,
    /// Of the bulk route.
    pub path: String,
    pub durability: Option<String>,
}

/// What became of the lines; counted for all uploads of an import together.
#[derive(Default)]
pub struct Counts {
    pub written: Arc<AtomicU64>,
    /// Lines that the server does not take, ever.
    pub rejected: AtomicU64,
    /// Times that an upload went back to the first unanswered line.
    pub restarts: AtomicU64,
    /// Uploads that wait for the server, and have said so.
    pub waiting: AtomicU64,
}

pub struct Upload<'a> {
    target: &'a Target,
    counts: &'a Counts,
    window: Window,
    /// Counted in `waiting`.
    waits: AtomicBool,
}

/// Why an attempt ended before all was answered.
#[derive(Debug)]
enum Broken {
    Lost(io::Error),
    Refused(Refused),
}

impl Broken {
    fn retry_delay(&self) -> Duration {
        match self {
            Broken::Refused(Refused { retry_after: Some(delay), .. }) => *delay,
            Broken::Refused(_) | Broken::Lost(_) => RETRY_DELAY,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Lost(error) => error.fmt(f),
            Broken::Refused(refused) => refused.fmt(f),
        }
    }
}

#[derive(Deserialize)]
struct LineAnswer {
    status: u16,
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
}

impl<'a> Upload<'a> {
    pub fn new(target: &'a Target, counts: &'a Counts) -> Upload<'a> {
        Upload { target, counts, window: Window::default(), waits: AtomicBool::new(false) }
    }

    /// Sends all of `input`; returns when every line was answered.
    pub fn run(&self, input: &Receiver<Batch>) -> Result<(), Failure> {
        let mut last_progress = (Instant::now(), self.window.answered_lines());
        while let Err(broken) = self.attempt(input) {
            let answered = self.window.answered_lines();
            if answered > last_progress.1 {
                last_progress = (Instant::now(), answered);
            }
            let delay = broken.retry_delay();
            match broken {
                Broken::Refused(refused) if !is_for_the_moment(refused.status) => {
                    return Err(Failure::Refused(refused));
                }
                Broken::Refused(refused) if last_progress.0.elapsed() > GIVE_UP_AFTER => {
                    return Err(Failure::Refused(refused));
                }
                Broken::Lost(error) if last_progress.0.elapsed() > GIVE_UP_AFTER => {
                    return Err(self.target.server.unreachable(error));
                }
                broken => {
                    if last_progress.0.elapsed() + delay >= TOLD_AFTER {
                        self.tell_waiting(&broken);
                    }
                    thread::sleep(delay);
                }
            }
            self.counts.restarts.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// One line for all uploads of an import.
    fn tell_waiting(&self, broken: &Broken) {
        if !self.waits.swap(true, Ordering::Relaxed)
            && self.counts.waiting.fetch_add(1, Ordering::Relaxed) == 0
        {
            let seconds = GIVE_UP_AFTER.as_secs();
            eprintln!("waiting for the server, for {seconds} s at most: {broken}");
        }
    }

    fn tell_progress(&self) {
        if self.waits.load(Ordering::Relaxed)
            && self.waits.swap(false, Ordering::Relaxed)
            && self.counts.waiting.fetch_sub(1, Ordering::Relaxed) == 1
        {
            eprintln!("the server answers again: the import goes on");
        }
    }

    /// One connection, until everything is answered or it breaks.
    fn attempt(&self, input: &Receiver<Batch>) -> Result<(), Broken> {
        let Target { address, sealing, .. } = self.target;
        let stream = Duplex::connect(address, sealing.as_ref(), ANSWER_TIMEOUT).map_err(Broken::Lost)?;
        self.window.open();
        thread::scope(|scope| {
            let writer = scope.spawn(|| self.send_lines(&stream, input));
            let read = self.read_answers(&stream);
            // Whatever ended the reading, the writer must not wait for room or for the socket.
            self.window.close();
            stream.shut_down();
            let sent = writer.join().expect("the writer does not panic");
            read.and_then(|()| sent.map_err(Broken::Lost))
        })
    }

    fn send_lines(&self, mut stream: &Duplex, input: &Receiver<Batch>) -> io::Result<()> {
        stream.write_all(self.head().as_bytes())?;
        for (batch, first) in self.window.unanswered() {
            send_chunk(stream, batch.lines_from(first))?;
        }
        loop {
            self.window.wait_for_room()?;
            let Ok(batch) = input.recv() else { break };
            let batch = Arc::new(batch);
            self.window.push(batch.clone());
            send_chunk(stream, &batch.bytes)?;
        }
        stream.write_all(b"0\r\n\r\n")
    }

    fn head(&self) -> String {
        let Target { server, api_key, path, durability, .. } = self.target;
        let durability =
            durability.as_ref().map_or_else(String::new, |level| format!("Kyro-Durability: {level}\r\n"));
        format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{}Content-Type: application/x-ndjson\r\n{durability}\
             Transfer-Encoding: chunked\r\n\r\n",
            server.authority,
            api_key.line()
        )
    }

    fn read_answers(&self, stream: &Duplex) -> Result<(), Broken> {
        let mut reader = BufReader::with_capacity(1 << 16, stream);
        let head = read_head(&mut reader).map_err(Broken::Lost)?;
        let mut body = BodyReader::new(reader, head.framing);
        if head.status != 200 {
            let mut problem = Vec::new();
            // What arrived of the text is enough; the status alone decides.
            let _ = body.read_to_end(&mut problem);
            return Err(Broken::Refused(refused(head.status, head.retry_after, &problem)));
        }
        let mut lines = BufReader::with_capacity(1 << 16, body);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).map_err(Broken::Lost)? > 0 {
            self.take_answer(&line)?;
            line.clear();
        }
        // The server ends its answer after our last chunk, or when it is told to stop.
        if self.window.is_empty() { Ok(()) } else { Err(Broken::Lost(io::ErrorKind::UnexpectedEof.into())) }
    }

    fn take_answer(&self, line: &[u8]) -> Result<(), Broken> {
        let answer: LineAnswer = serde_json::from_slice(line)
            .map_err(|error| Broken::Lost(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        match answer.status {
            ..400 => {
                self.counts.written.fetch_add(1, Ordering::Relaxed);
            }
            // A delete that is sent again: what it asks for is so.
            404 if answer.code == NOT_THERE => {
                self.counts.written.fetch_add(1, Ordering::Relaxed);
            }
            // 408 is no answer to a line: the server ends the stream that it heard nothing from for long.
            status @ (408 | 429 | 500..) => {
                let LineAnswer { code, detail, .. } = answer;
                return Err(Broken::Refused(Refused { status, code, detail, retry_after: None }));
            }
            _ => self.tell_rejected(&answer),
        }
        self.tell_progress();
        self.window.answer_one().then_some(()).ok_or_else(|| {
            Broken::Lost(io::Error::new(io::ErrorKind::InvalidData, "more answers than lines"))
        })
    }

    fn tell_rejected(&self, answer: &LineAnswer) {
        const TOLD_LINES_MAX: u64 = 5;
        match self.counts.rejected.fetch_add(1, Ordering::Relaxed) {
            0..TOLD_LINES_MAX => eprintln!("{}", rejection(answer, &self.window.first_unanswered_line())),
            TOLD_LINES_MAX => eprintln!("more lines were rejected; the end says how many"),
            _ => {}
        }
    }
}

/// Fits on a line of the screen, or two: a record may have megabytes.
fn rejection(answer: &LineAnswer, line: &[u8]) -> String {
    const LINE_CHARS_MAX: usize = 100;
    let line = String::from_utf8_lossy(&line[..line.len().min(4 * LINE_CHARS_MAX)]);
    let line = line.trim_end();
    let shown: String = line.chars().take(LINE_CHARS_MAX).collect();
    let cut = if shown.len() < line.len() { ".." } else { "" };
    format!("rejected {} {}: {}: {shown}{cut}", answer.status, answer.code, answer.detail)
}

fn is_for_the_moment(status: u16) -> bool {
    matches!(status, 408 | 429 | 503)
}

fn send_chunk(mut stream: impl Write, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(()); // an empty chunk would end the body
    }
    write!(stream, "{:x}\r\n", bytes.len())?;
    stream.write_all(bytes)?;
    stream.write_all(b"\r\n")
}

/// Batches on their way, oldest first.
#[derive(Default)]
struct Window {
    state: Mutex<WindowState>,
    changed: Condvar,
}

#[derive(Default)]
struct WindowState {
    batches: VecDeque<Arc<Batch>>,
    /// Lines of the oldest batch that were answered. Invariant: fewer than it has.
    answered_in_front: usize,
    answered_lines: u64,
    is_open: bool,
}

impl Window {
    fn lock(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().expect("nobody panics with the window locked")
    }

    fn open(&self) {
        self.lock().is_open = true;
    }

    fn close(&self) {
        self.lock().is_open = false;
        self.changed.notify_all();
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let full = |state: &mut WindowState| state.is_open && state.batches.len() >= WINDOW_BATCHES_MAX;
        let state = self.changed.wait_while(self.lock(), full).expect("nobody panics with the window locked");
        if state.is_open { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn push(&self, batch: Arc<Batch>) {
        assert!(!batch.is_empty(), "a batch has lines");
        self.lock().batches.push_back(batch);
    }

    /// False when there is no line to answer.
    fn answer_one(&self) -> bool {
        let mut state = self.lock();
        let Some(front) = state.batches.front() else { return false };
        let lines = front.ends.len();
        state.answered_in_front += 1;
        state.answered_lines += 1;
        if state.answered_in_front == lines {
            state.batches.pop_front();
            state.answered_in_front = 0;
            self.changed.notify_all();
        }
        true
    }

    /// What is to be sent again, with the number of the first unanswered line of each batch.
    fn unanswered(&self) -> Vec<(Arc<Batch>, usize)> {
        let state = self.lock();
        let first = |at: usize| if at == 0 { state.answered_in_front } else { 0 };
        state.batches.iter().enumerate().map(|(at, batch)| (batch.clone(), first(at))).collect()
    }

    fn first_unanswered_line(&self) -> Vec<u8> {
        let state = self.lock();
        state.batches.front().map(|batch| batch.line(state.answered_in_front).to_vec()).unwrap_or_default()
    }

    fn answered_lines(&self) -> u64 {
        self.lock().answered_lines
    }

    fn is_empty(&self) -> bool {
        self.lock().batches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;
    use std::net::TcpListener;

    /// Lines `{"n":0}`, `{"n":1}` and so on, in batches of three.
    fn batches(count: usize) -> Vec<Batch> {
        let lines: Vec<String> = (0..count).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let batch = |lines: &[String]| {
            let mut batch = Batch::default();
            for line in lines {
                batch.buffer().extend_from_slice(line.as_bytes());
                batch.end_line();
            }
            batch
        };
        lines.chunks(3).map(batch).collect()
    }

    fn numbers(lines: &[u8]) -> Vec<usize> {
        let text = std::str::from_utf8(lines).unwrap();
        text.lines().map(|line| line[5..line.len() - 1].parse().unwrap()).collect()
    }

    /// Reads one whole upload and answers each line with what `answer` gives; stops at `None`.
    fn serve_one(listener: &TcpListener, mut answer: impl FnMut(usize) -> Option<u16>) -> Vec<usize> {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).unwrap();
        }
        (&stream).write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let mut taken = Vec::new();
        for line in BufReader::new(BodyReader::new(reader, super::super::wire::Framing::Chunked)).lines() {
            let Ok(line) = line else { return taken };
            let number = numbers(line.as_bytes())[0];
            let Some(status) = answer(number) else { return taken };
            taken.push(number);
            let line = format!("{{\"status\":{status},\"seq\":1}}\n");
            // A client that heard enough has closed.
            if send_chunk(&stream, line.as_bytes()).is_err() {
                return taken;
            }
        }
        let _ = (&stream).write_all(b"0\r\n\r\n");
        taken
    }

    fn upload_to(listener: &TcpListener, lines: usize, counts: &Counts) -> Result<(), Failure> {
        let address = listener.local_addr().unwrap();
        let server = Server { is_sealed: false, authority: address.to_string() };
        let target = Target {
            server,
            address,
            sealing: None,
            api_key: ApiKeyLine::default(),
            path: "/bulk".to_owned(),
            durability: None,
        };
        let (sender, receiver) = bounded(1000);
        batches(lines).into_iter().for_each(|batch| sender.send(batch).unwrap());
        drop(sender);
        Upload::new(&target, counts).run(&receiver)
    }

    #[test]
    fn a_lost_connection_goes_on_at_the_first_unanswered_line() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counts = Counts::default();
        let (first, second) = thread::scope(|scope| {
            let server = scope.spawn(|| {
                let first = serve_one(&listener, |number| (number < 5).then_some(200));
                (first, serve_one(&listener, |_| Some(200)))
            });
            upload_to(&listener, 20, &counts).unwrap();
            server.join().unwrap()
        });
        assert_eq!(first, (0..5).collect::<Vec<_>>());
        // An answer may be lost with the connection, so lines may come twice, but none is left out
        // and the order stays.
        assert!(second[0] <= 5);
        assert_eq!(second, (second[0]..20).collect::<Vec<_>>());
        assert_eq!(counts.written.load(Ordering::Relaxed), 20);
        assert_eq!(counts.restarts.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_line_refused_for_the_moment_is_sent_again_with_all_behind_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counts = Counts::default();
        let second = thread::scope(|scope| {
            let server = scope.spawn(|| {
                serve_one(&listener, |number| (number < 10).then_some(if number == 7 { 503 } else { 200 }));
                serve_one(&listener, |_| Some(204))
            });
            upload_to(&listener, 10, &counts).unwrap();
            server.join().unwrap()
        });
        assert_eq!(second, [7, 8, 9]);
        assert_eq!(counts.written.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn a_stream_that_timed_out_goes_on_at_the_first_unanswered_line() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counts = Counts::default();
        let second = thread::scope(|scope| {
            let server = scope.spawn(|| {
                serve_one(&listener, |number| (number < 6).then_some(if number == 5 { 408 } else { 200 }));
                serve_one(&listener, |_| Some(200))
            });
            upload_to(&listener, 10, &counts).unwrap();
            server.join().unwrap()
        });
        // As above, answers may be lost with the connection.
        assert!(second[0] <= 5);
        assert_eq!(second, (second[0]..10).collect::<Vec<_>>());
        assert_eq!(counts.written.load(Ordering::Relaxed), 10);
        assert_eq!(counts.rejected.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_rejection_is_cut_to_the_screen() {
        let answer = LineAnswer { status: 422, code: "wrong".to_owned(), detail: "/key: no".to_owned() };
        assert_eq!(rejection(&answer, b"{\"n\":1}\n"), "rejected 422 wrong: /key: no: {\"n\":1}");
        let long = "\u{e9}".repeat(1 << 20);
        let told = rejection(&answer, long.as_bytes());
        assert!(told.chars().count() < 160 && told.ends_with("\u{e9}.."), "{told}");
    }

    #[test]
    fn a_rejected_line_is_counted_and_the_rest_goes_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counts = Counts::default();
        thread::scope(|scope| {
            scope.spawn(|| serve_one(&listener, |number| Some(if number % 2 == 0 { 422 } else { 200 })));
            upload_to(&listener, 10, &counts).unwrap();
        });
        assert_eq!((counts.written.load(Ordering::Relaxed), counts.rejected.load(Ordering::Relaxed)), (5, 5));
    }

    #[test]
    fn a_full_disk_ends_the_upload() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let counts = Counts::default();
        thread::scope(|scope| {
            scope.spawn(|| serve_one(&listener, |number| Some(if number < 2 { 200 } else { 507 })));
            let failure = upload_to(&listener, 10, &counts).unwrap_err();
            assert!(matches!(failure, Failure::Refused(Refused { status: 507, .. })), "{failure}");
        });
    }
}
