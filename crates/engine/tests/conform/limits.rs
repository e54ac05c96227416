//! How much a port may do.

use std::net::SocketAddr;
use std::time::Duration;

use atoll_engine::{Action, GuestLimits, GuestPolicy};
use atoll_wire::tcp::{Flags, Header};

use crate::bench::{A, B, Guest, Net, WORLD};

fn net(limits: GuestLimits) -> Net {
    Net::with(|config| config.policy.limits = limits)
}

fn syn(net: &mut Net, guest: Guest, port: u16) {
    let syn = Header {
        src_port: port,
        dst_port: 80,
        flags: Flags::SYN,
        ..Header::default()
    };
    net.send_tcp(guest, SocketAddr::new(WORLD, 80), &syn, b"");
}

fn opened(net: &mut Net) -> usize {
    let is_opening = |action: &Action| matches!(action, Action::TcpConnect { .. } | Action::UdpOpen { .. });
    net.actions().iter().filter(|action| is_opening(action)).count()
}

#[test]
fn new_flows_are_as_many_a_second_as_allowed_and_others_guests_are_others() {
    let mut net = net(GuestLimits {
        new_flows: Some(5),
        ..GuestLimits::default()
    });
    for port in 0..20 {
        syn(&mut net, A, 1000 + port);
        net.send_udp(A, 1000 + port, SocketAddr::new(WORLD, 9), b"x");
    }
    assert_eq!((opened(&mut net), net.counter("limited_new_flows")), (5, 35));
    syn(&mut net, B, 1000);
    assert_eq!(opened(&mut net), 1);
    net.wait(Duration::from_secs(1));
    for port in 0..20 {
        syn(&mut net, A, 2000 + port);
    }
    assert_eq!(opened(&mut net), 5);
    let ports = net.engine.snapshot(net.now).ports;
    assert_eq!((ports[0].policy.limited, ports[1].policy.limited), (50, 0));
}

#[test]
fn a_guest_with_as_many_flows_as_it_may_have_loses_its_oldest() {
    let mut net = net(GuestLimits {
        flows: Some(3),
        ..GuestLimits::default()
    });
    for port in 0..5 {
        net.send_udp(A, 1000 + port, SocketAddr::new(WORLD, 9), b"x");
        net.send_udp(B, 1000, SocketAddr::new(WORLD, 9), b"x");
    }
    let closed = |action: &&Action| matches!(action, Action::Close(_));
    assert_eq!(net.actions().iter().filter(closed).count(), 2);
    assert_eq!((net.flows().len(), net.counter("limited_flows")), (4, 2));
    assert_eq!(net.counter("flow_evicted"), 0);
}

#[test]
fn bytes_and_packets_of_a_second_are_bounded_each_way() {
    for (limits, counter, most) in [
        (
            GuestLimits {
                bandwidth_from: Some(8_000_000),
                ..GuestLimits::default()
            },
            "limited_bytes_from",
            1_000_000 + 131_072,
        ),
        (
            GuestLimits {
                bandwidth_to: Some(8_000_000),
                ..GuestLimits::default()
            },
            "limited_bytes_to",
            1_000_000 + 131_072,
        ),
        (
            GuestLimits {
                packets: Some(500),
                ..GuestLimits::default()
            },
            "limited_packets",
            564 * 1014,
        ),
    ] {
        let mut net = net(limits);
        let frame = [&B.mac.0[..], &A.mac.0, &[0x88, 0xb5], &[0; 1000]].concat();
        let mut passed = 0;
        for _ in 0..1000 {
            for _ in 0..4 {
                net.send_frame(A, &frame);
            }
            passed += net.heard(B).len() * frame.len();
            net.wait(Duration::from_millis(1));
        }
        assert!(
            (most * 95 / 100..=most).contains(&passed),
            "{counter}: {passed} of {most}"
        );
        let lost = 4000 - passed / frame.len();
        assert_eq!(net.counter(counter), u64::try_from(lost).unwrap());
    }
}

#[test]
fn a_guest_can_have_limits_of_its_own() {
    let mut net = Net::with(|config| {
        let limits = Some(GuestLimits {
            new_flows: Some(1),
            ..GuestLimits::default()
        });
        let guest = GuestPolicy {
            limits,
            ..GuestPolicy::default()
        };
        config.policy.guests.insert("m2".to_owned(), guest);
    });
    for guest in [A, B] {
        for port in 0..3 {
            syn(&mut net, guest, 1000 + port);
        }
    }
    assert_eq!(opened(&mut net), 1 + 3);
}
