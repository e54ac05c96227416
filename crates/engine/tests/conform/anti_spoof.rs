//! In whose name guests are heard by each other, and who is in which group.

use std::net::{IpAddr, Ipv4Addr};

use atoll_engine::{Event, GuestPolicy, Network, PortId, StaticLease};
use atoll_wire::packet::{self, Ipv4Header};
use atoll_wire::{ArpOperation, EthernetProtocol, FrameBuf, IpProtocol, Mac, Offload, ndp};

use crate::bench::{A, B, GATEWAY, Guest, Heard, Net, udp, v4};
use crate::bench6::{self, A6, B6, own, v6};

const C: Guest = Guest::numbered(4);
/// The address that A and B have in turns.
const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 100));
const VIP6: IpAddr = own(0x100);

/// A network with anti-spoofing, three guests that are known by both addresses, and an address for two of them.
fn net() -> Net {
    let mut net = bench6::net_with(|config| {
        config.policy.anti_spoof = true;
        let extra = [VIP, VIP6].map(|address| Network {
            address,
            prefix_len: if address.is_ipv4() { 32 } else { 128 },
        });
        for mac in [A.mac, B.mac] {
            config.policy.extra_addresses.insert(mac, extra.to_vec());
        }
    });
    net.attach(C.port);
    net.introduce(C);
    assert_eq!(net.counter("spoofed"), 0);
    net
}

/// A datagram from one guest to another, by the switch.
fn direct(from: Guest, src: IpAddr, to: Guest) -> Vec<u8> {
    let ports = (from.at(5000), to.at(5000));
    let mut buf = udp(ports.0, ports.1, b"direct");
    let header = Ipv4Header {
        src: v4(src),
        dst: v4(to.ip),
        protocol: IpProtocol::Udp,
        ttl: 64,
        ident: 1,
        dont_fragment: true,
    };
    packet::push_ipv4(&mut buf, &header);
    packet::push_ethernet(&mut buf, from.mac, to.mac, EthernetProtocol::Ipv4);
    buf.freeze(Offload::default()).bytes.to_vec()
}

fn arp(from: Guest, sender: (Mac, IpAddr), to: Mac) -> Vec<u8> {
    let target = (Mac::default(), v4(sender.1));
    let mut buf = packet::arp(ArpOperation::Reply, (sender.0, v4(sender.1)), target);
    packet::push_ethernet(&mut buf, from.mac, to, EthernetProtocol::Arp);
    buf.payload().to_vec()
}

fn is_dropped(net: &mut Net, from: Guest, frame: &[u8]) {
    let before = net.counter("spoofed");
    net.send_frame(from, frame);
    for guest in [A, B, C] {
        net.hears_nothing(guest);
    }
    assert_eq!(net.counter("spoofed"), before + 1);
    net.asks_nothing();
}

#[test]
fn guests_reach_each_other_under_their_own_addresses() {
    let mut net = net();
    net.send_frame(A, &direct(A, A.ip, B));
    assert!(matches!(net.hears(B), Heard::Other(_) | Heard::Udp { .. }));
    assert_eq!(net.counter("spoofed"), 0);
}

#[test]
fn nobody_reaches_a_guest_under_another_address() {
    let mut net = net();
    for src in [
        B.ip,
        GATEWAY,
        "10.77.0.254".parse().unwrap(),
        "8.8.8.8".parse().unwrap(),
        VIP,
    ] {
        is_dropped(&mut net, C, &direct(C, src, A));
    }
    let ports = net.engine.snapshot(net.now).ports;
    assert_eq!(ports[2].policy.spoofed, 5);
}

#[test]
fn a_frame_behind_an_honest_one_is_looked_at_too() {
    let mut net = net();
    net.send_frame(C, &direct(C, C.ip, A));
    net.heard(A);
    is_dropped(&mut net, C, &direct(C, B.ip, A));
}

