//! Filters over indexes.

use std::ops::Bound;

use roaring::RoaringBitmap;

use super::answer::{Answer, Cardinality};
use super::ordered::{key_of, key_range};
use super::{Column, FieldIndexes, Values};
use crate::shard::document::filter::{FieldTest, Filter, Test};
use crate::shard::document::scalar::Scalar;

impl FieldIndexes {
    /// The filter was parsed with the fields of these indexes.
    pub fn evaluate(&self, filter: &Filter) -> Answer {
        if filter.is_open() {
            // Thousands of such tests would copy a set each.
            return Answer::Between { certain: RoaringBitmap::new(), possible: self.live.clone() };
        }
        match filter {
            Filter::All(parts) => self.all(parts),
            Filter::Any(parts) => {
                let none = Answer::Exact(RoaringBitmap::new());
                but_one_open(parts).fold(none, |found, part| found.or(self.evaluate(part)))
            }
            Filter::Not(part) => self.everything().and_not(self.evaluate(part)),
            Filter::Field(test) => match self.column(test) {
                Some(column) => Answer::Exact(column.evaluate(&test.test, &self.live)),
                None => Answer::Between { certain: RoaringBitmap::new(), possible: self.live.clone() },
            },
        }
    }

    fn everything(&self) -> Answer {
        Answer::Exact(self.live.clone())
    }

    fn column(&self, test: &FieldTest) -> Option<&Column> {
        let declared = test.declared?;
        let is_ours = self.fields.get(declared.position).is_some_and(|field| field.name == test.name);
        assert!(is_ours, "a filter over the fields of another collection");
        self.columns.get(declared.position)
    }

    /// The smallest first, and nothing more when nothing is left; then what must not hold is taken away.
    fn all(&self, parts: &[Filter]) -> Answer {
        let (negative, mut positive): (Vec<&Filter>, Vec<&Filter>) =
            but_one_open(parts).partition(|part| matches!(part, Filter::Not(_)));
        positive.sort_by_cached_key(|part| self.cardinality(part).at_most);
        let mut found = match positive.split_first() {
            Some((first, rest)) => {
                let mut found = self.evaluate(first);
                for part in rest {
                    if found.possible().is_empty() {
                        return found;
                    }
                    found = found.and(self.evaluate(part));
                }
                found
            }
            None => self.everything(),
        };
        for part in negative {
            if let Filter::Not(inner) = part {
                found = found.and_not(self.evaluate(inner));
            }
        }
        found
    }

    /// Without making a set: exact for one test of a field with one value, and for its negation; bounds for several
    /// together.
    pub fn cardinality(&self, filter: &Filter) -> Cardinality {
        let live = self.live.len();
        match filter {
            Filter::All(parts) => {
                let counts = parts.iter().map(|part| self.cardinality(part));
                counts.fold(Cardinality::exact(live), |found, count| found.and(count, live))
            }
            Filter::Any(parts) => {
                let counts = parts.iter().map(|part| self.cardinality(part));
                counts.fold(Cardinality::exact(0), |found, count| found.or(count, live))
            }
            Filter::Not(part) => self.cardinality(part).not(live),
            Filter::Field(test) => match self.column(test) {
                Some(column) => column.cardinality(&test.test, live),
                None => Cardinality { at_least: 0, at_most: live },
            },
        }
    }
}

/// All but the second and further ones of which no index knows anything: they leave open what the first does.
fn but_one_open(parts: &[Filter]) -> impl Iterator<Item = &Filter> {
    let mut has_open = false;
    parts.iter().filter(move |part| !(part.is_open() && std::mem::replace(&mut has_open, true)))
}

impl Column {
    fn evaluate(&self, test: &Test, live: &RoaringBitmap) -> RoaringBitmap {
        match test {
            Test::Exists => self.present.clone(),
            Test::AnyOf { values, or_absent } => {
                let mut found = if *or_absent { live - &self.present } else { RoaringBitmap::new() };
                if *or_absent {
                    found |= &self.null;
                }
                values.iter().for_each(|value| self.add_equal(value, &mut found));
                found
            }
            Test::Within { low, high } => match &self.values {
                Values::Ordered(index) => match key_range(self.kind, low, high) {
                    Some(keys) => index.within(keys),
                    None => RoaringBitmap::new(),
                },
                Values::Keyword(index) => index.within(text(low), text(high)),
                Values::Bool { .. } => RoaringBitmap::new(),
            },
        }
    }

    fn add_equal(&self, value: &Scalar<'_>, found: &mut RoaringBitmap) {
        match (&self.values, value) {
            (Values::Bool { yes, .. }, Scalar::Bool(true)) => *found |= yes,
            (Values::Bool { no, .. }, Scalar::Bool(false)) => *found |= no,
            (Values::Keyword(index), Scalar::Text(text)) => index.add_equal(text, found),
            (Values::Ordered(index), Scalar::Number(number)) => {
                if let Some(key) = key_of(self.kind, *number) {
                    *found |= index.within(key..=key);
                }
            }
            _ => (),
        }
    }

    fn count_equal(&self, value: &Scalar<'_>) -> u64 {
        match (&self.values, value) {
            (Values::Bool { yes, .. }, Scalar::Bool(true)) => yes.len(),
            (Values::Bool { no, .. }, Scalar::Bool(false)) => no.len(),
            (Values::Keyword(index), Scalar::Text(text)) => index.count(text),
            (Values::Ordered(index), Scalar::Number(number)) => {
                key_of(self.kind, *number).map_or(0, |key| index.count(key..=key))
            }
            _ => 0,
        }
    }

    fn cardinality(&self, test: &Test, live: u64) -> Cardinality {
        match test {
            Test::Exists => Cardinality::exact(self.present.len()),
            Test::AnyOf { values, or_absent } => {
                let absent = if *or_absent { live - self.present.len() + self.null.len() } else { 0 };
                let counts = values.iter().map(|value| self.count_equal(value));
                let (most, sum) = counts.fold((absent, absent), |(most, sum), n| (most.max(n), sum + n));
                self.of_counts(most, sum, live)
            }
            Test::Within { low, high } => match &self.values {
                Values::Ordered(index) => {
                    let keys = key_range(self.kind, low, high);
                    Cardinality::exact(keys.map_or(0, |keys| index.count(keys)))
                }
                Values::Keyword(index) => {
                    let (most, sum) = index.counts_within(text(low), text(high));
                    self.of_counts(most, sum, live)
                }
                Values::Bool { .. } => Cardinality::exact(0),
            },
        }
    }

    /// Of several values: a document with a list may have been counted with each.
    fn of_counts(&self, most: u64, sum: u64, live: u64) -> Cardinality {
        if most == sum || !self.kind.is_list() {
            return Cardinality::exact(sum);
        }
        Cardinality { at_least: most, at_most: sum.min(live) }
    }
}

fn text<'a>(bound: &'a Bound<Scalar<'_>>) -> Bound<&'a str> {
    bound.as_ref().map(|value| match value {
        Scalar::Text(text) => &**text,
        other => panic!("{other:?} as a bound of strings"),
    })
}
