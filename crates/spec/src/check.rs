//! From the file as written to the cluster: fills in defaults, resolves names, and checks what no single value shows.
//!
//! What a value's own type refused was reported while reading. Such a part is marked `wrong`, and checks that would only
//! repeat the mistake in other words leave it out. A cluster comes out only if nothing at all was reported.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;

use crate::attach;
use crate::automatic::ForwardEntry;
use crate::cluster::{Boot, Cluster, Machine, Nic, Ssh, served_nic};
use crate::depend::{self, Dependency};
use crate::dhcp_options;
use crate::diagnostic::{Diagnostic, Report, Span};
use crate::expand::Expanded;
use crate::file::{ClusterFile, MachineFile};
use crate::forward::Forward;
use crate::host_ways;
use crate::joins;
use crate::loopback::Loopback;
use crate::name::{Domain, Name};
use crate::networks::{self, PlacedNetwork};
use crate::nics;
use crate::outputs;
use crate::policy;
use crate::read::Spot;
use crate::resolution;
use crate::route;
use crate::size::ByteSize;
use crate::text::nearest;
use crate::variables::{INDEX, SELF};
use crate::{Context, Source};

/// The memory of a machine when neither it nor `defaults` says.
const DEFAULT_MEMORY: ByteSize = ByteSize::mebibytes(1024);

/// A machine of the file, with what `defaults` gives it.
#[derive(Debug)]
pub(crate) struct PlacedMachine {
    pub(crate) name: Spot<Name>,
    pub(crate) file: MachineFile,
    /// Whether it is in use; one that is not keeps its addresses, and may want what another has, too.
    pub(crate) is_used: bool,
    /// Its number among those of a count, from 1; 0 for one that is by itself.
    pub(crate) index: u16,
}

/// What a file is checked with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) context: &'a Context,
    pub(crate) expanded: &'a Expanded,
}

