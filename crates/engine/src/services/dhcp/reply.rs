//! What the server answers: RFC 2131 section 4.3.1 table 3, with the options of RFC 2132 and RFC 3397.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use dhcproto::encoder::{Encodable, Encoder};
use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode, UnknownOption};
use hickory_proto::rr::Name;

use super::request::Request;
use crate::{Config, StaticRoute, Subnet};

/// What every client must be able to take: RFC 2131 section 2, 312 bytes of options, without IP and UDP headers.
const MAX_SIZE: usize = 548;
/// IP and UDP headers, which option 57 counts.
const HEADERS: usize = 28;
/// The largest message that fits the smallest MTU worth having.
const LARGEST: usize = 1200;
/// BOOTP's size (RFC 951); some clients drop what is shorter.
const MIN_SIZE: usize = 300;

/// Options to send whether or not the client asked: without them an address is of little use.
const ALWAYS: [OptionCode; 3] = [
    OptionCode::SubnetMask,
    OptionCode::Router,
    OptionCode::DomainNameServer,
];
/// Options to send to a client that asks for nothing in particular.
const ORDINARY: [OptionCode; 7] = [
    OptionCode::ClasslessStaticRoute,
    OptionCode::Hostname,
    OptionCode::DomainName,
    OptionCode::BroadcastAddr,
    OptionCode::InterfaceMtu,
    OptionCode::NtpServers,
    OptionCode::DomainSearch,
];

/// What is the same for every client of a network.
#[derive(Debug)]
pub(super) struct Parameters {
    subnet: Subnet,
    /// Where this server is, and the resolver.
    pub(super) server: Ipv4Addr,
    router: Option<Ipv4Addr>,
    routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    mtu: u16,
    domain: String,
    search: Vec<Name>,
    ntp: Vec<Ipv4Addr>,
}

/// What one client is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer<'a> {
    pub(super) kind: MessageType,
    /// `yiaddr`.
    pub(super) address: Ipv4Addr,
    /// Lease time; `None` in answers to INFORM.
    pub(super) lease: Option<Duration>,
    /// Option 12.
    pub(super) hostname: Option<&'a str>,
}

impl Parameters {
    pub(super) fn new(config: &Config) -> Self {
        let search = Name::from_ascii(&config.domain)
            .ok()
            .filter(|_| !config.domain.is_empty());
        let subnet = config.addresses().subnet.unwrap_or(Subnet::NONE);
        let route = |route: &StaticRoute| match (route.to, route.via) {
            (IpAddr::V4(to), IpAddr::V4(via)) => Some((to, route.prefix_len, via)),
            _ => None,
        };
        Self {
            subnet,
            server: config.mode.services4(subnet),
            router: config.mode.router4(subnet),
            routes: config.routes.iter().filter_map(route).collect(),
            mtu: config.mtu,
            domain: config.domain.clone(),
            search: search.into_iter().collect(),
            ntp: config.ntp.clone(),
        }
    }

