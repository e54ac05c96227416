//! The arguments that say what a network is.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use atoll_control::runtime::{
    Addresses, ListenSpec, Mac, NetworkOptions, Prefix, StaticLease, StaticRoute, Subnet, Transport,
    parse_resolver,
};
use atoll_control::spec::{self, Hint, Loopback, OrOff};
use clap::{Args, Command, Id};

use super::forwards::{automatic_forward, forwards};
use super::mode::ModeArguments;
use super::policy::PolicyArguments;
use super::{naming, once, reach, services};
use crate::failure::Failure;

/// The smallest MTU every IPv4 link has (RFC 1122, 3.3.2), and the largest that fits a frame.
const MTU: std::ops::RangeInclusive<u16> = 576..=65520;

/// The smallest MTU every IPv6 link has (RFC 8200, section 5).
const IPV6_MTU: u16 = 1280;

/// What a network has when nothing is said.
const SUBNET: &str = "10.77.0.0/24";
const DOMAIN: &str = "atoll.internal";

/// Ethernet's, which every NIC takes.
const USUAL_MTU: u16 = 1500;

/// What a network is.
#[derive(Debug, Args)]
pub(crate) struct NetworkArguments {
    #[command(flatten)]
    pub(super) mode: ModeArguments,

    /// IPv4 on the LAN, or off: the gateway is the first host address, the host alias the last one, guests get the rest. When left out:
    /// 10.77.0.0/24.
    #[arg(long, value_name = "NETWORK/PREFIX|off")]
    subnet: Option<String>,

    /// IPv6 on the LAN, a /64, or off: the gateway is ::1, the host alias ::fe. When left out: a unique local prefix (RFC 4193)
    /// that follows from domain and subnet, the same each time.
    #[arg(long, value_name = "PREFIX/64|off")]
    ipv6: Option<String>,

    /// Socket for QEMU's `-netdev stream`. Any number of guests; repeatable.
    #[arg(long, value_name = "unix:PATH")]
    qemu: Vec<String>,

    /// Socket for QEMU's `-netdev dgram` and vfkit's unixgram. Any number of guests; repeatable.
    #[arg(long, value_name = "unix:PATH")]
    qemu_dgram: Vec<String>,

    /// Socket for vhost-user: frames go through the guest's own memory, and large segments stay whole. Any number of guests;
    /// repeatable. Linux only.
    #[arg(long, value_name = "unix:PATH")]
    vhost_user: Vec<String>,

    /// Lead a host port to a guest's address, name or MAC address; tcp when no protocol is given; ranges like 9000-9010; IPv6 in brackets.
    /// BIND is 127.0.0.1 when left out; 0.0.0.0 is IPv4 only, `[::]` IPv6 only, * both. Or a unix socket, as in
    /// unix:/tmp/docker.sock:10.77.0.2:2375. Several guests with commas between them get connections in turn, but for those that
    /// do not answer. With source=keep guests see their clients' own addresses where they can answer them, else the gateway's. GUEST:* is every
    /// port at which the guest says that it listens, as it comes and goes, but for those of except=PORTS: the script of
    /// http://169.254.169.254/atoll/ports.sh says it. Repeatable.
    #[arg(long, value_name = "[BIND:]PORT:GUEST[,GUEST]:PORT[/PROTOCOL][,source=keep]")]
    forward: Vec<String>,

    /// Each guest has an address of the host's loopback for itself, and forwards to it that name no BIND are found there: three guests can each have
    /// port 22. A port that this user may not have, as those below 1024, is found 10000 higher. The address follows from domain, subnet and
    /// the guest as the forward names it; the ready line tells it. Linux only.
    #[arg(long)]
    pub(super) loopback: bool,

    /// Guests reach the host's loopback at the host alias; without this they do not.
    #[arg(long)]
    host_loopback: bool,

    /// Give a guest its address for good, as in 52:54:00:12:34:56=10.77.0.5. Repeatable, for one guest once with IPv4 and once
    /// with IPv6. With --via proxy-arp it says which address the guest has.
    #[arg(long, value_name = "MAC=ADDRESS")]
    lease: Vec<String>,

    /// Resolver to ask instead of the host's own; IPv6 with a port in brackets, link-local with its link as in fe80::1%eth0.
    /// Repeatable.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    dns: Vec<String>,

