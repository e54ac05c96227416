//! Router advertisements: to who asks, to all in time, and the last one.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use atoll_engine::{Command, Event};
use atoll_wire::ndp;

use crate::bench::{A, B, GATEWAY_MAC, Guest, Heard, Net};
use crate::bench6::{
    A6, GATEWAY6, Icmp6, LINK_LOCAL, PREFIX, hears_icmp6, icmp6, net, net_of_strangers, net_with,
    send_discovery, solicit, v6,
};

const ALL_NODES: IpAddr = IpAddr::V6(ndp::ALL_NODES);
const ALL_ROUTERS: IpAddr = IpAddr::V6(ndp::ALL_ROUTERS);
const NOBODY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

fn ask(net: &mut Net, guest: Guest) {
    let buf = icmp6(
        (guest.ip, ALL_ROUTERS),
        ndp::kind::ROUTER_SOLICITATION,
        [0; 4],
        b"",
    );
    send_discovery(net, guest, (guest.ip, ALL_ROUTERS), 255, buf);
}

/// What the gateway says, for this long.
fn advertisement(dst: IpAddr, lifetime: u16) -> Icmp6 {
    let [high, low] = lifetime.to_be_bytes();
    let mut data = vec![0; 8];
    data.extend([1, 1]);
    data.extend(GATEWAY_MAC.0);
    data.extend([5, 1, 0, 0, 0, 0, 5, 0xdc]);
    data.extend([3, 4, 64, 0xc0]);
    data.extend(5400_u32.to_be_bytes());
    data.extend(2700_u32.to_be_bytes());
    data.extend([0; 4]);
    data.extend(PREFIX.address.octets());
    data.extend([25, 3, 0, 0, 0, 0, high, low]);
    data.extend(v6(GATEWAY6).octets());
    data.extend([31, 3, 0, 0, 0, 0, high, low]);
    data.extend(b"\x05atoll\x08internal\0");
    Icmp6 {
        src: LINK_LOCAL,
        dst,
        hop_limit: 255,
        kind: ndp::kind::ROUTER_ADVERTISEMENT,
        code: 0,
        rest: [64, 0xc0, high, low],
        data,
    }
}

/// When the guest heard advertisements to all, in seconds, of the next hours.
fn times(net: &mut Net, guest: Guest, hours: u32) -> Vec<f64> {
    let mut times = Vec::new();
    for step in 0..hours * 36_000 {
        net.wait(Duration::from_millis(100));
        for heard in net.heard(guest) {
            assert_eq!(heard, Heard::Icmp6(advertisement(ALL_NODES, 1800)));
            times.push(f64::from(step) / 10.0);
        }
    }
    times
}

#[test]
fn a_guest_with_an_address_is_answered_at_once_and_alone() {
    let mut net = net();
    let link_local = Guest {
        ip: "fe80::2".parse().unwrap(),
        ..A
    };
    for guest in [A6, link_local] {
        ask(&mut net, guest);
        assert_eq!(hears_icmp6(&mut net, A), advertisement(guest.ip, 1800));
        let heard = net.heard(B);
        assert!(
            heard
                .iter()
                .all(|heard| matches!(heard, Heard::Icmp6(it) if it.src == guest.ip))
        );
    }
}

#[test]
fn who_has_no_address_hears_it_with_all_soon_but_not_too_often() {
    let mut net = net();
    net.wait(Duration::from_secs(100));
    net.heard(A);
    let stranger = Guest { ip: NOBODY, ..A };
    ask(&mut net, stranger);
    net.hears_nothing(A);
    net.wait(Duration::from_millis(500));
    assert_eq!(hears_icmp6(&mut net, A), advertisement(ALL_NODES, 1800));
    for _ in 0..30 {
        ask(&mut net, stranger);
        net.wait(Duration::from_millis(100));
    }
    assert!(net.heard(A).len() <= 1, "one in three seconds");
}

#[test]
fn all_are_told_thrice_at_first_and_then_every_few_minutes() {
    let mut net = net_of_strangers();
    let times = times(&mut net, A, 2);
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(times[0] < 1.0, "{times:?}");
    assert!(gaps[..2].iter().all(|gap| (3.0..=16.2).contains(gap)), "{gaps:?}");
    assert!(
        gaps[2..].iter().all(|gap| (199.0..601.0).contains(gap)),
        "{gaps:?}"
    );
}

#[test]
fn a_network_without_guests_sleeps() {
    let mut net = net();
    for guest in [A, B] {
        net.event(Event::PortDetached(guest.port));
    }
    net.wait(Duration::from_secs(1200));
    assert_eq!(net.engine.poll_timeout(), None);
}

#[test]
fn a_guest_that_comes_later_is_told_too() {
    let mut net = net();
    net.wait(Duration::from_secs(3000));
    let late = Guest::numbered(9);
    net.attach(late.port);
    net.wait(Duration::from_secs(4));
    let heard = net.heard(late);
    assert_eq!(heard, [Heard::Icmp6(advertisement(ALL_NODES, 1800))]);
}

#[test]
fn the_end_of_the_network_is_told_to_all() {
    let mut net = net();
    net.command(Command::Shutdown);
    for guest in [A, B] {
        let last = hears_icmp6(&mut net, guest);
        assert_eq!(last, advertisement(ALL_NODES, 0));
    }
    net.wait(Duration::from_secs(1200));
    net.hears_nothing(A);
}

#[test]
fn a_solicitation_that_is_not_its_senders_is_refused() {
    let mut net = net();
    let question = |src: IpAddr, mac: [u8; 6]| {
        let option = [&[1, 1][..], &mac].concat();
        icmp6(
            (src, ALL_ROUTERS),
            ndp::kind::ROUTER_SOLICITATION,
            [0; 4],
            &option,
        )
    };
    let wrong = [
        (A6.ip, B.mac, 255),
        (NOBODY, A.mac, 255),
        (GATEWAY6, A.mac, 255),
        (A6.ip, A.mac, 64),
    ];
    for (src, mac, hop_limit) in wrong {
        send_discovery(&mut net, A6, (src, ALL_ROUTERS), hop_limit, question(src, mac.0));
        net.hears_nothing(A);
    }
    send_discovery(&mut net, A6, (A6.ip, ALL_ROUTERS), 255, question(A6.ip, A.mac.0));
    assert_eq!(hears_icmp6(&mut net, A), advertisement(A6.ip, 1800));
}

#[test]
fn without_a_prefix_there_is_no_router_and_without_a_subnet_no_ipv4() {
    let mut net = Net::new();
    ask(&mut net, A6);
    solicit(&mut net, A6, GATEWAY6);
    net.send_udp(A6, 5000, (GATEWAY6, 53).into(), b"x");
    net.wait(Duration::from_secs(100));
    net.command(Command::Shutdown);
    net.hears_nothing(A);
    assert_eq!(net.counter("unknown_protocol"), 1);

    let mut net = net_with(|config| config.subnet = None);
    net.send_udp(A, 5000, (crate::bench::WORLD, 53).into(), b"x");
    net.asks_nothing();
    net.hears_nothing(A);
    solicit(&mut net, A6, GATEWAY6);
    assert_eq!(hears_icmp6(&mut net, A).kind, ndp::kind::NEIGHBOR_ADVERTISEMENT);
}
