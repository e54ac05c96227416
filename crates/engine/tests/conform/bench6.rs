//! What the bench needs for IPv6: the same guests under their other addresses, and messages of ICMPv6.

use std::net::{IpAddr, Ipv6Addr};

use atoll_engine::{Config, Prefix};
use atoll_wire::ipv6::{self, IPV6_LEN, Ipv6Header};
use atoll_wire::packet::{self, ICMP_LEN};
use atoll_wire::{
    EthernetProtocol, FrameBuf, Icmpv6Message, IpProtocol, Ipv6Packet, Mac, UdpPacket, ndp, tcp,
};

use crate::bench::{A, B, GATEWAY_MAC, Guest, Heard, Net, Segment, sum};

pub(crate) const PREFIX: Prefix = Prefix {
    address: Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0),
};
pub(crate) const GATEWAY6: IpAddr = own(1);
pub(crate) const ALIAS6: IpAddr = own(0xfe);
pub(crate) const LINK_LOCAL: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// A host of the world.
pub(crate) const WORLD6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));

pub(crate) const A6: Guest = Guest { ip: own(2), ..A };
pub(crate) const B6: Guest = Guest { ip: own(3), ..B };

/// An address of the prefix.
pub(crate) const fn own(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, last))
}

pub(crate) fn v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V6(ip) => ip,
        IpAddr::V4(ip) => panic!("{ip} is no IPv6 address"),
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Icmp6 {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) hop_limit: u8,
    pub(crate) kind: u8,
    pub(crate) code: u8,
    /// The header's second word.
    pub(crate) rest: [u8; 4],
    pub(crate) data: Vec<u8>,
}

impl Icmp6 {
    /// Source and destination of the packet that an error quotes, its next header, and the first eight bytes behind its header.
    pub(crate) fn quote(&self) -> (IpAddr, IpAddr, IpProtocol, [u8; 8]) {
        let packet = Ipv6Packet::new_unchecked(&self.data[..]);
        let first = self.data[IPV6_LEN..IPV6_LEN + 8].try_into().unwrap();
        let (src, dst) = (packet.src_addr().into(), packet.dst_addr().into());
        (src, dst, packet.next_header(), first)
    }
}

/// Both families, and the guests are known by both addresses.
pub(crate) fn net() -> Net {
    net_with(|_| ())
}

pub(crate) fn net_with(change: impl FnOnce(&mut Config)) -> Net {
    let mut net = Net::with(|config| {
        config.ipv6 = Some(PREFIX);
        change(config);
    });
    for guest in [A6, B6] {
        introduce(&mut net, guest);
    }
    net
}

/// The same, but nobody has said its IPv6 address.
pub(crate) fn net_of_strangers() -> Net {
    Net::of_strangers(|config| config.ipv6 = Some(PREFIX))
}

/// The guest asks for the gateway, as it does before it sends anything.
pub(crate) fn introduce(net: &mut Net, guest: Guest) {
    solicit(net, guest, GATEWAY6);
    for everybody in [A, B] {
        net.heard(everybody);
    }
}

/// A neighbor solicitation of the guest's.
pub(crate) fn solicit(net: &mut Net, guest: Guest, target: IpAddr) {
    let buf = ndp::neighbor_solicitation((v6(guest.ip), guest.mac), v6(target));
    let group = ndp::solicited_node(v6(target));
    send_discovery(net, guest, (guest.ip, group.into()), 255, buf);
}

/// A message of neighbor discovery to a group, or to the gateway.
pub(crate) fn send_discovery(
    net: &mut Net,
    guest: Guest,
    (src, dst): (IpAddr, IpAddr),
    hop_limit: u8,
    buf: FrameBuf,
) {
    let frame = frame(guest, (src, dst), (IpProtocol::Icmpv6, hop_limit), buf);
    net.send_frame(guest, &frame);
}

