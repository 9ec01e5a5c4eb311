//! A collection of which everything is replaced, or deleted and put anew, ten times over: it is searched as well as
//! one that was built at once.

use super::allowed::Ordinals;
use super::element::{Element, Originals, Rows};
use super::graph::build::BuildOptions;
use super::head::Head;
use super::kernel::Kernels;
use super::merge::{Merge, Origin};
use super::metric::Metric;
use super::search::{Search, SearchOptions, View};
use super::segment::Segment;
use super::testing::Random;
use super::tests::{bytes_of, clustered, graph_of};
use super::top::Hit;

const DIMENSION: usize = 24;
const DOCUMENTS: usize = 1500;
const HEAD: usize = 600;
const WRITTEN: usize = 10 * DOCUMENTS;

/// Where a document is: in the head, or in the segment.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Head(u32),
    Segment(u32),
}

/// As a shard has them: one segment, and a head that is merged into it when it is full.
struct Collection {
    segment: Segment,
    sealed: Vec<f32>,
    head: Head,
    fresh: Vec<f32>,
    /// By document; none: deleted.
    places: Vec<Option<Place>>,
    merges: usize,
}

fn empty_head() -> Head {
    Head::new(Metric::L2, DIMENSION, HEAD, BuildOptions::default()).flat_up_to(0)
}

impl Collection {
    fn new(vectors: &[f32]) -> Collection {
        let segment = Segment::new(graph_of(Metric::L2, vectors, DIMENSION, Kernels::best()));
        let places = (0..DOCUMENTS as u32).map(|at| Some(Place::Segment(at))).collect();
        let (head, fresh) = (empty_head(), Vec::new());
        Collection { segment, sealed: vectors.to_vec(), head, fresh, places, merges: 0 }
    }

    fn delete(&mut self, document: usize) {
        let was_live = match self.places[document].take() {
            Some(Place::Head(ordinal)) => self.head.delete(ordinal),
            Some(Place::Segment(ordinal)) => self.segment.delete(ordinal),
            None => return,
        };
        assert!(was_live);
    }

    fn put(&mut self, document: usize, vector: &[f32]) {
        self.delete(document);
        self.fresh.extend_from_slice(vector);
        self.places[document] = Some(Place::Head(self.head.insert(vector)));
        let bytes = bytes_of(&self.fresh);
        self.head.step(&Rows { element: Element::F32, dimension: DIMENSION, bytes: &bytes }, 3);
        if self.head.is_full() {
            self.merge();
        }
    }

    fn merge(&mut self) {
        let bytes = [bytes_of(&self.sealed), bytes_of(&self.fresh)];
        let rows = bytes.each_ref().map(|bytes| Rows { element: Element::F32, dimension: DIMENSION, bytes });
        let live = vec![self.segment.live_ordinals(), self.head.live_ordinals()];
        let mut merge = Merge::new(Metric::L2, DIMENSION, live, BuildOptions::default());
        while !merge.step(&[&rows[0] as &dyn Originals, &rows[1]], 100) {}
        let merged = merge.finish();
        let old = std::mem::take(&mut self.places);
        let place = |origin: &Origin| match origin.source {
            0 => Place::Segment(origin.ordinal),
            _ => Place::Head(origin.ordinal),
        };
        let new = |old: &Place| merged.origins.iter().position(|origin| place(origin) == *old);
        let moved = |old: Option<Place>| old.map(|old| Place::Segment(new(&old).expect("it lives") as u32));
        self.places = old.into_iter().map(moved).collect();
        let sources = [&self.sealed, &self.fresh];
        let vectors = merged.origins.iter().flat_map(|origin| {
            sources[origin.source as usize][origin.ordinal as usize * DIMENSION..][..DIMENSION].to_vec()
        });
        let sealed: Vec<f32> = vectors.collect();
        (self.sealed, self.segment) = (sealed, merged.segment);
        (self.fresh, self.head) = (Vec::new(), empty_head());
        self.merges += 1;
    }

    fn vector(&self, place: Place) -> &[f32] {
        let (from, ordinal) = match place {
            Place::Head(ordinal) => (&self.fresh, ordinal),
            Place::Segment(ordinal) => (&self.sealed, ordinal),
        };
        &from[ordinal as usize * DIMENSION..][..DIMENSION]
    }

    /// Scores of the best ten of both.
    fn search(&self, query: &[f32]) -> Vec<f32> {
        let bytes = [bytes_of(&self.sealed), bytes_of(&self.fresh)];
        let rows = bytes.each_ref().map(|bytes| Rows { element: Element::F32, dimension: DIMENSION, bytes });
        let mut hits = search(self.segment.view(&rows[0], None), query);
        hits.extend(search(self.head.view(&rows[1], None), query));
        let mut scores: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        scores.truncate(10);
        scores
    }
}

fn search(view: View<'_>, query: &[f32]) -> Vec<Hit> {
    let options = SearchOptions { limit: 10, width: view.graph.width_for(10), is_exact: false };
    Search::run(view, query, options, Box::default()).0
}

fn score(one: &[f32], other: &[f32]) -> f32 {
    -one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum::<f32>()
}

#[test]
fn recall_stays_while_all_is_replaced_ten_times_over() {
    let random = &mut Random::new(40);
    let mut collection = Collection::new(&clustered(DOCUMENTS, DIMENSION, 41));
    let fresh = clustered(WRITTEN, DIMENSION, 42);
    for vector in fresh.chunks_exact(DIMENSION) {
        // One in four is deleted some time before it comes again.
        if random.below(4) == 0 {
            collection.delete(random.below(DOCUMENTS));
        }
        let gone = collection.places.iter().position(Option::is_none).filter(|_| random.below(2) == 0);
        collection.put(gone.unwrap_or_else(|| random.below(DOCUMENTS)), vector);
    }
    assert!(collection.merges >= WRITTEN / HEAD - 1);
    let live: Vec<f32> =
        collection.places.iter().flatten().flat_map(|place| collection.vector(*place).to_vec()).collect();
    let count = live.len() / DIMENSION;
    assert!(count > DOCUMENTS / 2 && count == collection.segment.live() + collection.head.live());
    let bytes = bytes_of(&live);
    let rows = Rows { element: Element::F32, dimension: DIMENSION, bytes: &bytes };
    let anew = Segment::new(graph_of(Metric::L2, &live, DIMENSION, Kernels::best()));
    let all = Ordinals::all(count);
    let (mut churned, mut built) = (0, 0);
    let queries = clustered(100, DIMENSION, 43);
    for query in queries.chunks_exact(DIMENSION) {
        let mut right: Vec<f32> = live.chunks_exact(DIMENSION).map(|vector| score(query, vector)).collect();
        right.sort_by(|a, b| b.total_cmp(a));
        let worst = right[9] * 1.000_01;
        let found = collection.search(query);
        assert_eq!(found.len(), 10);
        churned += found.iter().filter(|score| **score >= worst).count();
        built += search(anew.view(&rows, Some(&all)), query).iter().filter(|hit| hit.score >= worst).count();
    }
    assert!(churned + 10 >= built && built >= 970, "{churned} of 1000, {built} when built anew");
}
