//! From another network to a guest here.

use std::net::IpAddr;

use atoll_wire::ipv6::{IPV6_LEN, Ipv6Header, walk};
use atoll_wire::packet::{self, ETHERNET_LEN, IPV4_LEN, Ipv4Header, UDP_LEN};
use atoll_wire::{
    EthernetProtocol, Frame, FrameBuf, Gso, IpProtocol, Ipv4Packet, Ipv6Packet, Mac, Offload, checksum,
    fragment, segment, tcp,
};
use bytes::Buf;

use super::conversations::Beginner;
use super::said::Said;
use super::{Passing, RoutedPacket, is_a_guests, judge, network, take_hop};
use crate::counters::Counter;
use crate::event::HostError;
use crate::gateway::icmp::{self, Quote, Unreachable};
use crate::lan::Lan;
use crate::{Instant, JoinId};

/// What a packet's headers say.
#[derive(Clone, Copy, Debug)]
struct Headers {
    src: IpAddr,
    dst: IpAddr,
    hops: u8,
    protocol: IpProtocol,
    /// Where the transport's header begins.
    transport: usize,
    len: usize,
    /// A router may cut it (RFC 791; nothing over IPv6).
    may_be_cut: bool,
}

impl Headers {
    /// Those of a whole packet; `None` when they are not sound.
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.first()? >> 4 == 6 {
            let walked = walk(bytes).ok()?;
            return Some(Self {
                src: walked.header.src.into(),
                dst: walked.header.dst.into(),
                hops: walked.header.hop_limit,
                protocol: walked.header.protocol,
                transport: walked.transport,
                len: walked.end,
                may_be_cut: false,
            });
        }
        let header = Ipv4Packet::new_checked(bytes).ok()?;
        let is_sound = header.version() == 4
            && usize::from(header.header_len()) == IPV4_LEN
            && checksum::sum(bytes.get(..IPV4_LEN)?) == u16::MAX
            && !header.more_frags()
            && header.frag_offset() == 0;
        is_sound.then(|| Self {
            src: header.src_addr().into(),
            dst: header.dst_addr().into(),
            hops: header.hop_limit(),
            protocol: header.next_header(),
            transport: IPV4_LEN,
            len: header.total_len().into(),
            may_be_cut: !header.dont_frag(),
        })
    }

    /// Bytes of the largest packet that it will be when it was cut at the size that travels beside it.
    fn largest(&self, bytes: &[u8], gso: Gso) -> usize {
        let header = |of_transport: usize, size: u16| self.transport + of_transport + usize::from(size);
        let largest = match gso {
            Gso::None => self.len,
            Gso::Udp4 { size } | Gso::Udp6 { size } => header(UDP_LEN, size),
            Gso::Tcp4 { size } | Gso::Tcp6 { size } => {
                let parsed = bytes.get(self.transport..).and_then(tcp::Header::parse);
                parsed.map_or(self.len, |(_, len)| header(len, size))
            }
        };
        largest.min(self.len)
    }
}

/// A packet came from another network.
pub(crate) fn handle_routed(lan: &mut Lan, now: Instant, from: JoinId, routed: RoutedPacket) {
    let Some(joined) = network(lan, from) else {
        return lan.counters.count(Counter::RouteRefused);
    };
    let (addresses, may_begin) = (joined.addresses, joined.begins_here);
    let RoutedPacket {
        packet: mut buf,
        offload,
        origin,
        was_cut,
    } = routed;
    let Some(headers) = Headers::read(buf.payload()) else {
        return lan.counters.count(Counter::Malformed);
    };
    buf.truncate(headers.len);
    let transport = buf.payload().get(headers.transport..).unwrap_or_default();
    let Some(said) = Said::read(headers.protocol, transport) else {
        return lan.counters.count(Counter::UnknownProtocol);
    };
    // An error may be a gateway's; and it is for who sent what it is about.
    let is_from_there = match said {
        Said::Error { src, .. } => addresses.contains(headers.src) && src == headers.dst,
        Said::Talk(..) => is_a_guests(addresses, headers.src),
    };
    if !is_from_there || !lan.is_for_guests(headers.dst) {
        return lan.counters.count(Counter::BadSourceAddress);
    }
    let there = match said {
        Said::Error { dst, .. } => dst,
        Said::Talk(..) => headers.src,
    };
    let passing = Passing {
        said,
        here: headers.dst,
        there,
        sender: Beginner::There(from, origin),
        may_begin,
    };
    if judge(lan, now, &passing).is_err() {
        return;
    }
    let quote = |buf: &FrameBuf| Quote::packet(headers.src, headers.dst, buf.payload());
    if headers.hops <= 1 {
        lan.counters.count(Counter::TtlExceeded);
        if !said.is_error() {
            icmp::send_time_exceeded(lan, now, &quote(&buf), None);
        }
        return;
    }
    if headers.largest(buf.payload(), offload.gso) > usize::from(lan.mtu) {
        if headers.may_be_cut || was_cut {
            take_hop(buf.payload_mut());
            return deliver_cut(lan, now, (from, origin), &buf, offload);
        }
        lan.counters.count(Counter::RouteTooBig);
        if !said.is_error() {
            let mtu = Some(lan.mtu);
            icmp::send_error_for_flow(lan, now, &quote(&buf), HostError::TooBig { mtu });
        }
        return;
    }
    take_hop(buf.payload_mut());
    lan.send_routed(now, headers.dst, (buf, offload), (from, origin));
}

