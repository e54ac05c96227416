//! DHCP options that somebody chose for guests.
//!
//! What is chosen for one guest stands before what is chosen for all, and both before what the network says of itself. An option may
//! also be chosen not to be told. The protocol's own options are not for anybody to choose; where they are among them they are left out.

use std::collections::BTreeMap;

use atoll_wire::Mac;

use crate::Config;

/// Options by their codes: the data as they go over the wire, or `None` where guests are not to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DhcpOptions {
    /// Of DHCP for IPv4 (RFC 2132); at most 255 bytes each.
    pub v4: BTreeMap<u8, Option<Vec<u8>>>,
    /// Of DHCP for IPv6 (RFC 8415, 21).
    pub v6: BTreeMap<u16, Option<Vec<u8>>>,
}

impl DhcpOptions {
    /// Whether nothing is chosen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

type ByCode<C> = BTreeMap<C, Option<Vec<u8>>>;

/// What was chosen of one family. As much as was configured, so nothing here is for guests to fill.
#[derive(Debug)]
pub(crate) struct Custom<C> {
    of_all: ByCode<C>,
    of_one: BTreeMap<Mac, ByCode<C>>,
}

impl<C: Ord + Copy> Custom<C> {
    /// What `config` says of the family; `own` are the codes that are not for users.
    pub(crate) fn new(config: &Config, family: impl Fn(&DhcpOptions) -> &ByCode<C>, own: &[C]) -> Self {
        let mut custom = Self {
            of_all: without(family(&config.dhcp_options), own),
            of_one: BTreeMap::new(),
        };
        for (mac, options) in &config.dhcp_options_of {
            custom.set(*mac, family(options), own);
        }
        custom
    }

    /// What one guest is told from now on.
    pub(crate) fn set(&mut self, mac: Mac, options: &ByCode<C>, own: &[C]) {
        if options.is_empty() {
            self.of_one.remove(&mac);
        } else {
            self.of_one.insert(mac, without(options, own));
        }
    }

    /// What a guest is told.
    pub(crate) fn of(&self, mac: Mac) -> CustomOf<'_, C> {
        CustomOf {
            of_all: &self.of_all,
            of_one: self.of_one.get(&mac),
        }
    }
}

fn without<C: Ord + Copy>(options: &ByCode<C>, own: &[C]) -> ByCode<C> {
    let mut options = options.clone();
    options.retain(|code, _| !own.contains(code));
    options
}

/// What was chosen for one guest.
#[derive(Debug)]
pub(crate) struct CustomOf<'a, C> {
    of_all: &'a ByCode<C>,
    of_one: Option<&'a ByCode<C>>,
}

impl<'a, C: Ord + Copy> CustomOf<'a, C> {
    /// What was chosen of this option: `Some(None)` means that nothing is told.
    pub(crate) fn get(&self, code: C) -> Option<Option<&'a [u8]>> {
        let own = self.of_one.and_then(|own| own.get(&code));
        own.or_else(|| self.of_all.get(&code)).map(Option::as_deref)
    }

    /// The codes of all that was chosen; some may come twice.
    pub(crate) fn codes(&self) -> impl Iterator<Item = C> + 'a {
        let own = self.of_one.into_iter().flat_map(|own| own.keys());
        own.chain(self.of_all.keys()).copied()
    }
}
