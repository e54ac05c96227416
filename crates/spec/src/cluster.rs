//! A cluster as the rest of Atoll sees it: every default filled in, every name resolved, every NIC with its addresses.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::addresses::Addresses;
use crate::automatic::AutoForward;
use crate::depend::Dependency;
use crate::dhcp_options::DhcpOptions;
use crate::forward::Forward;
use crate::hardware::{Accel, Arch, Attach, NicModel};
use crate::host_side::{HostPort, PortNumber, ProxyAddress};
use crate::image::{Image, SshKey, UserData};
use crate::lan::{InterfaceName, Mode, Via};
use crate::mac::Mac;
use crate::name::{Domain, Name};
use crate::net_boot::NetBoot;
use crate::outputs::Output;
use crate::policy::NetworkPolicy;
use crate::prefix::Prefix;
use crate::resolution::Resolution;
use crate::route::Route;
use crate::size::ByteSize;
use crate::subnet::Subnet;
use crate::time_server::TimeServer;

/// The machines and networks of one file.
///
/// It holds: names of machines and of networks are unique, every NIC's network exists, addresses and MACs are unique
/// and addresses lie inside their networks, every network that is not bridged has a subnet or a prefix, every NIC an address
/// of each family that its network has, no two forwards want one host port, no machines wait for each other, there is at least one machine. A bridged network
/// has an interface but neither subnet nor prefix; its LAN gives the addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cluster {
    /// Tells this cluster from others on the same host.
    pub name: Name,
    /// What the machines' names are in.
    pub domain: Domain,
    /// In the order of the file, at least one.
    pub networks: Vec<Network>,
    /// In the order of the file, at least one.
    pub machines: Vec<Machine>,
}

/// One L2 segment with its gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Network {
    /// Unique in the cluster.
    pub name: Name,
    /// What it is to the host's network.
    #[serde(default)]
    pub mode: Mode,
    /// The host's interface on the LAN; of a shared network the way out, if it is not the host's usual one.
    #[serde(default)]
    pub interface: Option<InterfaceName>,
    /// How a bridged network gets onto the LAN; `None` where that follows from what the interface is.
    #[serde(default)]
    pub via: Option<Via>,
    /// Its IPv4 addresses, if it has any; overlaps no other network's.
    pub subnet: Option<Subnet>,
    /// Its IPv6 addresses, if it has any; no other network's.
    #[serde(default)]
    pub ipv6: Option<Prefix>,
    /// Whether guests reach the host's loopback at [`Subnet::host_alias`] and [`Prefix::host_alias`].
    pub host_loopback: bool,
    /// Whether machines have addresses of the host's loopback for themselves.
    #[serde(default)]
    pub loopback: bool,
    /// Whether guests are kept from each other.
    pub isolate: bool,
    /// Whether frames of VLANs pass where they do not anyway.
    #[serde(default)]
    pub vlans: bool,
    /// The largest IP packet in bytes.
    pub mtu: u16,
    /// Servers to ask instead of the host's own; empty for the host's own.
    pub dns: Vec<SocketAddr>,
    /// What DNS does beside that.
    #[serde(default)]
    pub resolution: Resolution,
    /// Further names and their addresses.
    pub hosts: BTreeMap<Domain, Addresses>,
    /// Time servers to announce.
    pub ntp: Vec<IpAddr>,
    /// Whether the gateway is a time server.
    #[serde(default)]
    pub ntp_server: TimeServer,
    /// What DHCP tells guests beside what the network itself tells.
    #[serde(default)]
    pub dhcp_options: DhcpOptions,
    /// A folder whose files guests may read over TFTP, as written.
    #[serde(default)]
    pub tftp: Option<PathBuf>,
    /// What clients that boot from the network load.
    #[serde(default)]
    pub boot: NetBoot,
    /// Where the host listens for clients of the proxy that leads to guests.
    #[serde(default)]
    pub proxy: Vec<ProxyAddress>,
    /// Ports of the host's loopback at the host alias; each port of a protocol leads to one place, with those of `host_sockets`.
    #[serde(default)]
    pub host_ports: Vec<HostPort>,
    /// TCP ports of the host alias that lead to unix sockets of the host, by absolute paths.
    #[serde(default)]
    pub host_sockets: BTreeMap<PortNumber, PathBuf>,
    /// What guests may do.
    #[serde(default)]
    pub policy: NetworkPolicy,
    /// Networks that lie behind a machine; none two to one destination.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Other networks with whose machines those of this one may begin conversations; each once, and of mode user, as this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes_to: Vec<Name>,
}

