//! ICMP of both families as the gateway speaks it: echo replies for its own addresses, errors for what did not arrive (RFC 792, RFC 1812;
//! RFC 4443).
//!
//! An error is sent only for what a guest really sent, never about an ICMP error, a fragment, or to a group (RFC 1812, 4.3.2.7; RFC
//! 4443, 2.4 e); those never come here. The errors that host sockets report are passed on as the router on the way would have sent
//! them. An error goes to the guest whose packet caused it and to no other, one for each at most, so no limit in time is needed.

use std::net::IpAddr;

use atoll_wire::ipv6::{self, IPV6_LEN, Ipv6Header, Problem};
use atoll_wire::packet::{self, ICMP_LEN, IPV4_LEN, Ipv4Header};
use atoll_wire::{Endpoint, Family, FrameBuf, Icmpv4Message, Icmpv6Message, IpProtocol, Offload, Seq};

use crate::Instant;
use crate::counters::Counter;
use crate::event::HostError;
use crate::lan::Lan;

/// As much of the packet in question as an error carries back, at most: RFC 1812 asks for as much as fits 576 bytes, RFC 4443 for
/// as much as fits the least MTU of IPv6.
const fn max_quote(family: Family) -> usize {
    match family {
        Family::V4 => 576 - IPV4_LEN - ICMP_LEN,
        Family::V6 => MIN_MTU as usize - IPV6_LEN - ICMP_LEN,
    }
}

/// What every link of IPv6 carries (RFC 8200, 5).
const MIN_MTU: u16 = 1280;

/// Why a packet does not get to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// No route.
    Net,
    /// Nobody has the address.
    Host,
    /// The host does not speak the protocol.
    Protocol,
    /// Nobody listens at the port.
    Port,
    /// It is not allowed.
    Prohibited,
    /// A link-local source, and a destination elsewhere.
    Scope,
}

impl Unreachable {
    /// The code of RFC 792 and RFC 1812, 5.2.7.1.
    fn v4(self) -> u8 {
        match self {
            Self::Net | Self::Scope => 0,
            Self::Host => 1,
            Self::Protocol => 2,
            Self::Port => 3,
            Self::Prohibited => 13,
        }
    }

    /// The code of RFC 4443, 3.1.
    fn v6(self) -> u8 {
        match self {
            Self::Net => 0,
            Self::Prohibited | Self::Protocol => 1,
            Self::Scope => 2,
            Self::Host => 3,
            Self::Port => 4,
        }
    }
}

/// What the guest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Error {
    Unreachable(Unreachable),
    /// The next hop's MTU, when known.
    TooBig(Option<u16>),
    TimeExceeded,
    ReassemblyTimeExceeded,
    Problem(Problem),
}

impl Error {
    /// Type, code and the header's second word.
    fn v4(self) -> (Icmpv4Message, u8, [u8; 4]) {
        match self {
            Self::Unreachable(why) => (Icmpv4Message::DstUnreachable, why.v4(), [0; 4]),
            Self::TooBig(mtu) => {
                let [high, low] = mtu.unwrap_or(0).to_be_bytes();
                (Icmpv4Message::DstUnreachable, 4, [0, 0, high, low])
            }
            Self::TimeExceeded => (Icmpv4Message::TimeExceeded, 0, [0; 4]),
            Self::ReassemblyTimeExceeded => (Icmpv4Message::TimeExceeded, 1, [0; 4]),
            Self::Problem(problem) => {
                let [.., pointer] = problem.pointer.to_be_bytes();
                (Icmpv4Message::ParamProblem, 0, [pointer, 0, 0, 0])
            }
        }
    }

