//! What DNS does, and which ports of the host guests reach: from the words of the file and the command line to a network's options.

use atoll_runtime::{DnsOptions, HostPortSpec, HostSide, ServiceTarget};
use atoll_spec as spec;

/// What DNS does; what the file does not say is as in `usual`.
pub(crate) fn resolution(wanted: &spec::Resolution, usual: &DnsOptions) -> DnsOptions {
    let suffixes = wanted.suffixes.iter();
    let services = wanted.services.iter();
    DnsOptions {
        cache: wanted
            .cache
            .map_or(usual.cache, |cache| usize::try_from(cache).unwrap_or(usize::MAX)),
        wildcards: wanted.wildcards,
        rebind_protection: wanted.rebind_protection,
        suffixes: suffixes
            .map(|(suffix, servers)| (suffix.to_string(), servers.clone()))
            .collect(),
        services: services
            .map(|(name, targets)| (name.to_string(), targets.iter().map(service_target).collect()))
            .collect(),
    }
}

/// The runtime's word for a place of a service.
#[must_use]
pub fn service_target(target: &spec::ServiceTarget) -> ServiceTarget {
    ServiceTarget {
        host: target.host.to_string(),
        port: target.port,
    }
}

/// The runtime's word for a port of the host's loopback.
#[must_use]
pub fn host_port(port: spec::HostPort) -> HostPortSpec {
    HostPortSpec {
        port: port.guest,
        to: match port.protocol {
            spec::Protocol::Tcp => HostSide::Tcp(port.host),
            spec::Protocol::Udp => HostSide::Udp(port.host),
        },
    }
}

/// All that guests reach at the host alias.
pub(crate) fn host_ports(network: &spec::Network) -> Vec<HostPortSpec> {
    let sockets = network.host_sockets.iter().map(|(port, path)| HostPortSpec {
        port: port.get(),
        to: HostSide::Socket(path.clone()),
    });
    let ports = network.host_ports.iter().copied().map(host_port);
    ports.chain(sockets).collect()
}
