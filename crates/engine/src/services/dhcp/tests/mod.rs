//! One test a rule. A client is driven by hand-made messages; time is an argument.

mod acquiring;
mod boot;
mod bounds;
mod hostnames;
mod keeping;
mod options;
mod statics;
mod telling;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use atoll_wire::Mac;
use dhcproto::decoder::{Decodable, Decoder};
use dhcproto::encoder::{Encodable, Encoder};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};

use super::*;
use crate::services::leases::{OFFER_HELD, OFFER_HELD_AT_LEAST, QUARANTINE};
use crate::services::names::Names;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const ZERO: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

pub(super) fn subnet(prefix_len: u8) -> Subnet {
    Subnet {
        address: Ipv4Addr::new(10, 77, 0, 0),
        prefix_len,
    }
}

pub(super) fn mac(n: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, n])
}

pub(super) fn at(seconds: u64) -> Instant {
    Instant::since_origin(Duration::from_secs(seconds))
}

fn host(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, n)
}

pub(super) fn message(mac: Mac, ciaddr: Ipv4Addr, options: &[DhcpOption]) -> Message {
    let mut message = Message::new_with_id(7, ciaddr, ZERO, ZERO, ZERO, &mac.0);
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message
}

pub(super) fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// The host names that no client may take.
pub(super) fn rules(names: &Names) -> NameRules<'_> {
    NameRules {
        names,
        elsewhere: &|_| None,
    }
}

/// A server, its names, and what a client says to it.
struct World {
    server: DhcpServer,
    names: Names,
    /// Whence the next message comes.
    port: PortId,
}

impl World {
    fn new(config: &Config) -> Self {
        Self {
            server: DhcpServer::new(config),
            names: Names::new(config),
            port: PortId(1),
        }
    }

    fn plain() -> Self {
        Self::new(&Config::new(subnet(24)))
    }

    fn send(&mut self, now: Instant, message: &Message) -> Option<(Message, ReplyTo)> {
        let mac = Mac(message.chaddr().try_into().unwrap());
        let client = Client {
            ingress: self.port,
            mac,
            src: message.ciaddr(),
        };
        let reply = self
            .server
            .handle_message(now, client, &bytes(message), rules(&self.names))?;
        let decoded = Message::decode(&mut Decoder::new(&reply.message)).unwrap();
        Some((decoded, reply.to))
    }

    fn say(&mut self, now: u64, mac: Mac, kind: MessageType, options: &[DhcpOption]) -> Option<Message> {
        let mut all = vec![DhcpOption::MessageType(kind)];
        all.extend_from_slice(options);
        Some(self.send(at(now), &message(mac, ZERO, &all))?.0)
    }

    fn discover(&mut self, now: u64, mac: Mac) -> Option<Ipv4Addr> {
        self.say(now, mac, MessageType::Discover, &[])
            .map(|offer| offer.yiaddr())
    }

    /// REQUEST in SELECTING state.
    fn select(&mut self, now: u64, mac: Mac, address: Ipv4Addr) -> Option<Message> {
        self.select_with(now, mac, address, &[])
    }

    fn select_with(&mut self, now: u64, mac: Mac, address: Ipv4Addr, more: &[DhcpOption]) -> Option<Message> {
        let mut options = vec![
            DhcpOption::ServerIdentifier(GATEWAY),
            DhcpOption::RequestedIpAddress(address),
        ];
        options.extend_from_slice(more);
        self.say(now, mac, MessageType::Request, &options)
    }

    /// REQUEST in INIT-REBOOT state.
    fn reboot(&mut self, now: u64, mac: Mac, address: Ipv4Addr) -> Option<Message> {
        self.say(
            now,
            mac,
            MessageType::Request,
            &[DhcpOption::RequestedIpAddress(address)],
        )
    }

    /// REQUEST in RENEWING or REBINDING state.
    fn renew(&mut self, now: u64, mac: Mac, address: Ipv4Addr) -> Option<Message> {
        let message = message(mac, address, &[DhcpOption::MessageType(MessageType::Request)]);
        Some(self.send(at(now), &message)?.0)
    }

    fn release(&mut self, now: u64, mac: Mac, address: Ipv4Addr) {
        let options = [
            DhcpOption::MessageType(MessageType::Release),
            DhcpOption::ServerIdentifier(GATEWAY),
        ];
        assert!(self.send(at(now), &message(mac, address, &options)).is_none());
    }

    fn decline(&mut self, now: u64, mac: Mac, address: Ipv4Addr) {
        let options = [
            DhcpOption::RequestedIpAddress(address),
            DhcpOption::ServerIdentifier(GATEWAY),
        ];
        assert!(self.say(now, mac, MessageType::Decline, &options).is_none());
    }

    /// The whole way to a lease.
    fn lease(&mut self, now: u64, mac: Mac) -> Ipv4Addr {
        let address = self.discover(now, mac).unwrap();
        let ack = self.select(now, mac, address).unwrap();
        assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, address));
        address
    }

    fn lease_named(&mut self, now: u64, mac: Mac, name: &str) -> Ipv4Addr {
        let address = self.discover(now, mac).unwrap();
        let ack = self
            .select_with(now, mac, address, &[DhcpOption::Hostname(name.to_owned())])
            .unwrap();
        assert_eq!(kind(&ack), MessageType::Ack);
        address
    }
}

fn kind(message: &Message) -> MessageType {
    message.opts().msg_type().unwrap()
}

fn is_nak(message: Option<Message>) -> bool {
    message.is_some_and(|message| kind(&message) == MessageType::Nak)
}

fn is_ack(message: Option<Message>) -> bool {
    message.is_some_and(|message| kind(&message) == MessageType::Ack)
}

/// The address of a host name.
fn address_of_name(server: &DhcpServer, name: &str) -> Option<Ipv4Addr> {
    server.address_of(server.owner_of_name(name)?)
}

/// A /29 has four guest addresses; all of them leased.
fn full() -> World {
    let mut world = World::new(&Config::new(subnet(29)));
    for n in 1..=4 {
        world.lease(0, mac(n));
    }
    world
}

fn with_static(address: Ipv4Addr) -> Config {
    let mut config = Config::new(subnet(24));
    let hostname = Some("Db".to_owned());
    config.static_leases = vec![StaticLease {
        mac: mac(1),
        address: Some(address),
        address6: None,
        hostname,
    }];
    config
}
