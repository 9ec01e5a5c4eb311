//! What the disk gives without any of us: one 4 KiB direct write with data sync after the other, to a
//! file that was filled with zeros before.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::{OpenMode, Sync};
use crate::io::runtime::{File, Runtime};
use crate::limits::MIB;
use crate::types::FileOffset;

/// Gone round in: little, as a disk that is nearly full is measured too.
const FILE_BYTES: usize = 4 * MIB;
const FILL_BYTES: usize = MIB;

/// Synced writes a second, over `duration`; the file is made in `dir` and removed after it.
pub async fn raw_syncs_per_s(runtime: &Runtime, dir: &Path, duration: Duration) -> io::Result<f64> {
    let path = dir.join("raw-sync.tmp");
    // Left behind when an earlier run was killed.
    let _ = runtime.remove_file(path.clone()).await;
    let file = runtime.open(path.clone(), OpenMode::CreateNew).await?;
    let measured = measure(runtime, &file, duration).await;
    runtime.remove_file(path).await?;
    measured
}

async fn measure(runtime: &Runtime, file: &File, duration: Duration) -> io::Result<f64> {
    let mut block = AlignedBuf::zeroed(FILL_BYTES);
    for at in (0..FILE_BYTES).step_by(FILL_BYTES) {
        block = file.write(FileOffset(at as u64), block, Sync::No).await?;
    }
    file.sync().await?;
    let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
    block.fill(0xA5);
    let began = runtime.now();
    let mut writes = 0usize;
    while u128::from(runtime.now().since(began)) < duration.as_nanos() {
        let at = writes * BLOCK_BYTES % FILE_BYTES;
        block = file.write(FileOffset(at as u64), block, Sync::Data).await?;
        writes += 1;
    }
    Ok(writes as f64 / (runtime.now().since(began) as f64 / 1e9))
}
