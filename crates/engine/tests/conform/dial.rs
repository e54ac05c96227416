//! Connections that wait on the host for a guest's answer: a proxy's, and those of a forward to several guests.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use atoll_engine::{AcceptId, Action, Command, Event, ForwardId, ForwardTarget, HostError};
use atoll_wire::Seq;
use atoll_wire::tcp::{Flags, Header, Options};

use crate::bench::{A, ALIAS, B, GATEWAY, Guest, Heard, Net, Segment, WORLD};

const FORWARD: ForwardId = ForwardId(1);

fn dial(net: &mut Net, accept: u64, guest: ForwardTarget) {
    net.event(Event::TcpDialled {
        accept: AcceptId(accept),
        peer: SocketAddr::from(([127, 0, 0, 1], 50_000)),
        guest,
        port: 80,
    });
}

fn dial_address(net: &mut Net, accept: u64, address: IpAddr) {
    dial(net, accept, ForwardTarget::Address(address));
}

/// A forward to A and B.
fn balanced() -> Net {
    let mut net = Net::new();
    net.command(Command::AddForward {
        forward: FORWARD,
        guest: ForwardTarget::OneOf(vec![ForwardTarget::Address(A.ip), ForwardTarget::Address(B.ip)]),
        port: 80,
    });
    net
}

fn client(net: &mut Net, accept: u64) {
    net.event(Event::TcpAccepted {
        forward: FORWARD,
        accept: AcceptId(accept),
        peer: SocketAddr::from(([127, 0, 0, 1], 50_000 + u16::try_from(accept).unwrap())),
    });
}

/// The SYNs that a guest heard.
fn syns(net: &mut Net, guest: Guest) -> Vec<Segment> {
    let heard = net.heard(guest).into_iter();
    heard
        .filter_map(|heard| match heard {
            Heard::Tcp(segment) if segment.header.flags == Flags::SYN => Some(segment),
            _ => None,
        })
        .collect()
}

fn answer(net: &mut Net, guest: Guest, syn: &Segment, flags: Flags) {
    let header = Header {
        src_port: syn.dst.port(),
        dst_port: syn.src.port(),
        seq: Seq(7000),
        ack: syn.header.seq + 1,
        flags,
        window: 64_000,
        options: Options::default(),
    };
    net.send_tcp(guest, syn.src, &header, &[]);
}

fn refused(accept: u64, why: HostError) -> Action {
    let accept = AcceptId(accept);
    Action::TcpRefuse { accept, why }
}

fn is_adoption(action: &Action, accept: u64) -> bool {
    matches!(action, Action::TcpAdopt { accept: adopted, .. } if *adopted == AcceptId(accept))
}

#[test]
fn a_dial_is_answered_when_the_guest_has_answered_and_not_before() {
    let mut net = Net::new();
    dial_address(&mut net, 1, A.ip);
    let syn = net.hears_tcp(A);
    assert_eq!((syn.src, syn.dst), (SocketAddr::new(GATEWAY, 50_000), A.at(80)));
    net.wait(Duration::from_secs(20));
    assert_eq!(net.actions(), []);
    answer(&mut net, A, &syn, Flags::SYN_ACK);
    assert!(is_adoption(&net.action(), 1));
    assert_eq!(net.flows(), [("tcp", "ESTABLISHED")]);
}

#[test]
fn a_guest_that_refuses_is_said_to() {
    let mut net = Net::new();
    dial_address(&mut net, 1, A.ip);
    let syn = net.hears_tcp(A);
    answer(&mut net, A, &syn, Flags::RST_ACK);
    assert_eq!(net.action(), refused(1, HostError::Refused));
    assert_eq!(net.flows(), []);
}

#[test]
fn an_address_that_nobody_has_is_unreachable_after_three_seconds() {
    let mut net = Net::new();
    dial_address(&mut net, 1, "10.77.0.99".parse().unwrap());
    net.wait(Duration::from_millis(2900));
    assert_eq!(net.actions(), []);
    net.wait(Duration::from_millis(200));
    assert_eq!(net.action(), refused(1, HostError::HostUnreachable));
}

#[test]
fn a_guest_that_says_nothing_has_the_time_of_a_handshake() {
    let mut net = Net::new();
    dial_address(&mut net, 1, A.ip);
    net.wait(Duration::from_secs(120));
    assert_eq!(net.actions(), []);
    net.wait(Duration::from_secs(20));
    assert_eq!(net.action(), refused(1, HostError::TimedOut));
}

