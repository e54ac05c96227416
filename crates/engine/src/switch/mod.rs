//! The learning switch.
//!
//! Every port has an egress queue bounded in frames and bytes: a port that stops reading loses its own frames only. A frame
//! goes to the port where its destination was last heard, in a form which that port takes (see [`segment`]); broadcast, multicast and unknown unicast go to every port but the
//! one they came from, and to the gateway.
//!
//! The table is bounded *per port*: a guest that invents source addresses forgets its own, never a neighbour's. An address
//! that moves to another port is learnt anew at its first frame there (migration, VRRP). The gateway's address is never learnt.
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
use crate::{Config, Instant, Limits, PortConfig, PortId, PortSnapshot, Side};
use egress::Egress;
use table::MacTable;
pub(crate) use wires::Change;
use wires::{Place, Wires};

/// One port: its queue and what is known of it.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) config: PortConfig,
    pub(crate) egress: Egress,
    rx_frames: u64,
    rx_bytes: u64,
}

impl Port {
    fn receive(&mut self, len: usize) {
        self.rx_frames += 1;
        self.rx_bytes += len as u64;
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
        let port = self.table.port_of(now, mac);
        port.and_then(|port| self.ports.get(&port))
            .map_or(Offloads::default(), |port| port.config.offloads)
    }

    /// Whether the port behind which `mac` was last heard has room for datagrams of the host.
    pub(crate) fn takes_datagrams(&self, now: Instant, mac: Mac) -> bool {
        let port = self.table.port_of(now, mac);
        port.and_then(|port| self.ports.get(&port))
            .is_none_or(|port| port.egress.takes_datagrams())
    }

    pub(crate) fn egress(&self, port: PortId) -> &VecDeque<Frame> {
        self.ports
            .get(&port)
            .map_or(&self.nothing, |port| port.egress.frames())
    }

