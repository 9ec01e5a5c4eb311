//! An open value file, and reads of values in it.
//!
//! A value is read in pieces, several at a time, each hashed and copied in slices: its size decides how long it
//! takes, not how long a turn is. What is handed over before the end is not known to be whole yet.
//!
//! Invariant: no payload is given out whose hash is not the one of the reference.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;

use xxhash_rust::xxh3::Xxh3;

use crate::io::buf::{AlignedBuf, SharedFill};
use crate::io::executor::Class;
use crate::io::executor::sync::{Pending, promise};
use crate::io::op::OpenMode;
use crate::io::runtime::{File, Runtime};
use crate::limits;
use crate::shard::payload::Payload;
use crate::shard::run::value_file::{check_value, cut_value};
use crate::shard::run::{RunError, ValueMeta, ValueRef};
use crate::shard::runs::LoadError;
use crate::types::{FileOffset, Mono};

pub struct ValueFile {
    pub meta: ValueMeta,
    runtime: Runtime,
    path: PathBuf,
    /// From the first read on.
    file: RefCell<Option<Rc<File>>>,
    /// Of all value files of the shard.
    reads: Rc<Cell<u64>>,
    /// What the parts that count refer to in it. More than it has, while a part stands twice.
    pub live: Cell<u64>,
    /// A value in it is damaged: none moves out of it any more.
    damaged: Cell<bool>,
    /// A read failed, and may go well after this.
    unread_until: Cell<Mono>,
}

impl ValueFile {
    pub fn new(runtime: Runtime, path: PathBuf, meta: ValueMeta, reads: Rc<Cell<u64>>) -> ValueFile {
        ValueFile {
            meta,
            runtime,
            path,
            file: RefCell::default(),
            reads,
            live: Cell::new(0),
            damaged: Cell::new(false),
            unread_until: Cell::new(Mono::ZERO),
        }
    }

    /// Whether it is worth trying to move values out of it.
    pub fn can_be_moved(&self) -> bool {
        !self.damaged.get() && self.runtime.now() >= self.unread_until.get()
    }

    /// A value could not be moved out of it. Only damage stays; another error may be one of the moment.
    pub fn note_unmoved(&self, error: &LoadError) {
        match error {
            LoadError::Damaged { .. } | LoadError::Payload { .. } => self.damaged.set(true),
            _ => self.unread_until.set(self.runtime.now().after(limits::VALUE_FILE_RETRY)),
        }
    }

    pub fn dead(&self) -> u64 {
        self.meta.value_bytes.saturating_sub(self.live.get())
    }

    pub fn is_half_dead(&self) -> bool {
        2 * self.dead() > self.meta.value_bytes
    }

    async fn open(&self) -> Result<Rc<File>, LoadError> {
        if let Some(file) = &*self.file.borrow() {
            return Ok(file.clone());
        }
        let opened = self.runtime.open(self.path.clone(), OpenMode::Read).await;
        let file = Rc::new(opened.map_err(|error| LoadError::Io { path: self.path.clone(), error })?);
        Ok(self.file.borrow_mut().insert(file).clone())
    }

    /// Reads a value.
    pub async fn payload(&self, at: &ValueRef) -> Result<Payload, LoadError> {
        self.reads.set(self.reads.get() + 1);
        let mut fill = SharedFill::new(at.len as usize);
        self.pieces(at, limits::VALUE_READ_AHEAD_BYTES / limits::RUN_READ_BYTES, async |piece| {
            fill.push(piece);
            Ok::<(), LoadError>(())
        })
        .await?;
        Payload::from_shared(fill.finish()).ok_or_else(|| LoadError::Payload { path: self.path.clone() })
    }

    /// Hands over a value in pieces of at most [`limits::VALUE_PIECE_BYTES`], in order; an error at the end when
    /// they were not the value. `ahead` reads are under way at a time.
    pub async fn pieces<E: From<LoadError>>(
        &self,
        at: &ValueRef,
        ahead: usize,
        mut take: impl AsyncFnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let file = self.open().await?;
        let (mut slice, mut hash) = (self.runtime.slice(), Box::new(Xxh3::new()));
        let (mut next, mut left) = (0, at.len as usize);
        let mut under_way = VecDeque::new();
        loop {
            while next < at.padded_len() && under_way.len() < ahead {
                let len = (at.padded_len() - next).min(limits::RUN_READ_BYTES as u64);
                under_way.push_back((next, len, self.begin(&file, FileOffset(at.offset.0 + next), len)));
                next += len;
            }
            let Some((from, len, read)) = under_way.pop_front() else { break };
            let read = read.await.map_err(|error| LoadError::Io { path: self.path.clone(), error });
            let (count, buf) = read?;
            if (count as u64) < len {
                return Err(self.damaged(cut_value(at, from + count as u64)).into());
            }
            for piece in buf[..len as usize].chunks(limits::VALUE_PIECE_BYTES) {
                hash.update(piece);
                let value = piece.len().min(left);
                left -= value;
                if value > 0 {
                    take(&piece[..value]).await?;
                }
                slice.checkpoint().await;
            }
        }
        check_value(at, hash.digest()).map_err(|error| self.damaged(error).into())
    }

    fn begin(
        &self,
        file: &Rc<File>,
        offset: FileOffset,
        len: u64,
    ) -> Pending<std::io::Result<(usize, AlignedBuf)>> {
        let (promise, pending) = promise();
        let file = file.clone();
        self.runtime.spawn(Class::Foreground, async move {
            promise.give(file.read(offset, AlignedBuf::zeroed(len as usize)).await);
        });
        pending
    }

    fn damaged(&self, error: RunError) -> LoadError {
        LoadError::Damaged { path: self.path.clone(), error }
    }
}
