//! An IPv4 network as `a.b.c.d/prefix`, and the addresses that Atoll itself takes in it.
//!
//! The gateway is the first host address, the host alias the last one, guests have all between. That leaves at least
//! four guests in the smallest prefix taken, /29; /8 is the largest private block (RFC 1918).

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::text::{Hint, text_type};

const PREFIXES: RangeInclusive<u8> = 8..=29;

/// An IPv4 subnet whose host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

/// Why a text is no subnet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum SubnetError {
    #[error("{0:?} is no subnet")]
    Syntax(String),
    #[error("{0:?} is no subnet: the prefix length is missing")]
    NoPrefix(String),
    #[error("{0:?} has a prefix length outside /8 to /29")]
    Prefix(String),
    #[error("{text:?} is no subnet: the address has bits beyond its prefix")]
    HostBits {
        text: String,
        network: Ipv4Addr,
        prefix: u8,
    },
    #[error("{text:?} cannot be a guest network: it lies in {reserved}")]
    Reserved { text: String, reserved: &'static str },
}

impl Hint for SubnetError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(_) => "write an IPv4 network like 10.77.0.0/24, or off for none".to_owned(),
            Self::NoPrefix(text) => format!("did you mean \"{text}/24\"?"),
            Self::Prefix(_) => {
                "/29 leaves room for the gateway, the host alias and four guests; /24 is usual".to_owned()
            }
            Self::HostBits { network, prefix, .. } => format!("did you mean \"{network}/{prefix}\"?"),
            Self::Reserved { .. } => {
                "choose a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16".to_owned()
            }
        })
    }
}

impl Subnet {
    /// 10.77.`n`.0/24, taken when a file gives no subnet.
    pub(crate) fn default_nth(n: u8) -> Self {
        Self {
            network: Ipv4Addr::new(10, 77, n, 0),
            prefix: 24,
        }
    }

    /// The network's own address, all host bits zero.
    pub fn network(self) -> Ipv4Addr {
        self.network
    }

    /// The prefix length, 8 to 29.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The mask, `255.255.255.0` for a /24.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask(self.prefix))
    }

    /// The address of all hosts, all host bits one.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !mask(self.prefix))
    }

    /// The network's gateway: the first host address.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 1)
    }

    /// Where guests reach the host's loopback: the last host address, `.254` in a /24.
    pub fn host_alias(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.broadcast().to_bits() - 1)
    }

    /// Whether the address lies in this subnet, the network and broadcast addresses included.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix) == self.network.to_bits()
    }

    /// Whether any address lies in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// How many addresses guests can have.
    pub fn guest_count(self) -> u32 {
        self.host_alias().to_bits() - self.gateway().to_bits() - 1
    }

    /// The guest address with this index, counted from 0; `None` from [`Self::guest_count`] on.
    pub fn guest(self, index: u32) -> Option<Ipv4Addr> {
        (index < self.guest_count()).then(|| Ipv4Addr::from_bits(self.gateway().to_bits() + 1 + index))
    }

    /// What the address is taken for, if a guest cannot have it; addresses outside the subnet are not asked about.
    pub fn reserved_for(self, address: Ipv4Addr) -> Option<&'static str> {
        if address == self.network {
            Some("network address")
        } else if address == self.broadcast() {
            Some("broadcast address")
        } else if address == self.gateway() {
            Some("gateway")
        } else if address == self.host_alias() {
            Some("host alias")
        } else {
            None
        }
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

/// The block that never carries ordinary hosts (RFC 6890) and holds a part of this subnet.
fn reserved_block(subnet: Subnet) -> Option<&'static str> {
    const BLOCKS: [(Ipv4Addr, u8, &str); 5] = [
        (Ipv4Addr::UNSPECIFIED, 8, "0.0.0.0/8 (this host)"),
        (Ipv4Addr::new(127, 0, 0, 0), 8, "127.0.0.0/8 (loopback)"),
        (Ipv4Addr::new(169, 254, 0, 0), 16, "169.254.0.0/16 (link-local)"),
        (Ipv4Addr::new(224, 0, 0, 0), 4, "224.0.0.0/4 (multicast)"),
        (Ipv4Addr::new(240, 0, 0, 0), 4, "240.0.0.0/4 (reserved)"),
    ];
    let block = BLOCKS.iter().find(|(network, prefix, _)| {
        subnet.overlaps(Subnet {
            network: *network,
            prefix: *prefix,
        })
    });
    block.map(|(.., name)| *name)
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let (address, prefix) = match text.split_once('/') {
            Some(parts) => parts,
            None if text.parse::<Ipv4Addr>().is_ok() => return Err(SubnetError::NoPrefix(text.to_owned())),
            None => return Err(SubnetError::Syntax(text.to_owned())),
        };
        let syntax = || SubnetError::Syntax(text.to_owned());
        let address: Ipv4Addr = address.parse().map_err(|_| syntax())?;
        if prefix.is_empty() || !prefix.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(syntax());
        }
        let prefix = prefix.parse().ok().filter(|prefix| PREFIXES.contains(prefix));
        let prefix = prefix.ok_or_else(|| SubnetError::Prefix(text.to_owned()))?;
        let network = Ipv4Addr::from_bits(address.to_bits() & mask(prefix));
        if network != address {
            return Err(SubnetError::HostBits {
                text: text.to_owned(),
                network,
                prefix,
            });
        }
        let subnet = Self { network, prefix };
        match reserved_block(subnet) {
            Some(reserved) => Err(SubnetError::Reserved {
                text: text.to_owned(),
                reserved,
            }),
            None => Ok(subnet),
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

text_type!(
    Subnet,
    expected: "an IPv4 network like 10.77.0.0/24",
    pattern: r"^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+/([89]|1[0-9]|2[0-9])$",
    about: "An IPv4 network, /8 to /29. The first host address is the gateway, the last one the host alias."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_a_24() {
        let subnet: Subnet = "10.77.0.0/24".parse().unwrap();
        assert_eq!(subnet.netmask(), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 77, 0, 1));
        assert_eq!(subnet.host_alias(), Ipv4Addr::new(10, 77, 0, 254));
        assert_eq!(subnet.broadcast(), Ipv4Addr::new(10, 77, 0, 255));
        assert_eq!(subnet.guest_count(), 252);
        assert_eq!(subnet.guest(0), Some(Ipv4Addr::new(10, 77, 0, 2)));
        assert_eq!(subnet.guest(251), Some(Ipv4Addr::new(10, 77, 0, 253)));
        assert_eq!(subnet.guest(252), None);
    }

    #[test]
    fn the_smallest_subnet_has_room_for_four_guests() {
        assert_eq!("10.0.0.8/29".parse::<Subnet>().unwrap().guest_count(), 4);
        "10.0.0.8/30".parse::<Subnet>().unwrap_err();
    }

    #[test]
    fn what_is_no_subnet_is_refused() {
        for wrong in [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/+24",
            "10.0.0.1/24",
            "::/64",
            "127.0.0.0/8",
            "240.0.0.0/8",
        ] {
            assert!(wrong.parse::<Subnet>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn host_bits_get_the_right_subnet_as_a_hint() {
        let hint = "10.77.0.5/24".parse::<Subnet>().unwrap_err().hint();
        assert_eq!(hint.unwrap(), r#"did you mean "10.77.0.0/24"?"#);
    }
}
