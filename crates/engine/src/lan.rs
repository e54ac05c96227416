//! The LAN as the gateway sees it: the switch, the neighbours, and the way to send a packet to a guest.
//!
//! Gateway, services and flows all hold this one thing when they act; it also carries the actions that they cause, so that
//! these keep their order.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_wire::ipv6::{self, Ipv6Header};
use atoll_wire::packet::{self, ETHERNET_LEN, Ipv4Header};
use atoll_wire::{
    ArpOperation, Checksum, Endpoint, EthernetProtocol, Family, Frame, FrameBuf, Gso, IpProtocol, Mac,
    Offload,
};
use atoll_wire::{fragment, ndp};

use crate::action::{Action, Notice};
use crate::config::{Addresses, Config};
use crate::counters::{Counter, Counters};
use crate::gateway::neighbors::Neighbors;
use crate::rng::Rng;
use crate::switch::{Switch, Target};
use crate::{Datagrams, Instant, PortId};

/// Time to live of packets that the gateway originates (RFC 1700's recommendation).
pub(crate) const DEFAULT_TTL: u8 = 64;

/// The network's own metadata address, as clouds have it.
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The gateway's link-local address (RFC 4291, 2.5.6), the same on every network.
pub(crate) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

#[derive(Debug)]
pub(crate) struct Lan {
    pub(crate) addresses: Addresses,
    pub(crate) mac: Mac,
    pub(crate) mtu: u16,
    pub(crate) isolate: bool,
    pub(crate) capture: bool,
    pub(crate) switch: Switch,
    pub(crate) neighbors: Neighbors,
    pub(crate) counters: Counters,
    pub(crate) rng: Rng,
    pub(crate) actions: VecDeque<Action>,
    woken: Vec<PortId>,
    ident: u16,
    noticed: Vec<(Instant, Notice)>,
}

impl Lan {
    pub(crate) fn new(config: &Config, rng: Rng) -> Self {
        let hash = rng.keyed_hash();
        Self {
            addresses: config.addresses(),
            mac: config.gateway_mac,
            mtu: config.mtu,
            isolate: config.isolate,
            capture: false,
            switch: Switch::new(config.limits, hash),
            neighbors: Neighbors::new(config.limits.neighbors, hash),
            counters: Counters::new(),
            rng,
            actions: VecDeque::new(),
            woken: Vec::new(),
            ident: 0,
            noticed: Vec::new(),
        }
    }

