//! Flows, services and forwards over IPv6: what IPv4 does, between other addresses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use atoll_engine::{
    AcceptId, Action, Command, Event, Family, ForwardId, ForwardTarget, HostError, PortConfig,
};
use atoll_wire::tcp::{Flags, Header, Options};
use atoll_wire::{FrameBuf, IpProtocol, Offloads, Seq};

use crate::bench::{A, B, Guest, Heard, Net, WORLD, udp};
use crate::bench6::{
    A6, ALIAS6, B6, GATEWAY6, LINK_LOCAL, PREFIX, WORLD6, error, frame, hears_icmp6, introduce, net,
    net_with, own,
};
use crate::connection::{ISS, MODERN, Tcp, syn};

const PEER: SocketAddr = SocketAddr::new(WORLD6, 3478);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A UDP flow of A's, which said `x` to the peer.
fn open(net: &mut Net, to: SocketAddr) -> atoll_engine::FlowId {
    net.send_udp(A6, 5000, to, b"x");
    match net.actions()[..] {
        [
            Action::UdpOpen {
                flow,
                family: Family::V6,
            },
            Action::UdpSend { to: sent, .. },
        ] if sent == to => flow,
        ref other => panic!("a flow was expected: {other:?}"),
    }
}

#[test]
fn a_connection_is_mirrored_with_the_links_segment_size() {
    let mut tcp = Tcp::connecting(net(), A6, syn(ISS, MODERN));
    tcp.net.event(Event::TcpConnected(tcp.flow));
    let syn_ack = tcp.finish_handshake();
    assert_eq!(syn_ack.src, tcp.remote);
    assert_eq!(syn_ack.header.options.mss, Some(1440));
    let request = tcp.header(Flags::ACK);
    tcp.net.send_tcp(A6, tcp.remote, &request, b"request");
    let outgoing: Vec<u8> = tcp.net.engine.tcp_outgoing(tcp.flow).flatten().copied().collect();
    assert_eq!(outgoing, b"request");
    tcp.net.actions();
    tcp.net.event(Event::TcpReadable(tcp.flow));
    let Action::TcpPeek { segment, .. } = tcp.net.action() else {
        panic!("a peek was expected")
    };
    assert_eq!(segment, 1440);
    tcp.net.event(Event::TcpPeeked {
        flow: tcp.flow,
        offset: 0,
        segments: vec![FrameBuf::copy_from(b"answer")],
        end: false,
    });
    let heard = tcp.net.segments(A);
    assert_eq!(heard.last().unwrap().payload, b"answer");
    tcp.net.event(Event::TcpFailed {
        flow: tcp.flow,
        error: HostError::Reset,
    });
    assert!(tcp.net.hears_tcp(A).header.flags.rst);
}

#[test]
fn a_port_that_takes_large_segments_gets_them_of_ipv6_only_where_it_says_so() {
    for (tcp6, expected) in [(true, 10 * 1440), (false, 1440)] {
        let mut net = net();
        let offloads = Offloads {
            tcp6,
            ..Offloads::ALL
        };
        net.event(Event::PortDetached(A.port));
        net.event(Event::PortAttached {
            port: A.port,
            port_config: PortConfig {
                offloads,
                ..PortConfig::default()
            },
        });
        introduce(&mut net, A6);
        let mut tcp = Tcp::connecting(net, A6, syn(ISS, MODERN));
        tcp.net.stop(A);
        tcp.net.event(Event::TcpConnected(tcp.flow));
        let answer = tcp.net.engine.egress(A.port).back().unwrap().clone();
        let (header, _) = Header::parse(&answer.bytes[54..]).unwrap();
        tcp.ack = header.seq + 1;
        tcp.net.event(Event::Transmitted {
            port: A.port,
            frames: 1,
        });
        tcp.send_ack();
        tcp.net.actions();
        tcp.net.event(Event::TcpReadable(tcp.flow));
        let Action::TcpPeek { segment, .. } = tcp.net.action() else {
            panic!("a peek was expected")
        };
        assert!(usize::from(segment) >= expected && (tcp6 || usize::from(segment) == expected));
    }
}

