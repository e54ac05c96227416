//! Which uplink a network has, and how it is told of.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Where a network's guests are, in vmnet's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// On a network of its own, which reaches the world by sockets of the host. Needs no privilege.
    #[default]
    User,
    /// On the host's own LAN.
    Bridged,
    /// On a bridge of the host's, whose kernel translates for them.
    Shared,
    /// On a bridge of the host's, with the host and nobody else.
    Host,
}

impl From<Mode> for atoll_engine::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::User => Self::User,
            Mode::Bridged => Self::Bridged,
            Mode::Shared => Self::Shared,
            Mode::Host => Self::Host,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Bridged => "bridged",
            Self::Shared => "shared",
            Self::Host => "host",
        })
    }
}

/// How a bridged network comes to the LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Via {
    /// A TAP in a bridge that exists.
    Bridge,
    /// A TAP in a bridge that is made over a NIC, to which the NIC's addresses and routes move for as long as the network runs.
    NewBridge,
    /// A macvtap of the NIC for each guest.
    Macvtap,
    /// A TAP to which the host routes, answering ARP and neighbor discovery on the NIC in the guests' name: for LANs that drop MAC
    /// addresses they do not know (Wi-Fi, clouds).
    ProxyArp,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bridge => "bridge",
            Self::NewBridge => "new-bridge",
            Self::Macvtap => "macvtap",
            Self::ProxyArp => "proxy-arp",
        })
    }
}

/// The uplink of a network whose mode is not [`Mode::User`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UplinkSpec {
    /// [`Mode::Bridged`]. The network has no addresses of ours.
    Bridged {
        /// A NIC of the host's, or a bridge.
        interface: String,
        /// How; `None`: by the bridge where `interface` is one, else by macvtap.
        via: Option<Via>,
        /// Addresses that guests will have: what [`Via::ProxyArp`] answers for. Unused by the others.
        addresses: Vec<IpAddr>,
    },
    /// [`Mode::Shared`].
    Shared {
        /// What the network is called: the interface's name follows from it.
        network: String,
        /// The NIC by which guests go out; `None`: wherever the host's routes lead.
        outside: Option<String>,
    },
    /// [`Mode::Host`].
    Host {
        /// What the network is called: the interface's name follows from it.
        network: String,
    },
}

impl UplinkSpec {
    /// The mode of a network with this uplink.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::Bridged { .. } => Mode::Bridged,
            Self::Shared { .. } => Mode::Shared,
            Self::Host { .. } => Mode::Host,
        }
    }
}

/// The uplink of a network that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkInfo {
    /// How it comes to the LAN, where it is bridged.
    pub via: Option<Via>,
    /// The NIC or bridge that it was asked for, or the network's name.
    pub interface: String,
    /// Why nothing passes, if that is so.
    pub fault: Option<String>,
    /// The MAC address of the host's side.
    pub mac: Option<String>,
    /// The link-local address of the host's side.
    pub link_local: Option<Ipv6Addr>,
    /// Addresses of the host's side.
    pub host: Vec<IpAddr>,
    /// Largest IP packet of the LAN, in bytes.
    pub mtu: Option<u16>,
    /// The interfaces by which frames pass.
    pub taps: Vec<UplinkTap>,
}

/// One interface by which frames pass between guests and the host's side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkTap {
    /// Its name on the host.
    pub interface: String,
    /// The number of its port.
    pub port: u32,
    /// The guest's MAC address that it is for, if it is for one.
    pub guest: Option<String>,
}
