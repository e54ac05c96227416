//! ICMP: echo, errors, and what is dropped before it opens anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{Action, Event, FlowId, HostError};
use atoll_wire::packet;
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{FrameBuf, Icmpv4Message, IpProtocol, Seq};

use crate::bench::{A, ALIAS, GATEWAY, Icmp, METADATA, Net, WORLD, echo, ip_frame, tcp, udp};

/// Destinations that never become a host socket, and the ICMP code that says so; `None` for silence.
const FORBIDDEN: [(&str, Option<u8>); 13] = [
    ("0.0.0.0", Some(13)),
    ("0.1.2.3", Some(13)),
    ("127.0.0.1", Some(13)),
    ("127.8.9.10", Some(13)),
    ("169.254.0.1", Some(13)),
    ("169.254.169.253", Some(13)),
    ("10.77.0.9", Some(1)),
    ("10.77.0.0", Some(1)),
    ("10.77.0.255", None),
    ("224.0.0.251", None),
    ("239.255.255.250", None),
    ("240.0.0.1", None),
    ("255.255.255.255", None),
];

fn ports(src: u16, dst: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (src.to_be_bytes(), dst.to_be_bytes());
    [a, b, c, d]
}

fn open_echo(net: &mut Net) -> FlowId {
    net.send_echo(A, WORLD, (77, 5), b"data");
    let actions = net.actions();
    let [Action::IcmpOpen { flow, .. }, Action::IcmpSend { .. }] = actions[..] else {
        panic!("a ping socket was expected: {actions:?}")
    };
    flow
}

#[test]
fn own_addresses_answer_echo() {
    let mut net = Net::new();
    for own in [GATEWAY, ALIAS, METADATA] {
        let data: Vec<u8> = (0..=255).collect();
        net.send_echo(A, own, (0x1234, 0x5678), &data);
        let expected = Icmp {
            src: own,
            dst: A.ip,
            message: Icmpv4Message::EchoReply,
            code: 0,
            rest: [0x12, 0x34, 0x56, 0x78],
            data,
        };
        assert_eq!(net.hears_icmp(A), expected);
    }
    net.asks_nothing();
}

#[test]
fn an_echo_to_the_world_is_answered_when_a_reply_came_and_not_before() {
    let mut net = Net::new();
    net.send_echo(A, WORLD, (77, 5), b"data");
    let actions = net.actions();
    let Action::IcmpOpen { flow, .. } = actions[0] else {
        panic!("{actions:?}")
    };
    let expected = Action::IcmpSend {
        flow,
        to: WORLD,
        seq: 5,
        payload: b"data".as_slice().into(),
        ttl: 63,
    };
    assert_eq!(actions[1..], [expected]);
    net.wait(Duration::from_secs(20));
    net.hears_nothing(A);
    net.event(Event::IcmpReceived {
        flow,
        from: WORLD,
        seq: 5,
        payload: FrameBuf::copy_from(b"data"),
    });
    let reply = net.hears_icmp(A);
    assert_eq!(
        (reply.src, reply.dst, reply.message),
        (WORLD, A.ip, Icmpv4Message::EchoReply)
    );
    assert_eq!((reply.rest, &reply.data[..]), ([0, 77, 0, 5], &b"data"[..]));
}

#[test]
fn one_identifier_is_one_ping_socket_and_two_are_two() {
    let mut net = Net::new();
    let first = open_echo(&mut net);
    net.send_echo(A, IpAddr::V4(Ipv4Addr::new(198, 51, 100, 8)), (77, 6), b"");
    assert!(matches!(net.action(), Action::IcmpSend { flow, seq: 6, .. } if flow == first));
    net.send_echo(A, WORLD, (78, 1), b"");
    assert!(matches!(net.actions()[..], [Action::IcmpOpen { flow, .. }, _] if flow != first));
}

#[test]
fn an_idle_ping_socket_is_closed() {
    let mut net = Net::new();
    let flow = open_echo(&mut net);
    net.wait(Duration::from_secs(59));
    net.asks_nothing();
    net.wait(Duration::from_secs(2));
    assert_eq!(net.action(), Action::Close(flow));
    assert!(net.flows().is_empty());
}

