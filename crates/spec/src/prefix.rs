//! An IPv6 network as `fd77:77::/64`, and the addresses that Atoll itself takes in it.
//!
//! Every network has 64 bits of prefix, for guests make the rest themselves (RFC 4862). The gateway is `::1`, the host
//! alias `::fe`. A machine's own address is made from its MAC (RFC 4291, appendix A), which is what most guests do by
//! themselves; it meets neither of the two, having `ff:fe` in its middle.
//!
//! A network that is given none gets a unique local one (RFC 4193) whose 40 bits of global ID and 16 bits of subnet ID are
//! a keyed hash of what names the network: the same at each start, on every host.

use std::fmt;
use std::hash::Hasher;
use std::net::Ipv6Addr;
use std::str::FromStr;

use siphasher::sip::SipHasher24;

use crate::mac::Mac;
use crate::text::{Hint, text_type};

/// The only prefix length that guests can make addresses in.
const LENGTH: u8 = 64;

/// Changing it moves the prefix of every network that is given none.
const KEY: (u64, u64) = (0x6174_6f6c_6c00_7631, 1);

/// fd00::/8, the unique local addresses whose global ID nobody hands out.
const UNIQUE_LOCAL: u64 = 0xfd00_0000_0000_0000;

/// An IPv6 network with a prefix of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(u64);

/// Why a text is no prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum PrefixError {
    #[error("{0:?} is no IPv6 prefix")]
    Syntax(String),
    #[error("{0:?} is no IPv6 prefix: the prefix length is missing")]
    NoLength(String),
    #[error("{0:?} cannot be a guest network: its prefix length is not 64")]
    Length(String),
    #[error("{text:?} is no IPv6 prefix: the address has bits beyond its prefix")]
    HostBits { text: String, prefix: Prefix },
    #[error("{text:?} cannot be a guest network: it lies in {reserved}")]
    Reserved { text: String, reserved: &'static str },
}

impl Hint for PrefixError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(_) => "write an IPv6 network like fd77:77::/64, or off for none".to_owned(),
            Self::NoLength(text) => format!("did you mean \"{text}/64\"?"),
            Self::Length(_) => {
                "guests make the last 64 bits of their addresses themselves: use a /64".to_owned()
            }
            Self::HostBits { prefix, .. } => format!("did you mean \"{prefix}\"?"),
            Self::Reserved { .. } => "choose a /64 of fd00::/8, such as fd77:77::/64".to_owned(),
        })
    }
}

impl Prefix {
    /// The unique local prefix of the network that these words name; `attempt` makes another one where it is taken.
    pub fn derived(words: &[&str], attempt: u32) -> Self {
        let mut hasher = SipHasher24::new_with_keys(KEY.0, KEY.1);
        for word in words {
            hasher.write(word.as_bytes());
            // No name holds it, so that "ab" + "c" is not "a" + "bc".
            hasher.write(&[0xff]);
        }
        hasher.write(&attempt.to_be_bytes());
        Self(UNIQUE_LOCAL | hasher.finish() >> 8)
    }

    /// The network's own address, all bits behind the prefix zero.
    pub fn network(self) -> Ipv6Addr {
        self.address(0)
    }

    /// The prefix length: 64.
    pub const fn length(self) -> u8 {
        LENGTH
    }

    /// The network's gateway.
    pub fn gateway(self) -> Ipv6Addr {
        self.address(1)
    }

    /// Where guests reach the host's loopback.
    pub fn host_alias(self) -> Ipv6Addr {
        self.address(0xfe)
    }

    /// The address that the NIC with this MAC makes for itself (modified EUI-64).
    pub fn guest(self, mac: Mac) -> Ipv6Addr {
        let [a, b, c, d, e, f] = mac.octets();
        self.address(u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]))
    }

    /// Whether the address lies in this network.
    pub fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() >> LENGTH == u128::from(self.0)
    }

    /// What the address is taken for, if a guest cannot have it; addresses outside the network are not asked about.
    pub fn reserved_for(self, address: Ipv6Addr) -> Option<&'static str> {
        // The last 128 addresses are anycast (RFC 2526).
        const ANYCAST: u128 = 0xfdff_ffff_ffff_ff80;
        let identifier = address.to_bits() & u128::from(u64::MAX);
        if address == self.network() {
            Some("address of all routers")
        } else if address == self.gateway() {
            Some("gateway")
        } else if address == self.host_alias() {
            Some("host alias")
        } else if identifier & !0x7f == ANYCAST {
            Some("reserved anycast address")
        } else {
            None
        }
    }

    fn address(self, identifier: u64) -> Ipv6Addr {
        Ipv6Addr::from_bits(u128::from(self.0) << LENGTH | u128::from(identifier))
    }
}

