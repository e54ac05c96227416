//! How many routers what a socket sends may cross: the hop limit, which IPv4 calls time to live.
//!
//! The system has one for all sockets, and that is what a socket has until somebody asks for less.

use std::os::fd::AsFd;

use atoll_engine::Family;
use rustix::io::Errno;
use rustix::net::sockopt;

/// The hop limit of one socket.
#[derive(Debug)]
pub(crate) struct Hops {
    family: Family,
    /// What a socket of IPv4 had before it was changed first; one of IPv6 can be told to take the system's.
    usual: Option<u32>,
}

impl Hops {
    /// Of a new socket.
    pub(crate) fn of(family: Family) -> Self {
        Self { family, usual: None }
    }

    /// So many from now on, or as many as is usual. A socket that does not take it keeps what it has.
    pub(crate) fn set(&mut self, fd: impl AsFd, hops: Option<u8>) {
        if let Err(error) = self.try_set(fd, hops) {
            tracing::debug!("a socket keeps its hop limit: {error}");
        }
    }

    fn try_set(&mut self, fd: impl AsFd, hops: Option<u8>) -> Result<(), Errno> {
        if self.family == Family::V6 {
            return sockopt::set_ipv6_unicast_hops(fd, hops);
        }
        let usual = match self.usual {
            Some(usual) => usual,
            None => *self.usual.insert(sockopt::ip_ttl(&fd)?),
        };
        sockopt::set_ip_ttl(fd, hops.map_or(usual, u32::from))
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_comes_back_to_the_systems_hop_limit() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let usual = socket.ttl().unwrap();
        let mut hops = Hops::of(Family::V4);
        for (set, expected) in [(Some(3), 3), (Some(7), 7), (None, usual)] {
            hops.set(&socket, set);
            assert_eq!(socket.ttl().unwrap(), expected);
        }
    }

    #[test]
    fn so_does_one_of_ipv6() {
        let Ok(socket) = UdpSocket::bind("[::1]:0") else {
            return;
        };
        let now = || sockopt::ipv6_unicast_hops(&socket).unwrap();
        let usual = now();
        let mut hops = Hops::of(Family::V6);
        hops.set(&socket, Some(3));
        assert_eq!(now(), 3);
        hops.set(&socket, None);
        assert_eq!(now(), usual);
    }
}