#[test]
fn how_a_connection_failed_is_told_as_it_is() {
    let outcomes = [
        (HostError::NetUnreachable, 0),
        (HostError::Prohibited, 1),
        (HostError::HostUnreachable, 3),
    ];
    for (failure, code) in outcomes {
        let mut tcp = Tcp::connecting(net(), A6, syn(ISS, MODERN));
        tcp.net.event(Event::TcpFailed {
            flow: tcp.flow,
            error: failure,
        });
        tcp.net.actions();
        let heard = hears_icmp6(&mut tcp.net, A);
        assert_eq!(
            (heard.kind, heard.code, heard.src, heard.dst),
            (1, code, GATEWAY6, A6.ip)
        );
        let (src, dst, protocol, first) = heard.quote();
        assert_eq!((src, dst, protocol), (A6.ip, WORLD6, IpProtocol::Tcp));
        assert_eq!(first[4..], ISS.to_be_bytes());
    }
    let mut tcp = Tcp::connecting(net(), A6, syn(ISS, MODERN));
    tcp.net.event(Event::TcpFailed {
        flow: tcp.flow,
        error: HostError::Refused,
    });
    let rst = tcp.net.hears_tcp(A);
    assert_eq!((rst.header.flags, rst.header.ack), (Flags::RST_ACK, Seq(ISS + 1)));
}

#[test]
fn a_segment_without_connection_is_reset() {
    let mut net = net();
    let header = Header {
        src_port: 4000,
        dst_port: 80,
        seq: Seq(7),
        ack: Seq(1234),
        flags: Flags::ACK,
        window: 100,
        options: Options::default(),
    };
    net.send_tcp(A6, (WORLD6, 80).into(), &header, b"");
    let rst = net.hears_tcp(A);
    assert_eq!(
        (rst.src, rst.header.flags, rst.header.seq),
        ((WORLD6, 80).into(), Flags::RST, Seq(1234))
    );
}

#[test]
fn datagrams_go_both_ways() {
    let mut net = net();
    let flow = open(&mut net, PEER);
    let other = (ip("2001:db8::99"), 9).into();
    for from in [PEER, other] {
        net.event(Event::UdpReceived {
            flow,
            from,
            datagrams: vec![FrameBuf::copy_from(b"reply").into()],
        });
        let expected = Heard::Udp {
            src: from,
            dst: A6.at(5000),
            payload: b"reply".to_vec(),
        };
        assert_eq!(net.hears(A), expected);
    }
}

#[test]
fn both_families_of_one_guest_port_are_two_flows() {
    let mut net = net();
    open(&mut net, PEER);
    net.send_udp(A, 5000, (WORLD, 9).into(), b"x");
    assert!(matches!(
        net.actions()[0],
        Action::UdpOpen {
            family: Family::V4,
            ..
        }
    ));
    assert_eq!(net.flows().len(), 2);
}

#[test]
fn a_datagram_without_checksum_is_none() {
    let mut net = net();
    let mut buf = udp(A6.at(5000), PEER, b"x");
    buf.payload_mut()[6..8].fill(0);
    net.send_ip(A6, WORLD6, IpProtocol::Udp, buf);
    net.asks_nothing();
    assert_eq!(net.counter("bad_checksum"), 1);
}

#[test]
fn a_datagram_fits_the_link_with_the_longer_header_or_comes_in_fragments() {
    let mut net = net();
    let flow = open(&mut net, PEER);
    for (len, frames) in [(1452, 1), (1453, 2)] {
        net.event(Event::UdpReceived {
            flow,
            from: PEER,
            datagrams: vec![FrameBuf::zeroed(len).into()],
        });
        assert_eq!(net.heard(A).len(), frames);
    }
}