#[test]
fn a_packet_that_has_no_hop_left_is_reported_by_the_gateway() {
    let mut net = Net::new();
    let to = SocketAddr::new(WORLD, 33434);
    let header = Header {
        src_port: 5000,
        dst_port: 33434,
        flags: Flags::SYN,
        seq: Seq(9),
        ..Header::default()
    };
    let packets = [
        (IpProtocol::Udp, udp(A.at(5000), to, b"trace")),
        (IpProtocol::Tcp, tcp(A, to, &header, b"")),
        (IpProtocol::Icmp, echo(5000, 33434, b"")),
    ];
    for (protocol, buf) in packets {
        let sent = buf.payload()[..8].to_vec();
        net.send_frame(A, &ip_frame(A, WORLD, protocol, 1, buf));
        let error = net.hears_icmp(A);
        assert_eq!(
            (error.src, error.message, error.code),
            (GATEWAY, Icmpv4Message::TimeExceeded, 0)
        );
        let (src, dst, quoted, first) = error.quote();
        assert_eq!((src, dst, quoted, first.to_vec()), (A.ip, WORLD, protocol, sent));
    }
    net.asks_nothing();
    assert_eq!(net.counter("ttl_exceeded"), 3);
}

#[test]
fn the_last_hop_reaches_the_networks_own_addresses() {
    let mut net = Net::new();
    net.send_frame(A, &ip_frame(A, GATEWAY, IpProtocol::Icmp, 1, echo(1, 1, b"")));
    assert_eq!(net.hears_icmp(A).message, Icmpv4Message::EchoReply);
}

#[test]
fn a_closed_port_of_an_own_address_is_unreachable() {
    let mut net = Net::new();
    for own in [GATEWAY, ALIAS, METADATA] {
        net.send_udp(A, 5000, SocketAddr::new(own, 9999), b"anyone?");
        let error = net.hears_icmp(A);
        assert_eq!((error.src, error.dst), (own, A.ip));
        assert_eq!((error.message, error.code), (Icmpv4Message::DstUnreachable, 3));
        let (src, dst, protocol, first) = error.quote();
        assert_eq!((src, dst, protocol), (A.ip, own, IpProtocol::Udp));
        assert_eq!(first[..4], ports(5000, 9999));
        assert_eq!(&error.data[28..], b"anyone?");
    }
    net.asks_nothing();
}

#[test]
fn forbidden_destinations_never_become_an_action() {
    for host_loopback in [false, true] {
        for (dst, code) in FORBIDDEN {
            let mut net = Net::with(|config| config.host_loopback = host_loopback);
            let to = SocketAddr::new(dst.parse().unwrap(), 80);
            let syn = Header {
                src_port: 5000,
                dst_port: 80,
                flags: Flags::SYN,
                ..Header::default()
            };
            net.send_tcp(A, to, &syn, b"");
            net.send_udp(A, 5000, to, b"x");
            net.send_echo(A, to.ip(), (1, 1), b"x");
            let heard = net.heard(A);
            let expected = if code.is_some() { 3 } else { 0 };
            assert_eq!(heard.len(), expected, "{dst}: {heard:?}");
            for heard in heard {
                let crate::bench::Heard::Icmp(error) = heard else {
                    panic!("{dst}: {heard:?}")
                };
                assert_eq!(
                    (error.src, error.message, Some(error.code)),
                    (GATEWAY, Icmpv4Message::DstUnreachable, code)
                );
                assert_eq!(error.quote().1, to.ip());
            }
            net.asks_nothing();
            assert!(net.flows().is_empty());
            assert_eq!(net.counter("destination_forbidden"), 3, "{dst}");
        }
    }
}

