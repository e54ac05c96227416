//! The gateway's services, each behind the packets that lead to it.

use super::bytes::Choices;
use super::guest::{
    self, ACK, BROADCAST_MAC, FIN, GATEWAY, GATEWAY_MAC, GATEWAY6, GUEST, GUEST6, SYN, Segment, TCP, UDP,
};
use super::world::{LIMITS, World};
use atoll_engine::{Command, ForwardTarget, PortId, WatchId};
use atoll_wire::Mac;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

const PORT: PortId = PortId(0);

/// A client without an address yet, and whom it asks for one (RFC 8415, 7.1).
const CLIENT: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const ALL_DHCP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const ALL_DHCP6_MAC: Mac = Mac([0x33, 0x33, 0, 1, 0, 2]);

/// DHCP messages, one a chunk.
pub(super) fn dhcp(input: &[u8]) {
    let mut world = World::new();
    let mut choices = Choices::new(input);
    while !choices.is_empty() {
        let datagram = guest::udp(68, 67, choices.chunk());
        let pair = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        world.frame(PORT, guest::ipv4(BROADCAST_MAC, pair, UDP, &datagram));
        world.advance(Duration::from_secs(1));
    }
    world.advance(Duration::from_secs(7200));
}

/// DHCPv6 messages, each behind a byte that says where it goes: to all servers, or to the gateway alone. No two leases
/// have one address, and there are no more of them than there may be.
pub(super) fn dhcp6(input: &[u8]) {
    let mut world = World::new();
    let mut choices = Choices::new(input);
    while !choices.is_empty() {
        let (mac, dst) = match choices.byte() {
            0xff => (GATEWAY_MAC, GATEWAY6),
            _ => (ALL_DHCP6_MAC, ALL_DHCP6),
        };
        let datagram = guest::udp(546, 547, choices.chunk());
        world.frame(PORT, guest::ipv6(mac, (CLIENT, dst), (UDP, 1), &datagram));
        world.advance(Duration::from_secs(1));
        let (engine, now) = world.engine();
        let leases = engine.leases6(now);
        let addresses: BTreeSet<Ipv6Addr> = leases.iter().map(|lease| lease.address).collect();
        assert_eq!(addresses.len(), leases.len(), "an address is leased twice");
        assert!(leases.len() <= LIMITS.leases, "more leases than there may be");
    }
    world.advance(Duration::from_secs(7200));
}

/// Requests for the time, one a chunk, to the gateway's addresses of either family in turn.
pub(super) fn ntp(input: &[u8]) {
    let mut world = World::new();
    let mut choices = Choices::new(input);
    while !choices.is_empty() {
        let datagram = guest::udp(123, 123, choices.chunk());
        world.frame(PORT, guest::ipv4(GATEWAY_MAC, (GUEST, GATEWAY), UDP, &datagram));
        let datagram = guest::udp(40_000, 123, choices.chunk());
        world.frame(
            PORT,
            guest::ipv6(GATEWAY_MAC, (GUEST6, GATEWAY6), (UDP, 64), &datagram),
        );
        world.advance(Duration::from_millis(10));
    }
}

/// Datagrams to the TFTP server, each behind a byte that says whether it goes to the port of the latest transfer, over which family, and
/// whether time goes by before it. Which files there are is the world's to say.
pub(super) fn tftp(input: &[u8]) {
    const CLIENT: u16 = 2000;
    let mut world = World::new();
    let mut choices = Choices::new(input);
    while !choices.is_empty() {
        let how = choices.byte();
        if how & 4 != 0 {
            world.advance(Duration::from_secs(3));
        }
        let transfer = world.peer(CLIENT).map(|peer| peer.port);
        let port = transfer.filter(|_| how & 1 != 0).unwrap_or(69);
        let datagram = guest::udp(CLIENT, port, choices.chunk());
        let frame = match how & 2 {
            0 => guest::ipv4(GATEWAY_MAC, (GUEST, GATEWAY), UDP, &datagram),
            _ => guest::ipv6(GATEWAY_MAC, (GUEST6, GATEWAY6), (UDP, 64), &datagram),
        };
        world.frame(PORT, frame);
    }
    world.advance(Duration::from_secs(3600));
}

/// One DNS question over UDP.
pub(super) fn dns(input: &[u8]) {
    let mut world = World::new();
    ask(&mut world, input);
    world.answer(Some(input));
    world.advance(Duration::from_secs(60));
}

/// A resolver's answer to a good question.
pub(super) fn dns_answer(input: &[u8]) {
    let mut world = World::new();
    let question = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
    ask(&mut world, question);
    world.answer(Some(input));
    world.advance(Duration::from_secs(60));
}

fn ask(world: &mut World, message: &[u8]) {
    let datagram = guest::udp(40_000, 53, message);
    world.frame(PORT, guest::ipv4(GATEWAY_MAC, (GUEST, GATEWAY), UDP, &datagram));
}

/// Bytes of one connection to the gateway's web server, which takes reports of ports; the first byte says in how long pieces.
pub(super) fn http(input: &[u8]) {
    let mut world = World::new();
    let (engine, now) = world.engine();
    let watch = Command::Watch {
        watch: WatchId(1),
        guest: ForwardTarget::Address(GUEST.into()),
    };
    assert!(engine.apply(now, watch).is_ok(), "the guest cannot be watched");
    let mut choices = Choices::new(input);
    let piece = usize::from(choices.byte()).max(1);
    let ports = (40_000, 80);
    send(
        &mut world,
        Segment {
            ports,
            seq: 1000,
            ack: 0,
            flags: SYN,
        },
        &[],
    );
    let Some(peer) = world.peer(ports.0) else {
        panic!("the gateway's web server does not answer a SYN");
    };
    let mut seq = 1001;
    let ack = peer.iss.wrapping_add(1);
    while !choices.is_empty() {
        let payload = choices.take(piece);
        send(
            &mut world,
            Segment {
                ports,
                seq,
                ack,
                flags: ACK,
            },
            payload,
        );
        seq += u32::try_from(payload.len()).unwrap_or(0);
    }
    send(
        &mut world,
        Segment {
            ports,
            seq,
            ack,
            flags: ACK | FIN,
        },
        &[],
    );
    world.advance(Duration::from_secs(600));
}

fn send(world: &mut World, segment: Segment, payload: &[u8]) {
    world.frame(
        PORT,
        guest::ipv4(GATEWAY_MAC, (GUEST, GATEWAY), TCP, &segment.bytes(payload)),
    );
}
