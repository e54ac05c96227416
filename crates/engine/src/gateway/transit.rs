//! Frames that pass between guests and an uplink, and what of them the gateway looks at.
//!
//! On the LAN nobody sees the gateway: what comes by an uplink is never answered, and [`Lan`] sends nothing of its own there. Towards
//! guests some addresses are the gateway's, whatever else the LAN has: 169.254.169.254, its link-local address and, where the network has
//! them, those of its services. So
//!
//! - a guest's question for one of them (ARP, neighbor discovery) and its IPv4 packets to one of them stay here, whatever MAC
//!   address they are sent to: the LAN's or a cloud's metadata service is not reached, and learns of nobody who looks for it;
//! - who claims one of them by an uplink is not heard: the frame is dropped and counted (`spoofed`).
//!
//! Of guests' addresses the gateway learns by what they say themselves, and by a DHCP server's answer to what they asked (see [`snoop`](super::snoop)).
//!
//! Frames that can be neither of these are [plain](is_plain): they are switched without another look, and may follow each other in a
//! [train](super::train).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_wire::ipv6::walk;
use atoll_wire::ndp::{Message, kind};
use atoll_wire::packet::{ETHERNET_LEN, IPV4_LEN};
use atoll_wire::vlan;
use atoll_wire::{ArpPacket, ArpRepr, EthernetProtocol, IpProtocol};

use crate::Mode;
use crate::lan::Lan;

/// Where the addresses of an IP header lie in a frame.
const SRC4: usize = ETHERNET_LEN + 12;
const DST4: usize = ETHERNET_LEN + 16;
const SRC6: usize = ETHERNET_LEN + 8;
const DST6: usize = ETHERNET_LEN + 24;
const PROTOCOL4: usize = ETHERNET_LEN + 9;
const NEXT_HEADER: usize = ETHERNET_LEN + 6;

fn address4(frame: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = *frame.get(at..)?.first_chunk()?;
    Some(Ipv4Addr::from(octets).into())
}

fn address6(frame: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = *frame.get(at..)?.first_chunk()?;
    Some(Ipv6Addr::from(octets).into())
}

/// Whether a frame of a guest's (or one that came by an uplink) to a station is nothing to the gateway: a packet between two other addresses.
pub(super) fn is_plain(lan: &Lan, from_guest: bool, frame: &[u8]) -> bool {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    let (at4, at6) = if from_guest { (DST4, DST6) } else { (SRC4, SRC6) };
    let is_others = |address: Option<IpAddr>| address.is_some_and(|address| !lan.is_own(address));
    match frame.get(12..ETHERNET_LEN) {
        Some([0x08, 0x00]) => {
            // A DHCP server's answer is looked at.
            let may_be_dhcp = !from_guest && frame.get(PROTOCOL4) == Some(&UDP);
            !may_be_dhcp && is_others(address4(frame, at4))
        }
        // Neighbor discovery may hide behind extension headers.
        Some([0x86, 0xdd]) => {
            matches!(frame.get(NEXT_HEADER), Some(&(TCP | UDP))) && is_others(address6(frame, at6))
        }
        // What is of a VLAN is nothing to the gateway.
        Some([0x81, 0x00] | [0x88, 0xa8]) => vlan::classify(frame).is_ok_and(|(vlan, _)| !vlan.is_untagged()),
        _ => false,
    }
}

/// Whether a frame of a guest's that is not for our MAC address is for us all the same, and for nobody else.
pub(super) fn is_ours(lan: &Lan, protocol: EthernetProtocol, frame: &[u8]) -> bool {
    let own = |address: Option<IpAddr>| address.is_some_and(|address| lan.is_own(address));
    let Some(packet) = frame.get(ETHERNET_LEN..) else {
        return false;
    };
    match protocol {
        EthernetProtocol::Arp => own(arp(packet).map(|(_, target)| target.into())),
        EthernetProtocol::Ipv4 => own(address4(frame, DST4)),
        EthernetProtocol::Ipv6 => {
            let asked = || neighbor_target(packet, kind::NEIGHBOR_SOLICITATION);
            own(address6(frame, DST6)) || own(asked().map(IpAddr::from))
        }
        _ => false,
    }
}

/// Whether a frame that came by an uplink claims an address that is ours towards guests.
pub(super) fn claims_ours(lan: &Lan, protocol: EthernetProtocol, frame: &[u8]) -> bool {
    let own = |address: Option<IpAddr>| address.is_some_and(|address| lan.is_own(address));
    let Some(packet) = frame.get(ETHERNET_LEN..) else {
        return false;
    };
    match protocol {
        EthernetProtocol::Arp => own(arp(packet).map(|(sender, _)| sender.into())),
        EthernetProtocol::Ipv4 => own(address4(frame, SRC4)),
        EthernetProtocol::Ipv6 => {
            let said = || neighbor_target(packet, kind::NEIGHBOR_ADVERTISEMENT);
            own(address6(frame, SRC6)) || own(said().map(IpAddr::from))
        }
        _ => false,
    }
}

/// Sender and target.
fn arp(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    match ArpRepr::parse(&ArpPacket::new_checked(packet).ok()?) {
        Ok(ArpRepr::EthernetIpv4 {
            source_protocol_addr,
            target_protocol_addr,
            ..
        }) => Some((source_protocol_addr, target_protocol_addr)),
        _ => None,
    }
}

/// The target of a solicitation or advertisement.
fn neighbor_target(packet: &[u8], of_kind: u8) -> Option<Ipv6Addr> {
    let walked = walk(packet).ok()?;
    let icmp = packet.get(walked.transport..walked.end)?;
    if walked.header.protocol != IpProtocol::Icmpv6 || icmp.first() != Some(&of_kind) {
        return None;
    }
    match Message::parse(icmp)? {
        Message::NeighborSolicitation { target, .. } | Message::NeighborAdvertisement { target, .. } => {
            Some(target)
        }
        Message::RouterSolicitation { .. } => None,
    }
}

/// The DHCP message that a frame of an uplink's carries to a client of the LAN.
pub(super) fn dhcp_answer<'f>(lan: &Lan, protocol: EthernetProtocol, frame: &'f [u8]) -> Option<&'f [u8]> {
    const UDP_LEN: usize = 8;
    if lan.mode != Mode::Bridged || protocol != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = frame.get(ETHERNET_LEN..)?;
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    let is_fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff != 0;
    if header_len < IPV4_LEN || is_fragment || packet.get(9) != Some(&17) {
        return None;
    }
    let udp = packet.get(header_len..)?;
    let ports: [u8; 4] = *udp.first_chunk()?;
    let is_answer = ports == [0, 67, 0, 68];
    is_answer.then(|| udp.get(UDP_LEN..))?
}
