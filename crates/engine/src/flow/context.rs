//! What a flow holds while it acts, and what all flows share.

use super::held::Held;
use crate::lan::Lan;
use crate::rng::KeyedHash;
use crate::{AcceptId, FlowId, Instant, Listening, PortId};
use atoll_wire::packet::ip_len;
use atoll_wire::tcp::TCP_LEN;
use atoll_wire::{Endpoint, Family, Offloads, Seq};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;
use std::net::IpAddr;

/// What a flow holds while it acts.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) lan: &'a mut Lan,
    pub(crate) shared: &'a mut Shared,
}

/// What all flows share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Receive window of a TCP flow, in bytes.
    pub(crate) tcp_window: u32,
    /// DNS messages that came over TCP.
    pub(crate) dns_queries: Vec<(FlowId, Bytes)>,
    /// Ports at which guests said that they listen.
    pub(crate) reports: Vec<(FlowId, BTreeSet<Listening>)>,
    /// Flows that wait for room in a port's queue.
    pub(super) waiting: BTreeMap<PortId, BTreeSet<FlowId>>,
    /// Bytes of room for each of those that are called now.
    pub(super) share: u32,
    /// How many flows of a guest have much under way to it.
    pub(super) bulk: HashMap<IpAddr, u32, KeyedHash>,
    /// What flows hold for hosts that do not take it.
    pub(crate) held: Held,
    /// Connections of the host whose guest has answered.
    pub(crate) answered: Vec<AcceptId>,
    pub(super) hash: KeyedHash,
}

impl Shared {
    /// How many flows of the guest have much under way to it.
    pub(crate) fn bulk_flows(&self, guest: IpAddr) -> u32 {
        self.bulk.get(&guest).copied().unwrap_or(0)
    }

    pub(super) fn count_bulk(&mut self, guest: IpAddr, one_more: bool) {
        let flows = self.bulk.entry(guest).or_default();
        *flows = if one_more {
            *flows + 1
        } else {
            flows.saturating_sub(1)
        };
        if *flows == 0 {
            self.bulk.remove(&guest);
        }
    }
}

impl Cx<'_> {
    /// Payload of a full segment on the LAN.
    pub(crate) fn link_mss(&self, family: Family) -> u16 {
        let headers = u16::try_from(ip_len(family) + TCP_LEN).unwrap_or(60);
        self.lan.mtu.saturating_sub(headers)
    }

    /// Bytes of bulk data for which the guest's port has room; `None` when its queue is long, or others wait already.
    pub(crate) fn room_towards(&self, guest: IpAddr) -> Option<u32> {
        let Some(port) = self.port_of(guest) else {
            return Some(u32::from(u16::MAX));
        };
        let others = self.shared.waiting.get(&port);
        let room = self.lan.switch.room(port).min(self.shared.share);
        Some(room).filter(|room| *room > 0 && others.is_none_or(BTreeSet::is_empty))
    }

    /// Whether the guest's port has room for datagrams of the host.
    pub(crate) fn takes_datagrams(&self, guest: IpAddr) -> bool {
        let mac = self.lan.neighbors.mac_of(guest);
        mac.is_none_or(|mac| self.lan.switch.takes_datagrams(self.now, mac))
    }

    /// What the guest's port takes.
    pub(crate) fn offloads_towards(&self, guest: IpAddr) -> Offloads {
        let mac = self.lan.neighbors.mac_of(guest);
        mac.map_or(Offloads::default(), |mac| {
            self.lan.switch.offloads_towards(self.now, mac)
        })
    }

    /// The port behind which the guest was last heard.
    pub(crate) fn port_of(&self, guest: IpAddr) -> Option<PortId> {
        let mac = self.lan.neighbors.mac_of(guest)?;
        self.lan.switch.port_of(self.now, mac)
    }

    /// How many flows wait for room at the guest's port.
    pub(crate) fn waiting_for(&self, guest: IpAddr) -> usize {
        let flows = self
            .port_of(guest)
            .and_then(|port| self.shared.waiting.get(&port));
        flows.map_or(0, BTreeSet::len)
    }

    /// Call the flow when the guest's port, which is returned, has room again.
    pub(crate) fn wait_for_room(&mut self, guest: IpAddr, flow: FlowId) -> Option<PortId> {
        let port = self.port_of(guest)?;
        self.shared.waiting.entry(port).or_default().insert(flow);
        Some(port)
    }

    /// RFC 6528: a clock that ticks every 4 microseconds, and a keyed hash of who talks to whom.
    pub(crate) fn initial_sequence(&self, guest: Endpoint, remote: Endpoint) -> Seq {
        let ticks = self.now.elapsed().as_micros() / 4;
        let [a, b, c, d, ..] = self.shared.hash.hash_one((guest, remote)).to_le_bytes();
        let [e, f, g, h, ..] = ticks.to_le_bytes();
        Seq(u32::from_le_bytes([a, b, c, d]).wrapping_add(u32::from_le_bytes([e, f, g, h])))
    }
}
