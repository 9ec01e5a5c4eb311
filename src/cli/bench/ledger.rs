//! What the load wrote, record by record: which version may a read answer with?
//!
//! Puts of one record may be under way on several connections and take effect in any order. So a
//! version rules an older one out only when it was sent after the older one was acknowledged, and was
//! acknowledged itself. Of a group of overlapping puts any may be the last.
//!
//! Invariant: `floor <= group <= newest`, and a read that starts now answers a version of at least
//! `floor`; floor 0 means that the record may be absent.

#[derive(Clone, Copy, Default)]
struct Entry {
    newest: u32,
    floor: u32,
    /// First version of the group of overlapping puts.
    group: u32,
    under_way: u32,
    /// Whether one of the group was acknowledged.
    has_acknowledged: bool,
}

#[derive(Default)]
pub struct Ledger {
    entries: Vec<Entry>,
}

impl Ledger {
    /// Records that were ever written or are about to be.
    pub fn records(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Makes room for a record that was never written.
    pub fn add_record(&mut self) -> u64 {
        self.entries.push(Entry::default());
        self.records() - 1
    }

    fn entry(&mut self, record: u64) -> &mut Entry {
        &mut self.entries[record as usize]
    }

    /// A put is sent: its version, from 1.
    pub fn put_sent(&mut self, record: u64) -> u32 {
        let entry = self.entry(record);
        entry.newest = entry.newest.checked_add(1).expect("fewer than 2^32 puts of one record");
        if entry.under_way == 0 {
            entry.group = entry.newest;
            entry.has_acknowledged = false;
        }
        entry.under_way += 1;
        entry.newest
    }

    /// A put was acknowledged. One with an unknown outcome is never reported, so that its group stays
    /// open and rules nothing out.
    pub fn put_acknowledged(&mut self, record: u64) {
        self.entry(record).has_acknowledged = true;
        self.put_over(record);
    }

    /// A put was refused: it has no effect, now or later, and rules nothing out. The others of its group do.
    pub fn put_refused(&mut self, record: u64) {
        self.put_over(record);
    }

    fn put_over(&mut self, record: u64) {
        let entry = self.entry(record);
        assert!(entry.under_way > 0, "an answer without a put");
        entry.under_way -= 1;
        if entry.under_way == 0 && entry.has_acknowledged {
            entry.floor = entry.group;
        }
    }

    /// The oldest version that a read sent now may answer with.
    pub fn floor(&self, record: u64) -> u32 {
        self.entries[record as usize].floor
    }

    /// Whether a read that was sent when the floor was `floor` may answer with this version now.
    pub fn allows(&self, record: u64, floor: u32, version: Option<u32>) -> bool {
        match (version, self.entries.get(record as usize)) {
            (None, _) => floor == 0,
            (Some(version), Some(entry)) => version >= floor.max(1) && version <= entry.newest,
            (Some(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.add_record(), 0);
        ledger
    }

    #[test]
    fn an_acknowledged_put_rules_the_older_ones_out() {
        let mut ledger = ledger();
        assert!(ledger.allows(0, ledger.floor(0), None));
        assert_eq!(ledger.put_sent(0), 1);
        assert!(ledger.allows(0, 0, None) && ledger.allows(0, 0, Some(1)));
        ledger.put_acknowledged(0);
        assert_eq!(ledger.put_sent(0), 2);
        let floor = ledger.floor(0);
        assert!(ledger.allows(0, floor, Some(1)) && ledger.allows(0, floor, Some(2)));
        assert!(!ledger.allows(0, floor, None), "lost");
        ledger.put_acknowledged(0);
        let floor = ledger.floor(0);
        assert!(!ledger.allows(0, floor, Some(1)), "stale");
        assert!(!ledger.allows(0, floor, Some(3)), "invented");
    }

    #[test]
    fn of_overlapping_puts_any_may_be_the_last() {
        let mut ledger = ledger();
        ledger.put_sent(0);
        ledger.put_acknowledged(0);
        ledger.put_sent(0);
        ledger.put_sent(0);
        ledger.put_acknowledged(0);
        assert_eq!(ledger.floor(0), 1, "the group is still open");
        ledger.put_acknowledged(0);
        let floor = ledger.floor(0);
        assert!(ledger.allows(0, floor, Some(2)) && ledger.allows(0, floor, Some(3)));
        assert!(!ledger.allows(0, floor, Some(1)));
    }

    #[test]
    fn a_refused_put_closes_its_group_and_raises_nothing() {
        let mut ledger = ledger();
        ledger.put_sent(0);
        ledger.put_acknowledged(0);
        ledger.put_sent(0);
        ledger.put_refused(0);
        assert_eq!(ledger.floor(0), 1, "nothing was written since");
        assert!(ledger.allows(0, 1, Some(1)));
        assert_eq!(ledger.put_sent(0), 3);
        ledger.put_acknowledged(0);
        assert_eq!(ledger.floor(0), 3, "what comes after a refusal rules out again");
    }

    #[test]
    fn of_a_group_with_refused_puts_the_acknowledged_count() {
        for refused_first in [true, false] {
            let mut ledger = ledger();
            ledger.put_sent(0);
            ledger.put_sent(0);
            match refused_first {
                true => ledger.put_refused(0),
                false => ledger.put_acknowledged(0),
            }
            assert_eq!(ledger.floor(0), 0, "the group is still open");
            match refused_first {
                true => ledger.put_acknowledged(0),
                false => ledger.put_refused(0),
            }
            assert_eq!(ledger.floor(0), 1);
            // Another group, without any.
            ledger.put_sent(0);
            ledger.put_refused(0);
            assert_eq!(ledger.floor(0), 1);
        }
    }

    #[test]
    fn a_put_of_unknown_outcome_rules_nothing_out() {
        let mut ledger = ledger();
        ledger.put_sent(0);
        ledger.put_sent(0);
        ledger.put_acknowledged(0);
        assert!(ledger.allows(0, ledger.floor(0), None));
    }
}
