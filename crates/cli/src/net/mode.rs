//! The arguments that say where a network's guests are, and what contradicts that.
//!
//! A word of one mode that is said in another is refused, not forgotten: who says it expects something of it.

use std::net::IpAddr;

use atoll_control::runtime::{NetworkOptions, StaticLease, StaticRoute, UplinkSpec, Via};
use atoll_control::spec;
use clap::{Args, ValueEnum};

use super::arguments::bad;
use crate::failure::Failure;

/// Where a network's guests are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Mode {
    /// On a network of its own, which reaches the world through this program. Needs no privilege.
    #[default]
    User,
    /// On the host's own LAN, which gives them addresses.
    Bridged,
    /// On a bridge of the host's, whose kernel translates for them. The host reaches them.
    Shared,
    /// On a bridge of the host's, with the host and nobody else.
    Host,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Bridged => "bridged",
            Self::Shared => "shared",
            Self::Host => "host",
        }
    }
}

/// How a bridged network comes to the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ViaArgument {
    /// By a bridge that exists.
    Bridge,
    /// By a bridge over the NIC, made for as long as the network runs.
    NewBridge,
    /// By a macvtap of the NIC for each guest. The host and its guests do not hear each other.
    Macvtap,
    /// By the host's routing, for LANs that drop MAC addresses they do not know.
    ProxyArp,
}

impl From<ViaArgument> for Via {
    fn from(via: ViaArgument) -> Self {
        match via {
            ViaArgument::Bridge => Self::Bridge,
            ViaArgument::NewBridge => Self::NewBridge,
            ViaArgument::Macvtap => Self::Macvtap,
            ViaArgument::ProxyArp => Self::ProxyArp,
        }
    }
}

/// Where a network's guests are, and how they come there.
#[derive(Debug, Args)]
pub(crate) struct ModeArguments {
    /// Where guests are: on a network of this program's (user), on the host's LAN (bridged), behind the host's kernel (shared), or with the
    /// host alone (host). All but user ask atoll-helper, which the administrator installs.
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    pub(super) mode: Mode,

    /// The host's NIC or bridge on the LAN of a bridged network; of a shared one the only NIC by which guests go out.
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,

    /// How a bridged network comes to the LAN. When left out: by the bridge where --interface names one, else macvtap.
    #[arg(long, value_name = "WAY", value_enum)]
    via: Option<ViaArgument>,

    /// Tell guests of a network to which another guest knows the way, as in 192.168.10.0/24=10.77.0.5. Repeatable.
    #[arg(long, value_name = "NETWORK/PREFIX=ADDRESS")]
    pub(super) route: Vec<String>,
}

impl ModeArguments {
    /// Whether the LAN, and not this network, has addresses for guests.
    pub(super) fn is_bridged(&self) -> bool {
        self.mode == Mode::Bridged
    }

    /// The uplink, from what was said of it. `leases` are the addresses that guests are said to have, and `domain` is what the network is called.
    pub(super) fn uplink(&self, leases: &[StaticLease], domain: &str) -> Result<Option<UplinkSpec>, Failure> {
        let via = self.via.map(Via::from);
        self.check(via, leases)?;
        Ok(match self.mode {
            Mode::User => None,
            Mode::Shared => Some(UplinkSpec::Shared {
                network: domain.to_owned(),
                outside: self.interface.clone(),
            }),
            Mode::Host => Some(UplinkSpec::Host {
                network: domain.to_owned(),
            }),
            Mode::Bridged => Some(UplinkSpec::Bridged {
                interface: self.interface.clone().unwrap_or_default(),
                via,
                addresses: leases.iter().flat_map(addresses).collect(),
            }),
        })
    }

    fn check(&self, via: Option<Via>, leases: &[StaticLease]) -> Result<(), Failure> {
        let mode = self.mode.word();
        match (self.mode, &self.interface, self.via) {
            (Mode::Bridged, None, _) => {
                return Err(bad(
                    "--mode",
                    mode,
                    "it does not say which LAN",
                    "add --interface with a NIC or bridge of this host",
                ));
            }
            (Mode::User | Mode::Host, Some(interface), _) => {
                let why = format!("a network in mode {mode} leads to no interface");
                return Err(bad(
                    "--interface",
                    interface,
                    why,
                    "add --mode bridged, or leave it out",
                ));
            }
            (Mode::User | Mode::Shared | Mode::Host, _, Some(_)) => {
                let word = via.map(|via| via.to_string()).unwrap_or_default();
                let why = format!("a network in mode {mode} does not come to a LAN");
                return Err(bad("--via", &word, why, "add --mode bridged, or leave it out"));
            }
            _ => {}
        }
        match (via, leases.first()) {
            (Some(Via::ProxyArp), None) => Err(bad(
                "--via",
                "proxy-arp",
                "it does not say which addresses guests have",
                "add --lease MAC=ADDRESS for each, with addresses of the LAN that nobody else has",
            )),
            (via, Some(lease)) if self.is_bridged() && via != Some(Via::ProxyArp) => {
                let value = lease.mac.to_string();
                let why = "the LAN gives addresses to guests of a bridged network";
                Err(bad("--lease", &value, why, "tell the LAN's DHCP server"))
            }
            _ => Ok(()),
        }
    }