    fn v6(self) -> (Icmpv6Message, u8, [u8; 4]) {
        match self {
            Self::Unreachable(why) => (Icmpv6Message::DstUnreachable, why.v6(), [0; 4]),
            Self::TooBig(mtu) => {
                let mtu = mtu.unwrap_or(MIN_MTU).max(MIN_MTU);
                (Icmpv6Message::PktTooBig, 0, u32::from(mtu).to_be_bytes())
            }
            Self::TimeExceeded => (Icmpv6Message::TimeExceeded, 0, [0; 4]),
            Self::ReassemblyTimeExceeded => (Icmpv6Message::TimeExceeded, 1, [0; 4]),
            Self::Problem(problem) => {
                let pointer = problem.pointer.to_be_bytes();
                (Icmpv6Message::ParamProblem, problem.code, pointer)
            }
        }
    }
}

/// A packet of a guest's, from its IP header on, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct Quote {
    src: IpAddr,
    dst: IpAddr,
    bytes: Vec<u8>,
}

impl Quote {
    /// The packet itself, which is a valid IP packet.
    pub(crate) fn packet(src: IpAddr, dst: IpAddr, bytes: &[u8]) -> Self {
        Self {
            src,
            dst,
            bytes: bytes[..bytes.len().min(max_quote(Family::of(src)))].to_vec(),
        }
    }

    /// A segment of which ports and sequence number are known: the 64 bits that a guest's TCP looks at.
    pub(crate) fn tcp(guest: Endpoint, remote: Endpoint, seq: Seq) -> Self {
        let [a, b] = guest.port.to_be_bytes();
        let [c, d] = remote.port.to_be_bytes();
        let [e, f, g, h] = seq.0.to_be_bytes();
        Self::rebuilt(guest.ip, remote.ip, IpProtocol::Tcp, [a, b, c, d, e, f, g, h])
    }

    /// A datagram of which the ports are known.
    pub(crate) fn udp(guest: Endpoint, remote: Endpoint) -> Self {
        let [a, b] = guest.port.to_be_bytes();
        let [c, d] = remote.port.to_be_bytes();
        Self::rebuilt(guest.ip, remote.ip, IpProtocol::Udp, [a, b, c, d, 0, 8, 0, 0])
    }

    /// An echo request.
    pub(crate) fn echo(guest: IpAddr, remote: IpAddr, ident: u16, seq: u16) -> Self {
        let [a, b] = ident.to_be_bytes();
        let [c, d] = seq.to_be_bytes();
        let (protocol, kind) = match Family::of(guest) {
            Family::V4 => (IpProtocol::Icmp, Icmpv4Message::EchoRequest.into()),
            Family::V6 => (IpProtocol::Icmpv6, Icmpv6Message::EchoRequest.into()),
        };
        Self::rebuilt(guest, remote, protocol, [kind, 0, 0, 0, a, b, c, d])
    }

    fn rebuilt(src: IpAddr, dst: IpAddr, protocol: IpProtocol, transport: [u8; 8]) -> Self {
        let mut buf = FrameBuf::copy_from(&transport);
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = Ipv4Header {
                    src,
                    dst,
                    protocol,
                    ttl: 64,
                    ident: 0,
                    dont_fragment: false,
                };
                packet::push_ipv4(&mut buf, &header);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = Ipv6Header {
                    src,
                    dst,
                    protocol,
                    hop_limit: 64,
                };
                ipv6::push_ipv6(&mut buf, &header);
            }
            // A flow's two ends are of one family.
            _ => {}
        }
        Self {
            src,
            dst,
            bytes: buf.payload().to_vec(),
        }
    }
}

/// An echo reply from one of our own addresses or from the world: identifier, sequence number and data. One that does not fit
/// any packet is lost and counted.
pub(crate) fn send_echo_reply(
    lan: &mut Lan,
    now: Instant,
    from: IpAddr,
    to: IpAddr,
    echo: (u16, u16, FrameBuf),
) {
    let (ident, seq, buf) = echo;
    if buf.len() + ICMP_LEN > packet::max_payload(Family::of(to)) {
        return lan.counters.count(Counter::HostDatagramDropped);
    }
    let [a, b] = ident.to_be_bytes();
    let [c, d] = seq.to_be_bytes();
    let rest = [a, b, c, d];
    let v4 = (Icmpv4Message::EchoReply, 0, rest);
    let v6 = (Icmpv6Message::EchoReply, 0, rest);
    send(lan, now, (from, to), buf, v4, v6);
}

