//! The learning switch.
//!
//! Every port has an egress queue bounded in frames and bytes: a port that stops reading loses its own frames only. A frame
//! goes to the port where its destination was last heard, in a form which that port takes (see [`segment`]); broadcast, multicast and unknown unicast go to every port but the
//! one they came from, and to the gateway.
//!
//! The table is bounded *per port*: a guest that invents source addresses forgets its own, never a neighbour's. An address
//! that moves to another port is learnt anew at its first frame there (migration, VRRP). The gateway's address is never learnt.
//!
//! Frames of VLANs go through as they are, and each VLAN has addresses of its own: what a station says in one is nothing to the others, nor to
//! the gateway, which is in none. There is no list of VLANs for each port; whoever has a tag's number hears it ([`vlans`](crate::gateway)).
//!
//! A port may be an *uplink*, behind which is the host's LAN and not a guest. Frames never go from one uplink to another (split horizon), nor
//! from the gateway to any. An address that was heard at a guest's port does not move to an uplink before it is forgotten there or that port goes: what
//! the LAN says in a guest's name is not believed. Guests of an isolated network reach uplinks, and not each other. Where each guest's address has an uplink of its own,
//! see [`wires`].

mod egress;
mod table;
mod wires;

use std::collections::{BTreeMap, VecDeque};

use atoll_wire::{BadOffload, Frame, Mac, Offloads, segment};

use crate::counters::{Counter, Counters};
use crate::rng::KeyedHash;
use crate::{Config, Instant, Limits, PortConfig, PortId, PortPolicySnapshot, PortSnapshot, Side};
use egress::Egress;
use table::MacTable;
pub(crate) use table::Station;
pub(crate) use wires::Change;
use wires::{Place, Wires};

/// One port: its queue and what is known of it.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) config: PortConfig,
    pub(crate) egress: Egress,
    rx_frames: u64,
    rx_bytes: u64,
    /// Guests hear broadcasts of their own group.
    group: u32,
}

impl Port {
    fn receive(&mut self, len: usize) {
        self.rx_frames += 1;
        self.rx_bytes += len as u64;
    }

    /// Whether the port is meant by a target that means several, and `group` by its sender.
    fn hears(&self, id: PortId, target: Target, group: Option<u32>) -> bool {
        let side = self.config.side;
        match target {
            Target::AllBut(ingress) => {
                id != ingress && (side != Side::Guest || group.is_none_or(|group| group == self.group))
            }
            Target::Guests => side == Side::Guest,
            Target::Uplinks => side == Side::Uplink,
            Target::Port(_) | Target::Nobody => false,
        }
    }

    /// Queue a frame, in a form that the port takes.
    fn deliver(&mut self, id: PortId, frame: Frame, woken: &mut Vec<PortId>, counters: &mut Counters) {
        if self.config.offloads.take(frame.offload) {
            return self.egress.push(id, frame, woken, counters);
        }
        match segment::plain(&frame) {
            Ok(frames) => {
                for frame in frames {
                    self.egress.push(id, frame, woken, counters);
                }
            }
            Err(BadOffload) => counters.count(Counter::Malformed),
        }
    }
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One port.
    Port(PortId),
    /// Every port but this one.
    AllBut(PortId),
    /// Every guest's port.
    Guests,
    /// Every uplink that is not pinned.
    Uplinks,
    /// Nobody: both ends are behind the port it came from (IEEE 802.1Q, 8.6.1).
    Nobody,
}

#[derive(Debug)]
pub(crate) struct Switch {
    ports: BTreeMap<PortId, Port>,
    table: MacTable,
    /// Where each guest's address has an uplink of its own.
    wires: Option<Wires>,
    /// What is to be done about wires.
    changes: Vec<Change>,
    /// How many of the ports are uplinks.
    uplinks: usize,
    isolate: bool,
    limits: Limits,
    nothing: VecDeque<Frame>,
}

