//! A UDP socket of the host: a guest's port, or a forward's.
//!
//! A guest's is unconnected, so that it hears every peer: the guest's address and port map to one port of the host whatever the
//! destination of its family (RFC 4787, endpoint-independent mapping). ICMP errors come from the socket's error queue, where there is
//! one, with the address to which the datagram went.
//!
//! Both ways datagrams go in batches: [`outbox`](crate::outbox) says how they leave, and one call takes as many as were expected from
//! the call before it: few and of the right size, so that they lie close together in memory; more and larger ones as they come.
//! A kernel that will not cut a message for this socket (no checksums on the route, a transformation, a size beyond the
//! path's MTU) says so once, and gets datagrams one by one from then on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use atoll_engine::{Datagrams, Event, Family, FlowId, ForwardId, HostError};
use rustix::io::Errno;
use rustix::net::{SocketType, bind, sockopt};

use crate::answers::Answers;
use crate::errno::{host_error, host_error_of, queued_errors};
use crate::hops::Hops;
use crate::outbox::{Datagram, Plan};
use crate::sys::{self, Ask, Inbox, MAX_MESSAGES, Outgoing};

/// Bytes that the kernel may hold each way, so that a burst finds room while the other side is busy. The kernel takes memory only
/// for what waits, and no more than the host permits (`net.core.rmem_max`).
const BUFFER: usize = 1 << 20;

/// What is expected of a socket of which nothing is known: a few datagrams that fit an Ethernet.
const FIRST: Ask = Ask { size: 1472, count: 4 };

/// Errors that are told before a send or receive is tried again.
const TRIES: usize = 4;

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Flow(FlowId),
    Forward(ForwardId),
}

/// A socket.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    fd: OwnedFd,
    owner: Owner,
    /// The kernel cuts messages into datagrams.
    cuts: bool,
    expected: Ask,
    /// From where clients are answered, where the socket is at more than one address.
    answers: Option<Answers>,
    /// How far what it sends goes; a forward's goes as far as is usual.
    hops: Option<Hops>,
    /// Datagrams that the socket has lost, as the kernel last told.
    dropped: u32,
    /// What comes is left in the socket.
    pub(crate) paused: bool,
}

impl Owner {
    fn received(self, from: SocketAddr, datagrams: Vec<Datagrams>) -> Event {
        match self {
            Self::Flow(flow) => Event::UdpReceived {
                flow,
                from,
                datagrams,
            },
            Self::Forward(forward) => Event::UdpForwarded {
                forward,
                from,
                datagrams,
            },
        }
    }

    fn refused(self, to: SocketAddr, error: HostError) -> Option<Event> {
        match self {
            Self::Flow(flow) => Some(Event::UdpRefused { flow, to, error }),
            Self::Forward(_) => {
                tracing::debug!("a datagram to {to} is lost: {error:?}");
                None
            }
        }
    }
}

