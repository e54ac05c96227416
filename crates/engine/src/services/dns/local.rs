//! Answers that the network itself knows.
//!
//! | question | answer |
//! |---|---|
//! | a known name, A or ANY | its address |
//! | a known name, another type | no data |
//! | the domain itself, SOA or NS | one that says: the gateway |
//! | an unknown name in the domain | NXDOMAIN |
//! | a single label that is known | as if the domain stood behind it |
//! | a single label that is not, for a type that a host looks up | NXDOMAIN: it means nothing in the world's DNS |
//! | an address of the subnet, PTR | its name, or NXDOMAIN |
//!
//! Transfers and classes other than IN are refused, whoever's name it is. Everything else is not ours. Questions about top-level domains for other types (DS, DNSKEY, NS…) go to the
//! resolvers, since validating clients need them. A configured name outside the domain is all that we know of its
//! zone: its other types are no data, so that they do not leak, its neighbours are not ours.
//!
//! Every record lives [`TTL`] seconds, and so does every denial (RFC 2308): names come and go with machines.

use std::net::{IpAddr, Ipv4Addr};

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::{A, NS, PTR, SOA};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::question::Question;
use crate::Subnet;
use crate::services::names::NameView;

/// Lifetime of own records, in seconds.
const TTL: u32 = 10;
/// Largest UDP message that we say we take (the DNS flag day's 1232: no fragments on any path).
const EDNS_PAYLOAD: u16 = 1232;

/// What is known.
#[derive(Debug)]
enum Known {
    /// One record.
    Record(RData),
    /// The name exists, the type does not. The zone it belongs to.
    NoData(String),
    /// The name does not exist. The zone that says so, if there is one.
    NoName(Option<String>),
}

/// The answer, if the question is one for us.
pub(super) fn answer(question: &Question, names: NameView<'_>, subnet: Subnet) -> Option<Message> {
    // A zone transfer is many messages for one question; and there is no class but IN.
    let transfer = matches!(question.query.query_type(), RecordType::AXFR | RecordType::IXFR);
    if transfer || question.query.query_class() != DNSClass::IN {
        return Some(empty(question, ResponseCode::Refused));
    }
    let known = reverse(question, names, subnet).or_else(|| forward(question, names))?;
    if question.edns.is_some_and(|edns| edns.version > 0) {
        return Some(empty(question, ResponseCode::BADVERS));
    }
    let mut message = empty(question, ResponseCode::NoError);
    message.metadata.authoritative = true;
    match known {
        Known::Record(data) => {
            let name = question.query.name().clone();
            message.add_answer(Record::from_rdata(name, TTL, data));
        }
        Known::NoData(zone) => deny(&mut message, Some(&zone), names),
        Known::NoName(zone) => {
            message.metadata.response_code = ResponseCode::NXDomain;
            deny(&mut message, zone.as_deref(), names);
        }
    }
    Some(message)
}

/// A response with nothing in it but the question.
pub(super) fn empty(question: &Question, code: ResponseCode) -> Message {
    let mut message = Message::response(question.header.id, question.header.op_code);
    message.metadata.recursion_desired = question.header.recursion_desired;
    message.metadata.checking_disabled = question.header.checking_disabled;
    message.metadata.recursion_available = true;
    message.metadata.response_code = code;
    message.add_query(question.query.clone());
    if let Some(edns) = question.edns {
        let mut ours = Edns::new();
        ours.set_max_payload(EDNS_PAYLOAD).set_dnssec_ok(edns.dnssec_ok);
        message.set_edns(ours);
    }
    message
}

fn deny(message: &mut Message, zone: Option<&str>, names: NameView<'_>) {
    let owner = zone.and_then(absolute);
    if let Some((owner, data)) = owner.and_then(|owner| Some((owner, soa(names)?))) {
        message.add_authority(Record::from_rdata(owner, TTL, data));
    }
}

