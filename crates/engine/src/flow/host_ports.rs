//! Ports of the host alias that lead to the host: those that somebody listed, and no others.
//!
//! `Config::host_loopback` opens all of the host's loopback at the alias; a [`HostPort`] opens one port, which may have another number
//! there, or, for TCP, be a service that the runtime knows by number, such as a unix socket. Both families lead there: a guest that comes
//! over IPv6 meets the loopback of IPv6.
//!
//! A guest's UDP socket hears whoever knows its port, so what comes from the loopback counts only if it comes from a port that is
//! listed: else any program of the host could be heard, and a guest might guess at ports by it.

use super::*;
use crate::config::{HostPort, HostTarget};
use crate::flow::policy::loopback;

/// Where a guest's connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// An address of the host or the world.
    Address(SocketAddr),
    /// A service of the runtime's.
    Service(u32),
}

/// All that are listed.
#[derive(Debug)]
pub(super) struct HostPorts {
    /// Port at the alias to where it leads.
    tcp: BTreeMap<u16, HostTarget>,
    udp: BTreeMap<u16, u16>,
    /// The host's port to the one at the alias.
    udp_back: BTreeMap<u16, u16>,
}

impl HostPorts {
    pub(super) fn new(listed: &[HostPort]) -> Self {
        let mut ports = Self {
            tcp: BTreeMap::new(),
            udp: BTreeMap::new(),
            udp_back: BTreeMap::new(),
        };
        for listed in listed {
            match *listed {
                HostPort::Tcp { port, to } => drop(ports.tcp.insert(port, to)),
                HostPort::Udp { port, to } => {
                    ports.udp.insert(port, to);
                    ports.udp_back.insert(to, port);
                }
            }
        }
        ports
    }
}

impl Flows {
    /// Where a guest's connection to `remote` goes; `None` when it may go nowhere.
    pub(super) fn tcp_destination(&self, remote: Endpoint) -> Option<Destination> {
        let is_alias = self.policy.route(remote.ip) == Route::HostAlias;
        match self.host_ports.tcp.get(&remote.port).filter(|_| is_alias) {
            Some(HostTarget::Service(service)) => Some(Destination::Service(*service)),
            Some(HostTarget::Port(port)) => {
                Some(Destination::Address(SocketAddr::new(loopback(remote.ip), *port)))
            }
            None => {
                let address = self.policy.host_address(remote.ip)?;
                Some(Destination::Address(SocketAddr::new(address, remote.port)))
            }
        }
    }

    /// Where a guest's datagrams to a port of the host alias go, if the port is listed.
    pub(super) fn listed_udp(&self, remote: Endpoint) -> Option<SocketAddr> {
        let is_alias = self.policy.route(remote.ip) == Route::HostAlias;
        let port = self.host_ports.udp.get(&remote.port).filter(|_| is_alias)?;
        Some(SocketAddr::new(loopback(remote.ip), *port))
    }

    /// Whether a guest's connections to `remote` lead to the host because somebody listed the port.
    pub(super) fn is_listed_tcp(&self, remote: Endpoint) -> bool {
        self.host_ports.tcp.contains_key(&remote.port) && self.policy.route(remote.ip) == Route::HostAlias
    }

    /// How a guest sees a peer of its UDP socket that is at a listed port.
    pub(super) fn listed_view(&self, peer: SocketAddr) -> Option<Endpoint> {
        let port = self.host_ports.udp_back.get(&peer.port());
        let port = port.filter(|_| peer.ip().is_loopback())?;
        let alias = self.policy.addresses.host_alias(peer.ip())?;
        Some(Endpoint::new(alias, *port))
    }

    /// How a guest sees any other peer of its UDP socket; `None` when it may not hear from it. At the alias a listed port is seen
    /// where it is listed, and what has its number on the host is not taken for it.
    pub(super) fn udp_view(&self, peer: SocketAddr) -> Option<Endpoint> {
        let address = self.policy.guest_view(peer.ip())?;
        let view = Endpoint::new(address, peer.port());
        self.listed_udp(view).is_none().then_some(view)
    }
}
