//! `bench rmi`: the learned index beside what else finds a key, over the keys of a file, in one run.
//!
//! All structures are built first and then asked in turns, so that a noisy minute hits them alike. Each
//! turn asks the same keys of each; the best of five counts, by this thread's own processor time. Every
//! answer of every turn is compared.
//!
//! The key arrays and what lies over them (learned index, search tree) are ours to place and get huge
//! pages, as a shard would give them; binary search runs over the same keys. The standard library's maps
//! cannot ask for them. `--pages small` does without for all.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::super::failure::{Failure, InputError};
use super::super::output::Output;
use super::structures::{Binary, Hash, Structure, Tree};
use super::timing::{Queries, Times, best_of, line_ns};
use crate::io::uring::{advise_huge_pages, thread_cpu_ns};
use crate::rmi::choose::{Choice, Reason, Structure as Chosen};
use crate::rmi::codec::{Decoder, Encoder};
use crate::rmi::index::{Index, IndexBuilder, IndexOptions, Mode};
use crate::rmi::keys::{KeyArray, KeyArrayBuilder, KeysError};
use crate::rmi::memory::Memory;
use crate::rmi::train::TrainOptions;

/// Turns, of which the best counts.
const TURNS: usize = 5;
/// Keys read from the file at a time.
const PIECE_KEYS: usize = 1 << 16;
/// Keys of a step, where work is done as a core does it that serves in between.
const STEP_KEYS: usize = 1 << 14;

