//! The networks of a cluster: each gets a subnet and an IPv6 prefix of its own.

use std::collections::BTreeMap;

use crate::cluster::{Network, Nic};
use crate::dhcp_options;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::file::{NetworkFile, RouteFile};
use crate::host_side::ProxyAddress;
use crate::host_ways;
use crate::lan::Mode;
use crate::modes;
use crate::name::{Domain, Name};
use crate::prefix::Prefix;
use crate::read::{ByName, Spot};
use crate::resolution::{DnsFile, Resolution};
use crate::route::Route;
use crate::subnet::Subnet;

/// What every NIC takes: Ethernet's usual one.
const USUAL_MTU: u16 = 1500;

/// What virtio takes and a network of ours carries, a multiple of 8 (the unit of IPv4 fragments).
const LARGE_MTU: u16 = 65520;

/// What every link of IPv6 carries (RFC 8200, section 5).
const IPV6_MTU: u16 = 1280;

/// A network, and where the file speaks of it.
#[derive(Debug)]
pub(crate) struct PlacedNetwork {
    pub(crate) network: Network,
    /// Whether part of it could not be read.
    pub(crate) wrong: bool,
    pub(crate) hosts: Vec<(Domain, Span)>,
    /// As the file has them: who leads where is known once every machine has its addresses.
    pub(crate) routes: Vec<RouteFile>,
    /// Networks to which it routes.
    pub(crate) routes_to: Vec<Spot<Name>>,
    /// Whether the file leaves its MTU to us.
    mtu_is_free: bool,
    /// What it says of DNS, but for the servers.
    pub(crate) dns: DnsFile,
    /// Where its proxy listens.
    pub(crate) proxies: Vec<Spot<ProxyAddress>>,
    /// Machines of which its policy speaks.
    pub(crate) policy_machines: Vec<Spot<Name>>,
}

impl PlacedNetwork {
    /// The network, once it is known who is on it: as large packets as all of them take. A NIC other than virtio may refuse
    /// large ones while its guest believes what DHCP says, and the host's own networks carry no larger ones than Ethernet's.
    pub(crate) fn finish<'a>(
        mut self,
        mut nics: impl Iterator<Item = &'a Nic>,
        routes: Vec<Route>,
    ) -> Network {
        self.network.routes = routes;
        self.network.resolution = self.dns.finish();
        let name = &self.network.name;
        if self.mtu_is_free
            && !self.network.mode.is_of_the_host()
            && nics.all(|nic| nic.network != *name || nic.model.is_virtio())
        {
            self.network.mtu = LARGE_MTU;
        }
        self.network
    }
}

/// The networks of the file, or the default one where it has none.
pub(crate) fn resolve(
    cluster: &Name,
    given: Option<ByName<NetworkFile>>,
    report: &mut Report,
) -> Vec<PlacedNetwork> {
    let mut given = given.map(|given| given.0).unwrap_or_default();
    if given.is_empty() {
        let name = Spot {
            value: Name::default_network(),
            span: 0..0,
        };
        given.push((name, NetworkFile::default()));
    }
    check_overlaps(&given, report);
    modes::check_bridges(&given, report);
    let mut taken = Taken::by(&given);
    let mut placed = Vec::new();
    for (name, file) in given {
        check_families(&name, &file, report);
        modes::check(&name, &file, report);
        host_ways::check_alias(&file, report);
        let Ok(subnet) = taken.subnet_for(&file) else {
            let title = format!(
                "network {:?} needs a subnet: 10.77.0.0/16 is full",
                name.value.as_str()
            );
            report.push(Diagnostic::new(title, name.span));
            continue;
        };
        let ipv6 = taken.prefix_for(cluster, &name.value, &file);
        placed.push(finish(name.value, file, subnet, ipv6));
    }
    placed
}

/// What networks have, so that no other gets it.
struct Taken {
    subnets: Vec<Subnet>,
    prefixes: Vec<Prefix>,
}

/// There is no subnet left.
struct Full;

impl Taken {
    /// What the file gives.
    fn by(networks: &[(Spot<Name>, NetworkFile)]) -> Self {
        let files = || networks.iter().map(|(_, file)| file);
        Self {
            subnets: files()
                .filter_map(|file| file.subnet.as_ref()?.value.on())
                .collect(),
            prefixes: files()
                .filter_map(|file| file.ipv6.as_ref()?.value.on())
                .collect(),
        }
    }

    /// What the file says, or the first of 10.77.0.0/24, 10.77.1.0/24 and so on that overlaps nothing taken. A LAN has its own.
    fn subnet_for(&mut self, file: &NetworkFile) -> Result<Option<Subnet>, Full> {
        if modes::mode(file) == Mode::Bridged {
            return Ok(None);
        }
        if let Some(given) = &file.subnet {
            return Ok(given.value.on());
        }
        let mut candidates = (0..=u8::MAX).map(Subnet::default_nth);
        let is_free = |candidate: &Subnet| !self.subnets.iter().any(|known| known.overlaps(*candidate));
        let subnet = candidates.find(is_free).ok_or(Full)?;
        self.subnets.push(subnet);
        Ok(Some(subnet))
    }

    /// What the file says, or one that follows from the names; none where packets are too small for IPv6, or where
    /// the LAN has its own.
    fn prefix_for(&mut self, cluster: &Name, name: &Name, file: &NetworkFile) -> Option<Prefix> {
        if modes::mode(file) == Mode::Bridged {
            return None;
        }
        if let Some(given) = &file.ipv6 {
            return given.value.on();
        }
        if file.mtu.as_ref().is_some_and(|mtu| mtu.value.0 < IPV6_MTU) {
            return None;
        }
        let mut candidates =
            (0..).map(|attempt| Prefix::derived(&[cluster.as_str(), name.as_str()], attempt));
        let prefix = candidates.find(|candidate| !self.prefixes.contains(candidate))?;
        self.prefixes.push(prefix);
        Some(prefix)
    }
}

