//! The host side of a TCP flow: one non-blocking socket.
//!
//! Guest to host: [`TcpSocket::send`] hands the kernel slices of the guest's own frames, as many as it takes.
//! Host to guest: [`TcpSocket::peek`] copies from the receive queue straight into the frames that will carry the bytes
//! and leaves them there; [`TcpSocket::discard`] drops them when the guest has them. So the kernel's queue is the only buffer,
//! and its window tells the sender how fast the guest is. How a peek skips the bytes in flight is [`PeekMethod`]'s affair.
//!
//! `connecting -> open -> failed`: the first writable event ends the first state, any error any state. The end of the
//! stream is known when the kernel said so (`EPOLLRDHUP`) and a peek returned less than was asked for: then nothing lies behind.
//!
//! Urgent data is part of the stream (RFC 6093, 6). A read ends before it, so that a peek which returned less than was asked for proves
//! nothing once the kernel told of any: then it is repeated behind what it returned. Where bytes are skipped by copying them, what
//! lies behind an urgent byte among them is seen when that is discarded.
//!
//! A write to a connection that was reset would raise SIGPIPE; Rust's runtime ignores it, so it is EPIPE here.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use atoll_engine::HostError;
use atoll_wire::{Family, FrameBuf};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketType, connect, getsockname, recv, socket, sockopt,
};

use crate::errno::{host_error, queued_errors};
use crate::hops::Hops;
use crate::prefix::Prefix;
use crate::sys::{self, Arena, Cut, PeekMethod};

/// Slices in one call: the kernel takes 1024 (`IOV_MAX`), and one may be needed to skip.
const SLICES: usize = 1023;

/// A first write of no more than this fits one segment on any link, and leaves with Nagle's algorithm at once.
const ONE_SEGMENT: usize = 512;

/// So few bytes are cheaper to skip by copying them than by telling the kernel where to begin.
const CHEAP_SKIP: u32 = 512;

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    Open,
    Failed,
}

/// A connection of the host.
#[derive(Debug)]
pub(crate) struct TcpSocket {
    fd: OwnedFd,
    /// `None`: a unix socket, whose bytes are kept here until the guest has them.
    family: Option<Family>,
    pub(crate) phase: Phase,
    /// The peer sent FIN: what lies in the queue is all there will be.
    pub(crate) read_closed: bool,
    /// The peer has sent urgent data.
    pub(crate) has_urgent: bool,
    /// We sent FIN.
    finished: bool,
    /// Whether the loop is told when the kernel takes more; that is asked for when it first takes less than it was offered.
    pub(crate) is_watched_for_writing: bool,
    nagle: Nagle,
    /// While it connects: the hop limit of its handshake, where the guest wants that to cross few routers only.
    handshake: Option<Hops>,
    /// Where the kernel begins the next peek, once it was told.
    peek_offset: Option<u32>,
    /// Bytes read and not discarded, where the kernel cannot keep them.
    kept: VecDeque<u8>,
    /// What is read before the socket's own bytes.
    pub(crate) prefix: Prefix,
}

/// Nagle's algorithm (RFC 9293, 3.7.4) holds back small segments behind what is not acknowledged. It is switched off when a second
/// write could meet it: a connection with one short request costs a system call less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nagle {
    NothingWritten,
    WroteOne,
    Off,
}

/// What a peek asks for, as in [`Action::TcpPeek`](atoll_engine::Action::TcpPeek).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeekRequest {
    pub(crate) offset: u32,
    pub(crate) segment: u16,
    pub(crate) count: u16,
}

/// What lies in the receive queue.
#[derive(Debug)]
pub(crate) struct Peeked {
    pub(crate) segments: Vec<FrameBuf>,
    pub(crate) end: bool,
}

/// Buffers that peeks and discards share.
#[derive(Debug)]
pub(crate) struct Peeker {
    v4: PeekMethod,
    v6: PeekMethod,
    /// Frames are made from this.
    arena: Arena,
    /// Bytes that are skipped or dropped are copied to here, if anywhere.
    scratch: Vec<u8>,
}

