//! The switch between guests, and what isolation takes away.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_engine::{Event, StaticLease};
use atoll_wire::packet;
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{ArpOperation, EthernetProtocol, FrameBuf, Icmpv4Message, Mac};

use crate::bench::{A, B, GATEWAY, Guest, Heard, Net, WORLD, v4};

fn frame(from: Mac, to: Mac) -> Vec<u8> {
    let mut buf = FrameBuf::copy_from(b"between guests");
    packet::push_ethernet(&mut buf, from, to, EthernetProtocol::Unknown(0x88b5));
    buf.payload().to_vec()
}

#[test]
fn guests_reach_each_other_as_they_are() {
    let mut net = Net::new();
    let sent = frame(A.mac, B.mac);
    net.send_frame(A, &sent);
    assert_eq!(net.hears(B), Heard::Other(sent));
    net.hears_nothing(A);
}

#[test]
fn isolated_guests_hear_the_gateway_only() {
    let mut net = Net::with(|config| config.isolate = true);
    net.send_frame(A, &frame(A.mac, B.mac));
    net.send_frame(A, &frame(A.mac, Mac::BROADCAST));
    net.hears_nothing(B);
    assert_eq!(net.counter("isolated"), 1);
}

#[test]
fn there_is_no_way_round_isolation_by_the_gateway() {
    for isolate in [false, true] {
        let mut net = Net::with(|config| config.isolate = isolate);
        let to = SocketAddr::new(B.ip, 22);
        let syn = Header {
            src_port: 5000,
            dst_port: 22,
            flags: Flags::SYN,
            ..Header::default()
        };
        net.send_tcp(A, to, &syn, b"");
        assert_eq!(net.hears_icmp(A).message, Icmpv4Message::DstUnreachable);
        net.send_udp(A, 5000, to, b"x");
        assert_eq!(net.hears_icmp(A).message, Icmpv4Message::DstUnreachable);
        net.send_echo(A, B.ip, (1, 1), b"");
        assert_eq!(net.hears_icmp(A).message, Icmpv4Message::DstUnreachable);
        net.hears_nothing(B);
        net.asks_nothing();
    }
}

fn isolated() -> Net {
    Net::with(|config| config.isolate = true)
}

#[test]
fn an_isolated_guest_is_not_heard_with_anothers_mac_address() {
    let mut net = isolated();
    let as_a = Guest { mac: A.mac, ..B };
    net.send_echo(as_a, GATEWAY, (1, 1), b"");
    net.hears_nothing(B);
    net.send_echo(A, GATEWAY, (1, 2), b"");
    assert!(matches!(net.hears(A), Heard::Icmp(_)));
    assert_eq!(net.counter("spoofed"), 1);
}

#[test]
fn an_isolated_guest_is_not_heard_with_anothers_address() {
    let mut net = isolated();
    let as_a = Guest { ip: A.ip, ..B };
    net.send_arp(as_a, ArpOperation::Reply, A.ip, A.ip);
    net.send_echo(as_a, GATEWAY, (1, 1), b"");
    net.send_udp(as_a, 5000, SocketAddr::new(WORLD, 53), b"x");
    net.asks_nothing();
    net.send_echo(A, GATEWAY, (1, 2), b"");
    assert!(matches!(net.hears(A), Heard::Icmp(_)));
    net.hears_nothing(B);
    assert_eq!(net.counter("spoofed"), 3);
}

#[test]
fn an_address_that_dhcp_gave_is_its_owners_before_he_is_heard() {
    let mut net = Net::of_strangers(|config| {
        config.isolate = true;
        config.static_leases = vec![StaticLease {
            mac: A.mac,
            address: Some(v4(A.ip)),
            address6: None,
            hostname: None,
        }];
    });
    net.send_echo(Guest { ip: A.ip, ..B }, GATEWAY, (1, 1), b"");
    net.hears_nothing(B);
    net.introduce(A);
    net.send_echo(A, GATEWAY, (1, 2), b"");
    assert!(matches!(net.hears(A), Heard::Icmp(_)));
}

#[test]
fn an_isolated_guest_keeps_its_addresses_where_it_attaches_again() {
    let mut net = isolated();
    let again = Guest {
        port: atoll_engine::PortId(9),
        ..A
    };
    net.attach(again.port);
    net.event(Event::PortDetached(A.port));
    net.send_echo(again, GATEWAY, (1, 1), b"");
    assert!(matches!(net.hears(again), Heard::Icmp(_)));
}

