//! What DNS does on a network, as the file says it: the servers to ask, or all there is to say.
//!
//! ```yaml
//! dns:
//!   servers: [1.1.1.1]
//!   for: {corp.example: 10.0.0.53}
//!   wildcards: true
//!   rebind-protection: true
//!   cache: off
//!   services: {_etcd-server._tcp: [a:2380, b:2380]}
//! ```
//!
//! `dns: [1.1.1.1]` is the same as `dns: {servers: [1.1.1.1]}`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::choice::OrOff;
use crate::diagnostic::{Diagnostic, Report};
use crate::name::{Domain, Name};
use crate::read::{Entries, FromYaml, Keys, Noun, Spot, wrong_kind};
use crate::scalar::DnsServer;
use crate::service::{ServiceName, ServiceTarget};
use crate::several::Several;
use crate::text::{Hint, text_type};
use crate::yaml::{Kind, Node};

/// Names that every network has of itself.
const BUILT_IN: [&str; 2] = ["gateway", "host"];

/// How many answers of resolvers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSize(u32);

/// A text says no such size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cache holds up to {max} answers", max = CacheSize::MAX)]
pub struct CacheSizeError;

impl Hint for CacheSizeError {
    fn hint(&self) -> Option<String> {
        Some("write a number, or off".to_owned())
    }
}

impl CacheSize {
    /// Some 30 MiB of the longest.
    const MAX: u32 = 65_536;

    /// The number of answers.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for CacheSize {
    type Err = CacheSizeError;

    fn from_str(text: &str) -> Result<Self, CacheSizeError> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok();
        let size = number.filter(|size| is_number && *size <= Self::MAX);
        size.map(Self).ok_or(CacheSizeError)
    }
}

impl fmt::Display for CacheSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_type!(
    CacheSize,
    expected: "a number of answers, or off",
    pattern: "^[0-9]{1,5}$",
    about: "How many answers are kept."
);

/// What DNS does on a network beside answering for machines and asking the host's resolvers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Resolution {
    /// Resolvers for the names below a suffix.
    pub suffixes: BTreeMap<Domain, Vec<SocketAddr>>,
    /// Whether names below a machine's have its addresses.
    pub wildcards: bool,
    /// Whether answers that name private addresses are kept from guests.
    pub rebind_protection: bool,
    /// Answers that are kept, none when zero; the usual number when `None`.
    pub cache: Option<u32>,
    /// Where services are.
    pub services: BTreeMap<ServiceName, Vec<ServiceTarget>>,
}

/// The key `dns`.
#[derive(Debug, Default)]
pub(crate) struct DnsFile {
    pub(crate) servers: Vec<DnsServer>,
    suffixes: Entries<Domain, Servers>,
    wildcards: bool,
    rebind_protection: bool,
    cache: Option<OrOff<CacheSize>>,
    services: Entries<ServiceName, Several<Spot<ServiceTarget>>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case", deny_unknown_fields, rename = "Dns")]
#[expect(dead_code, reason = "its fields are the schema of dns written as a mapping")]
struct DnsMapping {
    /// Servers to ask instead of the host's own.
    servers: Option<Several<DnsServer>>,
    /// Servers to ask for the names below a suffix, and for the suffix, in place of all others. The longest suffix counts.
    r#for: Option<Entries<Domain, Servers>>,
    /// Whether names below a machine's have its addresses; false when left out.
    wildcards: Option<bool>,
    /// Whether answers that name private addresses, or the network's own, are kept from guests; false when left out.
    rebind_protection: Option<bool>,
    /// How many answers are kept for as long as they say, or off; 1024 when left out.
    cache: Option<OrOff<CacheSize>>,
    /// Services that SRV records tell of, and where each is.
    services: Option<Entries<ServiceName, Several<Spot<ServiceTarget>>>>,
}

/// The servers of a suffix.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(transparent)]
struct Servers(Several<DnsServer>);

impl Noun for Servers {
    const NOUN: &'static str = "suffix";
}

impl Noun for Spot<ServiceTarget> {
    const NOUN: &'static str = "service";
}

impl FromYaml for Servers {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        Several::from_yaml(node, what, report).map(Self)
    }
}

