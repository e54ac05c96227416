//! What differs between systems, and the only place of `unsafe` in this crate.
//!
//! On Linux TCP data can be peeked at any offset and dropped without a copy, and sockets tell in an error queue which
//! datagram an ICMP error was about. Elsewhere there is neither.

mod arena;
mod interfaces;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::{
    CLOSE_ON_EXEC, Inbox, disable_error_queue, discard, enable_batches, enable_error_queue,
    enable_local_addresses, file_changes, icmp_reply_offset, is_bridge, link_changes, link_number, namespace,
    next_error, open_below, open_socket, peek_method, read_clock, send_messages, set_peek_offset,
    stream_interest,
};

#[cfg(all(test, target_os = "linux"))]
pub(crate) use linux::forbid_batches;

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{
    CLOSE_ON_EXEC, Inbox, disable_error_queue, discard, enable_batches, enable_error_queue,
    enable_local_addresses, file_changes, icmp_reply_offset, is_bridge, link_changes, link_number, namespace,
    next_error, open_below, open_socket, peek_method, read_clock, send_messages, set_peek_offset,
    stream_interest,
};

#[cfg(all(test, not(target_os = "linux")))]
pub(crate) use other::forbid_batches;

pub(crate) use arena::{Arena, Cut};
pub(crate) use interfaces::{host_addresses, interface_addresses};

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use atoll_engine::{ClockReading, ClockState, Datagrams, Family, HostError, Leap};
use rustix::net::AddressFamily;

/// The system's word for a family.
pub(crate) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    }
}

/// The clock alone. One that stands before 1970 stands there.
pub(crate) fn untold() -> ClockReading {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    ClockReading {
        since_1970: since_1970.unwrap_or(Duration::ZERO),
        state: ClockState::Untold,
        leap: Leap::None,
    }
}

/// Whether the host's resolver reads a file for each domain, and the host has no TAPs: on macOS.
pub(crate) const HAS_RESOLVER_FILES: bool = cfg!(target_os = "macos");

/// How bytes in a TCP receive queue are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeekMethod {
    /// The kernel skips to an offset of our choice: `SO_PEEK_OFF`, which TCP has from Linux 6.9.
    Offset,
    /// The bytes before the offset are copied to a scratch buffer.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "chosen on Linux only"))]
    Skip,
    /// The bytes are read and kept here until they are discarded.
    Keep,
}

/// An entry of a socket's error queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuedError {
    /// Where the datagram went.
    pub(crate) to: SocketAddr,
    /// What became of it.
    pub(crate) error: HostError,
    /// The first bytes of its payload, as far as they were returned: for an ICMP socket its ICMP header.
    pub(crate) payload: [u8; 8],
}

/// Messages in one call.
pub(crate) const MAX_MESSAGES: usize = 64;

/// An address of the host's, to which a datagram went or from which one leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) address: IpAddr,
    /// The number of its link, which matters to link-local addresses of IPv6.
    pub(crate) link: u32,
}

/// A message that is to be sent.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "datagrams leave singly, and from where the system likes")
)]
pub(crate) struct Outgoing<'a> {
    /// Where to.
    pub(crate) to: SocketAddr,
    /// Its payload, in order.
    pub(crate) slices: &'a [IoSlice<'a>],
    /// Bytes of each datagram that the kernel shall cut it into; `None`: it is one. Only where
    /// [`enable_batches`] said that the kernel does so.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux's kernel cuts datagrams")
    )]
    pub(crate) segment: Option<u16>,
    /// Where from, where the kernel shall not choose; only where [`enable_local_addresses`] worked.
    pub(crate) from: Option<Local>,
}

/// How much is expected to wait in a socket. More than that is received, too; this is what is cheap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    /// Bytes of one message.
    pub(crate) size: usize,
    /// Messages at most.
    pub(crate) count: usize,
}

/// What lay in a socket.
#[derive(Debug)]
pub(crate) struct Received {
    /// Messages and their senders, in order.
    pub(crate) datagrams: Vec<(SocketAddr, Datagrams)>,
    /// To which address of the host's a sender spoke, where that was asked for.
    pub(crate) locals: Vec<(SocketAddr, Local)>,
    /// There may be more.
    pub(crate) more: bool,
    /// How many the socket has lost in all, where the kernel told.
    pub(crate) dropped: Option<u32>,
}
