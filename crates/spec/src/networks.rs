//! The networks of a cluster: each gets a subnet of its own.

use std::collections::BTreeMap;

use crate::cluster::{Network, Nic};
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::file::NetworkFile;
use crate::name::{Domain, Name};
use crate::read::{ByName, Spot};
use crate::subnet::Subnet;

/// What every NIC takes: Ethernet's usual one.
const USUAL_MTU: u16 = 1500;

/// What virtio takes and a network of ours carries, a multiple of 8 (the unit of IPv4 fragments).
const LARGE_MTU: u16 = 65520;

/// A network, and where the file speaks of it.
#[derive(Debug)]
pub(crate) struct PlacedNetwork {
    pub(crate) network: Network,
    /// Whether part of it could not be read.
    pub(crate) wrong: bool,
    pub(crate) hosts: Vec<(Domain, Span)>,
    /// Whether the file leaves its MTU to us.
    mtu_is_free: bool,
}

impl PlacedNetwork {
    /// The network, once it is known who is on it: as large packets as all of them take. A NIC other than virtio may refuse
    /// large ones while its guest believes what DHCP says.
    pub(crate) fn finish<'a>(mut self, mut nics: impl Iterator<Item = &'a Nic>) -> Network {
        let name = &self.network.name;
        if self.mtu_is_free && nics.all(|nic| nic.network != *name || nic.model.is_virtio()) {
            self.network.mtu = LARGE_MTU;
        }
        self.network
    }
}

/// The networks of the file, or the default one where it has none.
pub(crate) fn resolve(given: Option<ByName<NetworkFile>>, report: &mut Report) -> Vec<PlacedNetwork> {
    let given = given.map(|given| given.0).unwrap_or_default();
    if given.is_empty() {
        return vec![finish(
            Name::default_network(),
            NetworkFile::default(),
            Subnet::default_nth(0),
        )];
    }
    check_overlaps(&given, report);
    let mut taken: Vec<Subnet> = given
        .iter()
        .filter_map(|(_, file)| Some(file.subnet.as_ref()?.value))
        .collect();
    let mut placed = Vec::new();
    for (name, file) in given {
        let given = file.subnet.as_ref().map(|subnet| subnet.value);
        let Some(subnet) = given.or_else(|| free_subnet(&taken)) else {
            let title = format!(
                "network {:?} needs a subnet: 10.77.0.0/16 is full",
                name.value.as_str()
            );
            report.push(Diagnostic::new(title, name.span));
            continue;
        };
        taken.push(subnet);
        placed.push(finish(name.value, file, subnet));
    }
    placed
}

/// The first of 10.77.0.0/24, 10.77.1.0/24 and so on that overlaps nothing taken.
fn free_subnet(taken: &[Subnet]) -> Option<Subnet> {
    let mut candidates = (0..=u8::MAX).map(Subnet::default_nth);
    candidates.find(|candidate| !taken.iter().any(|known| known.overlaps(*candidate)))
}

fn check_overlaps(networks: &[(Spot<Name>, NetworkFile)], report: &mut Report) {
    let range = |subnet: Subnet| format!("{} to {}", subnet.network(), subnet.broadcast());
    let mut seen: Vec<(&Name, &Spot<Subnet>)> = Vec::new();
    for (name, file) in networks {
        let Some(subnet) = &file.subnet else { continue };
        if let Some((other, first)) = seen.iter().find(|(_, known)| known.value.overlaps(subnet.value)) {
            let title = format!(
                "networks {:?} and {:?} overlap",
                other.as_str(),
                name.value.as_str()
            );
            report.push(
                Diagnostic::new(title, subnet.span.clone())
                    .label(range(subnet.value))
                    .and(first.span.clone(), range(first.value)),
            );
        }
        seen.push((&name.value, subnet));
    }
}

fn finish(name: Name, file: NetworkFile, subnet: Subnet) -> PlacedNetwork {
    let hosts = file.hosts.map(|hosts| hosts.0).unwrap_or_default();
    let mtu_is_free = file.mtu.is_none();
    let addresses: BTreeMap<_, _> = hosts
        .iter()
        .map(|(host, address)| (host.value.clone(), address.0))
        .collect();
    let network = Network {
        name,
        subnet,
        host_loopback: file.host_loopback.unwrap_or(false),
        isolate: file.isolate.unwrap_or(false),
        mtu: file.mtu.map_or(USUAL_MTU, |mtu| mtu.0),
        dns: file
            .dns
            .unwrap_or_default()
            .into_iter()
            .map(|server| server.0)
            .collect(),
        hosts: addresses,
        ntp: file.ntp.unwrap_or_default(),
    };
    let hosts = hosts
        .into_iter()
        .map(|(host, _)| (host.value, host.span))
        .collect();
    PlacedNetwork {
        network,
        wrong: file.wrong,
        hosts,
        mtu_is_free,
    }
}
