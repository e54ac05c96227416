//! What the server answers: RFC 8415 section 21, with the options of RFC 3646, RFC 4075, RFC 4704 and RFC 5908.

use std::net::Ipv6Addr;
use std::time::Duration;

use atoll_wire::Mac;
use dhcproto::encoder::{Encodable, Encoder};
use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, IAPD, IATA, MessageType, NtpSuboption, OptionCode, Status,
    StatusCode, UnknownOption,
};
use hickory_proto::rr::Name;

use super::request::{IaKind, Request};
use crate::dhcp_options::Custom;
use crate::{Config, NetBoot};

/// The only server has the first word: its offer is taken without waiting for others.
const PREFERENCE: u8 = u8::MAX;
/// The largest message that needs no fragments: the smallest MTU of IPv6 without IP and UDP headers.
const LARGEST: usize = 1232;
/// RFC 8415 section 7.6: IRT_MINIMUM.
const REFRESH_MIN: Duration = Duration::from_secs(600);
/// What users may not choose: what RFC 8415 itself needs, and the client's name (RFC 4704).
const OWN: [u16; 19] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 19, 20, 25, 26, 32, 39];
/// What a client that lists no options is told.
const ORDINARY: [OptionCode; 2] = [OptionCode::DomainNameServers, OptionCode::DomainSearchList];

/// What is the same for every client of a network.
#[derive(Debug)]
pub(super) struct Parameters {
    /// A DUID of the gateway's MAC address (RFC 8415 section 11.4), the same in every run.
    server_id: Vec<u8>,
    dns: Option<Ipv6Addr>,
    search: Vec<Name>,
    ntp: Vec<Ipv6Addr>,
    lease_time: Duration,
    custom: Custom<u16>,
    boot: NetBoot,
}

/// What one association is told.
#[derive(Clone, Debug)]
pub(super) struct IaAnswer {
    pub(super) kind: IaKind,
    pub(super) iaid: u32,
    /// Its address from now on.
    pub(super) address: Option<Ipv6Addr>,
    /// Addresses that it is to give up.
    pub(super) ended: Vec<Ipv6Addr>,
    pub(super) status: Option<(Status, &'static str)>,
}

/// The answer to a client's name.
#[derive(Clone, Debug)]
pub(super) struct FqdnAnswer {
    /// The full name that we answer for; none when the client gets none.
    pub(super) name: Option<String>,
    /// The client wished otherwise.
    pub(super) overridden: bool,
}

impl Parameters {
    pub(super) fn new(config: &Config) -> Self {
        let search = Name::from_ascii(&config.domain).ok();
        let search = search.filter(|_| !config.domain.is_empty()).map(|mut name| {
            name.set_fqdn(true);
            name
        });
        let services = config
            .addresses()
            .prefix
            .map(|prefix| config.mode.services6(prefix));
        let ours = services.filter(|_| config.announces_time());
        Self {
            server_id: [&[0, 3, 0, 1], config.gateway_mac.0.as_slice()].concat(),
            dns: services,
            search: search.into_iter().collect(),
            ntp: ours.map_or_else(|| config.ntp6.clone(), |ours| vec![ours]),
            lease_time: config.lease_time.max(Duration::from_secs(1)),
            custom: Custom::new(config, |options| &options.v6, &OWN),
            boot: config.net_boot.clone(),
        }
    }

    /// Whether a client means us.
    pub(super) fn is_us(&self, server_id: &[u8]) -> bool {
        self.server_id == server_id
    }

    /// A message with nothing in it but who says so, and to whom.
    pub(super) fn begin(&self, kind: MessageType, request: &Request) -> Writer {
        let [x, y, z] = request.xid;
        let mut writer = Writer {
            message: vec![u8::from(kind), x, y, z],
        };
        if let Some(id) = &request.client_id {
            writer.add(&DhcpOption::ClientId(id.clone()));
        }
        writer.add(&DhcpOption::ServerId(self.server_id.clone()));
        if kind == MessageType::Advertise {
            writer.add(&DhcpOption::Preference(PREFERENCE));
        }
        writer
    }

    /// An association.
    pub(super) fn add_ia(&self, writer: &mut Writer, answer: &IaAnswer) {
        let id = answer.iaid;
        let ended = answer.ended.iter().map(|address| (*address, 0));
        let time = seconds(self.lease_time);
        let addresses = answer
            .address
            .map(|address| (address, time))
            .into_iter()
            .chain(ended);
        let addresses = addresses.map(|(addr, life)| {
            DhcpOption::IAAddr(IAAddr {
                addr,
                preferred_life: life,
                valid_life: life,
                opts: DhcpOptions::new(),
            })
        });
        let status = answer.status.map(|(status, why)| status_code(status, why));
        let opts: DhcpOptions = addresses.chain(status).collect();
        // RFC 8415 section 14.2: half and four fifths of the shortest preferred lifetime.
        let (t1, t2) = match answer.address {
            Some(_) => (seconds(self.lease_time / 2), seconds(self.lease_time * 4 / 5)),
            None => (0, 0),
        };
        writer.add(&match answer.kind {
            IaKind::Addresses => DhcpOption::IANA(IANA { id, t1, t2, opts }),
            IaKind::Temporary => DhcpOption::IATA(IATA { id, opts }),
            IaKind::Prefixes => DhcpOption::IAPD(IAPD { id, t1, t2, opts }),
        });
    }