    /// That nothing was said that only networks with addresses of their own have, or that only a network of this program's has.
    pub(super) fn check_words(&self, said: &[(&'static str, bool)]) -> Result<(), Failure> {
        const OF_USER: [&str; 3] = ["--host-loopback", "--host-port", "--host-socket"];
        let is_wrong = |word: &str| match self.mode {
            Mode::User => false,
            Mode::Shared | Mode::Host => OF_USER.contains(&word),
            Mode::Bridged => true,
        };
        let Some((word, _)) = said.iter().find(|(word, is_said)| *is_said && is_wrong(word)) else {
            return Ok(());
        };
        let why = if self.is_bridged() {
            "the guests of a bridged network have what the LAN gives them".to_owned()
        } else {
            format!(
                "guests reach the host itself in mode {}, at the first address",
                self.mode.word()
            )
        };
        let hint = "leave it out, or use --mode user".to_owned();
        Err(Failure::usage(format!("{word}: {why}"), Some(hint)))
    }

    /// That no rule or limit was said where the host's kernel, and not this program, carries packets.
    pub(super) fn check_policy(&self, said: &[(&'static str, bool)]) -> Result<(), Failure> {
        let first = said.iter().find(|(_, is_said)| *is_said);
        match first.filter(|_| self.mode != Mode::User) {
            None => Ok(()),
            Some((word, _)) => Err(Failure::usage(
                format!(
                    "{word}: rules and limits are for networks of mode user, whose packets Atoll itself carries"
                ),
                Some("leave it out, or use --mode user".to_owned()),
            )),
        }
    }

    /// The routes.
    pub(super) fn routes(&self) -> Result<Vec<StaticRoute>, Failure> {
        const ARGUMENT: &str = "--route";
        if self.route.len() > NetworkOptions::ROUTES_MAX {
            let why = format!("there are more than {}", NetworkOptions::ROUTES_MAX);
            let last = self.route.last().map_or("", String::as_str);
            return Err(bad(ARGUMENT, last, why, "give networks that lie together as one"));
        }
        let mut routes: Vec<StaticRoute> = Vec::new();
        for value in &self.route {
            let route = route(value)?;
            let is_same = |other: &&StaticRoute| (other.to, other.prefix_len) == (route.to, route.prefix_len);
            if routes.iter().any(|other| is_same(&other)) {
                return Err(bad(
                    ARGUMENT,
                    value,
                    "the network is given twice",
                    "give each network once",
                ));
            }
            routes.push(route);
        }
        Ok(routes)
    }
}

fn addresses(lease: &StaticLease) -> impl Iterator<Item = IpAddr> {
    let v4 = lease.address.map(IpAddr::V4);
    v4.into_iter().chain(lease.address6.map(IpAddr::V6))
}

fn route(value: &str) -> Result<StaticRoute, Failure> {
    const HINT: &str = "write NETWORK/PREFIX=ADDRESS, as in 192.168.10.0/24=10.77.0.5";
    let wrong = |why: &str| bad("--route", value, why, HINT);
    let (network, via) = value.split_once('=').ok_or_else(|| wrong("this is no route"))?;
    let (to, prefix_len) = network
        .split_once('/')
        .ok_or_else(|| wrong("this is no network"))?;
    let to: IpAddr = to.parse().map_err(|_| wrong("this is no network"))?;
    let via: IpAddr = via.parse().map_err(|_| wrong("this is no IP address"))?;
    let prefix_len = prefix_len.parse().map_err(|_| wrong("this is no network"))?;
    let host_bits = match to {
        IpAddr::V4(to) => to.to_bits().checked_shl(prefix_len).unwrap_or(0) != 0,
        IpAddr::V6(to) => to.to_bits().checked_shl(prefix_len).unwrap_or(0) != 0,
    };
    let most = if to.is_ipv4() { 32 } else { 128 };
    if prefix_len > most || host_bits {
        return Err(wrong("this is no network: there are bits behind its prefix"));
    }
    if to.is_ipv4() != via.is_ipv4() {
        return Err(wrong("the network and the way to it are of two families"));
    }
    let prefix_len = u8::try_from(prefix_len).unwrap_or(0);
    Ok(StaticRoute { to, prefix_len, via })
}

/// A forward whose guest is a MAC address: it, and the forward with a name in its place, which its own type can read.
pub(super) fn mac_in(value: &str) -> Option<(spec::Mac, String)> {
    const LEN: usize = "52:54:00:12:34:56".len();
    let starts = value.char_indices().map(|(at, _)| at);
    let mut found = starts.rev().filter_map(|at| {
        let text = value.get(at..at + LEN)?;
        let is_whole = value[..at].ends_with(':') && value[at + LEN..].starts_with(':');
        let mac: spec::Mac = text.parse().ok().filter(|_| is_whole)?;
        Some((mac, format!("{}guest{}", &value[..at], &value[at + LEN..])))
    });
    found.next()
}
