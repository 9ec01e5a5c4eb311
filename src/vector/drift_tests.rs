//! Heads whose later vectors are not of the kind that their grid was made of.

use super::allowed::Ordinals;
use super::element::{Element, Rows};
use super::graph::build::BuildOptions;
use super::head::Head;
use super::merge::Merge;
use super::metric::Metric;
use super::search::{Search, SearchOptions, View};
use super::testing::Random;

const DIMENSION: usize = 32;
const COUNT: usize = 5000;
/// So many are of the first kind.
const BEFORE: usize = 1700;

type Make = fn(usize, &mut Random) -> Vec<f32>;

fn rows(bytes: &[u8]) -> Rows<'_> {
    Rows { element: Element::F32, dimension: DIMENSION, bytes }
}

fn normal(random: &mut Random) -> Vec<f32> {
    (0..DIMENSION).map(|_| random.normal()).collect()
}

fn of_length(length: f32, random: &mut Random) -> Vec<f32> {
    let vector = normal(random);
    let factor = length / vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x * factor).collect()
}

fn shifted(at: usize, by: f32, random: &mut Random) -> Vec<f32> {
    let by = if at < BEFORE { 0.0 } else { by };
    normal(random).iter().map(|x| x + by).collect()
}

fn longer(at: usize, times: f32, random: &mut Random) -> Vec<f32> {
    of_length(if at < BEFORE { 1.0 } else { times }, random)
}

fn first_whole(at: usize, random: &mut Random) -> Vec<f32> {
    match at < BEFORE {
        true => (0..DIMENSION).map(|coordinate| f32::from(u8::from(coordinate == at % DIMENSION))).collect(),
        false => of_length(1.0, random),
    }
}

const KINDS: [(&str, Metric, Make); 9] = [
    ("1.1 times as long", Metric::Dot, |at, random| longer(at, 1.1, random)),
    ("1.5 times as long", Metric::Dot, |at, random| longer(at, 1.5, random)),
    ("twice as long", Metric::Dot, |at, random| longer(at, 2.0, random)),
    ("half as long", Metric::Dot, |at, random| longer(at, 0.5, random)),
    ("lengths far apart", Metric::Dot, |_, random| of_length((0.5 * random.normal()).exp(), random)),
    ("2 deviations away", Metric::L2, |at, random| shifted(at, 2.0, random)),
    ("3 deviations away", Metric::L2, |at, random| shifted(at, 3.0, random)),
    ("4 deviations away", Metric::L2, |at, random| shifted(at, 4.0, random)),
    ("first whole numbers", Metric::L2, first_whole),
];

/// Of searches for vectors of the kind that came last.
fn recall(view: View<'_>, make: Make, random: &mut Random) -> f64 {
    const QUERIES: usize = 40;
    let width = view.graph.width_for(10);
    let mut found = 0;
    for _ in 0..QUERIES {
        let query = make(COUNT, random);
        let of = |is_exact| {
            let options = SearchOptions { limit: 10, width, is_exact };
            Search::run(view, &query, options, Box::default()).0
        };
        let (hits, right) = (of(false), of(true));
        found += hits.iter().filter(|hit| hit.score >= right[9].score).count();
    }
    found as f64 / (10 * QUERIES) as f64
}

/// With a step now and then, as the owner of a head makes them. At several sizes: nothing goes on to be missed.
fn fill(metric: Metric, make: Make, flat: usize) -> (Head, Vec<u8>, f64) {
    let random = &mut Random::new(41);
    let (mut head, mut bytes) = (Head::new(metric, DIMENSION, COUNT, BuildOptions::default()), Vec::new());
    head = head.flat_up_to(flat);
    let mut worst: f64 = 1.0;
    for at in 0..COUNT {
        let vector = make(at, random);
        Element::F32.encode(&vector, &mut bytes);
        head.insert(&vector);
        if at % 2 == 0 {
            head.step(&rows(&bytes), 4);
        }
        if at > BEFORE && [BEFORE + 150, 2100, 2600, 3500].contains(&at) {
            worst = worst.min(recall(head.view(&rows(&bytes), None), make, &mut Random::new(42)));
        }
    }
    while !head.step(&rows(&bytes), 10) {}
    (head, bytes, worst)
}

#[test]
fn a_head_finds_what_its_grid_was_not_made_for() {
    for (what, metric, make) in KINDS {
        let (head, bytes, worst) = fill(metric, make, COUNT);
        let end = recall(head.view(&rows(&bytes), None), make, &mut Random::new(43));
        // Of unit vectors, a grid for zeros and ones has steps of a twentieth of a deviation: until there are many of them,
        // what is ranked is not always enough.
        let on_the_way = if what == "first whole numbers" { 0.92 } else { 0.98 };
        assert!(worst >= on_the_way && end >= 0.98, "{what}: {worst} on the way, {end} in the end");
    }
}

#[test]
fn a_merge_finds_all_kinds() {
    for (what, metric, make) in KINDS {
        let random = &mut Random::new(44);
        let mut bytes = Vec::new();
        (0..COUNT).for_each(|at| Element::F32.encode(&make(at, random), &mut bytes));
        let rows = rows(&bytes);
        let mut merge = Merge::new(metric, DIMENSION, vec![Ordinals::all(COUNT)], BuildOptions::default());
        while !merge.step(&[&rows], 100) {}
        let found = recall(merge.finish().segment.view(&rows, None), make, random);
        assert!(found >= 0.97, "{what}: {found}");
    }
}

#[test]
fn a_head_does_not_link_vectors_whose_lengths_are_far_apart() {
    for (what, metric, make) in KINDS.into_iter().filter(|(_, metric, _)| *metric == Metric::Dot) {
        let (head, bytes, worst) = fill(metric, make, BEFORE - 500);
        assert!(head.is_full() || head.graph().linked() == 0, "{what}");
        assert!(head.graph().linked() < COUNT && !head.is_behind(), "{what}");
        let end = recall(head.view(&rows(&bytes), None), make, &mut Random::new(43));
        assert!(worst >= 0.98 && end >= 0.98, "{what}: {worst} on the way, {end} in the end");
    }
}

#[test]
fn a_head_is_full_when_much_does_not_fit() {
    let full_at = |make: Make, metric| {
        let random = &mut Random::new(41);
        let (mut head, mut bytes) =
            (Head::new(metric, DIMENSION, COUNT, BuildOptions::default()), Vec::new());
        (0..COUNT).find(|at| {
            let vector = make(*at, random);
            Element::F32.encode(&vector, &mut bytes);
            head.insert(&vector);
            while !head.step(&rows(&bytes), 10) {}
            head.is_full()
        })
    };
    for (what, metric, make) in KINDS {
        let at = full_at(make, metric);
        match what {
            // A finer grid is better, and not needed.
            "half as long" | "lengths far apart" | "first whole numbers" => {
                assert_eq!(at, Some(COUNT - 1), "{what}")
            }
            _ => assert!(at.is_some_and(|at| (BEFORE + 200..BEFORE + 1000).contains(&at)), "{what}: {at:?}"),
        }
    }
}
