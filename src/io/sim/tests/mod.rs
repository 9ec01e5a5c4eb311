//! The simulated world seen through the seam: what tasks on a [`Runtime`] observe.

mod conformance;
mod durability;
mod faults;
mod names;
mod net;
mod schedule;
mod speed;

use std::future::Future;
use std::io;

use super::{Faults, Sim, SimConfig};
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::OpenMode;
use crate::io::runtime::{File, Runtime};
use crate::types::FileOffset;

fn block(byte: u8) -> AlignedBuf {
    blocks(byte, 1)
}

fn blocks(byte: u8, count: usize) -> AlignedBuf {
    AlignedBuf::padded(&vec![byte; count * BLOCK_BYTES])
}

fn at(page: u64) -> FileOffset {
    FileOffset(page * BLOCK_BYTES as u64)
}

fn sim_with(seed: u64, faults: Faults) -> Sim {
    Sim::new(seed, SimConfig { faults, ..SimConfig::default() })
}

/// Runs one task on a machine of one core.
fn run<T: 'static, F: Future<Output = T> + 'static>(sim: &mut Sim, task: impl FnOnce(Runtime) -> F) -> T {
    let future = task(sim.runtime(0));
    sim.run(future).unwrap_or_else(|stuck| panic!("{stuck}"))
}

async fn create(rt: &Runtime, path: &str) -> File {
    rt.open(path, OpenMode::CreateNew).await.expect("a new file")
}

/// First byte of each page read.
async fn read_pages(file: &File, page: u64, count: usize) -> io::Result<Vec<u8>> {
    let (len, buf) = file.read(at(page), AlignedBuf::zeroed(count * BLOCK_BYTES)).await?;
    Ok(buf[..len].chunks(BLOCK_BYTES).map(|page| page[0]).collect())
}

fn code<T>(result: io::Result<T>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}
