//! Builders for the packets that the gateway sends: headers pushed in front of a payload, innermost first.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4Packet, IpProtocol, Ipv4Packet, UdpPacket,
};

use crate::ipv6::IPV6_LEN;
use crate::vlan::TAG_LEN;
use crate::{ArpOperation, ArpPacket, ArpRepr, Endpoint, Family, FrameBuf, Icmpv4Message, Mac, checksum};

/// Bytes of an Ethernet header without tags.
pub const ETHERNET_LEN: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;
/// Bytes of a UDP header.
pub const UDP_LEN: usize = 8;
/// Bytes of an ICMP echo or error header.
pub const ICMP_LEN: usize = 8;

/// Bytes of the IP header that the gateway sends between addresses of this family: without options or extension headers.
#[must_use]
pub fn ip_len(family: Family) -> usize {
    match family {
        Family::V4 => IPV4_LEN,
        Family::V6 => IPV6_LEN,
    }
}

/// Bytes that a whole packet of this family can carry, transport header included: the length field of IPv4 counts the header
/// (RFC 791, 3.1), that of IPv6 does not (RFC 8200, 3). Such a packet fits no link of ours, and goes in fragments.
#[must_use]
pub fn max_payload(family: Family) -> usize {
    match family {
        Family::V4 => u16::MAX as usize - IPV4_LEN,
        Family::V6 => u16::MAX as usize,
    }
}

/// Where the IP header of a frame begins, behind one tag of a VLAN at most, and which it is; `None` for another protocol.
pub(crate) fn ip_start(frame: &[u8]) -> Option<(usize, Family)> {
    match *frame.get(12..14)? {
        [0x08, 0x00] => Some((ETHERNET_LEN, Family::V4)),
        [0x86, 0xdd] => Some((ETHERNET_LEN, Family::V6)),
        [0x81, 0x00] | [0x88, 0xa8] => match *frame.get(16..18)? {
            [0x08, 0x00] => Some((ETHERNET_LEN + TAG_LEN, Family::V4)),
            [0x86, 0xdd] => Some((ETHERNET_LEN + TAG_LEN, Family::V6)),
            _ => None,
        },
        _ => None,
    }
}

/// The fields of an IPv4 header that a sender chooses.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Header {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// What the payload is.
    pub protocol: IpProtocol,
    /// Time to live.
    pub ttl: u8,
    /// Identification, for fragments.
    pub ident: u16,
    /// The DF bit.
    pub dont_fragment: bool,
}

/// Push an IPv4 header without options, checksum included. The payload must fit 65 515 bytes.
pub fn push_ipv4(frame: &mut FrameBuf, header: &Ipv4Header) {
    let total = IPV4_LEN + frame.len();
    let bytes = frame.push_header(IPV4_LEN);
    let mut packet = Ipv4Packet::new_unchecked(bytes);
    packet.set_version(4);
    packet.set_header_len(20);
    packet.set_total_len(u16::try_from(total).unwrap_or(u16::MAX));
    packet.set_ident(header.ident);
    packet.set_dont_frag(header.dont_fragment);
    packet.set_hop_limit(header.ttl);
    packet.set_next_header(header.protocol);
    packet.set_src_addr(header.src);
    packet.set_dst_addr(header.dst);
    packet.fill_checksum();
}

/// Push an Ethernet header.
pub fn push_ethernet(frame: &mut FrameBuf, src: Mac, dst: Mac, protocol: EthernetProtocol) {
    let mut ethernet = EthernetFrame::new_unchecked(frame.push_header(ETHERNET_LEN));
    ethernet.set_src_addr(src.into());
    ethernet.set_dst_addr(dst.into());
    ethernet.set_ethertype(protocol);
}

/// Push a UDP header, checksum included. The payload must fit 65 507 bytes.
pub fn push_udp(frame: &mut FrameBuf, src: impl Into<Endpoint>, dst: impl Into<Endpoint>) {
    push_udp_between(frame, src.into(), dst.into());
}

fn push_udp_between(frame: &mut FrameBuf, src: Endpoint, dst: Endpoint) {
    push_udp_unsummed(frame, src, dst);
    let sum = transport_sum(src.ip, dst.ip, IpProtocol::Udp, frame.payload());
    // RFC 768: zero would say that there is no checksum.
    let field = if sum == u16::MAX { sum } else { !sum };
    UdpPacket::new_unchecked(frame.payload_mut()).set_checksum(field);
}

