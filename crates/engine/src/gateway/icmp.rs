//! ICMP as the gateway speaks it: echo replies for its own addresses, errors for what did not arrive (RFC 792, RFC 1812).
//!
//! An error is sent only for what a guest really sent, never about an ICMP error, a fragment, or to a group (RFC 1812, 4.3.2.7);
//! those never come here. The errors that host sockets report are passed on as the router on the way would have sent them.

use std::net::IpAddr;

use atoll_wire::packet::{self, ICMP_LEN, IPV4_LEN, Ipv4Header};
use atoll_wire::{Endpoint, FrameBuf, Icmpv4Message, IpProtocol, Offload, Seq};

use crate::Instant;
use crate::counters::Counter;
use crate::event::HostError;
use crate::lan::Lan;

/// As much of the packet in question as an error carries back, at most: RFC 1812 asks for as much as fits 576 bytes.
const MAX_QUOTE: usize = 576 - IPV4_LEN - ICMP_LEN;

/// Codes of "destination unreachable".
pub(crate) mod unreachable {
    pub(crate) const NET: u8 = 0;
    pub(crate) const HOST: u8 = 1;
    pub(crate) const PROTOCOL: u8 = 2;
    pub(crate) const PORT: u8 = 3;
    pub(crate) const TOO_BIG: u8 = 4;
    pub(crate) const PROHIBITED: u8 = 13;
}

/// A packet of a guest's, from its IPv4 header on, as far as it is known.
#[derive(Clone, Debug)]
pub(crate) struct Quote {
    src: IpAddr,
    dst: IpAddr,
    bytes: Vec<u8>,
}

impl Quote {
    /// The packet itself, which is a valid IPv4 packet.
    pub(crate) fn packet(src: IpAddr, dst: IpAddr, bytes: &[u8]) -> Self {
        Self {
            src,
            dst,
            bytes: bytes[..bytes.len().min(MAX_QUOTE)].to_vec(),
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
        Self::rebuilt(guest, remote, IpProtocol::Icmp, [8, 0, 0, 0, a, b, c, d])
    }

    fn rebuilt(src: IpAddr, dst: IpAddr, protocol: IpProtocol, transport: [u8; 8]) -> Self {
        let mut buf = FrameBuf::copy_from(&transport);
        if let (IpAddr::V4(src), IpAddr::V4(dst)) = (src, dst) {
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
        Self {
            src,
            dst,
            bytes: buf.payload().to_vec(),
        }
    }
}

/// An echo reply from one of our own addresses or from the world: identifier, sequence number and data. One that does not fit
/// the link is lost and counted.
pub(crate) fn send_echo_reply(
    lan: &mut Lan,
    now: Instant,
    from: IpAddr,
    to: IpAddr,
    echo: (u16, u16, FrameBuf),
) {
    let (ident, seq, mut buf) = echo;
    if buf.len() + ICMP_LEN + IPV4_LEN > usize::from(lan.mtu) {
        return lan.counters.count(Counter::HostDatagramDropped);
    }
    let [a, b] = ident.to_be_bytes();
    let [c, d] = seq.to_be_bytes();
    packet::push_icmpv4(&mut buf, Icmpv4Message::EchoReply, 0, [a, b, c, d]);
    let packet = (buf, Offload::default());
    lan.send_ip(now, (from, to), IpProtocol::Icmp, packet);
}

/// Send an error from `from`. `rest` is the header's second word.
fn send_error(lan: &mut Lan, now: Instant, from: IpAddr, quote: &Quote, error: (Icmpv4Message, u8, [u8; 4])) {
    let mut buf = FrameBuf::copy_from(&quote.bytes);
    packet::push_icmpv4(&mut buf, error.0, error.1, error.2);
    let packet = (buf, Offload::default());
    lan.send_ip(now, (from, quote.src), IpProtocol::Icmp, packet);
}

/// "Destination unreachable": from the destination itself when the port is closed there, else from the gateway.
pub(crate) fn send_unreachable(lan: &mut Lan, now: Instant, quote: &Quote, code: u8) {
    let from_destination = matches!(code, unreachable::PORT | unreachable::PROTOCOL);
    let from = if from_destination {
        Some(quote.dst)
    } else {
        lan.addresses.gateway(quote.src)
    };
    let Some(from) = from else { return };
    send_error(
        lan,
        now,
        from,
        quote,
        (Icmpv4Message::DstUnreachable, code, [0; 4]),
    );
}

/// "Time to live exceeded in transit", from the gateway or the router that said so.
pub(crate) fn send_time_exceeded(lan: &mut Lan, now: Instant, quote: &Quote, router: Option<IpAddr>) {
    if let Some(from) = router.or(lan.addresses.gateway(quote.src)) {
        send_error(lan, now, from, quote, (Icmpv4Message::TimeExceeded, 0, [0; 4]));
    }
}

/// What a host socket reported, as the guest would have heard it from the way.
pub(crate) fn send_error_for_flow(lan: &mut Lan, now: Instant, quote: &Quote, error: HostError) {
    match error {
        HostError::Refused => send_unreachable(lan, now, quote, unreachable::PORT),
        HostError::HostUnreachable => send_unreachable(lan, now, quote, unreachable::HOST),
        HostError::NetUnreachable => send_unreachable(lan, now, quote, unreachable::NET),
        HostError::Prohibited | HostError::Exhausted => {
            send_unreachable(lan, now, quote, unreachable::PROHIBITED);
        }
        HostError::TooBig { mtu } => {
            let [high, low] = mtu.unwrap_or(0).to_be_bytes();
            let error = (
                Icmpv4Message::DstUnreachable,
                unreachable::TOO_BIG,
                [0, 0, high, low],
            );
            if let Some(gateway) = lan.addresses.gateway(quote.src) {
                send_error(lan, now, gateway, quote, error);
            }
        }
        HostError::TimeExceeded { router } => send_time_exceeded(lan, now, quote, router),
        HostError::TimedOut | HostError::Reset | HostError::Other => {}
    }
}
