//! Files as `verify` sees them: each by itself, without the collection that it is of.

use std::path::{Path, PathBuf};

use super::chunk::Kind;
use super::read::{Chunks, FileError};
use super::shelf::parse;
use crate::io::runtime::Runtime;
use crate::types::FileOffset;

/// A file that a start would make anew, and where it ceases to be what was written.
pub struct Unusable {
    pub file: PathBuf,
    pub offset: FileOffset,
    pub error: FileError,
}

/// Those in `dir`, which need not be there.
pub async fn check(runtime: &Runtime, dir: &Path) -> Vec<Unusable> {
    let mut found = Vec::new();
    let entries = runtime.list(dir).await.unwrap_or_default();
    let is_whole = |name: &str| parse(name).is_some_and(|named| named.is_whole);
    for entry in entries.iter().filter(|entry| !entry.is_dir && is_whole(&entry.name)) {
        let file = dir.join(&entry.name);
        let (offset, checked) = match Chunks::open(runtime, &file).await {
            Ok(mut chunks) => {
                let checked = check_chunks(&mut chunks).await;
                (chunks.offset, checked)
            }
            Err(error) => (0, Err(error)),
        };
        if let Err(error) = checked {
            found.push(Unusable { file, offset: FileOffset(offset), error });
        }
    }
    found
}

/// To the end of the file, in the order that they have; a chunk that is not as it was written stays the next one.
async fn check_chunks(chunks: &mut Chunks) -> Result<(), FileError> {
    let mut before = None;
    while before != Some(Kind::GraphBack) {
        let (kind, _) = chunks.next().await?;
        if !follows(before, kind) {
            return Err(chunks.damaged());
        }
        before = Some(kind);
    }
    match chunks.file.len().await? == chunks.offset {
        true => Ok(()),
        false => Err(chunks.damaged()),
    }
}

fn follows(before: Option<Kind>, kind: Kind) -> bool {
    match kind {
        Kind::Head => before.is_none(),
        Kind::Documents => matches!(before, Some(Kind::Head | Kind::Documents)),
        Kind::GraphFront => matches!(before, Some(Kind::Head | Kind::Documents)),
        Kind::Nodes | Kind::GraphBack => matches!(before, Some(Kind::GraphFront | Kind::Nodes)),
    }
}
