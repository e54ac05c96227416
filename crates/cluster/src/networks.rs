//! The cluster's networks as they run in this process.
//!
//! A network is started with the first machine that needs it and keeps running until the cluster goes down. Every NIC has a
//! socket of its own, by which the network knows the machine: [`Networks::join`] opens it and tells the network the
//! machine's documents, then its forwards. What is there already stays as it is, so joining twice does no harm; that
//! is how a new daemon takes machines over that run.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;

use atoll_runtime::{
    Addresses, Documents, ForwardError, ForwardId, ForwardInfo, ForwardSpec, GuestTarget, Handle, ListenSpec,
    Network, NetworkOptions, Prefix, Protocol, RequestError, StartError, StaticLease, Subnet, Transport,
};
use atoll_spec as spec;

use crate::files::{self, FileError};
use crate::paths::ClusterPaths;
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
}

/// All that run.
#[derive(Debug, Default)]
pub struct Networks {
    running: BTreeMap<String, Running>,
}

impl Networks {
    /// Starts what does not run yet of the networks this machine is on.
    pub fn ensure(
        &mut self,
        cluster: &spec::Cluster,
        machine: &spec::Machine,
        paths: &ClusterPaths,
    ) -> Result<(), NetworkError> {
        for nic in &machine.nics {
            let name = nic.network.as_str();
            let Some(wanted) = cluster.network(name) else {
                return Err(NetworkError::NotRunning(name.to_owned()));
            };
            if !self.running.contains_key(name) {
                let network = start(cluster, wanted, paths)?;
                self.running.insert(
                    name.to_owned(),
                    Running {
                        network,
                        spec: wanted.clone(),
                    },
                );
            }
        }
        Ok(())
    }

    /// The networks that run otherwise than this cluster file says, by name.
    pub fn changed(&self, cluster: &spec::Cluster) -> Vec<String> {
        let changed = self
            .running
            .iter()
            .filter(|(name, running)| cluster.network(name) != Some(&running.spec));
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
            let network = nic.network.as_str();
            let handle = self.handle(network)?;
            let failed = |cause| NetworkError::Request {
                network: network.to_owned(),
                cause,
            };
            handle.set_static_lease(lease(machine, nic)).map_err(failed)?;
            handle.set_documents(name, documents.clone()).map_err(failed)?;
            let socket = paths.nic_socket(name, index);
            let listeners = handle.snapshot().map_err(failed)?.listeners;
            if !listeners.iter().any(|it| it.path == socket) {
                let transport = match nic.attach {
                    spec::Attach::Stream => Transport::Qemu,
                    spec::Attach::VhostUser => Transport::VhostUser,
                };
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

    /// Takes a machine off its networks, with the forwards to it.
    pub fn leave(&self, machine: &spec::Machine, paths: &ClusterPaths) {
        let name = machine.name.as_str();
        for (index, nic) in machine.nics.iter().enumerate() {
            let Ok(handle) = self.handle(nic.network.as_str()) else {
                continue;
            };
            for forward in handle.forwards().unwrap_or_default() {
                if leads_to(&forward, name, nic) {
                    log_error(handle.remove_forward(forward.id));
                }
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
            Some(there) => Ok(there),
            None => Ok(handle.add_forward(wanted)?),
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
    paths: &ClusterPaths,
) -> Result<Network, NetworkError> {
    let state = paths.network_state(wanted.name.as_str());
    files::make_private(&state)?;
    let mut options = NetworkOptions::new(addresses(wanted));
    options.mtu = wanted.mtu;
    options.host_loopback = wanted.host_loopback;
    options.isolate = wanted.isolate;
    options.domain = cluster.domain.to_string();
    options.names = wanted
        .hosts
        .iter()
        .map(|(name, addresses)| (name.to_string(), addresses.iter().collect()))
        .collect();
    options.ntp.clone_from(&wanted.ntp);
    options.resolvers = (!wanted.dns.is_empty()).then(|| wanted.dns.clone());
    options.state_dir = Some(state);
    options.networks = u32::try_from(cluster.networks.len())
        .ok()
        .and_then(NonZeroU32::new)
        .unwrap_or(NonZeroU32::MIN);
    let on_it = cluster.assignments().filter(|it| it.nic.network == wanted.name);
    let machines = on_it.filter_map(|it| {
        cluster
            .machine(it.machine.as_str())
            .map(|machine| (machine, it.nic))
    });
    options.static_leases = machines.map(|(machine, nic)| lease(machine, nic)).collect();
    Network::start(options).map_err(|cause| NetworkError::Start {
        network: wanted.name.to_string(),
        cause,
    })
}

fn addresses(network: &spec::Network) -> Addresses {
    Addresses {
        subnet: network.subnet.map(|subnet| Subnet {
            address: subnet.network(),
            prefix_len: subnet.prefix(),
        }),
        prefix: network.ipv6.map(|prefix| Prefix {
            address: prefix.network(),
        }),
    }
}

/// A machine has its name on each of its networks once: at its first NIC there.
fn lease(machine: &spec::Machine, nic: &spec::Nic) -> StaticLease {
    let first = machine.nics.iter().find(|it| it.network == nic.network);
    let is_first = first.is_some_and(|first| first.mac == nic.mac);
    StaticLease {
        mac: atoll_runtime::Mac(nic.mac.octets()),
        address: nic.address,
        address6: nic.address6,
        hostname: is_first.then(|| machine.name.to_string()),
    }
}

fn leads_to(forward: &ForwardInfo, machine: &str, nic: &spec::Nic) -> bool {
    match &forward.guest {
        GuestTarget::Address(to) => nic.addresses().any(|address| address == *to),
        GuestTarget::Name(to) => to == machine,
        GuestTarget::OneOf(_) => false,
    }
}

fn machine_of(cluster: &spec::Cluster, network: &str, guest: &GuestTarget) -> Option<String> {
    let found = cluster.assignments().find(|it| {
        it.nic.network.as_str() == network
            && match guest {
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
    there.protocol == wanted.protocol
        && there.listen == wanted.listen
        && there.guest == wanted.guest
        && there.guest_port == wanted.guest_port
}

/// Where forwards to a NIC lead: its IPv4 address, or its IPv6 address where it has no other.
pub fn forward_target(nic: &spec::Nic) -> Option<IpAddr> {
    nic.addresses().next()
}

/// The forwards that a forward of the file stands for, one a port, towards this address.
pub fn forward_specs(forward: &spec::Forward, guest: IpAddr) -> Vec<ForwardSpec> {
    let protocol = match forward.protocol() {
        spec::Protocol::Tcp => Protocol::Tcp,
        spec::Protocol::Udp => Protocol::Udp,
    };
    let one = |(listen, guest_port): (SocketAddr, u16)| ForwardSpec {
        protocol,
        listen: listen.into(),
        guest: GuestTarget::Address(guest),
        guest_port,
    };
    forward.listeners().map(one).collect()
}

/// The forward by which ssh reaches a machine.
pub fn ssh_forward(host_port: u16, guest: IpAddr) -> ForwardSpec {
    ForwardSpec {
        protocol: Protocol::Tcp,
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), host_port).into(),
        guest: GuestTarget::Address(guest),
        guest_port: 22,
    }
}
