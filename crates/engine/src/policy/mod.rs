//! What guests may do: where their flows lead, in whose name they speak, how much they do of it.
//!
//! ```text
//! frame of a guest's ─ limits ─ anti-spoof ─┬─ switch ─ group ─ limits ─▶ another guest
//!                                           └─ gateway ─ flow ─ rules, internal, limits ─▶ the outside
//! ```
//!
//! - [`rules`]: egress, judged once for a flow when its guest opens it. A UDP socket has a peer for each datagram: it is judged again whenever
//!   that is another than before, and what comes from a peer that the guest may not speak to is dropped.
//! - [`names`]: the addresses that rules with names mean are those that our own DNS told *this* guest; what it learns elsewhere is none.
//! - [`sources`], with [`isolation`](crate::gateway): the addresses in whose name a frame speaks are its sender's.
//! - [`limits`], [`bucket`]: so many flows, bytes and packets for each port.
//! - Groups: a frame for a guest of another group is dropped, a broadcast reaches those of its own. The gateway is in every group.
//!
//! A refusal is told at once, so that programs fail and do not wait: TCP is reset, since every system gives up at that, while some take
//! an ICMP error for a hiccup (RFC 5461); UDP and ICMP get "administratively prohibited" (RFC 1812, 5.2.7.1; RFC 4443, 3.1). What is over
//! a limit or in a false name is dropped without a word.
//!
//! What never becomes a host socket anyway (loopback, link-local, v4-mapped) is refused by the [flows](crate::flow::policy), with or without
//! rules, as are the host alias without leave and the metadata address. Services of the gateway and forwards from the host are not
//! egress and have no rule.
//!
//! Bounds: what is kept for a port goes with it, and each table in it has its own bound. With everything off the cost is one
//! comparison a frame; trains are followed as without ([`train`](crate::gateway)), only that one to a guest is then one of TCP.
//!
//! Left out: what the content of a flow says (SNI, HTTP hosts), so a name is only as good as the addresses it has: another name at the
//! same address is open too. Questions to DNS are not rules' business, so a guest that may not speak to anybody can still put bytes into
//! names; an `internal` network asks nobody. Virtual MAC addresses that move between guests (VRRP's `00:00:5e:00:01:xx`) are another's
//! MAC address to anti-spoofing; virtual IP addresses are fine.

mod bucket;
mod config;
mod limits;
mod names;
mod rules;
pub(crate) mod sources;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use atoll_wire::{Frame, Mac};

use crate::counters::Counter;
use crate::rng::KeyedHash;
use crate::{Addresses, Config, Instant, PortId};
use limits::PortLimits;
use names::Told;
use rules::{Circumstances, Decision};

pub(crate) use bucket::Bucket;
pub use config::{GuestLimits, GuestPolicy, Policy};
pub(crate) use rules::Attempt;
pub use rules::{Destination, NamePattern, Network, Rule, Transport, Verdict, Who};

/// The group of those that have none.
const NO_GROUP: u32 = 0;

/// What there is to know of one port.
#[derive(Debug)]
struct Port {
    label: Option<String>,
    group: Option<String>,
    limits: Option<PortLimits>,
    told: Told,
    counted: PortPolicySnapshot,
}

/// What the policy refused a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortPolicySnapshot {
    /// Packets that were to open a flow that is not allowed.
    pub denied: u64,
    /// Frames in another's name.
    pub spoofed: u64,
    /// Frames and flows over its limits.
    pub limited: u64,
}

/// The policy of a network, and what it has to remember.
#[derive(Debug)]
pub(crate) struct Firewall {
    policy: Policy,
    /// There are rules, or a default that denies, or no outside.
    has_rules: bool,
    has_limits: bool,
    /// Rules with a name, by number.
    names: Vec<(usize, NamePattern)>,
    host: BTreeSet<IpAddr>,
    alias: Vec<IpAddr>,
    groups: BTreeMap<String, u32>,
    ports: BTreeMap<PortId, Port>,
    hash: KeyedHash,
}

