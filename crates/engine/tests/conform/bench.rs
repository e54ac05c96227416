//! The bench: an engine, guests that send raw frames and hear parsed ones, a virtual clock, and the list of what the engine asked
//! of its runtime, which the test answers as it likes.
//!
//! Every frame that reaches a guest is checked here: its length against the link, and each checksum by the sum of RFC 1071.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use atoll_engine::{Action, Config, Engine, Event, Instant, PortConfig, PortId, Side, Subnet};
use atoll_wire::packet::{self, ETHERNET_LEN, ICMP_LEN, Ipv4Header, UDP_LEN};
use atoll_wire::tcp::Header;
use atoll_wire::{
    ArpOperation, ArpPacket, EthernetFrame, EthernetProtocol, Frame, FrameBuf, Icmpv4Message, Icmpv4Packet,
    IpProtocol, Ipv4Packet, Mac, Offload, UdpPacket,
};

use crate::bench6::{self, Icmp6};

pub(crate) const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1));
pub(crate) const ALIAS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 77, 0, 254));
pub(crate) const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
/// A host of the world.
pub(crate) const WORLD: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
pub(crate) const GATEWAY_MAC: Mac = Mac([0x52, 0x55, 0x0a, 0x4d, 0x00, 0x01]);

pub(crate) const A: Guest = Guest::numbered(2);
pub(crate) const B: Guest = Guest::numbered(3);

/// A guest with its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) port: PortId,
    pub(crate) mac: Mac,
    pub(crate) ip: IpAddr,
}

impl Guest {
    pub(crate) const fn numbered(number: u8) -> Self {
        Self {
            port: PortId(number as u32),
            mac: Mac([2, 0, 0, 0, 0, number]),
            ip: IpAddr::V4(Ipv4Addr::new(10, 77, 0, number)),
        }
    }

    pub(crate) fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }
}

/// What a guest hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Arp {
        operation: ArpOperation,
        sender: (Mac, IpAddr),
        target: (Mac, IpAddr),
    },
    Tcp(Segment),
    Udp {
        src: SocketAddr,
        dst: SocketAddr,
        payload: Vec<u8>,
    },
    Icmp(Icmp),
    Icmp6(Icmp6),
    Other(Vec<u8>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) src: SocketAddr,
    pub(crate) dst: SocketAddr,
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Icmp {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) message: Icmpv4Message,
    pub(crate) code: u8,
    /// The header's second word.
    pub(crate) rest: [u8; 4],
    pub(crate) data: Vec<u8>,
}

impl Icmp {
    /// Source and destination of the packet that an error quotes, and the first eight bytes of its payload.
    pub(crate) fn quote(&self) -> (IpAddr, IpAddr, IpProtocol, [u8; 8]) {
        let packet = Ipv4Packet::new_unchecked(&self.data[..]);
        assert!(packet.verify_checksum(), "the quoted header is not what was sent");
        let first = self.data[20..28].try_into().unwrap();
        let (src, dst) = (packet.src_addr().into(), packet.dst_addr().into());
        (src, dst, packet.next_header(), first)
    }
}

pub(crate) fn config() -> Config {
    Config::new(Subnet {
        address: Ipv4Addr::new(10, 77, 0, 0),
        prefix_len: 24,
    })
}

/// The engine with what goes in and comes out of it.
pub(crate) struct Net {
    pub(crate) engine: Engine,
    pub(crate) now: Instant,
    mtu: usize,
    actions: VecDeque<Action>,
    inbox: BTreeMap<PortId, VecDeque<Vec<u8>>>,
    stopped: BTreeSet<PortId>,
    /// Guests answer for their addresses, as real ones do; the bench says nothing of it.
    answers_arp: bool,
}