    /// Answer a name with an address, as in registry=10.77.0.9. Repeatable, for one name once with IPv4 and once with IPv6.
    #[arg(long, value_name = "NAME=ADDRESS")]
    dns_host: Vec<String>,

    /// Domain of the network's own names. When left out: atoll.internal.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,

    /// Largest IP packet on the LAN, in bytes; guests learn it by DHCP and router advertisements. When left out: 1500, which every
    /// NIC takes, or 65520 where no hypervisor can attach. With virtio NICs only, 65520 is faster. IPv6 needs 1280.
    #[arg(long, value_name = "BYTES")]
    mtu: Option<String>,

    /// Guests reach the gateway and beyond, but not each other.
    #[arg(long)]
    isolate: bool,

    /// Write every frame to this file, in pcapng.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,

    /// Socket for the control API: HTTP and JSON, for adding forwards and looking at the network.
    #[arg(long, value_name = "unix:PATH")]
    api: Option<String>,

    /// Keep leases in this folder, so that a restart gives guests the same addresses.
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,

    /// Where programs of the host connect to be led to guests by SOCKS 5 or HTTP, with names looked up on the network; a browser
    /// or curl takes it as its proxy. Leads to the network's own guests only. IPv6 in brackets; repeatable.
    #[arg(long, value_name = "[BIND:]PORT")]
    proxy: Vec<String>,

    /// Guests reach this port of the host's loopback at the host alias, `host.DOMAIN`, where it may have another number; tcp when no
    /// protocol is given. Repeatable. --host-loopback opens all ports.
    #[arg(long, value_name = "PORT[:GUEST-SIDE-PORT][/PROTOCOL]")]
    host_port: Vec<String>,

    /// Guests reach this unix socket of the host by TCP, at this port of the host alias, as in 2375=unix:/run/docker.sock.
    /// Repeatable.
    #[arg(long, value_name = "PORT=unix:PATH")]
    host_socket: Vec<String>,

    #[command(flatten)]
    dns_more: naming::DnsArguments,
    #[command(flatten)]
    services: services::ServiceArguments,
    #[command(flatten, next_help_heading = "What guests may do")]
    policy: PolicyArguments,
}

impl NetworkArguments {
    /// The ids of all of them; clap's own group for this type is empty, as it has flattened parts.
    pub(super) fn ids() -> Vec<Id> {
        let all = Self::augment_args(Command::new("network"));
        all.get_arguments()
            .map(|argument| argument.get_id().clone())
            .collect()
    }

    /// The arguments, understood.
    pub(super) fn options(&self) -> Result<NetworkOptions, Failure> {
        self.options_for(None)
    }

    /// The same for a network with one guest that is known by this name: `--forward` may leave it out.
    pub(super) fn options_for(&self, guest: Option<&str>) -> Result<NetworkOptions, Failure> {
        self.check_mode()?;
        let lan = self.lan()?;
        let mut options = NetworkOptions::new(lan.addresses());
        options.mtu = self.mtu()?;
        options.host_loopback = self.host_loopback;
        options.isolate = self.isolate;
        self.domain().clone_into(&mut options.domain);
        options.names = dns_hosts(&self.dns_host)?;
        options.routes = self.routes(lan)?;
        options.static_leases = leases(&self.lease, lan)?;
        options.resolvers = resolvers(&self.dns)?;
        options.listeners = listeners(self)?;
        options.uplink = self.mode.uplink(&options.static_leases, &options.domain)?;
        let (automatic, fixed): (Vec<String>, Vec<String>) = self
            .forward
            .iter()
            .cloned()
            .partition(|value| spec::automatic::is_automatic(value));
        options.forwards = each(&fixed, |value| forwards(value, lan, guest))?.concat();
        options.automatic = each(&automatic, |value| automatic_forward(value, lan, guest))?;
        options.pcap.clone_from(&self.pcap);
        options.state_dir.clone_from(&self.state);
        options.proxies = reach::proxies(&self.proxy)?;
        options.host_ports = reach::host_ports(&self.host_port, &self.host_socket)?;
        self.dns_more.apply(&mut options)?;
        self.services.apply(&mut options)?;
        options.policy = self
            .policy
            .policy(|argument, value, address| lan.check_guest(argument, value, address))?;
        self.policy.add_groups(&mut options)?;
        once::check(&options)?;
        Ok(options)
    }

