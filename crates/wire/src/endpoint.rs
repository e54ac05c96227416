//! An IP address of either family and a port, in as few bytes as that takes.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// One end of a conversation. 20 bytes, where a [`SocketAddr`] takes 32 for a flow label and a scope that nobody here uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// The port, or what stands in its place (an echo's identifier).
    pub port: u16,
}

impl Endpoint {
    /// An address and a port.
    #[must_use]
    pub fn new(ip: impl Into<IpAddr>, port: u16) -> Self {
        Self { ip: ip.into(), port }
    }

    /// The address' family.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.ip)
    }
}

/// One word for IPv4, which is what most tables hold: a keyed hash costs by the word.
impl Hash for Endpoint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.ip {
            IpAddr::V4(ip) => state.write_u64(u64::from(ip.to_bits()) << 16 | u64::from(self.port)),
            IpAddr::V6(ip) => {
                state.write_u128(ip.to_bits());
                state.write_u16(self.port);
            }
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip(), address.port())
    }
}

impl From<SocketAddrV4> for Endpoint {
    fn from(address: SocketAddrV4) -> Self {
        Self::new(*address.ip(), address.port())
    }
}

impl From<SocketAddrV6> for Endpoint {
    fn from(address: SocketAddrV6) -> Self {
        Self::new(*address.ip(), address.port())
    }
}

impl From<(Ipv4Addr, u16)> for Endpoint {
    fn from((ip, port): (Ipv4Addr, u16)) -> Self {
        Self::new(ip, port)
    }
}

impl From<(Ipv6Addr, u16)> for Endpoint {
    fn from((ip, port): (Ipv6Addr, u16)) -> Self {
        Self::new(ip, port)
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.ip, endpoint.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_small_and_says_what_a_socket_address_says() {
        assert_eq!(size_of::<Endpoint>(), 20);
        for text in ["10.77.0.2:22", "[fd77:77::2]:22"] {
            let address: SocketAddr = text.parse().unwrap();
            let endpoint = Endpoint::from(address);
            assert_eq!(endpoint.to_string(), text);
            assert_eq!(SocketAddr::from(endpoint), address);
        }
    }
}
