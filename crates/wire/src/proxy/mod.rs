//! What programs say to a proxy that leads them to a host: SOCKS 5 ([`socks5`]) and HTTP ([`http`]).
//!
//! Both begin with a head of bounded length that names a host and a port. Readers here take what has come so far from its first byte
//! on and say whether it is whole; they keep nothing, so whoever calls them may leave the bytes where they are (`MSG_PEEK`) and
//! take exactly the head's. The first byte tells the protocols apart: SOCKS begins with its version, HTTP with a letter.

pub mod http;
pub mod socks5;

use std::net::IpAddr;

/// Where a client wants to be led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which host.
    pub host: Host,
    /// Which port.
    pub port: u16,
}

/// A host as a client names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// By an address.
    Address(IpAddr),
    /// By a name, as it was written: 1 to 255 printable ASCII characters.
    Name(String),
}

impl Host {
    /// An address, of IPv6 also in brackets, or a name; `None` when it is neither.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address(address));
        }
        let is_name = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        (is_name && !text.contains([':', '[', ']', '@', '/'])).then(|| Self::Name(text.to_owned()))
    }
}

/// What has come so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// All of it, in so many bytes.
    Whole(T, usize),
    /// Its beginning.
    Partial,
    /// Something else.
    Bad,
}
