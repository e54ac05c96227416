//! Forwards that keep their clients' sources.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use atoll_engine::{AcceptId, Action, Command, Event, ForwardId, ForwardTarget};
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{FrameBuf, Seq};
use proptest::prelude::*;

use crate::bench::{A, GATEWAY, Guest, Heard, Net, Segment};
use crate::bench6::{A6, GATEWAY6, net};

const FORWARD: ForwardId = ForwardId(1);

fn keeping(mut net: Net, guest: Guest) -> Net {
    net.command(Command::AddForward {
        forward: FORWARD,
        guest: ForwardTarget::Address(guest.ip),
        port: 22,
    });
    net.command(Command::KeepSource(FORWARD));
    net
}

fn gateway(guest: Guest) -> IpAddr {
    if guest == A6 { GATEWAY6 } else { GATEWAY }
}

/// A client connects: the SYN that the guest hears.
fn syn_of(net: &mut Net, accept: u64, peer: SocketAddr) -> Segment {
    net.event(Event::TcpAccepted {
        forward: FORWARD,
        accept: AcceptId(accept),
        peer,
    });
    net.hears_tcp(A)
}

/// Where the guest sees a connection's client.
fn connects(net: &mut Net, accept: u64, peer: SocketAddr) -> SocketAddr {
    syn_of(net, accept, peer).src
}

/// Where the guest sees a datagram's sender.
fn says(net: &mut Net, peer: SocketAddr) -> SocketAddr {
    net.event(Event::UdpForwarded {
        forward: FORWARD,
        from: peer,
        datagrams: vec![FrameBuf::copy_from(b"x").into()],
    });
    match net.hears(A) {
        Heard::Udp { src, .. } => src,
        other => panic!("a datagram was expected: {other:?}"),
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_guest_sees_the_clients_own_address_and_port_and_its_answer_reaches_the_client() {
    for (guest, peer) in [(A, at("198.51.100.9:22")), (A6, at("[2001:db8::9]:1023"))] {
        let mut net = keeping(net(), guest);
        let syn = syn_of(&mut net, 1, peer);
        assert_eq!(syn.src, peer);
        assert!(matches!(net.action(), Action::TcpAdopt { .. }));
        let answer = |flags| Header {
            src_port: 22,
            dst_port: peer.port(),
            seq: Seq(7),
            ack: syn.header.seq + 1,
            flags,
            window: 1000,
            ..Header::default()
        };
        net.send_tcp(guest, peer, &answer(Flags::SYN_ACK), &[]);
        let opened = net.hears_tcp(A);
        assert_eq!((opened.src, opened.header.flags), (peer, Flags::ACK));
        assert_eq!(net.flows(), [("tcp", "ESTABLISHED")]);
        assert_eq!(says(&mut net, peer), peer);
        net.actions();
        net.send_udp(guest, 22, peer, b"answer");
        let answer = net.action();
        assert!(
            matches!(answer, Action::UdpForwardSend { to, .. } if to == peer),
            "{answer:?}"
        );
        net.asks_nothing();
    }
}

#[test]
fn a_client_that_the_guest_could_not_answer_is_seen_at_the_gateway() {
    let of_v4 = [
        "127.0.0.1:5000",
        "127.64.0.1:5000",
        "10.77.0.2:5000",
        "10.77.0.254:5000",
        "169.254.169.254:5000",
        "[2001:db8::9]:5000",
    ];
    let of_v6 = [
        "[::1]:5000",
        "[fd77:77::2]:5000",
        "[fd77:77::fe]:5000",
        "[fe80::1]:5000",
        "[::ffff:198.51.100.9]:5000",
        "198.51.100.9:5000",
    ];
    for (guest, peers) in [(A, of_v4), (A6, of_v6)] {
        for peer in peers.map(at) {
            let mut net = keeping(net(), guest);
            assert_eq!(
                connects(&mut net, 1, peer),
                (gateway(guest), 5000).into(),
                "{peer}"
            );
            assert_eq!(says(&mut net, peer), (gateway(guest), 5000).into(), "{peer}");
        }
    }
}

#[test]
fn a_client_to_whose_port_the_guest_speaks_already_is_another() {
    let peer = at("198.51.100.9:80");
    let mut net = keeping(net(), A);
    let syn = Header {
        src_port: 22,
        dst_port: 80,
        seq: Seq(1),
        flags: Flags::SYN,
        window: 1000,
        ..Header::default()
    };
    net.send_tcp(A, peer, &syn, &[]);
    net.actions();
    let seen = connects(&mut net, 1, peer);
    assert_eq!(seen.ip(), GATEWAY);
    assert_eq!(net.flows().len(), 2);
}

#[test]
fn a_forward_that_was_not_asked_for_it_shows_the_gateway() {
    let mut net = keeping(net(), A);
    let other = ForwardId(2);
    net.command(Command::AddForward {
        forward: other,
        guest: ForwardTarget::Address(A.ip),
        port: 22,
    });
    net.event(Event::TcpAccepted {
        forward: other,
        accept: AcceptId(1),
        peer: at("198.51.100.9:5000"),
    });
    assert_eq!(net.hears_tcp(A).src, (GATEWAY, 5000).into());
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv6Addr>().prop_map(IpAddr::V6),
        any::<u8>().prop_map(|last| Ipv4Addr::new(10, 77, 0, last).into()),
        any::<u16>().prop_map(|last| Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, last).into()),
        any::<[u8; 3]>().prop_map(|[a, b, c]| Ipv4Addr::new(127, a, b, c).into()),
        any::<u16>().prop_map(|last| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last).into()),
    ]
}

proptest! {
    /// Whoever comes, each is told apart from the others, no guest sees an address that is a neighbor's or the host's own, and answers
    /// reach the one whose they are.
    #[test]
    fn answers_reach_whose_they_are(
        peers in prop::collection::btree_set((any_address(), 1..u16::MAX), 1..12),
        v6 in any::<bool>(),
    ) {
        let guest = if v6 { A6 } else { A };
        let mut net = keeping(net(), guest);
        let mut seen = Vec::new();
        for peer in peers.iter().map(|peer| SocketAddr::from(*peer)) {
            let view = says(&mut net, peer);
            prop_assert!(view == peer || view.ip() == gateway(guest), "{peer} is seen at {view}");
            prop_assert_eq!(view.is_ipv6(), v6);
            prop_assert!(!view.ip().is_loopback() && !view.ip().is_multicast());
            let is_neighbors = match view.ip() {
                IpAddr::V4(address) => address.octets()[..3] == [10, 77, 0],
                IpAddr::V6(address) => address.segments()[..4] == [0xfd77, 0x77, 0, 0],
            };
            prop_assert!(!is_neighbors || view.ip() == gateway(guest), "{}", view);
            seen.push((view, peer));
        }
        net.actions();
        for (view, peer) in seen {
            net.send_udp(guest, 22, view, b"answer");
            let action = net.next_action();
            let is_answer = matches!(&action, Some(Action::UdpForwardSend { to, .. }) if *to == peer);
            prop_assert!(is_answer, "{:?} from {} at {}", action, peer, view);
        }
    }
}
