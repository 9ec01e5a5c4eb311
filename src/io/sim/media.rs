//! Reads and writes where the medium is: the faults that hit data on its way.

use std::io;

use super::disk::{Inode, errno};
use super::effect::Effect;
use super::file::any_sectors;
use super::image::PageWrite;
use super::machine::Machine;
use super::plan::{Ask, Seal};
use super::storage::{Stage, Storage, Work};
use crate::io::buf::{AlignedBuf, BLOCK_BYTES};
use crate::io::op::{Outcome, Sync};

enum WriteFault {
    None,
    Error,
    Lost,
    /// Only so many pages are taken.
    Short(usize),
    /// Goes to this file, from this page on.
    Misdirected(Inode, u64),
}

// ---- reads

impl Storage {
    pub(super) fn read(
        &mut self,
        machine: &mut Machine,
        work: &Work,
        inode: Inode,
        offset: u64,
        mut buf: AlignedBuf,
    ) -> io::Result<Outcome> {
        let first = offset / BLOCK_BYTES as u64;
        let pages = first..first + (buf.len() / BLOCK_BYTES) as u64;
        let hit = machine.faults().hits(&work.path);
        if hit {
            self.fault_read(machine, inode, pages.clone())?;
        }
        let Some(file) = self.disk.file(inode) else { return Ok(Outcome::Read { count: 0, buf }) };
        if file.is_broken(pages.clone()) {
            return Err(errno(libc::EIO));
        }
        let count = file.visible().read(offset, &mut buf);
        if hit && machine.rng.chance(machine.faults().stale_read_permille) {
            let page = machine.rng.between(pages.start, pages.end - 1);
            let start = (page - first) as usize * BLOCK_BYTES;
            if let Some(older) = file.older_page(page).filter(|_| start < count) {
                let end = (start + BLOCK_BYTES).min(count);
                buf[start..end].copy_from_slice(&older[..end - start]);
                machine.log(format_args!("fault stale page {page}"));
            }
        }
        Ok(Outcome::Read { count, buf })
    }

    fn fault_read(
        &mut self,
        machine: &mut Machine,
        inode: Inode,
        pages: std::ops::Range<u64>,
    ) -> io::Result<()> {
        self.counts.reads += 1;
        let faults = &machine.config.faults;
        if faults.read_error_at == Some(self.counts.reads) || machine.rng.chance(faults.read_error_permille) {
            machine.log(format_args!("fault read error"));
            return Err(errno(libc::EIO));
        }
        if machine.rng.chance(faults.read_error_sticky_permille)
            && let Some(file) = self.disk.file_mut(inode)
        {
            let page = machine.rng.between(pages.start, pages.end - 1);
            file.break_page(page);
            machine.log(format_args!("fault bad page {page}"));
        }
        Ok(())
    }
}

// ---- writes

impl Storage {
    pub(super) fn write(
        &mut self,
        machine: &mut Machine,
        work: &mut Work,
        (inode, mut pages): (Inode, Vec<PageWrite>),
        buf: AlignedBuf,
        sync: Sync,
    ) -> Stage {
        if !self.has_room_for(machine, inode, &pages) {
            return failed(libc::ENOSPC);
        }
        match self.draw_write_fault(machine, work, inode, pages.len()) {
            WriteFault::None => self.put(work, inode, pages, true),
            WriteFault::Lost => (),
            WriteFault::Error => {
                let some = any_sectors(&pages, &mut machine.rng);
                self.put(work, inode, some, false);
                return failed(libc::EIO);
            }
            WriteFault::Misdirected(other, page) => {
                pages.iter_mut().zip(page..).for_each(|(write, page)| write.page = page);
                self.put(work, other, pages, false);
            }
            WriteFault::Short(taken) => {
                let rest = pages.split_off(taken);
                self.put(work, inode, pages, false);
                if machine.rng.coin() {
                    return failed(libc::EIO);
                }
                let effect = Effect::Write { inode, pages: rest };
                return Stage::Submitted { effect, ask: Ask::Write { buf, sync } };
            }
        }
        let seal = if sync == Sync::Data { Seal::OwnChanges } else { Seal::Nothing };
        Stage::Performed { outcome: Ok(Outcome::Wrote(buf)), seal }
    }

    /// Blocks that are there already can be written on a full disk.
    fn has_room_for(&self, machine: &Machine, inode: Inode, pages: &[PageWrite]) -> bool {
        let (Some(capacity), Some(file)) = (machine.faults().capacity_bytes, self.disk.file(inode)) else {
            return true;
        };
        let new_pages = pages.iter().filter(|write| file.visible().page(write.page).is_none()).count();
        new_pages == 0 || self.disk.used_bytes() + (new_pages * BLOCK_BYTES) as u64 <= capacity
    }

    /// `last` when the write is whole with it, for the audit.
    fn put(&mut self, work: &mut Work, inode: Inode, pages: Vec<PageWrite>, last: bool) {
        if pages.is_empty() {
            return;
        }
        let Some(number) = self.disk.write(inode, pages) else { return };
        work.changes.push((inode, number));
        if let (Some(audit), Some(record), true) = (&mut self.audit, work.record, last) {
            audit.performed(record, inode, number);
        }
    }

    fn draw_write_fault(
        &mut self,
        machine: &mut Machine,
        work: &Work,
        inode: Inode,
        pages: usize,
    ) -> WriteFault {
        if !machine.faults().hits(&work.path) {
            return WriteFault::None;
        }
        self.counts.writes += 1;
        let (faults, rng) = (&machine.config.faults, &mut machine.rng);
        let (name, fault) =
            if faults.write_error_at == Some(self.counts.writes) || rng.chance(faults.write_error_permille) {
                ("write error", WriteFault::Error)
            } else if rng.chance(faults.write_lost_permille) {
                ("lost write", WriteFault::Lost)
            } else if rng.chance(faults.write_short_permille) {
                ("short write", WriteFault::Short(rng.index(pages)))
            } else if rng.chance(faults.write_misdirected_permille) {
                let files: Vec<Inode> = self.disk.file_inodes().collect();
                let other = if rng.coin() { inode } else { files[rng.index(files.len())] };
                let len = self.disk.file(other).map_or(0, |file| file.visible().len());
                let page = rng.below((len / BLOCK_BYTES as u64).max(1));
                ("misdirected write", WriteFault::Misdirected(other, page))
            } else {
                return WriteFault::None;
            };
        machine.log(format_args!("fault {name}"));
        fault
    }
}

fn failed(code: i32) -> Stage {
    Stage::Performed { outcome: Err(errno(code)), seal: Seal::Nothing }
}