/// The cluster, or `None` with something in the report.
pub(crate) fn cluster(
    mut file: ClusterFile,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Cluster> {
    let source = surroundings.source;
    let name = file.name.take().unwrap_or_else(|| source.default_name());
    let domain = file.domain.take().unwrap_or_else(|| Domain::internal(&name));
    let networks_wrong = file.networks_wrong;
    let mut networks = networks::resolve(&name, file.networks.take(), report);
    joins::check(&networks, networks_wrong, report);
    let machines = machines(file, surroundings, report);
    check_hosts(&networks, &machines, &domain, report);
    check_dns(&networks, &machines, &domain, report);
    let spoken_of = networks.iter().flat_map(|placed| &placed.policy_machines);
    let names: Vec<&Name> = machines.iter().map(|machine| &machine.name.value).collect();
    policy::check_machines(spoken_of, &names, report);
    let nics = nics::assign(
        (&name, source.host, &surroundings.context.kept),
        &networks,
        networks_wrong,
        &machines,
        report,
    );
    for (machine, nics) in machines.iter().zip(&nics) {
        attach::check_forwards(machine, nics, report);
        policy::add_machine(machine, nics, &mut networks, report);
    }
    let loopbacks = loopbacks(&name, &networks, &machines, &nics);
    check_forwards(&machines, &loopbacks, report);
    host_ways::check_proxies(&networks, &machines, &loopbacks, report);
    let waits = depend::resolve(&machines, report);
    depend::check_ways(&machines, &nics, &waits, report);
    if !report.is_empty() {
        return None;
    }
    let machines = machines
        .into_iter()
        .zip(nics.into_iter().zip(loopbacks).zip(waits))
        .filter(|(machine, _)| machine.is_used)
        .map(|(machine, ((nics, loopback), waits))| finish(machine, (nics, loopback), waits, surroundings));
    let machines: Vec<Machine> = machines.collect();
    let networks = networks
        .into_iter()
        .map(|placed| {
            let routes = route::resolve(&placed, &machines, report);
            let nics = machines.iter().flat_map(|machine| &machine.nics);
            placed.finish(nics, routes)
        })
        .collect();
    let cluster = Cluster {
        name,
        domain,
        networks,
        machines,
    };
    report.is_empty().then_some(cluster)
}

fn machines(file: ClusterFile, surroundings: &Surroundings<'_>, report: &mut Report) -> Vec<PlacedMachine> {
    let profiles = &surroundings.context.choices.profiles;
    let Some(given) = file.machines.filter(|given| !given.0.is_empty()) else {
        if !file.machines_wrong {
            let title = "the file has no machines";
            let diagnostic = Diagnostic::new(title, file.machines_key.unwrap_or(0..0));
            report.push(diagnostic.with_hint("begin with:  machines: {a: {image: debian}}".to_owned()));
        }
        return Vec::new();
    };
    let defaults = file.defaults.unwrap_or_default();
    let mut placed = Vec::new();
    for (name, file) in given.0 {
        let file = file.or(&defaults);
        let own = file.profiles.as_deref();
        let machine = PlacedMachine {
            is_used: own.is_none_or(|own| {
                own.is_empty() || own.iter().any(|it| profiles.contains(it.value.as_str()))
            }),
            index: surroundings
                .expanded
                .indices
                .get(name.value.as_str())
                .copied()
                .unwrap_or(0),
            name,
            file,
        };
        check_machine(&machine, report);
        placed.push(machine);
    }
    check_profiles(&placed, profiles, file.machines_key.unwrap_or(0..0), report);
    placed
}

/// The profiles in use must be those of machines, and leave some.
fn check_profiles(machines: &[PlacedMachine], used: &BTreeSet<String>, section: Span, report: &mut Report) {
    let of_machines = machines
        .iter()
        .flat_map(|machine| machine.file.profiles.iter().flatten());
    let known: BTreeSet<&str> = of_machines.map(|profile| profile.value.as_str()).collect();
    let list = || known.iter().copied().collect::<Vec<_>>().join(", ");
    for profile in used.iter().filter(|it| !known.contains(it.as_str())) {
        let hint = match nearest(profile, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None if known.is_empty() => "give machines some:  profiles: [NAME]".to_owned(),
            None => format!("there are: {}", list()),
        };
        let title = format!("no machine has the profile {profile:?}");
        report.push(Diagnostic::new(title, section.clone()).with_hint(hint));
    }
    if report.is_empty() && machines.iter().all(|machine| !machine.is_used) {
        let diagnostic = Diagnostic::new("every machine has profiles, and none of these is in use", section);
        report.push(diagnostic.with_hint(format!("choose with --profile: {}", list())));
    }
}

/// What a machine's own keys must agree on.
fn check_machine(machine: &PlacedMachine, report: &mut Report) {
    let (name, file) = (machine.name.value.as_str(), &machine.file);
    if file.image.is_none() && file.kernel.is_none() && !file.wrong {
        let diagnostic = Diagnostic::new(
            format!("machine {name:?} has no image"),
            machine.name.span.clone(),
        );
        report.push(diagnostic.with_hint("add an image such as \"image: debian\", or a kernel".to_owned()));
    }
    check_boot(machine, report);
    let has_no_nic = file.nics.as_ref().is_some_and(Vec::is_empty) && !file.wrong;
    if let Some(forward) = file.forwards.iter().flatten().next().filter(|_| has_no_nic) {
        let title = format!("machine {name:?} has a forward but no NIC");
        report.push(Diagnostic::new(title, forward.span.clone()));
    }
    if let Some(memory) = file
        .memory
        .as_ref()
        .filter(|memory| memory.value.bytes() % (1 << 20) != 0)
    {
        let title = format!(
            "memory of machine {name:?} must be whole MiB, not {}",
            memory.value
        );
        report.push(Diagnostic::new(title, memory.span.clone()));
    }
}

/// What only a kernel makes sense of needs one.
fn check_boot(machine: &PlacedMachine, report: &mut Report) {
    let (name, file) = (machine.name.value.as_str(), &machine.file);
    let boot_keys = [
        ("initrd", file.initrd.as_ref().map(|initrd| &initrd.span)),
        ("append", file.append.as_ref().map(|append| &append.span)),
    ];
    for (key, span) in boot_keys {
        if let Some(span) = span.filter(|_| file.kernel.is_none() && !file.wrong) {
            let diagnostic =
                Diagnostic::new(format!("machine {name:?} has {key} but no kernel"), span.clone());
            report.push(diagnostic.with_hint(format!("{key} belongs to a kernel that QEMU starts directly")));
        }
    }
}

/// A network's further names must not be those of machines.
fn check_hosts(networks: &[PlacedNetwork], machines: &[PlacedMachine], domain: &Domain, report: &mut Report) {
    for placed in networks {
        for (host, span) in &placed.hosts {
            let label = host
                .as_str()
                .strip_suffix(domain.as_str())
                .and_then(|label| label.strip_suffix('.'));
            let label = label.unwrap_or(host.as_str());
            let Some(machine) = machines
                .iter()
                .find(|machine| machine.name.value.as_str() == label)
            else {
                continue;
            };
            let title = format!("host {:?} has the name of a machine", host.as_str());
            report.push(Diagnostic::new(title, span.clone()).and(machine.name.span.clone(), "the machine"));
        }
    }
}

/// What DNS is to do is about the world, or about names of the network.
fn check_dns(networks: &[PlacedNetwork], machines: &[PlacedMachine], domain: &Domain, report: &mut Report) {
    for placed in networks {
        let machines = machines.iter().map(|machine| &machine.name.value);
        let known = resolution::known(machines, placed.network.hosts.keys());
        placed.dns.check(domain, &known, report);
    }
}

/// Each machine's own address of the host's loopback, if the network by which the host reaches it gives one.
fn loopbacks(
    cluster: &Name,
    networks: &[PlacedNetwork],
    machines: &[PlacedMachine],
    nics: &[Vec<Nic>],
) -> Vec<Option<Ipv4Addr>> {
    let mut taken = HashSet::new();
    let own = |(index, machine): (usize, &PlacedMachine)| {
        let nic = served_nic(nics.get(index)?)?;
        let mut given = networks.iter().filter(|placed| placed.network.loopback);
        let network = &given
            .find(|placed| placed.network.name == nic.network)?
            .network
            .name;
        let addresses = Loopback::of(&[cluster.as_str(), network.as_str()]);
        addresses.take(machine.name.value.as_str(), &mut taken)
    };
    machines.iter().enumerate().map(own).collect()
}

/// No two forwards may listen on one host port.
fn check_forwards(machines: &[PlacedMachine], loopbacks: &[Option<Ipv4Addr>], report: &mut Report) {
    let mut seen: Vec<(&Name, Spot<Forward>)> = Vec::new();
    let used = machines
        .iter()
        .zip(loopbacks)
        .filter(|(machine, _)| machine.is_used);
    for (machine, own) in used {
        let name = &machine.name.value;
        for forward in machine.file.forwards.iter().flatten() {
            let ForwardEntry::Fixed(fixed) = &forward.value else {
                continue;
            };
            let forward = Spot {
                value: fixed.at(*own),
                span: forward.span.clone(),
            };
            let clash = seen
                .iter()
                .find(|(_, other)| forward.value.conflicts_with(&other.value));
            if let Some((other, first)) = clash {
                report.push(
                    Diagnostic::new(clash_title(name, other, &forward.value), forward.span.clone())
                        .label(format!("forward of {:?}", name.as_str()))
                        .and(first.span.clone(), format!("forward of {:?}", other.as_str()))
                        .with_hint("give each forward a host port of its own".to_owned()),
                );
            }
            seen.push((name, forward));
        }
    }
}

fn clash_title(name: &Name, other: &Name, forward: &Forward) -> String {
    let (name, other) = (name.as_str(), other.as_str());
    let ports = forward.host_ports();
    let noun = if ports.count() == 1 { "port" } else { "ports" };
    let port = format!("host {noun} {ports}/{}", forward.protocol());
    if name == other {
        format!("machine {name:?} forwards {port} twice")
    } else {
        format!("machines {other:?} and {name:?} both forward {port}")
    }
}

/// What the references of a machine's user-data stand for, as far as that is known from the file.
fn template_values(name: &Name, expanded: &Expanded) -> BTreeMap<String, String> {
    let known = expanded.values.known();
    let mut values: BTreeMap<_, _> = known
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    values.insert(SELF.to_owned(), name.to_string());
    if let Some(index) = expanded.indices.get(name.as_str()) {
        values.insert(INDEX.to_owned(), index.to_string());
    }
    values
}

fn finish(
    mut machine: PlacedMachine,
    (nics, loopback): (Vec<Nic>, Option<Ipv4Addr>),
    waits: depend::Waits,
    surroundings: &Surroundings<'_>,
) -> Machine {
    let outputs = outputs::finish(&mut machine);
    let depends_on: Vec<Dependency> = waits.into_iter().map(|(dependency, _)| dependency).collect();
    let PlacedMachine { name, file, .. } = machine;
    let is_template = file.user_data.as_ref().is_some_and(|given| given.is_template);
    let template = is_template.then(|| template_values(&name.value, surroundings.expanded));
    let ssh = file.ssh.unwrap_or_default();
    let (initrd, append) = (file.initrd, file.append);
    let (mut forwards, mut automatic) = (Vec::new(), Vec::new());
    for entry in file.forwards.unwrap_or_default() {
        match entry.value {
            ForwardEntry::Fixed(forward) => forwards.push(forward),
            ForwardEntry::Automatic(forward) => automatic.push(forward),
        }
    }
    Machine {
        name: name.value,
        image: file.image,
        arch: file.arch.unwrap_or(surroundings.source.host_arch),
        cpus: file.cpus.map_or(1, |cpus| cpus.0),
        memory: file.memory.map_or(DEFAULT_MEMORY, |memory| memory.value),
        disk: file.disk,
        nics,
        user_data: file.user_data.map(|given| given.data),
        template,
        depends_on,
        outputs,
        ssh: Ssh {
            user: ssh.user.map(|user| user.0),
            keys: ssh.keys.unwrap_or_default(),
        },
        dhcp_options: dhcp_options::finish(file.dhcp_options, file.dhcp6_options),
        forwards,
        automatic,
        loopback,
        firmware: file.firmware,
        accel: file.accel.unwrap_or_default(),
        machine: file.machine,
        boot: file.kernel.map(|kernel| Boot {
            kernel,
            initrd: initrd.map(|initrd| initrd.value),
            append: append.map(|append| append.value).unwrap_or_default(),
        }),
        qemu_args: file.qemu_args.unwrap_or_default(),
    }
}
