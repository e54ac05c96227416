//! Where on the host somebody listens: at a port, or at a unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Manner;

/// A port or a unix socket. In words and in JSON `127.0.0.1:8080` or `unix:/run/web.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAt {
    /// An address and a port; port 0 lets the host choose.
    Address(SocketAddr),
    /// A socket file of ours, of mode 0600.
    Socket(PathBuf),
}

impl ListenAt {
    /// The address, if it is one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Socket(_) => None,
        }
    }

    /// The same address at the port that stands for one that is not to be had, if there is such a port.
    pub(crate) fn renumbered(&self) -> Option<Self> {
        let address = self.address().filter(|address| address.port() != 0)?;
        let port = address.port().checked_add(Manner::RENUMBERED_BY)?;
        Some(SocketAddr::new(address.ip(), port).into())
    }

    /// The port that was `wanted`, if it is not the one that this has.
    pub(crate) fn other_port_than(&self, wanted: &Self) -> Option<u16> {
        let (own, wanted) = (self.address()?.port(), wanted.address()?.port());
        (wanted != 0 && wanted != own).then_some(wanted)
    }

    /// Whether who listens at one keeps another from the other. Sockets at an address are of one family.
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(a), Self::Address(b)) => {
                let any = a.ip().is_unspecified() || b.ip().is_unspecified();
                let meets = a.ip() == b.ip() || (any && a.is_ipv4() == b.is_ipv4());
                meets && a.port() == b.port() && a.port() != 0
            }
            _ => self == other,
        }
    }
}

impl From<SocketAddr> for ListenAt {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A text that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is neither an address with a port nor unix:PATH")]
pub struct NoListenAt;

impl FromStr for ListenAt {
    type Err = NoListenAt;

    fn from_str(text: &str) -> Result<Self, NoListenAt> {
        match text.strip_prefix("unix:") {
            Some("") => Err(NoListenAt),
            Some(path) => Ok(Self::Socket(path.into())),
            None => text.parse().map(Self::Address).map_err(|_| NoListenAt),
        }
    }
}

impl Serialize for ListenAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> ListenAt {
        text.parse().unwrap()
    }

    #[test]
    fn a_text_says_itself_again() {
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/tmp/a:b.sock"] {
            let json = serde_json::to_string(&at(text)).unwrap();
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<ListenAt>(&json).unwrap(), at(text));
        }
        for text in ["", "unix:", "80", "/tmp/a.sock"] {
            assert!(text.parse::<ListenAt>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_renumbered_port_knows_what_it_stands_for() {
        let higher = at("127.64.0.1:22").renumbered().unwrap();
        assert_eq!(higher, at("127.64.0.1:10022"));
        assert_eq!(higher.other_port_than(&at("127.64.0.1:22")), Some(22));
        assert_eq!(higher.other_port_than(&higher), None);
        assert_eq!(at("127.0.0.1:4711").other_port_than(&at("127.0.0.1:0")), None);
        for text in ["127.0.0.1:0", "127.0.0.1:60000", "unix:/a"] {
            assert_eq!(at(text).renumbered(), None, "{text}");
        }
    }

    #[test]
    fn the_same_port_of_one_family_is_a_conflict() {
        for (a, b, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "[::]:80", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
        ] {
            assert_eq!(at(a).conflicts_with(&at(b)), expected, "{a} and {b}");
        }
    }
}
