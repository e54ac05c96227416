//! What IPv6 has of its own: where packets may not go, extension headers, and the errors of ICMPv6.

use std::net::{IpAddr, SocketAddr};

use atoll_engine::{Action, Event, FlowId, HostError};
use atoll_wire::{FrameBuf, IpProtocol};

use crate::bench::{A, Guest, Net, udp};
use crate::bench6::{
    A6, ALIAS6, GATEWAY6, LINK_LOCAL, WORLD6, error, frame, hears_icmp6, icmp6, introduce, net, own,
};
use crate::connection::{ISS, MODERN, syn};

const PEER: SocketAddr = SocketAddr::new(WORLD6, 33434);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn open(net: &mut Net) -> FlowId {
    net.send_udp(A6, 5000, PEER, b"x");
    let Action::UdpOpen { flow, .. } = net.actions()[0] else {
        panic!("a flow was expected")
    };
    flow
}

#[test]
fn what_must_never_be_a_host_socket_is_refused_with_its_reason() {
    let prohibited = [
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:198.51.100.7",
        "fe80::77",
    ];
    let nobody = ["fd77:77::9", "fd77:77::", "fd77:77::ffff:1"];
    let all = prohibited
        .map(|dst| (dst, 1))
        .into_iter()
        .chain(nobody.map(|dst| (dst, 3)));
    for host_loopback in [false, true] {
        for (dst, code) in all.clone() {
            let mut net = crate::bench6::net_with(|config| config.host_loopback = host_loopback);
            let expected = (1, code, [0; 4], GATEWAY6);
            net.send_udp(A6, 5000, (ip(dst), 80).into(), b"x");
            assert_eq!(error(&mut net, A), expected, "{dst}");
            net.send_echo(A6, ip(dst), (1, 1), b"");
            assert_eq!(error(&mut net, A), expected, "{dst}");
            net.send_tcp(
                A6,
                (ip(dst), crate::connection::SERVER.port()).into(),
                &syn(ISS, MODERN),
                b"",
            );
            assert_eq!(error(&mut net, A), expected, "{dst}");
            net.asks_nothing();
        }
    }
}