    /// What single clients are told from now on.
    pub(super) fn set_options(&mut self, mac: Mac, options: &crate::DhcpOptions) {
        self.custom.set(mac, &options.v6, &OWN);
    }

    /// What the client asks for of what we know, in its order, then what somebody chose for it.
    pub(super) fn add_options(&self, writer: &mut Writer, request: &Request, mac: Mac) {
        let custom = self.custom.of(mac);
        let wanted: &[OptionCode] = request.wanted.as_deref().unwrap_or(&ORDINARY);
        let chosen = custom.codes().map(OptionCode::from);
        let mut seen = Vec::new();
        for code in wanted.iter().copied().chain(chosen) {
            if seen.contains(&code) {
                continue;
            }
            seen.push(code);
            match custom.get(u16::from(code)) {
                Some(Some(data)) => writer.add(&DhcpOption::Unknown(UnknownOption::new(code, data.to_vec()))),
                Some(None) => {}
                None => {
                    let option = self.option(code, request);
                    option.iter().for_each(|option| writer.add(option));
                }
            }
        }
    }

    /// Where the client's file is (RFC 5970, 3.1): of a path, at the gateway.
    fn boot_url(&self, request: &Request) -> Option<DhcpOption> {
        let (client, file) = self.boot.file(request.architecture, request.is_ipxe)?;
        let url = match (file.contains("://"), self.boot.server) {
            (true, _) => file.to_owned(),
            (false, None) if !client.is_http() => {
                format!("tftp://[{}]/{}", self.dns?, file.trim_start_matches('/'))
            }
            (false, _) => return None,
        };
        let url = UnknownOption::new(OptionCode::OptBootfileUrl, url.into_bytes());
        Some(DhcpOption::Unknown(url))
    }

    fn option(&self, code: OptionCode, request: &Request) -> Option<DhcpOption> {
        match code {
            OptionCode::OptBootfileUrl => self.boot_url(request),
            OptionCode::DomainNameServers => Some(DhcpOption::DomainNameServers(vec![self.dns?])),
            OptionCode::DomainSearchList if !self.search.is_empty() => {
                Some(DhcpOption::DomainSearchList(self.search.clone()))
            }
            OptionCode::SntpServers if !self.ntp.is_empty() => {
                let octets = self.ntp.iter().flat_map(Ipv6Addr::octets).collect();
                Some(DhcpOption::Unknown(UnknownOption::new(code, octets)))
            }
            OptionCode::NtpServer if !self.ntp.is_empty() => {
                let servers = self.ntp.iter().map(|server| NtpSuboption::ServerAddress(*server));
                Some(DhcpOption::NtpServer(servers.collect()))
            }
            OptionCode::InformationRefreshTime if request.kind == MessageType::InformationRequest => {
                let time = seconds(self.lease_time.max(REFRESH_MIN));
                Some(DhcpOption::InformationRefreshTime(time))
            }
            _ => None,
        }
    }
}

/// Writes options one after the other, within what fits; an option that does not is left out.
#[derive(Debug)]
pub(super) struct Writer {
    message: Vec<u8>,
}

impl Writer {
    pub(super) fn add(&mut self, option: &DhcpOption) {
        let mut bytes = Vec::new();
        let encoded = option.encode(&mut Encoder::new(&mut bytes));
        if encoded.is_ok() && self.message.len() + bytes.len() <= LARGEST {
            self.message.extend(bytes);
        }
    }

    pub(super) fn add_status(&mut self, status: Status, why: &str) {
        self.add(&status_code(status, why));
    }

    /// RFC 4704 section 4.1: N 4, O 2, S 1.
    pub(super) fn add_fqdn(&mut self, answer: &FqdnAnswer) {
        let flags = if answer.name.is_some() { 0b001 } else { 0b100 };
        let overridden = if answer.overridden { 0b010 } else { 0 };
        let mut data = vec![flags | overridden];
        for label in answer.name.iter().flat_map(|name| name.split('.')) {
            data.extend(u8::try_from(label.len()).ok());
            data.extend(label.as_bytes());
        }
        data.extend(answer.name.as_ref().map(|_| 0));
        self.add(&DhcpOption::Unknown(UnknownOption::new(
            OptionCode::ClientFqdn,
            data,
        )));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.message
    }
}

fn status_code(status: Status, why: &str) -> DhcpOption {
    let msg = why.to_owned();
    DhcpOption::StatusCode(StatusCode { status, msg })
}

/// Whole seconds; `u32::MAX` would mean for ever.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs())
        .unwrap_or(u32::MAX)
        .min(u32::MAX - 1)
}
