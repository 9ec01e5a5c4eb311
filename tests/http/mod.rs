//! A whole node with its HTTP servers, in the simulator or (see [`real`]) in a real world, and a client that reads answers strictly, and compares them
//! with what the server says of itself in `/openapi.json`.
#![allow(dead_code)]

pub mod contract;
mod json_schema;
mod real;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use kyrodb::io::executor::Class;
use kyrodb::io::op::SendBuf;
use kyrodb::io::runtime::{Runtime, Socket};
use kyrodb::io::sim::{Disk, SimConfig};
use kyrodb::net::access::shared::Access;
use kyrodb::net::drain::Drain;
use kyrodb::net::server::{Options, serve};
use kyrodb::shard::node::Node;

use crate::support::cluster::{Cluster, options};
use real::RealNode;

/// True when the tests run in a real world: those that count on simulated time or crashes leave out what they do.
pub fn is_real() -> bool {
    real::world().is_some()
}

enum Machine {
    Simulated(Box<Cluster>),
    Real(RealNode),
}

impl Machine {
    fn node(&self, core: usize) -> &Node {
        match self {
            Machine::Simulated(cluster) => &cluster.nodes[core],
            Machine::Real(node) => &node.nodes[core],
        }
    }

    fn run<T: 'static>(&mut self, core: usize, client: impl Future<Output = T> + 'static) -> T {
        match self {
            Machine::Simulated(cluster) => cluster.run(core, client),
            Machine::Real(node) => node.run(core, client),
        }
    }
}

pub struct Served {
    machine: Machine,
    pub drains: Vec<Drain>,
    /// Servers that have not drained.
    pub running: Rc<Cell<usize>>,
    address: SocketAddr,
}

/// Everybody may do everything.
pub fn plain_http() -> Options {
    Options {
        log_requests: false,
        connections_max: 64,
        room_bytes: 32 << 20,
        access: Access::default(),
        drain_for: Duration::from_secs(5),
        tls: None,
    }
}

impl Served {
    /// A node on `cores` cores, each listening at the same address.
    pub fn start(seed: u64, cores: usize) -> Served {
        Served::start_with(seed, cores, plain_http())
    }

    pub fn start_with(seed: u64, cores: usize, http: Options) -> Served {
        match real::world() {
            Some(world) => {
                let node = RealNode::start(world, cores);
                let address = node.address();
                Served::listen_at(address, cores, Machine::Real(node), http)
            }
            None => Served::start_on(seed, cores, Disk::default(), http),
        }
    }

    /// In the simulator, whatever the world is.
    pub fn start_on(seed: u64, cores: usize, disk: Disk, http: Options) -> Served {
        let mut cluster = Cluster::boot(seed, disk, SimConfig::cores(cores), &options());
        cluster.start().expect("the node starts");
        Served::listen_at(([127, 0, 0, 1], 3030).into(), cores, Machine::Simulated(Box::new(cluster)), http)
    }

    fn listen_at(address: SocketAddr, cores: usize, machine: Machine, http: Options) -> Served {
        let running = Rc::new(Cell::new(0));
        let drains = (0..cores).map(|_| Drain::default()).collect();
        let mut served = Served { machine, drains, running, address };
        (0..cores).for_each(|core| served.serve_on(core, http.clone()));
        served
    }

    fn serve_on(&mut self, core: usize, http: Options) {
        let (node, drain, address) =
            (self.machine.node(core).clone(), self.drains[core].clone(), self.address);
        let running = self.running.clone();
        let runtime = node.runtime().clone();
        self.machine.run(core, async move {
            let listener = runtime.listen(address).await.expect("the address is free");
            running.set(running.get() + 1);
            runtime.spawn(Class::Foreground, async move {
                serve(node, listener, http, drain).await;
                running.set(running.get() - 1);
            });
        });
    }

    /// Runs a conversation, beside the servers, to its end.
    pub fn talk<T: 'static, F>(&mut self, conversation: impl FnOnce(Talk) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        let runtime = self.machine.node(0).runtime().clone();
        self.machine.run(0, conversation(Talk { runtime, address: self.address }))
    }

    pub fn simulated(&mut self) -> &mut Cluster {
        match &mut self.machine {
            Machine::Simulated(cluster) => cluster,
            Machine::Real(_) => panic!("a test of the simulator only: see is_real"),
        }
    }
}

/// Where clients come from.
#[derive(Clone)]
pub struct Talk {
    pub runtime: Runtime,
    pub address: SocketAddr,
}

