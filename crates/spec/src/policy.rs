//! What guests of a network may do, as the file says it:
//!
//! ```yaml
//! policy:
//!   anti-spoof: true
//!   rules:
//!     - {deny: private}
//!     - {allow: "*.example.com:443/tcp", from: web}
//!   otherwise: deny
//!   limits: {bandwidth: 100M, flows: 1000}
//!   addresses: {10.77.0.100: [web, db]}
//! ```
//!
//! The first rule that matches counts; `otherwise` is what holds where none does, allow when left out. `from` is a machine; so are those who
//! share an address in turns. Both have to be in the file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::PlacedMachine;
use crate::cluster::Nic;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::lan::Mode;
use crate::limits::{GuestLimits, Quantity};
use crate::name::Name;
use crate::network::IpNetwork;
use crate::networks::PlacedNetwork;
use crate::read::{Entries, FromYaml, Keys, Noun, Spot, bad_value, wrong_kind};
use crate::rule::RulePattern;
use crate::yaml::{Kind, Node};

/// Whether something may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It may.
    #[default]
    Allow,
    /// It may not.
    Deny,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyRule {
    /// What it says.
    pub verdict: Verdict,
    /// Of what.
    pub pattern: RulePattern,
    /// For which machine; for all when there is none.
    pub from: Option<Name>,
}

/// What guests of a network may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct NetworkPolicy {
    /// Whether the network has no outside.
    pub internal: bool,
    /// Whether guests are kept to their own addresses.
    pub anti_spoof: bool,
    /// Rules, in order.
    pub rules: Vec<PolicyRule>,
    /// What holds where no rule matches.
    pub otherwise: Verdict,
    /// What each guest may do at most.
    pub limits: GuestLimits,
    /// Addresses that machines have in turns.
    pub addresses: BTreeMap<IpNetwork, Vec<Name>>,
    /// What is said of single machines, by themselves.
    pub machines: BTreeMap<Name, MachinePolicy>,
}

/// What a machine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct MachinePolicy {
    /// It reaches those of its own group and no others; those without one are a group, too.
    pub group: Option<Name>,
    /// What it may do at most; what is `None` here is as the network has it.
    pub limits: GuestLimits,
}

/// A policy as the file has it.
#[derive(Debug, Default, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, rename = "Policy")]
pub(crate) struct PolicyFile {
    /// Whether the network has no outside: guests reach each other and the gateway's services; false when left out.
    internal: Option<bool>,
    /// Whether guests use their own MAC and IP addresses only; false when left out.
    anti_spoof: Option<bool>,
    /// Where guests' connections may lead; the first rule that matches counts.
    rules: Option<Vec<RuleFile>>,
    /// What holds where no rule matches; allow when left out.
    otherwise: Option<Verdict>,
    /// What each guest may do at most.
    limits: Option<LimitsFile>,
    /// Addresses, or networks, that these machines may use beside their own, in turns, and nobody else may.
    addresses: Option<Entries<IpNetwork, Holders>>,
}

/// A rule: allow or deny, and for which machine.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, rename = "Rule")]
struct RuleFile {
    /// Let guests reach this.
    allow: Option<RulePattern>,
    /// Refuse guests this.
    deny: Option<RulePattern>,
    /// The machine whose connections are meant; everybody's when left out.
    from: Option<Spot<Name>>,
}

/// What each guest may do at most.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, rename = "Limits")]
pub(crate) struct LimitsFile {
    /// Bits a second, each way.
    bandwidth: Option<Quantity>,
    /// Bits a second from the guest.
    upload: Option<Quantity>,
    /// Bits a second to the guest.
    download: Option<Quantity>,
    /// Packets a second from the guest.
    packets: Option<Quantity>,
    /// Flows at a time.
    flows: Option<Quantity>,
    /// Flows begun in a second.
    new_flows: Option<Quantity>,
    #[schemars(skip)]
    read: GuestLimits,
}

/// Machines that have an address in turns.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(transparent)]
struct Holders(Vec<Spot<Name>>);

impl Noun for Holders {
    const NOUN: &'static str = "address";
}

impl FromYaml for Holders {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let Kind::List(items) = &node.kind else {
            return wrong_kind(node, what, "a list of machines", report);
        };
        let what = format!("a machine of {what}");
        let names = items
            .iter()
            .filter_map(|item| Spot::from_yaml(item, &what, report));
        Some(Self(names.collect()))
    }
}

impl FromYaml for Verdict {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        match node.text() {
            Some("allow") => Some(Self::Allow),
            Some("deny") => Some(Self::Deny),
            Some(text) => {
                let title = format!("{what} must be allow or deny, not {text:?}");
                report.push(Diagnostic::new(title, node.span.clone()));
                None
            }
            None => wrong_kind(node, what, "allow or deny", report),
        }
    }
}

impl FromYaml for RuleFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let file = Self {
            allow: keys.take("allow"),
            deny: keys.take("deny"),
            from: keys.take("from"),
        };
        keys.exclude("allow", "deny");
        if keys.span("allow").or_else(|| keys.span("deny")).is_none() {
            let title = format!("{what} neither allows nor denies");
            let hint = "write {allow: 10.0.0.0/8} or {deny: private}".to_owned();
            keys.report
                .push(Diagnostic::new(title, node.span.clone()).with_hint(hint));
        }
        keys.finish();
        Some(file)
    }
}

