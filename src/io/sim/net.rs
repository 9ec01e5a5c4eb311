//! Simulated TCP between the cores of a machine: listeners, connections, streams of bytes.
//!
//! A stream is delivered in random pieces after random delays. Faults: a refused connection, a reset
//! for both sides at a random moment, a one-way cut (nothing arrives any more and nobody is told), long
//! delays. Loss, duplication and reordering of packets happen below TCP: a stream shows them as delay.
//!
//! Several listeners may share an address, as with SO_REUSEPORT; each connection goes to a random one.
//! As on a real network, closing a socket with unread bytes, or sending to a closed one, resets the
//! connection, and a sender whose peer does not read waits once the window is full.
//!
//! Invariant: a stream operation ends exactly once: with the end of the stream, an error, or a cancel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use super::disk::errno;
use super::leases::LeasePool;
use super::machine::{Event, Machine, Waiter, hash};
use super::pipe::Pipe;
use crate::io::op::{Handle, Op, Outcome, SendBuf};

const FIRST_EPHEMERAL_PORT: u16 = 32_768;

struct Listener {
    addr: SocketAddr,
    accept: Option<Waiter>,
    /// Connections that nobody has accepted yet.
    backlog: VecDeque<(Handle, SocketAddr)>,
}

struct Socket {
    peer: Handle,
    receive: Option<Waiter>,
    inbound: Pipe,
    open: bool,
    /// Why sends fail and receives end, if they do.
    ended: Option<Ended>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Shutdown,
    Reset,
}

pub(super) struct Net {
    listeners: BTreeMap<Handle, Listener>,
    sockets: BTreeMap<Handle, Socket>,
    pools: Vec<Rc<LeasePool>>,
    /// Sockets with something to receive and no buffer to receive it in.
    starved: BTreeSet<Handle>,
    next_port: u16,
}

// ---- operations

impl Net {
    pub fn new(cores: usize, receive_buffers_max: u16) -> Net {
        Net {
            listeners: BTreeMap::new(),
            sockets: BTreeMap::new(),
            pools: (0..cores).map(|_| LeasePool::new(receive_buffers_max)).collect(),
            starved: BTreeSet::new(),
            next_port: FIRST_EPHEMERAL_PORT,
        }
    }

    pub fn submit(&mut self, machine: &mut Machine, waiter: Waiter, op: Op) {
        machine.log(format_args!("c{} t{} {}", waiter.core, waiter.token.0, Brief(&op)));
        match op {
            Op::Listen { addr } => self.listen(machine, waiter, addr),
            // A simulated machine has no descriptors.
            Op::TakeOverListener { .. } => machine.reply(waiter, Outcome::Failed(errno(libc::EOPNOTSUPP))),
            Op::Accept { listener } => self.accept(machine, waiter, listener),
            Op::Connect { addr } => {
                let delay = machine.net_delay();
                machine.schedule(delay, Event::Connect(waiter, addr));
            }
            Op::Receive { socket } => self.receive(machine, waiter, socket),
            Op::Send { socket, buf } => self.send(machine, waiter, socket, buf),
            Op::Shutdown { socket } => self.shutdown(machine, waiter, socket),
            Op::Close { handle } => self.close(machine, waiter, handle),
            other => unreachable!("not an operation of the network: {other:?}"),
        }
    }

    fn listen(&mut self, machine: &mut Machine, waiter: Waiter, mut addr: SocketAddr) {
        if addr.port() == 0 {
            addr.set_port(self.new_port());
        }
        let listener = machine.new_handle();
        self.listeners.insert(listener, Listener { addr, accept: None, backlog: VecDeque::new() });
        machine.reply(waiter, Outcome::Listening { listener, addr });
    }

    fn accept(&mut self, machine: &mut Machine, waiter: Waiter, handle: Handle) {
        let Some(listener) = self.listeners.get_mut(&handle) else {
            return machine.reply(waiter, Outcome::Failed(errno(libc::EBADF)));
        };
        assert!(listener.accept.replace(waiter).is_none(), "two accepts on one listener");
        for (socket, peer) in std::mem::take(&mut listener.backlog) {
            machine.stream(waiter, Outcome::Accepted { socket, peer });
        }
    }

    fn receive(&mut self, machine: &mut Machine, waiter: Waiter, handle: Handle) {
        let Some(socket) = self.sockets.get_mut(&handle).filter(|socket| socket.open) else {
            return machine.reply(waiter, Outcome::Failed(errno(libc::EBADF)));
        };
        match socket.ended {
            Some(Ended::Reset) => machine.reply(waiter, Outcome::Failed(errno(libc::ECONNRESET))),
            Some(Ended::Shutdown) => {
                let end = self.pools[waiter.core].lend(&[]);
                machine.reply(waiter, Outcome::Received(end));
            }
            None => {
                assert!(socket.receive.replace(waiter).is_none(), "two receives on one socket");
                self.schedule_arrival(machine, handle);
            }
        }
    }

