//! Addresses, routes and neighbours that are answered for (`linux/if_addr.h`, `linux/rtnetlink.h`, `linux/neighbour.h`).
//!
//! To move an address or a route from one link to another and back, all of what the kernel says of it is kept as it came, and only
//! the link's number is replaced: what is not understood here is not lost.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use atoll_wire::Mac;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::netlink::{ACK, APPEND, CREATE, DUMP, EXCL, Message, Socket, attributes, find, number, short};

const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const DELETE_NEIGHBOUR: u16 = 29;

const INET: u8 = 2;
const INET6: u8 = 10;

/// Bytes of an `ifaddrmsg`: family, prefix length, flags, scope, index.
const ADDRESS_FIXED: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_FLAGS: u16 = 8;
const NODAD: u32 = 0x02;
const TEMPORARY: u32 = 0x01;
/// What the kernel says of an address and does not take back: TENTATIVE, DADFAILED, PERMANENT.
const KERNEL_FLAGS: u32 = 0x40 | 0x08 | 0x80;

/// Bytes of an `rtmsg`: family, lengths of destination and source, type of service, table, origin, scope, type; flags.
const ROUTE_FIXED: usize = 12;
const RTA_OIF: u16 = 4;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_NH_ID: u16 = 30;
const TABLE_LOCAL: u32 = 255;
/// RTPROT_KERNEL: it comes and goes with an address.
const ORIGIN_KERNEL: u8 = 2;
/// RTM_F_CLONED: it is a cache's.
const CLONED: u32 = 0x200;

/// An address or a route as the kernel gave it: fixed part and attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Record(Vec<u8>);

