//! Linux: `SO_PEEK_OFF`, `MSG_ERRQUEUE`, datagrams in batches.
#![expect(
    unsafe_code,
    reason = "socket options and control messages that rustix does not know"
)]

mod below;
mod clock;
mod datagram;
mod name;

pub(crate) use below::open_below;
pub(crate) use clock::read as read_clock;
#[cfg(test)]
pub(crate) use datagram::forbid_batches;
pub(crate) use datagram::{Inbox, enable_batches, send_messages};

use std::io::{self, Read, Write};
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use atoll_engine::{Family, HostError};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with, sockopt};

use name::Name;

use super::{PeekMethod, QueuedError};
use crate::errno::host_error;

pub(crate) mod namespace;

/// Descriptors that are received are not for the programs that we start.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;

/// Drop bytes from a receive queue, as many as lie there and as are asked for. With MSG_TRUNC TCP copies nothing (tcp(7)), so
/// there is no memory to copy to.
pub(crate) fn discard(fd: impl AsFd, bytes: usize, _scratch: &mut [u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_TRUNC | libc::MSG_DONTWAIT;
    // SAFETY: with MSG_TRUNC the kernel does not write to the buffer of a TCP socket, which has no length that counts.
    let count = unsafe { libc::recv(fd.as_fd().as_raw_fd(), std::ptr::null_mut(), bytes, flags) };
    usize::try_from(count).map_err(|_| Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// A socket of one family that never blocks and that no child inherits.
pub(crate) fn open_socket(
    family: Family,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(super::address_family(family), kind, flags, protocol)?;
    if family == Family::V6 {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    Ok(fd)
}

/// The number of a link by its name.
pub(crate) fn link_number(name: &str) -> Option<u32> {
    let socket = open_socket(Family::V4, SocketType::DGRAM, None);
    let socket = socket.or_else(|_| open_socket(Family::V6, SocketType::DGRAM, None));
    rustix::net::netdevice::name_to_index(socket.ok()?, name).ok()
}

/// A socket that is readable when links of the host were made, changed or deleted (rtnetlink(7), `RTMGRP_LINK`).
pub(crate) fn link_changes() -> io::Result<Option<OwnedFd>> {
    const LINKS: u32 = 1;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // Protocol 0 is NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, LINKS))?;
    Ok(Some(socket))
}

/// A descriptor that is readable when in one of these folders a name came or went or a file was written, or when `file` was written,
/// under whatever name (inotify(7)). Folders that are not there are left out.
pub(crate) fn file_changes(folders: &[PathBuf], file: &Path) -> io::Result<Option<OwnedFd>> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let names = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::MOVED_TO;
    let written = WatchFlags::CLOSE_WRITE;
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let folders = folders.iter().map(|folder| (folder.as_path(), names | written));
    for (path, events) in folders.chain([(file, written)]) {
        match add_watch(&inotify, path, events) {
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(inotify))
}

/// Whether a link is a bridge (`net/bridge/br_sysfs_br.c`).
pub(crate) fn is_bridge(name: &str) -> bool {
    !name.contains('/') && Path::new(&format!("/sys/class/net/{name}/bridge")).is_dir()
}

fn set_option(fd: impl AsFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    // SAFETY: `value` is valid for reads of `len` bytes, its size.
    let status = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            len,
        )
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Let the next peek begin this many bytes behind the first unread one. Peeks move the offset on by what they
/// returned, reads move it back.
pub(crate) fn set_peek_offset(fd: impl AsFd, offset: i32) -> io::Result<()> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, offset)
}

/// What a connection is always watched for. A read ends before urgent data (tcp(7)), of which `EPOLLPRI` tells.
pub(crate) fn stream_interest() -> mio::Interest {
    mio::Interest::READABLE | mio::Interest::PRIORITY
}

/// Keep ICMP errors, each with the address to which the datagram went. Of IPv6 also that a packet was too big: the kernel keeps
/// what it learns of the path, and from then on sends larger datagrams in fragments, as it does for IPv4.
pub(crate) fn enable_error_queue(fd: impl AsFd, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        Family::V6 => {
            let discover = libc::IPV6_PMTUDISC_WANT;
            set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, discover)?;
            set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1)
        }
    }
}

