//! What an entry of a run has for its key.

use super::value_ref::{REFERENCE_BYTES, ValueRef};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    Tombstone,
    /// An encoded [`crate::shard::payload::Payload`].
    Here(&'a [u8]),
    /// A payload in a value file.
    Apart(ValueRef),
}

impl Body<'_> {
    /// No tombstone.
    pub fn is_record(&self) -> bool {
        !matches!(self, Body::Tombstone)
    }

    /// Bytes that it takes in the run.
    pub fn len_here(&self) -> usize {
        match self {
            Body::Tombstone => 0,
            Body::Here(payload) => payload.len(),
            Body::Apart(_) => REFERENCE_BYTES,
        }
    }
}