    fn domain(&self) -> &str {
        self.domain.as_deref().unwrap_or(DOMAIN)
    }

    /// That nothing was said that the mode knows nothing of.
    fn check_mode(&self) -> Result<(), Failure> {
        self.mode.check_words(&[
            ("--subnet", self.subnet.is_some()),
            ("--ipv6", self.ipv6.is_some()),
            ("--domain", self.domain.is_some()),
            ("--dns", !self.dns.is_empty()),
            ("--dns-host", !self.dns_host.is_empty()),
            ("--mtu", self.mtu.is_some()),
            ("--state", self.state.is_some()),
            ("--route", !self.mode.route.is_empty()),
            ("--host-loopback", self.host_loopback),
            ("--host-port", !self.host_port.is_empty()),
            ("--host-socket", !self.host_socket.is_empty()),
        ])?;
        self.mode.check_policy(&self.policy.said())?;
        self.mode.check_words(&self.dns_more.said())?;
        self.mode.check_words(&self.services.said())
    }

    /// The routes, each by way of a guest of the network.
    fn routes(&self, lan: Lan) -> Result<Vec<StaticRoute>, Failure> {
        let routes = self.mode.routes()?;
        for (route, value) in routes.iter().zip(&self.mode.route) {
            lan.check_guest("--route", value, route.via)?;
        }
        Ok(routes)
    }

    /// What `--loopback` asks for: addresses that follow from what the network is called and where it is.
    fn loopback_addresses(&self) -> Option<Loopback> {
        let subnet = self.subnet.as_deref().unwrap_or(SUBNET);
        self.loopback.then(|| Loopback::of(&[self.domain(), subnet]))
    }

    /// The LAN's addresses.
    fn lan(&self) -> Result<Lan, Failure> {
        if self.mode.is_bridged() {
            return Ok(Lan {
                subnet: None,
                ipv6: None,
                is_ours: false,
                loopback: self.loopback_addresses(),
            });
        }
        let domain: spec::Domain = hinted("--domain", self.domain())?;
        let given_subnet = self.subnet.as_deref().unwrap_or(SUBNET);
        let subnet = hinted::<OrOff<spec::Subnet>>("--subnet", given_subnet)?.on();
        let given = match &self.ipv6 {
            Some(value) => Some((value, hinted::<OrOff<spec::Prefix>>("--ipv6", value)?.on())),
            None => None,
        };
        let is_small = self.mtu()? < IPV6_MTU;
        let ipv6 = match given {
            Some((value, Some(_))) if is_small => {
                let why = format!("IPv6 needs an MTU of {IPV6_MTU} bytes at least");
                return Err(bad("--ipv6", value, why, "give a larger --mtu, or --ipv6 off"));
            }
            Some((_, prefix)) => prefix,
            None if is_small => None,
            None => Some(spec::Prefix::derived(&[domain.as_str(), given_subnet], 0)),
        };
        match (subnet, ipv6) {
            (None, None) if given.is_none() => Err(bad(
                "--subnet",
                given_subnet,
                format!("IPv6, which is all that this leaves, needs an MTU of {IPV6_MTU} bytes at least"),
                "give a larger --mtu",
            )),
            (None, None) => Err(bad(
                "--subnet",
                given_subnet,
                "without IPv6 this leaves no address at all",
                "leave out --subnet off or --ipv6 off",
            )),
            _ => Ok(Lan {
                subnet,
                ipv6,
                is_ours: true,
                loopback: self.loopback_addresses(),
            }),
        }
    }

    /// A NIC behind a hypervisor's socket may be any: an e1000 drops what is larger than 16 KiB, and some DHCP clients
    /// reset a NIC again and again that refuses what they were told.
    fn mtu(&self) -> Result<u16, Failure> {
        let sockets = [&self.qemu, &self.qemu_dgram, &self.vhost_user];
        let has_hypervisors = sockets.iter().any(|given| !given.is_empty());
        match &self.mtu {
            Some(value) => mtu(value),
            None if self.mode.is_bridged() => Ok(USUAL_MTU),
            None if has_hypervisors => Ok(USUAL_MTU),
            None => Ok(*MTU.end()),
        }
    }

