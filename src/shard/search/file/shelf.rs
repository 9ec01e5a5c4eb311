//! The files of merged parts of a shard: those of the collections that it keeps.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::read::{Expected, read};
use super::write::{UNFINISHED, write};
use crate::io::crashsafe;
use crate::shard::catalogue::Collection;
use crate::shard::core::Core;
use crate::shard::search::library::Stored;
use crate::shard::search::sealed::{PartId, Sealed};
use crate::types::CollectionId;

fn path(core: &Core, collection: CollectionId, number: u32) -> PathBuf {
    core.index_dir.join(format!("{:08x}-{number:08x}.index", collection.0))
}

/// A file that the name is of, whole or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    collection: CollectionId,
    number: u32,
    pub is_whole: bool,
}

impl Named {
    fn path(self, core: &Core) -> PathBuf {
        let whole = path(core, self.collection, self.number);
        if self.is_whole { whole } else { whole.with_extension(UNFINISHED) }
    }
}

pub(super) fn parse(name: &str) -> Option<Named> {
    let (name, kind) = name.split_once('.')?;
    let is_whole = match kind {
        "index" => true,
        UNFINISHED => false,
        _ => return None,
    };
    let (collection, number) = name.split_once('-')?;
    let hex = |text: &str| (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok()).flatten();
    Some(Named { collection: CollectionId(hex(collection)?), number: hex(number)?, is_whole })
}

/// Of the collection, largest first. What cannot be used is removed: it is made anew. So is what a crash left of one that
/// was being written; by itself it would go only when its number comes again.
pub async fn read_all(core: &Rc<Core>, collection: &Collection) -> Vec<Stored> {
    let mut all = Vec::new();
    let Some(schema) = &collection.definition.documents else { return all };
    let schema = Arc::new(schema.clone());
    for named in all_named(core, |of| of == collection.id).await {
        let path = named.path(core);
        if !named.is_whole {
            remove(core, path).await;
            continue;
        }
        core.library.numbers_up_to(named.number);
        let id = PartId::Merged { collection: collection.id, number: named.number };
        let began = core.runtime.now();
        let expected = Expected { id, collection: collection.id, schema: &schema };
        match read(&core.runtime, &path, expected).await {
            Ok(stored) => {
                let took_ms = core.runtime.now().since(began) / 1_000_000;
                tracing::info!(file = %path.display(), documents = stored.part.len(), took_ms, "an index was read");
                all.push(stored);
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "an index is made anew");
                remove(core, path).await;
            }
        }
    }
    all.sort_by_key(|stored| std::cmp::Reverse(stored.part.len()));
    all
}

async fn all_named(core: &Core, wanted: impl Fn(CollectionId) -> bool) -> Vec<Named> {
    let entries = match core.runtime.list(core.index_dir.clone()).await {
        Ok(entries) => entries,
        // Made with the first file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(dir = %core.index_dir.display(), %error, "indexes cannot be listed");
            return Vec::new();
        }
    };
    let files = entries.iter().filter(|entry| !entry.is_dir).filter_map(|entry| parse(&entry.name));
    files.filter(|named| wanted(named.collection)).collect()
}

/// Of collections that there are not.
pub async fn remove_others(core: &Core, there: impl Fn(CollectionId) -> bool) {
    for named in all_named(core, |of| !there(of)).await {
        remove(core, named.path(core)).await;
    }
}

/// A part was put in the place of others. Without its file it is made anew at the next start, so an error is no more
/// than told.
pub async fn replace(core: &Core, collection: CollectionId, out: &[PartId], into: Option<&Arc<Sealed>>) {
    let is_worth_it = |part: &&Arc<Sealed>| part.len() >= core.index_options.file_documents_min;
    if let Some(part) = into.filter(is_worth_it)
        && let PartId::Merged { number, .. } = part.id
        && !core.engine.borrow().is_disk_full()
    {
        let path = path(core, collection, number);
        let made = crashsafe::create_dir(&core.runtime, &core.index_dir).await;
        let written = async {
            made.and(write(&core.runtime, path.clone(), part, core.index_options.file_chunk_bytes).await)
        };
        if let Err(error) = written.await {
            tracing::warn!(file = %path.display(), %error, "an index was not written");
            remove(core, path.with_extension(UNFINISHED)).await;
        }
    }
    for part in out {
        if let PartId::Merged { number, .. } = part {
            remove(core, path(core, collection, *number)).await;
        }
    }
}

/// Those that are too small have none.
async fn remove(core: &Core, path: PathBuf) {
    match core.runtime.remove_file(path.clone()).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(file = %path.display(), %error, "an index was not removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_they_are_of() {
        let named = |is_whole| Some(Named { collection: CollectionId(7), number: 31, is_whole });
        assert_eq!(parse("00000007-0000001f.index"), named(true));
        assert_eq!(parse("00000007-0000001f.tmp"), named(false));
        for other in
            ["7-1f.index", "00000007-0000001f.index.tmp", "00000007.index", "0000000g-00000001.index"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
