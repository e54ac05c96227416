//! What the host's errors mean to a guest.

use std::io;
use std::os::fd::AsFd;

use atoll_engine::HostError;
use rustix::io::Errno;

use crate::sys::{self, QueuedError};

/// Errors taken from one socket's queue at a time.
const ERRORS: usize = 64;

/// In terms of what a router or host would tell.
pub(crate) fn host_error(errno: Errno) -> HostError {
    match errno {
        Errno::CONNREFUSED => HostError::Refused,
        Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED => HostError::Reset,
        Errno::TIMEDOUT => HostError::TimedOut,
        Errno::HOSTUNREACH | Errno::HOSTDOWN => HostError::HostUnreachable,
        // The last is what a kernel without IPv6 says.
        Errno::NETUNREACH | Errno::NETDOWN | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT => {
            HostError::NetUnreachable
        }
        Errno::ACCESS | Errno::PERM => HostError::Prohibited,
        Errno::MSGSIZE => HostError::TooBig { mtu: None },
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRINUSE => HostError::Exhausted,
        _ => HostError::Other,
    }
}

/// The same for an error of the standard library.
pub(crate) fn host_error_of(error: &io::Error) -> HostError {
    Errno::from_io_error(error).map_or(HostError::Other, host_error)
}

/// What a socket's error queue holds.
pub(crate) fn queued_errors(fd: impl AsFd) -> impl Iterator<Item = QueuedError> {
    std::iter::from_fn(move || sys::next_error(&fd)).take(ERRORS)
}
