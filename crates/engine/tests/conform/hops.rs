//! Packets that are to cross few routers only: how a guest finds those on the way.

use std::net::{IpAddr, SocketAddr};

use atoll_engine::{Action, Event, FlowId, HostError};
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{Icmpv4Message, IpProtocol, Seq};

use crate::bench::{A, ALIAS, Guest, Net, WORLD, ip_frame, tcp, udp};
use crate::bench6::{self, A6, WORLD6};

fn send_udp(net: &mut Net, (guest, world): (Guest, IpAddr), ttl: u8) -> Vec<Action> {
    let to = SocketAddr::new(world, 33434);
    net.send_frame(
        guest,
        &ip_frame(
            guest,
            world,
            IpProtocol::Udp,
            ttl,
            udp(guest.at(5000), to, b"trace"),
        ),
    );
    net.actions()
}

fn send_syn(net: &mut Net, (guest, to): (Guest, SocketAddr), ttl: u8) -> (FlowId, Option<u8>) {
    let header = Header {
        src_port: 5000,
        dst_port: to.port(),
        flags: Flags::SYN,
        seq: Seq(9),
        ..Header::default()
    };
    net.send_frame(
        guest,
        &ip_frame(guest, to.ip(), IpProtocol::Tcp, ttl, tcp(guest, to, &header, b"")),
    );
    match net.action() {
        Action::TcpConnect { flow, hops, .. } => (flow, hops),
        other => panic!("a connection was expected: {other:?}"),
    }
}

#[test]
fn a_datagrams_hop_limit_is_told_when_it_changes_and_before_it_is_sent() {
    for (guest, world) in [(A, WORLD), (A6, WORLD6)] {
        let mut net = bench6::net();
        let flow = match send_udp(&mut net, (guest, world), 2)[..] {
            [
                Action::UdpOpen { flow, .. },
                Action::UdpHops { hops: Some(1), .. },
                Action::UdpSend { .. },
            ] => flow,
            ref other => panic!("one router was expected: {other:?}"),
        };
        let told = |actions: &[Action]| match actions {
            [Action::UdpHops { flow: of, hops }, Action::UdpSend { .. }] if *of == flow => Some(*hops),
            [Action::UdpSend { .. }] => None,
            other => panic!("a datagram was expected: {other:?}"),
        };
        assert_eq!(told(&send_udp(&mut net, (guest, world), 2)), None);
        assert_eq!(told(&send_udp(&mut net, (guest, world), 30)), Some(Some(29)));
        // From the usual hop limit on the host's own is used.
        assert_eq!(told(&send_udp(&mut net, (guest, world), 64)), Some(None));
        assert_eq!(told(&send_udp(&mut net, (guest, world), 255)), None);
    }
}

#[test]
fn what_has_the_usual_hop_limit_costs_no_word() {
    let mut net = Net::new();
    assert!(matches!(
        send_udp(&mut net, (A, WORLD), 64)[..],
        [Action::UdpOpen { .. }, Action::UdpSend { .. }]
    ));
    assert_eq!(send_syn(&mut net, (A, SocketAddr::new(WORLD, 80)), 64).1, None);
}

#[test]
fn a_handshakes_hop_limit_is_told_and_the_router_at_which_it_ended() {
    for (guest, world) in [(A, WORLD), (A6, WORLD6)] {
        let mut net = bench6::net();
        let to = SocketAddr::new(world, 80);
        let (flow, hops) = send_syn(&mut net, (guest, to), 3);
        assert_eq!(hops, Some(2));
        if guest.ip.is_ipv4() {
            let router: IpAddr = "192.0.2.9".parse().unwrap();
            let error = HostError::TimeExceeded { router: Some(router) };
            net.event(Event::TcpFailed { flow, error });
            assert_eq!(net.action(), Action::Close(flow));
            let heard = net.hears_icmp(guest);
            assert_eq!((heard.src, heard.message), (router, Icmpv4Message::TimeExceeded));
        }
    }
}

#[test]
fn the_host_alias_is_behind_no_router() {
    let mut net = Net::with(|config| config.host_loopback = true);
    assert_eq!(send_syn(&mut net, (A, SocketAddr::new(ALIAS, 80)), 1).1, None);
    assert!(matches!(
        send_udp(&mut net, (A, ALIAS), 1)[..],
        [Action::UdpOpen { .. }, Action::UdpSend { .. }]
    ));
}
