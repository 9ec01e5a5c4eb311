//! The index as a whole, beside brute force.

use super::allowed::Ordinals;
use super::codec::{DecodeError, decode, encode};
use super::codes::{CodeQuery, Grid, Prepare, longest};
use super::element::{Element, Originals, Rows};
use super::graph::Graph;
use super::graph::build::{BuildOptions, Builder};
use super::head::{GRID_VECTORS, Head};
use super::kernel::{Kernels, Level, Plain};
use super::merge::Merge;
use super::metric::{ExactQuery, Metric};
use super::plan::Plan;
use super::search::{Account, Search, SearchOptions, View};
use super::segment::Segment;
use super::testing::Random;
use super::top::Hit;
use crate::rmi::memory::Memory;

const METRICS: [Metric; 3] = [Metric::L2, Metric::Cosine, Metric::Dot];

/// Clustered vectors in f32, in a space that is smaller than their dimension, as embeddings are.
pub(super) fn clustered(count: usize, dimension: usize, seed: u64) -> Vec<f32> {
    const CLUSTERS: usize = 40;
    const INNER: usize = 12;
    // The clusters and the space are the same for every seed: queries are of the kind of the vectors.
    let fixed = &mut Random::new(77);
    let axes: Vec<f32> = (0..INNER * dimension).map(|_| fixed.normal()).collect();
    let centres: Vec<f32> = (0..CLUSTERS * INNER).map(|_| fixed.normal() * 1.5).collect();
    let random = &mut Random::new(seed);
    let vector = |random: &mut Random| {
        let centre = &centres[random.below(CLUSTERS) * INNER..][..INNER];
        let inner: Vec<f32> = centre.iter().map(|x| x + random.normal()).collect();
        let at =
            |coordinate: usize| (0..INNER).map(|i| inner[i] * axes[i * dimension + coordinate]).sum::<f32>();
        (0..dimension).map(at).collect::<Vec<f32>>()
    };
    (0..count).flat_map(|_| vector(random)).collect()
}

pub(super) fn bytes_of(vectors: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Element::F32.encode(vectors, &mut bytes);
    bytes
}

pub(super) fn graph_of(metric: Metric, vectors: &[f32], dimension: usize, kernels: Kernels) -> Graph {
    let rows = || vectors.chunks_exact(dimension);
    let grid = Grid::train(metric, dimension, longest(rows()), rows());
    let options = BuildOptions { kernels, ..BuildOptions::default() };
    let mut builder = Builder::new(grid, rows().len(), options);
    rows().for_each(|row| builder.push(row));
    while !builder.step(100) {}
    builder.finish()
}

/// The right hits, by the same scores.
fn brute(view: View<'_>, query: &[f32], limit: usize) -> Vec<Hit> {
    let (kernels, metric) = (Kernels::best(), view.graph.grid().metric());
    let query = ExactQuery::new(query);
    let live = (0..view.graph.len() as u32).filter(|ordinal| !view.deleted.contains(*ordinal));
    let admitted = live.filter(|ordinal| view.allowed.is_none_or(|allowed| allowed.contains(*ordinal)));
    let score =
        |ordinal| metric.score(&kernels, view.originals.element(), &query, view.originals.original(ordinal));
    let mut hits: Vec<Hit> = admitted.map(|ordinal| Hit { ordinal, score: score(ordinal) }).collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.ordinal.cmp(&b.ordinal)));
    hits.truncate(limit);
    hits
}

fn search(view: View<'_>, query: &[f32], limit: usize, is_exact: bool) -> (Vec<Hit>, Account) {
    let options = SearchOptions { limit, width: view.graph.width_for(limit), is_exact };
    let (hits, account, _) = Search::run(view, query, options, Box::default());
    (hits, account)
}

/// Recall over queries; ties count by score. Every search gives as many hits as there are.
fn recall(view: View<'_>, queries: &[f32], limit: usize) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for query in queries.chunks_exact(view.graph.grid().dimension()) {
        let right = brute(view, query, limit);
        let (hits, _) = search(view, query, limit, false);
        assert_eq!(hits.len(), right.len(), "as many as there are");
        let worst = right.last().map_or(0.0, |hit| hit.score);
        found += hits.iter().filter(|hit| hit.score >= worst).count();
        wanted += right.len();
    }
    found as f64 / wanted.max(1) as f64
}

