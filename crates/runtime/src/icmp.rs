//! The host side of an ICMP echo flow: one "ping" socket (`SOCK_DGRAM`, `IPPROTO_ICMP`).
//!
//! The kernel chooses the identifier and gives us only replies that bear it. Who may open such a socket is for the
//! host to say (`net.ipv4.ping_group_range` on Linux); when we may not, the log says once how to permit it, and no reply
//! is made up.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Once;

use atoll_engine::{Event, Family, FlowId, HostError};
use atoll_wire::{FrameBuf, checksum};
use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny, SocketType, ipproto, recvfrom, sendto, sockopt};

use crate::core::Core;
use crate::errno::{host_error, host_error_of, queued_errors};
use crate::sys;

/// Messages of one socket in one turn.
const BATCH: usize = 64;

/// Type, code, checksum, identifier, sequence number (RFC 792).
const HEADER: usize = 8;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// A ping socket of the host.
#[derive(Debug)]
pub(crate) struct IcmpSocket {
    fd: OwnedFd,
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
        if family == Family::V6 {
            return Err(HostError::NetUnreachable);
        }
        static TOLD: Once = Once::new();
        let fd = sys::open_socket(SocketType::DGRAM, Some(ipproto::ICMP)).map_err(|errno| {
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
        sys::enable_error_queue(&fd).map_err(|error| host_error_of(&error))?;
        Ok(Self { fd, ttl: None })
    }

    /// Send an echo request.
    pub(crate) fn send(&mut self, core: &mut Core, flow: FlowId, echo: &Echo) {
        if self.ttl != Some(echo.ttl) && sockopt::set_ip_ttl(&self.fd, u32::from(echo.ttl)).is_ok() {
            self.ttl = Some(echo.ttl);
        }
        let message = request(echo.seq, &echo.payload);
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

    /// Tell what the error queue holds; `false` when it was empty.
    pub(crate) fn handle_errors(&self, core: &mut Core, flow: FlowId) -> bool {
        let mut any = false;
        for queued in queued_errors(&self.fd) {
            any = true;
            let [.., high, low] = queued.payload;
            core.tell(Event::IcmpRefused {
                flow,
                to: (*queued.to.ip()).into(),
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
                    let Some(from) = ipv4(from) else { continue };
                    let Some((seq, payload)) = scratch.get(..len).and_then(reply) else {
                        continue;
                    };
                    core.tell(Event::IcmpReceived {
                        flow,
                        from: (*from.ip()).into(),
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

/// An echo request with identifier zero, which Linux replaces.
fn request(seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![ECHO_REQUEST, 0, 0, 0, 0, 0];
    message.extend_from_slice(&seq.to_be_bytes());
    message.extend_from_slice(payload);
    let sum = !checksum::sum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// Sequence number and data of an echo reply.
fn reply(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let message = datagram.get(sys::icmp_reply_offset(datagram)..)?;
    let (header, payload) = message.split_first_chunk::<HEADER>()?;
    let [kind, _, _, _, _, _, high, low] = *header;
    (kind == ECHO_REPLY).then_some((u16::from_be_bytes([high, low]), payload))
}

/// The sender, if it is an IPv4 one.
fn ipv4(from: Option<SocketAddrAny>) -> Option<SocketAddrV4> {
    from.and_then(|from| from.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_to_all_ones() {
        for len in [0, 1, 56, 1472, 65_500] {
            let message = request(0xabcd, &vec![0xa5; len]);
            assert_eq!(checksum::sum(&message), u16::MAX, "{len} bytes of data");
        }
    }

    #[test]
    fn only_replies_are_read() {
        assert_eq!(
            reply(&[0, 0, 1, 2, 3, 4, 0x12, 0x34, 9]),
            Some((0x1234, &[9][..]))
        );
        assert_eq!(reply(&[8, 0, 1, 2, 3, 4, 0x12, 0x34, 9]), None);
        assert_eq!(reply(&[0, 0, 1]), None);
    }
}
