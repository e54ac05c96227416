//! The gateway: what comes to the network's own MAC address, or to a group.
//!
//! Frames are checked from the outside in, and every check that fails is counted under its own name: source MAC, EtherType,
//! [IPv4](ipv4) or [IPv6](ipv6) header, source address, [transport](transport) header and its checksum. What passes goes to ARP or
//! [neighbor discovery](ndp), to a service (DHCP on 67, DHCPv6 on 547, TFTP on 69, NTP on 123, DNS on 53, which is also TCP's by way of a flow), to the echo
//! responder, or to the flows. What came in [fragments] is put together first. A family that the network has no addresses of is an unknown EtherType.
//!
//! What passes between guests and an uplink is [looked at](transit), and never answered towards the uplink. [Tagged](vlans) frames are the
//! switch's business alone.
//!
//! Left out: IPv4 options (ignored: nothing is routed by them).

pub(crate) mod fragments;
pub(crate) mod icmp;
mod ipv4;
mod ipv6;
mod isolation;
pub(crate) mod joined;
mod ndp;
pub(crate) mod neighbors;
mod packet;
mod relay;
pub(crate) mod roll_call;
pub(crate) mod router;
pub(crate) mod snoop;
pub(crate) mod train;
mod transit;
mod transport;
mod vlans;

use std::net::IpAddr;

use atoll_wire::packet::{self as build, ETHERNET_LEN};
use atoll_wire::{
    ArpOperation, ArpPacket, ArpRepr, Checksum, EthernetFrame, EthernetProtocol, Frame, Gso, IpProtocol, Mac,
    Offload,
};
use bytes::{Buf, BytesMut};

use crate::action::Action;
use crate::counters::Counter;
use crate::lan::Lan;
use crate::switch::{Change, Target};
use crate::{Engine, FlowId, Instant, Mode, PortId, Side};
use fragments::{Fragment, Outcome};
use icmp::{Quote, Unreachable};
use packet::Arrival;
pub(crate) use packet::Packet;
use train::{Head, Train};
use vlans::Admitted;

/// A frame came from a port, for the switch and perhaps for us.
pub(crate) fn handle_frame(engine: &mut Engine, now: Instant, ingress: PortId, frame: Frame) {
    let Ok(ethernet) = EthernetFrame::new_checked(&frame.bytes[..]) else {
        return engine.lan.counters.count(Counter::Malformed);
    };
    let (src, dst, protocol) = (
        Mac::from(ethernet.src_addr()),
        Mac::from(ethernet.dst_addr()),
        ethernet.ethertype(),
    );
    if !src.is_station() || src == engine.lan.mac {
        return engine.lan.counters.count(Counter::BadSourceMac);
    }
    let vlan = match vlans::admit(&engine.lan, protocol, &frame) {
        Ok(Admitted::In(vlan)) => vlan,
        Ok(Admitted::As(frame)) => return handle_frame(engine, now, ingress, frame),
        Err(counter) => return engine.lan.counters.count(counter),
    };
    let arrival = Arrival {
        ingress,
        mac: src,
        vlan,
        for_us: dst == engine.lan.mac,
    };
    if !isolation::permits_mac(engine, now, arrival) {
        return;
    }
    let lan = &mut engine.lan;
    let side = lan
        .switch
        .learn(now, ingress, arrival.station(), frame.len(), &mut lan.counters);
    ask_for_uplinks(lan);
    let Some(side) = side else { return };
    let is_judged = side == Side::Guest && vlan.is_untagged();
    if is_judged && !isolation::permits_claims(engine, now, arrival, (protocol, &frame)) {
        return;
    }
    let lan = &mut engine.lan;
    if lan.capture {
        lan.actions.push_back(Action::Captured(frame.clone()));
    }
    if side != Side::Guest {
        return handle_uplink(engine, now, arrival, dst, (protocol, frame));
    }
    handle_guest(engine, now, arrival, dst, (protocol, frame));
}

/// Pinned uplinks that are wanted, and those that are not any more.
pub(crate) fn ask_for_uplinks(lan: &mut Lan) {
    for change in lan.switch.take_changes() {
        lan.actions.push_back(match change {
            Change::Open(mac) => Action::OpenUplink(mac),
            Change::Close(mac) => Action::CloseUplink(mac),
        });
    }
}

/// A frame of a guest's.
fn handle_guest(
    engine: &mut Engine,
    now: Instant,
    mut arrival: Arrival,
    dst: Mac,
    (protocol, frame): (EthernetProtocol, Frame),
) {
    let lan = &mut engine.lan;
    let has_uplinks = lan.mode != Mode::User;
    let is_taken = has_uplinks && !arrival.for_us && transit::is_ours(lan, protocol, &frame.bytes);
    // A question to a group stays one; a packet is as good as sent to our own MAC address.
    arrival.for_us |= is_taken && !dst.is_group();
    if !arrival.for_us && !is_taken {
        let target = lan.switch.target(now, (arrival.station(), dst), arrival.ingress);
        let leads_nowhere = target == Target::Nobody || !has_uplinks;
        if lan.isolate && leads_nowhere && !dst.is_group() {
            return lan.counters.count(Counter::Isolated);
        }
        if !dst.is_group() {
            return switch(engine, now, arrival, target, (protocol, frame));
        }
        lan.send_frame(target, frame.clone());
    }
    let head = (arrival.for_us && !is_taken && !engine.lan.capture)
        .then(|| Head::of(protocol, &frame.bytes))
        .flatten();
    let flow = handle_for_us(engine, now, arrival, (protocol, frame));
    engine.train = head
        .zip(flow)
        .map(|(head, flow)| Train::of(now, arrival.ingress, head, flow));
}

