//! Who may ask for what: a file of rules, one a line.
//!
//! ```text
//! # allow WHO MODE [KEY=VALUE[,VALUE]…]…
//! allow group=atoll  shared   subnet=192.168.64.0/20
//! allow group=atoll  host
//! allow user=anna    bridged  interface=eth0 via=macvtap
//! ```
//!
//! What no line allows is refused; the order of lines does not matter. Root asks for whatever he likes. A file with a mistake
//! allows nothing: every request is refused with the sentence about the first mistake. So a rule never means more than it says.
//!
//! `bridged` needs the interfaces by name, `*` at a name's end stands for any rest. Ways that leave the host's own addresses
//! where they are, `bridge` and `macvtap`, are what a rule allows that names no way; `new-bridge` and `proxy-arp` have to be
//! named, the last with the addresses that may be answered for.
//!
//! QEMU's `/etc/qemu/bridge.conf` is read as well ([`BridgeAcl`]): who may have a TAP in a bridge from `qemu-bridge-helper` may
//! have one from this.

mod acl;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::link::{DomainName, LinkRequest};
use crate::names::NamesRequest;
use crate::net::{InterfaceName, IpNet, Ipv4Net, Ipv6Net};
use crate::{Reach, Refusal, RefusalKind, Request};

pub use acl::BridgeAcl;

/// Where the file is.
pub const PATH: &str = crate::sys::POLICY;

/// A file to begin with, which allows nothing until a line is changed.
pub const EXAMPLE: &str = include_str!("policy/example.conf");

/// Who asks, by the numbers that the kernel vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// The user.
    pub uid: u32,
    /// The groups, the primary one among them.
    pub groups: Vec<u32>,
}

/// Numbers of users and groups by their names.
#[derive(Debug, Clone, Default)]
pub struct Names {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Names {
    /// Read the text of `/etc/passwd` and `/etc/group`. Whoever is in another directory is named by number.
    #[must_use]
    pub fn parse(passwd: &str, group: &str) -> Self {
        let numbers = |text: &str| {
            let entries = text.lines().filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((name, fields.nth(1)?.parse().ok()?))
            });
            entries.collect()
        };
        Self {
            users: numbers(passwd),
            groups: numbers(group),
        }
    }
}

/// The rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

/// A mistake in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {sentence}")]
pub struct PolicyError {
    /// The file.
    pub file: String,
    /// The line, from one.
    pub line: usize,
    /// What is wrong.
    pub sentence: String,
    /// What would be right.
    pub hint: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    who: Who,
    mode: Mode,
    interfaces: Vec<Pattern>,
    ways: Vec<Way>,
    subnets: Vec<Ipv4Net>,
    prefixes: Vec<Ipv6Net>,
    addresses: Vec<IpNet>,
    domains: Vec<DomainName>,
    /// Guests may begin conversations with the host.
    guests: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Anyone,
    User(u32),
    Group(u32),
}

/// The words of the modes that need the helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Bridged,
    Shared,
    Host,
    Link,
}

/// The words of the ways to the LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Bridge,
    NewBridge,
    Macvtap,
    ProxyArp,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridged => "bridged",
            Self::Shared => "shared",
            Self::Host => "host",
            Self::Link => "link",
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::NewBridge => "new-bridge",
            Self::Macvtap => "macvtap",
            Self::ProxyArp => "proxy-arp",
        })
    }
}

/// A name, or the beginning of names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    begin: String,
    is_open: bool,
}

impl Pattern {
    fn matches(&self, name: &InterfaceName) -> bool {
        if self.is_open {
            name.as_str().starts_with(&self.begin)
        } else {
            name.as_str() == self.begin
        }
    }
}

/// What a rule that names no range allows: the ranges that are nobody's (RFC 1918, RFC 4193).
const PRIVATE: [(Ipv4Addr, u8); 3] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];
/// Domains that are nobody's: ICANN's for private use, RFC 8375, RFC 6761. A rule that names none allows those below them; a whole one,
/// under which others on the host may have names of their own, has to be named.
const PRIVATE_DOMAINS: [&str; 3] = ["internal", "home.arpa", "test"];
const UNIQUE_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 8);

