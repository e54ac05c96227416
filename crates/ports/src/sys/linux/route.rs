//! IPv6 addresses and routes of the current network namespace, by netlink (rtnetlink(7)).
//!
//! The ioctls of IPv4 have no flag for an address that is used at once, without a second of duplicate address detection
//! (RFC 4862, 5.4). A request is one message with a number, and its answer an errno behind that number; the layouts are those of
//! `linux/netlink.h`, `linux/if_addr.h` and `linux/rtnetlink.h`, in the machine's byte order, padded to four bytes.

use std::io;
use std::net::Ipv6Addr;

use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;

const ERROR: u16 = 2;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;

/// Bytes of the header: length, type, flags, number, port.
const HEADER: usize = 16;

/// The only number, for the socket carries one request.
const NUMBER: u32 = 1;

/// An address that is used at once, on a network where nobody else can have it.
pub(crate) fn add_address(name: &str, address: Ipv6Addr, prefix_len: u8) -> io::Result<()> {
    /// IFA_F_NODAD.
    const AT_ONCE: u8 = 0x02;
    const UNIVERSE: u8 = 0;
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    let index = index_of(name)?;
    let mut message = Message::new(NEW_ADDRESS);
    message.put(&[INET6, prefix_len, AT_ONCE, UNIVERSE]);
    message.put(&index.to_ne_bytes());
    message.attribute(LOCAL, &address.octets());
    message.attribute(ADDRESS, &address.octets());
    message.carry_out()
}

/// A route to everywhere by way of `gateway`.
pub(crate) fn add_default_route(name: &str, gateway: Ipv6Addr) -> io::Result<()> {
    const MAIN: u8 = 254;
    const BOOT: u8 = 3;
    const UNICAST: u8 = 1;
    const INTERFACE: u16 = 4;
    const GATEWAY: u16 = 5;
    let index = index_of(name)?;
    let mut message = Message::new(NEW_ROUTE);
    // Family, lengths of destination and source, type of service; table, origin, scope, type; flags.
    message.put(&[INET6, 0, 0, 0]);
    message.put(&[MAIN, BOOT, 0, UNICAST]);
    message.put(&[0; 4]);
    message.attribute(GATEWAY, &gateway.octets());
    message.attribute(INTERFACE, &index.to_ne_bytes());
    message.carry_out()
}

/// AF_INET6.
const INET6: u8 = 10;

fn index_of(name: &str) -> io::Result<u32> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(name_to_index(&socket, name)?)
}

/// A request.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16) -> Self {
        let mut message = Self(vec![0; 4]);
        message.put(&kind.to_ne_bytes());
        message.put(&(REQUEST | ACK | CREATE | EXCL).to_ne_bytes());
        message.put(&NUMBER.to_ne_bytes());
        message.put(&[0; 4]);
        message
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// An attribute whose value is a multiple of four bytes.
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.put(&len.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
    }

    fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0
    }

    fn carry_out(self) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC;
        // The protocol without a number is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        send(&socket, &self.finish(), SendFlags::empty())?;
        let mut answer = [0; 1024];
        let (_, count) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
        outcome(answer.get(..count).unwrap_or_default())
    }
}

/// What an answer says: no errno, or which.
fn outcome(answer: &[u8]) -> io::Result<()> {
    let kind = answer
        .get(4..6)
        .map(|kind| u16::from_ne_bytes([kind[0], kind[1]]));
    let errno = answer.get(HEADER..).and_then(|rest| rest.first_chunk::<4>());
    match (kind, errno.map(|bytes| i32::from_ne_bytes(*bytes))) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(errno)) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        _ => Err(Errno::PROTO.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u16, errno: i32) -> Vec<u8> {
        let mut answer = vec![0; HEADER];
        answer[4..6].copy_from_slice(&kind.to_ne_bytes());
        answer.extend_from_slice(&errno.to_ne_bytes());
        answer
    }

    #[test]
    fn an_answer_is_an_errno() {
        outcome(&answer(ERROR, 0)).unwrap();
        let refused = outcome(&answer(ERROR, -17)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        for wrong in [answer(NEW_ROUTE, 0), answer(ERROR, 0)[..18].to_vec(), Vec::new()] {
            outcome(&wrong).unwrap_err();
        }
    }

    #[test]
    fn a_message_says_how_long_it_is() {
        let mut message = Message::new(NEW_ROUTE);
        message.attribute(4, &7_u32.to_ne_bytes());
        let bytes = message.finish();
        assert_eq!(bytes.len(), HEADER + 8);
        assert_eq!(bytes[..4], 24_u32.to_ne_bytes());
        assert_eq!(bytes[HEADER..HEADER + 2], 8_u16.to_ne_bytes());
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        let error = add_default_route("atoll-none", Ipv6Addr::LOCALHOST).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NODEV));
    }
}