impl Switch {
    pub(crate) fn new(config: &Config, hash: KeyedHash) -> Self {
        let limits = config.limits;
        Self {
            ports: BTreeMap::new(),
            table: MacTable::new(limits.mac_table, hash),
            wires: config.pinned_uplinks.then(Wires::default),
            changes: Vec::new(),
            uplinks: 0,
            isolate: config.isolate,
            limits,
            nothing: VecDeque::new(),
        }
    }

    pub(crate) fn port(&self, port: PortId) -> Option<&Port> {
        self.ports.get(&port)
    }

    /// What the port behind which `mac` was last heard takes.
    pub(crate) fn offloads_towards(&self, now: Instant, mac: Mac) -> Offloads {
        let port = self.port_of(now, mac);
        port.and_then(|port| self.ports.get(&port))
            .map_or(Offloads::default(), |port| port.config.offloads)
    }

    /// Whether the port behind which `mac` was last heard has room for datagrams of the host.
    pub(crate) fn takes_datagrams(&self, now: Instant, mac: Mac) -> bool {
        let port = self.port_of(now, mac);
        port.and_then(|port| self.ports.get(&port))
            .is_none_or(|port| port.egress.takes_datagrams())
    }

    pub(crate) fn egress(&self, port: PortId) -> &VecDeque<Frame> {
        self.ports
            .get(&port)
            .map_or(&self.nothing, |port| port.egress.frames())
    }

    /// Where `mac` was last heard without a tag.
    pub(crate) fn port_of(&self, now: Instant, mac: Mac) -> Option<PortId> {
        self.table.port_of(now, Station::untagged(mac))
    }

    /// Where a station was last heard.
    pub(crate) fn port_of_station(&self, now: Instant, station: Station) -> Option<PortId> {
        self.table.port_of(now, station)
    }

    /// What is behind a port, if there is such a port.
    pub(crate) fn side(&self, port: PortId) -> Option<Side> {
        self.ports.get(&port).map(|port| port.config.side)
    }

    /// The guests' ports with this label.
    pub(crate) fn labelled<'s>(&'s self, label: &'s str) -> impl Iterator<Item = PortId> + 's {
        let labelled = move |(_, port): &(&PortId, &Port)| port.config.label.as_deref() == Some(label);
        self.ports.iter().filter(labelled).map(|(id, _)| *id)
    }

    /// The addresses that were heard at a port.
    pub(crate) fn macs_of(&self, now: Instant, port: PortId) -> Vec<Mac> {
        self.table.macs_of(now, port)
    }

    /// What is to be done about pinned uplinks since this was last asked.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// A port, whose guest is of this group.
    pub(crate) fn attach(&mut self, port: PortId, config: PortConfig, group: u32) {
        if let Side::Pinned(mac) = config.side
            && !self.wires.as_mut().is_some_and(|wires| wires.connect(mac, port))
        {
            self.changes.push(Change::Close(mac));
        }
        let egress = Egress::new(self.limits.egress_frames, self.limits.egress_bytes);
        self.ports.insert(
            port,
            Port {
                config,
                egress,
                rx_frames: 0,
                rx_bytes: 0,
                group,
            },
        );
        self.count_uplinks();
    }

    pub(crate) fn detach(&mut self, port: PortId) {
        self.ports.remove(&port);
        self.table.forget_port(port);
        if let Some(wires) = &mut self.wires {
            wires.disconnect(port);
            let gone = wires.forget_guest(port);
            self.changes.extend(gone.into_iter().map(Change::Close));
        }
        self.count_uplinks();
    }

    fn count_uplinks(&mut self) {
        let is_uplink = |port: &&Port| port.config.side != Side::Guest;
        self.uplinks = self.ports.values().filter(is_uplink).count();
    }

    /// Whether no guest is attached.
    pub(crate) fn is_deserted(&self) -> bool {
        self.ports.len() == self.uplinks
    }