impl Rule {
    fn is_about(&self, asker: &Asker) -> bool {
        match self.who {
            Who::Anyone => true,
            Who::User(uid) => uid == asker.uid,
            Who::Group(gid) => asker.groups.contains(&gid),
        }
    }

    fn allows(&self, request: &Request) -> bool {
        match request {
            Request::Bridge { bridge } => self.joins(Way::Bridge, bridge),
            Request::NewBridge { interface } => self.joins(Way::NewBridge, interface),
            Request::Macvtap { interface, .. } => self.joins(Way::Macvtap, interface),
            Request::ProxyArp { interface, addresses } => {
                self.joins(Way::ProxyArp, interface)
                    && addresses.iter().all(|address| self.has_address(*address))
            }
            Request::Link(link) => self.links(link),
            Request::Names(names) => self.names(names),
            Request::Own {
                reach,
                subnet,
                prefix,
                outside,
                ..
            } => {
                self.mode == Mode::of(*reach)
                    && subnet.as_ref().is_none_or(|subnet| self.has_subnet(subnet))
                    && prefix.as_ref().is_none_or(|prefix| self.has_prefix(prefix))
                    && self.has_outside(outside.as_ref())
            }
        }
    }

    fn joins(&self, way: Way, interface: &InterfaceName) -> bool {
        self.mode == Mode::Bridged
            && self.ways.contains(&way)
            && self.interfaces.iter().any(|pattern| pattern.matches(interface))
    }

    fn links(&self, link: &LinkRequest) -> bool {
        self.mode == Mode::Link
            && link.subnet.as_ref().is_none_or(|subnet| self.has_subnet(subnet))
            && link.prefix.as_ref().is_none_or(|prefix| self.has_prefix(prefix))
            && link.domain.as_ref().is_none_or(|domain| self.has_domain(domain))
            && (self.guests || !link.guests)
    }

    /// The names of a network are a part of a link to it.
    fn names(&self, names: &NamesRequest) -> bool {
        self.mode == Mode::Link
            && names.subnet.as_ref().is_none_or(|subnet| self.has_subnet(subnet))
            && names.prefix.as_ref().is_none_or(|prefix| self.has_prefix(prefix))
            && self.has_domain(&names.domain)
    }

    fn has_domain(&self, domain: &DomainName) -> bool {
        let is_inside = |other: &&str| domain.is_below(other) && domain.as_str() != *other;
        let private = || PRIVATE_DOMAINS.iter().any(is_inside);
        self.domains.iter().any(|other| domain.is_below(other.as_str()))
            || self.domains.is_empty() && private()
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|range| range.contains(address))
    }

    fn has_subnet(&self, subnet: &Ipv4Net) -> bool {
        let private = || {
            PRIVATE
                .iter()
                .any(|(address, len)| Ipv4Net::around(*address, *len).covers(subnet))
        };
        self.subnets.iter().any(|range| range.covers(subnet)) || self.subnets.is_empty() && private()
    }

    fn has_prefix(&self, prefix: &Ipv6Net) -> bool {
        let private = || Ipv6Net::around(UNIQUE_LOCAL.0, UNIQUE_LOCAL.1).covers(prefix);
        self.prefixes.iter().any(|range| range.covers(prefix)) || self.prefixes.is_empty() && private()
    }

    fn has_outside(&self, outside: Option<&InterfaceName>) -> bool {
        let is_named = |name| self.interfaces.iter().any(|pattern| pattern.matches(name));
        self.interfaces.is_empty() || outside.is_some_and(is_named)
    }
}

impl Mode {
    fn of(reach: Reach) -> Self {
        match reach {
            Reach::Shared => Self::Shared,
            Reach::Host => Self::Host,
        }
    }
}

impl Policy {
    /// Read the rules of a file.
    ///
    /// # Errors
    /// All mistakes in it.
    pub fn parse(file: &str, text: &str, names: &Names) -> Result<Self, Vec<PolicyError>> {
        parse::parse(file, text, names)
    }