#[test]
fn finds_nearly_all_by_default_under_every_metric() {
    let dimension = 48;
    let (vectors, queries) = (clustered(6000, dimension, 1), clustered(60, dimension, 2));
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    for metric in METRICS {
        let segment = Segment::new(graph_of(metric, &vectors, dimension, Kernels::best()));
        let view = segment.view(&originals, None);
        let (_, account) = search(view, &queries[..dimension], 10, false);
        assert!(matches!(account.plan, Plan::Walk { .. }), "{account:?}");
        let recall = recall(view, &queries, 10);
        assert!(recall >= 0.98, "{metric:?}: {recall}");
    }
}

#[test]
fn an_exact_search_is_brute_force() {
    let dimension = 20;
    let (vectors, queries) = (clustered(1500, dimension, 3), clustered(20, dimension, 4));
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    for metric in METRICS {
        let segment = Segment::new(graph_of(metric, &vectors, dimension, Kernels::best()));
        let view = segment.view(&originals, None);
        for query in queries.chunks_exact(dimension) {
            assert_eq!(search(view, query, 25, true).0, brute(view, query, 25));
        }
    }
}

#[test]
fn steps_of_any_size_find_the_same() {
    let dimension = 32;
    let (vectors, queries) = (clustered(4000, dimension, 5), clustered(10, dimension, 6));
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let segment = Segment::new(graph_of(Metric::L2, &vectors, dimension, Kernels::best()));
    let some: Ordinals = (0..4000).filter(|ordinal| ordinal % 3 == 0).collect();
    for allowed in [None, Some(&some)] {
        let view = segment.view(&originals, allowed);
        for query in queries.chunks_exact(dimension) {
            for is_exact in [false, true] {
                let whole = search(view, query, 10, is_exact);
                let options = SearchOptions { limit: 10, width: segment.graph().width_for(10), is_exact };
                let mut small = Search::new(view, query, options, Box::default());
                let mut steps = 0;
                while !small.step(view, 64) {
                    steps += 1;
                }
                let (hits, account, _) = small.finish();
                assert_eq!((hits, account), whole);
                assert!(steps > 3, "{steps}");
            }
        }
    }
}

#[test]
fn a_filter_always_gives_as_many_as_there_are() {
    let dimension = 32;
    let count = 8000;
    let (vectors, queries) = (clustered(count, dimension, 7), clustered(30, dimension, 8));
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let segment = Segment::new(graph_of(Metric::L2, &vectors, dimension, Kernels::best()));
    let random = &mut Random::new(9);
    for percent in [0, 1, 10, 30, 50, 90] {
        let label: Ordinals = (0..count as u32).filter(|_| random.below(100) < percent).collect();
        // One half-space: near to some queries, far from others.
        let mut by_first: Vec<u32> = (0..count as u32).collect();
        by_first
            .sort_by(|a, b| vectors[*a as usize * dimension].total_cmp(&vectors[*b as usize * dimension]));
        let correlated: Ordinals = by_first[..count * percent / 100].iter().copied().collect();
        for (what, allowed) in [("random", &label), ("correlated", &correlated)] {
            let recall = recall(segment.view(&originals, Some(allowed)), &queries, 10);
            assert!(recall >= 0.98 || percent == 0, "{what} {percent} %: {recall}");
        }
    }
}

#[test]
fn a_walk_over_survivors_finds_them() {
    let dimension = 32;
    let count = 8000;
    let (vectors, queries) = (clustered(count, dimension, 7), clustered(30, dimension, 8));
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let segment = Segment::new(graph_of(Metric::L2, &vectors, dimension, Kernels::best()));
    let random = &mut Random::new(10);
    let label: Ordinals = (0..count as u32).filter(|_| random.below(100) < 15).collect();
    let view = segment.view(&originals, Some(&label));
    let (mut found, mut fallbacks) = (0, 0);
    for query in queries.chunks_exact(dimension) {
        let options = SearchOptions { limit: 10, width: 80, is_exact: false };
        let search = Search::with_plan(view, query, options, Plan::TwoHop { width: 80 });
        let (hits, account) = search;
        let worst = brute(view, query, 10)[9].score;
        found += hits.iter().filter(|hit| hit.score >= worst).count();
        fallbacks += usize::from(account.fell_back);
    }
    assert!(fallbacks < 10, "{fallbacks}");
    assert!(found >= 285, "{found} of 300");
}

