//! What is remembered of writes that came with a key of their own, so that the same request again is known
//! and changes nothing.
//!
//! A receipt says what was answered. It comes into being with the record in the log, and is in force when that
//! is visible. Only writes that were carried out leave one: whatever was refused is judged anew.
//!
//! In the log a receipt is a part of its record, and later an entry in a record of kind `receipts`: what such a
//! record has is written again by a seal before the log with the older one may go. Byte map of an entry,
//! little-endian; a record has any number of them behind one another:
//!
//! ```text
//! offset size field
//!      0   16 token
//!     16    8 fingerprint
//!     24    8 lsn          as it was answered
//!     32    8 seq
//!     40    8 at_ms        when it was carried out
//!     48    4 collection
//!     52    1 flags        bit 0 created; others are an error
//!     53    3 zero
//! ```
//!
//! Invariant: every receipt in force lies in the log behind what runs cover.
//! Invariant: the table is bounded by entries and by age; the oldest go first.
//!
//! Must not know: files, clocks, tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::io::codec::{Put, Reader};
use crate::limits;
use crate::types::{CollectionId, Lsn, Seq, Token, WallMs};

const ENTRY_BYTES: usize = 56;
const FLAG_CREATED: u8 = 1;

/// Memory of a receipt in both trees, about.
const MEMORY_BYTES: u64 = 144;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub fingerprint: u64,
    /// As it was answered: of the shard that carried it out.
    pub lsn: Lsn,
    pub seq: Seq,
    pub created: bool,
    /// By the clock of the shard that carried it out.
    pub at: WallMs,
    /// A range that moves takes the receipts of its collection along.
    pub collection: CollectionId,
    /// The first record of this log that tells of it: durable with that.
    pub since: Lsn,
    /// The last record of this log that tells of it: needed as long as that is.
    pub logged: Lsn,
}

impl Receipt {
    fn is_over(&self, now: WallMs) -> bool {
        now.0.saturating_sub(self.at.0) >= limits::RECEIPT_AGE_MS_MAX
    }
}

/// A receipt and the request that it is of.
pub type Entry = (Token, Receipt);

pub struct Receipts {
    by_token: BTreeMap<Token, Receipt>,
    by_age: BTreeSet<(WallMs, Token)>,
    entries_max: usize,
}

impl Receipts {
    /// Of a shard with so much memory.
    pub fn new(memory_budget: u64) -> Receipts {
        let fits = memory_budget / limits::MEMORY_BYTES_PER_RECEIPT_BYTE / MEMORY_BYTES;
        let entries_max = limits::RECEIPT_ENTRIES_MAX.min(fits as usize);
        Receipts { by_token: BTreeMap::new(), by_age: BTreeSet::new(), entries_max }
    }

    pub fn len(&self) -> usize {
        self.by_token.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_token.is_empty()
    }

    pub fn memory_bytes(&self) -> u64 {
        self.len() as u64 * MEMORY_BYTES
    }

    /// What is known of the request.
    pub fn of(&self, token: Token, now: WallMs) -> Option<Receipt> {
        self.by_token.get(&token).filter(|receipt| !receipt.is_over(now)).copied()
    }

    /// Takes one up. Of two for the same request the one that was carried out later stays: the other had been
    /// forgotten by then.
    pub fn put(&mut self, token: Token, receipt: Receipt) {
        if let Some(known) = self.by_token.get(&token).copied() {
            if known.at > receipt.at {
                return;
            }
            self.by_age.remove(&(known.at, token));
        }
        self.by_token.insert(token, receipt);
        self.by_age.insert((receipt.at, token));
        while self.len() > self.entries_max {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, token)) = self.by_age.pop_first() {
            self.by_token.remove(&token);
        }
    }

    /// Forgets what is too old, a bounded part of it; true when there may be more.
    pub fn forget_old(&mut self, now: WallMs) -> bool {
        for _ in 0..limits::RECEIPT_PIECE_ENTRIES_MAX {
            let Some((_, token)) = self.by_age.first() else { return false };
            if !self.by_token.get(token).is_some_and(|receipt| receipt.is_over(now)) {
                return false;
            }
            self.forget_oldest();
        }
        true
    }

    /// Forgets these.
    pub fn forget(&mut self, entries: &[Entry]) {
        for (token, receipt) in entries {
            self.by_token.remove(token);
            self.by_age.remove(&(receipt.at, *token));
        }
    }

    /// From the newest down, a stretch of those older than `before`: what of it is told by no record behind
    /// `covered`, and where to go on.
    pub fn only_up_to(
        &self,
        covered: Lsn,
        before: Option<(WallMs, Token)>,
    ) -> (Vec<Entry>, Option<(WallMs, Token)>) {
        let end = before.map_or(Bound::Unbounded, Bound::Excluded);
        let stretch = self.by_age.range((Bound::Unbounded, end)).rev();
        let mut last = None;
        let mut found = Vec::new();
        for (at, token) in stretch.take(limits::RECEIPT_PIECE_ENTRIES_MAX) {
            last = Some((*at, *token));
            found.extend(
                self.by_token.get(token).filter(|receipt| receipt.logged <= covered).map(|r| (*token, *r)),
            );
        }
        (found, last)
    }

    /// A stretch behind `after` in the order of tokens: those of the collection that are told since one of these
    /// records, and where to go on.
    pub fn of_collection(
        &self,
        collection: CollectionId,
        since: (Bound<Lsn>, Bound<Lsn>),
        after: Option<Token>,
    ) -> (Vec<Entry>, Option<Token>) {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        let mut found = Vec::new();
        for (token, receipt) in
            self.by_token.range((start, Bound::Unbounded)).take(limits::RECEIPT_PIECE_ENTRIES_MAX)
        {
            last = Some(*token);
            if receipt.collection == collection && std::ops::RangeBounds::contains(&since, &receipt.since) {
                found.push((*token, *receipt));
            }
        }
        (found, last)
    }

    /// These stand in this record of the log now.
    pub fn note_logged(&mut self, entries: &[Entry], lsn: Lsn) {
        for (token, _) in entries {
            if let Some(receipt) = self.by_token.get_mut(token) {
                receipt.logged = receipt.logged.max(lsn);
            }
        }
    }

    /// Takes up what a record of the log has, or another shard sent.
    pub fn take_up(&mut self, entries: &[Entry], lsn: Lsn) {
        for (token, receipt) in entries {
            self.put(*token, Receipt { since: lsn, logged: lsn, ..*receipt });
        }
    }
}

pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for (token, receipt) in entries {
        out.extend_from_slice(&token.0);
        for number in [receipt.fingerprint, receipt.lsn.0, receipt.seq.0, receipt.at.0] {
            out.put_u64(number);
        }
        out.put_u32(receipt.collection.0);
        out.put_u32(u32::from(if receipt.created { FLAG_CREATED } else { 0 }));
    }
    out
}

/// `None` for what no writer puts there.
pub fn decode(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut reader = Reader::new(bytes);
    let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    while !reader.is_empty() {
        let token = Token(reader.array().ok()?);
        let mut number = || reader.u64().ok();
        let (fingerprint, lsn, seq, at) = (number()?, Lsn(number()?), Seq(number()?), WallMs(number()?));
        let collection = CollectionId(reader.u32().ok()?);
        let flags = reader.u32().ok()?;
        if flags & !u32::from(FLAG_CREATED) != 0 {
            return None;
        }
        let created = flags != 0;
        let (since, logged) = (Lsn::ZERO, Lsn::ZERO);
        entries.push((token, Receipt { fingerprint, lsn, seq, created, at, collection, since, logged }));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLENTY: u64 = limits::MEMORY_BYTES_DEFAULT;

    fn token(number: u64) -> Token {
        let mut bytes = [0; 16];
        // So that the order of tokens is not that of their numbers.
        bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
        Token(bytes)
    }

    fn receipt(at: u64, lsn: u64) -> Receipt {
        Receipt {
            fingerprint: lsn * 3,
            lsn: Lsn(lsn),
            seq: Seq(lsn + 1),
            created: lsn.is_multiple_of(2),
            at: WallMs(at),
            collection: CollectionId(1 + (lsn % 3) as u32),
            since: Lsn(lsn),
            logged: Lsn(lsn),
        }
    }

    fn table(entries: u64) -> Receipts {
        let mut receipts = Receipts::new(PLENTY);
        (1..=entries).for_each(|number| receipts.put(token(number), receipt(1000 + number, number)));
        receipts
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let max = limits::RECEIPT_ENTRIES_MAX as u64;
        let mut receipts = table(max + 10);
        assert_eq!(receipts.len(), limits::RECEIPT_ENTRIES_MAX);
        assert_eq!(receipts.of(token(10), WallMs(2000)), None);
        assert_eq!(receipts.of(token(11), WallMs(2000)), Some(receipt(1011, 11)));
        // One that comes late and is old, from another shard, is the first to go.
        receipts.put(token(0), receipt(7, 9));
        assert_eq!((receipts.of(token(0), WallMs(8)), receipts.len()), (None, max as usize));
        assert_eq!(receipts.by_age.len(), receipts.by_token.len());
    }

    #[test]
    fn a_small_memory_keeps_fewer() {
        let mut receipts = Receipts::new(limits::MEMORY_BYTES_MIN);
        (1..50_000).for_each(|number| receipts.put(token(number), receipt(number, number)));
        let share = limits::MEMORY_BYTES_MIN / limits::MEMORY_BYTES_PER_RECEIPT_BYTE;
        assert!(receipts.memory_bytes() <= share && receipts.memory_bytes() + MEMORY_BYTES > share);
    }

    #[test]
    fn a_receipt_is_in_force_for_a_day() {
        let mut receipts = table(3);
        let day = limits::RECEIPT_AGE_MS_MAX;
        assert!(receipts.of(token(1), WallMs(1000 + day)).is_some());
        assert!(receipts.of(token(1), WallMs(1001 + day)).is_none());
        assert!(!receipts.forget_old(WallMs(1000 + day)));
        assert_eq!(receipts.len(), 3);
        assert!(!receipts.forget_old(WallMs(1002 + day)));
        assert_eq!(receipts.len(), 1);
        // A request that was forgotten is another one.
        receipts.put(token(3), receipt(1002 + day, 9));
        assert_eq!(receipts.of(token(3), WallMs(1003 + day)), Some(receipt(1002 + day, 9)));
        assert_eq!((receipts.len(), receipts.by_age.len()), (1, 1));
    }

    #[test]
    fn of_two_the_later_one_stays() {
        let mut receipts = table(1);
        receipts.put(token(1), receipt(500, 77));
        assert_eq!(receipts.of(token(1), WallMs(2000)), Some(receipt(1001, 1)));
        receipts.put(token(1), receipt(1500, 78));
        assert_eq!(receipts.of(token(1), WallMs(2000)), Some(receipt(1500, 78)));
        assert_eq!(receipts.by_age.len(), 1);
    }

    #[test]
    fn what_only_covered_log_has_is_found_in_pieces() {
        let mut receipts = table(2000);
        let all = |receipts: &Receipts, covered| {
            let (mut found, mut at) = (Vec::new(), None);
            loop {
                let (piece, last) = receipts.only_up_to(Lsn(covered), at);
                assert!(piece.len() <= limits::RECEIPT_PIECE_ENTRIES_MAX);
                found.extend(piece);
                match last {
                    Some(last) => at = Some(last),
                    None => return found,
                }
            }
        };
        let found = all(&receipts, 1500);
        assert_eq!(found.len(), 1500);
        assert!(found.windows(2).all(|pair| pair[0].1.at > pair[1].1.at), "the newest first");
        receipts.note_logged(&found[..1000], Lsn(9000));
        assert_eq!(all(&receipts, 1500).len(), 500);
        assert_eq!(receipts.of(token(1500), WallMs(3000)).map(|receipt| receipt.since), Some(Lsn(1500)));
        receipts.forget(&found[1000..]);
        assert_eq!((receipts.len(), all(&receipts, 1500).len()), (1500, 0));
    }

    #[test]
    fn those_of_a_collection_are_found_by_when_they_were_logged() {
        let receipts = table(3000);
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let since = (Bound::Excluded(Lsn(1000)), Bound::Included(Lsn(2000)));
            let (piece, last) = receipts.of_collection(CollectionId(2), since, after);
            found.extend(piece);
            if last.is_none() {
                break;
            }
            after = last;
        }
        let mut lsns: Vec<u64> = found.iter().map(|(_, receipt)| receipt.lsn.0).collect();
        lsns.sort_unstable();
        assert_eq!(lsns, (1001..=2000).filter(|lsn| lsn % 3 == 1).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn entries_survive_the_round_trip(numbers in prop::collection::vec((any::<u64>(), 0..1_u64 << 40), 0..40)) {
            let bare = |lsn| Receipt { since: Lsn::ZERO, logged: Lsn::ZERO, ..receipt(lsn ^ 5, lsn) };
            let entries: Vec<Entry> = numbers.iter().map(|(name, lsn)| (token(*name), bare(*lsn))).collect();
            let bytes = encode(&entries);
            prop_assert_eq!(bytes.len(), entries.len() * ENTRY_BYTES);
            prop_assert_eq!(decode(&bytes), Some(entries));
            for cut in (0..bytes.len()).filter(|cut| !cut.is_multiple_of(ENTRY_BYTES)) {
                prop_assert_eq!(decode(&bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn the_byte_map_of_an_entry() {
        let entry = Receipt {
            fingerprint: 0x0102_0304_0506_0708,
            lsn: Lsn(0x1112_1314_1516_1718),
            seq: Seq(0x2122_2324_2526_2728),
            created: true,
            at: WallMs(0x3132_3334_3536_3738),
            collection: CollectionId(0x4142_4344),
            since: Lsn(1),
            logged: Lsn(2),
        };
        let mut bytes = encode(&[(Token(*b"0123456789abcdef"), entry)]);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted = "303132333435363738396162636465660807060504030201181716151413121128272625242322213837363534333231\
                      4443424101000000";
        assert_eq!(hex, wanted);
        bytes[52] = 2;
        assert_eq!(decode(&bytes), None);
        bytes[52..54].copy_from_slice(&[1, 1]);
        assert_eq!(decode(&bytes), None);
    }
}