/// Push a UDP header whose checksum covers the pseudo-header only, for a port that takes
/// [`Checksum::Partial`](crate::Checksum::Partial): it starts behind the [IP header](ip_len), and stands 6 bytes behind that.
pub fn push_udp_partial(frame: &mut FrameBuf, src: impl Into<Endpoint>, dst: impl Into<Endpoint>) {
    push_udp_partial_between(frame, src.into(), dst.into());
}

fn push_udp_partial_between(frame: &mut FrameBuf, src: Endpoint, dst: Endpoint) {
    push_udp_unsummed(frame, src, dst);
    let len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let sum = pseudo_sum(src.ip, dst.ip, IpProtocol::Udp, len);
    UdpPacket::new_unchecked(frame.payload_mut()).set_checksum(sum);
}

fn push_udp_unsummed(frame: &mut FrameBuf, src: Endpoint, dst: Endpoint) {
    let len = u16::try_from(UDP_LEN + frame.len()).unwrap_or(u16::MAX);
    let mut header = UdpPacket::new_unchecked(frame.push_header(UDP_LEN));
    header.set_src_port(src.port);
    header.set_dst_port(dst.port);
    header.set_len(len);
}

/// Push an ICMP header, checksum included. `rest` is the second word: identifier and sequence number of an echo,
/// next-hop MTU of "fragmentation needed", zero for other errors.
pub fn push_icmpv4(frame: &mut FrameBuf, message: Icmpv4Message, code: u8, rest: [u8; 4]) {
    let header = frame.push_header(ICMP_LEN);
    header[0] = message.into();
    header[1] = code;
    header[4..8].copy_from_slice(&rest);
    Icmpv4Packet::new_unchecked(frame.payload_mut()).fill_checksum();
}

/// Push an ICMPv6 header, checksum included (RFC 4443, 2.3). `rest` is the second word: identifier and sequence number of an
/// echo, MTU of "packet too big", pointer of "parameter problem", flags and lifetimes of neighbor discovery.
pub fn push_icmpv6(
    frame: &mut FrameBuf,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    (message, code): (u8, u8),
    rest: [u8; 4],
) {
    let header = frame.push_header(ICMP_LEN);
    header[0] = message;
    header[1] = code;
    header[4..8].copy_from_slice(&rest);
    let sum = transport_sum(src.into(), dst.into(), IpProtocol::Icmpv6, frame.payload());
    frame.payload_mut()[2..4].copy_from_slice(&(!sum).to_be_bytes());
}

/// An ARP packet for IPv4 over Ethernet, without its Ethernet header.
#[must_use]
pub fn arp(operation: ArpOperation, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> FrameBuf {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(sender.0.0),
        source_protocol_addr: sender.1,
        target_hardware_addr: EthernetAddress(target.0.0),
        target_protocol_addr: target.1,
    };
    let mut frame = FrameBuf::zeroed(repr.buffer_len());
    repr.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    frame
}

/// Whether the TCP, UDP or ICMPv6 `segment`, header included, has a right checksum between these addresses of one family.
#[must_use]
pub fn transport_checksum_is_right(
    src: impl Into<IpAddr>,
    dst: impl Into<IpAddr>,
    protocol: IpProtocol,
    segment: &[u8],
) -> bool {
    transport_sum(src.into(), dst.into(), protocol, segment) == u16::MAX
}

/// Sum over the pseudo-header and `segment`, not complemented.
#[inline]
pub(crate) fn transport_sum(src: IpAddr, dst: IpAddr, protocol: IpProtocol, segment: &[u8]) -> u16 {
    let len = u32::try_from(segment.len()).unwrap_or(u32::MAX);
    let sum = pseudo_words(src, dst, protocol, len) + u32::from(checksum::sum(segment));
    checksum::fold(u64::from(sum))
}

/// Sum over the pseudo-header (RFC 768; RFC 8200, 8.1), not complemented.
#[inline]
pub(crate) fn pseudo_sum(src: IpAddr, dst: IpAddr, protocol: IpProtocol, len: u32) -> u16 {
    checksum::fold(u64::from(pseudo_words(src, dst, protocol, len)))
}

