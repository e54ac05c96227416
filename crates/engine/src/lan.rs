//! The LAN as the gateway sees it: the switch, the neighbours, and the way to send a packet to a guest.
//!
//! Gateway, services and flows all hold this one thing when they act; it also carries the actions that they cause, so that
//! these keep their order.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_wire::ipv6::{self, Ipv6Header};
use atoll_wire::packet::{self, ETHERNET_LEN, Ipv4Header};
use atoll_wire::{
    ArpOperation, Checksum, Endpoint, EthernetProtocol, Family, Frame, FrameBuf, Gso, IpProtocol, Mac,
    Offload,
};
use atoll_wire::{fragment, ndp};

use crate::action::{Action, Notice};
use crate::config::{Addresses, Config, Mode, Prefix, Subnet};
use crate::counters::{Counter, Counters};
use crate::gateway::joined::{self, Joined};
use crate::gateway::neighbors::Neighbors;
use crate::gateway::snoop::Snoop;
use crate::policy::Firewall;
use crate::rng::Rng;
use crate::services::names::Heard as _;
use crate::switch::{Switch, Target};
use crate::{Datagrams, Instant, PortId};

/// Time to live of packets that the gateway originates (RFC 1700's recommendation).
pub(crate) const DEFAULT_TTL: u8 = 64;

/// The network's own metadata address, as clouds have it.
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The network's own addresses, some of them more than once; none of a family that it does not have.
#[derive(Clone, Copy, Debug)]
struct Own {
    v4: Option<[Ipv4Addr; 3]>,
    v6: Option<[Ipv6Addr; 3]>,
}

