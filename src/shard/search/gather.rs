//! One search on all tablets of a collection, wherever they are.

use std::sync::Arc;

use super::query::{Found, Query};
use crate::limits;
use crate::shard::catalogue::Collection;
use crate::shard::message::{Reply, Request};
use crate::shard::node::Node;
use crate::shard::record::{Found as Record, Refusal};

/// What was found, and the documents of the hits.
pub struct Gathered {
    pub found: Found,
    /// By hit.
    pub records: Vec<Record>,
}

/// The hits with their documents, each of the version that was scored. When others are there by now, or none because
/// their time is over, it is asked again, for as many more.
pub async fn search(node: &Node, collection: &Arc<Collection>, query: Query) -> Result<Gathered, Refusal> {
    let wanted = query.limit;
    let mut query = Arc::new(query);
    for attempt in 1.. {
        let found = find(node, collection, &query).await?;
        let asked = found.hits.len();
        let mut gathered = read(node, collection, found).await?;
        let outdated = asked - gathered.found.hits.len();
        if outdated == 0 || gathered.found.hits.len() >= wanted || attempt == limits::SEARCH_ATTEMPTS_MAX {
            gathered.found.hits.truncate(wanted);
            gathered.records.truncate(wanted);
            return Ok(gathered);
        }
        query = Arc::new(Query { limit: query.limit + outdated, ..Query::clone(&query) });
    }
    unreachable!("the attempts are counted")
}

async fn read(node: &Node, collection: &Arc<Collection>, found: Found) -> Result<Gathered, Refusal> {
    let keys = found.hits.iter().map(|hit| hit.key.clone()).collect();
    let read = node.get_many(collection, keys).get().await?;
    let (hits, records) = found
        .hits
        .into_iter()
        .zip(read)
        .filter_map(|(hit, record)| Some((hit.seq, hit, record?)))
        .filter(|(seq, _, record)| record.seq == *seq)
        .map(|(_, hit, record)| (hit, record))
        .unzip();
    Ok(Gathered { found: Found { hits, ..found }, records })
}

/// Without the documents.
pub async fn find(node: &Node, collection: &Arc<Collection>, query: &Arc<Query>) -> Result<Found, Refusal> {
    for _ in 1..limits::SEARCH_ATTEMPTS_MAX {
        match find_once(node, collection, query).await {
            // A range is on its way to another shard.
            Err(Refusal::Moved) => node.runtime().sleep(limits::INDEX_WAIT_STEP).await,
            found => return found,
        }
    }
    find_once(node, collection, query).await
}

async fn find_once(node: &Node, collection: &Arc<Collection>, query: &Arc<Query>) -> Result<Found, Refusal> {
    let map = node.collection(&collection.name).filter(|map| map.id == collection.id);
    let map = map.ok_or(Refusal::NoSuchCollection)?;
    let request = |tablet| Request::Search { tablet, query: query.clone() };
    let calls: Vec<_> =
        map.tablets.iter().map(|tablet| node.call(tablet.owner, request(tablet.id))).collect();
    let (mut found, mut failed) = (Found::default(), None);
    for call in calls {
        match call.await {
            Reply::Search(Ok(part)) => found.add(*part, query.limit),
            Reply::Search(Err(refusal)) | Reply::Done(Err(refusal)) => failed = Some(refusal),
            other => unreachable!("a search answered with {other:?}"),
        }
    }
    // While a range moves, documents of it could be found twice or not at all.
    let as_it_was = node.collection(&collection.name).is_some_and(|now| now.tablets == map.tablets);
    match failed {
        Some(refusal) => Err(refusal),
        None if as_it_was => Ok(found),
        None => Err(Refusal::Moved),
    }
}
