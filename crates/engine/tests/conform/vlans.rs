//! Tagged frames: what passes untouched, what a tag does not get round.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use atoll_engine::{Destination, Mode, Rule, Verdict};
use atoll_wire::{ArpOperation, EthernetProtocol, IpProtocol, Mac, packet};
use proptest::prelude::*;

use crate::bench::{A, B, GATEWAY, Guest, Heard, METADATA, Net, WORLD, ip_frame, udp, v4};
use crate::uplinks::{A_LAN, LAN, between, net as lan_net};

const C: Guest = Guest::numbered(4);
const PRIORITY: [u8; 4] = [0x81, 0x00, 0xe0, 0x00];
const VLAN_7: [u8; 4] = [0x81, 0x00, 0, 7];
const VLAN_8: [u8; 4] = [0x81, 0x00, 0, 8];
const SERVICE_7: [u8; 4] = [0x88, 0xa8, 0, 7];

/// A frame with these tags.
fn tagged(tags: &[[u8; 4]], frame: &[u8]) -> Vec<u8> {
    [&frame[..12], tags.as_flattened(), &frame[12..]].concat()
}

/// A datagram to a station.
fn direct(from: Guest, to: Mac) -> Vec<u8> {
    between(from, to, B.ip, b"direct")
}

fn three(change: impl FnOnce(&mut atoll_engine::Config)) -> Net {
    let mut net = Net::with(change);
    net.attach(C.port);
    net.introduce(C);
    net
}

#[test]
fn tagged_frames_pass_between_guests_byte_for_byte() {
    let mut net = three(|_| ());
    for tags in [
        &[VLAN_7][..],
        &[SERVICE_7],
        &[SERVICE_7, VLAN_8],
        &[VLAN_7, PRIORITY],
    ] {
        // The answer makes the way back known.
        for (from, to) in [(A, B), (B, A)] {
            let frame = tagged(tags, &direct(from, to.mac));
            net.send_frame(from, &frame);
            assert_eq!(net.frames(to), [frame]);
            net.frames(C);
        }
        let again = tagged(tags, &direct(A, B.mac));
        net.send_frame(A, &again);
        assert_eq!(net.frames(B), [again]);
        assert!(net.frames(C).is_empty(), "{tags:?}");
    }
}

#[test]
fn a_full_frame_with_two_tags_passes() {
    let mut net = three(|config| config.mtu = 1500);
    let frame = tagged(&[SERVICE_7, VLAN_8], &between(A, B.mac, B.ip, &[7; 1500 - 28]));
    assert_eq!(frame.len(), 1500 + 14 + 8);
    net.send_frame(A, &frame);
    assert_eq!(net.frames(B), [frame]);
}

#[test]
fn each_vlan_has_stations_of_its_own() {
    let mut net = three(|_| ());
    // One address at two ports, in two VLANs; untagged it is B's.
    for (at, tag) in [(A, VLAN_7), (C, VLAN_8)] {
        let same = Guest { mac: B.mac, ..at };
        net.send_frame(same, &tagged(&[tag], &direct(same, Mac::BROADCAST)));
    }
    for guest in [A, B, C] {
        net.frames(guest);
    }
    let from = Guest {
        mac: Mac([2, 0, 0, 0, 0, 0x77]),
        ..B
    };
    for (tags, to) in [(&[VLAN_7][..], A), (&[VLAN_8], C)] {
        let frame = tagged(tags, &direct(from, B.mac));
        net.send_frame(from, &frame);
        assert_eq!(net.frames(to), [frame]);
    }
    net.send_frame(A, &direct(A, B.mac));
    assert_eq!(net.frames(B).len(), 1, "untagged it is where it was");
    assert!(net.frames(C).is_empty() && net.frames(A).is_empty());
}

#[test]
fn frames_that_follow_each_other_go_each_to_its_own_vlan() {
    let mut net = three(|_| ());
    for (at, tag) in [(A, VLAN_7), (C, VLAN_8)] {
        let same = Guest {
            mac: Mac([2, 0, 0, 0, 0, 0x55]),
            ..at
        };
        net.send_frame(same, &tagged(&[tag], &direct(same, Mac::BROADCAST)));
    }
    for guest in [A, B, C] {
        net.frames(guest);
    }
    let frames =
        [VLAN_7, VLAN_7, VLAN_8, VLAN_7].map(|tag| tagged(&[tag], &direct(B, Mac([2, 0, 0, 0, 0, 0x55]))));
    for frame in &frames {
        net.send_frame(B, frame);
    }
    assert_eq!(net.frames(A).len(), 3);
    assert_eq!(net.frames(C), [frames[2].clone()]);
}

