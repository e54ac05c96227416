//! Where frames go, and who decides.

use super::*;
use crate::rng::Rng;
use atoll_wire::vlan::Vlan;
use atoll_wire::{Checksum, EthernetProtocol, FrameBuf, Gso, IpProtocol, Offload, packet};
use bytes::Bytes;
use std::net::Ipv4Addr;

const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
const C: Mac = Mac([2, 0, 0, 0, 0, 3]);

struct Bench {
    switch: Switch,
    counters: Counters,
}

impl Bench {
    fn with_ports(count: u32) -> Self {
        let mut bench = Self::of(|_| {});
        for port in 0..count {
            bench.switch.attach(PortId(port), PortConfig::default(), 0);
        }
        bench
    }

    fn of(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(crate::Addresses::default());
        config.limits = Limits {
            mac_table: 4,
            egress_frames: 2,
            ..Limits::default()
        };
        configure(&mut config);
        Self {
            switch: Switch::new(&config, Rng::new([7; 32]).keyed_hash()),
            counters: Counters::new(),
        }
    }

    fn attach(&mut self, port: u32, side: Side) {
        let config = PortConfig {
            side,
            ..PortConfig::default()
        };
        self.switch.attach(PortId(port), config, 0);
    }

    fn target(&self, pair: (Mac, Mac), ingress: u32) -> Target {
        let (src, dst) = pair;
        self.target_in(Vlan::UNTAGGED, (src, dst), ingress)
    }

    fn target_in(&self, vlan: Vlan, (mac, dst): (Mac, Mac), ingress: u32) -> Target {
        let src = Station { mac, vlan };
        self.switch.target(Instant::ZERO, (src, dst), PortId(ingress))
    }

    fn heard(&mut self, port: u32, mac: Mac) {
        let learnt = self.switch.learn(
            Instant::ZERO,
            PortId(port),
            Station::untagged(mac),
            60,
            &mut self.counters,
        );
        assert!(learnt.is_some());
    }

    fn send(&mut self, dst: Mac, ingress: u32) {
        let target = self.target((C, dst), ingress);
        let frame = Frame::plain(Bytes::from_static(&[0; 60]));
        self.switch
            .send(target, frame, &mut Vec::new(), &mut self.counters);
    }

    fn queued(&self) -> Vec<usize> {
        self.switch
            .ports
            .keys()
            .map(|&port| self.switch.egress(port).len())
            .collect()
    }
}

#[test]
fn a_learnt_address_gets_its_frames_alone() {
    let mut bench = Bench::with_ports(3);
    bench.heard(1, B);
    bench.send(B, 0);
    assert_eq!(bench.queued(), [0, 1, 0]);
}

#[test]
fn unknown_unicast_and_groups_reach_all_but_the_sender() {
    let mut bench = Bench::with_ports(3);
    bench.send(B, 0);
    bench.send(Mac::BROADCAST, 2);
    assert_eq!(bench.queued(), [1, 2, 1]);
}

#[test]
fn a_large_segment_is_cut_for_the_port_that_needs_it_and_for_no_other() {
    let mut bench = Bench::with_ports(1);
    let offloads = Offloads {
        checksum: true,
        tcp4: true,
        ..Offloads::default()
    };
    let config = PortConfig {
        offloads,
        ..PortConfig::default()
    };
    bench.switch.attach(PortId(1), config, 0);
    let mut woken = Vec::new();
    bench
        .switch
        .send(Target::Guests, large(100), &mut woken, &mut bench.counters);
    assert_eq!(bench.queued(), [2, 1]);
    bench
        .switch
        .send(Target::Guests, large(0), &mut woken, &mut bench.counters);
    assert_eq!(bench.queued(), [2, 2]);
    assert_eq!(bench.counters.get(Counter::Malformed), 1);
}

/// 150 bytes of TCP payload, to be cut at `size`.
fn large(size: u16) -> Frame {
    let mut buf = FrameBuf::zeroed(150);
    let (src, dst) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3));
    atoll_wire::tcp::Header::default().push_partial(&mut buf, src, dst);
    let header = packet::Ipv4Header {
        src,
        dst,
        protocol: IpProtocol::Tcp,
        ttl: 64,
        ident: 0,
        dont_fragment: true,
    };
    packet::push_ipv4(&mut buf, &header);
    packet::push_ethernet(&mut buf, A, B, EthernetProtocol::Ipv4);
    buf.freeze(Offload {
        checksum: Checksum::Partial {
            start: 34,
            offset: 16,
        },
        gso: Gso::Tcp4 { size },
    })
}

#[test]
fn a_port_that_does_not_read_loses_its_own_frames_only() {
    let mut bench = Bench::with_ports(3);
    bench.heard(1, A);
    bench.heard(2, B);
    for _ in 0..5 {
        bench.send(A, 0);
    }
    bench.send(B, 0);
    assert_eq!(bench.queued(), [0, 2, 1]);
    assert_eq!(bench.counters.get(Counter::EgressDropped), 3);
}