impl Net {
    /// A network of the two guests A and B, which the gateway knows.
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut net = Self::of_strangers(change);
        for guest in [A, B] {
            net.introduce(guest);
        }
        net.answers_arp = true;
        net
    }

    /// The same, but nobody has said a word yet.
    pub(crate) fn of_strangers(change: impl FnOnce(&mut Config)) -> Self {
        Self::seeded([7; 32], change)
    }

    pub(crate) fn seeded(seed: [u8; 32], change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let mut net = Self {
            engine: Engine::new(&config, seed),
            now: Instant::ZERO + Duration::from_secs(1),
            mtu: usize::from(config.mtu),
            actions: VecDeque::new(),
            inbox: BTreeMap::new(),
            stopped: BTreeSet::new(),
            answers_arp: false,
        };
        for guest in [A, B] {
            net.attach(guest.port);
        }
        net
    }

    pub(crate) fn attach(&mut self, port: PortId) {
        let label = Some(format!("m{}", port.0));
        let port_config = PortConfig {
            label,
            ..PortConfig::default()
        };
        self.event(Event::PortAttached { port, port_config });
    }

    /// Attach what is no guest.
    pub(crate) fn attach_uplink(&mut self, port: PortId, side: Side) {
        let port_config = PortConfig {
            side,
            ..PortConfig::default()
        };
        self.event(Event::PortAttached { port, port_config });
    }

    /// The guest says its address, and everyone's memory of it is cleared from the bench.
    pub(crate) fn introduce(&mut self, guest: Guest) {
        self.send_arp(guest, ArpOperation::Request, guest.ip, guest.ip);
        self.inbox.clear();
    }

    /// Move frames and actions until the engine wants nothing more.
    fn settle(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Transmit(port) if self.stopped.contains(&port) => {}
                Action::Transmit(port) => self.transmit(port, usize::MAX),
                action => self.actions.push_back(action),
            }
        }
    }

    /// The port takes this many frames at most.
    pub(crate) fn transmit(&mut self, port: PortId, at_most: usize) {
        let waiting = self.engine.egress(port).iter().take(at_most);
        let mut frames: Vec<Vec<u8>> = waiting.map(|frame| frame.bytes.to_vec()).collect();
        let event = Event::Transmitted {
            port,
            frames: frames.len(),
        };
        self.engine.handle_event(self.now, event);
        if self.answers_arp {
            frames.retain(|frame| !self.answer_arp(port, frame));
        }
        self.inbox.entry(port).or_default().extend(frames);
    }

    /// Whether the frame is the gateway's question for one of the guests; the one behind `port` answers.
    fn answer_arp(&mut self, port: PortId, frame: &[u8]) -> bool {
        if frame[6..12] != config().gateway_mac.0 {
            return false;
        }
        let Heard::Arp {
            operation: ArpOperation::Request,
            sender,
            target: (_, asked),
        } = parse(frame, self.mtu)
        else {
            return false;
        };
        let Some(guest) = [A, B].into_iter().find(|guest| guest.ip == asked) else {
            return false;
        };
        if guest.port == port {
            let mut buf = packet::arp(
                ArpOperation::Reply,
                (guest.mac, v4(guest.ip)),
                (sender.0, v4(sender.1)),
            );
            packet::push_ethernet(&mut buf, guest.mac, sender.0, EthernetProtocol::Arp);
            self.engine
                .handle_frame(self.now, port, Frame::plain(buf.payload().to_vec().into()));
        }
        true
    }

    /// The guest's port takes no frame any more.
    pub(crate) fn stop(&mut self, guest: Guest) {
        self.stopped.insert(guest.port);
    }

    /// The guest's port takes frames again.
    pub(crate) fn resume(&mut self, guest: Guest) {
        self.stopped.remove(&guest.port);
        self.transmit(guest.port, usize::MAX);
        self.settle();
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.engine.handle_event(self.now, event);
        self.settle();
    }

    pub(crate) fn command(&mut self, command: atoll_engine::Command) {
        self.engine.apply(self.now, command).unwrap();
        self.settle();
    }

    /// Let time go by, with every timeout on its way.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.engine.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    // What guests send.

    pub(crate) fn send_frame(&mut self, guest: Guest, bytes: &[u8]) {
        self.send_with_offload(guest, Frame::plain(bytes.to_vec().into()));
    }

    pub(crate) fn send_with_offload(&mut self, guest: Guest, frame: Frame) {
        self.engine.handle_frame(self.now, guest.port, frame);
        self.settle();
    }

    pub(crate) fn send_arp(&mut self, guest: Guest, operation: ArpOperation, sender: IpAddr, target: IpAddr) {
        let mut buf = packet::arp(operation, (guest.mac, v4(sender)), (Mac::default(), v4(target)));
        packet::push_ethernet(&mut buf, guest.mac, Mac::BROADCAST, EthernetProtocol::Arp);
        self.send_frame(guest, buf.payload());
    }

    /// An IPv4 packet to the gateway's MAC address.
    pub(crate) fn send_ip(&mut self, guest: Guest, dst: IpAddr, protocol: IpProtocol, buf: FrameBuf) {
        self.send_frame(guest, &ip_frame(guest, dst, protocol, 64, buf));
    }

    pub(crate) fn send_udp(&mut self, guest: Guest, port: u16, to: SocketAddr, payload: &[u8]) {
        let buf = udp(guest.at(port), to, payload);
        self.send_ip(guest, to.ip(), IpProtocol::Udp, buf);
    }

    pub(crate) fn send_echo(&mut self, guest: Guest, to: IpAddr, (ident, seq): (u16, u16), data: &[u8]) {
        if to.is_ipv6() {
            let buf = bench6::echo((guest.ip, to), (ident, seq), data);
            return self.send_ip(guest, to, IpProtocol::Icmpv6, buf);
        }
        self.send_ip(guest, to, IpProtocol::Icmp, echo(ident, seq, data));
    }

    pub(crate) fn send_tcp(&mut self, guest: Guest, to: SocketAddr, header: &Header, payload: &[u8]) {
        let buf = tcp(guest, to, header, payload);
        self.send_ip(guest, to.ip(), IpProtocol::Tcp, buf);
    }

    // What comes out.

    fn inbox(&mut self, guest: Guest) -> &mut VecDeque<Vec<u8>> {
        self.inbox.entry(guest.port).or_default()
    }

    /// All that the guest heard since this was last asked.
    pub(crate) fn heard(&mut self, guest: Guest) -> Vec<Heard> {
        let mtu = self.mtu;
        let frames = std::mem::take(self.inbox(guest));
        frames.iter().map(|frame| parse(frame, mtu)).collect()
    }

    /// The frames that the guest heard since this was last asked, as they are.
    pub(crate) fn frames(&mut self, guest: Guest) -> Vec<Vec<u8>> {
        std::mem::take(self.inbox(guest)).into()
    }

    /// The one thing that the guest heard.
    pub(crate) fn hears(&mut self, guest: Guest) -> Heard {
        let mut heard = self.heard(guest);
        assert_eq!(heard.len(), 1, "one frame was expected: {heard:?}");
        heard.remove(0)
    }

    pub(crate) fn hears_nothing(&mut self, guest: Guest) {
        assert_eq!(self.heard(guest), []);
    }

    pub(crate) fn hears_icmp(&mut self, guest: Guest) -> Icmp {
        match self.hears(guest) {
            Heard::Icmp(icmp) => icmp,
            other => panic!("ICMP was expected: {other:?}"),
        }
    }

    pub(crate) fn hears_tcp(&mut self, guest: Guest) -> Segment {
        match self.hears(guest) {
            Heard::Tcp(segment) => segment,
            other => panic!("TCP was expected: {other:?}"),
        }
    }

    /// All segments that the guest heard, and nothing else.
    pub(crate) fn segments(&mut self, guest: Guest) -> Vec<Segment> {
        let only_tcp = |heard| match heard {
            Heard::Tcp(segment) => segment,
            other => panic!("only TCP was expected: {other:?}"),
        };
        self.heard(guest).into_iter().map(only_tcp).collect()
    }

    /// All that the engine asked of its runtime since this was last asked, but for [`Action::Transmit`].
    pub(crate) fn actions(&mut self) -> Vec<Action> {
        self.actions.drain(..).collect()
    }

    pub(crate) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The one thing that the engine asked.
    pub(crate) fn action(&mut self) -> Action {
        let mut actions = self.actions();
        assert_eq!(actions.len(), 1, "one action was expected: {actions:?}");
        actions.remove(0)
    }

    pub(crate) fn asks_nothing(&mut self) {
        assert_eq!(self.actions(), []);
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.engine.snapshot(self.now).counters;
        let found = counters.iter().find(|(counter, _)| *counter == name);
        found.unwrap_or_else(|| panic!("there is no counter {name}")).1
    }

    pub(crate) fn flows(&self) -> Vec<(&'static str, &'static str)> {
        let flows = self.engine.snapshot(self.now).flows;
        flows.iter().map(|flow| (flow.protocol, flow.state)).collect()
    }
}

