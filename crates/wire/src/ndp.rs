//! Neighbor discovery (RFC 4861) and what routers tell hosts (RFC 8106, RFC 4191): the messages that a gateway hears and sends.
//!
//! Read are solicitations of both kinds and advertisements of neighbors, with the link-layer addresses in their options; other options are
//! stepped over. A message is malformed when it is cut short or an option has no length, or one beyond the end (RFC 4861, 6.1
//! and 7.1); hop limit, code and checksum are for the reader of the packet. Redirects and other routers' advertisements
//! are not read: a gateway has no use for them.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::packet::{ICMP_LEN, push_icmpv6};
use crate::{FrameBuf, Mac};

/// ICMPv6 types.
pub mod kind {
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbor solicitation.
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbor advertisement.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
}

/// The hop limit of every message: a router would have made it less, so it came from this link.
pub const HOP_LIMIT: u8 = 255;

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// All routers of the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
const PREFIX: u8 = 3;
const MTU: u8 = 5;
const ROUTE: u8 = 24;
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;

/// What a guest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Who is a router here?
    RouterSolicitation {
        /// Whose it is that asks.
        source: Option<Mac>,
    },
    /// Who has `target`?
    NeighborSolicitation {
        /// The address in question.
        target: Ipv6Addr,
        /// Whose it is that asks.
        source: Option<Mac>,
    },
    /// I have `target`.
    NeighborAdvertisement {
        /// The address in question.
        target: Ipv6Addr,
        /// It is an answer.
        solicited: bool,
        /// Who has it.
        owner: Option<Mac>,
    },
}

impl Message {
    /// Read an ICMPv6 message, header included. `None` when it is malformed, or none of these.
    #[must_use]
    pub fn parse(icmp: &[u8]) -> Option<Self> {
        const SOLICITED: u8 = 0x40;
        let kind = *icmp.first()?;
        if kind == kind::ROUTER_SOLICITATION {
            let (source, _) = link_layer(icmp.get(ICMP_LEN..)?)?;
            return Some(Self::RouterSolicitation { source });
        }
        let target = Ipv6Addr::from(*icmp.get(ICMP_LEN..)?.first_chunk::<16>()?);
        let (source, owner) = link_layer(icmp.get(ICMP_LEN + 16..)?)?;
        match kind {
            _ if target.is_multicast() => None,
            kind::NEIGHBOR_SOLICITATION => Some(Self::NeighborSolicitation { target, source }),
            kind::NEIGHBOR_ADVERTISEMENT => Some(Self::NeighborAdvertisement {
                target,
                solicited: icmp[4] & SOLICITED != 0,
                owner,
            }),
            _ => None,
        }
    }
}

/// Source and target link-layer address among the options; `None` when the options are malformed.
fn link_layer(mut options: &[u8]) -> Option<(Option<Mac>, Option<Mac>)> {
    let (mut source, mut target) = (None, None);
    while !options.is_empty() {
        let len = 8 * usize::from(*options.get(1)?);
        if len == 0 {
            return None;
        }
        let (option, rest) = options.split_at_checked(len)?;
        // An Ethernet address makes the option just eight bytes (RFC 2464, 6).
        if let &[kind, 1, ref mac @ ..] = option {
            let mac = mac.try_into().ok().map(Mac);
            match kind {
                SOURCE_LINK_LAYER => source = mac,
                TARGET_LINK_LAYER => target = mac,
                _ => {}
            }
        }
        options = rest;
    }
    Some((source, target))
}

/// The group in which the owner of an address listens for questions about it (RFC 4291, 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let base = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0);
    Ipv6Addr::from_bits(base.to_bits() | address.to_bits() & 0xff_ffff)
}

/// The MAC address of a group (RFC 2464, 7).
#[must_use]
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// A question for the owner of `target`, from `src` at `mac`; without its IPv6 header.
#[must_use]
pub fn neighbor_solicitation((src, mac): (Ipv6Addr, Mac), target: Ipv6Addr) -> FrameBuf {
    let mut frame = FrameBuf::copy_from(&target.octets());
    frame.extend_from_slice(&link_layer_option(SOURCE_LINK_LAYER, mac));
    let ends = (src, solicited_node(target));
    push_icmpv6(&mut frame, ends, (kind::NEIGHBOR_SOLICITATION, 0), [0; 4]);
    frame
}

