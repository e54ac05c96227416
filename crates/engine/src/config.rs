//! What a network is made from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use atoll_wire::Mac;
use bytes::Bytes;

use crate::lan::METADATA;
use crate::policy::Policy;
use crate::{DhcpOptions, JoinId, NetBoot, TimeServer};

/// An IPv4 subnet: its network address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Subnet {
    /// Network address; host bits are zero.
    pub address: Ipv4Addr,
    /// 8 to 29.
    pub prefix_len: u8,
}

impl Subnet {
    /// In place of a subnet where there is no IPv4: it holds no address for a guest.
    pub(crate) const NONE: Self = Self {
        address: Ipv4Addr::UNSPECIFIED,
        prefix_len: 32,
    };

    /// The netmask, such as 255.255.255.0.
    #[must_use]
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(self.prefix_len)).unwrap_or(0))
    }

    /// The directed broadcast address.
    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        self.address | !self.netmask()
    }

    /// Whether `address` lies in the subnet, network and broadcast address included.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address & self.netmask() == self.address
    }

    /// Whether a guest may have `address`: any but the first two and the last two.
    pub(crate) fn is_for_guests(self, address: Ipv4Addr) -> bool {
        let host = address.to_bits() ^ self.address.to_bits();
        let last = !self.netmask().to_bits();
        host > 1 && host < last.saturating_sub(1)
    }

    /// First host address: the gateway.
    #[must_use]
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits().saturating_add(1))
    }

    /// Last host address (`.254` in a /24): the host alias.
    #[must_use]
    pub fn host_alias(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.broadcast().to_bits().saturating_sub(1))
    }
}

/// An IPv6 prefix of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The prefix; its last 64 bits are zero.
    pub address: Ipv6Addr,
}

impl Prefix {
    /// How many bits the prefix has: what stateless autoconfiguration needs (RFC 4862, 5.5.3).
    pub const LEN: u8 = 64;

    /// Whether `address` lies in the prefix.
    #[must_use]
    pub fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() >> 64 == self.address.to_bits() >> 64
    }

    /// The gateway: `::1` behind the prefix.
    #[must_use]
    pub fn gateway(self) -> Ipv6Addr {
        self.with(1)
    }

    /// The host alias: `::fe` behind the prefix.
    #[must_use]
    pub fn host_alias(self) -> Ipv6Addr {
        self.with(0xfe)
    }

    /// The address with this interface identifier.
    #[must_use]
    pub fn with(self, identifier: u64) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address.to_bits() | u128::from(identifier))
    }
}

/// The addresses of a network: of one family, or of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// Those of IPv4.
    pub subnet: Option<Subnet>,
    /// Those of IPv6.
    pub prefix: Option<Prefix>,
}

impl Addresses {
    /// The gateway's address of the same family as `like`, if the network has that family.
    #[must_use]
    pub fn gateway(&self, like: IpAddr) -> Option<IpAddr> {
        match like {
            IpAddr::V4(_) => self.subnet.map(|subnet| subnet.gateway().into()),
            IpAddr::V6(_) => self.prefix.map(|prefix| prefix.gateway().into()),
        }
    }

    /// The host alias of the same family as `like`, if the network has that family.
    #[must_use]
    pub fn host_alias(&self, like: IpAddr) -> Option<IpAddr> {
        match like {
            IpAddr::V4(_) => self.subnet.map(|subnet| subnet.host_alias().into()),
            IpAddr::V6(_) => self.prefix.map(|prefix| prefix.host_alias().into()),
        }
    }

    /// Whether `address` lies in the subnet or has the prefix.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.subnet.is_some_and(|subnet| subnet.contains(address)),
            IpAddr::V6(address) => self.prefix.is_some_and(|prefix| prefix.contains(address)),
        }
    }
}

impl From<Subnet> for Addresses {
    fn from(subnet: Subnet) -> Self {
        let subnet = Some(subnet);
        Self { subnet, prefix: None }
    }
}

impl From<Prefix> for Addresses {
    fn from(prefix: Prefix) -> Self {
        let prefix = Some(prefix);
        Self { subnet: None, prefix }
    }
}

impl From<(Subnet, Prefix)> for Addresses {
    fn from((subnet, prefix): (Subnet, Prefix)) -> Self {
        let (subnet, prefix) = (Some(subnet), Some(prefix));
        Self { subnet, prefix }
    }
}

/// As people write it: `10.77.0.0/24`, `fd77:77::/64`, or both with "and" between them.
impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Subnet { address, prefix_len }) = self.subnet {
            write!(f, "{address}/{prefix_len}")?;
        }
        if let Some(Prefix { address }) = self.prefix {
            let and = if self.subnet.is_some() { " and " } else { "" };
            write!(f, "{and}{address}/{}", Prefix::LEN)?;
        }
        if *self == Self::default() {
            f.write_str("a network without addresses")?;
        }
        Ok(())
    }
}