fn forward(question: &Question, names: NameView<'_>) -> Option<Known> {
    let name = question.name();
    let domain = names.names.domain();
    let kind = question.query.query_type();
    if name == domain && !domain.is_empty() {
        return Some(apex(kind, names));
    }
    let single = !name.is_empty() && !name.contains('.');
    let full = match single && !domain.is_empty() {
        true => format!("{name}.{domain}"),
        false => name.clone(),
    };
    let within = full
        .strip_suffix(domain)
        .is_some_and(|head| head.ends_with('.') && !domain.is_empty());
    if let Some(address) = names.address_of_full(&full) {
        let zone = if within { domain.to_owned() } else { full };
        return Some(match (kind, address) {
            (RecordType::A | RecordType::ANY, IpAddr::V4(address)) => Known::Record(RData::A(A(address))),
            _ => Known::NoData(zone),
        });
    }
    if single {
        return looked_up_by_hosts(kind).then_some(Known::NoName(None));
    }
    let zone = domain.to_owned();
    within.then(|| {
        if names.exists(&full) {
            Known::NoData(zone)
        } else {
            Known::NoName(Some(zone))
        }
    })
}

/// The types in which a program looks for a host, as against those that describe a zone.
fn looked_up_by_hosts(kind: RecordType) -> bool {
    matches!(
        kind,
        RecordType::A
            | RecordType::AAAA
            | RecordType::ANY
            | RecordType::CNAME
            | RecordType::HTTPS
            | RecordType::SVCB
            | RecordType::MX
            | RecordType::SRV
            | RecordType::TXT
    )
}

fn apex(kind: RecordType, names: NameView<'_>) -> Known {
    let data = match kind {
        RecordType::SOA | RecordType::ANY => soa(names),
        RecordType::NS => gateway(names).map(|gateway| RData::NS(NS(gateway))),
        _ => None,
    };
    data.map_or_else(|| Known::NoData(names.names.domain().to_owned()), Known::Record)
}

/// Reverse lookup in the subnet. Names above it belong to the world.
fn reverse(question: &Question, names: NameView<'_>, subnet: Subnet) -> Option<Known> {
    let name = question.name();
    let head = name.strip_suffix("in-addr.arpa")?.strip_suffix('.')?;
    let labels: Vec<&str> = head.rsplit('.').collect();
    let octets: Vec<u8> = labels.iter().map_while(|label| octet(label)).take(4).collect();
    let mut address = [0; 4];
    address.iter_mut().zip(&octets).for_each(|(to, from)| *to = *from);
    let address = Ipv4Addr::from(address);
    if octets.len() * 8 < usize::from(subnet.prefix_len) || !subnet.contains(address) {
        return None;
    }
    // Above a /24 the network's names lie in zones of three octets; below, each name stands alone.
    let depth = if subnet.prefix_len <= 24 { 3 } else { 4 };
    let zone: Vec<&str> = labels.iter().take(depth).rev().copied().collect();
    let zone = format!("{}.in-addr.arpa", zone.join("."));
    if octets.len() < labels.len() {
        return Some(Known::NoName(Some(zone)));
    }
    if octets.len() < 4 {
        return Some(Known::NoData(zone));
    }
    let Some(target) = names.name_of(address).and_then(|name| absolute(&name)) else {
        return Some(Known::NoName(Some(zone)));
    };
    Some(match question.query.query_type() {
        RecordType::PTR | RecordType::ANY => Known::Record(RData::PTR(PTR(target))),
        _ => Known::NoData(zone),
    })
}

/// An octet as RFC 1035 section 3.5 writes it: no leading zeros.
fn octet(label: &str) -> Option<u8> {
    label.parse().ok().filter(|octet: &u8| octet.to_string() == label)
}

fn gateway(names: NameView<'_>) -> Option<Name> {
    match names.names.domain() {
        "" => absolute("gateway"),
        domain => absolute(&format!("gateway.{domain}")),
    }
}

fn soa(names: NameView<'_>) -> Option<RData> {
    let primary = gateway(names)?;
    let contact = absolute(&format!("hostmaster.{}", names.names.domain()))?;
    // Nobody transfers the zone, so its serial number stands still.
    Some(RData::SOA(SOA::new(primary, contact, 1, 3600, 600, 86_400, TTL)))
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}