impl Peeker {
    /// What this system is capable of; a kernel may have learnt it for one family first.
    pub(crate) fn new() -> Self {
        Self::with(sys::peek_method(Family::V4), sys::peek_method(Family::V6))
    }

    fn with(v4: PeekMethod, v6: PeekMethod) -> Self {
        Self {
            v4,
            v6,
            arena: Arena::default(),
            scratch: vec![0; 64 * 1024],
        }
    }

    fn method(&self, family: Option<Family>) -> PeekMethod {
        match family {
            Some(Family::V4) => self.v4,
            Some(Family::V6) => self.v6,
            None => PeekMethod::Keep,
        }
    }
}

impl Drop for TcpSocket {
    /// A connection that goes before FIN was sent is reset, also when the whole network ends: closed in the ordinary way it
    /// would tell its peer that the stream is whole.
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = sockopt::set_socket_linger(&self.fd, Some(Duration::ZERO))
        {
            tracing::debug!("a connection is closed without RST: {error}");
        }
    }
}

impl TcpSocket {
    /// Begin to connect. A peer on this host has answered when the call returns, which tells only who calls again; that costs less
    /// than to wait for readiness. With `hops` the handshake crosses no more routers than these, and the error tells where it ended.
    pub(crate) fn connect(to: SocketAddr, hops: Option<u8>) -> Result<Self, HostError> {
        let family = Family::of(to.ip());
        let fd = sys::open_socket(family, SocketType::STREAM, None).map_err(host_error)?;
        let mut tcp = Self::new(fd, Some(family), Phase::Connecting);
        if hops.is_some() {
            tcp.limit(family, hops);
        }
        for _ in 0..2 {
            match connect(&tcp.fd, &to) {
                Ok(()) | Err(Errno::ISCONN) => {
                    tcp.open();
                    break;
                }
                Err(Errno::INPROGRESS | Errno::ALREADY | Errno::INTR) => {}
                Err(errno) => return Err(tcp.told().unwrap_or(host_error(errno))),
            }
        }
        Ok(tcp)
    }

    /// Let the handshake cross few routers, and hear of the one at which it ends (Linux from 5.8: before, and elsewhere, that is a
    /// host that cannot be reached).
    fn limit(&mut self, family: Family, hops: Option<u8>) {
        let mut limit = Hops::of(family);
        limit.set(&self.fd, hops);
        self.handshake = Some(limit);
        if let Err(error) = sys::enable_error_queue(&self.fd, family) {
            tracing::debug!("where a handshake ends is not known: {error}");
        }
    }

    /// The connection is made. From here it is one like any other: an ICMP error is no end to it (RFC 1122, 4.2.3.9).
    pub(crate) fn open(&mut self) {
        self.phase = Phase::Open;
        if let Some(mut limit) = self.handshake.take() {
            limit.set(&self.fd, None);
            if let Err(error) = self
                .family
                .map_or(Ok(()), |family| sys::disable_error_queue(&self.fd, family))
            {
                tracing::debug!("a connection hears of ICMP errors: {error}");
            }
        }
    }

    /// What the error queue says of a handshake that was to cross few routers.
    fn told(&self) -> Option<HostError> {
        let _limited = self.handshake.as_ref()?;
        queued_errors(&self.fd).last().map(|queued| queued.error)
    }