/// A frame from the guest: to the gateway, or to a group's MAC address.
pub(crate) fn frame(
    guest: Guest,
    (src, dst): (IpAddr, IpAddr),
    (protocol, hop_limit): (IpProtocol, u8),
    mut buf: FrameBuf,
) -> Vec<u8> {
    let header = Ipv6Header {
        src: v6(src),
        dst: v6(dst),
        protocol,
        hop_limit,
    };
    ipv6::push_ipv6(&mut buf, &header);
    let mac: Mac = if dst.is_multicast() {
        ndp::group_mac(v6(dst))
    } else {
        GATEWAY_MAC
    };
    packet::push_ethernet(&mut buf, guest.mac, mac, EthernetProtocol::Ipv6);
    buf.payload().to_vec()
}

/// A message of ICMPv6 with a right checksum.
pub(crate) fn icmp6((src, dst): (IpAddr, IpAddr), kind: u8, rest: [u8; 4], data: &[u8]) -> FrameBuf {
    let mut buf = FrameBuf::copy_from(data);
    packet::push_icmpv6(&mut buf, (v6(src), v6(dst)), (kind, 0), rest);
    buf
}

pub(crate) fn echo(pair: (IpAddr, IpAddr), (ident, seq): (u16, u16), data: &[u8]) -> FrameBuf {
    let ([a, b], [c, d]) = (ident.to_be_bytes(), seq.to_be_bytes());
    icmp6(pair, Icmpv6Message::EchoRequest.into(), [a, b, c, d], data)
}

pub(crate) fn hears_icmp6(net: &mut Net, guest: Guest) -> Icmp6 {
    match net.hears(guest) {
        Heard::Icmp6(icmp) => icmp,
        other => panic!("ICMPv6 was expected: {other:?}"),
    }
}

/// Type, code, second word and source of the one thing that the guest heard.
pub(crate) fn error(net: &mut Net, guest: Guest) -> (u8, u8, [u8; 4], IpAddr) {
    let Icmp6 {
        kind,
        code,
        rest,
        src,
        ..
    } = hears_icmp6(net, guest);
    (kind, code, rest, src)
}

pub(crate) fn parse(body: &[u8]) -> Heard {
    let ip = Ipv6Packet::new_checked(body).unwrap();
    assert_eq!(usize::from(ip.payload_len()) + IPV6_LEN, body.len());
    let (src, dst) = (ip.src_addr(), ip.dst_addr());
    let rest = &body[IPV6_LEN..];
    if ip.next_header() == IpProtocol::Ipv6Frag {
        return Heard::Other(body.to_vec());
    }
    let len = u32::try_from(rest.len()).unwrap().to_be_bytes();
    let pseudo = [0, 0, 0, u8::from(ip.next_header())];
    let whole = sum(&[&src.octets(), &dst.octets(), &len, &pseudo, rest]);
    assert_eq!(whole, 0xffff, "the checksum is wrong");
    match ip.next_header() {
        IpProtocol::Tcp => {
            let (header, header_len) = tcp::Header::parse(rest).unwrap();
            Heard::Tcp(Segment {
                src: (src, header.src_port).into(),
                dst: (dst, header.dst_port).into(),
                header,
                payload: rest[header_len..].to_vec(),
            })
        }
        IpProtocol::Udp => {
            let udp = UdpPacket::new_checked(rest).unwrap();
            assert_ne!(udp.checksum(), 0);
            Heard::Udp {
                src: (src, udp.src_port()).into(),
                dst: (dst, udp.dst_port()).into(),
                payload: rest[packet::UDP_LEN..].to_vec(),
            }
        }
        IpProtocol::Icmpv6 => Heard::Icmp6(Icmp6 {
            src: src.into(),
            dst: dst.into(),
            hop_limit: ip.hop_limit(),
            kind: rest[0],
            code: rest[1],
            rest: rest[4..8].try_into().unwrap(),
            data: rest[ICMP_LEN..].to_vec(),
        }),
        other => panic!("the gateway sent protocol {other}"),
    }
}
