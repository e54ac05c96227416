//! Ports of the host alias, as the engine knows them: a unix socket is a service there, by its place among them.

use std::path::PathBuf;

use atoll_engine::{HostPort, HostTarget};

use crate::{HostPortSpec, HostSide};

/// All ports, for the engine.
pub(crate) fn host_ports(listed: &[HostPortSpec]) -> Vec<HostPort> {
    let one = |(number, listed): (u32, &HostPortSpec)| {
        let port = listed.port;
        match listed.to {
            HostSide::Tcp(to) => HostPort::Tcp {
                port,
                to: HostTarget::Port(to),
            },
            HostSide::Udp(to) => HostPort::Udp { port, to },
            HostSide::Socket(_) => HostPort::Tcp {
                port,
                to: HostTarget::Service(number),
            },
        }
    };
    (0..).zip(listed).map(one).collect()
}

/// The sockets by the numbers of their services.
pub(crate) fn sockets(listed: &[HostPortSpec]) -> Vec<Option<PathBuf>> {
    let one = |listed: &HostPortSpec| match &listed.to {
        HostSide::Socket(path) => Some(path.clone()),
        HostSide::Tcp(_) | HostSide::Udp(_) => None,
    };
    listed.iter().map(one).collect()
}
