//! Names and addresses as they stand now, both ways.
//!
//! A host name belongs to a station. Its IPv4 address is that of its static lease or lease. Its IPv6 address is that
//! too; if it has neither, as most clients of DHCPv4 alone, it is one that the gateway heard it use: the one made from
//! its MAC address (RFC 4291 appendix A) if that is among them, since it stays, else the latest. Of an address, the
//! name is that of the station which has or used it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv6Addr};

use atoll_wire::Mac;

use super::{BUILT_IN, Names};
use crate::services::dhcp::DhcpServer;
use crate::services::dhcp6::Dhcp6Server;

/// Who was heard to use which address.
pub(crate) trait Heard: Debug {
    /// Every address with its station.
    fn each(&self) -> Box<dyn Iterator<Item = (IpAddr, Mac)> + '_>;

    /// The addresses of a station, the latest first.
    fn latest_of(&self, mac: Mac) -> Vec<IpAddr>;

    /// The station that has an address.
    fn station_at(&self, address: IpAddr) -> Option<Mac>;
}

/// All names as they stand now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameView<'a> {
    /// Configured and built-in names.
    pub(crate) names: &'a Names,
    /// Stations of static leases, and of clients.
    pub(crate) dhcp: &'a DhcpServer,
    /// The same of IPv6.
    pub(crate) dhcp6: &'a Dhcp6Server,
    /// Addresses that stations gave themselves.
    pub(crate) heard: &'a dyn Heard,
}

impl NameView<'_> {
    /// The addresses of a name as people give it: a full one, or a single label of our domain. `None` when it is a name of ours
    /// that nobody has now; empty when it is none of ours.
    pub(crate) fn look_up(&self, name: &str) -> Option<Vec<IpAddr>> {
        let full = self.names.full(name);
        let found = self.addresses_of_full(&full).unwrap_or_default();
        let is_ours = full == self.names.domain || self.label_of(&full).is_some();
        (!found.is_empty() || !is_ours).then_some(found)
    }

    /// The addresses of a full name in lower case, those of IPv4 first; `None` when nobody has the name.
    pub(in crate::services) fn addresses_of_full(&self, full: &str) -> Option<Vec<IpAddr>> {
        if let Some(configured) = self.names.table.get(full) {
            return Some(configured.clone());
        }
        let label = self.label_of(full)?;
        if let Some(owner) = self.owner_of_label(label) {
            return Some(self.addresses_of(owner));
        }
        let last = label.rsplit_once('.')?.1;
        let wildcards = self.names.wildcards && !self.names.domain.is_empty();
        wildcards.then(|| self.wildcard(full, last))?
    }

    /// The addresses of the nearest name above this one, if that is a machine's or a configured one of the domain: what
    /// exists in between has none to give (RFC 4592 section 3.3.1). `last` is the label below the domain.
    fn wildcard(&self, full: &str, last: &str) -> Option<Vec<IpAddr>> {
        let mut above = full;
        while let Some((_, parent)) = above.split_once('.') {
            if self.exists(parent) {
                let own = parent == self.names.domain || BUILT_IN.contains(&last);
                return (!own && !self.exists(full)).then(|| self.addresses_of_full(parent))?;
            }
            above = parent;
        }
        None
    }

    /// Whether a full name in lower case exists, be it only as the parent of one that does (RFC 8020).
    pub(in crate::services) fn exists(&self, full: &str) -> bool {
        let below = |name: &String| name.strip_suffix(full).is_some_and(|head| head.ends_with('.'));
        full == self.names.domain
            || self.names.table.contains_key(full)
            || self.names.services.contains_key(full)
            || self
                .label_of(full)
                .is_some_and(|label| self.owner_of_label(label).is_some())
            || self
                .names
                .table
                .keys()
                .chain(self.names.services.keys())
                .any(below)
    }

    /// The full name of an address, for reverse lookup.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<String> {
        let is_at = |(_, at): &(&String, &Vec<IpAddr>)| at.contains(&address);
        let within = |(name, _): &(&String, &Vec<IpAddr>)| self.label_of(name).is_some();
        let configured = || self.names.table.iter().filter(is_at);
        // A machine's own name says more than an alias, a name within the domain more than one elsewhere.
        let own = self
            .station_at(address)
            .and_then(|owner| self.name_of_station(owner));
        own.or_else(|| configured().find(within).map(|(name, _)| name.clone()))
            .or_else(|| configured().next().map(|(name, _)| name.clone()))
    }

    /// Whether an address from `first` to `last` may have a name.
    pub(in crate::services) fn has_between(&self, first: Ipv6Addr, last: Ipv6Addr) -> bool {
        let between = |address: &IpAddr| (IpAddr::V6(first)..=IpAddr::V6(last)).contains(address);
        self.dhcp6.has_lease_between(first, last)
            || self.names.table.values().flatten().any(between)
            || self.heard.each().any(|(address, _)| between(&address))
    }

    /// Every name with its addresses; those of the domain without it.
    pub(crate) fn all(&self) -> Vec<(String, IpAddr)> {
        let mut all: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        let labels = self.dhcp.names().chain(self.dhcp6.names());
        for (label, _) in labels {
            let Some(owner) = self.owner_of_label(label) else {
                continue;
            };
            all.insert(label.to_owned(), self.addresses_of(owner));
        }
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

    /// What is configured goes before what a client says.
    fn owner_of_label(&self, label: &str) -> Option<Mac> {
        let fixed = self.dhcp.static_owner_of_name(label);
        fixed
            .or_else(|| self.dhcp6.static_owner_of_name(label))
            .or_else(|| self.dhcp.owner_of_name(label))
            .or_else(|| self.dhcp6.owner_of_name(label))
    }

    /// The name of a station, unless somebody with a better right has that.
    fn name_of_station(&self, owner: Mac) -> Option<String> {
        let names = [self.dhcp.name_of(owner), self.dhcp6.name_of(owner)];
        let mut names = names.into_iter().flatten();
        let label = names
            .find(|label| !self.names.is_reserved(label) && self.owner_of_label(label) == Some(owner))?;
        Some(self.names.full(label))
    }

    fn station_at(&self, address: IpAddr) -> Option<Mac> {
        match address {
            IpAddr::V4(address) => self.dhcp.owner_of(address),
            IpAddr::V6(address) => self
                .dhcp6
                .owner_of(address)
                .or_else(|| self.heard.station_at(address.into())),
        }
    }

    fn addresses_of(&self, owner: Mac) -> Vec<IpAddr> {
        let v4 = self.dhcp.address_of(owner).map(IpAddr::V4);
        let v6 = self.dhcp6.address_of(owner).or_else(|| self.own_choice(owner));
        v4.into_iter().chain(v6.map(IpAddr::V6)).collect()
    }

    /// Which of the addresses that a station gave itself.
    fn own_choice(&self, owner: Mac) -> Option<Ipv6Addr> {
        let prefix = self.names.addresses.prefix?;
        let of_prefix = |address| match address {
            IpAddr::V6(address) if prefix.contains(address) => Some(address),
            _ => None,
        };
        let heard = self.heard.latest_of(owner).into_iter().filter_map(of_prefix);
        let heard: Vec<Ipv6Addr> = heard.collect();
        let lasting = prefix.with(identifier_of(owner));
        let lasting = Some(lasting).filter(|lasting| heard.contains(lasting));
        lasting.or_else(|| heard.first().copied())
    }
}

/// RFC 4291 appendix A: a modified EUI-64.
fn identifier_of(Mac([a, b, c, d, e, f]): Mac) -> u64 {
    u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}