    /// Whether somebody may have what is asked for.
    ///
    /// # Errors
    /// No rule allows it; the hint has one that would.
    pub fn judge(&self, asker: &Asker, acl: &BridgeAcl, request: &Request) -> Result<(), Refusal> {
        let by_rule = || {
            self.rules
                .iter()
                .any(|rule| rule.is_about(asker) && rule.allows(request))
        };
        let by_acl = || matches!(request, Request::Bridge { bridge } if acl.allows(bridge));
        if asker.uid == 0 || by_rule() || by_acl() {
            return Ok(());
        }
        let sentence = format!("the policy does not allow user {} {}", asker.uid, wish(request));
        let hint = format!(
            "the administrator can allow it in {PATH}: {}",
            rule_for(asker.uid, request)
        );
        Err(Refusal::new(RefusalKind::Denied, sentence).with_hint(hint))
    }
}

/// What is asked for, as the rest of a sentence.
fn wish(request: &Request) -> String {
    match request {
        Request::Bridge { bridge } => format!("a TAP in the bridge {bridge}"),
        Request::NewBridge { interface } => format!("a new bridge over {interface}"),
        Request::Macvtap { interface, .. } => format!("a macvtap on {interface}"),
        Request::Own {
            reach,
            subnet,
            prefix,
            outside,
            ..
        } => {
            let ranges = subnet
                .iter()
                .map(ToString::to_string)
                .chain(prefix.iter().map(ToString::to_string));
            let by = outside
                .as_ref()
                .map(|name| format!(" by way of {name}"))
                .unwrap_or_default();
            format!(
                "a {reach} network of {}{by}",
                ranges.collect::<Vec<_>>().join(" and ")
            )
        }
        Request::Link(link) => {
            let names = link
                .domain
                .as_ref()
                .map(|domain| format!(" with the names below {domain}"));
            let guests = if link.guests { ", open to its guests" } else { "" };
            format!(
                "a link to the network of {}{}{guests}",
                link.ranges().join(" and "),
                names.unwrap_or_default()
            )
        }
        Request::Names(names) => format!(
            "the names below {} of the network of {}",
            names.domain,
            names.ranges().join(" and ")
        ),
        Request::ProxyArp { interface, addresses } => {
            format!("{} answered for on {interface}", list(addresses, " and "))
        }
    }
}

/// A line that allows this and nothing else.
fn rule_for(uid: u32, request: &Request) -> String {
    let bridged = |way: Way, name| format!("allow user={uid} bridged interface={name} via={way}");
    match request {
        Request::Bridge { bridge } => bridged(Way::Bridge, bridge),
        Request::NewBridge { interface } => bridged(Way::NewBridge, interface),
        Request::Macvtap { interface, .. } => bridged(Way::Macvtap, interface),
        Request::ProxyArp { interface, addresses } => {
            let single = |address: &IpAddr| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 });
            let ranges: Vec<String> = addresses.iter().map(single).collect();
            format!(
                "{} address={}",
                bridged(Way::ProxyArp, interface),
                ranges.join(",")
            )
        }
        Request::Own {
            reach,
            subnet,
            prefix,
            outside,
            ..
        } => {
            let options = [
                ("subnet", subnet.map(|it| it.to_string())),
                ("prefix", prefix.map(|it| it.to_string())),
                ("interface", outside.as_ref().map(ToString::to_string)),
            ];
            with_options(format!("allow user={uid} {reach}"), options)
        }
        Request::Link(link) => {
            let options = [
                ("subnet", link.subnet.map(|it| it.to_string())),
                ("prefix", link.prefix.map(|it| it.to_string())),
                ("domain", link.domain.as_ref().map(ToString::to_string)),
                ("guests", link.guests.then(|| "begin".to_owned())),
            ];
            with_options(format!("allow user={uid} link"), options)
        }
        Request::Names(names) => {
            let options = [
                ("subnet", names.subnet.map(|it| it.to_string())),
                ("prefix", names.prefix.map(|it| it.to_string())),
                ("domain", Some(names.domain.to_string())),
            ];
            with_options(format!("allow user={uid} link"), options)
        }
    }
}

fn with_options<const N: usize>(rule: String, options: [(&str, Option<String>); N]) -> String {
    let said = options.into_iter().filter_map(|(key, value)| Some((key, value?)));
    said.fold(rule, |rule, (key, value)| format!("{rule} {key}={value}"))
}

fn list(words: &[impl ToString], between: &str) -> String {
    words
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(between)
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