impl Firewall {
    pub(crate) fn new(config: &Config, hash: KeyedHash) -> Self {
        let policy = config.policy.clone();
        let guests = policy.guests.values();
        let groups: BTreeSet<&String> = guests.filter_map(|guest| guest.group.as_ref()).collect();
        let groups = groups.into_iter().cloned().zip(NO_GROUP + 1..).collect();
        let of_guests = policy.guests.values().filter_map(|guest| guest.limits);
        let mut limits = of_guests.chain([policy.limits]);
        let has_limits = limits.any(|limits| limits != GuestLimits::default());
        Self {
            has_rules: !policy.rules.is_empty() || policy.default_verdict == Verdict::Deny || policy.internal,
            has_limits,
            names: rules::names(&policy.rules),
            host: BTreeSet::new(),
            alias: aliases(config.addresses()),
            groups,
            ports: BTreeMap::new(),
            hash,
            policy,
        }
    }

    /// Whether frames are to be held against limits.
    pub(crate) fn has_limits(&self) -> bool {
        self.has_limits
    }

    /// Whether flows are to be judged.
    pub(crate) fn has_rules(&self) -> bool {
        self.has_rules
    }

    /// Whether what DNS tells is to be noted.
    pub(crate) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Whether the network has no outside.
    pub(crate) fn is_internal(&self) -> bool {
        self.policy.internal
    }

    /// Whether guests may use their own addresses only.
    pub(crate) fn is_strict(&self) -> bool {
        self.policy.anti_spoof
    }

    pub(crate) fn attach(&mut self, port: PortId, label: Option<&str>) {
        let guest = label.and_then(|label| self.policy.guests.get(label));
        let limits = guest.and_then(|guest| guest.limits).unwrap_or(self.policy.limits);
        let of = Port {
            label: label.map(str::to_owned),
            group: guest.and_then(|guest| guest.group.clone()),
            limits: PortLimits::new(&limits),
            told: Told::new(self.hash),
            counted: PortPolicySnapshot::default(),
        };
        self.ports.insert(port, of);
    }

    pub(crate) fn detach(&mut self, port: PortId) {
        self.ports.remove(&port);
    }

    /// The group of the guests behind a port with this label, as a number.
    pub(crate) fn group_of(&self, label: Option<&str>) -> u32 {
        let guest = label.and_then(|label| self.policy.guests.get(label));
        let group = guest.and_then(|guest| guest.group.as_ref());
        group
            .and_then(|group| self.groups.get(group))
            .copied()
            .unwrap_or(NO_GROUP)
    }

    /// The addresses that the host has now.
    pub(crate) fn set_host_addresses(&mut self, addresses: &[IpAddr]) {
        self.host = addresses.iter().map(IpAddr::to_canonical).collect();
    }

    /// What the policy refused a port since it was attached.
    pub(crate) fn snapshot(&self, port: PortId) -> PortPolicySnapshot {
        self.ports.get(&port).map(|port| port.counted).unwrap_or_default()
    }

    /// Whether a guest behind a port may have this flow; if not, why not.
    pub(crate) fn judge(&self, now: Instant, port: PortId, attempt: Attempt) -> Result<(), Counter> {
        if self.policy.internal && !self.alias.contains(&attempt.to) {
            return Err(Counter::DeniedInternal);
        }
        self.judge_inside(now, port, attempt)
    }

    /// The same of a flow to a joined network, which is no outside.
    pub(crate) fn judge_inside(&self, now: Instant, port: PortId, attempt: Attempt) -> Result<(), Counter> {
        if !self.has_rules {
            return Ok(());
        }
        let is_host = rules::is_host(&self.host, &self.alias, attempt.to);
        let about = Guest {
            now,
            port: self.ports.get(&port),
            host: &self.host,
            alias: &self.alias,
        };
        let denied = match rules::decide(&self.policy.rules, attempt, &about) {
            Decision::Rule(Verdict::Allow) => return Ok(()),
            Decision::Rule(Verdict::Deny) if is_host => Counter::DeniedHost,
            Decision::Rule(Verdict::Deny) => Counter::DeniedByRule,
            Decision::NameOfPrivate if self.policy.default_verdict == Verdict::Deny => {
                Counter::DeniedNameOfPrivate
            }
            Decision::Default if self.policy.default_verdict == Verdict::Deny => Counter::DeniedByDefault,
            Decision::NameOfPrivate | Decision::Default => return Ok(()),
        };
        Err(denied)
    }

