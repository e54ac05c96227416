//! The engine: any frames, in any order, at any times, with any answers of the host.

use super::bytes::Choices;
use super::guest::{
    self, ALL_NODES_MAC, BROADCAST_MAC, GATEWAY, GATEWAY_MAC, GATEWAY6, GUEST, GUEST6, HOST_ALIAS,
    HOST_ALIAS6, LINK_LOCAL, NEIGHBOUR, NEIGHBOUR_MAC, NEIGHBOUR6, OUTSIDE, OUTSIDE6, Segment,
};
use super::world::{LISTED_UDP, UPLINK, World};
use atoll_engine::{
    AcceptId, Command, Destination, Event, ForwardId, ForwardTarget, GuestLimits, Mode, NamePattern, Network,
    Policy, PortConfig, PortId, Router, Rule, Verdict,
};
use atoll_wire::Frame;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The whole input is one frame; afterwards an hour passes.
pub(super) fn frame(input: &[u8]) {
    let mut world = World::new();
    world.frame(PortId(0), Frame::plain(input.to_vec().into()));
    world.advance(Duration::from_secs(3600));
}

/// The input is a list of steps: frames, the host's answers, time, commands.
pub(super) fn script(input: &[u8]) {
    let _ = run(input);
}

/// The same on a network in another mode, as the first byte has it; the port that there was not is an uplink.
pub(super) fn script_with_uplinks(input: &[u8]) {
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    let mode = [Mode::Bridged, Mode::Routed, Mode::Shared, Mode::Host, Mode::User][usize::from(first % 5)];
    let _ = run_in(World::with_uplinks(mode, first % 5 == 1, first & 0x80 != 0), rest);
}

/// The same on a network that forbids nearly all that the script's packets lead to: nothing of that is reached but the port that is
/// listed.
pub(super) fn policy(input: &[u8]) {
    let rule = |verdict, to| Rule {
        verdict,
        from: None,
        to,
        ports: None,
        transport: None,
    };
    let whole = |address, prefix_len| Destination::Network(Network { address, prefix_len });
    let (outside, outside6) = (IpAddr::from(OUTSIDE), IpAddr::from(OUTSIDE6));
    let policy = Policy {
        rules: vec![
            rule(Verdict::Deny, whole(outside, 32)),
            rule(Verdict::Deny, whole(outside6, 128)),
            rule(
                Verdict::Allow,
                Destination::Name(NamePattern::Below("example".to_owned())),
            ),
            rule(Verdict::Deny, Destination::Private),
        ],
        anti_spoof: true,
        limits: GuestLimits {
            new_flows: Some(10),
            flows: Some(3),
            bandwidth_from: Some(1_000_000),
            bandwidth_to: Some(1_000_000),
            packets: Some(1000),
        },
        ..Policy::default()
    };
    let world = run_in(World::with(|config| config.policy = policy), input);
    let is_forbidden = |to: &&SocketAddr| {
        let is_private = match to.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => to.port() != LISTED_UDP,
            IpAddr::V4(to) => to.is_private() || to.is_loopback(),
            IpAddr::V6(to) => to.is_unique_local() || to.is_loopback(),
        };
        is_private || to.ip() == outside || to.ip() == outside6
    };
    assert_eq!(world.reached.iter().find(is_forbidden), None, "was reached");
}

fn run(input: &[u8]) -> World {
    run_in(World::new(), input)
}

fn run_in(mut world: World, input: &[u8]) -> World {
    let mut choices = Choices::new(input);
    while !choices.is_empty() {
        step(&mut world, &mut choices);
    }
    world.advance(Duration::from_secs(7200));
    let (engine, now) = world.engine();
    let _ = engine.snapshot(now);
    world
}

fn step(world: &mut World, choices: &mut Choices<'_>) {
    match choices.byte() % 16 {
        0 => world.frame(port(choices), Frame::plain(choices.chunk().to_vec().into())),
        1..=4 => packet(world, choices),
        5 => world.advance(Duration::from_millis(choices.number().into())),
        6 => world.advance(Duration::from_secs(choices.number().into())),
        7 | 8 => world.stream_event(choices.byte(), choices.byte(), choices.number()),
        9 => world.datagram_event(choices.byte(), choices.byte(), choices.chunk()),
        10 => {
            let answered = !choices.byte().is_multiple_of(4);
            let message = choices.chunk();
            world.answer(answered.then_some(message));
        }
        11 => rare(world, choices),
        14 => packet6(world, choices),
        15 => discovery(world, choices),
        _ => segment(world, choices),
    }
}

