//! A file of runs or values on its way to the disk, in order and in chunks, beside requests.

use std::io;
use std::path::PathBuf;

use crate::io::buf::AlignedBuf;
use crate::io::op::{OpenMode, Sync};
use crate::io::runtime::{File, Runtime};
use crate::types::FileOffset;

pub struct FileOut {
    runtime: Runtime,
    path: PathBuf,
    file: File,
    written: u64,
}

impl FileOut {
    pub async fn create(runtime: &Runtime, path: PathBuf) -> io::Result<FileOut> {
        let file = runtime.open(path.clone(), OpenMode::CreateNew).await?;
        Ok(FileOut { runtime: runtime.clone(), path, file, written: 0 })
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn path(&self) -> &PathBuf {
        &self.path
    }

    pub async fn write(&mut self, chunk: AlignedBuf) -> io::Result<()> {
        let began = self.runtime.now();
        let chunk = self.file.write(FileOffset(self.written), chunk, Sync::No).await?;
        self.written += chunk.len() as u64;
        self.runtime.rest_after(began).await;
        Ok(())
    }

    /// Makes file and name durable.
    pub async fn finish(self) -> io::Result<File> {
        self.file.sync().await?;
        let dir = self.path.parent().expect("a file lies in a directory").to_owned();
        self.runtime.sync_dir(dir).await?;
        Ok(self.file)
    }
}
