//! The arguments that say what a network is.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use atoll_control::runtime::{
    ForwardSpec, GuestTarget, ListenSpec, Mac, NetworkOptions, Protocol, StaticLease, Transport,
};
use atoll_control::spec::{self, Hint};
use clap::Args;

use super::once;
use crate::failure::Failure;

/// The smallest MTU every IPv4 link has (RFC 1122, 3.3.2), and the largest that fits a frame.
const MTU: std::ops::RangeInclusive<u16> = 576..=65520;

/// Ethernet's, which every NIC takes.
const USUAL_MTU: u16 = 1500;

/// What a network is.
#[derive(Debug, Args)]
pub(crate) struct NetworkArguments {
    /// The LAN: the gateway is its first host address, the host alias its last one, guests get the rest.
    #[arg(long, value_name = "NETWORK/PREFIX", default_value = "10.77.0.0/24")]
    subnet: String,

    /// IPv6 on the LAN. Only `off` is offered.
    #[arg(long, value_name = "off")]
    ipv6: Option<String>,

    /// Socket for QEMU's `-netdev stream`. Any number of guests; repeatable.
    #[arg(long, value_name = "unix:PATH")]
    qemu: Vec<String>,

    /// Socket for QEMU's `-netdev dgram` and vfkit's unixgram. Any number of guests; repeatable.
    #[arg(long, value_name = "unix:PATH")]
    qemu_dgram: Vec<String>,

    /// Lead a host port to a guest's address or name; tcp when no protocol is given; ranges like 9000-9010. Repeatable.
    #[arg(long, value_name = "[BIND:]PORT:GUEST:PORT[/PROTOCOL]")]
    forward: Vec<String>,

    /// Guests reach the host's loopback at the host alias; without this they do not.
    #[arg(long)]
    host_loopback: bool,

    /// Give a guest its address for good, as in 52:54:00:12:34:56=10.77.0.5. Repeatable.
    #[arg(long, value_name = "MAC=ADDRESS")]
    lease: Vec<String>,

    /// Resolver to ask instead of the host's own. Repeatable.
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    dns: Vec<String>,

    /// Answer a name with an address, as in registry=10.77.0.9. Repeatable.
    #[arg(long, value_name = "NAME=ADDRESS")]
    dns_host: Vec<String>,

    /// Domain of the network's own names.
    #[arg(long, value_name = "NAME", default_value = "atoll.internal")]
    domain: String,

    /// Largest IP packet on the LAN, in bytes; guests learn it by DHCP. When left out: 1500, which every NIC takes, or 65520 where
    /// no hypervisor can attach. With virtio NICs only, 65520 is faster.
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
}

impl NetworkArguments {
    /// The arguments, understood.
    pub(super) fn options(&self) -> Result<NetworkOptions, Failure> {
        self.options_for(None)
    }

    /// The same for a network with one guest that is known by this name: `--forward` may leave it out.
    pub(super) fn options_for(&self, guest: Option<&str>) -> Result<NetworkOptions, Failure> {
        if let Some(value) = self.ipv6.as_deref().filter(|value| *value != "off") {
            let sentence = format!("--ipv6 {value}: IPv6 is not offered yet");
            return Err(Failure::usage(
                sentence,
                Some("leave it out, or write --ipv6 off".to_owned()),
            ));
        }
        let subnet: spec::Subnet = hinted("--subnet", &self.subnet)?;
        let mut options = NetworkOptions::new(atoll_control::runtime::Subnet {
            address: subnet.network(),
            prefix_len: subnet.prefix(),
        });
        options.mtu = self.mtu()?;
        options.host_loopback = self.host_loopback;
        options.isolate = self.isolate;
        options.domain = hinted::<spec::Domain>("--domain", &self.domain)?.to_string();
        options.names = dns_hosts(&self.dns_host)?;
        options.static_leases = each(&self.lease, |value| lease(value, subnet))?;
        options.resolvers = resolvers(&self.dns)?;
        options.listeners = listeners(self)?;
        options.forwards = each(&self.forward, |value| forwards(value, subnet, guest))?.concat();
        options.pcap.clone_from(&self.pcap);
        options.state_dir.clone_from(&self.state);
        once::check(&options)?;
        Ok(options)
    }

