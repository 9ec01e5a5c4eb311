//! `bench vector`: the vector index over the vectors of a file, from low recall to high.
//!
//! One segment is built as a shard builds it, in steps, on one thread. Then every beam asks all queries, three
//! times, the best of which counts, by the threads' own processor time. Every answer is checked: as many hits
//! as there are, each with the score that its original has, in order, none twice. Recall counts ties by score.
//!
//! Under a filter, the set of what it lets through is made before the searches; what making it of a compressed
//! bitmap takes, as an index over metadata keeps one, is told apart.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, ValueEnum};
use roaring::RoaringBitmap;
use serde::Serialize;

use super::super::failure::{Failure, InputError};
use super::super::output::Output;
use super::super::vector_file::RowsError;
use super::super::vectors::{Ids, Vectors, npy_of_ids, read_ids, read_vectors};
use crate::io::uring::{advise_huge_pages, thread_cpu_ns};
use crate::rmi::memory::Memory;
use crate::vector::allowed::Ordinals;
use crate::vector::door::{VectorError, check_dimension, check_vector};
use crate::vector::element::{Originals, Rows};
use crate::vector::graph::build::BuildOptions;
use crate::vector::kernel::Kernels;
use crate::vector::merge::Merge;
use crate::vector::metric::{ExactQuery, Metric};
use crate::vector::plan::Plan;
use crate::vector::search::{Account, Search, SearchOptions, View};
use crate::vector::segment::Segment;
use crate::vector::top::Hit;

/// Turns, of which the best counts.
const TURNS: usize = 3;
/// Sets made in a turn: asking for the time takes as long as making a small one.
const SETS: usize = 64;
const STEP_NODES: usize = 16;
/// Beams, until recall is high enough.
const BEAMS: [usize; 27] = [
    2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 320, 400, 512,
    768, 1024,
];
const RECALL_LOW: f64 = 0.85;
const RECALL_HIGH: f64 = 0.995;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MetricArg {
    L2,
    Cosine,
    Dot,
}

impl MetricArg {
    /// As the server names it.
    pub fn name(self) -> &'static str {
        match self {
            MetricArg::L2 => "l2",
            MetricArg::Cosine => "cosine",
            MetricArg::Dot => "dot",
        }
    }

    fn metric(self) -> Metric {
        match self {
            MetricArg::L2 => Metric::L2,
            MetricArg::Cosine => Metric::Cosine,
            MetricArg::Dot => Metric::Dot,
        }
    }
}

#[derive(Debug, Args)]
pub struct VectorArgs {
    /// Vectors to search: .npy (f32, f16, u8), .fvecs or .bvecs
    #[arg(long, value_name = "FILE")]
    pub base: PathBuf,
    /// Vectors to search for, of the same dimension
    #[arg(long, value_name = "FILE")]
    pub queries: PathBuf,
    /// The nearest of each query, nearest first: .ivecs or .npy (i32)
    #[arg(long, value_name = "FILE")]
    pub truth: PathBuf,
    #[arg(long, value_enum)]
    pub metric: MetricArg,
    /// Hits of a search
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub k: u16,
    /// Threads that search; one builds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,
    /// Only the first N vectors; what is right is computed then
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Rows that hits are taken from, and the truth is of: .ivecs or .npy (i32)
    #[arg(long, value_name = "FILE", conflicts_with = "limit")]
    pub filter: Option<PathBuf>,
    /// Write the ids found here, a .npy (i32) for each ef
    #[arg(long, value_name = "DIR")]
    pub ids_out: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub n: usize,
    pub dim: usize,
    /// Processor time of one thread.
    pub build_s: f64,
    /// Codes, links and entry points; originals are apart.
    pub bytes_per_vector: f64,
    /// The beam that a search without `ef` takes.
    pub ef_default: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filtered>,
    pub curve: Vec<Point>,
}

/// What a filter lets through.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Filtered {
    pub admitted: usize,
    /// Making the set of a compressed bitmap; no part of the searches.
    pub set_us: f64,
}

#[derive(Debug, Serialize)]
pub struct Point {
    pub ef: usize,
    pub recall: f64,
    pub qps: f64,
    pub cpu_us_per_query: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plans: Option<Plans>,
}

