//! What the server answers: RFC 2131 section 4.3.1 table 3, with the options of RFC 2132 and RFC 3397.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use atoll_wire::Mac;
use dhcproto::encoder::{Encodable, Encoder};
use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode, UnknownOption};
use hickory_proto::rr::Name;

use super::request::Request;
use crate::dhcp_options::{Custom, CustomOf};
use crate::{BootClient, Config, DhcpOptions, JoinedNetwork, NetBoot, StaticRoute, Subnet};

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

/// What users may not choose: the protocol's own, and what says which client an answer is for (RFC 2132, 9; RFC 6842).
const OWN: [u8; 13] = [0, 1, 50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 255];

/// What is the same for every client of a network.
#[derive(Debug)]
pub(super) struct Parameters {
    subnet: Subnet,
    /// Where this server is, and the resolver.
    pub(super) server: Ipv4Addr,
    router: Option<Ipv4Addr>,
    routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    /// Networks behind the gateway, and those who are on them and have no use for the route.
    joined: Vec<(Subnet, Vec<Mac>)>,
    mtu: u16,
    domain: String,
    search: Vec<Name>,
    ntp: Vec<Ipv4Addr>,
    custom: Custom<u8>,
    boot: NetBoot,
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
        let joined = |it: &JoinedNetwork| Some((it.addresses.subnet?, it.on_both.clone()));
        Self {
            subnet,
            server: config.mode.services4(subnet),
            router: config.router4(),
            routes: config.routes.iter().filter_map(route).collect(),
            joined: config.joined.iter().filter_map(joined).collect(),
            mtu: config.mtu,
            domain: config.domain.clone(),
            search: search.into_iter().collect(),
            ntp: match config.announces_time() {
                true => vec![config.mode.services4(subnet)],
                false => config.ntp.clone(),
            },
            custom: Custom::new(config, |options| &options.v4, &OWN),
            boot: config.net_boot.clone(),
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
        let custom = self.custom.of(request.chaddr);
        let boot = self.boot(request);
        boot.iter()
            .for_each(|boot| self.add_boot(&mut writer, request, boot, &custom));
        for code in wanted(request, custom.codes()) {
            match custom.get(u8::from(code)) {
                Some(Some(data)) => writer.add_raw(code, data),
                Some(None) => {}
                None => {
                    let option = self.option((request.chaddr, code), &custom, answer.hostname);
                    option.iter().for_each(|option| writer.add(option));
                }
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

    /// The file for a client that boots from the network.
    fn boot(&self, request: &Request) -> Option<(BootClient, &str)> {
        let client = &request.boot;
        let boots = client.is_pxe() || client.is_http() || client.is_ipxe();
        boots.then(|| self.boot.file(client.architecture, client.is_ipxe()))?
    }

    /// The file where BOOTP has it, and as an option where the client asks for that or where the field is too short. UEFI's HTTP boot takes
    /// an offer for one of its own by the class that it has itself (UEFI 2.10, 24.7.3).
    fn add_boot(
        &self,
        writer: &mut Writer,
        request: &Request,
        (client, file): &(BootClient, &str),
        custom: &CustomOf<'_, u8>,
    ) {
        let server = self.boot.server.unwrap_or(self.server);
        let fits = !client.is_http() && writer.set_file(server, file);
        let asks = |code: OptionCode| {
            request
                .parameters
                .as_ref()
                .is_some_and(|codes| codes.contains(&code))
        };
        let is_free = |code: OptionCode| custom.get(u8::from(code)).is_none();
        let mut add = |code: OptionCode, words: &str| {
            if is_free(code) {
                writer.add_raw(code, words.as_bytes());
            }
        };
        if client.is_http() {
            add(OptionCode::ClassIdentifier, "HTTPClient");
        } else if asks(OptionCode::TFTPServerName) {
            add(OptionCode::TFTPServerName, &server.to_string());
        }
        if !fits || asks(OptionCode::BootfileName) {
            add(OptionCode::BootfileName, file);
        }
    }

    /// What single clients are told from now on.
    pub(super) fn set_options(&mut self, mac: Mac, options: &DhcpOptions) {
        self.custom.set(mac, &options.v4, &OWN);
    }

    /// Option 121. A client that takes it does not look at the routers of option 3 (RFC 3442), so these are in it, too.
    fn classless_routes(&self, client: Mac, custom: &CustomOf<'_, u8>) -> Option<DhcpOption> {
        let joined = self
            .joined
            .iter()
            .filter(|(_, on_both)| !on_both.contains(&client));
        let joined = joined.map(|(to, _)| (to.address, to.prefix_len, self.server));
        let routes: Vec<_> = self.routes.iter().copied().chain(joined).collect();
        if routes.is_empty() {
            return None;
        }
        let router = match custom.get(u8::from(OptionCode::Router)) {
            Some(routers) => {
                routers.and_then(|routers| routers.first_chunk::<4>().copied().map(Ipv4Addr::from))
            }
            None => self.router,
        };
        let default = router.map(|router| (Ipv4Addr::UNSPECIFIED, 0, router));
        let mut octets = Vec::new();
        for route in routes.into_iter().chain(default) {
            push_route(&mut octets, route);
        }
        let option = UnknownOption::new(OptionCode::ClasslessStaticRoute, octets);
        Some(DhcpOption::Unknown(option))
    }

    fn option(
        &self,
        (client, code): (Mac, OptionCode),
        custom: &CustomOf<'_, u8>,
        hostname: Option<&str>,
    ) -> Option<DhcpOption> {
        match code {
            OptionCode::Router => Some(DhcpOption::Router(vec![self.router?])),
            OptionCode::DomainNameServer => Some(DhcpOption::DomainNameServer(vec![self.server])),
            OptionCode::ClasslessStaticRoute => self.classless_routes(client, custom),
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

/// Codes in the order in which the client listed them (RFC 2132 section 9.8), then what it gets anyway: what it needs, and what somebody
/// chose for it (RFC 2131 section 4.3.1: "explicitly configured").
fn wanted(request: &Request, chosen: impl Iterator<Item = u8>) -> Vec<OptionCode> {
    let chosen: Vec<OptionCode> = chosen.map(OptionCode::from).collect();
    let listed: &[OptionCode] = request.parameters.as_deref().unwrap_or(&ORDINARY);
    let mut codes: Vec<OptionCode> = Vec::new();
    // The mask is written already.
    let mut seen = vec![OptionCode::SubnetMask];
    let anyway: &[OptionCode] = &ALWAYS;
    let order = match request.parameters {
        Some(_) => [listed, anyway, &chosen],
        None => [anyway, listed, &chosen],
    };
    for code in order.into_iter().flatten() {
        let is_known = ALWAYS.contains(code) || ORDINARY.contains(code) || chosen.contains(code);
        if is_known && !seen.contains(code) {
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

    /// Server and file in the fixed fields (RFC 2131, 2: `siaddr` and `file`, whose text ends with a NUL); `false` when it is too long.
    fn set_file(&mut self, server: Ipv4Addr, file: &str) -> bool {
        if let Some(field) = self.message.get_mut(20..24) {
            field.copy_from_slice(&server.octets());
        }
        let Some(field) = self
            .message
            .get_mut(108..236)
            .filter(|field| file.len() < field.len())
        else {
            return false;
        };
        for (to, from) in field.iter_mut().zip(file.bytes()) {
            *to = from;
        }
        true
    }

    /// An option whose data are not ours to understand; what no length can say is left out.
    fn add_raw(&mut self, code: OptionCode, data: &[u8]) {
        if let Ok(len) = u8::try_from(data.len())
            && self.message.len() + 2 + data.len() < self.max
        {
            self.message.extend([u8::from(code), len]);
            self.message.extend_from_slice(data);
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
