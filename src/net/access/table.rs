//! The keys in force, as a core looks them up.

use std::sync::Arc;

use super::key::{KeyId, Presented, SecretHash};
use super::key_file::ApiKey;
use super::limiter::Limiters;

/// A key in force, with what its holder has used up of its limits.
#[derive(Debug)]
pub struct Holder {
    pub key: ApiKey,
    pub limiters: Arc<Limiters>,
}

/// Immutable: another set of keys is another table.
#[derive(Debug, Default)]
pub struct Table {
    /// False: nobody needs a key. True stays true, also when the last key is gone.
    needs_keys: bool,
    /// In the order of their ids.
    holders: Vec<Arc<Holder>>,
}

impl Table {
    /// The next table. Keys that stay keep what they have used up of their limits.
    pub fn after(&self, keys: Vec<ApiKey>) -> Table {
        // A server whose last key was revoked must not let everybody in.
        let needs_keys = self.needs_keys || !keys.is_empty();
        let mut holders: Vec<Arc<Holder>> = keys
            .into_iter()
            .map(|key| {
                let limiters = self.by_id(key.id).map(|holder| holder.limiters.clone());
                Arc::new(Holder { key, limiters: limiters.unwrap_or_default() })
            })
            .collect();
        holders.sort_by_key(|holder| holder.key.id);
        Table { needs_keys, holders }
    }

    pub fn needs_keys(&self) -> bool {
        self.needs_keys
    }

    pub fn len(&self) -> usize {
        self.holders.len()
    }

    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    fn by_id(&self, id: KeyId) -> Option<&Arc<Holder>> {
        let at = self.holders.binary_search_by_key(&id, |holder| holder.key.id).ok()?;
        Some(&self.holders[at])
    }

    /// Whose key it is. Takes as long for every secret, and for an unknown id as for a known one.
    pub fn find(&self, presented: &Presented<'_>) -> Option<&Arc<Holder>> {
        let holder = self.by_id(presented.id);
        let wanted = holder.map_or(&SecretHash::DUMMY, |holder| &holder.key.hash);
        let is_same = bool::from(presented.hash().ct_eq(wanted));
        holder.filter(|_| is_same)
    }

    /// The same key in this table, unless it is gone or means something else now.
    pub fn same_as(&self, holder: &Holder) -> Option<&Arc<Holder>> {
        self.by_id(holder.key.id).filter(|now| {
            let is_same = bool::from(now.key.hash.ct_eq(&holder.key.hash));
            is_same && now.key.role == holder.key.role && now.key.scope == holder.key.scope
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::access::key::{NewKey, RANDOM_BYTES};
    use crate::net::access::role::Role;
    use crate::net::access::scope::Scope;
    use crate::types::WallMs;
    use std::time::{Duration, Instant};

    fn made(seed: u8) -> (NewKey, ApiKey) {
        let new = NewKey::from_random([seed; RANDOM_BYTES]);
        let key = ApiKey {
            id: new.id,
            name: format!("k{seed}"),
            role: Role::Read,
            scope: Scope::Everything,
            created: WallMs(0),
            hash: new.hash,
        };
        (new, key)
    }

    fn found<'a>(table: &'a Table, text: &str) -> Option<&'a str> {
        table.find(&Presented::parse(text).unwrap()).map(|holder| holder.key.name.as_str())
    }

    #[test]
    fn only_the_whole_key_is_found() {
        let keys: Vec<_> = [7, 3, 5].map(made).into_iter().collect();
        let table = Table::default().after(keys.iter().map(|(_, key)| key.clone()).collect());
        for (new, key) in &keys {
            assert_eq!(found(&table, new.reveal()), Some(key.name.as_str()));
        }
        let (three, five) = (keys[1].0.reveal(), keys[2].0.reveal());
        let mixed = format!("{}{}", &three[..22], &five[22..]);
        assert_eq!(found(&table, &mixed), None);
        assert_eq!(found(&table, made(9).0.reveal()), None);
    }

    #[test]
    fn a_server_with_keys_never_opens_again() {
        let empty = Table::default();
        assert!(!empty.needs_keys() && !empty.after(Vec::new()).needs_keys());
        let keyed = empty.after(vec![made(1).1]);
        assert!(keyed.needs_keys());
        let emptied = keyed.after(Vec::new());
        assert!(emptied.needs_keys() && emptied.is_empty());
        assert_eq!(found(&emptied, made(1).0.reveal()), None);
    }

    #[test]
    fn keys_that_stay_keep_their_debts_and_changed_ones_are_seen() {
        let before = Table::default().after(vec![made(1).1, made(2).1]);
        let (stays, goes) = (before.holders[0].clone(), before.holders[1].clone());
        let after = before.after(vec![stays.key.clone()]);
        assert!(Arc::ptr_eq(&stays.limiters, &after.holders[0].limiters));
        assert!(after.same_as(&stays).is_some() && after.same_as(&goes).is_none());
        for change in [
            ApiKey { role: Role::Write, ..stays.key.clone() },
            ApiKey { scope: Scope::of(["a".to_owned()]), ..stays.key.clone() },
            ApiKey { hash: made(3).1.hash, ..stays.key.clone() },
        ] {
            assert!(before.after(vec![change]).same_as(&stays).is_none());
        }
    }

    /// `cargo test --lib net::access::table -- --ignored --nocapture`, on a quiet machine.
    #[test]
    #[ignore = "measures time, which other work on the machine disturbs"]
    fn how_much_of_a_wrong_key_is_right_does_not_show() {
        let (new, key) = made(1);
        let table = Table::default().after(vec![key]);
        let text = new.reveal();
        let wrong_from = |at: usize| {
            let flipped = |byte: u8| if byte == b'A' { 'B' } else { 'A' };
            let rest: String = text.bytes().skip(at).map(flipped).collect();
            format!("{}{rest}", &text[..at])
        };
        let unknown = format!("kyro_ffffffffffffffff{}", &text[21..]);
        let candidates = [wrong_from(22), wrong_from(43), wrong_from(64), unknown, text.to_owned()];
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); candidates.len()];
        for _ in 0..2_000 {
            for (candidate, times) in candidates.iter().zip(&mut times) {
                let began = Instant::now();
                for _ in 0..100 {
                    let presented = Presented::parse(std::hint::black_box(candidate)).unwrap();
                    std::hint::black_box(table.find(&presented).is_some());
                }
                times.push(began.elapsed() / 100);
            }
        }
        let medians: Vec<Duration> = times
            .iter_mut()
            .map(|times| {
                times.sort();
                times[times.len() / 2]
            })
            .collect();
        println!("nothing right, half, all but one, unknown id, right: {medians:?}");
        let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
        assert!(*most < *least + *least / 20 + Duration::from_nanos(2), "{medians:?}");
    }
}
