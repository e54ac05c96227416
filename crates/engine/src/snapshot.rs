//! A picture of the network at one moment, for people and for the state directory.

use std::net::{IpAddr, SocketAddr};

use atoll_wire::Mac;

use crate::{FlowId, Lease, Lease6, PortId, PortPolicySnapshot, Side};

/// The whole picture.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Ports in order of their ids.
    pub ports: Vec<PortSnapshot>,
    /// Dynamic leases that have not expired.
    pub leases: Vec<Lease>,
    /// Leases of IPv6 that have not expired.
    pub leases6: Vec<Lease6>,
    /// Names and addresses that DNS answers, without the domain.
    pub names: Vec<(String, IpAddr)>,
    /// Open flows.
    pub flows: Vec<FlowSnapshot>,
    /// Conversations with joined networks that are remembered.
    pub conversations: usize,
    /// What was counted since the start, by name; a name is never reused for something else.
    pub counters: Vec<(&'static str, u64)>,
}

/// One port.
#[derive(Clone, Debug)]
pub struct PortSnapshot {
    /// Its id.
    pub port: PortId,
    /// Its label, if it has one.
    pub label: Option<String>,
    /// What is behind it.
    pub side: Side,
    /// MAC addresses learnt on it.
    pub macs: Vec<Mac>,
    /// Addresses of guests behind it, as far as the gateway has learnt them; none at an uplink.
    pub addresses: Vec<IpAddr>,
    /// Frames that came from it.
    pub rx_frames: u64,
    /// Bytes that came from it.
    pub rx_bytes: u64,
    /// Frames it took.
    pub tx_frames: u64,
    /// Bytes it took.
    pub tx_bytes: u64,
    /// Frames lost because its queue was full.
    pub tx_dropped: u64,
    /// Frames that wait for it now.
    pub queued: usize,
    /// What the policy refused it.
    pub policy: PortPolicySnapshot,
}

/// One flow.
#[derive(Clone, Debug)]
pub struct FlowSnapshot {
    /// Its id.
    pub flow: FlowId,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: &'static str,
    /// The guest's side.
    pub guest: SocketAddr,
    /// The other side as the guest sees it.
    pub host: SocketAddr,
    /// Where it stands, in RFC words.
    pub state: &'static str,
}
