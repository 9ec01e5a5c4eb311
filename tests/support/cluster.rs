//! A whole node in the simulator: every core runs its shard, clients are tasks beside it.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;

use kyrodb::io::executor::Class;
use kyrodb::io::sim::{Disk, Sim, SimConfig, Stuck};
use kyrodb::limits;
use kyrodb::shard::balance::BalanceOptions;
use kyrodb::shard::boot;
use kyrodb::shard::mailbox::mailboxes;
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::record::Refusal;
use kyrodb::shard::start_error::StartError;

pub type Client = Pin<Box<dyn Future<Output = ()>>>;

pub struct Cluster {
    // Nodes go first: their files are closed while the machine is still there.
    pub nodes: Vec<Node>,
    pub sim: Sim,
}

/// Small segments, so that workloads cross their ends; and values that are soon large.
/// Ranges move by load only where much is written: tests of moves make their own.
pub fn options() -> ShardOptions {
    ShardOptions {
        log_segment_bytes: limits::LOG_SEGMENT_BYTES_MIN,
        checkpoint_log_bytes: 64 * 1024,
        part_bytes: 16 * 1024,
        value_bytes_inline: 2 * 1024,
        value_file_bytes: 64 * 1024,
        memory_bytes: 64 << 20,
        balance: BalanceOptions { bytes_min: 4 << 20, ..BalanceOptions::default() },
        ..ShardOptions::new("/")
    }
}

impl Cluster {
    /// Puts a shard on every core of the machine; they begin to recover when it runs.
    pub fn boot(seed: u64, disk: Disk, config: SimConfig, options: &ShardOptions) -> Cluster {
        let cores = config.cores;
        let mut sim = Sim::with_disk(seed, disk, config);
        let nodes = mailboxes(cores)
            .into_iter()
            .enumerate()
            .map(|(core, mailbox)| boot::launch(sim.executor(core), mailbox, options.clone()))
            .collect();
        Cluster { nodes, sim }
    }

    /// Runs until every shard serves, or one cannot.
    pub fn start(&mut self) -> Result<(), StartError> {
        let started = self.outcomes(&|| false).unwrap_or_else(|stuck| panic!("{stuck}"));
        started.into_iter().collect()
    }

    /// Runs until every shard serves, one cannot, or `stop`; true when all serve.
    pub fn start_unless(&mut self, stop: impl Fn() -> bool) -> Result<bool, String> {
        let failure = self.outcomes(&stop)?.into_iter().find_map(Result::err);
        match failure {
            Some(error) => Err(format!("a shard does not start: {error}")),
            None => Ok(!stop()),
        }
    }

    /// Of the shards that have started or failed when all have, one has failed, or `stop`.
    fn outcomes(&mut self, stop: &dyn Fn() -> bool) -> Result<Vec<Result<(), StartError>>, String> {
        let outcomes: Rc<RefCell<Vec<Result<(), StartError>>>> = Rc::default();
        for node in &self.nodes {
            let (node, outcomes) = (node.clone(), outcomes.clone());
            node.runtime().clone().spawn(Class::Foreground, async move {
                let outcome = node.started().await;
                outcomes.borrow_mut().push(outcome);
            });
        }
        let shards = self.nodes.len();
        let over = || {
            let outcomes = outcomes.borrow();
            outcomes.len() == shards || outcomes.iter().any(Result::is_err)
        };
        let ran = self.sim.run_until(|| stop() || over());
        ran.map_err(|stuck| format!("the start hangs: {stuck}"))?;
        Ok(outcomes.take())
    }

    /// Puts clients on their cores and runs until all are done.
    pub fn run_all(&mut self, clients: Vec<(usize, Client)>) -> Result<(), Stuck> {
        let left = Rc::new(Cell::new(clients.len()));
        for (core, client) in clients {
            let left = left.clone();
            self.sim.runtime(core).spawn(Class::Foreground, async move {
                client.await;
                left.set(left.get() - 1);
            });
        }
        self.sim.run_until(|| left.get() == 0)
    }

    /// Closes every shard in order, all at once.
    pub fn close(&mut self) -> Result<(), String> {
        let failures: Rc<RefCell<Vec<Refusal>>> = Rc::default();
        let closing = self.nodes.iter().enumerate().map(|(core, node)| {
            let (node, failures) = (node.clone(), failures.clone());
            let client: Client = Box::pin(async move {
                if let Err(refusal) = boot::close(&node).await {
                    failures.borrow_mut().push(refusal);
                }
            });
            (core, client)
        });
        let closing = closing.collect();
        self.run_all(closing).map_err(|stuck| format!("closing hangs: {stuck}"))?;
        let failure = failures.borrow_mut().pop();
        failure.map_or(Ok(()), |refusal| Err(format!("a shard does not close: {refusal}")))
    }

    /// Runs a client on a core until it is done.
    pub fn run<T: 'static>(&mut self, core: usize, client: impl Future<Output = T> + 'static) -> T {
        self.try_run(core, client).unwrap_or_else(|stuck| panic!("a client hangs: {stuck}"))
    }

    pub fn try_run<T: 'static>(
        &mut self,
        core: usize,
        client: impl Future<Output = T> + 'static,
    ) -> Result<T, Stuck> {
        self.sim.run_on(core, client)
    }
}
