//! Which state counts, decided from the bytes of the superblock and of a manifest file.

use std::ops::Range;

use super::damage::{Fault, ManifestDamage};
use super::format::{RecordPlace, SLOT_BYTES, SLOTS, SUPERBLOCK_FILE, Slot, StateRecord, manifest_file_name};
use crate::types::{FileOffset, ShardId};

/// The committed state of a manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub generation: u64,
    /// Where the state lies in the file.
    pub state: Range<usize>,
}

/// The valid slot with the highest generation. One damaged slot is a torn write; two are damage. A slot
/// of a newer format or of another shard is intact, so the one beside it may be outdated: refused.
pub fn choose_slot(superblock: &[u8], shard: ShardId) -> Result<Slot, ManifestDamage> {
    let mut best: Option<Slot> = None;
    let mut first_fault = None;
    for index in 0..SLOTS {
        let bytes = superblock.get(index * SLOT_BYTES..).unwrap_or(&[]);
        match Slot::decode(bytes, shard) {
            Ok(slot) => {
                let newer = best.is_none_or(|best| slot.generation > best.generation);
                best = if newer { Some(slot) } else { best };
            }
            Err(fault @ (Fault::Newer { .. } | Fault::Shard(_))) => return Err(slot_damage(index, fault)),
            Err(fault) => first_fault = first_fault.or(Some(slot_damage(index, fault))),
        }
    }
    best.ok_or_else(|| first_fault.expect("a slot is valid or has a fault"))
}

/// Slots that cannot be read, where another one says which state counts.
pub fn damaged_slots(superblock: &[u8], shard: ShardId) -> Vec<ManifestDamage> {
    let bytes = |index: usize| superblock.get(index * SLOT_BYTES..).unwrap_or(&[]);
    let fault = |index| Some(slot_damage(index, Slot::decode(bytes(index), shard).err()?));
    (0..SLOTS).filter_map(fault).collect()
}

fn slot_damage(index: usize, fault: Fault) -> ManifestDamage {
    let offset = FileOffset((index * SLOT_BYTES) as u64);
    ManifestDamage { file: SUPERBLOCK_FILE.to_owned(), offset, fault }
}

/// Checks `file` up to what `slot` names, and adopts the records behind it that continue the chain:
/// their slot was not written any more, but all that they name was durable before they were.
pub fn roll_forward(file: &[u8], slot: &Slot, shard: ShardId) -> Result<Committed, ManifestDamage> {
    let mut walk = Walk { file, shard, manifest: slot.manifest, offset: 0, last: None };
    let damage = |offset: u64, fault| ManifestDamage {
        file: manifest_file_name(slot.manifest),
        offset: FileOffset(offset),
        fault,
    };
    while walk.offset < slot.committed_len {
        walk.step().map_err(|fault| damage(walk.offset, fault))?;
    }
    let last = walk.last.as_ref().ok_or_else(|| damage(0, Fault::Cut))?;
    let named = (slot.committed_len, slot.generation, slot.last_hash);
    if (walk.offset, last.generation, last.hash) != named {
        return Err(damage(walk.offset, Fault::Chain));
    }
    loop {
        match walk.step() {
            Ok(()) => {}
            Err(fault @ Fault::Newer { .. }) => return Err(damage(walk.offset, fault)),
            Err(_) => break,
        }
    }
    let last = walk.last.expect("a record was read");
    Ok(Committed { generation: last.generation, state: last.state })
}

/// The record before the place of a walk.
struct Last {
    generation: u64,
    hash: u64,
    state: Range<usize>,
}

/// Goes through a file record by record.
struct Walk<'a> {
    file: &'a [u8],
    shard: ShardId,
    manifest: u64,
    offset: u64,
    last: Option<Last>,
}