/// A router's answer that `target` is at `mac`, to `dst`: who asked, or [`ALL_NODES`]; without its IPv6 header.
#[must_use]
pub fn neighbor_advertisement((target, mac): (Ipv6Addr, Mac), dst: Ipv6Addr) -> FrameBuf {
    const ROUTER: u8 = 0x80;
    const SOLICITED: u8 = 0x40;
    const OVERRIDE: u8 = 0x20;
    let solicited = if dst.is_multicast() { 0 } else { SOLICITED };
    let mut frame = FrameBuf::copy_from(&target.octets());
    frame.extend_from_slice(&link_layer_option(TARGET_LINK_LAYER, mac));
    let rest = [ROUTER | solicited | OVERRIDE, 0, 0, 0];
    push_icmpv6(&mut frame, (target, dst), (kind::NEIGHBOR_ADVERTISEMENT, 0), rest);
    frame
}

fn link_layer_option(kind: u8, mac: Mac) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac.0;
    [kind, 1, a, b, c, d, e, f]
}

/// What a router says of itself and of its link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Hop limit that hosts are to use.
    pub hop_limit: u8,
    /// Addresses can be had by DHCPv6 ("managed").
    pub managed: bool,
    /// All else can be had by DHCPv6 ("other").
    pub other: bool,
    /// How long this is a default router; zero: no longer.
    pub lifetime: Duration,
    /// The router's link-layer address.
    pub mac: Mac,
    /// Largest IP packet of the link, in bytes.
    pub mtu: u32,
    /// A prefix of 64 bits that is on this link and of which hosts may make addresses, and for how long these are valid and preferred.
    pub prefix: (Ipv6Addr, Duration, Duration),
    /// Networks to which the router knows a way: first address and length of the prefix.
    pub routes: Vec<(Ipv6Addr, u8)>,
    /// How long it does.
    pub route_lifetime: Duration,
    /// The resolver, and for how long.
    pub resolver: (Ipv6Addr, Duration),
    /// The domain to search, in DNS's wire form, for as long as the resolver is one; empty for none.
    pub domain: Vec<u8>,
}

impl RouterAdvertisement {
    /// The message from `src` to `dst`, without its IPv6 header.
    #[must_use]
    pub fn emit(&self, src: Ipv6Addr, dst: Ipv6Addr) -> FrameBuf {
        const MANAGED: u8 = 0x80;
        const OTHER: u8 = 0x40;
        // Reachable and retransmission time are left to hosts.
        let mut frame = FrameBuf::zeroed(8);
        frame.extend_from_slice(&link_layer_option(SOURCE_LINK_LAYER, self.mac));
        frame.extend_from_slice(&[MTU, 1, 0, 0]);
        frame.extend_from_slice(&self.mtu.to_be_bytes());
        self.push_prefix(&mut frame);
        for route in &self.routes {
            self.push_route(&mut frame, *route);
        }
        self.push_resolver(&mut frame);
        let flags = if self.managed { MANAGED } else { 0 } | if self.other { OTHER } else { 0 };
        let lifetime = u16::try_from(self.lifetime.as_secs()).unwrap_or(u16::MAX);
        let [high, low] = lifetime.to_be_bytes();
        let rest = [self.hop_limit, flags, high, low];
        push_icmpv6(&mut frame, (src, dst), (kind::ROUTER_ADVERTISEMENT, 0), rest);
        frame
    }

    /// RFC 4861, 4.6.2.
    fn push_prefix(&self, frame: &mut FrameBuf) {
        const ON_LINK: u8 = 0x80;
        const AUTONOMOUS: u8 = 0x40;
        let (prefix, valid, preferred) = self.prefix;
        frame.extend_from_slice(&[PREFIX, 4, 64, ON_LINK | AUTONOMOUS]);
        frame.extend_from_slice(&seconds(valid));
        frame.extend_from_slice(&seconds(preferred));
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(&prefix.octets());
    }