#[test]
fn deleted_is_gone_at_once() {
    let dimension = 24;
    let (vectors, queries) = (clustered(3000, dimension, 11), clustered(20, dimension, 12));
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let mut segment = Segment::new(graph_of(Metric::L2, &vectors, dimension, Kernels::best()));
    let random = &mut Random::new(13);
    assert!(!segment.is_worn());
    for _ in 0..600 {
        let ordinal = random.below(3000) as u32;
        let was_live = !segment.deleted().contains(ordinal);
        assert_eq!(segment.delete(ordinal), was_live);
    }
    assert!(segment.is_worn() && !segment.delete(3000));
    let view = segment.view(&originals, None);
    assert_eq!(view.admitted(), segment.live());
    for query in queries.chunks_exact(dimension) {
        let (hits, _) = search(view, query, 10, false);
        assert!(hits.iter().all(|hit| !segment.deleted().contains(hit.ordinal)));
    }
    assert!(recall(view, &queries, 10) >= 0.97);
}

#[test]
fn vectors_that_are_all_the_same_are_found() {
    let dimension = 16;
    let mut vectors = vec![0.25; 3000 * dimension];
    vectors.extend(clustered(1000, dimension, 14));
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let segment = Segment::new(graph_of(Metric::L2, &vectors, dimension, Kernels::best()));
    let view = segment.view(&originals, None);
    let (hits, _) = search(view, &vec![0.25; dimension], 500, false);
    assert!(hits.len() == 500 && hits.iter().all(|hit| hit.score > -1e-3));
    assert!(recall(view, &clustered(20, dimension, 15), 10) >= 0.98);
}

#[test]
fn every_kernel_builds_the_same_graph() {
    let dimension = 40;
    let vectors = clustered(700, dimension, 16);
    let of = |level| encode(&graph_of(Metric::Cosine, &vectors, dimension, Kernels::of(level).unwrap()));
    let plain = of(Level::Scalar);
    for level in Level::available() {
        assert!(of(level) == plain, "{level:?}");
    }
}

#[test]
fn whole_numbers_are_searched_without_their_originals() {
    struct Nothing;
    impl Originals for Nothing {
        fn element(&self) -> Element {
            Element::F32
        }
        fn original(&self, _: u32) -> &[u8] {
            panic!("not needed")
        }
    }
    let dimension = 30;
    let random = &mut Random::new(17);
    let vectors: Vec<f32> = (0..3000 * dimension).map(|_| random.below(200) as f32).collect();
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let segment = Segment::new(graph_of(Metric::L2, &vectors, dimension, Kernels::best()));
    assert!(segment.graph().is_exact());
    let query: Vec<f32> = (0..dimension).map(|_| random.below(200) as f32).collect();
    let few: Ordinals = (0..3000).step_by(7).collect();
    let hits = search(segment.view(&Nothing, Some(&few)), &query, 10, false).0;
    assert_eq!(hits, brute(segment.view(&originals, Some(&few)), &query, 10));
    // A query between them has to be ranked by originals.
    let between: Vec<f32> = query.iter().map(|x| x + 0.4).collect();
    let hits = search(segment.view(&originals, Some(&few)), &between, 10, false).0;
    assert_eq!(hits, brute(segment.view(&originals, Some(&few)), &between, 10));
}

#[test]
fn whole_numbers_are_ranked_by_originals_for_a_query_with_a_tiny_fraction() {
    let vectors: Vec<f32> = (0..1200).flat_map(|at| [(at % 200 - 100) as f32, (at / 200) as f32]).collect();
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension: 2, bytes: &bytes };
    let segment = Segment::new(graph_of(Metric::L2, &vectors, 2, Kernels::best()));
    assert!(segment.graph().is_exact());
    let view = segment.view(&originals, None);
    // Beside 100 levels the fraction is lost.
    let query = [3e-6, 0.0];
    assert_eq!(search(view, &query, 1, false).0, brute(view, &query, 1));
}