/// The block that never carries ordinary hosts of a network of its own (RFC 6890, RFC 4291, 2.5) and holds this address.
fn reserved_block(address: Ipv6Addr) -> Option<&'static str> {
    const BLOCKS: [(u16, u16, &str); 6] = [
        (0xff00, 8, "ff00::/8 (multicast)"),
        (0xfe80, 10, "fe80::/10 (link-local)"),
        (0xfec0, 10, "fec0::/10 (site-local, deprecated)"),
        (0x2002, 16, "2002::/16 (6to4)"),
        (0x0100, 16, "100::/16 (discarded)"),
        (0x0064, 16, "64::/16 (translated IPv4)"),
    ];
    let [first, ..] = address.segments();
    if address == Ipv6Addr::LOCALHOST {
        return Some("::1/128 (loopback)");
    }
    if address.to_ipv4_mapped().is_some() {
        return Some("::ffff:0:0/96 (IPv4-mapped)");
    }
    if first < 0x0064 {
        return Some("::/16 (unspecified, loopback and IPv4-mapped)");
    }
    let block = BLOCKS
        .iter()
        .find(|(block, length, _)| first & (u16::MAX << (16 - length)) == *block);
    block.map(|(.., name)| *name)
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let syntax = || PrefixError::Syntax(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: Ipv6Addr = address.parse().map_err(|_| syntax())?;
        if let Some(reserved) = reserved_block(address) {
            return Err(PrefixError::Reserved {
                text: text.to_owned(),
                reserved,
            });
        }
        let length = length.ok_or_else(|| PrefixError::NoLength(text.to_owned()))?;
        if length.is_empty() || !length.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(syntax());
        }
        if length.parse() != Ok(LENGTH) {
            return Err(PrefixError::Length(text.to_owned()));
        }
        let [a, b, c, d, ..] = address.segments();
        let prefix = Self(
            [a, b, c, d]
                .iter()
                .fold(0, |bits, part| bits << 16 | u64::from(*part)),
        );
        if prefix.network() == address {
            Ok(prefix)
        } else {
            Err(PrefixError::HostBits {
                text: text.to_owned(),
                prefix,
            })
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{LENGTH}", self.network())
    }
}

