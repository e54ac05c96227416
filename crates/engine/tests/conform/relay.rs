//! Routes by way of guests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{Mode, StaticRoute};
use atoll_wire::packet::ETHERNET_LEN;
use atoll_wire::{IpProtocol, Ipv4Packet, Ipv6Packet};
use dhcproto::v4::{DhcpOption, OptionCode};

use crate::bench::{A, B, Guest, Heard, Net, ip_frame, udp};
use crate::bench6::{A6, B6, net_with};
use crate::uplinks;

const FAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 10, 7));

fn route(to: &str, prefix_len: u8, via: Guest) -> StaticRoute {
    StaticRoute {
        to: to.parse().unwrap(),
        prefix_len,
        via: via.ip,
    }
}

fn net() -> Net {
    net_with(|config| {
        config.routes = vec![route("192.168.10.0", 24, B), route("2001:db8:10::", 48, B6)];
    })
}

#[test]
fn dhcp_tells_the_routes_and_the_router_with_them() {
    let mut net = uplinks::net(Mode::User, |config| {
        config.routes = vec![route("192.168.10.0", 24, B), route("172.16.0.0", 12, A)];
    });
    let offer = uplinks::offered(&mut net, A).unwrap();
    let Some(DhcpOption::ClasslessStaticRoute(routes)) = offer.opts().get(OptionCode::ClasslessStaticRoute)
    else {
        panic!("{offer:?}")
    };
    let told: Vec<String> = routes.iter().map(|(to, via)| format!("{to} {via}")).collect();
    let expected = [
        "192.168.10.0/24 10.77.0.3",
        "172.16.0.0/12 10.77.0.2",
        "0.0.0.0/0 10.77.0.1",
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_route_of_ipv6_is_advertised() {
    let mut net = net();
    net.wait(Duration::from_secs(16));
    let frames = net.frames(A);
    let is_one = |frame: &&Vec<u8>| frame.get(ETHERNET_LEN + 40) == Some(&134);
    let frame = frames.iter().rfind(is_one).expect("an advertisement");
    let option = [24, 2, 48, 0, 0, 0, 7, 8, 0x20, 1, 0x0d, 0xb8, 0, 0x10, 0, 0];
    assert!(
        frame.windows(option.len()).any(|bytes| bytes == option),
        "{frame:?}"
    );
}

#[test]
fn packets_for_a_route_go_on_to_the_guest_that_knows_the_way() {
    let mut net = net();
    net.send_udp(A, 4000, SocketAddr::new(FAR, 4001), b"far");
    let frames = net.frames(B);
    let [frame] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(frame[..6], B.mac.0);
    let packet = Ipv4Packet::new_checked(&frame[ETHERNET_LEN..]).unwrap();
    assert!(packet.verify_checksum());
    assert_eq!((packet.hop_limit(), IpAddr::V4(packet.dst_addr())), (63, FAR));
    let far6: IpAddr = "2001:db8:10::7".parse().unwrap();
    net.send_udp(A6, 4000, SocketAddr::new(far6, 4001), b"far");
    let frames = net.frames(B);
    let [frame] = &frames[..] else {
        panic!("{frames:?}")
    };
    let packet = Ipv6Packet::new_checked(&frame[ETHERNET_LEN..]).unwrap();
    assert_eq!((packet.hop_limit(), IpAddr::V6(packet.dst_addr())), (63, far6));
    assert_eq!(net.counter("relayed"), 2);
    net.asks_nothing();
}

#[test]
fn packets_do_not_circle() {
    let mut net = net();
    net.send_udp(B, 4000, SocketAddr::new(FAR, 4001), b"back");
    assert!(matches!(net.hears(B), Heard::Icmp(_)));
    let last = ip_frame(
        A,
        FAR,
        IpProtocol::Udp,
        1,
        udp(A.at(1), SocketAddr::new(FAR, 1), b""),
    );
    net.send_frame(A, &last);
    assert_eq!(net.hears_icmp(A).message, atoll_wire::Icmpv4Message::TimeExceeded);
    net.hears_nothing(B);
}

#[test]
fn isolated_guests_do_not_reach_each_other_by_a_route() {
    let mut net = net_with(|config| {
        config.isolate = true;
        config.routes = vec![route("192.168.10.0", 24, B)];
    });
    net.send_udp(A, 4000, SocketAddr::new(FAR, 4001), b"far");
    net.hears_nothing(B);
    assert!(matches!(net.hears(A), Heard::Icmp(_)));
    net.asks_nothing();
}
