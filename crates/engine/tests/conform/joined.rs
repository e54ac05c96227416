//! Two networks joined by routing: guests of the first may begin conversations with guests of the second.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{
    Action, Addresses, Destination, Event, JoinId, JoinedNetwork, Mode, Prefix, RoutedPacket, Rule, Subnet,
    Verdict,
};
use atoll_wire::packet::{ETHERNET_LEN, push_icmpv4};
use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{FrameBuf, Icmpv4Message, IpProtocol, Ipv4Packet, Ipv6Packet, Offload, Seq};
use dhcproto::v4::{DhcpOption, OptionCode};
use proptest::prelude::*;

use crate::bench::{A, B, Guest, Heard, Icmp, Net, ip_frame, udp};
use crate::bench6::{self, A6, B6, Icmp6};
use crate::uplinks;

const BACK: JoinId = JoinId(1);
const FRONT: JoinId = JoinId(0);

/// The guests of the second network, behind the same ports.
const C: Guest = Guest { ip: back(2), ..A };
const C6: Guest = Guest { ip: back6(2), ..A };

const fn back(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 78, 0, last))
}

const fn back6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfd78, 0x78, 0, 0, 0, 0, 0, last))
}

fn addresses(network: u8) -> Addresses {
    let third = u16::from(network);
    let subnet = Subnet {
        address: Ipv4Addr::new(10, network, 0, 0),
        prefix_len: 24,
    };
    let hex = 0x70 | (third % 10);
    let prefix = Prefix {
        address: Ipv6Addr::new(0xfd00 | hex, hex, 0, 0, 0, 0, 0, 0),
    };
    (subnet, prefix).into()
}

fn joined(join: JoinId, network: u8, begins_there: bool) -> JoinedNetwork {
    JoinedNetwork {
        join,
        addresses: addresses(network),
        begins_there,
        begins_here: !begins_there,
        on_both: Vec::new(),
    }
}

/// Both, with what is carried between them.
struct Pair {
    front: Net,
    back: Net,
}

impl Pair {
    fn new() -> Self {
        Self::with(|_| (), |_| ())
    }

    fn with(
        of_front: impl FnOnce(&mut atoll_engine::Config),
        of_back: impl FnOnce(&mut atoll_engine::Config),
    ) -> Self {
        let front = bench6::net_with(|config| {
            config.joined = vec![joined(BACK, 78, true)];
            of_front(config);
        });
        let mut back = Net::of_strangers(|config| {
            config.subnet = addresses(78).subnet;
            config.ipv6 = addresses(78).prefix;
            config.joined = vec![joined(FRONT, 77, false)];
            of_back(config);
        });
        back.introduce(C);
        bench6::solicit(&mut back, C6, back6(1));
        for guest in [C, B] {
            back.heard(guest);
        }
        let mut pair = Self { front, back };
        pair.carry();
        pair
    }

    /// Carry packets until nobody has any.
    fn carry(&mut self) {
        loop {
            let (forth, back) = (routed(&mut self.front, BACK), routed(&mut self.back, FRONT));
            if forth.is_empty() && back.is_empty() {
                return;
            }
            for packet in forth {
                self.back.event(Event::Routed { from: FRONT, packet });
            }
            for packet in back {
                self.front.event(Event::Routed { from: BACK, packet });
            }
        }
    }
}

/// What a network has for the other, which is all that it asks for.
fn routed(net: &mut Net, expected: JoinId) -> Vec<RoutedPacket> {
    let routed = |action| match action {
        Action::Route { to, packet } => {
            assert_eq!(to, expected);
            packet
        }
        other => panic!("only routing was expected: {other:?}"),
    };
    net.actions().into_iter().map(routed).collect()
}

/// Type, code, second word and sender of the ICMP error that a guest hears.
fn error(net: &mut Net, guest: Guest) -> (u8, u8, u32, IpAddr) {
    match net.hears(guest) {
        Heard::Icmp(Icmp {
            message,
            code,
            rest,
            src,
            ..
        }) => (message.into(), code, u32::from_be_bytes(rest), src),
        Heard::Icmp6(Icmp6 {
            kind,
            code,
            rest,
            src,
            ..
        }) => (kind, code, u32::from_be_bytes(rest), src),
        other => panic!("an error was expected: {other:?}"),
    }
}

fn hops(frame: &[u8]) -> u8 {
    let packet = &frame[ETHERNET_LEN..];
    match packet[0] >> 4 {
        4 => Ipv4Packet::new_unchecked(packet).hop_limit(),
        _ => Ipv6Packet::new_unchecked(packet).hop_limit(),
    }
}

