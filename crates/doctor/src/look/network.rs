//! Tries sockets, and reads what limits them. No packet leaves the host: a datagram socket that is connected only asks the kernel
//! for a route.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;

use atoll_runtime::{Family, abilities};
use rustix::process::{Resource, getrlimit};

use super::procfs::{pair, setting};
use crate::judge::network::{Ipv6, Network, Refused};

/// Addresses of the world, one a family: those of the root server `k` (RFC 2870's kind, both anycast and long-lived).
const WORLD: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(193, 0, 14, 129)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x7fd, 0, 0, 0, 0, 0, 1)),
];

/// Everything.
pub(crate) fn network() -> Network {
    let limit = getrlimit(Resource::Nofile);
    Network {
        ping4: abilities::ping_socket(Family::V4).map_err(|error| refused(&error)),
        ping6: abilities::ping_socket(Family::V6).map_err(|error| refused(&error)),
        ping_range: pair("net/ipv4/ping_group_range"),
        peek: [Family::V4, Family::V6].map(abilities::peeks_at_offset),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        descriptors: (limit.current, limit.maximum),
        room: abilities::room(limit.maximum.unwrap_or(u64::MAX)),
        ports: pair("net/ipv4/ip_local_port_range"),
        way: WORLD.map(|address| has_way(SocketAddr::new(address, 53))),
        ipv6: ipv6(),
        resolvers: abilities::host_resolvers()
            .into_iter()
            .map(|it| (it, has_way(it)))
            .collect(),
    }
}

fn refused(error: &io::Error) -> Refused {
    Refused {
        is_permission: error.kind() == io::ErrorKind::PermissionDenied,
        reason: error.to_string(),
    }
}

/// Whether the kernel has a route, and an address to send from.
fn has_way(to: SocketAddr) -> bool {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).is_ok_and(|socket| socket.connect(to).is_ok())
}

fn ipv6() -> Ipv6 {
    if std::env::consts::OS == "linux" && !Path::new("/proc/net/if_inet6").exists() {
        Ipv6::Absent
    } else if setting::<u8>("net/ipv6/conf/all/disable_ipv6") == Some(1) {
        Ipv6::Disabled
    } else {
        Ipv6::There
    }
}
