//! DNS and HTTP over TCP: services behind the same connections as everything else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{Action, Command, Config, Documents, Event};
use atoll_wire::Seq;
use atoll_wire::tcp::Flags;

use crate::bench::{A, B, GATEWAY, METADATA, Net, v4};
use crate::connection::{Tcp, stream};

const RESOLVER: &str = "192.0.2.53:53";
const REGISTRY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 20));

// DNS.

fn dns() -> Tcp {
    let net = Net::with(|config| {
        config.names.insert("registry".into(), vec![REGISTRY]);
        config.resolvers = vec![RESOLVER.parse().unwrap()];
    });
    Tcp::served(net, A, SocketAddr::new(GATEWAY, 53))
}

/// A question for an A record, with its length before it.
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    framed(&message)
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

/// Messages of a stream: their identifiers, response codes and last four bytes.
fn answers(mut stream: &[u8]) -> Vec<(u16, u8, [u8; 4])> {
    let mut found = Vec::new();
    while let [high, low, rest @ ..] = stream {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (message, rest) = rest.split_at(len);
        let id = u16::from_be_bytes([message[0], message[1]]);
        found.push((id, message[3] & 15, message[len - 4..].try_into().unwrap()));
        stream = rest;
    }
    found
}

const OWN: &str = "registry.atoll.internal";

#[test]
fn a_question_over_tcp_is_answered_and_the_connection_stays() {
    let mut tcp = dns();
    for id in [7, 8] {
        tcp.send(&question(id, OWN));
        assert_eq!(answers(&tcp.receive_all()), [(id, 0, v4(REGISTRY).octets())]);
    }
    assert_eq!(tcp.net.flows(), [("tcp", "ESTABLISHED")]);
}

#[test]
fn a_question_split_into_bytes_is_one_question() {
    let mut tcp = dns();
    let mut answer = Vec::new();
    for byte in question(7, OWN) {
        tcp.send(&[byte]);
        answer.extend(tcp.receive_all());
    }
    assert_eq!(answers(&answer), [(7, 0, v4(REGISTRY).octets())]);
}

#[test]
fn pipelined_questions_are_each_answered() {
    let mut tcp = dns();
    let questions: Vec<u8> = (1..=20).flat_map(|id| question(id, OWN)).collect();
    tcp.send(&questions);
    let ids: Vec<u16> = answers(&tcp.receive_all())
        .iter()
        .map(|answer| answer.0)
        .collect();
    assert_eq!(ids, (1..=20).collect::<Vec<u16>>());
}

/// What the engine asked of the resolver.
fn asked(tcp: &mut Tcp) -> (atoll_engine::QueryId, Vec<u8>) {
    match tcp.other.pop() {
        Some(Action::DnsAsk {
            query,
            server,
            tcp: true,
            message,
        }) => {
            assert_eq!(server, RESOLVER.parse::<SocketAddr>().unwrap());
            (query, message.to_vec())
        }
        other => panic!("a question to the resolver was expected: {other:?}"),
    }
}

/// The resolver's answer: no such name.
fn answered(tcp: &mut Tcp, query: atoll_engine::QueryId, mut message: Vec<u8>) {
    message[2] |= 0x80;
    message[3] = 0x83;
    tcp.net.event(Event::DnsAnswered {
        query,
        message: message.into(),
    });
    tcp.run();
}

#[test]
fn a_client_that_closed_its_side_gets_its_answer_and_then_fin() {
    for name in [OWN, "www.example.com"] {
        let mut tcp = dns();
        let question = question(7, name);
        tcp.send_raw(&tcp.header(Flags::FIN_ACK), &question);
        tcp.seq += u32::try_from(question.len()).unwrap() + 1;
        let code = if name == OWN {
            0
        } else {
            tcp.wait(Duration::from_millis(500));
            tcp.receive_all();
            assert_eq!(tcp.net.flows(), [("tcp", "CLOSE-WAIT")]);
            let (query, message) = asked(&mut tcp);
            answered(&mut tcp, query, message);
            3
        };
        let answer = answers(&tcp.receive_all());
        assert_eq!((answer.len(), answer[0].0, answer[0].1), (1, 7, code));
        assert_eq!(tcp.net.flows(), [("tcp", "TIME-WAIT")]);
    }
}