/// A network has IPv4, IPv6 or both, and packets that are large enough.
fn check_families(name: &Spot<Name>, file: &NetworkFile, report: &mut Report) {
    let name = name.value.as_str();
    let (subnet, ipv6) = (file.subnet.as_ref(), file.ipv6.as_ref());
    if let (Some(subnet), Some(ipv6)) = (subnet, ipv6)
        && (subnet.value.on().is_none() && ipv6.value.on().is_none())
    {
        let title = format!("network {name:?} has neither IPv4 nor IPv6");
        report.push(
            Diagnostic::new(title, ipv6.span.clone())
                .and(subnet.span.clone(), "off as well")
                .with_hint("leave one of them out".to_owned()),
        );
    }
    if let (Some(ipv6), Some(mtu)) = (ipv6, &file.mtu)
        && (ipv6.value.on().is_some() && mtu.value.0 < IPV6_MTU)
    {
        let title = format!("the mtu of network {name:?} is too small for IPv6");
        report.push(
            Diagnostic::new(title, mtu.span.clone())
                .and(ipv6.span.clone(), "IPv6 is wanted here")
                .with_hint(format!("IPv6 needs {IPV6_MTU} bytes")),
        );
    }
}

fn check_overlaps(networks: &[(Spot<Name>, NetworkFile)], report: &mut Report) {
    let mut subnets: Vec<(&Name, Subnet, &Span)> = Vec::new();
    let mut prefixes: Vec<(&Name, Prefix, &Span)> = Vec::new();
    let subnet_range = |subnet: Subnet| format!("{} to {}", subnet.network(), subnet.broadcast());
    for (name, file) in networks {
        let name = &name.value;
        if let Some(Spot { value, span }) = &file.subnet
            && let Some(subnet) = value.on()
        {
            let other = subnets.iter().find(|(_, known, _)| known.overlaps(subnet));
            if let Some((other, known, first)) = other {
                let ranges = [subnet_range(*known), subnet_range(subnet)];
                report.push(overlap([(other, first), (name, span)], ranges));
            }
            subnets.push((name, subnet, span));
        }
        if let Some(Spot { value, span }) = &file.ipv6
            && let Some(prefix) = value.on()
        {
            if let Some((other, known, first)) = prefixes.iter().find(|(_, known, _)| *known == prefix) {
                let ranges = [known.to_string(), prefix.to_string()];
                report.push(overlap([(other, first), (name, span)], ranges));
            }
            prefixes.push((name, prefix, span));
        }
    }
}

fn overlap([first, second]: [(&Name, &Span); 2], ranges: [String; 2]) -> Diagnostic {
    let title = format!(
        "networks {:?} and {:?} overlap",
        first.0.as_str(),
        second.0.as_str()
    );
    let [first_range, second_range] = ranges;
    Diagnostic::new(title, second.1.clone())
        .label(second_range)
        .and(first.1.clone(), first_range)
}

fn finish(name: Name, file: NetworkFile, subnet: Option<Subnet>, ipv6: Option<Prefix>) -> PlacedNetwork {
    let mode = modes::mode(&file);
    let hosts = file.hosts.map(|hosts| hosts.0).unwrap_or_default();
    let mtu_is_free = file.mtu.is_none();
    let (policy, policy_machines) = file.policy.unwrap_or_default().finish();
    let dns = file.dns.unwrap_or_default();
    let proxies = file.proxy.map(|proxies| proxies.0).unwrap_or_default();
    let routes_to = file.routes_to.map(|networks| networks.0).unwrap_or_default();
    let host_ports = file.host_ports.map(|ports| ports.0).unwrap_or_default();
    let host_sockets = file.host_sockets.unwrap_or_default().0;
    let addresses: BTreeMap<_, _> = hosts
        .iter()
        .map(|(host, address)| (host.value.clone(), address.0))
        .collect();
    let network = Network {
        name,
        mode,
        interface: file.interface.map(|interface| interface.value),
        via: file.via.map(|via| via.value),
        subnet,
        ipv6,
        host_loopback: file.host_loopback.unwrap_or(false),
        loopback: file.loopback.unwrap_or(false),
        isolate: file.isolate.unwrap_or(false),
        vlans: file.vlans.unwrap_or(false),
        mtu: file.mtu.map_or(USUAL_MTU, |mtu| mtu.value.0),
        dns: dns.servers.iter().map(|server| server.0).collect(),
        resolution: Resolution::default(),
        hosts: addresses,
        ntp: file.ntp.unwrap_or_default(),
        ntp_server: file.ntp_server.unwrap_or_default(),
        tftp: file.tftp,
        boot: file.boot.unwrap_or_default().finish(),
        dhcp_options: dhcp_options::finish(file.dhcp_options, file.dhcp6_options),
        proxy: proxies.iter().map(|proxy| proxy.value).collect(),
        host_ports: host_ports.into_iter().map(|port| port.value).collect(),
        host_sockets: host_sockets
            .into_iter()
            .map(|(port, path)| (port.value, path.0))
            .collect(),
        policy,
        routes: Vec::new(),
        routes_to: routes_to.iter().map(|to| to.value.clone()).collect(),
    };
    let hosts = hosts
        .into_iter()
        .map(|(host, _)| (host.value, host.span))
        .collect();
    PlacedNetwork {
        network,
        wrong: file.wrong,
        hosts,
        routes: file.routes.unwrap_or_default(),
        routes_to,
        mtu_is_free,
        dns,
        proxies,
        policy_machines,
    }
}
