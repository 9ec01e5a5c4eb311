//! What the engine gives back at once, and a write between the log and its visibility.

use std::sync::Arc;

use super::catalogue::{Catalogue, Form};
use super::delta::{Version, memory_of};
use super::engine::Ticket;
use super::key::Key;
use super::payload::Payload;
use super::record::{Durability, Found, ValueRoom, Write};
use super::store::ColdRead;
use crate::io::log::{Kind, LogBuilder, Meta, Once, RecordParts};
use crate::limits;
use crate::types::{Lsn, Seq, TabletId, WallMs};

/// What a point read finds without reading a file.
pub enum Looked {
    Found(Option<Found>),
    /// A run may have it; `now` judges its expiry.
    Cold(ColdRead, WallMs),
}

/// What the reads of many keys find without reading a file, in the order of the keys.
pub struct LookedMany {
    pub found: Vec<Option<Found>>,
    /// Places of keys that a run may have.
    pub cold: Vec<(usize, ColdRead)>,
    /// Judges their expiry.
    pub now: WallMs,
}

impl LookedMany {
    /// As many as have room, when nothing has to be read.
    pub fn into_fitting(self, room: ValueRoom) -> Vec<Option<Found>> {
        let mut found = self.found;
        found.truncate(room.count_fitting(found.iter().map(value_bytes)));
        found
    }
}

/// Bytes that are kept with what was found of a key.
pub fn value_bytes(found: &Option<Found>) -> usize {
    found.as_ref().map_or(0, |found| found.payload.as_bytes().len())
}

/// What became of a write that was not refused.
pub enum Taken {
    Logged,
    /// A run has to be read before it can be judged; it is given back.
    Cold(Write, ColdRead),
}

/// A logged write that is not applied yet.
pub struct Staged {
    pub tablet: TabletId,
    pub effect: StagedEffect,
    pub created: bool,
    /// A record was there, visible or not.
    pub replaces: bool,
    pub lsn: Lsn,
    pub seq: Seq,
    pub durability: Durability,
    /// None for what nobody waits for.
    pub ticket: Option<Ticket>,
}

pub enum StagedEffect {
    /// A put, or a delete without payload.
    Record(Key, Option<(Payload, WallMs)>),
    /// A record that another shard sent: visible when the new map is installed.
    Arrival(Key, Version),
    Catalogue(Arc<Catalogue>),
    /// Those that are in force already.
    Receipts,
}

/// What of a logged change is not in the record.
pub struct LogAs {
    pub created: bool,
    pub replaces: bool,
    pub durability: Durability,
    pub ticket: Option<Ticket>,
    pub once: Option<Once>,
}

/// The kind of record that a map of this form is logged as.
pub fn kind_of(form: Form) -> Kind {
    match form {
        Form::Ranges => Kind::Catalogue,
        Form::Placed => Kind::PlacedCatalogue,
        Form::Documents => Kind::DocumentCatalogue,
    }
}

/// The form of the map in a record of this kind.
pub fn form_of(kind: Kind) -> Option<Form> {
    [Form::Ranges, Form::Placed, Form::Documents].into_iter().find(|form| kind_of(*form) == kind)
}

/// Appends a record to the log; a large payload is shared with it.
pub fn log(log: &mut LogBuilder, meta: Meta, key: &Key, payload: Option<&Payload>) -> Lsn {
    let bytes = payload.map_or(&[][..], Payload::as_bytes);
    let record = RecordParts { meta, key: &key.to_vec(), payload: bytes };
    match payload.filter(|_| bytes.len() > limits::LOG_COPIED_PAYLOAD_BYTES_MAX) {
        Some(payload) => log.append_shared(&record, payload.shared_bytes().clone()),
        None => log.append(&record),
    }
}

impl Staged {
    /// Estimated memory until it is applied.
    pub fn memory(&self) -> u64 {
        match &self.effect {
            StagedEffect::Record(key, Some((payload, _))) => memory_of(key, payload.as_bytes().len()),
            StagedEffect::Record(key, None) => memory_of(key, 0),
            StagedEffect::Arrival(key, version) => {
                memory_of(key, version.payload.as_ref().map_or(0, |payload| payload.as_bytes().len()))
            }
            StagedEffect::Catalogue(_) | StagedEffect::Receipts => 0,
        }
    }
}
