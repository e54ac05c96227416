//! The gateway: what comes to the network's own MAC address.
//!
//! Frames are checked from the outside in, and every check that fails is counted under its own name: source MAC, EtherType,
//! IPv4 header and its checksum, source address, transport header and its checksum. What passes goes to ARP, to a service
//! (DHCP on 67, DNS on 53, both also TCP's by way of a flow), to the echo responder, or to the flows.
//!
//! Left out: IPv4 fragments (dropped and counted), IPv4 options (ignored: nothing is routed by them).

pub(crate) mod icmp;
pub(crate) mod neighbors;
pub(crate) mod train;

use std::net::{IpAddr, Ipv4Addr};

use atoll_wire::packet::{self, ETHERNET_LEN, ICMP_LEN, IPV4_LEN, UDP_LEN};
use atoll_wire::{
    ArpOperation, ArpPacket, ArpRepr, BadOffload, Checksum, Endpoint, EthernetFrame, EthernetProtocol, Frame,
    FrameBuf, Gso, Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet, Mac, Offload, UdpPacket, checksum,
    segment, tcp,
};
use bytes::{Buf, Bytes};

use crate::counters::Counter;
use crate::flow::policy::Route;
use crate::flow::tcp::Segment;
use crate::services::dhcp::{Client, ReplyTo};
use crate::services::dns::{DnsClient, DnsVia};
use crate::services::names::NameView;
use crate::{Engine, FlowId, Instant, PortId, Subnet};
use icmp::Quote;
use train::Train;

/// An IPv4 packet of a guest's that passed the header checks.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) ttl: u8,
    /// The port it came from.
    pub(crate) ingress: PortId,
    /// All of it, header included.
    bytes: Bytes,
    header_len: usize,
    offload: Offload,
}

impl Packet {
    /// As an ICMP error quotes it.
    pub(crate) fn quote(&self) -> Quote {
        Quote::packet(self.src, self.dst, &self.bytes)
    }

    fn checksum_is_known(&self) -> bool {
        self.offload.checksum != Checksum::Unverified
    }

    fn transport(&self) -> &[u8] {
        &self.bytes[self.header_len..]
    }

    /// The bytes after `header` bytes of transport header, shared with the frame.
    fn payload(&self, header: usize) -> Bytes {
        self.part(header, self.transport().len())
    }

    /// The bytes of the transport's packet from one to another, as far as they are there, shared with the frame.
    fn part(&self, from: usize, to: usize) -> Bytes {
        let end = (self.header_len + to).min(self.bytes.len());
        self.bytes.slice((self.header_len + from).min(end)..end)
    }
}

/// A frame came from a port, for the switch and perhaps for us.
pub(crate) fn handle_frame(engine: &mut Engine, now: Instant, ingress: PortId, frame: Frame) {
    let lan = &mut engine.lan;
    let Ok(ethernet) = EthernetFrame::new_checked(&frame.bytes[..]) else {
        return lan.counters.count(Counter::Malformed);
    };
    let (src, dst, protocol) = (
        Mac::from(ethernet.src_addr()),
        Mac::from(ethernet.dst_addr()),
        ethernet.ethertype(),
    );
    if !src.is_station() || src == lan.mac {
        return lan.counters.count(Counter::BadSourceMac);
    }
    if !lan
        .switch
        .learn(now, ingress, src, frame.len(), &mut lan.counters)
    {
        return;
    }
    if lan.capture {
        lan.actions.push_back(crate::Action::Captured(frame.clone()));
    }
    let for_us = dst == lan.mac;
    if !for_us && lan.isolate {
        if !dst.is_group() {
            lan.counters.count(Counter::Isolated);
        }
    } else if !for_us {
        let target = lan.switch.target(now, dst, Some(ingress));
        if !dst.is_group() {
            return lan.send_frame(target, frame);
        }
        lan.send_frame(target, frame.clone());
    }
    if for_us || dst.is_group() {
        let head = frame
            .bytes
            .first_chunk()
            .copied()
            .filter(|_| for_us && !lan.capture);
        let mut packet = frame;
        packet.bytes.advance(ETHERNET_LEN);
        let has_ipv4 = lan.addresses.subnet.is_some();
        match protocol {
            EthernetProtocol::Arp if has_ipv4 => handle_arp(engine, now, src, &packet.bytes),
            EthernetProtocol::Ipv4 if has_ipv4 => {
                let flow = handle_ipv4(engine, now, (ingress, src, for_us), packet);
                engine.train = flow
                    .zip(head)
                    .and_then(|(flow, head)| Train::of(now, ingress, head, flow));
            }
            _ if for_us => lan.counters.count(Counter::UnknownProtocol),
            _ => {}
        }
    }
}