/// A frame that came by an uplink: for guests, and never for us.
fn handle_uplink(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    dst: Mac,
    (protocol, frame): (EthernetProtocol, Frame),
) {
    let lan = &mut engine.lan;
    if arrival.for_us {
        return;
    }
    if transit::claims_ours(lan, protocol, &frame.bytes) {
        return lan.counters.count(Counter::Spoofed);
    }
    if let Some(message) = transit::dhcp_answer(lan, protocol, &frame.bytes)
        && let Some((mac, address)) = lan.snoop.handle_answer(message)
    {
        handle_leased(lan, now, mac, address.into());
    }
    let target = lan.switch.target(now, (arrival.station(), dst), arrival.ingress);
    switch(engine, now, arrival, target, (protocol, frame));
}

/// A DHCP server of the LAN gave a guest this address.
fn handle_leased(lan: &mut Lan, now: Instant, mac: Mac, address: IpAddr) {
    let owner = lan.neighbors.mac_of(address);
    let is_free = owner.is_none_or(|owner| owner == mac || !lan.switch.is_guests(now, owner));
    if is_free && lan.is_for_guests(address) && lan.switch.is_guests(now, mac) {
        lan.learn_neighbor(now, address, mac);
    }
}

/// Send a frame where it goes. Others may follow it there if it is nothing to us.
fn switch(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    target: Target,
    (protocol, frame): (EthernetProtocol, Frame),
) {
    let lan = &mut engine.lan;
    if let Target::Port(port) = target {
        if !lan.switch.are_of_one_group(arrival.ingress, port) {
            return lan.counters.count(Counter::Isolated);
        }
        if !lan.capture && is_plain(lan, arrival.ingress, &frame) {
            let is_strict = lan.firewall.is_strict();
            engine.train = Train::switched(now, arrival.ingress, (protocol, &frame), port, is_strict);
        }
    }
    lan.send_frame(target, frame);
}

/// Whether a frame is switched without a look into it: where there is no uplink all are.
fn is_plain(lan: &Lan, ingress: PortId, frame: &Frame) -> bool {
    let from_guest = || lan.switch.side(ingress) == Some(Side::Guest);
    lan.mode == Mode::User || transit::is_plain(lan, from_guest(), &frame.bytes)
}

/// A frame for us, or for a group of which we may be. The flow of a TCP segment that others may follow.
fn handle_for_us(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    (protocol, frame): (EthernetProtocol, Frame),
) -> Option<FlowId> {
    let lan = &mut engine.lan;
    let mut packet = frame;
    packet.bytes.advance(ETHERNET_LEN);
    match protocol {
        EthernetProtocol::Arp if lan.has_ipv4() => {
            handle_arp(engine, now, arrival, &packet.bytes);
            None
        }
        EthernetProtocol::Ipv4 if lan.has_ipv4() => {
            let packet = relay::follow(engine, now, arrival, packet)?;
            ipv4::handle_ipv4(engine, now, arrival, packet)
        }
        EthernetProtocol::Ipv6 if lan.has_ipv6() => {
            let packet = relay::follow(engine, now, arrival, packet)?;
            ipv6::handle_ipv6(engine, now, arrival, packet)
        }
        _ if arrival.for_us => {
            lan.counters.count(Counter::UnknownProtocol);
            None
        }
        _ => None,
    }
}

/// RFC 826. We answer for our own addresses and believe what guests say of theirs.
fn handle_arp(engine: &mut Engine, now: Instant, arrival: Arrival, bytes: &[u8]) {
    let repr = ArpPacket::new_checked(bytes).and_then(|packet| ArpRepr::parse(&packet));
    let Ok(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr: sender,
        target_protocol_addr: target,
        ..
    }) = repr
    else {
        return engine.lan.counters.count(Counter::Malformed);
    };
    let src = arrival.mac;
    if Mac::from(source_hardware_addr) != src {
        return engine.lan.counters.count(Counter::BadSourceMac);
    }
    if engine.lan.is_for_guests(sender.into()) {
        if !isolation::permits_address(engine, now, arrival, sender.into()) {
            return;
        }
        engine.lan.learn_neighbor(now, sender.into(), src);
    }
    let lan = &mut engine.lan;
    if operation == ArpOperation::Request && lan.is_own(target.into()) {
        let reply = build::arp(ArpOperation::Reply, (lan.mac, target), (src, sender));
        lan.send_ethernet(now, src, EthernetProtocol::Arp, (reply, Offload::default()));
    }
}

