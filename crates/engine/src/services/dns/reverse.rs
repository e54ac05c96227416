//! Names of addresses: `in-addr.arpa` (RFC 1035 section 3.5) and `ip6.arpa` (RFC 3596 section 2.5).
//!
//! Below the network's own subnet and prefix we have the only word; what lies above them, or elsewhere, is the world's.
//! An address without a name is NXDOMAIN, and so is a name that no address has. Names between the network's and an
//! address's have no records of their own: no data where an address below may have a name, else NXDOMAIN (RFC 8020).

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::PTR;
use hickory_proto::rr::{RData, RecordType};

use super::local::{Known, absolute};
use super::question::Question;
use crate::services::names::NameView;
use crate::{Prefix, Subnet};

/// Labels of an IPv6 address, one a nibble.
const NIBBLES: usize = 32;
/// Those of the network's prefix.
const PREFIX_NIBBLES: usize = 16;

/// What is known of a name that stands for an address of the network.
pub(super) fn reverse(question: &Question, names: NameView<'_>) -> Option<Known> {
    let name = question.name();
    let addresses = names.names.addresses();
    let below = |root| Some(name.strip_suffix(root)?.strip_suffix('.')?.rsplit('.').collect());
    if let Some(labels) = below("in-addr.arpa") {
        return reverse4(&labels, question, names, addresses.subnet?);
    }
    reverse6(&below("ip6.arpa")?, question, names, addresses.prefix?)
}

fn reverse4(labels: &Vec<&str>, question: &Question, names: NameView<'_>, subnet: Subnet) -> Option<Known> {
    let octets: Vec<u8> = labels.iter().map_while(|label| octet(label)).take(4).collect();
    let mut address = [0; 4];
    address.iter_mut().zip(&octets).for_each(|(to, from)| *to = *from);
    let address = Ipv4Addr::from(address);
    if octets.len() * 8 < usize::from(subnet.prefix_len) || !subnet.contains(address) {
        return None;
    }
    // Above a /24 the network's names lie in zones of three octets; below, each name stands alone.
    let depth = if subnet.prefix_len <= 24 { 3 } else { 4 };
    let zone = zone(labels, depth, "in-addr.arpa");
    if octets.len() < labels.len() {
        return Some(Known::NoName(Some(zone)));
    }
    if octets.len() < 4 {
        return Some(Known::NoData(zone));
    }
    Some(pointer(question, names.name_of(address.into()), zone))
}

fn reverse6(labels: &Vec<&str>, question: &Question, names: NameView<'_>, prefix: Prefix) -> Option<Known> {
    let nibbles: Vec<u8> = labels
        .iter()
        .map_while(|label| nibble(label))
        .take(NIBBLES)
        .collect();
    let bits = nibbles
        .iter()
        .fold(0, |sum, nibble| sum << 4 | u128::from(*nibble));
    let open = 4 * u32::try_from(NIBBLES - nibbles.len()).ok()?;
    let first = Ipv6Addr::from_bits(bits.checked_shl(open).unwrap_or(0));
    if nibbles.len() < PREFIX_NIBBLES || !prefix.contains(first) {
        return None;
    }
    let zone = zone(labels, PREFIX_NIBBLES, "ip6.arpa");
    if nibbles.len() < labels.len() {
        return Some(Known::NoName(Some(zone)));
    }
    if nibbles.len() < NIBBLES {
        let last = Ipv6Addr::from_bits(first.to_bits() | u128::MAX.checked_shl(open).map_or(0, |mask| !mask));
        let exists = nibbles.len() == PREFIX_NIBBLES || names.has_between(first, last);
        return Some(match exists {
            true => Known::NoData(zone),
            false => Known::NoName(Some(zone)),
        });
    }
    Some(pointer(question, names.name_of(first.into()), zone))
}

fn pointer(question: &Question, name: Option<String>, zone: String) -> Known {
    let Some(target) = name.and_then(|name| absolute(&name)) else {
        return Known::NoName(Some(zone));
    };
    match question.query.query_type() {
        RecordType::PTR | RecordType::ANY => Known::Records(vec![RData::PTR(PTR(target))]),
        _ => Known::NoData(zone),
    }
}

/// The first labels, which came in the order of an address.
fn zone(labels: &[&str], depth: usize, root: &str) -> String {
    let zone: Vec<&str> = labels.iter().take(depth).rev().copied().collect();
    format!("{}.{root}", zone.join("."))
}

/// An octet as RFC 1035 section 3.5 writes it: no leading zeros.
fn octet(label: &str) -> Option<u8> {
    label.parse().ok().filter(|octet: &u8| octet.to_string() == label)
}

fn nibble(label: &str) -> Option<u8> {
    let digit = label.parse::<char>().ok()?.to_digit(16)?;
    u8::try_from(digit).ok()
}