#[test]
fn a_score_of_zero_has_one_sign() {
    let vectors: Vec<f32> = (0..1200).flat_map(|at| [(at % 7) as f32, (at / 7 % 11) as f32]).collect();
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension: 2, bytes: &bytes };
    let segment = Segment::new(graph_of(Metric::L2, &vectors, 2, Kernels::best()));
    for is_exact in [false, true] {
        let (hits, _) = search(segment.view(&originals, None), &[0.0, 0.0], 5, is_exact);
        assert!(hits.iter().all(|hit| hit.score.to_bits() == 0), "{hits:?}");
    }
    for metric in METRICS {
        let original = bytes_of(&[0.0, 0.0, -0.0, -1.0]);
        for query in [[0.0, 0.0, 0.0, -1.0], [-1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]] {
            let score = metric.score(&Kernels::best(), Element::F32, &ExactQuery::new(&query), &original);
            assert!(score != 0.0 || score.is_sign_positive(), "{metric:?} {query:?}");
        }
    }
}

#[test]
fn a_query_far_from_everything_is_answered_exactly() {
    let dimension = 24;
    let vectors = clustered(3000, dimension, 18);
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let segment = Segment::new(graph_of(Metric::L2, &vectors, dimension, Kernels::best()));
    let view = segment.view(&originals, None);
    let query: Vec<f32> = (0..dimension).map(|at| if at % 2 == 0 { 1e4 } else { -1e4 }).collect();
    let (hits, account) = search(view, &query, 10, false);
    assert_eq!((hits, account.plan), (brute(view, &query, 10), Plan::Exact));
}

#[test]
fn a_head_finds_what_came_in_and_not_what_left() {
    let dimension = 32;
    let count = 6000;
    let (vectors, queries) = (clustered(count, dimension, 19), clustered(25, dimension, 20));
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let mut head = Head::new(Metric::L2, dimension, count, BuildOptions::default()).flat_up_to(2000);
    let random = &mut Random::new(21);
    for (at, vector) in vectors.chunks_exact(dimension).enumerate() {
        assert_eq!(head.insert(vector), at as u32);
        if at % 3 == 2 {
            head.delete(random.below(at + 1) as u32);
        }
        if at % 4 == 0 {
            head.step(&originals, 3);
        }
        if [10, GRID_VECTORS - 2, GRID_VECTORS + 5, 1999, 2100, 4000, count - 1].contains(&at) {
            let (hits, account) = search(head.view(&originals, None), vector, 1, false);
            assert!(hits[0].ordinal == at as u32 || head.deleted().contains(at as u32), "{at} {account:?}");
            let recall = recall(head.view(&originals, None), &queries, 10);
            assert!(recall >= 0.97, "{at}: {recall}");
        }
    }
    assert!(head.is_full());
    while !head.step(&originals, 10) {}
    assert!(!head.is_behind() && head.graph().linked() == count);
    let view = head.view(&originals, None);
    let (_, account) = search(view, &queries[..dimension], 10, false);
    assert!(matches!(account.plan, Plan::Walk { .. }), "{account:?}");
    let recall = recall(view, &queries, 10);
    assert!(recall >= 0.97, "{recall}");
}