    /// Where `mac` was last heard.
    pub(crate) fn port_of(&self, now: Instant, mac: Mac) -> Option<PortId> {
        self.table.port_of(now, mac)
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

    pub(crate) fn attach(&mut self, port: PortId, config: PortConfig) {
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
        src: Mac,
        len: usize,
        counters: &mut Counters,
    ) -> Option<Side> {
        let port = self.ports.get_mut(&ingress)?;
        port.receive(len);
        let side = port.config.side;
        let is_permitted = match (side, self.wires.is_some()) {
            (Side::Guest, false) => true,
            (Side::Guest, true) => self.has_wire(now, src, ingress),
            // By a macvtap other guests of the network are heard, too; and where an address is matters to nobody.
            (Side::Uplink | Side::Pinned(_), true) => return Some(side),
            (Side::Uplink | Side::Pinned(_), false) => !self.is_guests(now, src),
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

    /// Whether an address was heard at a guest's port.
    pub(crate) fn is_guests(&self, now: Instant, mac: Mac) -> bool {
        let port = self.table.port_of(now, mac);
        port.and_then(|port| self.side(port)) == Some(Side::Guest)
    }

    /// Whether an address may speak at a guest's port: it has a wire there, or gets one.
    fn has_wire(&mut self, now: Instant, mac: Mac, guest: PortId) -> bool {
        let Some(wires) = &mut self.wires else {
            return true;
        };
        let table = &self.table;
        match wires.place(mac, guest, |mac| table.port_of(now, mac).is_none()) {
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
        match self.table.port_of(now, dst) {
            Some(port) if self.uplinks > 0 && self.side(port) != Some(Side::Guest) => Target::Nobody,
            Some(port) => Target::Port(port),
            None => Target::Guests,
        }
    }

    /// Where a frame from `src` for `dst` goes that came from the port `ingress`.
    pub(crate) fn target(&self, now: Instant, (src, dst): (Mac, Mac), ingress: PortId) -> Target {
        if dst.is_reserved_group() {
            return Target::Nobody;
        }
        if let Some(wires) = &self.wires {
            return self.along_wire(wires, (src, dst), ingress);
        }
        let known = if dst.is_group() {
            None
        } else {
            self.table.port_of(now, dst)
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
            Target::AllBut(ingress) => self.flood(&frame, |id, _| id != ingress, woken, counters),
            Target::Guests => self.flood(&frame, |_, side| side == Side::Guest, woken, counters),
            Target::Uplinks => self.flood(&frame, |_, side| side == Side::Uplink, woken, counters),
            Target::Nobody => {}
        }
    }

    fn flood(
        &mut self,
        frame: &Frame,
        is_meant: impl Fn(PortId, Side) -> bool,
        woken: &mut Vec<PortId>,
        counters: &mut Counters,
    ) {
        let ports = self.ports.iter_mut();
        for (&id, port) in ports.filter(|(id, port)| is_meant(**id, port.config.side)) {
            port.deliver(id, frame.clone(), woken, counters);
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
        };
        self.ports.iter().map(picture).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use atoll_wire::{Checksum, EthernetProtocol, FrameBuf, Gso, IpProtocol, Offload, packet};
    use bytes::Bytes;
    use std::net::Ipv4Addr;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const C: Mac = Mac([2, 0, 0, 0, 0, 3]);

    struct Bench {
        switch: Switch,
        counters: Counters,
    }

    impl Bench {
        fn with_ports(count: u32) -> Self {
            let mut bench = Self::of(|_| {});
            for port in 0..count {
                bench.switch.attach(PortId(port), PortConfig::default());
            }
            bench
        }

        fn of(configure: impl FnOnce(&mut Config)) -> Self {
            let mut config = Config::new(crate::Addresses::default());
            config.limits = Limits {
                mac_table: 4,
                egress_frames: 2,
                ..Limits::default()
            };
            configure(&mut config);
            Self {
                switch: Switch::new(&config, Rng::new([7; 32]).keyed_hash()),
                counters: Counters::new(),
            }
        }

        fn attach(&mut self, port: u32, side: Side) {
            let config = PortConfig {
                side,
                ..PortConfig::default()
            };
            self.switch.attach(PortId(port), config);
        }

        fn target(&self, pair: (Mac, Mac), ingress: u32) -> Target {
            self.switch.target(Instant::ZERO, pair, PortId(ingress))
        }

        fn heard(&mut self, port: u32, mac: Mac) {
            let learnt = self
                .switch
                .learn(Instant::ZERO, PortId(port), mac, 60, &mut self.counters);
            assert!(learnt.is_some());
        }

        fn send(&mut self, dst: Mac, ingress: u32) {
            let target = self.target((C, dst), ingress);
            let frame = Frame::plain(Bytes::from_static(&[0; 60]));
            self.switch
                .send(target, frame, &mut Vec::new(), &mut self.counters);
        }

        fn queued(&self) -> Vec<usize> {
            self.switch
                .ports
                .keys()
                .map(|&port| self.switch.egress(port).len())
                .collect()
        }
    }

    #[test]
    fn a_learnt_address_gets_its_frames_alone() {
        let mut bench = Bench::with_ports(3);
        bench.heard(1, B);
        bench.send(B, 0);
        assert_eq!(bench.queued(), [0, 1, 0]);
    }

    #[test]
    fn unknown_unicast_and_groups_reach_all_but_the_sender() {
        let mut bench = Bench::with_ports(3);
        bench.send(B, 0);
        bench.send(Mac::BROADCAST, 2);
        assert_eq!(bench.queued(), [1, 2, 1]);
    }

    #[test]
    fn a_large_segment_is_cut_for_the_port_that_needs_it_and_for_no_other() {
        let mut bench = Bench::with_ports(1);
        let offloads = Offloads {
            checksum: true,
            tcp4: true,
            ..Offloads::default()
        };
        let config = PortConfig {
            offloads,
            ..PortConfig::default()
        };
        bench.switch.attach(PortId(1), config);
        let mut woken = Vec::new();
        bench
            .switch
            .send(Target::Guests, large(100), &mut woken, &mut bench.counters);
        assert_eq!(bench.queued(), [2, 1]);
        bench
            .switch
            .send(Target::Guests, large(0), &mut woken, &mut bench.counters);
        assert_eq!(bench.queued(), [2, 2]);
        assert_eq!(bench.counters.get(Counter::Malformed), 1);
    }

    /// 150 bytes of TCP payload, to be cut at `size`.
    fn large(size: u16) -> Frame {
        let mut buf = FrameBuf::zeroed(150);
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3));
        atoll_wire::tcp::Header::default().push_partial(&mut buf, src, dst);
        let header = packet::Ipv4Header {
            src,
            dst,
            protocol: IpProtocol::Tcp,
            ttl: 64,
            ident: 0,
            dont_fragment: true,
        };
        packet::push_ipv4(&mut buf, &header);
        packet::push_ethernet(&mut buf, A, B, EthernetProtocol::Ipv4);
        buf.freeze(Offload {
            checksum: Checksum::Partial {
                start: 34,
                offset: 16,
            },
            gso: Gso::Tcp4 { size },
        })
    }

    #[test]
    fn a_port_that_does_not_read_loses_its_own_frames_only() {
        let mut bench = Bench::with_ports(3);
        bench.heard(1, A);
        bench.heard(2, B);
        for _ in 0..5 {
            bench.send(A, 0);
        }
        bench.send(B, 0);
        assert_eq!(bench.queued(), [0, 2, 1]);
        assert_eq!(bench.counters.get(Counter::EgressDropped), 3);
    }

    #[test]
    fn a_guest_that_invents_addresses_forgets_only_its_own() {
        let mut bench = Bench::with_ports(2);
        bench.heard(0, A);
        for last in 10..30 {
            bench.heard(1, Mac([2, 0, 0, 0, 1, last]));
        }
        assert_eq!(bench.switch.port_of(Instant::ZERO, A), Some(PortId(0)));
        assert_eq!(bench.switch.table.macs_of(Instant::ZERO, PortId(1)).len(), 4);
    }

    #[test]
    fn an_address_moves_with_its_first_frame() {
        let mut bench = Bench::with_ports(2);
        bench.heard(0, A);
        bench.heard(1, A);
        assert_eq!(bench.switch.port_of(Instant::ZERO, A), Some(PortId(1)));
        assert!(bench.switch.table.macs_of(Instant::ZERO, PortId(0)).is_empty());
    }

    /// Guests at 0 and 1, uplinks at 2 and 3; A, B and C are heard at 0, 1 and 2.
    fn with_uplinks(isolate: bool) -> Bench {
        let mut bench = Bench::of(|config| config.isolate = isolate);
        for (port, side) in [
            (0, Side::Guest),
            (1, Side::Guest),
            (2, Side::Uplink),
            (3, Side::Uplink),
        ] {
            bench.attach(port, side);
        }
        bench.heard(0, A);
        bench.heard(1, B);
        bench.heard(2, C);
        bench
    }

    const UNKNOWN: Mac = Mac([2, 0, 0, 0, 0, 9]);

    #[test]
    fn frames_never_go_from_uplink_to_uplink() {
        for isolate in [false, true] {
            let bench = with_uplinks(isolate);
            assert_eq!(bench.target((UNKNOWN, C), 3), Target::Nobody);
            assert_eq!(bench.target((C, UNKNOWN), 2), Target::Guests);
            assert_eq!(bench.target((C, Mac::BROADCAST), 2), Target::Guests);
            assert_eq!(bench.target((C, A), 2), Target::Port(PortId(0)));
        }
    }

    #[test]
    fn isolated_guests_reach_uplinks_and_not_each_other() {
        let bench = with_uplinks(true);
        assert_eq!(bench.target((A, B), 0), Target::Nobody);
        assert_eq!(bench.target((A, C), 0), Target::Port(PortId(2)));
        assert_eq!(bench.target((A, Mac::BROADCAST), 0), Target::Uplinks);
        assert_eq!(bench.target((A, UNKNOWN), 0), Target::Uplinks);
    }

    #[test]
    fn the_gateway_speaks_to_guests_only() {
        let bench = with_uplinks(false);
        let target = |dst| bench.switch.target_from_gateway(Instant::ZERO, dst);
        assert_eq!(target(A), Target::Port(PortId(0)));
        assert_eq!(target(C), Target::Nobody);
        assert_eq!(target(UNKNOWN), Target::Guests);
        assert_eq!(target(Mac::BROADCAST), Target::Guests);
    }

    #[test]
    fn a_guests_address_does_not_move_to_an_uplink() {
        let mut bench = with_uplinks(false);
        let switch = &mut bench.switch;
        assert_eq!(
            switch.learn(Instant::ZERO, PortId(2), A, 60, &mut bench.counters),
            None
        );
        assert_eq!(switch.port_of(Instant::ZERO, A), Some(PortId(0)));
        assert_eq!(bench.counters.get(Counter::Spoofed), 1);
        switch.detach(PortId(0));
        assert_ne!(
            switch.learn(Instant::ZERO, PortId(2), A, 60, &mut bench.counters),
            None
        );
        assert_eq!(switch.port_of(Instant::ZERO, A), Some(PortId(2)));
    }

    #[test]
    fn a_lan_of_many_stations_evicts_no_guest() {
        let mut bench = with_uplinks(false);
        for last in 10..90 {
            bench.heard(2, Mac([2, 0, 0, 0, 1, last]));
        }
        assert_eq!(bench.switch.port_of(Instant::ZERO, A), Some(PortId(0)));
        assert_eq!(bench.switch.port_of(Instant::ZERO, B), Some(PortId(1)));
        assert_eq!(bench.switch.macs_of(Instant::ZERO, PortId(2)).len(), 4);
    }

    /// Guests at 0 and 1, where A and B have spoken, with uplinks at 2 and 3.
    fn with_wires(isolate: bool) -> Bench {
        let mut bench = Bench::of(|config| {
            config.pinned_uplinks = true;
            config.isolate = isolate;
            config.limits.mac_table = 64;
        });
        bench.attach(0, Side::Guest);
        bench.attach(1, Side::Guest);
        bench.heard(0, A);
        bench.heard(1, B);
        assert_eq!(bench.switch.take_changes(), [Change::Open(A), Change::Open(B)]);
        bench.attach(2, Side::Pinned(A));
        bench.attach(3, Side::Pinned(B));
        bench
    }

    #[test]
    fn frames_go_along_their_wire_and_nowhere_else() {
        let bench = with_wires(false);
        for dst in [B, UNKNOWN, Mac::BROADCAST] {
            assert_eq!(bench.target((A, dst), 0), Target::Port(PortId(2)));
        }
        assert_eq!(bench.target((UNKNOWN, A), 2), Target::Port(PortId(0)));
        assert_eq!(
            bench.target((UNKNOWN, Mac::BROADCAST), 2),
            Target::Port(PortId(0))
        );
        assert_eq!(bench.target((B, Mac::BROADCAST), 2), Target::Port(PortId(0)));
        assert_eq!(bench.target((UNKNOWN, B), 2), Target::Nobody);
        // The kernel brings a guest's own broadcast to none but the others.
        assert_eq!(bench.target((A, Mac::BROADCAST), 2), Target::Nobody);
    }

    #[test]
    fn wires_keep_isolated_guests_apart() {
        let bench = with_wires(true);
        assert_eq!(bench.target((B, A), 2), Target::Nobody);
        assert_eq!(bench.target((B, Mac::BROADCAST), 2), Target::Nobody);
        assert_eq!(bench.target((UNKNOWN, A), 2), Target::Port(PortId(0)));
    }

    #[test]
    fn a_guest_does_not_get_the_wire_of_another() {
        let mut bench = with_wires(false);
        let switch = &mut bench.switch;
        assert_eq!(
            switch.learn(Instant::ZERO, PortId(1), A, 60, &mut bench.counters),
            None
        );
        assert_eq!(switch.port_of(Instant::ZERO, A), Some(PortId(0)));
        switch.detach(PortId(0));
        assert_eq!(switch.take_changes(), [Change::Close(A)]);
        assert_ne!(
            switch.learn(Instant::ZERO, PortId(1), A, 60, &mut bench.counters),
            None
        );
        assert_eq!(switch.take_changes(), [Change::Open(A)]);
    }

    #[test]
    fn a_guest_that_invents_addresses_gets_few_wires() {
        let mut bench = with_wires(false);
        for last in 10..90 {
            let mac = Mac([2, 0, 0, 0, 1, last]);
            let switch = &mut bench.switch;
            let _ = switch.learn(Instant::ZERO, PortId(1), mac, 60, &mut bench.counters);
        }
        assert_eq!(bench.switch.take_changes().len(), wires::WIRES_OF_ONE - 1);
    }

    #[test]
    fn a_wire_whose_uplink_went_is_asked_for_again() {
        let mut bench = with_wires(false);
        bench.switch.detach(PortId(2));
        assert_eq!(bench.switch.take_changes(), []);
        assert_eq!(bench.target((A, B), 0), Target::Nobody);
        bench.heard(0, A);
        assert_eq!(bench.switch.take_changes(), [Change::Open(A)]);
    }

    #[test]
    fn a_silent_address_is_forgotten() {
        let mut bench = Bench::with_ports(2);
        bench.heard(0, A);
        let later = Instant::ZERO + table::AGEING;
        assert_eq!(bench.switch.port_of(later, A), None);
    }

    #[test]
    fn a_detached_port_leaves_nothing() {
        let mut bench = Bench::with_ports(2);
        bench.heard(1, A);
        bench.switch.detach(PortId(1));
        assert_eq!(bench.switch.port_of(Instant::ZERO, A), None);
        let learnt = bench
            .switch
            .learn(Instant::ZERO, PortId(1), A, 60, &mut bench.counters);
        assert_eq!(learnt, None);
    }
}
