//! The documents of hits, each in its newest version: some were replaced since they were scored.

use std::sync::Arc;

use super::gather::Page;
use super::query::{Query, Scored};
use crate::io::runtime::Slice;
use crate::limits;
use crate::shard::catalogue::Collection;
use crate::shard::core::Core;
use crate::shard::delta::NEVER;
use crate::shard::document::encoding::{self, Document, Parts};
use crate::shard::document::filter::Filter;
use crate::shard::document::filter::sieve::{Look, Sieve};
use crate::shard::document::metadata::Metadata;
use crate::shard::document::render::Shown;
use crate::shard::key::Key;
use crate::shard::node::Node;
use crate::shard::payload::Payload;
use crate::shard::record::{Found as Record, Refusal};
use crate::shard::staged::value_bytes;
use crate::types::Lsn;
use crate::vector::kernel::Kernels;
use crate::vector::metric::ExactQuery;

/// A search whose hits are read.
pub struct Reading<'a> {
    pub map: &'a Arc<Collection>,
    pub query: &'a Query,
    pub page: &'a Page,
    pub shown: Shown,
    /// What was not asked for may be better than a document that has become worse.
    pub may_be_better: bool,
}

/// A document as it is shown.
struct Seen {
    record: Record,
    /// Scored anew.
    replaced: Option<Scored>,
}

impl Reading<'_> {
    /// Those of the hits that are there, with their documents: in their order, each once.
    pub async fn read(&self, node: &Node, hits: Vec<Scored>) -> Result<(Vec<Scored>, Vec<Record>), Refusal> {
        let core = node.core()?;
        let (mut seen, mut bytes) = (Vec::with_capacity(hits.len()), 0);
        for hit in &hits {
            let record = self.near(core, hit);
            bytes += value_bytes(&record);
            if bytes > limits::SEARCH_PAGE_BYTES_MAX {
                return Err(Refusal::PageTooLarge);
            }
            seen.push(record.map(|record| Seen { record, replaced: None }));
        }
        let far: Vec<usize> = (0..seen.len()).filter(|at| seen[*at].is_none()).collect();
        if !far.is_empty() {
            self.read_far(node, &hits, &far, bytes, &mut seen).await?;
        }
        Ok(self.in_order(hits, seen))
    }

    fn near(&self, core: &Core, hit: &Scored) -> Option<Record> {
        let is_near = !self.shown.text && !self.shown.embedding;
        is_near.then(|| near_record(core, self.map, hit, self.shown)).flatten()
    }

    /// Reads the documents of these hits, and keeps what is shown of them.
    async fn read_far(
        &self,
        node: &Node,
        hits: &[Scored],
        far: &[usize],
        mut bytes: usize,
        seen: &mut [Option<Seen>],
    ) -> Result<(), Refusal> {
        let keys: Vec<Key> = far.iter().map(|at| hits[*at].key.clone()).collect();
        let mut filter = None;
        let mut far = far.iter();
        while !far.as_slice().is_empty() {
            let read = node.get_first(self.map, &keys[keys.len() - far.len()..]).get().await?;
            for (record, at) in read.into_iter().zip(far.by_ref()) {
                if let Some(record) = record {
                    seen[*at] = self.see(node, &hits[*at], record, &mut filter).await;
                }
                bytes += seen[*at].as_ref().map_or(0, |seen| seen.record.payload.as_bytes().len());
            }
            if bytes > limits::SEARCH_PAGE_BYTES_MAX {
                return Err(Refusal::PageTooLarge);
            }
        }
        Ok(())
    }

    /// `None` when what is there by now is not of the page.
    async fn see<'q>(
        &'q self,
        node: &Node,
        hit: &Scored,
        record: Record,
        filter: &mut Option<Filtering<'q>>,
    ) -> Option<Seen> {
        let replaced = match record.seq == hit.seq {
            true => None,
            false => {
                let hit = self.score(node, &hit.key, &record, filter).await;
                Some(hit.filter(|hit| self.page.has(hit))?)
            }
        };
        Some(Seen { record: with_shown(record, self.shown), replaced })
    }

    /// `None` when the filter does not let it through, or there is nothing to score.
    async fn score<'q>(
        &'q self,
        node: &Node,
        key: &Key,
        record: &Record,
        filter: &mut Option<Filtering<'q>>,
    ) -> Option<Scored> {
        let schema = self.map.definition.documents.as_ref()?;
        let document = Parts::of(record.payload.value()).and_then(Parts::document).ok()?;
        if let Some(of) = &self.query.filter {
            let filter = filter.get_or_insert_with(|| Filtering::begin(node, of));
            if !filter.lets_through(document.metadata).await {
                return None;
            }
        }
        let (embedding, vector) = (document.embedding?, self.query.vector.as_ref()?);
        let (metric, vector) = (schema.embedding?.metric, ExactQuery::new(vector));
        let score = metric.score(&Kernels::best(), embedding.element, &vector, embedding.bytes);
        Some(Scored { score, key: key.clone(), seq: record.seq, shared: None })
    }

    fn in_order(&self, hits: Vec<Scored>, seen: Vec<Option<Seen>>) -> (Vec<Scored>, Vec<Record>) {
        let (mut kept, mut replaced) = (Vec::with_capacity(hits.len()), Vec::new());
        for (hit, seen) in hits.into_iter().zip(seen) {
            match seen {
                Some(Seen { record, replaced: None }) => kept.push((hit, record)),
                Some(Seen { record, replaced: Some(hit) }) => replaced.push((hit, record)),
                None => {}
            }
        }
        if replaced.is_empty() {
            return kept.into_iter().unzip();
        }
        let worst = kept.last().map(|(hit, _)| hit.clone());
        let is_behind = |hit: &Scored| worst.as_ref().is_none_or(|worst| hit.order(worst).is_gt());
        replaced.retain(|(hit, _)| !(self.may_be_better && is_behind(hit)));
        kept.append(&mut replaced);
        kept.sort_by(|(one, _), (other, _)| one.order(other));
        // It was found where it was and where it is.
        kept.dedup_by(|(one, _), (other, _)| one.key == other.key);
        kept.into_iter().unzip()
    }
}