    /// Note where a frame came from, and tell what is there. `None` when there is no such port, or when its sender is somebody else's to
    /// name.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        ingress: PortId,
        mut src: Station,
        len: usize,
        counters: &mut Counters,
    ) -> Option<Side> {
        let port = self.ports.get_mut(&ingress)?;
        port.receive(len);
        let side = port.config.side;
        if self.wires.is_some() {
            // A wire is its address's whatever the tags.
            src = Station::untagged(src.mac);
        }
        let is_permitted = match (side, self.wires.is_some()) {
            (Side::Guest, false) => true,
            (Side::Guest, true) => self.has_wire(now, src.mac, ingress),
            // By a macvtap other guests of the network are heard, too; and where an address is matters to nobody.
            (Side::Uplink | Side::Pinned(_), true) => return Some(side),
            (Side::Uplink | Side::Pinned(_), false) => !self.is_guests_station(now, src),
        };
        if !is_permitted {
            counters.count(Counter::Spoofed);
            return None;
        }
        if self.table.learn(now, src, ingress) {
            counters.count(Counter::MacEvicted);
        }
        Some(side)
    }

    /// Whether an address was heard at a guest's port, without a tag.
    pub(crate) fn is_guests(&self, now: Instant, mac: Mac) -> bool {
        self.is_guests_station(now, Station::untagged(mac))
    }

    fn is_guests_station(&self, now: Instant, station: Station) -> bool {
        let port = self.table.port_of(now, station);
        port.and_then(|port| self.side(port)) == Some(Side::Guest)
    }

    /// Whether an address may speak at a guest's port: it has a wire there, or gets one.
    fn has_wire(&mut self, now: Instant, mac: Mac, guest: PortId) -> bool {
        let Some(wires) = &mut self.wires else {
            return true;
        };
        let table = &self.table;
        let is_forgotten = |mac| table.port_of(now, Station::untagged(mac)).is_none();
        match wires.place(mac, guest, is_forgotten) {
            Place::Here => true,
            Place::Elsewhere | Place::Full => false,
            Place::Free(victim) => {
                if let Some(victim) = victim.filter(|victim| wires.remove(*victim)) {
                    self.changes.push(Change::Close(victim));
                }
                wires.insert(mac, guest);
                self.changes.push(Change::Open(mac));
                true
            }
        }
    }

    /// Count a frame of a station that was learnt at this instant.
    pub(crate) fn received(&mut self, ingress: PortId, len: usize) {
        if let Some(port) = self.ports.get_mut(&ingress) {
            port.receive(len);
        }
    }

    /// Where a frame of the gateway's for `dst` goes: to guests only.
    pub(crate) fn target_from_gateway(&self, now: Instant, dst: Mac) -> Target {
        if dst.is_group() {
            return Target::Guests;
        }
        match self.port_of(now, dst) {
            Some(port) if self.uplinks > 0 && self.side(port) != Some(Side::Guest) => Target::Nobody,
            Some(port) => Target::Port(port),
            None => Target::Guests,
        }
    }

    /// Where a frame from `src` for `dst` goes that came from the port `ingress`, in the sender's VLAN.
    pub(crate) fn target(&self, now: Instant, (src, dst): (Station, Mac), ingress: PortId) -> Target {
        if dst.is_reserved_group() {
            return Target::Nobody;
        }
        if let Some(wires) = &self.wires {
            return self.along_wire(wires, (src.mac, dst), ingress);
        }
        let known = if dst.is_group() {
            None
        } else {
            let vlan = src.vlan;
            self.table.port_of(now, Station { mac: dst, vlan })
        };
        if known == Some(ingress) {
            return Target::Nobody;
        }
        if self.uplinks == 0 && !self.isolate {
            return known.map_or(Target::AllBut(ingress), Target::Port);
        }
        let from_guest = self.side(ingress) == Some(Side::Guest);
        let to_guest = known.map(|port| self.side(port) == Some(Side::Guest));
        match (from_guest, to_guest, known) {
            // Uplinks are strangers to each other, and guests of an isolated network are.
            (false, Some(false), _) => Target::Nobody,
            (true, Some(true), _) if self.isolate => Target::Nobody,
            (_, _, Some(port)) => Target::Port(port),
            (false, ..) => Target::Guests,
            (true, ..) if self.isolate => Target::Uplinks,
            (true, ..) => Target::AllBut(ingress),
        }
    }

    fn along_wire(&self, wires: &Wires, (src, dst): (Mac, Mac), ingress: PortId) -> Target {
        let end = match self.side(ingress) {
            Some(Side::Guest) => wires.uplink_of(src),
            // The kernel joins guests whom the network keeps apart.
            Some(Side::Pinned(_)) if self.isolate && wires.guest_of(src).is_some() => None,
            Some(Side::Pinned(mac)) if dst == mac => wires.guest_of(mac),
            Some(Side::Pinned(mac)) if dst.is_group() && wires.hears_groups(mac, src) => wires.guest_of(mac),
            _ => None,
        };
        end.map_or(Target::Nobody, Target::Port)
    }

    /// The group whose guests hear what goes to this target; `None` where all do.
    fn group_of(&self, target: Target) -> Option<u32> {
        let Target::AllBut(ingress) = target else {
            return None;
        };
        self.ports.get(&ingress).map(|port| port.group)
    }

    /// Whether two ports may speak to each other: guests of one group, or a guest and an uplink.
    pub(crate) fn are_of_one_group(&self, one: PortId, other: PortId) -> bool {
        let group = |id| {
            let port = self.ports.get(&id)?;
            (port.config.side == Side::Guest).then_some(port.group)
        };
        group(one).is_none_or(|one| group(other).is_none_or(|other| one == other))
    }

    /// The ports that [`Switch::send`] would give a frame.
    pub(crate) fn receivers(&self, target: Target) -> Vec<PortId> {
        if let Target::Port(port) = target {
            return vec![port];
        }
        let group = self.group_of(target);
        let ports = self.ports.iter();
        ports
            .filter(|(id, port)| port.hears(**id, target, group))
            .map(|(id, _)| *id)
            .collect()
    }

    /// How many stations were heard behind a port and are remembered.
    pub(crate) fn stations_of(&self, now: Instant, port: PortId) -> usize {
        self.table.macs_of(now, port).len()
    }

    /// Queue a frame. Ports whose queue was empty are added to `woken`.
    pub(crate) fn send(
        &mut self,
        target: Target,
        frame: Frame,
        woken: &mut Vec<PortId>,
        counters: &mut Counters,
    ) {
        match target {
            Target::Port(id) => {
                if let Some(port) = self.ports.get_mut(&id) {
                    port.deliver(id, frame, woken, counters);
                }
            }
            Target::AllBut(_) | Target::Guests | Target::Uplinks => {
                let group = self.group_of(target);
                for (&id, port) in &mut self.ports {
                    if port.hears(id, target, group) {
                        port.deliver(id, frame.clone(), woken, counters);
                    }
                }
            }
            Target::Nobody => {}
        }
    }

    /// The port took `frames` frames. Returns whether its queue is now short enough for more bulk data.
    pub(crate) fn transmitted(&mut self, port: PortId, frames: usize) -> bool {
        self.ports
            .get_mut(&port)
            .is_some_and(|port| port.egress.pop(frames))
    }

    /// Bytes of bulk data that the port has room for before its queue is long.
    pub(crate) fn room(&self, port: PortId) -> u32 {
        let room = self.ports.get(&port).map(|port| port.egress.room());
        u32::try_from(room.unwrap_or(self.limits.egress_bytes)).unwrap_or(u32::MAX)
    }

    pub(crate) fn snapshot(&self, now: Instant) -> Vec<PortSnapshot> {
        let picture = |(&id, port): (&PortId, &Port)| PortSnapshot {
            port: id,
            label: port.config.label.clone(),
            side: port.config.side,
            macs: self.table.macs_of(now, id),
            addresses: Vec::new(),
            rx_frames: port.rx_frames,
            rx_bytes: port.rx_bytes,
            tx_frames: port.egress.sent_frames(),
            tx_bytes: port.egress.sent_bytes(),
            tx_dropped: port.egress.dropped(),
            queued: port.egress.frames().len(),
            policy: PortPolicySnapshot::default(),
        };
        self.ports.iter().map(picture).collect()
    }
}

#[cfg(test)]
mod tests;
