//! Neighbor discovery: the gateway answers for its own addresses, defends them, and asks for its guests'.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use atoll_engine::{Action, Event};
use atoll_wire::{FrameBuf, Mac, ndp};

use crate::bench::{A, B, GATEWAY_MAC, Guest, Heard, Net};
use crate::bench6::{
    A6, ALIAS6, B6, GATEWAY6, Icmp6, LINK_LOCAL, WORLD6, frame, hears_icmp6, icmp6, introduce, net,
    net_of_strangers, own, send_discovery, solicit, v6,
};

const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// The gateway's word that `target` is at its MAC address.
fn advertisement(target: IpAddr, dst: IpAddr, flags: u8) -> Icmp6 {
    let mut data = v6(target).octets().to_vec();
    data.extend([2, 1]);
    data.extend(GATEWAY_MAC.0);
    Icmp6 {
        src: target,
        dst,
        hop_limit: 255,
        kind: ndp::kind::NEIGHBOR_ADVERTISEMENT,
        code: 0,
        rest: [flags, 0, 0, 0],
        data,
    }
}

/// The guest's word that it has `target`, to the gateway.
fn advertise(net: &mut Net, guest: Guest, target: IpAddr, owner: Mac) {
    let mut data = v6(target).octets().to_vec();
    data.extend([2, 1]);
    data.extend(owner.0);
    let pair = (guest.ip, GATEWAY6);
    let buf = icmp6(pair, ndp::kind::NEIGHBOR_ADVERTISEMENT, [0x60, 0, 0, 0], &data);
    send_discovery(net, guest, pair, 255, buf);
}

/// Duplicate address detection.
fn probe(net: &mut Net, guest: Guest, target: IpAddr) {
    let group = IpAddr::from(ndp::solicited_node(v6(target)));
    let octets = v6(target).octets();
    let buf = icmp6((NOBODY, group), ndp::kind::NEIGHBOR_SOLICITATION, [0; 4], &octets);
    send_discovery(net, guest, (NOBODY, group), 255, buf);
}

fn addresses(net: &Net, guest: Guest) -> Vec<IpAddr> {
    let ports = net.engine.snapshot(net.now).ports;
    let port = ports.into_iter().find(|port| port.port == guest.port);
    port.unwrap().addresses
}

#[test]
fn the_networks_own_addresses_are_answered_for() {
    let mut net = net();
    for target in [GATEWAY6, ALIAS6, LINK_LOCAL] {
        solicit(&mut net, A6, target);
        let expected = advertisement(target, A6.ip, 0xe0);
        assert_eq!(hears_icmp6(&mut net, A), expected);
        net.heard(B);
    }
}

#[test]
fn nobody_elses_address_is_answered_for() {
    let mut net = net();
    for target in [B6.ip, own(9), own(0), WORLD6, "fe80::77".parse().unwrap()] {
        solicit(&mut net, A6, target);
        net.hears_nothing(A);
    }
}

#[test]
fn an_own_address_is_defended_against_who_probes_for_it() {
    for target in [GATEWAY6, ALIAS6, LINK_LOCAL] {
        let mut net = net_of_strangers();
        probe(&mut net, A6, target);
        let expected = advertisement(target, ndp::ALL_NODES.into(), 0xa0);
        assert_eq!(hears_icmp6(&mut net, A), expected);
        let heard = net.heard(B);
        assert_eq!(heard.last(), Some(&Heard::Icmp6(expected)));
        assert_eq!(addresses(&net, A), [] as [IpAddr; 0]);
    }
}

#[test]
fn a_probe_tells_whose_the_address_will_be_and_takes_it_from_nobody() {
    let mut net = net_of_strangers();
    probe(&mut net, A6, A6.ip);
    assert_eq!(addresses(&net, A), [A6.ip]);
    probe(&mut net, B6, A6.ip);
    assert_eq!(addresses(&net, A), [A6.ip]);
    assert_eq!(addresses(&net, B), [] as [IpAddr; 0]);
}

#[test]
fn solicitations_and_advertisements_tell_where_an_address_is() {
    let mut net = net_of_strangers();
    let link_local = Guest {
        ip: "fe80::2".parse().unwrap(),
        ..A
    };
    introduce(&mut net, A6);
    introduce(&mut net, link_local);
    assert_eq!(addresses(&net, A), [A6.ip, link_local.ip]);
    advertise(&mut net, B6, A6.ip, B.mac);
    assert_eq!(addresses(&net, A), [link_local.ip], "what is said last holds");
    assert_eq!(addresses(&net, B), [A6.ip]);
}

#[test]
fn an_own_address_that_a_guest_claims_is_not_believed() {
    let mut net = net();
    for target in [GATEWAY6, ALIAS6, LINK_LOCAL] {
        let before = net.counter("bad_source_address");
        advertise(&mut net, A6, target, A.mac);
        let liar = Guest { ip: target, ..A };
        solicit(&mut net, liar, GATEWAY6);
        net.hears_nothing(A);
        assert_eq!(net.counter("bad_source_address"), before + 2);
    }
    assert_eq!(addresses(&net, A), [A.ip, A6.ip]);
}