    /// RFC 4191, 2.3: of medium preference, with as much of the prefix as its length needs.
    fn push_route(&self, frame: &mut FrameBuf, (prefix, len): (Ipv6Addr, u8)) {
        let units = match len {
            0 => 0,
            1..=64 => 1,
            65.. => 2,
        };
        frame.extend_from_slice(&[ROUTE, 1 + units, len.min(128), 0]);
        frame.extend_from_slice(&seconds(self.route_lifetime));
        frame.extend_from_slice(&prefix.octets()[..8 * usize::from(units)]);
    }

    /// RFC 8106, 5.1 and 5.2.
    fn push_resolver(&self, frame: &mut FrameBuf) {
        let (resolver, lifetime) = self.resolver;
        frame.extend_from_slice(&[RDNSS, 3, 0, 0]);
        frame.extend_from_slice(&seconds(lifetime));
        frame.extend_from_slice(&resolver.octets());
        let names = self.domain.len().next_multiple_of(8);
        if let Ok(units @ 1..) = u8::try_from(names / 8) {
            frame.extend_from_slice(&[DNSSL, 1 + units, 0, 0]);
            frame.extend_from_slice(&seconds(lifetime));
            frame.extend_from_slice(&self.domain);
            frame.extend_from_slice(&[0; 8][..names - self.domain.len()]);
        }
    }
}

