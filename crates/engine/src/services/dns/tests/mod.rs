//! One test a rule. Clients, resolvers and time are arguments.

mod cache;
mod elsewhere;
mod forward;
mod local;
mod properties;
mod questions;
mod reverse;
mod services;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::forward::{TOTAL, TRY};
use super::*;
use crate::services::dhcp::DhcpServer;
use crate::services::dhcp6::Dhcp6Server;
use crate::services::names::Names;
use crate::services::names::tests::Ears;
use crate::{Lease, Lease6, Prefix, StaticLease, Subnet};

const PREFIX: Prefix = Prefix {
    address: Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0),
};

fn at(seconds: u64) -> Instant {
    Instant::since_origin(Duration::from_secs(seconds))
}

fn host(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, n)
}

fn resolver(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n], 53))
}

fn udp(ingress: u32, port: u16) -> DnsClient {
    let guest = SocketAddrV4::new(host(2), port);
    DnsClient {
        ingress: PortId(ingress),
        via: DnsVia::Udp {
            guest: guest.into(),
            asked: host(1).into(),
            mac: Mac([0x52, 0, 0, 0, 0, 2]),
        },
    }
}

fn tcp(slot: u32) -> DnsClient {
    DnsClient {
        ingress: PortId(1),
        via: DnsVia::Tcp(FlowId { slot, generation: 0 }),
    }
}

fn config() -> Config {
    let subnet = Subnet {
        address: host(0),
        prefix_len: 24,
    };
    let mut config = Config::new((subnet, PREFIX));
    config.domain = "Lab.internal".to_owned();
    config.names.insert("registry".to_owned(), vec![host(20).into()]);
    config.names.insert("deep.down".to_owned(), vec![host(21).into()]);
    config
        .names
        .insert("www.example.com".to_owned(), vec![host(22).into()]);
    config
        .names
        .insert("x.y.lab.internal".to_owned(), vec![host(23).into()]);
    let hostname = Some("a".to_owned());
    config.static_leases = vec![StaticLease {
        mac: Mac([2; 6]),
        address: Some(host(10)),
        address6: None,
        hostname,
    }];
    let hostname = Some("b".to_owned());
    let remaining = Duration::from_secs(60);
    config.leases = vec![Lease {
        mac: Mac([4; 6]),
        address: host(11),
        hostname,
        remaining,
    }];
    // One by DHCPv6 alone, and one that has the same name by both.
    let lease6 = |n, identifier, name: Option<&str>| Lease6 {
        mac: Mac([n; 6]),
        iaid: 1,
        address: PREFIX.with(identifier),
        hostname: name.map(str::to_owned),
        remaining,
    };
    config.leases6 = vec![lease6(6, 0x12, Some("c")), lease6(8, 0x13, Some("d"))];
    config.leases.push(Lease {
        mac: Mac([8; 6]),
        address: host(13),
        hostname: Some("d".to_owned()),
        remaining,
    });
    config.names.insert(
        "both".to_owned(),
        vec![host(24).into(), PREFIX.with(0x24).into(), host(25).into()],
    );
    config
        .names
        .insert("six".to_owned(), vec![PREFIX.with(0x26).into()]);
    config.resolvers = vec![resolver(1), resolver(2)];
    config
}

/// A service with its names.
struct World {
    service: DnsService,
    names: Names,
    dhcp: DhcpServer,
    dhcp6: Dhcp6Server,
    ears: Ears,
}

impl World {
    fn new(config: &Config) -> Self {
        Self {
            service: DnsService::new(config, [7; 16]),
            names: Names::new(config),
            dhcp: DhcpServer::new(config),
            dhcp6: Dhcp6Server::new(config),
            ears: Ears::default(),
        }
    }

    fn ask(&mut self, now: Instant, client: DnsClient, message: &[u8]) {
        let names = NameView {
            names: &self.names,
            dhcp: &self.dhcp,
            dhcp6: &self.dhcp6,
            heard: &self.ears,
        };
        self.service.handle_query(now, client, message, names);
    }

    fn outputs(&mut self) -> Vec<DnsOutput> {
        std::iter::from_fn(|| self.service.poll_output()).collect()
    }

    /// What a lone question to the network itself gets.
    fn local(&mut self, name: &str, kind: RecordType) -> Message {
        self.ask(at(0), udp(1, 1000), &question(name, kind));
        match self.outputs().as_slice() {
            [DnsOutput::Answer { message, .. }] => Message::from_vec(message).unwrap(),
            other => panic!("{name} {kind}: {other:?}"),
        }
    }

    /// The one query that an input led to.
    fn asked(&mut self) -> (QueryId, SocketAddr, bool, Bytes) {
        match self.outputs().as_slice() {
            [
                DnsOutput::Ask {
                    query,
                    server,
                    tcp,
                    message,
                },
            ] => (*query, *server, *tcp, message.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// The one answer that an input led to.
    fn answered(&mut self) -> (DnsClient, Bytes) {
        let mut answers = self.outputs().into_iter().filter_map(|output| match output {
            DnsOutput::Answer { client, message } => Some((client, message)),
            _ => None,
        });
        let answer = answers.next().unwrap();
        assert_eq!(answers.next(), None);
        answer
    }

    fn rcode(&mut self) -> ResponseCode {
        Message::from_vec(&self.answered().1)
            .unwrap()
            .metadata
            .response_code
    }
}

fn build(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn question(name: &str, kind: RecordType) -> Vec<u8> {
    build(name, kind).to_vec().unwrap()
}

/// What a resolver says to a query of ours.
fn resolved(asked: &[u8], code: ResponseCode, records: usize) -> Vec<u8> {
    let mut message = Message::from_vec(asked).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = code;
    let name = message.queries[0].name().clone();
    for n in 0..records {
        let address = Ipv4Addr::from_bits(0x0808_0000 + u32::try_from(n).unwrap());
        message.add_answer(Record::from_rdata(name.clone(), 300, RData::A(A(address))));
    }
    message.to_vec().unwrap()
}

/// The addresses in an answer.
fn addresses(message: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match record.data {
        RData::A(A(address)) => address.into(),
        RData::AAAA(AAAA(address)) => address.into(),
        ref other => panic!("{other:?}"),
    };
    message.answers.iter().map(address).collect()
}

fn address(message: &Message) -> Option<Ipv4Addr> {
    match message.answers.as_slice() {
        [
            Record {
                data: RData::A(A(address)),
                ttl: 10,
                ..
            },
        ] => Some(*address),
        _ => None,
    }
}