/// How searches under a filter were done: how many, by plan, and how many walks became scans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plans {
    pub scan: usize,
    pub walk: usize,
    pub two_hop: usize,
    pub exact: usize,
    pub fell_back: usize,
}

pub fn run(args: &VectorArgs, out: &mut Output) -> Result<(), Failure> {
    let bench = Bench::new(args)?;
    let (report, wrong) = bench.measure(args)?;
    out.object(&report)?;
    match wrong {
        0 => Ok(()),
        count => Err(Failure::Found { count, what: "wrong answers" }),
    }
}

struct Bench {
    base: Vectors,
    queries: Vectors,
    /// As they are stored.
    originals: Vec<u8>,
    metric: Metric,
    k: usize,
    threads: usize,
    allowed: Option<Ordinals>,
    filtered: Option<Filtered>,
}

impl Bench {
    fn new(args: &VectorArgs) -> Result<Bench, Failure> {
        let metric = args.metric.metric();
        let mut base = read_vectors(&args.base)?;
        let queries = read_vectors(&args.queries)?;
        if let Some(limit) = args.limit {
            base.numbers.truncate(limit as usize * base.dimension);
        }
        let refused = |path: &PathBuf, line, error: VectorError| Failure::Input {
            path: path.clone(),
            line,
            what: InputError::Vector(error),
        };
        check_dimension(base.dimension).map_err(|error| refused(&args.base, 0, error))?;
        for (path, vectors) in [(&args.base, &base), (&args.queries, &queries)] {
            for (at, row) in vectors.rows().enumerate() {
                let checked = check_vector(metric, base.dimension, row);
                checked.map_err(|error| refused(path, at as u64 + 1, error))?;
            }
            if vectors.is_empty() {
                let what = InputError::Rows(RowsError::NoRow);
                return Err(Failure::Input { path: path.clone(), line: 0, what });
            }
        }
        let mut originals = Vec::new();
        base.element.encode(&base.numbers, &mut originals);
        let (k, threads) = (usize::from(args.k), usize::from(args.threads));
        let filter = args.filter.as_ref().map(|path| filter(path, base.len())).transpose()?;
        let (allowed, filtered) = filter.unzip();
        Ok(Bench { base, queries, originals, metric, k, threads, allowed, filtered })
    }

    /// Hits of a query: as many as there are, up to `k`.
    fn hits(&self) -> usize {
        self.k.min(self.allowed.as_ref().map_or(self.base.len(), Ordinals::count))
    }