    /// Note for the port that one of its flows was refused.
    pub(crate) fn note_denied(&mut self, port: PortId) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.counted.denied += 1;
        }
    }

    /// Note for the port that a frame of it spoke in another's name.
    pub(crate) fn note_spoofed(&mut self, port: PortId) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.counted.spoofed += 1;
        }
    }

    /// DNS told the guest behind a port these addresses for a name, in lower case and without a dot at the end.
    pub(crate) fn note_answer(
        &mut self,
        now: Instant,
        port: PortId,
        name: &str,
        records: &[(IpAddr, Duration)],
    ) {
        let Some(port) = self.ports.get_mut(&port) else {
            return;
        };
        let meant = self.names.iter().filter(|(_, pattern)| pattern.matches(name));
        for (rule, _) in meant {
            for record in records {
                port.told.note(now, *rule, *record);
            }
        }
    }

    /// A frame came from a port.
    pub(crate) fn take_from(&mut self, now: Instant, port: PortId, frame: &Frame) -> Result<(), Counter> {
        self.limited(port, |limits| limits.take_from(now, frame))
    }

    /// A frame is to go to a port.
    pub(crate) fn take_to(&mut self, now: Instant, port: PortId, frame: &Frame) -> Result<(), Counter> {
        self.limited(port, |limits| limits.take_to(now, frame))
    }

    /// The guest behind a port begins a flow.
    pub(crate) fn take_flow(&mut self, now: Instant, port: PortId) -> Result<(), Counter> {
        self.limited(port, |limits| limits.take_flow(now))
    }

    /// How many flows the guest behind a port may have at a time.
    pub(crate) fn most_flows(&self, port: PortId) -> usize {
        let limits = self.ports.get(&port).and_then(|port| port.limits.as_ref());
        limits.and_then(|limits| limits.flows).unwrap_or(usize::MAX)
    }

    /// Note for the port that one of its flows made room for another.
    pub(crate) fn note_limited(&mut self, port: PortId) {
        if let Some(port) = self.ports.get_mut(&port) {
            port.counted.limited += 1;
        }
    }

    fn limited(
        &mut self,
        port: PortId,
        take: impl FnOnce(&mut PortLimits) -> Result<(), Counter>,
    ) -> Result<(), Counter> {
        let Some(port) = self.ports.get_mut(&port) else {
            return Ok(());
        };
        let taken = port.limits.as_mut().map_or(Ok(()), take);
        port.counted.limited += u64::from(taken.is_err());
        taken
    }

    /// Whether an address is an extra one: those who may have it are named, and have it in turns.
    pub(crate) fn is_extra(&self, address: IpAddr) -> bool {
        self.policy.is_extra(address)
    }

    /// Whether a station behind a port may have this extra address.
    pub(crate) fn may_have_extra(&self, port: PortId, mac: Mac, address: IpAddr) -> bool {
        let label = self.ports.get(&port).and_then(|port| port.label.as_deref());
        self.policy
            .extra_of(mac, label)
            .any(|network| network.contains(address))
    }
}

/// The addresses that stand for the host.
fn aliases(addresses: Addresses) -> Vec<IpAddr> {
    let v4 = addresses.subnet.map(|subnet| subnet.host_alias().into());
    let v6 = addresses.prefix.map(|prefix| prefix.host_alias().into());
    v4.into_iter().chain(v6).collect()
}

/// What rules are shown of a guest.
struct Guest<'a> {
    now: Instant,
    port: Option<&'a Port>,
    host: &'a BTreeSet<IpAddr>,
    alias: &'a [IpAddr],
}

impl Circumstances for Guest<'_> {
    fn is_from(&self, from: &Who) -> bool {
        self.port.is_some_and(|port| match from {
            Who::Label(label) => port.label.as_ref() == Some(label),
            Who::Group(group) => port.group.as_ref() == Some(group),
        })
    }

    fn was_told(&self, rule: usize, address: IpAddr) -> bool {
        self.port
            .is_some_and(|port| port.told.has(self.now, rule, address))
    }

    fn is_host(&self, address: IpAddr) -> bool {
        rules::is_host(self.host, self.alias, address)
    }
}
