//! Cutting a datagram into fragments that fit the link (RFC 791, 3.2; RFC 8200, 4.5).
//!
//! Only what may be cut comes here: a datagram that a peer of the host's sent whole, or the host's kernel put together, and that
//! is longer than a guest's link takes. TCP never does: its segments fit. The transport checksum must be finished, since no
//! device finishes it over several packets.

use smoltcp::wire::{IpProtocol, Ipv4Packet};

use crate::FrameBuf;
use crate::ipv6::{self, FRAGMENT_LEN, IPV6_LEN, Ipv6Header};
use crate::packet::{self, IPV4_LEN, Ipv4Header};

/// Offsets count eights of bytes.
const UNIT: usize = 8;

/// IPv4 packets of `mtu` bytes at most that carry `payload`, transport header included, in order. `mtu` is at least 68 (RFC 791).
pub fn ipv4(payload: &[u8], header: &Ipv4Header, mtu: u16) -> impl Iterator<Item = FrameBuf> {
    pieces(payload, usize::from(mtu).saturating_sub(IPV4_LEN)).map(|(offset, more, piece)| {
        let mut fragment = FrameBuf::copy_from(piece);
        packet::push_ipv4(&mut fragment, header);
        let mut packet = Ipv4Packet::new_unchecked(fragment.payload_mut());
        packet.set_more_frags(more);
        packet.set_frag_offset(offset);
        packet.fill_checksum();
        fragment
    })
}

/// The same over IPv6, which knows the datagram by `ident`. `mtu` is at least 1280 (RFC 8200, 5).
pub fn ipv6(payload: &[u8], header: &Ipv6Header, ident: u32, mtu: u16) -> impl Iterator<Item = FrameBuf> {
    let room = usize::from(mtu).saturating_sub(IPV6_LEN + FRAGMENT_LEN);
    pieces(payload, room).map(move |(offset, more, piece)| {
        let mut fragment = FrameBuf::copy_from(piece);
        let fields = fragment.push_header(FRAGMENT_LEN);
        fields[0] = header.protocol.into();
        fields[2..4].copy_from_slice(&(offset | u16::from(more)).to_be_bytes());
        fields[4..].copy_from_slice(&ident.to_be_bytes());
        let header = Ipv6Header {
            protocol: IpProtocol::Ipv6Frag,
            ..*header
        };
        ipv6::push_ipv6(&mut fragment, &header);
        fragment
    })
}

/// Where each piece lies, whether another follows, and its bytes, of which there are `room` at most.
fn pieces(payload: &[u8], room: usize) -> impl Iterator<Item = (u16, bool, &[u8])> {
    let room = (room / UNIT * UNIT).max(UNIT);
    let last = payload.len().div_ceil(room).saturating_sub(1);
    payload.chunks(room).enumerate().map(move |(at, piece)| {
        let offset = u16::try_from(at * room).unwrap_or(u16::MAX);
        (offset, at < last, piece)
    })
}

#[cfg(test)]
mod tests {
    use etherparse::{IpFragOffset, Ipv4Slice};
    use proptest::prelude::*;

    use super::*;

    fn header() -> Ipv4Header {
        Ipv4Header {
            src: [198, 51, 100, 1].into(),
            dst: [10, 77, 0, 2].into(),
            protocol: IpProtocol::Udp,
            ttl: 64,
            ident: 7,
            dont_fragment: false,
        }
    }

    proptest! {
        #[test]
        fn fragments_of_ipv6_fit_and_add_up(len in 1_usize..65_536, mtu in 1280_u16..3_000) {
            let payload: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0]).collect();
            let header = Ipv6Header {
                src: "2001:db8::1".parse().unwrap(),
                dst: "fd77:77::2".parse().unwrap(),
                protocol: IpProtocol::Udp,
                hop_limit: 64,
            };
            let fragments: Vec<FrameBuf> = ipv6(&payload, &header, 7, mtu).collect();
            let mut sum = Vec::new();
            for (at, fragment) in fragments.iter().enumerate() {
                prop_assert!(fragment.len() <= usize::from(mtu));
                let parsed = etherparse::Ipv6Slice::from_slice(fragment.payload()).unwrap();
                prop_assert_eq!(parsed.payload().ip_number, etherparse::IpNumber::UDP);
                let slice = parsed.extensions().clone().into_iter().next();
                if let Some(etherparse::Ipv6ExtensionSlice::Fragment(part)) = slice {
                    prop_assert_eq!(part.fragment_offset().byte_offset(), u16::try_from(sum.len()).unwrap());
                    prop_assert_eq!((part.more_fragments(), part.identification()), (at + 1 < fragments.len(), 7));
                } else {
                    prop_assert!(false, "no fragment header");
                }
                sum.extend_from_slice(parsed.payload().payload);
            }
            prop_assert_eq!(sum, payload);
        }

        #[test]
        fn fragments_fit_and_add_up(len in 1_usize..65_516, mtu in 68_u16..3_000) {
            let payload: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0]).collect();
            let fragments: Vec<FrameBuf> = ipv4(&payload, &header(), mtu).collect();
            let mut sum = Vec::new();
            for (at, fragment) in fragments.iter().enumerate() {
                prop_assert!(fragment.len() <= usize::from(mtu));
                let parsed = Ipv4Slice::from_slice(fragment.payload()).unwrap();
                let ip = parsed.header().to_header();
                prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
                prop_assert_eq!(ip.fragment_offset, IpFragOffset::try_new(u16::try_from(sum.len() / UNIT).unwrap()).unwrap());
                prop_assert_eq!(ip.more_fragments, at + 1 < fragments.len());
                prop_assert_eq!(ip.identification, 7);
                sum.extend_from_slice(parsed.payload().payload);
            }
            prop_assert_eq!(sum, payload);
        }
    }
}