fn header((src, dst): (u16, u16), flags: Flags) -> Header {
    Header {
        src_port: src,
        dst_port: dst,
        seq: Seq(1000),
        ack: Seq(if flags.ack { 2000 } else { 0 }),
        flags,
        window: 1000,
        options: Options::default(),
    }
}

const BOTH: [(Guest, Guest); 2] = [(A, C), (A6, C6)];

fn gateways(guest: Guest) -> (IpAddr, IpAddr) {
    match guest.ip {
        IpAddr::V4(_) => (crate::bench::GATEWAY, back(1)),
        IpAddr::V6(_) => (bench6::GATEWAY6, back6(1)),
    }
}

#[test]
fn datagrams_pass_both_ways_with_both_gateways_hops() {
    for (front, back) in BOTH {
        let mut pair = Pair::new();
        pair.front.send_udp(front, 4000, back.at(4001), b"question");
        pair.carry();
        let frames = pair.back.frames(back);
        assert_eq!((frames.len(), hops(&frames[0])), (1, 62));
        pair.back.send_udp(back, 4001, front.at(4000), b"answer");
        pair.carry();
        let expected = Heard::Udp {
            src: back.at(4001),
            dst: front.at(4000),
            payload: b"answer".to_vec(),
        };
        assert_eq!(pair.front.hears(front), expected);
        assert_eq!(
            (pair.front.counter("routed"), pair.back.counter("routed")),
            (1, 1)
        );
    }
}

#[test]
fn who_may_not_begin_is_told_so() {
    for (front, back) in BOTH {
        let mut pair = Pair::new();
        let syn = header((4000, 80), Flags::SYN);
        pair.back.send_tcp(back, front.at(80), &syn, b"");
        let reset = pair.back.hears_tcp(back);
        assert_eq!(
            (reset.header.flags, reset.header.ack),
            (Flags::RST_ACK, Seq(1001))
        );
        pair.back.send_udp(back, 4000, front.at(53), b"?");
        let prohibited = if back.ip.is_ipv4() { (3, 13) } else { (1, 1) };
        let (kind, code, _, from) = error(&mut pair.back, back);
        assert_eq!(((kind, code), from), (prohibited, gateways(back).1));
        pair.back.send_echo(back, front.ip, (1, 1), b"?");
        let (kind, code, ..) = error(&mut pair.back, back);
        assert_eq!((kind, code), prohibited);
        assert_eq!(routed(&mut pair.back, FRONT), []);
        assert_eq!(pair.back.counter("route_refused"), 3);
        pair.front.hears_nothing(front);
    }
}

#[test]
fn the_gateway_believes_no_other_about_who_may_begin() {
    for (front, back) in BOTH {
        // Its own join says that guests there may; this one's says that they may not.
        let mut pair = Pair::with(|_| (), |config| config.joined[0].begins_there = true);
        pair.back.send_udp(back, 4000, front.at(53), b"?");
        pair.carry();
        pair.front.hears_nothing(front);
        assert_eq!(pair.front.counter("route_refused"), 1);
    }
}

#[test]
fn a_connection_is_its_ends_and_only_its_beginner_begins_it_anew() {
    for (front, back) in BOTH {
        let mut pair = Pair::new();
        let syn = header((4000, 80), Flags::SYN);
        pair.front.send_tcp(front, back.at(80), &syn, b"");
        pair.carry();
        let heard = pair.back.hears_tcp(back);
        assert_eq!((heard.header, heard.src), (syn, front.at(4000)));
        let answer = header((80, 4000), Flags::SYN_ACK);
        pair.back.send_tcp(back, front.at(4000), &answer, b"");
        pair.carry();
        assert_eq!(pair.front.hears_tcp(front).header, answer);
        let again = header((80, 4000), Flags::SYN);
        pair.back.send_tcp(back, front.at(4000), &again, b"");
        pair.carry();
        pair.front.hears_nothing(front);
        assert!(pair.back.hears_tcp(back).header.flags.rst);
    }
}

#[test]
fn a_connection_outlives_a_network_that_forgot_it() {
    for (front, back) in BOTH {
        let mut pair = Pair::new();
        // What the guest that was called says finds no conversation, and nobody resets it.
        let data = header((80, 4000), Flags::ACK);
        pair.back.send_tcp(back, front.at(4000), &data, b"data");
        assert_eq!(routed(&mut pair.back, FRONT), []);
        pair.back.hears_nothing(back);
        // The caller's next segment is enough.
        let probe = header((4000, 80), Flags::ACK);
        pair.front.send_tcp(front, back.at(80), &probe, b"");
        pair.carry();
        assert_eq!(pair.back.hears_tcp(back).header, probe);
        pair.back.send_tcp(back, front.at(4000), &data, b"data");
        pair.carry();
        assert_eq!(pair.front.hears_tcp(front).payload, b"data");
    }
}

