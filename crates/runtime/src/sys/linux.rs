//! Linux: `SO_PEEK_OFF`, `MSG_ERRQUEUE`, datagrams in batches.
#![expect(
    unsafe_code,
    reason = "socket options and control messages that rustix does not know"
)]

mod datagram;
mod name;

#[cfg(test)]
pub(crate) use datagram::forbid_batches;
pub(crate) use datagram::{Inbox, enable_batches, send_messages};

use std::io::{self, Read, Write};
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use atoll_engine::HostError;
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

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

/// An IPv4 socket that never blocks and that no child inherits.
pub(crate) fn open_socket(kind: SocketType, protocol: Option<Protocol>) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::INET, kind, flags, protocol)
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

/// Keep ICMP errors, each with the address to which the datagram went.
pub(crate) fn enable_error_queue(fd: impl AsFd) -> io::Result<()> {
    set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1)
}

/// Where in what an ICMP echo socket receives the ICMP header begins.
pub(crate) fn icmp_reply_offset(_datagram: &[u8]) -> usize {
    0
}

/// Try `SO_PEEK_OFF` on a connection of our own: kernels before 6.9 refuse it, or take it and keep to the first byte.
pub(crate) fn peek_method() -> PeekMethod {
    match offset_works() {
        Ok(true) => PeekMethod::Offset,
        Ok(false) | Err(_) => PeekMethod::Skip,
    }
}

fn offset_works() -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
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

/// Take the oldest entry of the error queue; `None` when there is none. Entries that are no ICMP or local error of an IPv4
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
    let mut control = Control([MaybeUninit::uninit(); 256]);
    let mut name = MaybeUninit::<libc::sockaddr_in>::zeroed();
    // SAFETY: a `msghdr` of zeros has no name, no buffers and no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).unwrap_or(0);
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
    // SAFETY: the name was zeroed, and all zeros is a `sockaddr_in`.
    let name = unsafe { name.assume_init() };
    if i32::from(name.sin_family) != libc::AF_INET {
        return Ok(None);
    }
    let to = SocketAddrV4::new(
        Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr)),
        u16::from_be(name.sin_port),
    );
    // SAFETY: `message` was filled by the kernel and its control buffer still lives.
    let extended = unsafe { extended_error(&message) };
    Ok(extended.map(|(extended, router)| QueuedError {
        to,
        error: meaning(&extended, router.map(Into::into)),
        payload,
    }))
}

/// Find the `IP_RECVERR` control message.
///
/// # Safety
/// `message` must have been filled by `recvmsg`, and its control buffer must be alive.
unsafe fn extended_error(message: &libc::msghdr) -> Option<(libc::sock_extended_err, Option<Ipv4Addr>)> {
    // SAFETY: by the caller's promise.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: the kernel wrote a whole header here.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::IPPROTO_IP && kind == libc::IP_RECVERR {
            // SAFETY: an IP_RECVERR message holds a `sock_extended_err` and, behind it, a `sockaddr_in` (ip(7)).
            let (error, offender) = unsafe {
                let error = libc::CMSG_DATA(header).cast::<libc::sock_extended_err>();
                let offender = error.add(1).cast::<libc::sockaddr_in>();
                (error.read_unaligned(), offender.read_unaligned())
            };
            let router = (i32::from(offender.sin_family) == libc::AF_INET)
                .then(|| Ipv4Addr::from_bits(u32::from_be(offender.sin_addr.s_addr)));
            return Some((error, router));
        }
        // SAFETY: by the caller's promise.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

/// RFC 792 and RFC 1812, 5.2.7.1 type and code, or the local errno.
fn meaning(error: &libc::sock_extended_err, router: Option<IpAddr>) -> HostError {
    let by_errno = i32::try_from(error.ee_errno)
        .map(Errno::from_raw_os_error)
        .map_or(HostError::Other, host_error);
    let mtu = u16::try_from(error.ee_info).ok().filter(|&mtu| mtu > 0);
    if error.ee_origin != libc::SO_EE_ORIGIN_ICMP {
        return match by_errno {
            HostError::TooBig { .. } => HostError::TooBig { mtu },
            other => other,
        };
    }
    match (error.ee_type, error.ee_code) {
        (3, 0 | 5 | 6 | 11) => HostError::NetUnreachable,
        (3, 1 | 7 | 8 | 12) => HostError::HostUnreachable,
        (3, 2 | 3) => HostError::Refused,
        (3, 4) => HostError::TooBig { mtu },
        (3, 9 | 10 | 13) => HostError::Prohibited,
        (11, _) => HostError::TimeExceeded { router },
        _ => by_errno,
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
        if peek_method() != PeekMethod::Offset {
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
        if peek_method() != PeekMethod::Offset {
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
        let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let std::net::SocketAddr::V4(to) = closed.local_addr().unwrap() else {
            panic!("bound to IPv4");
        };
        drop(closed);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        enable_error_queue(&socket).unwrap();
        assert_eq!(next_error(&socket), None);
        socket.send_to(b"datagram", to).unwrap();
        let error = next_error(&socket).unwrap();
        assert_eq!((error.to, error.error), (to, HostError::Refused));
        assert_eq!(&error.payload, b"datagram");
        assert_eq!(next_error(&socket), None);
    }
}
