//! TCP and UDP at the gateway, over either family: checks of their headers, and the services that UDP reaches.
//!
//! A UDP datagram without a checksum is one over IPv4, and none over IPv6 (RFC 8200, 8.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use atoll_wire::ipv6::Ipv6Header;
use atoll_wire::packet::{self as build, UDP_LEN};
use atoll_wire::{BadOffload, Endpoint, FrameBuf, Gso, IpProtocol, UdpPacket, segment, tcp};

use super::packet::{Arrival, Packet};
use super::{is_for_group, is_from_guest, learn, leaves};
use crate::action::Action;
use crate::counters::Counter;
use crate::flow::tcp::Segment;
use crate::lan::DEFAULT_TTL;
use crate::services::dhcp::{Client, ReplyTo};
use crate::services::dhcp6::Client6;
use crate::services::dns::{DnsClient, DnsVia};
use crate::services::names::{NameRules, NameView};
use crate::services::tftp::Asker;
use crate::{Engine, FlowId, Instant, Mode};

/// All DHCPv6 servers and relays of the link (RFC 8415, 7.1).
const ALL_DHCP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

pub(super) fn handle_tcp(engine: &mut Engine, now: Instant, packet: &Packet) -> Option<FlowId> {
    let (header, header_len) = match check_tcp(packet) {
        Ok(checked) => checked,
        Err(counter) => {
            engine.lan.counters.count(counter);
            return None;
        }
    };
    if !leaves(engine, now, packet) {
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
    if !packet.checksum_is_right(IpProtocol::Tcp, packet.transport().len()) {
        Err(Counter::BadChecksum)
    } else if !header.flags.are_sane() {
        Err(Counter::TcpNonsense)
    } else {
        Ok((header, len))
    }
}

/// Source and destination port of a datagram and its length, header included.
fn check_udp(packet: &Packet) -> Result<((u16, u16), usize), Counter> {
    let header = UdpPacket::new_checked(packet.transport()).map_err(|_| Counter::Malformed)?;
    let (ports, len) = ((header.src_port(), header.dst_port()), usize::from(header.len()));
    if ports.1 == 0 || len < UDP_LEN {
        return Err(Counter::Malformed);
    }
    let is_right = match (header.checksum(), packet.src) {
        (0, IpAddr::V4(_)) => true,
        (0, IpAddr::V6(_)) if !packet.checksum_is_known() => false,
        _ => packet.checksum_is_right(IpProtocol::Udp, len),
    };
    if is_right {
        Ok((ports, len))
    } else {
        Err(Counter::BadChecksum)
    }
}

pub(super) fn handle_udp(engine: &mut Engine, now: Instant, arrival: Arrival, packet: &Packet) {
    let (ports, len) = match check_udp(packet) {
        Ok(checked) => checked,
        Err(counter) => return engine.lan.counters.count(counter),
    };
    let payload = packet.part(UDP_LEN, len);
    let Ok(segment) = udp_segment(packet.offload.gso, payload.len()) else {
        return engine.lan.counters.count(Counter::Malformed);
    };
    if is_for_dhcp(engine, packet, ports) {
        return handle_dhcp(engine, now, arrival, packet, &payload);
    }
    if !arrival.for_us || is_for_group(engine, packet) {
        return;
    }
    if !is_from_guest(&engine.lan, packet.src) || ports.0 == 0 {
        return engine.lan.counters.count(Counter::BadSourceAddress);
    }
    if !learn(engine, now, packet.src, arrival) {
        return;
    }
    if ports.1 == 53 && engine.lan.is_gateway(packet.dst) {
        let client = DnsClient {
            ingress: arrival.ingress,
            via: DnsVia::Udp {
                guest: Endpoint::new(packet.src, ports.0),
                asked: packet.dst,
                mac: arrival.mac,
            },
        };
        let names = NameView {
            names: &engine.names,
            dhcp: &engine.dhcp,
            dhcp6: &engine.dhcp6,
            heard: &engine.lan.neighbors,
        };
        return engine.dns.handle_query(now, client, &payload, names);
    }
    if engine.lan.is_gateway(packet.dst) {
        let pair = (
            Endpoint::new(packet.src, ports.0),
            Endpoint::new(packet.dst, ports.1),
        );
        if ports.1 == 123 && engine.ntp.is_on() {
            let question = engine.ntp.handle_request(now, arrival.ingress, pair, &payload);
            return engine.lan.actions.extend(question.map(Action::ReadClock));
        }
        if engine.tftp.takes(pair.1) {
            let client = Asker {
                ingress: arrival.ingress,
                guest: pair.0,
                ours: pair.1,
            };
            let rng = &mut engine.lan.rng;
            return engine.tftp.handle_datagram(now, rng, client, &payload);
        }
    }
    if leaves(engine, now, packet) {
        let flows = &mut engine.flows;
        flows.handle_udp(now, &mut engine.lan, packet, ports, (payload, segment));
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

/// Whether a datagram goes to one of the DHCP servers, each of which has a group of its own.
fn is_for_dhcp(engine: &Engine, packet: &Packet, ports: (u16, u16)) -> bool {
    let to_gateway = || engine.lan.is_gateway(packet.dst);
    match packet.dst {
        // A client sends from port 68 as a rule; that it hears there is what RFC 2131, 4.1 asks for.
        IpAddr::V4(dst) => ports.1 == 67 && (to_gateway() || dst == Ipv4Addr::BROADCAST),
        // Clients may send from any port (RFC 8415, 7.2).
        IpAddr::V6(dst) => ports.1 == 547 && (to_gateway() || dst == ALL_DHCP6),
    }
}

fn handle_dhcp(engine: &mut Engine, now: Instant, arrival: Arrival, packet: &Packet, payload: &[u8]) {
    if engine.lan.mode == Mode::Bridged {
        // Not for us to answer.
        return engine.lan.snoop.handle_request(arrival.mac, payload);
    }
    match packet.src {
        IpAddr::V4(src) => {
            let Arrival { ingress, mac, .. } = arrival;
            handle_dhcp4(engine, now, Client { ingress, mac, src }, payload);
        }
        IpAddr::V6(src) => {
            let Arrival { ingress, mac, .. } = arrival;
            let client = Client6 {
                ingress,
                mac,
                src,
                unicast: !packet.dst.is_multicast(),
                address4: engine.dhcp.address_for(now, mac),
            };
            handle_dhcp6(engine, now, client, payload);
        }
    }
}

fn handle_dhcp4(engine: &mut Engine, now: Instant, client: Client, payload: &[u8]) {
    let rules = NameRules {
        names: &engine.names,
        elsewhere: &|name| engine.dhcp6.owner_of_name(name),
    };
    let Some(reply) = engine.dhcp.handle_message(now, client, payload, rules) else {
        return;
    };
    let lan = &mut engine.lan;
    let (ip, mac) = match reply.to {
        ReplyTo::Broadcast => (Ipv4Addr::BROADCAST, atoll_wire::Mac::BROADCAST),
        ReplyTo::Unicast { ip, mac } => (ip, mac),
    };
    let mode = lan.mode;
    let Some(gateway) = lan.addresses.subnet.map(|subnet| mode.services4(subnet)) else {
        return;
    };
    let mut buf = FrameBuf::copy_from(&reply.message);
    build::push_udp(&mut buf, (gateway, 67), (ip, 68));
    let header = lan.ipv4_header(gateway, ip, IpProtocol::Udp);
    lan.send_ipv4_to(now, mac, &header, buf);
}

fn handle_dhcp6(engine: &mut Engine, now: Instant, client: Client6, payload: &[u8]) {
    let rules = NameRules {
        names: &engine.names,
        elsewhere: &|name| engine.dhcp.owner_of_name(name),
    };
    let Some(reply) = engine.dhcp6.handle_message(now, client, payload, rules) else {
        return;
    };
    let lan = &mut engine.lan;
    let Some(IpAddr::V6(gateway)) = lan.gateway_towards(reply.to.into()) else {
        return;
    };
    let mut buf = FrameBuf::copy_from(&reply.message);
    build::push_udp(&mut buf, (gateway, 547), (reply.to, 546));
    let header = Ipv6Header {
        src: gateway,
        dst: reply.to,
        protocol: IpProtocol::Udp,
        hop_limit: DEFAULT_TTL,
    };
    lan.send_ipv6_to(now, client.mac, &header, buf);
}
