//! Rules: what they match, and which of them counts.
//!
//! The first rule that matches counts; where none does, the [default](crate::Policy::default_verdict). A rule matches by what it
//! says; what it leaves out it does not ask for. A rule with ports is one for TCP and UDP, since nothing else has any.
//!
//! Two things stand beside the order:
//!
//! - **A name opens only the world's addresses.** Whoever answers for an allowed name could answer with an address of the host's
//!   own network (DNS rebinding). So a rule that allows a name is passed over where the address is private, the host's own, or one
//!   in which such an address is embedded; a rule for a network, `private` or `host` can still allow it. A rule that *denies* a name
//!   holds for every address.
//! - **An embedded IPv4 address is judged too.** Where the host routes a NAT64 prefix (RFC 6052, RFC 8215), 6to4 (RFC 3056) or
//!   Teredo (RFC 4380), an address of IPv6 leads to one of IPv4. What a rule denies there is denied by that way, too.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Whether something may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    #[default]
    Allow,
    /// It may not.
    Deny,
}

/// A transport, as rules speak of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo of ICMP, of either family.
    Icmp,
}

/// Addresses that have their first bits in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// One of them; bits behind the prefix do not count.
    pub address: IpAddr,
    /// Bits in common: up to 32, or up to 128 for IPv6.
    pub prefix_len: u8,
}

impl Network {
    /// Whether it is a single address.
    #[must_use]
    pub fn is_host(&self) -> bool {
        usize::from(self.prefix_len) >= if self.address.is_ipv4() { 32 } else { 128 }
    }

    /// Whether `address` is one of them. An address of the other family is not.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix_len.min(32));
                (u64::from(network.to_bits()) >> shift) == (u64::from(address.to_bits()) >> shift)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = network.to_bits() ^ address.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix_len.min(128))
            }
            _ => false,
        }
    }
}

/// Names of DNS, in lower case and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This name.
    Exact(String),
    /// The names below this one, and not itself: `*.example.com` is `Below("example.com")`.
    Below(String),
}

impl NamePattern {
    /// Whether a name, in lower case and without a dot at the end, is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Below(suffix) => name
                .strip_suffix(suffix.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
        }
    }
}

/// Where a flow leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Anywhere.
    Any,
    /// To an address of a network.
    Network(Network),
    /// To a private address: RFC 1918, RFC 6598, RFC 4193.
    Private,
    /// To one of the host's own addresses ([`Command::SetHostAddresses`](crate::Command::SetHostAddresses)) or the host alias.
    Host,
    /// To an address that our DNS told this guest for such a name, and whose time is not over.
    Name(NamePattern),
}

/// Whose flow it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// That of the port with this label.
    Label(String),
    /// That of a port of this group.
    Group(String),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it says of a flow that matches.
    pub verdict: Verdict,
    /// Whose flows; everybody's when left out.
    pub from: Option<Who>,
    /// Where to.
    pub to: Destination,
    /// Destination ports; with them TCP and UDP only.
    pub ports: Option<RangeInclusive<u16>>,
    /// Which transport.
    pub transport: Option<Transport>,
}

/// A flow that is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) transport: Transport,
    pub(crate) to: IpAddr,
    /// Zero where the transport has none.
    pub(crate) port: u16,
}

/// What the rules are shown beside the flow.
pub(super) trait Circumstances {
    /// Whether the flow is one of those.
    fn is_from(&self, from: &Who) -> bool;
    /// Whether DNS told the guest this address for a name of the rule with this number.
    fn was_told(&self, rule: usize, address: IpAddr) -> bool;
    /// Whether the address is one of the host's, or stands for it.
    fn is_host(&self, address: IpAddr) -> bool;
}

/// What the rules say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The first rule that matches.
    Rule(Verdict),
    /// No rule matches.
    Default,
    /// No rule matches but one that allows a name, which does not open such an address.
    NameOfPrivate,
}

