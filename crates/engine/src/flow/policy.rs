//! Which addresses mean what: the one place where a guest's destination becomes a host's, and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::{Addresses, Mode, Prefix, Subnet};
use crate::lan::METADATA;

/// What a destination is to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The gateway's own address.
    Gateway,
    /// The address at which guests reach the host's loopback, when allowed.
    HostAlias,
    /// 169.254.169.254, which is ours and never the host's; on a bridged network our link-local address, too.
    Metadata,
    /// A guest of the subnet, which is reached by the switch and not through us.
    Neighbor,
    /// Multicast, broadcast and reserved addresses: nobody to answer for.
    Group,
    /// Never becomes a host socket: this host, loopback, link-local.
    Forbidden,
    /// The world.
    Outside,
}

/// Address translation of one network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) mode: Mode,
    pub(crate) addresses: Addresses,
    pub(crate) host_loopback: bool,
}

impl Policy {
    /// What `dst` is.
    pub(crate) fn route(&self, dst: IpAddr) -> Route {
        match (dst, self.mode) {
            (_, Mode::Bridged) => bridged(dst),
            (IpAddr::V4(dst), mode) => self
                .addresses
                .subnet
                .map_or(Route::Forbidden, |subnet| route4(mode, subnet, dst)),
            (IpAddr::V6(dst), mode) => self
                .addresses
                .prefix
                .map_or(Route::Forbidden, |prefix| route6(mode, prefix, dst)),
        }
    }

    /// Whether `dst` is a group of the network's family: what [`Policy::route`] says, for less.
    pub(crate) fn is_group(&self, dst: IpAddr) -> bool {
        match dst {
            IpAddr::V4(dst) => {
                let is_broadcast = |subnet: Subnet| dst == subnet.broadcast();
                let subnet = self.addresses.subnet;
                let has_ipv4 = subnet.is_some() || self.mode == Mode::Bridged;
                has_ipv4 && (dst.octets()[0] >= 224 || subnet.is_some_and(is_broadcast))
            }
            IpAddr::V6(dst) => dst.is_multicast(),
        }
    }

    /// The host's address for a destination that may become a host socket.
    pub(crate) fn host_address(&self, dst: IpAddr) -> Option<IpAddr> {
        match self.route(dst) {
            Route::Outside => Some(dst),
            Route::HostAlias if self.host_loopback => Some(loopback(dst)),
            _ => None,
        }
    }

    /// How a guest sees the host's peer `src`; `None` when no guest may hear from it.
    pub(crate) fn guest_view(&self, src: IpAddr) -> Option<IpAddr> {
        if src.is_loopback() {
            return self.addresses.host_alias(src).filter(|_| self.host_loopback);
        }
        (self.route(src) == Route::Outside).then_some(src)
    }
}

fn route4(mode: Mode, subnet: Subnet, dst: Ipv4Addr) -> Route {
    if dst == mode.services4(subnet) {
        return Route::Gateway;
    }
    if subnet.contains(dst) {
        return match dst {
            _ if dst == subnet.host_alias() && mode == Mode::User => Route::HostAlias,
            METADATA => Route::Metadata,
            _ if dst == subnet.broadcast() => Route::Group,
            _ => Route::Neighbor,
        };
    }
    let [first, second, ..] = dst.octets();
    match (first, second) {
        _ if dst == METADATA => Route::Metadata,
        (224.., _) => Route::Group,
        (0 | 127, _) | (169, 254) => Route::Forbidden,
        _ => world(mode),
    }
}

fn route6(mode: Mode, prefix: Prefix, dst: Ipv6Addr) -> Route {
    match dst.segments() {
        _ if dst == mode.services6(prefix) || dst == mode.link_local() => Route::Gateway,
        _ if dst == prefix.host_alias() && mode == Mode::User => Route::HostAlias,
        _ if prefix.contains(dst) => Route::Neighbor,
        [0xff00..=0xffff, ..] => Route::Group,
        // Link-local; `::`, `::1` and all that has an IPv4 address behind it (RFC 4291, 2.5.5), which the host would reach by IPv4.
        [0xfe80..=0xfebf, ..] | [0, 0, 0, 0, 0, 0 | 0xffff, ..] => Route::Forbidden,
        _ => world(mode),
    }
}