    fn send(&mut self, machine: &mut Machine, waiter: Waiter, handle: Handle, buf: SendBuf) {
        let failure = match self.sockets.get(&handle).filter(|socket| socket.open) {
            None => Some(libc::EBADF),
            Some(Socket { ended: Some(Ended::Reset), .. }) => Some(libc::ECONNRESET),
            Some(Socket { ended: Some(Ended::Shutdown), .. }) => Some(libc::EPIPE),
            Some(_) => None,
        };
        if let Some(code) = failure {
            return machine.reply(waiter, Outcome::Failed(errno(code)));
        }
        let peer = self.sockets[&handle].peer;
        self.socket(peer).inbound.send(waiter, buf);
        self.report_sent(machine, peer);
        self.schedule_arrival(machine, peer);
    }

    fn shutdown(&mut self, machine: &mut Machine, waiter: Waiter, handle: Handle) {
        let Some(socket) = self.sockets.get_mut(&handle).filter(|socket| socket.open) else {
            return machine.reply(waiter, Outcome::Failed(errno(libc::EBADF)));
        };
        if socket.ended.is_some() {
            return machine.reply(waiter, Outcome::Failed(errno(libc::ENOTCONN)));
        }
        socket.ended = Some(Ended::Shutdown);
        socket.inbound.discarding = true;
        socket.inbound.discard();
        let (peer, receive) = (socket.peer, socket.receive.take());
        if let Some(receive) = receive {
            let end = self.pools[receive.core].lend(&[]);
            machine.complete(receive, Outcome::Received(end));
        }
        self.report_sent(machine, handle);
        self.finish(machine, peer);
        machine.reply(waiter, Outcome::Done);
    }

    fn close(&mut self, machine: &mut Machine, waiter: Waiter, handle: Handle) {
        machine.reply(waiter, Outcome::Done);
        if let Some(listener) = self.listeners.remove(&handle) {
            if let Some(accept) = listener.accept {
                machine.complete(accept, Outcome::Failed(errno(libc::ECANCELED)));
            }
            for (socket, _) in listener.backlog {
                self.reset(machine, socket);
                self.close_socket(machine, socket);
            }
            return;
        }
        assert!(self.sockets.get(&handle).is_some_and(|socket| socket.open), "closed what is not open");
        self.close_socket(machine, handle);
    }

    fn close_socket(&mut self, machine: &mut Machine, handle: Handle) {
        let socket = self.socket(handle);
        socket.open = false;
        socket.inbound.discarding = false; // what arrives now finds nobody
        let (peer, receive) = (socket.peer, socket.receive.take());
        let unread = !socket.inbound.is_empty() && !socket.inbound.cut;
        if let Some(receive) = receive {
            machine.complete(receive, Outcome::Failed(errno(libc::ECANCELED)));
        }
        self.starved.remove(&handle);
        if unread {
            self.reset(machine, handle);
        } else {
            self.finish(machine, peer);
        }
        self.forget_if_closed(machine, handle);
    }

    /// Ends an operation early if it is a stream or a send that waits; others end on their own.
    pub fn cancel(&mut self, machine: &mut Machine, waiter: Waiter) {
        let accept = self.listeners.values_mut().map(|listener| &mut listener.accept);
        let receive = self.sockets.values_mut().map(|socket| &mut socket.receive);
        let mut found = accept.chain(receive).any(|place| place.take_if(|other| *other == waiter).is_some());
        found = found || self.sockets.values_mut().any(|socket| socket.inbound.cancel(waiter));
        if found {
            machine.complete(waiter, Outcome::Failed(errno(libc::ECANCELED)));
        }
    }
}

// ---- events