#[test]
fn the_gateway_answers_without_tags_only() {
    let mut net = three(|_| ());
    let mut request = packet::arp(
        ArpOperation::Request,
        (A.mac, v4(A.ip)),
        (Mac::default(), v4(GATEWAY)),
    );
    packet::push_ethernet(&mut request, A.mac, Mac::BROADCAST, EthernetProtocol::Arp);
    let request = request.payload().to_vec();
    let question = ip_frame(
        A,
        GATEWAY,
        IpProtocol::Udp,
        64,
        udp(A.at(5000), (GATEWAY, 53).into(), b"?"),
    );
    let out = ip_frame(
        A,
        WORLD,
        IpProtocol::Udp,
        64,
        udp(A.at(5000), (WORLD, 7).into(), b"?"),
    );
    for frame in [request, question, out] {
        for tags in [
            &[VLAN_7][..],
            &[SERVICE_7],
            &[VLAN_7, PRIORITY],
            &[PRIORITY, VLAN_7],
        ] {
            net.send_frame(A, &tagged(tags, &frame));
            net.hears_nothing(A);
            net.asks_nothing();
        }
    }
    assert_eq!(net.counter("unknown_protocol"), 8);
}

#[test]
fn nobody_takes_an_address_away_by_a_tag() {
    let mut net = three(|_| ());
    let as_b = Guest { mac: B.mac, ..C };
    net.send_frame(as_b, &tagged(&[VLAN_7], &direct(as_b, A.mac)));
    net.frames(A);
    net.frames(B);
    net.send_echo(B, GATEWAY, (1, 1), b"");
    assert!(matches!(net.hears(B), Heard::Icmp(_)));
    net.send_frame(A, &direct(A, B.mac));
    assert_eq!(net.frames(B).len(), 1);
}

#[test]
fn a_priority_tag_hides_nothing_from_the_policy() {
    let rule = Rule {
        verdict: Verdict::Deny,
        from: None,
        to: Destination::Any,
        ports: None,
        transport: None,
    };
    let mut net = three(|config| config.policy.rules = vec![rule]);
    let out = ip_frame(
        A,
        WORLD,
        IpProtocol::Udp,
        64,
        udp(A.at(5000), (WORLD, 7).into(), b"?"),
    );
    for tags in [&[PRIORITY][..], &[PRIORITY, PRIORITY], &[[0x88, 0xa8, 0, 0]]] {
        let before = net.counter("denied_by_rule");
        net.send_frame(A, &tagged(tags, &out));
        assert_eq!(net.counter("denied_by_rule"), before + 1);
        assert!(
            matches!(net.hears(A), Heard::Icmp(_)),
            "it is told, as without the tag"
        );
        net.asks_nothing();
    }
}

#[test]
fn a_priority_tag_hides_nothing_from_anti_spoofing() {
    let mut net = three(|config| config.policy.anti_spoof = true);
    let mut claim = packet::arp(ArpOperation::Reply, (C.mac, v4(B.ip)), (A.mac, v4(A.ip)));
    packet::push_ethernet(&mut claim, C.mac, A.mac, EthernetProtocol::Arp);
    let as_b = Guest { ip: B.ip, ..C };
    for frame in [claim.payload().to_vec(), direct(as_b, A.mac)] {
        for tags in [&[PRIORITY][..], &[PRIORITY, [0x88, 0xa8, 0, 0], PRIORITY]] {
            let before = net.counter("spoofed");
            net.send_frame(C, &tagged(tags, &frame));
            net.hears_nothing(A);
            assert_eq!(net.counter("spoofed"), before + 1);
        }
    }
    // What is its own passes, as an untagged frame.
    net.send_frame(C, &tagged(&[PRIORITY], &direct(C, A.mac)));
    assert_eq!(net.frames(A), [direct(C, A.mac)]);
}

#[test]
fn with_anti_spoofing_vlans_pass_only_where_they_are_wanted() {
    let frame = tagged(&[VLAN_7], &direct(C, A.mac));
    let mut net = three(|config| config.policy.anti_spoof = true);
    for tags in [&[VLAN_7][..], &[PRIORITY, VLAN_7], &[SERVICE_7]] {
        net.send_frame(C, &tagged(tags, &direct(C, A.mac)));
    }
    net.hears_nothing(A);
    assert_eq!(net.counter("vlan_refused"), 3);

    let mut net = three(|config| {
        config.policy.anti_spoof = true;
        config.policy.vlans = true;
    });
    net.send_frame(C, &frame);
    assert_eq!(net.frames(A), [frame]);
    let as_b = Guest { mac: B.mac, ..C };
    net.send_frame(as_b, &tagged(&[VLAN_7], &direct(as_b, A.mac)));
    net.hears_nothing(A);
    assert_eq!(net.counter("spoofed"), 1, "another's MAC address stays another's");
}

