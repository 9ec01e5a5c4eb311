//! Indexes of declared fields: the ordinals of documents for which a filter holds, without a look at them.
//!
//! | fields | structure | memory |
//! |---|---|---|
//! | all | bitmaps of ordinals that have the field, and that have null | up to 2 bytes an ordinal each, 1 bit when most are in it |
//! | `bool` | a bitmap for each value | the same |
//! | `keyword`, `keyword[]` | [`keyword`]: a map from each string to its ordinals | see there |
//! | `i64`, `f64`, `timestamp` | [`ordered`]: pairs of value and ordinal, ascending, in blocks | 12 to 48 bytes an ordinal |
//!
//! An insertion gives an ordinal and the metadata, a removal the same metadata again. Both see a field as
//! [`observe`] shows it, as [`matches`](super::filter::Filter::matches) does: the answers are the same by construction, and by test.
//!
//! Undeclared fields have no index. With one in the filter the answer is two sets: documents that are certain, and
//! all that are possible; what is between is looked at with [`residual`](super::filter::Filter::residual).

pub mod answer;
pub mod evaluate;
pub mod keyword;
pub mod ordered;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use roaring::RoaringBitmap;

use self::keyword::KeywordIndex;
use self::ordered::{OrderedIndex, key_of};
use super::fields::{Field, FieldType, Fields, Seen, observe};
use super::metadata::Metadata;
use super::scalar::Scalar;

/// Invariant: every index has exactly what the live documents show of its field.
#[derive(Clone, Debug)]
pub struct FieldIndexes {
    fields: Fields,
    live: RoaringBitmap,
    columns: Vec<Column>,
}

/// The index of one field.
#[derive(Clone, Debug)]
struct Column {
    kind: FieldType,
    present: RoaringBitmap,
    null: RoaringBitmap,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    Bool { no: RoaringBitmap, yes: RoaringBitmap },
    Keyword(KeywordIndex),
    Ordered(OrderedIndex),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Insert,
    Remove,
}

impl FieldIndexes {
    pub fn new(fields: Fields) -> FieldIndexes {
        let columns = fields.iter().map(|field| Column::new(field.kind)).collect();
        FieldIndexes { fields, live: RoaringBitmap::new(), columns }
    }

    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Ordinals that were inserted and not removed.
    pub fn live(&self) -> &RoaringBitmap {
        &self.live
    }

    /// Panics when the ordinal is live: its old metadata would stay in the indexes.
    pub fn insert(&mut self, ordinal: u32, metadata: Metadata<'_>) {
        assert!(self.live.insert(ordinal), "an ordinal is removed before it is inserted again");
        self.change(Change::Insert, ordinal, metadata);
    }

    /// With the metadata that was inserted. Panics when the ordinal is not live.
    pub fn remove(&mut self, ordinal: u32, metadata: Metadata<'_>) {
        assert!(self.live.remove(ordinal), "an ordinal is inserted before it is removed");
        self.change(Change::Remove, ordinal, metadata);
    }

    fn change(&mut self, change: Change, ordinal: u32, metadata: Metadata<'_>) {
        for (field, column) in self.fields.iter().zip(&mut self.columns) {
            column.change(change, field, ordinal, metadata);
        }
    }

    /// True when no index has anything: what is left after every document is removed.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.columns.iter().all(Column::is_empty)
    }

    /// Frees about `count` entries of each index, of indexes that nobody asks any more; false when no entries are left.
    pub fn shed(&mut self, count: usize) -> bool {
        let shed = self.columns.iter_mut().map(|column| match &mut column.values {
            Values::Bool { .. } => false,
            Values::Keyword(index) => index.shed(count),
            Values::Ordered(index) => index.shed(count),
        });
        shed.fold(false, |any, has_more| any | has_more)
    }

    /// About what the indexes take.
    pub fn memory_bytes(&self) -> usize {
        bitmap_bytes(&self.live) + self.columns.iter().map(Column::memory_bytes).sum::<usize>()
    }
}

impl Column {
    fn new(kind: FieldType) -> Column {
        let values = match kind {
            FieldType::Bool => Values::Bool { no: RoaringBitmap::new(), yes: RoaringBitmap::new() },
            FieldType::Keyword | FieldType::Keywords => Values::Keyword(KeywordIndex::default()),
            FieldType::I64 | FieldType::F64 | FieldType::Timestamp => {
                Values::Ordered(OrderedIndex::default())
            }
        };
        Column { kind, present: RoaringBitmap::new(), null: RoaringBitmap::new(), values }
    }

    fn change(&mut self, change: Change, field: &Field, ordinal: u32, metadata: Metadata<'_>) {
        observe(metadata, &field.name, Some(self.kind), &mut |seen| {
            match seen {
                Seen::Present => toggle(&mut self.present, change, ordinal),
                Seen::Null => toggle(&mut self.null, change, ordinal),
                Seen::Value(value) => self.values.change(change, self.kind, &value, ordinal),
            }
            ControlFlow::Continue(())
        });
    }

    fn is_empty(&self) -> bool {
        let has_no_value = match &self.values {
            Values::Bool { no, yes } => no.is_empty() && yes.is_empty(),
            Values::Keyword(index) => index.is_empty(),
            Values::Ordered(index) => index.is_empty(),
        };
        has_no_value && self.present.is_empty() && self.null.is_empty()
    }

    fn memory_bytes(&self) -> usize {
        let values = match &self.values {
            Values::Bool { no, yes } => bitmap_bytes(no) + bitmap_bytes(yes),
            Values::Keyword(index) => index.memory_bytes(),
            Values::Ordered(index) => index.memory_bytes(),
        };
        bitmap_bytes(&self.present) + bitmap_bytes(&self.null) + values
    }
}

impl Values {
    /// A list may show a value twice: the second change of it finds it done.
    fn change(&mut self, change: Change, kind: FieldType, value: &Scalar<'_>, ordinal: u32) {
        match (self, value) {
            (Values::Bool { yes, .. }, Scalar::Bool(true)) => toggle(yes, change, ordinal),
            (Values::Bool { no, .. }, Scalar::Bool(false)) => toggle(no, change, ordinal),
            (Values::Keyword(index), Scalar::Text(text)) => match change {
                Change::Insert => index.insert(text, ordinal),
                Change::Remove => index.remove(text, ordinal),
            },
            (Values::Ordered(index), Scalar::Number(number)) => {
                let Some(key) = key_of(kind, *number) else { return };
                match change {
                    Change::Insert => index.insert(key, ordinal),
                    Change::Remove => index.remove(key, ordinal),
                }
            }
            (_, other) => debug_assert!(false, "a value {other:?} of another type than its field"),
        }
    }
}

fn toggle(bitmap: &mut RoaringBitmap, change: Change, ordinal: u32) {
    match change {
        Change::Insert => drop(bitmap.insert(ordinal)),
        Change::Remove => drop(bitmap.remove(ordinal)),
    }
}

/// Containers take what they are serialized in, and a few words each.
fn bitmap_bytes(bitmap: &RoaringBitmap) -> usize {
    std::mem::size_of::<RoaringBitmap>() + 4 * bitmap.serialized_size()
}
