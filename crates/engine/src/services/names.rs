//! The network's own names, whoever gave them.
//!
//! Names come from four places. Where two of them know a name, the earlier one decides, so no guest can take a name
//! that somebody configured:
//!
//! 1. `gateway` and `host`, built in;
//! 2. configured names: relative to the domain, or absolute when they hold a dot;
//! 3. host names of static leases;
//! 4. host names that DHCP clients gave, for as long as their lease lives.
//!
//! Names are kept and compared in lower case without a final dot (RFC 4343).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use atoll_wire::Mac;
use hickory_proto::rr::Name;

use super::dhcp::DhcpServer;
use crate::{Config, Subnet};

/// Labels that are always the network's own.
const BUILT_IN: [&str; 2] = ["gateway", "host"];

/// Labels that software trusts for what they mean; no guest may have them.
const TRUSTED: [&str; 3] = ["localhost", "wpad", "isatap"];

/// Names that were configured, and those built in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Names {
    domain: String,
    /// Full name to addresses.
    table: BTreeMap<String, Vec<IpAddr>>,
}

impl Names {
    /// The configured names of a network. A domain that DNS cannot write counts as none.
    pub(crate) fn new(config: &Config) -> Self {
        let domain = canonical(&config.domain);
        let mut names = Self {
            domain: Name::from_ascii(&domain).map_or_else(|_| String::new(), |_| domain),
            table: BTreeMap::new(),
        };
        for (name, addresses) in &config.names {
            names.set(name, addresses);
        }
        let of = |subnet: Subnet| [subnet.gateway(), subnet.host_alias()];
        let built_in = config.subnet.into_iter().flat_map(of);
        for (label, address) in BUILT_IN.iter().zip(built_in) {
            names.table.insert(names.full(label), vec![address.into()]);
        }
        names
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

/// All names as they stand now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameView<'a> {
    /// Configured and built-in names.
    pub(crate) names: &'a Names,
    /// Names of static leases and of DHCP clients.
    pub(crate) dhcp: &'a DhcpServer,
}

impl NameView<'_> {
    /// The first address of a name as people give it: a full one, or a single label of our domain.
    pub(crate) fn address_of(&self, name: &str) -> Option<IpAddr> {
        self.address_of_full(&self.names.full(name))
    }

    /// The first address of a full name in lower case.
    pub(super) fn address_of_full(&self, full: &str) -> Option<IpAddr> {
        let configured = self.names.table.get(full);
        let configured = configured.and_then(|addresses| addresses.first().copied());
        configured.or_else(|| self.dhcp.address_of_name(self.label_of(full)?).map(IpAddr::V4))
    }

    /// Whether a full name in lower case exists, be it only as the parent of one that does (RFC 8020).
    pub(super) fn exists(&self, full: &str) -> bool {
        let below = |name: &String| name.strip_suffix(full).is_some_and(|head| head.ends_with('.'));
        full == self.names.domain
            || self.address_of_full(full).is_some()
            || self.names.table.keys().any(below)
    }

    /// The full name of an address, for reverse lookup.
    pub(crate) fn name_of(&self, address: Ipv4Addr) -> Option<String> {
        let is_at = |at: &[IpAddr]| at.contains(&address.into());
        let configured = |(name, at): (&String, &Vec<IpAddr>)| is_at(at).then(|| name.clone());
        // A name within the domain says more than an alias elsewhere; a machine's own name more than an alias.
        let own = self
            .dhcp
            .name_of_address(address)
            .map(|label| self.names.full(label));
        own.filter(|name| self.address_of_full(name) == Some(address.into()))
            .or_else(|| {
                let within =
                    |(name, at): &(&String, &Vec<IpAddr>)| is_at(at) && self.label_of(name).is_some();
                self.names.table.iter().find(within).map(|(name, _)| name.clone())
            })
            .or_else(|| self.names.table.iter().find_map(configured))
    }

    /// Every name with its address; those of the domain without it.
    pub(crate) fn all(&self) -> Vec<(String, IpAddr)> {
        let mut all: BTreeMap<String, Vec<IpAddr>> = self
            .dhcp
            .names()
            .map(|(label, address)| (label.to_owned(), vec![address.into()]))
            .collect();
        for (full, addresses) in &self.names.table {
            all.insert(self.label_of(full).unwrap_or(full).to_owned(), addresses.clone());
        }
        let pairs = |(name, addresses): (String, Vec<IpAddr>)| {
            addresses.into_iter().map(move |address| (name.clone(), address))
        };
        all.into_iter().flat_map(pairs).collect()
    }

    /// The part of a full name before our domain.
    fn label_of<'n>(&self, full: &'n str) -> Option<&'n str> {
        if self.names.domain.is_empty() {
            return Some(full);
        }
        full.strip_suffix(self.names.domain.as_str())?.strip_suffix('.')
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atoll_wire::Mac;

    use super::*;
    use crate::{Lease, StaticLease};

    fn host(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, n)
    }

    fn config() -> Config {
        let mut config = Config::new(Subnet {
            address: host(0),
            prefix_len: 24,
        });
        config.names.insert("Registry".to_owned(), vec![host(20).into()]);
        let hostname = Some("db".to_owned());
        config.static_leases = vec![StaticLease {
            mac: Mac([2; 6]),
            address: Some(host(10)),
            address6: None,
            hostname,
        }];
        let remaining = Duration::from_secs(60);
        let lease = |n, name: &str| {
            let hostname = Some(name.to_owned());
            Lease {
                mac: Mac([n; 6]),
                address: host(n),
                hostname,
                remaining,
            }
        };
        config.leases = vec![
            lease(30, "db"),
            lease(32, "registry"),
            lease(34, "gateway"),
            lease(36, "web"),
        ];
        config
    }

    #[test]
    fn a_name_goes_to_whoever_has_the_better_right_to_it() {
        let config = config();
        let (names, dhcp) = (Names::new(&config), DhcpServer::new(&config));
        let view = NameView {
            names: &names,
            dhcp: &dhcp,
        };
        let expected = [
            ("gateway", 1),
            ("registry", 20),
            ("db", 10),
            ("web", 36),
            ("WEB.atoll.internal.", 36),
        ];
        for (name, last) in expected {
            assert_eq!(view.address_of(name), Some(host(last).into()), "{name}");
        }
        let all = [
            ("db", 10),
            ("gateway", 1),
            ("host", 254),
            ("registry", 20),
            ("web", 36),
        ];
        let all = all.map(|(name, last)| (name.to_owned(), IpAddr::V4(host(last))));
        assert_eq!(view.all(), all);
        assert_eq!(view.name_of(host(30)), None, "it lost its name");
    }

    #[test]
    fn a_configured_name_comes_and_goes_and_the_built_in_ones_stay() {
        let mut names = Names::new(&config());
        names.set("cache", &[host(40).into()]);
        assert!(names.is_reserved("cache"));
        names.set("CACHE", &[]);
        assert!(!names.is_reserved("cache"));
        names.set("gateway", &[host(66).into()]);
        names.set("host", &[]);
        assert_eq!(names, Names::new(&config()));
    }
}