/// Where a network's guests are, in vmnet's words. `docs/theory/lan.md` tells what the gateway does in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// On a network of its own, whose gateway translates to host sockets. No port leads anywhere but to guests.
    #[default]
    User,
    /// On the host's own LAN, to which uplink ports lead. The gateway has no address there and is seen by guests alone.
    Bridged,
    /// On a bridge of the host's, whose kernel is the first address and the router. Services are at the last address.
    Shared,
    /// The same without a router: the host and the guests only.
    Host,
    /// On a link of the host's, whose kernel routes single addresses of a LAN there and answers for them on it (proxy ARP). Subnet and
    /// prefix are the LAN's; who has an address has it by static lease. Services are at 169.254.169.254 and the link-local address.
    Routed,
}

impl Mode {
    /// The address at which the network's services are: the first one, or the last where the first is the kernel's.
    #[must_use]
    pub fn services4(self, subnet: Subnet) -> Ipv4Addr {
        match self {
            Self::User | Self::Bridged => subnet.gateway(),
            Self::Shared | Self::Host => subnet.host_alias(),
            Self::Routed => METADATA,
        }
    }

    /// The same of IPv6: `::1`, or `::fe`; the link-local address where none of the prefix is ours.
    #[must_use]
    pub fn services6(self, prefix: Prefix) -> Ipv6Addr {
        match self {
            Self::User | Self::Bridged => prefix.gateway(),
            Self::Shared | Self::Host => prefix.host_alias(),
            Self::Routed => self.link_local(),
        }
    }

    /// The gateway's link-local address (RFC 4291, 2.5.6), the same on every network of the mode. Where others may be routers it is
    /// not `fe80::1`, which home routers have.
    pub(crate) fn link_local(self) -> Ipv6Addr {
        match self {
            Self::User => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
            Self::Bridged | Self::Shared | Self::Host | Self::Routed => {
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe)
            }
        }
    }
}

