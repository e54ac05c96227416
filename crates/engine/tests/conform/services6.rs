//! The services over IPv6: DHCPv6, and DNS of both families.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use atoll_engine::{Action, StaticLease};
use atoll_wire::IpProtocol;
use dhcproto::v6::{DhcpOption, DhcpOptions, IANA, Message, MessageType, OptionCode, Status, UnknownOption};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use hickory_proto::op::{Message as Dns, MessageType as DnsType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::bench::{A, B, Guest, Heard, Net, udp};
use crate::bench6::{A6, GATEWAY6, LINK_LOCAL, PREFIX, frame, net_of_strangers, net_with};

const SERVERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2));
const CLIENT: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2));

/// A client's message, with a name for itself.
fn message(kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
    let mut message = Message::new_with_id(kind, [1, 2, 3]);
    let opts = DhcpOptions::new();
    let association = IANA {
        id: 1,
        t1: 0,
        t2: 0,
        opts,
    };
    let fqdn = UnknownOption::new(OptionCode::ClientFqdn, b"\x01\x03six".to_vec());
    let all = [
        DhcpOption::ClientId(vec![0, 2, 0, 0, 0xab, 0x11]),
        DhcpOption::IANA(association),
        DhcpOption::Unknown(fqdn),
    ];
    for option in all.iter().chain(options) {
        message.opts_mut().insert(option.clone());
    }
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

fn send(net: &mut Net, guest: Guest, dst: IpAddr, message: &[u8]) {
    let (from, to) = (SocketAddr::new(CLIENT, 546), SocketAddr::new(dst, 547));
    let bytes = frame(guest, (CLIENT, dst), (IpProtocol::Udp, 1), udp(from, to, message));
    net.send_frame(guest, &bytes);
}

/// What DHCPv6 answers.
fn answer(net: &mut Net, guest: Guest) -> Message {
    let heard = net.heard(guest).into_iter().find_map(|heard| match heard {
        Heard::Udp { src, dst, payload } => Some((src, dst, payload)),
        _ => None,
    });
    let (src, dst, payload) = heard.unwrap();
    assert_eq!(
        src,
        SocketAddr::new(LINK_LOCAL, 547),
        "from an address of the client's scope"
    );
    assert_eq!(dst, SocketAddr::new(CLIENT, 546));
    Message::decode(&mut Decoder::new(&payload)).unwrap()
}

/// What DNS answers to a guest that asks over IPv6.
fn resolve(net: &mut Net, name: &str, kind: RecordType) -> (ResponseCode, Vec<RData>) {
    let mut question = Dns::new(7, DnsType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let question = question.to_vec().unwrap();
    net.send_udp(A6, 4000, SocketAddr::new(GATEWAY6, 53), &question);
    let Heard::Udp { src, payload, .. } = net.hears(A6) else {
        panic!("no answer");
    };
    assert_eq!(src, SocketAddr::new(GATEWAY6, 53));
    let answer = Dns::from_vec(&payload).unwrap();
    let records = answer.answers.into_iter().map(|record| record.data);
    (answer.metadata.response_code, records.collect())
}

#[test]
fn dhcpv6_gives_a_stranger_the_address_beside_its_ipv4_address() {
    let mut net = net_of_strangers();
    let address4 = net.engine.address_for(net.now, A.mac).unwrap();
    let [.., last] = address4.octets();
    let expected: Ipv6Addr = format!("fd77:77::{last}").parse().unwrap();
    assert_eq!(net.engine.address6_for(net.now, A.mac), Some(expected));
    let solicit = message(MessageType::Solicit, &[DhcpOption::RapidCommit]);
    send(&mut net, A, SERVERS, &solicit);
    assert_eq!(answer(&mut net, A).msg_type(), MessageType::Reply);
    assert!(
        net.actions()
            .iter()
            .any(|action| matches!(action, Action::LeasesChanged))
    );
    let leases = net.engine.leases6(net.now);
    assert_eq!(
        (leases.len(), leases[0].mac, leases[0].address),
        (1, A.mac, expected)
    );
    assert_eq!(net.engine.snapshot(net.now).leases6, leases);
}

#[test]
fn a_name_learnt_by_dhcpv6_is_answered_over_ipv6() {
    let mut net = net_with(|_| ());
    let solicit = message(MessageType::Solicit, &[DhcpOption::RapidCommit]);
    send(&mut net, A, SERVERS, &solicit);
    answer(&mut net, A);
    let leased = net.engine.leases6(net.now)[0].address;
    let answer = resolve(&mut net, "six.atoll.internal.", RecordType::AAAA);
    assert_eq!(answer, (ResponseCode::NoError, vec![RData::AAAA(leased.into())]));
    let answer = resolve(&mut net, "six.atoll.internal.", RecordType::A);
    assert_eq!(answer, (ResponseCode::NoError, vec![]));
}

#[test]
fn a_name_of_an_ipv4_lease_has_the_ipv6_address_that_its_machine_gave_itself() {
    let mut net = net_with(|config| {
        config.static_leases = vec![StaticLease {
            mac: A.mac,
            address: Some("10.77.0.2".parse().unwrap()),
            address6: None,
            hostname: Some("a".to_owned()),
        }];
    });
    let heard = PREFIX.with(2);
    let answer = resolve(&mut net, "a", RecordType::AAAA);
    assert_eq!(answer, (ResponseCode::NoError, vec![RData::AAAA(heard.into())]));
    let nibbles = format!("{:032x}", heard.to_bits());
    let nibbles: Vec<String> = nibbles.chars().rev().map(String::from).collect();
    let arpa = format!("{}.ip6.arpa.", nibbles.join("."));
    let (code, records) = resolve(&mut net, &arpa, RecordType::PTR);
    assert_eq!((code, records.len()), (ResponseCode::NoError, 1));
    assert_eq!(records[0].to_string(), "a.atoll.internal.");
    let (_, gateway) = resolve(&mut net, "gateway", RecordType::AAAA);
    assert_eq!(gateway, [RData::AAAA(PREFIX.gateway().into())]);
}

#[test]
fn dhcpv6_to_the_gateway_alone_is_told_to_use_multicast() {
    let mut net = net_with(|_| ());
    let server = [&[0, 3, 0, 1], crate::bench::config().gateway_mac.0.as_slice()].concat();
    let request = message(MessageType::Request, &[DhcpOption::ServerId(server)]);
    for gateway in [GATEWAY6, LINK_LOCAL] {
        send(&mut net, A, gateway, &request);
        let reply = answer(&mut net, A);
        let Some(DhcpOption::StatusCode(code)) = reply.opts().get(OptionCode::StatusCode) else {
            panic!("{reply:?}");
        };
        assert_eq!(code.status, Status::UseMulticast);
    }
    assert_eq!(net.engine.leases6(net.now), []);
}

#[test]
fn an_isolated_guest_is_served_and_its_messages_reach_no_other() {
    let mut net = net_with(|config| config.isolate = true);
    let solicit = message(MessageType::Solicit, &[]);
    send(&mut net, A, SERVERS, &solicit);
    assert_eq!(answer(&mut net, A).msg_type(), MessageType::Advertise);
    net.hears_nothing(B);
}

#[test]
fn a_static_lease_of_ipv6_is_refused_whole_when_it_cannot_be() {
    let mut net = net_with(|_| ());
    let lease = StaticLease {
        mac: A.mac,
        address: Some("10.77.0.20".parse().unwrap()),
        address6: Some(PREFIX.gateway()),
        hostname: None,
    };
    let command = atoll_engine::Command::SetStaticLease(lease.clone());
    assert!(net.engine.apply(net.now, command).is_err());
    assert_ne!(net.engine.address_for(net.now, A.mac), lease.address);
    net.command(atoll_engine::Command::SetStaticLease(StaticLease {
        address6: Some(PREFIX.with(0xbeef)),
        ..lease.clone()
    }));
    assert_eq!(net.engine.address_for(net.now, A.mac), lease.address);
    assert_eq!(net.engine.address6_for(net.now, A.mac), Some(PREFIX.with(0xbeef)));
}
