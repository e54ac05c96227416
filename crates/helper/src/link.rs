//! What is asked for a link of the host's to a network that runs without one: a TAP with an address of the network's, and the
//! domain whose names the network's resolver answers.
//!
//! The subnets are the network's own, so that the kernel routes them, and nothing else, to the TAP. Resolvers are addresses in them: no
//! request sends the host's questions anywhere else.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::net::{Ipv4Net, Ipv6Net, NetworkName, shortened};

/// Resolvers that one link may have.
const MAX_RESOLVERS: usize = 4;

/// A host's link to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LinkRequest {
    /// What the network is called: the interface's name follows from it.
    pub network: NetworkName,
    /// The network's IPv4.
    #[serde(default)]
    pub subnet: Option<Ipv4Net>,
    /// The host's address there.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// The network's IPv6: a /64.
    #[serde(default)]
    pub prefix: Option<Ipv6Net>,
    /// The host's address there.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
    /// Bytes of the largest packet on it.
    pub mtu: u16,
    /// The domain whose names are asked of `resolvers`; none: the host's resolver is left alone.
    #[serde(default)]
    pub domain: Option<DomainName>,
    /// The network's resolvers: addresses on it.
    #[serde(default)]
    pub resolvers: Vec<IpAddr>,
    /// Guests may begin conversations with the host.
    #[serde(default)]
    pub guests: bool,
}

/// A domain below which names are the network's: lower-case labels of letters, digits, '-' and '_', at most 253 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

/// Why a word is no domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no domain: labels of 1 to 63 letters, digits, '-' or '_', 253 bytes in all")]
pub struct NoDomain(String);

impl DomainName {
    /// The domain, without a dot at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the other, or lies below it.
    #[must_use]
    pub fn is_below(&self, other: &str) -> bool {
        let rest = self.0.strip_suffix(other);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for DomainName {
    type Err = NoDomain;
    fn from_str(word: &str) -> Result<Self, NoDomain> {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_fit);
        if word.len() <= 253 && word.split('.').all(is_label) {
            Ok(Self(word.to_ascii_lowercase()))
        } else {
            Err(NoDomain(shortened(word)))
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for DomainName {
    type Error = NoDomain;
    fn try_from(word: String) -> Result<Self, NoDomain> {
        word.parse()
    }
}

impl From<DomainName> for String {
    fn from(domain: DomainName) -> Self {
        domain.0
    }
}

impl LinkRequest {
    /// What its parts do not say by themselves.
    pub(crate) fn check(&self) -> Result<(), String> {
        crate::request::check_own(self.subnet, self.prefix, self.mtu)?;
        let both = [
            (self.subnet.is_some(), self.address.is_some(), "IPv4"),
            (self.prefix.is_some(), self.address6.is_some(), "IPv6"),
        ];
        if let Some((.., family)) = both.iter().find(|(net, address, _)| net != address) {
            return Err(format!(
                "a link has a subnet and an address of {family}, or neither"
            ));
        }
        let mut addresses = self.addresses().into_iter().map(|(address, _)| address);
        if let Some(address) = addresses.find(|it| !self.is_hosts(*it)) {
            return Err(format!("{address} is no address of a host on this network"));
        }
        if self.resolvers.len() > MAX_RESOLVERS {
            return Err(format!("a link has at most {MAX_RESOLVERS} resolvers"));
        }
        if let Some(address) = self.resolvers.iter().find(|it| !self.is_hosts(**it)) {
            return Err(format!("the resolver {address} is not on this network"));
        }
        if self.domain.is_some() && self.resolvers.is_empty() {
            return Err("a domain needs a resolver".to_owned());
        }
        Ok(())
    }

    /// The host's addresses, with the lengths of their subnets.
    pub(crate) fn addresses(&self) -> Vec<(IpAddr, u8)> {
        let v4 = self.subnet.zip(self.address);
        let v6 = self.prefix.zip(self.address6);
        let v4 = v4.map(|(net, address)| (address.into(), net.len()));
        v4.into_iter()
            .chain(v6.map(|(net, address)| (address.into(), net.len())))
            .collect()
    }

    fn is_hosts(&self, address: IpAddr) -> bool {
        is_hosts(self.subnet, self.prefix, address)
    }

    /// The ranges, for sentences.
    pub(crate) fn ranges(&self) -> Vec<String> {
        let v4 = self.subnet.iter().map(ToString::to_string);
        v4.chain(self.prefix.iter().map(ToString::to_string)).collect()
    }
}

/// Whether a host of a network can have an address: neither the network's own nor that of all.
pub(crate) fn is_hosts(subnet: Option<Ipv4Net>, prefix: Option<Ipv6Net>, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => subnet.is_some_and(|net| {
            let last = u32::MAX.checked_shr(net.len().into()).unwrap_or(0);
            let number = address.to_bits() & last;
            net.contains(address) && number != 0 && number != last
        }),
        IpAddr::V6(address) => prefix.is_some_and(|net| net.contains(address) && address != net.address()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> LinkRequest {
        LinkRequest {
            network: "lan".parse().unwrap(),
            subnet: "10.77.0.0/24".parse().ok(),
            address: Some(Ipv4Addr::new(10, 77, 0, 253)),
            prefix: "fd77::/64".parse().ok(),
            address6: "fd77::fd".parse().ok(),
            mtu: 1500,
            domain: "atoll.internal".parse().ok(),
            resolvers: vec!["10.77.0.1".parse().unwrap()],
            guests: false,
        }
    }

    #[test]
    fn addresses_and_resolvers_are_on_the_network() {
        assert_eq!(request().check(), Ok(()));
        let wrong: [fn(&mut LinkRequest); 9] = [
            |it| it.address = None,
            |it| it.prefix = None,
            |it| it.address = Some(Ipv4Addr::new(10, 77, 1, 253)),
            |it| it.address = Some(Ipv4Addr::new(10, 77, 0, 255)),
            |it| it.address = Some(Ipv4Addr::new(10, 77, 0, 0)),
            |it| it.address6 = "fd77::".parse().ok(),
            |it| it.resolvers = vec!["8.8.8.8".parse().unwrap()],
            |it| it.resolvers.clear(),
            |it| it.resolvers = vec!["10.77.0.1".parse().unwrap(); MAX_RESOLVERS + 1],
        ];
        for (number, change) in wrong.iter().enumerate() {
            let mut request = request();
            change(&mut request);
            assert!(request.check().is_err(), "{number}: {request:?}");
        }
    }

    #[test]
    fn a_domain_is_labels_and_never_the_root() {
        for word in ["atoll.internal", "A.B", "_x", "a-1"] {
            assert_eq!(
                word.parse::<DomainName>().unwrap().as_str(),
                word.to_ascii_lowercase()
            );
        }
        for word in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "~.",
            "a b",
            "é.internal",
            &"a".repeat(64),
            &"a.".repeat(200),
        ] {
            assert!(word.parse::<DomainName>().is_err(), "{word}");
        }
        let domain: DomainName = "lan.atoll.internal".parse().unwrap();
        assert!(domain.is_below("internal") && domain.is_below("lan.atoll.internal"));
        assert!(!domain.is_below("nternal") && !domain.is_below("x.lan.atoll.internal"));
    }
}