#[test]
fn isolation_and_groups_hold_in_every_vlan() {
    let frames = |to| [VLAN_7, SERVICE_7, PRIORITY].map(|tag| tagged(&[tag], &direct(A, to)));
    let mut net = three(|config| config.isolate = true);
    for frame in frames(B.mac).into_iter().chain(frames(Mac::BROADCAST)) {
        net.send_frame(A, &frame);
    }
    net.hears_nothing(B);
    assert_eq!(net.counter("isolated"), 3);
}

#[test]
fn what_makes_no_sense_is_dropped_and_counted() {
    let mut net = three(|_| ());
    let frame = direct(A, B.mac);
    let many = [PRIORITY; 8];
    for bad in [
        tagged(&many, &frame),
        tagged(&[[0x81, 0, 0x0f, 0xff]], &frame),
        tagged(&[VLAN_7], &frame)[..16].to_vec(),
    ] {
        let before = net.counter("malformed");
        net.send_frame(A, &bad);
        net.hears_nothing(B);
        assert_eq!(net.counter("malformed"), before + 1);
    }
}

#[test]
fn tags_reach_a_lan_only_where_they_are_wanted() {
    let out = tagged(&[VLAN_7], &between(A_LAN, LAN.mac, LAN.ip, b"out"));
    let back = tagged(&[VLAN_7], &between(LAN, A.mac, A_LAN.ip, b"back"));
    let mut net = lan_net(Mode::Bridged, |_| ());
    net.send_frame(A, &out);
    net.send_frame(LAN, &back);
    assert!(net.frames(LAN).is_empty() && net.frames(A).is_empty());
    assert_eq!(net.counter("vlan_refused"), 2);

    let mut net = lan_net(Mode::Bridged, |config| config.policy.vlans = true);
    for _ in 0..2 {
        net.send_frame(A, &out);
        assert_eq!(net.frames(LAN), std::slice::from_ref(&out));
        net.send_frame(LAN, &back);
        assert_eq!(net.frames(A), std::slice::from_ref(&back));
    }
}

#[test]
fn no_priority_tag_leads_to_the_metadata_of_the_lan() {
    for vlans in [false, true] {
        let mut net = lan_net(Mode::Bridged, |config| config.policy.vlans = vlans);
        let to: SocketAddr = (METADATA, 80).into();
        let frame = tagged(&[PRIORITY], &between(A_LAN, LAN.mac, to.ip(), b"credentials"));
        net.send_frame(A, &frame);
        assert!(net.frames(LAN).is_empty());
        // Nor does the LAN speak in its name.
        let from = Guest { ip: METADATA, ..LAN };
        net.frames(A);
        net.send_frame(
            LAN,
            &tagged(&[PRIORITY], &between(from, A.mac, A_LAN.ip, b"lies")),
        );
        assert!(net.frames(A).is_empty());
        assert_eq!(net.counter("spoofed"), 1);
    }
}

fn tag() -> impl Strategy<Value = [u8; 4]> {
    let tpid = prop::sample::select(&[[0x81, 0x00], [0x88, 0xa8]][..]);
    let identifier = prop_oneof![3 => Just(0_u16), 3 => 1_u16..4, 1 => Just(0x0fff)];
    (tpid, any::<u8>(), identifier).prop_map(|([a, b], priority, identifier)| {
        let [c, d] = identifier.to_be_bytes();
        [a, b, c | (priority & 0xf0), d]
    })
}

proptest! {
    /// Whatever tags a guest puts before a packet: it leads out only where it would without them, and no frame of it is heard with
    /// anti-spoofing in another's name.
    #[test]
    fn no_tags_get_round_a_policy(tags in prop::collection::vec(tag(), 1..7), last in 1_u8..5) {
        let mut net = three(|config| {
            config.policy.anti_spoof = true;
            config.policy.default_verdict = Verdict::Deny;
        });
        let src = Guest { ip: IpAddr::V4(Ipv4Addr::new(10, 77, 0, last)), ..C };
        net.send_frame(C, &tagged(&tags, &direct(src, A.mac)));
        for frame in net.frames(A) {
            prop_assert_eq!((frame, last), (direct(C, A.mac), 4));
        }
        let out = ip_frame(src, WORLD, IpProtocol::Udp, 64, udp(src.at(5000), (WORLD, 7).into(), b"?"));
        net.send_frame(C, &tagged(&tags, &out));
        net.asks_nothing();
        prop_assert_eq!(net.counter("udp_opened"), 0);
    }
}