impl From<Record> for String {
    fn from(record: Record) -> Self {
        record.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Record {
    type Error = std::num::ParseIntError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let pair = |at| u8::from_str_radix(text.get(at..at + 2).unwrap_or("?"), 16);
        (0..text.len())
            .step_by(2)
            .map(pair)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Record {
    /// The address of an address.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let all = self.0.get(ADDRESS_FIXED..)?;
        let value = find(all, IFA_LOCAL).or_else(|| find(all, IFA_ADDRESS))?;
        address_of(value)
    }

    pub(super) fn prefix_len(&self) -> u8 {
        self.0.get(1).copied().unwrap_or(0)
    }

    fn index(&self) -> Option<u32> {
        number(self.0.get(4..)?)
    }

    fn flags(&self) -> u32 {
        let all = self.0.get(ADDRESS_FIXED..).unwrap_or_default();
        find(all, IFA_FLAGS).and_then(number).unwrap_or(0)
    }

    /// Whether the kernel made it by itself and will make it again: link-local, or temporary (RFC 8981).
    fn comes_by_itself(&self) -> bool {
        let is_link_local = matches!(self.address(), Some(IpAddr::V6(it)) if it.is_unicast_link_local());
        is_link_local || self.0.first() == Some(&INET6) && self.flags() & TEMPORARY != 0
    }
}

fn address_of(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(it) => (INET, it.octets().to_vec()),
        IpAddr::V6(it) => (INET6, it.octets().to_vec()),
    }
}

/// The addresses of a link, or of all.
pub(super) fn addresses(socket: &mut Socket, link: Option<u32>) -> io::Result<Vec<Record>> {
    let mut message = Message::new(GET_ADDRESS, DUMP);
    message.put(&[0; ADDRESS_FIXED]);
    let list = socket.dump(&message)?.into_iter().map(Record);
    Ok(list.filter(|it| link.is_none() || it.index() == link).collect())
}

/// Those of a link that are to move with it.
pub(super) fn movable_addresses(socket: &mut Socket, link: u32) -> io::Result<Vec<Record>> {
    let mut list = addresses(socket, Some(link))?;
    list.retain(|it| !it.comes_by_itself());
    Ok(list)
}

/// An address that is used at once, on a network of our own.
pub(super) fn add(socket: &mut Socket, link: u32, address: IpAddr, len: u8) -> io::Result<()> {
    const LINK_SCOPE: u8 = 253;
    let (family, bytes) = octets(address);
    let is_link_local = matches!(address, IpAddr::V6(it) if it.is_unicast_link_local());
    let mut message = Message::new(NEW_ADDRESS, ACK | CREATE | EXCL);
    message.put(&[family, len, 0, if is_link_local { LINK_SCOPE } else { 0 }]);
    message.put(&link.to_ne_bytes());
    message.attribute(IFA_LOCAL, &bytes);
    message.attribute(IFA_ADDRESS, &bytes);
    message.attribute(IFA_FLAGS, &NODAD.to_ne_bytes());
    unless(Errno::EXIST, socket.request(message))
}

/// Give a link an address as it was on another; its label goes with the name.
pub(super) fn put_address(socket: &mut Socket, record: &Record, link: u32, name: &str) -> io::Result<()> {
    let mut message = address_message(NEW_ADDRESS, CREATE | EXCL, record, link);
    let all = record.0.get(ADDRESS_FIXED..).unwrap_or_default();
    for (kind, value) in attributes(all) {
        match kind {
            IFA_FLAGS => message.attribute(kind, &(record.flags() & !KERNEL_FLAGS).to_ne_bytes()),
            IFA_LABEL => message.text(kind, name),
            _ => message.attribute(kind, value),
        }
    }
    unless(Errno::EXIST, socket.request(message))
}

/// Wait until no address of a link is tentative; one of a link without a carrier stays so, and is not waited for long.
pub(super) fn wait_for_use(socket: &mut Socket, link: u32) -> io::Result<()> {
    const TENTATIVE: u32 = 0x40;
    const STEP: Duration = Duration::from_millis(5);
    const STEPS: usize = 100;
    for _ in 0..STEPS {
        let list = addresses(socket, Some(link))?;
        if !list.iter().any(|it| it.flags() & TENTATIVE != 0) {
            break;
        }
        std::thread::sleep(STEP);
    }
    Ok(())
}

/// Take an address from a link.
pub(super) fn take_address(socket: &mut Socket, record: &Record, link: u32) -> io::Result<()> {
    let mut message = address_message(DELETE_ADDRESS, 0, record, link);
    let all = record.0.get(ADDRESS_FIXED..).unwrap_or_default();
    for (kind, value) in attributes(all).filter(|(kind, _)| [IFA_LOCAL, IFA_ADDRESS].contains(kind)) {
        message.attribute(kind, value);
    }
    unless(Errno::ADDRNOTAVAIL, socket.request(message))
}

fn address_message(kind: u16, flags: u16, record: &Record, link: u32) -> Message {
    let mut message = Message::new(kind, ACK | flags);
    let mut fixed = record.0.get(..4).unwrap_or(&[0; 4]).to_vec();
    // The flags that fit here are in IFA_FLAGS, too.
    fixed[2] = 0;
    message.put(&fixed);
    message.put(&link.to_ne_bytes());
    message
}

/// The routes by way of a link, in all tables, that do not come with its addresses; `None` when one is such that it cannot be moved.
pub(super) fn movable_routes(socket: &mut Socket, link: u32) -> io::Result<Option<Vec<Record>>> {
    let mut message = Message::new(GET_ROUTE, DUMP);
    message.put(&[0; ROUTE_FIXED]);
    let mut list = Vec::new();
    for body in socket.dump(&message)? {
        let (Some(fixed), Some(all)) = (body.get(..ROUTE_FIXED), body.get(ROUTE_FIXED..)) else {
            continue;
        };
        let table = find(all, RTA_TABLE).and_then(number).unwrap_or(fixed[4].into());
        let is_of_the_kernel = fixed[5] == ORIGIN_KERNEL || table == TABLE_LOCAL;
        let is_cloned = number(&fixed[8..]).is_some_and(|flags| flags & CLONED != 0);
        if is_of_the_kernel || is_cloned {
            continue;
        }
        let goes_there = find(all, RTA_OIF).and_then(number) == Some(link);
        let is_shared = find(all, RTA_MULTIPATH).is_some_and(|hops| hops_lead_to(hops, link));
        if is_shared || goes_there && find(all, RTA_NH_ID).is_some() {
            return Ok(None);
        }
        if goes_there {
            list.push(Record(body));
        }
    }
    Ok(Some(list))
}

/// Whether one of the hops, each an `rtnexthop` with its attributes, leads to a link.
fn hops_lead_to(mut hops: &[u8], link: u32) -> bool {
    while let (Some(len), Some(index)) = (short(hops), hops.get(4..).and_then(number)) {
        if index == link {
            return true;
        }
        let len = usize::from(len).max(8).next_multiple_of(4);
        hops = hops.get(len..).unwrap_or_default();
    }
    false
}

/// Let a route that led to another link lead to this. A route may go by another that is not there yet, so the caller tries all again
/// while any of them succeeds.
pub(super) fn put_route(socket: &mut Socket, record: &Record, link: u32) -> io::Result<()> {
    // Of IPv6 routes with equal destinations, only appending keeps both.
    unless(
        Errno::EXIST,
        socket.request(route_message(NEW_ROUTE, CREATE | APPEND, record, link)),
    )
}

/// Take a route from a link.
pub(super) fn take_route(socket: &mut Socket, record: &Record, link: u32) -> io::Result<()> {
    unless(
        Errno::SRCH,
        socket.request(route_message(DELETE_ROUTE, 0, record, link)),
    )
}

fn route_message(kind: u16, flags: u16, record: &Record, link: u32) -> Message {
    /// What the kernel says of a next hop and does not take: RTNH_F_DEAD, LINKDOWN, OFFLOAD, TRAP.
    const STATE: u32 = 1 | 16 | 8 | 64;
    let mut message = Message::new(kind, ACK | flags);
    let fixed = record.0.get(..ROUTE_FIXED).unwrap_or(&[0; ROUTE_FIXED]);
    message.put(&fixed[..8]);
    message.put(&(number(&fixed[8..]).unwrap_or(0) & !STATE).to_ne_bytes());
    let all = record.0.get(ROUTE_FIXED..).unwrap_or_default();
    for (kind, value) in attributes(all) {
        match kind {
            RTA_OIF => message.attribute(kind, &link.to_ne_bytes()),
            RTA_CACHEINFO => {}
            _ => message.attribute(kind, value),
        }
    }
    expires(&mut message, all);
    message
}

/// A route of limited life says so in its cache's numbers, in hundredths of a second, and is told in seconds.
fn expires(message: &mut Message, all: &[u8]) {
    const RTA_EXPIRES: u16 = 23;
    let left = find(all, RTA_CACHEINFO).and_then(|info| number(info.get(8..)?));
    if let Some(left) = left.filter(|&left| left > 0 && left < 1 << 31) {
        message.attribute(RTA_EXPIRES, &left.div_ceil(100).to_ne_bytes());
    }
}

/// A route to one address, by a link itself.
pub(super) fn add_host_route(socket: &mut Socket, link: u32, address: IpAddr) -> io::Result<()> {
    const MAIN: u8 = 254;
    const STATIC: u8 = 4;
    const LINK_SCOPE: u8 = 253;
    const UNICAST: u8 = 1;
    const DESTINATION: u16 = 1;
    let (family, bytes) = octets(address);
    let (len, scope) = if family == INET {
        (32, LINK_SCOPE)
    } else {
        (128, 0)
    };
    let mut message = Message::new(NEW_ROUTE, ACK | CREATE | EXCL);
    message.put(&[family, len, 0, 0, MAIN, STATIC, scope, UNICAST]);
    message.put(&[0; 4]);
    message.attribute(DESTINATION, &bytes);
    message.attribute(RTA_OIF, &link.to_ne_bytes());
    socket.request(message)
}

/// Answer on a link for an address, or no more.
pub(super) fn set_proxy(socket: &mut Socket, link: u32, address: IpAddr, answers: bool) -> io::Result<()> {
    const DESTINATION: u16 = 1;
    const PERMANENT: u16 = 0x80;
    const PROXY: u8 = 0x08;
    let (kind, flags) = if answers {
        (NEW_NEIGHBOUR, CREATE | EXCL)
    } else {
        (DELETE_NEIGHBOUR, 0)
    };
    let (family, bytes) = octets(address);
    let mut message = Message::new(kind, ACK | flags);
    message.put(&[family, 0, 0, 0]);
    message.put(&link.to_ne_bytes());
    let mut rest = PERMANENT.to_ne_bytes().to_vec();
    rest.extend([PROXY, 0]);
    message.put(&rest);
    message.attribute(DESTINATION, &bytes);
    let outcome = socket.request(message);
    if answers {
        outcome
    } else {
        unless(Errno::NOENT, outcome)
    }
}

/// The link-local address that a MAC address gives (RFC 4291, appendix A).
pub(super) fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let half = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        half(a ^ 2, b),
        half(c, 0xff),
        half(0xfe, d),
        half(e, f),
    )
}

