//! One test a rule. A client is driven by hand-made messages; time is an argument.

mod acquiring;
mod bounds;
mod hostnames;
mod keeping;
mod options;
mod statics;
mod telling;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use atoll_wire::Mac;
use dhcproto::decoder::{Decodable, Decoder};
use dhcproto::encoder::{Encodable, Encoder};
use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, IAPD, IATA, Message, MessageType, ORO, OptionCode, Status,
    UnknownOption,
};

use super::*;
use crate::services::leases::{OFFER_HELD, OFFER_HELD_AT_LEAST, QUARANTINE};
use crate::services::names::Names;

pub(super) const PREFIX: Prefix = Prefix {
    address: Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 0),
};
/// What every client has: the image that they were cloned from.
const DUID: [u8; 6] = [0, 2, 0, 0, 0xab, 0x11];
/// The gateway's, by its MAC address.
const SERVER: [u8; 10] = [0, 3, 0, 1, 0x52, 0x55, 0x0a, 0x4d, 0x00, 0x01];

pub(super) fn mac(n: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, n])
}

pub(super) fn at(seconds: u64) -> Instant {
    Instant::since_origin(Duration::from_secs(seconds))
}

pub(super) fn host(identifier: u64) -> Ipv6Addr {
    PREFIX.with(identifier)
}

fn v4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, n)
}

pub(super) fn config() -> Config {
    let subnet = Subnet {
        address: v4(0),
        prefix_len: 24,
    };
    Config::new((subnet, PREFIX))
}

/// An association for addresses, with those that the client names.
pub(super) fn ia(iaid: u32, addresses: &[Ipv6Addr]) -> DhcpOption {
    let addresses = addresses.iter().map(|addr| {
        DhcpOption::IAAddr(IAAddr {
            addr: *addr,
            preferred_life: 0,
            valid_life: 0,
            opts: DhcpOptions::new(),
        })
    });
    DhcpOption::IANA(IANA {
        id: iaid,
        t1: 0,
        t2: 0,
        opts: addresses.collect(),
    })
}

fn fqdn(flags: u8, wire: &[u8]) -> DhcpOption {
    let data = [&[flags], wire].concat();
    DhcpOption::Unknown(UnknownOption::new(OptionCode::ClientFqdn, data))
}

fn asks_for(codes: &[OptionCode]) -> DhcpOption {
    let opts = codes.to_vec();
    DhcpOption::ORO(ORO { opts })
}

pub(super) fn bytes(kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
    let mut message = Message::new_with_id(kind, [7, 8, 9]);
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// What one association was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Addresses with a lifetime.
    pub(super) addresses: Vec<Ipv6Addr>,
    /// Addresses that are over.
    pub(super) ended: Vec<Ipv6Addr>,
    pub(super) status: Option<Status>,
}

/// What the associations of a message were told, by IAID.
pub(super) fn told(message: &Message) -> Vec<(u32, Told)> {
    let ias = message.opts().iter().filter_map(|option| match option {
        DhcpOption::IANA(ia) => Some((ia.id, &ia.opts)),
        DhcpOption::IATA(ia) => Some((ia.id, &ia.opts)),
        DhcpOption::IAPD(ia) => Some((ia.id, &ia.opts)),
        _ => None,
    });
    ias.map(|(id, options)| (id, told_by(options))).collect()
}

fn told_by(options: &DhcpOptions) -> Told {
    let mut told = Told::default();
    for option in options.iter() {
        match option {
            DhcpOption::IAAddr(address) if address.valid_life == 0 => told.ended.push(address.addr),
            DhcpOption::IAAddr(address) => told.addresses.push(address.addr),
            DhcpOption::StatusCode(code) => told.status = Some(code.status),
            other => panic!("{other:?}"),
        }
    }
    told.ended.sort_unstable();
    told
}

/// The status of a whole message.
fn status(message: &Message) -> Option<Status> {
    match message.opts().get(OptionCode::StatusCode)? {
        DhcpOption::StatusCode(code) => Some(code.status),
        other => panic!("{other:?}"),
    }
}

