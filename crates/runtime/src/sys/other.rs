//! Systems without `SO_PEEK_OFF`, error queues, and many datagrams in one call.
#![expect(unsafe_code, reason = "a link's number is told by the C library only")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use atoll_wire::{Family, FrameBuf};
use rustix::io::Errno;
use rustix::net::{
    Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketType, recvfrom, sendto, socket, sockopt,
};

use super::{Ask, MAX_MESSAGES, Outgoing, PeekMethod, QueuedError, Received};

/// There is no such flag.
pub(crate) const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();

/// Drop bytes from a receive queue by reading them.
pub(crate) fn discard(fd: impl AsFd, bytes: usize, scratch: &mut [u8]) -> Result<usize, Errno> {
    let room = bytes.min(scratch.len());
    rustix::net::recv(fd, &mut scratch[..room], RecvFlags::DONTWAIT).map(|(_, count)| count)
}

/// A socket of one family that never blocks and that no child inherits.
pub(crate) fn open_socket(
    family: Family,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> Result<OwnedFd, Errno> {
    let fd = socket(super::address_family(family), kind, protocol)?;
    if family == Family::V6 {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

/// Never asked for: bytes are kept here.
pub(crate) fn set_peek_offset(_fd: impl AsFd, _offset: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What a connection is always watched for: urgent data are read like others, in a loop.
pub(crate) fn stream_interest() -> mio::Interest {
    mio::Interest::READABLE
}

/// Not asked for: answers leave from the address that the system prefers.
pub(crate) fn enable_local_addresses(_fd: impl AsFd, _family: Family) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is no such queue; errors come from the next call on the socket.
pub(crate) fn enable_error_queue(_fd: impl AsFd, _family: Family) -> io::Result<()> {
    Ok(())
}

/// There is no such queue.
pub(crate) fn disable_error_queue(_fd: impl AsFd, _family: Family) -> io::Result<()> {
    Ok(())
}

/// There is no such queue.
pub(crate) fn next_error(_fd: impl AsFd) -> Option<QueuedError> {
    None
}

/// BSD's ICMP sockets return the IPv4 header too, whose length is in its first byte, in words; of IPv6 they return none.
pub(crate) fn icmp_reply_offset(family: Family, datagram: &[u8]) -> usize {
    match family {
        Family::V4 => datagram.first().map_or(0, |first| usize::from(first & 0x0f) * 4),
        Family::V6 => 0,
    }
}

/// The number of a link by its name.
pub(crate) fn link_number(name: &str) -> Option<u32> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: the name is a C string that outlives the call.
    let number = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (number > 0).then_some(number)
}

/// Nobody tells.
pub(crate) fn link_changes() -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// Nobody tells.
pub(crate) fn file_changes(_folders: &[PathBuf], _file: &Path) -> io::Result<Option<OwnedFd>> {
    Ok(None)
}

/// Bridges of the system's are not for us to join.
pub(crate) fn is_bridge(_name: &str) -> bool {
    false
}

/// Bytes are read and kept.
pub(crate) fn peek_method(_family: Family) -> PeekMethod {
    PeekMethod::Keep
}

pub(crate) mod namespace {
    //! There are no namespaces: every call says so.

    use std::io;
    use std::os::fd::{OwnedFd, RawFd};
    use std::path::Path;

    fn unsupported<T>() -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn inherited(_number: RawFd) -> io::Result<OwnedFd> {
        unsupported()
    }

    pub(crate) fn leave() -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn leave_users() -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn leave_network() -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn end_with_starter() -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn keep_mounts() -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn mount_memory(_folder: &Path) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn mount_over(_source: &Path, _target: &Path) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn unmount_folder(_folder: &Path) -> io::Result<()> {
        unsupported()
    }
}

/// Opens a file for reading, part by part, so that no link leads elsewhere.
pub(crate) fn open_below(folder: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let mut parts = path.split('/').peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        if matches!(part, "" | "..") {
            return Err(Errno::XDEV);
        }
        let is_last = parts.peek().is_none();
        let flags = if is_last { flags } else { flags | OFlags::DIRECTORY };
        let next = match &at {
            Some(folder) => openat(folder, part, flags, Mode::empty()),
            None => openat(&folder, part, flags, Mode::empty()),
        };
        at = Some(next?);
    }
    at.ok_or(Errno::NOENT)
}

/// What the clock says. Who keeps it in time is not asked for.
pub(crate) fn read_clock() -> atoll_engine::ClockReading {
    super::untold()
}

/// There are no batches.
pub(crate) fn enable_batches(_fd: impl AsFd) -> bool {
    false
}

/// There are none to forbid.
#[cfg(test)]
pub(crate) fn forbid_batches(_fd: impl AsFd) {}

/// Send the first message, which is one datagram. How many were sent.
pub(crate) fn send_messages(fd: impl AsFd, messages: &[Outgoing<'_>]) -> Result<usize, Errno> {
    let Some(message) = messages.first() else {
        return Ok(0);
    };
    let payload = message.slices.first().map_or(&[][..], |slice| &slice[..]);
    sendto(fd, payload, SendFlags::empty(), &message.to).map(|_| 1)
}

/// Receives datagrams into frames.
#[derive(Debug)]
pub(crate) struct Inbox {
    scratch: Vec<u8>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            scratch: vec![0; 1 << 16],
        }
    }

    /// Receive until there is no more, or as many as were asked for.
    pub(crate) fn receive(&mut self, fd: impl AsFd, ask: Ask) -> Result<Received, Errno> {
        let mut received = Received {
            datagrams: Vec::new(),
            locals: Vec::new(),
            more: true,
            dropped: None,
        };
        for _ in 0..ask.count.clamp(1, MAX_MESSAGES) {
            match recvfrom(&fd, &mut self.scratch[..], RecvFlags::DONTWAIT) {
                Ok((_, len, from)) => {
                    let payload = FrameBuf::copy_from(self.scratch.get(..len).unwrap_or_default());
                    if let Some(from) = from.and_then(address) {
                        received.datagrams.push((from, payload.into()));
                    }
                }
                Err(Errno::AGAIN) => {
                    received.more = false;
                    break;
                }
                Err(errno) if received.datagrams.is_empty() => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(received)
    }
}

fn address(from: SocketAddrAny) -> Option<SocketAddr> {
    from.try_into().ok()
}
