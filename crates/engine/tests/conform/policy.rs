//! Where flows may lead: rules at work, and how a guest is told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{
    Action, Command, Destination, Event, NamePattern, Network, Policy, Rule, Transport, Verdict,
};
use atoll_wire::tcp::{Flags, Header};
use atoll_wire::{FrameBuf, Icmpv4Message, IpProtocol};
use hickory_proto::op::{Message as Dns, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::bench::{A, ALIAS, B, GATEWAY, Guest, Heard, Net, WORLD};
use crate::bench6::{self, A6, ALIAS6, WORLD6};

const DENIED: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));
const PROHIBITED: u8 = 13;

pub(crate) fn rule(verdict: Verdict, to: Destination) -> Rule {
    Rule {
        verdict,
        from: None,
        to,
        ports: None,
        transport: None,
    }
}

fn host(address: IpAddr) -> Destination {
    Destination::Network(Network {
        address,
        prefix_len: if address.is_ipv4() { 32 } else { 128 },
    })
}

fn allow(to: Destination) -> Rule {
    rule(Verdict::Allow, to)
}

fn deny(to: Destination) -> Rule {
    rule(Verdict::Deny, to)
}

/// A network of both families with these rules, where guests may reach the host.
fn net(rules: Vec<Rule>, default_verdict: Verdict) -> Net {
    bench6::net_with(|config| {
        config.host_loopback = true;
        config.resolvers = vec![SocketAddr::new(WORLD, 53)];
        config.policy = Policy {
            rules,
            default_verdict,
            ..Policy::default()
        };
    })
}

fn syn(net: &mut Net, guest: Guest, to: SocketAddr) {
    let syn = Header {
        src_port: 5000,
        dst_port: to.port(),
        flags: Flags::SYN,
        ..Header::default()
    };
    net.send_tcp(guest, to, &syn, b"");
}

/// The guest was told at once: reset, or prohibited.
fn is_refused(net: &mut Net, guest: Guest) {
    net.asks_nothing();
    match net.hears(guest) {
        Heard::Tcp(segment) => assert!(segment.header.flags.rst, "{segment:?}"),
        Heard::Icmp(icmp) => {
            assert_eq!(
                (icmp.message, icmp.code),
                (Icmpv4Message::DstUnreachable, PROHIBITED)
            );
        }
        Heard::Icmp6(icmp) => assert_eq!((icmp.kind, icmp.code), (1, 1)),
        other => panic!("a refusal was expected: {other:?}"),
    }
}

#[test]
fn what_is_denied_is_refused_at_once_by_every_transport_and_opens_nothing() {
    let mut net = net(vec![allow(host(WORLD)), allow(host(WORLD6))], Verdict::Deny);
    let denied6: IpAddr = "2001:db8::bad".parse().unwrap();
    for (guest, to) in [(A, DENIED), (A6, denied6), (A, ALIAS), (A6, ALIAS6)] {
        syn(&mut net, guest, SocketAddr::new(to, 443));
        is_refused(&mut net, guest);
        net.send_udp(guest, 5000, SocketAddr::new(to, 53), b"x");
        is_refused(&mut net, guest);
        // The host alias is one of the gateway's own addresses, at which itself answers.
        if to != ALIAS && to != ALIAS6 {
            net.send_echo(guest, to, (1, 1), b"");
            is_refused(&mut net, guest);
        }
    }
    assert_eq!(net.counter("denied_by_default"), 10);
    let ports = net.engine.snapshot(net.now).ports;
    assert_eq!((ports[0].policy.denied, ports[1].policy.denied), (10, 0));
    assert_eq!(net.flows(), []);
    for guest in [A, A6] {
        let to = if guest == A { WORLD } else { WORLD6 };
        syn(&mut net, guest, SocketAddr::new(to, 443));
        assert!(matches!(net.action(), Action::TcpConnect { .. }));
    }
}

