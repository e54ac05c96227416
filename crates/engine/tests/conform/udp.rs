//! UDP flows and forwards.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{Action, Command, Event, FlowId, ForwardId, ForwardTarget};
use atoll_wire::{FrameBuf, IpProtocol};

use crate::bench::{A, ALIAS, B, GATEWAY, Guest, Heard, METADATA, Net, WORLD, ip_frame, udp};

const PEER: SocketAddr = SocketAddr::new(WORLD, 3478);
const OTHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5)), 9);
const FORWARD: ForwardId = ForwardId(1);

fn open(net: &mut Net, to: SocketAddr) -> FlowId {
    net.send_udp(A, 5000, to, b"x");
    match net.actions()[..] {
        [Action::UdpOpen { flow, .. }, Action::UdpSend { .. }] => flow,
        ref other => panic!("a socket was expected: {other:?}"),
    }
}

fn received(net: &mut Net, flow: FlowId, from: SocketAddr, payload: &[u8]) {
    net.event(Event::UdpReceived {
        flow,
        from,
        datagrams: vec![FrameBuf::copy_from(payload).into()],
    });
}

fn datagram(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Heard {
    Heard::Udp {
        src,
        dst,
        payload: payload.to_vec(),
    }
}

#[test]
fn a_guests_port_is_one_socket_whoever_it_talks_to() {
    let mut net = Net::new();
    net.send_udp(A, 5000, PEER, b"one");
    let actions = net.actions();
    let Action::UdpOpen { flow, .. } = actions[0] else {
        panic!("{actions:?}")
    };
    let send = |to, payload: &'static [u8]| Action::UdpSend {
        flow,
        to,
        payload: payload.into(),
        segment: None,
    };
    assert_eq!(actions[1..], [send(PEER, b"one")]);
    net.send_udp(A, 5000, OTHER, b"two");
    assert_eq!(net.action(), send(OTHER, b"two"));
    net.send_udp(A, 5001, PEER, b"x");
    net.send_udp(B, 5000, PEER, b"x");
    let opened = net
        .actions()
        .into_iter()
        .filter(|action| matches!(action, Action::UdpOpen { .. }))
        .count();
    assert_eq!(opened, 2);
}

#[test]
fn a_reply_from_any_peer_reaches_the_guest() {
    let mut net = Net::new();
    let flow = open(&mut net, PEER);
    for peer in [PEER, OTHER] {
        received(&mut net, flow, peer, b"reply");
        assert_eq!(net.hears(A), datagram(peer, A.at(5000), b"reply"));
    }
}

#[test]
fn an_empty_datagram_is_one_too() {
    let mut net = Net::new();
    net.send_udp(A, 5000, PEER, b"");
    let actions = net.actions();
    assert!(matches!(&actions[1], Action::UdpSend { payload, .. } if payload.is_empty()));
    let Action::UdpOpen { flow, .. } = actions[0] else {
        panic!("{actions:?}")
    };
    received(&mut net, flow, PEER, b"");
    assert_eq!(net.hears(A), datagram(PEER, A.at(5000), b""));
}

#[test]
fn the_hosts_loopback_is_reached_and_heard_only_when_allowed() {
    let host = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
    let mut net = Net::with(|config| config.host_loopback = true);
    net.send_udp(A, 5000, SocketAddr::new(ALIAS, 53), b"x");
    let actions = net.actions();
    let Action::UdpOpen { flow, .. } = actions[0] else {
        panic!("{actions:?}")
    };
    assert!(matches!(actions[1], Action::UdpSend { to, .. } if to == host));
    received(&mut net, flow, host, b"reply");
    assert_eq!(
        net.hears(A),
        datagram(SocketAddr::new(ALIAS, 53), A.at(5000), b"reply")
    );

    let mut net = Net::new();
    let flow = open(&mut net, PEER);
    received(&mut net, flow, host, b"reply");
    net.hears_nothing(A);
    assert_eq!(net.counter("host_datagram_dropped"), 1);
}

#[test]
fn a_zero_checksum_is_no_checksum() {
    let mut net = Net::new();
    let mut buf = udp(A.at(5000), PEER, b"x");
    buf.payload_mut()[6..8].fill(0);
    net.send_frame(A, &ip_frame(A, WORLD, IpProtocol::Udp, 64, buf));
    assert!(matches!(
        net.actions()[..],
        [Action::UdpOpen { .. }, Action::UdpSend { .. }]
    ));
}

#[test]
fn padding_after_the_datagram_is_no_payload() {
    let mut net = Net::new();
    let mut frame = ip_frame(A, WORLD, IpProtocol::Udp, 64, udp(A.at(5000), PEER, b"x"));
    frame.resize(60, 0xee);
    net.send_frame(A, &frame);
    assert!(matches!(&net.actions()[1], Action::UdpSend { payload, .. } if &payload[..] == b"x"));
}

