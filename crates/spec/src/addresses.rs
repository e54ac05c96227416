//! The addresses of one thing: one of each family at most, written as one address or as a list of two.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::diagnostic::{Diagnostic, Report};
use crate::read::{FromYaml, Spot};
use crate::yaml::{Kind, Node};

/// Addresses as the file gives them, with their places.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenAddresses {
    pub(crate) v4: Option<Spot<Ipv4Addr>>,
    pub(crate) v6: Option<Spot<Ipv6Addr>>,
}

/// The addresses of a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Spelt", into = "Spelt")]
pub struct Addresses {
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

/// In JSON as in the file: an address, or a list.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Spelt {
    One(IpAddr),
    Many(Vec<IpAddr>),
}

impl Addresses {
    /// Take an address; `false` when there is one of its family already.
    pub fn add(&mut self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) if self.v4.is_none() => self.v4 = Some(address),
            IpAddr::V6(address) if self.v6.is_none() => self.v6 = Some(address),
            _ => return false,
        }
        true
    }

    /// Each, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

impl From<Spelt> for Addresses {
    fn from(spelt: Spelt) -> Self {
        let given = match spelt {
            Spelt::One(address) => vec![address],
            Spelt::Many(addresses) => addresses,
        };
        let mut addresses = Self::default();
        for address in given {
            addresses.add(address);
        }
        addresses
    }
}

impl From<Addresses> for Spelt {
    fn from(addresses: Addresses) -> Self {
        let all: Vec<IpAddr> = addresses.iter().collect();
        match all[..] {
            [only] => Self::One(only),
            _ => Self::Many(all),
        }
    }
}

impl GivenAddresses {
    /// Without their places.
    pub(crate) fn values(&self) -> Addresses {
        Addresses {
            v4: self.v4.as_ref().map(|address| address.value),
            v6: self.v6.as_ref().map(|address| address.value),
        }
    }

    fn add(&mut self, address: Spot<IpAddr>, what: &str, report: &mut Report) {
        let span = address.span.clone();
        let earlier = match address.value {
            IpAddr::V4(value) => self.v4.replace(Spot { value, span }).map(|spot| spot.span),
            IpAddr::V6(value) => self.v6.replace(Spot { value, span }).map(|spot| spot.span),
        };
        if let Some(earlier) = earlier {
            let family = if address.value.is_ipv4() { "IPv4" } else { "IPv6" };
            let title = format!("{what} has two {family} addresses");
            report.push(Diagnostic::new(title, address.span).and(earlier, "the other one"));
        }
    }
}

impl FromYaml for GivenAddresses {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let items = match &node.kind {
            Kind::List(items) => &items[..],
            _ => std::slice::from_ref(node),
        };
        let mut addresses = Self::default();
        for item in items {
            let address = Spot::<IpAddr>::from_yaml(item, what, report)?;
            addresses.add(address, what, report);
        }
        Some(addresses)
    }
}