#[test]
fn a_fragmented_datagram_is_judged_as_a_whole() {
    let mut net = net(vec![deny(host(DENIED))], Verdict::Allow);
    let mut buf = FrameBuf::zeroed(2000);
    atoll_wire::packet::push_udp(&mut buf, A.at(5000), SocketAddr::new(DENIED, 53));
    let whole = buf.payload().to_vec();
    for (at, more) in [(0, true), (1000, false)] {
        let part = FrameBuf::copy_from(&whole[at..if more { 1000 } else { whole.len() }]);
        let mut frame = crate::bench::ip_frame(A, DENIED, IpProtocol::Udp, 64, part);
        let field = u16::try_from(at / 8).unwrap() | u16::from(more) << 13;
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        frame[24..26].fill(0);
        let sum = !crate::bench::sum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        net.send_frame(A, &frame);
    }
    is_refused(&mut net, A);
    assert_eq!(
        (net.counter("denied_by_rule"), net.counter("reassembled")),
        (1, 1)
    );
}

#[test]
fn a_socket_that_is_open_does_not_lead_to_others() {
    let mut net = net(vec![deny(host(DENIED))], Verdict::Allow);
    let peer = SocketAddr::new(WORLD, 3478);
    net.send_udp(A, 5000, peer, b"x");
    let Action::UdpOpen { flow, .. } = net.actions()[0] else {
        panic!("a socket was expected")
    };
    net.send_udp(A, 5000, SocketAddr::new(DENIED, 3478), b"x");
    is_refused(&mut net, A);
    let received = |net: &mut Net, from| {
        let datagrams = vec![FrameBuf::copy_from(b"reply").into()];
        net.event(Event::UdpReceived {
            flow,
            from,
            datagrams,
        });
    };
    received(&mut net, SocketAddr::new(DENIED, 3478));
    net.hears_nothing(A);
    assert_eq!(net.counter("denied_reply"), 1);
    received(&mut net, peer);
    assert!(matches!(net.hears(A), Heard::Udp { .. }));
    net.send_echo(A, WORLD, (7, 1), b"");
    assert!(matches!(
        net.actions()[..],
        [Action::IcmpOpen { .. }, Action::IcmpSend { .. }]
    ));
    net.send_echo(A, DENIED, (7, 2), b"");
    is_refused(&mut net, A);
}

#[test]
fn a_socket_that_is_open_goes_on_with_its_peer_whatever_became_of_the_name() {
    let mut net = net(vec![allow(below("example"))], Verdict::Deny);
    ask(&mut net, "www.example", &[(WORLD, 60)]);
    net.send_udp(A, 5000, SocketAddr::new(WORLD, 443), b"x");
    assert!(matches!(
        net.actions()[..],
        [Action::UdpOpen { .. }, Action::UdpSend { .. }]
    ));
    net.wait(Duration::from_secs(200));
    net.heard(A);
    net.send_udp(A, 5000, SocketAddr::new(WORLD, 443), b"x");
    assert!(matches!(net.action(), Action::UdpSend { .. }));
    net.send_udp(A, 5000, SocketAddr::new(WORLD, 444), b"x");
    is_refused(&mut net, A);
}

fn below(name: &str) -> Destination {
    Destination::Name(NamePattern::Below(name.to_owned()))
}

/// The guest asks our DNS for a name, and the host's resolver answers.
fn ask(net: &mut Net, name: &str, answers: &[(IpAddr, u32)]) {
    let name = Name::from_ascii(name).unwrap();
    let mut question = Dns::new(7, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(name.clone(), RecordType::A));
    question.metadata.recursion_desired = true;
    let dns = SocketAddr::new(GATEWAY, 53);
    net.send_udp(A, 6000, dns, &question.to_vec().unwrap());
    let asked = net.actions().into_iter().find_map(|action| match action {
        Action::DnsAsk { query, message, .. } => Some((query, message)),
        _ => None,
    });
    let (query, message) = asked.expect("a question to the resolver");
    let mut answer = Dns::from_vec(&message).unwrap();
    answer.metadata.message_type = MessageType::Response;
    for (address, ttl) in answers {
        let data = match address {
            IpAddr::V4(address) => RData::A((*address).into()),
            IpAddr::V6(address) => RData::AAAA((*address).into()),
        };
        answer.add_answer(Record::from_rdata(name.clone(), *ttl, data));
    }
    let message = answer.to_vec().unwrap().into();
    net.event(Event::DnsAnswered { query, message });
    net.actions();
    net.heard(A);
}