#[test]
fn a_datagram_larger_than_the_link_comes_in_fragments() {
    let mut net = Net::new();
    let flow = open(&mut net, PEER);
    received(&mut net, flow, PEER, &[1; 1473]);
    assert_eq!(net.heard(A).len(), 2);
    received(&mut net, flow, PEER, &[1; 1472]);
    assert_eq!(net.hears(A), datagram(PEER, A.at(5000), &[1; 1472]));
}

#[test]
fn an_idle_flow_closes_and_a_used_one_does_not() {
    let mut net = Net::new();
    let flow = open(&mut net, PEER);
    net.wait(Duration::from_secs(200));
    received(&mut net, flow, PEER, b"still here");
    net.wait(Duration::from_secs(200));
    net.asks_nothing();
    net.wait(Duration::from_secs(101));
    assert_eq!(net.action(), Action::Close(flow));
    received(&mut net, flow, PEER, b"too late");
    assert_eq!(net.heard(A).len(), 1);
    assert_ne!(open(&mut net, PEER), flow);
}

#[test]
fn a_full_table_closes_the_oldest_flow_of_the_guest_that_has_most() {
    let mut net = Net::with(|config| config.limits.flows = 3);
    net.send_udp(B, 1, PEER, b"");
    net.send_udp(A, 1, PEER, b"");
    let oldest = net
        .actions()
        .into_iter()
        .filter_map(|action| match action {
            Action::UdpOpen { flow, .. } => Some(flow),
            _ => None,
        })
        .last()
        .unwrap();
    net.send_udp(A, 2, PEER, b"");
    net.actions();
    net.send_udp(A, 3, PEER, b"");
    let actions = net.actions();
    assert!(actions.contains(&Action::Close(oldest)), "{actions:?}");
    assert_eq!(net.counter("flow_evicted"), 1);
    assert_eq!(net.flows().len(), 3);
}

// Forwards.

fn forwarding(guest: ForwardTarget) -> Net {
    let mut net = Net::new();
    net.command(Command::AddForward {
        forward: FORWARD,
        guest,
        port: 5353,
    });
    net
}

fn forwarded(net: &mut Net, from: SocketAddr, payload: &[u8]) {
    net.event(Event::UdpForwarded {
        forward: FORWARD,
        from,
        datagrams: vec![FrameBuf::copy_from(payload).into()],
    });
}