    /// OFFER or ACK.
    pub(super) fn answer(&self, request: &Request, answer: Answer<'_>) -> Vec<u8> {
        let ciaddr = match answer.kind {
            MessageType::Ack => request.ciaddr,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let mut writer = Writer::new(request, ciaddr, answer.address);
        writer.add(&DhcpOption::MessageType(answer.kind));
        writer.add(&DhcpOption::ServerIdentifier(self.server));
        if let Some(lease) = answer.lease {
            writer.add(&DhcpOption::AddressLeaseTime(seconds(lease)));
            writer.add(&DhcpOption::Renewal(seconds(lease / 2)));
            writer.add(&DhcpOption::Rebinding(seconds(lease * 7 / 8)));
        }
        // The mask goes before the routers: RFC 2132 section 3.3.
        writer.add(&DhcpOption::SubnetMask(self.subnet.netmask()));
        for code in wanted(request) {
            if let Some(option) = self.option(code, answer.hostname) {
                writer.add(&option);
            }
        }
        writer.finish()
    }

    /// NAK: nothing but who says so, and to whom.
    pub(super) fn nak(&self, request: &Request, why: &str) -> Vec<u8> {
        let mut writer = Writer::new(request, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        writer.add(&DhcpOption::MessageType(MessageType::Nak));
        writer.add(&DhcpOption::ServerIdentifier(self.server));
        writer.add(&DhcpOption::Message(why.to_owned()));
        writer.finish()
    }

    /// Option 121. A client that takes it does not look at the routers of option 3 (RFC 3442), so these are in it, too.
    fn classless_routes(&self) -> DhcpOption {
        let default = self.router.map(|router| (Ipv4Addr::UNSPECIFIED, 0, router));
        let mut octets = Vec::new();
        for route in self.routes.iter().copied().chain(default) {
            push_route(&mut octets, route);
        }
        DhcpOption::Unknown(UnknownOption::new(OptionCode::ClasslessStaticRoute, octets))
    }

    fn option(&self, code: OptionCode, hostname: Option<&str>) -> Option<DhcpOption> {
        match code {
            OptionCode::Router => Some(DhcpOption::Router(vec![self.router?])),
            OptionCode::DomainNameServer => Some(DhcpOption::DomainNameServer(vec![self.server])),
            OptionCode::ClasslessStaticRoute if !self.routes.is_empty() => Some(self.classless_routes()),
            OptionCode::Hostname => hostname.map(|name| DhcpOption::Hostname(name.to_owned())),
            OptionCode::DomainName if !self.domain.is_empty() => {
                Some(DhcpOption::DomainName(self.domain.clone()))
            }
            OptionCode::BroadcastAddr => Some(DhcpOption::BroadcastAddr(self.subnet.broadcast())),
            OptionCode::InterfaceMtu => Some(DhcpOption::InterfaceMtu(self.mtu)),
            OptionCode::NtpServers if !self.ntp.is_empty() => Some(DhcpOption::NtpServers(self.ntp.clone())),
            OptionCode::DomainSearch if !self.search.is_empty() => {
                Some(DhcpOption::DomainSearch(self.search.clone()))
            }
            _ => None,
        }
    }
}

/// RFC 3442: the bits of the destination, as many of its octets as these need, and the router.
fn push_route(octets: &mut Vec<u8>, (to, prefix_len, via): (Ipv4Addr, u8, Ipv4Addr)) {
    let significant = usize::from(prefix_len.min(32).div_ceil(8));
    octets.push(prefix_len.min(32));
    octets.extend_from_slice(&to.octets()[..significant]);
    octets.extend_from_slice(&via.octets());
}

/// Codes in the order in which the client listed them (RFC 2132 section 9.8), then what it gets anyway.
fn wanted(request: &Request) -> Vec<OptionCode> {
    let listed: &[OptionCode] = request.parameters.as_deref().unwrap_or(&ORDINARY);
    let mut codes: Vec<OptionCode> = Vec::new();
    // The mask is written already.
    let mut seen = vec![OptionCode::SubnetMask];
    let anyway: &[OptionCode] = &ALWAYS;
    let order = match request.parameters {
        Some(_) => [listed, anyway],
        None => [anyway, listed],
    };
    for code in order.into_iter().flatten() {
        if (ALWAYS.contains(code) || ORDINARY.contains(code)) && !seen.contains(code) {
            seen.push(*code);
            codes.push(*code);
        }
    }
    codes
}

/// Whole seconds; `u32::MAX` would mean for ever.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs())
        .unwrap_or(u32::MAX)
        .min(u32::MAX - 1)
}

/// Writes options in a given order, within what the client can take; an option that does not fit is left out.
struct Writer {
    message: Vec<u8>,
    max: usize,
}

impl Writer {
    fn new(request: &Request, ciaddr: Ipv4Addr, yiaddr: Ipv4Addr) -> Self {
        let zero = Ipv4Addr::UNSPECIFIED;
        let mut head = Message::new_with_id(request.xid, ciaddr, yiaddr, zero, zero, &request.chaddr.0);
        head.set_opcode(Opcode::BootReply).set_flags(request.flags);
        let asked = usize::from(request.max_size.unwrap_or(0)).saturating_sub(HEADERS);
        let mut writer = Self {
            message: encoded(&head).unwrap_or_default(),
            max: asked.clamp(MAX_SIZE, LARGEST),
        };
        // Whoever gives a client identifier gets it back, in a NAK too: RFC 6842. First, so that it always fits.
        if let Some(id) = request
            .client_id
            .as_ref()
            .filter(|id| (1..=255).contains(&id.len()))
        {
            writer.add(&DhcpOption::ClientIdentifier(id.clone()));
        }
        writer
    }

    fn add(&mut self, option: &DhcpOption) {
        if let Some(bytes) = encoded(option)
            && self.message.len() + bytes.len() < self.max
        {
            self.message.extend_from_slice(&bytes);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.message.push(u8::from(OptionCode::End));
        if self.message.len() < MIN_SIZE {
            self.message.resize(MIN_SIZE, 0);
        }
        self.message
    }
}

fn encoded(value: &impl Encodable) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    value.encode(&mut Encoder::new(&mut bytes)).ok()?;
    Some(bytes)
}