/// A filter that is asked about documents that were replaced: in steps, as in the search.
struct Filtering<'q> {
    sieve: Sieve<'q>,
    slice: Slice,
}

impl<'q> Filtering<'q> {
    fn begin(node: &Node, filter: &'q Filter) -> Filtering<'q> {
        Filtering { sieve: Sieve::new(filter), slice: node.runtime().slice() }
    }

    async fn lets_through(&mut self, metadata: Metadata<'_>) -> bool {
        let mut look = Look::new(&self.sieve);
        loop {
            let mut left = limits::FILTER_STEP_BYTES;
            let told = look.step(metadata, &mut left);
            self.slice.checkpoint().await;
            if let Some(holds) = told {
                return holds;
            }
        }
    }
}

/// The document without what is not shown, when it is worth a copy.
fn with_shown(record: Record, shown: Shown) -> Record {
    if shown == Shown::ALL || record.payload.as_bytes().len() <= limits::PAGE_COPY_BYTES_MAX {
        return record;
    }
    // One that is damaged is told as such where it is shown.
    let Ok(whole) = Parts::of(record.payload.value()).and_then(Parts::document) else { return record };
    let document = Document {
        text: whole.text.filter(|_| shown.text),
        embedding: whole.embedding.filter(|_| shown.embedding),
        metadata: if shown.metadata { whole.metadata } else { Metadata::EMPTY },
    };
    let payload = Payload::document(&encoding::encode(&document));
    Record { payload, ..record }
}

/// A document without text and embedding, when this core has it and knows that it is the newest.
fn near_record(core: &Core, map: &Collection, hit: &Scored, shown: Shown) -> Option<Record> {
    let (part, ordinal) = hit.shared.as_ref()?;
    let id = part.tablet(*ordinal);
    let tablet = map.tablets.iter().find(|tablet| tablet.id == id)?;
    let row = part.contents().row(*ordinal);
    // The owner deletes it here before anybody hears of another version, as long as it serves by this map and the part is
    // in use: one that was replaced is not told any more.
    let is_told = core.library.has(map.id, part.id) && core.library.is_in_force(id, tablet.epoch);
    if !is_told || part.is_deleted(*ordinal) {
        return None;
    }
    // By its owner's clock, which may be ahead of this one.
    if row.expires != NEVER {
        return None;
    }
    let metadata = if shown.metadata { Metadata::from_compact(row.metadata) } else { Metadata::EMPTY };
    let document = Document { text: None, embedding: None, metadata };
    let payload = Payload::document(&encoding::encode(&document));
    Some(Record { payload, lsn: Lsn::ZERO, seq: row.seq, expires: None })
}