/// RFC 826. We answer for our own addresses and believe what guests say of theirs.
fn handle_arp(engine: &mut Engine, now: Instant, src: Mac, bytes: &[u8]) {
    let lan = &mut engine.lan;
    let repr = ArpPacket::new_checked(bytes).and_then(|packet| ArpRepr::parse(&packet));
    let Ok(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr: sender,
        target_protocol_addr: target,
        ..
    }) = repr
    else {
        return lan.counters.count(Counter::Malformed);
    };
    if Mac::from(source_hardware_addr) != src {
        return lan.counters.count(Counter::BadSourceMac);
    }
    if lan.is_for_guests(sender.into()) {
        lan.learn_neighbor(now, sender.into(), src);
    }
    if operation == ArpOperation::Request && lan.is_own(target.into()) {
        let reply = packet::arp(ArpOperation::Reply, (lan.mac, target), (src, sender));
        lan.send_ethernet(now, src, EthernetProtocol::Arp, (reply, Offload::default()));
    }
}

/// The flow of a TCP segment that others may follow.
fn handle_ipv4(
    engine: &mut Engine,
    now: Instant,
    (ingress, mac, for_us): (PortId, Mac, bool),
    frame: Frame,
) -> Option<FlowId> {
    let (packet, protocol) = match check_ipv4(engine, ingress, frame) {
        Ok(checked) => checked,
        Err(counter) => {
            engine.lan.counters.count(counter);
            return None;
        }
    };
    if protocol == IpProtocol::Udp {
        handle_udp(engine, now, (ingress, mac, for_us), &packet);
        return None;
    }
    if !for_us || !engine.lan.is_for_guests(packet.src) {
        if for_us {
            engine.lan.counters.count(Counter::BadSourceAddress);
        }
        return None;
    }
    if is_for_group(engine, &packet) {
        return None;
    }
    learn(engine, now, packet.src, mac);
    match protocol {
        IpProtocol::Tcp => return handle_tcp(engine, now, &packet),
        IpProtocol::Icmp => handle_icmp(engine, now, &packet),
        _ => {
            engine.lan.counters.count(Counter::UnknownProtocol);
            let code = if engine.lan.is_own(packet.dst) {
                icmp::unreachable::PROTOCOL
            } else {
                icmp::unreachable::PROHIBITED
            };
            icmp::send_unreachable(&mut engine.lan, now, &packet.quote(), code);
        }
    }
    None
}

/// A group's packet that came to our own MAC address: counted, and never answered (RFC 1122, 3.2.2; RFC 9293, MUST-57).
fn is_for_group(engine: &mut Engine, packet: &Packet) -> bool {
    let is_group = engine.flows.policy().route(packet.dst) == Route::Group;
    if is_group {
        engine.lan.counters.count(Counter::Forbidden);
    }
    is_group
}

/// A guest that has not said its address by ARP says it by using it.
fn learn(engine: &mut Engine, now: Instant, address: IpAddr, mac: Mac) {
    if !engine.lan.neighbors.knows(address) {
        engine.lan.learn_neighbor(now, address, mac);
    }
}

