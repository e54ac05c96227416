//! What is asked for where the host is on a network by itself, and only its names are missing: the network's domain and its resolvers.
//!
//! So it is with vmnet's modes `shared` and `host`. Nothing is made but the host's knowledge of the domain, so that what is granted comes
//! without a descriptor, and lasts as long as the session. Resolvers are addresses of the ranges that are said, which the policy bounds
//! as it does a link's.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::link::{DomainName, is_hosts};
use crate::net::{Ipv4Net, Ipv6Net, NetworkName};

/// Resolvers that one domain may have: more are not read (`MAXNS` of `<resolv.h>`).
const MAX_RESOLVERS: usize = 3;

/// The names of a network, for the host's programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NamesRequest {
    /// What the network is called, for people.
    pub network: NetworkName,
    /// The network's IPv4.
    #[serde(default)]
    pub subnet: Option<Ipv4Net>,
    /// The network's IPv6: a /64.
    #[serde(default)]
    pub prefix: Option<Ipv6Net>,
    /// The domain whose names are asked of `resolvers`.
    pub domain: DomainName,
    /// The network's resolvers: addresses on it.
    pub resolvers: Vec<IpAddr>,
}

impl NamesRequest {
    /// What its parts do not say by themselves.
    pub(crate) fn check(&self) -> Result<(), String> {
        crate::request::check_ranges(self.subnet, self.prefix)?;
        if !(1..=MAX_RESOLVERS).contains(&self.resolvers.len()) {
            return Err(format!("a domain has 1 to {MAX_RESOLVERS} resolvers"));
        }
        let is_elsewhere = |it: &&IpAddr| !is_hosts(self.subnet, self.prefix, **it);
        match self.resolvers.iter().find(is_elsewhere) {
            Some(address) => Err(format!("the resolver {address} is not on this network")),
            None => Ok(()),
        }
    }

    /// The ranges, for sentences.
    pub(crate) fn ranges(&self) -> Vec<String> {
        let v4 = self.subnet.iter().map(ToString::to_string);
        v4.chain(self.prefix.iter().map(ToString::to_string)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_one_to_three_and_on_the_network() {
        let request = |resolvers: &[&str]| NamesRequest {
            network: "lan".parse().unwrap(),
            subnet: "192.168.77.0/24".parse().ok(),
            prefix: "fd77::/64".parse().ok(),
            domain: "atoll.internal".parse().unwrap(),
            resolvers: resolvers.iter().map(|word| word.parse().unwrap()).collect(),
        };
        assert_eq!(request(&["192.168.77.254", "fd77::ff"]).check(), Ok(()));
        for wrong in [
            &[][..],
            &["8.8.8.8"],
            &["192.168.77.255"],
            &["192.168.77.254", "fd78::1"],
            &["192.168.77.254"; 4],
        ] {
            assert!(request(wrong).check().is_err(), "{wrong:?}");
        }
        let mut nowhere = request(&["192.168.77.254"]);
        (nowhere.subnet, nowhere.prefix) = (None, None);
        assert!(nowhere.check().is_err());
    }
}