impl StaticRoute {
    /// Whether `address` is one of the destinations.
    pub(crate) fn leads_to(&self, address: IpAddr) -> bool {
        let host_bits = |bits: u8| u32::from(bits.saturating_sub(self.prefix_len));
        match (self.to, address) {
            (IpAddr::V4(to), IpAddr::V4(address)) => {
                let differing = to.to_bits() ^ address.to_bits();
                differing.checked_shr(host_bits(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(to), IpAddr::V6(address)) => {
                let differing = to.to_bits() ^ address.to_bits();
                differing.checked_shr(host_bits(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// A route that guests are told of: packets for these addresses go by way of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StaticRoute {
    /// First address of the destinations; host bits are zero.
    pub to: IpAddr,
    /// How many bits all destinations share: at most 32 or 128.
    pub prefix_len: u8,
    /// The guest that knows the way: an address of the network, of the same family.
    pub via: IpAddr,
}

/// Another network, to which the gateway routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedNetwork {
    /// What it is called here.
    pub join: JoinId,
    /// Its addresses, of which this network has none.
    pub addresses: Addresses,
    /// Whether guests here may begin conversations with guests there.
    pub begins_there: bool,
    /// Whether guests there may begin conversations with guests here.
    pub begins_here: bool,
    /// Guests that are on both networks, by their MAC addresses here. They know the way, so they are not told of it.
    pub on_both: Vec<Mac>,
}

/// A network. Gateway and host alias follow from the subnet and the prefix, of which at least one is there; a bridged network has neither.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where its guests are.
    pub mode: Mode,
    /// Where the mode is [`Mode::Bridged`]: each MAC address of a guest has an uplink of its own, asked for by
    /// [`Action::OpenUplink`](crate::Action::OpenUplink).
    pub pinned_uplinks: bool,
    /// Where the mode is [`Mode::Routed`]: the host's own address on the LAN, which is the guests' router of IPv4.
    pub router: Option<Ipv4Addr>,
    /// Ways by guests into other networks, told by DHCP option 121 and router advertisements.
    pub routes: Vec<StaticRoute>,
    /// Other networks to which the gateway routes. Guests are told of them by the same means; those of a network that is on both with some
    /// guest by DHCP alone.
    pub joined: Vec<JoinedNetwork>,
    /// IPv4 addresses of the LAN; without them nothing of IPv4 is answered. Unused where the network is bridged.
    pub subnet: Option<Subnet>,
    /// IPv6 addresses of the LAN; without them nothing of IPv6 is answered. Unused where the network is bridged.
    pub ipv6: Option<Prefix>,
    /// The MAC address of gateway and host alias.
    pub gateway_mac: Mac,
    /// Largest IP packet on the LAN, in bytes; told to guests by DHCP. 576 to 65520.
    pub mtu: u16,
    /// Guests reach the host's loopback at the host alias.
    pub host_loopback: bool,
    /// Guests see the gateway only, not each other.
    pub isolate: bool,
    /// Domain of the network's own names, without a dot at either end; we are authoritative for it.
    pub domain: String,
    /// Configured names (relative to `domain`, or absolute when they hold a dot) and their addresses.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// Addresses that belong to one MAC address for good.
    pub static_leases: Vec<StaticLease>,
    /// Leases that an earlier run gave, to be kept.
    pub leases: Vec<Lease>,
    /// Leases of IPv6 that an earlier run gave, to be kept.
    pub leases6: Vec<Lease6>,
    /// NTP servers named by DHCP option 42; none when empty.
    pub ntp: Vec<Ipv4Addr>,
    /// NTP servers named by DHCPv6 options 31 and 56; none when empty.
    pub ntp6: Vec<Ipv6Addr>,
    /// Whether the gateway is a TFTP server: the runtime has a folder for it.
    pub tftp: bool,
    /// What clients that boot from the network are told.
    pub net_boot: NetBoot,
    /// Whether the gateway is a time server. It is announced where it is and no other is named, of either family.
    pub time_server: TimeServer,
    /// What guests are told by DHCP beside what the network itself tells, or in its place.
    pub dhcp_options: DhcpOptions,
    /// The same for single guests, in place of what all are told.
    pub dhcp_options_of: BTreeMap<Mac, DhcpOptions>,
    /// How long a dynamic lease lasts.
    pub lease_time: Duration,
    /// The host's resolvers, in order of preference.
    pub resolvers: Vec<SocketAddr>,
    /// How names that are not the network's own are answered, and which of its own there are.
    pub dns: DnsOptions,
    /// NoCloud documents by the label of the port that may read them.
    pub documents: BTreeMap<String, Documents>,
    /// Bounds of every table that a guest can fill.
    pub limits: Limits,
    /// Ports of the host alias that lead to the host, with or without `host_loopback` and whatever the rules of `policy` say; each once.
    pub host_ports: Vec<HostPort>,
    /// What guests may do.
    pub policy: Policy,
}

impl Config {
    /// A network with these addresses (a [`Subnet`], a [`Prefix`] or both) and every default: nothing configured, MTU 1500,
    /// leases of one hour.
    #[must_use]
    pub fn new(addresses: impl Into<Addresses>) -> Self {
        let Addresses { subnet, prefix } = addresses.into();
        Self {
            mode: Mode::User,
            pinned_uplinks: false,
            router: None,
            routes: Vec::new(),
            joined: Vec::new(),
            subnet,
            ipv6: prefix,
            gateway_mac: Mac([0x52, 0x55, 0x0a, 0x4d, 0x00, 0x01]),
            mtu: 1500,
            host_loopback: false,
            isolate: false,
            domain: "atoll.internal".to_owned(),
            names: BTreeMap::new(),
            static_leases: Vec::new(),
            leases: Vec::new(),
            leases6: Vec::new(),
            ntp: Vec::new(),
            ntp6: Vec::new(),
            tftp: false,
            net_boot: NetBoot::default(),
            time_server: TimeServer::default(),
            dhcp_options: DhcpOptions::default(),
            dhcp_options_of: BTreeMap::new(),
            lease_time: Duration::from_secs(3600),
            resolvers: Vec::new(),
            dns: DnsOptions::default(),
            documents: BTreeMap::new(),
            limits: Limits::default(),
            host_ports: Vec::new(),
            policy: Policy::default(),
        }
    }

    /// The addresses of both families; none where the network is bridged, whatever was given.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        if self.mode == Mode::Bridged {
            return Addresses::default();
        }
        Addresses {
            subnet: self.subnet,
            prefix: self.ipv6,
        }
    }

    /// Whether guests are told of the gateway's own time server: where it is on, and they are told of no other.
    pub(crate) fn announces_time(&self) -> bool {
        self.time_server != TimeServer::Off && self.ntp.is_empty() && self.ntp6.is_empty()
    }

    /// The default router of IPv4, where there is one.
    #[must_use]
    pub fn router4(&self) -> Option<Ipv4Addr> {
        match self.mode {
            Mode::User | Mode::Shared => self.subnet.map(Subnet::gateway),
            Mode::Bridged | Mode::Host => None,
            Mode::Routed => self.router,
        }
    }
}

/// A port of the host alias that leads to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPort {
    /// TCP.
    Tcp {
        /// The port at the alias.
        port: u16,
        /// Where it leads.
        to: HostTarget,
    },
    /// UDP.
    Udp {
        /// The port at the alias.
        port: u16,
        /// The port of the host's loopback; two ports of the alias cannot share one.
        to: u16,
    },
}

/// Where a port of the host alias leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostTarget {
    /// A port of the host's loopback.
    Port(u16),
    /// A service of the runtime's, which knows it by this number.
    Service(u32),
}

/// What DNS does beside answering and asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsOptions {
    /// Answers of resolvers to keep for as long as they say, in messages; none when zero.
    pub cache: usize,
    /// Names below a machine's name, or below a configured one of the domain, have its addresses: `shop.web.DOMAIN`
    /// those of `web.DOMAIN`.
    pub wildcards: bool,
    /// Answers of resolvers that name private addresses, or the network's own, are kept from guests (DNS rebinding).
    pub rebind_protection: bool,
    /// Resolvers for the names below a suffix, and for the suffix, in place of all others; the longest suffix counts.
    pub suffixes: BTreeMap<String, Vec<SocketAddr>>,
    /// Services that SRV records tell of (RFC 2782), by name: `_ssh._tcp` for the network's domain, `_ssh._tcp.web` for a name, which is
    /// relative to the domain unless it holds a dot.
    pub services: BTreeMap<String, Vec<ServiceTarget>>,
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceTarget {
    /// A host name, relative to the domain unless it holds a dot.
    pub host: String,
    /// The port there.
    pub port: u16,
}

impl Default for DnsOptions {
    /// A small cache, and nothing that an application could be surprised by.
    fn default() -> Self {
        Self {
            cache: 1024,
            wildcards: false,
            rebind_protection: false,
            suffixes: BTreeMap::new(),
            services: BTreeMap::new(),
        }
    }
}

/// An address that belongs to one MAC address for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticLease {
    /// Whose it is.
    pub mac: Mac,
    /// The IPv4 address; anywhere in the subnet but on gateway, host alias, network and broadcast address.
    pub address: Option<Ipv4Addr>,
    /// The IPv6 address; anywhere in the prefix but on gateway and host alias. `None`: the one that goes with the IPv4
    /// address (10.77.0.10 in 10.77.0.0/24: `::10` behind the prefix), from when the client asks for it.
    pub address6: Option<Ipv6Addr>,
    /// Name told to the guest (DHCP option 12, DHCPv6 option 39) and answered by DNS; a single label.
    pub hostname: Option<String>,
}