/// The checks of RFC 1122, 3.2.1, on the header. The Ethernet header is gone already.
fn check_ipv4(engine: &Engine, ingress: PortId, frame: Frame) -> Result<(Packet, IpProtocol), Counter> {
    let Frame { mut bytes, offload } = frame;
    let header = Ipv4Packet::new_checked(&bytes[..]).map_err(|_| Counter::Malformed)?;
    if header.version() != 4 || usize::from(header.header_len()) < IPV4_LEN {
        return Err(Counter::Malformed);
    }
    if checksum::sum(&bytes[..usize::from(header.header_len())]) != u16::MAX {
        return Err(Counter::BadChecksum);
    }
    if header.more_frags() || header.frag_offset() != 0 {
        return Err(Counter::Fragment);
    }
    let (src, dst, ttl, protocol) = (
        header.src_addr(),
        header.dst_addr(),
        header.hop_limit(),
        header.next_header(),
    );
    if engine.lan.is_own(src.into()) || src.is_broadcast() || src.is_multicast() {
        return Err(Counter::BadSourceAddress);
    }
    let header_len = usize::from(header.header_len());
    let len = usize::from(header.total_len());
    bytes.truncate(len);
    Ok((
        Packet {
            src: src.into(),
            dst: dst.into(),
            ttl,
            ingress,
            bytes,
            header_len,
            offload,
        },
        protocol,
    ))
}

fn checksum_is_right(packet: &Packet, protocol: IpProtocol) -> bool {
    packet.checksum_is_known()
        || packet::transport_checksum_is_right(packet.src, packet.dst, protocol, packet.transport())
}

/// A packet that would leave the network has one hop less to live. `false`: it had none left, and its sender was told.
fn survives_hop(engine: &mut Engine, now: Instant, packet: &Packet) -> bool {
    let stays = engine.lan.is_own(packet.dst) || packet.ttl > 1;
    if !stays {
        engine.lan.counters.count(Counter::TtlExceeded);
        icmp::send_time_exceeded(&mut engine.lan, now, &packet.quote(), None);
    }
    stays
}

fn handle_tcp(engine: &mut Engine, now: Instant, packet: &Packet) -> Option<FlowId> {
    let (header, header_len) = match check_tcp(packet) {
        Ok(checked) => checked,
        Err(counter) => {
            engine.lan.counters.count(counter);
            return None;
        }
    };
    if !survives_hop(engine, now, packet) {
        return None;
    }
    let segment = Segment {
        header,
        payload: packet.payload(header_len),
    };
    engine.flows.handle_tcp(now, &mut engine.lan, packet, segment)
}

/// The header of a segment, and its length.
fn check_tcp(packet: &Packet) -> Result<(tcp::Header, usize), Counter> {
    let (header, len) = tcp::Header::parse(packet.transport()).ok_or(Counter::Malformed)?;
    if !checksum_is_right(packet, IpProtocol::Tcp) {
        Err(Counter::BadChecksum)
    } else if !header.flags.are_sane() {
        Err(Counter::TcpNonsense)
    } else {
        Ok((header, len))
    }
}

fn handle_icmp(engine: &mut Engine, now: Instant, packet: &Packet) {
    let Ok(message) = Icmpv4Packet::new_checked(packet.transport()) else {
        return engine.lan.counters.count(Counter::Malformed);
    };
    if !message.verify_checksum() {
        return engine.lan.counters.count(Counter::BadChecksum);
    }
    if message.msg_type() != Icmpv4Message::EchoRequest || packet.transport().len() < ICMP_LEN {
        return;
    }
    let (ident, seq) = (message.echo_ident(), message.echo_seq_no());
    let payload = packet.payload(ICMP_LEN);
    if engine.lan.is_own(packet.dst) {
        let echo = (ident, seq, FrameBuf::copy_from(&payload));
        icmp::send_echo_reply(&mut engine.lan, now, packet.dst, packet.src, echo);
    } else if survives_hop(engine, now, packet) {
        engine
            .flows
            .handle_echo(now, &mut engine.lan, packet, (ident, seq), payload);
    }
}

