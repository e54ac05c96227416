//! The addresses of a prefix that guests can have by lease, and which is whose.
//!
//! Of the 64 bits behind the prefix the first 16 are zero in an address of the pool, so that it never is one that a
//! guest configured itself: those come from a MAC address (`ff:fe` in the middle, RFC 4291 appendix A) or are random
//! (RFC 7217, RFC 8981). It is never the subnet's router anycast address (`::`), the gateway or the host alias; the
//! identifiers that RFC 5453 reserves begin otherwise.

use std::hash::Hasher;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use atoll_wire::Mac;
use siphasher::sip::SipHasher13;

use crate::services::leases::{Owner, Pool};
use crate::{Prefix, Subnet};

/// Identifiers of the pool have no more bits than this.
const BITS: u32 = 48;
/// Where addresses are that go with no IPv4 address: `::d:0:0`, 32 bits of them.
const HASHED: u64 = 0xd << 32;
/// Addresses to look at for one that was never used; among 2^32 the first is free nearly always.
const PROBES: u32 = 64;
/// RFC 5453: the block of IANA's Ethernet addresses, and the anycast addresses of RFC 2526.
const RESERVED: [RangeInclusive<u64>; 2] = [
    0x0200_5eff_fe00_0000..=0x0200_5eff_fe00_5212,
    0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff,
];

/// One identity association of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ia {
    /// The station.
    pub(super) mac: Mac,
    /// Its number there.
    pub(super) iaid: u32,
}

impl Owner for Ia {
    fn mac(self) -> Mac {
        self.mac
    }

    fn all_of(mac: Mac) -> RangeInclusive<Self> {
        Self { mac, iaid: 0 }..=Self { mac, iaid: u32::MAX }
    }
}

/// The pool; empty without a prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct PrefixPool {
    prefix: Option<Prefix>,
}

impl PrefixPool {
    pub(super) fn new(prefix: Option<Prefix>) -> Self {
        Self { prefix }
    }
}

impl Pool for PrefixPool {
    type Address = Ipv6Addr;
    type Owner = Ia;

    fn size(&self) -> usize {
        let size = 1_usize.checked_shl(BITS).unwrap_or(usize::MAX);
        self.prefix.map_or(0, |_| size)
    }

    fn contains(&self, address: Ipv6Addr) -> bool {
        self.prefix.is_some_and(|prefix| {
            is_guest_address(prefix, address) && identifier(address).checked_shr(BITS) == Some(0)
        })
    }

    fn candidates(&self, owner: Ia) -> impl Iterator<Item = Ipv6Addr> {
        let address = move |prefix: Prefix, attempt| {
            // Keys of no secrecy: the address must be the same in every run.
            let mut hasher = SipHasher13::new();
            hasher.write(&owner.mac.0);
            hasher.write_u32(owner.iaid);
            hasher.write_u32(attempt);
            prefix.with(HASHED | hasher.finish() >> 32)
        };
        let of = move |prefix| (0..PROBES).map(move |attempt| address(prefix, attempt));
        self.prefix.into_iter().flat_map(of)
    }
}

/// Whether a guest can have the address at all.
pub(super) fn is_guest_address(prefix: Prefix, address: Ipv6Addr) -> bool {
    let own = [prefix.address, prefix.gateway(), prefix.host_alias()];
    let is_reserved = RESERVED.iter().any(|block| block.contains(&identifier(address)));
    prefix.contains(address) && !own.contains(&address) && !is_reserved
}

/// The address that people expect beside an IPv4 address of the subnet: the octets behind the whole octets of the
/// subnet's prefix, each a group that reads the same.
pub(super) fn counterpart(prefix: Prefix, subnet: Subnet, address4: Ipv4Addr) -> Option<Ipv6Addr> {
    let octets = address4.octets();
    let own = octets.get(usize::from(subnet.prefix_len / 8)..)?;
    let identifier = own.iter().fold(0, |sum, octet| sum << 16 | as_written(*octet));
    let address = prefix.with(identifier);
    PrefixPool::new(Some(prefix)).contains(address).then_some(address)
}

/// The group that looks like the octet: 254 gives 0x254.
fn as_written(octet: u8) -> u64 {
    let octet = u64::from(octet);
    ((octet / 100) << 8) | ((octet / 10 % 10) << 4) | (octet % 10)
}

fn identifier(address: Ipv6Addr) -> u64 {
    u64::try_from(address.to_bits() & u128::from(u64::MAX)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: Prefix = Prefix {
        address: Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0),
    };

    #[test]
    fn the_address_beside_an_ipv4_address_reads_the_same() {
        let beside = |address: [u8; 4], network: [u8; 4], prefix_len| {
            let subnet = Subnet {
                address: network.into(),
                prefix_len,
            };
            counterpart(PREFIX, subnet, address.into()).map(|address| address.to_string())
        };
        let cases = [
            ([10, 77, 0, 10], [10, 77, 0, 0], 24, Some("fd77:77::10")),
            ([10, 77, 0, 199], [10, 77, 0, 192], 26, Some("fd77:77::199")),
            ([10, 77, 3, 10], [10, 77, 0, 0], 16, Some("fd77:77::3:10")),
            ([10, 77, 19, 0], [10, 77, 16, 0], 20, Some("fd77:77::19:0")),
            ([10, 255, 0, 7], [10, 0, 0, 0], 8, Some("fd77:77::255:0:7")),
            ([10, 77, 0, 1], [10, 77, 0, 0], 24, None),
        ];
        for (address, network, prefix_len, expected) in cases {
            assert_eq!(beside(address, network, prefix_len).as_deref(), expected);
        }
    }

    #[test]
    fn the_pool_holds_nothing_that_is_ours_or_that_guests_configure_themselves() {
        let pool = PrefixPool::new(Some(PREFIX));
        let outside = [
            "fd77:77::",
            "fd77:77::1",
            "fd77:77::fe",
            "fd77:77::5054:ff:fe00:1",
            "fd77:77::1:0:0:1",
            "fd77:77::fdff:ffff:ffff:ff80",
            "fd77:77:0:1::10",
            "fe80::10",
        ];
        for address in outside {
            assert!(!pool.contains(address.parse().unwrap()), "{address}");
        }
        for address in ["fd77:77::2", "fd77:77::254", "fd77:77::d:1234:5678"] {
            assert!(pool.contains(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_reserved_identifier_is_not_for_guests() {
        for address in ["fd77:77::200:5eff:fe00:5212", "fd77:77::fdff:ffff:ffff:fffe"] {
            assert!(!is_guest_address(PREFIX, address.parse().unwrap()), "{address}");
        }
        let own = "fd77:77::200:5eff:fe00:5213";
        assert!(is_guest_address(PREFIX, own.parse().unwrap()));
    }
}