#[test]
fn each_gateway_is_a_hop_to_who_counts_them() {
    for (front, back) in BOTH {
        let mut pair = Pair::new();
        let (near, far) = gateways(front);
        let exceeded = if front.ip.is_ipv4() { 11 } else { 3 };
        for (ttl, router) in [(1, near), (2, far)] {
            let probe = udp(front.at(4000), back.at(33_434), b"probe");
            let frame = ip_frame(front, back.ip, IpProtocol::Udp, ttl, probe);
            pair.front.send_frame(front, &frame);
            pair.carry();
            let (kind, code, _, from) = error(&mut pair.front, front);
            assert_eq!((kind, code, from), (exceeded, 0, router));
            pair.back.hears_nothing(back);
        }
    }
}

#[test]
fn a_packet_that_is_too_big_for_the_other_network_is_told_its_mtu() {
    for (front, back) in BOTH {
        let mut pair = Pair::with(|_| (), |config| config.mtu = 1400);
        pair.front.send_udp(front, 4000, back.at(4001), &[7; 1400]);
        pair.carry();
        let expected = if front.ip.is_ipv4() { (3, 4) } else { (2, 0) };
        let (kind, code, mtu, from) = error(&mut pair.front, front);
        assert_eq!(((kind, code), mtu, from), (expected, 1400, gateways(front).1));
        pair.back.hears_nothing(back);
        // The other way there is room.
        pair.back.send_udp(back, 4001, front.at(4000), &[7; 1300]);
        pair.carry();
        assert!(matches!(pair.front.hears(front), Heard::Udp { .. }));
    }
}

#[test]
fn an_ipv4_packet_that_may_be_cut_is_cut() {
    let mut pair = Pair::with(|_| (), |config| config.mtu = 1400);
    let buf = udp(A.at(4000), C.at(4001), &[7; 1400]);
    let mut frame = ip_frame(A, C.ip, IpProtocol::Udp, 64, buf);
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[ETHERNET_LEN..]);
    packet.set_dont_frag(false);
    packet.fill_checksum();
    pair.front.send_frame(A, &frame);
    pair.carry();
    let pieces = pair.back.frames(C);
    let pieces: Vec<_> = pieces
        .iter()
        .map(|frame| Ipv4Packet::new_checked(&frame[ETHERNET_LEN..]).unwrap())
        .collect();
    let [first, second] = &pieces[..] else {
        panic!("{pieces:?}")
    };
    assert!(first.more_frags() && !second.more_frags() && first.ident() == second.ident());
    assert_eq!((first.hop_limit(), second.hop_limit()), (62, 62));
    assert_eq!(first.payload().len() + second.payload().len(), 1408);
    assert_eq!(usize::from(second.frag_offset()), first.payload().len());
}

#[test]
fn fragments_are_judged_whole_and_cut_again() {
    for (front, back) in BOTH {
        let mut pair = Pair::with(|_| (), |config| config.mtu = 1300);
        let whole = udp(front.at(4000), back.at(4001), &[7; 2000]);
        for frame in crate::fragments::frames(IpProtocol::Udp, (front.ip, back.ip), &whole) {
            pair.front.send_frame(front, &frame);
        }
        pair.carry();
        let pieces = pair.back.frames(back);
        assert_eq!(pieces.len(), 2, "{front:?}");
        assert!(pieces.iter().all(|frame| frame.len() <= 1300 + ETHERNET_LEN));
    }
}

#[test]
fn errors_about_a_conversation_pass_and_no_others() {
    let mut pair = Pair::new();
    pair.front.send_udp(A, 4000, C.at(4001), b"?");
    pair.carry();
    let frames = pair.back.frames(C);
    let unreachable = |quoted: &[u8]| {
        let mut buf = FrameBuf::copy_from(&quoted[..28]);
        push_icmpv4(&mut buf, Icmpv4Message::DstUnreachable, 3, [0; 4]);
        buf
    };
    let quoted = &frames[0][ETHERNET_LEN..];
    pair.back.send_ip(C, A.ip, IpProtocol::Icmp, unreachable(quoted));
    pair.carry();
    assert_eq!(error(&mut pair.front, A), (3, 3, 0, C.ip));
    // About a packet that nobody sent; and one about somebody else's.
    let mut other = quoted.to_vec();
    other[21] ^= 1;
    pair.back.send_ip(C, A.ip, IpProtocol::Icmp, unreachable(&other));
    pair.back.send_ip(C, B.ip, IpProtocol::Icmp, unreachable(quoted));
    pair.carry();
    pair.front.hears_nothing(A);
    pair.front.hears_nothing(B);
    pair.back.hears_nothing(C);
}

