//! A guest that does not want to keep to its policy, and the ways it knows.

use super::{ALLOWED, GATEWAY, HOSTILE, OWN, OWN6, at, ip, question};
use atoll_e2e::{RawGuest, THERE, ip_frame, syn, udp};
use atoll_wire::{ArpOperation, EthernetProtocol, FrameBuf, IpProtocol, Mac, packet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// The hostile guest, which answers when the gateway asks for its addresses, as far as it likes.
pub(crate) struct Hostile {
    pub(crate) guest: RawGuest,
}

impl Hostile {
    pub(crate) fn attach(socket: &Path) -> Self {
        let guest = RawGuest::attach(socket, HOSTILE, GATEWAY).unwrap();
        let mut hostile = Self { guest };
        let mut buf = packet::arp(
            ArpOperation::Request,
            (HOSTILE, OWN.parse().unwrap()),
            (Mac::default(), OWN.parse().unwrap()),
        );
        packet::push_ethernet(&mut buf, HOSTILE, Mac::BROADCAST, EthernetProtocol::Arp);
        hostile.guest.send(buf.payload()).unwrap();
        hostile
    }

    /// A SYN, a datagram from these addresses.
    pub(crate) fn try_both(&mut self, from: &str, to: &str) {
        let (src, dst) = (SocketAddr::new(ip(from), 5000), at(to));
        let pair = (src.ip(), dst.ip());
        self.guest.send_ip(pair, IpProtocol::Tcp, syn(src, dst)).unwrap();
        self.guest
            .send_ip(pair, IpProtocol::Udp, udp(src, dst, b"secret"))
            .unwrap();
    }

    fn frame(&self, to: &str) -> Vec<u8> {
        let (src, dst) = (SocketAddr::new(ip(OWN), 5001), at(to));
        let buf = udp(src, dst, b"sixteen bytes ..sixteen bytes ..");
        ip_frame((HOSTILE, GATEWAY), (src.ip(), dst.ip()), IpProtocol::Udp, buf)
    }

    /// The datagram in two fragments.
    pub(crate) fn try_fragments(&mut self, to: &str) {
        let whole = self.frame(to);
        let (header, payload) = whole[14..].split_at(20);
        for (at, part) in [(0, &payload[..24]), (24, &payload[24..])] {
            let mut packet = [header, part].concat();
            let len = u16::try_from(packet.len()).unwrap();
            let place = u16::try_from(at / 8).unwrap() | if at == 0 { 0x2000 } else { 0 };
            packet[2..4].copy_from_slice(&len.to_be_bytes());
            packet[6..8].copy_from_slice(&place.to_be_bytes());
            self.guest
                .send(&[&whole[..14], &with_checksum(packet, 20)].concat())
                .unwrap();
        }
    }

    /// A whole packet to the gateway, with its IPv4 header's length, fragment field and checksum put right.
    fn send_v4(&mut self, mut packet: Vec<u8>, place: u16) {
        let len = u16::try_from(packet.len()).unwrap();
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[6..8].copy_from_slice(&place.to_be_bytes());
        let header_len = usize::from(packet[0] & 0x0f) * 4;
        let frame = self.frame(THERE);
        self.guest
            .send(&[&frame[..14], &with_checksum(packet, header_len)].concat())
            .unwrap();
    }

    /// A SYN whose first fragment is as short as they get: the flags are in the second (RFC 1858, 3).
    pub(crate) fn try_tiny_fragments(&mut self, to: &str) {
        let (src, dst) = (SocketAddr::new(ip(OWN), 5002), at(to));
        let whole = ip_frame(
            (HOSTILE, GATEWAY),
            (src.ip(), dst.ip()),
            IpProtocol::Tcp,
            syn(src, dst),
        );
        let (header, payload) = whole[14..].split_at(20);
        self.send_v4([header, &payload[..8]].concat(), 0x2000);
        self.send_v4([header, &payload[8..]].concat(), 1);
    }

    /// A datagram for one port, over which a later fragment writes another (RFC 1858, 4; RFC 5722).
    pub(crate) fn try_overlap(&mut self, to: &str) {
        let whole = self.frame(to);
        let (header, payload) = whole[14..].split_at(20);
        self.send_v4([header, &payload[..24]].concat(), 0x2000);
        self.send_v4([header, &payload[8..32]].concat(), 0x2001);
        self.send_v4([header, &payload[24..]].concat(), 3);
    }

    /// The datagram in a tunnel (RFC 2003, RFC 4213, GRE).
    pub(crate) fn try_tunnels(&mut self, to: &str) {
        for protocol in [4, 41, 47] {
            let inner = self.frame(to)[14..].to_vec();
            let mut outer = self.frame(ALLOWED)[14..34].to_vec();
            outer[9] = protocol;
            self.send_v4([outer, inner].concat(), 0);
        }
    }

    /// Errors about connections that nobody has, to the gateway and to the denied host itself (RFC 792; RFC 5927).
    pub(crate) fn try_errors(&mut self, to: &str) {
        let quoted = self.frame(to)[14..].to_vec();
        for (kind, code) in [(3, 1), (3, 4), (5, 1), (11, 0), (12, 0)] {
            for dst in ["10.77.0.1", to] {
                let mut buf = FrameBuf::copy_from(&quoted);
                packet::push_icmpv4(&mut buf, kind.into(), code, [0, 0, 2, 64]);
                self.guest
                    .send_ip((ip(OWN), ip(dst)), IpProtocol::Icmp, buf)
                    .unwrap();
            }
        }
    }

    /// The datagram behind these extension headers: the first one's number, and all of them but each one's own next header.
    pub(crate) fn try_headers(&mut self, to: &str, headers: &[(u8, &[u8])]) {
        const UDP: u8 = 17;
        let (src, dst) = (SocketAddr::new(ip(OWN6), 5003), at(to));
        let frame = ip_frame(
            (HOSTILE, GATEWAY),
            (src.ip(), dst.ip()),
            IpProtocol::Udp,
            udp(src, dst, b"behind headers"),
        );
        let (ahead, transport) = frame.split_at(54);
        let mut packet = ahead.to_vec();
        let nexts = headers[1..].iter().map(|(number, _)| *number).chain([UDP]);
        let chain: Vec<u8> = nexts
            .zip(headers)
            .flat_map(|(next, (_, rest))| [&[next], *rest].concat())
            .collect();
        packet[14 + 6] = headers[0].0;
        let len = u16::try_from(chain.len() + transport.len()).unwrap();
        packet[14 + 4..14 + 6].copy_from_slice(&len.to_be_bytes());
        self.guest
            .send(&[&packet[..], &chain, transport].concat())
            .unwrap();
    }

    /// The datagram with tags before it.
    pub(crate) fn try_tags(&mut self, to: &str, tags: &[[u8; 4]]) {
        let frame = self.frame(to);
        self.guest
            .send(&[&frame[..12], tags.as_flattened(), &frame[12..]].concat())
            .unwrap();
    }

    /// An answer of DNS that nobody asked for, to the gateway and in its name to all: a name that is allowed, at an address that is not.
    pub(crate) fn try_answer(&mut self, name: &str, to: &str) {
        let mut message = question(name);
        message[2..4].copy_from_slice(&[0x81, 0x80]);
        message[7] = 1;
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(v4(to));
        let dns = SocketAddr::new(ip("10.77.0.1"), 53);
        let src = SocketAddr::new(ip(OWN), 53);
        let pair = (src.ip(), dns.ip());
        self.guest
            .send_ip(pair, IpProtocol::Udp, udp(src, dns, &message))
            .unwrap();
    }

    /// Source routed by an allowed host, loosely and strictly (RFC 791).
    pub(crate) fn try_options(&mut self, to: &str) {
        let whole = self.frame(to);
        for kind in [131, 137] {
            let [a, b, c, d] = ALLOWED.parse::<Ipv4Addr>().unwrap().octets();
            let mut packet = [&whole[14..34], &[kind, 7, 4, a, b, c, d, 0], &whole[34..]].concat();
            packet[0] = 0x47;
            let len = u16::try_from(packet.len()).unwrap();
            packet[2..4].copy_from_slice(&len.to_be_bytes());
            self.guest
                .send(&[&whole[..14], &with_checksum(packet, 28)].concat())
                .unwrap();
        }
    }

    /// Echo.
    pub(crate) fn try_echo(&mut self, to: &str) {
        let mut buf = FrameBuf::copy_from(b"secret");
        packet::push_icmpv4(&mut buf, atoll_wire::Icmpv4Message::EchoRequest, 0, [0, 9, 0, 1]);
        self.guest
            .send_ip((ip(OWN), ip(to)), IpProtocol::Icmp, buf)
            .unwrap();
    }

    /// Ask our DNS, and go where it says at once.
    pub(crate) fn try_name(&mut self, name: &str, to: &str) {
        let (src, dns) = (
            SocketAddr::new(ip(OWN), 5353),
            SocketAddr::new(ip("10.77.0.1"), 53),
        );
        let pair = (src.ip(), dns.ip());
        self.guest
            .send_ip(pair, IpProtocol::Udp, udp(src, dns, &question(name)))
            .unwrap();
        let heard = self.guest.hear().unwrap();
        assert!(
            heard.iter().any(|frame| frame.ends_with(&v4(to))),
            "{name} was not answered with {to}"
        );
        self.try_both(OWN, to);
    }
}

fn v4(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap().octets()
}

fn with_checksum(mut packet: Vec<u8>, header_len: usize) -> Vec<u8> {
    packet[10..12].fill(0);
    let sum = !atoll_wire::checksum::sum(&packet[..header_len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}
