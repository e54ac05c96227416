//! Routes beyond a network: a destination, and the machine or address on the network that leads there.
//!
//! Guests are told them by DHCP (option 121, RFC 3442) and router advertisements (route information, RFC 4191). A route by way
//! of a machine names it; [`resolve`] finds its address once all NICs have theirs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::cluster::{Machine, Network};
use crate::diagnostic::{Diagnostic, Report};
use crate::file::RouteFile;
use crate::name::Name;
use crate::networks::PlacedNetwork;
use crate::read::Spot;
use crate::text::{Hint, Text, nearest, text_type};

/// What one DHCP option of 255 bytes holds with room to spare.
pub(crate) const ROUTES: usize = 16;

/// A network somewhere behind a machine, as `a.b.c.d/prefix` or `x::/prefix`; host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    network: IpAddr,
    prefix: u8,
}

/// Packets to some addresses beyond the network leave it by way of this neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    /// Where they go.
    pub to: Destination,
    /// Who takes them there: an address on the network, of the same family.
    pub via: IpAddr,
}

/// The next hop as the file says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    Address(IpAddr),
    Machine(Name),
}

/// Why a text is no destination, or no next hop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum RouteError {
    #[error("{0:?} is no network to route to")]
    Syntax(String),
    #[error("{text:?} is no network: the address has bits beyond its prefix")]
    HostBits { text: String, network: Destination },
    #[error("{0:?} is the way to everywhere, which the gateway has already")]
    Default(String),
    #[error("{0:?} is never beyond a network")]
    Reserved(String),
    #[error("{0:?} is neither an address nor the name of a machine")]
    Hop(String),
}

impl Hint for RouteError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax(_) => Some("write a network like 192.168.10.0/24 or fd00:10::/64".to_owned()),
            Self::HostBits { network, .. } => Some(format!("did you mean \"{network}\"?")),
            Self::Default(_) => Some("name the networks behind the machine, like 192.168.10.0/24".to_owned()),
            Self::Reserved(_) => {
                Some("loopback, link-local and multicast addresses are not routed".to_owned())
            }
            Self::Hop(_) => Some("name a machine that is on the network, or its address there".to_owned()),
        }
    }
}

impl Destination {
    /// The network's own address, all host bits zero.
    pub fn network(self) -> IpAddr {
        self.network
    }

    /// The prefix length: 1 to 32, with IPv6 to 128.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    fn overlaps(self, other: Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        self.network.is_ipv4() == other.network.is_ipv4()
            && masked(self.network, prefix) == masked(other.network, prefix)
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

fn is_routable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_loopback()
                || address.is_link_local()
                || address.is_multicast()
                || address.octets()[0] == 0)
        }
        IpAddr::V6(address) => {
            !(address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.is_multicast())
        }
    }
}

