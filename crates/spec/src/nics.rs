//! The NICs of a cluster: each on a network, with a MAC and an address that no other has.
//!
//! Two passes, so that what the file gives is never taken by what is derived: the first one resolves networks and checks
//! the given values against each other, the second one derives the rest in the order of the file.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::assign::{take_address, take_mac};
use crate::attach;
use crate::check::PlacedMachine;
use crate::choices::Kept;
use crate::cluster::{Network, Nic};
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::file::NicFile;
use crate::given;
use crate::hardware::Attach;
use crate::kept::{self, Had, Taken, Wanting};
use crate::lan::Mode;
use crate::mac::Mac;
use crate::name::Name;
use crate::networks::PlacedNetwork;
use crate::prefix::Prefix;
use crate::read::Spot;
use crate::subnet::Subnet;
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
    /// Whether its machine is in use; else it only keeps others from what is derived for it.
    is_used: bool,
}

impl Draft<'_> {
    /// Where the file speaks of it.
    fn span(&self) -> &Span {
        self.file.span.as_ref().unwrap_or(&self.machine.span)
    }
}

struct Plan<'a> {
    cluster: &'a Name,
    host: &'a str,
    kept: &'a [Kept],
    networks: &'a [PlacedNetwork],
    /// Whether names of networks may be missing because they could not be read.
    networks_wrong: bool,
    macs: HashMap<Mac, (&'a Name, Span)>,
    addresses: HashMap<(usize, IpAddr), (&'a Name, Span)>,
}

/// The NICs of each machine, in the order of the file. Where something was reported they are not complete.
pub(crate) fn assign(
    (cluster, host, kept): (&Name, &str, &[Kept]),
    networks: &[PlacedNetwork],
    networks_wrong: bool,
    machines: &[PlacedMachine],
    report: &mut Report,
) -> Vec<Vec<Nic>> {
    let (macs, addresses) = (HashMap::new(), HashMap::new());
    let mut plan = Plan {
        cluster,
        host,
        kept,
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
        plan.check_given(draft, report);
    }
    for draft in drafts.iter().flatten().filter(|draft| draft.is_used) {
        plan.check_mac(draft, report);
        plan.claim_given(draft, report);
    }
    plan.derive(&drafts, machines, report)
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
                    is_used: machine.is_used,
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

    fn check_given(&self, draft: &Draft<'a>, report: &mut Report) {
        let placed = &self.networks[draft.network];
        if !placed.wrong {
            given::check(&draft.machine.value, draft.span(), draft.file, placed, report);
        }
    }

    fn claim_given(&mut self, draft: &Draft<'a>, report: &mut Report) {
        let given = &draft.file.addresses;
        if let Some(address) = &given.v4 {
            self.claim(draft, IpAddr::V4(address.value), &address.span, report);
        }
        if let Some(address) = &given.v6 {
            self.claim(draft, IpAddr::V6(address.value), &address.span, report);
        }
    }

    /// Notes whose an address is; reports it when it is another's already.
    fn claim(&mut self, draft: &Draft<'a>, address: IpAddr, span: &Span, report: &mut Report) {
        let place = (&draft.machine.value, span.clone());
        let key = (draft.network, address);
        if let Some(first) = self.addresses.get(&key) {
            report.push(clash(&format!("the address {address}"), first, &place));
        } else {
            self.addresses.insert(key, place);
        }
    }

    /// Machines by themselves come before those of a count, and of these the first of each before the second, so that a higher count
    /// moves as few as can be; what was kept is not derived at all.
    fn derive(
        &mut self,
        drafts: &[Vec<Draft<'a>>],
        machines: &[PlacedMachine],
        report: &mut Report,
    ) -> Vec<Vec<Nic>> {
        let mut free = Taken {
            macs: drafts
                .iter()
                .flatten()
                .filter_map(|it| Some(it.file.mac.as_ref()?.value))
                .collect(),
            addresses: self.taken_addresses(drafts),
        };
        let kept = kept::find(self.kept, &self.wanting(drafts), &mut free);
        let mut order: Vec<usize> = (0..drafts.len()).collect();
        order.sort_by_key(|place| machines[*place].index);
        let mut derived = vec![Vec::new(); drafts.len()];
        for place in order {
            for draft in &drafts[place] {
                let kept = kept.get(&(draft.machine.value.as_str(), draft.index));
                let nic = self.derive_nic(draft, kept, &mut free, report);
                derived[place].extend(nic);
            }
        }
        derived
    }

    /// What NICs leave open.
    fn wanting(&self, drafts: &[Vec<Draft<'a>>]) -> Vec<Wanting<'a>> {
        let networks = self.networks;
        let wanting = drafts.iter().flatten().map(|draft| Wanting {
            machine: draft.machine.value.as_str(),
            index: draft.index,
            place: draft.network,
            network: &networks[draft.network].network,
            mac: draft.file.mac.is_none(),
            address: draft.file.addresses.v4.is_none(),
        });
        wanting.collect()
    }

    /// What is not free of IPv4 on each network: given to a NIC, or the address of a further name.
    fn taken_addresses(&self, drafts: &[Vec<Draft<'a>>]) -> Vec<HashSet<Ipv4Addr>> {
        let networks = self.networks.iter();
        let of_hosts = |placed: &PlacedNetwork| {
            let hosts = placed.network.hosts.values();
            hosts.filter_map(|addresses| addresses.v4).collect()
        };
        let mut taken: Vec<HashSet<_>> = networks.map(of_hosts).collect();
        for draft in drafts.iter().flatten() {
            if let Some(address) = &draft.file.addresses.v4 {
                taken[draft.network].insert(address.value);
            }
        }
        taken
    }

    fn derive_nic(
        &mut self,
        draft: &Draft<'a>,
        kept: Option<&Had>,
        free: &mut Taken,
        report: &mut Report,
    ) -> Option<Nic> {
        let networks = self.networks;
        let network = &networks[draft.network].network;
        let given = draft.file.mac.as_ref().map(|mac| mac.value);
        let mac = given.or_else(|| kept?.mac);
        let mac = mac.or_else(|| take_mac(&self.words(draft), draft.index, &mut free.macs))?;
        // What vmnet gives it is not known here.
        let is_ours = draft.file.attach.as_ref().map(|it| it.value) != Some(Attach::Vmnet);
        let address = match network.subnet.filter(|_| is_ours) {
            Some(subnet) => Some(match kept.and_then(|kept| kept.address) {
                Some(address) => address,
                None => derive_v4(draft, network, subnet, &mut free.addresses[draft.network], report)?,
            }),
            None => draft.file.addresses.values().v4,
        };
        let address6 = match network.ipv6.filter(|_| is_ours) {
            Some(prefix) => Some(self.derive_v6(draft, prefix, mac, report)),
            None => draft.file.addresses.values().v6,
        };
        let model = draft.file.model.unwrap_or_default();
        Some(Nic {
            network: network.name.clone(),
            model,
            attach: attach::check(
                &draft.machine.value,
                draft.file,
                model,
                &networks[draft.network],
                report,
            ),
            mac,
            address,
            address6,
        })
    }

    /// What a MAC follows from: the names, and where others of this cluster may be on the same LAN, the host.
    fn words(&self, draft: &Draft<'a>) -> Vec<&'a str> {
        let mut words = vec![self.cluster.as_str(), draft.machine.value.as_str()];
        if self.networks[draft.network].network.mode == Mode::Bridged {
            words.push(self.host);
        }
        words
    }

    /// The given address, or what the guest makes of its MAC.
    fn derive_v6(&mut self, draft: &Draft<'a>, prefix: Prefix, mac: Mac, report: &mut Report) -> Ipv6Addr {
        if let Some(given) = &draft.file.addresses.v6 {
            return given.value;
        }
        let address = prefix.guest(mac);
        // Of two NICs with one MAC it is told already.
        if report.is_empty() && draft.is_used {
            self.claim(draft, IpAddr::V6(address), &draft.machine.span, report);
        }
        address
    }
}

fn derive_v4(
    draft: &Draft<'_>,
    network: &Network,
    subnet: Subnet,
    taken: &mut HashSet<Ipv4Addr>,
    report: &mut Report,
) -> Option<Ipv4Addr> {
    let name = &draft.machine.value;
    let given = draft.file.addresses.v4.as_ref().map(|address| address.value);
    let address = given.or_else(|| take_address(subnet, name, draft.index, taken));
    if address.is_none() {
        let title = format!(
            "machine {:?} gets no address on network {:?}: {subnet} has room for {} guests",
            name.as_str(),
            network.name.as_str(),
            subnet.guest_count()
        );
        let diagnostic = Diagnostic::new(title, draft.machine.span.clone());
        report.push(diagnostic.with_hint("give the network a larger subnet".to_owned()));
    }
    address
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