#[test]
fn an_echo_is_answered_by_us_for_us_and_by_the_world_for_itself() {
    let mut net = net();
    for own in [GATEWAY6, ALIAS6, LINK_LOCAL] {
        net.send_echo(A6, own, (7, 9), b"ping");
        let reply = hears_icmp6(&mut net, A);
        assert_eq!((reply.kind, reply.src, reply.rest), (129, own, [0, 7, 0, 9]));
        assert_eq!(reply.data, b"ping");
    }
    net.send_echo(A6, WORLD6, (7, 9), b"ping");
    net.hears_nothing(A);
    let actions = net.actions();
    let [
        Action::IcmpOpen {
            flow,
            family: Family::V6,
        },
        Action::IcmpSend { to, seq, ttl, .. },
    ] = &actions[..]
    else {
        panic!("an echo was expected: {actions:?}")
    };
    assert_eq!((*to, *seq, *ttl), (WORLD6, 9, 63));
    net.event(Event::IcmpReceived {
        flow: *flow,
        from: WORLD6,
        seq: 9,
        payload: FrameBuf::copy_from(b"ping"),
    });
    let reply = hears_icmp6(&mut net, A);
    assert_eq!((reply.kind, reply.src, reply.rest), (129, WORLD6, [0, 7, 0, 9]));
}

#[test]
fn the_host_alias_is_the_hosts_loopback_when_that_is_allowed() {
    let mut net = net_with(|config| config.host_loopback = true);
    net.send_udp(A6, 5000, (ALIAS6, 53).into(), b"x");
    let loopback = SocketAddr::from((Ipv6Addr::LOCALHOST, 53));
    let Action::UdpOpen { flow, .. } = net.actions()[0] else {
        panic!("a flow was expected")
    };
    net.event(Event::UdpReceived {
        flow,
        from: loopback,
        datagrams: vec![FrameBuf::copy_from(b"reply").into()],
    });
    let Heard::Udp { src, .. } = net.hears(A) else {
        panic!("the reply was expected")
    };
    assert_eq!(src, (ALIAS6, 53).into());
    net.send_tcp(A6, (ALIAS6, 8000).into(), &syn(ISS, MODERN), b"");
    let to = (Ipv6Addr::LOCALHOST, crate::connection::SERVER.port()).into();
    assert!(matches!(net.action(), Action::TcpConnect { to: it, .. } if it == to));
}

#[test]
fn a_peer_that_may_not_be_heard_is_not() {
    let mut net = net();
    let flow = open(&mut net, PEER);
    for from in ["::1", "fd77:77::3", "fe80::9", "::ffff:198.51.100.7"] {
        net.event(Event::UdpReceived {
            flow,
            from: (ip(from), 9).into(),
            datagrams: vec![FrameBuf::copy_from(b"x").into()],
        });
        net.hears_nothing(A);
    }
    assert_eq!(net.counter("host_datagram_dropped"), 4);
}

fn question() -> Vec<u8> {
    let mut question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    question.extend(b"\x07gateway\x05atoll\x08internal\0\0\x01\0\x01");
    question
}

#[test]
fn dns_is_answered_from_the_address_that_was_asked() {
    let mut net = net();
    let link_local = Guest {
        ip: ip("fe80::2"),
        ..A
    };
    introduce(&mut net, link_local);
    for (guest, asked) in [
        (A6, GATEWAY6),
        (link_local, LINK_LOCAL),
        (A6, LINK_LOCAL),
        (link_local, GATEWAY6),
    ] {
        net.send_udp(guest, 5000, (asked, 53).into(), &question());
        let Heard::Udp { src, dst, payload } = net.hears(A) else {
            panic!("an answer was expected")
        };
        assert_eq!(
            (src, dst, &payload[..2]),
            ((asked, 53).into(), guest.at(5000), &b"\x12\x34"[..])
        );
    }
    net.asks_nothing();
}