#[test]
fn answers_come_in_the_order_in_which_resolvers_give_them() {
    let mut tcp = dns();
    tcp.send(&[question(1, "slow.example.com"), question(2, OWN)].concat());
    assert_eq!(answers(&tcp.receive_all())[0].0, 2);
    let (query, message) = asked(&mut tcp);
    answered(&mut tcp, query, message);
    assert_eq!(answers(&tcp.receive_all())[0].0, 1);
}

#[test]
fn a_client_that_resets_is_waited_for_no_more() {
    let mut tcp = dns();
    tcp.send(&question(1, "www.example.com"));
    tcp.receive_all();
    let (query, _) = asked(&mut tcp);
    tcp.send_flags(Flags::RST);
    assert_eq!(tcp.other, [Action::DnsForget(query)]);
    assert!(tcp.net.flows().is_empty());
}

#[test]
fn what_is_no_dns_ends_the_connection() {
    let mut tcp = dns();
    tcp.send(b"\xff\xffGET / HTTP/1.1\r\n");
    tcp.receive_all();
    assert_eq!(tcp.net.flows(), [("tcp", "FIN-WAIT")]);
    tcp.send_fin();
    assert_eq!(tcp.net.flows(), [("tcp", "TIME-WAIT")]);
}

// HTTP.

fn documents(text: &[u8]) -> Documents {
    [("meta-data".to_owned(), text.to_vec().into())].into()
}

/// The machine behind A's port has documents; the one behind B's has none.
fn serve(config: &mut Config) {
    config
        .documents
        .insert("m2".into(), documents(b"instance-id: a\n"));
}

fn http_at(guest: crate::bench::Guest, own: IpAddr) -> Tcp {
    Tcp::served(Net::with(serve), guest, SocketAddr::new(own, 80))
}

const GET: &[u8] = b"GET /meta-data HTTP/1.1\r\nHost: x\r\n\r\n";

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn documents_are_served_at_both_addresses_to_whom_they_belong() {
    for own in [GATEWAY, METADATA] {
        let mut tcp = http_at(A, own);
        tcp.send(GET);
        let answer = text(tcp.receive_all());
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\ninstance-id: a\n"));
        let mut tcp = http_at(B, own);
        tcp.send(GET);
        let answer = text(tcp.receive_all());
        assert!(
            answer.starts_with("HTTP/1.1 403 ") && !answer.contains("instance-id"),
            "{answer}"
        );
    }
}

#[test]
fn a_guest_that_claims_anothers_address_gets_none_of_its_documents() {
    let liar = crate::bench::Guest { ip: A.ip, ..B };
    let mut net = Net::with(serve);
    net.introduce(liar);
    let mut tcp = Tcp::served(net, liar, SocketAddr::new(METADATA, 80));
    tcp.send(GET);
    assert!(text(tcp.receive_all()).starts_with("HTTP/1.1 403 "));
}

#[test]
fn a_request_split_into_bytes_is_one_request() {
    let mut tcp = http_at(A, GATEWAY);
    let mut answer = Vec::new();
    for byte in GET {
        tcp.send(&[*byte]);
        answer.extend(tcp.receive_all());
    }
    assert_eq!(text(answer).matches("HTTP/1.1 200 ").count(), 1);
}

#[test]
fn a_request_that_arrives_out_of_order_is_one_request() {
    let mut tcp = http_at(A, GATEWAY);
    tcp.send_ahead(10, &GET[10..]);
    tcp.send(&GET[..10]);
    tcp.seq += u32::try_from(GET.len() - 10).unwrap();
    assert!(text(tcp.receive_all()).starts_with("HTTP/1.1 200 "));
}

#[test]
fn pipelined_requests_are_each_answered() {
    let mut tcp = http_at(A, GATEWAY);
    tcp.send(&GET.repeat(5));
    assert_eq!(text(tcp.receive_all()).matches("HTTP/1.1 200 ").count(), 5);
}

