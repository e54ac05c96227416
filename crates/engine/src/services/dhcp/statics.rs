//! Addresses that belong to one MAC address for good.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use atoll_wire::Mac;

/// What one client has for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Static {
    pub(super) address: Ipv4Addr,
    /// Configured name, in lower case.
    pub(super) hostname: Option<String>,
    /// The name that the client gave, where none is configured.
    pub(super) learnt: Option<String>,
}

impl Static {
    /// Its host name.
    pub(super) fn name(&self) -> Option<&str> {
        self.hostname.as_deref().or(self.learnt.as_deref())
    }
}

/// All of them. As many as were configured, so nothing here is for guests to fill.
#[derive(Debug, Default)]
pub(super) struct Statics {
    by_mac: BTreeMap<Mac, Static>,
}

impl Statics {
    pub(super) fn get(&self, mac: Mac) -> Option<&Static> {
        self.by_mac.get(&mac)
    }

    pub(super) fn get_mut(&mut self, mac: Mac) -> Option<&mut Static> {
        self.by_mac.get_mut(&mac)
    }

    /// Enters one; gives back what the MAC address had before.
    pub(super) fn insert(&mut self, mac: Mac, entry: Static) -> Option<Static> {
        self.by_mac.insert(mac, entry)
    }

    pub(super) fn remove(&mut self, mac: Mac) -> Option<Static> {
        self.by_mac.remove(&mac)
    }

    pub(super) fn owner_of(&self, address: Ipv4Addr) -> Option<Mac> {
        let owner = self.by_mac.iter().find(|(_, entry)| entry.address == address);
        owner.map(|(mac, _)| *mac)
    }

    pub(super) fn owner_of_name(&self, name: &str) -> Option<Mac> {
        self.names().find(|(own, _)| *own == name).map(|(_, mac)| mac)
    }

    /// Host names with their owners.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, Mac)> {
        let named = self.by_mac.iter();
        named.filter_map(|(mac, entry)| Some((entry.name()?, *mac)))
    }
}