    /// Where the API is served.
    pub(super) fn api(&self) -> Result<Option<PathBuf>, Failure> {
        let Some(value) = self.api.as_deref() else {
            return Ok(None);
        };
        if self
            .qemu
            .iter()
            .chain(&self.qemu_dgram)
            .any(|other| other == value)
        {
            let hint = "give each socket its own path";
            return Err(bad("--api", value, "the path is given twice", hint));
        }
        unix("--api", value).map(Some)
    }
}

pub(super) fn each<T>(
    values: &[String],
    read: impl Fn(&str) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    values.iter().map(|value| read(value)).collect()
}

pub(super) fn bad(argument: &str, value: &str, why: impl Display, hint: &str) -> Failure {
    Failure::usage(format!("{argument} {value}: {why}"), Some(hint.to_owned()))
}

/// A value whose type knows what is wrong with it and what helps.
pub(super) fn hinted<T: FromStr<Err: Display + Hint>>(argument: &str, value: &str) -> Result<T, Failure> {
    value.parse().map_err(|error: T::Err| {
        let hint = error.hint();
        Failure::usage(format!("{argument} {value}: {error}"), hint)
    })
}

fn mtu(value: &str) -> Result<u16, Failure> {
    let read = value.parse().ok().filter(|mtu| MTU.contains(mtu));
    read.ok_or_else(|| {
        let why = format!("an MTU is {} to {} bytes", MTU.start(), MTU.end());
        bad("--mtu", value, why, "1500 is what every link takes")
    })
}

/// The path behind `unix:`.
pub(crate) fn unix(argument: &str, value: &str) -> Result<PathBuf, Failure> {
    match value.strip_prefix("unix:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        _ => Err(bad(
            argument,
            value,
            "this is no unix socket",
            "write unix:PATH, as in unix:/tmp/net.sock",
        )),
    }
}

fn listeners(arguments: &NetworkArguments) -> Result<Vec<ListenSpec>, Failure> {
    let kinds = [
        ("--qemu", &arguments.qemu, Transport::Qemu),
        ("--qemu-dgram", &arguments.qemu_dgram, Transport::QemuDgram),
        ("--vhost-user", &arguments.vhost_user, Transport::VhostUser),
    ];
    let mut listeners: Vec<ListenSpec> = Vec::new();
    for (argument, values, transport) in kinds {
        for value in values {
            let path = unix(argument, value)?;
            if listeners.iter().any(|other| other.path == path) {
                return Err(bad(
                    argument,
                    value,
                    "the path is given twice",
                    "give each socket its own path",
                ));
            }
            listeners.push(ListenSpec {
                transport,
                path,
                label: None,
            });
        }
    }
    Ok(listeners)
}

/// The LAN's addresses, of one family at least where they are ours to give.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lan {
    pub(super) subnet: Option<spec::Subnet>,
    pub(super) ipv6: Option<spec::Prefix>,
    /// They are not those of the host's own LAN, of which nothing is known.
    pub(super) is_ours: bool,
    /// Where forwards to each guest are found that say no BIND, if each has an address for itself.
    pub(super) loopback: Option<Loopback>,
}

impl Lan {
    fn addresses(self) -> Addresses {
        Addresses {
            subnet: self.subnet.map(|subnet| Subnet {
                address: subnet.network(),
                prefix_len: subnet.prefix(),
            }),
            prefix: self.ipv6.map(|prefix| Prefix {
                address: prefix.network(),
            }),
        }
    }