    fn rows(&self) -> Rows<'_> {
        Rows { element: self.base.element, dimension: self.base.dimension, bytes: &self.originals }
    }

    fn measure(&self, args: &VectorArgs) -> Result<(Report, u64), Failure> {
        let rows = self.rows();
        let (segment, build_s) = self.build(&rows);
        let graph = segment.graph();
        let view = segment.view(&rows, self.allowed.as_ref());
        let worst = self.worst_scores(view, args)?;
        if let Some(dir) = &args.ids_out {
            fs::create_dir_all(dir).map_err(Failure::file(dir))?;
        }
        let (mut curve, mut wrong) = (Vec::<Point>::new(), 0);
        for ef in beams(graph.width_for(self.k)) {
            let turn = self.best_turn(&segment, ef);
            wrong += self.wrong_answers(view, &turn.hits);
            let point = self.point(ef, &turn, &worst);
            if let Some(dir) = &args.ids_out {
                let path = dir.join(format!("ef_{ef}.npy"));
                fs::write(&path, npy_of_ids(&self.ids(&turn.hits), self.k)).map_err(Failure::file(&path))?;
            }
            // Of what is below the range only the last is of interest.
            if point.recall <= RECALL_LOW {
                curve.clear();
            }
            let is_last = point.recall >= RECALL_HIGH;
            curve.push(point);
            if is_last {
                break;
            }
        }
        let report = Report {
            n: self.base.len(),
            dim: self.base.dimension,
            build_s,
            bytes_per_vector: graph.bytes() as f64 / self.base.len() as f64,
            ef_default: graph.width_for(self.k),
            filter: self.filtered,
            curve,
        };
        Ok((report, wrong))
    }

    /// As a shard makes a segment, with huge pages under it.
    fn build(&self, rows: &Rows<'_>) -> (Segment, f64) {
        let before = thread_cpu_ns();
        let options = BuildOptions { memory: Memory::advised(advise_huge_pages), ..BuildOptions::default() };
        let live = vec![Ordinals::all(self.base.len())];
        let mut merge = Merge::new(self.metric, self.base.dimension, live, options);
        let mut longest = 0;
        loop {
            let begin = thread_cpu_ns();
            let is_done = merge.step(&[rows as &dyn Originals], STEP_NODES);
            longest = longest.max(thread_cpu_ns() - begin);
            if is_done {
                break;
            }
        }
        let build_s = (thread_cpu_ns() - before) as f64 / 1e9;
        eprintln!("build: {build_s:.1} s, the longest step {} us", longest / 1000);
        (merge.finish().segment, build_s)
    }

    /// The score of the last right hit of each query.
    fn worst_scores(&self, view: View<'_>, args: &VectorArgs) -> Result<Vec<f32>, Failure> {
        let k = self.hits();
        if args.limit.is_some() {
            let options = SearchOptions { limit: k, width: k, is_exact: true };
            let exact = |query| Search::run(view, query, options, Box::default()).0;
            return Ok(self.queries.rows().map(|query| exact(query)[k - 1].score).collect());
        }
        let truth = read_ids(&args.truth)?;
        let worst = (0..self.queries.len()).map(|at| self.worst_of(&truth, at, k));
        worst.collect::<Option<_>>().ok_or_else(|| {
            let what = InputError::Rows(RowsError::TooFewIds);
            Failure::Input { path: args.truth.clone(), line: 0, what }
        })
    }

    fn worst_of(&self, truth: &Ids, query: usize, k: usize) -> Option<f32> {
        let id = *truth.row(query)?.get(k - 1)?;
        let id = u32::try_from(id).ok().filter(|id| (*id as usize) < self.base.len())?;
        Some(self.score(&ExactQuery::new(self.queries.row(query)), id))
    }

    fn score(&self, query: &ExactQuery, ordinal: u32) -> f32 {
        let rows = self.rows();
        self.metric.score(&Kernels::best(), rows.element, query, rows.original(ordinal))
    }

    fn best_turn(&self, segment: &Segment, ef: usize) -> Turn {
        let turns = (0..TURNS).map(|_| self.turn(segment, ef));
        turns.min_by_key(|turn| turn.cpu_ns).expect("at least one turn")
    }

    fn turn(&self, segment: &Segment, ef: usize) -> Turn {
        let options = SearchOptions { limit: self.k, width: ef, is_exact: false };
        let begin = Instant::now();
        let share = self.queries.len().div_ceil(self.threads);
        let parts: Vec<&[f32]> = self.queries.numbers.chunks(share * self.base.dimension).collect();
        let mut turn = match parts.as_slice() {
            [all] => self.ask(segment, all, options),
            parts => std::thread::scope(|scope| {
                let ask = |part| scope.spawn(move || self.ask(segment, part, options));
                let threads: Vec<_> = parts.iter().copied().map(ask).collect();
                let turns = threads.into_iter().map(|thread| thread.join().expect("a search does not panic"));
                turns.reduce(Turn::and).expect("at least one part")
            }),
        };
        turn.wall_s = begin.elapsed().as_secs_f64();
        turn
    }

    fn ask(&self, segment: &Segment, queries: &[f32], options: SearchOptions) -> Turn {
        let rows = self.rows();
        let view = segment.view(&rows, self.allowed.as_ref());
        let count = queries.len() / rows.dimension;
        let (mut hits, mut times_ns) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let (mut scratch, mut plans) = (Box::default(), Plans::default());
        let before = thread_cpu_ns();
        let mut last = Instant::now();
        for query in queries.chunks_exact(rows.dimension) {
            let (found, account, back) = Search::run(view, query, options, scratch);
            scratch = back;
            hits.push(found);
            plans.count(&account);
            let now = Instant::now();
            times_ns.push((now - last).as_nanos() as u64);
            last = now;
        }
        Turn { hits, times_ns, plans, cpu_ns: thread_cpu_ns() - before, wall_s: 0.0 }
    }

    fn wrong_answers(&self, view: View<'_>, answers: &[Vec<Hit>]) -> u64 {
        let wanted = self.hits();
        assert_eq!(wanted, self.k.min(view.admitted()));
        let is_wrong = |(query, hits): (&[f32], &Vec<Hit>)| {
            let query = ExactQuery::new(query);
            let mut ids: Vec<u32> = hits.iter().map(|hit| hit.ordinal).collect();
            ids.sort_unstable();
            ids.dedup();
            let in_order = hits.windows(2).all(|pair| pair[0].score >= pair[1].score);
            let right = hits.iter().all(|hit| self.score(&query, hit.ordinal) == hit.score);
            !(ids.len() == wanted && hits.len() == wanted && in_order && right)
        };
        self.queries.rows().zip(answers).filter(|answer| is_wrong(*answer)).count() as u64
    }

    fn ids(&self, answers: &[Vec<Hit>]) -> Vec<i32> {
        let row = |hits: &Vec<Hit>| {
            let ids: Vec<i32> = hits.iter().map(|hit| hit.ordinal as i32).collect();
            ids.into_iter().chain(std::iter::repeat(-1)).take(self.k).collect::<Vec<_>>()
        };
        answers.iter().flat_map(row).collect()
    }

    fn point(&self, ef: usize, turn: &Turn, worst: &[f32]) -> Point {
        let found = turn.hits.iter().zip(worst);
        let found: usize =
            found.map(|(hits, worst)| hits.iter().filter(|hit| hit.score >= *worst).count()).sum();
        let queries = worst.len() as f64;
        let mut times = turn.times_ns.clone();
        times.sort_unstable();
        let quantile = |part: f64| times[((times.len() - 1) as f64 * part) as usize] as f64 / 1000.0;
        Point {
            ef,
            recall: found as f64 / (queries * self.hits() as f64),
            qps: queries / turn.wall_s.max(1e-9),
            cpu_us_per_query: turn.cpu_ns as f64 / 1000.0 / queries,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            plans: self.allowed.is_some().then_some(turn.plans),
        }
    }
}