#[derive(Debug, Args)]
pub struct RmiArgs {
    /// Keys in SOSD format: u64 count, then sorted unique u64, little-endian
    #[arg(long, value_name = "FILE")]
    pub keys: PathBuf,
    /// Only the first N keys
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Chooses the keys that are asked for
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub seed: u64,
    /// What the keys and the indexes over them lie in; the standard library's maps have small ones
    #[arg(long, value_enum, default_value_t = Pages::Huge)]
    pub pages: Pages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pages {
    Huge,
    Small,
}

impl Pages {
    fn memory(self) -> Memory {
        match self {
            Pages::Huge => Memory::advised(advise_huge_pages),
            Pages::Small => Memory::plain(),
        }
    }
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Report {
    pub keys: usize,
    pub distribution_file: String,
    /// Training, tree and encoding with checksums; without the measurement that chooses.
    pub build_keys_per_s: f64,
    pub index_bytes_per_key: f64,
    /// What serves single lookups.
    pub chosen: &'static str,
    pub chosen_batch: &'static str,
    /// Of the learned index; 0 where it does not serve.
    pub max_error: usize,
    /// One random line of the keys, many under way at a time: what this machine's memory allows.
    pub line_ns: f64,
    pub structures: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub hit_ns: f64,
    pub miss_ns: f64,
    pub latency_ns: f64,
    pub batch32_ns: f64,
}

pub fn run(args: &RmiArgs, out: &mut Output) -> Result<(), Failure> {
    let memory = args.pages.memory();
    let keys = read_keys(&args.keys, args.limit, memory)?;
    if keys.is_empty() {
        return Err(input(&args.keys, InputError::KeyMissing));
    }
    let (report, wrong) = measure(keys, memory, &args.keys, args.seed);
    out.object(&report)?;
    match wrong {
        0 => Ok(()),
        count => Err(Failure::Found { count, what: "wrong answers" }),
    }
}

/// The report, and how many answers were wrong.
fn measure(keys: KeyArray, memory: Memory, path: &Path, seed: u64) -> (Report, u64) {
    let train = TrainOptions { memory, ..TrainOptions::default() };
    let mut copy = KeyArrayBuilder::new(keys.len(), memory);
    let mut pieces = keys.as_slice().chunks(STEP_KEYS);
    let copying = in_steps(|| {
        let piece = pieces.next().unwrap_or_default();
        copy.push(piece).expect("as good as the original");
        piece.is_empty()
    });
    let built = build(keys, IndexOptions { train, structure: None });
    let index = &built.index;
    for (what, steps) in [("copy of the keys", copying)].into_iter().chain(built.steps) {
        eprintln!("{what}: {} us, the longest step {} us", steps.sum_ns / 1000, steps.longest_ns / 1000);
    }
    let floor = IndexOptions { train, structure: Some(Chosen::SPlus) };
    let floor = Index::build(copy.finish(), floor, &mut thread_cpu_ns);
    if let Some(learned) = index.learned() {
        eprintln!(
            "learned: eps {}, {} segments, {} B of model, {} B in all, {}",
            learned.eps(),
            learned.segments(),
            learned.model_bytes(),
            learned.bytes(),
            if learned.has_tree() { "a tree leads to them" } else { "a table leads to them" }
        );
    }
    let (tree, hash) = (Tree::new(index.keys()), Hash::new(index.keys()));
    let binary = Binary(index.keys().as_slice());
    let structures: [(&str, &dyn Structure); 5] = [
        ("kyrodb", index),
        ("btreemap", &tree),
        ("binary_search", &binary),
        ("splus", &floor),
        ("hashmap", &hash),
    ];
    let queries = Queries::new(index.keys().as_slice(), seed);
    let mut times = [Times::default(); 5];
    let (mut line, mut wrong) = (f64::INFINITY, 0);
    for _ in 0..TURNS {
        line = line.min(line_ns(index.keys().as_slice(), &queries));
        for ((_, structure), best) in structures.iter().zip(&mut times) {
            let (turn, missed) = structure.turn(&queries);
            *best = best_of(*best, turn);
            wrong += missed;
        }
    }
    let n = index.keys().len();
    eprintln!(
        "bytes a key: index {:.4}, splus {:.4}",
        index.bytes() as f64 / n as f64,
        floor.bytes() as f64 / n as f64
    );
    let report = Report {
        keys: n,
        distribution_file: path.display().to_string(),
        build_keys_per_s: built.keys_per_s,
        index_bytes_per_key: index.bytes() as f64 / n as f64,
        chosen: index.choice(Mode::Single).structure.name(),
        chosen_batch: index.choice(Mode::Batch).structure.name(),
        max_error: index.max_error().unwrap_or(0),
        line_ns: line,
        structures: structures.iter().zip(times).map(|((name, _), times)| row(name, times)).collect(),
    };
    let mut floor = Some(floor);
    let release = in_steps(|| floor.take().is_some());
    eprintln!("release of keys and tree: {} us", release.sum_ns / 1000);
    (report, wrong)
}

struct Built {
    index: Index,
    keys_per_s: f64,
    steps: [(&'static str, Steps); 4],
}

/// What work took that is done in steps.
#[derive(Clone, Copy)]
struct Steps {
    sum_ns: u64,
    longest_ns: u64,
}

/// Makes steps until one says that all is done.
fn in_steps(mut step: impl FnMut() -> bool) -> Steps {
    let mut steps = Steps { sum_ns: 0, longest_ns: 0 };
    let mut before = thread_cpu_ns();
    loop {
        let is_done = step();
        let after = thread_cpu_ns();
        steps.sum_ns += after - before;
        steps.longest_ns = steps.longest_ns.max(after - before);
        before = after;
        if is_done {
            return steps;
        }
    }
}

/// As a core that serves builds it, and as it stores and loads it.
fn build(keys: KeyArray, options: IndexOptions) -> Built {
    let n = keys.len();
    let mut builder = IndexBuilder::new(keys, options);
    let building = in_steps(|| {
        builder.step(STEP_KEYS, &mut thread_cpu_ns);
        builder.is_built()
    });
    let choosing = in_steps(|| builder.step(STEP_KEYS, &mut thread_cpu_ns));
    let index = builder.finish();
    let mut encoder = Encoder::new(&index);
    let encoding = in_steps(|| encoder.step(STEP_KEYS));
    let bytes = encoder.finish();
    let (choices, bytes_built) = ([Mode::Single, Mode::Batch].map(|mode| index.choice(mode)), index.bytes());
    let mut decoder = Decoder::new(&bytes, index.into_keys(), options.train.memory);
    let decoding = in_steps(|| decoder.step(STEP_KEYS));
    let Ok(index) = decoder.finish() else { panic!("an index that was just encoded") };
    assert_eq!(index.bytes(), bytes_built);
    for (mode, choice) in ["single", "batch"].iter().zip(choices) {
        eprintln!("{mode}: {}", told(choice));
    }
    let spent = (building.sum_ns + encoding.sum_ns).max(1);
    let steps = [("build", building), ("choice", choosing), ("encoding", encoding), ("decoding", decoding)];
    Built { index, keys_per_s: n as f64 * 1e9 / spent as f64, steps }
}

fn told(choice: Choice) -> String {
    let why = match choice.reason {
        Reason::Measured { learned_ns, splus_ns } => {
            format!("learned {learned_ns:.0} ns, splus {splus_ns:.0} ns when it was built")
        }
        Reason::Few => "too few keys to tell".to_owned(),
        Reason::Forced => "asked for".to_owned(),
        Reason::Stored => "as stored".to_owned(),
    };
    format!("{} ({why})", choice.structure.name())
}

fn row(name: &'static str, times: Times) -> Row {
    Row { name, hit_ns: times.hit, miss_ns: times.miss, latency_ns: times.latency, batch32_ns: times.batch }
}

fn read_keys(path: &Path, limit: Option<u64>, memory: Memory) -> Result<KeyArray, Failure> {
    let file = File::open(path).map_err(Failure::file(path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut head = [0; 8];
    read(&mut reader, &mut head, path)?;
    let mut left = usize::try_from(u64::from_le_bytes(head).min(limit.unwrap_or(u64::MAX)))
        .map_err(|_| input(path, InputError::Truncated))?;
    // A count of its own making does not get to reserve all memory.
    let mut keys = KeyArrayBuilder::new(left.min(1 << 26), memory);
    let mut bytes = vec![0; PIECE_KEYS * 8];
    let mut piece = Vec::with_capacity(PIECE_KEYS);
    while left > 0 {
        let count = left.min(PIECE_KEYS);
        read(&mut reader, &mut bytes[..count * 8], path)?;
        piece.clear();
        piece.extend(bytes[..count * 8].as_chunks().0.iter().map(|key| u64::from_le_bytes(*key)));
        keys.push(&piece).map_err(unusable)?;
        left -= count;
    }
    Ok(keys.finish())
}

fn read(reader: &mut impl Read, into: &mut [u8], path: &Path) -> Result<(), Failure> {
    reader.read_exact(into).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => input(path, InputError::Truncated),
        _ => Failure::file(path)(error),
    })
}

fn unusable(error: KeysError) -> Failure {
    Failure::Engine { what: "no index over these keys", source: error.into() }
}

fn input(path: &Path, what: InputError) -> Failure {
    Failure::Input { path: path.to_owned(), line: 1, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Format;
    use std::cell::RefCell;
    use std::io::Write;
    use std::rc::Rc;

    fn file_of(keys: &[u64], count: u64) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = [count].iter().chain(keys).flat_map(|key| key.to_le_bytes()).collect();
        file.write_all(&bytes).unwrap();
        file
    }

    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn bench(file: &tempfile::NamedTempFile, limit: Option<u64>) -> Result<serde_json::Value, Failure> {
        let written = Shared::default();
        let args = RmiArgs { keys: file.path().to_owned(), limit, seed: 1, pages: Pages::Huge };
        run(&args, &mut Output::new(Format::Json, written.clone()))?;
        let json = serde_json::from_slice(&written.0.borrow());
        Ok(json.expect("one line of JSON"))
    }

    #[test]
    fn reports_every_structure_with_every_figure() {
        let keys: Vec<u64> = (0..20_000).map(|at| at * at + 7).collect();
        let report = bench(&file_of(&keys, 20_000), Some(15_000)).unwrap();
        assert_eq!(report["keys"], 15_000);
        let structures = report["structures"].as_array().unwrap();
        let names: Vec<&str> = structures.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["kyrodb", "btreemap", "binary_search", "splus", "hashmap"]);
        for row in structures {
            for figure in ["hit_ns", "miss_ns", "latency_ns", "batch32_ns"] {
                assert!(row[figure].as_f64().is_some_and(|ns| ns > 0.0), "{row} {figure}");
            }
        }
        for number in ["build_keys_per_s", "index_bytes_per_key", "line_ns"] {
            assert!(report[number].as_f64().is_some_and(|number| number > 0.0), "{number}");
        }
        assert!(["learned", "splus"].contains(&report["chosen"].as_str().unwrap()));
        assert!(report["max_error"].is_u64());
    }

    #[test]
    fn a_bad_file_is_refused() {
        assert!(matches!(bench(&file_of(&[1, 2], 3), None), Err(Failure::Input { .. })));
        assert!(matches!(bench(&file_of(&[1, 1], 2), None), Err(Failure::Engine { .. })));
        assert!(matches!(bench(&file_of(&[], 0), None), Err(Failure::Input { .. })));
        let few = bench(&file_of(&[u64::MAX], 1), None).unwrap();
        assert_eq!(few["keys"], 1);
    }
}