#[test]
fn a_client_that_closed_its_side_gets_its_document_and_then_fin() {
    let mut tcp = http_at(A, GATEWAY);
    tcp.send_raw(&tcp.header(Flags::FIN_ACK), GET);
    tcp.seq += u32::try_from(GET.len()).unwrap() + 1;
    assert!(text(tcp.receive_all()).ends_with("instance-id: a\n"));
    assert_eq!(tcp.net.flows(), [("tcp", "TIME-WAIT")]);
}

#[test]
fn a_client_that_asks_to_close_is_closed_after_the_document() {
    let mut tcp = http_at(A, GATEWAY);
    tcp.send(b"GET /meta-data HTTP/1.0\r\n\r\n");
    assert!(text(tcp.receive_all()).ends_with("instance-id: a\n"));
    assert_eq!(tcp.net.flows(), [("tcp", "FIN-WAIT")]);
    tcp.send_fin();
    assert_eq!(tcp.net.flows(), [("tcp", "TIME-WAIT")]);
}

#[test]
fn a_large_document_arrives_whole_whatever_is_lost() {
    let document = stream(0, 700_000);
    let mut tcp = Tcp::served(
        Net::with(|config| {
            config.documents.insert("m2".into(), documents(&document));
        }),
        A,
        SocketAddr::new(METADATA, 80),
    );
    tcp.send(b"GET /meta-data HTTP/1.0\r\n\r\n");
    let mut received = Vec::new();
    for round in 0u32.. {
        // The first segment of every third burst is lost.
        let segments = tcp.segments();
        let before = tcp.ack;
        for segment in segments.iter().skip(usize::from(round % 3 == 0)) {
            if segment.header.seq == tcp.ack {
                tcp.ack += u32::try_from(segment.payload.len()).unwrap();
                tcp.ack += u32::from(segment.header.flags.fin);
                received.extend(&segment.payload);
            }
        }
        if tcp.net.flows() == [("tcp", "FIN-WAIT")] && tcp.ack == before && segments.is_empty() {
            break;
        }
        tcp.send_ack();
        if tcp.ack == before {
            tcp.wait(Duration::from_secs(2));
        }
        assert!(round < 10_000, "{} bytes came", received.len());
    }
    assert!(received.ends_with(&document));
}

#[test]
fn a_guest_that_does_not_read_costs_a_bounded_number_of_answers() {
    let mut tcp = http_at(A, GATEWAY);
    tcp.window = 0;
    for _ in 0..50 {
        tcp.send(&GET.repeat(20));
    }
    tcp.segments();
    tcp.window = 64_000;
    tcp.send_ack();
    let answers = text(tcp.receive_all()).matches("HTTP/1.1 200 ").count();
    assert!((1..=100).contains(&answers), "{answers}");
    assert_eq!(tcp.net.flows(), [("tcp", "FIN-WAIT")]);
}

#[test]
fn documents_that_change_are_served_to_the_next_connection() {
    let mut net = Net::new();
    net.command(Command::SetDocuments {
        label: "m2".into(),
        documents: documents(b"new"),
    });
    let mut tcp = Tcp::served(net, A, SocketAddr::new(GATEWAY, 80));
    tcp.send(GET);
    assert!(text(tcp.receive_all()).ends_with("new"));
}

#[test]
fn a_repeated_syn_to_a_service_is_one_connection() {
    let mut net = Net::with(serve);
    let header = crate::connection::syn(100, crate::connection::MODERN);
    let header = atoll_wire::tcp::Header {
        dst_port: 80,
        ..header
    };
    let to = SocketAddr::new(GATEWAY, 80);
    net.send_tcp(A, to, &header, &[]);
    let first = net.hears_tcp(A).header;
    net.send_tcp(A, to, &header, &[]);
    let second = net.hears_tcp(A).header;
    assert_eq!((first.flags, first.ack), (Flags::SYN_ACK, Seq(101)));
    assert_eq!(second, first);
    assert_eq!(net.flows().len(), 1);
}