#[test]
fn what_is_behind_one_port_of_an_isolated_network_is_one_guest() {
    let mut net = isolated();
    let bridged = Guest {
        mac: Mac([2, 0, 0, 0, 0, 77]),
        ..A
    };
    net.send_echo(bridged, GATEWAY, (1, 1), b"");
    net.send_arp(bridged, ArpOperation::Reply, A.ip, A.ip);
    assert_eq!(net.counter("spoofed"), 0);
}

#[test]
fn on_a_network_that_is_not_isolated_an_address_moves_with_who_uses_it() {
    let mut net = Net::new();
    let taken_over = Guest { ip: A.ip, ..B };
    net.send_arp(taken_over, ArpOperation::Reply, A.ip, A.ip);
    net.send_echo(taken_over, GATEWAY, (1, 1), b"");
    assert!(matches!(net.hears(taken_over), Heard::Icmp(_)));
}

#[test]
fn a_full_queue_loses_its_own_frames_and_says_how_many() {
    let mut net = Net::with(|config| config.limits.egress_frames = 4);
    net.stop(B);
    for _ in 0..6 {
        net.send_frame(A, &frame(A.mac, B.mac));
    }
    assert_eq!(net.counter("egress_dropped"), 2);
    net.resume(B);
    assert_eq!(net.heard(B).len(), 4);
}

#[test]
fn a_frame_of_a_port_that_is_gone_does_nothing() {
    let mut net = Net::new();
    net.event(Event::PortDetached(A.port));
    net.send_frame(A, &frame(A.mac, B.mac));
    net.hears_nothing(B);
}

#[test]
fn every_frame_is_captured_once_while_capture_is_on() {
    let mut net = Net::new();
    net.command(atoll_engine::Command::SetCapture(true));
    net.send_echo(A, GATEWAY, (1, 1), b"");
    net.send_frame(A, &frame(A.mac, Mac::BROADCAST));
    let captured = net.actions();
    assert_eq!(captured.len(), 3, "{captured:?}");
    net.command(atoll_engine::Command::SetCapture(false));
    net.send_frame(A, &frame(A.mac, B.mac));
    net.asks_nothing();
}

#[test]
fn a_silent_guests_frames_are_flooded_again() {
    let mut net = Net::new();
    net.wait(Duration::from_secs(301));
    let third = Guest::numbered(4);
    net.attach(third.port);
    net.send_frame(A, &frame(A.mac, B.mac));
    assert_eq!((net.heard(B).len(), net.heard(third).len()), (1, 1));
}

#[test]
fn a_frame_never_goes_back_where_it_came_from() {
    let mut net = Net::new();
    let second = Guest {
        mac: Mac([2, 0, 0, 0, 1, 1]),
        ip: "10.77.0.20".parse().unwrap(),
        ..A
    };
    net.introduce(second);
    net.send_frame(A, &frame(A.mac, second.mac));
    net.hears_nothing(A);
    net.hears_nothing(B);
}

#[test]
fn what_is_for_the_neighbour_on_the_link_stays_there() {
    let mut net = Net::new();
    for last in 0..0x10 {
        net.send_frame(A, &frame(A.mac, Mac([0x01, 0x80, 0xc2, 0, 0, last])));
    }
    net.hears_nothing(B);
    net.send_frame(A, &frame(A.mac, Mac([0x01, 0x80, 0xc2, 0, 0, 0x10])));
    assert_eq!(net.heard(B).len(), 1);
}

#[test]
fn what_the_gateway_says_to_one_guest_no_other_hears_though_its_port_is_forgotten() {
    let mut net = Net::new();
    net.send_echo(A, WORLD, (1, 1), b"");
    net.event(Event::PortDetached(A.port));
    net.actions();
    let flow = net.engine.snapshot(net.now).flows[0].flow;
    let payload = FrameBuf::copy_from(b"secret");
    net.event(Event::IcmpReceived {
        flow,
        from: WORLD,
        seq: 1,
        payload,
    });
    assert!(
        net.heard(B)
            .iter()
            .all(|heard| matches!(heard, Heard::Arp { .. }))
    );
}