    /// Whether `address` is one of the network's own: the gateway, the host alias, the metadata address.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        let own = self.addresses;
        match (address, own.subnet, own.prefix) {
            (IpAddr::V4(address), Some(subnet), _) => {
                let is_ours = |address| address == subnet.gateway() || address == subnet.host_alias();
                subnet.contains(address) && is_ours(address) || address == METADATA
            }
            (IpAddr::V6(address), _, Some(prefix)) => {
                address == prefix.gateway() || address == prefix.host_alias() || address == LINK_LOCAL
            }
            _ => false,
        }
    }

    /// Whether `address` is one of the gateway's: where its services are.
    pub(crate) fn is_gateway(&self, address: IpAddr) -> bool {
        let own = self.addresses;
        match address {
            IpAddr::V4(address) => own.subnet.is_some_and(|subnet| address == subnet.gateway()),
            IpAddr::V6(address) => own
                .prefix
                .is_some_and(|prefix| address == prefix.gateway() || address == LINK_LOCAL),
        }
    }

    /// The gateway's address that is in the same scope as a guest's.
    pub(crate) fn gateway_towards(&self, guest: IpAddr) -> Option<IpAddr> {
        if self.is_link_local_guest(guest) {
            return Some(LINK_LOCAL.into());
        }
        self.addresses.gateway(guest)
    }

    /// Whether a guest may have `address` on the link (RFC 4291, 2.5.6).
    pub(crate) fn is_link_local_guest(&self, address: IpAddr) -> bool {
        let IpAddr::V6(address) = address else {
            return false;
        };
        let is_on_link = address.segments()[..4] == LINK_LOCAL.segments()[..4];
        is_on_link
            && address != LINK_LOCAL
            && self.addresses.prefix.is_some()
            && address.segments()[4..] != [0; 4]
    }

    /// Whether a guest may have `address`.
    pub(crate) fn is_for_guests(&self, address: IpAddr) -> bool {
        let own = self.addresses;
        match (address, own.subnet, own.prefix) {
            (IpAddr::V4(address), Some(subnet), _) => subnet.is_for_guests(address) && address != METADATA,
            (IpAddr::V6(address), _, Some(prefix)) => {
                // The prefix itself is the anycast address of all routers (RFC 4291, 2.6.1).
                prefix.contains(address) && address != prefix.address && !self.is_own(address.into())
            }
            _ => false,
        }
    }

    /// Put a frame on the LAN, from a guest's port or (`None`) from the gateway.
    pub(crate) fn send_frame(&mut self, target: Target, frame: Frame) {
        self.switch
            .send(target, frame, &mut self.woken, &mut self.counters);
        self.actions.extend(self.woken.drain(..).map(Action::Transmit));
    }

    /// Send from the gateway's MAC address.
    pub(crate) fn send_ethernet(
        &mut self,
        now: Instant,
        dst: Mac,
        protocol: EthernetProtocol,
        (mut buf, offload): (FrameBuf, Offload),
    ) {
        packet::push_ethernet(&mut buf, self.mac, dst, protocol);
        let target = self.switch.target(now, dst, None);
        if target == Target::AllBut(None) && !dst.is_group() {
            // What we say to one guest is nobody else's business: ARP finds its port, never a flood.
            return self.counters.count(Counter::Unresolved);
        }
        let frame = buf.freeze(offload);
        if self.capture {
            self.actions.push_back(Action::Captured(frame.clone()));
        }
        self.send_frame(target, frame);
    }

    /// Send a packet to a guest, in fragments if it is longer than the link takes; then its checksum must be finished.
    pub(crate) fn send_ip(
        &mut self,
        now: Instant,
        (src, dst): (IpAddr, IpAddr),
        protocol: IpProtocol,
        (mut buf, offload): (FrameBuf, Offload),
    ) {
        let is_long = packet::ip_len(Family::of(dst)) + buf.len() > usize::from(self.mtu);
        if is_long && offload.gso == Gso::None {
            return self.send_fragments(now, (src, dst), protocol, buf.payload());
        }
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                packet::push_ipv4(&mut buf, &self.ipv4_header(src, dst, protocol));
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                ipv6::push_ipv6(&mut buf, &ipv6_header(src, dst, protocol));
            }
            // A flow's two ends are of one family, and so are a packet and what answers it.
            _ => return,
        }
        self.send_packet(now, dst, (buf, offload));
    }

    fn send_fragments(
        &mut self,
        now: Instant,
        (src, dst): (IpAddr, IpAddr),
        protocol: IpProtocol,
        payload: &[u8],
    ) {
        let mtu = self.mtu;
        let send = |lan: &mut Self, part| lan.send_packet(now, dst, (part, Offload::default()));
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = self.ipv4_header(src, dst, protocol);
                fragment::ipv4(payload, &header, mtu).for_each(|part| send(self, part));
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let header = ipv6_header(src, dst, protocol);
                // Nobody is to foresee it (RFC 7739).
                let [a, b, c, d, ..] = self.rng.next_u64().to_le_bytes();
                let ident = u32::from_le_bytes([a, b, c, d]);
                fragment::ipv6(payload, &header, ident, mtu).for_each(|part| send(self, part));
            }
            _ => {}
        }
    }

    /// Send a packet to a guest, asking for its MAC address if need be.
    fn send_packet(&mut self, now: Instant, dst: IpAddr, packet: (FrameBuf, Offload)) {
        if let Some(mac) = self.reachable(now, dst) {
            self.send_ethernet(now, mac, ethertype(dst), packet);
        } else {
            match self.neighbors.try_wait(now, dst, packet) {
                Ok(true) => self.ask_for(now, dst),
                Ok(false) => {}
                Err(()) => self.counters.count(Counter::Unresolved),
            }
        }
    }

    /// Whether a packet for a guest would leave at once.
    pub(crate) fn is_reachable(&self, now: Instant, address: IpAddr) -> bool {
        self.reachable(now, address).is_some()
    }

    /// The MAC address of a guest, if its port is known too.
    fn reachable(&self, now: Instant, address: IpAddr) -> Option<Mac> {
        let mac = self.neighbors.mac_of(address)?;
        self.switch.port_of(now, mac).map(|_| mac)
    }

    /// Send an IPv4 packet to a guest whose MAC address is known without ARP (DHCP).
    pub(crate) fn send_ipv4_to(&mut self, now: Instant, mac: Mac, header: &Ipv4Header, mut buf: FrameBuf) {
        packet::push_ipv4(&mut buf, header);
        self.send_ethernet(now, mac, EthernetProtocol::Ipv4, (buf, Offload::default()));
    }

    /// Send an IPv6 packet to a guest whose MAC address is known without neighbor discovery (DHCPv6).
    pub(crate) fn send_ipv6_to(&mut self, now: Instant, mac: Mac, header: &Ipv6Header, mut buf: FrameBuf) {
        ipv6::push_ipv6(&mut buf, header);
        self.send_ethernet(now, mac, EthernetProtocol::Ipv6, (buf, Offload::default()));
    }

    /// Send UDP datagrams to a guest, with a partial checksum if they are several or if that is `enough`. Each that is longer than
    /// the link takes goes in fragments.
    pub(crate) fn send_udp(
        &mut self,
        now: Instant,
        (src, dst): (Endpoint, Endpoint),
        datagrams: Datagrams,
        partial_is_enough: bool,
    ) {
        let ip_len = packet::ip_len(dst.family());
        let largest = datagrams.largest() + packet::UDP_LEN + ip_len;
        if largest > usize::from(self.mtu) {
            return self.send_long_udp(now, (src, dst), &datagrams);
        }
        let Datagrams {
            payload: mut buf,
            segment,
        } = datagrams;
        let size = segment.filter(|segment| usize::from(*segment) < buf.len());
        let offload = if partial_is_enough || size.is_some() {
            packet::push_udp_partial(&mut buf, src, dst);
            Offload {
                checksum: partial_checksum(dst.ip, 6),
                gso: size.map_or(Gso::None, |size| Gso::udp(dst.family(), size)),
            }
        } else {
            packet::push_udp(&mut buf, src, dst);
            Offload::default()
        };
        self.send_ip(now, (src.ip, dst.ip), IpProtocol::Udp, (buf, offload));
    }

    /// One by one, since no device cuts several datagrams into fragments. One that no packet can hold is lost and counted.
    fn send_long_udp(&mut self, now: Instant, (src, dst): (Endpoint, Endpoint), datagrams: &Datagrams) {
        let most = usize::from(u16::MAX) - packet::UDP_LEN - packet::ip_len(dst.family());
        let payload = datagrams.payload.payload();
        let size = datagrams.segment.map_or(payload.len(), usize::from).max(1);
        for datagram in payload.chunks(size) {
            if datagram.len() > most {
                self.counters.count(Counter::HostDatagramDropped);
                continue;
            }
            let mut buf = FrameBuf::copy_from(datagram);
            packet::push_udp(&mut buf, src, dst);
            self.send_ip(now, (src.ip, dst.ip), IpProtocol::Udp, (buf, Offload::default()));
        }
    }

    /// A header with a fresh identification and the ordinary time to live.
    pub(crate) fn ipv4_header(&mut self, src: Ipv4Addr, dst: Ipv4Addr, protocol: IpProtocol) -> Ipv4Header {
        self.ident = self.ident.wrapping_add(1);
        Ipv4Header {
            src,
            dst,
            protocol,
            ttl: DEFAULT_TTL,
            ident: self.ident,
            dont_fragment: protocol == IpProtocol::Tcp,
        }
    }

    /// A guest says which address it has: packets that waited for it go out.
    pub(crate) fn learn_neighbor(&mut self, now: Instant, address: IpAddr, mac: Mac) {
        for packet in self.neighbors.learn(address, mac) {
            self.send_ethernet(now, mac, ethertype(address), packet);
        }
    }

    /// Ask all who has an address, by an ARP request or a neighbor solicitation.
    pub(crate) fn ask_for(&mut self, now: Instant, address: IpAddr) {
        match (address, self.gateway_towards(address)) {
            (IpAddr::V4(address), _) => self.ask_by_arp(now, address),
            (IpAddr::V6(address), Some(IpAddr::V6(src))) => {
                let question = ndp::neighbor_solicitation((src, self.mac), address);
                let group = ndp::solicited_node(address);
                let packet = (question, Offload::default());
                self.send_discovery(now, (src, group), ndp::group_mac(group), packet);
            }
            _ => {}
        }
    }

    /// Say that one of our own addresses is here: to a guest, or to all.
    pub(crate) fn advertise(&mut self, now: Instant, own: Ipv6Addr, (dst, mac): (Ipv6Addr, Mac)) {
        let answer = ndp::neighbor_advertisement((own, self.mac), dst);
        self.send_discovery(now, (own, dst), mac, (answer, Offload::default()));
    }

    /// Send a message of neighbor discovery to a station or a group.
    pub(crate) fn send_discovery(
        &mut self,
        now: Instant,
        (src, dst): (Ipv6Addr, Ipv6Addr),
        mac: Mac,
        (mut buf, offload): (FrameBuf, Offload),
    ) {
        let header = Ipv6Header {
            src,
            dst,
            protocol: IpProtocol::Icmpv6,
            hop_limit: ndp::HOP_LIMIT,
        };
        ipv6::push_ipv6(&mut buf, &header);
        self.send_ethernet(now, mac, EthernetProtocol::Ipv6, (buf, offload));
    }

    fn ask_by_arp(&mut self, now: Instant, address: Ipv4Addr) {
        let Some(subnet) = self.addresses.subnet else {
            return;
        };
        let sender = (self.mac, subnet.gateway());
        let request = packet::arp(ArpOperation::Request, sender, (Mac::default(), address));
        self.send_ethernet(
            now,
            Mac::BROADCAST,
            EthernetProtocol::Arp,
            (request, Offload::default()),
        );
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let (again, lost) = self.neighbors.handle_timeout(now);
        for address in again {
            self.ask_for(now, address);
        }
        for _ in 0..lost {
            self.counters.count(Counter::Unresolved);
        }
    }

    /// Tell the owner, once a minute for each notice at most.
    pub(crate) fn notice(&mut self, now: Instant, notice: Notice) {
        self.noticed.retain(|(at, _)| now.since(*at).as_secs() < 60);
        if self.noticed.len() < 16 && !self.noticed.iter().any(|(_, earlier)| *earlier == notice) {
            self.noticed.push((now, notice.clone()));
            self.actions.push_back(Action::Notice(notice));
        }
    }
}

/// A header with the ordinary hop limit.
fn ipv6_header(src: Ipv6Addr, dst: Ipv6Addr, protocol: IpProtocol) -> Ipv6Header {
    Ipv6Header {
        src,
        dst,
        protocol,
        hop_limit: DEFAULT_TTL,
    }
}

/// The EtherType of packets to `address`.
fn ethertype(address: IpAddr) -> EthernetProtocol {
    match address {
        IpAddr::V4(_) => EthernetProtocol::Ipv4,
        IpAddr::V6(_) => EthernetProtocol::Ipv6,
    }
}

/// A checksum that is to be finished, `offset` bytes into the transport's header, in a packet of ours to `address`.
pub(crate) fn partial_checksum(address: IpAddr, offset: u16) -> Checksum {
    let start = match Family::of(address) {
        Family::V4 => ETHERNET_LEN + packet::IPV4_LEN,
        Family::V6 => ETHERNET_LEN + ipv6::IPV6_LEN,
    };
    let start = u16::try_from(start).unwrap_or(u16::MAX);
    Checksum::Partial { start, offset }
}
