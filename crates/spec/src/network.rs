//! Networks anywhere, as rules of a policy name them: `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::text::{Hint, text_type};

/// Addresses that have their first bits in common; one address is a network of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpNetwork {
    address: IpAddr,
    length: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum IpNetworkError {
    #[error("{0:?} is no network or address")]
    Syntax(String),
    #[error("{text:?} is no network: a prefix length is at most {most}")]
    Length { text: String, most: u8 },
    #[error("{text:?} is no network: the address has bits beyond its prefix")]
    HostBits { text: String, network: IpNetwork },
    #[error("{0:?} is an IPv4 address in the clothes of IPv6")]
    Mapped(String),
}

impl Hint for IpNetworkError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax(_) => "write 10.0.0.0/8, 2001:db8::/32, or one address".to_owned(),
            Self::Length { text, most } => {
                let address = text.split('/').next().unwrap_or(text);
                format!("{address}/{most} is the address alone")
            }
            Self::HostBits { network, .. } => format!("did you mean \"{network}\"?"),
            Self::Mapped(_) => "write it as an IPv4 address".to_owned(),
        })
    }
}

impl IpNetwork {
    /// The first address.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits the addresses have in common.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether it is one address.
    pub fn is_address(self) -> bool {
        self.length == most(self.address)
    }
}

fn most(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address without the bits behind the prefix.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for IpNetwork {
    type Err = IpNetworkError;

    fn from_str(text: &str) -> Result<Self, IpNetworkError> {
        let syntax = || IpNetworkError::Syntax(text.to_owned());
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        if address.to_canonical() != address {
            return Err(IpNetworkError::Mapped(text.to_owned()));
        }
        let most = most(address);
        let length = match length {
            None => most,
            Some(digits) => {
                let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                if !is_number {
                    return Err(syntax());
                }
                let length = digits.parse().ok().filter(|length| *length <= most);
                length.ok_or_else(|| IpNetworkError::Length {
                    text: text.to_owned(),
                    most,
                })?
            }
        };
        let network = Self {
            address: masked(address, length),
            length,
        };
        if network.address == address {
            Ok(network)
        } else {
            let text = text.to_owned();
            Err(IpNetworkError::HostBits { text, network })
        }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_address() {
            self.address.fmt(f)
        } else {
            write!(f, "{}/{}", self.address, self.length)
        }
    }
}

text_type!(
    IpNetwork,
    expected: "a network like 10.0.0.0/8, or an address",
    pattern: "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$",
    about: "A network of either family, such as 10.0.0.0/8 or 2001:db8::/32, or one address."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_and_a_length() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(text.parse::<IpNetwork>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        for (text, hint) in [
            ("10.0.0.5/8", "did you mean \"10.0.0.0/8\"?"),
            ("2001:db8::5/64", "did you mean \"2001:db8::/64\"?"),
            ("10.0.0.0/33", "10.0.0.0/32 is the address alone"),
            ("10.0.0.0/", "write 10.0.0.0/8, 2001:db8::/32, or one address"),
            ("10.0.0.0/+8", "write 10.0.0.0/8, 2001:db8::/32, or one address"),
            ("10.0.0", "write 10.0.0.0/8, 2001:db8::/32, or one address"),
            ("::ffff:10.0.0.1", "write it as an IPv4 address"),
        ] {
            let error = text.parse::<IpNetwork>().unwrap_err();
            assert_eq!(error.hint().unwrap(), hint, "{text}: {error}");
        }
    }
}