#[test]
fn a_guest_that_invents_addresses_forgets_only_its_own() {
    let mut bench = Bench::with_ports(2);
    bench.heard(0, A);
    for last in 10..30 {
        bench.heard(1, Mac([2, 0, 0, 0, 1, last]));
    }
    assert_eq!(bench.switch.port_of(Instant::ZERO, A), Some(PortId(0)));
    assert_eq!(bench.switch.table.macs_of(Instant::ZERO, PortId(1)).len(), 4);
}

#[test]
fn a_vlan_is_learnt_by_itself() {
    let mut bench = Bench::with_ports(3);
    let tag = |number: u8| [&[0; 12][..], &[0x81, 0, 0, number, 8, 0]].concat();
    let [seven, eight] = [7, 8].map(|number| atoll_wire::vlan::classify(&tag(number)).unwrap().0);
    for (vlan, port) in [(Vlan::UNTAGGED, 0), (seven, 1), (eight, 2)] {
        let learnt = bench.switch.learn(
            Instant::ZERO,
            PortId(port),
            Station { mac: A, vlan },
            60,
            &mut bench.counters,
        );
        assert!(learnt.is_some());
    }
    assert_eq!(
        bench.target_in(Vlan::UNTAGGED, (B, A), 2),
        Target::Port(PortId(0))
    );
    assert_eq!(bench.target_in(seven, (B, A), 0), Target::Port(PortId(1)));
    assert_eq!(bench.target_in(eight, (B, A), 0), Target::Port(PortId(2)));
    bench.switch.detach(PortId(1));
    assert_eq!(bench.target_in(seven, (B, A), 0), Target::AllBut(PortId(0)));
    assert_eq!(bench.switch.port_of(Instant::ZERO, A), Some(PortId(0)));
}

#[test]
fn an_address_moves_with_its_first_frame() {
    let mut bench = Bench::with_ports(2);
    bench.heard(0, A);
    bench.heard(1, A);
    assert_eq!(bench.switch.port_of(Instant::ZERO, A), Some(PortId(1)));
    assert!(bench.switch.table.macs_of(Instant::ZERO, PortId(0)).is_empty());
}

/// Guests at 0 and 1, uplinks at 2 and 3; A, B and C are heard at 0, 1 and 2.
fn with_uplinks(isolate: bool) -> Bench {
    let mut bench = Bench::of(|config| config.isolate = isolate);
    for (port, side) in [
        (0, Side::Guest),
        (1, Side::Guest),
        (2, Side::Uplink),
        (3, Side::Uplink),
    ] {
        bench.attach(port, side);
    }
    bench.heard(0, A);
    bench.heard(1, B);
    bench.heard(2, C);
    bench
}

const UNKNOWN: Mac = Mac([2, 0, 0, 0, 0, 9]);

#[test]
fn frames_never_go_from_uplink_to_uplink() {
    for isolate in [false, true] {
        let bench = with_uplinks(isolate);
        assert_eq!(bench.target((UNKNOWN, C), 3), Target::Nobody);
        assert_eq!(bench.target((C, UNKNOWN), 2), Target::Guests);
        assert_eq!(bench.target((C, Mac::BROADCAST), 2), Target::Guests);
        assert_eq!(bench.target((C, A), 2), Target::Port(PortId(0)));
    }
}

#[test]
fn isolated_guests_reach_uplinks_and_not_each_other() {
    let bench = with_uplinks(true);
    assert_eq!(bench.target((A, B), 0), Target::Nobody);
    assert_eq!(bench.target((A, C), 0), Target::Port(PortId(2)));
    assert_eq!(bench.target((A, Mac::BROADCAST), 0), Target::Uplinks);
    assert_eq!(bench.target((A, UNKNOWN), 0), Target::Uplinks);
}

#[test]
fn the_gateway_speaks_to_guests_only() {
    let bench = with_uplinks(false);
    let target = |dst| bench.switch.target_from_gateway(Instant::ZERO, dst);
    assert_eq!(target(A), Target::Port(PortId(0)));
    assert_eq!(target(C), Target::Nobody);
    assert_eq!(target(UNKNOWN), Target::Guests);
    assert_eq!(target(Mac::BROADCAST), Target::Guests);
}

#[test]
fn a_guests_address_does_not_move_to_an_uplink() {
    let mut bench = with_uplinks(false);
    let switch = &mut bench.switch;
    assert_eq!(
        switch.learn(
            Instant::ZERO,
            PortId(2),
            Station::untagged(A),
            60,
            &mut bench.counters
        ),
        None
    );
    assert_eq!(switch.port_of(Instant::ZERO, A), Some(PortId(0)));
    assert_eq!(bench.counters.get(Counter::Spoofed), 1);
    switch.detach(PortId(0));
    assert_ne!(
        switch.learn(
            Instant::ZERO,
            PortId(2),
            Station::untagged(A),
            60,
            &mut bench.counters
        ),
        None
    );
    assert_eq!(switch.port_of(Instant::ZERO, A), Some(PortId(2)));
}

