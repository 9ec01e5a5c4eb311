//! Filters from JSON. The first mistake is the answer, with its place.

use std::borrow::Cow;
use std::ops::Bound;

use super::{Declared, FieldTest, Filter, Test, operand};
use crate::limits;
use crate::shard::document::fields::Fields;
use crate::shard::document::invalid::{Invalid, Reason};
use crate::shard::document::json::{Json, Kind, Scanner};
use crate::shard::document::scalar::Scalar;

const LEVELS: usize = limits::FILTER_DEPTH_ENTRIES_MAX;

pub fn parse(json: &str, fields: &Fields) -> Result<Filter, Invalid> {
    let mut parser =
        Parser { scanner: Scanner::new(json, LEVELS), fields, entries_left: limits::FILTER_ENTRIES_MAX };
    let filter = parser.filter()?;
    parser.scanner.end()?;
    Ok(filter)
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    fields: &'a Fields,
    entries_left: usize,
}

/// The field that a test is about.
#[derive(Clone, Copy)]
struct Target<'a> {
    name: &'a str,
    declared: Option<Declared>,
}

impl Target<'_> {
    fn kind(&self) -> Option<crate::shard::document::fields::FieldType> {
        self.declared.map(|declared| declared.kind)
    }

    fn has_one_value(&self) -> bool {
        self.kind().is_some_and(|kind| !kind.is_list())
    }

    fn test(&self, test: Test) -> Filter {
        Filter::Field(FieldTest { name: self.name.to_owned(), declared: self.declared, test })
    }
}

