//! The network's own names, whoever gave them.
//!
//! Names come from four places. Where two of them know a name, the earlier one decides, so no guest can take a name
//! that somebody configured:
//!
//! 1. `gateway` and `host`, built in;
//! 2. configured names: relative to the domain, or absolute when they hold a dot;
//! 3. host names of static leases;
//! 4. host names that DHCP clients of either family gave, for as long as their lease lives.
//!
//! Services (RFC 2782) are configured only: each has the name of an SRV record, and so a place among the names below the domain or below
//! a host's.
//!
//! The last two name a station, by its MAC address, and so all addresses of it: see [`NameView`].
//!
//! Names are kept and compared in lower case without a final dot (RFC 4343).

mod view;

#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use atoll_wire::Mac;
use hickory_proto::rr::Name;

pub(crate) use self::view::{Heard, NameView};
use crate::{Addresses, Config, Prefix, ServiceTarget, Subnet};

/// Labels that are always the network's own.
const BUILT_IN: [&str; 2] = ["gateway", "host"];

/// Labels that software trusts for what they mean; no guest may have them.
const TRUSTED: [&str; 3] = ["localhost", "wpad", "isatap"];

/// Names that were configured, and those built in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Names {
    addresses: Addresses,
    wildcards: bool,
    domain: String,
    /// Full name to addresses.
    table: BTreeMap<String, Vec<IpAddr>>,
    /// Full name of a service to the full names where it is, and the ports there.
    services: BTreeMap<String, Vec<ServiceTarget>>,
}

impl Names {
    /// The configured names of a network. A domain that DNS cannot write counts as none.
    pub(crate) fn new(config: &Config) -> Self {
        let domain = canonical(&config.domain);
        let mut names = Self {
            addresses: config.addresses(),
            wildcards: config.dns.wildcards,
            domain: Name::from_ascii(&domain).map_or_else(|_| String::new(), |_| domain),
            table: BTreeMap::new(),
            services: BTreeMap::new(),
        };
        for (name, targets) in &config.dns.services {
            let full = names.full_service(name);
            let targets = targets.iter().map(|target| ServiceTarget {
                host: names.full(&target.host),
                port: target.port,
            });
            let targets: Vec<ServiceTarget> = targets.collect();
            names.services.insert(full, targets);
        }
        for (name, addresses) in &config.names {
            names.set(name, addresses);
        }
        let v4 = |of: fn(Subnet) -> _| config.subnet.map(of).map(IpAddr::V4);
        let v6 = |of: fn(Prefix) -> _| config.ipv6.map(of).map(IpAddr::V6);
        let built_in = [
            [v4(Subnet::gateway), v6(Prefix::gateway)],
            [v4(Subnet::host_alias), v6(Prefix::host_alias)],
        ];
        for (label, addresses) in BUILT_IN.iter().zip(built_in) {
            let addresses = addresses.into_iter().flatten().collect();
            names.table.insert(names.full(label), addresses);
        }
        names
    }

    /// The addresses that the network is authoritative for.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The domain that the network is authoritative for, in lower case.
    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether a guest may not have this label as its host name.
    pub(crate) fn is_reserved(&self, label: &str) -> bool {
        self.table.contains_key(&self.full(label))
    }

    /// Configures a name, or removes it when it is to have no address. The built-in ones stay as they are.
    pub(crate) fn set(&mut self, name: &str, addresses: &[IpAddr]) {
        let full = self.full(name);
        if BUILT_IN.iter().any(|label| self.full(label) == full) {
            return;
        }
        if addresses.is_empty() {
            self.table.remove(&full);
        } else {
            self.table.insert(full, addresses.to_vec());
        }
    }

    /// Where a service is; `None` when nobody configured it.
    pub(super) fn service(&self, full: &str) -> Option<&[ServiceTarget]> {
        self.services.get(full).map(Vec::as_slice)
    }

    /// The full name of a service: behind its own two labels stands a host's name, or nothing, which is the domain.
    fn full_service(&self, name: &str) -> String {
        let name = canonical(name);
        let mut labels = name.splitn(3, '.');
        let service: Vec<&str> = labels.by_ref().take(2).collect();
        let host = match labels.next() {
            Some(host) => self.full(host),
            None => self.domain.clone(),
        };
        let mut full = service.join(".");
        if !host.is_empty() {
            full.push('.');
            full.push_str(&host);
        }
        full
    }

    /// The full name of a configured one, or of a label of our domain.
    pub(super) fn full(&self, name: &str) -> String {
        let name = canonical(name);
        if name.contains('.') || self.domain.is_empty() {
            name
        } else {
            format!("{name}.{}", self.domain)
        }
    }
}

/// What decides whether a client may have the host name that it gives itself.
#[derive(Clone, Copy)]
pub(crate) struct NameRules<'a> {
    /// Configured and built-in names.
    pub(crate) names: &'a Names,
    /// The station that has a name, as the DHCP server of the other family knows it.
    pub(crate) elsewhere: &'a dyn Fn(&str) -> Option<Mac>,
}

impl NameRules<'_> {
    /// The label under which a station is known that calls itself so; `None` when that is no host name of our domain,
    /// or not for it.
    pub(super) fn label_for(&self, given: &str, mac: Mac) -> Option<String> {
        let given = canonical(given);
        let suffix = format!(".{}", self.names.domain());
        let label = given.strip_suffix(&suffix).unwrap_or(&given);
        let is_free = is_label(label) && !TRUSTED.contains(&label) && !self.names.is_reserved(label);
        let its = || (self.elsewhere)(label).is_none_or(|owner| owner == mac);
        (is_free && its()).then(|| label.to_owned())
    }
}

/// Lower case, without a final dot.
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Whether the text is one host name label in lower case (RFC 1123 section 2.1).
pub(super) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
