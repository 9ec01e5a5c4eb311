//! What filters mean, against an evaluator that shares no code with the engine: 100,000 random documents and as many
//! filters, each asked of every document of its group, by a look at the document and by the indexes.
//!
//! The evaluator goes by the tables in `document/filter/mod.rs`, `fields.rs` and `lookup.rs`, over trees of its own that
//! keep numbers as they were written. It decides as well which filters are refused.

#[path = "filter_semantics/evaluator.rs"]
mod evaluator;
#[path = "filter_semantics/random.rs"]
mod random;

use std::collections::BTreeMap;

use evaluator::{DECLARED, Json, find, holds, is_taken, shown};
use kyrodb::io::sim::Rng;
use kyrodb::shard::document::fields::Fields;
use kyrodb::shard::document::filter::Filter;
use kyrodb::shard::document::filter::sieve::{Look, Sieve};
use kyrodb::shard::document::index::FieldIndexes;
use kyrodb::shard::document::metadata::{Metadata, compact};
use random::{any_document, any_filter, text_of};

const GROUPS: u64 = 5000;
const GROUP_DOCUMENTS: usize = 20;
const GROUP_FILTERS: usize = 20;

/// How often something was asked, and how often it held.
#[derive(Default)]
struct Tally {
    documents: u64,
    filters: u64,
    refused: u64,
    /// Filters with a `$not` in a `$not`.
    nested_nots: u64,
    /// One operator of one field of a document in a state: how often it did not hold, and how often it did.
    outcomes: BTreeMap<(String, &'static str), [u64; 2]>,
}

fn state_of(document: &Json, name: &str) -> &'static str {
    let Json::Object(members) = document else { panic!("metadata is an object") };
    let mut found = Vec::new();
    find(members, name, false, &mut found);
    match found.as_slice() {
        [] => "missing",
        [(Json::Null, _)] => "null",
        [(Json::List(list), _)] if list.is_empty() => "empty list",
        [_, ..] if shown(document, name).values.is_empty() => "of another type",
        _ => "there",
    }
}

fn nots(json: &Json) -> usize {
    match json {
        Json::List(list) => list.iter().map(nots).max().unwrap_or(0),
        Json::Object(members) => {
            let depth = |(name, value): &(String, Json)| usize::from(name == "$not") + nots(value);
            members.iter().map(depth).max().unwrap_or(0)
        }
        _ => 0,
    }
}

impl Tally {
    fn note(&mut self, filter: &Json, document: &Json, outcome: bool) {
        let Json::Object(members) = filter else { return };
        let [(name, Json::Object(operators))] = members.as_slice() else { return };
        let ([(operator, _)], false) = (operators.as_slice(), name.starts_with('$')) else { return };
        let state = state_of(document, name);
        self.outcomes.entry((operator.clone(), state)).or_default()[usize::from(outcome)] += 1;
    }
}

/// What a look tells, in steps.
fn told(look: &mut Look<'_, '_>, metadata: Metadata<'_>) -> bool {
    loop {
        if let Some(holds) = look.step(metadata, &mut 40) {
            return holds;
        }
    }
}

fn compare_group(seed: u64, fields: &Fields, tally: &mut Tally) {
    let rng = &mut Rng::new(seed);
    let documents: Vec<Json> = (0..GROUP_DOCUMENTS).map(|_| any_document(rng)).collect();
    let texts: Vec<String> = documents
        .iter()
        .map(|document| {
            let text = text_of(document, rng);
            compact(&text).unwrap_or_else(|error| panic!("seed {seed}: {text}: {error}"))
        })
        .collect();
    let mut indexes = FieldIndexes::new(fields.clone());
    // Far apart, so that sets have more than one part.
    let ordinal = |at: usize| at as u32 * 9001;
    texts.iter().enumerate().for_each(|(at, text)| indexes.insert(ordinal(at), Metadata::from_compact(text)));
    tally.documents += documents.len() as u64;
    for _ in 0..GROUP_FILTERS {
        let filter = any_filter(rng, 4);
        let text = text_of(&filter, rng);
        tally.filters += 1;
        let parsed = Filter::parse(&text, fields);
        assert_eq!(parsed.is_ok(), is_taken(&filter), "seed {seed}: {text}: {:?}", parsed.err());
        let Ok(parsed) = parsed else {
            tally.refused += 1;
            continue;
        };
        tally.nested_nots += u64::from(nots(&filter) > 1);
        let answer = indexes.evaluate(&parsed);
        let residual = parsed.residual();
        let sieve = residual.as_ref().map(Sieve::new);
        let mut look = sieve.as_ref().map(Look::new);
        let mut count = 0;
        for (at, document) in documents.iter().enumerate() {
            let wanted = holds(&filter, document);
            let metadata = Metadata::from_compact(&texts[at]);
            assert_eq!(parsed.matches(metadata), wanted, "seed {seed}: {text} of {}", texts[at]);
            let is_open = answer.possible().contains(ordinal(at)) && !answer.certain().contains(ordinal(at));
            let is_left = residual.as_ref().is_some_and(|residual| residual.matches(metadata));
            let is_told_left = look.as_mut().is_some_and(|look| told(look, metadata));
            assert_eq!(is_told_left, is_left, "in steps, seed {seed}: {text} of {}", texts[at]);
            let found = answer.certain().contains(ordinal(at)) || is_open && is_left;
            assert_eq!(found, wanted, "by indexes, seed {seed}: {text} of {}", texts[at]);
            count += usize::from(wanted);
            tally.note(&filter, document, wanted);
        }
        let told = indexes.cardinality(&parsed);
        assert!((told.at_least..=told.at_most).contains(&(count as u64)), "seed {seed}: {text}: {told:?}");
    }
}

#[test]
fn filters_mean_what_the_tables_say() {
    let definition: Vec<String> =
        DECLARED.iter().map(|(name, kind)| format!("\"{name}\":\"{kind}\"")).collect();
    let fields = Fields::parse(&format!("{{{}}}", definition.join(","))).expect("good fields");
    let mut tally = Tally::default();
    for seed in 0..GROUPS {
        compare_group(seed, &fields, &mut tally);
    }
    assert!(tally.documents >= 100_000 && tally.filters - tally.refused >= 80_000, "{}", tally.refused);
    assert!(tally.refused > 2_000 && tally.nested_nots > 5_000, "{} {}", tally.refused, tally.nested_nots);
    // Every operator met every state of a field, and gave both answers wherever there are two.
    for operator in ["$eq", "$ne", "$in", "$nin", "$exists", "$gt", "$gte", "$lt", "$lte", "$not"] {
        for state in ["missing", "null", "empty list", "of another type", "there"] {
            let [no, yes] = tally.outcomes.get(&(operator.to_owned(), state)).copied().unwrap_or_default();
            let is_never = operator.starts_with("$gt") || operator.starts_with("$lt");
            let wanted = match (operator, state) {
                (_, "there") | ("$exists" | "$not", _) => [10, 10],
                (_, _) if is_never => [10, 0],
                // Only `null` is equal to what is not there.
                ("$eq" | "$in", "missing" | "null") | ("$ne" | "$nin", "missing" | "null") => [10, 10],
                ("$eq" | "$in", _) => [10, 0],
                _ => [0, 10],
            };
            assert!(no >= wanted[0] && yes >= wanted[1], "{operator} where it is {state}: {no} {yes}");
        }
    }
}