/// Send the message of the addresses' family.
fn send(
    lan: &mut Lan,
    now: Instant,
    (from, to): (IpAddr, IpAddr),
    mut buf: FrameBuf,
    (v4, code4, rest4): (Icmpv4Message, u8, [u8; 4]),
    (v6, code6, rest6): (Icmpv6Message, u8, [u8; 4]),
) {
    let protocol = match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet::push_icmpv6(&mut buf, (from, to), (v6.into(), code6), rest6);
            IpProtocol::Icmpv6
        }
        _ => {
            packet::push_icmpv4(&mut buf, v4, code4, rest4);
            IpProtocol::Icmp
        }
    };
    lan.send_ip(now, (from, to), protocol, (buf, Offload::default()));
}

/// Send an error from `from`, or from the gateway.
fn send_error(lan: &mut Lan, now: Instant, from: Option<IpAddr>, quote: &Quote, error: Error) {
    if let Some(from) = from.or_else(|| lan.gateway_towards(quote.src)) {
        let buf = FrameBuf::copy_from(&quote.bytes);
        send(lan, now, (from, quote.src), buf, error.v4(), error.v6());
    }
}

/// "Destination unreachable": from the destination itself when the port is closed there, else from the gateway.
pub(crate) fn send_unreachable(lan: &mut Lan, now: Instant, quote: &Quote, why: Unreachable) {
    let from_destination = matches!(why, Unreachable::Port | Unreachable::Protocol);
    let from = from_destination.then_some(quote.dst);
    send_error(lan, now, from, quote, Error::Unreachable(why));
}

/// "Parameter problem", from the gateway's address that was the destination.
pub(crate) fn send_problem(lan: &mut Lan, now: Instant, quote: &Quote, problem: Problem) {
    let from = Some(quote.dst).filter(|dst| lan.is_own(*dst));
    send_error(lan, now, from, quote, Error::Problem(problem));
}

/// "Time exceeded in transit", from the gateway or the router that said so.
pub(crate) fn send_time_exceeded(lan: &mut Lan, now: Instant, quote: &Quote, router: Option<IpAddr>) {
    // A router that speaks with an address of another link is behind the host, where the guest cannot know it.
    let is_told = |router: &IpAddr| match router {
        IpAddr::V4(_) => quote.src.is_ipv4(),
        IpAddr::V6(router) => quote.src.is_ipv6() && !router.is_unicast_link_local(),
    };
    send_error(lan, now, router.filter(is_told), quote, Error::TimeExceeded);
}

/// "Fragment reassembly time exceeded", from where the fragments were put together: their destination, as far as a guest can see.
pub(crate) fn send_reassembly_timeout(lan: &mut Lan, now: Instant, quote: &Quote) {
    send_error(lan, now, Some(quote.dst), quote, Error::ReassemblyTimeExceeded);
}

/// What a host socket reported, as the guest would have heard it from the way.
pub(crate) fn send_error_for_flow(lan: &mut Lan, now: Instant, quote: &Quote, error: HostError) {
    match error {
        HostError::Refused => send_unreachable(lan, now, quote, Unreachable::Port),
        HostError::HostUnreachable => send_unreachable(lan, now, quote, Unreachable::Host),
        HostError::NetUnreachable => send_unreachable(lan, now, quote, Unreachable::Net),
        HostError::Prohibited | HostError::Exhausted => {
            send_unreachable(lan, now, quote, Unreachable::Prohibited);
        }
        HostError::TooBig { mtu } => send_error(lan, now, None, quote, Error::TooBig(mtu)),
        HostError::TimeExceeded { router } => send_time_exceeded(lan, now, quote, router),
        HostError::TimedOut | HostError::Reset | HostError::Other => {}
    }
}