/// A server, its names, and what a client says to it.
struct World {
    server: Dhcp6Server,
    names: Names,
    /// Whence the next message comes.
    port: PortId,
    /// The sender's IPv4 address.
    address4: Option<Ipv4Addr>,
    unicast: bool,
    /// Who has a name by the other server.
    elsewhere: Option<(&'static str, Mac)>,
}

impl World {
    fn new(config: &Config) -> Self {
        Self {
            server: Dhcp6Server::new(config),
            names: Names::new(config),
            port: PortId(1),
            address4: None,
            unicast: false,
            elsewhere: None,
        }
    }

    fn plain() -> Self {
        Self::new(&config())
    }

    fn send(&mut self, now: u64, mac: Mac, payload: &[u8]) -> Option<Message> {
        let Mac([.., n]) = mac;
        let src = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, n.into());
        let client = Client6 {
            ingress: self.port,
            mac,
            src,
            unicast: self.unicast,
            address4: self.address4,
        };
        let elsewhere = self.elsewhere;
        let rules = NameRules {
            names: &self.names,
            elsewhere: &|name| elsewhere.filter(|(own, _)| *own == name).map(|(_, mac)| mac),
        };
        let reply = self.server.handle_message(at(now), client, payload, rules)?;
        assert_eq!(reply.to, src);
        self.server.leases.check();
        Some(Message::decode(&mut Decoder::new(&reply.message)).unwrap())
    }

    /// With the identifiers that the message must have.
    fn say(&mut self, now: u64, mac: Mac, kind: MessageType, options: &[DhcpOption]) -> Option<Message> {
        let mut all = vec![DhcpOption::ClientId(DUID.to_vec())];
        let to_nobody = [
            MessageType::Solicit,
            MessageType::Confirm,
            MessageType::Rebind,
            MessageType::InformationRequest,
        ];
        if !to_nobody.contains(&kind) {
            all.push(DhcpOption::ServerId(SERVER.to_vec()));
        }
        all.extend_from_slice(options);
        self.send(now, mac, &bytes(kind, &all))
    }

    /// What the association 1 is told.
    fn told(&mut self, now: u64, mac: Mac, kind: MessageType, named: &[Ipv6Addr]) -> Told {
        let reply = self.say(now, mac, kind, &[ia(1, named)]).unwrap();
        match told(&reply).as_slice() {
            [(1, told)] => told.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The address that the association 1 is given.
    fn given(&mut self, now: u64, mac: Mac, kind: MessageType, named: &[Ipv6Addr]) -> Option<Ipv6Addr> {
        let told = self.told(now, mac, kind, named);
        assert_eq!(
            told.addresses.is_empty(),
            told.status == Some(Status::NoAddrsAvail)
        );
        told.addresses.first().copied()
    }

    fn solicit(&mut self, now: u64, mac: Mac) -> Option<Ipv6Addr> {
        self.given(now, mac, MessageType::Solicit, &[])
    }

    /// The whole way to a lease.
    fn lease(&mut self, now: u64, mac: Mac) -> Ipv6Addr {
        let address = self.solicit(now, mac).unwrap();
        assert_eq!(
            self.given(now, mac, MessageType::Request, &[address]),
            Some(address)
        );
        address
    }

    fn lease_named(&mut self, now: u64, mac: Mac, wire: &[u8]) -> Message {
        let options = [ia(1, &[]), fqdn(1, wire)];
        self.say(now, mac, MessageType::Request, &options).unwrap()
    }

    fn renew(&mut self, now: u64, mac: Mac, address: Ipv6Addr) -> Told {
        self.told(now, mac, MessageType::Renew, &[address])
    }

    fn addresses(&self, now: u64) -> Vec<Ipv6Addr> {
        let leases = self.server.leases(at(now));
        leases.into_iter().map(|lease| lease.address).collect()
    }
}

/// A MAC address with a static lease; of IPv4 too.
fn with_static(address6: Option<Ipv6Addr>) -> Config {
    let mut config = config();
    config.static_leases = vec![StaticLease {
        mac: mac(1),
        address: Some(v4(10)),
        address6,
        hostname: Some("Db".to_owned()),
    }];
    config
}