#[test]
fn a_lan_of_many_stations_evicts_no_guest() {
    let mut bench = with_uplinks(false);
    for last in 10..90 {
        bench.heard(2, Mac([2, 0, 0, 0, 1, last]));
    }
    assert_eq!(bench.switch.port_of(Instant::ZERO, A), Some(PortId(0)));
    assert_eq!(bench.switch.port_of(Instant::ZERO, B), Some(PortId(1)));
    assert_eq!(bench.switch.macs_of(Instant::ZERO, PortId(2)).len(), 4);
}

/// Guests at 0 and 1, where A and B have spoken, with uplinks at 2 and 3.
fn with_wires(isolate: bool) -> Bench {
    let mut bench = Bench::of(|config| {
        config.pinned_uplinks = true;
        config.isolate = isolate;
        config.limits.mac_table = 64;
    });
    bench.attach(0, Side::Guest);
    bench.attach(1, Side::Guest);
    bench.heard(0, A);
    bench.heard(1, B);
    assert_eq!(bench.switch.take_changes(), [Change::Open(A), Change::Open(B)]);
    bench.attach(2, Side::Pinned(A));
    bench.attach(3, Side::Pinned(B));
    bench
}

#[test]
fn frames_go_along_their_wire_and_nowhere_else() {
    let bench = with_wires(false);
    for dst in [B, UNKNOWN, Mac::BROADCAST] {
        assert_eq!(bench.target((A, dst), 0), Target::Port(PortId(2)));
    }
    assert_eq!(bench.target((UNKNOWN, A), 2), Target::Port(PortId(0)));
    assert_eq!(
        bench.target((UNKNOWN, Mac::BROADCAST), 2),
        Target::Port(PortId(0))
    );
    assert_eq!(bench.target((B, Mac::BROADCAST), 2), Target::Port(PortId(0)));
    assert_eq!(bench.target((UNKNOWN, B), 2), Target::Nobody);
    // The kernel brings a guest's own broadcast to none but the others.
    assert_eq!(bench.target((A, Mac::BROADCAST), 2), Target::Nobody);
}

#[test]
fn wires_keep_isolated_guests_apart() {
    let bench = with_wires(true);
    assert_eq!(bench.target((B, A), 2), Target::Nobody);
    assert_eq!(bench.target((B, Mac::BROADCAST), 2), Target::Nobody);
    assert_eq!(bench.target((UNKNOWN, A), 2), Target::Port(PortId(0)));
}

#[test]
fn a_guest_does_not_get_the_wire_of_another() {
    let mut bench = with_wires(false);
    let switch = &mut bench.switch;
    assert_eq!(
        switch.learn(
            Instant::ZERO,
            PortId(1),
            Station::untagged(A),
            60,
            &mut bench.counters
        ),
        None
    );
    assert_eq!(switch.port_of(Instant::ZERO, A), Some(PortId(0)));
    switch.detach(PortId(0));
    assert_eq!(switch.take_changes(), [Change::Close(A)]);
    assert_ne!(
        switch.learn(
            Instant::ZERO,
            PortId(1),
            Station::untagged(A),
            60,
            &mut bench.counters
        ),
        None
    );
    assert_eq!(switch.take_changes(), [Change::Open(A)]);
}

#[test]
fn a_guest_that_invents_addresses_gets_few_wires() {
    let mut bench = with_wires(false);
    for last in 10..90 {
        let mac = Mac([2, 0, 0, 0, 1, last]);
        let switch = &mut bench.switch;
        let _ = switch.learn(
            Instant::ZERO,
            PortId(1),
            Station::untagged(mac),
            60,
            &mut bench.counters,
        );
    }
    assert_eq!(bench.switch.take_changes().len(), wires::WIRES_OF_ONE - 1);
}

#[test]
fn a_wire_whose_uplink_went_is_asked_for_again() {
    let mut bench = with_wires(false);
    bench.switch.detach(PortId(2));
    assert_eq!(bench.switch.take_changes(), []);
    assert_eq!(bench.target((A, B), 0), Target::Nobody);
    bench.heard(0, A);
    assert_eq!(bench.switch.take_changes(), [Change::Open(A)]);
}

#[test]
fn a_silent_address_is_forgotten() {
    let mut bench = Bench::with_ports(2);
    bench.heard(0, A);
    let later = Instant::ZERO + table::AGEING;
    assert_eq!(bench.switch.port_of(later, A), None);
}

#[test]
fn a_detached_port_leaves_nothing() {
    let mut bench = Bench::with_ports(2);
    bench.heard(1, A);
    bench.switch.detach(PortId(1));
    assert_eq!(bench.switch.port_of(Instant::ZERO, A), None);
    let learnt = bench.switch.learn(
        Instant::ZERO,
        PortId(1),
        Station::untagged(A),
        60,
        &mut bench.counters,
    );
    assert_eq!(learnt, None);
}
