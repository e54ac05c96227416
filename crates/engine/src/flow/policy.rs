//! Which addresses mean what: the one place where a guest's destination becomes a host's, and back.

use std::net::Ipv4Addr;

use crate::config::Subnet;
use crate::lan::METADATA;

/// What a destination is to the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The gateway's own address.
    Gateway,
    /// The address at which guests reach the host's loopback, when allowed.
    HostAlias,
    /// 169.254.169.254, which is ours and never the host's.
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
    pub(crate) subnet: Subnet,
    pub(crate) host_loopback: bool,
}

impl Policy {
    /// What `dst` is.
    pub(crate) fn route(&self, dst: Ipv4Addr) -> Route {
        let [first, second, ..] = dst.octets();
        match (first, second) {
            _ if dst == self.subnet.gateway() => Route::Gateway,
            _ if dst == self.subnet.host_alias() => Route::HostAlias,
            _ if dst == METADATA => Route::Metadata,
            _ if dst == self.subnet.broadcast() => Route::Group,
            _ if self.subnet.contains(dst) => Route::Neighbor,
            (224.., _) => Route::Group,
            (0 | 127, _) | (169, 254) => Route::Forbidden,
            _ => Route::Outside,
        }
    }

    /// The host's address for a destination that may become a host socket.
    pub(crate) fn host_address(&self, dst: Ipv4Addr) -> Option<Ipv4Addr> {
        match self.route(dst) {
            Route::Outside => Some(dst),
            Route::HostAlias if self.host_loopback => Some(Ipv4Addr::LOCALHOST),
            _ => None,
        }
    }

    /// How a guest sees the host's peer `src`; `None` when no guest may hear from it.
    pub(crate) fn guest_view(&self, src: Ipv4Addr) -> Option<Ipv4Addr> {
        if src.is_loopback() {
            return self.host_loopback.then(|| self.subnet.host_alias());
        }
        (self.route(src) == Route::Outside).then_some(src)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(host_loopback: bool) -> Policy {
        Policy {
            subnet: Subnet {
                address: Ipv4Addr::new(10, 77, 0, 0),
                prefix_len: 24,
            },
            host_loopback,
        }
    }

    #[test]
    fn what_must_never_be_a_host_socket_is_none() {
        for host_loopback in [false, true] {
            for address in [
                "0.0.0.0",
                "0.1.2.3",
                "127.0.0.1",
                "127.9.9.9",
                "169.254.169.254",
                "169.254.1.1",
                "224.0.0.1",
            ] {
                assert_eq!(
                    policy(host_loopback).host_address(address.parse().unwrap()),
                    None,
                    "{address}"
                );
            }
            for address in [
                "255.255.255.255",
                "240.0.0.1",
                "10.77.0.255",
                "10.77.0.1",
                "10.77.0.9",
                "10.77.0.0",
            ] {
                assert_eq!(
                    policy(host_loopback).host_address(address.parse().unwrap()),
                    None,
                    "{address}"
                );
            }
        }
    }

    #[test]
    fn the_host_alias_is_loopback_only_when_allowed() {
        let alias = Ipv4Addr::new(10, 77, 0, 254);
        assert_eq!(policy(false).host_address(alias), None);
        assert_eq!(policy(true).host_address(alias), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(policy(true).guest_view(Ipv4Addr::LOCALHOST), Some(alias));
        assert_eq!(policy(false).guest_view(Ipv4Addr::LOCALHOST), None);
    }

    #[test]
    fn a_host_peer_with_a_neighbors_address_is_not_heard() {
        assert_eq!(policy(true).guest_view(Ipv4Addr::new(10, 77, 0, 7)), None);
        assert_eq!(
            policy(true).guest_view(Ipv4Addr::new(10, 78, 0, 7)),
            Some(Ipv4Addr::new(10, 78, 0, 7))
        );
    }
}
