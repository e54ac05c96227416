//! What guests may do: from the words of the file and the command line to a network's policy.

use std::collections::BTreeMap;

use atoll_runtime::{
    Destination, GuestLimits, GuestPolicy, IpNetwork, NamePattern, Policy, Rule, RuleTransport, Verdict, Who,
};
use atoll_spec as spec;

/// The policy of a network of the file. A machine's ports have its name as their label.
pub(crate) fn policy(wanted: &spec::NetworkPolicy) -> Policy {
    let mut guests: BTreeMap<String, GuestPolicy> = BTreeMap::new();
    for (address, holders) in &wanted.addresses {
        for holder in holders {
            let guest = guests.entry(holder.to_string()).or_default();
            guest.extra_addresses.push(network(*address));
        }
    }
    for (machine, own) in &wanted.machines {
        let guest = guests.entry(machine.to_string()).or_default();
        guest.group = own.group.as_ref().map(ToString::to_string);
        guest.limits = Some(limits(&own.limits.or(wanted.limits)));
    }
    let rules = wanted.rules.iter().map(|given| Rule {
        from: given.from.as_ref().map(|from| Who::Label(from.to_string())),
        ..rule(verdict(given.verdict), &given.pattern)
    });
    Policy {
        rules: rules.collect(),
        default_verdict: verdict(wanted.otherwise),
        internal: wanted.internal,
        anti_spoof: wanted.anti_spoof,
        // The file says it of the network.
        vlans: false,
        extra_addresses: BTreeMap::new(),
        limits: limits(&wanted.limits),
        guests,
    }
}

fn verdict(verdict: spec::Verdict) -> Verdict {
    match verdict {
        spec::Verdict::Allow => Verdict::Allow,
        spec::Verdict::Deny => Verdict::Deny,
    }
}

/// A rule for all guests.
#[must_use]
pub fn rule(verdict: Verdict, pattern: &spec::RulePattern) -> Rule {
    let to = match &pattern.target {
        spec::RuleTarget::Any => Destination::Any,
        spec::RuleTarget::Private => Destination::Private,
        spec::RuleTarget::Host => Destination::Host,
        spec::RuleTarget::Network(to) => Destination::Network(network(*to)),
        spec::RuleTarget::Name(name) => Destination::Name(NamePattern::Exact(name.to_string())),
        spec::RuleTarget::Below(name) => Destination::Name(NamePattern::Below(name.to_string())),
    };
    let transport = pattern.protocol.map(|protocol| match protocol {
        spec::RuleProtocol::Tcp => RuleTransport::Tcp,
        spec::RuleProtocol::Udp => RuleTransport::Udp,
        spec::RuleProtocol::Icmp => RuleTransport::Icmp,
    });
    Rule {
        verdict,
        from: None,
        to,
        ports: pattern.ports.map(|(first, last)| first..=last),
        transport,
    }
}

/// A network or address.
#[must_use]
pub fn network(network: spec::IpNetwork) -> IpNetwork {
    IpNetwork {
        address: network.address(),
        prefix_len: network.length(),
    }
}

/// The limits of every guest.
#[must_use]
pub fn limits(limits: &spec::GuestLimits) -> GuestLimits {
    let count = |quantity: spec::Quantity| u32::try_from(quantity.get()).unwrap_or(u32::MAX);
    GuestLimits {
        new_flows: limits.new_flows.map(count),
        flows: limits.flows.map(count),
        bandwidth_from: limits.upload.map(spec::Quantity::get),
        bandwidth_to: limits.download.map(spec::Quantity::get),
        packets: limits.packets.map(count),
    }
}