#[test]
fn nobody_says_by_arp_that_it_has_anothers_address() {
    let mut net = net();
    for to in [A.mac, Mac::BROADCAST] {
        is_dropped(&mut net, C, &arp(C, (C.mac, B.ip), to));
        is_dropped(&mut net, C, &arp(C, (C.mac, GATEWAY), to));
        is_dropped(&mut net, C, &arp(C, (B.mac, C.ip), to));
        is_dropped(&mut net, C, &arp(C, (C.mac, VIP), to));
    }
}

#[test]
fn nobody_uses_anothers_mac_address() {
    let mut net = net();
    let as_b = Guest { mac: B.mac, ..C };
    is_dropped(&mut net, as_b, &direct(as_b, C.ip, A));
}

#[test]
fn nobody_says_by_discovery_that_it_has_anothers_address() {
    let mut net = net();
    let mine = Guest { ip: own(4), ..C };
    bench6::solicit(&mut net, mine, A6.ip);
    net.heard(A);
    net.heard(B);
    for claimed in [B6.ip, own(1), own(0xfe), VIP6] {
        let buf = ndp::neighbor_advertisement((v6(claimed), C.mac), ndp::ALL_NODES);
        let frame = bench6::frame(
            mine,
            (mine.ip, ndp::ALL_NODES.into()),
            (IpProtocol::Icmpv6, 255),
            buf,
        );
        is_dropped(&mut net, C, &frame);
        let buf = ndp::neighbor_solicitation((v6(claimed), C.mac), v6(A6.ip));
        let group = ndp::solicited_node(v6(A6.ip)).into();
        let frame = bench6::frame(mine, (claimed, group), (IpProtocol::Icmpv6, 255), buf);
        is_dropped(&mut net, C, &frame);
    }
}

#[test]
fn nobody_speaks_for_the_router_or_a_server() {
    let mut net = net();
    let mine = Guest { ip: own(4), ..C };
    for kind in [134, 137] {
        let all = ndp::ALL_NODES.into();
        let buf = bench6::icmp6((mine.ip, all), kind, [0; 4], &[0; 40]);
        let frame = bench6::frame(mine, (mine.ip, all), (IpProtocol::Icmpv6, 255), buf);
        is_dropped(&mut net, C, &frame);
    }
    let mut buf = udp(C.at(67), A.at(68), b"offer");
    let header = Ipv4Header {
        src: v4(C.ip),
        dst: v4(A.ip),
        protocol: IpProtocol::Udp,
        ttl: 64,
        ident: 1,
        dont_fragment: true,
    };
    packet::push_ipv4(&mut buf, &header);
    packet::push_ethernet(&mut buf, C.mac, A.mac, EthernetProtocol::Ipv4);
    is_dropped(&mut net, C, buf.payload());
}

#[test]
fn what_hides_whose_it_is_does_not_pass() {
    let mut net = net();
    let plain = direct(C, B.ip, A);
    for tag in [[0x81, 0x00, 0, 0], [0x88, 0xa8, 0, 0]] {
        let tagged = [&plain[..12], &tag, &plain[12..]].concat();
        is_dropped(&mut net, C, &tagged);
    }
    let mut other = FrameBuf::copy_from(b"something else");
    packet::push_ethernet(&mut other, C.mac, A.mac, EthernetProtocol::Unknown(0x88b5));
    is_dropped(&mut net, C, other.payload());
}