impl Walk<'_> {
    fn step(&mut self) -> Result<(), Fault> {
        let start = self.offset as usize;
        let place =
            RecordPlace { shard: self.shard, manifest: self.manifest, offset: FileOffset(self.offset) };
        let record = StateRecord::decode(self.file.get(start..).unwrap_or(&[]), place)?;
        let follows = match &self.last {
            Some(last) => (record.prev_hash, record.generation) == (last.hash, last.generation + 1),
            None => record.prev_hash == 0,
        };
        if !follows {
            return Err(Fault::Chain);
        }
        let state_start = record.state.as_ptr() as usize - self.file.as_ptr() as usize;
        let state = state_start..state_start + record.state.len();
        self.last = Some(Last { generation: record.generation, hash: record.hash, state });
        self.offset += record.len as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHARD: ShardId = ShardId(1);

    /// A file with the given states, generations from 10 on, and the slot of each record.
    fn file(states: &[&[u8]]) -> (Vec<u8>, Vec<Slot>) {
        let (mut bytes, mut slots, mut prev_hash) = (Vec::new(), Vec::new(), 0);
        for (index, state) in states.iter().enumerate() {
            let place = RecordPlace { shard: SHARD, manifest: 4, offset: FileOffset(bytes.len() as u64) };
            let generation = 10 + index as u64;
            let (record, hash) = StateRecord::encode(place, generation, prev_hash, state);
            bytes.extend_from_slice(&record);
            prev_hash = hash;
            let committed_len = bytes.len() as u64;
            slots.push(Slot { generation, manifest: 4, committed_len, last_hash: hash });
        }
        (bytes, slots)
    }

    fn superblock(slots: [Slot; 2]) -> Vec<u8> {
        slots.iter().flat_map(|slot| slot.encode(SHARD).to_vec()).collect()
    }

    fn state<'a>(bytes: &'a [u8], slot: &Slot) -> Result<&'a [u8], Fault> {
        roll_forward(bytes, slot, SHARD)
            .map(|committed| &bytes[committed.state])
            .map_err(|damage| damage.fault)
    }

    #[test]
    fn the_newest_valid_slot_counts() {
        let (_, slots) = file(&[b"a", b"b"]);
        let both = superblock([slots[1], slots[0]]);
        assert_eq!(choose_slot(&both, SHARD), Ok(slots[1]));
        assert!(damaged_slots(&both, SHARD).is_empty());
        for (damaged, wanted) in [(0, slots[0]), (1, slots[1])] {
            let mut one = both.clone();
            one[damaged * SLOT_BYTES + 30] ^= 1;
            assert_eq!(choose_slot(&one, SHARD), Ok(wanted));
            let found = damaged_slots(&one, SHARD);
            assert_eq!(
                found.iter().map(|damage| damage.offset.0).collect::<Vec<_>>(),
                [(damaged * SLOT_BYTES) as u64]
            );
        }
        let mut none = both.clone();
        none[30] ^= 1;
        none[SLOT_BYTES + 30] ^= 1;
        let damage = choose_slot(&none, SHARD).expect_err("two damaged slots");
        assert_eq!((damage.file.as_str(), damage.offset), ("superblock", FileOffset(0)));
        assert!(choose_slot(&[], SHARD).is_err());
        assert_eq!(choose_slot(&both, ShardId(2)).map_err(|damage| damage.fault), Err(Fault::Shard(SHARD)));
    }

    #[test]
    fn records_behind_the_committed_length_are_adopted_while_they_continue_the_chain() {
        let (bytes, slots) = file(&[b"a", &[7; 9000], b"c"]);
        assert_eq!(state(&bytes, &slots[0]), Ok(&b"c"[..]));
        let two = slots[1].committed_len as usize;
        assert_eq!(state(&bytes[..two + 100], &slots[0]), Ok(&[7; 9000][..]));
        let mut torn = bytes.clone();
        torn[two + 60] ^= 1;
        assert_eq!(state(&torn, &slots[0]), Ok(&[7; 9000][..]));
        assert!(matches!(state(&torn, &slots[2]), Err(Fault::Hash { .. })), "committed");
    }

    #[test]
    fn a_record_of_another_history_is_not_adopted() {
        let (mut bytes, slots) = file(&[b"a", b"b"]);
        let (other, _) = file(&[b"x", b"y"]);
        let from = slots[0].committed_len as usize;
        bytes[from..].copy_from_slice(&other[from..]);
        assert_eq!(state(&bytes, &slots[0]), Ok(&b"a"[..]));
        assert_eq!(state(&bytes, &slots[1]), Err(Fault::Chain));
    }

    #[test]
    fn every_flipped_bit_below_the_committed_length_refuses() {
        let (bytes, slots) = file(&[b"first", &[3; 5000], b"last"]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let damage = roll_forward(&bad, &slots[2], SHARD).expect_err("damage");
            assert!(damage.offset.0 <= bit as u64 / 8);
        }
        for len in 0..bytes.len() {
            assert!(roll_forward(&bytes[..len], &slots[2], SHARD).is_err());
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(
            superblock in proptest::collection::vec(any::<u8>(), 0..9000),
            file in proptest::collection::vec(any::<u8>(), 0..9000),
            committed_len in any::<u64>(),
        ) {
            let _ = choose_slot(&superblock, SHARD);
            let slot = Slot { generation: 1, manifest: 4, committed_len, last_hash: 0 };
            prop_assert!(roll_forward(&file, &slot, SHARD).is_err());
        }
    }
}
