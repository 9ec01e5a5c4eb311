//! Large values to value files of about one size, in slices.

use super::error::StoreError;
use super::value_file::ValueFile;
use crate::limits;
use crate::shard::core::Core;
use crate::shard::file_out::FileOut;
use crate::shard::run::{ValueMeta, ValueRef, ValueWriter};
use crate::types::RunId;

pub struct ValuesOut<'a> {
    core: &'a Core,
    open: Option<OpenFile>,
    /// Of files since the last call of `take`, the open one too.
    ids: Vec<RunId>,
    done: Vec<ValueMeta>,
}

struct OpenFile {
    out: FileOut,
    writer: ValueWriter,
}

impl OpenFile {
    async fn append(&mut self, piece: &[u8], hurry: bool) -> Result<(), StoreError> {
        self.writer.append(piece);
        while let Some(chunk) = self.writer.take_ready() {
            self.out.write(chunk, hurry).await?;
        }
        Ok(())
    }
}

impl<'a> ValuesOut<'a> {
    pub fn new(core: &'a Core) -> ValuesOut<'a> {
        ValuesOut { core, open: None, ids: Vec::new(), done: Vec::new() }
    }

    /// Writes a payload; gives where it is.
    pub async fn put(&mut self, payload: &[u8]) -> Result<ValueRef, StoreError> {
        let mut slice = self.core.runtime.slice();
        let hurry = self.core.pace.is_behind();
        let file = self.begin().await?;
        for piece in payload.chunks(limits::VALUE_PIECE_BYTES) {
            file.append(piece, hurry).await?;
            slice.checkpoint().await;
        }
        self.end().await
    }

    /// Copies a value that is in another file; gives where it is now. A value that cannot be read stays where it
    /// is: what was written of it is dead.
    pub async fn copy(&mut self, from: &ValueFile, at: &ValueRef) -> Result<ValueRef, StoreError> {
        let core = self.core;
        let hurry = core.pace.is_behind();
        let file = self.begin().await?;
        let copied = from.pieces(at, 1, async |piece| file.append(piece, hurry).await).await;
        match copied {
            Ok(()) => self.end().await,
            Err(StoreError::Read(error)) => {
                from.note_unmoved(&error);
                core.note_damage(&error);
                if file.writer.is_empty_value() {
                    // The table has no place for nothing.
                    file.append(&[0], hurry).await?;
                }
                self.end().await?;
                Ok(*at)
            }
            Err(error) => Err(error),
        }
    }

    async fn begin(&mut self) -> Result<&mut OpenFile, StoreError> {
        if self.open.is_none() {
            let id = self.core.take_run_id();
            self.ids.push(id);
            let out = FileOut::create(&self.core.runtime, self.core.shelf().value_path(id)).await?;
            self.open = Some(OpenFile { out, writer: ValueWriter::new(id, self.core.shard()) });
        }
        let file = self.open.as_mut().expect("it was just opened");
        file.writer.begin();
        Ok(file)
    }

    async fn end(&mut self) -> Result<ValueRef, StoreError> {
        let file = self.open.as_mut().expect("a value was begun");
        let at = file.writer.end();
        if file.writer.value_bytes() >= self.core.value_file_bytes {
            self.cut().await?;
        }
        Ok(at)
    }

    async fn cut(&mut self) -> Result<(), StoreError> {
        let Some(OpenFile { mut out, writer }) = self.open.take() else { return Ok(()) };
        let (rest, meta) = writer.finish();
        for chunk in rest {
            out.write(chunk, self.core.pace.is_behind()).await?;
        }
        assert_eq!(out.written(), meta.file_len, "every byte of the value file was written");
        out.finish().await?;
        self.done.push(meta);
        Ok(())
    }

    /// Ends the open file; gives all since the last call, which are on the shelf from now on.
    pub async fn take(&mut self) -> Result<Vec<ValueMeta>, StoreError> {
        self.cut().await?;
        self.ids.clear();
        self.done.iter().for_each(|meta| self.core.shelf().add_values(*meta));
        Ok(std::mem::take(&mut self.done))
    }

    /// Removes the files that nobody took.
    pub async fn abandon(self) {
        drop(self.open);
        for id in self.ids {
            if let Err(error) = self.core.runtime.remove_file(self.core.shelf().value_path(id)).await {
                tracing::debug!(file = %id, %error, "values of a given up part; the next start removes them");
            }
        }
    }
}
