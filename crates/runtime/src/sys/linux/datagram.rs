//! Many datagrams in one system call: `sendmmsg`, `recvmmsg`, and the kernel's own batches (`UDP_SEGMENT` and `UDP_GRO`, udp(7)).
#![expect(
    unsafe_code,
    reason = "messages with names and control data, whose layouts are the kernel's"
)]

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use atoll_wire::{FrameBuf, HEADROOM};
use rustix::io::Errno;
use rustix::net::{SendFlags, sendto};

use super::name::Name;
use super::set_option;
use crate::sys::arena::{message_of, slice_of};
use crate::sys::{Arena, Ask, Cut, Local, MAX_MESSAGES, Outgoing, Received};

/// Room for what a message has beyond what was expected: for the largest there is.
const OVERFLOW: usize = 1 << 16;

/// Memory that one call asks for.
const CALL: usize = 512 * 1024;

/// Let the kernel coalesce what comes, and tell how much it had to drop. `true` if it cuts what goes out, too.
pub(crate) fn enable_batches(fd: impl AsFd) -> bool {
    // Without the first (before Linux 5.0) datagrams come one by one; without the second losses are not known.
    for (level, name) in [
        (libc::SOL_UDP, libc::UDP_GRO),
        (libc::SOL_SOCKET, libc::SO_RXQ_OVFL),
    ] {
        if let Err(error) = set_option(&fd, level, name, 1) {
            tracing::debug!("a socket is without option {level}, {name}: {error}");
        }
    }
    // Zero cuts nothing by itself. A kernel that does not know the option (before 4.18) would overlook it in a message.
    set_option(&fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Make the kernel refuse to cut for this socket: it does not cut what it must not sum.
#[cfg(test)]
pub(crate) fn forbid_batches(fd: impl AsFd) {
    set_option(&fd, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).expect("a UDP socket takes it");
}

/// Room for two control messages of an integer each, and one with an address of either family.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 96]);

impl Control {
    const EMPTY: Self = Self([0; 96]);
}

/// Send in order. How many messages the kernel took: at least one.
pub(crate) fn send_messages(fd: impl AsFd, messages: &[Outgoing<'_>]) -> Result<usize, Errno> {
    if let [message] = messages
        && let ([only], None, None) = (message.slices, message.segment, message.from)
    {
        return sendto(&fd, only, SendFlags::DONTWAIT, &message.to).map(|_| 1);
    }
    let mut names: Vec<(Name, usize)> = messages.iter().map(|message| Name::of(message.to)).collect();
    let mut controls = vec![Control::EMPTY; messages.len()];
    let parts = messages.iter().zip(&mut names).zip(&mut controls);
    let mut headers: Vec<libc::mmsghdr> = parts
        .map(|((message, (name, len)), control)| {
            let mut header = message_of(&mut []);
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = libc::socklen_t::try_from(*len).unwrap_or(0);
            // An `IoSlice` is an `iovec` (std::io), and the kernel only reads what it points to.
            header.msg_iov = message.slices.as_ptr().cast_mut().cast();
            header.msg_iovlen = message.slices.len();
            if let Some(segment) = message.segment {
                put_segment(&mut header, control, segment);
            }
            if let Some(local) = message.from {
                put_local(&mut header, control, local);
            }
            libc::mmsghdr {
                msg_hdr: header,
                msg_len: 0,
            }
        })
        .collect();
    let count = libc::c_uint::try_from(headers.len()).unwrap_or(libc::c_uint::MAX);
    // SAFETY: every header points to a name, buffers and control data that outlive the call and are as long as it says.
    let status = unsafe {
        libc::sendmmsg(
            fd.as_fd().as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(status).map_err(|_| last_error())
}

/// Ask for datagrams of this size.
fn put_segment(header: &mut libc::msghdr, control: &mut Control, segment: u16) {
    put(header, control, (libc::SOL_UDP, libc::UDP_SEGMENT), segment);
}

/// Say from which of the host's addresses it leaves. The link counts for IPv6 only, where a link-local address needs one.
fn put_local(header: &mut libc::msghdr, control: &mut Control, local: Local) {
    match local.address {
        IpAddr::V4(address) => {
            let from = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: address.to_bits().to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(header, control, (libc::IPPROTO_IP, libc::IP_PKTINFO), from);
        }
        IpAddr::V6(address) => {
            let link = if address.is_unicast_link_local() {
                local.link
            } else {
                0
            };
            let from = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: link,
            };
            put(header, control, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), from);
        }
    }
}

/// Append a control message, if it has room.
fn put<T: Copy>(
    header: &mut libc::msghdr,
    control: &mut Control,
    (level, kind): (libc::c_int, libc::c_int),
    value: T,
) {
    let bytes = libc::c_uint::try_from(size_of::<T>()).unwrap_or(libc::c_uint::MAX);
    // SAFETY: computes a number.
    let (space, len) = unsafe { (libc::CMSG_SPACE(bytes) as usize, libc::CMSG_LEN(bytes) as usize) };
    let begin = header.msg_controllen;
    let Some(place) = control.0.get_mut(begin..begin + space) else {
        debug_assert!(false, "every message that is put has room");
        return;
    };
    let message = place.as_mut_ptr().cast::<libc::cmsghdr>();
    let head = libc::cmsghdr {
        cmsg_len: len,
        cmsg_level: level,
        cmsg_type: kind,
    };
    // SAFETY: the place has room for head and value, and begins at a multiple of the alignment that `Control` has.
    unsafe { message.write(head) };
    // SAFETY: as above.
    let data = unsafe { libc::CMSG_DATA(message) };
    // SAFETY: as above.
    unsafe { data.cast::<T>().write_unaligned(value) };
    header.msg_control = (&raw mut *control).cast();
    header.msg_controllen = begin + space;
}

/// Receives datagrams into frames.
#[derive(Debug)]
pub(crate) struct Inbox {
    arena: Arena,
    /// What messages have beyond what was expected. Pages that were never needed have no memory.
    overflow: Vec<u8>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            arena: Arena::default(),
            overflow: vec![0; MAX_MESSAGES * OVERFLOW],
        }
    }

    /// One `recvmmsg`.
    pub(crate) fn receive(&mut self, fd: impl AsFd, ask: Ask) -> Result<Received, Errno> {
        let cut = Cut {
            segment: ask.size,
            count: ask.count.min(CALL / (HEADROOM + ask.size)).clamp(1, MAX_MESSAGES),
        };
        let mut names = vec![Name::empty(); cut.count];
        let mut controls = vec![Control::EMPTY; cut.count];
        let rest = self.overflow.chunks_exact_mut(OVERFLOW).map(slice_of);
        let slots = self.arena.slots(cut).zip(rest);
        let mut slices: Vec<[libc::iovec; 2]> = slots.map(|(slot, rest)| [slot, rest]).collect();
        let parts = slices.iter_mut().zip(&mut names).zip(&mut controls);
        let mut headers: Vec<libc::mmsghdr> = parts
            .map(|((slices, name), control)| libc::mmsghdr {
                msg_hdr: header_for(slices, name, control),
                msg_len: 0,
            })
            .collect();
        receive_into(fd, &mut headers)?;
        let lens = || headers.iter().map(|header| header.msg_len as usize);
        let filled: Vec<usize> = lens().map(|len| len.min(ask.size)).collect();
        // SAFETY: the kernel wrote as much to each slot.
        let frames = unsafe { self.arena.take_slots(cut, &filled) };
        let rests = lens()
            .zip(self.overflow.chunks_exact(OVERFLOW))
            .map(|(len, overflow)| &overflow[..len.saturating_sub(ask.size).min(OVERFLOW)]);
        let mut received = Received {
            datagrams: Vec::with_capacity(frames.len()),
            locals: Vec::new(),
            more: frames.len() == cut.count,
            dropped: None,
        };
        let payloads = frames
            .into_iter()
            .zip(rests)
            .map(|(frame, rest)| whole(frame, rest));
        for ((payload, header), name) in payloads.zip(&headers).zip(&names) {
            // SAFETY: the kernel filled the header, and its control data still lives.
            let told = unsafe { control_data(&header.msg_hdr) };
            received.dropped = told.dropped.or(received.dropped);
            if let Some(from) = name.address() {
                received.locals.extend(told.local.map(|local| (from, local)));
                let segment = told
                    .segment
                    .filter(|segment| usize::from(*segment) < payload.len());
                received
                    .datagrams
                    .push((from, atoll_engine::Datagrams { payload, segment }));
            }
        }
        Ok(received)
    }
}

/// Keep those headers that the kernel filled.
fn receive_into(fd: impl AsFd, headers: &mut Vec<libc::mmsghdr>) -> Result<(), Errno> {
    let wanted = libc::c_uint::try_from(headers.len()).unwrap_or(1);
    let (fd, flags, timeout) = (fd.as_fd().as_raw_fd(), libc::MSG_DONTWAIT, std::ptr::null_mut());
    // SAFETY: the caller's headers point to names, buffers and control data that outlive the call and are as long as they say.
    let status = unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), wanted, flags, timeout) };
    headers.truncate(usize::try_from(status).map_err(|_| last_error())?);
    Ok(())
}

