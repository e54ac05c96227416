//! What a network is started with.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use atoll_engine::{
    Addresses, Config, DhcpOptions, DnsOptions, Documents, ForwardTarget, NetBoot, Policy, StaticLease,
    StaticRoute, TimeServer,
};
use atoll_wire::Mac;
use serde::{Deserialize, Serialize};

use crate::ListenAt;
use crate::junction::{JoinSpec, Junction};
use crate::uplink::{Mode, UplinkSpec};

/// A network and all that it opens before [`Network::start`](crate::Network::start) returns.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Addresses of the LAN, of one family or both; gateway and host alias follow from them. None where the network is bridged.
    pub addresses: Addresses,
    /// How it comes to the host's LAN or kernel; `None`: not at all, the network is one of its own ([`Mode::User`]).
    pub uplink: Option<UplinkSpec>,
    /// Ways by guests into other networks, told by DHCP option 121 and router advertisements; at most
    /// [`ROUTES_MAX`](NetworkOptions::ROUTES_MAX).
    pub routes: Vec<StaticRoute>,
    /// Other networks to which the gateway routes, by way of `junction`.
    pub joined: Vec<JoinSpec>,
    /// Where it meets them, and its own name there.
    pub junction: Option<(Junction, String)>,
    /// The gateway's MAC address; `None` for the usual one.
    pub gateway_mac: Option<Mac>,
    /// Largest IP packet on the LAN, in bytes.
    pub mtu: u16,
    /// Guests reach the host's loopback at the host alias.
    pub host_loopback: bool,
    /// Guests see the gateway only, not each other.
    pub isolate: bool,
    /// Domain of the network's own names.
    pub domain: String,
    /// Configured names and their addresses.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses that belong to one MAC address for good.
    pub static_leases: Vec<StaticLease>,
    /// NTP servers for guests.
    pub ntp: Vec<Ipv4Addr>,
    /// How long a dynamic lease lasts.
    pub lease_time: Duration,
    /// Resolvers to ask; `None` follows the host's own configuration as it changes.
    pub resolvers: Option<Vec<SocketAddr>>,
    /// NoCloud documents by the label of the port that may read them.
    pub documents: BTreeMap<String, Documents>,
    /// Sockets at which guests attach.
    pub listeners: Vec<ListenSpec>,
    /// Host ports that lead to guests.
    pub forwards: Vec<ForwardSpec>,
    /// Host ports that lead to guests as these listen.
    pub automatic: Vec<AutomaticSpec>,
    /// File to which every frame that passes the switch is written, in pcapng.
    pub pcap: Option<PathBuf>,
    /// Folder in which leases are kept; `None` keeps nothing.
    pub state_dir: Option<PathBuf>,
    /// Networks that this process runs: they share its descriptors.
    pub networks: NonZeroU32,
    /// Where the host listens for clients of the proxy, which speaks SOCKS 5 and HTTP and leads to guests; port 0 lets the host choose.
    pub proxies: Vec<SocketAddr>,
    /// Ports of the host alias at which guests reach the host, whether or not they reach all of its loopback.
    pub host_ports: Vec<HostPortSpec>,
    /// NTP servers for guests that speak IPv6.
    pub ntp6: Vec<Ipv6Addr>,
    /// What guests are told by DHCP beside what the network itself tells, or in its place.
    pub dhcp_options: DhcpOptions,
    /// The same for single guests, in place of what all are told.
    pub dhcp_options_of: BTreeMap<Mac, DhcpOptions>,
    /// The folder whose files guests may read over TFTP; the gateway is no such server without it.
    pub tftp: Option<PathBuf>,
    /// What clients that boot from the network are told.
    pub net_boot: NetBoot,
    /// Whether the gateway hands on the host's time, and says so to guests that are told of no other server.
    pub time_server: TimeServer,
    /// What DNS does beside answering and asking.
    pub dns: DnsOptions,
    /// What guests may do.
    pub policy: Policy,
}

impl NetworkOptions {
    /// Routes that guests can be told of: what fits DHCP's option 121 and a router advertisement.
    pub const ROUTES_MAX: usize = 16;