#[test]
fn nobody_there_is_an_unreachable_host_and_no_network_an_unreachable_one() {
    for (front, absent, host, net) in [(A, back(9), (3, 1), (3, 0)), (A6, back6(9), (1, 3), (1, 0))] {
        let mut pair = Pair::new();
        pair.front.send_udp(front, 4000, SocketAddr::new(absent, 1), b"?");
        pair.carry();
        pair.front.hears_nothing(front);
        pair.back.wait(Duration::from_secs(4));
        pair.carry();
        let (kind, code, _, from) = error(&mut pair.front, front);
        assert_eq!(((kind, code), from), (host, gateways(front).1));
        pair.front.send_udp(front, 4000, SocketAddr::new(absent, 1), b"?");
        let lost = routed(&mut pair.front, BACK).remove(0);
        pair.front.event(Event::RouteLost(lost));
        let (kind, code, _, from) = error(&mut pair.front, front);
        assert_eq!(((kind, code), from), (net, gateways(front).0));
    }
}

#[test]
fn what_is_a_gateways_or_a_groups_does_not_pass() {
    let own = [
        "10.78.0.1",
        "10.78.0.254",
        "10.78.0.0",
        "10.78.0.255",
        "fd78:78::",
        "fd78:78::1",
        "fd78:78::fe",
    ];
    for own in own.map(|text| text.parse::<IpAddr>().unwrap()) {
        let mut pair = Pair::new();
        let front = if own.is_ipv4() { A } else { A6 };
        pair.front.send_udp(front, 4000, SocketAddr::new(own, 53), b"?");
        assert_eq!(routed(&mut pair.front, BACK), [], "{own}");
        assert_eq!(pair.front.counter("destination_forbidden"), 1, "{own}");
    }
    // From its link-local address, which nobody knows there.
    let mut pair = Pair::new();
    let local = Guest {
        ip: "fe80::2".parse().unwrap(),
        ..A
    };
    pair.front.send_udp(local, 4000, C6.at(53), b"?");
    assert_eq!(routed(&mut pair.front, BACK), []);
}

#[test]
fn a_packet_that_names_another_source_is_dropped_on_both_sides() {
    let mut pair = Pair::new();
    let stranger = Guest { ip: C.ip, ..A };
    pair.front.send_udp(stranger, 4000, C.at(53), b"?");
    assert_eq!(pair.front.counter("bad_source_address"), 1);
    // As if the other network had let it pass.
    for src in ["10.77.0.1", "10.78.0.3", "192.0.2.1", "127.0.0.1"] {
        let liar = Guest {
            ip: src.parse().unwrap(),
            ..A
        };
        let frame = ip_frame(liar, C.ip, IpProtocol::Udp, 64, udp(liar.at(1), C.at(2), b""));
        let packet = RoutedPacket {
            packet: FrameBuf::copy_from(&frame[ETHERNET_LEN..]),
            offload: Offload::default(),
            origin: 2,
            was_cut: false,
        };
        pair.back.event(Event::Routed { from: FRONT, packet });
        pair.back.hears_nothing(C);
    }
    assert_eq!(pair.back.counter("bad_source_address"), 4);
}

#[test]
fn rules_of_the_senders_network_are_asked_and_internal_networks_are_inside() {
    let rule = |verdict| Rule {
        verdict,
        from: None,
        to: Destination::Any,
        ports: Some(5432..=5432),
        transport: None,
    };
    let mut pair = Pair::with(
        |config| {
            config.policy.internal = true;
            config.policy.rules = vec![rule(Verdict::Allow)];
            config.policy.default_verdict = Verdict::Deny;
        },
        |config| config.policy.internal = true,
    );
    for (port, passes) in [(5432, true), (22, false)] {
        let syn = header((4000, port), Flags::SYN);
        pair.front.send_tcp(A, C.at(port), &syn, b"");
        pair.carry();
        assert_eq!(pair.back.heard(C).len(), usize::from(passes), "{port}");
        assert_eq!(pair.front.heard(A).len(), usize::from(!passes), "{port}");
    }
    assert_eq!(pair.front.counter("denied_by_default"), 1);
}

