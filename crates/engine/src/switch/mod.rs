//! The learning switch.
//!
//! Every port has an egress queue bounded in frames and bytes: a port that stops reading loses its own frames only. A frame
//! goes to the port where its destination was last heard, in a form which that port takes (see [`segment`]); broadcast, multicast and unknown unicast go to every port but the
//! one they came from, and to the gateway.
//!
//! The table is bounded *per port*: a guest that invents source addresses forgets its own, never a neighbour's. An address
//! that moves to another port is learnt anew at its first frame there (migration, VRRP). The gateway's address is never learnt.

mod egress;
mod table;

use std::collections::{BTreeMap, VecDeque};

use atoll_wire::{BadOffload, Frame, Mac, Offloads, segment};

use crate::counters::{Counter, Counters};
use crate::rng::KeyedHash;
use crate::{Instant, Limits, PortConfig, PortId, PortPolicySnapshot, PortSnapshot};
use egress::Egress;
use table::MacTable;

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
    AllBut(Option<PortId>),
    /// Nobody: both ends are behind the port it came from (IEEE 802.1Q, 8.6.1).
    Nobody,
}

#[derive(Debug)]
pub(crate) struct Switch {
    ports: BTreeMap<PortId, Port>,
    table: MacTable,
    limits: Limits,
    nothing: VecDeque<Frame>,
}

impl Switch {
    pub(crate) fn new(limits: Limits, hash: KeyedHash) -> Self {
        Self {
            ports: BTreeMap::new(),
            table: MacTable::new(limits.mac_table, hash),
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

    pub(crate) fn attach(&mut self, port: PortId, config: PortConfig, group: u32) {
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
    }

    pub(crate) fn detach(&mut self, port: PortId) {
        self.ports.remove(&port);
        self.table.forget_port(port);
    }

    /// Whether no port is attached.
    pub(crate) fn is_deserted(&self) -> bool {
        self.ports.is_empty()
    }

    /// Note where a frame came from. `false` when there is no such port.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        ingress: PortId,
        src: Mac,
        len: usize,
        counters: &mut Counters,
    ) -> bool {
        let Some(port) = self.ports.get_mut(&ingress) else {
            return false;
        };
        port.receive(len);
        if self.table.learn(now, src, ingress) {
            counters.count(Counter::MacEvicted);
        }
        true
    }

    /// Count a frame of a station that was learnt at this instant.
    pub(crate) fn received(&mut self, ingress: PortId, len: usize) {
        if let Some(port) = self.ports.get_mut(&ingress) {
            port.receive(len);
        }
    }

    /// Where a frame for `dst` goes that came from `ingress` (`None`: from the gateway).
    pub(crate) fn target(&self, now: Instant, dst: Mac, ingress: Option<PortId>) -> Target {
        if dst.is_reserved_group() {
            return Target::Nobody;
        }
        let known = if dst.is_group() {
            None
        } else {
            self.table.port_of(now, dst)
        };
        match known {
            None => Target::AllBut(ingress),
            known if known == ingress => Target::Nobody,
            Some(port) => Target::Port(port),
        }
    }

    /// The group of the guests behind a port.
    fn group_of(&self, port: PortId) -> Option<u32> {
        self.ports.get(&port).map(|port| port.group)
    }

    /// Whether two ports are of one group.
    pub(crate) fn are_of_one_group(&self, one: PortId, other: PortId) -> bool {
        self.group_of(one) == self.group_of(other)
    }

    /// The ports that [`Switch::send`] would give a frame.
    pub(crate) fn receivers(&self, target: Target) -> Vec<PortId> {
        match target {
            Target::Nobody => Vec::new(),
            Target::Port(port) => vec![port],
            Target::AllBut(ingress) => {
                let group = ingress.and_then(|ingress| self.group_of(ingress));
                let others = self.ports.iter().filter(|(id, _)| Some(**id) != ingress);
                others
                    .filter(|(_, port)| hears(port, group))
                    .map(|(id, _)| *id)
                    .collect()
            }
        }
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
            Target::AllBut(ingress) => {
                let group = ingress.and_then(|ingress| self.group_of(ingress));
                let others = self.ports.iter_mut().filter(|(id, _)| Some(**id) != ingress);
                for (&id, port) in others.filter(|(_, port)| hears(port, group)) {
                    port.deliver(id, frame.clone(), woken, counters);
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

/// Whether a port hears a broadcast of a group's; `None` is the gateway's.
fn hears(port: &Port, group: Option<u32>) -> bool {
    group.is_none_or(|group| group == port.group)
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

    struct Bench {
        switch: Switch,
        counters: Counters,
    }

    impl Bench {
        fn with_ports(count: u32) -> Self {
            let limits = Limits {
                mac_table: 4,
                egress_frames: 2,
                ..Limits::default()
            };
            let mut switch = Switch::new(limits, Rng::new([7; 32]).keyed_hash());
            for port in 0..count {
                switch.attach(PortId(port), PortConfig::default(), 0);
            }
            Self {
                switch,
                counters: Counters::new(),
            }
        }

        fn heard(&mut self, port: u32, mac: Mac) {
            assert!(
                self.switch
                    .learn(Instant::ZERO, PortId(port), mac, 60, &mut self.counters)
            );
        }

        fn send(&mut self, dst: Mac, ingress: u32) {
            let target = self.switch.target(Instant::ZERO, dst, Some(PortId(ingress)));
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
        bench.switch.attach(PortId(1), config, 0);
        let mut woken = Vec::new();
        bench
            .switch
            .send(Target::AllBut(None), large(100), &mut woken, &mut bench.counters);
        assert_eq!(bench.queued(), [2, 1]);
        bench
            .switch
            .send(Target::AllBut(None), large(0), &mut woken, &mut bench.counters);
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
        assert!(
            !bench
                .switch
                .learn(Instant::ZERO, PortId(1), A, 60, &mut bench.counters)
        );
    }
}