/// The same with its carries: below 2^21.
#[inline]
fn pseudo_words(src: IpAddr, dst: IpAddr, protocol: IpProtocol, len: u32) -> u32 {
    address_sum(src) + address_sum(dst) + words(len) + u32::from(u8::from(protocol))
}

/// Sum of an address' 16-bit words.
#[inline]
fn address_sum(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => words(address.to_bits()),
        IpAddr::V6(address) => address.segments().map(u32::from).iter().sum(),
    }
}

#[inline]
fn words(bits: u32) -> u32 {
    (bits >> 16) + (bits & 0xffff)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;

    const GUEST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), 4000);
    const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 53);

    #[test]
    fn a_datagram_built_here_is_valid_to_an_independent_parser() {
        let mut frame = FrameBuf::copy_from(b"hello");
        push_udp(&mut frame, GATEWAY, GUEST);
        push_ipv4(
            &mut frame,
            &Ipv4Header {
                src: *GATEWAY.ip(),
                dst: *GUEST.ip(),
                protocol: IpProtocol::Udp,
                ttl: 64,
                ident: 1,
                dont_fragment: false,
            },
        );
        push_ethernet(&mut frame, Mac([2; 6]), Mac([4; 6]), EthernetProtocol::Ipv4);
        let parsed = etherparse::PacketHeaders::from_ethernet_slice(frame.payload()).unwrap();
        let Some(etherparse::NetHeaders::Ipv4(ipv4, _)) = parsed.net else {
            panic!("no IPv4 header")
        };
        assert_eq!(ipv4.calc_header_checksum(), ipv4.header_checksum);
        let Some(etherparse::TransportHeader::Udp(udp)) = parsed.transport else {
            panic!("no UDP header")
        };
        assert_eq!(udp.calc_checksum_ipv4(&ipv4, b"hello").unwrap(), udp.checksum);
        assert_eq!(parsed.payload.slice(), b"hello");
    }

    #[test]
    fn a_flipped_bit_is_a_wrong_checksum() {
        let pairs: [(Endpoint, Endpoint); 2] = [(GATEWAY.into(), GUEST.into()), (GATEWAY6, GUEST6)];
        for (src, dst) in pairs {
            let mut frame = FrameBuf::copy_from(b"hello");
            push_udp(&mut frame, src, dst);
            let check =
                |segment: &[u8]| transport_checksum_is_right(src.ip, dst.ip, IpProtocol::Udp, segment);
            assert!(check(frame.payload()));
            frame.payload_mut()[9] ^= 4;
            assert!(!check(frame.payload()));
        }
    }

    const GUEST6: Endpoint = Endpoint {
        ip: IpAddr::V6(Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 2)),
        port: 4000,
    };
    const GATEWAY6: Endpoint = Endpoint {
        ip: IpAddr::V6(Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 1)),
        port: 53,
    };

    #[test]
    fn checksums_over_ipv6_are_those_of_an_independent_implementation() {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (GATEWAY6.ip, GUEST6.ip) else {
            panic!("IPv6 addresses")
        };
        let mut frame = FrameBuf::copy_from(b"hello");
        push_udp(&mut frame, GATEWAY6, GUEST6);
        let udp = etherparse::UdpHeader::with_ipv6_checksum(
            53,
            4000,
            &etherparse::Ipv6Header {
                source: src.octets(),
                destination: dst.octets(),
                ..etherparse::Ipv6Header::default()
            },
            b"hello",
        );
        assert_eq!(frame.payload()[6..8], udp.unwrap().checksum.to_be_bytes());
        let mut frame = FrameBuf::copy_from(b"hello");
        push_icmpv6(&mut frame, (src, dst), (128, 0), [0, 7, 0, 9]);
        let echo = etherparse::IcmpEchoHeader { id: 7, seq: 9 };
        let echo = etherparse::Icmpv6Type::EchoRequest(echo)
            .to_header(src.octets(), dst.octets(), b"hello")
            .unwrap();
        assert_eq!(frame.payload()[2..4], echo.checksum.to_be_bytes());
    }
}