fn unless(harmless: Errno, outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if Errno::from_io_error(&error) == Some(harmless) => Ok(()),
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopbacks_address_is_listed() {
        let mut socket = Socket::open(None).unwrap();
        let list = addresses(&mut socket, None).unwrap();
        let is_loopback = |it: &Record| it.address().is_some_and(|address| address.is_loopback());
        if let Some(found) = list.iter().find(|it| is_loopback(it)) {
            assert_eq!(found.index(), Some(1));
        }
    }

    #[test]
    fn a_record_is_kept_as_text() {
        let record = Record(vec![2, 24, 0xff]);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, r#""0218ff""#);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        for wrong in [r#""0""#, r#""zz""#, r#""é""#] {
            assert!(serde_json::from_str::<Record>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mac_address_gives_a_link_local_one() {
        let mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        assert_eq!(link_local(mac).to_string(), "fe80::5054:ff:fe12:3456");
    }

    #[test]
    fn hops_that_are_cut_lead_nowhere() {
        assert!(hops_lead_to(&[8, 0, 0, 0, 7, 0, 0, 0], 7));
        assert!(!hops_lead_to(&[0, 0, 0, 0, 6, 0, 0, 0], 7));
        assert!(!hops_lead_to(&[8, 0, 0], 7));
    }
}