/// One VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// Unique in the cluster.
    pub name: Name,
    /// What its disk starts as; there is an image or a kernel, or both.
    pub image: Option<Image>,
    /// Its processors' architecture.
    pub arch: Arch,
    /// How many processors, at least one.
    pub cpus: u16,
    /// Main memory, whole MiB.
    pub memory: ByteSize,
    /// The disk's size; `None` for the image's own.
    pub disk: Option<ByteSize>,
    /// In the order of the file.
    pub nics: Vec<Nic>,
    /// First-boot configuration.
    pub user_data: Option<UserData>,
    /// What references in that stand for, by name, as far as the file says; `None` where it is handed on as it is.
    #[serde(default)]
    pub template: Option<BTreeMap<String, String>>,
    /// What DHCP tells it, in place of what its networks tell all.
    #[serde(default)]
    pub dhcp_options: DhcpOptions,
    /// What it is started after; no machines wait for each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// What others are given of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<Name, Output>,
    /// How to log in.
    pub ssh: Ssh,
    /// Host ports that lead here.
    pub forwards: Vec<Forward>,
    /// Ports of the host that lead here as it listens at more or fewer of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub automatic: Vec<AutoForward>,
    /// Its own address of the host's loopback, where the network of [`Machine::served_nic`] gives one; no other machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loopback: Option<Ipv4Addr>,
    /// A firmware image in place of QEMU's own, as written.
    pub firmware: Option<PathBuf>,
    /// How QEMU runs it.
    pub accel: Accel,
    /// QEMU's machine type; `None` for the architecture's usual one.
    pub machine: Option<String>,
    /// What to start without a boot loader.
    pub boot: Option<Boot>,
    /// Further arguments for QEMU.
    pub qemu_args: Vec<String>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Nic {
    /// The network it is on, by name.
    pub network: Name,
    /// What the guest sees.
    pub model: NicModel,
    /// How its frames reach the network.
    #[serde(default)]
    pub attach: Attach,
    /// Unique in the cluster.
    pub mac: Mac,
    /// Unique in its network, given to the guest by DHCP; absent where the network has no IPv4 or is bridged, unless the file says it.
    pub address: Option<Ipv4Addr>,
    /// Unique in its network, given to the guest by DHCPv6, and unless the file says otherwise what the guest makes of its MAC;
    /// absent where the network has no IPv6.
    #[serde(default)]
    pub address6: Option<Ipv6Addr>,
}

impl Network {
    /// Where the network's own services answer its guests: at the gateway, or at the last address where the first one is the
    /// host's; over IPv4 where it has that. On a bridged network at the one address that no LAN has.
    pub fn services(&self) -> Option<IpAddr> {
        /// Instances of clouds ask it for their documents.
        const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
        let (subnet, prefix) = (self.subnet, self.ipv6);
        match self.mode {
            Mode::User => subnet
                .map(|subnet| subnet.gateway().into())
                .or_else(|| Some(prefix?.gateway().into())),
            Mode::Shared | Mode::Host => subnet
                .map(|subnet| subnet.host_alias().into())
                .or_else(|| Some(prefix?.host_alias().into())),
            Mode::Bridged => Some(METADATA),
        }
    }
}

impl Machine {
    /// The NIC by which the host reaches it and its documents are served: the first one that goes through a network's switch.
    pub fn served_nic(&self) -> Option<&Nic> {
        served_nic(&self.nics)
    }
}

/// See [`Machine::served_nic`].
pub(crate) fn served_nic(nics: &[Nic]) -> Option<&Nic> {
    nics.iter().find(|nic| !nic.attach.is_direct())
}

impl Nic {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let (v4, v6) = (self.address, self.address6);
        Addresses { v4, v6 }.iter()
    }
}

/// How to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ssh {
    /// `None` for the image's own user.
    pub user: Option<String>,
    /// Keys that may log in besides Atoll's own.
    pub keys: Vec<SshKey>,
}

/// A kernel started directly. Paths are as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Boot {
    /// The kernel image.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Its command line; empty when there is none.
    pub append: String,
}

/// One NIC with the machine it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment<'a> {
    /// The machine.
    pub machine: &'a Name,
    /// The NIC's place in the machine's list.
    pub index: usize,
    /// The NIC, with its network, MAC and address.
    pub nic: &'a Nic,
}

impl Cluster {
    /// The network of this name.
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks.iter().find(|network| network.name.as_str() == name)
    }

    /// The machine of this name.
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name.as_str() == name)
    }

    /// Every NIC of every machine: which addresses are whose.
    pub fn assignments(&self) -> impl Iterator<Item = Assignment<'_>> {
        self.machines.iter().flat_map(|machine| {
            let nics = machine.nics.iter().enumerate();
            nics.map(|(index, nic)| Assignment {
                machine: &machine.name,
                index,
                nic,
            })
        })
    }
}
