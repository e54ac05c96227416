//! Links: to find, make, change and delete (`linux/if_link.h`).

use std::io;

use atoll_wire::Mac;
use rustix::io::Errno;

use super::netlink::{ACK, CREATE, DUMP, EXCL, Message, Socket, find, number, short, text_of};

const NEW: u16 = 16;
const DELETE: u16 = 17;
const GET: u16 = 18;
const SET: u16 = 19;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;

const UP: u32 = 1;
/// Bytes of an `ifinfomsg`.
const FIXED: usize = 16;
/// ARPHRD_ETHER.
const ETHERNET: u16 = 1;

/// What is known of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Option<Mac>,
    pub(super) mtu: u32,
    /// What made it: `bridge`, `tun`; empty for hardware.
    pub(super) kind: String,
    pub(super) master: Option<u32>,
    pub(super) is_up: bool,
    pub(super) is_ethernet: bool,
    /// What is said of it, for people.
    pub(super) alias: String,
}

impl Link {
    fn parse(body: &[u8]) -> Option<Self> {
        let all = body.get(FIXED..)?;
        let info = find(all, IFLA_LINKINFO).unwrap_or_default();
        let mac = find(all, IFLA_ADDRESS).and_then(|it| it.try_into().ok());
        Some(Self {
            index: number(body.get(4..)?)?,
            name: text_of(find(all, IFLA_IFNAME)?),
            mac: mac.map(Mac),
            mtu: find(all, IFLA_MTU).and_then(number).unwrap_or(0),
            kind: find(info, IFLA_INFO_KIND).map(text_of).unwrap_or_default(),
            master: find(all, IFLA_MASTER).and_then(number),
            is_up: number(body.get(8..)?)? & UP != 0,
            is_ethernet: short(body.get(2..)?)? == ETHERNET,
            alias: find(all, IFLA_IFALIAS).map(text_of).unwrap_or_default(),
        })
    }

    pub(super) fn is_bridge(&self) -> bool {
        self.kind == "bridge"
    }

    /// The MTU, as far as a packet's length goes.
    pub(super) fn packet_mtu(&self) -> u16 {
        u16::try_from(self.mtu).unwrap_or(u16::MAX)
    }
}

/// A message about a link, by its index or, when that is zero, by what follows.
fn about(kind: u16, flags: u16, index: u32, (set, mask): (u32, u32)) -> Message {
    let mut message = Message::new(kind, flags);
    // Family, padding and type of device; index; flags and which of them to change.
    message.put(&[0; 4]);
    message.put(&index.to_ne_bytes());
    message.put(&set.to_ne_bytes());
    message.put(&mask.to_ne_bytes());
    message
}

/// All links of the namespace.
pub(super) fn all(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let list = socket.dump(&about(GET, DUMP, 0, (0, 0)))?;
    Ok(list.iter().filter_map(|body| Link::parse(body)).collect())
}

/// The link of this name.
pub(super) fn by_name(socket: &mut Socket, name: &str) -> io::Result<Option<Link>> {
    Ok(all(socket)?.into_iter().find(|link| link.name == name))
}

/// What a new link is to be.
pub(super) struct Made<'a> {
    pub(super) name: &'a str,
    pub(super) mac: Mac,
    pub(super) mtu: Option<u16>,
    pub(super) alias: &'a str,
}

fn new(made: &Made<'_>) -> Message {
    let mut message = about(NEW, ACK | CREATE | EXCL, 0, (0, 0));
    message.text(IFLA_IFNAME, made.name);
    message.attribute(IFLA_ADDRESS, &made.mac.0);
    if let Some(mtu) = made.mtu {
        message.attribute(IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    }
    message
}

/// A bridge, without spanning tree.
pub(super) fn add_bridge(socket: &mut Socket, made: &Made<'_>) -> io::Result<u32> {
    let mut message = new(made);
    message.nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
    socket.request(message)?;
    finish(socket, made)
}

/// A macvtap in bridge mode over a link.
pub(super) fn add_macvtap(socket: &mut Socket, made: &Made<'_>, lower: u32) -> io::Result<u32> {
    const MODE: u16 = 1;
    const BRIDGE: u32 = 4;
    let mut message = new(made);
    message.attribute(IFLA_LINK, &lower.to_ne_bytes());
    message.nest(IFLA_LINKINFO, |info| {
        info.text(IFLA_INFO_KIND, "macvtap");
        info.nest(IFLA_INFO_DATA, |data| data.attribute(MODE, &BRIDGE.to_ne_bytes()));
    });
    socket.request(message)?;
    finish(socket, made)
}

/// What is set once the link is there: the kernel takes no alias with a new one.
fn finish(socket: &mut Socket, made: &Made<'_>) -> io::Result<u32> {
    let index = by_name(socket, made.name)?.ok_or(Errno::NODEV)?.index;
    let mut message = about(SET, ACK, index, (0, 0));
    message.text(IFLA_IFALIAS, made.alias);
    socket.request(message)?;
    Ok(index)
}

/// What a TAP that was just made is to be.
pub(super) fn set_up_tap(socket: &mut Socket, made: &Made<'_>) -> io::Result<u32> {
    let index = by_name(socket, made.name)?.ok_or(Errno::NODEV)?.index;
    let mut message = about(SET, ACK, index, (0, 0));
    message.attribute(IFLA_ADDRESS, &made.mac.0);
    if let Some(mtu) = made.mtu {
        message.attribute(IFLA_MTU, &u32::from(mtu).to_ne_bytes());
    }
    message.text(IFLA_IFALIAS, made.alias);
    socket.request(message)?;
    Ok(index)
}

pub(super) fn set_up(socket: &mut Socket, index: u32) -> io::Result<()> {
    socket.request(about(SET, ACK, index, (UP, UP)))
}

/// The same for a macvtap. It is to bring what is sent to any group: which of them a guest listens to, such as the one in which
/// it is asked for its IPv6 address, nobody tells it (drivers/net/macvlan.c, `macvlan_compute_filter`).
pub(super) fn set_up_macvtap(socket: &mut Socket, index: u32) -> io::Result<()> {
    const ALLMULTI: u32 = 0x200;
    let flags = UP | ALLMULTI;
    socket.request(about(SET, ACK, index, (flags, flags)))
}

/// Put a link into a bridge, or with zero take it out.
pub(super) fn set_master(socket: &mut Socket, index: u32, master: u32) -> io::Result<()> {
    let mut message = about(SET, ACK, index, (0, 0));
    message.attribute(IFLA_MASTER, &master.to_ne_bytes());
    socket.request(message)
}

/// Delete a link; one that is not there is as good.
pub(super) fn delete(socket: &mut Socket, name: &str) -> io::Result<()> {
    let Some(link) = by_name(socket, name)? else {
        return Ok(());
    };
    match socket.request(about(DELETE, ACK, link.index, (0, 0))) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NODEV) => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_a_link() {
        let mut socket = Socket::open(None).unwrap();
        let link = by_name(&mut socket, "lo").unwrap().unwrap();
        assert_eq!(link.index, 1);
        assert!(!link.is_bridge() && !link.is_ethernet && link.mtu > 0);
        assert_eq!(by_name(&mut socket, "atoll-none").unwrap(), None);
        delete(&mut socket, "atoll-none").unwrap();
    }

    #[test]
    fn a_message_that_is_cut_is_no_link() {
        for len in 0..FIXED {
            assert_eq!(Link::parse(&[0; FIXED][..len]), None);
        }
    }
}