impl FromYaml for DnsFile {
    fn from_yaml(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => Self::from_mapping(node, what, report),
            Kind::List(items) => {
                let network = what.strip_prefix("dns of ").unwrap_or(what);
                let read = items.iter().enumerate().filter_map(|(index, item)| {
                    let what = format!("DNS server {} of {network}", index + 1);
                    DnsServer::from_yaml(item, &what, report)
                });
                Some(Self {
                    servers: read.collect(),
                    ..Self::default()
                })
            }
            _ => wrong_kind(node, what, "a list of servers or a mapping", report),
        }
    }
}

impl DnsFile {
    fn from_mapping(node: &Node, what: &str, report: &mut Report) -> Option<Self> {
        let mut keys = Keys::of(node, what, report)?;
        let servers: Option<Several<DnsServer>> = keys.take("servers");
        let file = Self {
            servers: servers.map(|servers| servers.0).unwrap_or_default(),
            suffixes: keys.take("for").unwrap_or_default(),
            wildcards: keys.take("wildcards").unwrap_or(false),
            rebind_protection: keys.take("rebind-protection").unwrap_or(false),
            cache: keys.take("cache"),
            services: keys.take("services").unwrap_or_default(),
        };
        keys.finish();
        Some(file)
    }

    /// That the suffixes are the world's, and that names of the network that services are at are known. `known` has the labels of machines and
    /// configured names.
    pub(crate) fn check(&self, domain: &Domain, known: &[&str], report: &mut Report) {
        for (suffix, _) in &self.suffixes.0 {
            let name = suffix.value.as_str();
            let head = name.strip_suffix(domain.as_str());
            if head.is_some_and(|head| head.is_empty() || head.ends_with('.')) {
                let title = format!("the cluster itself answers for the names below {name:?}");
                let hint = "choose another domain for the cluster, or another suffix".to_owned();
                report.push(Diagnostic::new(title, suffix.span.clone()).with_hint(hint));
            }
        }
        let targets = self.services.0.iter().flat_map(|(_, targets)| &targets.0);
        for target in targets {
            let host = target.value.host.as_str();
            if host.contains('.') || BUILT_IN.contains(&host) || known.contains(&host) {
                continue;
            }
            let title =
                format!("a service is at {host:?}, which is neither a machine nor a host of the file");
            let hint = (!known.is_empty()).then(|| format!("names are: {}", known.join(", ")));
            report.push(Diagnostic::new(title, target.span.clone()).with_hint(hint));
        }
    }

    /// What is left to say when the servers are taken.
    pub(crate) fn finish(self) -> Resolution {
        let addresses = |servers: Servers| servers.0.0.into_iter().map(|server| server.0).collect();
        let places = |targets: Several<Spot<ServiceTarget>>| {
            targets.0.into_iter().map(|target| target.value).collect()
        };
        Resolution {
            suffixes: self
                .suffixes
                .0
                .into_iter()
                .map(|(suffix, servers)| (suffix.value, addresses(servers)))
                .collect(),
            wildcards: self.wildcards,
            rebind_protection: self.rebind_protection,
            cache: self.cache.map(|cache| cache.on().map_or(0, CacheSize::get)),
            services: self
                .services
                .0
                .into_iter()
                .map(|(name, targets)| (name.value, places(targets)))
                .collect(),
        }
    }
}

impl JsonSchema for DnsFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "DnsServersOrMore".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let server = generator.subschema_for::<DnsServer>();
        let mapping = generator.subschema_for::<DnsMapping>();
        json_schema!({ "anyOf": [{ "type": "array", "items": server }, mapping] })
    }
}

/// The names of one network that a service can be at.
pub(crate) fn known<'a>(
    machines: impl Iterator<Item = &'a Name>,
    hosts: impl Iterator<Item = &'a Domain>,
) -> Vec<&'a str> {
    let hosts = hosts.map(Domain::as_str).filter(|host| !host.contains('.'));
    machines.map(Name::as_str).chain(hosts).collect()
}
