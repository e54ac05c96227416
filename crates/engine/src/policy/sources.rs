//! In whose name a frame speaks.
//!
//! A frame says who its sender is in its IP header, in ARP's sender fields, and in what neighbor discovery tells of: the target of an advertisement
//! and of a probe for a duplicate. All that is one or two addresses, which are to be the sender's ([`isolation`](crate::gateway)). Virtual
//! addresses that move from guest to guest are said in the same way (gratuitous ARP, RFC 5944, 4.6; unsolicited advertisements, RFC 4861,
//! 7.2.6), and are judged like any other.
//!
//! Some frames speak in the name of the network itself, which no guest may: router advertisements and redirects (RFC 6105), and what a DHCP
//! server says. And from some nobody can tell in whose name they speak: headers that are no chain, a first fragment that hides what it begins (RFC 7112, RFC 7113). On a network
//! with anti-spoofing neither passes from guest to guest, nor does any EtherType but those of ARP and IP. Tags that a guest's kernel takes
//! off are gone before; what a VLAN carries, where it may, is not judged here (see [`vlans`](crate::gateway)).

use std::net::IpAddr;

use atoll_wire::ipv6::{Ipv6Error, walk};
use atoll_wire::ndp::{Message, kind};
use atoll_wire::packet::IPV4_LEN;
use atoll_wire::{ArpPacket, ArpRepr, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet, Mac};

/// The addresses that a frame says are its sender's.
pub(crate) type Claims = [Option<IpAddr>; 2];

/// A redirect (RFC 4861, 4.5), which [`Message`] does not know.
const REDIRECT: u8 = 137;
/// Ports of servers and clients of DHCP and DHCPv6.
const DHCP: (u16, u16) = (67, 68);
const DHCP6: (u16, u16) = (547, 546);

/// What the packet behind an Ethernet header claims; `None` when it may not pass.
pub(crate) fn claims(ethertype: EthernetProtocol, packet: &[u8], mac: Mac) -> Option<Claims> {
    match ethertype {
        EthernetProtocol::Arp => claims_arp(packet, mac),
        EthernetProtocol::Ipv4 => claims4(packet),
        EthernetProtocol::Ipv6 => claims6(packet, mac),
        EthernetProtocol::Unknown(_) => None,
    }
}

/// Nothing is claimed by the unspecified address: a probe (RFC 5227), a client of DHCP.
fn claim(address: impl Into<IpAddr>) -> Option<IpAddr> {
    Some(address.into()).filter(|address| !address.is_unspecified())
}

fn claims_arp(packet: &[u8], mac: Mac) -> Option<Claims> {
    let packet = ArpPacket::new_checked(packet).ok()?;
    let ArpRepr::EthernetIpv4 {
        source_hardware_addr,
        source_protocol_addr,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    let is_its_own = Mac::from(source_hardware_addr) == mac;
    is_its_own.then_some([claim(source_protocol_addr), None])
}

fn claims4(packet: &[u8]) -> Option<Claims> {
    let header = Ipv4Packet::new_checked(packet).ok()?;
    let header_len = usize::from(header.header_len());
    if header.version() != 4 || header_len < IPV4_LEN {
        return None;
    }
    let is_first = header.frag_offset() == 0;
    let is_server = is_first
        && header.next_header() == IpProtocol::Udp
        && ports(packet.get(header_len..)?).is_none_or(|ports| ports == DHCP);
    (!is_server).then(|| [claim(header.src_addr()), None])
}

fn claims6(packet: &[u8], mac: Mac) -> Option<Claims> {
    let src = claim(Ipv6Packet::new_checked(packet).ok()?.src_addr());
    match walk(packet) {
        Ok(walked) => {
            let transport = packet.get(walked.transport..walked.end)?;
            match walked.header.protocol {
                IpProtocol::Icmpv6 => Some([src, claims_icmpv6(transport, mac, src.is_none())?]),
                IpProtocol::Udp if ports(transport).is_none_or(|ports| ports == DHCP6) => None,
                _ => Some([src, None]),
            }
        }
        Err(Ipv6Error::Empty) => Some([src, None]),
        Err(Ipv6Error::Fragment(part)) => {
            let begins = packet.get(part.start..part.end)?;
            let hides = part.offset == 0
                && match part.header.protocol {
                    IpProtocol::Icmpv6 => begins.first().is_none_or(|kind| is_discovery(*kind)),
                    IpProtocol::Udp => ports(begins).is_none_or(|ports| ports == DHCP6),
                    IpProtocol::Tcp => false,
                    _ => true,
                };
            (!hides).then_some([src, None])
        }
        Err(Ipv6Error::Malformed | Ipv6Error::Problem(_)) => None,
    }
}

fn is_discovery(message: u8) -> bool {
    (kind::ROUTER_SOLICITATION..=REDIRECT).contains(&message)
}

/// What a message says beside its packet's source; the outer `None` when it may not pass.
fn claims_icmpv6(message: &[u8], mac: Mac, is_probe: bool) -> Option<Option<IpAddr>> {
    let kind = *message.first()?;
    if !is_discovery(kind) {
        return Some(None);
    }
    let is_its_own = |said: Option<Mac>| said.is_none_or(|said| said == mac);
    match Message::parse(message)? {
        Message::RouterSolicitation { source } => is_its_own(source).then_some(None),
        // From `::` it is a probe, by which its target is claimed (RFC 4862, 5.4).
        Message::NeighborSolicitation { source, target } => {
            is_its_own(source).then(|| is_probe.then_some(target.into()))
        }
        Message::NeighborAdvertisement { target, owner, .. } => is_its_own(owner).then(|| claim(target)),
    }
}

/// Source and destination port.
fn ports(transport: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *transport.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}
