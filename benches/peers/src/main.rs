//! The learned index beside ordered maps and indexes that others use, on the same keys in one process:
//! `cargo run --release -- KEYFILE [LOOKUPS=1000000]`, from this folder. KEYFILE is in SOSD format; the
//! example `make_keys` of the crate above writes some.
//!
//! Nanoseconds a lookup by CPU time of this thread, best of five over the same random keys. Every answer
//! is checked. For the latency each key is hidden by the answer before it (`key ^ rank * odd`): a wrong
//! guess of the processor's then looks for a wrong key, as it would in a program that needs the answer.
//! All take their memory from the same allocator; GLIBC_TUNABLES=glibc.malloc.hugetlb=1 asks for huge
//! pages under all of them alike.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::time::Instant;

use kyrodb::rmi::choose::Structure;
use kyrodb::rmi::index::{Index, IndexOptions, Mode};
use kyrodb::rmi::keys::KeyArray;

#[path = "../../../tests/support/keysets.rs"]
mod keysets;

use keysets::Random;

const TURNS: usize = 5;
const BATCH_KEYS: usize = 32;
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

struct Lookups {
    hits: Vec<u64>,
    ranks: Vec<u32>,
    /// `hits`, each hidden by the rank of the one before.
    chain: Vec<u64>,
    misses: Vec<u64>,
}

