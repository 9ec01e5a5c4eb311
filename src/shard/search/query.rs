//! What is asked of a collection of documents, and what was found.

use std::sync::Arc;
use std::time::Duration;

use super::sealed::{PartId, Sealed};
use crate::shard::document::filter::Filter;
use crate::shard::key::Key;
use crate::types::Seq;
use crate::vector::search::Account;

/// Against all tablets of a collection; each answers for its part.
#[derive(Clone, Debug)]
pub struct Query {
    /// `None` counts only.
    pub vector: Option<Vec<f32>>,
    pub filter: Option<Filter>,
    /// Hits at most.
    pub limit: usize,
    /// Beam of walks; what each graph was measured to need when `None`.
    pub ef: Option<usize>,
    pub is_exact: bool,
}

/// A document that was found: of this version, with this score. Higher is better.
#[derive(Clone, Debug)]
pub struct Scored {
    pub score: f32,
    pub key: Key,
    pub seq: Seq,
    /// Where any core finds it.
    pub shared: Option<(Arc<Sealed>, u32)>,
}

impl Scored {
    /// Best first; ties in order of ids.
    pub fn order(&self, other: &Scored) -> std::cmp::Ordering {
        other.score.total_cmp(&self.score).then_with(|| self.key.cmp(&other.key))
    }
}

/// How one part was searched.
#[derive(Clone, Copy, Debug)]
pub struct PartAccount {
    pub documents: usize,
    pub is_sealed: bool,
    pub width: usize,
    pub account: Account,
}

#[derive(Clone, Debug, Default)]
pub struct Found {
    /// In their order, at most as many as were asked for.
    pub hits: Vec<Scored>,
    /// Documents that the filter lets through, with an embedding or without.
    pub matching: u64,
    pub documents: u64,
    /// Documents that no index decided about: their metadata was looked at.
    pub looked_at: u64,
    pub parts: Vec<PartAccount>,
    /// Shared parts that were searched.
    pub shared: Vec<PartId>,
    /// Parts were sealed or merged meanwhile: what is in them may be counted twice. Hits are there once.
    pub counts_twice: bool,
    pub filter_time: Duration,
    pub search_time: Duration,
}

impl Found {
    /// Together with what was found elsewhere.
    pub fn add(&mut self, other: Found, limit: usize) {
        self.hits.extend(other.hits);
        self.keep_best(limit);
        self.matching += other.matching;
        self.documents += other.documents;
        self.looked_at += other.looked_at;
        self.parts.extend(other.parts);
        self.shared.extend(other.shared);
        self.filter_time += other.filter_time;
        self.search_time += other.search_time;
    }

    /// In their order, each once: a document may be found where it was and where it is.
    pub fn keep_best(&mut self, limit: usize) {
        self.hits.sort_unstable_by(Scored::order);
        self.hits.dedup_by(|one, other| one.key == other.key && one.seq == other.seq);
        self.hits.truncate(limit);
    }
}
