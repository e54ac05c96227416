//! Ports of the host alias that are listed, and those that are not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use atoll_engine::{Action, Event, GuestLimits, HostError, HostPort, HostTarget, Policy, Verdict};
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{FrameBuf, Icmpv4Message};

use crate::bench::{A, ALIAS, Heard, Net, WORLD};
use crate::bench6::{A6, ALIAS6, net_with};
use crate::connection::{MODERN, syn};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn listed() -> Vec<HostPort> {
    vec![
        HostPort::Tcp {
            port: 5432,
            to: HostTarget::Port(15_432),
        },
        HostPort::Tcp {
            port: 2375,
            to: HostTarget::Service(7),
        },
        HostPort::Udp { port: 53, to: 5353 },
    ]
}

/// A SYN from the same port as it goes to.
fn syn_from(port: u16) -> Header {
    Header {
        src_port: port,
        dst_port: port,
        ..syn(1000, MODERN)
    }
}

fn net() -> Net {
    Net::with(|config| config.host_ports = listed())
}

#[test]
fn a_listed_port_leads_to_its_port_or_service_and_no_other_port_anywhere() {
    let mut net = net();
    net.send_tcp(A, SocketAddr::new(ALIAS, 5432), &syn_from(5432), &[]);
    assert!(matches!(net.action(), Action::TcpConnect { to, .. } if to == SocketAddr::new(LOOPBACK, 15_432)));
    net.send_tcp(A, SocketAddr::new(ALIAS, 2375), &syn_from(2375), &[]);
    assert!(matches!(
        net.action(),
        Action::TcpConnectService { service: 7, .. }
    ));
    for port in [15_432, 53, 22] {
        net.send_tcp(A, SocketAddr::new(ALIAS, port), &syn_from(port), &[]);
        assert_eq!(net.hears_tcp(A).header.flags, Flags::RST_ACK, "{port}");
    }
    assert_eq!(net.actions(), []);
}

#[test]
fn ipv6_leads_to_the_loopback_of_ipv6() {
    let mut net = net_with(|config| config.host_ports = listed());
    net.send_tcp(A6, SocketAddr::new(ALIAS6, 5432), &syn_from(5432), &[]);
    let loopback: SocketAddr = "[::1]:15432".parse().unwrap();
    assert!(matches!(net.action(), Action::TcpConnect { to, .. } if to == loopback));
}

#[test]
fn datagrams_go_to_a_listed_port_and_come_back_from_it() {
    let mut net = net();
    net.send_udp(A, 4000, SocketAddr::new(ALIAS, 53), b"question");
    let actions = net.actions();
    let [Action::UdpOpen { flow, .. }, Action::UdpSend { to, .. }] = actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(to, SocketAddr::new(LOOPBACK, 5353));
    let from = |port: u16| Event::UdpReceived {
        flow,
        from: SocketAddr::new(LOOPBACK, port),
        datagrams: vec![FrameBuf::copy_from(b"answer").into()],
    };
    net.event(from(5353));
    let Heard::Udp { src, payload, .. } = net.hears(A) else {
        panic!("a datagram was expected");
    };
    assert_eq!((src, &payload[..]), (SocketAddr::new(ALIAS, 53), &b"answer"[..]));
    net.event(from(5354));
    net.hears_nothing(A);
    net.event(Event::UdpRefused {
        flow,
        to,
        error: HostError::Refused,
    });
    let icmp = net.hears_icmp(A);
    assert_eq!((icmp.message, icmp.code), (Icmpv4Message::DstUnreachable, 3));
    assert_eq!(icmp.quote().1, ALIAS);
}

#[test]
fn a_port_that_is_not_listed_is_unreachable() {
    let mut net = net();
    net.send_udp(A, 4000, SocketAddr::new(ALIAS, 5353), b"question");
    assert_eq!(net.hears_icmp(A).code, 3);
    assert_eq!(net.actions(), []);
}

/// A network that allows nothing but what is listed.
fn closed(change: impl FnOnce(&mut Policy)) -> Net {
    Net::with(|config| {
        config.host_ports = listed();
        config.host_loopback = true;
        config.policy.default_verdict = Verdict::Deny;
        change(&mut config.policy);
    })
}

#[test]
fn a_listed_port_is_open_whatever_the_rules_say_and_no_other_is() {
    for internal in [false, true] {
        let mut net = closed(|policy| policy.internal = internal);
        net.send_tcp(A, SocketAddr::new(ALIAS, 5432), &syn_from(5432), &[]);
        assert!(
            matches!(net.action(), Action::TcpConnect { to, .. } if to == SocketAddr::new(LOOPBACK, 15_432))
        );
        net.send_tcp(A, SocketAddr::new(ALIAS, 2375), &syn_from(2375), &[]);
        assert!(matches!(net.action(), Action::TcpConnectService { .. }));
        for to in [SocketAddr::new(ALIAS, 22), SocketAddr::new(WORLD, 5432)] {
            net.send_tcp(A, to, &syn_from(to.port()), &[]);
            assert!(net.hears_tcp(A).header.flags.rst, "{to}");
        }
        assert_eq!(net.actions(), []);
    }
}

#[test]
fn only_a_listed_port_is_heard_where_rules_deny_the_host() {
    let mut net = closed(|_| ());
    net.send_udp(A, 4000, SocketAddr::new(ALIAS, 53), b"question");
    let actions = net.actions();
    let [Action::UdpOpen { flow, .. }, Action::UdpSend { .. }] = actions[..] else {
        panic!("{actions:?}");
    };
    net.send_udp(A, 4000, SocketAddr::new(ALIAS, 54), b"question");
    assert_eq!((net.hears_icmp(A).code, net.actions()), (13, vec![]));
    let mut hears = |port: u16| {
        net.event(Event::UdpReceived {
            flow,
            from: SocketAddr::new(LOOPBACK, port),
            datagrams: vec![FrameBuf::copy_from(b"answer").into()],
        });
        net.heard(A).len()
    };
    // The host's own port 53 is not the one that the guest knows by this number.
    assert_eq!([5353, 54, 53, 5353].map(&mut hears), [1, 0, 0, 1]);
}

#[test]
fn limits_hold_at_listed_ports_too() {
    let mut net = closed(|policy| {
        policy.limits = GuestLimits {
            flows: Some(1),
            ..GuestLimits::default()
        };
    });
    net.send_tcp(A, SocketAddr::new(ALIAS, 5432), &syn_from(5432), &[]);
    net.send_udp(A, 4000, SocketAddr::new(ALIAS, 53), b"question");
    assert_eq!(net.flows(), [("udp", "open")]);
}
