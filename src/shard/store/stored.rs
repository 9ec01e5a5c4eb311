//! A version as a run has it: with its value, or with the place of it.

use std::rc::Rc;

use super::Before;
use super::value_file::ValueFile;
use crate::shard::delta::Version;
use crate::shard::payload::Payload;
use crate::shard::run::ValueRef;
use crate::shard::runs::LoadError;
use crate::types::{Lsn, Seq, WallMs};

#[derive(Clone)]
pub struct Stored {
    pub lsn: Lsn,
    pub seq: Seq,
    pub expires: WallMs,
    pub value: Value,
}

#[derive(Clone)]
pub enum Value {
    /// Of a tombstone.
    None,
    Here(Payload),
    /// Holds on to the file.
    Apart(Rc<ValueFile>, ValueRef),
}

impl Stored {
    /// A record, its time over or not.
    pub fn is_record(&self) -> bool {
        !matches!(self.value, Value::None)
    }

    pub fn is_visible(&self, now: WallMs) -> bool {
        self.is_record() && self.expires > now
    }

    pub fn before(&self) -> Before {
        Before::of(self.seq, self.is_record().then_some(self.expires))
    }

    /// Bytes of the payload that are not in memory yet.
    pub fn bytes_apart(&self) -> usize {
        match &self.value {
            Value::Apart(_, at) => at.len as usize,
            Value::None | Value::Here(_) => 0,
        }
    }

    /// Bytes of the payload, wherever they are.
    pub fn value_bytes(&self) -> usize {
        match &self.value {
            Value::None => 0,
            Value::Here(payload) => payload.as_bytes().len(),
            Value::Apart(_, at) => at.len as usize,
        }
    }

    /// Whether both values lie apart, at the same place.
    pub fn is_value_of(&self, other: &Stored) -> bool {
        match (&self.value, &other.value) {
            (Value::Apart(own, at), Value::Apart(others, place)) => Rc::ptr_eq(own, others) && at == place,
            _ => false,
        }
    }

    /// Without a read; `None` when the value lies apart.
    pub fn in_memory(self) -> Option<Version> {
        let payload = match self.value {
            Value::None => None,
            Value::Here(payload) => Some(payload),
            Value::Apart(..) => return None,
        };
        Some(Version { lsn: self.lsn, seq: self.seq, expires: self.expires, payload })
    }

    /// Reads the value if need be.
    pub async fn version(self) -> Result<Version, LoadError> {
        let payload = match self.value {
            Value::None => None,
            Value::Here(payload) => Some(payload),
            Value::Apart(file, at) => Some(file.payload(&at).await?),
        };
        Ok(Version { lsn: self.lsn, seq: self.seq, expires: self.expires, payload })
    }
}

impl From<Version> for Stored {
    fn from(version: Version) -> Stored {
        let Version { lsn, seq, expires, payload } = version;
        Stored { lsn, seq, expires, value: payload.map_or(Value::None, Value::Here) }
    }
}
