//! Answers that the network itself knows.
//!
//! | question | answer |
//! |---|---|
//! | a known name, A, AAAA or ANY | its addresses of that family; the first of all for ANY (RFC 8482) |
//! | a known name without an address of that family, or another type | no data |
//! | a service, SRV or ANY | where it is, with the addresses that we know of these names (RFC 2782) |
//! | a name below a known one, where wildcards are wanted | as the known one |
//! | the domain itself, SOA or NS | one that says: the gateway |
//! | an unknown name in the domain | NXDOMAIN |
//! | a single label that is known | as if the domain stood behind it |
//! | a single label that is not, for a type that a host looks up | NXDOMAIN: it means nothing in the world's DNS |
//! | an address of the subnet or the prefix, PTR | its name, or NXDOMAIN: see [`reverse`](super::reverse) |
//!
//! Transfers and classes other than IN are refused, whoever's name it is. Everything else is not ours. Questions about top-level domains for other types (DS, DNSKEY, NS…) go to the
//! resolvers, since validating clients need them. A configured name outside the domain is all that we know of its
//! zone: its other types are no data, so that they do not leak, its neighbours are not ours.
//!
//! Every record lives [`TTL`] seconds, and so does every denial (RFC 2308): names come and go with machines.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NS, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::question::{Question, printable_name};
use super::reverse::reverse;
use crate::ServiceTarget;
use crate::services::names::NameView;

/// Lifetime of own records, in seconds.
const TTL: u32 = 10;
/// Largest UDP message that we say we take (the DNS flag day's 1232: no fragments on any path).
const EDNS_PAYLOAD: u16 = 1232;

/// What is known.
#[derive(Debug)]
pub(super) enum Known {
    /// Records, of which there is at least one.
    Records(Vec<RData>),
    /// Where a service is.
    Services(Vec<SRV>),
    /// The name exists, the type does not. The zone it belongs to.
    NoData(String),
    /// The name does not exist. The zone that says so, if there is one.
    NoName(Option<String>),
}

/// The answer, if the question is one for us.
pub(super) fn answer(question: &Question, names: NameView<'_>) -> Option<Message> {
    // A zone transfer is many messages for one question; and there is no class but IN.
    let transfer = matches!(question.query.query_type(), RecordType::AXFR | RecordType::IXFR);
    if transfer || question.query.query_class() != DNSClass::IN {
        return Some(empty(question, ResponseCode::Refused));
    }
    let known = reverse(question, names).or_else(|| forward(question, names))?;
    if question.edns.is_some_and(|edns| edns.version > 0) {
        return Some(empty(question, ResponseCode::BADVERS));
    }
    let mut message = empty(question, ResponseCode::NoError);
    message.metadata.authoritative = true;
    match known {
        Known::Records(records) => {
            let name = question.query.name();
            let records = records
                .into_iter()
                .map(|data| Record::from_rdata(name.clone(), TTL, data));
            message.add_answers(records);
        }
        Known::Services(places) => add_services(&mut message, question.query.name(), &places, names),
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

/// A service's places, and the addresses there in the section of what else is known: once each, and none of the world's names.
fn add_services(message: &mut Message, name: &Name, places: &[SRV], names: NameView<'_>) {
    let mut told: Vec<&Name> = Vec::new();
    for place in places {
        message.add_answer(Record::from_rdata(name.clone(), TTL, RData::SRV(place.clone())));
        if told.contains(&&place.target) {
            continue;
        }
        told.push(&place.target);
        let host = printable_name(&place.target);
        for address in names.addresses_of_full(&host).unwrap_or_default() {
            let data = address_record(&address);
            message.add_additional(Record::from_rdata(place.target.clone(), TTL, data));
        }
    }
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
    if let Some(targets) = names.names.service(&full) {
        let zone = if within { domain.to_owned() } else { full.clone() };
        return Some(services(kind, targets).unwrap_or(Known::NoData(zone)));
    }
    if let Some(addresses) = names.addresses_of_full(&full) {
        let zone = if within { domain.to_owned() } else { full };
        return Some(records(kind, &addresses).unwrap_or(Known::NoData(zone)));
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

/// The addresses that a question of this type is about.
fn records(kind: RecordType, addresses: &[IpAddr]) -> Option<Known> {
    let mut records: Vec<RData> = addresses.iter().map(address_record).collect();
    match kind {
        RecordType::ANY => records.truncate(1),
        _ => records.retain(|record| record.record_type() == kind),
    }
    (!records.is_empty()).then_some(Known::Records(records))
}

fn address_record(address: &IpAddr) -> RData {
    match address {
        IpAddr::V4(address) => RData::A(A(*address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
    }
}

/// The places of a service, for a question that is about them: all of one priority, and none preferred.
fn services(kind: RecordType, targets: &[ServiceTarget]) -> Option<Known> {
    let place = |target: &ServiceTarget| Some(SRV::new(0, 0, target.port, absolute(&target.host)?));
    let mut places: Vec<SRV> = match kind {
        RecordType::SRV | RecordType::ANY => targets.iter().filter_map(place).collect(),
        _ => Vec::new(),
    };
    if kind == RecordType::ANY {
        places.truncate(1);
    }
    (!places.is_empty()).then_some(Known::Services(places))
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
    let zone = names.names.domain();
    let addresses = || records(kind, &names.addresses_of_full(zone)?);
    let data = data.map(|data| Known::Records(vec![data]));
    data.or_else(addresses)
        .unwrap_or_else(|| Known::NoData(zone.to_owned()))
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

pub(super) fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}
