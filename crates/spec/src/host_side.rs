//! Ways between a network's guests and programs of the host: ports of the host that guests reach at the host alias, and where the
//! proxy listens.
//!
//! | text | what |
//! |---|---|
//! | `5432`, `53/udp` | a port of the host's loopback, by the same number at the alias |
//! | `15432:5432` | the host's 15432, which guests reach at 5432 |
//! | `1080`, `127.0.0.1:1080`, `[::1]:1080` | where the proxy listens; the host's loopback when no address is given |

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use crate::forward::Protocol;
use crate::text::{Hint, text_type};

/// A port of the host's loopback that guests reach at the host alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// The host's.
    pub host: u16,
    /// Its number at the alias.
    pub guest: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

/// The number of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortNumber(u16);

/// Where a proxy of the host listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProxyAddress(pub SocketAddr);

/// Why a text is none of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum HostSideError {
    #[error("{0:?} is no port of the host")]
    Port(String),
    #[error("{0:?} is no number of a port")]
    Number(String),
    #[error("{0:?} is no place of the host's for a proxy")]
    Proxy(String),
}

impl Hint for HostSideError {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Port(_) => "write PORT, PORT/udp, or HOST-PORT:GUEST-SIDE-PORT, as in 5432 or 15432:5432",
            Self::Number(_) => "ports are 1 to 65535",
            Self::Proxy(_) => "write a port, or an address with one, as in 127.0.0.1:1080 or [::1]:1080",
        };
        Some(hint.to_owned())
    }
}

impl PortNumber {
    /// The number, which is not 0.
    pub fn get(self) -> u16 {
        self.0
    }
}

fn number(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

impl FromStr for PortNumber {
    type Err = HostSideError;

    fn from_str(text: &str) -> Result<Self, HostSideError> {
        let number = number(text).map(Self);
        number.ok_or_else(|| HostSideError::Number(text.to_owned()))
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HostPort {
    type Err = HostSideError;

    fn from_str(text: &str) -> Result<Self, HostSideError> {
        let read = || {
            let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
            let (host, guest) = ports.split_once(':').unwrap_or((ports, ports));
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                _ => return None,
            };
            Some(Self {
                host: number(host)?,
                guest: number(guest)?,
                protocol,
            })
        };
        read().ok_or_else(|| HostSideError::Port(text.to_owned()))
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.host.fmt(f)?;
        if self.guest != self.host {
            write!(f, ":{}", self.guest)?;
        }
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
        }
    }
}

impl FromStr for ProxyAddress {
    type Err = HostSideError;

    fn from_str(text: &str) -> Result<Self, HostSideError> {
        let port = |text: &str| text.parse().ok().map(|port| (Ipv4Addr::LOCALHOST, port).into());
        let address = port(text).or_else(|| text.parse().ok());
        address
            .map(Self)
            .ok_or_else(|| HostSideError::Proxy(text.to_owned()))
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_type!(
    HostPort,
    expected: "a port of the host like 5432",
    pattern: "^[0-9]{1,5}(:[0-9]{1,5})?(/(tcp|udp))?$",
    about: "A port of the host's loopback: PORT, or HOST-PORT:GUEST-SIDE-PORT; /udp where it is none of TCP."
);
text_type!(
    PortNumber,
    expected: "the number of a port",
    pattern: "^[0-9]{1,5}$",
    about: "The number of a port."
);
text_type!(
    ProxyAddress,
    expected: "a port, or an address with one",
    pattern: "^([0-9.]+:|\\[[0-9A-Fa-f:.]+\\]:)?[0-9]{1,5}$",
    about: "A port of the host's loopback, or an address with a port, IPv6 in brackets."
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_port_has_one_number_or_two() {
        for (text, host, guest, written) in [
            ("5432", 5432, 5432, "5432"),
            ("15432:5432/tcp", 15_432, 5432, "15432:5432"),
            ("53/udp", 53, 53, "53/udp"),
            ("5353:53/udp", 5353, 53, "5353:53/udp"),
        ] {
            let read: HostPort = text.parse().unwrap();
            assert_eq!(
                (read.host, read.guest, read.to_string().as_str()),
                (host, guest, written)
            );
        }
        for text in ["", "0", "70000", "1:2:3", "53/icmp", "+5", "5432:", "a"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_proxy_listens_on_the_loopback_unless_told_otherwise() {
        for (text, address) in [
            ("1080", "127.0.0.1:1080"),
            ("0", "127.0.0.1:0"),
            ("0.0.0.0:1080", "0.0.0.0:1080"),
            ("[::1]:1080", "[::1]:1080"),
        ] {
            assert_eq!(text.parse::<ProxyAddress>().unwrap().to_string(), address);
        }
        for text in ["", "proxy", "127.0.0.1", "::1:1080", "70000"] {
            assert!(text.parse::<ProxyAddress>().is_err(), "{text}");
        }
    }
}