/// A segment of a connection that the other end has begun or accepted; its numbers count from theirs.
fn segment(world: &mut World, choices: &mut Choices<'_>) {
    let guest_port = choices.one_of(&[40_000, 40_001, 22]);
    let flags = choices.byte();
    let seq = 1000 + u32::from(choices.number());
    let ack = u32::from(choices.number());
    let payload = choices.chunk();
    let Some(peer) = world.peer(guest_port) else {
        return;
    };
    let ports = (guest_port, peer.port);
    let segment = Segment {
        ports,
        seq,
        ack: peer.iss.wrapping_add(ack),
        flags,
    };
    let bytes = segment.bytes(payload);
    world.frame(PortId(0), guest::to_peer(peer.address, guest::TCP, &bytes));
}

/// One of the two guests' ports, or that of the uplink, which some networks do not have.
fn port(choices: &mut Choices<'_>) -> PortId {
    PortId(choices.one_of(&[0, 0, 0, 1, 1, UPLINK.0]))
}

/// A packet with right headers up to IPv4.
fn packet(world: &mut World, choices: &mut Choices<'_>) {
    let port = port(choices);
    let to = choices.one_of(&[
        GATEWAY_MAC,
        GATEWAY_MAC,
        GATEWAY_MAC,
        NEIGHBOUR_MAC,
        BROADCAST_MAC,
    ]);
    let addresses = [
        OUTSIDE,
        GATEWAY,
        HOST_ALIAS,
        NEIGHBOUR,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::LOCALHOST,
    ];
    let dst = choices.one_of(&addresses);
    let src = choices.one_of(&[GUEST, GUEST, GUEST, Ipv4Addr::UNSPECIFIED, OUTSIDE, GATEWAY]);
    let protocol = choices.one_of(&[guest::TCP, guest::TCP, guest::UDP, guest::ICMP, 41]);
    let payload = choices.chunk();
    world.frame(port, guest::ipv4(to, (src, dst), protocol, payload));
}

/// A packet with a right header of IPv6. What stands behind it may be an extension header.
fn packet6(world: &mut World, choices: &mut Choices<'_>) {
    let port = port(choices);
    let to = choices.one_of(&[
        GATEWAY_MAC,
        GATEWAY_MAC,
        GATEWAY_MAC,
        NEIGHBOUR_MAC,
        ALL_NODES_MAC,
    ]);
    let ends = (source6(choices), destination6(choices));
    let kinds = [
        guest::TCP,
        guest::TCP,
        guest::UDP,
        guest::ICMPV6,
        0,
        43,
        44,
        60,
        99,
    ];
    let protocol = choices.one_of(&kinds);
    let hop_limit = choices.one_of(&[64, 255, 1]);
    let payload = choices.chunk();
    world.frame(port, guest::ipv6(to, ends, (protocol, hop_limit), payload));
}

fn source6(choices: &mut Choices<'_>) -> Ipv6Addr {
    let guest = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    choices.one_of(&[
        GUEST6,
        GUEST6,
        GUEST6,
        guest,
        Ipv6Addr::UNSPECIFIED,
        OUTSIDE6,
        GATEWAY6,
    ])
}

fn destination6(choices: &mut Choices<'_>) -> Ipv6Addr {
    let group = |low| Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, low, 2);
    choices.one_of(&[
        OUTSIDE6,
        GATEWAY6,
        HOST_ALIAS6,
        NEIGHBOUR6,
        LINK_LOCAL,
        group(0),
        group(1),
        Ipv6Addr::LOCALHOST,
    ])
}

/// A message of ICMPv6 with a right checksum.
fn discovery(world: &mut World, choices: &mut Choices<'_>) {
    let port = port(choices);
    let ends = (source6(choices), destination6(choices));
    let kind = choices.one_of(&[135, 136, 133, 128, 134, 1]);
    let target = choices.one_of(&[GATEWAY6, HOST_ALIAS6, LINK_LOCAL, GUEST6, NEIGHBOUR6]);
    let body = match kind {
        135 | 136 => [&[0; 4][..], &target.octets(), choices.chunk()].concat(),
        _ => choices.chunk().to_vec(),
    };
    let message = guest::icmpv6(ends, kind, &body);
    let to = choices.one_of(&[GATEWAY_MAC, ALL_NODES_MAC]);
    world.frame(port, guest::ipv6(to, ends, (guest::ICMPV6, 255), &message));
}

fn rare(world: &mut World, choices: &mut Choices<'_>) {
    let which = choices.byte();
    match which % 7 {
        0 => world.stall(port(choices), which & 0x80 != 0),
        1 => world.event(Event::PortDetached(port(choices))),
        2 => {
            let port = PortId(100 + u32::from(choices.number()));
            world.event(Event::PortAttached {
                port,
                port_config: PortConfig::default(),
            });
            world.event(Event::PortDetached(port));
        }
        3 => command(world, choices),
        6 => reply(world, choices),
        4 => {
            let (pick, accept) = (choices.byte(), world.next_accept());
            if pick & 0x80 != 0 {
                return dial(world, choices, (accept, pick));
            }
            let forward = ForwardId(u32::from(pick % 4));
            world.event(Event::TcpAccepted {
                forward,
                accept,
                peer: (OUTSIDE, choices.number()).into(),
            });
        }
        _ => {
            let forward = ForwardId(u32::from(choices.byte() % 4));
            let payload = atoll_wire::FrameBuf::copy_from(choices.chunk());
            world.event(Event::UdpForwarded {
                forward,
                from: (OUTSIDE, 9).into(),
                datagrams: vec![payload.into()],
            });
        }
    }
}

