//! Routes of the host that lead where a network of ours would be (`linux/rtnetlink.h`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::link;
use super::netlink::{DUMP, Message, Socket, find, number};
use crate::{Ipv4Net, Ipv6Net};

const GET_ROUTE: u16 = 26;
/// Bytes of an `rtmsg`.
const FIXED: usize = 12;
const INET: u8 = 2;
const INET6: u8 = 10;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
const TABLE_LOCAL: u32 = 255;
const RTM_F_CLONED: u32 = 0x200;

/// A default route, and each half of one, as VPNs have them, leads everywhere and is no claim to a network.
const DEFAULT: u8 = 1;

/// A route to a range: its range, its link if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    address: IpAddr,
    len: u8,
    link: Option<u32>,
}

impl Route {
    fn parse(body: &[u8]) -> Option<Self> {
        let (fixed, all) = body.split_at_checked(FIXED)?;
        let table = find(all, RTA_TABLE).and_then(number).unwrap_or(fixed[4].into());
        let is_cloned = number(&fixed[8..])? & RTM_F_CLONED != 0;
        if table == TABLE_LOCAL || is_cloned {
            return None;
        }
        let destination = find(all, RTA_DST)?;
        let address = match fixed[0] {
            INET => Ipv4Addr::from(<[u8; 4]>::try_from(destination).ok()?).into(),
            INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(destination).ok()?).into(),
            _ => return None,
        };
        Some(Self {
            address,
            len: fixed[1],
            link: find(all, RTA_OIF).and_then(number),
        })
    }

    /// The range that it would share an address with.
    fn meets(&self, subnet: Option<Ipv4Net>, prefix: Option<Ipv6Net>) -> Option<String> {
        if self.len <= DEFAULT {
            return None;
        }
        match self.address {
            IpAddr::V4(it) => subnet
                .filter(|net| net.overlaps(&Ipv4Net::around(it, self.len)))
                .map(|net| net.to_string()),
            IpAddr::V6(it) => prefix
                .filter(|net| net.overlaps(&Ipv6Net::around(it, self.len)))
                .map(|net| net.to_string()),
        }
    }
}

/// The first route of any table that leads to a part of these ranges, or to more than them: a sentence that names both.
pub(super) fn clash(
    socket: &mut Socket,
    subnet: Option<Ipv4Net>,
    prefix: Option<Ipv6Net>,
) -> io::Result<Option<String>> {
    let mut message = Message::new(GET_ROUTE, DUMP);
    message.put(&[0; FIXED]);
    let routes = socket.dump(&message)?;
    let mut found = routes.iter().filter_map(|body| Route::parse(body));
    let Some((route, range)) = found
        .find_map(|route| Some((route.meets(subnet, prefix)?, route)).map(|(range, route)| (route, range)))
    else {
        return Ok(None);
    };
    let links = link::all(socket)?;
    let by = links.iter().find(|link| Some(link.index) == route.link);
    let by = by
        .map(|link| format!(" by way of {}", link.name))
        .unwrap_or_default();
    let (address, len) = (route.address, route.len);
    Ok(Some(format!(
        "{range} is in use: the host has the route {address}/{len}{by}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(family: u8, len: u8, table: u8, destination: &[u8]) -> Vec<u8> {
        let mut message = Message::new(0, 0);
        message.put(&[family, len, 0, 0, table, 4, 0, 1]);
        message.put(&[0; 4]);
        message.attribute(RTA_DST, destination);
        message.attribute(RTA_OIF, &7_u32.to_ne_bytes());
        message.attributes()
    }

    #[test]
    fn a_route_to_more_or_to_less_is_a_clash_and_a_default_route_is_none() {
        let subnet = "10.77.0.0/24".parse().ok();
        let prefix = "fd77::/64".parse().ok();
        let meets = |body: &[u8]| Route::parse(body)?.meets(subnet, prefix);
        for (len, range) in [(16, [10, 77, 0, 0]), (8, [10, 0, 0, 0]), (32, [10, 77, 0, 9])] {
            assert!(meets(&body(INET, len, 254, &range)).is_some(), "{range:?}");
        }
        assert_eq!(meets(&body(INET, 24, 254, &[10, 78, 0, 0])), None);
        assert_eq!(meets(&body(INET, 1, 254, &[0, 0, 0, 0])), None);
        assert_eq!(
            meets(&body(INET, 32, 255, &[10, 77, 0, 9])),
            None,
            "the table of own addresses"
        );
        let six: Ipv6Addr = "fd77::5".parse().unwrap();
        assert!(meets(&body(INET6, 128, 52, &six.octets())).is_some());
    }

    #[test]
    fn a_message_that_is_cut_is_no_route() {
        let whole = body(INET, 24, 254, &[10, 77, 0, 0]);
        for len in 0..FIXED + 8 {
            assert_eq!(Route::parse(&whole[..len]), None);
        }
    }
}
