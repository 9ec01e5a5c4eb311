//! A file of runs or values on its way to the disk, in order and in chunks, beside requests.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use crate::io::buf::AlignedBuf;
use crate::io::op::{OpenMode, Sync};
use crate::io::runtime::{File, Runtime};
use crate::types::FileOffset;

pub struct FileOut {
    runtime: Runtime,
    path: PathBuf,
    file: File,
    /// Handed over.
    written: u64,
    under_way: Option<WriteUnderWay>,
}

type WriteUnderWay = Pin<Box<dyn Future<Output = io::Result<AlignedBuf>>>>;

impl FileOut {
    pub async fn create(runtime: &Runtime, path: PathBuf) -> io::Result<FileOut> {
        let file = runtime.open(path.clone(), OpenMode::CreateNew).await?;
        Ok(FileOut { runtime: runtime.clone(), path, file, written: 0, under_way: None })
    }

    /// Bytes so far, what is on its way included.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Without `hurry` it leaves the disk to others half of the time; with it the next chunk is made while this one
    /// is on its way, and an error is told with the next.
    pub async fn write(&mut self, chunk: AlignedBuf, hurry: bool) -> io::Result<()> {
        self.settle().await?;
        let (began, len) = (self.runtime.now(), chunk.len());
        let write = self.file.write(FileOffset(self.written), chunk, Sync::No);
        self.written += len as u64;
        if hurry {
            self.under_way = Some(Box::pin(write));
            return Ok(());
        }
        write.await?;
        self.runtime.rest_after(began).await;
        Ok(())
    }

    async fn settle(&mut self) -> io::Result<()> {
        match self.under_way.take() {
            Some(write) => write.await.map(drop),
            None => Ok(()),
        }
    }

    /// Makes file and name durable.
    pub async fn finish(mut self) -> io::Result<File> {
        self.settle().await?;
        self.file.sync().await?;
        let dir = self.path.parent().expect("a file lies in a directory").to_owned();
        self.runtime.sync_dir(dir).await?;
        Ok(self.file)
    }
}
