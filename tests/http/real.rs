//! A whole node on real drivers, all on the thread of the test and stepped in turn, as the simulator does it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kyrodb::io::executor::{Class, Executor};
use kyrodb::io::world::World;
use kyrodb::shard::boot;
use kyrodb::shard::mailbox::mailboxes;
use kyrodb::shard::node::Node;
use kyrodb::shard::options::ShardOptions;
use tempfile::TempDir;

use crate::support::cluster::options;

/// Longer than any single test takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// When no core has anything to do.
const REST: Duration = Duration::from_micros(50);

/// The real world that the tests are to run in, by its name in TEST_WORLD; the simulator without.
pub fn world() -> Option<World> {
    let name = std::env::var("TEST_WORLD").ok()?;
    Some(World::parse(&name).unwrap_or_else(|| panic!("TEST_WORLD={name}: wanted is {}", World::WANTED)))
}

pub struct RealNode {
    // Nodes go first: their files are closed while the drivers are still there.
    pub nodes: Vec<Node>,
    executors: Vec<Executor>,
    _dir: TempDir,
}

impl RealNode {
    pub fn start(world: World, cores: usize) -> RealNode {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory");
        let options = ShardOptions { data_dir: dir.path().to_owned(), ..options() };
        let driver = || world.driver().unwrap_or_else(|error| panic!("{error}")).0;
        let mut executors: Vec<_> = (0..cores).map(|_| Executor::new(driver())).collect();
        let launched = mailboxes(cores).into_iter().zip(&mut executors);
        let nodes = launched.map(|(mailbox, executor)| boot::launch(executor, mailbox, options.clone()));
        let mut node = RealNode { nodes: nodes.collect(), executors, _dir: dir };
        for core in 0..cores {
            let starting = node.nodes[core].clone();
            node.run(core, async move { starting.started().await.expect("a shard starts") });
        }
        node
    }

    /// Where the first core finds a free port.
    pub fn address(&self) -> SocketAddr {
        kyrodb::io::uring::reserve_address(([127, 0, 0, 1], 0).into()).expect("a free port")
    }

    /// Runs a client on a core, beside all cores, until it is done.
    pub fn run<T: 'static>(&mut self, core: usize, client: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let given = result.clone();
        self.nodes[core].runtime().spawn(Class::Foreground, async move {
            let value = client.await;
            given.replace(Some(value));
        });
        let deadline = Instant::now() + PATIENCE;
        loop {
            let busy = self.executors.iter_mut().map(|executor| u32::from(executor.step())).sum::<u32>() > 0;
            if let Some(value) = result.take() {
                return value;
            }
            assert!(Instant::now() < deadline, "a client hangs");
            if !busy {
                std::thread::sleep(REST);
            }
        }
    }
}
