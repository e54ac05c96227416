//! What people ask of a running network.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use atoll_wire::Mac;

use crate::{Addresses, DhcpOptions, Documents, ForwardId, StaticLease, WatchId};

/// One change to a running network.
#[derive(Clone, Debug)]
pub enum Command {
    /// Connections and datagrams that come to a host port go to a guest. The runtime has bound the port already.
    AddForward {
        /// Its name from now on.
        forward: ForwardId,
        /// Which guest.
        guest: ForwardTarget,
        /// Which port of the guest.
        port: u16,
    },
    /// The forward's guests see its clients at their own addresses, where they can answer them; else, as without this, at the gateway's.
    /// Holds for connections and clients that come from now on.
    KeepSource(ForwardId),
    /// The forward takes no more connections; those it has go on.
    RemoveForward(ForwardId),
    /// Tell by [`Action::Listening`](crate::Action::Listening) at which ports a guest listens, from when it says so. While there is a watch
    /// guests find [`AGENT`](crate::AGENT), and report, at the metadata service.
    Watch {
        /// Its name from now on.
        watch: WatchId,
        /// Which guest.
        guest: ForwardTarget,
    },
    /// Nobody wants to know any more.
    Unwatch(WatchId),
    /// The host's resolvers changed.
    SetResolvers(Vec<SocketAddr>),
    /// An address belongs to a MAC address for good. Replaces the MAC's earlier one.
    SetStaticLease(StaticLease),
    /// The address that a MAC address had for good is free for anybody.
    RemoveStaticLease(Mac),
    /// What one guest is told by DHCP beside the network's own options, in place of what it was told before.
    SetDhcpOptions {
        /// Its MAC address.
        mac: Mac,
        /// Its options; none removes them.
        options: DhcpOptions,
    },
    /// A configured name. Relative to the domain, or absolute when it holds a dot.
    SetName {
        /// The name.
        name: String,
        /// Its addresses, of either family; none removes it.
        addresses: Vec<IpAddr>,
    },
    /// The documents that the port with this label may read; empty removes them.
    SetDocuments {
        /// Label of the port.
        label: String,
        /// Its documents.
        documents: Documents,
    },
    /// Who routes for the guests of a shared or routed network: the host's side of the link; `None` when it is gone. Router advertisements are
    /// sent in its name, to guests only.
    SetRouter(Option<Router>),
    /// The addresses that the host has now, for rules that speak of them.
    SetHostAddresses(Vec<IpAddr>),
    /// Whether every frame that passes the switch is reported.
    SetCapture(bool),
    /// The network is about to end: guests are told that it has no router any more. Frames are to be written out after this.
    Shutdown,
}

/// The host's side of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Router {
    /// Its MAC address.
    pub mac: Mac,
    /// Its link-local address (RFC 4861, 6.1.2: a router advertises from it).
    pub link_local: Ipv6Addr,
}

/// Where a forward leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardTarget {
    /// An address of the network.
    Address(IpAddr),
    /// A name of the network, looked up at every connection.
    Name(String),
    /// A guest by its MAC address, at an address that it was heard to have.
    Mac(Mac),
    /// Several guests: connections go to each in turn, datagrams of one client to one of them. A guest that refuses or does not answer is
    /// passed over, for a while also by those who come after.
    OneOf(Vec<Self>),
}

/// Why a command was not carried out; nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The address is not for guests.
    #[error("{address} is not an address for a guest of {network}")]
    NotAGuestAddress {
        /// The address.
        address: IpAddr,
        /// The network's.
        network: Addresses,
    },
    /// Somebody else has the address for good.
    #[error("{address} belongs to another machine")]
    AddressTaken {
        /// The address.
        address: IpAddr,
    },
    /// The id is in use already.
    #[error("forward {0:?} exists already")]
    DuplicateForward(ForwardId),
}
