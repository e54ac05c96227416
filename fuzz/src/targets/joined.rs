//! A network that is joined with another: packets of guests, and of the other network's gateway.

use super::bytes::Choices;
use super::guest::{GATEWAY_MAC, GUEST_MAC};
use super::world::World;
use atoll_engine::{Event, JoinId, JoinedNetwork, PortId, Prefix, RoutedPacket, Subnet};
use atoll_wire::{Checksum, Frame, FrameBuf, Gso, Offload};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The input is a list of packets, each with a byte before it that says where it comes from and how.
pub(super) fn packets(input: &[u8]) {
    let mut choices = Choices::new(input);
    let how = choices.byte();
    let mut world = World::with(|config| {
        let subnet = Subnet {
            address: Ipv4Addr::new(10, 78, 0, 0),
            prefix_len: 24,
        };
        let prefix = Prefix {
            address: Ipv6Addr::new(0xfd78, 0x78, 0, 0, 0, 0, 0, 0),
        };
        config.joined = vec![JoinedNetwork {
            join: JoinId(0),
            addresses: (subnet, prefix).into(),
            begins_there: how & 1 != 0,
            begins_here: how & 2 != 0,
            on_both: Vec::new(),
        }];
    });
    while !choices.is_empty() {
        let kind = choices.byte();
        let offload = Offload {
            checksum: match kind & 0x10 {
                0 => Checksum::Unverified,
                _ => Checksum::Partial {
                    start: choices.number(),
                    offset: choices.number(),
                },
            },
            gso: match kind >> 5 {
                0 => Gso::Tcp4 {
                    size: choices.number(),
                },
                1 => Gso::Udp6 {
                    size: choices.number(),
                },
                _ => Gso::None,
            },
        };
        let packet = choices.chunk();
        let routed = RoutedPacket {
            packet: FrameBuf::copy_from(packet),
            offload,
            origin: u32::from(kind & 4),
            was_cut: kind & 8 != 0,
        };
        match kind & 3 {
            0 => world.event(Event::RouteLost(routed)),
            1 => {
                let kind: [u8; 2] = if packet.first().is_some_and(|first| first >> 4 == 6) {
                    [0x86, 0xdd]
                } else {
                    [0x08, 0]
                };
                let bytes = [&GATEWAY_MAC.0[..], &GUEST_MAC.0, &kind, packet].concat();
                let bytes = bytes.into();
                world.frame(PortId(0), Frame { bytes, offload });
            }
            _ => world.event(Event::Routed {
                from: JoinId(0),
                packet: routed,
            }),
        }
    }
    world.advance(Duration::from_secs(3600));
}