/// All queries once.
struct Turn {
    hits: Vec<Vec<Hit>>,
    times_ns: Vec<u64>,
    plans: Plans,
    cpu_ns: u64,
    wall_s: f64,
}

impl Plans {
    fn count(&mut self, account: &Account) {
        let of = match account.plan {
            Plan::Scan => &mut self.scan,
            Plan::Walk { .. } => &mut self.walk,
            Plan::TwoHop { .. } => &mut self.two_hop,
            Plan::Exact => &mut self.exact,
        };
        *of += 1;
        self.fell_back += usize::from(account.fell_back);
    }

    fn and(self, other: Plans) -> Plans {
        Plans {
            scan: self.scan + other.scan,
            walk: self.walk + other.walk,
            two_hop: self.two_hop + other.two_hop,
            exact: self.exact + other.exact,
            fell_back: self.fell_back + other.fell_back,
        }
    }
}

impl Turn {
    fn and(mut self, other: Turn) -> Turn {
        self.hits.extend(other.hits);
        self.times_ns.extend(other.times_ns);
        self.plans = self.plans.and(other.plans);
        self.cpu_ns += other.cpu_ns;
        self
    }
}

/// The set of the rows of a file, and what making it of a compressed bitmap takes.
fn filter(path: &Path, rows: usize) -> Result<(Ordinals, Filtered), Failure> {
    let ids = read_ids(path)?;
    let known = |id: &i32| u32::try_from(*id).ok().filter(|id| (*id as usize) < rows);
    let bitmap: Option<RoaringBitmap> = ids.ids.iter().map(known).collect();
    let bitmap = bitmap.filter(|bitmap| !bitmap.is_empty());
    let bitmap = bitmap.ok_or_else(|| Failure::input(path, InputError::Rows(RowsError::UnknownRows)))?;
    let (allowed, mut set_ns) = (Ordinals::from(&bitmap), u64::MAX);
    for _ in 0..TURNS {
        let before = thread_cpu_ns();
        for _ in 0..SETS {
            black_box(Ordinals::from(black_box(&bitmap)));
        }
        set_ns = set_ns.min(thread_cpu_ns() - before);
    }
    let set_us = set_ns as f64 / 1000.0 / SETS as f64;
    let filtered = Filtered { admitted: allowed.count(), set_us };
    Ok((allowed, filtered))
}

