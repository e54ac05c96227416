//! Packets for another network that a guest knows the way to.
//!
//! Guests are told of such routes by DHCP (option 121), and use them without us. IPv6 cannot tell them so: a route in a router
//! advertisement leads to who sends it (RFC 4191, 2.3). So the gateway is the next hop of these, and of guests that know of no routes
//! at all, and passes their packets on as a router does: one hop less, to the MAC address of the guest that the route names. What comes back comes to the guest
//! directly.
//!
//! A packet goes on as it is, fragment or whole. On an isolated network nothing does, for guests do not reach each other by way of the
//! gateway; and nothing goes back to the guest that it came from.

use std::net::IpAddr;

use atoll_wire::packet::IPV4_LEN;
use atoll_wire::{Frame, FrameBuf, Ipv4Packet, Ipv6Packet, checksum};

use super::icmp::{self, Quote, Unreachable};
use super::packet::Arrival;
use super::{is_from_guest, learn};
use crate::counters::Counter;
use crate::{Engine, Instant};

/// What the header of a packet says, if it is sound.
struct Header {
    src: IpAddr,
    dst: IpAddr,
    hops: u8,
    /// Bytes of the packet, header included.
    len: usize,
    /// An ICMP error may be sent about it (RFC 1812, 4.3.2.7).
    is_first: bool,
}

/// The packet if it is not for a route's destination. The Ethernet header is gone already.
pub(super) fn follow(engine: &mut Engine, now: Instant, arrival: Arrival, frame: Frame) -> Option<Frame> {
    if engine.routes.is_empty() || !arrival.for_us {
        return Some(frame);
    }
    let Some(header) = header(&frame.bytes) else {
        return Some(frame);
    };
    let route = engine.routes.iter().filter(|route| route.leads_to(header.dst));
    let Some(via) = route.max_by_key(|route| route.prefix_len).map(|route| route.via) else {
        return Some(frame);
    };
    if engine.lan.is_own(header.dst) || engine.flows.policy().is_group(header.dst) {
        return Some(frame);
    }
    pass_on(engine, now, arrival, (&header, via), &frame);
    None
}

fn pass_on(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    (header, via): (&Header, IpAddr),
    frame: &Frame,
) {
    if !engine.lan.is_for_guests(header.src) || !is_from_guest(&engine.lan, header.src) {
        return engine.lan.counters.count(Counter::BadSourceAddress);
    }
    if !learn(engine, now, header.src, arrival) {
        return;
    }
    let lan = &mut engine.lan;
    let quote = Quote::packet(header.src, header.dst, &frame.bytes[..header.len]);
    if lan.isolate || lan.neighbors.mac_of(via) == Some(arrival.mac) {
        lan.counters.count(Counter::Forbidden);
        if header.is_first {
            icmp::send_unreachable(lan, now, &quote, Unreachable::Prohibited);
        }
        return;
    }
    if header.hops <= 1 {
        lan.counters.count(Counter::TtlExceeded);
        if header.is_first {
            icmp::send_time_exceeded(lan, now, &quote, None);
        }
        return;
    }
    lan.counters.count(Counter::Relayed);
    let mut buf = FrameBuf::copy_from(&frame.bytes[..header.len]);
    take_hop(buf.payload_mut());
    lan.send_packet(now, via, (buf, frame.offload));
}

/// One hop less, in a sound header.
pub(super) fn take_hop(packet: &mut [u8]) {
    if packet.first().is_some_and(|first| first >> 4 == 4) {
        let mut header = Ipv4Packet::new_unchecked(packet);
        header.set_hop_limit(header.hop_limit().saturating_sub(1));
        header.fill_checksum();
    } else {
        let mut header = Ipv6Packet::new_unchecked(packet);
        header.set_hop_limit(header.hop_limit().saturating_sub(1));
    }
}

fn header(bytes: &[u8]) -> Option<Header> {
    if bytes.first()? >> 4 == 6 {
        let packet = Ipv6Packet::new_checked(bytes).ok()?;
        return Some(Header {
            src: packet.src_addr().into(),
            dst: packet.dst_addr().into(),
            hops: packet.hop_limit(),
            len: packet.total_len(),
            is_first: !packet.src_addr().is_unicast_link_local(),
        });
    }
    let packet = Ipv4Packet::new_checked(bytes).ok()?;
    let header_len = usize::from(packet.header_len());
    let is_sound = packet.version() == 4
        && header_len >= IPV4_LEN
        && checksum::sum(bytes.get(..header_len)?) == u16::MAX;
    is_sound.then(|| Header {
        src: packet.src_addr().into(),
        dst: packet.dst_addr().into(),
        hops: packet.hop_limit(),
        len: packet.total_len().into(),
        is_first: packet.frag_offset() == 0,
    })
}
