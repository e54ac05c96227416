//! Addresses that belong to one MAC address for good.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use atoll_wire::Mac;

/// What one client has for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Static {
    pub(super) address: Ipv6Addr,
    /// It was named, and does not only go with an IPv4 address: it is the station's whether or not it asks.
    pub(super) configured: bool,
    /// Configured name, in lower case.
    pub(super) hostname: Option<String>,
}

/// All of them. As many as were configured, so nothing here is for guests to fill.
#[derive(Debug, Default)]
pub(super) struct Statics {
    by_mac: BTreeMap<Mac, Static>,
    owners: BTreeMap<Ipv6Addr, Mac>,
}

impl Statics {
    pub(super) fn get(&self, mac: Mac) -> Option<&Static> {
        self.by_mac.get(&mac)
    }

    /// Enters one, in place of what the MAC address had before.
    pub(super) fn insert(&mut self, mac: Mac, entry: Static) {
        self.remove(mac);
        self.owners.insert(entry.address, mac);
        self.by_mac.insert(mac, entry);
    }

    pub(super) fn remove(&mut self, mac: Mac) -> Option<Static> {
        let entry = self.by_mac.remove(&mac)?;
        self.owners.remove(&entry.address);
        Some(entry)
    }

    pub(super) fn owner_of(&self, address: Ipv6Addr) -> Option<Mac> {
        self.owners.get(&address).copied()
    }

    /// The owner of an address that was named.
    pub(super) fn configured_owner_of(&self, address: Ipv6Addr) -> Option<Mac> {
        let owner = self.owner_of(address);
        owner.filter(|mac| self.get(*mac).is_some_and(|entry| entry.configured))
    }

    pub(super) fn owner_of_name(&self, name: &str) -> Option<Mac> {
        self.names().find(|(own, _)| *own == name).map(|(_, mac)| mac)
    }

    /// Host names with their owners.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, Mac)> {
        let named = self.by_mac.iter();
        named.filter_map(|(mac, entry)| Some((entry.hostname.as_deref()?, *mac)))
    }

    /// Whether an address from `first` to `last` was named.
    pub(super) fn has_between(&self, first: Ipv6Addr, last: Ipv6Addr) -> bool {
        let mut between = self.owners.range(first..=last).map(|(address, _)| *address);
        between.any(|address| self.configured_owner_of(address).is_some())
    }
}