text_type!(
    Prefix,
    expected: "an IPv6 network like fd77:77::/64",
    pattern: "^[0-9a-fA-F:]+/64$",
    about: "An IPv6 network, /64. Its ::1 is the gateway, its ::fe the host alias."
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix() -> Prefix {
        "fd77:77::/64".parse().unwrap()
    }

    fn refused(text: &str) -> String {
        let error = text.parse::<Prefix>().unwrap_err();
        format!("{error} ({})", error.hint().unwrap())
    }

    #[test]
    fn the_addresses_of_a_prefix() {
        let mac = Mac::qemu([0x12, 0x34, 0x56]);
        let addresses = [prefix().gateway(), prefix().host_alias(), prefix().guest(mac)];
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(
            addresses,
            ["fd77:77::1", "fd77:77::fe", "fd77:77::5054:ff:fe12:3456"]
        );
    }

    #[test]
    fn the_derivation_never_changes() {
        insta::assert_snapshot!(Prefix::derived(&["demo", "lan"], 0), @"fd00:478f:bfcf:ec9f::/64");
        assert_ne!(
            Prefix::derived(&["demo", "lan"], 0),
            Prefix::derived(&["demo", "lan"], 1)
        );
        assert_ne!(
            Prefix::derived(&["demo", "lan"], 0),
            Prefix::derived(&["demol", "an"], 0)
        );
    }

    #[test]
    fn what_can_be_no_guest_network_is_refused_with_the_reason() {
        insta::assert_snapshot!(refused("fd77::/48"), @r#""fd77::/48" cannot be a guest network: its prefix length is not 64 (guests make the last 64 bits of their addresses themselves: use a /64)"#);
        insta::assert_snapshot!(refused("fd77:77::"), @r#""fd77:77::" is no IPv6 prefix: the prefix length is missing (did you mean "fd77:77::/64"?)"#);
        insta::assert_snapshot!(refused("fd77:77::5/64"), @r#""fd77:77::5/64" is no IPv6 prefix: the address has bits beyond its prefix (did you mean "fd77:77::/64"?)"#);
        insta::assert_snapshot!(refused("fd77:77::/+64"), @r#""fd77:77::/+64" is no IPv6 prefix (write an IPv6 network like fd77:77::/64, or off for none)"#);
        insta::assert_snapshot!(refused("10.77.0.0/24"), @r#""10.77.0.0/24" is no IPv6 prefix (write an IPv6 network like fd77:77::/64, or off for none)"#);
        insta::assert_snapshot!(refused("ff02::/64"), @r#""ff02::/64" cannot be a guest network: it lies in ff00::/8 (multicast) (choose a /64 of fd00::/8, such as fd77:77::/64)"#);
        insta::assert_snapshot!(refused("fe80::/64"), @r#""fe80::/64" cannot be a guest network: it lies in fe80::/10 (link-local) (choose a /64 of fd00::/8, such as fd77:77::/64)"#);
        insta::assert_snapshot!(refused("::1/128"), @r#""::1/128" cannot be a guest network: it lies in ::1/128 (loopback) (choose a /64 of fd00::/8, such as fd77:77::/64)"#);
        insta::assert_snapshot!(refused("::/64"), @r#""::/64" cannot be a guest network: it lies in ::/16 (unspecified, loopback and IPv4-mapped) (choose a /64 of fd00::/8, such as fd77:77::/64)"#);
        insta::assert_snapshot!(refused("::ffff:0:0/96"), @r#""::ffff:0:0/96" cannot be a guest network: it lies in ::ffff:0:0/96 (IPv4-mapped) (choose a /64 of fd00::/8, such as fd77:77::/64)"#);
        insta::assert_snapshot!(refused("::ffff:10.77.0.1/64"), @r#""::ffff:10.77.0.1/64" cannot be a guest network: it lies in ::ffff:0:0/96 (IPv4-mapped) (choose a /64 of fd00::/8, such as fd77:77::/64)"#);
        insta::assert_snapshot!(refused("64:ff9b::/64"), @r#""64:ff9b::/64" cannot be a guest network: it lies in 64::/16 (translated IPv4) (choose a /64 of fd00::/8, such as fd77:77::/64)"#);
    }

    #[test]
    fn a_guest_cannot_have_what_routers_listen_at() {
        for (address, use_) in [
            ("fd77:77::", Some("address of all routers")),
            ("fd77:77::1", Some("gateway")),
            ("fd77:77::fe", Some("host alias")),
            ("fd77:77::fdff:ffff:ffff:ff80", Some("reserved anycast address")),
            ("fd77:77::2", None),
        ] {
            assert_eq!(prefix().reserved_for(address.parse().unwrap()), use_, "{address}");
        }
    }

    proptest! {
        #[test]
        fn what_is_derived_is_a_unique_local_prefix(words in prop::collection::vec("[a-z]{1,8}", 1..4), attempt in 0..9_u32) {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let prefix = Prefix::derived(&words, attempt);
            prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
            prop_assert_eq!(prefix.network().octets()[0], 0xfd);
        }

        #[test]
        fn what_a_mac_makes_is_a_guests(octets in any::<[u8; 6]>()) {
            let [_, b, c, d, e, f] = octets;
            let text = format!("52:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
            let address = prefix().guest(text.parse().unwrap());
            prop_assert!(prefix().contains(address) && prefix().reserved_for(address).is_none());
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:./]{0,24}|\\PC*") {
            if let Ok(prefix) = text.parse::<Prefix>() {
                prop_assert_eq!(prefix.to_string().parse::<Prefix>(), Ok(prefix));
            }
        }
    }
}
