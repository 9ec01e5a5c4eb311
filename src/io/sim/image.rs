//! The content of a file at one moment: sparse pages, shared until they change.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::io::buf::BLOCK_BYTES;

/// What a disk writes at once, whole or not at all.
pub const SECTOR_BYTES: usize = 512;
pub const SECTORS_PER_PAGE: usize = BLOCK_BYTES / SECTOR_BYTES;

/// [`BLOCK_BYTES`] bytes.
pub type Page = Arc<[u8]>;

/// A set of sectors of a page, one bit each.
pub type SectorMask = u8;
pub const ALL_SECTORS: SectorMask = SectorMask::MAX;

const _: () = assert!(SectorMask::BITS as usize == SECTORS_PER_PAGE);

/// New content for some sectors of the page numbered `page`.
#[derive(Clone)]
pub struct PageWrite {
    pub page: u64,
    pub data: Page,
    pub sectors: SectorMask,
}

impl PageWrite {
    /// Cuts `bytes` (whole pages) into writes that start at page `first`.
    pub fn cut(first: u64, bytes: &[u8]) -> Vec<PageWrite> {
        assert!(bytes.len().is_multiple_of(BLOCK_BYTES), "a write of whole pages");
        let pages = bytes.chunks_exact(BLOCK_BYTES);
        (first..)
            .zip(pages)
            .map(|(page, data)| PageWrite { page, data: page_of(data), sectors: ALL_SECTORS })
            .collect()
    }
}

/// Invariant: no byte at or beyond `len` is anything but 0, and no page lies wholly beyond it, except
/// between a `put` and the `grow` or `set_len` that must follow it.
#[derive(Clone, Default)]
pub struct Image {
    pages: BTreeMap<u64, Page>,
    len: u64,
}

impl Image {
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Pages that take room; a hole takes none.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    pub fn page(&self, page: u64) -> Option<&Page> {
        self.pages.get(&page)
    }

    /// Bytes from `offset` into `out`; returns how many lie before the end of the file.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let count = self.len.saturating_sub(offset).min(out.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let start = (at % BLOCK_BYTES as u64) as usize;
            let part = (BLOCK_BYTES - start).min(count - done);
            let target = &mut out[done..done + part];
            match self.pages.get(&(at / BLOCK_BYTES as u64)) {
                Some(page) => target.copy_from_slice(&page[start..start + part]),
                None => target.fill(0),
            }
            done += part;
        }
        count
    }

    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).expect("a file that fits in memory")];
        self.read(0, &mut bytes);
        bytes
    }

    /// Puts sectors in their place, wherever the file ends; `grow` or `set_len` must follow.
    pub fn put(&mut self, write: &PageWrite) {
        if write.sectors == ALL_SECTORS {
            self.pages.insert(write.page, write.data.clone());
        } else if write.sectors != 0 {
            let page = Arc::make_mut(self.pages.entry(write.page).or_insert_with(zero_page));
            for sector in (0..SECTORS_PER_PAGE).filter(|sector| write.sectors & (1 << sector) != 0) {
                let bytes = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                page[bytes.clone()].copy_from_slice(&write.data[bytes]);
            }
        }
    }

    pub fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Makes the file `len` long: what lies beyond is gone, what is new reads as 0.
    pub fn set_len(&mut self, len: u64) {
        self.len = len;
        let whole_pages = len / BLOCK_BYTES as u64;
        let tail = (len % BLOCK_BYTES as u64) as usize;
        self.pages.split_off(&len.div_ceil(BLOCK_BYTES as u64));
        if tail > 0
            && let Some(page) = self.pages.get_mut(&whole_pages)
        {
            Arc::make_mut(page)[tail..].fill(0);
        }
    }

    /// Changes bytes in place, at rest.
    pub fn patch(&mut self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let page = self.pages.entry(at / BLOCK_BYTES as u64).or_insert_with(zero_page);
            Arc::make_mut(page)[(at % BLOCK_BYTES as u64) as usize] = *byte;
        }
        self.grow(offset + bytes.len() as u64);
    }
}

/// All pages of zeros are this one, until they change: most of what a node writes at its start is zeros.
static ZEROS: LazyLock<Page> = LazyLock::new(|| Arc::from([0; BLOCK_BYTES].as_slice()));

fn zero_page() -> Page {
    ZEROS.clone()
}

fn page_of(data: &[u8]) -> Page {
    if *data == **ZEROS { zero_page() } else { data.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(page: u64, byte: u8, sectors: SectorMask) -> PageWrite {
        PageWrite { page, data: vec![byte; BLOCK_BYTES].into(), sectors }
    }

    #[test]
    fn holes_read_as_zero_and_take_no_room() {
        let mut image = Image::default();
        image.put(&filled(2, 7, ALL_SECTORS));
        image.grow(3 * BLOCK_BYTES as u64);
        let mut out = vec![1; 4 * BLOCK_BYTES];
        assert_eq!(image.read(0, &mut out), 3 * BLOCK_BYTES);
        assert!(out[..2 * BLOCK_BYTES].iter().all(|byte| *byte == 0));
        assert!(out[2 * BLOCK_BYTES..3 * BLOCK_BYTES].iter().all(|byte| *byte == 7));
        assert_eq!(image.pages(), 1);
        assert_eq!(image.read(9 * BLOCK_BYTES as u64, &mut out), 0);
    }

    #[test]
    fn a_masked_write_changes_its_sectors_only() {
        let mut image = Image::default();
        image.put(&filled(0, 1, ALL_SECTORS));
        image.put(&filled(0, 2, 0b0000_0101));
        image.grow(BLOCK_BYTES as u64);
        let bytes = image.to_vec();
        let sectors: Vec<u8> = bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
        assert_eq!(sectors, [2, 1, 2, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_cut_file_grows_back_with_zeros() {
        let mut image = Image::default();
        image.put(&filled(0, 9, ALL_SECTORS));
        image.put(&filled(1, 9, ALL_SECTORS));
        image.set_len(100);
        image.set_len(8192);
        let bytes = image.to_vec();
        assert!(bytes[..100].iter().all(|byte| *byte == 9));
        assert!(bytes[100..].iter().all(|byte| *byte == 0));
        assert_eq!(image.pages(), 1);
    }

    #[test]
    fn a_clone_keeps_its_bytes() {
        let mut image = Image::default();
        image.patch(10, b"before");
        let kept = image.clone();
        image.patch(10, b"after!");
        assert_eq!(&kept.to_vec()[10..], b"before");
        assert_eq!(&image.to_vec()[10..], b"after!");
    }
}