#[test]
fn a_virtual_address_moves_at_once_between_those_who_are_named() {
    let mut net = net();
    for holder in [A, B, A] {
        net.send_frame(holder, &arp(holder, (holder.mac, VIP), Mac::BROADCAST));
        assert!(matches!(net.hears(C), Heard::Arp { .. }));
        let all = ndp::ALL_NODES.into();
        let buf = ndp::neighbor_advertisement((v6(VIP6), holder.mac), ndp::ALL_NODES);
        let frame = bench6::frame(holder6(holder), (VIP6, all), (IpProtocol::Icmpv6, 255), buf);
        net.send_frame(holder, &frame);
        assert!(matches!(net.hears(C), Heard::Icmp6(_)));
        for guest in [A, B] {
            net.heard(guest);
        }
        let ports = net.engine.snapshot(net.now).ports;
        let of = |guest: Guest| ports.iter().find(|port| port.port == guest.port).unwrap();
        for address in [VIP, VIP6] {
            assert!(of(holder).addresses.contains(&address));
        }
    }
    assert_eq!(net.counter("spoofed"), 0);
    is_dropped(&mut net, C, &arp(C, (C.mac, VIP), Mac::BROADCAST));
}

fn holder6(guest: Guest) -> Guest {
    if guest == A { A6 } else { B6 }
}

#[test]
fn a_virtual_address_is_leased_to_nobody() {
    let net = Net::with(|config| {
        let whole = |last| Network {
            address: Ipv4Addr::new(10, 77, 0, last).into(),
            prefix_len: 32,
        };
        config
            .policy
            .extra_addresses
            .insert(A.mac, (2..200).map(whole).collect());
    });
    for last in 0..100 {
        let leased = net
            .engine
            .address_for(net.now, Mac([2, 0, 0, 0, 9, last]))
            .unwrap();
        assert!(leased.octets()[3] >= 200, "{leased}");
    }
}

#[test]
fn an_address_that_dhcp_gave_is_its_owners_before_he_is_heard() {
    let mut net = Net::of_strangers(|config| {
        config.policy.anti_spoof = true;
        config.static_leases = vec![StaticLease {
            mac: A.mac,
            address: Some(v4(A.ip)),
            address6: None,
            hostname: None,
        }];
    });
    is_dropped(&mut net, B, &direct(B, A.ip, A));
}

#[test]
fn a_guest_with_many_stations_is_heard_of_some() {
    let mut net = net();
    for last in 0..100 {
        let station = Guest {
            mac: Mac([2, 0, 0, 1, 0, last]),
            ip: Ipv4Addr::new(10, 77, 0, 101 + last).into(),
            ..C
        };
        net.send_frame(C, &direct(station, station.ip, A));
    }
    assert_eq!(net.heard(A).len(), 15, "C itself is one of sixteen");
}

#[test]
fn guests_of_one_group_see_each_other_and_the_gateway() {
    let mut net = Net::with(|config| {
        for (label, group) in [("m2", "front"), ("m3", "back"), ("m4", "front")] {
            let guest = GuestPolicy {
                group: Some(group.to_owned()),
                ..GuestPolicy::default()
            };
            config.policy.guests.insert(label.to_owned(), guest);
        }
    });
    let stranger = Guest::numbered(5);
    for guest in [C, stranger] {
        net.attach(guest.port);
        net.introduce(guest);
    }
    net.send_frame(A, &direct(A, A.ip, C));
    assert_eq!(net.heard(C).len(), 1);
    for (to, isolated) in [(B, 1), (stranger, 2)] {
        net.send_frame(A, &direct(A, A.ip, to));
        assert_eq!(net.counter("isolated"), isolated);
    }
    net.send_frame(A, &arp(A, (A.mac, A.ip), Mac::BROADCAST));
    assert_eq!(net.heard(C).len(), 1);
    for other in [B, stranger] {
        net.hears_nothing(other);
        net.send_echo(other, GATEWAY, (1, 1), b"");
        assert!(matches!(net.hears(other), Heard::Icmp(_)));
    }
}

#[test]
fn who_left_does_not_keep_an_address() {
    let mut net = net();
    net.event(Event::PortDetached(B.port));
    let again = Guest { port: PortId(9), ..B };
    net.attach(again.port);
    net.send_frame(again, &direct(again, B.ip, A));
    assert_eq!(net.heard(A).len(), 1);
}