#[test]
fn the_gateway_opens_dns_over_tcp_and_nothing_else() {
    Tcp::served(net(), A6, (GATEWAY6, 53).into());
    Tcp::served(net(), A6, (LINK_LOCAL, 53).into());
    for own in [GATEWAY6, ALIAS6, LINK_LOCAL] {
        let mut net = net();
        for port in [22, 80, 547] {
            let header = Header {
                dst_port: port,
                ..syn(ISS, MODERN)
            };
            net.send_tcp(A6, (own, port).into(), &header, b"");
            let rst = net.hears_tcp(A);
            assert_eq!((rst.src, rst.header.flags), ((own, port).into(), Flags::RST_ACK));
        }
        net.send_udp(A6, 5000, (own, 9999).into(), b"x");
        assert_eq!(error(&mut net, A), (1, 4, [0; 4], own));
        net.asks_nothing();
    }
}

fn forward_to(net: &mut Net, guest: IpAddr) {
    net.command(Command::AddForward {
        forward: ForwardId(1),
        guest: ForwardTarget::Address(guest),
        port: 22,
    });
}

#[test]
fn a_forwards_client_is_seen_at_the_gateway_in_the_guests_family() {
    let peers = [
        "127.0.0.1:50000",
        "[::1]:50000",
        "198.51.100.9:50000",
        "[2001:db8::9]:50000",
    ];
    for guest in [A, A6] {
        for peer in peers {
            let mut net = net();
            forward_to(&mut net, guest.ip);
            let peer: SocketAddr = peer.parse().unwrap();
            net.event(Event::TcpAccepted {
                forward: ForwardId(1),
                accept: AcceptId(1),
                peer,
            });
            let seen = if guest == A6 {
                GATEWAY6
            } else {
                crate::bench::GATEWAY
            };
            let syn = net.hears_tcp(A);
            assert_eq!((syn.src, syn.dst), ((seen, 50_000).into(), guest.at(22)));
            net.event(Event::UdpForwarded {
                forward: ForwardId(1),
                from: peer,
                datagrams: vec![FrameBuf::copy_from(b"x").into()],
            });
            let Heard::Udp { src, .. } = net.hears(A) else {
                panic!("the datagram was expected")
            };
            assert_eq!(src, (seen, 50_000).into());
            net.actions();
            net.send_udp(guest, 22, src, b"answer");
            let answer = net.action();
            assert!(
                matches!(answer, Action::UdpForwardSend { to, .. } if to == peer),
                "{answer:?}"
            );
        }
    }
}

#[test]
fn a_forward_leads_to_a_guest_of_the_network_and_nowhere_else() {
    let mut net = net();
    for guest in [
        GATEWAY6,
        ALIAS6,
        own(0),
        WORLD6,
        LINK_LOCAL,
        ip("fe80::2"),
        ip("::1"),
    ] {
        let command = Command::AddForward {
            forward: ForwardId(1),
            guest: ForwardTarget::Address(guest),
            port: 22,
        };
        let refused = net.engine.apply(net.now, command).unwrap_err();
        let text = format!("{guest} is not an address for a guest of 10.77.0.0/24 and fd77:77::/64");
        assert_eq!(refused.to_string(), text);
    }
    forward_to(&mut net, PREFIX.with(0x1234).into());
}

#[test]
fn guests_talk_by_the_switch_unless_they_are_isolated() {
    let direct = |net: &mut Net| {
        let mut bytes = frame(
            A6,
            (A6.ip, B6.ip),
            (IpProtocol::Udp, 64),
            udp(A6.at(1), B6.at(2), b"x"),
        );
        bytes[..6].copy_from_slice(&B.mac.0);
        net.send_frame(A, &bytes);
        net.heard(B).len()
    };
    let by_the_gateway = |net: &mut Net| {
        net.send_udp(A6, 5000, B6.at(2), b"x");
        net.asks_nothing();
        net.hears_nothing(B);
        assert_eq!(error(net, A), (1, 3, [0; 4], GATEWAY6));
    };
    let mut open = net();
    assert_eq!(direct(&mut open), 1);
    by_the_gateway(&mut open);
    let mut isolated = net_with(|config| config.isolate = true);
    assert_eq!(direct(&mut isolated), 0);
    by_the_gateway(&mut isolated);
    crate::bench6::solicit(&mut isolated, A6, B6.ip);
    isolated.hears_nothing(A);
    isolated.hears_nothing(B);
}