impl Net {
    /// A connection attempt arrives.
    pub fn connect(&mut self, machine: &mut Machine, waiter: Waiter, addr: SocketAddr) {
        let listeners = self.listeners.iter().filter(|(_, listener)| listener.addr == addr);
        let handles: Vec<Handle> = listeners.map(|(handle, _)| *handle).collect();
        let refused = machine.rng.chance(machine.faults().connect_refused_permille);
        if handles.is_empty() || refused {
            return machine.complete(waiter, Outcome::Failed(errno(libc::ECONNREFUSED)));
        }
        let chosen = handles[machine.rng.index(handles.len())];
        let (client, server) = (machine.new_handle(), machine.new_handle());
        let client_addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.new_port());
        self.sockets.insert(client, Socket::new(server));
        let listener = self.listeners.get_mut(&chosen).expect("chosen from the listeners");
        match listener.accept {
            Some(accept) => machine.stream(accept, Outcome::Accepted { socket: server, peer: client_addr }),
            None => listener.backlog.push_back((server, client_addr)),
        }
        self.sockets.insert(server, Socket::new(client));
        machine.complete(waiter, Outcome::Opened(client));
    }

    /// The next piece of a stream arrives at `handle`.
    pub fn arrive(&mut self, machine: &mut Machine, handle: Handle) {
        let Some(socket) = self.sockets.get_mut(&handle) else { return };
        socket.inbound.scheduled = false;
        if socket.inbound.is_quiet() {
            return;
        }
        if machine.rng.chance(machine.config.faults.cut_permille) {
            machine.log(format_args!("fault cut h{}", handle.0));
            socket.inbound.cut = true;
            return;
        }
        let broken = machine.rng.chance(machine.config.faults.reset_permille);
        if broken {
            machine.log(format_args!("fault reset h{}", handle.0));
        }
        let nobody_there = !socket.open && !socket.inbound.is_empty();
        if broken || nobody_there {
            return self.reset(machine, handle);
        }
        self.hand_over(machine, handle);
    }

    fn hand_over(&mut self, machine: &mut Machine, handle: Handle) {
        let socket = self.sockets.get_mut(&handle).expect("a socket that something arrives at");
        let Some(receive) = socket.receive else { return };
        let pool = &self.pools[receive.core];
        if socket.inbound.is_empty() {
            socket.receive = None;
            return machine.complete(receive, Outcome::Received(pool.lend(&[])));
        }
        if !pool.has_room() {
            self.starved.insert(handle);
            return;
        }
        let piece = socket.inbound.take_piece(&mut machine.rng);
        machine.stream(receive, Outcome::Received(pool.lend(&piece)));
        self.report_sent(machine, handle);
        self.schedule_arrival(machine, handle);
    }

    /// Called when a core may have given buffers back.
    pub fn feed_starved(&mut self, machine: &mut Machine, core: usize) {
        if self.starved.is_empty() || !self.pools[core].has_room() {
            return;
        }
        let fed: Vec<Handle> =
            self.starved.iter().filter(|handle| self.is_on(**handle, core)).copied().collect();
        for handle in fed {
            self.starved.remove(&handle);
            self.schedule_arrival(machine, handle);
        }
    }

    fn is_on(&self, handle: Handle, core: usize) -> bool {
        self.sockets
            .get(&handle)
            .and_then(|socket| socket.receive)
            .is_some_and(|receive| receive.core == core)
    }
}

// ---- streams

impl Socket {
    fn new(peer: Handle) -> Socket {
        Socket { peer, receive: None, inbound: Pipe::default(), open: true, ended: None }
    }
}

impl Net {
    fn socket(&mut self, handle: Handle) -> &mut Socket {
        self.sockets.get_mut(&handle).expect("both ends of a connection live until both are closed")
    }

    fn new_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_EPHEMERAL_PORT);
        port
    }

    fn schedule_arrival(&mut self, machine: &mut Machine, handle: Handle) {
        let inbound = &mut self.socket(handle).inbound;
        if !inbound.scheduled && !inbound.is_quiet() {
            inbound.scheduled = true;
            let delay = machine.net_delay();
            machine.schedule(delay, Event::Arrive(handle));
        }
    }

    /// Tells the senders to `handle` whose bytes are all on their way.
    fn report_sent(&mut self, machine: &mut Machine, handle: Handle) {
        for (waiter, buf) in self.socket(handle).inbound.take_sent() {
            machine.reply(waiter, Outcome::Sent(buf));
        }
    }

    /// Nothing more will be sent to `handle`.
    fn finish(&mut self, machine: &mut Machine, handle: Handle) {
        self.socket(handle).inbound.finished = true;
        self.schedule_arrival(machine, handle);
    }

    /// Breaks the connection; a side that hears nothing any more does not hear of this either.
    fn reset(&mut self, machine: &mut Machine, handle: Handle) {
        let peer = self.socket(handle).peer;
        for (side, other) in [(handle, peer), (peer, handle)] {
            let socket = self.socket(side);
            if socket.inbound.cut || socket.ended == Some(Ended::Reset) {
                continue;
            }
            socket.ended = Some(Ended::Reset);
            socket.inbound.discard();
            socket.inbound.finished = false;
            let receive = socket.receive.take();
            let senders = self.socket(other).inbound.take_senders();
            for waiter in receive.into_iter().chain(senders) {
                machine.complete(waiter, Outcome::Failed(errno(libc::ECONNRESET)));
            }
        }
    }

    fn forget_if_closed(&mut self, machine: &mut Machine, handle: Handle) {
        let peer = self.socket(handle).peer;
        if self.socket(peer).open || self.socket(handle).open {
            return;
        }
        for side in [handle, peer] {
            let socket = self.sockets.remove(&side);
            let senders = socket.map(|mut socket| socket.inbound.take_senders()).unwrap_or_default();
            for waiter in senders {
                machine.complete(waiter, Outcome::Failed(errno(libc::ECANCELED)));
            }
        }
    }
}

/// An operation in the trace.
struct Brief<'a>(&'a Op);

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Listen { addr } => write!(f, "listen {addr}"),
            Op::TakeOverListener { .. } => write!(f, "take over a listener"),
            Op::Accept { listener } => write!(f, "accept h{}", listener.0),
            Op::Connect { addr } => write!(f, "connect {addr}"),
            Op::Receive { socket } => write!(f, "receive h{}", socket.0),
            Op::Send { socket, buf } => {
                write!(f, "send h{} {} {}", socket.0, buf.bytes().len(), hash(buf.bytes()))
            }
            Op::Shutdown { socket } => write!(f, "shutdown h{}", socket.0),
            Op::Close { handle } => write!(f, "close h{}", handle.0),
            other => unreachable!("not an operation of the network: {other:?}"),
        }
    }
}
