//! `serve`: one thread a shard, from the ready line to the last acknowledgement.
//!
//! The main thread starts the cores, waits for what they report and for signals, and ends the process.
//! A core reports through a channel; the word to stop reaches it by its doorbell.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::config::Config;
use super::data_dir::DataDir;
use super::engine::foresee_start;
use super::every::Every;
use super::failure::Failure;
use super::key_watch::KeyWatch;
use super::service::{LastLook, Pulse, Service};
use super::tls_watch::TlsWatch;
use super::{freed_memory, logging};
use crate::io::driver::Doorbell;
use crate::io::executor::{Class, Executor};
use crate::io::runtime::{Listener, Runtime};
use crate::io::uring::{available_cores, huge_pages_only_where_advised, require_open_files, reserve_address};
use crate::limits;
use crate::net::drain::Drain;
use crate::net::server;
use crate::shard::boot;
use crate::shard::mailbox::{Mailbox, mailboxes};
use crate::shard::node::Node;
use crate::shard::options::ShardOptions;
use crate::shard::serve::receive;
use crate::shard::start_error::StartError;
use crate::types::ShardId;

/// A port that an earlier process is just giving up.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(50);
/// After the drain every shard has this long to make its log durable and say so.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Files of a core beside its connections.
const FILES_A_SHARD: u64 = 64;

/// What a core tells the main thread.
enum Event {
    Bell(Arc<dyn Doorbell>),
    Started(ShardId, Result<(), StartError>),
    Listening(std::io::Result<SocketAddr>),
    /// The core's thread is over; false when its data could not be closed in order, or it panicked.
    Ended {
        in_order: bool,
    },
    Signal,
}

/// Where the cores listen.
#[derive(Clone)]
enum Place {
    /// Each with a socket of its own.
    Address(SocketAddr),
    /// All on the one that the service manager handed down.
    Inherited(Arc<OwnedFd>),
}

impl Place {
    async fn listen(&self, runtime: &Runtime) -> std::io::Result<Listener> {
        match self {
            Place::Address(address) => runtime.listen(*address).await,
            Place::Inherited(socket) => runtime.take_over_listener(socket.try_clone()?).await,
        }
    }