impl Own {
    fn new(mode: Mode, addresses: Addresses) -> Self {
        let link_local = mode.link_local();
        if mode == Mode::Bridged {
            return Self {
                v4: Some([METADATA; 3]),
                v6: Some([link_local; 3]),
            };
        }
        let has_alias = mode == Mode::User;
        let v4 = |subnet: Subnet| {
            let services = mode.services4(subnet);
            let other = if has_alias { subnet.host_alias() } else { services };
            [services, other, METADATA]
        };
        let v6 = |prefix: Prefix| {
            let services = mode.services6(prefix);
            let other = if has_alias { prefix.host_alias() } else { services };
            [services, other, link_local]
        };
        Self {
            v4: addresses.subnet.map(v4),
            v6: addresses.prefix.map(v6),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Lan {
    pub(crate) mode: Mode,
    pub(crate) addresses: Addresses,
    own: Own,
    pub(crate) link_local: Ipv6Addr,
    pub(crate) mac: Mac,
    pub(crate) mtu: u16,
    pub(crate) isolate: bool,
    /// Whether frames of VLANs pass.
    pub(crate) carries_vlans: bool,
    pub(crate) capture: bool,
    pub(crate) switch: Switch,
    pub(crate) neighbors: Neighbors,
    /// Configured names of a bridged network's guests, in lower case.
    pub(crate) stations: BTreeMap<String, Mac>,
    pub(crate) snoop: Snoop,
    pub(crate) counters: Counters,
    pub(crate) rng: Rng,
    pub(crate) actions: VecDeque<Action>,
    woken: Vec<PortId>,
    ident: u16,
    noticed: Vec<(Instant, Notice)>,
    pub(crate) firewall: Firewall,
    /// Other networks to which we route.
    pub(crate) joined: Joined,
    /// When the input under way came; kept where limits need it.
    pub(crate) clock: Instant,
}

impl Lan {
    pub(crate) fn new(config: &Config, rng: Rng) -> Self {
        let hash = rng.keyed_hash();
        Self {
            mode: config.mode,
            addresses: config.addresses(),
            own: Own::new(config.mode, config.addresses()),
            link_local: config.mode.link_local(),
            mac: config.gateway_mac,
            mtu: config.mtu,
            isolate: config.isolate,
            carries_vlans: config.policy.vlans || (config.mode == Mode::User && !config.policy.anti_spoof),
            capture: false,
            switch: Switch::new(config, hash),
            neighbors: Neighbors::new(config.limits.neighbors, hash),
            stations: BTreeMap::new(),
            snoop: Snoop::new(hash),
            counters: Counters::new(),
            rng,
            actions: VecDeque::new(),
            woken: Vec::new(),
            ident: 0,
            noticed: Vec::new(),
            firewall: Firewall::new(config, hash),
            joined: Joined::new(&config.joined, hash),
            clock: Instant::ZERO,
        }
    }

    /// Whether the gateway speaks IPv4 with guests.
    pub(crate) fn has_ipv4(&self) -> bool {
        self.own.v4.is_some()
    }

    /// Whether the gateway speaks IPv6 with guests.
    pub(crate) fn has_ipv6(&self) -> bool {
        self.own.v6.is_some()
    }

    /// Whether `address` is one of the network's own: the gateway, the host alias, the metadata address.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.own.v4.is_some_and(|own| own.contains(&address)),
            IpAddr::V6(address) => self.own.v6.is_some_and(|own| own.contains(&address)),
        }
    }

    /// Whether `address` is one of the gateway's: where its services are. A bridged network has no such services.
    pub(crate) fn is_gateway(&self, address: IpAddr) -> bool {
        let (mode, own) = (self.mode, self.addresses);
        match address {
            IpAddr::V4(address) => own.subnet.is_some_and(|subnet| address == mode.services4(subnet)),
            IpAddr::V6(address) => own
                .prefix
                .is_some_and(|prefix| address == mode.services6(prefix) || address == self.link_local),
        }
    }

    /// The gateway's address that is in the same scope as a guest's.
    pub(crate) fn gateway_towards(&self, guest: IpAddr) -> Option<IpAddr> {
        if self.is_link_local_guest(guest) {
            return Some(self.link_local.into());
        }
        let (mode, own) = (self.mode, self.addresses);
        match guest {
            IpAddr::V4(_) if mode == Mode::Bridged => Some(METADATA.into()),
            IpAddr::V6(_) if mode == Mode::Bridged => Some(self.link_local.into()),
            IpAddr::V4(_) => own.subnet.map(|subnet| mode.services4(subnet).into()),
            IpAddr::V6(_) => own.prefix.map(|prefix| mode.services6(prefix).into()),
        }
    }

    /// Whether a guest may have `address` on the link (RFC 4291, 2.5.6).
    pub(crate) fn is_link_local_guest(&self, address: IpAddr) -> bool {
        let IpAddr::V6(address) = address else {
            return false;
        };
        let is_on_link = address.segments()[..4] == self.link_local.segments()[..4];
        is_on_link && address != self.link_local && self.has_ipv6() && address.segments()[4..] != [0; 4]
    }

    /// Whether a guest may have `address`.
    pub(crate) fn is_for_guests(&self, address: IpAddr) -> bool {
        let own = self.addresses;
        match (address, own.subnet, own.prefix) {
            _ if self.mode == Mode::Bridged => is_of_a_lan(address) && !self.is_own(address),
            (IpAddr::V4(address), Some(subnet), _) => subnet.is_for_guests(address) && address != METADATA,
            (IpAddr::V6(address), _, Some(prefix)) => {
                // The prefix itself is the anycast address of all routers (RFC 4291, 2.6.1).
                prefix.contains(address) && address != prefix.address && !self.is_kept(prefix, address)
            }
            _ => false,
        }
    }

    /// Whether an address of the prefix is ours, or the kernel's.
    fn is_kept(&self, prefix: Prefix, address: Ipv6Addr) -> bool {
        address == prefix.gateway() || self.is_own(address.into())
    }

    /// Put a frame on the LAN, from a guest's port or (`None`) from the gateway.
    pub(crate) fn send_frame(&mut self, target: Target, frame: Frame) {
        if self.firewall.has_limits() {
            return self.send_limited(target, &frame);
        }
        self.switch
            .send(target, frame, &mut self.woken, &mut self.counters);
        self.actions.extend(self.woken.drain(..).map(Action::Transmit));
    }

    /// The same where ports may be given so much only.
    fn send_limited(&mut self, target: Target, frame: &Frame) {
        for port in self.switch.receivers(target) {
            match self.firewall.take_to(self.clock, port, frame) {
                Ok(()) => {
                    let (target, frame) = (Target::Port(port), frame.clone());
                    self.switch
                        .send(target, frame, &mut self.woken, &mut self.counters);
                }
                Err(counter) => self.counters.count(counter),
            }
        }
        self.actions.extend(self.woken.drain(..).map(Action::Transmit));
    }

    /// Whether a port may send a frame now, as far as its limits go; if not, that was counted.
    pub(crate) fn takes_from(&mut self, now: Instant, port: PortId, frame: &Frame) -> bool {
        self.clock = now;
        let taken = self.firewall.take_from(now, port, frame);
        taken.map_err(|counter| self.counters.count(counter)).is_ok()
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
        self.send_to_guests(now, dst, (buf, offload));
    }

    /// Send a frame of the gateway's to guests, and never by an uplink: on the LAN we are nobody.
    fn send_to_guests(&mut self, now: Instant, dst: Mac, (buf, offload): (FrameBuf, Offload)) {
        let target = self.switch.target_from_gateway(now, dst);
        if !matches!(target, Target::Port(_)) && !dst.is_group() {
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
    pub(crate) fn send_packet(&mut self, now: Instant, dst: IpAddr, packet: (FrameBuf, Offload)) {
        if let Some(mac) = self.reachable(now, dst) {
            self.send_ethernet(now, mac, ethertype(dst), packet);
        } else if let Some(join) = self.joined.network_of(dst).map(|it| it.join) {
            self.send_to_joined(join, packet);
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
    pub(crate) fn reachable(&self, now: Instant, address: IpAddr) -> Option<Mac> {
        let mac = self.neighbors.mac_of(address)?;
        self.switch.port_of(now, mac).map(|_| mac)
    }

    /// The address at which a guest of this MAC address is best reached, as far as it was heard: on a bridged network its
    /// link-local one, which it has whatever the LAN does, else that of IPv4, else one of the prefix.
    pub(crate) fn address_of(&self, mac: Mac) -> Option<IpAddr> {
        let heard = self.neighbors.latest_of(mac);
        let is_v4 = |address: &&IpAddr| address.is_ipv4();
        let local = || heard.iter().find(|address| self.is_link_local_guest(**address));
        let v4 = || heard.iter().find(is_v4);
        let best = if self.mode == Mode::Bridged {
            local().or_else(v4)
        } else {
            v4().or_else(|| heard.iter().find(|address| self.is_for_guests(**address)))
        };
        best.copied()
    }

    /// The address of the guest on a bridged network whose port has this label, or whose name it is by configuration.
    pub(crate) fn address_of_station(&self, now: Instant, name: &str) -> Option<IpAddr> {
        if self.mode != Mode::Bridged {
            return None;
        }
        let labelled = self.switch.labelled(name);
        let behind = labelled.flat_map(|port| self.switch.macs_of(now, port));
        let named = self.stations.get(&name.to_ascii_lowercase()).copied();
        let mut heard = named
            .into_iter()
            .chain(behind)
            .filter_map(|mac| self.address_of(mac));
        heard.next()
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
        let most = packet::max_payload(dst.family()) - packet::UDP_LEN;
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
        push_discovery_header(&mut buf, (src, dst));
        self.send_ethernet(now, mac, EthernetProtocol::Ipv6, (buf, offload));
    }

    /// Send a router's advertisement, which may be another's than ours.
    pub(crate) fn send_advertisement(
        &mut self,
        now: Instant,
        (src, src_mac): (Ipv6Addr, Mac),
        (dst, dst_mac): (Ipv6Addr, Mac),
        mut buf: FrameBuf,
    ) {
        push_discovery_header(&mut buf, (src, dst));
        packet::push_ethernet(&mut buf, src_mac, dst_mac, EthernetProtocol::Ipv6);
        self.send_to_guests(now, dst_mac, (buf, Offload::default()));
    }

    fn ask_by_arp(&mut self, now: Instant, address: Ipv4Addr) {
        let Some(IpAddr::V4(own)) = self.gateway_towards(address.into()) else {
            return;
        };
        let sender = (self.mac, own);
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
        for (packet, _) in lost {
            self.counters.count(Counter::Unresolved);
            joined::handle_lost(self, now, &packet);
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

/// Whether a station of some LAN may have this address, beyond the link: it is neither a group's, nor this host's, nor nobody's.
fn is_of_a_lan(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !matches!(address.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(address) => !matches!(
            address.segments(),
            [0xfe80..=0xfebf | 0xff00.., ..] | [0, 0, 0, 0, 0, 0 | 0xffff, ..]
        ),
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
pub(crate) fn ethertype(address: IpAddr) -> EthernetProtocol {
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

/// The header of a message of neighbor discovery, which no router lets pass (RFC 4861, 6.1).
fn push_discovery_header(buf: &mut FrameBuf, (src, dst): (Ipv6Addr, Ipv6Addr)) {
    let header = Ipv6Header {
        src,
        dst,
        protocol: IpProtocol::Icmpv6,
        hop_limit: ndp::HOP_LIMIT,
    };
    ipv6::push_ipv6(buf, &header);
}
