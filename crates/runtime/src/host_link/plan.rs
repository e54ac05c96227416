//! Which addresses a link has.
//!
//! The highest below the host alias: `.253` and `::fd`. DHCP gives them last or never; but a guest may have asked for one, or an administrator given it
//! to one; then the next lower is looked at, [`TRIES`] in all. What is found is the link's lease for as long as it is there, so that DHCP
//! gives it to nobody else. Whether an address can be leased is asked of the engine by leasing it for a moment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_engine::{Command, Prefix, StaticLease, Subnet};
use atoll_wire::Mac;
use serde::{Deserialize, Serialize};

use super::{HostLink, Kind, LinkError};
use crate::core::Core;
use crate::event_loop::About;
use crate::taps::Held;

/// Addresses that are looked at.
const TRIES: u32 = 64;

/// Whose lease it is that is tried: locally administered, and nobody's.
const TRIAL: Mac = Mac([0x02, 0, 0, 0, 0, 0]);

/// Addresses that the link shall have, of the families in which it matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkAddresses {
    /// Of IPv4.
    #[serde(default)]
    pub v4: Option<Ipv4Addr>,
    /// Of IPv6.
    #[serde(default)]
    pub v6: Option<Ipv6Addr>,
}

/// What the helper is to be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPlan {
    /// The network's IPv4, as `10.77.0.0/24`.
    pub subnet: Option<String>,
    /// The host's address there.
    pub address: Option<Ipv4Addr>,
    /// The network's IPv6, as `fd77::/64`.
    pub prefix: Option<String>,
    /// The host's address there.
    pub address6: Option<Ipv6Addr>,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// The network's domain.
    pub domain: String,
    /// Where names are answered.
    pub resolvers: Vec<IpAddr>,
    /// The host is on the network by itself: there is no TAP and no address, and only its names are told.
    #[serde(default)]
    pub names_only: bool,
}

impl LinkPlan {
    /// The host's addresses.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let v4 = self.address.map(IpAddr::V4);
        v4.into_iter().chain(self.address6.map(IpAddr::V6)).collect()
    }
}

impl HostLink {
    /// What is to be asked for, for a link of this network.
    pub(crate) fn plan(
        &self,
        core: &mut Core,
        about: &About,
        wanted: LinkAddresses,
    ) -> Result<LinkPlan, LinkError> {
        let kind = self.kind(about)?;
        let (subnet, prefix) = (about.addresses.subnet, about.addresses.prefix);
        let (address, address6) = match kind {
            Kind::Guest => addresses(core, (subnet, prefix), wanted)?,
            Kind::Names => no_addresses(wanted)?,
        };
        let v4 = about.services4().map(IpAddr::V4);
        Ok(LinkPlan {
            subnet: subnet.map(subnet_word),
            address,
            prefix: prefix.map(prefix_word),
            address6,
            mtu: about.mtu,
            domain: about.domain.clone(),
            resolvers: v4.into_iter().chain(about.services6().map(IpAddr::V6)).collect(),
            names_only: kind == Kind::Names,
        })
    }
}

type Addresses = (Option<Ipv4Addr>, Option<Ipv6Addr>);

fn addresses(
    core: &mut Core,
    (subnet, prefix): (Option<Subnet>, Option<Prefix>),
    wanted: LinkAddresses,
) -> Result<Addresses, LinkError> {
    let address = match (wanted.v4, subnet) {
        (Some(address), _) => Some(must_be_free(core, address)?),
        (None, Some(subnet)) => Some(free(core, below(subnet), subnet_word(subnet))?),
        (None, None) => None,
    };
    let address6 = match (wanted.v6, prefix) {
        (Some(address), _) => Some(must_be_free(core, address)?),
        (None, Some(prefix)) => Some(free(core, below6(prefix), prefix_word(prefix))?),
        (None, None) => None,
    };
    Ok((address, address6))
}