impl UdpSocket {
    /// A guest's, on any port.
    pub(crate) fn open(flow: FlowId, family: Family) -> Result<Self, HostError> {
        let any: IpAddr = match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        };
        let fd = sys::open_socket(family, SocketType::DGRAM, None).map_err(host_error)?;
        bind(&fd, &SocketAddr::new(any, 0)).map_err(host_error)?;
        sys::enable_error_queue(&fd, family).map_err(|error| host_error_of(&error))?;
        Ok(Self {
            hops: Some(Hops::of(family)),
            ..Self::adopt(fd, Owner::Flow(flow))
        })
    }

    /// One that is bound and does not block.
    pub(crate) fn adopt(fd: OwnedFd, owner: Owner) -> Self {
        let sizes = sockopt::set_socket_recv_buffer_size(&fd, BUFFER)
            .and_then(|()| sockopt::set_socket_send_buffer_size(&fd, BUFFER));
        if let Err(error) = sizes {
            tracing::debug!("a socket's buffers stay as they are: {error}");
        }
        Self {
            cuts: sys::enable_batches(&fd),
            fd,
            owner,
            expected: FIRST,
            answers: None,
            hops: None,
            dropped: 0,
            paused: false,
        }
    }

    /// Answer each client from the address that it spoke to, where the system can tell.
    pub(crate) fn answering_as_asked(mut self, family: Family) -> Self {
        match sys::enable_local_addresses(&self.fd, family) {
            Ok(()) => self.answers = Some(Answers::default()),
            Err(error) => {
                tracing::debug!("clients are answered from the address that the system prefers: {error}");
            }
        }
        self
    }

    /// What is sent from now on may cross so many routers.
    pub(crate) fn set_hops(&mut self, hops: Option<u8>) {
        if let Some(limit) = &mut self.hops {
            limit.set(&self.fd, hops);
        }
    }

    /// Send these in order. What became of them is added to `events`.
    pub(crate) fn send<K>(&mut self, mut datagrams: &[Datagram<K>], events: &mut Vec<Event>) {
        while !datagrams.is_empty() {
            let done = self.send_planned(datagrams, events);
            datagrams = &datagrams[done..];
        }
    }

    /// Send all, or as many as leave before the kernel refuses to cut one; how many these are.
    fn send_planned<K>(&mut self, datagrams: &[Datagram<K>], events: &mut Vec<Event>) -> usize {
        let plan = Plan::of(datagrams, self.cuts);
        let (mut next, mut tries, mut lost) = (0, 0, 0_usize);
        while let Some(message) = plan.messages.get(next) {
            let errno = match self.send_from(&plan, next) {
                Ok(count) => {
                    (next, tries) = (next + count.max(1), 0);
                    continue;
                }
                // A full socket buffer or device loses a datagram, as any full link does.
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::INTR) => {
                    lost += message.datagrams;
                    next += 1;
                    continue;
                }
                Err(errno) => errno,
            };
            // An error that an earlier datagram left at the socket is told first, and does not cost this one.
            if tries < TRIES && self.handle_errors(events) {
                tries += 1;
            } else if self
                .answers
                .as_mut()
                .is_some_and(|answers| answers.forget(message.to))
            {
                tracing::debug!("a client is answered from another address than it spoke to: {errno}");
            } else if message.segment.is_some() {
                tracing::debug!("datagrams are sent one by one from now on: {errno}");
                self.cuts = false;
                overflow(events, lost, 0);
                return message.first;
            } else {
                events.extend(self.owner.refused(message.to, host_error(errno)));
                (next, tries) = (next + 1, 0);
            }
        }
        overflow(events, lost, 0);
        datagrams.len()
    }

    /// One system call: how many messages it took.
    fn send_from(&self, plan: &Plan<'_>, next: usize) -> Result<usize, Errno> {
        let messages = plan.messages[next..].iter().take(MAX_MESSAGES);
        let outgoing: Vec<Outgoing<'_>> = messages
            .map(|message| Outgoing {
                to: message.to,
                slices: plan.slices(message),
                segment: message.segment,
                from: self.answers.as_ref().and_then(|answers| answers.to(message.to)),
            })
            .collect();
        sys::send_messages(&self.fd, &outgoing)
    }

    /// Add what the error queue holds to `events`; `false` when it was empty.
    pub(crate) fn handle_errors(&self, events: &mut Vec<Event>) -> bool {
        let mut any = false;
        for queued in queued_errors(&self.fd) {
            any = true;
            events.extend(self.owner.refused(queued.to, queued.error));
        }
        any
    }

    /// Receive once, adding what came to `events`; `true` when there may be more.
    pub(crate) fn receive(&mut self, inbox: &mut Inbox, events: &mut Vec<Event>) -> bool {
        for _ in 0..TRIES {
            match inbox.receive(&self.fd, self.expected) {
                Ok(received) => {
                    self.expect(&received.datagrams);
                    if let Some(dropped) = received.dropped {
                        let lost = dropped.wrapping_sub(self.dropped);
                        self.dropped = dropped;
                        overflow(events, 0, usize::try_from(lost).unwrap_or(usize::MAX));
                    }
                    if let Some(answers) = &mut self.answers {
                        for (client, local) in received.locals {
                            answers.remember(client, local);
                        }
                    }
                    self.tell(received.datagrams, events);
                    return received.more;
                }
                Err(Errno::AGAIN) => return false,
                // An error of an earlier datagram: the error queue has the particulars.
                Err(_) => drop(self.handle_errors(events)),
            }
        }
        true
    }

    /// The next call will find something like what this one found; where it found less, it may have been chance.
    fn expect(&mut self, datagrams: &[(SocketAddr, Datagrams)]) {
        let sizes = datagrams.iter().map(|(_, datagrams)| datagrams.payload.len());
        let size = self.expected.size - self.expected.size / 4;
        self.expected = Ask {
            size: sizes.fold(size, usize::max),
            count: (2 * datagrams.len()).clamp(FIRST.count, MAX_MESSAGES),
        };
    }

    /// One event for all that one peer sent in a row.
    fn tell(&self, datagrams: Vec<(SocketAddr, Datagrams)>, events: &mut Vec<Event>) {
        let mut rest = datagrams.into_iter().peekable();
        while let Some((from, first)) = rest.next() {
            let mut run = vec![first];
            while let Some((_, next)) = rest.next_if(|(peer, _)| *peer == from) {
                run.push(next);
            }
            events.push(self.owner.received(from, run));
        }
    }
}

fn overflow(events: &mut Vec<Event>, sent: usize, received: usize) {
    if sent + received > 0 {
        let count = |count: usize| count.try_into().unwrap_or(u64::MAX);
        events.push(Event::UdpOverflow {
            sent: count(sent),
            received: count(received),
        });
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
#[path = "udp_tests.rs"]
mod tests;
