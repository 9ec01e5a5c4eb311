//! The doors from the command line into the engine: everything that runs on a core or reads a data
//! directory goes through here.

use std::path::Path;

use super::config::Config;
use super::failure::Failure;
use super::output::Output;
use crate::io::executor::Executor;
use crate::io::uring::{RingConfig, RingDriver};
use crate::shard::boot::{close, launch};
use crate::shard::mailbox::mailboxes;
use crate::shard::node::Node;
use crate::shard::options::ShardOptions;

/// Runs the server until it is told to stop.
pub fn serve(_config: &Config) -> Result<(), Failure> {
    Err(Failure::NotThereYet { command: "serve" })
}

/// Prints every record of the log of a stopped data directory.
pub fn dump_log(_data_dir: &Path, _out: &mut Output) -> Result<(), Failure> {
    Err(Failure::NotThereYet { command: "wal dump" })
}

/// Reads everything in a stopped data directory; names every damage, and fails when there is one.
pub fn verify(_data_dir: &Path, _out: &mut Output) -> Result<(), Failure> {
    Err(Failure::NotThereYet { command: "verify" })
}

/// Runs `body` with an executor of this thread, on a ring of its own.
pub fn with_executor<T>(body: impl FnOnce(&mut Executor) -> T) -> Result<T, Failure> {
    let driver = RingDriver::new(&RingConfig::default())
        .map_err(|source| Failure::Engine { what: "the ring", source: Box::new(source) })?;
    Ok(body(&mut Executor::new(Box::new(driver))))
}

/// Runs `body` on a one-shard node over `data_dir`, which is made when it is missing, and closes the
/// node after it.
pub fn with_node<T>(data_dir: &Path, body: impl AsyncFnOnce(Node) -> T) -> Result<T, Failure> {
    std::fs::create_dir_all(data_dir).map_err(Failure::file(data_dir))?;
    with_executor(|executor| {
        let mailbox = mailboxes(1).pop().expect("one mailbox for one shard");
        let node = launch(executor, mailbox, ShardOptions::new(data_dir));
        executor.block_on(async {
            let failed = |what| move |source| Failure::Engine { what, source };
            node.started().await.map_err(|error| failed("the shard")(error.into()))?;
            let result = body(node.clone()).await;
            close(&node).await.map_err(|refusal| failed("closing the shard")(refusal.into()))?;
            Ok(result)
        })
    })?
}