/// What the host's error is to the guest: message, code, second word, sender.
fn as_icmp(error: HostError) -> Option<(Icmpv4Message, u8, [u8; 4], IpAddr)> {
    let unreachable = Icmpv4Message::DstUnreachable;
    let router = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    match error {
        HostError::Refused => Some((unreachable, 3, [0; 4], WORLD)),
        HostError::HostUnreachable => Some((unreachable, 1, [0; 4], GATEWAY)),
        HostError::NetUnreachable => Some((unreachable, 0, [0; 4], GATEWAY)),
        HostError::Prohibited => Some((unreachable, 13, [0; 4], GATEWAY)),
        HostError::TooBig { mtu: Some(1400) } => Some((unreachable, 4, [0, 0, 5, 0x78], GATEWAY)),
        HostError::TooBig { .. } => Some((unreachable, 4, [0; 4], GATEWAY)),
        HostError::TimeExceeded { router: None } => Some((Icmpv4Message::TimeExceeded, 0, [0; 4], GATEWAY)),
        HostError::TimeExceeded { .. } => Some((Icmpv4Message::TimeExceeded, 0, [0; 4], router)),
        _ => None,
    }
}

const HOST_ERRORS: [HostError; 9] = [
    HostError::Refused,
    HostError::HostUnreachable,
    HostError::NetUnreachable,
    HostError::Prohibited,
    HostError::TooBig { mtu: Some(1400) },
    HostError::TooBig { mtu: None },
    HostError::TimeExceeded { router: None },
    HostError::TimeExceeded {
        router: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9))),
    },
    HostError::TimedOut,
];

fn check_error(net: &mut Net, error: HostError, quoted: (IpProtocol, &[u8])) {
    let Some((message, code, rest, src)) = as_icmp(error) else {
        return net.hears_nothing(A);
    };
    let icmp = net.hears_icmp(A);
    assert_eq!(
        (icmp.message, icmp.code, icmp.rest, icmp.src, icmp.dst),
        (message, code, rest, src, A.ip),
        "{error:?}"
    );
    let (src, dst, protocol, first) = icmp.quote();
    assert_eq!((src, dst, protocol), (A.ip, WORLD, quoted.0));
    assert_eq!(first[..quoted.1.len()], *quoted.1);
}

#[test]
fn what_the_host_says_of_a_datagram_comes_back_as_icmp() {
    let mut net = Net::new();
    let to = SocketAddr::new(WORLD, 33434);
    net.send_udp(A, 5000, to, b"x");
    let Action::UdpOpen { flow, .. } = net.actions()[0] else {
        panic!("a socket was expected")
    };
    for error in HOST_ERRORS {
        net.event(Event::UdpRefused { flow, to, error });
        check_error(&mut net, error, (IpProtocol::Udp, &ports(5000, 33434)));
    }
}

#[test]
fn what_the_host_says_of_an_echo_comes_back_as_icmp() {
    let mut net = Net::new();
    let flow = open_echo(&mut net);
    for error in HOST_ERRORS {
        net.event(Event::IcmpRefused {
            flow,
            to: WORLD,
            seq: 5,
            error,
        });
        if let Some((_, _, _, src)) = as_icmp(error) {
            let icmp = net.hears_icmp(A);
            assert_eq!(icmp.src, src);
            let (_, _, protocol, first) = icmp.quote();
            assert_eq!(
                (protocol, first[0], &first[4..]),
                (IpProtocol::Icmp, 8, &[0, 77, 0, 5][..])
            );
        } else {
            net.hears_nothing(A);
        }
    }
}

#[test]
fn a_socket_that_cannot_be_opened_is_an_error_to_the_guest_and_forgotten() {
    let mut net = Net::new();
    let flow = open_echo(&mut net);
    net.event(Event::FlowFailed {
        flow,
        error: HostError::Prohibited,
    });
    let error = net.hears_icmp(A);
    assert_eq!((error.message, error.code), (Icmpv4Message::DstUnreachable, 13));
    assert!(net.flows().is_empty());
    net.send_udp(A, 5000, SocketAddr::new(WORLD, 9), b"");
    let Action::UdpOpen { flow, .. } = net.actions()[0] else {
        panic!("a socket was expected")
    };
    net.event(Event::FlowFailed {
        flow,
        error: HostError::NetUnreachable,
    });
    assert_eq!(net.hears_icmp(A).code, 0);
    assert!(net.flows().is_empty());
}

