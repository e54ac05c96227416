//! The cluster's networks as they run in this process.
//!
//! A network is started with the first machine that needs it and keeps running until the cluster goes down. Every NIC has a
//! socket of its own, by which the network knows the machine: [`Networks::join`] opens it and tells the network the
//! machine's documents, then its forwards. What is there already stays as it is, so joining twice does no harm; that
//! is how a new daemon takes machines over that run.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use atoll_runtime::{
    AutomaticSpec, Documents, ForwardError, ForwardId, ForwardInfo, ForwardSpec, GuestTarget, Handle,
    Junction, ListenAt, ListenSpec, Manner, Network, Protocol, RequestError, StartError, Transport,
};
use atoll_spec as spec;

use crate::files::{self, FileError};
use crate::joins;
use crate::options::{guest_mac, lease, options};
use crate::paths::ClusterPaths;
use crate::services::dhcp_options;
use crate::status::{ForwardStatus, NetworkStatus};

/// Why a network could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// It did not start.
    #[error("network {network}: {cause}")]
    Start {
        /// Its name.
        network: String,
        /// Why.
        cause: StartError,
    },
    /// It did not do as asked.
    #[error("network {network}: {cause}")]
    Request {
        /// Its name.
        network: String,
        /// Why.
        cause: RequestError,
    },
    /// A forward was not made or removed.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// No network has this name.
    #[error("network {0} does not run")]
    NotRunning(String),
    /// A file of its own.
    #[error(transparent)]
    File(#[from] FileError),
}

impl NetworkError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start { cause, .. } => cause.hint(),
            Self::Forward(cause) => cause.hint(),
            Self::File(cause) => cause.hint(),
            Self::Request { .. } | Self::NotRunning(_) => None,
        }
    }
}

/// One that runs.
#[derive(Debug)]
struct Running {
    network: Network,
    spec: spec::Network,
    /// What it is joined with, and who may begin there and here.
    joins: Vec<joins::Direction>,
}

/// All that run.
#[derive(Debug, Default)]
pub struct Networks {
    junction: Junction,
    running: BTreeMap<String, Running>,
}

impl Networks {
    /// Starts what does not run yet of the networks that serve this machine; `folder` is the one of the cluster file.
    pub fn ensure(
        &mut self,
        cluster: &spec::Cluster,
        machine: &spec::Machine,
        (folder, paths): (&Path, &ClusterPaths),
    ) -> Result<(), NetworkError> {
        for nic in served(machine) {
            let name = nic.network.as_str();
            let Some(wanted) = cluster.network(name) else {
                return Err(NetworkError::NotRunning(name.to_owned()));
            };
            if !self.running.contains_key(name) {
                let network = start(cluster, wanted, &self.junction, (folder, paths))?;
                self.running.insert(
                    name.to_owned(),
                    Running {
                        network,
                        spec: wanted.clone(),
                        joins: joins::directions(cluster, wanted),
                    },
                );
            }
        }
        Ok(())
    }

    /// The networks that run otherwise than this cluster file says, by name.
    pub fn changed(&self, cluster: &spec::Cluster) -> Vec<String> {
        let is_same = |name: &str, running: &Running| {
            let wanted = cluster.network(name);
            wanted.is_some_and(|wanted| {
                *wanted == running.spec && joins::directions(cluster, wanted) == running.joins
            })
        };
        let changed = self
            .running
            .iter()
            .filter(|(name, running)| !is_same(name, running));
        changed.map(|(name, _)| name.clone()).collect()
    }

