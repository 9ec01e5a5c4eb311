//! One directory: entries as everyone sees them, entries that would survive, and the changes between.
//!
//! Invariant: `durable` with every change of `unsynced` applied in order is `visible`.
//! Invariant: a rename within the directory is one change: after power loss the old name or the new one. (Of
//! a file that has several names in the directory it is two.)

use std::collections::BTreeMap;

use super::crash::Survival;
use super::rng::Rng;

/// Names a file or directory for as long as the disk exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Inode(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    File(Inode),
    Dir(Inode),
}

pub(super) type Entries = BTreeMap<String, Entry>;

#[derive(Clone)]
enum Change {
    /// The entry has this name now, and no other in this directory; whatever had the name is gone.
    Place(String, Entry),
    /// The entry has this name as well.
    Link(String, Entry),
    Remove(String, Entry),
}

#[derive(Clone, Default)]
pub(super) struct Directory {
    visible: Entries,
    durable: Entries,
    unsynced: Vec<Change>,
    /// Changes that left `unsynced`; with its length, the number of the latest change.
    settled: u64,
}

impl Directory {
    pub fn visible(&self) -> &Entries {
        &self.visible
    }

    pub fn durable(&self) -> &Entries {
        &self.durable
    }

    pub fn is_settled(&self) -> bool {
        self.unsynced.is_empty()
    }

    pub fn last_change(&self) -> u64 {
        self.settled + self.unsynced.len() as u64
    }

    /// Entries that an unsynced change may still bring back.
    pub fn unsynced(&self) -> impl Iterator<Item = Entry> {
        self.unsynced.iter().map(|change| match change {
            Change::Place(_, entry) | Change::Link(_, entry) | Change::Remove(_, entry) => *entry,
        })
    }

    pub fn place(&mut self, name: &str, entry: Entry) {
        self.change(Change::Place(name.to_owned(), entry));
    }

    pub fn link(&mut self, name: &str, entry: Entry) {
        self.change(Change::Link(name.to_owned(), entry));
    }

    pub fn has_one_name(&self, entry: Entry) -> bool {
        self.visible.values().filter(|other| **other == entry).count() == 1
    }

    pub fn remove(&mut self, name: &str) {
        if let Some(entry) = self.visible.get(name) {
            self.change(Change::Remove(name.to_owned(), *entry));
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.visible, &change);
        self.unsynced.push(change);
    }

    /// True when an entry may be out of everybody's reach now.
    pub fn sync_up_to(&mut self, number: u64) -> bool {
        let mut gone = false;
        for change in self.drain_up_to(number) {
            gone |= match &change {
                Change::Place(name, entry) | Change::Link(name, entry) => {
                    self.durable.get(name).is_some_and(|before| before != entry)
                }
                Change::Remove(..) => true,
            };
            apply(&mut self.durable, &change);
        }
        gone
    }

    /// Throws the changes away, as a disk does whose sync failed.
    pub fn lose_up_to(&mut self, number: u64) {
        self.drain_up_to(number);
        self.visible = self.durable.clone();
        for change in &self.unsynced {
            apply(&mut self.visible, change);
        }
    }

    fn drain_up_to(&mut self, number: u64) -> Vec<Change> {
        let count = number.saturating_sub(self.settled).min(self.unsynced.len() as u64);
        self.settled += count;
        self.unsynced.drain(..count as usize).collect()
    }

    /// The directory as it is found after power loss: any subset of the changes, in order.
    pub fn after_crash(&self, survival: &Survival, rng: &mut Rng) -> Directory {
        let mut entries = self.durable.clone();
        for change in &self.unsynced {
            if survival.keeps(rng) {
                apply(&mut entries, change);
            }
        }
        Directory::at_rest(entries)
    }

    pub fn at_rest(entries: Entries) -> Directory {
        Directory { visible: entries.clone(), durable: entries, ..Directory::default() }
    }
}

fn apply(entries: &mut Entries, change: &Change) {
    match change {
        Change::Place(name, entry) => {
            entries.retain(|_, other| other != entry);
            entries.insert(name.clone(), *entry);
        }
        Change::Link(name, entry) => {
            entries.insert(name.clone(), *entry);
        }
        Change::Remove(name, entry) => {
            if entries.get(name) == Some(entry) {
                entries.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::sim::crash::CrashPolicy;

    fn names(directory: &Directory, policy: CrashPolicy, seed: u64) -> Vec<String> {
        let mut rng = Rng::new(seed);
        let survival = policy.draw(&mut rng);
        directory.after_crash(&survival, &mut rng).durable.into_keys().collect()
    }

    #[test]
    fn a_rename_leaves_the_old_name_or_the_new() {
        let mut directory = Directory::default();
        directory.place("old", Entry::File(Inode(1)));
        directory.sync_up_to(directory.last_change());
        directory.place("new", Entry::File(Inode(1)));
        let mut seen: Vec<_> = (0..100).map(|seed| names(&directory, CrashPolicy::Random, seed)).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, [vec!["new".to_owned()], vec!["old".to_owned()]]);
    }

    #[test]
    fn only_what_was_there_when_the_sync_began_is_synced() {
        let mut directory = Directory::default();
        directory.place("a", Entry::File(Inode(1)));
        let began = directory.last_change();
        directory.place("b", Entry::File(Inode(2)));
        directory.sync_up_to(began);
        assert_eq!(names(&directory, CrashPolicy::KeepNothing, 1), ["a"]);
        assert_eq!(names(&directory, CrashPolicy::KeepAll, 1), ["a", "b"]);
        directory.remove("a");
        directory.lose_up_to(directory.last_change());
        assert_eq!(directory.visible().keys().collect::<Vec<_>>(), ["a"]);
    }
}
