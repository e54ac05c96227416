//! The arguments that say what DNS does beside answering and asking, and which clocks guests are told of.

use std::collections::BTreeMap;
use std::net::IpAddr;

use atoll_control::cluster::reach;
use atoll_control::runtime::{NetworkOptions, ServiceTarget, parse_resolver};
use atoll_control::spec::{self, Hint, OrOff};
use clap::Args;

use super::arguments::{bad, hinted};
use crate::failure::Failure;

/// DNS and NTP.
#[derive(Debug, Args)]
pub(crate) struct DnsArguments {
    /// Resolver for the names below a suffix, and for the suffix, in place of all others, as in corp.example=10.0.0.53. The longest
    /// suffix counts. Repeatable, also for one suffix.
    #[arg(long, value_name = "SUFFIX=ADDRESS[:PORT]")]
    dns_for: Vec<String>,

    /// Names below a machine's name have its addresses: `shop.web.DOMAIN` those of `web.DOMAIN`.
    #[arg(long)]
    dns_wildcards: bool,

    /// Keep answers of resolvers from guests that name private addresses or the network's own (DNS rebinding); those of --dns-for
    /// may.
    #[arg(long)]
    dns_rebind_protection: bool,

    /// How many answers of resolvers are kept, for as long as they say, or off.
    #[arg(long, value_name = "ANSWERS|off")]
    dns_cache: Option<String>,

    /// Where a service is that DNS tells of by an SRV record: of the domain, as in _etcd-server._tcp=etcd1:2380, or of a name, as in
    /// _ssh._tcp.web=web:22. Repeatable, also for one service.
    #[arg(long, value_name = "_SERVICE._PROTOCOL[.NAME]=NAME:PORT")]
    dns_service: Vec<String>,

    /// NTP server that guests are told of by DHCP, or, with an IPv6 address, by DHCPv6. Repeatable.
    #[arg(long, value_name = "ADDRESS")]
    ntp: Vec<String>,
}

impl DnsArguments {
    /// The words, and whether they were said.
    pub(super) fn said(&self) -> [(&'static str, bool); 6] {
        [
            ("--dns-for", !self.dns_for.is_empty()),
            ("--dns-wildcards", self.dns_wildcards),
            ("--dns-rebind-protection", self.dns_rebind_protection),
            ("--dns-cache", self.dns_cache.is_some()),
            ("--dns-service", !self.dns_service.is_empty()),
            ("--ntp", !self.ntp.is_empty()),
        ]
    }

    /// The arguments, understood.
    pub(super) fn apply(&self, options: &mut NetworkOptions) -> Result<(), Failure> {
        options.dns.wildcards = self.dns_wildcards;
        options.dns.rebind_protection = self.dns_rebind_protection;
        if let Some(value) = &self.dns_cache {
            let cache = hinted::<OrOff<spec::CacheSize>>("--dns-cache", value)?.on();
            options.dns.cache = cache.map_or(0, |cache| usize::try_from(cache.get()).unwrap_or(usize::MAX));
        }
        options.dns.services = services(&self.dns_service)?;
        for value in &self.dns_for {
            self.add_suffix(value, options)?;
        }
        for value in &self.ntp {
            match value.parse() {
                Ok(IpAddr::V4(address)) => options.ntp.push(address),
                Ok(IpAddr::V6(address)) => options.ntp6.push(address),
                Err(_) => {
                    let hint = "write one such as 192.0.2.1 or 2001:db8::1";
                    return Err(bad("--ntp", value, "this is no IP address", hint));
                }
            }
        }
        Ok(())
    }

    fn add_suffix(&self, value: &str, options: &mut NetworkOptions) -> Result<(), Failure> {
        const ARGUMENT: &str = "--dns-for";
        const HINT: &str = "write SUFFIX=ADDRESS, as in corp.example=10.0.0.53 or corp.example=[::1]:5353";
        let (suffix, server) = value
            .split_once('=')
            .ok_or_else(|| bad(ARGUMENT, value, "this is no suffix with a resolver", HINT))?;
        let suffix: spec::Domain = suffix
            .trim_matches('.')
            .parse()
            .map_err(|error: spec::NameError| bad(ARGUMENT, value, error, HINT))?;
        let server = parse_resolver(server).ok_or_else(|| {
            bad(
                ARGUMENT,
                value,
                format!("{server:?} is no resolver's address"),
                HINT,
            )
        })?;
        let suffix = suffix.to_string();
        let own = options.domain.to_ascii_lowercase();
        if suffix == own || suffix.ends_with(&format!(".{own}")) {
            let why = "the network itself answers for these names";
            return Err(bad(
                ARGUMENT,
                value,
                why,
                "choose another --domain, or another suffix",
            ));
        }
        options.dns.suffixes.entry(suffix).or_default().push(server);
        Ok(())
    }
}

/// Where services are, by name.
fn services(values: &[String]) -> Result<BTreeMap<String, Vec<ServiceTarget>>, Failure> {
    const ARGUMENT: &str = "--dns-service";
    let mut services: BTreeMap<String, Vec<ServiceTarget>> = BTreeMap::new();
    for value in values {
        let (name, target) = value.split_once('=').ok_or_else(|| {
            let hint = "write _SERVICE._tcp=NAME:PORT, as in _etcd-server._tcp=etcd1:2380";
            bad(ARGUMENT, value, "this is no service with a place", hint)
        })?;
        let wrong = |error: spec::ServiceError| {
            let hint = error.hint();
            Failure::usage(format!("{ARGUMENT} {value}: {error}"), hint)
        };
        let name: spec::ServiceName = name.parse().map_err(wrong)?;
        let target: spec::ServiceTarget = target.parse().map_err(wrong)?;
        let targets = services.entry(name.to_string()).or_default();
        targets.push(reach::service_target(&target));
    }
    Ok(services)
}