impl Talk {
    pub async fn connect(&self) -> Client {
        let socket = self.runtime.connect(self.address).await.expect("the server listens");
        Client { runtime: self.runtime.clone(), socket, received: RefCell::default() }
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, method: &str, target: &str, lines: &str, body: impl AsRef<[u8]>) -> Answer {
        self.connect().await.ask(method, target, lines, body).await
    }

    pub async fn sleep(&self, seconds: u64) {
        self.runtime.sleep(Duration::from_secs(seconds)).await;
    }
}

/// The bytes of a request; `lines` are further header lines, each with its end.
pub fn request(method: &str, target: &str, lines: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = match method {
        "GET" | "HEAD" => String::new(),
        _ => format!("Content-Length: {}\r\n", body.len()),
    };
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: kyro\r\n{lines}{length}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub struct Client {
    runtime: Runtime,
    pub socket: Socket,
    received: RefCell<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    pub fn lines(&self) -> Vec<serde_json::Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }
}

impl Client {
    pub async fn send(&self, bytes: impl Into<Vec<u8>>) {
        // A server that has closed takes no more; what it answered is still to be read.
        let _ = self.socket.send(SendBuf::Owned(bytes.into())).await;
    }

    pub async fn ask(&self, method: &str, target: &str, lines: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(request(method, target, lines, body)).await;
        let answer = self.answer_to(method).await;
        contract::check(method, target, &answer);
        answer
    }

    pub async fn answer(&self) -> Answer {
        self.answer_to("GET").await
    }

    /// The next answer, to a request with this method. Panics when the stream ends before it does.
    pub async fn answer_to(&self, method: &str) -> Answer {
        self.try_answer_to(method).await.expect("an answer comes")
    }

    /// `None` when the connection ends before an answer is whole.
    pub async fn try_answer_to(&self, method: &str) -> Option<Answer> {
        let head = loop {
            if let Some(head) = self.take_through(b"\r\n\r\n") {
                break String::from_utf8(head).expect("heads are ASCII");
            }
            self.receive().await?;
        };
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().expect("a head has a status line");
        let status = status_line.strip_prefix("HTTP/1.1 ").expect("HTTP/1.1")[..3].parse().expect("a number");
        let mut headers = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a field has a name");
            let earlier = headers.insert(name.to_lowercase(), value.to_owned());
            assert!(earlier.is_none(), "{name} is given twice");
        }
        let has_body = method != "HEAD" && !matches!(status, 100 | 204 | 304);
        let body = if has_body { self.body(&headers).await? } else { Vec::new() };
        let answer = Answer { status, headers, body };
        contract::check_problem(&answer);
        Some(answer)
    }

    async fn body(&self, headers: &BTreeMap<String, String>) -> Option<Vec<u8>> {
        if let Some(length) = headers.get("content-length") {
            return self.take(length.parse().expect("a length is a number")).await;
        }
        if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            return self.chunks().await;
        }
        assert_eq!(headers.get("connection").map(String::as_str), Some("close"));
        while self.receive().await.is_some() {}
        Some(std::mem::take(&mut *self.received.borrow_mut()))
    }

    async fn chunks(&self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(line) = self.take_through(b"\r\n") {
                    break line;
                }
                self.receive().await?;
            };
            let digits = std::str::from_utf8(&line).expect("ASCII").trim_end();
            let size = usize::from_str_radix(digits, 16).expect("a chunk has a size");
            body.extend(self.take(size).await?);
            assert_eq!(self.take(2).await?, b"\r\n");
            if size == 0 {
                return Some(body);
            }
        }
    }

    async fn take(&self, len: usize) -> Option<Vec<u8>> {
        while self.received.borrow().len() < len {
            self.receive().await?;
        }
        Some(self.received.borrow_mut().drain(..len).collect())
    }

    fn take_through(&self, end: &[u8]) -> Option<Vec<u8>> {
        let mut received = self.received.borrow_mut();
        let at = received.windows(end.len()).position(|window| window == end)?;
        Some(received.drain(..at + end.len()).collect())
    }

    async fn receive(&self) -> Option<()> {
        let lease = self.socket.receive().await.ok()??;
        self.received.borrow_mut().extend_from_slice(&lease);
        Some(())
    }

    /// True when the server closes without another byte.
    pub async fn is_closed(&self) -> bool {
        self.received.borrow().is_empty() && self.receive().await.is_none()
    }

    /// True when nothing comes, not even the end, for so long.
    pub async fn is_quiet_for(&self, seconds: u64) -> bool {
        self.runtime.timeout(Duration::from_secs(seconds), self.receive()).await.is_none()
    }
}