/// A packet whose headers are sound. The flow of a TCP segment that others may follow.
fn handle_packet(engine: &mut Engine, now: Instant, arrival: Arrival, packet: &Packet) -> Option<FlowId> {
    if packet.protocol == IpProtocol::Udp {
        transport::handle_udp(engine, now, arrival, packet);
        return None;
    }
    if !arrival.for_us {
        return None;
    }
    if !is_from_guest(&engine.lan, packet.src) {
        engine.lan.counters.count(Counter::BadSourceAddress);
        return None;
    }
    if is_for_group(engine, packet) || !learn(engine, now, packet.src, arrival) {
        return None;
    }
    match packet.protocol {
        IpProtocol::Tcp => return transport::handle_tcp(engine, now, packet),
        IpProtocol::Icmp if packet.src.is_ipv4() => ipv4::handle_icmp(engine, now, packet),
        _ => refuse_protocol(engine, now, packet),
    }
    None
}

/// A fragment for us: the whole packet, its lengths still those of a fragment, when it was the last that was missing.
fn reassemble(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    offload: Offload,
    fragment: &Fragment<'_>,
) -> Option<BytesMut> {
    if !arrival.for_us {
        return None;
    }
    if !is_from_guest(&engine.lan, fragment.name.src) {
        engine.lan.counters.count(Counter::BadSourceAddress);
        return None;
    }
    // What is cut already is not to be cut again, and its checksum is over all of it.
    let is_plain = offload.gso == Gso::None && !matches!(offload.checksum, Checksum::Partial { .. });
    let outcome = if is_plain {
        engine.fragments.handle_fragment(now, arrival.ingress, fragment)
    } else {
        Outcome::Nonsense
    };
    let (counter, whole) = match outcome {
        Outcome::Kept => return None,
        Outcome::Whole(bytes) => (Counter::Reassembled, Some(bytes)),
        Outcome::Nonsense => (Counter::ReassemblyFailed, None),
    };
    engine.lan.counters.count(counter);
    whole
}

/// Packets that did not become whole are given up.
pub(crate) fn handle_timeout(engine: &mut Engine, now: Instant) {
    for expired in engine.fragments.handle_timeout(now) {
        engine.lan.counters.count(Counter::ReassemblyTimeout);
        if let Some(first) = &expired.first {
            let quote = Quote::packet(expired.src, expired.dst, first);
            icmp::send_reassembly_timeout(&mut engine.lan, now, &quote);
        }
    }
}

/// Whether a packet's source is an address that a guest may have and speak from: one of the network's that is not ours, or link-local.
fn is_from_guest(lan: &Lan, src: IpAddr) -> bool {
    lan.is_for_guests(src) || lan.is_link_local_guest(src)
}

/// A group's packet that came to our own MAC address: counted, and never answered (RFC 1122, 3.2.2; RFC 9293, MUST-57).
fn is_for_group(engine: &mut Engine, packet: &Packet) -> bool {
    let is_group = engine.flows.policy().is_group(packet.dst);
    if is_group {
        engine.lan.counters.count(Counter::Forbidden);
    }
    is_group
}

/// A guest that has not said its address by ARP or neighbor discovery says it by using it. `false` when the address is not its to use.
fn learn(engine: &mut Engine, now: Instant, address: IpAddr, arrival: Arrival) -> bool {
    if !isolation::permits_address(engine, now, arrival, address) {
        return false;
    }
    if !engine.lan.neighbors.knows(address) {
        engine.lan.learn_neighbor(now, address, arrival.mac);
    }
    true
}

/// Whether a packet stays with us or may leave the network: it comes from an address that is known beyond the link, and has a hop
/// left. If not, its sender was told.
fn leaves(engine: &mut Engine, now: Instant, packet: &Packet) -> bool {
    if engine.lan.is_own(packet.dst) {
        return true;
    }
    if packet.ttl <= 1 {
        engine.lan.counters.count(Counter::TtlExceeded);
        icmp::send_time_exceeded(&mut engine.lan, now, &packet.quote(), None);
        return false;
    }
    let is_known = !engine.lan.is_link_local_guest(packet.src);
    if !is_known {
        engine.lan.counters.count(Counter::Forbidden);
        icmp::send_unreachable(&mut engine.lan, now, &packet.quote(), Unreachable::Scope);
    }
    is_known
}

/// A transport that we do not speak.
fn refuse_protocol(engine: &mut Engine, now: Instant, packet: &Packet) {
    let lan = &mut engine.lan;
    lan.counters.count(Counter::UnknownProtocol);
    let quote = packet.quote();
    match (lan.is_own(packet.dst), packet.dst) {
        (true, IpAddr::V6(_)) => icmp::send_problem(lan, now, &quote, ipv6::unknown_protocol(packet)),
        (true, IpAddr::V4(_)) => icmp::send_unreachable(lan, now, &quote, Unreachable::Protocol),
        (false, _) => icmp::send_unreachable(lan, now, &quote, Unreachable::Prohibited),
    }
}
