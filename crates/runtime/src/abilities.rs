//! What this host lets a network do, found out by doing it once.
//!
//! Nothing here is needed to run a network, which finds out by itself; it is for who wants to know before. Nothing is left behind,
//! and nobody else's network sees a packet.

use std::net::SocketAddr;

use rustix::net::{SocketType, ipproto};

use crate::resolvers::Resolvers;
use crate::sys::{self, PeekMethod};
use crate::{Family, event_loop};

/// Whether a guest's ping can go on beyond the network: a ping socket of this family is opened and closed.
///
/// # Errors
/// What the system said: EACCES where `net.ipv4.ping_group_range` leaves this user's groups out.
pub fn ping_socket(family: Family) -> std::io::Result<()> {
    let protocol = match family {
        Family::V4 => ipproto::ICMP,
        Family::V6 => ipproto::ICMPV6,
    };
    let opened = sys::open_socket(family, SocketType::DGRAM, Some(protocol));
    opened.map(drop).map_err(Into::into)
}

/// Whether what hosts send is read straight into the frames that carry it (`SO_PEEK_OFF`), tried on a connection of our own
/// over loopback; otherwise it is copied once more.
#[must_use]
pub fn peeks_at_offset(family: Family) -> bool {
    sys::peek_method(family) == PeekMethod::Offset
}

/// How many flows a network has room for, and how many questions to resolvers, when its process may open so many
/// descriptors.
#[must_use]
pub fn room(descriptors: u64) -> (usize, usize) {
    let limits = event_loop::limits(descriptors);
    (limits.flows, limits.dns_queries)
}

/// The resolvers that a network asks for its guests: those of `/etc/resolv.conf`, or this host itself.
#[must_use]
pub fn host_resolvers() -> Vec<SocketAddr> {
    Resolvers::new(None).servers().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_descriptors_are_room_for_more_flows_up_to_the_tables_size() {
        let rooms: Vec<_> = [64, 1024, 20_000, 1 << 20, u64::MAX]
            .map(|it| room(it).0)
            .to_vec();
        assert!(rooms.is_sorted(), "{rooms:?}");
        assert_eq!(rooms[3], rooms[4]);
        assert!(rooms[0] > 0);
    }
}
