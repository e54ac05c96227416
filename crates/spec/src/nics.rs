//! The NICs of a cluster: each on a network, with a MAC and an address that no other has.
//!
//! Two passes, so that what the file gives is never taken by what is derived: the first one resolves networks and checks
//! the given values against each other, the second one derives the rest in the order of the file.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use crate::assign::{take_address, take_mac};
use crate::check::PlacedMachine;
use crate::cluster::Nic;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::file::NicFile;
use crate::mac::Mac;
use crate::name::Name;
use crate::networks::PlacedNetwork;
use crate::read::Spot;
use crate::text::nearest;

/// A hint lists at most that many networks.
const LISTED: usize = 16;

/// A NIC whose network is known.
struct Draft<'a> {
    machine: &'a Spot<Name>,
    index: usize,
    file: &'a NicFile,
    /// The network's place in the cluster's list.
    network: usize,
}

struct Plan<'a> {
    cluster: &'a Name,
    networks: &'a [PlacedNetwork],
    /// Whether names of networks may be missing because they could not be read.
    networks_wrong: bool,
    macs: HashMap<Mac, (&'a Name, Span)>,
    addresses: HashMap<(usize, Ipv4Addr), (&'a Name, Span)>,
}

/// The NICs of each machine, in the order of the file. Where something was reported they are not complete.
pub(crate) fn assign(
    cluster: &Name,
    networks: &[PlacedNetwork],
    networks_wrong: bool,
    machines: &[PlacedMachine],
    report: &mut Report,
) -> Vec<Vec<Nic>> {
    let (macs, addresses) = (HashMap::new(), HashMap::new());
    let mut plan = Plan {
        cluster,
        networks,
        networks_wrong,
        macs,
        addresses,
    };
    let mut drafts = Vec::new();
    for machine in machines {
        drafts.push(plan.draft(machine, report));
    }
    for draft in drafts.iter().flatten() {
        plan.check_mac(draft, report);
        plan.check_address(draft, report);
    }
    plan.derive(&drafts, report)
}

impl<'a> Plan<'a> {
    fn draft(&self, machine: &'a PlacedMachine, report: &mut Report) -> Vec<Draft<'a>> {
        let given = machine.file.nics.as_deref().unwrap_or(&[NicFile::EMPTY]);
        let mut drafts = Vec::new();
        for (index, file) in given.iter().enumerate() {
            if let Some(network) = self.find_network(&machine.name, file, report) {
                drafts.push(Draft {
                    machine: &machine.name,
                    index,
                    file,
                    network,
                });
            }
        }
        drafts
    }

    fn find_network(&self, machine: &Spot<Name>, nic: &NicFile, report: &mut Report) -> Option<usize> {
        let names = || self.networks.iter().map(|placed| placed.network.name.as_str());
        let known = || names().take(LISTED).collect::<Vec<_>>().join(", ");
        let Some(name) = &nic.network else {
            if self.networks.len() != 1 && !nic.wrong && !self.networks_wrong {
                let title = format!(
                    "a NIC of machine {:?} does not say its network",
                    machine.value.as_str()
                );
                let hint = format!("there are several, so choose one of: {}", known());
                let span = nic.span.clone().unwrap_or(machine.span.clone());
                report.push(Diagnostic::new(title, span).with_hint(hint));
            }
            return (self.networks.len() == 1).then_some(0);
        };
        let found = names().position(|known| known == name.value.as_str());
        if found.is_none() && !self.networks_wrong {
            let (machine, network) = (machine.value.as_str(), name.value.as_str());
            let title = format!(
                "a NIC of machine {machine:?} is on network {network:?}, which the file does not have"
            );
            let hint = match nearest(network, names()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("networks are: {}", known()),
            };
            report.push(
                Diagnostic::new(title, name.span.clone())
                    .label("unknown network")
                    .with_hint(hint),
            );
        }
        found
    }

    fn check_mac(&mut self, draft: &Draft<'a>, report: &mut Report) {
        let Some(mac) = &draft.file.mac else { return };
        let place = (&draft.machine.value, mac.span.clone());
        if let Some(first) = self.macs.get(&mac.value) {
            report.push(clash(&format!("the MAC {}", mac.value), first, &place));
        } else {
            self.macs.insert(mac.value, place);
        }
    }

    fn check_address(&mut self, draft: &Draft<'a>, report: &mut Report) {
        let Some(address) = &draft.file.address else {
            return;
        };
        let place = (&draft.machine.value, address.span.clone());
        let placed = &self.networks[draft.network];
        if !placed.wrong {
            report_unusable(placed, draft, address, report);
        }
        let key = (draft.network, address.value);
        if let Some(first) = self.addresses.get(&key) {
            report.push(clash(&format!("the address {}", address.value), first, &place));
        } else {
            self.addresses.insert(key, place);
        }
    }

    fn derive(&self, drafts: &[Vec<Draft<'_>>], report: &mut Report) -> Vec<Vec<Nic>> {
        let mut macs: HashSet<Mac> = self.macs.keys().copied().collect();
        let mut taken = self.taken_addresses();
        let mut machines = Vec::new();
        for drafts in drafts {
            let mut nics = Vec::new();
            for draft in drafts {
                nics.extend(self.derive_nic(draft, &mut macs, &mut taken[draft.network], report));
            }
            machines.push(nics);
        }
        machines
    }

    /// What is not free on each network: given to a NIC, or the address of a further name.
    fn taken_addresses(&self) -> Vec<HashSet<Ipv4Addr>> {
        let networks = self.networks.iter();
        let mut taken: Vec<HashSet<_>> = networks
            .map(|placed| placed.network.hosts.values().copied().collect())
            .collect();
        for (network, address) in self.addresses.keys() {
            taken[*network].insert(*address);
        }
        taken
    }

    fn derive_nic(
        &self,
        draft: &Draft<'_>,
        macs: &mut HashSet<Mac>,
        addresses: &mut HashSet<Ipv4Addr>,
        report: &mut Report,
    ) -> Option<Nic> {
        let network = &self.networks[draft.network].network;
        let (name, index) = (&draft.machine.value, draft.index);
        let given = draft.file.mac.as_ref().map(|mac| mac.value);
        let mac = given.or_else(|| take_mac(self.cluster, name, index, macs));
        let given = draft.file.address.as_ref().map(|address| address.value);
        let address = given.or_else(|| take_address(network.subnet, name, index, addresses));
        if address.is_none() {
            let title = format!(
                "machine {:?} gets no address on network {:?}: {} has room for {} guests",
                name.as_str(),
                network.name.as_str(),
                network.subnet,
                network.subnet.guest_count()
            );
            let diagnostic = Diagnostic::new(title, draft.machine.span.clone());
            report.push(diagnostic.with_hint("give the network a larger subnet".to_owned()));
        }
        let model = draft.file.model.unwrap_or_default();
        Some(Nic {
            network: network.name.clone(),
            model,
            mac: mac?,
            address: address?,
        })
    }
}

/// Reports a given address that no guest of the network can have.
fn report_unusable(placed: &PlacedNetwork, draft: &Draft<'_>, address: &Spot<Ipv4Addr>, report: &mut Report) {
    let (network, subnet) = (placed.network.name.as_str(), placed.network.subnet);
    let machine = draft.machine.value.as_str();
    let problem = if !subnet.contains(address.value) {
        format!("is outside network {network:?}, {subnet}")
    } else if let Some(owner) = subnet.reserved_for(address.value) {
        format!("is the {owner} of network {network:?}")
    } else {
        return;
    };
    let title = format!("address {} of machine {machine:?} {problem}", address.value);
    let first = Ipv4Addr::from_bits(subnet.gateway().to_bits() + 1);
    let last = Ipv4Addr::from_bits(subnet.host_alias().to_bits() - 1);
    let hint = format!("machines can have {first} to {last}");
    report.push(Diagnostic::new(title, address.span.clone()).with_hint(hint));
}

fn clash(what: &str, first: &(&Name, Span), second: &(&Name, Span)) -> Diagnostic {
    let (a, b) = (first.0.as_str(), second.0.as_str());
    let title = if a == b {
        format!("machine {a:?} has {what} twice")
    } else {
        format!("machines {a:?} and {b:?} both have {what}")
    };
    let label = |name: &str| format!("NIC of {name:?}");
    Diagnostic::new(title, second.1.clone())
        .label(label(b))
        .and(first.1.clone(), label(a))
}