fn seconds(time: Duration) -> [u8; 4] {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Icmpv6Packet, Icmpv6Repr, NdiscRepr, RawHardwareAddress};

    use super::*;

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const HOST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    const MAC: Mac = Mac([0x52, 0x55, 1, 2, 3, 4]);

    /// What smoltcp reads, which also checks the checksum.
    fn read(src: Ipv6Addr, dst: Ipv6Addr, bytes: &[u8], see: impl FnOnce(NdiscRepr<'_>)) {
        let packet = Icmpv6Packet::new_checked(bytes).unwrap();
        match Icmpv6Repr::parse(&src, &dst, &packet, &ChecksumCapabilities::default()).unwrap() {
            Icmpv6Repr::Ndisc(repr) => see(repr),
            other => panic!("not neighbor discovery: {other:?}"),
        }
    }

    fn raw(mac: Mac) -> Option<RawHardwareAddress> {
        Some(RawHardwareAddress::from_bytes(&mac.0))
    }

    #[test]
    fn questions_and_answers_are_what_an_independent_parser_reads() {
        let target = "fd77:77::12:3456".parse().unwrap();
        let group = solicited_node(target);
        assert_eq!(group, "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        assert_eq!(group_mac(group), Mac([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
        let question = neighbor_solicitation((ROUTER, MAC), target);
        read(ROUTER, group, question.payload(), |repr| {
            let NdiscRepr::NeighborSolicit { target_addr, lladdr } = repr else {
                panic!("{repr:?}")
            };
            assert_eq!((target_addr, lladdr), (target, raw(MAC)));
        });
        assert_eq!(
            Message::parse(question.payload()),
            Some(Message::NeighborSolicitation {
                target,
                source: Some(MAC)
            })
        );
        for (dst, solicited) in [(HOST, true), (ALL_NODES, false)] {
            let answer = neighbor_advertisement((target, MAC), dst);
            read(target, dst, answer.payload(), |repr| {
                let NdiscRepr::NeighborAdvert {
                    flags,
                    target_addr,
                    lladdr,
                } = repr
                else {
                    panic!("{repr:?}")
                };
                assert_eq!((target_addr, lladdr), (target, raw(MAC)));
                let expected = if solicited { 0xe0 } else { 0xa0 };
                assert_eq!(flags.bits(), expected);
            });
            let heard = Message::NeighborAdvertisement {
                target,
                solicited,
                owner: Some(MAC),
            };
            assert_eq!(Message::parse(answer.payload()), Some(heard));
        }
    }

    fn advertisement() -> RouterAdvertisement {
        RouterAdvertisement {
            hop_limit: 64,
            managed: true,
            other: true,
            lifetime: Duration::from_secs(1800),
            mac: MAC,
            mtu: 1500,
            prefix: (
                "fd77:77::".parse().unwrap(),
                Duration::from_secs(5400),
                Duration::from_secs(2700),
            ),
            routes: Vec::new(),
            route_lifetime: Duration::ZERO,
            resolver: ("fd77:77::1".parse().unwrap(), Duration::from_secs(1800)),
            domain: b"\x03lab\x08internal\0".to_vec(),
        }
    }

    #[test]
    fn a_router_says_what_an_independent_parser_reads() {
        let bytes = advertisement().emit(ROUTER, ALL_NODES);
        read(ROUTER, ALL_NODES, bytes.payload(), |repr| {
            let NdiscRepr::RouterAdvert {
                hop_limit,
                flags,
                router_lifetime,
                lladdr,
                mtu,
                prefix_info: Some(prefix),
                ..
            } = repr
            else {
                panic!("{repr:?}")
            };
            assert_eq!(
                (hop_limit, flags.bits(), router_lifetime.secs()),
                (64, 0xc0, 1800)
            );
            assert_eq!((lladdr, mtu), (raw(MAC), Some(1500)));
            assert_eq!((prefix.prefix_len, prefix.flags.bits()), (64, 0xc0));
            assert_eq!(prefix.prefix, "fd77:77::".parse::<Ipv6Addr>().unwrap());
            let lifetimes = (prefix.valid_lifetime.secs(), prefix.preferred_lifetime.secs());
            assert_eq!(lifetimes, (5400, 2700));
        });
        let mut resolver = vec![25, 3, 0, 0, 0, 0, 7, 8];
        resolver.extend("fd77:77::1".parse::<Ipv6Addr>().unwrap().octets());
        resolver.extend([31, 3, 0, 0, 0, 0, 7, 8]);
        resolver.extend(b"\x03lab\x08internal\0\0\0");
        assert!(bytes.payload().ends_with(&resolver));
    }

    #[test]
    fn no_domain_is_no_option() {
        let without = RouterAdvertisement {
            domain: Vec::new(),
            ..advertisement()
        };
        assert_eq!(without.emit(ROUTER, HOST).len(), 16 + 8 + 8 + 32 + 24);
    }

    #[test]
    fn a_route_takes_as_much_of_the_prefix_as_its_length_needs() {
        let with = |routes| RouterAdvertisement {
            routes,
            route_lifetime: Duration::from_secs(600),
            domain: Vec::new(),
            ..advertisement()
        };
        let to: Ipv6Addr = "2001:db8:1:2:3::".parse().unwrap();
        let options = |routes: Vec<(Ipv6Addr, u8)>| {
            let bytes = with(routes).emit(ROUTER, HOST);
            bytes.payload()[16 + 8 + 8 + 32..bytes.len() - 24].to_vec()
        };
        assert_eq!(options(vec![(to, 0)]), [24, 1, 0, 0, 0, 0, 2, 88]);
        let half = [24, 2, 64, 0, 0, 0, 2, 88, 0x20, 1, 0xd, 0xb8, 0, 1, 0, 2];
        assert_eq!(options(vec![(to, 64)]), half);
        let whole = [&[24, 3, 80, 0, 0, 0, 2, 88], &to.octets()[..]].concat();
        assert_eq!(options(vec![(to, 80)]), whole);
    }

    #[test]
    fn options_without_or_beyond_their_length_are_malformed() {
        let mut bytes = neighbor_solicitation((ROUTER, MAC), HOST).payload().to_vec();
        for len in [0, 2, 255] {
            bytes[ICMP_LEN + 17] = len;
            assert_eq!(Message::parse(&bytes), None, "{len}");
        }
        bytes[ICMP_LEN + 17] = 1;
        bytes[ICMP_LEN] = 0xff;
        assert_eq!(Message::parse(&bytes), None, "a group has no owner");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(kind in 130_u8..140, bytes: Vec<u8>) {
            let mut bytes = bytes;
            bytes.insert(0, kind);
            let _ = Message::parse(&bytes);
        }
    }
}