fn client(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn a_forwards_client_keeps_its_port_and_hears_the_answer() {
    let mut net = forwarding(ForwardTarget::Address(A.ip));
    forwarded(&mut net, client(6000), b"question");
    let seen = SocketAddr::new(GATEWAY, 6000);
    assert_eq!(net.hears(A), datagram(seen, A.at(5353), b"question"));
    net.asks_nothing();
    net.send_udp(A, 5353, seen, b"answer");
    let answer = Action::UdpForwardSend {
        forward: FORWARD,
        to: client(6000),
        payload: b"answer".as_slice().into(),
        segment: None,
    };
    assert_eq!(net.action(), answer);
}

#[test]
fn two_clients_with_one_port_are_told_apart() {
    let mut net = forwarding(ForwardTarget::Address(A.ip));
    let second = SocketAddr::from(([192, 0, 2, 1], 6000));
    for from in [client(6000), second] {
        forwarded(&mut net, from, b"x");
    }
    let sources: Vec<SocketAddr> = net
        .heard(A)
        .into_iter()
        .map(|heard| match heard {
            Heard::Udp { src, .. } => src,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        (sources[0].ip(), sources[1].ip(), sources[0].port()),
        (GATEWAY, GATEWAY, 6000)
    );
    assert_ne!(sources[1].port(), 6000);
    net.send_udp(A, 5353, sources[1], b"answer");
    assert!(matches!(net.action(), Action::UdpForwardSend { to, .. } if to == second));
}

#[test]
fn a_client_on_a_low_port_is_seen_on_a_high_one() {
    let mut net = forwarding(ForwardTarget::Address(A.ip));
    forwarded(&mut net, client(53), b"x");
    assert!(matches!(net.hears(A), Heard::Udp { src, .. } if src.port() >= 1024));
}

#[test]
fn a_forward_to_a_name_follows_the_name() {
    let mut net = forwarding(ForwardTarget::Name("db".into()));
    forwarded(&mut net, client(6000), b"lost");
    assert_eq!(net.counter("host_datagram_dropped"), 1);
    for guest in [A, B] {
        net.command(Command::SetName {
            name: "db".into(),
            addresses: vec![guest.ip],
        });
        forwarded(&mut net, client(6000), b"x");
        assert_eq!(
            net.hears(guest),
            datagram(SocketAddr::new(GATEWAY, 6000), guest.at(5353), b"x")
        );
    }
}

#[test]
fn a_forwarded_datagram_waits_for_arp() {
    let mut net = Net::of_strangers(|_| ());
    net.command(Command::AddForward {
        forward: FORWARD,
        guest: ForwardTarget::Address(A.ip),
        port: 5353,
    });
    forwarded(&mut net, client(6000), b"x");
    assert!(matches!(net.hears(A), Heard::Arp { target, .. } if target.1 == A.ip));
    net.send_arp(A, atoll_wire::ArpOperation::Reply, A.ip, GATEWAY);
    assert!(matches!(net.hears(A), Heard::Udp { .. }));
}

#[test]
fn a_guest_that_does_not_answer_arp_is_asked_three_times() {
    let mut net = Net::of_strangers(|_| ());
    net.command(Command::AddForward {
        forward: FORWARD,
        guest: ForwardTarget::Address(A.ip),
        port: 5353,
    });
    forwarded(&mut net, client(6000), b"x");
    net.wait(Duration::from_secs(10));
    assert_eq!(net.heard(A).len(), 3);
    assert_eq!(net.counter("neighbor_unresolved"), 1);
}

#[test]
fn a_client_keeps_its_port_when_the_flow_to_the_names_earlier_guest_ends() {
    let mut net = forwarding(ForwardTarget::Name("db".into()));
    for guest in [A, B] {
        net.command(Command::SetName {
            name: "db".into(),
            addresses: vec![guest.ip],
        });
        forwarded(&mut net, client(6000), b"x");
        net.heard(guest);
        net.wait(Duration::from_secs(200));
    }
    // The flow to A is over, that to B is in use.
    net.wait(Duration::from_secs(1));
    assert_eq!(net.flows().len(), 2 - 1);
    forwarded(&mut net, client(6000), b"y");
    assert_eq!(
        net.hears(B),
        datagram(SocketAddr::new(GATEWAY, 6000), B.at(5353), b"y")
    );
}

// The gateway's own services.

#[test]
fn dns_is_answered_at_the_gateway_and_nowhere_else() {
    let mut net = Net::with(|config| {
        config
            .names
            .insert("registry".into(), vec![IpAddr::V4(Ipv4Addr::new(10, 77, 0, 20))]);
    });
    let mut question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    question.extend(b"\x08registry\x05atoll\x08internal\0\0\x01\0\x01");
    let dns = SocketAddr::new(GATEWAY, 53);
    net.send_udp(A, 5000, dns, &question);
    match net.hears(A) {
        Heard::Udp { src, dst, payload } => {
            assert_eq!((src, dst, &payload[..2]), (dns, A.at(5000), &b"\x12\x34"[..]));
            assert!(payload.ends_with(&[10, 77, 0, 20]));
        }
        other => panic!("an answer was expected: {other:?}"),
    }
    for other in [ALIAS, METADATA] {
        net.send_udp(A, 5000, SocketAddr::new(other, 53), &question);
        assert_eq!(net.hears_icmp(A).code, 3);
    }
    net.asks_nothing();
}

#[test]
fn a_name_server_of_the_world_is_an_ordinary_peer() {
    let mut net = Net::new();
    open(&mut net, SocketAddr::new(WORLD, 53));
    assert_eq!(net.flows(), [("udp", "open")]);
}

#[test]
fn a_flow_that_was_just_used_is_not_the_one_that_makes_room() {
    let mut net = Net::with(|config| config.limits.flows = 2);
    let first = open(&mut net, PEER);
    net.send_udp(A, 5001, PEER, b"");
    net.send_udp(A, 5000, PEER, b"");
    net.actions();
    net.send_udp(A, 5002, PEER, b"");
    assert!(!net.actions().contains(&Action::Close(first)));
    assert_eq!(net.counter("flow_evicted"), 1);
}

#[test]
fn a_flow_that_only_receives_is_in_use() {
    let mut net = Net::with(|config| config.limits.flows = 2);
    let first = open(&mut net, PEER);
    net.send_udp(A, 5001, PEER, b"");
    net.event(Event::UdpReceived {
        flow: first,
        from: PEER,
        datagrams: vec![FrameBuf::copy_from(b"news").into()],
    });
    net.actions();
    net.send_udp(A, 5002, PEER, b"");
    assert!(!net.actions().contains(&Action::Close(first)));
    assert_eq!(net.counter("flow_evicted"), 1);
}

#[test]
fn a_dhcp_client_is_heard_from_any_port_and_answered_at_its_own() {
    let mut discover = vec![0; 240];
    discover[..3].copy_from_slice(&[1, 1, 6]);
    discover[28..34].copy_from_slice(&A.mac.0);
    discover[236..].copy_from_slice(&[99, 130, 83, 99]);
    discover.extend([53, 1, 1, 255]);
    let mut net = Net::of_strangers(|_| ());
    let newcomer = Guest {
        ip: Ipv4Addr::UNSPECIFIED.into(),
        ..A
    };
    for port in [68, 1068] {
        let everybody = SocketAddr::new(Ipv4Addr::BROADCAST.into(), 67);
        net.send_udp(newcomer, port, everybody, &discover);
        match net.hears(A) {
            Heard::Udp { src, dst, .. } => {
                assert_eq!((src, dst.port()), (SocketAddr::new(GATEWAY, 67), 68));
            }
            other => panic!("an offer was expected: {other:?}"),
        }
    }
}
