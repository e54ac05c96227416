//! ARP: the gateway answers for its own addresses, and asks for its guests'.

use std::net::{IpAddr, Ipv4Addr};

use atoll_engine::{Action, Event};
use atoll_wire::packet;
use atoll_wire::{ArpOperation, EthernetProtocol, FrameBuf, Mac};

use crate::bench::{A, ALIAS, B, GATEWAY, GATEWAY_MAC, Guest, Heard, METADATA, Net, WORLD, v4};

fn reply(owner: IpAddr, to: (Mac, IpAddr)) -> Heard {
    Heard::Arp {
        operation: ArpOperation::Reply,
        sender: (GATEWAY_MAC, owner),
        target: to,
    }
}

#[test]
fn the_networks_own_addresses_are_answered_for() {
    for host_loopback in [false, true] {
        let mut net = Net::with(|config| config.host_loopback = host_loopback);
        for own in [GATEWAY, ALIAS, METADATA] {
            net.send_arp(A, ArpOperation::Request, A.ip, own);
            assert_eq!(net.hears(A), reply(own, (A.mac, A.ip)));
        }
    }
}

#[test]
fn nobody_elses_address_is_answered_for() {
    let mut net = Net::new();
    let others = [
        "10.77.0.3",
        "10.77.0.9",
        "10.77.0.0",
        "10.77.0.255",
        "169.254.169.253",
        "198.51.100.7",
        "0.0.0.0",
    ];
    for other in others {
        net.send_arp(A, ArpOperation::Request, A.ip, other.parse().unwrap());
        net.hears_nothing(A);
    }
}

#[test]
fn a_probe_for_an_own_address_is_answered_and_teaches_nothing() {
    let mut net = Net::of_strangers(|_| ());
    net.send_arp(
        A,
        ArpOperation::Request,
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        GATEWAY,
    );
    assert_eq!(
        net.hears(A),
        reply(GATEWAY, (A.mac, IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    );
    let addresses = |net: &Net| net.engine.snapshot(net.now).ports[0].addresses.clone();
    assert_eq!(addresses(&net), [] as [IpAddr; 0]);
    net.send_arp(A, ArpOperation::Request, A.ip, A.ip);
    assert_eq!(addresses(&net), [A.ip]);
}

#[test]
fn an_own_address_that_a_guest_claims_is_not_believed() {
    let mut net = Net::new();
    for own in [GATEWAY, ALIAS, METADATA] {
        net.send_arp(A, ArpOperation::Reply, own, own);
    }
    let snapshot = net.engine.snapshot(net.now);
    assert_eq!(snapshot.ports[0].addresses, [A.ip]);
}

#[test]
fn a_frame_with_the_gateways_source_or_a_group_or_none_is_dropped_and_counted() {
    let mut net = Net::new();
    for (number, mac) in [
        GATEWAY_MAC,
        Mac::BROADCAST,
        Mac([1, 0, 0x5e, 0, 0, 1]),
        Mac([0; 6]),
    ]
    .into_iter()
    .enumerate()
    {
        let liar = Guest { mac, ..A };
        net.send_arp(liar, ArpOperation::Request, A.ip, GATEWAY);
        net.hears_nothing(A);
        net.hears_nothing(B);
        assert_eq!(net.counter("bad_source_mac"), number as u64 + 1, "{mac}");
    }
}

#[test]
fn an_arp_packet_in_anothers_name_is_counted_and_not_believed() {
    let mut net = Net::new();
    let mut buf = packet::arp(ArpOperation::Reply, (A.mac, v4(B.ip)), (GATEWAY_MAC, v4(GATEWAY)));
    packet::push_ethernet(&mut buf, B.mac, GATEWAY_MAC, EthernetProtocol::Arp);
    net.send_frame(B, buf.payload());
    assert_eq!(net.counter("bad_source_mac"), 1);
    net.send_echo(B, GATEWAY, (1, 1), b"");
    assert!(matches!(net.hears(B), Heard::Icmp(_)), "B's address is still B's");
}

#[test]
fn malformed_arp_is_counted() {
    let mut net = Net::new();
    let mut buf = packet::arp(
        ArpOperation::Request,
        (A.mac, v4(A.ip)),
        (Mac::default(), v4(GATEWAY)),
    );
    packet::push_ethernet(&mut buf, A.mac, Mac::BROADCAST, EthernetProtocol::Arp);
    net.send_frame(A, &buf.payload()[..30]);
    net.hears_nothing(A);
    assert_eq!(net.counter("malformed"), 1);
}

#[test]
fn a_guest_that_only_sends_packets_is_answered_without_arp() {
    let mut net = Net::of_strangers(|_| ());
    net.send_echo(A, GATEWAY, (1, 1), b"hello");
    assert!(matches!(net.hears(A), Heard::Icmp(_)));
}

#[test]
fn a_guest_that_changes_its_mac_address_is_heard_at_the_new_one() {
    let mut net = Net::new();
    let renewed = Guest {
        mac: Mac([2, 0, 0, 0, 9, 9]),
        ..B
    };
    net.introduce(renewed);
    net.send_echo(renewed, GATEWAY, (1, 1), b"");
    assert!(matches!(net.hears(renewed), Heard::Icmp(_)));
    net.send_udp(A, 5000, std::net::SocketAddr::new(WORLD, 1), b"");
    net.hears_nothing(renewed);
}

#[test]
fn a_guest_that_the_gateway_had_to_forget_is_asked_for_again() {
    let mut net = Net::of_strangers(|config| config.limits.neighbors = 1);
    net.introduce(A);
    net.send_udp(A, 5000, std::net::SocketAddr::new(WORLD, 9), b"x");
    let Action::UdpOpen { flow, .. } = net.actions()[0] else {
        panic!("a socket was expected")
    };
    net.introduce(B);
    let from = std::net::SocketAddr::new(WORLD, 9);
    let datagrams = vec![FrameBuf::copy_from(b"reply").into()];
    net.event(Event::UdpReceived {
        flow,
        from,
        datagrams,
    });
    assert!(matches!(net.hears(A), Heard::Arp { target, .. } if target.1 == A.ip));
    net.send_arp(A, ArpOperation::Reply, A.ip, GATEWAY);
    assert!(matches!(net.hears(A), Heard::Udp { .. }));
}
