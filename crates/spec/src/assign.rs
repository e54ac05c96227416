//! MACs and addresses for NICs that the file gives none.
//!
//! Both are keyed hashes of names, so that they are the same on every host and after every restart, and do not depend
//! on the order of boot. Only on a LAN, which other hosts may put the same cluster on, a MAC follows from the host as well. Where the place is taken the next free one is. NICs are served in the order of the file after
//! all given values: a machine added at the end therefore never moves another, and one added elsewhere moves
//! another only if their hashes meet.

use std::collections::HashSet;
use std::hash::Hasher;
use std::net::Ipv4Addr;

use siphasher::sip::SipHasher24;

use crate::mac::Mac;
use crate::name::Name;
use crate::subnet::Subnet;

/// Keys tell the two uses apart; changing one moves every machine of every user.
const MAC_KEY: (u64, u64) = (0x6174_6f6c_6c00_6d61, 1);
const ADDRESS_KEY: (u64, u64) = (0x6174_6f6c_6c00_6970, 1);

/// MACs at hand in QEMU's own prefix.
const MACS: u64 = 1 << 24;

/// A free MAC for NIC `index` of the machine that these words name, which it also takes; `None` when all are taken.
pub(crate) fn take_mac(words: &[&str], index: usize, taken: &mut HashSet<Mac>) -> Option<Mac> {
    let start = hash(MAC_KEY, words, index);
    let candidates = (0..MACS).map(|step| {
        let [.., a, b, c] = (start.wrapping_add(step) % MACS).to_be_bytes();
        Mac::qemu([a, b, c])
    });
    take_first_free(candidates, taken)
}

/// A free address for NIC `index` of a machine, which it also takes; `None` when the subnet is full.
pub(crate) fn take_address(
    subnet: Subnet,
    machine: &Name,
    index: usize,
    taken: &mut HashSet<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let start = hash(ADDRESS_KEY, &[machine.as_str()], index);
    let count = subnet.guest_count();
    let candidates = (0..count).filter_map(|step| {
        let place = start.wrapping_add(u64::from(step)) % u64::from(count);
        subnet.guest(u32::try_from(place).ok()?)
    });
    take_first_free(candidates, taken)
}

fn take_first_free<T: Copy + Eq + std::hash::Hash>(
    mut candidates: impl Iterator<Item = T>,
    taken: &mut HashSet<T>,
) -> Option<T> {
    candidates.find(|candidate| taken.insert(*candidate))
}

fn hash(key: (u64, u64), words: &[&str], index: usize) -> u64 {
    let mut hasher = SipHasher24::new_with_keys(key.0, key.1);
    for word in words {
        hasher.write(word.as_bytes());
        // No name holds it, so that "ab" + "c" is not "a" + "bc".
        hasher.write(&[0xff]);
    }
    hasher.write(index.to_string().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_derivation_never_changes() {
        let a = "a".parse().unwrap();
        let mac = take_mac(&["demo", "a"], 0, &mut HashSet::new()).unwrap();
        let address = take_address("10.77.0.0/24".parse().unwrap(), &a, 0, &mut HashSet::new()).unwrap();
        insta::assert_snapshot!(format!("{mac} {address}"), @"52:54:00:4a:cd:f0 10.77.0.142");
    }

    #[test]
    fn a_full_subnet_has_no_address_left() {
        let subnet: Subnet = "10.0.0.0/29".parse().unwrap();
        let mut taken = HashSet::new();
        for name in ["a", "b", "c", "d"] {
            let address = take_address(subnet, &name.parse().unwrap(), 0, &mut taken).unwrap();
            assert_eq!(subnet.reserved_for(address), None);
        }
        assert_eq!(take_address(subnet, &"e".parse().unwrap(), 0, &mut taken), None);
    }
}
