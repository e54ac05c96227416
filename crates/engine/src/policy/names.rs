//! What our DNS told the guest of one port: which addresses belong to names that rules speak of.
//!
//! An entry is an address and the number of the rule whose name was asked for. It lives as long as its record said, [`TTL_MAX`] at most,
//! and [`GRACE`] more: programs look a name up and then take their time to connect, and resolvers of their own keep it. What is told
//! again lives longer. A flow that was opened goes on when its entry is over.
//!
//! Only names that a rule matches are kept, [`MOST`] entries for each port: a guest that has names without end to ask for (below
//! a zone of its own that a rule allows) displaces its own, the oldest used first. Another guest's answers are none of this one's.

use std::net::IpAddr;
use std::time::Duration;

use lru::LruCache;

use crate::Instant;
use crate::rng::KeyedHash;

/// Entries of one port.
pub(super) const MOST: usize = 4096;
/// The longest that a record is believed, whatever it says.
pub(super) const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Beyond what a record says.
pub(super) const GRACE: Duration = Duration::from_secs(120);

/// What one guest was told.
#[derive(Debug)]
pub(super) struct Told {
    entries: LruCache<(IpAddr, usize), Instant, KeyedHash>,
}

impl Told {
    pub(super) fn new(hash: KeyedHash) -> Self {
        Self {
            entries: LruCache::unbounded_with_hasher(hash),
        }
    }

    /// An answer for a name of the rule with this number.
    pub(super) fn note(&mut self, now: Instant, rule: usize, (address, ttl): (IpAddr, Duration)) {
        let until = now + ttl.min(TTL_MAX) + GRACE;
        let earlier = self.entries.peek(&(address, rule)).copied();
        let until = earlier.map_or(until, |earlier| earlier.max(until));
        self.entries.put((address, rule), until);
        if self.entries.len() > MOST {
            self.entries.pop_lru();
        }
    }

    /// Whether the address is one of the rule's names'.
    pub(super) fn has(&self, now: Instant, rule: usize, address: IpAddr) -> bool {
        self.entries
            .peek(&(address, rule))
            .is_some_and(|until| *until > now)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    fn told() -> Told {
        Told::new(Rng::new([1; 32]).keyed_hash())
    }

    fn after(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn an_answer_holds_for_its_time_and_the_grace() {
        let mut told = told();
        told.note(after(0), 3, (ADDRESS, Duration::from_secs(60)));
        assert!(told.has(after(179), 3, ADDRESS));
        assert!(!told.has(after(180), 3, ADDRESS));
        assert!(!told.has(after(0), 4, ADDRESS), "another rule's name");
    }

    #[test]
    fn an_answer_that_is_told_again_with_less_time_takes_none() {
        let mut told = told();
        told.note(after(0), 0, (ADDRESS, Duration::from_secs(600)));
        told.note(after(1), 0, (ADDRESS, Duration::ZERO));
        assert!(told.has(after(700), 0, ADDRESS));
    }

    #[test]
    fn a_record_that_lasts_for_ever_lasts_a_day() {
        let mut told = told();
        told.note(after(0), 0, (ADDRESS, Duration::from_secs(u32::MAX.into())));
        assert!(!told.has(Instant::ZERO + TTL_MAX + GRACE, 0, ADDRESS));
    }

    #[test]
    fn a_guest_that_asks_without_end_displaces_its_own() {
        let mut told = told();
        for number in 0..u32::try_from(MOST).unwrap() + 10 {
            let address = std::net::Ipv4Addr::from_bits(number);
            told.note(after(0), 0, (address.into(), Duration::from_secs(60)));
        }
        assert_eq!(told.len(), MOST);
        assert!(!told.has(after(0), 0, std::net::Ipv4Addr::from_bits(0).into()));
    }
}