/// An address that is known to be of IPv4.
pub(crate) fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => panic!("{ip} is no IPv4 address"),
    }
}

// Builders.

pub(crate) fn udp(src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> FrameBuf {
    let mut buf = FrameBuf::copy_from(payload);
    packet::push_udp(&mut buf, src, dst);
    buf
}

pub(crate) fn echo(ident: u16, seq: u16, data: &[u8]) -> FrameBuf {
    let ([a, b], [c, d]) = (ident.to_be_bytes(), seq.to_be_bytes());
    let mut buf = FrameBuf::copy_from(data);
    packet::push_icmpv4(&mut buf, Icmpv4Message::EchoRequest, 0, [a, b, c, d]);
    buf
}

pub(crate) fn tcp(guest: Guest, to: SocketAddr, header: &Header, payload: &[u8]) -> FrameBuf {
    let mut buf = FrameBuf::copy_from(payload);
    header.push(&mut buf, guest.ip, to.ip());
    buf
}

/// A frame from the guest to the gateway.
pub(crate) fn ip_frame(
    guest: Guest,
    dst: IpAddr,
    protocol: IpProtocol,
    ttl: u8,
    mut buf: FrameBuf,
) -> Vec<u8> {
    if dst.is_ipv6() {
        return bench6::frame(guest, (guest.ip, dst), (protocol, ttl), buf);
    }
    let header = Ipv4Header {
        src: v4(guest.ip),
        dst: v4(dst),
        protocol,
        ttl,
        ident: 4711,
        dont_fragment: true,
    };
    packet::push_ipv4(&mut buf, &header);
    packet::push_ethernet(&mut buf, guest.mac, GATEWAY_MAC, EthernetProtocol::Ipv4);
    buf.freeze(Offload::default()).bytes.to_vec()
}

// Parsing, with every check that a guest would make.

fn parse(frame: &[u8], mtu: usize) -> Heard {
    assert!(
        frame.len() <= mtu + ETHERNET_LEN,
        "a frame of {} bytes does not fit the link",
        frame.len()
    );
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    let body = &frame[ETHERNET_LEN..];
    match ethernet.ethertype() {
        EthernetProtocol::Arp => parse_arp(body),
        EthernetProtocol::Ipv4 => parse_ipv4(body),
        EthernetProtocol::Ipv6 => bench6::parse(body),
        _ => Heard::Other(frame.to_vec()),
    }
}

fn parse_arp(body: &[u8]) -> Heard {
    let arp = ArpPacket::new_checked(body).unwrap();
    let side = |mac: &[u8], ip: &[u8]| {
        let ip: [u8; 4] = ip.try_into().unwrap();
        (Mac(mac.try_into().unwrap()), ip.into())
    };
    Heard::Arp {
        operation: arp.operation(),
        sender: side(arp.source_hardware_addr(), arp.source_protocol_addr()),
        target: side(arp.target_hardware_addr(), arp.target_protocol_addr()),
    }
}

/// RFC 1071.
pub(crate) fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

fn parse_ipv4(body: &[u8]) -> Heard {
    let ip = Ipv4Packet::new_checked(body).unwrap();
    assert_eq!(sum(&[&body[..20]]), 0xffff, "the IPv4 header's checksum is wrong");
    assert_eq!(usize::from(ip.total_len()), body.len());
    if ip.more_frags() || ip.frag_offset() != 0 {
        return Heard::Other(body.to_vec());
    }
    let (src, dst) = (ip.src_addr(), ip.dst_addr());
    let rest = &body[20..];
    let len = u16::try_from(rest.len()).unwrap().to_be_bytes();
    let pseudo = [0, u8::from(ip.next_header()), len[0], len[1]];
    let whole = sum(&[&src.octets(), &dst.octets(), &pseudo, rest]);
    match ip.next_header() {
        IpProtocol::Tcp => {
            assert_eq!(whole, 0xffff, "the TCP checksum is wrong");
            let (header, header_len) = Header::parse(rest).unwrap();
            Heard::Tcp(Segment {
                src: SocketAddr::new(src.into(), header.src_port),
                dst: SocketAddr::new(dst.into(), header.dst_port),
                header,
                payload: rest[header_len..].to_vec(),
            })
        }
        IpProtocol::Udp => {
            assert_eq!(whole, 0xffff, "the UDP checksum is wrong");
            let udp = UdpPacket::new_checked(rest).unwrap();
            Heard::Udp {
                src: SocketAddr::new(src.into(), udp.src_port()),
                dst: SocketAddr::new(dst.into(), udp.dst_port()),
                payload: rest[UDP_LEN..].to_vec(),
            }
        }
        IpProtocol::Icmp => {
            assert_eq!(sum(&[rest]), 0xffff, "the ICMP checksum is wrong");
            let icmp = Icmpv4Packet::new_checked(rest).unwrap();
            Heard::Icmp(Icmp {
                src: src.into(),
                dst: dst.into(),
                message: icmp.msg_type(),
                code: icmp.msg_code(),
                rest: rest[4..8].try_into().unwrap(),
                data: rest[ICMP_LEN..].to_vec(),
            })
        }
        other => panic!("the gateway sent protocol {other}"),
    }
}