#[test]
fn foreign_addresses_are_not_learnt() {
    let mut net = net();
    for target in [WORLD6, own(0), "fe81::2".parse().unwrap(), "::1".parse().unwrap()] {
        advertise(&mut net, A6, target, A.mac);
    }
    assert_eq!(addresses(&net, A), [A.ip, A6.ip]);
}

#[test]
fn what_is_said_for_another_station_is_refused() {
    let mut net = net();
    advertise(&mut net, A6, own(9), B.mac);
    let buf = ndp::neighbor_solicitation((v6(own(9)), B.mac), v6(GATEWAY6));
    let liar = Guest { ip: own(9), ..A };
    let group = ndp::solicited_node(v6(GATEWAY6)).into();
    send_discovery(&mut net, liar, (own(9), group), 255, buf);
    net.hears_nothing(A);
    assert_eq!(net.counter("bad_source_mac"), 2);
    assert_eq!(addresses(&net, A), [A.ip, A6.ip]);
}

#[test]
fn what_came_through_a_router_is_refused() {
    let mut net = net();
    let question = || ndp::neighbor_solicitation((v6(A6.ip), A.mac), v6(GATEWAY6));
    let group = IpAddr::from(ndp::solicited_node(v6(GATEWAY6)));
    for hop_limit in [0, 1, 64, 254] {
        send_discovery(&mut net, A6, (A6.ip, group), hop_limit, question());
    }
    net.hears_nothing(A);
    assert_eq!(net.counter("malformed"), 4);
    let mut bent = question();
    bent.payload_mut()[2] ^= 1;
    send_discovery(&mut net, A6, (A6.ip, group), 255, bent);
    net.hears_nothing(A);
    assert_eq!(net.counter("bad_checksum"), 1);
}

/// A UDP flow of A's, from where it speaks to who asks for it.
fn spoken_to(net: &mut Net) {
    net.send_udp(A6, 5000, (WORLD6, 9).into(), b"x");
    let Action::UdpOpen { flow, .. } = net.actions()[0] else {
        panic!("a flow was expected")
    };
    advertise(net, B6, A6.ip, B.mac);
    net.event(Event::PortDetached(B.port));
    net.heard(A);
    net.event(Event::UdpReceived {
        flow,
        from: (WORLD6, 9).into(),
        datagrams: vec![FrameBuf::copy_from(b"reply").into()],
    });
}

fn question() -> Icmp6 {
    let mut data = v6(A6.ip).octets().to_vec();
    data.extend([1, 1]);
    data.extend(GATEWAY_MAC.0);
    Icmp6 {
        src: GATEWAY6,
        dst: ndp::solicited_node(v6(A6.ip)).into(),
        hop_limit: 255,
        kind: ndp::kind::NEIGHBOR_SOLICITATION,
        code: 0,
        rest: [0; 4],
        data,
    }
}

#[test]
fn a_guest_that_is_not_found_is_asked_for_and_gets_what_waited() {
    let mut net = net();
    spoken_to(&mut net);
    assert_eq!(hears_icmp6(&mut net, A), question());
    advertise(&mut net, A6, A6.ip, A.mac);
    let Heard::Udp { src, payload, .. } = net.hears(A) else {
        panic!("the datagram was expected")
    };
    assert_eq!((src, &payload[..]), ((WORLD6, 9).into(), &b"reply"[..]));
}

#[test]
fn who_does_not_answer_is_asked_three_times() {
    let mut net = net();
    net.wait(Duration::from_secs(60));
    spoken_to(&mut net);
    let mut asked = net.heard(A);
    net.wait(Duration::from_secs(10));
    asked.extend(net.heard(A));
    assert_eq!(asked, vec![Heard::Icmp6(question()); 3]);
    assert_eq!(net.counter("neighbor_unresolved"), 1);
}

#[test]
fn other_routers_redirects_and_reports_are_heard_by_nobody_here() {
    let mut net = net();
    let all: IpAddr = ndp::ALL_NODES.into();
    for kind in [130, 131, 132, 134, 137, 143, 200] {
        let buf = icmp6((A6.ip, all), kind, [0; 4], &[0; 40]);
        send_discovery(&mut net, A6, (A6.ip, all), 255, buf);
        let buf = icmp6((A6.ip, GATEWAY6), kind, [0; 4], &[0; 40]);
        let bytes = frame(A6, (A6.ip, GATEWAY6), (atoll_wire::IpProtocol::Icmpv6, 255), buf);
        net.send_frame(A, &bytes);
        net.hears_nothing(A);
    }
    assert_eq!(addresses(&net, A), [A.ip, A6.ip]);
}