#[test]
fn an_icmp_error_is_never_answered_with_another() {
    for (dst, ttl) in [
        (WORLD, 1),
        (WORLD, 64),
        (IpAddr::V4(Ipv4Addr::LOCALHOST), 64),
        (GATEWAY, 64),
    ] {
        for message in [Icmpv4Message::DstUnreachable, Icmpv4Message::EchoReply] {
            let mut net = Net::new();
            let mut buf = FrameBuf::zeroed(28);
            packet::push_icmpv4(&mut buf, message, 3, [0; 4]);
            net.send_frame(A, &ip_frame(A, dst, IpProtocol::Icmp, ttl, buf));
            net.hears_nothing(A);
            net.asks_nothing();
        }
    }
}

#[test]
fn a_long_packet_is_quoted_as_far_as_576_bytes_go() {
    let mut net = Net::new();
    net.send_udp(A, 5000, SocketAddr::new(GATEWAY, 9999), &[7; 1400]);
    assert_eq!(net.hears_icmp(A).data.len(), 576 - 28);
}

#[test]
fn events_of_flows_that_are_over_are_ignored() {
    let mut net = Net::new();
    let flow = open_echo(&mut net);
    net.wait(Duration::from_secs(61));
    net.actions();
    let from = SocketAddr::new(WORLD, 9);
    let payload = || FrameBuf::copy_from(b"late");
    let error = HostError::Refused;
    for event in [
        Event::TcpConnected(flow),
        Event::TcpReadable(flow),
        Event::TcpSent { flow, bytes: 5 },
        Event::TcpFailed { flow, error },
        Event::UdpReceived {
            flow,
            from,
            datagrams: vec![payload().into()],
        },
        Event::UdpRefused {
            flow,
            to: from,
            error,
        },
        Event::IcmpReceived {
            flow,
            from: WORLD,
            seq: 5,
            payload: payload(),
        },
        Event::IcmpRefused {
            flow,
            to: WORLD,
            seq: 5,
            error,
        },
        Event::FlowFailed { flow, error },
    ] {
        net.event(event);
        net.hears_nothing(A);
        net.asks_nothing();
    }
}

#[test]
fn an_echo_reply_larger_than_the_link_comes_in_fragments() {
    let mut net = Net::new();
    let flow = open_echo(&mut net);
    net.event(Event::IcmpReceived {
        flow,
        from: WORLD,
        seq: 5,
        payload: FrameBuf::zeroed(1473),
    });
    assert_eq!(net.heard(A).len(), 2);
    net.event(Event::IcmpReceived {
        flow,
        from: WORLD,
        seq: 5,
        payload: FrameBuf::zeroed(1472),
    });
    assert_eq!(net.hears_icmp(A).data.len(), 1472);
}

#[test]
fn a_protocol_that_is_not_translated_is_refused_in_nobody_elses_name() {
    let mut net = Net::new();
    net.send_ip(A, GATEWAY, IpProtocol::Unknown(132), FrameBuf::zeroed(20));
    let error = net.hears_icmp(A);
    assert_eq!(
        (error.src, error.message, error.code),
        (GATEWAY, Icmpv4Message::DstUnreachable, 2)
    );
    for dst in [
        WORLD,
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::new(10, 77, 0, 9)),
    ] {
        net.send_ip(A, dst, IpProtocol::Unknown(132), FrameBuf::zeroed(20));
        let error = net.hears_icmp(A);
        assert_eq!(
            (error.src, error.message),
            (GATEWAY, Icmpv4Message::DstUnreachable)
        );
        assert_eq!(error.quote().1, dst);
    }
}

#[test]
fn nothing_sent_to_a_group_is_answered_whatever_it_is() {
    for dst in ["224.0.0.1", "10.77.0.255", "255.255.255.255"] {
        let dst: IpAddr = dst.parse().unwrap();
        let mut net = Net::new();
        let ack = Header {
            src_port: 5000,
            dst_port: 80,
            flags: Flags::ACK,
            ..Header::default()
        };
        net.send_tcp(A, SocketAddr::new(dst, 80), &ack, b"");
        net.hears_nothing(A);
        net.send_ip(A, dst, IpProtocol::Unknown(132), FrameBuf::zeroed(20));
        net.hears_nothing(A);
        net.send_frame(
            A,
            &ip_frame(
                A,
                dst,
                IpProtocol::Udp,
                1,
                udp(A.at(5000), SocketAddr::new(dst, 80), b""),
            ),
        );
        net.hears_nothing(A);
        net.asks_nothing();
    }
}