fn header_for(slices: &mut [libc::iovec], name: &mut Name, control: &mut Control) -> libc::msghdr {
    let mut header = message_of(slices);
    header.msg_name = (&raw mut *name).cast();
    header.msg_namelen = libc::socklen_t::try_from(size_of::<Name>()).unwrap_or(0);
    header.msg_control = (&raw mut *control).cast();
    header.msg_controllen = size_of::<Control>();
    header
}

/// A payload in one place.
fn whole(frame: FrameBuf, rest: &[u8]) -> FrameBuf {
    if rest.is_empty() {
        return frame;
    }
    let mut whole = FrameBuf::with_capacity(frame.len() + rest.len());
    whole.extend_from_slice(frame.payload());
    whole.extend_from_slice(rest);
    whole
}

/// What the kernel says beside a message.
#[derive(Default)]
struct Told {
    /// The size at which it coalesced.
    segment: Option<u16>,
    /// How many datagrams the socket has lost so far.
    dropped: Option<u32>,
    /// To which address of the host's it went.
    local: Option<Local>,
}

/// What the control data say.
///
/// # Safety
/// `message` must have been filled by the kernel, and its control data must be alive.
unsafe fn control_data(message: &libc::msghdr) -> Told {
    let mut told = Told::default();
    // SAFETY: by the caller's promise.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: the kernel wrote a whole header here.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        // SAFETY: as above.
        let data = unsafe { libc::CMSG_DATA(header) };
        if (level, kind) == (libc::SOL_UDP, libc::UDP_GRO) {
            // SAFETY: this message holds an int (udp(7)).
            let size = unsafe { data.cast::<libc::c_int>().read_unaligned() };
            told.segment = u16::try_from(size).ok().filter(|size| *size > 0);
        } else if (level, kind) == (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) {
            // SAFETY: this message holds an unsigned 32-bit number (socket(7)).
            told.dropped = Some(unsafe { data.cast::<u32>().read_unaligned() });
        } else if (level, kind) == (libc::IPPROTO_IP, libc::IP_PKTINFO) {
            // SAFETY: this message holds an `in_pktinfo` (ip(7)).
            let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
            // Of a broadcast this is the address that answers it.
            let address = Ipv4Addr::from_bits(u32::from_be(info.ipi_spec_dst.s_addr));
            told.local = local(address.into(), 0);
        } else if (level, kind) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) {
            // SAFETY: this message holds an `in6_pktinfo` (ipv6(7)).
            let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
            told.local = local(Ipv6Addr::from(info.ipi6_addr.s6_addr).into(), info.ipi6_ifindex);
        }
        // SAFETY: by the caller's promise.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    told
}

