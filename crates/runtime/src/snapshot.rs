//! A picture of a running network, for people and programs: owned, serializable, free of the engine's types.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{GuestTarget, HostPortSpec, LinkInfo, ListenAt, Manner, Mode, Protocol, Transport, UplinkInfo};

/// The whole picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSnapshot {
    /// Where its guests are.
    #[serde(default)]
    pub mode: Mode,
    /// How it comes to the host's LAN or kernel, unless the mode is `user`.
    #[serde(default)]
    pub uplink: Option<UplinkInfo>,
    /// The host's own link to it, if there is one.
    #[serde(default)]
    pub link: Option<LinkInfo>,
    /// The LAN, as `10.77.0.0/24`, if it has IPv4.
    pub subnet: Option<String>,
    /// The gateway's IPv4 address: where the network's services are.
    pub gateway: Option<Ipv4Addr>,
    /// The IPv4 address that stands for the host, or is its.
    pub host_alias: Option<Ipv4Addr>,
    /// The LAN, as `fd77:77::/64`, if it has IPv6.
    #[serde(default)]
    pub ipv6: Option<String>,
    /// The gateway's IPv6 address.
    #[serde(default)]
    pub gateway6: Option<Ipv6Addr>,
    /// The IPv6 address that stands for the host.
    #[serde(default)]
    pub host_alias6: Option<Ipv6Addr>,
    /// The network's own domain.
    pub domain: String,
    /// Largest IP packet, in bytes.
    pub mtu: u16,
    /// Resolvers that are asked.
    pub resolvers: Vec<SocketAddr>,
    /// Sockets at which guests attach.
    pub listeners: Vec<ListenerInfo>,
    /// Host ports that lead to guests.
    pub forwards: Vec<ForwardInfo>,
    /// Where clients of the proxy connect.
    #[serde(default)]
    pub proxies: Vec<SocketAddr>,
    /// Ports of the host alias that lead to the host.
    #[serde(default)]
    pub host_ports: Vec<HostPortSpec>,
    /// Guests that are attached.
    pub ports: Vec<PortInfo>,
    /// Dynamic leases, IPv4 first.
    pub leases: Vec<LeaseInfo>,
    /// Names that DNS answers.
    pub names: Vec<NameInfo>,
    /// Open flows.
    pub flows: Vec<FlowInfo>,
    /// What was counted since the start, by name.
    pub counters: BTreeMap<String, u64>,
}

/// A socket at which guests attach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerInfo {
    /// What is spoken there.
    pub transport: Transport,
    /// Where the socket file is.
    pub path: PathBuf,
    /// Which machine attaches there, when it is only one.
    pub label: Option<String>,
}

/// Names a forward for as long as the network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ForwardId(pub u32);

/// A host port that leads to a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardInfo {
    /// Its name.
    pub id: ForwardId,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where the host listens, with the port that the host chose when none was given.
    pub listen: ListenAt,
    /// Which guest.
    pub guest: GuestTarget,
    /// Which port of the guest.
    pub guest_port: u16,
    /// What it does beside leading there.
    #[serde(flatten)]
    pub manner: Manner,
    /// The host's port that was asked for, where `listen` is another since that one was not to be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted_port: Option<u16>,
    /// It appeared by itself, and goes when the guest listens there no more.
    #[serde(default)]
    pub automatic: bool,
}

/// A guest that is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortInfo {
    /// A number never used for another guest of this run.
    pub id: u32,
    /// Which machine it is, when that is known.
    pub label: Option<String>,
    /// Where it attached: the listener's path, and for datagrams its own path after it.
    pub endpoint: String,
    /// It leads to the host's LAN, or to the host, and not to a guest.
    #[serde(default)]
    pub uplink: bool,
    /// MAC addresses seen from it.
    pub macs: Vec<String>,
    /// IP addresses seen from it; none where it is an uplink.
    pub addresses: Vec<IpAddr>,
    /// Frames that came from it.
    pub rx_frames: u64,
    /// Bytes that came from it.
    pub rx_bytes: u64,
    /// Frames it took.
    pub tx_frames: u64,
    /// Bytes it took.
    pub tx_bytes: u64,
    /// Frames lost because its queue was full.
    pub tx_dropped: u64,
    /// Frames that wait for it now.
    pub queued: usize,
    /// What its guest may not have, so many times.
    #[serde(default)]
    pub denied: u64,
    /// Frames in another's name.
    #[serde(default)]
    pub spoofed: u64,
    /// Frames and flows over its limits.
    #[serde(default)]
    pub limited: u64,
}

/// A dynamic lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// Whose it is.
    pub mac: String,
    /// The address.
    pub address: IpAddr,
    /// The name the guest gave.
    pub hostname: Option<String>,
    /// Seconds until it expires.
    pub remaining_secs: u64,
}

/// A name that DNS answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameInfo {
    /// The name, without the domain when it lies in it.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// An open flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowInfo {
    /// A number never used for another flow of this run.
    pub id: u64,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: String,
    /// The guest's side.
    pub guest: SocketAddr,
    /// The other side as the guest sees it.
    pub host: SocketAddr,
    /// Where it stands, in RFC words.
    pub state: String,
}
