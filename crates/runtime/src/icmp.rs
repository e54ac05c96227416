//! The host side of an ICMP echo flow: one "ping" socket (`SOCK_DGRAM`, `IPPROTO_ICMP` or `IPPROTO_ICMPV6`).
//!
//! The kernel chooses the identifier and gives us only replies that bear it. Who may open such a socket is for the
//! host to say (`net.ipv4.ping_group_range` on Linux, for both families); when we may not, the log says once how to permit it, and no reply
//! is made up.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Once;

use atoll_engine::{Event, Family, FlowId, HostError};
use atoll_wire::{FrameBuf, checksum};
use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, ipproto, recvfrom, sendto, sockopt};

use crate::core::Core;
use crate::errno::{host_error, host_error_of, queued_errors};
use crate::sys;

/// Messages of one socket in one turn.
const BATCH: usize = 64;

/// Type, code, checksum, identifier, sequence number (RFC 792; RFC 4443, 4.1).
const HEADER: usize = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// A ping socket of the host.
#[derive(Debug)]
pub(crate) struct IcmpSocket {
    fd: OwnedFd,
    family: Family,
    ttl: Option<u8>,
}

/// An echo request, as in [`Action::IcmpSend`](atoll_engine::Action::IcmpSend).
#[derive(Clone, Debug)]
pub(crate) struct Echo {
    pub(crate) to: IpAddr,
    pub(crate) seq: u16,
    pub(crate) payload: Bytes,
    pub(crate) ttl: u8,
}

impl IcmpSocket {
    /// Open one, if the host permits it.
    pub(crate) fn open(family: Family) -> Result<Self, HostError> {
        static TOLD: Once = Once::new();
        let protocol = match family {
            Family::V4 => ipproto::ICMP,
            Family::V6 => ipproto::ICMPV6,
        };
        let fd = sys::open_socket(family, SocketType::DGRAM, Some(protocol)).map_err(|errno| {
            if matches!(errno, Errno::ACCESS | Errno::PERM) {
                TOLD.call_once(|| {
                    tracing::warn!(
                        "guests cannot ping beyond the network: this user may not open ping sockets; \
                         to permit it: sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""
                    );
                });
            }
            host_error(errno)
        })?;
        sys::enable_error_queue(&fd, family).map_err(|error| host_error_of(&error))?;
        Ok(Self {
            fd,
            family,
            ttl: None,
        })
    }

    /// Send an echo request.
    pub(crate) fn send(&mut self, core: &mut Core, flow: FlowId, echo: &Echo) {
        if self.ttl != Some(echo.ttl) && self.set_ttl(echo.ttl).is_ok() {
            self.ttl = Some(echo.ttl);
        }
        let message = request(self.family, echo.seq, &echo.payload);
        let to = SocketAddr::new(echo.to, 0);
        let mut outcome = sendto(&self.fd, &message, SendFlags::empty(), &to);
        if outcome.is_err() && self.handle_errors(core, flow) {
            outcome = sendto(&self.fd, &message, SendFlags::empty(), &to);
        }
        match outcome {
            Ok(_) | Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => {}
            Err(errno) => core.tell(Event::IcmpRefused {
                flow,
                to: echo.to,
                seq: echo.seq,
                error: host_error(errno),
            }),
        }
    }

    fn set_ttl(&self, ttl: u8) -> Result<(), Errno> {
        match self.family {
            Family::V4 => sockopt::set_ip_ttl(&self.fd, u32::from(ttl)),
            Family::V6 => sockopt::set_ipv6_unicast_hops(&self.fd, Some(ttl)),
        }
    }

    /// Tell what the error queue holds; `false` when it was empty.
    pub(crate) fn handle_errors(&self, core: &mut Core, flow: FlowId) -> bool {
        let mut any = false;
        for queued in queued_errors(&self.fd) {
            any = true;
            let [.., high, low] = queued.payload;
            core.tell(Event::IcmpRefused {
                flow,
                to: queued.to.ip(),
                seq: u16::from_be_bytes([high, low]),
                error: queued.error,
            });
        }
        any
    }

    /// Receive replies that wait; `true` when there may be more.
    pub(crate) fn receive(&self, core: &mut Core, flow: FlowId, scratch: &mut [u8]) -> bool {
        for _ in 0..BATCH {
            match recvfrom(&self.fd, &mut *scratch, RecvFlags::empty()) {
                Ok((_, len, from)) => {
                    let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else {
                        continue;
                    };
                    let received = scratch.get(..len);
                    let Some((seq, payload)) = received.and_then(|it| reply(self.family, it)) else {
                        continue;
                    };
                    core.tell(Event::IcmpReceived {
                        flow,
                        from: from.ip(),
                        seq,
                        payload: FrameBuf::copy_from(payload),
                    });
                }
                Err(Errno::AGAIN) => return false,
                Err(_) => {
                    self.handle_errors(core, flow);
                }
            }
        }
        true
    }
}

impl AsFd for IcmpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Types of an echo request and reply.
fn types(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (ECHO_REQUEST, ECHO_REPLY),
        Family::V6 => (ECHO_REQUEST_V6, ECHO_REPLY_V6),
    }
}

/// An echo request with identifier zero, which Linux replaces. The checksum of IPv6, which covers addresses that only the kernel
/// knows, is the kernel's affair.
fn request(family: Family, seq: u16, payload: &[u8]) -> Vec<u8> {
    let (kind, _) = types(family);
    let mut message = vec![kind, 0, 0, 0, 0, 0];
    message.extend_from_slice(&seq.to_be_bytes());
    message.extend_from_slice(payload);
    let sum = !checksum::sum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Sequence number and data of an echo reply.
fn reply(family: Family, datagram: &[u8]) -> Option<(u16, &[u8])> {
    let message = datagram.get(sys::icmp_reply_offset(family, datagram)..)?;
    let (header, payload) = message.split_first_chunk::<HEADER>()?;
    let [kind, _, _, _, _, _, high, low] = *header;
    let (_, wanted) = types(family);
    (kind == wanted).then_some((u16::from_be_bytes([high, low]), payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_to_all_ones() {
        for len in [0, 1, 56, 1472, 65_500] {
            let message = request(Family::V4, 0xabcd, &vec![0xa5; len]);
            assert_eq!(checksum::sum(&message), u16::MAX, "{len} bytes of data");
        }
    }

    #[test]
    fn only_replies_are_read() {
        let message = |kind| [kind, 0, 1, 2, 3, 4, 0x12, 0x34, 9];
        let told = Some((0x1234, &[9][..]));
        assert_eq!(reply(Family::V4, &message(0)), told);
        assert_eq!(reply(Family::V6, &message(129)), told);
        for (family, kind) in [
            (Family::V4, 8),
            (Family::V4, 129),
            (Family::V6, 128),
            (Family::V6, 0),
        ] {
            assert_eq!(reply(family, &message(kind)), None);
        }
        assert_eq!(reply(Family::V4, &[0, 0, 1]), None);
    }
}
