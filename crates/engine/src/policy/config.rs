//! What a network's policy is made from.

use std::collections::BTreeMap;
use std::net::IpAddr;

use atoll_wire::Mac;

use super::rules::{Destination, Network, Rule, Verdict};

/// What guests may do. The default allows all that the network itself does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Where guests' flows may lead beyond the network; the first rule that matches counts.
    pub rules: Vec<Rule>,
    /// What holds where no rule matches.
    pub default_verdict: Verdict,
    /// The network has no outside: nothing leaves it, and names that are not its own are not asked for.
    pub internal: bool,
    /// Guests use their own MAC and IP addresses only, towards each other too.
    pub anti_spoof: bool,
    /// Frames of VLANs pass between guests on a network with anti-spoofing or with uplinks, too; on others they do anyway.
    pub vlans: bool,
    /// Addresses that stations may use beside their own, and nobody else may: virtual addresses, and networks that lie behind them.
    pub extra_addresses: BTreeMap<Mac, Vec<Network>>,
    /// What each port may do that has none of its own in `guests`.
    pub limits: GuestLimits,
    /// What is said of single guests, by the label of their port.
    pub guests: BTreeMap<String, GuestPolicy>,
}

/// What is said of one guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestPolicy {
    /// Guests see those of their own group only, and the gateway. Those without a group are a group, too.
    pub group: Option<String>,
    /// What its port may do; `None`: what every port may.
    pub limits: Option<GuestLimits>,
    /// Addresses that it may use beside its own, as [`Policy::extra_addresses`].
    pub extra_addresses: Vec<Network>,
}

/// What one port may do. What is more is dropped and counted, never queued: a shaper would be a fault to inject, and is none of this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestLimits {
    /// Flows that its guest may begin in a second. As many at once.
    pub new_flows: Option<u32>,
    /// Flows at a time. At the bound its own least recently used one goes.
    pub flows: Option<u32>,
    /// Bits a second that may come from it. A tenth of that at once, and 128 KiB at least.
    pub bandwidth_from: Option<u64>,
    /// Bits a second that may go to it. A tenth of that at once, and 128 KiB at least.
    pub bandwidth_to: Option<u64>,
    /// Packets a second that may come from it; a large segment is as many as it will be on the wire. A tenth of that at once, and 64
    /// at least.
    pub packets: Option<u32>,
}

impl Policy {
    /// The extra addresses of a station, by its MAC address and its port's label.
    pub(super) fn extra_of<'a>(&'a self, mac: Mac, label: Option<&str>) -> impl Iterator<Item = &'a Network> {
        let by_mac = self.extra_addresses.get(&mac).into_iter().flatten();
        let by_label = label.and_then(|label| self.guests.get(label));
        by_mac.chain(by_label.into_iter().flat_map(|guest| &guest.extra_addresses))
    }

    /// Whether it speaks of the host's own addresses: by a rule for them, or by one that opens names, which do not lead there.
    #[must_use]
    pub fn needs_host_addresses(&self) -> bool {
        let speaks = |rule: &Rule| matches!(rule.to, Destination::Host | Destination::Name(_));
        self.rules.iter().any(speaks)
    }

    /// The single addresses among the extra ones.
    pub(crate) fn extra_hosts(&self) -> impl Iterator<Item = IpAddr> {
        let by_label = self.guests.values().flat_map(|guest| &guest.extra_addresses);
        let all = self.extra_addresses.values().flatten().chain(by_label);
        all.filter(|network| network.is_host())
            .map(|network| network.address)
    }

    /// Whether an address is an extra one of anybody.
    pub(super) fn is_extra(&self, address: IpAddr) -> bool {
        let by_mac = self.extra_addresses.values().flatten();
        let by_label = self.guests.values().flat_map(|guest| &guest.extra_addresses);
        by_mac.chain(by_label).any(|network| network.contains(address))
    }
}
