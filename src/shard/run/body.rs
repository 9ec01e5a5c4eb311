//! What an entry of a run has for its key.

use super::PAYLOAD_BYTES_MAX;
use super::value_ref::{REFERENCE_BYTES, ValueRef};

const TOMBSTONE: u8 = 1;
const APART: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    Tombstone,
    /// An encoded [`crate::shard::payload::Payload`].
    Here(&'a [u8]),
    /// A payload in a value file.
    Apart(ValueRef),
}

impl<'a> Body<'a> {
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

    /// As the entry says it.
    pub(super) fn flags(&self) -> u8 {
        match self {
            Body::Tombstone => TOMBSTONE,
            Body::Here(_) => 0,
            Body::Apart(_) => APART,
        }
    }

    pub(super) fn push(&self, out: &mut Vec<u8>) {
        match self {
            Body::Tombstone => {}
            Body::Here(payload) => out.extend_from_slice(payload),
            Body::Apart(value) => out.extend_from_slice(&value.encode()),
        }
    }

    /// `None` when no writer makes it.
    pub(super) fn decode(flags: u8, bytes: &'a [u8]) -> Option<Body<'a>> {
        match flags {
            TOMBSTONE if bytes.is_empty() => Some(Body::Tombstone),
            0 if bytes.len() <= PAYLOAD_BYTES_MAX => Some(Body::Here(bytes)),
            APART => ValueRef::decode(bytes).map(Body::Apart),
            _ => None,
        }
    }
}