    /// That a guest can have this address, which `value` of the argument has.
    pub(super) fn check_guest(self, argument: &str, value: &str, address: IpAddr) -> Result<(), Failure> {
        if !self.is_ours {
            return Ok(());
        }
        let why = match (address, self.subnet, self.ipv6) {
            (IpAddr::V4(address), Some(subnet), _) if subnet.contains(address) => subnet
                .reserved_for(address)
                .map(|use_| format!("{address} is the {use_}")),
            (IpAddr::V6(address), _, Some(prefix)) if prefix.contains(address) => prefix
                .reserved_for(address)
                .map(|use_| format!("{address} is the {use_}")),
            (IpAddr::V4(_), Some(subnet), _) => Some(format!("{address} is not in {subnet}")),
            (IpAddr::V6(_), _, Some(prefix)) => Some(format!("{address} is not in {prefix}")),
            (IpAddr::V4(_), None, _) => Some("this network has no IPv4".to_owned()),
            (IpAddr::V6(_), _, None) => Some("this network has no IPv6".to_owned()),
        };
        let hint = format!("guests are in {}", self.addresses());
        why.map_or(Ok(()), |why| Err(bad(argument, value, why, &hint)))
    }
}

/// The parts of `LEFT=ADDRESS`.
pub(super) fn assignment<'a>(
    argument: &str,
    value: &'a str,
    noun: &str,
    hint: &str,
) -> Result<(&'a str, IpAddr), Failure> {
    let (left, address) = value
        .split_once('=')
        .ok_or_else(|| bad(argument, value, format!("this is no {noun}"), hint))?;
    let address = address
        .parse()
        .map_err(|_| bad(argument, value, format!("{address:?} is no IP address"), hint))?;
    Ok((left, address))
}

/// An address more of what has one of each family at most.
pub(super) fn add(
    addresses: &mut spec::Addresses,
    (argument, value): (&str, &str),
    address: IpAddr,
) -> Result<(), Failure> {
    if addresses.add(address) {
        return Ok(());
    }
    let (family, other) = match address {
        IpAddr::V4(_) => ("IPv4", "IPv6"),
        IpAddr::V6(_) => ("IPv6", "IPv4"),
    };
    let why = format!("there is an {family} address already");
    let hint = format!("a second one can be of {other} only");
    Err(bad(argument, value, why, &hint))
}

/// One for each MAC address, whose addresses may be in two arguments.
fn leases(values: &[String], lan: Lan) -> Result<Vec<StaticLease>, Failure> {
    const ARGUMENT: &str = "--lease";
    const HINT: &str = "write MAC=ADDRESS, as in 52:54:00:12:34:56=10.77.0.5";
    let mut by_mac: BTreeMap<Mac, spec::Addresses> = BTreeMap::new();
    for value in values {
        let (mac, address) = assignment(ARGUMENT, value, "lease", HINT)?;
        let mac: spec::Mac = mac
            .parse()
            .map_err(|error: spec::MacError| bad(ARGUMENT, value, error, HINT))?;
        lan.check_guest(ARGUMENT, value, address)?;
        let addresses = by_mac.entry(Mac(mac.octets())).or_default();
        add(addresses, (ARGUMENT, value), address)?;
    }
    let leases = by_mac.into_iter().map(|(mac, addresses)| StaticLease {
        mac,
        address: addresses.v4,
        address6: addresses.v6,
        hostname: None,
    });
    Ok(leases.collect())
}

fn dns_hosts(values: &[String]) -> Result<BTreeMap<String, Vec<IpAddr>>, Failure> {
    const ARGUMENT: &str = "--dns-host";
    const HINT: &str = "write NAME=ADDRESS, as in registry=10.77.0.9";
    let mut hosts: BTreeMap<String, spec::Addresses> = BTreeMap::new();
    for value in values {
        let (name, address) = assignment(ARGUMENT, value, "name", HINT)?;
        let name: spec::Domain = name
            .parse()
            .map_err(|error: spec::NameError| bad(ARGUMENT, value, error, HINT))?;
        add(
            hosts.entry(name.to_string()).or_default(),
            (ARGUMENT, value),
            address,
        )?;
    }
    let hosts = hosts
        .into_iter()
        .map(|(name, addresses)| (name, addresses.iter().collect()));
    Ok(hosts.collect())
}

fn resolvers(values: &[String]) -> Result<Option<Vec<SocketAddr>>, Failure> {
    if values.is_empty() {
        return Ok(None);
    }
    let read = |value: &str| {
        parse_resolver(value).ok_or_else(|| {
            bad(
                "--dns",
                value,
                "this is no resolver's address",
                "write 1.1.1.1, 127.0.0.1:5353, [::1]:5353, or fe80::1%LINK with a link of this host",
            )
        })
    };
    each(values, read).map(Some)
}