fn handle_udp(
    engine: &mut Engine,
    now: Instant,
    (ingress, mac, for_us): (PortId, Mac, bool),
    packet: &Packet,
) {
    let Ok(header) = UdpPacket::new_checked(packet.transport()) else {
        return engine.lan.counters.count(Counter::Malformed);
    };
    let (ports, len, summed) = (
        (header.src_port(), header.dst_port()),
        usize::from(header.len()),
        header.checksum() != 0,
    );
    if ports.1 == 0 || len < UDP_LEN {
        return engine.lan.counters.count(Counter::Malformed);
    }
    let whole = &packet.transport()[..len];
    if summed
        && !packet.checksum_is_known()
        && !packet::transport_checksum_is_right(packet.src, packet.dst, IpProtocol::Udp, whole)
    {
        return engine.lan.counters.count(Counter::BadChecksum);
    }
    let payload = packet.part(UDP_LEN, len);
    let Ok(segment) = udp_segment(packet.offload.gso, payload.len()) else {
        return engine.lan.counters.count(Counter::Malformed);
    };
    let gateway = engine.lan.addresses.gateway(packet.dst);
    if let (IpAddr::V4(src), (68, 67)) = (packet.src, ports)
        && (packet.dst == Ipv4Addr::BROADCAST || Some(packet.dst) == gateway)
    {
        return handle_dhcp(engine, now, Client { ingress, mac, src }, &payload);
    }
    if !for_us || is_for_group(engine, packet) {
        return;
    }
    if !engine.lan.is_for_guests(packet.src) || ports.0 == 0 {
        return engine.lan.counters.count(Counter::BadSourceAddress);
    }
    learn(engine, now, packet.src, mac);
    let guest = Endpoint::new(packet.src, ports.0);
    if Some(packet.dst) == gateway && ports.1 == 53 {
        let client = DnsClient {
            ingress,
            via: DnsVia::Udp { guest, mac },
        };
        let names = NameView {
            names: &engine.names,
            dhcp: &engine.dhcp,
        };
        return engine.dns.handle_query(now, client, &payload, names);
    }
    if survives_hop(engine, now, packet) {
        engine
            .flows
            .handle_udp(now, &mut engine.lan, packet, ports, (payload, segment));
    }
}

/// The size at which a UDP payload is to be cut, if it is several datagrams. The services take one at a time: to them, several are
/// one message that makes no sense.
fn udp_segment(gso: Gso, payload: usize) -> Result<Option<u16>, BadOffload> {
    match gso {
        Gso::None => Ok(None),
        Gso::Udp4 { size } | Gso::Udp6 { size } => {
            Ok((segment::datagrams(payload, size)? > 1).then_some(size))
        }
        Gso::Tcp4 { .. } | Gso::Tcp6 { .. } => Err(BadOffload),
    }
}

fn handle_dhcp(engine: &mut Engine, now: Instant, client: Client, payload: &[u8]) {
    let Some(reply) = engine.dhcp.handle_message(now, client, payload, &engine.names) else {
        return;
    };
    let lan = &mut engine.lan;
    let (ip, mac) = match reply.to {
        ReplyTo::Broadcast => (Ipv4Addr::BROADCAST, Mac::BROADCAST),
        ReplyTo::Unicast { ip, mac } => (ip, mac),
    };
    let Some(gateway) = lan.addresses.subnet.map(Subnet::gateway) else {
        return;
    };
    let mut buf = FrameBuf::copy_from(&reply.message);
    packet::push_udp(&mut buf, Endpoint::new(gateway, 67), Endpoint::new(ip, 68));
    let header = lan.ipv4_header(gateway, ip, IpProtocol::Udp);
    lan.send_ipv4_to(now, mac, &header, buf);
}
