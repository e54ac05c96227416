//! Networks that are bridged by `proxy-arp`: what guests are told of a LAN on which the host answers for them.
//!
//! Their addresses are the LAN's, chosen by whoever configures the network. What else they need - the LAN's netmask and a router - follows
//! from what the host itself has on the interface: guests get it by our DHCP, with the host's own address as their router, since it is the
//! host that routes for them. Of IPv6 they get the address alone, by DHCPv6, and the host's side of the link as router.
//!
//! It is looked up once, when the network starts. A host whose address on the LAN changes later starts the network anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_engine::{Addresses, Prefix, StaticLease, Subnet};

use super::{UplinkSpec, Via};
use crate::{NetworkOptions, StartError, sys};

/// Lengths of subnets that a network can have.
const SUBNETS: std::ops::RangeInclusive<u8> = 8..=29;

/// The LAN as guests are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Routed {
    pub(crate) addresses: Addresses,
    /// The host's address there.
    pub(crate) router: Option<Ipv4Addr>,
}

impl Routed {
    /// Of a network that is about to start; `None` where the host does not answer for its guests.
    pub(crate) fn of(options: &NetworkOptions) -> Result<Option<Self>, StartError> {
        let Some(UplinkSpec::Bridged {
            interface,
            via: Some(Via::ProxyArp),
            ..
        }) = &options.uplink
        else {
            return Ok(None);
        };
        let own = sys::interface_addresses(interface).map_err(StartError::Loop)?;
        Self::among(interface, &own, &options.static_leases).map(Some)
    }

    /// From the host's own addresses on the interface.
    fn among(interface: &str, own: &[(IpAddr, u8)], leases: &[StaticLease]) -> Result<Self, StartError> {
        let mut routed = Self {
            addresses: Addresses::default(),
            router: None,
        };
        let missing = |address: IpAddr| not_there(interface, address, own);
        for address in leases.iter().filter_map(|lease| lease.address) {
            let (router, subnet) = match (routed.router, routed.addresses.subnet) {
                (Some(router), Some(subnet)) => (router, subnet),
                _ => subnet_of(own, address).ok_or_else(|| missing(address.into()))?,
            };
            if !subnet.contains(address) {
                return Err(missing(address.into()));
            }
            (routed.router, routed.addresses.subnet) = (Some(router), Some(subnet));
        }
        for address in leases.iter().filter_map(|lease| lease.address6) {
            let prefix = routed.addresses.prefix.or_else(|| prefix_of(own, address));
            let prefix = prefix.filter(|prefix| prefix.contains(address));
            routed.addresses.prefix = Some(prefix.ok_or_else(|| missing(address.into()))?);
        }
        Ok(routed)
    }
}

/// The host's address and the subnet of it in which an address lies.
fn subnet_of(own: &[(IpAddr, u8)], address: Ipv4Addr) -> Option<(Ipv4Addr, Subnet)> {
    let subnets = own.iter().filter_map(|(own, prefix_len)| match own {
        IpAddr::V4(own) if SUBNETS.contains(prefix_len) => {
            let mut subnet = Subnet {
                address: *own,
                prefix_len: *prefix_len,
            };
            subnet.address = *own & subnet.netmask();
            Some((*own, subnet))
        }
        _ => None,
    });
    let mut subnets = subnets.filter(|(_, subnet)| subnet.contains(address));
    subnets.next()
}

/// The prefix in which an address lies, if the host has an address there.
fn prefix_of(own: &[(IpAddr, u8)], address: Ipv6Addr) -> Option<Prefix> {
    const IDENTIFIER: u128 = (1 << 64) - 1;
    let prefix = Prefix {
        address: Ipv6Addr::from_bits(address.to_bits() & !IDENTIFIER),
    };
    let is_there = |(own, _): &(IpAddr, u8)| matches!(own, IpAddr::V6(own) if prefix.contains(*own));
    own.iter().any(is_there).then_some(prefix)
}

fn not_there(interface: &str, address: IpAddr, own: &[(IpAddr, u8)]) -> StartError {
    let family = own.iter().filter(|(own, _)| own.is_ipv4() == address.is_ipv4());
    let there: Vec<String> = family.map(|(own, len)| format!("{own}/{len}")).collect();
    let hint = if there.is_empty() {
        "with proxy-arp guests have addresses of the LAN on which the host has one".to_owned()
    } else {
        format!(
            "the host is there as {}: choose addresses beside it",
            there.join(" and ")
        )
    };
    StartError::Uplink {
        why: format!("{address} is no address of the LAN of {interface}"),
        hint: Some(hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_wire::Mac;

    const OWN: &[(&str, u8)] = &[("192.168.77.10", 24), ("fe80::1", 64), ("2001:db8:77::10", 64)];

    fn among(leases: &[(&str, &str)]) -> Result<Routed, StartError> {
        let own: Vec<_> = OWN
            .iter()
            .map(|(own, len)| (own.parse().unwrap(), *len))
            .collect();
        let lease = |(v4, v6): &(&str, &str)| StaticLease {
            mac: Mac([2, 0, 0, 0, 0, 1]),
            address: v4.parse().ok(),
            address6: v6.parse().ok(),
            hostname: None,
        };
        Routed::among("eth0", &own, &leases.iter().map(lease).collect::<Vec<_>>())
    }

    #[test]
    fn guests_are_told_of_the_hosts_own_subnet_and_of_the_host_as_router() {
        let routed = among(&[("192.168.77.50", ""), ("192.168.77.51", "2001:db8:77::51")]).unwrap();
        assert_eq!(routed.router, Some(Ipv4Addr::new(192, 168, 77, 10)));
        assert_eq!(
            routed.addresses.to_string(),
            "192.168.77.0/24 and 2001:db8:77::/64"
        );
        assert_eq!(among(&[("192.168.77.50", "")]).unwrap().addresses.prefix, None);
    }

    #[test]
    fn an_address_of_another_lan_is_refused_in_one_sentence() {
        for (v4, v6, why) in [
            (
                "192.168.78.50",
                "",
                "192.168.78.50 is no address of the LAN of eth0",
            ),
            (
                "",
                "2001:db8:78::1",
                "2001:db8:78::1 is no address of the LAN of eth0",
            ),
        ] {
            let error = among(&[("192.168.77.50", ""), (v4, v6)]).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