/// The first rule that counts.
pub(super) fn decide(rules: &[Rule], attempt: Attempt, about: &impl Circumstances) -> Decision {
    let inner = embedded(attempt.to);
    let is_denied_inside = inner.is_some_and(|inner| {
        let inside = Attempt {
            to: inner.into(),
            ..attempt
        };
        let first = rules.iter().enumerate().find(|(number, rule)| {
            let says_where = !matches!(rule.to, Destination::Any) && !opens_name(rule);
            says_where && matches(rule, *number, inside, about)
        });
        first.is_some_and(|(_, rule)| rule.verdict == Verdict::Deny)
    });
    if is_denied_inside {
        return Decision::Rule(Verdict::Deny);
    }
    let is_delicate = |address: IpAddr| is_private(address) || about.is_host(address);
    let is_closed_to_names = is_delicate(attempt.to) || inner.is_some_and(|inner| is_delicate(inner.into()));
    let mut passed_over = false;
    for (number, rule) in rules.iter().enumerate() {
        if !matches(rule, number, attempt, about) {
            continue;
        }
        if !(opens_name(rule) && is_closed_to_names) {
            return Decision::Rule(rule.verdict);
        }
        passed_over = true;
    }
    if passed_over {
        Decision::NameOfPrivate
    } else {
        Decision::Default
    }
}

fn opens_name(rule: &Rule) -> bool {
    rule.verdict == Verdict::Allow && matches!(rule.to, Destination::Name(_))
}

fn matches(rule: &Rule, number: usize, attempt: Attempt, about: &impl Circumstances) -> bool {
    let fits_transport = rule
        .transport
        .is_none_or(|transport| transport == attempt.transport);
    let fits_ports = rule
        .ports
        .as_ref()
        .is_none_or(|ports| attempt.transport != Transport::Icmp && ports.contains(&attempt.port));
    let fits_from = || rule.from.as_ref().is_none_or(|from| about.is_from(from));
    let fits_destination = || match &rule.to {
        Destination::Any => true,
        Destination::Network(network) => network.contains(attempt.to),
        Destination::Private => is_private(attempt.to),
        Destination::Host => about.is_host(attempt.to),
        Destination::Name(_) => about.was_told(number, attempt.to),
    };
    fits_transport && fits_ports && fits_from() && fits_destination()
}

/// Not the world's: private (RFC 1918, RFC 4193), behind a carrier's translation (RFC 6598), link-local, loopback, this host.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || first == 0
                || (first == 100 && second & 0xc0 == 64)
        }
        IpAddr::V6(address) => {
            address.is_unique_local()
                || address.is_unicast_link_local()
                || address.is_loopback()
                || address.is_unspecified()
                // Site-local, which was withdrawn (RFC 3879) and is still routed in places.
                || address.segments()[0] & 0xffc0 == 0xfec0
        }
    }
}

/// The IPv4 address to which a translator or tunnel would lead what is sent to an address of IPv6.
pub(super) fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let [a, b, c, d, .., y, z] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match (a, b) {
        (0x64, 0xff9b) if (c, d) == (0, 0) => Some(v4(y, z)),
        (0x64, 0xff9b) if c == 1 => Some(v4(y, z)),
        (0x2002, _) => Some(v4(b, c)),
        // RFC 4380, 4: the client's address, each bit turned round.
        (0x2001, 0) => Some(v4(!y, !z)),
        _ => isatap(address),
    }
}

/// RFC 5214, 6.1.
fn isatap(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., w, x, y, z] = address.segments();
    let is_isatap = w & !0x0200 == 0 && x == 0x5efe;
    is_isatap.then(|| Ipv4Addr::from_bits(u32::from(y) << 16 | u32::from(z)))
}

/// Those rules that speak of names, by number.
pub(super) fn names(rules: &[Rule]) -> Vec<(usize, NamePattern)> {
    let name = |(number, rule): (usize, &Rule)| match &rule.to {
        Destination::Name(pattern) => Some((number, pattern.clone())),
        _ => None,
    };
    rules.iter().enumerate().filter_map(name).collect()
}

/// The host's own addresses and those that stand for it.
pub(super) fn is_host(host: &BTreeSet<IpAddr>, alias: &[IpAddr], address: IpAddr) -> bool {
    alias.contains(&address) || host.contains(&address)
}
