//! Filters: which documents are meant, said as Mongo says it.
//!
//! ```text
//! filter    {"year": <test>, "author.name": <test>, "$and": [filter, ..], "$or": [filter, ..], "$not": filter}
//! test      value | {"$gte": value, "$lt": value, "$not": {..}, ..}
//! value     a number, a string, true, false, null
//! ```
//!
//! All members of an object have to hold; `{}` holds always. What a name finds is in [`super::lookup`].
//!
//! | test | holds for a document | field missing | field null | field `[]` |
//! |---|---|---|---|---|
//! | `v`, `{"$eq": v}` | with a value equal to v | no | no | no |
//! | `null`, `{"$eq": null}` | without the field, with null, with null in the list | yes | yes | no |
//! | `{"$ne": v}` | for which `$eq` does not hold | yes | yes | yes |
//! | `{"$ne": null}` | for which `$eq` does not hold | no | no | yes |
//! | `{"$gt": v}`, `$gte`, `$lt`, `$lte` | with a value of v's kind in that order to v | no | no | no |
//! | `{"$in": [v, ..]}` | for which `$eq` of one of them holds; none for `[]` | if null is in it | if null is in it | no |
//! | `{"$nin": [v, ..]}` | for which `$in` does not hold; every one for `[]` | unless null is in it | the same | yes |
//! | `{"$exists": true}` | with the field, whatever it is | no | yes | yes |
//! | `{"$exists": false}` | without the field | yes | no | no |
//! | `{"$not": {..}}` | for which the tests in it do not hold together | as they say | as they say | as they say |
//!
//! A list has its elements as values, so `$eq` means "contains", and each test may find another element: as in
//! Mongo `{"$gt": 1, "$lt": 3}` holds for `[0, 5]`.
//!
//! **Kinds.** Numbers compare by value (1 and 1.0 are equal), strings by code points, and values of two kinds are
//! neither equal nor ordered: the test just does not hold. That is so for undeclared fields, whose documents may have
//! anything. With a declared field a value of a kind that it never has is a mistake, and refused: a string for `i64`,
//! a number for `keyword`. A fraction compares with `i64` by value. `timestamp` takes RFC 3339 and milliseconds; an
//! undeclared field knows no times: their strings compare as strings. `true`, `false` and null have no order.
//!
//! Refused too: a name with `$` that is no operator, an operator that is given twice, an object without operators,
//! `$and` and `$or` of nothing, a list outside of `$in` and `$nin` (Mongo means the whole list by it).
//!
//! [`Filter::matches`] is the truth; [`super::index`] only finds it faster, and [`sieve`] tells it of many documents.

mod operand;
mod parse;
pub mod sieve;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub use model::{any_filter, any_metadata, declared, holds};

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use super::fields::{FieldType, Fields, Seen, observe};
use super::invalid::Invalid;
use super::metadata::Metadata;
use super::scalar::Scalar;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Every one holds. Of nothing: every document is meant.
    All(Vec<Filter>),
    /// At least one holds.
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Field(FieldTest),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTest {
    pub name: String,
    pub declared: Option<Declared>,
    pub test: Test,
}

/// The place of a field among the declared ones, and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    pub position: usize,
    pub kind: FieldType,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    Exists,
    /// Invariant: `values` are sorted, none twice.
    AnyOf {
        values: Vec<Scalar<'static>>,
        /// Or the field is missing or null.
        or_absent: bool,
    },
    /// One value between the two. Invariant: at least one bound, and bounds of one kind.
    Within {
        low: Bound<Scalar<'static>>,
        high: Bound<Scalar<'static>>,
    },
}

impl Filter {
    /// Pointers begin at the filter.
    pub fn parse(json: &str, fields: &Fields) -> Result<Filter, Invalid> {
        parse::parse(json, fields)
    }

    pub fn matches(&self, metadata: Metadata<'_>) -> bool {
        match self {
            Filter::All(parts) => parts.iter().all(|part| part.matches(metadata)),
            Filter::Any(parts) => parts.iter().any(|part| part.matches(metadata)),
            Filter::Not(part) => !part.matches(metadata),
            Filter::Field(test) => test.matches(metadata),
        }
    }

    /// Names of the fields that no index knows, for whoever wonders why a query is slow.
    pub fn undeclared(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.gather_undeclared(&mut names);
        names
    }

    fn gather_undeclared<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        match self {
            Filter::All(parts) | Filter::Any(parts) => {
                parts.iter().for_each(|part| part.gather_undeclared(names));
            }
            Filter::Not(part) => part.gather_undeclared(names),
            Filter::Field(test) if test.declared.is_none() => drop(names.insert(&test.name)),
            Filter::Field(_) => (),
        }
    }

    fn needs_scan(&self) -> bool {
        match self {
            Filter::All(parts) | Filter::Any(parts) => parts.iter().any(Filter::needs_scan),
            Filter::Not(part) => part.needs_scan(),
            Filter::Field(test) => test.declared.is_none(),
        }
    }

    /// No index knows anything of it: it may hold of any document, or not.
    pub fn is_open(&self) -> bool {
        match self {
            Filter::All(parts) | Filter::Any(parts) => !parts.is_empty() && parts.iter().all(Filter::is_open),
            Filter::Not(part) => part.is_open(),
            Filter::Field(test) => test.declared.is_none(),
        }
    }

    /// What is left to be checked of documents that the indexes find possible; `None` when they are certain.
    pub fn residual(&self) -> Option<Filter> {
        match self {
            filter if !filter.needs_scan() => None,
            Filter::All(parts) => {
                let mut left: Vec<Filter> = parts.iter().filter_map(Filter::residual).collect();
                Some(if left.len() == 1 { left.remove(0) } else { Filter::All(left) })
            }
            filter => Some(filter.clone()),
        }
    }
}

impl FieldTest {
    pub fn matches(&self, metadata: Metadata<'_>) -> bool {
        let (mut is_present, mut is_null, mut is_hit) = (false, false, false);
        observe(metadata, &self.name, self.declared.map(|declared| declared.kind), &mut |seen| {
            match seen {
                Seen::Present => is_present = true,
                Seen::Null => is_null = true,
                Seen::Value(value) => is_hit |= self.test.is_met_by(&value),
            }
            if is_hit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match &self.test {
            Test::Exists => is_present,
            Test::AnyOf { or_absent, .. } => is_hit || *or_absent && (is_null || !is_present),
            Test::Within { .. } => is_hit,
        }
    }
}

impl Test {
    fn is_met_by(&self, value: &Scalar<'_>) -> bool {
        match self {
            Test::Exists => false,
            Test::AnyOf { values, .. } => values.binary_search_by(|wanted| wanted.cmp(value)).is_ok(),
            Test::Within { low, high } => is_above(value, low) && is_below(value, high),
        }
    }
}

fn is_above(value: &Scalar<'_>, low: &Bound<Scalar<'_>>) -> bool {
    match low {
        Bound::Unbounded => true,
        Bound::Included(low) => value.is_of_kind(low) && value >= low,
        Bound::Excluded(low) => value.is_of_kind(low) && value > low,
    }
}

fn is_below(value: &Scalar<'_>, high: &Bound<Scalar<'_>>) -> bool {
    match high {
        Bound::Unbounded => true,
        Bound::Included(high) => value.is_of_kind(high) && value <= high,
        Bound::Excluded(high) => value.is_of_kind(high) && value < high,
    }
}