    /// A NIC behind a hypervisor's socket may be any: an e1000 drops what is larger than 16 KiB, and some DHCP clients
    /// reset a NIC again and again that refuses what they were told.
    fn mtu(&self) -> Result<u16, Failure> {
        let has_hypervisors = !(self.qemu.is_empty() && self.qemu_dgram.is_empty());
        match &self.mtu {
            Some(value) => mtu(value),
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

fn each<T>(values: &[String], read: impl Fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
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
pub(super) fn unix(argument: &str, value: &str) -> Result<PathBuf, Failure> {
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

/// An IPv4 address that a guest can have.
fn guest_address(
    argument: &str,
    value: &str,
    address: Ipv4Addr,
    subnet: spec::Subnet,
) -> Result<Ipv4Addr, Failure> {
    let hint = format!("guests are in {subnet}");
    if !subnet.contains(address) {
        return Err(bad(
            argument,
            value,
            format!("{address} is not in {subnet}"),
            &hint,
        ));
    }
    match subnet.reserved_for(address) {
        Some(use_) => Err(bad(argument, value, format!("{address} is the {use_}"), &hint)),
        None => Ok(address),
    }
}

fn lease(value: &str, subnet: spec::Subnet) -> Result<StaticLease, Failure> {
    let syntax = |why: String| {
        bad(
            "--lease",
            value,
            why,
            "write MAC=ADDRESS, as in 52:54:00:12:34:56=10.77.0.5",
        )
    };
    let (mac, address) = value
        .split_once('=')
        .ok_or_else(|| syntax("this is no lease".to_owned()))?;
    let mac: spec::Mac = mac
        .parse()
        .map_err(|error: spec::MacError| syntax(error.to_string()))?;
    let address = address
        .parse()
        .map_err(|_| syntax(format!("{address:?} is no IPv4 address")))?;
    Ok(StaticLease {
        mac: Mac(mac.octets()),
        address: Some(guest_address("--lease", value, address, subnet)?),
        address6: None,
        hostname: None,
    })
}

fn dns_hosts(values: &[String]) -> Result<BTreeMap<String, Vec<IpAddr>>, Failure> {
    let hosts = each(values, |value| {
        let syntax = |why: String| {
            bad(
                "--dns-host",
                value,
                why,
                "write NAME=ADDRESS, as in registry=10.77.0.9",
            )
        };
        let (name, address) = value
            .split_once('=')
            .ok_or_else(|| syntax("this is no name".to_owned()))?;
        let name: spec::Domain = name
            .parse()
            .map_err(|error: spec::NameError| syntax(error.to_string()))?;
        let address: Ipv4Addr = address
            .parse()
            .map_err(|_| syntax(format!("{address:?} is no IPv4 address")))?;
        Ok((name.to_string(), vec![address.into()]))
    })?;
    Ok(hosts.into_iter().collect())
}

fn resolvers(values: &[String]) -> Result<Option<Vec<SocketAddr>>, Failure> {
    if values.is_empty() {
        return Ok(None);
    }
    let read = |value: &str| {
        let with_port = value.parse::<SocketAddr>().ok();
        with_port
            .or_else(|| Some(SocketAddr::new(value.parse::<IpAddr>().ok()?, 53)))
            .filter(|address| address.port() != 0 && !address.ip().is_unspecified())
            .ok_or_else(|| {
                bad(
                    "--dns",
                    value,
                    "this is no resolver's address",
                    "write 1.1.1.1 or 127.0.0.1:5353",
                )
            })
    };
    each(values, read).map(Some)
}

/// One forward for each port of a range.
fn forwards(value: &str, subnet: spec::Subnet, guest: Option<&str>) -> Result<Vec<ForwardSpec>, Failure> {
    if let (Some(guest), Ok(forward)) = (guest, value.parse::<spec::Forward>()) {
        return Ok(pairs(&forward, &GuestTarget::Name(guest.to_owned())));
    }
    let read: spec::GuestForward = hinted("--forward", value)?;
    let guest = match read.guest {
        spec::Guest::Name(name) => GuestTarget::Name(name.to_string()),
        spec::Guest::Address(IpAddr::V4(address)) => {
            GuestTarget::Address(guest_address("--forward", value, address, subnet)?)
        }
        spec::Guest::Address(IpAddr::V6(_)) => {
            return Err(bad(
                "--forward",
                value,
                "guests have no IPv6 addresses yet",
                "use the guest's IPv4 address",
            ));
        }
    };
    Ok(pairs(&read.forward, &guest))
}

fn pairs(forward: &spec::Forward, guest: &GuestTarget) -> Vec<ForwardSpec> {
    let protocol = match forward.protocol() {
        spec::Protocol::Tcp => Protocol::Tcp,
        spec::Protocol::Udp => Protocol::Udp,
    };
    forward
        .pairs()
        .map(|(host_port, guest_port)| ForwardSpec {
            protocol,
            listen: SocketAddr::new(forward.bind(), host_port),
            guest: guest.clone(),
            guest_port,
        })
        .collect()
}