/// Where others route, we do not.
fn world(mode: Mode) -> Route {
    match mode {
        Mode::User => Route::Outside,
        Mode::Bridged | Mode::Shared | Mode::Host | Mode::Routed => Route::Forbidden,
    }
}

/// On a LAN that is not ours, all are neighbors, and there is no way through us.
fn bridged(dst: IpAddr) -> Route {
    match dst {
        IpAddr::V4(METADATA) => Route::Metadata,
        IpAddr::V4(dst) => match dst.octets()[0] {
            224.. => Route::Group,
            0 | 127 => Route::Forbidden,
            _ => Route::Neighbor,
        },
        IpAddr::V6(dst) => match dst.segments() {
            _ if dst == Mode::Bridged.link_local() => Route::Metadata,
            [0xff00..=0xffff, ..] => Route::Group,
            [0, 0, 0, 0, 0, 0 | 0xffff, ..] => Route::Forbidden,
            _ => Route::Neighbor,
        },
    }
}

/// The loopback address of the same family.
pub(super) fn loopback(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(host_loopback: bool) -> Policy {
        let subnet = Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len: 24,
        };
        let prefix = Prefix {
            address: "fd77:77::".parse().unwrap(),
        };
        Policy {
            mode: Mode::User,
            addresses: (subnet, prefix).into(),
            host_loopback,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const NEVER: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "169.254.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "10.77.0.255",
        "10.77.0.1",
        "10.77.0.9",
        "10.77.0.0",
        "::",
        "::1",
        "::2",
        "::127.0.0.1",
        "::192.0.2.1",
        "::ffff:127.0.0.1",
        "::ffff:192.0.2.1",
        "fe80::1",
        "fe80::77",
        "febf::1",
        "ff02::1",
        "ff0e::1",
        "fd77:77::",
        "fd77:77::1",
        "fd77:77::9",
    ];

    #[test]
    fn what_must_never_be_a_host_socket_is_none() {
        for host_loopback in [false, true] {
            for address in NEVER {
                let host = policy(host_loopback).host_address(ip(address));
                assert_eq!(host, None, "{address}");
                let is_group = policy(host_loopback).route(ip(address)) == Route::Group;
                assert_eq!(policy(host_loopback).is_group(ip(address)), is_group, "{address}");
            }
        }
    }

    #[test]
    fn the_world_is_reached_at_its_own_addresses() {
        for address in ["198.51.100.1", "2001:db8::1", "64:ff9b::192.0.2.1", "fd77:78::1"] {
            assert_eq!(policy(false).host_address(ip(address)), Some(ip(address)));
        }
    }

    #[test]
    fn the_host_alias_is_loopback_only_when_allowed() {
        for (alias, loopback) in [("10.77.0.254", "127.0.0.1"), ("fd77:77::fe", "::1")] {
            let (alias, loopback) = (ip(alias), ip(loopback));
            assert_eq!(policy(false).host_address(alias), None);
            assert_eq!(policy(true).host_address(alias), Some(loopback));
            assert_eq!(policy(true).guest_view(loopback), Some(alias));
            assert_eq!(policy(false).guest_view(loopback), None);
        }
    }

    #[test]
    fn a_host_peer_with_a_neighbors_address_is_not_heard() {
        for address in ["10.77.0.7", "fd77:77::7", "fe80::7", "::ffff:198.51.100.1"] {
            assert_eq!(policy(true).guest_view(ip(address)), None);
        }
        for address in ["10.78.0.7", "fd77:78::7"] {
            assert_eq!(policy(true).guest_view(ip(address)), Some(ip(address)));
        }
    }

    #[test]
    fn a_family_that_the_network_does_not_have_leads_nowhere() {
        let mut policy = policy(true);
        policy.addresses.subnet = None;
        assert_eq!(policy.host_address(ip("198.51.100.1")), None);
        assert_eq!(policy.guest_view(ip("127.0.0.1")), None);
        policy.addresses = Addresses::default();
        assert_eq!(policy.host_address(ip("2001:db8::1")), None);
    }
}
