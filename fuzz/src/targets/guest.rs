//! Frames as a guest would send them: headers right, payload anything.
//!
//! Built by hand, not with our own packet builders: those are under test. Transport checksums are not
//! computed; the frame says that they are known to be right, as a vhost-user port would.

use atoll_wire::{Checksum, Frame, Mac, Offload};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network that the targets run: gateway, host alias, and two guests.
pub(super) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub(super) const HOST_ALIAS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
pub(super) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
pub(super) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
pub(super) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

pub(super) const GATEWAY_MAC: Mac = Mac([0x52, 0x55, 0x0a, 0x4d, 0x00, 0x01]);
pub(super) const GUEST_MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 2]);
pub(super) const NEIGHBOUR_MAC: Mac = Mac([0x52, 0x54, 0, 0, 0, 3]);
pub(super) const BROADCAST_MAC: Mac = Mac([0xff; 6]);

/// The same of IPv6.
pub(super) const PREFIX: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0);
pub(super) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 1);
pub(super) const HOST_ALIAS6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0xfe);
pub(super) const GUEST6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 2);
pub(super) const NEIGHBOUR6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 3);
pub(super) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
pub(super) const OUTSIDE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
pub(super) const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// An Ethernet frame from the guest that carries one whole IPv4 packet.
pub(super) fn ipv4(to: Mac, (src, dst): (Ipv4Addr, Ipv4Addr), protocol: u8, payload: &[u8]) -> Frame {
    let total = u16::try_from(20 + payload.len()).expect("payloads are shorter than an input, 8192 bytes");
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[8] = 64;
    header[9] = protocol;
    header[12..16].copy_from_slice(&src.octets());
    header[16..20].copy_from_slice(&dst.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let bytes = [&to.0[..], &GUEST_MAC.0, &[0x08, 0x00], &header, payload].concat();
    let offload = Offload {
        checksum: Checksum::Valid,
        ..Offload::default()
    };
    Frame {
        bytes: bytes.into(),
        offload,
    }
}

/// An Ethernet frame from the guest that carries one whole IPv6 packet.
pub(super) fn ipv6(
    to: Mac,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    (protocol, hop_limit): (u8, u8),
    payload: &[u8],
) -> Frame {
    let len = u16::try_from(payload.len()).expect("payloads are shorter than an input, 8192 bytes");
    let header = [
        0x60,
        0,
        0,
        0,
        len.to_be_bytes()[0],
        len.to_be_bytes()[1],
        protocol,
        hop_limit,
    ];
    let bytes = [
        &to.0[..],
        &GUEST_MAC.0,
        &[0x86, 0xdd],
        &header,
        &src.octets(),
        &dst.octets(),
        payload,
    ]
    .concat();
    let offload = Offload {
        checksum: Checksum::Valid,
        ..Offload::default()
    };
    Frame {
        bytes: bytes.into(),
        offload,
    }
}

/// A message of ICMPv6, whose checksum no offload covers (RFC 4443, 2.3).
pub(super) fn icmpv6((src, dst): (Ipv6Addr, Ipv6Addr), kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, 0, 0, 0][..], body].concat();
    let len = u32::try_from(message.len()).expect("payloads are shorter than an input, 8192 bytes");
    let pseudo = [
        &src.octets()[..],
        &dst.octets(),
        &len.to_be_bytes(),
        &[0, 0, 0, ICMPV6],
    ]
    .concat();
    let mut summed = [&pseudo[..], &message].concat();
    summed.resize(summed.len().next_multiple_of(2), 0);
    message[2..4].copy_from_slice(&checksum(&summed).to_be_bytes());
    message
}

/// A UDP datagram (RFC 768) without checksum.
pub(super) fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(8 + payload.len()).expect("payloads are shorter than an input, 8192 bytes");
    [
        &src.to_be_bytes()[..],
        &dst.to_be_bytes(),
        &len.to_be_bytes(),
        &[0, 0],
        payload,
    ]
    .concat()
}

/// A TCP segment (RFC 9293) without options.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    pub(super) ports: (u16, u16),
    pub(super) seq: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
}

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const ACK: u8 = 0x10;

impl Segment {
    pub(super) fn bytes(self, payload: &[u8]) -> Vec<u8> {
        let mut header = Vec::with_capacity(20 + payload.len());
        header.extend_from_slice(&self.ports.0.to_be_bytes());
        header.extend_from_slice(&self.ports.1.to_be_bytes());
        header.extend_from_slice(&self.seq.to_be_bytes());
        header.extend_from_slice(&self.ack.to_be_bytes());
        header.extend_from_slice(&[0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        header.extend_from_slice(payload);
        header
    }
}

/// The other end of a guest's conversation, as its SYN or its datagram told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// Its initial sequence number, over TCP.
    pub(super) iss: u32,
}

impl Peer {
    /// The guest's port and the sender of this frame, when it is a SYN or a datagram.
    pub(super) fn in_frame(frame: &Frame) -> Option<(u16, Self)> {
        let bytes = &frame.bytes;
        let number = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let (protocol, address, at): (u8, IpAddr, usize) = match number(12)? {
            0x0800 => {
                let address: [u8; 4] = bytes.get(26..30)?.try_into().ok()?;
                (*bytes.get(23)?, address.into(), 34)
            }
            0x86dd => {
                let address: [u8; 16] = bytes.get(22..38)?.try_into().ok()?;
                (*bytes.get(20)?, address.into(), 54)
            }
            _ => return None,
        };
        let iss = match protocol {
            TCP if *bytes.get(at + 13)? & SYN != 0 => {
                u32::from_be_bytes(bytes.get(at + 4..at + 8)?.try_into().ok()?)
            }
            UDP => 0,
            _ => return None,
        };
        let peer = Self {
            address,
            port: number(at)?,
            iss,
        };
        Some((number(at + 2)?, peer))
    }
}

/// A frame from the guest to a peer of either family, from the guest's address of the same.
pub(super) fn to_peer(peer: IpAddr, protocol: u8, payload: &[u8]) -> Frame {
    match peer {
        IpAddr::V4(peer) => ipv4(GATEWAY_MAC, (GUEST, peer), protocol, payload),
        IpAddr::V6(peer) => ipv6(GATEWAY_MAC, (GUEST6, peer), (protocol, 64), payload),
    }
}

/// The Internet checksum (RFC 1071) of bytes of even length.
fn checksum(header: &[u8]) -> u16 {
    let words = header
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).expect("two folds leave 16 bits of a sum of few words")
}