/// Where the host has an address already, it gets no other.
fn no_addresses(wanted: LinkAddresses) -> Result<Addresses, LinkError> {
    match wanted.v4.map(IpAddr::V4).or(wanted.v6.map(IpAddr::V6)) {
        None => Ok((None, None)),
        Some(address) => Err(LinkError::Address {
            address,
            why: "the host has an address on this network by itself".to_owned(),
        }),
    }
}

fn subnet_word(Subnet { address, prefix_len }: Subnet) -> String {
    format!("{address}/{prefix_len}")
}

fn prefix_word(Prefix { address }: Prefix) -> String {
    format!("{address}/{}", Prefix::LEN)
}

/// Below the host alias, down to the gateway.
fn below(subnet: Subnet) -> impl Iterator<Item = Ipv4Addr> {
    let (last, first) = (subnet.host_alias().to_bits(), subnet.gateway().to_bits());
    (1..=TRIES)
        .map(move |step| last.saturating_sub(step))
        .take_while(move |bits| *bits > first)
        .map(Ipv4Addr::from_bits)
}

fn below6(prefix: Prefix) -> impl Iterator<Item = Ipv6Addr> {
    let last = prefix.host_alias().to_bits();
    (1..=TRIES).map(move |step| Ipv6Addr::from_bits(last.saturating_sub(step.into())))
}

fn free<A: Copy + Into<IpAddr>>(
    core: &mut Core,
    mut candidates: impl Iterator<Item = A>,
    range: String,
) -> Result<A, LinkError> {
    let held = Held::now(core);
    candidates
        .find(|address| why_not(core, &held, (*address).into()).is_none())
        .ok_or(LinkError::Exhausted(range))
}

fn must_be_free<A: Copy + Into<IpAddr>>(core: &mut Core, wanted: A) -> Result<A, LinkError> {
    let address = wanted.into();
    match why_not(core, &Held::now(core), address) {
        None => Ok(wanted),
        Some(why) => Err(LinkError::Address { address, why }),
    }
}

/// Why an address cannot be leased.
fn why_not(core: &mut Core, held: &Held, address: IpAddr) -> Option<String> {
    if held.has(address, TRIAL) {
        return Some("it is a guest's".to_owned());
    }
    let (v4, v6) = match address {
        IpAddr::V4(address) => (Some(address), None),
        IpAddr::V6(address) => (None, Some(address)),
    };
    let lease = StaticLease {
        mac: TRIAL,
        address: v4,
        address6: v6,
        hostname: None,
    };
    let now = core.now();
    let applied = core.engine.apply(now, Command::SetStaticLease(lease));
    let refused = applied.err().map(|error| error.to_string());
    if refused.is_none()
        && let Err(error) = core.engine.apply(now, Command::RemoveStaticLease(TRIAL))
    {
        tracing::warn!("{address} stays reserved: {error}");
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_alone_have_no_address() {
        assert_eq!(no_addresses(LinkAddresses::default()).unwrap(), (None, None));
        let wanted = LinkAddresses {
            v4: None,
            v6: "fd77::fd".parse().ok(),
        };
        let words = no_addresses(wanted).unwrap_err().to_string();
        assert!(
            words.starts_with("fd77::fd cannot be the link's: the host has"),
            "{words}"
        );
    }

    #[test]
    fn addresses_are_looked_for_from_the_host_alias_down_to_the_gateway() {
        let subnet = |prefix_len| Subnet {
            address: Ipv4Addr::new(10, 77, 0, 0),
            prefix_len,
        };
        let list: Vec<_> = below(subnet(24)).collect();
        assert_eq!(list[0], Ipv4Addr::new(10, 77, 0, 253));
        assert_eq!(list.len(), 64);
        let list: Vec<_> = below(subnet(29)).collect();
        assert_eq!(list, [5, 4, 3, 2].map(|last| Ipv4Addr::new(10, 77, 0, last)));
        assert_eq!(below(subnet(30)).count(), 0);
        let prefix = Prefix {
            address: "fd77::".parse().unwrap(),
        };
        assert_eq!(below6(prefix).next(), "fd77::fd".parse().ok());
    }
}