/// The default is one of them.
fn beams(default: usize) -> Vec<usize> {
    let mut beams = BEAMS.to_vec();
    if let Err(place) = beams.binary_search(&default) {
        beams.insert(place, default);
    }
    beams
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Format;

    fn npy(dir: &Path, name: &str, descr: &str, columns: usize, bytes: &[u8], size: usize) -> PathBuf {
        let rows = bytes.len() / columns / size;
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({rows}, {columns}), }}\n");
        let head =
            [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
        let path = dir.join(name);
        fs::write(&path, [&head, bytes].concat()).unwrap();
        path
    }

    fn args(dir: &Path, rows: usize, truth: &[i32]) -> VectorArgs {
        let value = |at: usize| (at.wrapping_mul(2_654_435_761) >> 16) as u8;
        let base: Vec<u8> = (0..rows * 16).map(value).collect();
        let truth: Vec<u8> = truth.iter().flat_map(|id| id.to_le_bytes()).collect();
        VectorArgs {
            base: npy(dir, "base.npy", "|u1", 16, &base, 1),
            queries: npy(dir, "queries.npy", "|u1", 16, &base[..5 * 16], 1),
            truth: npy(dir, "truth.npy", "<i4", 1, &truth, 4),
            metric: MetricArg::L2,
            k: 1,
            threads: 1,
            limit: None,
            filter: None,
            ids_out: Some(dir.join("ids")),
        }
    }

    #[test]
    fn reports_a_curve_and_writes_ids() {
        let dir = tempfile::tempdir().unwrap();
        let mut args = args(dir.path(), 2000, &[0, 1, 2, 3, 4]);
        let (report, wrong) = Bench::new(&args).unwrap().measure(&args).unwrap();
        assert_eq!((report.n, report.dim, wrong), (2000, 16, 0));
        let last = report.curve.last().unwrap();
        assert!(last.recall >= RECALL_HIGH && last.cpu_us_per_query > 0.0 && last.p99_us >= last.p50_us);
        let ids = read_ids(&dir.path().join(format!("ids/ef_{}.npy", last.ef))).unwrap();
        assert_eq!(ids.ids, [0, 1, 2, 3, 4]);
        // The truth is computed for a part of the vectors, by several threads as by one.
        (args.limit, args.threads) = (Some(3), 2);
        let (report, wrong) = Bench::new(&args).unwrap().measure(&args).unwrap();
        assert_eq!((report.n, report.curve.last().unwrap().recall, wrong), (3, 1.0, 0));
    }

    #[test]
    fn a_filter_lets_its_rows_through_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut args = args(dir.path(), 2000, &[1, 1, 7, 7, 7]);
        let rows: Vec<u8> = [7_i32, 1].iter().flat_map(|id| id.to_le_bytes()).collect();
        args.filter = Some(npy(dir.path(), "filter.npy", "<i4", 1, &rows, 4));
        let (report, wrong) = Bench::new(&args).unwrap().measure(&args).unwrap();
        let (filter, last) = (report.filter.unwrap(), report.curve.last().unwrap());
        assert_eq!((filter.admitted, wrong, last.plans.unwrap().scan), (2, 0, 5));
        let ids = read_ids(&dir.path().join(format!("ids/ef_{}.npy", last.ef))).unwrap();
        assert!(ids.ids.iter().all(|id| [1, 7].contains(id)) && ids.ids[1] == 1);
        let beyond: Vec<u8> = [0_i32, 2000].iter().flat_map(|id| id.to_le_bytes()).collect();
        args.filter = Some(npy(dir.path(), "beyond.npy", "<i4", 1, &beyond, 4));
        assert!(matches!(Bench::new(&args), Err(Failure::Input { .. })));
    }

    #[test]
    fn bad_input_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let good = args(dir.path(), 10, &[0, 1, 2, 3, 4]);
        let run = |args: &VectorArgs| run(args, &mut Output::new(Format::Json, std::io::sink()));
        assert!(run(&good).is_ok());
        let few = args(dir.path(), 10, &[0, 1, 2]);
        assert!(matches!(run(&few), Err(Failure::Input { .. })));
        let beyond = args(dir.path(), 10, &[0, 1, 2, 3, 10]);
        assert!(matches!(run(&beyond), Err(Failure::Input { .. })));
        let nan = npy(dir.path(), "nan.npy", "<f4", 16, &[0xff; 64], 4);
        assert!(matches!(run(&VectorArgs { queries: nan, ..good }), Err(Failure::Input { line: 1, .. })));
    }
}