/// A dynamic lease, as it is kept across restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub mac: Mac,
    /// The address.
    pub address: Ipv4Addr,
    /// The name the client gave (DHCP option 12), if it was a valid one.
    pub hostname: Option<String>,
    /// Time left when this was written or read.
    pub remaining: Duration,
}

/// A dynamic lease of IPv6, as it is kept across restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease6 {
    /// Whose it is.
    pub mac: Mac,
    /// For which of its identity associations (RFC 8415 section 12).
    pub iaid: u32,
    /// The address.
    pub address: Ipv6Addr,
    /// The name the client gave (DHCPv6 option 39), if it was a valid one.
    pub hostname: Option<String>,
    /// Time left when this was written or read.
    pub remaining: Duration,
}

/// The documents one machine may read over HTTP: path without leading slash (`meta-data`) to content.
pub type Documents = BTreeMap<String, Bytes>;

/// Bounds of every table that a guest can fill. At a bound the least recently used entry goes, and a counter says so.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// MAC addresses that the switch remembers.
    pub mac_table: usize,
    /// Frames that wait for one port.
    pub egress_frames: usize,
    /// Bytes that wait for one port.
    pub egress_bytes: usize,
    /// Flows at a time, of all kinds together.
    pub flows: usize,
    /// Receive window of one TCP flow, in bytes: what a guest may have outstanding.
    pub tcp_window: u32,
    /// Bytes that all TCP flows of one port may hold for hosts that do not take them.
    pub held_bytes: usize,
    /// IP to MAC bindings that the gateway remembers.
    pub neighbors: usize,
    /// Dynamic leases.
    pub leases: usize,
    /// DNS questions under way at a time.
    pub dns_queries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mac_table: 8192,
            egress_frames: 8192,
            egress_bytes: 8 << 20,
            flows: 65_536,
            tcp_window: 1 << 20,
            held_bytes: 64 << 20,
            neighbors: 4096,
            leases: 65_536,
            dns_queries: 1024,
        }
    }
}
