//! Files and directories.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::pattern;
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::{OpenMode, Sync};
use crate::io::runtime::{File, Runtime};
use crate::limits::MIB;
use crate::types::FileOffset;

const START: FileOffset = FileOffset(0);

/// All checks, in an empty directory.
pub async fn check_all(runtime: &Runtime, dir: &Path) {
    reads_back_what_was_written(runtime, dir).await;
    reads_end_at_the_end_of_the_file(runtime, dir).await;
    names_that_are_taken_or_missing(runtime, dir).await;
    rename_replaces(runtime, dir).await;
    linked_files_are_one(runtime, dir).await;
    lists_sorted_and_removes(runtime, dir).await;
    set_len_cuts_and_grows_with_zeroes(runtime, dir).await;
    writes_in_flight_all_land(runtime, dir).await;
    writes_outlive_their_file(runtime, dir).await;
    dropped_reads_keep_their_buffers(runtime, dir).await;
    dropped_writes_keep_their_buffers(runtime, dir).await;
    dropped_opens_leave_nothing_open(runtime, dir).await;
}

async fn create(runtime: &Runtime, dir: &Path, name: &str) -> File {
    runtime.open(dir.join(name), OpenMode::CreateNew).await.expect(name)
}

async fn create_with(runtime: &Runtime, dir: &Path, name: &str, bytes: &[u8]) -> File {
    let file = create(runtime, dir, name).await;
    file.write(START, AlignedBuf::padded(bytes), Sync::No).await.expect(name);
    file
}