/// A core writes and links between two steps of a search, whose walk then meets nodes that were not there when it began.
#[test]
fn a_head_that_grows_under_a_search_is_searched_to_its_end() {
    let dimension = 16;
    let (flat, count) = (2000, 6000);
    let vectors = clustered(count, dimension, 31);
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let mut head = Head::new(Metric::L2, dimension, count, BuildOptions::default()).flat_up_to(flat);
    let mut rest = vectors.chunks_exact(dimension);
    rest.by_ref().take(flat + 1000).for_each(|vector| _ = head.insert(vector));
    while !head.step(&originals, 100) {}
    let options = SearchOptions { limit: 10, width: 100, is_exact: false };
    let mut steps = 0;
    while head.graph().len() + 40 <= count {
        // It is there when the search begins, and linked while that walks.
        let newest = rest.next().expect("a vector left");
        let wanted = head.insert(newest);
        let mut search = Search::new(head.view(&originals, None), newest, options, Box::default());
        while !search.step(head.view(&originals, None), 300) {
            steps += 1;
            rest.by_ref().take(10).for_each(|vector| _ = head.insert(vector));
            while !head.step(&originals, 100) {}
        }
        let (hits, account, _) = search.finish();
        assert!(matches!(account.plan, Plan::Walk { .. }), "{account:?}");
        assert_eq!((hits[0].ordinal, hits[0].score), (wanted, 0.0), "{account:?}");
        let mut ordinals: Vec<u32> = hits.iter().map(|hit| hit.ordinal).collect();
        ordinals.sort_unstable();
        ordinals.dedup();
        assert_eq!(ordinals.len(), 10, "a hit stands twice");
    }
    assert!(steps > 20, "the searches were over before the head could grow");
}

#[test]
fn deletes_on_the_spot_keep_recall() {
    let dimension = 32;
    let count = 6000;
    let (vectors, queries) = (clustered(count, dimension, 22), clustered(40, dimension, 23));
    let bytes = bytes_of(&vectors);
    let originals = Rows { element: Element::F32, dimension, bytes: &bytes };
    let mut head = Head::new(Metric::L2, dimension, count, BuildOptions::default()).flat_up_to(0);
    vectors.chunks_exact(dimension).for_each(|vector| _ = head.insert(vector));
    while !head.step(&originals, 100) {}
    let before = recall(head.view(&originals, None), &queries, 10);
    (0..count as u32).filter(|ordinal| ordinal % 2 == 0).for_each(|ordinal| _ = head.delete(ordinal));
    while !head.step(&originals, 100) {}
    assert_eq!(head.live(), count / 2);
    let after = recall(head.view(&originals, None), &queries, 10);
    assert!(after >= before - 0.01 && after >= 0.97, "{before} to {after}");
}

#[test]
fn a_merge_has_all_that_lives_and_knows_where_from() {
    let dimension = 24;
    for metric in METRICS {
        let vectors = [clustered(1500, dimension, 24), clustered(900, dimension, 25)];
        let bytes = vectors.each_ref().map(|vectors| bytes_of(vectors));
        let originals = bytes.each_ref().map(|bytes| Rows { element: Element::F32, dimension, bytes });
        let live = vec![
            (0..1500).filter(|ordinal| ordinal % 5 != 0).collect::<Ordinals>(),
            (0..900).filter(|ordinal| ordinal % 2 == 0).collect(),
        ];
        let mut merge = Merge::new(metric, dimension, live, BuildOptions::default());
        let sources: [&dyn Originals; 2] = [&originals[0], &originals[1]];
        let mut steps = 0;
        while !merge.step(&sources, 10) {
            steps += 1;
        }
        assert!(steps > 100);
        let merged = merge.finish();
        assert_eq!(merged.segment.live(), 1200 + 450);
        let mut moved = Vec::new();
        for origin in &merged.origins {
            moved.extend_from_slice(sources[origin.source as usize].original(origin.ordinal));
        }
        let originals = Rows { element: Element::F32, dimension, bytes: &moved };
        let recall = recall(merged.segment.view(&originals, None), &clustered(30, dimension, 26), 10);
        assert!(recall >= 0.98, "{metric:?} {recall}");
    }
}

#[test]
fn memory_is_codes_and_links() {
    for (dimension, degree) in [(128, 32), (384, 32), (768, 32), (1024, 48)] {
        let vectors = clustered(600, dimension, 27);
        let grid = Grid::train(Metric::L2, dimension, 0.0, vectors.chunks_exact(dimension));
        let layout = super::graph::Layout::new(grid.plane(), degree);
        assert!(layout.stride as f64 <= 1.25 * (dimension + 4 * layout.degree) as f64, "{dimension}");
    }
}