#[test]
fn what_goes_to_a_group_is_never_answered() {
    let mut net = net();
    for dst in ["ff02::1", "ff02::fb", "ff05::2", "ff0e::1"] {
        let packet = |protocol, buf| {
            let mut bytes = frame(A6, (A6.ip, ip(dst)), (protocol, 1), buf);
            bytes[..6].copy_from_slice(&crate::bench::GATEWAY_MAC.0);
            bytes
        };
        let udp = packet(IpProtocol::Udp, udp(A6.at(5000), (ip(dst), 5353).into(), b"x"));
        let echo = packet(
            IpProtocol::Icmpv6,
            crate::bench6::echo((A6.ip, ip(dst)), (1, 1), b""),
        );
        let other = packet(IpProtocol::Unknown(99), FrameBuf::zeroed(8));
        for mut bytes in [udp, echo, other] {
            net.send_frame(A, &bytes);
            bytes[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
            net.send_frame(A, &bytes);
            net.hears_nothing(A);
            net.asks_nothing();
        }
    }
}

#[test]
fn the_last_hop_is_the_gateways_global_address() {
    let mut net = net();
    for (dst, hop_limit, is_told) in [(WORLD6, 1, true), (WORLD6, 0, true), (GATEWAY6, 1, false)] {
        let buf = udp(A6.at(5000), (dst, 9999).into(), b"x");
        let bytes = frame(A6, (A6.ip, dst), (IpProtocol::Udp, hop_limit), buf);
        net.send_frame(A, &bytes);
        let heard = hears_icmp6(&mut net, A);
        let expected = if is_told { (3, 0, GATEWAY6) } else { (1, 4, dst) };
        assert_eq!((heard.kind, heard.code, heard.src), expected);
        assert_eq!(heard.quote().1, dst);
    }
    net.asks_nothing();
}

#[test]
fn what_host_sockets_report_is_told_as_a_router_would() {
    let router = ip("2001:db8:5::1");
    let outcomes = [
        (HostError::Refused, Some((1, 4, [0; 4], WORLD6))),
        (HostError::HostUnreachable, Some((1, 3, [0; 4], GATEWAY6))),
        (HostError::NetUnreachable, Some((1, 0, [0; 4], GATEWAY6))),
        (HostError::Prohibited, Some((1, 1, [0; 4], GATEWAY6))),
        (
            HostError::TooBig { mtu: Some(1400) },
            Some((2, 0, [0, 0, 5, 0x78], GATEWAY6)),
        ),
        (
            HostError::TooBig { mtu: Some(900) },
            Some((2, 0, [0, 0, 5, 0], GATEWAY6)),
        ),
        (
            HostError::TooBig { mtu: None },
            Some((2, 0, [0, 0, 5, 0], GATEWAY6)),
        ),
        (
            HostError::TimeExceeded { router: Some(router) },
            Some((3, 0, [0; 4], router)),
        ),
        (
            HostError::TimeExceeded { router: None },
            Some((3, 0, [0; 4], GATEWAY6)),
        ),
        (
            HostError::TimeExceeded {
                router: Some(ip("fe80::9")),
            },
            Some((3, 0, [0; 4], GATEWAY6)),
        ),
        (
            HostError::TimeExceeded {
                router: Some(ip("192.0.2.1")),
            },
            Some((3, 0, [0; 4], GATEWAY6)),
        ),
        (HostError::TimedOut, None),
        (HostError::Other, None),
    ];
    for (failure, expected) in outcomes {
        let mut net = net();
        let flow = open(&mut net);
        net.event(Event::UdpRefused {
            flow,
            to: PEER,
            error: failure,
        });
        match expected {
            Some(expected) => assert_eq!(error(&mut net, A), expected, "{failure:?}"),
            None => net.hears_nothing(A),
        }
    }
}

#[test]
fn an_error_quotes_as_much_as_every_link_carries() {
    let mut net = net();
    net.send_udp(A6, 5000, (GATEWAY6, 9999).into(), &[7; 1400]);
    let heard = hears_icmp6(&mut net, A);
    assert_eq!(heard.data.len(), 1280 - 48);
    let (src, dst, protocol, first) = heard.quote();
    assert_eq!((src, dst, protocol), (A6.ip, GATEWAY6, IpProtocol::Udp));
    assert_eq!(first[..4], [0x13, 0x88, 0x27, 0x0f]);
}

#[test]
fn an_unknown_transport_is_unknown_to_us_and_prohibited_beyond() {
    let mut net = net();
    for own in [GATEWAY6, ALIAS6, LINK_LOCAL] {
        net.send_ip(A6, own, IpProtocol::Unknown(99), FrameBuf::zeroed(8));
        assert_eq!(error(&mut net, A), (4, 1, [0, 0, 0, 6], own));
    }
    let behind = [[99, 0, 1, 4, 0, 0, 0, 0], [0; 8]].concat();
    net.send_ip(
        A6,
        GATEWAY6,
        IpProtocol::Unknown(60),
        FrameBuf::copy_from(&behind),
    );
    assert_eq!(error(&mut net, A), (4, 1, [0, 0, 0, 40], GATEWAY6));
    for dst in [WORLD6, own(9)] {
        net.send_ip(A6, dst, IpProtocol::Unknown(132), FrameBuf::zeroed(8));
        assert_eq!(error(&mut net, A), (1, 1, [0; 4], GATEWAY6));
    }
}

/// A datagram to the peer behind one extension header.
fn behind(kind: u8, header: [u8; 7]) -> (IpProtocol, FrameBuf) {
    let mut buf = udp(A6.at(5000), PEER, b"x");
    buf.push_header(7).copy_from_slice(&header);
    buf.push_header(1)[0] = 17;
    (IpProtocol::Unknown(kind), buf)
}

#[test]
fn headers_that_may_be_skipped_are_and_others_are_told_about() {
    let mut net = net();
    let sent = |net: &mut Net, (protocol, buf): (IpProtocol, FrameBuf)| {
        net.send_ip(A6, WORLD6, protocol, buf);
        net.actions()
            .iter()
            .filter(|action| matches!(action, Action::UdpSend { .. }))
            .count()
    };
    assert_eq!(sent(&mut net, behind(0, [0, 1, 4, 0, 0, 0, 0])), 1, "padding");
    assert_eq!(
        sent(&mut net, behind(60, [0, 0x1e, 4, 0, 0, 0, 0])),
        1,
        "an option to be skipped"
    );
    assert_eq!(
        sent(&mut net, behind(43, [0, 0, 0, 0, 0, 0, 0])),
        1,
        "a route at its end"
    );
    net.hears_nothing(A);
    assert_eq!(sent(&mut net, behind(43, [0, 0, 1, 0, 0, 0, 0])), 0, "a route");
    assert_eq!(error(&mut net, A), (4, 0, [0, 0, 0, 42], GATEWAY6));
    assert_eq!(
        sent(&mut net, behind(60, [0, 0xc2, 4, 0, 0, 0, 0])),
        0,
        "a jumbogram"
    );
    assert_eq!(error(&mut net, A), (4, 2, [0, 0, 0, 42], GATEWAY6));
    assert_eq!(
        sent(&mut net, behind(60, [0, 0x41, 4, 0, 0, 0, 0])),
        0,
        "an option that says drop"
    );
    net.hears_nothing(A);
    assert_eq!(net.counter("ipv6_header_problem"), 2);
}

#[test]
fn an_icmp_error_causes_none() {
    let mut net = net();
    let dead = frame(
        A6,
        (A6.ip, ip("::1")),
        (IpProtocol::Udp, 64),
        udp(A6.at(1), (ip("::1"), 2).into(), b""),
    );
    for kind in [1, 2, 3, 4, 100, 127] {
        for dst in [WORLD6, GATEWAY6, ip("::1"), own(9)] {
            let buf = icmp6((A6.ip, dst), kind, [0; 4], &dead[14..]);
            let bytes = frame(A6, (A6.ip, dst), (IpProtocol::Icmpv6, 1), buf);
            net.send_frame(A, &bytes);
            net.hears_nothing(A);
        }
    }
    net.asks_nothing();
}

#[test]
fn a_link_local_source_does_not_leave_the_link() {
    let mut net = net();
    let guest = Guest {
        ip: ip("fe80::2"),
        ..A
    };
    introduce(&mut net, guest);
    net.send_udp(guest, 5000, PEER, b"x");
    assert_eq!(error(&mut net, A), (1, 2, [0; 4], LINK_LOCAL));
    net.send_echo(guest, WORLD6, (1, 1), b"");
    assert_eq!(error(&mut net, A), (1, 2, [0; 4], LINK_LOCAL));
    net.send_tcp(
        guest,
        (WORLD6, crate::connection::SERVER.port()).into(),
        &syn(ISS, MODERN),
        b"",
    );
    assert_eq!(error(&mut net, A), (1, 2, [0; 4], LINK_LOCAL));
    net.asks_nothing();
    net.send_echo(guest, LINK_LOCAL, (1, 1), b"");
    assert_eq!(hears_icmp6(&mut net, A).kind, 129);
}

#[test]
fn a_source_that_is_no_guests_is_dropped() {
    for src in [
        GATEWAY6,
        ALIAS6,
        LINK_LOCAL,
        WORLD6,
        own(0),
        ip("::"),
        ip("::1"),
        ip("ff02::1"),
        ip("fe81::2"),
    ] {
        let mut net = net();
        let liar = Guest { ip: src, ..A };
        net.send_udp(liar, 5000, PEER, b"x");
        net.send_echo(liar, GATEWAY6, (1, 1), b"");
        net.send_tcp(
            liar,
            (WORLD6, crate::connection::SERVER.port()).into(),
            &syn(ISS, MODERN),
            b"",
        );
        net.asks_nothing();
        net.hears_nothing(A);
        assert_eq!(net.counter("bad_source_address"), 3, "{src}");
    }
}

#[test]
fn bad_checksums_and_lengths_are_dropped_and_counted() {
    let mut net = net();
    let mut bent = udp(A6.at(5000), PEER, b"x");
    bent.payload_mut()[8] ^= 1;
    net.send_ip(A6, WORLD6, IpProtocol::Udp, bent);
    let mut bent = crate::bench6::echo((A6.ip, GATEWAY6), (1, 1), b"");
    bent.payload_mut()[4] ^= 1;
    net.send_ip(A6, GATEWAY6, IpProtocol::Icmpv6, bent);
    assert_eq!(net.counter("bad_checksum"), 2);
    let good = frame(
        A6,
        (A6.ip, WORLD6),
        (IpProtocol::Udp, 64),
        udp(A6.at(5000), PEER, b"x"),
    );
    for len in [15, 53, good.len() - 1] {
        net.send_frame(A, &good[..len]);
    }
    let mut version = good.clone();
    version[14] = 0x45;
    net.send_frame(A, &version);
    assert_eq!(net.counter("malformed"), 4);
    net.asks_nothing();
    net.hears_nothing(A);
}
