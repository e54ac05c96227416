//! Names and ranges that a request or a rule of the policy may hold: each is checked once, when it is read.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a word is no name or range. The words say which rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// No name of an interface.
    #[error(
        "{0:?} is no interface's name: 1 to 15 letters, digits, '.', '_' or '-', beginning with a letter or digit"
    )]
    Interface(String),
    /// No range of addresses.
    #[error("{0:?} is no range of addresses: ADDRESS/LENGTH with no bit behind the length")]
    Range(String),
    /// No network's name.
    #[error("{0:?} is no network's name: 1 to 63 letters, digits, '.', '_' or '-'")]
    Network(String),
}

/// Makes a type of words read and written as the word itself.
macro_rules! a_word {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = WordError;
            fn try_from(word: String) -> Result<Self, WordError> {
                word.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

fn is_name(word: &str, most: usize) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=most).contains(&word.len()) && word.bytes().all(is_fit)
}

/// The name of a network interface that cannot be mistaken for an option, a path or a pattern: 1 to 15 bytes of
/// `[A-Za-z0-9._-]`, the first a letter or a digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = WordError;
    fn from_str(word: &str) -> Result<Self, WordError> {
        let begins_well = word
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if is_name(word, 15) && begins_well {
            Ok(Self(word.to_owned()))
        } else {
            Err(WordError::Interface(shortened(word)))
        }
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

a_word!(InterfaceName);

/// The name of a network of Atoll's, for people who look at the interface: 1 to 63 bytes of `[A-Za-z0-9._-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

impl NetworkName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkName {
    type Err = WordError;
    fn from_str(word: &str) -> Result<Self, WordError> {
        if is_name(word, 63) {
            Ok(Self(word.to_owned()))
        } else {
            Err(WordError::Network(shortened(word)))
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

a_word!(NetworkName);

/// A range of IPv4: `192.168.77.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv4Net {
    address: Ipv4Addr,
    len: u8,
}

/// A range of IPv6: `fd00:77::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ipv6Net {
    address: Ipv6Addr,
    len: u8,
}

/// All that ranges of both families do in the same way.
macro_rules! a_range {
    ($type:ident, $address:ty, $bits:ty) => {
        impl $type {
            /// The range of this first address and length; `None` when a bit behind the length is set.
            #[must_use]
            pub fn new(address: $address, len: u8) -> Option<Self> {
                let fits = u32::from(len) <= <$bits>::BITS && address.to_bits() & !Self::mask(len) == 0;
                fits.then_some(Self { address, len })
            }

            /// The range of this length that an address lies in; a length that is too long is cut.
            #[must_use]
            pub fn around(address: $address, len: u8) -> Self {
                let most = u8::try_from(<$bits>::BITS).unwrap_or(u8::MAX);
                let len = len.min(most);
                let address = <$address>::from_bits(address.to_bits() & Self::mask(len));
                Self { address, len }
            }

            fn mask(len: u8) -> $bits {
                <$bits>::MAX
                    .checked_shl(<$bits>::BITS.saturating_sub(len.into()))
                    .unwrap_or(0)
            }

            /// The first address, which is the range's own.
            #[must_use]
            pub fn address(&self) -> $address {
                self.address
            }

            /// Bits that all of its addresses share.
            #[must_use]
            pub fn len(&self) -> u8 {
                self.len
            }

            /// No range is empty.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                false
            }

            /// The first address for a host: `.1` or `::1` in the ranges that networks have.
            #[must_use]
            pub fn first_host(&self) -> $address {
                <$address>::from_bits(self.address.to_bits() | 1)
            }

            /// Whether an address lies in it.
            #[must_use]
            pub fn contains(&self, address: $address) -> bool {
                address.to_bits() & Self::mask(self.len) == self.address.to_bits()
            }

            /// Whether all of another range lies in it.
            #[must_use]
            pub fn covers(&self, other: &Self) -> bool {
                self.len <= other.len && self.contains(other.address)
            }

            /// Whether an address lies in both.
            #[must_use]
            pub fn overlaps(&self, other: &Self) -> bool {
                self.covers(other) || other.covers(self)
            }
        }

        impl FromStr for $type {
            type Err = WordError;
            fn from_str(word: &str) -> Result<Self, WordError> {
                let range = word.split_once('/').and_then(|(address, len)| {
                    let is_number = !len.is_empty() && len.bytes().all(|byte| byte.is_ascii_digit());
                    let len = is_number.then(|| len.parse().ok()).flatten()?;
                    Self::new(address.parse().ok()?, len)
                });
                range.ok_or_else(|| WordError::Range(shortened(word)))
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.address, self.len)
            }
        }

        a_word!($type);
    };
}

a_range!(Ipv4Net, Ipv4Addr, u32);
a_range!(Ipv6Net, Ipv6Addr, u128);

/// A range of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpNet {
    /// Of IPv4.
    V4(Ipv4Net),
    /// Of IPv6.
    V6(Ipv6Net),
}

impl IpNet {
    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(net), IpAddr::V4(address)) => net.contains(address),
            (Self::V6(net), IpAddr::V6(address)) => net.contains(address),
            _ => false,
        }
    }
}

impl FromStr for IpNet {
    type Err = WordError;
    fn from_str(word: &str) -> Result<Self, WordError> {
        let v4 = word.parse().map(Self::V4);
        v4.or_else(|_| word.parse().map(Self::V6))
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(net) => net.fmt(f),
            Self::V6(net) => net.fmt(f),
        }
    }
}

/// So much of a word that a sentence about it stays short.
pub(crate) fn shortened(word: &str) -> String {
    const MOST: usize = 64;
    if word.chars().nth(MOST).is_none() {
        return word.to_owned();
    }
    word.chars().take(MOST).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path_option_or_pattern() {
        for name in ["eth0", "br-lan", "enp0s31f6", "wlan0.5", "0"] {
            assert_eq!(name.parse::<InterfaceName>().unwrap().as_str(), name);
        }
        for word in [
            "",
            ".",
            "..",
            "-x",
            "a/b",
            "eth0:1",
            "sixteen-letters-",
            "é",
            "a b",
            "eth*",
            "a\0",
        ] {
            let error = word.parse::<InterfaceName>().unwrap_err();
            assert!(error.to_string().contains("no interface's name"), "{error}");
        }
    }

    #[test]
    fn a_range_has_no_bit_behind_its_length() {
        assert_eq!("10.0.0.0/8".parse::<Ipv4Net>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(
            "fd00::/64".parse::<Ipv6Net>().unwrap().first_host().to_string(),
            "fd00::1"
        );
        assert_eq!("0.0.0.0/0".parse::<Ipv4Net>().unwrap().len(), 0);
        for word in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0",
            "10.0.0.0/+8",
            "/8",
            "fd00::1/64",
            "::/129",
        ] {
            assert!(word.parse::<IpNet>().is_err(), "{word}");
        }
    }

    #[test]
    fn ranges_overlap_when_one_covers_the_other() {
        let net = |word: &str| word.parse::<Ipv4Net>().unwrap();
        assert!(net("10.0.0.0/8").covers(&net("10.1.0.0/16")));
        assert!(!net("10.1.0.0/16").covers(&net("10.0.0.0/8")));
        assert!(net("10.1.0.0/16").overlaps(&net("10.0.0.0/8")));
        assert!(!net("10.0.0.0/16").overlaps(&net("10.1.0.0/16")));
    }
}