#[test]
fn what_is_stored_comes_back() {
    let dimension = 21;
    for (metric, count) in [(Metric::L2, 0), (Metric::Cosine, 1), (Metric::Dot, 300)] {
        let vectors = clustered(count, dimension, 28);
        let graph = graph_of(metric, &vectors, dimension, Kernels::best());
        let bytes = encode(&graph);
        let back = decode(&bytes, Kernels::best(), Memory::plain()).unwrap();
        assert!(encode(&back) == bytes);
        assert_eq!((back.len(), back.width_for(10)), (count, graph.width_for(10)));
        let originals = bytes_of(&vectors);
        let originals = Rows { element: Element::F32, dimension, bytes: &originals };
        let (one, other) = (Segment::new(graph), Segment::new(back));
        for query in clustered(5, dimension, 29).chunks_exact(dimension) {
            let of = |segment: &Segment| search(segment.view(&originals, None), query, 10, false);
            assert_eq!(of(&one), of(&other));
        }
    }
}

#[test]
fn a_query_is_prepared_the_same_on_all_levels() {
    // What another one left there makes no difference.
    let mut prepared = CodeQuery::default();
    for (metric, dimension) in
        METRICS.into_iter().flat_map(|metric| [2, 7, 33, 128, 385].map(|d| (metric, d)))
    {
        let vectors = clustered(50, dimension, 31);
        let whole: Vec<f32> = vectors.iter().map(|x| (x * 3.0).round().clamp(-100.0, 100.0)).collect();
        for vectors in [&vectors, &whole] {
            let rows = || vectors.chunks_exact(dimension);
            let grid = Grid::train(metric, dimension, longest(rows()), rows().take(40));
            let far: Vec<f32> = vectors[..dimension].iter().map(|x| x * 40.0).collect();
            for query in rows().chain([far.as_slice()]) {
                let mut plain = CodeQuery::default();
                Prepare { grid: &grid, vector: query, query: &mut plain }.run();
                for kernels in Level::available().into_iter().filter_map(Kernels::of) {
                    kernels.compiled(Prepare { grid: &grid, vector: query, query: &mut prepared });
                    assert_eq!(prepared, plain, "{:?}, {metric:?} of {dimension}", kernels.level());
                }
                assert_eq!(plain.is_whole(), metric == Metric::L2 && vectors == &whole && query != far);
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let dimension = 3;
    let graph = graph_of(Metric::L2, &clustered(40, dimension, 30), dimension, Kernels::best());
    let mut bytes = encode(&graph);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&bytes, Kernels::best(), Memory::plain()).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len], Kernels::best(), Memory::plain()).is_err(), "length {len}");
    }
    let longer = [&bytes[..], &[0; 64]].concat();
    let refused = decode(&longer, Kernels::best(), Memory::plain());
    assert_eq!(refused.err(), Some(DecodeError::Length));
}

/// The format on disk does not change by accident. `WRITE_GOLDEN=1 cargo test --lib vector::` writes the file
/// anew; do so only together with a new format version.
#[test]
fn the_format_is_the_golden_one() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vector_graph_v1.bin");
    let vectors = [[0.0, 3.0, 250.0], [1.0, 2.0, 200.0], [7.0, 7.0, 100.0], [9.0, 0.0, 17.0]];
    let grid = Grid::train(Metric::L2, 3, 0.0, vectors.iter().map(<[f32; 3]>::as_slice));
    let mut graph = Graph::new(grid, 8, 4, Kernels::best(), Memory::plain());
    vectors.iter().for_each(|vector| _ = graph.push(vector));
    for (node, links) in [&[1, 2][..], &[0], &[3, 1, 0], &[]].into_iter().enumerate() {
        graph.set_links(node as u32, links);
    }
    for node in [2, 0] {
        graph.push_entry(node);
    }
    graph.linked = 4;
    let bytes = encode(&graph);
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &bytes).expect("the golden file can be written");
    }
    let golden = std::fs::read(&path).expect("the golden file is there");
    assert!(bytes == golden, "the writer makes other bytes than the golden ones");
    let back = decode(&golden, Kernels::best(), Memory::plain()).expect("it is sound");
    assert_eq!((back.links(2), back.entries.nodes()), (&[3, 1, 0][..], &[2, 0][..]));
}