impl FromYaml for LimitsFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let mut file = Self {
            bandwidth: keys.take("bandwidth"),
            upload: keys.take("upload"),
            download: keys.take("download"),
            packets: keys.take("packets"),
            flows: keys.take("flows"),
            new_flows: keys.take("new-flows"),
            read: GuestLimits::default(),
        };
        let given = [
            ("bandwidth", file.bandwidth),
            ("upload", file.upload),
            ("download", file.download),
            ("packets", file.packets),
            ("flows", file.flows),
            ("new-flows", file.new_flows),
        ];
        for (word, quantity) in given {
            if let Some(Err(error)) = quantity.map(|quantity| file.read.set(word, quantity)) {
                let span = keys.span(word).unwrap_or_else(|| node.span.clone());
                keys.report.push(bad_value(&span, what, &error));
            }
        }
        keys.finish();
        Some(file)
    }
}

impl FromYaml for PolicyFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let file = Self {
            internal: keys.take("internal"),
            anti_spoof: keys.take("anti-spoof"),
            rules: keys.take_list("rules", "rule"),
            otherwise: keys.take("otherwise"),
            limits: keys.take("limits"),
            addresses: keys.take("addresses"),
        };
        keys.finish();
        Some(file)
    }
}

impl PolicyFile {
    /// The policy, and where it speaks of machines.
    pub(crate) fn finish(self) -> (NetworkPolicy, Vec<Spot<Name>>) {
        let rules = self.rules.unwrap_or_default();
        let addresses = self.addresses.unwrap_or_default().0;
        let holders = addresses.iter().flat_map(|(_, holders)| holders.0.iter());
        let machines = rules.iter().filter_map(|rule| rule.from.as_ref()).chain(holders);
        let machines = machines.cloned().collect();
        let names = |holders: Holders| holders.0.into_iter().map(|name| name.value).collect();
        let policy = NetworkPolicy {
            internal: self.internal.unwrap_or(false),
            anti_spoof: self.anti_spoof.unwrap_or(false),
            rules: rules.into_iter().filter_map(RuleFile::finish).collect(),
            otherwise: self.otherwise.unwrap_or_default(),
            limits: self.limits.map(|limits| limits.read).unwrap_or_default(),
            addresses: addresses
                .into_iter()
                .map(|(address, holders)| (address.value, names(holders)))
                .collect(),
            machines: BTreeMap::new(),
        };
        (policy, machines)
    }
}

impl RuleFile {
    fn finish(self) -> Option<PolicyRule> {
        let (verdict, pattern) = match (self.allow, self.deny) {
            (Some(allow), _) => (Verdict::Allow, allow),
            (None, deny) => (Verdict::Deny, deny?),
        };
        let from = self.from.map(|from| from.value);
        Some(PolicyRule {
            verdict,
            pattern,
            from,
        })
    }
}

/// That these machines are in the file.
pub(crate) fn check_machines<'a>(
    spoken_of: impl Iterator<Item = &'a Spot<Name>>,
    machines: &[&Name],
    report: &mut Report,
) {
    for name in spoken_of.filter(|name| !machines.contains(&&name.value)) {
        report.push(unknown(&name.value, name.span.clone(), machines));
    }
}

/// Adds what a machine says of itself to the policies of its networks, of which one at least is to have such.
pub(crate) fn add_machine(
    machine: &PlacedMachine,
    nics: &[Nic],
    networks: &mut [PlacedNetwork],
    report: &mut Report,
) {
    let (group, limits) = (&machine.file.group, &machine.file.limits);
    let group_span = group.as_ref().map(|group| ("group", &group.span));
    let Some((key, span)) = group_span.or(limits.as_ref().map(|limits| ("limits", &limits.span))) else {
        return;
    };
    let name = &machine.name.value;
    let mut its = networks
        .iter_mut()
        .filter(|placed| nics.iter().any(|nic| nic.network == placed.network.name))
        .map(|placed| &mut placed.network)
        .filter(|network| network.mode == Mode::User)
        .peekable();
    // A machine whose NICs could not be read is reported for that.
    if its.peek().is_none() && (!nics.is_empty() || report.is_empty()) {
        let title = format!(
            "machine {:?} has {key} but is on no network of mode user",
            name.as_str()
        );
        let hint = "groups and limits are for networks whose packets Atoll itself carries".to_owned();
        report.push(Diagnostic::new(title, span.clone()).with_hint(hint));
    }
    for network in its {
        let own = MachinePolicy {
            group: group.as_ref().map(|group| group.value.clone()),
            limits: limits
                .as_ref()
                .map(|limits| limits.value.read)
                .unwrap_or_default(),
        };
        network.policy.machines.insert(name.clone(), own);
    }
}

fn unknown(name: &Name, span: Span, machines: &[&Name]) -> Diagnostic {
    let title = format!(
        "the policy speaks of a machine {:?} that is not in the file",
        name.as_str()
    );
    let known: Vec<&str> = machines.iter().map(|name| name.as_str()).collect();
    let hint = format!("machines are: {}", known.join(", "));
    Diagnostic::new(title, span).with_hint((!known.is_empty()).then_some(hint))
}