/// In pieces that fit the link, each with its checksum finished.
fn deliver_cut(lan: &mut Lan, now: Instant, origin: (JoinId, u32), buf: &FrameBuf, offload: Offload) {
    let mut framed = FrameBuf::copy_from(buf.payload());
    let protocol = match buf.payload().first().map(|first| first >> 4) {
        Some(6) => EthernetProtocol::Ipv6,
        _ => EthernetProtocol::Ipv4,
    };
    // What finishes checksums and cuts large segments takes frames.
    packet::push_ethernet(&mut framed, Mac::default(), Mac::default(), protocol);
    let Ok(whole) = segment::plain(&framed.freeze(offload)) else {
        return lan.counters.count(Counter::Malformed);
    };
    for Frame { mut bytes, .. } in whole {
        bytes.advance(ETHERNET_LEN);
        let Some(headers) = Headers::read(&bytes) else {
            return lan.counters.count(Counter::Malformed);
        };
        for piece in pieces(lan, &bytes[..headers.len]) {
            lan.send_routed(now, headers.dst, (piece, Offload::default()), origin);
        }
    }
}

/// A whole packet with a sound header and without options, cut.
fn pieces(lan: &mut Lan, bytes: &[u8]) -> Vec<FrameBuf> {
    if bytes.first().is_some_and(|first| first >> 4 == 6) {
        let packet = Ipv6Packet::new_unchecked(bytes);
        let header = Ipv6Header {
            src: packet.src_addr(),
            dst: packet.dst_addr(),
            protocol: packet.next_header(),
            hop_limit: packet.hop_limit(),
        };
        if header.protocol == IpProtocol::HopByHop {
            // It would have to stand in each piece; nobody sends such.
            lan.counters.count(Counter::HeaderProblem);
            return Vec::new();
        }
        // Nobody is to foresee it (RFC 7739).
        let [a, b, c, d, ..] = lan.rng.next_u64().to_le_bytes();
        let ident = u32::from_le_bytes([a, b, c, d]);
        return fragment::ipv6(&bytes[IPV6_LEN..], &header, ident, lan.mtu).collect();
    }
    let packet = Ipv4Packet::new_unchecked(bytes);
    let header = Ipv4Header {
        ttl: packet.hop_limit(),
        dont_fragment: false,
        ..lan.ipv4_header(packet.src_addr(), packet.dst_addr(), packet.next_header())
    };
    fragment::ipv4(&bytes[IPV4_LEN..], &header, lan.mtu).collect()
}

/// A packet from another network found nobody here.
pub(crate) fn handle_lost(lan: &mut Lan, now: Instant, packet: &FrameBuf) {
    if lan.joined.is_empty() {
        return;
    }
    let is_from_there = |lan: &Lan, src| lan.joined.network_of(src).is_some();
    let headers = Headers::read(packet.payload());
    if headers.is_some_and(|headers| is_from_there(lan, headers.src)) {
        tell(lan, now, packet, Unreachable::Host);
    }
}

/// A packet of a guest's found no network to go to.
pub(crate) fn tell_unreachable(lan: &mut Lan, now: Instant, packet: &FrameBuf) {
    lan.counters.count(Counter::RouteLost);
    tell(lan, now, packet, Unreachable::Net);
}

/// Tell the sender of a packet that is no error.
fn tell(lan: &mut Lan, now: Instant, packet: &FrameBuf, why: Unreachable) {
    let bytes = packet.payload();
    let Some(headers) = Headers::read(bytes) else {
        return;
    };
    let said = Said::read(headers.protocol, &bytes[headers.transport..]);
    if said.is_some_and(|said| !said.is_error()) {
        let quote = Quote::packet(headers.src, headers.dst, &bytes[..headers.len]);
        icmp::send_unreachable(lan, now, &quote, why);
    }
}
