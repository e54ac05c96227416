//! Who has a port of the host: from /proc, where there is one.
//!
//! `/proc/net/tcp` and its like list sockets with their local address in hexadecimal, the words of an address in the
//! machine's byte order, and their inode (proc_pid_net(5)); the process that holds the inode is the owner.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use atoll_ports::owner_of_inode;

use crate::Protocol;

/// TCP_LISTEN in `/proc/net/tcp`.
const LISTEN: &str = "0A";

/// Command and process id of whoever keeps `address` from being bound, if the system tells.
pub(crate) fn port_owner(protocol: Protocol, address: SocketAddr) -> Option<String> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    tables.iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        let inode = text
            .lines()
            .skip(1)
            .find_map(|line| conflicting(line, protocol, address))?;
        Some(owner_of_inode(inode)?.to_string())
    })
}

/// The inode of the socket in this line, if it is in the way.
fn conflicting(line: &str, protocol: Protocol, wanted: SocketAddr) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let local = address(fields.nth(1)?)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let listens = protocol == Protocol::Udp || state == LISTEN;
    (local.port() == wanted.port() && meets(local.ip(), wanted.ip()) && listens).then_some(inode)
}

/// Whether a socket at `local` keeps ours from `wanted`. Ours are of one family; another's at `::` may be of both.
fn meets(local: IpAddr, wanted: IpAddr) -> bool {
    let is_one_family = local.is_ipv4() == wanted.is_ipv4();
    let any = local.is_unspecified() || (is_one_family && wanted.is_unspecified());
    local == wanted || (any && (is_one_family || local.is_ipv6()))
}

/// `0100007F:1F90` or the same with 32 digits.
fn address(field: &str) -> Option<SocketAddr> {
    let (ip, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |digits: &str| u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes);
    let ip = if ip.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(ip)?))
    } else {
        let mut octets = [0; 16];
        for (index, chunk) in octets.chunks_mut(4).enumerate() {
            chunk.copy_from_slice(&word(ip.get(index * 8..index * 8 + 8)?)?);
        }
        IpAddr::V6(Ipv6Addr::from(octets)).to_canonical()
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn the_owner_of_a_port_is_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let us = format!("process {}", std::process::id());
        for (protocol, address) in [
            (Protocol::Tcp, tcp.local_addr().unwrap()),
            (Protocol::Udp, udp.local_addr().unwrap()),
        ] {
            let owner = port_owner(protocol, address).unwrap();
            assert!(owner.contains(&us), "{owner}");
        }
    }

    #[test]
    fn a_socket_of_another_family_is_in_the_way_only_where_it_may_be_of_both() {
        let any = |text: &str| text.parse::<IpAddr>().unwrap();
        for (local, wanted, expected) in [
            ("::", "127.0.0.1", true),
            ("::", "::1", true),
            ("::1", "::", true),
            ("::1", "0.0.0.0", false),
            ("0.0.0.0", "::", false),
            ("127.0.0.1", "::1", false),
            ("127.0.0.1", "127.0.0.2", false),
        ] {
            assert_eq!(meets(any(local), any(wanted)), expected, "{local} and {wanted}");
        }
    }

    #[test]
    fn nobody_has_a_free_port() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        drop(tcp);
        assert_eq!(port_owner(Protocol::Tcp, address), None);
    }
}
