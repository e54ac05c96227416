//! Addresses of the host's loopback for machines, so that each has all port numbers for itself.
//!
//! On Linux all of 127.0.0.0/8 is the host's (the `local` routing table), and anybody may listen at any of it; on macOS
//! 127.0.0.1 alone is there until an administrator adds more. A machine's address is a keyed hash of what names its network and of its own
//! name, in 127.64.0.0/10: the same at each start and on every host, whatever other machines there are. Two of one network
//! that meet (4 million addresses) are told apart in the order of the file. The rest of 127.0.0.0/8 is left to those who write
//! addresses by hand: resolvers at 127.0.0.53, host names at 127.0.1.1.

use std::collections::HashSet;
use std::hash::Hasher;
use std::net::Ipv4Addr;

use siphasher::sip::SipHasher24;

/// Changing it moves every machine of every user.
const KEY: (u64, u64) = (0x6174_6f6c_6c00_6c6f, 1);
/// 127.64.0.0.
const FIRST: u32 = 0x7f40_0000;
/// Last octets in use: 0 and 255 look like a network's and a broadcast address to some programs.
const LAST_OCTETS: u32 = 254;
/// Addresses at hand.
const COUNT: u32 = (1 << 14) * LAST_OCTETS;

/// How many ports higher a machine is found where its own number is not to be had.
pub const RENUMBERED_BY: u16 = 10_000;

/// The loopback addresses of one network's guests.
#[derive(Clone, Copy, Debug)]
pub struct Loopback(u64);

impl Loopback {
    /// Those of the network that these words name.
    pub fn of(network: &[&str]) -> Self {
        let mut hasher = SipHasher24::new_with_keys(KEY.0, KEY.1);
        for word in network {
            hasher.write(word.as_bytes());
            // No name holds it, so that "ab" + "c" is not "a" + "bc".
            hasher.write(&[0xff]);
        }
        Self(hasher.finish())
    }

    /// A guest's.
    pub fn address(self, guest: &str) -> Ipv4Addr {
        nth(self.start(guest))
    }

    /// A guest's, or the next one that nobody has, which it takes; `None` when all are taken.
    pub(crate) fn take(self, guest: &str, taken: &mut HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let start = self.start(guest);
        let mut candidates = (0..COUNT).map(|step| nth((start + step) % COUNT));
        candidates.find(|candidate| taken.insert(*candidate))
    }

    fn start(self, guest: &str) -> u32 {
        let mut hasher = SipHasher24::new_with_keys(KEY.0, self.0);
        hasher.write(guest.as_bytes());
        let place = hasher.finish() % u64::from(COUNT);
        u32::try_from(place).unwrap_or(0)
    }
}

fn nth(place: u32) -> Ipv4Addr {
    let (block, last) = (place / LAST_OCTETS, place % LAST_OCTETS + 1);
    Ipv4Addr::from_bits(FIRST + (block << 8) + last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivation_never_changes() {
        let network = Loopback::of(&["demo", "default"]);
        let addresses = ["a", "b"].map(|name| network.address(name).to_string());
        insta::assert_snapshot!(addresses.join(" "), @"127.86.8.44 127.122.105.64");
    }

    #[test]
    fn every_address_is_of_its_range_and_another() {
        let places = [0, 1, LAST_OCTETS - 1, LAST_OCTETS, COUNT - 1].map(nth);
        let written = places.map(|address| address.to_string());
        let expected = [
            "127.64.0.1",
            "127.64.0.2",
            "127.64.0.254",
            "127.64.1.1",
            "127.127.255.254",
        ];
        assert_eq!(written, expected);
    }

    #[test]
    fn a_guest_whose_place_is_taken_gets_the_next_one() {
        let network = Loopback::of(&["demo"]);
        let mut taken = HashSet::new();
        let first = network.take("a", &mut taken).unwrap();
        assert_eq!(first, network.address("a"));
        let second = network.take("a", &mut taken).unwrap();
        assert_ne!(first, second);
        assert_eq!(second, nth((network.start("a") + 1) % COUNT));
    }
}
