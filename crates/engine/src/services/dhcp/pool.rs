//! The addresses of a subnet that guests can have.

use std::hash::Hasher;
use std::net::Ipv4Addr;

use atoll_wire::Mac;
use siphasher::sip::SipHasher13;

use crate::services::leases::{Pool, Wish};
use crate::{PortId, Subnet};

/// Addresses to look at for one that was never used. Enough for all of a /22.
const PROBES: u32 = 1024;

/// All between gateway and host alias. The last of them is where the host's own link looks first, so it is given when no other is left, or
/// when a client asks for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SubnetPool {
    first: u32,
    size: u32,
}

impl SubnetPool {
    pub(super) fn new(subnet: Subnet) -> Self {
        let first = subnet.gateway().to_bits().saturating_add(1);
        let size = subnet.host_alias().to_bits().saturating_sub(first);
        Self { first, size }
    }
}

impl Pool for SubnetPool {
    type Address = Ipv4Addr;
    type Owner = Mac;

    fn size(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX)
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        address
            .to_bits()
            .checked_sub(self.first)
            .is_some_and(|index| index < self.size)
    }

    /// From a place that the MAC address says, one after the other.
    fn candidates(&self, mac: Mac) -> impl Iterator<Item = Ipv4Addr> {
        let Self { first, size } = *self;
        // Keys of no secrecy: the place must be the same in every run.
        let mut hasher = SipHasher13::new();
        hasher.write(&mac.0);
        let start = hasher.finish().checked_rem(u64::from(size)).unwrap_or(0);
        let start = u32::try_from(start).unwrap_or(0);
        let last = Ipv4Addr::from_bits(first.saturating_add(size).saturating_sub(1));
        let all = (0..size.min(PROBES)).map(move |step| Ipv4Addr::from_bits(first + (start + step) % size));
        let is_small = (1..=PROBES).contains(&size);
        all.filter(move |address| *address != last)
            .chain(is_small.then_some(last))
    }
}

/// What a client asks for.
pub(super) fn wish(owner: Mac, via: PortId, requested: Option<Ipv4Addr>) -> Wish<SubnetPool> {
    Wish {
        owner,
        via,
        preferred: None,
        requested,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_a_candidate_and_the_last_one_comes_last() {
        for (prefix_len, size) in [(24, 252), (29, 4), (30, 0)] {
            let pool = SubnetPool::new(Subnet {
                address: Ipv4Addr::new(10, 77, 0, 0),
                prefix_len,
            });
            for mac in 0..20 {
                let mut list: Vec<_> = pool.candidates(Mac([2, 0, 0, 0, 0, mac])).collect();
                let last = list.last().copied();
                let of_pool = Ipv4Addr::from_bits(pool.first + pool.size.saturating_sub(1));
                assert_eq!(last, (size > 0).then_some(of_pool));
                list.sort_unstable();
                list.dedup();
                assert_eq!(list.len(), size);
            }
        }
    }
}