async fn read(file: &File, offset: usize, len: usize) -> Vec<u8> {
    let (count, buf) = file.read(FileOffset(offset as u64), AlignedBuf::zeroed(len)).await.expect("a read");
    buf[..count].to_vec()
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

async fn reads_back_what_was_written(runtime: &Runtime, dir: &Path) {
    for (number, blocks) in [1, 2, 63, 256, 257, 1024].into_iter().enumerate() {
        let name = format!("whole-{number}");
        let bytes = pattern(number as u64, blocks * BLOCK_BYTES);
        let file = create(runtime, dir, &name).await;
        let sync = if number.is_multiple_of(2) { Sync::Data } else { Sync::No };
        let buf = file.write(START, AlignedBuf::padded(&bytes), sync).await.expect("a write");
        assert_eq!(buf[..], bytes[..], "a write gives its buffer back unchanged");
        file.sync().await.expect("a sync");
        assert_eq!(file.len().await.expect("a length"), bytes.len() as u64);
        assert!(read(&file, 0, bytes.len()).await == bytes, "{name} differs");
        drop(file);
        let file = runtime.open(dir.join(&name), OpenMode::Read).await.expect("a file written before");
        assert!(read(&file, 0, bytes.len()).await == bytes, "{name} differs when opened again");
    }
    runtime.sync_dir(dir).await.expect("a sync of the directory");
    assert!(runtime.free_space(dir).await.expect("free space") > MIB as u64);
}

async fn reads_end_at_the_end_of_the_file(runtime: &Runtime, dir: &Path) {
    let bytes = pattern(7, 3 * BLOCK_BYTES);
    let file = create_with(runtime, dir, "short", &bytes).await;
    assert!(read(&file, 0, 8 * BLOCK_BYTES).await == bytes);
    assert!(read(&file, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES).await == bytes[2 * BLOCK_BYTES..]);
    assert!(read(&file, 3 * BLOCK_BYTES, BLOCK_BYTES).await.is_empty());
    assert!(read(&file, 100 * BLOCK_BYTES, BLOCK_BYTES).await.is_empty());
    file.set_len(5000).await.expect("a length within a block");
    assert!(read(&file, 0, 8 * BLOCK_BYTES).await == bytes[..5000]);
    assert!(read(&file, BLOCK_BYTES, BLOCK_BYTES).await == bytes[BLOCK_BYTES..5000]);
}

async fn names_that_are_taken_or_missing(runtime: &Runtime, dir: &Path) {
    drop(create_with(runtime, dir, "taken", b"first").await);
    let again = runtime.open(dir.join("taken"), OpenMode::CreateNew).await;
    assert_eq!(kind(again), Some(ErrorKind::AlreadyExists));
    let file = runtime.open(dir.join("taken"), OpenMode::ReadWrite).await.expect("a file that exists");
    assert_eq!(read(&file, 0, BLOCK_BYTES).await[..5], *b"first", "a refused creation changes nothing");
    let missing = dir.join("missing");
    for mode in [OpenMode::Read, OpenMode::ReadWrite] {
        assert_eq!(kind(runtime.open(missing.clone(), mode).await), Some(ErrorKind::NotFound));
    }
    assert_eq!(kind(runtime.remove_file(missing.clone()).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(runtime.remove_dir(missing.clone()).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(runtime.rename(missing.clone(), dir.join("other")).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(runtime.list(missing.clone()).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(runtime.sync_dir(missing).await), Some(ErrorKind::NotFound));
}

async fn rename_replaces(runtime: &Runtime, dir: &Path) {
    let old = create_with(runtime, dir, "current", b"old").await;
    drop(create_with(runtime, dir, "next", b"new").await);
    runtime.rename(dir.join("next"), dir.join("current")).await.expect("a rename");
    assert_eq!(kind(runtime.open(dir.join("next"), OpenMode::Read).await), Some(ErrorKind::NotFound));
    let file = runtime.open(dir.join("current"), OpenMode::Read).await.expect("the renamed file");
    assert_eq!(read(&file, 0, BLOCK_BYTES).await[..3], *b"new");
    assert_eq!(read(&old, 0, BLOCK_BYTES).await[..3], *b"old", "an open file outlives its name");
}

async fn linked_files_are_one(runtime: &Runtime, dir: &Path) {
    let (first, second) = (dir.join("linked"), dir.join("second-name"));
    let file = create_with(runtime, dir, "linked", b"one").await;
    runtime.create_dir(dir.join("elsewhere")).await.expect("a new directory");
    let third = dir.join("elsewhere").join("third-name");
    for name in [&second, &third] {
        runtime.link(first.clone(), name.clone()).await.expect("a link");
        assert_eq!(kind(runtime.link(first.clone(), name.clone()).await), Some(ErrorKind::AlreadyExists));
    }
    assert_eq!(kind(runtime.link(dir.join("missing"), dir.join("x")).await), Some(ErrorKind::NotFound));
    file.write(START, AlignedBuf::padded(b"two"), Sync::Data).await.expect("a write");
    runtime.remove_file(first.clone()).await.expect("a file that exists");
    assert_eq!(kind(runtime.open(first, OpenMode::Read).await), Some(ErrorKind::NotFound));
    for name in [&second, &third] {
        let file = runtime.open(name.clone(), OpenMode::Read).await.expect("the other names stay");
        assert_eq!(read(&file, 0, BLOCK_BYTES).await[..3], *b"two", "one file under all names");
    }
    runtime.sync_dir(dir.join("elsewhere")).await.expect("a sync of the directory");
    runtime.remove_file(second).await.expect("a file that exists");
    runtime.remove_file(third).await.expect("a file that exists");
    runtime.remove_dir(dir.join("elsewhere")).await.expect("an empty directory");
}

async fn lists_sorted_and_removes(runtime: &Runtime, dir: &Path) {
    let dir = dir.join("listed");
    runtime.create_dir(dir.clone()).await.expect("a new directory");
    assert_eq!(kind(runtime.create_dir(dir.clone()).await), Some(ErrorKind::AlreadyExists));
    assert!(runtime.list(dir.clone()).await.expect("an empty list").is_empty());
    for (blocks, name) in ["b", "c", "a", "aa"].into_iter().enumerate() {
        drop(create_with(runtime, &dir, name, &pattern(0, (blocks + 1) * BLOCK_BYTES)).await);
    }
    runtime.create_dir(dir.join("ab")).await.expect("a new directory");
    let block = BLOCK_BYTES as u64;
    let listed: Vec<(String, bool, u64)> = runtime
        .list(dir.clone())
        .await
        .expect("a list")
        .into_iter()
        .map(|entry| (entry.name, entry.is_dir, entry.len))
        .collect();
    let file = |name: &str, blocks: u64| (name.to_owned(), false, blocks * block);
    let expected = vec![file("a", 3), file("aa", 4), ("ab".to_owned(), true, 0), file("b", 1), file("c", 2)];
    assert_eq!(listed, expected);
    assert!(runtime.remove_dir(dir.clone()).await.is_err(), "a directory with entries stays");
    for name in ["a", "aa", "b", "c"] {
        runtime.remove_file(dir.join(name)).await.expect("a file that exists");
    }
    runtime.remove_dir(dir.join("ab")).await.expect("an empty directory");
    assert!(runtime.list(dir.clone()).await.expect("an empty list").is_empty());
    runtime.remove_dir(dir.clone()).await.expect("an empty directory");
    assert_eq!(kind(runtime.list(dir).await), Some(ErrorKind::NotFound));
}

async fn set_len_cuts_and_grows_with_zeroes(runtime: &Runtime, dir: &Path) {
    let bytes = pattern(3, 2 * BLOCK_BYTES);
    let file = create_with(runtime, dir, "resized", &bytes).await;
    file.set_len(BLOCK_BYTES as u64).await.expect("a cut");
    assert!(read(&file, 0, 2 * BLOCK_BYTES).await == bytes[..BLOCK_BYTES]);
    file.set_len(3 * BLOCK_BYTES as u64).await.expect("a growth");
    assert_eq!(file.len().await.expect("a length"), 3 * BLOCK_BYTES as u64);
    let grown = read(&file, BLOCK_BYTES, 4 * BLOCK_BYTES).await;
    assert_eq!(grown, vec![0; 2 * BLOCK_BYTES], "what was cut off does not come back");
}

async fn writes_in_flight_all_land(runtime: &Runtime, dir: &Path) {
    const WRITES: usize = 48;
    let file = create(runtime, dir, "parallel").await;
    let block = |number: usize| pattern(100 + number as u64, BLOCK_BYTES);
    let write = |number: usize| {
        let sync = if number.is_multiple_of(3) { Sync::Data } else { Sync::No };
        file.write(FileOffset((number * BLOCK_BYTES) as u64), AlignedBuf::padded(&block(number)), sync)
    };
    let mut under_way: Vec<_> = (0..WRITES).map(write).collect();
    while let Some(write) = under_way.pop() {
        assert!(write.await.expect("a write")[..] == block(under_way.len()), "buffers mixed up");
    }
    let expected: Vec<u8> = (0..WRITES).flat_map(block).collect();
    assert!(read(&file, 0, WRITES * BLOCK_BYTES).await == expected, "a write landed elsewhere");
}

async fn writes_outlive_their_file(runtime: &Runtime, dir: &Path) {
    let file = create(runtime, dir, "dropped").await;
    let bytes = pattern(5, 4 * BLOCK_BYTES);
    let writes = [0, 1].map(|half| {
        let part = &bytes[half * 2 * BLOCK_BYTES..][..2 * BLOCK_BYTES];
        file.write(FileOffset((half * 2 * BLOCK_BYTES) as u64), AlignedBuf::padded(part), Sync::Data)
    });
    drop(file);
    for write in writes {
        write.await.expect("closing a file lets its writes end");
    }
    let file = runtime.open(dir.join("dropped"), OpenMode::Read).await.expect("the file");
    assert!(read(&file, 0, bytes.len()).await == bytes);
}

/// Polls once, so that the operation is under way, and leaves it.
async fn start<T>(mut future: Pin<&mut impl Future<Output = T>>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

async fn dropped_reads_keep_their_buffers(runtime: &Runtime, dir: &Path) {
    let bytes = pattern(9, 64 * BLOCK_BYTES);
    let file = create_with(runtime, dir, "read-dropped", &bytes).await;
    for round in 0..50 {
        let left = pin!(file.read(START, AlignedBuf::zeroed(bytes.len())));
        start(left).await;
        // Takes the place of the buffer, had it been freed.
        let fresh = AlignedBuf::zeroed(bytes.len());
        let offset = round % 60 * BLOCK_BYTES;
        assert!(read(&file, offset, BLOCK_BYTES).await == bytes[offset..offset + BLOCK_BYTES]);
        assert!(fresh.iter().all(|byte| *byte == 0), "a dropped read wrote to freed memory");
    }
}

async fn dropped_writes_keep_their_buffers(runtime: &Runtime, dir: &Path) {
    const BLOCKS: usize = 16;
    let file = create_with(runtime, dir, "write-dropped", &[1; BLOCKS * BLOCK_BYTES]).await;
    for round in 0..50u8 {
        drop(file.write(START, AlignedBuf::padded(&[2; BLOCKS * BLOCK_BYTES]), Sync::No));
        let mut fresh = AlignedBuf::zeroed(BLOCKS * BLOCK_BYTES);
        fresh.fill(100 + round);
        runtime.yield_now().await;
    }
    runtime.sleep(Duration::from_millis(20)).await;
    let found = read(&file, 0, BLOCKS * BLOCK_BYTES).await;
    assert!(found.iter().all(|byte| [1, 2].contains(byte)), "a dropped write took bytes of freed memory");
}

async fn dropped_opens_leave_nothing_open(runtime: &Runtime, dir: &Path) {
    drop(create_with(runtime, dir, "opened", b"x").await);
    for _ in 0..2000 {
        let left = pin!(runtime.open(dir.join("opened"), OpenMode::Read));
        start(left).await;
        runtime.yield_now().await;
    }
    let file = runtime.open(dir.join("opened"), OpenMode::Read).await.expect("descriptors are given back");
    assert_eq!(read(&file, 0, BLOCK_BYTES).await[0], b'x');
}