    /// The names of all that run.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.running.keys().map(String::as_str)
    }

    /// One that runs.
    pub fn handle(&self, network: &str) -> Result<Handle, NetworkError> {
        let running = self.running.get(network);
        running
            .map(|it| it.network.handle())
            .ok_or_else(|| NetworkError::NotRunning(network.to_owned()))
    }

    /// Lets a machine onto its networks.
    pub fn join(
        &self,
        machine: &spec::Machine,
        documents: &Documents,
        paths: &ClusterPaths,
    ) -> Result<(), NetworkError> {
        let name = machine.name.as_str();
        for (index, nic) in machine.nics.iter().enumerate() {
            let transport = match nic.attach {
                spec::Attach::Stream => Transport::Qemu,
                spec::Attach::VhostUser => Transport::VhostUser,
                spec::Attach::Tap | spec::Attach::Vmnet => continue,
            };
            let network = nic.network.as_str();
            let handle = self.handle(network)?;
            let failed = |cause| NetworkError::Request {
                network: network.to_owned(),
                cause,
            };
            handle.set_static_lease(lease(machine, nic)).map_err(failed)?;
            let told = dhcp_options(&machine.dhcp_options);
            handle.set_dhcp_options(guest_mac(nic), told).map_err(failed)?;
            handle.set_documents(name, documents.clone()).map_err(failed)?;
            self.name_elsewhere(machine, nic)?;
            let socket = paths.nic_socket(name, index);
            let listeners = handle.snapshot().map_err(failed)?.listeners;
            if !listeners.iter().any(|it| it.path == socket) {
                let spec = ListenSpec {
                    transport,
                    path: socket,
                    label: Some(name.to_owned()),
                };
                handle.listen(spec).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Lets the networks from which this NIC's may be reached know the machine's name, unless it is on them itself.
    fn name_elsewhere(&self, machine: &spec::Machine, nic: &spec::Nic) -> Result<(), NetworkError> {
        for (name, running) in &self.running {
            if !joins::is_known_on(machine, nic, &running.spec) {
                continue;
            }
            let addresses = joins::addresses_for(machine, &running.spec);
            let named = running
                .network
                .handle()
                .set_name(machine.name.as_str(), addresses);
            named.map_err(|cause| NetworkError::Request {
                network: name.clone(),
                cause,
            })?;
        }
        Ok(())
    }

    /// Takes a machine off its networks, with the forwards to it.
    pub fn leave(&self, machine: &spec::Machine, paths: &ClusterPaths) {
        let name = machine.name.as_str();
        for (index, nic) in machine.nics.iter().enumerate() {
            if nic.attach.is_direct() {
                continue;
            }
            let Ok(handle) = self.handle(nic.network.as_str()) else {
                continue;
            };
            for forward in handle.forwards().unwrap_or_default() {
                if leads_to(&forward, name, nic) {
                    log_error(handle.remove_forward(forward.id));
                }
            }
            for guest in targets(nic) {
                log_error(handle.set_automatic(&guest, Vec::new()));
            }
            log_error(handle.set_documents(name, Documents::new()));
            log_error(handle.unlisten(&paths.nic_socket(name, index)));
        }
    }

    /// Makes a forward, or finds it when it is there already.
    pub fn forward(&self, network: &str, wanted: ForwardSpec) -> Result<ForwardInfo, NetworkError> {
        let handle = self.handle(network)?;
        let failed = |cause| NetworkError::Request {
            network: network.to_owned(),
            cause,
        };
        let there = handle
            .forwards()
            .map_err(failed)?
            .into_iter()
            .find(|it| is_same(it, &wanted));
        match there {
            // What appeared by itself makes room for what somebody asks for.
            Some(there) if there.automatic => handle.remove_forward(there.id)?,
            Some(there) => return Ok(there),
            None => {}
        }
        Ok(handle.add_forward(wanted)?)
    }

    /// Lets what a machine listens at appear by itself, as the file says.
    pub fn set_automatic(
        &self,
        network: &str,
        guest: &GuestTarget,
        machine: &spec::Machine,
    ) -> Result<(), NetworkError> {
        let specs = machine.automatic.iter();
        let specs = specs.map(|forward| automatic_spec(forward, guest, machine.loopback));
        Ok(self.handle(network)?.set_automatic(guest, specs.collect())?)
    }

    /// Ends the forward that is as this one says, if it is there.
    pub(crate) fn end_forward(&self, network: &str, spec: &ForwardSpec) {
        let Ok(handle) = self.handle(network) else {
            return;
        };
        let forwards = handle.forwards().unwrap_or_default();
        for forward in forwards.iter().filter(|there| is_same(there, spec)) {
            log_error(handle.remove_forward(forward.id));
        }
    }

    /// Ends a forward.
    pub fn unforward(&self, network: &str, forward: ForwardId) -> Result<(), NetworkError> {
        Ok(self.handle(network)?.remove_forward(forward)?)
    }

    /// Every forward of every network; `cluster` says which machine each leads to.
    pub fn forwards(&self, cluster: Option<&spec::Cluster>) -> Vec<ForwardStatus> {
        let mut all = Vec::new();
        for (name, running) in &self.running {
            for forward in running.network.handle().forwards().unwrap_or_default() {
                let machine = cluster.and_then(|cluster| machine_of(cluster, name, &forward.guest));
                all.push(ForwardStatus {
                    network: name.clone(),
                    machine,
                    forward,
                });
            }
        }
        all
    }

    /// A picture of each.
    pub fn status(&self) -> Vec<NetworkStatus> {
        let pictures = self.running.iter().filter_map(|(name, running)| {
            let snapshot = running.network.handle().snapshot().ok()?;
            Some(NetworkStatus {
                name: name.clone(),
                snapshot,
            })
        });
        pictures.collect()
    }

    /// Ends all of them and waits for their ends.
    pub fn stop(&mut self) {
        for (_, running) in std::mem::take(&mut self.running) {
            drop(running);
        }
    }
}

fn log_error<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!("{error}");
    }
}

fn start(
    cluster: &spec::Cluster,
    wanted: &spec::Network,
    junction: &Junction,
    (folder, paths): (&Path, &ClusterPaths),
) -> Result<Network, NetworkError> {
    files::make_private(&paths.network_state(wanted.name.as_str()))?;
    let mut options = options(cluster, wanted, (folder, paths));
    options.junction = Some((junction.clone(), wanted.name.to_string()));
    Network::start(options).map_err(|cause| NetworkError::Start {
        network: wanted.name.to_string(),
        cause,
    })
}

