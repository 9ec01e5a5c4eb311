//! The hands and eyes of a test on a simulated disk: what is there, what would survive, and damage.
//!
//! Changes made here are at rest: they happen to the visible and the durable state alike, at once.

use std::path::Path;
use std::sync::Arc;

use super::directory::Directory;
use super::disk::{Disk, Entry, ROOT};
use super::file::FileData;
use super::image::Image;

impl Disk {
    /// What reads of the file give.
    pub fn bytes(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let entry = self.find(path.as_ref()).ok()?;
        self.file_at(entry).map(|file| file.visible().to_vec())
    }

    /// What the harshest power cut would leave of the file; `None` when it would leave no such name.
    pub fn durable_bytes(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.durable_image(path.as_ref()).map(Image::to_vec)
    }

    /// Fills `out` with what the harshest power cut would leave from `offset` on; returns the bytes
    /// that would be there.
    pub fn read_durable(&self, path: impl AsRef<Path>, offset: u64, out: &mut [u8]) -> usize {
        self.durable_image(path.as_ref()).map_or(0, |image| image.read(offset, out))
    }

    /// Every file and its visible length in bytes, in the order of the paths.
    pub fn file_lens(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut to_visit = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = to_visit.pop() {
            for (name, entry) in self.directories[&inode].visible() {
                let path = format!("{path}/{name}");
                match entry {
                    Entry::Dir(inode) => to_visit.push((path, *inode)),
                    Entry::File(inode) => {
                        found.push((path, self.file(*inode).map_or(0, |file| file.visible().len())))
                    }
                }
            }
        }
        found.sort();
        found
    }

    /// Puts a durable file there, with the directories above it.
    pub fn put_file(&mut self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = path.as_ref();
        let ancestors: Vec<_> = path.ancestors().skip(1).collect();
        for directory in ancestors.into_iter().rev() {
            self.create_dir(directory).ok();
        }
        self.remove_file(path).ok();
        self.create(path).expect("a path whose parents are directories");
        *self.test_file(path) = FileData::durable_with(bytes);
        for directory in self.directories.values_mut() {
            Arc::make_mut(directory).sync_up_to(u64::MAX);
        }
        self.collect_garbage();
    }

    pub fn overwrite(&mut self, path: impl AsRef<Path>, offset: u64, bytes: &[u8]) {
        self.test_file(path.as_ref()).patch(offset, bytes);
    }

    /// Bit rot: `bit` counts from the lowest bit of the byte at `offset`.
    pub fn flip_bit(&mut self, path: impl AsRef<Path>, offset: u64, bit: u8) {
        let file = self.test_file(path.as_ref());
        let mut byte = [0];
        assert_eq!(file.visible().read(offset, &mut byte), 1, "a bit beyond the end of the file");
        file.patch(offset, &[byte[0] ^ (1 << bit)]);
    }

    pub fn truncate(&mut self, path: impl AsRef<Path>, len: u64) {
        self.test_file(path.as_ref()).truncate(len);
    }

    /// Reads of this page fail from now on, until it is written again.
    pub fn break_page(&mut self, path: impl AsRef<Path>, page: u64) {
        self.test_file(path.as_ref()).break_page(page);
    }

    fn test_file(&mut self, path: &Path) -> &mut FileData {
        let Ok(Entry::File(inode)) = self.find(path) else { panic!("no file {}", path.display()) };
        self.file_mut(inode).expect("a file that has a name exists")
    }

    fn file_at(&self, entry: Entry) -> Option<&FileData> {
        match entry {
            Entry::File(inode) => self.file(inode),
            Entry::Dir(_) => None,
        }
    }

    fn durable_image(&self, path: &Path) -> Option<&Image> {
        let entry = self.find_in(path, Directory::durable).ok()?;
        self.file_at(entry).map(FileData::durable)
    }
}
