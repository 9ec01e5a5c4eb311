//! Indexes against the scan that is the truth.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::answer::{Answer, Cardinality};
use super::*;
use crate::shard::document::filter::{Filter, any_filter, any_metadata, declared, holds};

fn metadata(text: &str) -> Metadata<'_> {
    Metadata::from_compact(text)
}

fn filter(json: &str) -> Filter {
    Filter::parse(json, &declared()).unwrap()
}

fn indexes(documents: &[&str]) -> FieldIndexes {
    let mut indexes = FieldIndexes::new(declared());
    (0..).zip(documents).for_each(|(ordinal, text)| indexes.insert(ordinal, metadata(text)));
    indexes
}

fn ordinals(found: &RoaringBitmap) -> Vec<u32> {
    found.iter().collect()
}

const DOCUMENTS: [&str; 6] = [
    r#"{"i":1,"t":["a","b"],"k":"x","u":1}"#,
    r#"{"i":2,"t":["b"],"b":true,"u":2}"#,
    r#"{"i":null,"t":[],"k":"y","at":"1970-01-01T00:00:01Z"}"#,
    "{}",
    r#"{"i":5,"f":0.5,"k":"x"}"#,
    r#"{"i":9,"t":["a","a"],"u":1}"#,
];

#[test]
fn answers_are_exact_where_every_field_is_declared() {
    let indexes = indexes(&DOCUMENTS);
    for (json, expected) in [
        ("{}", &[0, 1, 2, 3, 4, 5][..]),
        (r#"{"i":{"$gte":2,"$lt":9}}"#, &[1, 4]),
        (r#"{"i":{"$ne":2}}"#, &[0, 2, 3, 4, 5]),
        (r#"{"i":null}"#, &[2, 3]),
        (r#"{"i":{"$exists":true}}"#, &[0, 1, 2, 4, 5]),
        (r#"{"t":"a"}"#, &[0, 5]),
        (r#"{"t":{"$gt":"a"}}"#, &[0, 1]),
        (r#"{"k":"x","t":{"$in":["a","z"]}}"#, &[0]),
        (r#"{"$or":[{"b":true},{"f":{"$lte":0.5}}]}"#, &[1, 4]),
        (r#"{"at":{"$lt":2000}}"#, &[2]),
        (r#"{"k":"x","$not":{"i":5}}"#, &[0]),
        (r#"{"i":2.5}"#, &[]),
    ] {
        let answer = indexes.evaluate(&filter(json));
        assert!(answer.is_exact(), "{json}");
        assert_eq!(ordinals(answer.certain()), expected, "{json}");
    }
}

#[test]
fn undeclared_fields_leave_documents_open() {
    let indexes = indexes(&DOCUMENTS);
    let answer = indexes.evaluate(&filter(r#"{"i":{"$lte":2},"u":1}"#));
    assert_eq!((ordinals(answer.certain()), ordinals(answer.possible())), (vec![], vec![0, 1]));
    let answer = indexes.evaluate(&filter(r#"{"$or":[{"k":"x"},{"u":1}]}"#));
    assert_eq!((ordinals(answer.certain()), ordinals(&answer.open())), (vec![0, 4], vec![1, 2, 3, 5]));
    let answer = indexes.evaluate(&filter(r#"{"$not":{"k":"x","u":1}}"#));
    assert_eq!((ordinals(answer.certain()), ordinals(&answer.open())), (vec![1, 2, 3, 5], vec![0, 4]));
    let nothing = indexes.evaluate(&filter(r#"{"u":1,"k":"z"}"#));
    assert_eq!(nothing, Answer::Exact(RoaringBitmap::new()), "no document is looked at");
}

#[test]
fn one_test_is_counted_exactly_and_several_are_bounded() {
    let indexes = indexes(&DOCUMENTS);
    let count = |json| indexes.cardinality(&filter(json));
    for (json, expected) in [
        ("{}", 6),
        (r#"{"i":{"$gte":2}}"#, 3),
        (r#"{"i":{"$nin":[2,5]}}"#, 4),
        (r#"{"i":{"$in":[1,null]}}"#, 3),
        (r#"{"k":{"$in":["x","y"]}}"#, 3),
        (r#"{"k":{"$gt":"x"}}"#, 1),
        (r#"{"t":"a"}"#, 2),
        (r#"{"b":{"$ne":true}}"#, 5),
        (r#"{"k":{"$exists":false}}"#, 3),
    ] {
        assert_eq!(count(json), Cardinality::exact(expected), "{json}");
    }
    assert_eq!(count(r#"{"t":{"$in":["a","b"]}}"#), Cardinality { at_least: 2, at_most: 4 });
    assert_eq!(count(r#"{"i":{"$gte":2},"k":"x"}"#), Cardinality { at_least: 0, at_most: 2 });
    assert_eq!(count(r#"{"u":1}"#), Cardinality { at_least: 0, at_most: 6 });
}

#[test]
#[should_panic(expected = "removed before")]
fn an_ordinal_is_not_inserted_twice() {
    let mut indexes = indexes(&["{}"]);
    indexes.insert(0, metadata("{}"));
}

#[test]
#[should_panic(expected = "another collection")]
fn a_filter_belongs_to_its_fields() {
    let fields = Fields::parse(r#"{"other":"i64"}"#).unwrap();
    let filter = Filter::parse(r#"{"other":1}"#, &fields).unwrap();
    let _ = indexes(&DOCUMENTS).evaluate(&filter);
}

#[test]
fn memory_follows_what_is_in_it() {
    let mut indexes = FieldIndexes::new(declared());
    let empty = indexes.memory_bytes();
    let text = |n: u32| format!(r#"{{"i":{n},"k":"key-{}","t":["a","b"],"b":true}}"#, n % 10);
    (0..10_000).for_each(|n| indexes.insert(n, metadata(&text(n))));
    let full = indexes.memory_bytes();
    assert!((10_000 * 12..10_000 * 60).contains(&full), "{full}");
    (0..10_000).for_each(|n| indexes.remove(n, metadata(&text(n))));
    assert!(indexes.is_empty());
    assert_eq!(indexes.memory_bytes(), empty);
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Value),
    Replace(Index, Value),
    Remove(Index),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => any_metadata().prop_map(Step::Insert),
        2 => (any::<Index>(), any_metadata()).prop_map(|(which, new)| Step::Replace(which, new)),
        2 => any::<Index>().prop_map(Step::Remove),
    ]
}

/// Live documents by ordinal. A replaced document keeps its ordinal or gets a new one.
type Documents = std::collections::BTreeMap<u32, Value>;

fn apply(step: &Step, at: u32, indexes: &mut FieldIndexes, documents: &mut Documents) {
    let mut remove = |which: &Index, indexes: &mut FieldIndexes| {
        let ordinal = *documents.keys().nth(which.index(documents.len().max(1)))?;
        let old = documents.remove(&ordinal)?;
        indexes.remove(ordinal, metadata(&old.to_string()));
        Some(ordinal)
    };
    let inserted = match step {
        Step::Insert(new) => Some((at, new)),
        Step::Replace(which, new) => {
            remove(which, indexes).map(|old| (if new.get("k").is_some() { old } else { at }, new))
        }
        Step::Remove(which) => {
            remove(which, indexes);
            None
        }
    };
    if let Some((ordinal, new)) = inserted {
        indexes.insert(ordinal, metadata(&new.to_string()));
        documents.insert(ordinal, new.clone());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn indexes_answer_as_a_scan_does(
        steps in prop::collection::vec(any_step(), 0..60),
        filters in prop::collection::vec(any_filter(), 8),
    ) {
        let (mut indexes, mut documents) = (FieldIndexes::new(declared()), Documents::new());
        // Far apart, so that more than one container is used.
        for (at, step) in (0..).zip(&steps) {
            apply(step, at * 40_000, &mut indexes, &mut documents);
        }
        for json in &filters {
            let filter = Filter::parse(&json.to_string(), indexes.fields()).unwrap();
            let scan = |filter: &Filter| -> RoaringBitmap {
                let matching = documents.iter().filter(|(_, document)| filter.matches(metadata(&document.to_string())));
                matching.map(|(ordinal, _)| *ordinal).collect()
            };
            let truth = scan(&filter);
            prop_assert_eq!(&truth, &documents.iter().filter(|(_, d)| holds(json, d)).map(|(o, _)| *o).collect());
            let answer = indexes.evaluate(&filter);
            prop_assert!(answer.certain().is_subset(&truth), "{} is not certain", json);
            prop_assert!(truth.is_subset(answer.possible()), "{} misses some", json);
            if filter.undeclared().is_empty() {
                prop_assert!(answer.is_exact());
            }
            if answer.is_exact() {
                prop_assert_eq!(answer.certain(), &truth);
            }
            let checked = match filter.residual() {
                Some(residual) => answer.certain() | (answer.open() & scan(&residual)),
                None => answer.certain().clone(),
            };
            prop_assert_eq!(&checked, &truth, "{} with its residual", json);
            let count = indexes.cardinality(&filter);
            prop_assert!((count.at_least..=count.at_most).contains(&truth.len()), "{} {:?}", json, count);
        }
        for (ordinal, document) in documents {
            indexes.remove(ordinal, metadata(&document.to_string()));
        }
        prop_assert!(indexes.is_empty());
    }
}
