//! The arguments that say what guests may do.

use std::collections::BTreeMap;
use std::net::IpAddr;

use atoll_control::cluster::policy;
use atoll_control::runtime::{
    GuestLimits, IpNetwork, ListenSpec, Mac, NetworkOptions, Policy, Rule, Verdict,
};
use atoll_control::spec::{self, Hint};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::arguments::{bad, hinted, unix};
use crate::failure::Failure;

/// What guests may do.
#[derive(Debug, Args)]
pub(crate) struct PolicyArguments {
    #[command(flatten)]
    rules: RuleArguments,

    /// The network has no outside: guests reach each other and the gateway's services, and names that are not the network's
    /// own are not asked for.
    #[arg(long)]
    internal: bool,

    /// Guests use their own MAC and IP addresses only: those that DHCP gave, or that nobody else claimed before.
    #[arg(long)]
    anti_spoof: bool,

    /// Frames with VLAN tags (802.1Q, 802.1ad) pass between guests with --anti-spoof, and onto a LAN, too; elsewhere they always do.
    #[arg(long)]
    vlans: bool,

    /// An address, or a network, that this guest may use beside its own, and nobody else may: with one line for each of several guests
    /// it moves between them, as VRRP has it. DHCP does not lease it. Repeatable.
    #[arg(long, value_name = "MAC=ADDRESS[/PREFIX]")]
    allow_address: Vec<String>,

    /// What each guest may do at most: bandwidth (bits a second each way), upload, download, packets (a second), flows, new-flows
    /// (a second). Numbers may end in k, M or G, for thousands, millions and billions.
    #[arg(long, value_name = "NAME=QUANTITY,…")]
    limit: Option<String>,

    /// Put the guests at a socket of --qemu, --qemu-dgram or --vhost-user, or a namespace by the --name with which it joins, into a
    /// group: they reach those of their own group and no others. Those in none are a group, too. Repeatable.
    #[arg(long, value_name = "NAME=unix:PATH|GUEST")]
    group: Vec<String>,
}

/// `--allow` and `--deny`, whose order among each other counts.
#[derive(Debug)]
struct RuleArguments {
    rules: Vec<(Verdict, String)>,
}

/// Both, each by itself.
#[derive(Debug, Args)]
struct EachRule {
    /// Let guests reach this: a network or address, a name, the names below one, or any, private (RFC 1918, RFC 6598, RFC 4193), host (this
    /// host's own addresses); ports and protocol when they matter, IPv6 in brackets before ports. The first --allow or --deny that matches
    /// counts; what none matches is treated as the opposite of the last one says. A name is what Atoll's DNS told the guest, and opens no
    /// private address. Repeatable.
    #[arg(long, value_name = "CIDR|NAME|*.NAME|any|private|host[:PORTS][/PROTOCOL]")]
    allow: Vec<String>,

    /// Refuse guests this, at once; as --allow. Repeatable.
    #[arg(long, value_name = "CIDR|NAME|*.NAME|any|private|host[:PORTS][/PROTOCOL]")]
    deny: Vec<String>,
}

impl Args for RuleArguments {
    fn augment_args(command: Command) -> Command {
        EachRule::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        EachRule::augment_args_for_update(command)
    }
}

