//! Changes of the catalogue: made by shard 0, one at a time, logged there, then put in force on every
//! core before they are answered.
//!
//! The log record is the whole new map, so a change is there or it is not: there is no half-done
//! create or drop. What other shards hold of tablets that are not on the map is dropped when they
//! install it, also after a crash. Ids are taken from the map's counters and never given out twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::catalogue::{
    Catalogue, CatalogueError, Collection, DEFAULT_COLLECTION, Definition, Placement, Tablet,
};
use super::core::Core;
use super::key::{Key, KeyType};
use super::message::{NotJoined, Reply, Request};
use super::node::Node;
use super::record::Refusal;
use super::reshape::{self, Reshape, Target};
use crate::limits;
use crate::types::{CollectionId, Epoch, NodeId, Seq, ShardId, TabletId, WallMs};

/// The only writer of the catalogue.
pub const WRITER: ShardId = ShardId(0);

const INSTALL_RETRY: Duration = Duration::from_millis(5);

/// Whether anything changed, why not, or why it could not be tried.
pub type Changed = Result<Result<bool, CatalogueError>, Refusal>;

/// The map of a new node: the collection `default`.
pub fn first_catalogue(shards: usize, now: WallMs) -> Catalogue {
    let definition = Definition::of(KeyType::U64);
    let empty = Catalogue {
        epoch: Epoch::ZERO,
        next_collection: CollectionId(1),
        next_tablet: TabletId(1),
        collections: BTreeMap::new(),
    };
    with_collection(&empty, DEFAULT_COLLECTION, definition, shards, now).expect("an empty map has room")
}

/// Takes the map if it is newer, and brings the engine in line with it.
pub fn install(node: &Node, catalogue: Arc<Catalogue>) {
    let inner = node.inner();
    if catalogue.epoch <= inner.catalogue.borrow().epoch {
        return;
    }
    *inner.catalogue.borrow_mut() = catalogue.clone();
    if let Some(core) = inner.core.get() {
        let shrank = core.engine.borrow_mut().tablets.install(&catalogue);
        if shrank {
            // The manifest counts what went away until a seal behind it.
            core.want_checkpoint();
        }
        core.shed_wanted.notify();
        core.library.install(&catalogue);
        core.keep_documents(node);
        // Parts that belong to nobody now give their room back.
        core.compaction_wanted.notify();
        super::serve::take_up_early(node);
    }
    inner.map_changed.notify();
}

/// Gives the map to a shard that starts, once it is on record that the shard is there: from then on it is
/// missed.
pub async fn join(node: &Node, shard: ShardId, of: NodeId, fresh: bool) -> Reply {
    let Some(core) = node.inner().core.get().filter(|_| node.epoch() > Epoch::ZERO).cloned() else {
        return Reply::Done(Err(Refusal::NotReady));
    };
    let (own, joined) = (core.ledger.state().node, core.ledger.state().joined);
    let bit = 1 << shard.0;
    if of != NodeId::ZERO && of != own {
        return Reply::Joined(Err(NotJoined::OtherNode));
    }
    if fresh && joined & bit != 0 {
        return Reply::Joined(Err(NotJoined::Lost));
    }
    if joined & bit == 0
        && let Err(refusal) = core.commit_state(|state| state.joined |= bit).await
    {
        return Reply::Done(Err(refusal));
    }
    node.inner().present.set(node.inner().present.get() | bit);
    node.inner().map_changed.notify();
    Reply::Joined(Ok((node.catalogue(), own)))
}

/// Completes when every other shard has joined. Before that, shard 0 serves nothing: should its own data be
/// lost, the others know it.
pub async fn all_joined(node: &Node) {
    let others = (1..node.shards()).fold(0, |all, shard| all | 1 << shard);
    loop {
        let changed = node.inner().map_changed.wait();
        if node.inner().present.get() == others {
            return;
        }
        changed.await;
    }
}

pub async fn create(node: &Node, name: &str, definition: Definition) -> Changed {
    let _turn = ChangeTurn::take(node).await;
    let map = node.catalogue();
    if let Some(present) = map.get(name) {
        let same = present.definition == definition;
        return Ok(if same { Ok(false) } else { Err(CatalogueError::ExistsDifferently) });
    }
    let now = node.runtime().wall();
    match with_collection(&map, name, definition, node.shards(), now) {
        Ok(next) => put_in_force(node, next).await,
        Err(error) => Ok(Err(error)),
    }
}

pub async fn drop_collection(node: &Node, name: &str) -> Changed {
    let _turn = ChangeTurn::take(node).await;
    let mut next = (*node.catalogue()).clone();
    if next.collections.remove(name).is_none() {
        return Ok(Err(CatalogueError::NoSuchCollection));
    }
    next.epoch = next.epoch.next();
    put_in_force(node, next).await
}

/// Cuts the one tablet of a collection at `split_at` (ascending) and spreads the parts. The first part keeps
/// the tablet.
pub async fn split(node: &Node, name: &str, split_at: Vec<Key>) -> Changed {
    let turn = ChangeTurn::take(node).await;
    let map = node.catalogue();
    let Some(collection) = map.get(name) else { return Ok(Err(CatalogueError::NoSuchCollection)) };
    if collection.is_hashed() {
        return Ok(Err(CatalogueError::PlacedByHash));
    }
    if !collection.is_unsplit() {
        return Ok(Err(CatalogueError::AlreadySplit));
    }
    if let Err(error) = check_split(&split_at, node.shards()) {
        return Ok(Err(error));
    }
    let first = &collection.tablets[0];
    let (base, count) = (usize::from(first.owner.0), split_at.len() + 1);
    let starts = std::iter::once(&first.start).chain(&split_at);
    let target = |(index, start): (usize, &Key)| Target {
        start: start.clone(),
        owner: spread(base, index, count, node.shards()),
        keeps: index == 0,
    };
    let targets = starts.enumerate().map(target).collect();
    let reshape = Reshape { collection: collection.id, sources: vec![first.id], targets };
    reshape::carry_out(node, &turn, &reshape).await
}