impl FromStr for Destination {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        let syntax = || RouteError::Syntax(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(syntax)?;
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        let digits = prefix.bytes().all(|b| b.is_ascii_digit());
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix
            .parse::<u8>()
            .ok()
            .filter(|prefix| digits && *prefix <= longest)
            .ok_or_else(syntax)?;
        let network = masked(address, prefix);
        let found = Self { network, prefix };
        if prefix == 0 {
            return Err(RouteError::Default(text.to_owned()));
        }
        if network != address {
            return Err(RouteError::HostBits {
                text: text.to_owned(),
                network: found,
            });
        }
        if !is_routable(network) {
            return Err(RouteError::Reserved(text.to_owned()));
        }
        Ok(found)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

text_type!(
    Destination,
    expected: "a network like 192.168.10.0/24",
    pattern: "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
    about: "A network somewhere behind a machine."
);

impl FromStr for Hop {
    type Err = RouteError;

    fn from_str(text: &str) -> Result<Self, RouteError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let name = text.parse().map_err(|_| RouteError::Hop(text.to_owned()))?;
        Ok(Self::Machine(name))
    }
}

impl Text for Hop {
    const EXPECTED: &'static str = "a machine or an address";
}

/// The routes of a network, once it is known who is on it; what is wrong with them is reported.
pub(crate) fn resolve(placed: &PlacedNetwork, machines: &[Machine], report: &mut Report) -> Vec<Route> {
    let network = &placed.network;
    let mut routes: Vec<(Route, &Spot<Destination>)> = Vec::new();
    for file in &placed.routes {
        let (Some(to), Some(hop)) = (&file.to, &file.via) else {
            report_incomplete(network, file, report);
            continue;
        };
        if let Some((_, first)) = routes.iter().find(|(known, _)| known.to == to.value) {
            let title = format!(
                "network {:?} has two routes to {}",
                network.name.as_str(),
                to.value
            );
            report.push(Diagnostic::new(title, to.span.clone()).and(first.span.clone(), "the other one"));
            continue;
        }
        if overlaps(network, to.value) {
            let title = format!("{} is network {:?} itself", to.value, network.name.as_str());
            let hint = "a route leads to addresses that are not on the network".to_owned();
            report.push(Diagnostic::new(title, to.span.clone()).with_hint(hint));
        }
        if let Some(via) = next_hop(network, to.value, hop, machines, report) {
            routes.push((Route { to: to.value, via }, to));
        }
    }
    if let Some(one_too_many) = placed.routes.get(ROUTES) {
        let title = format!(
            "network {:?} has more than {ROUTES} routes",
            network.name.as_str()
        );
        report.push(Diagnostic::new(title, one_too_many.span.clone()));
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

fn report_incomplete(network: &Network, file: &RouteFile, report: &mut Report) {
    if !file.wrong {
        let key = if file.to.is_none() { "to" } else { "via" };
        let title = format!("a route of network {:?} has no {key}", network.name.as_str());
        let hint = "write a route as {to: 192.168.10.0/24, via: MACHINE}".to_owned();
        report.push(Diagnostic::new(title, file.span.clone()).with_hint(hint));
    }
}

/// Whether some of a route's destinations are addresses of a network.
pub(crate) fn overlaps(network: &Network, to: Destination) -> bool {
    let v4 = network.subnet.map(|subnet| Destination {
        network: subnet.network().into(),
        prefix: subnet.prefix(),
    });
    let v6 = network.ipv6.map(|prefix| Destination {
        network: prefix.network().into(),
        prefix: prefix.length(),
    });
    v4.into_iter().chain(v6).any(|own| own.overlaps(to))
}

/// The address of a next hop, unless it is none.
fn next_hop(
    network: &Network,
    to: Destination,
    hop: &Spot<Hop>,
    machines: &[Machine],
    report: &mut Report,
) -> Option<IpAddr> {
    let mut wrong = |title: String, hint: String| {
        report.push(Diagnostic::new(title, hop.span.clone()).with_hint(hint));
        None
    };
    let family = if to.network.is_ipv4() { "IPv4" } else { "IPv6" };
    let on = network.name.as_str();
    match &hop.value {
        Hop::Address(address) => {
            if address.is_ipv4() != to.network.is_ipv4() {
                let title = format!("a route to {to} cannot go by way of {address}");
                return wrong(title, format!("its next hop is an address of {family}"));
            }
            match why_no_hop(network, *address) {
                None => Some(*address),
                Some(why) => wrong(
                    format!("{address} cannot be the next hop of a route: {why} network {on:?}"),
                    "name a machine that is on the network, or its address there".to_owned(),
                ),
            }
        }
        Hop::Machine(name) => {
            let found = machines.iter().find(|machine| machine.name == *name);
            let Some(machine) = found else {
                let title = format!("there is no machine {:?} that a route could go by", name.as_str());
                let known = machines.iter().map(|machine| machine.name.as_str());
                return wrong(title, unknown(name.as_str(), known));
            };
            let mut there = machine
                .nics
                .iter()
                .filter(|nic| nic.network == network.name)
                .peekable();
            if there.peek().is_none() {
                let title = format!(
                    "machine {:?} is not on network {on:?}, whose route goes by it",
                    name.as_str()
                );
                return wrong(title, format!("give it a NIC there: nics: [{on}, …]"));
            }
            let address = there
                .flat_map(|nic| nic.addresses())
                .find(|it| it.is_ipv4() == to.network.is_ipv4());
            address.or_else(|| {
                let title = format!(
                    "machine {:?} has no {family} address on network {on:?}",
                    name.as_str()
                );
                wrong(title, format!("a route to {to} needs {family} on the network"))
            })
        }
    }
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("machines are: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// Why an address is none that a neighbour on the network can have.
fn why_no_hop(network: &Network, address: IpAddr) -> Option<&'static str> {
    const OUTSIDE: &str = "it is outside";
    const OWN: &str = "it is no machine's on";
    match address {
        IpAddr::V4(address) => match network.subnet {
            Some(subnet) if subnet.contains(address) => subnet.reserved_for(address).map(|_| OWN),
            _ => Some(OUTSIDE),
        },
        IpAddr::V6(address) => match network.ipv6 {
            Some(prefix) if prefix.contains(address) => prefix.reserved_for(address).map(|_| OWN),
            _ => Some(OUTSIDE),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_written_back_as_they_were() {
        for text in [
            "192.168.10.0/24",
            "10.0.0.0/8",
            "1.2.3.4/32",
            "fd00:10::/64",
            "2001:db8::1/128",
            "8000::/1",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        for text in [
            "10.0.0.0",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "::/0",
            "0.0.0.0/0",
            "127.0.0.0/8",
            "fe80::/10",
            "x/8",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }

    #[test]
    fn one_network_inside_the_other_overlaps_it() {
        let parse = |text: &str| text.parse::<Destination>().unwrap();
        assert!(parse("10.0.0.0/8").overlaps(parse("10.77.0.0/24")));
        assert!(parse("10.77.0.0/24").overlaps(parse("10.0.0.0/8")));
        assert!(!parse("10.76.0.0/24").overlaps(parse("10.77.0.0/24")));
        assert!(!parse("10.0.0.0/8").overlaps(parse("fd00::/8")));
    }
}