#[test]
fn guests_are_told_the_way_by_dhcp_and_advertisements_but_for_those_who_are_there() {
    let told = |on_both: &[atoll_wire::Mac]| {
        let mut net = uplinks::net(Mode::User, |config| {
            config.ipv6 = addresses(77).prefix;
            config.joined = vec![JoinedNetwork {
                on_both: on_both.to_vec(),
                ..joined(BACK, 78, false)
            }];
        });
        let offer = uplinks::offered(&mut net, A).unwrap();
        let routes = match offer.opts().get(OptionCode::ClasslessStaticRoute) {
            Some(DhcpOption::ClasslessStaticRoute(routes)) => routes.clone(),
            _ => Vec::new(),
        };
        let routes: Vec<String> = routes.iter().map(|(to, via)| format!("{to} {via}")).collect();
        net.wait(Duration::from_secs(16));
        let option = [24, 2, 64, 0, 0, 0, 7, 8, 0xfd, 0x78, 0, 0x78, 0, 0, 0, 0];
        let frames = net.frames(A);
        let is_advertised = frames
            .iter()
            .any(|frame| frame.windows(option.len()).any(|bytes| bytes == option));
        (routes, is_advertised)
    };
    let expected = ["10.78.0.0/24 10.77.0.1", "0.0.0.0/0 10.77.0.1"].map(str::to_owned);
    assert_eq!(told(&[]), (expected.to_vec(), true));
    assert_eq!(told(&[A.mac]), (Vec::new(), false));
}

#[test]
fn a_guest_that_scans_leaves_the_others_room() {
    let mut pair = Pair::new();
    for last in 300..600 {
        pair.front
            .send_udp(A6, 4000, SocketAddr::new(back6(last), 1), b"?");
    }
    pair.carry();
    assert_eq!(pair.back.counter("neighbor_unresolved"), 300 - 16);
    // Another guest asks, and the guest in question answers.
    pair.front.send_udp(B6, 4000, SocketAddr::new(back6(3), 1), b"?");
    pair.carry();
    pair.back.heard(B);
    let late = Guest { ip: back6(3), ..B };
    bench6::solicit(&mut pair.back, late, back6(1));
    let heard = pair.back.heard(B);
    assert!(
        heard.iter().any(|heard| matches!(heard, Heard::Udp { .. })),
        "{heard:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever guests of both send, nobody there hears of what it did not begin, and the table is bounded.
    #[test]
    fn only_answers_pass_to_who_may_begin(packets in prop::collection::vec((0_usize..8, 1_u16..4, 1_u16..4), 1..60)) {
        let mut pair = Pair::new();
        let mut begun = std::collections::BTreeSet::new();
        for (what, src, dst) in packets {
            let flags = [Flags::SYN, Flags::ACK, Flags::FIN_ACK, Flags::RST][what % 4];
            if what < 4 {
                pair.front.send_tcp(A, C.at(dst), &header((src, dst), flags), b"");
                if flags != Flags::RST {
                    begun.insert((src, dst));
                }
            } else {
                pair.back.send_tcp(C, A.at(dst), &header((src, dst), flags), b"");
            }
            pair.carry();
            for heard in pair.front.heard(A) {
                let Heard::Tcp(segment) = heard else { panic!("{heard:?}") };
                prop_assert!(begun.contains(&(segment.dst.port(), segment.src.port())), "{segment:?}");
                prop_assert_ne!(segment.header.flags, Flags::SYN);
            }
            pair.back.heard(C);
        }
        let known = pair.front.engine.snapshot(pair.front.now).conversations;
        prop_assert!(known <= 9);
    }

    /// Whatever the other network hands over, nothing panics and nothing reaches anybody but guests.
    #[test]
    fn no_packet_of_the_other_network_is_too_strange(
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        start in prop::sample::select(vec![vec![], vec![0x45], vec![0x60], vec![0x46, 0, 0, 40]]),
        was_cut in any::<bool>(),
    ) {
        let mut pair = Pair::new();
        let bytes: Vec<u8> = start.into_iter().chain(bytes).collect();
        let packet = RoutedPacket {
            packet: FrameBuf::copy_from(&bytes),
            offload: Offload::default(),
            origin: 1,
            was_cut,
        };
        pair.back.event(Event::Routed { from: FRONT, packet: packet.clone() });
        pair.back.event(Event::Routed { from: JoinId(9), packet: packet.clone() });
        pair.back.event(Event::RouteLost(packet));
        prop_assert_eq!(pair.back.heard(B), []);
    }
}