    /// Where the network's guests are.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.uplink.as_ref().map_or(Mode::User, UplinkSpec::mode)
    }

    /// A network with these addresses and every default: no listener, no forward, the host's resolvers, nothing kept.
    #[must_use]
    pub fn new(addresses: impl Into<Addresses>) -> Self {
        let addresses = addresses.into();
        let config = Config::new(addresses);
        Self {
            addresses,
            uplink: None,
            routes: Vec::new(),
            joined: Vec::new(),
            junction: None,
            gateway_mac: None,
            mtu: config.mtu,
            host_loopback: false,
            isolate: false,
            domain: config.domain,
            names: BTreeMap::new(),
            static_leases: Vec::new(),
            ntp: Vec::new(),
            lease_time: config.lease_time,
            resolvers: None,
            documents: BTreeMap::new(),
            listeners: Vec::new(),
            forwards: Vec::new(),
            automatic: Vec::new(),
            pcap: None,
            state_dir: None,
            networks: NonZeroU32::MIN,
            proxies: Vec::new(),
            host_ports: Vec::new(),
            ntp6: Vec::new(),
            dhcp_options: DhcpOptions::default(),
            dhcp_options_of: BTreeMap::new(),
            tftp: None,
            net_boot: NetBoot::default(),
            time_server: TimeServer::default(),
            dns: DnsOptions::default(),
            policy: Policy::default(),
        }
    }
}

/// A port of the host alias that leads to the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPortSpec {
    /// The port at the alias.
    pub port: u16,
    /// Where it leads.
    pub to: HostSide,
}

/// Where a port of the host alias leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostSide {
    /// A TCP port of the host's loopback.
    Tcp(u16),
    /// A UDP port of the host's loopback.
    Udp(u16),
    /// A unix socket of the host's, which guests reach by TCP.
    Socket(PathBuf),
}

/// How guests attach at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// QEMU's `-netdev stream`: any number of connections, frames after a 4-byte length.
    Qemu,
    /// QEMU's `-netdev dgram` and vfkit's unixgram: one frame a datagram, guests told apart by their socket's path.
    QemuDgram,
    /// vhost-user: any number of front ends, frames in the guests' own memory. Linux only.
    VhostUser,
}

/// A unix socket at which guests attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSpec {
    /// What is spoken there.
    pub transport: Transport,
    /// Where the socket file is.
    pub path: PathBuf,
    /// Which machine attaches there, when it is only one.
    pub label: Option<String>,
}

/// What a forward carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP connections.
    Tcp,
    /// UDP datagrams.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// The guest to which a forward leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum GuestTarget {
    /// An address of the network.
    Address(IpAddr),
    /// A guest by its MAC address, at an address that it was heard to have.
    #[serde(with = "mac_text")]
    Mac(Mac),
    /// A name of the network, looked up at every connection. Of a bridged network: the label of a guest's port, or the host name of a
    /// static lease.
    Name(String),
    /// Several guests: connections go to each in turn, and past those that do not answer.
    OneOf(Vec<Self>),
}

impl From<GuestTarget> for ForwardTarget {
    fn from(target: GuestTarget) -> Self {
        match target {
            GuestTarget::Address(address) => Self::Address(address),
            GuestTarget::Mac(mac) => Self::Mac(mac),
            GuestTarget::Name(name) => Self::Name(name),
            GuestTarget::OneOf(several) => Self::OneOf(several.into_iter().map(Self::from).collect()),
        }
    }
}

/// A MAC address as people write it.
mod mac_text {
    use atoll_wire::Mac;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(mac: &Mac, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(mac)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mac, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for GuestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::OneOf(several) => {
                for (count, one) in several.iter().enumerate() {
                    let comma = if count > 0 { "," } else { "" };
                    write!(f, "{comma}{one}")?;
                }
                Ok(())
            }
        }
    }
}

/// One host port that leads to one port of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ForwardSpec {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where to listen on the host; port 0 lets the host choose. A unix socket is for TCP.
    pub listen: ListenAt,
    /// Which guest.
    pub guest: GuestTarget,
    /// Which port of the guest.
    pub guest_port: u16,
    /// What it does beside leading there.
    #[serde(default)]
    pub manner: Manner,
}

/// Host ports that appear and go as a guest listens at more or fewer of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AutomaticSpec {
    /// Which guest.
    pub guest: GuestTarget,
    /// Where to listen on the host, at each of them.
    pub addresses: Vec<IpAddr>,
    /// What alone is carried; `None` for all.
    pub protocol: Option<Protocol>,
    /// Ports of the guest that are left out.
    pub except: Vec<RangeInclusive<u16>>,
    /// As in [`Manner`].
    pub keep_source: bool,
}

/// What a forward does beside leading to its guest: nothing, unless it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Manner {
    /// Where the host does not let this user listen at the port, or somebody else does, listen [`RENUMBERED_BY`](Manner::RENUMBERED_BY)
    /// ports higher.
    #[serde(default, skip_serializing_if = "is_false")]
    pub renumber: bool,
    /// The guest sees its clients' own addresses, where it can answer them: those that are not the network's or this host's loopback,
    /// and of the guest's family.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_source: bool,
}

impl Manner {
    /// How many ports higher a forward is found whose own number is not to be had.
    pub const RENUMBERED_BY: u16 = 10_000;
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