impl FromArgMatches for RuleArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let each = EachRule::from_arg_matches(matches)?;
        let places = |id: &str| matches.indices_of(id).into_iter().flatten().collect::<Vec<_>>();
        let rules = |verdict, id, values: Vec<String>| {
            let placed = places(id).into_iter().zip(values);
            placed.map(move |(place, value)| (place, verdict, value))
        };
        let allow = rules(Verdict::Allow, "allow", each.allow);
        let deny = rules(Verdict::Deny, "deny", each.deny);
        let mut rules: Vec<_> = allow.chain(deny).collect();
        rules.sort_by_key(|(place, ..)| *place);
        let rules = rules.into_iter().map(|(_, verdict, value)| (verdict, value));
        Ok(Self {
            rules: rules.collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl PolicyArguments {
    /// The arguments that only a network of mode user takes, each with whether it was given.
    pub(super) fn said(&self) -> [(&'static str, bool); 7] {
        let rules = |verdict| self.rules.rules.iter().any(|(given, _)| *given == verdict);
        [
            ("--allow", rules(Verdict::Allow)),
            ("--deny", rules(Verdict::Deny)),
            ("--internal", self.internal),
            ("--anti-spoof", self.anti_spoof),
            ("--allow-address", !self.allow_address.is_empty()),
            ("--limit", self.limit.is_some()),
            ("--group", !self.group.is_empty()),
        ]
    }

    /// The arguments, understood. `check` says whether a guest can have an address that is to be its own.
    pub(super) fn policy(
        &self,
        check: impl Fn(&str, &str, IpAddr) -> Result<(), Failure>,
    ) -> Result<Policy, Failure> {
        let given = self.rules.rules.iter();
        let rules: Vec<Rule> = given
            .map(|(verdict, value)| rule(*verdict, value))
            .collect::<Result<_, _>>()?;
        let default_verdict = match rules.last().map(|rule| rule.verdict) {
            Some(Verdict::Allow) => Verdict::Deny,
            Some(Verdict::Deny) | None => Verdict::Allow,
        };
        Ok(Policy {
            rules,
            default_verdict,
            internal: self.internal,
            anti_spoof: self.anti_spoof,
            vlans: self.vlans,
            extra_addresses: extra_addresses(&self.allow_address, check)?,
            limits: self.limit.as_deref().map_or(Ok(GuestLimits::default()), limits)?,
            guests: BTreeMap::new(),
        })
    }

    /// The groups of guests, which are told apart by the socket they come through: the label that it gives its ports is made from its path.
    pub(super) fn add_groups(&self, options: &mut NetworkOptions) -> Result<(), Failure> {
        const ARGUMENT: &str = "--group";
        for value in &self.group {
            let (group, guest) = value.split_once('=').ok_or_else(|| {
                let hint = "write NAME=unix:PATH, or NAME=GUEST, as in web=unix:/tmp/web.sock";
                bad(
                    ARGUMENT,
                    value,
                    "this says of no guest which group it is in",
                    hint,
                )
            })?;
            let wrong = |error: spec::NameError| {
                let hint = error.hint();
                Failure::usage(format!("{ARGUMENT} {value}: {error}"), hint)
            };
            let group: spec::Name = group.parse().map_err(wrong)?;
            let label = match guest.strip_prefix("unix:") {
                Some(_) => label_socket(value, guest, &mut options.listeners)?,
                None => guest.parse::<spec::Name>().map_err(wrong)?.to_string(),
            };
            let of_guest = options.policy.guests.entry(label).or_default();
            if let Some(other) = of_guest.group.replace(group.to_string()) {
                let why = format!("{guest} is in group {other} already");
                return Err(bad(ARGUMENT, value, why, "put each guest into one group"));
            }
        }
        Ok(())
    }
}

/// The label of those who attach at a socket, which it gets here if it has none.
fn label_socket(value: &str, socket: &str, listeners: &mut [ListenSpec]) -> Result<String, Failure> {
    let path = unix("--group", socket)?;
    let Some(listener) = listeners.iter_mut().find(|listener| listener.path == path) else {
        let why = format!("no guest attaches at {}", path.display());
        let hint = "give the socket to --qemu, --qemu-dgram or --vhost-user, too";
        return Err(bad("--group", value, why, hint));
    };
    Ok(listener.label.get_or_insert_with(|| socket.to_owned()).clone())
}

fn rule(verdict: Verdict, value: &str) -> Result<Rule, Failure> {
    let argument = match verdict {
        Verdict::Allow => "--allow",
        Verdict::Deny => "--deny",
    };
    let pattern: spec::RulePattern = hinted(argument, value)?;
    Ok(policy::rule(verdict, &pattern))
}

fn extra_addresses(
    values: &[String],
    check: impl Fn(&str, &str, IpAddr) -> Result<(), Failure>,
) -> Result<BTreeMap<Mac, Vec<IpNetwork>>, Failure> {
    const ARGUMENT: &str = "--allow-address";
    const HINT: &str = "write MAC=ADDRESS, as in 52:54:00:12:34:56=10.77.0.100";
    let mut extra: BTreeMap<Mac, Vec<IpNetwork>> = BTreeMap::new();
    for value in values {
        let (mac, address) = value.split_once('=').ok_or_else(|| {
            bad(
                ARGUMENT,
                value,
                "this says of no guest which address it may use",
                HINT,
            )
        })?;
        let mac: spec::Mac = mac
            .parse()
            .map_err(|error: spec::MacError| bad(ARGUMENT, value, error, HINT))?;
        let allowed: spec::IpNetwork = address
            .parse()
            .map_err(|error: spec::IpNetworkError| bad(ARGUMENT, value, error, HINT))?;
        if allowed.is_address() {
            check(ARGUMENT, value, allowed.address())?;
        }
        extra
            .entry(Mac(mac.octets()))
            .or_default()
            .push(policy::network(allowed));
    }
    Ok(extra)
}

fn limits(value: &str) -> Result<GuestLimits, Failure> {
    let read: spec::GuestLimits = hinted("--limit", value)?;
    Ok(policy::limits(&read))
}