/// Logs the map; once durable it holds, whatever happens.
async fn put_in_force(node: &Node, next: Catalogue) -> Changed {
    if next.encoded_len() > limits::CATALOGUE_BYTES_MAX {
        return Ok(Err(CatalogueError::TooLarge));
    }
    let next = Arc::new(next);
    let core = node.core()?;
    core.log_catalogue(&next).await?;
    make_it_missed(core).await?;
    install_everywhere(node, &next).await;
    Ok(Ok(true))
}

/// Logs the map however busy the log is: ids that it names are in use already.
pub(super) async fn log_in_the_end(node: &Node, next: &Arc<Catalogue>) -> Result<(), Refusal> {
    let core = node.core()?;
    loop {
        match core.log_catalogue(next).await {
            Err(Refusal::Overloaded { .. }) => node.runtime().sleep(INSTALL_RETRY).await,
            logged => {
                logged?;
                return make_it_missed(core).await;
            }
        }
    }
}

/// Has the manifest know of the map that was just logged. Its record may be the last of the log: damage there
/// would pass for a torn end, the map before it would hold, and shards would drop what they acknowledged by this
/// one.
pub(super) async fn make_it_missed(core: &Core) -> Result<(), Refusal> {
    match core.commit_state(|_| ()).await {
        // It is in the log, and holds: it must not be left half in force because the manifest is full.
        Err(refusal @ Refusal::CheckpointFailed { .. }) => {
            tracing::warn!(%refusal, "only the end of the log tells of the newest map");
            Ok(())
        }
        committed => committed,
    }
}

pub(super) async fn install_everywhere(node: &Node, catalogue: &Arc<Catalogue>) {
    for shard in node.all_shards() {
        install_at(node, shard, catalogue).await;
    }
}

pub(super) async fn install_at(node: &Node, shard: ShardId, catalogue: &Arc<Catalogue>) {
    loop {
        let reply = node.call(shard, Request::Install { catalogue: catalogue.clone() }).await;
        if matches!(reply, Reply::Done(Ok(()))) {
            return;
        }
        node.runtime().sleep(INSTALL_RETRY).await;
    }
}

fn check_split(split_at: &[Key], shards: usize) -> Result<(), CatalogueError> {
    let ascending = split_at.windows(2).all(|pair| pair[0] < pair[1]);
    if split_at.is_empty() || !ascending || split_at[0].is_empty() {
        return Err(CatalogueError::BadSplit);
    }
    if split_at.len() + 1 > limits::TABLETS_PER_SHARD_MAX * shards {
        return Err(CatalogueError::TooManyTablets);
    }
    Ok(())
}

fn with_collection(
    map: &Catalogue,
    name: &str,
    definition: Definition,
    shards: usize,
    now: WallMs,
) -> Result<Catalogue, CatalogueError> {
    if map.collections.len() >= limits::COLLECTIONS_MAX {
        return Err(CatalogueError::TooManyCollections);
    }
    let hashed = definition.placement == Placement::Hash;
    if hashed && !definition.split_at.is_empty() {
        return Err(CatalogueError::BadSplit);
    }
    if !definition.split_at.is_empty() {
        check_split(&definition.split_at, shards)?;
    }
    let mut next = map.clone();
    next.epoch = map.epoch.next();
    let id = next.next_collection;
    next.next_collection = CollectionId(id.0 + 1);
    // Collections with one tablet begin on different shards.
    let base = id.0 as usize - 1;
    let count = if hashed { shards } else { definition.split_at.len() + 1 };
    // Of hashes all tablets begin at the lowest key.
    let lowest = Key::from_bytes(&[]);
    let starts = std::iter::once(&lowest).chain(&definition.split_at).chain(std::iter::repeat(&lowest));
    let tablets = starts
        .take(count)
        .enumerate()
        .map(|(index, start)| Tablet {
            id: TabletId(map.next_tablet.0 + index as u32),
            start: start.clone(),
            owner: spread(base, index, count, shards),
            epoch: next.epoch,
            first_seq: Seq(1),
        })
        .collect();
    next.next_tablet = TabletId(map.next_tablet.0 + count as u32);
    let collection = Collection { id, name: name.to_owned(), definition, created: now, tablets };
    next.collections.insert(name.to_owned(), Arc::new(collection));
    Ok(next)
}

/// The owner of part `index` of `count`: neighbours share a shard when there are more parts than
/// shards.
fn spread(base: usize, index: usize, count: usize, shards: usize) -> ShardId {
    let step = if count >= shards { index * shards / count } else { index };
    ShardId(((base + step) % shards) as u16)
}

/// The right to change the catalogue, until dropped.
pub(super) struct ChangeTurn<'a> {
    node: &'a Node,
}

impl<'a> ChangeTurn<'a> {
    pub(super) async fn take(node: &'a Node) -> ChangeTurn<'a> {
        loop {
            let over = node.inner().change_over.wait();
            if !node.inner().changing.replace(true) {
                return ChangeTurn { node };
            }
            over.await;
        }
    }
}

impl Drop for ChangeTurn<'_> {
    fn drop(&mut self) {
        self.node.inner().changing.set(false);
        self.node.inner().change_over.notify();
    }
}