/// A program of the host asks for a guest, or goes away.
fn dial(world: &mut World, choices: &mut Choices<'_>, (accept, pick): (AcceptId, u8)) {
    if pick & 0x40 != 0 {
        return world.event(Event::TcpWithdrawn(AcceptId(u64::from(pick & 0x3f))));
    }
    let guest = match pick % 5 {
        0 => ForwardTarget::Address(GUEST.into()),
        1 => ForwardTarget::Address(GUEST6.into()),
        2 => ForwardTarget::Name("a".to_owned()),
        3 => ForwardTarget::Name("nobody".to_owned()),
        _ => ForwardTarget::OneOf(vec![
            ForwardTarget::Address(GUEST.into()),
            ForwardTarget::Name("a".to_owned()),
        ]),
    };
    world.event(Event::TcpDialled {
        accept,
        peer: (OUTSIDE, choices.number()).into(),
        guest,
        port: choices.number(),
    });
}

/// A datagram back to whoever sent one to this port of the guest.
fn reply(world: &mut World, choices: &mut Choices<'_>) {
    let guest_port = choices.one_of(&[53, 40_000]);
    let payload = choices.chunk();
    let Some(peer) = world.peer(guest_port) else {
        return;
    };
    let datagram = guest::udp(guest_port, peer.port, payload);
    world.frame(PortId(0), guest::to_peer(peer.address, guest::UDP, &datagram));
}

/// A command may be refused; what it must not do is panic.
fn command(world: &mut World, choices: &mut Choices<'_>) {
    let forward = ForwardId(u32::from(choices.byte() % 4));
    let command = match choices.byte() % 11 {
        10 => Command::AddForward {
            forward,
            guest: ForwardTarget::OneOf(vec![
                ForwardTarget::Address(GUEST.into()),
                ForwardTarget::Mac(guest::GUEST_MAC),
                ForwardTarget::Address(GUEST6.into()),
            ]),
            port: choices.number(),
        },
        0 => Command::AddForward {
            forward,
            guest: ForwardTarget::Address(GUEST.into()),
            port: choices.number(),
        },
        1 => Command::AddForward {
            forward,
            guest: ForwardTarget::Name("a".to_owned()),
            port: choices.number(),
        },
        2 => Command::RemoveForward(forward),
        3 => Command::SetCapture(choices.byte().is_multiple_of(2)),
        5 => Command::Shutdown,
        6 => Command::AddForward {
            forward,
            guest: ForwardTarget::Address(GUEST6.into()),
            port: choices.number(),
        },
        7 => Command::AddForward {
            forward,
            guest: ForwardTarget::Mac(guest::GUEST_MAC),
            port: choices.number(),
        },
        8 => Command::SetRouter(choices.byte().is_multiple_of(2).then_some(Router {
            mac: NEIGHBOUR_MAC,
            link_local: LINK_LOCAL,
        })),
        9 => Command::SetHostAddresses(vec![OUTSIDE.into()]),
        _ => Command::SetResolvers(Vec::new()),
    };
    let (engine, now) = world.engine();
    let _ = engine.apply(now, command);
    world.advance(Duration::ZERO);
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::runner::seeds;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// But `TcpAgain`, which follows more than 64 KiB at once; the target `world` comes to it.
    #[test]
    fn the_seeds_lead_to_every_kind_of_action() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/engine");
        let seeds = seeds(&folder).unwrap();
        let seen: BTreeSet<String> = seeds.iter().flat_map(|seed| run(seed).seen).collect();
        let kinds = [
            "Captured",
            "Close",
            "DnsAsk",
            "DnsForget",
            "IcmpOpen",
            "IcmpSend",
            "TcpAdopt",
            "TcpConnect",
            "TcpDiscard",
            "TcpPeek",
            "TcpRefuse",
            "TcpReset",
            "TcpSend",
            "TcpShutdown",
            "Transmit",
            "UdpForwardSend",
            "UdpOpen",
            "UdpSend",
            "LeasesChanged",
        ];
        let missing: Vec<&str> = kinds.into_iter().filter(|kind| !seen.contains(*kind)).collect();
        assert!(missing.is_empty(), "no seed leads to {missing:?}");
    }
}