/// The NICs of a machine that go through networks of ours.
fn served(machine: &spec::Machine) -> impl Iterator<Item = &spec::Nic> {
    machine.nics.iter().filter(|nic| !nic.attach.is_direct())
}

/// All that a forward may call the guest of this NIC.
fn targets(nic: &spec::Nic) -> impl Iterator<Item = GuestTarget> {
    let mac = GuestTarget::Mac(guest_mac(nic));
    nic.addresses().map(GuestTarget::Address).chain([mac])
}

fn leads_to(forward: &ForwardInfo, machine: &str, nic: &spec::Nic) -> bool {
    match &forward.guest {
        GuestTarget::Mac(to) => *to == guest_mac(nic),
        GuestTarget::Address(to) => nic.addresses().any(|address| address == *to),
        GuestTarget::Name(to) => to == machine,
        GuestTarget::OneOf(_) => false,
    }
}

fn machine_of(cluster: &spec::Cluster, network: &str, guest: &GuestTarget) -> Option<String> {
    let found = cluster.assignments().find(|it| {
        it.nic.network.as_str() == network
            && match guest {
                GuestTarget::Mac(mac) => *mac == guest_mac(it.nic),
                GuestTarget::Address(address) => it.nic.addresses().any(|own| own == *address),
                GuestTarget::Name(name) => it.machine.as_str() == name,
                // It belongs to none of them alone.
                GuestTarget::OneOf(_) => false,
            }
    });
    found.map(|it| it.machine.to_string())
}

/// A port that the host is to choose is never there already.
fn is_same(there: &ForwardInfo, wanted: &ForwardSpec) -> bool {
    let stands_for = |listen: &ListenAt| match (listen, there.wanted_port) {
        (ListenAt::Address(at), Some(port)) => ListenAt::from(SocketAddr::new(at.ip(), port)),
        (other, _) => other.clone(),
    };
    there.protocol == wanted.protocol
        && there.manner == wanted.manner
        && (there.listen == wanted.listen || stands_for(&there.listen) == wanted.listen)
        && there.guest == wanted.guest
        && there.guest_port == wanted.guest_port
}

/// Where forwards to a machine lead: the network and the place of the NIC by which the host reaches it. On a LAN, which gives the
/// addresses, it is known by its MAC; elsewhere by its IPv4 address, or its IPv6 address where it has no other.
pub fn forward_target<'a>(
    cluster: &spec::Cluster,
    machine: &'a spec::Machine,
) -> Option<(&'a spec::Name, GuestTarget)> {
    let nic = machine.served_nic()?;
    let guest = match cluster.network(nic.network.as_str())?.mode {
        spec::Mode::Bridged => GuestTarget::Mac(guest_mac(nic)),
        _ => GuestTarget::Address(nic.addresses().next()?),
    };
    Some((&nic.network, guest))
}

/// The forwards that a forward of the file stands for, one a port, towards this guest, which may have an address of the host's loopback for
/// itself.
pub fn forward_specs(
    forward: &spec::Forward,
    guest: &GuestTarget,
    own: Option<Ipv4Addr>,
) -> Vec<ForwardSpec> {
    let manner = Manner {
        renumber: own.is_some() && forward.bind() == spec::Bind::Usual,
        keep_source: forward.keeps_source(),
    };
    let protocol = match forward.protocol() {
        spec::Protocol::Tcp => Protocol::Tcp,
        spec::Protocol::Udp => Protocol::Udp,
    };
    let one = |(listen, guest_port): (SocketAddr, u16)| ForwardSpec {
        protocol,
        listen: listen.into(),
        guest: guest.clone(),
        guest_port,
        manner,
    };
    forward.at(own).listeners().map(one).collect()
}

/// What a line of the file with `*` stands for, towards this guest.
pub fn automatic_spec(
    forward: &spec::AutoForward,
    guest: &GuestTarget,
    own: Option<Ipv4Addr>,
) -> AutomaticSpec {
    let except = forward.except().iter();
    AutomaticSpec {
        guest: guest.clone(),
        addresses: forward.addresses(own).collect(),
        protocol: forward.protocol().map(|protocol| match protocol {
            spec::Protocol::Tcp => Protocol::Tcp,
            spec::Protocol::Udp => Protocol::Udp,
        }),
        except: except.map(|ports| ports.first()..=ports.last()).collect(),
        keep_source: forward.keeps_source(),
    }
}

/// The forward by which ssh reaches a machine: at its own number where the machine has an address of the host's loopback for itself, else at
/// this port.
pub fn ssh_forward(host_port: u16, guest: GuestTarget, own: Option<Ipv4Addr>) -> ForwardSpec {
    let at = match own {
        Some(own) => SocketAddr::new(own.into(), 22),
        None => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), host_port),
    };
    ForwardSpec {
        protocol: Protocol::Tcp,
        listen: at.into(),
        guest,
        guest_port: 22,
        manner: Manner {
            renumber: own.is_some(),
            keep_source: false,
        },
    }
}
