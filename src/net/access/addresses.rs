//! The limits of callers without a key, by their address.
//!
//! Asked once a connection, which keeps what it gets. All cores share one map, so that a caller does
//! not get a share of each.
//!
//! Invariant: what is forgotten owed nothing and nobody holds it, so nobody gains by being forgotten.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limiter::Limiters;
use crate::limits;
use crate::types::Mono;

#[derive(Default)]
pub struct Addresses {
    known: Mutex<Known>,
    /// Shared by those for whom there is no place of their own.
    others: Arc<Limiters>,
}

#[derive(Default)]
struct Known {
    limiters: BTreeMap<IpAddr, Arc<Limiters>>,
    /// A look at all of them is not worth it before.
    next_sweep: Mono,
}

impl Addresses {
    pub fn limiters(&self, address: IpAddr, now: Mono) -> Arc<Limiters> {
        let address = network(address);
        let mut known = self.lock();
        if let Some(limiters) = known.limiters.get(&address) {
            return limiters.clone();
        }
        if known.limiters.len() >= limits::LIMITED_ADDRESS_ENTRIES_MAX && !known.sweep(now) {
            return self.others.clone();
        }
        known.limiters.entry(address).or_default().clone()
    }

    pub fn len(&self) -> usize {
        self.lock().limiters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // The map is whole whatever happened to a thread that held it.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// True when there is room again.
    fn sweep(&mut self, now: Mono) -> bool {
        if now < self.next_sweep {
            return false;
        }
        self.next_sweep = now.after(limits::LIMITED_ADDRESS_SWEEP);
        self.limiters.retain(|_, limiters| Arc::strong_count(limiters) > 1 || limiters.is_in_debt(now));
        self.limiters.len() < limits::LIMITED_ADDRESS_ENTRIES_MAX
    }
}

/// Of IPv6 the first 64 bits: whoever has one address has all those of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::access::limiter::{Budget, Rate};
    use std::net::Ipv4Addr;
    use std::time::Duration;

    fn v4(number: u32) -> IpAddr {
        Ipv4Addr::from(number).into()
    }

    fn ask(addresses: &Addresses, address: &str) -> Arc<Limiters> {
        addresses.limiters(address.parse().unwrap(), Mono(0))
    }

    #[test]
    fn an_address_keeps_its_limits_and_a_network_shares_them() {
        let addresses = Addresses::default();
        let same = |a, b| Arc::ptr_eq(&ask(&addresses, a), &ask(&addresses, b));
        assert!(same("10.0.0.1", "10.0.0.1") && !same("10.0.0.1", "10.0.0.2"));
        assert!(same("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(same("2001:db8::1", "2001:db8:0:0:ffff::2") && !same("2001:db8::1", "2001:db8:0:1::1"));
    }

    #[test]
    fn memory_is_bounded_and_debts_are_remembered() {
        let (addresses, rate) = (Addresses::default(), Rate::new(1, 10).unwrap());
        let full = limits::LIMITED_ADDRESS_ENTRIES_MAX as u32;
        let held = addresses.limiters(v4(0), Mono(0));
        for number in 1..full {
            let limiters = addresses.limiters(v4(number), Mono(0));
            if number.is_multiple_of(2) {
                limiters.of(Budget::Data).come(rate, Mono(0));
            }
        }
        assert_eq!(addresses.len(), full as usize);
        addresses.limiters(v4(full), Mono(0));
        let kept = full / 2 + 1;
        assert_eq!(addresses.len(), kept as usize, "those in debt, the one that is held, the new one");
        assert!(Arc::ptr_eq(&held, &addresses.limiters(v4(0), Mono(0))));
        assert!(addresses.limiters(v4(2), Mono(0)).is_in_debt(Mono(0)));
    }

    #[test]
    fn without_room_strangers_share_one_limit() {
        let (addresses, rate) = (Addresses::default(), Rate::new(1, 100).unwrap());
        let full = limits::LIMITED_ADDRESS_ENTRIES_MAX as u32;
        for number in 0..full {
            (0..100).for_each(|_| {
                addresses.limiters(v4(number), Mono(0)).of(Budget::Data).come(rate, Mono(0));
            });
        }
        let (one, other) = (addresses.limiters(v4(full), Mono(0)), addresses.limiters(v4(full + 1), Mono(0)));
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(addresses.len(), full as usize);
        let later = Mono(0).after(Duration::from_secs(101));
        addresses.limiters(v4(full), later);
        assert_eq!(addresses.len(), 1);
    }
}