/// Keep no ICMP errors any more.
pub(crate) fn disable_error_queue(fd: impl AsFd, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 0),
        Family::V6 => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 0),
    }
}

/// Let every datagram come with the address of the host's to which it went, and let it be said from which one answers leave
/// (`IP_PKTINFO`, ip(7); RFC 3542, 6).
pub(crate) fn enable_local_addresses(fd: impl AsFd, family: Family) -> io::Result<()> {
    match family {
        Family::V4 => set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        Family::V6 => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Where in what an ICMP echo socket receives the ICMP header begins.
pub(crate) fn icmp_reply_offset(_family: Family, _datagram: &[u8]) -> usize {
    0
}

/// Try `SO_PEEK_OFF` on a connection of our own: kernels before 6.9 refuse it, or take it and keep to the first byte. For
/// IPv6, kernels before 6.11 refuse it, whatever they do for IPv4.
pub(crate) fn peek_method(family: Family) -> PeekMethod {
    let takes_it = || {
        let socket = open_socket(family, SocketType::STREAM, None);
        socket.is_ok_and(|socket| set_peek_offset(socket, 0).is_ok())
    };
    match offset_works() {
        Ok(true) if family == Family::V4 || takes_it() => PeekMethod::Offset,
        Ok(_) | Err(_) => PeekMethod::Skip,
    }
}

fn offset_works() -> io::Result<bool> {
    let own: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
    let listener = TcpListener::bind(&own[..])?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(Duration::from_secs(1)))?;
    sender.write_all(b"abcdefgh")?;
    set_peek_offset(&receiver, 2)?;
    let mut two = [0; 2];
    let mut peek = || -> io::Result<[u8; 2]> {
        let (_, _) = recv(&receiver, &mut two[..], RecvFlags::PEEK)?;
        Ok(two)
    };
    // The second peek goes on where the first ended; reading one byte moves the offset back by one.
    let moves_on = peek()? == *b"cd" && peek()? == *b"ef";
    receiver.read_exact(&mut [0])?;
    let mut last = [0; 2];
    recv(&receiver, &mut last[..], RecvFlags::PEEK)?;
    Ok(moves_on && last == *b"gh")
}

/// Room for one `sock_extended_err`, the address behind it, and their header.
#[repr(C, align(8))]
struct Control([MaybeUninit<u8>; 256]);

/// Take the oldest entry of the error queue; `None` when there is none. Entries that are no ICMP or local error of a
/// datagram are skipped.
pub(crate) fn next_error(fd: impl AsFd) -> Option<QueuedError> {
    loop {
        match receive_error(&fd) {
            Ok(Some(error)) => return Some(error),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
}

fn receive_error(fd: impl AsFd) -> io::Result<Option<QueuedError>> {
    let mut payload = [0_u8; 8];
    let mut iov = libc::iovec {
        iov_base: payload.as_mut_ptr().cast(),
        iov_len: payload.len(),
    };
    let mut control = Control([MaybeUninit::zeroed(); 256]);
    let mut name = Name::empty();
    // SAFETY: a `msghdr` of zeros has no name, no buffers and no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = libc::socklen_t::try_from(size_of::<Name>()).unwrap_or(0);
    message.msg_iov = &raw mut iov;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>();
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: every pointer in `message` leads to a local that is as long as the length beside it says.
    let status = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, flags) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    let Some(to) = name.address() else {
        return Ok(None);
    };
    // SAFETY: `message` was filled by the kernel and its control buffer still lives.
    let extended = unsafe { extended_error(&message) };
    Ok(extended.map(|(extended, router)| QueuedError {
        to,
        error: meaning(&extended, router),
        payload,
    }))
}

/// Find the `IP_RECVERR` or `IPV6_RECVERR` control message.
///
/// # Safety
/// `message` must have been filled by `recvmsg`, and its control buffer must be alive.
unsafe fn extended_error(message: &libc::msghdr) -> Option<(libc::sock_extended_err, Option<IpAddr>)> {
    const KINDS: [(libc::c_int, libc::c_int); 2] = [
        (libc::IPPROTO_IP, libc::IP_RECVERR),
        (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    ];
    // SAFETY: by the caller's promise.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: the kernel wrote a whole header here.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if KINDS.contains(&(level, kind)) {
            // SAFETY: the message begins with a `sock_extended_err` (ip(7)).
            let (error, offender) = unsafe {
                let error = libc::CMSG_DATA(header).cast::<libc::sock_extended_err>();
                (error.read_unaligned(), error.add(1))
            };
            // SAFETY: behind it lies the offender's address, a `sockaddr_in` or a `sockaddr_in6` (ip(7), ipv6(7)); the control
            // buffer has room for the larger of the two there, whichever came.
            let offender = unsafe { offender.cast::<Name>().read_unaligned() };
            return Some((error, offender.address().map(|router| router.ip())));
        }
        // SAFETY: by the caller's promise.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// What an errno can be (`MAX_ERRNO`).
const ERRNOS: std::ops::Range<i32> = 1..4096;

/// Type and code, of RFC 792 and RFC 1812, 5.2.7.1, or of RFC 4443, 3; or the local errno.
fn meaning(error: &libc::sock_extended_err, router: Option<IpAddr>) -> HostError {
    let errno = i32::try_from(error.ee_errno)
        .ok()
        .filter(|errno| ERRNOS.contains(errno));
    let by_errno = errno.map_or(HostError::Other, |errno| {
        host_error(Errno::from_raw_os_error(errno))
    });
    let mtu = u16::try_from(error.ee_info).ok().filter(|&mtu| mtu > 0);
    match (error.ee_origin, error.ee_type, error.ee_code) {
        (libc::SO_EE_ORIGIN_ICMP, 3, 0 | 5 | 6 | 11) => HostError::NetUnreachable,
        (libc::SO_EE_ORIGIN_ICMP, 3, 1 | 7 | 8 | 12) => HostError::HostUnreachable,
        (libc::SO_EE_ORIGIN_ICMP, 3, 2 | 3) => HostError::Refused,
        (libc::SO_EE_ORIGIN_ICMP, 3, 4) => HostError::TooBig { mtu },
        (libc::SO_EE_ORIGIN_ICMP, 3, 9 | 10 | 13) => HostError::Prohibited,
        (libc::SO_EE_ORIGIN_ICMP, 11, _) => HostError::TimeExceeded { router },
        (libc::SO_EE_ORIGIN_ICMP6, 1, 0 | 2) => HostError::NetUnreachable,
        (libc::SO_EE_ORIGIN_ICMP6, 1, 1 | 5 | 6) => HostError::Prohibited,
        (libc::SO_EE_ORIGIN_ICMP6, 1, 3) => HostError::HostUnreachable,
        (libc::SO_EE_ORIGIN_ICMP6, 1, 4) => HostError::Refused,
        (libc::SO_EE_ORIGIN_ICMP6, 2, _) => HostError::TooBig { mtu },
        (libc::SO_EE_ORIGIN_ICMP6, 3, _) => HostError::TimeExceeded { router },
        (libc::SO_EE_ORIGIN_ICMP | libc::SO_EE_ORIGIN_ICMP6, ..) => by_errno,
        _ => match by_errno {
            HostError::TooBig { .. } => HostError::TooBig { mtu },
            other => other,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;
    use std::net::{Shutdown, UdpSocket};

    use rustix::net::{RecvAncillaryBuffer, recvmsg};

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (sender, listener.accept().unwrap().0)
    }

    fn peek(socket: &TcpStream, len: usize) -> Vec<u8> {
        let mut buf = vec![0; len];
        let mut slices = [IoSliceMut::new(&mut buf)];
        let count = recvmsg(
            socket,
            &mut slices,
            &mut RecvAncillaryBuffer::default(),
            RecvFlags::PEEK,
        )
        .unwrap()
        .bytes;
        buf.truncate(count);
        buf
    }

    #[test]
    fn discarding_with_msg_trunc_moves_the_peek_offset_back() {
        if peek_method(Family::V4) != PeekMethod::Offset {
            return;
        }
        let (mut sender, receiver) = pair();
        sender.write_all(b"0123456789").unwrap();
        set_peek_offset(&receiver, 4).unwrap();
        assert_eq!(peek(&receiver, 2), b"45");
        let mut scratch = [0xee; 3];
        let (_, count) = recv(&receiver, &mut scratch[..], RecvFlags::TRUNC).unwrap();
        assert_eq!(count, 3);
        assert_eq!(scratch, [0xee; 3], "nothing is copied");
        assert_eq!(
            peek(&receiver, 9),
            b"6789",
            "six bytes were peeked, three are gone"
        );
        set_peek_offset(&receiver, 0).unwrap();
        assert_eq!(peek(&receiver, 9), b"3456789");
    }

    #[test]
    fn the_end_is_seen_behind_data_that_is_unread() {
        if peek_method(Family::V4) != PeekMethod::Offset {
            return;
        }
        let (mut sender, receiver) = pair();
        sender.write_all(b"ab").unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
        set_peek_offset(&receiver, 0).unwrap();
        assert_eq!(peek(&receiver, 9), b"ab");
        assert_eq!(peek(&receiver, 9), b"");
        set_peek_offset(&receiver, 0).unwrap();
        assert_eq!(peek(&receiver, 9), b"ab");
    }

    #[test]
    fn a_refused_datagram_is_told_with_its_destination() {
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        for address in loopback {
            // Where the host's loopback has no IPv6 there is nothing to see.
            let Ok(closed) = UdpSocket::bind((address, 0)) else {
                continue;
            };
            let to = closed.local_addr().unwrap();
            drop(closed);
            let socket = UdpSocket::bind((address, 0)).unwrap();
            enable_error_queue(&socket, Family::of(address)).unwrap();
            assert_eq!(next_error(&socket), None);
            socket.send_to(b"datagram", to).unwrap();
            let error = next_error(&socket).unwrap();
            assert_eq!((error.to, error.error), (to, HostError::Refused));
            assert_eq!(&error.payload, b"datagram");
            assert_eq!(next_error(&socket), None);
        }
    }

    #[test]
    fn an_icmp_error_means_what_its_rfc_says() {
        let error = |ee_origin, ee_type, ee_code| libc::sock_extended_err {
            ee_errno: 0,
            ee_origin,
            ee_type,
            ee_code,
            ee_pad: 0,
            ee_info: 1280,
            ee_data: 0,
        };
        let (v4, v6) = (libc::SO_EE_ORIGIN_ICMP, libc::SO_EE_ORIGIN_ICMP6);
        let router = Some(Ipv6Addr::LOCALHOST.into());
        for (origin, kind, code, expected) in [
            (v4, 3, 3, HostError::Refused),
            (v4, 3, 13, HostError::Prohibited),
            (v4, 11, 0, HostError::TimeExceeded { router }),
            (v6, 1, 0, HostError::NetUnreachable),
            (v6, 1, 1, HostError::Prohibited),
            (v6, 1, 3, HostError::HostUnreachable),
            (v6, 1, 4, HostError::Refused),
            (v6, 2, 0, HostError::TooBig { mtu: Some(1280) }),
            (v6, 3, 0, HostError::TimeExceeded { router }),
            (v6, 4, 1, HostError::Other),
        ] {
            assert_eq!(
                meaning(&error(origin, kind, code), router),
                expected,
                "{origin}, {kind}, {code}"
            );
        }
    }

    #[test]
    fn a_socket_of_ipv6_leaves_ipv4_to_others() {
        let Ok(six) = open_socket(Family::V6, SocketType::DGRAM, None) else {
            return;
        };
        if rustix::net::bind(&six, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).is_err() {
            return;
        }
        let port = UdpSocket::from(six).local_addr().unwrap().port();
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    }
}