#[test]
fn what_is_no_guest_is_prohibited_and_a_name_that_nobody_has_unreachable() {
    let mut net = Net::new();
    let outside = "127.0.0.1".parse().unwrap();
    for (accept, address) in (1..).zip([GATEWAY, ALIAS, WORLD, outside]) {
        dial_address(&mut net, accept, address);
        assert_eq!(net.action(), refused(accept, HostError::Prohibited), "{address}");
    }
    for (accept, name, why) in [
        (10, "example.org", HostError::Prohibited),
        (11, "host", HostError::Prohibited),
        (12, "nobody", HostError::HostUnreachable),
        (13, "nobody.atoll.internal", HostError::HostUnreachable),
    ] {
        dial(&mut net, accept, ForwardTarget::Name(name.to_owned()));
        assert_eq!(net.action(), refused(accept, why), "{name}");
    }
}

#[test]
fn a_name_is_tried_at_each_of_its_addresses() {
    let mut net = Net::new();
    net.command(Command::SetName {
        name: "web".to_owned(),
        addresses: vec![A.ip, B.ip],
    });
    dial(&mut net, 1, ForwardTarget::Name("WEB".to_owned()));
    let syn = net.hears_tcp(A);
    answer(&mut net, A, &syn, Flags::RST_ACK);
    let syn = net.hears_tcp(B);
    answer(&mut net, B, &syn, Flags::SYN_ACK);
    assert!(is_adoption(&net.action(), 1));
}

#[test]
fn a_client_that_withdraws_takes_its_attempt_back() {
    let mut net = Net::new();
    dial_address(&mut net, 1, A.ip);
    let _ = net.hears_tcp(A);
    net.event(Event::TcpWithdrawn(AcceptId(1)));
    assert_eq!(net.hears_tcp(A).header.flags, Flags::RST);
    assert_eq!(net.flows(), []);
    net.wait(Duration::from_secs(200));
    assert_eq!(net.actions(), []);
}

#[test]
fn clients_go_to_each_guest_in_turn() {
    let mut net = balanced();
    for (accept, guest) in [(1, A), (2, B), (3, A), (4, B)] {
        client(&mut net, accept);
        let syn = net.hears_tcp(guest);
        answer(&mut net, guest, &syn, Flags::SYN_ACK);
        assert!(is_adoption(&net.action(), accept));
        net.heard(guest);
    }
}

#[test]
fn a_guest_that_refuses_is_passed_over_for_a_while_and_no_client_notices() {
    let mut net = balanced();
    client(&mut net, 1);
    let syn = net.hears_tcp(A);
    answer(&mut net, A, &syn, Flags::RST_ACK);
    for accept in 1..5 {
        let syn = net.hears_tcp(B);
        answer(&mut net, B, &syn, Flags::SYN_ACK);
        assert!(is_adoption(&net.action(), accept));
        net.heard(B);
        client(&mut net, accept + 1);
        net.hears_nothing(A);
    }
    net.wait(Duration::from_secs(11));
    net.heard(A);
    net.heard(B);
    net.actions();
    client(&mut net, 6);
    client(&mut net, 7);
    assert_eq!(
        syns(&mut net, A).len() + syns(&mut net, B).len(),
        2,
        "both are asked again"
    );
}

#[test]
fn a_guest_that_is_silent_makes_way_for_the_next_after_a_second() {
    let mut net = balanced();
    client(&mut net, 1);
    let _ = net.hears_tcp(A);
    net.wait(Duration::from_millis(1100));
    let syn = syns(&mut net, B).remove(0);
    answer(&mut net, B, &syn, Flags::SYN_ACK);
    assert!(is_adoption(&net.action(), 1));
}

#[test]
fn where_none_answers_the_client_hears_so_once() {
    let mut net = balanced();
    client(&mut net, 1);
    for guest in [A, B] {
        let syn = net.hears_tcp(guest);
        answer(&mut net, guest, &syn, Flags::RST_ACK);
    }
    assert_eq!(net.action(), refused(1, HostError::Refused));
    assert_eq!(net.actions(), []);
}

#[test]
fn datagrams_of_one_client_stay_with_one_guest() {
    let mut net = balanced();
    for (client, guest, other) in [(1, A, B), (2, B, A), (1, A, B), (2, B, A)] {
        net.event(Event::UdpForwarded {
            forward: FORWARD,
            from: SocketAddr::from(([127, 0, 0, 1], 40_000 + client)),
            datagrams: vec![atoll_wire::FrameBuf::copy_from(b"hello").into()],
        });
        assert_eq!(net.heard(guest).len(), 1, "client {client}");
        net.hears_nothing(other);
    }
}