fn negated(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

/// One part is itself.
fn all(mut parts: Vec<Filter>) -> Filter {
    if parts.len() == 1 { parts.remove(0) } else { Filter::All(parts) }
}

impl<'a> Parser<'a> {
    /// An object, each of its members taken by `take`, which reads the value.
    fn members(
        &mut self,
        wanted: &'static str,
        mut take: impl FnMut(&mut Self, &str) -> Result<(), Invalid>,
    ) -> Result<usize, Invalid> {
        if self.scanner.peek()? != Kind::Object {
            self.scanner.value(LEVELS)?;
            return Err(Reason::Not(wanted).into());
        }
        let mut place = self.scanner.open(LEVELS)?;
        let mut names: Vec<Cow<'a, str>> = Vec::new();
        while let Some(name) = self.scanner.member(&mut place)? {
            let name = name.text().ok_or(Reason::HalfCharacter)?;
            self.count()?;
            take(self, &name).map_err(|invalid| invalid.below(&name))?;
            names.push(name);
        }
        let count = names.len();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Invalid::new(Reason::Repeated).below(&pair[0])),
            None => Ok(count),
        }
    }

    /// A list, each of its elements taken by `take`.
    fn elements(
        &mut self,
        wanted: &'static str,
        mut take: impl FnMut(&mut Self) -> Result<(), Invalid>,
    ) -> Result<usize, Invalid> {
        if self.scanner.peek()? != Kind::Array {
            self.scanner.value(LEVELS)?;
            return Err(Reason::Not(wanted).into());
        }
        let mut place = self.scanner.open(LEVELS)?;
        let mut count = 0;
        while self.scanner.element(&mut place)? {
            self.count()?;
            take(self).map_err(|invalid| invalid.at_index(count))?;
            count += 1;
        }
        Ok(count)
    }

    fn count(&mut self) -> Result<(), Reason> {
        self.entries_left = self.entries_left.checked_sub(1).ok_or(Reason::FilterTooLarge)?;
        Ok(())
    }

    fn filter(&mut self) -> Result<Filter, Invalid> {
        let mut parts = Vec::new();
        self.members("an object", |parser, name| {
            parts.push(match name {
                "$and" => all(parser.filters()?),
                "$or" => Filter::Any(parser.filters()?),
                "$not" => negated(parser.filter()?),
                operator if operator.starts_with('$') => return Err(Reason::UnknownOperator.into()),
                name => parser.field(name)?,
            });
            Ok(())
        })?;
        Ok(all(parts))
    }

    fn filters(&mut self) -> Result<Vec<Filter>, Invalid> {
        let mut parts = Vec::new();
        let count = self.elements("a list of filters", |parser| {
            parts.push(parser.filter()?);
            Ok(())
        })?;
        if count == 0 { Err(Reason::Empty("filter").into()) } else { Ok(parts) }
    }

    fn field(&mut self, name: &str) -> Result<Filter, Invalid> {
        let position = self.fields.position(name);
        let declared = position.and_then(|position| {
            self.fields.get(position).map(|field| Declared { position, kind: field.kind })
        });
        let target = Target { name, declared };
        if self.scanner.peek()? == Kind::Object {
            return self.operators(target);
        }
        self.equality(target)
    }

    fn equality(&mut self, target: Target<'_>) -> Result<Filter, Invalid> {
        let value = operand::for_equality(target.kind(), self.value()?)?;
        let or_absent = value.is_none();
        Ok(target.test(Test::AnyOf { values: value.into_iter().collect(), or_absent }))
    }

    fn value(&mut self) -> Result<Json<'a>, Invalid> {
        self.scanner.value(LEVELS)
    }

    fn operators(&mut self, target: Target<'_>) -> Result<Filter, Invalid> {
        let mut parts = Vec::new();
        let mut range = (Bound::Unbounded, Bound::Unbounded);
        let count = self.members("an object of operators", |parser, name| {
            let part = match name {
                "$eq" => parser.equality(target)?,
                "$ne" => negated(parser.equality(target)?),
                "$in" => parser.any_of(target)?,
                "$nin" => negated(parser.any_of(target)?),
                "$exists" => parser.exists(target)?,
                "$not" => negated(parser.operators(target)?),
                "$gt" | "$gte" | "$lt" | "$lte" => {
                    let (low, high) = parser.bounds(target, name)?;
                    if target.has_one_value() {
                        // One value has to be in all of them: one range to look up.
                        tighten(&mut range.0, low, |new, old| new > old);
                        tighten(&mut range.1, high, |new, old| new < old);
                        return Ok(());
                    }
                    target.test(Test::Within { low, high })
                }
                operator if operator.starts_with('$') => return Err(Reason::UnknownOperator.into()),
                _ => return Err(Reason::NotAnOperator.into()),
            };
            parts.push(part);
            Ok(())
        })?;
        if count == 0 {
            return Err(Reason::Empty("operator").into());
        }
        if range != (Bound::Unbounded, Bound::Unbounded) {
            parts.push(target.test(Test::Within { low: range.0, high: range.1 }));
        }
        Ok(all(parts))
    }

    fn bounds(
        &mut self,
        target: Target<'_>,
        operator: &str,
    ) -> Result<(Bound<Scalar<'static>>, Bound<Scalar<'static>>), Invalid> {
        let value = operand::for_order(target.kind(), self.value()?)?;
        Ok(match operator {
            "$gt" => (Bound::Excluded(value), Bound::Unbounded),
            "$gte" => (Bound::Included(value), Bound::Unbounded),
            "$lt" => (Bound::Unbounded, Bound::Excluded(value)),
            _ => (Bound::Unbounded, Bound::Included(value)),
        })
    }

    fn any_of(&mut self, target: Target<'_>) -> Result<Filter, Invalid> {
        let (mut values, mut or_absent) = (Vec::new(), false);
        self.elements("a list of values", |parser| {
            match operand::for_equality(target.kind(), parser.value()?)? {
                Some(value) => values.push(value),
                None => or_absent = true,
            }
            Ok(())
        })?;
        values.sort_unstable();
        values.dedup();
        Ok(target.test(Test::AnyOf { values, or_absent }))
    }

    fn exists(&mut self, target: Target<'_>) -> Result<Filter, Invalid> {
        let exists = target.test(Test::Exists);
        match self.value()?.0 {
            "true" => Ok(exists),
            "false" => Ok(negated(exists)),
            _ => Err(Reason::Not("true or false").into()),
        }
    }
}

/// The narrower of two bounds on one side.
fn tighten<T: PartialEq>(bound: &mut Bound<T>, new: Bound<T>, is_narrower: impl Fn(&T, &T) -> bool) {
    let replace = match (&*bound, &new) {
        (_, Bound::Unbounded) => false,
        (Bound::Unbounded, _) => true,
        (Bound::Included(old) | Bound::Excluded(old), Bound::Excluded(new)) if new == old => true,
        (Bound::Included(old) | Bound::Excluded(old), Bound::Included(new) | Bound::Excluded(new)) => {
            is_narrower(new, old)
        }
    };
    if replace {
        *bound = new;
    }
}