#[test]
fn a_name_opens_what_our_dns_told_the_guest_and_for_as_long_as_it_said() {
    let mut net = net(vec![allow(below("example"))], Verdict::Deny);
    let to = SocketAddr::new(WORLD, 443);
    syn(&mut net, A, to);
    is_refused(&mut net, A);
    ask(&mut net, "www.example", &[(WORLD, 60)]);
    net.wait(Duration::from_secs(60));
    syn(&mut net, A, to);
    assert!(matches!(net.action(), Action::TcpConnect { .. }));
    net.heard(B);
    syn(&mut net, B, to);
    is_refused(&mut net, B);
    net.wait(Duration::from_secs(121));
    net.heard(A);
    net.send_udp(A, 5000, to, b"x");
    is_refused(&mut net, A);
}

#[test]
fn an_answer_with_a_private_address_opens_nothing() {
    let mut net = net(vec![allow(below("evil.example"))], Verdict::Deny);
    let addresses = ["192.168.1.1", "10.9.9.9", "198.51.100.200"].map(|text| text.parse().unwrap());
    net.command(Command::SetHostAddresses(vec![addresses[2]]));
    for address in addresses {
        ask(&mut net, "a.evil.example", &[(address, 0)]);
        syn(&mut net, A, SocketAddr::new(address, 80));
        is_refused(&mut net, A);
    }
    assert_eq!(net.counter("denied_name_of_private"), 3);
}

#[test]
fn ip_options_lead_nowhere_else() {
    let mut net = net(vec![deny(host(DENIED))], Verdict::Allow);
    // Loose source route (RFC 791) by an allowed address.
    let plain = crate::bench::ip_frame(
        A,
        DENIED,
        IpProtocol::Udp,
        64,
        crate::bench::udp(A.at(5000), SocketAddr::new(DENIED, 9), b"x"),
    );
    let options = [131, 7, 4, 198, 51, 100, 7, 0];
    let mut frame = [&plain[..34], &options, &plain[34..]].concat();
    frame[14] = 0x47;
    let len = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&len.to_be_bytes());
    frame[24..26].fill(0);
    let sum = !crate::bench::sum(&[&frame[14..42]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    net.send_frame(A, &frame);
    is_refused(&mut net, A);
}

#[test]
fn an_internal_network_has_its_own_services_and_no_outside() {
    let mut net = Net::with(|config| {
        config.resolvers = vec![SocketAddr::new(WORLD, 53)];
        config.policy.internal = true;
        config.names.insert("nas".to_owned(), vec![B.ip]);
    });
    syn(&mut net, A, SocketAddr::new(WORLD, 443));
    is_refused(&mut net, A);
    net.send_udp(A, 5000, SocketAddr::new(WORLD, 53), b"x");
    is_refused(&mut net, A);
    net.send_echo(A, GATEWAY, (1, 1), b"");
    assert!(matches!(net.hears(A), Heard::Icmp(_)));
    assert_eq!(net.counter("denied_internal"), 2);
    net.command(Command::SetResolvers(vec![SocketAddr::new(WORLD, 53)]));
    for (name, answers) in [("nas.atoll.internal", 1), ("www.example", 0)] {
        let mut question = Dns::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        net.send_udp(A, 6000, SocketAddr::new(GATEWAY, 53), &question.to_vec().unwrap());
        net.asks_nothing();
        let Heard::Udp { payload, .. } = net.hears(A) else {
            panic!("an answer was expected")
        };
        assert_eq!(Dns::from_vec(&payload).unwrap().answers.len(), answers, "{name}");
    }
}

#[test]
fn a_rule_for_one_transport_is_none_for_others() {
    let mut only_web = allow(Destination::Any);
    only_web.transport = Some(Transport::Tcp);
    only_web.ports = Some(80..=80);
    let mut net = net(vec![only_web], Verdict::Deny);
    syn(&mut net, A, SocketAddr::new(WORLD, 80));
    assert!(matches!(net.action(), Action::TcpConnect { .. }));
    syn(&mut net, A, SocketAddr::new(WORLD, 81));
    is_refused(&mut net, A);
    net.send_udp(A, 5000, SocketAddr::new(WORLD, 80), b"x");
    is_refused(&mut net, A);
}