    /// Connect to a unix socket of the host, which happens at once or not at all. Nobody there, no file, a full queue and no permission
    /// are a port at which nobody listens.
    pub(crate) fn connect_unix(path: &Path) -> Result<Self, HostError> {
        let address = SocketAddrUnix::new(path).map_err(|_| HostError::Refused)?;
        let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None).map_err(host_error)?;
        let prepared = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)
            .and_then(|()| rustix::io::ioctl_fionbio(&fd, true));
        prepared.map_err(host_error)?;
        connect(&fd, &address).map_err(|error| {
            tracing::debug!("no connection to {}: {error}", path.display());
            HostError::Refused
        })?;
        Ok(Self::new(fd, None, Phase::Open))
    }

    /// A connection that a forward accepted, non-blocking already.
    pub(crate) fn adopt(fd: OwnedFd) -> Self {
        let family = match getsockname(&fd).map(|name| name.address_family()) {
            Ok(AddressFamily::INET6) => Some(Family::V6),
            Ok(AddressFamily::UNIX) => None,
            _ => Some(Family::V4),
        };
        Self::new(fd, family, Phase::Open)
    }

    fn new(fd: OwnedFd, family: Option<Family>, phase: Phase) -> Self {
        if family.is_some()
            && let Err(error) = sockopt::set_socket_oobinline(&fd, true)
        {
            tracing::debug!("a socket keeps urgent data out of its stream: {error}");
        }
        Self {
            fd,
            family,
            phase,
            read_closed: false,
            has_urgent: false,
            finished: false,
            is_watched_for_writing: false,
            nagle: family.map_or(Nagle::Off, |_| Nagle::NothingWritten),
            handshake: None,
            peek_offset: None,
            kept: VecDeque::new(),
            prefix: Prefix::default(),
        }
    }

    /// So many bytes are about to be written.
    fn prepare(&mut self, bytes: usize) {
        match self.nagle {
            Nagle::NothingWritten if bytes <= ONE_SEGMENT => self.nagle = Nagle::WroteOne,
            Nagle::NothingWritten | Nagle::WroteOne => {
                self.nagle = Nagle::Off;
                if let Err(error) = sockopt::set_tcp_nodelay(&self.fd, true) {
                    tracing::debug!("a socket keeps Nagle's algorithm: {error}");
                }
            }
            Nagle::Off => {}
        }
    }

    /// The error that waits at the socket, if there is one.
    pub(crate) fn take_error(&self) -> Option<HostError> {
        match sockopt::socket_error(&self.fd) {
            Ok(Ok(())) => None,
            Ok(Err(errno)) | Err(errno) => Some(self.told().unwrap_or(host_error(errno))),
        }
    }

    /// Write once: bytes offered and taken; `None` when the kernel takes nothing now.
    pub(crate) fn send<'a>(
        &mut self,
        outgoing: impl ExactSizeIterator<Item = &'a [u8]>,
    ) -> Result<Option<(usize, usize)>, HostError> {
        let slices: Vec<IoSlice<'_>> = outgoing.take(SLICES).map(IoSlice::new).collect();
        let offered = slices.iter().map(|slice| slice.len()).sum();
        if offered == 0 {
            return Ok(Some((0, 0)));
        }
        self.prepare(offered);
        match rustix::io::writev(&self.fd, &slices) {
            Ok(taken) => Ok(Some((offered, taken))),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::INTR) => Ok(Some((offered, 0))),
            Err(errno) => Err(host_error(errno)),
        }
    }

    /// Send FIN. What was written goes before it.
    pub(crate) fn shutdown(&mut self) {
        self.finished = true;
        if let Err(error) = rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Write) {
            tracing::debug!("cannot end the sending side: {error}");
        }
    }

    /// Close with RST.
    pub(crate) fn reset(mut self) {
        self.finished = false;
    }

    /// Copy bytes from the receive queue and leave them there.
    pub(crate) fn peek(&mut self, peeker: &mut Peeker, mut ask: PeekRequest) -> Result<Peeked, HostError> {
        ask.offset = ask
            .offset
            .saturating_sub(u32::try_from(self.prefix.len()).unwrap_or(u32::MAX));
        let count = usize::from(ask.count).min(SLICES);
        let wanted = usize::from(ask.segment) * count;
        if peeker.method(self.family) == PeekMethod::Keep {
            return self.peek_kept(ask, wanted);
        }
        let segment = usize::from(ask.segment);
        let (mut segments, mut filled) = (Vec::new(), 0);
        loop {
            let offset = ask
                .offset
                .saturating_add(u32::try_from(filled).unwrap_or(u32::MAX));
            let count = (wanted - filled).div_ceil(segment.max(1));
            let (found, bytes) = self.fill(peeker, offset, Cut { segment, count })?;
            segments.extend(found);
            filled += bytes.unwrap_or(0);
            let ends_before_urgent = self.has_urgent && bytes.is_some_and(|bytes| bytes > 0);
            if filled >= wanted || !ends_before_urgent {
                let end = self.read_closed && filled < wanted && bytes.is_some();
                return Ok(Peeked { segments, end });
            }
        }
    }

    /// One `recvmsg` that leaves the bytes in the queue: what it found, and how much; `None` when it may have ended before the offset.
    fn fill(
        &mut self,
        peeker: &mut Peeker,
        offset: u32,
        cut: Cut,
    ) -> Result<(Vec<FrameBuf>, Option<usize>), HostError> {
        let mut skip = 0;
        let is_cheap = self.peek_offset.is_none() && offset <= CHEAP_SKIP && !self.has_urgent;
        if peeker.method(self.family) == PeekMethod::Offset && !is_cheap {
            if self.peek_offset != Some(offset) {
                let value = i32::try_from(offset).map_err(|_| HostError::Other)?;
                sys::set_peek_offset(&self.fd, value).map_err(|error| crate::errno::host_error_of(&error))?;
                self.peek_offset = Some(offset);
            }
        } else {
            // A kernel that was told nothing begins at the first byte.
            skip = usize::try_from(offset).unwrap_or(usize::MAX);
            if peeker.scratch.len() < skip {
                peeker.scratch.resize(skip, 0);
            }
        }
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let skipped = &mut peeker.scratch[..skip];
        match peeker.arena.receive(&self.fd, skipped, cut, flags) {
            Ok((segments, copied)) => {
                let ends_early = skip > 0 && self.has_urgent;
                let filled = copied
                    .checked_sub(skip)
                    .filter(|filled| *filled > 0 || !ends_early);
                let bytes = u32::try_from(filled.unwrap_or(0)).unwrap_or(u32::MAX);
                self.peek_offset = self.peek_offset.map(|offset| offset.saturating_add(bytes));
                Ok((segments, filled))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok((Vec::new(), Some(0))),
            Err(errno) => Err(host_error(errno)),
        }
    }

    /// Drop bytes from the front of the receive queue.
    pub(crate) fn discard(&mut self, peeker: &mut Peeker, bytes: u32) -> Result<(), HostError> {
        let bytes = self.prefix.discard(bytes);
        let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
        if peeker.method(self.family) == PeekMethod::Keep {
            self.kept.drain(..left.min(self.kept.len()));
            if self.kept.is_empty() {
                self.kept = VecDeque::new();
            }
            return Ok(());
        }
        while left > 0 {
            match sys::discard(&self.fd, left, &mut peeker.scratch) {
                Ok(0) | Err(Errno::AGAIN) => break,
                Ok(count) => left = left.saturating_sub(count),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(host_error(errno)),
            }
        }
        // The kernel moved its own offset back by as much.
        self.peek_offset = self.peek_offset.map(|offset| offset.saturating_sub(bytes));
        Ok(())
    }

    /// Where the kernel cannot peek: read what is asked for, and copy from what was kept.
    fn peek_kept(&mut self, ask: PeekRequest, wanted: usize) -> Result<Peeked, HostError> {
        let offset = usize::try_from(ask.offset).unwrap_or(usize::MAX);
        let mut chunk = [0_u8; 16 * 1024];
        let mut end = false;
        while self.kept.len() < offset.saturating_add(wanted) {
            let room = (offset + wanted - self.kept.len()).min(chunk.len());
            match recv(&self.fd, &mut chunk[..room], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => {
                    end = true;
                    break;
                }
                Ok((_, count)) => self.kept.extend(&chunk[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(host_error(errno)),
            }
        }
        let bytes: Vec<u8> = self.kept.iter().skip(offset).take(wanted).copied().collect();
        let segments = bytes
            .chunks(usize::from(ask.segment).max(1))
            .map(FrameBuf::copy_from)
            .collect();
        Ok(Peeked { segments, end })
    }
}

impl AsFd for TcpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
#[path = "tcp_tests.rs"]
mod tests;