    /// Connections of a socket that is there before the server wait until it serves: whoever made one does not know that
    /// there was none. At an address of its own a server that is starting says so.
    async fn may_be_served(&self, node: &Node, shared: &Shared, drain: &Drain) {
        let is_early = || shared.started.load(Ordering::Acquire) < node.shards() && !drain.is_begun();
        while matches!(self, Place::Inherited(_)) && is_early() {
            node.runtime().sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What all cores share: their turns, the start and the end.
struct Shared {
    pulse: Pulse,
    /// Cores whose shard serves.
    started: AtomicUsize,
    /// The end is.
    wanted: AtomicBool,
    /// Cores without connections; none closes its shard before all have none, or have been given up.
    drained: AtomicUsize,
}

impl Shared {
    fn new(shards: usize) -> Shared {
        Shared {
            pulse: Pulse::new(shards),
            started: AtomicUsize::new(0),
            wanted: AtomicBool::new(false),
            drained: AtomicUsize::new(0),
        }
    }
}

pub fn serve(config: &Config) -> Result<(), Failure> {
    let _logs = logging::init();
    let _data_dir = DataDir::claim(&config.data_dir)?;
    // Before a core makes anything there.
    foresee_start(&config.data_dir, config.shards)?;
    let service = Service::of_this_process();
    let inherited = service.inherited_socket()?;
    let listen = inherited.as_ref().map_or(Ok(config.listen), address_of)?;
    if listen != config.listen {
        tracing::info!(%listen, "serves the socket of the service manager; `listen` does not count");
    }
    let mut keys = KeyWatch::start(config, listen)?;
    let mut tls = TlsWatch::start(config)?;
    let place = match inherited {
        Some(socket) => Place::Inherited(Arc::new(socket)),
        None => Place::Address(reserve(listen)?),
    };
    if let Err(error) = require_open_files(files_wanted(config.shards)) {
        tracing::warn!(%error, "fewer connections than the limit can be open at a time");
    }
    if !huge_pages_only_where_advised() {
        tracing::debug!("this kernel decides by itself where huge pages go");
    }
    let (events, inbox) = channel();
    let shared = Arc::new(Shared::new(config.shards));
    let options = ShardOptions {
        log_segment_bytes: config.log_segment_bytes,
        memory_bytes: config.memory_bytes / config.shards as u64,
        durability: config.durability,
        warm_on_start: config.warm_on_start,
        ..ShardOptions::new(&config.data_dir)
    };
    watch_signals(events.clone())?;
    freed_memory::watch();
    for mailbox in mailboxes(config.shards) {
        let http = server::Options {
            log_requests: !config.disable_http_log,
            connections_max: server::connections_max(config.shards),
            room_bytes: server::connections_room(options.memory_bytes),
            access: keys.access().clone(),
            drain_for: config.drain,
            tls: tls.identity().cloned(),
        };
        start_core(config, mailbox, options.clone(), (place.clone(), http), &shared, &events)?;
    }
    drop(events);
    let files = || {
        keys.look();
        tls.look();
    };
    supervise(config, &inbox, &shared, &service, files)
}

/// Open files of a server with as many connections as it takes.
pub fn files_wanted(shards: usize) -> u64 {
    shards as u64 * FILES_A_SHARD + limits::CONNECTIONS_MAX as u64
}

/// From the word to stop to the end of the process, at most.
fn longest_end(drain: Duration) -> Duration {
    drain + limits::CUT_PATIENCE + CLOSE_PATIENCE
}

fn address_of(socket: &OwnedFd) -> Result<SocketAddr, Failure> {
    let listener = socket.try_clone().map(TcpListener::from);
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(|source| engine("the socket of the service manager", source))
}

fn reserve(wanted: SocketAddr) -> Result<SocketAddr, Failure> {
    let deadline = Instant::now() + ADDRESS_PATIENCE;
    loop {
        match reserve_address(wanted) {
            Ok(address) => return Ok(address),
            Err(_) if Instant::now() < deadline => std::thread::sleep(RETRY),
            Err(error) => {
                return Err(Failure::Unavailable { what: format!("cannot listen on {wanted}: {error}") });
            }
        }
    }
}

fn watch_signals(events: Sender<Event>) -> Result<(), Failure> {
    // A terminal that is closed is no reason to cut requests.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|source| engine("signals", source))?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if events.send(Event::Signal).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn engine(what: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Engine { what, source: Box::new(source) }
}

fn start_core(
    config: &Config,
    mailbox: Mailbox,
    options: ShardOptions,
    (place, http): (Place, server::Options),
    shared: &Arc<Shared>,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let shard = mailbox.shard();
    let core = usize::from(shard.0) % available_cores();
    let (shared, events) = (shared.clone(), events.clone());
    let name = format!("shard-{:03}", shard.0);
    let started = config.runtime.spawn_core(Some(core), &name, move |executor| {
        let report = EndReport { events: events.clone(), in_order: false };
        run_core(executor, mailbox, options, &place, http, &shared, report);
    });
    let core = started.map_err(|source| engine("a core", source))?;
    if shard.0 == 0 {
        tracing::info!("{}", core.about);
    }
    Ok(())
}

/// Tells the main thread that the core is over, also when it panics.
struct EndReport {
    events: Sender<Event>,
    in_order: bool,
}

impl Drop for EndReport {
    fn drop(&mut self) {
        // The main thread may be gone already; then nobody needs to know.
        let _ = self.events.send(Event::Ended { in_order: self.in_order });
    }
}

fn run_core(
    mut executor: Executor,
    mailbox: Mailbox,
    options: ShardOptions,
    place: &Place,
    http: server::Options,
    shared: &Arc<Shared>,
    mut report: EndReport,
) {
    let events = report.events.clone();
    let tell = |event| {
        let _ = events.send(event);
    };
    tell(Event::Bell(executor.runtime().doorbell()));
    let drain_for = http.drain_for;
    let all = shared.clone();
    let node = boot::launch(&mut executor, mailbox, options);
    let drain = Drain::default();
    watch_stop(&mut executor, &node, shared, &drain);

    let (reporter, started) = (events.clone(), node.clone());
    node.runtime().spawn(Class::Foreground, async move {
        let outcome = started.started().await;
        if outcome.is_ok() {
            all.started.fetch_add(1, Ordering::AcqRel);
        }
        let _ = reporter.send(Event::Started(started.shard(), outcome));
    });
    report.in_order = executor.block_on(async {
        place.may_be_served(&node, shared, &drain).await;
        match place.listen(node.runtime()).await {
            Ok(_) if drain.is_begun() => {}
            Ok(listener) => {
                tell(Event::Listening(Ok(listener.addr())));
                server::serve(node.clone(), listener, http, drain.clone()).await;
            }
            Err(error) => {
                tell(Event::Listening(Err(error)));
                drain.begun().await;
            }
        }
        close(&node, shared, drain_for).await
    });
}

/// Looks at the stop flag once a turn, beside the inboxes.
fn watch_stop(executor: &mut Executor, node: &Node, shared: &Arc<Shared>, drain: &Drain) {
    let (node, shared, drain) = (node.clone(), shared.clone(), drain.clone());
    executor.set_turn_hook(move || {
        shared.pulse.beat(node.shard());
        let stopping = !drain.is_begun() && shared.wanted.load(Ordering::Acquire);
        if stopping {
            drain.begin();
        }
        receive(&node) || stopping
    });
}

/// True when everything acknowledged is durable and the manifest says so.
async fn close(node: &Node, shared: &Shared, drain_for: Duration) -> bool {
    shared.drained.fetch_add(1, Ordering::AcqRel);
    let others = async {
        while shared.drained.load(Ordering::Acquire) < node.shards() {
            node.runtime().sleep(Duration::from_millis(1)).await;
        }
    };
    // A core that hangs keeps the others no longer than this.
    let _ = node.runtime().timeout(drain_for + limits::CUT_PATIENCE, others).await;
    let closed = node.runtime().timeout(CLOSE_PATIENCE, boot::close(node)).await;
    matches!(closed, Some(Ok(())))
}

/// Waits for the cores to be ready, then for the end.
fn supervise(
    config: &Config,
    inbox: &Receiver<Event>,
    shared: &Shared,
    service: &Service,
    mut look_at_files: impl FnMut(),
) -> Result<(), Failure> {
    let mut state = Supervision::new(config.shards, service.period());
    while state.running > 0 {
        look_at_files();
        state.look(&shared.pulse, service);
        let event = match inbox.recv_timeout(service.period().min(limits::KEY_FILE_PERIOD)) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        match event {
            Event::Bell(bell) => state.bells.push(bell),
            Event::Listening(Ok(address)) => state.address = Some(address),
            Event::Listening(Err(error)) => {
                let what = format!("cannot listen on {}: {error}", config.listen);
                state.fail(Failure::Unavailable { what });
            }
            Event::Started(_, Ok(())) => state.ready += 1,
            Event::Started(shard, Err(error)) => state.fail(Failure::Start { shard, error }),
            Event::Ended { in_order } => {
                state.running -= 1;
                if !shared.wanted.load(Ordering::Acquire) {
                    state.fail(Failure::CoreLost);
                } else if !in_order {
                    state.fail(Failure::NotClosed);
                }
            }
            Event::Signal => state.stopping = true,
        }
        if state.is_ready_now() {
            state.announce(config, service)?;
        }
        if state.stopping && !shared.wanted.swap(true, Ordering::AcqRel) {
            service.stopping(longest_end(config.drain));
            state.begin_drain(config.drain);
        }
        state.bells.iter().filter(|_| state.stopping).for_each(|bell| bell.ring());
    }
    state.failure.map_or(Ok(()), Err)
}

/// What the main thread knows of the cores.
struct Supervision {
    shards: usize,
    running: usize,
    ready: usize,
    announced: bool,
    stopping: bool,
    address: Option<SocketAddr>,
    bells: Vec<Arc<dyn Doorbell>>,
    failure: Option<Failure>,
    last_look: LastLook,
    looks: Every,
    /// Since a core took no turn.
    silent_looks: u32,
}

impl Supervision {
    fn new(shards: usize, period: Duration) -> Supervision {
        Supervision {
            shards,
            running: shards,
            ready: 0,
            announced: false,
            stopping: false,
            address: None,
            bells: Vec::new(),
            failure: None,
            last_look: LastLook::default(),
            looks: Every::new(period),
            silent_looks: 0,
        }
    }

    /// Tells the service manager, when it is time to, that all is well: as long as no core hangs. An end has its own
    /// deadlines.
    fn look(&mut self, pulse: &Pulse, service: &Service) {
        if !self.looks.is_due() {
            return;
        }
        if self.last_look.all_turned(pulse) || self.stopping {
            service.alive();
            self.silent_looks = 0;
        } else {
            self.silent_looks += 1;
            if self.silent_looks == service.looks_in_half() {
                tracing::error!("a core takes no turns; the service manager is not told that all is well");
            }
        }
        self.bells.iter().for_each(|bell| bell.ring());
    }

    /// The first failure is the one to tell; the rest of the node stops with it.
    fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        self.stopping = true;
    }

    fn is_ready_now(&self) -> bool {
        self.ready == self.shards && self.address.is_some() && !self.announced && !self.stopping
    }

    fn announce(&mut self, config: &Config, service: &Service) -> Result<(), Failure> {
        self.announced = true;
        let address = self.address.unwrap_or(config.listen);
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        service.ready(&format!("{scheme}://{address}"), self.shards);
        let cores = available_cores();
        let mut out = std::io::stdout().lock();
        let line = if cores < self.shards {
            writeln!(out, "ready {scheme}://{address} shards={} cores={cores}", self.shards)
        } else {
            writeln!(out, "ready {scheme}://{address} shards={}", self.shards)
        };
        line.and_then(|()| out.flush()).map_err(Failure::Output)
    }

    /// A core that neither drains nor ends, or never came up, does not keep the process.
    fn begin_drain(&self, drain: Duration) {
        // A start that was refused never had anything to drain.
        if self.failure.is_none() {
            tracing::info!("draining");
        }
        std::thread::spawn(move || {
            std::thread::sleep(longest_end(drain));
            logging::complain("not everything was closed in time; the next start replays the log");
            std::process::exit(1);
        });
    }
}
