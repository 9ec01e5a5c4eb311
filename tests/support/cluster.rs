//! A whole node in the simulator: every core runs its shard, clients are tasks beside it.

use kyrodb::io::sim::{Disk, Sim, SimConfig, Stuck};
use kyrodb::limits;
use kyrodb::shard::boot;
use kyrodb::shard::mailbox::mailboxes;
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use kyrodb::shard::start_error::StartError;

pub struct Cluster {
    // Nodes go first: their files are closed while the machine is still there.
    pub nodes: Vec<Node>,
    pub sim: Sim,
}

/// Small segments, so that workloads cross their ends.
pub fn options() -> ShardOptions {
    ShardOptions {
        log_segment_bytes: limits::LOG_SEGMENT_BYTES_MIN,
        checkpoint_log_bytes: 64 * 1024,
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
        for core in 0..self.nodes.len() {
            let node = self.nodes[core].clone();
            let started = self.sim.run_on(core, async move { node.started().await });
            started.unwrap_or_else(|stuck| panic!("shard {core} hangs in recovery: {stuck}"))?;
        }
        Ok(())
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