impl Lookups {
    fn new(keys: &[u64], count: usize) -> Lookups {
        let random = &mut Random(42);
        let ranks: Vec<u32> = (0..count).map(|_| random.below(keys.len() as u64) as u32).collect();
        let hits: Vec<u64> = ranks.iter().map(|rank| keys[*rank as usize]).collect();
        let before = std::iter::once(0).chain(ranks.iter().copied());
        let chain = hits.iter().zip(before).map(|(key, rank)| key ^ u64::from(rank).wrapping_mul(ODD));
        let chain = chain.collect();
        let between = |random: &mut Random| {
            let at = random.below(keys.len() as u64 - 1) as usize;
            let gap = keys[at + 1] - keys[at];
            (gap > 1).then(|| keys[at] + 1 + random.below(gap - 1))
        };
        let misses = (0..count).filter_map(|_| between(random)).collect();
        Lookups { hits, ranks, chain, misses }
    }
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Best of the turns, nanoseconds for each of `count`.
fn best(count: usize, mut turn: impl FnMut()) -> f64 {
    let timed = |_| {
        let before = cpu_ns();
        turn();
        (cpu_ns() - before) as f64 / count.max(1) as f64
    };
    (0..TURNS).map(timed).fold(f64::INFINITY, f64::min)
}

/// One line of the table. `get` gives the rank of a key that is there.
fn measure(name: &str, lookups: &Lookups, bytes_per_key: f64, get: impl Fn(u64) -> Option<u32>) {
    line(name, single(name, lookups, get), None, bytes_per_key);
}

/// Hit, latency, miss.
fn single(name: &str, lookups: &Lookups, get: impl Fn(u64) -> Option<u32>) -> [f64; 3] {
    let hit = best(lookups.hits.len(), || {
        for (key, rank) in lookups.hits.iter().zip(&lookups.ranks) {
            assert_eq!(get(*key), Some(*rank), "{name}");
        }
    });
    let latency = best(lookups.chain.len(), || {
        let mut last = 0;
        for (hidden, rank) in lookups.chain.iter().zip(&lookups.ranks) {
            last = get(hidden ^ u64::from(last).wrapping_mul(ODD)).expect("a key that is there");
            assert_eq!(last, *rank, "{name}");
        }
    });
    let miss = best(lookups.misses.len(), || {
        lookups.misses.iter().for_each(|key| assert_eq!(get(*key), None, "{name}"));
    });
    [hit, latency, miss]
}

fn line(name: &str, [hit, latency, miss]: [f64; 3], batch: Option<f64>, bytes: f64) {
    let batch = batch.map_or("-".to_owned(), |batch| format!("{batch:.1}"));
    println!("{name:<24} {hit:>8.1} {latency:>8.1} {miss:>8.1} {batch:>8} {bytes:>8.3}");
}

fn own(name: &str, keys: &[u64], lookups: &Lookups, structure: Option<Structure>) {
    let options = IndexOptions { structure, ..IndexOptions::default() };
    let index = Index::build(KeyArray::new(keys).expect("sorted and unique"), options, &mut cpu_ns);
    let get = |key| index.get(key).map(|rank| rank as u32);
    let times = single(name, lookups, get);
    let mut places = [None; BATCH_KEYS];
    let batch = best(lookups.hits.len(), || {
        for (wanted, ranks) in lookups.hits.chunks(BATCH_KEYS).zip(lookups.ranks.chunks(BATCH_KEYS)) {
            let places = &mut places[..wanted.len()];
            index.get_batch(wanted, places);
            assert!(places.iter().zip(ranks).all(|(place, rank)| *place == Some(*rank as usize)));
        }
    });
    let [one, many] = [Mode::Single, Mode::Batch].map(|mode| index.choice(mode).structure.name());
    let name = format!("{name} ({one}, {many})");
    line(&name, times, Some(batch), index.bytes() as f64 / keys.len() as f64);
}

/// Bytes in use by the allocator, for structures that do not tell their size.
fn allocated() -> f64 {
    // SAFETY: takes no argument and gives a plain struct.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as f64
}

/// Builds, and says what it took beyond the key and its rank.
fn built<T>(keys: &[u64], build: impl FnOnce() -> T) -> (T, f64) {
    let before = allocated();
    let structure = build();
    let bytes = (allocated() - before) / keys.len() as f64;
    (structure, bytes - (size_of::<u64>() + size_of::<u32>()) as f64)
}

fn pairs(keys: &[u64]) -> impl Iterator<Item = (u64, u32)> {
    keys.iter().copied().zip(0..)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().expect("KEYFILE [LOOKUPS]");
    let count = arguments.next().map_or(1_000_000, |count| count.parse().expect("a number of lookups"));
    let began = Instant::now();
    let keys = keysets::read_sosd(&mut BufReader::new(File::open(&file).expect("a readable file")));
    let keys = keys.expect("a file in SOSD format");
    let lookups = Lookups::new(&keys, count);
    println!("{} keys of {file}, {count} lookups", keys.len());
    println!("{:<24} {:>8} {:>8} {:>8} {:>8} {:>8}", "ns", "hit", "latency", "miss", "batch32", "B/key");

    own("kyrodb", &keys, &lookups, None);
    own("kyrodb", &keys, &lookups, Some(Structure::SPlus));
    measure("binary search", &lookups, 0.0, |key| keys.binary_search(&key).ok().map(|rank| rank as u32));
    {
        let (map, bytes) = built(&keys, || pairs(&keys).collect::<BTreeMap<u64, u32>>());
        measure("BTreeMap", &lookups, bytes, |key| map.get(&key).copied());
    }
    {
        let (map, bytes) = built(&keys, || pairs(&keys).collect::<hashbrown::HashMap<u64, u32>>());
        measure("hashbrown (no order)", &lookups, bytes, |key| map.get(&key).copied());
    }
    {
        let (map, bytes) = built(&keys, || pairs(&keys).collect::<sweep_bptree::BPlusTreeMap<u64, u32>>());
        measure("sweep-bptree (B+ tree)", &lookups, bytes, |key| map.get(&key).copied());
    }
    {
        let (map, bytes) = built(&keys, || {
            let mut map = blart::TreeMap::<[u8; 8], u32>::new();
            for (key, rank) in pairs(&keys) {
                assert!(map.try_insert(key.to_be_bytes(), rank).is_ok());
            }
            map
        });
        measure("blart (radix tree)", &lookups, bytes, |key| map.get(&key.to_be_bytes()).copied());
    }
    println!("every answer was right; {:.0} s", began.elapsed().as_secs_f64());
}