/// An address from which an answer can leave.
fn local(address: IpAddr, link: u32) -> Option<Local> {
    let is_one = !address.is_unspecified() && !address.is_multicast();
    is_one.then_some(Local { address, link })
}

fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::net::UdpSocket;

    use rustix::net::sockopt;

    use super::*;

    const ASK: Ask = Ask { size: 100, count: 64 };

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        assert!(enable_batches(&socket));
        socket
    }

    #[test]
    fn a_message_that_the_kernel_cut_comes_as_one_where_it_is_coalesced() {
        let (sender, receiver) = (socket(), socket());
        let (one, two) = ([1; 1500], [2; 800]);
        let message = Outgoing {
            to: receiver.local_addr().unwrap(),
            slices: &[IoSlice::new(&one), IoSlice::new(&two)],
            segment: Some(1000),
            from: None,
        };
        assert_eq!(send_messages(&sender, &[message]), Ok(1));
        let received = Inbox::new().receive(&receiver, ASK).unwrap();
        let [(from, datagrams)] = &received.datagrams[..] else {
            panic!("{received:?}")
        };
        assert_eq!(*from, sender.local_addr().unwrap());
        assert_eq!((datagrams.segment, datagrams.payload.len()), (Some(1000), 2300));
        assert!(datagrams.payload.payload().ends_with(&two));
    }

    #[test]
    fn what_the_kernel_had_no_room_for_is_known_from_the_next_message() {
        let (sender, receiver) = (socket(), socket());
        sockopt::set_socket_recv_buffer_size(&receiver, 4096).unwrap();
        let to = receiver.local_addr().unwrap();
        let send = || sender.send_to(&[7; 1000], to).unwrap();
        for _ in 0..100 {
            send();
        }
        let mut inbox = Inbox::new();
        let kept = inbox.receive(&receiver, ASK).unwrap().datagrams.len();
        send();
        let dropped = inbox.receive(&receiver, ASK).unwrap().dropped;
        assert_eq!(dropped.map(|dropped| dropped as usize + kept), Some(100));
    }

    #[test]
    fn an_address_of_ipv6_is_reached_and_heard() {
        let Ok(receiver) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
            return;
        };
        receiver.set_nonblocking(true).unwrap();
        let to = receiver.local_addr().unwrap();
        let slices = [IoSlice::new(b"x")];
        let message = Outgoing {
            to,
            slices: &slices,
            segment: None,
            from: None,
        };
        assert_eq!(send_messages(&receiver, &[message, message]), Ok(2));
        let received = Inbox::new().receive(&receiver, ASK).unwrap();
        assert_eq!(received.datagrams.len(), 2);
        assert!(received.datagrams.iter().all(|(from, _)| *from == to));
    }
}
