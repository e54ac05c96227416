//! What is IPv6's own at the gateway: the checks of its header, and ICMPv6.
//!
//! | source | may |
//! |---|---|
//! | an address of the prefix that is not ours | all |
//! | link-local, not ours | speak to our own addresses; beyond the link it is told so (RFC 4443, 3.1, code 2) |
//! | `::` | discover neighbors and routers |
//! | ours, a group's, any other | nothing: dropped and counted |
//!
//! Extension headers are [walked](atoll_wire::ipv6), and fragments put together, but those of neighbor discovery, which never come in
//! fragments (RFC 6980). What came to a group is heard (neighbor discovery, DHCPv6) and never answered with an error, but for an option
//! that asks for it.

use std::net::IpAddr;

use atoll_wire::ipv6::{IPV6_LEN, Ipv6Error, Part, Problem, Walked, walk};
use atoll_wire::packet::ICMP_LEN;
use atoll_wire::{Frame, FrameBuf, Icmpv6Message, IpProtocol, Ipv6Packet};

use super::fragments::{Fragment, Name};
use super::icmp::Quote;
use super::packet::{Arrival, Packet};
use super::{handle_packet, icmp, is_from_guest, joined, learn, leaves, ndp, reassemble};
use crate::counters::Counter;
use crate::{Engine, FlowId, Instant, Mode};

/// The flow of a TCP segment that others may follow.
pub(super) fn handle_ipv6(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    frame: Frame,
) -> Option<FlowId> {
    match walk(&frame.bytes) {
        Ok(walked) => handle_walked(engine, now, arrival, frame, &walked),
        Err(Ipv6Error::Fragment(part)) => handle_fragment(engine, now, arrival, &frame, part),
        Err(error) => {
            refuse(engine, now, arrival, &frame.bytes, error);
            None
        }
    }
}

fn handle_walked(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    frame: Frame,
    walked: &Walked,
) -> Option<FlowId> {
    let Frame { mut bytes, offload } = frame;
    let src = walked.header.src;
    if src.is_multicast() || engine.lan.is_own(src.into()) {
        engine.lan.counters.count(Counter::BadSourceAddress);
        return None;
    }
    bytes.truncate(walked.end);
    let packet = Packet {
        src: src.into(),
        dst: walked.header.dst.into(),
        ttl: walked.header.hop_limit,
        protocol: walked.header.protocol,
        ingress: arrival.ingress,
        bytes,
        header_len: walked.transport,
        next_header_at: walked.next_header_at,
        offload,
    };
    if joined::leave(engine, now, arrival, &packet, walked.has_fragment_header) {
        return None;
    }
    if packet.protocol == IpProtocol::Icmpv6 {
        handle_icmpv6(engine, now, arrival, &packet, walked.has_fragment_header);
        return None;
    }
    handle_packet(engine, now, arrival, &packet)
}

/// A part of a packet: when it is the last that was missing, the whole goes on.
fn handle_fragment(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    frame: &Frame,
    part: Part,
) -> Option<FlowId> {
    let name = Name {
        src: part.header.src.into(),
        dst: part.header.dst.into(),
        // RFC 8200, 4.5: it is not the protocol that tells packets apart, and the first fragment's counts.
        protocol: 0,
        ident: part.ident,
    };
    let mut header: [u8; IPV6_LEN] = *frame.bytes.first_chunk()?;
    header[6] = part.header.protocol.into();
    let fragment = Fragment {
        name,
        header: &header,
        offset: part.offset,
        payload: &frame.bytes[part.start..part.end],
        more: part.more,
    };
    let mut bytes = reassemble(engine, now, arrival, frame.offload, &fragment)?;
    let len = u16::try_from(bytes.len() - IPV6_LEN).unwrap_or(u16::MAX);
    Ipv6Packet::new_unchecked(&mut bytes[..]).set_payload_len(len);
    let whole = Frame::plain(bytes.freeze());
    match walk(&whole.bytes) {
        Ok(walked) => {
            let walked = Walked {
                has_fragment_header: true,
                ..walked
            };
            handle_walked(engine, now, arrival, whole, &walked)
        }
        // A fragment of fragments.
        Err(Ipv6Error::Fragment(_)) => {
            engine.lan.counters.count(Counter::ReassemblyFailed);
            None
        }
        Err(error) => {
            refuse(engine, now, arrival, &whole.bytes, error);
            None
        }
    }
}

/// Count a packet whose headers cannot be taken, and tell its sender if that is due.
fn refuse(engine: &mut Engine, now: Instant, arrival: Arrival, bytes: &[u8], error: Ipv6Error) {
    let problem = match error {
        Ipv6Error::Malformed | Ipv6Error::Fragment(_) => {
            return engine.lan.counters.count(Counter::Malformed);
        }
        Ipv6Error::Empty => return,
        Ipv6Error::Problem(problem) => problem,
    };
    engine.lan.counters.count(Counter::HeaderProblem);
    let Ok(header) = Ipv6Packet::new_checked(bytes) else {
        return;
    };
    let (src, dst) = (IpAddr::from(header.src_addr()), IpAddr::from(header.dst_addr()));
    let to_group = !arrival.for_us || dst.is_multicast();
    let is_told = is_from_guest(&engine.lan, src) && (!to_group || problem.also_groups);
    if is_told && learn(engine, now, src, arrival) {
        let quote = Quote::packet(src, dst, bytes);
        icmp::send_problem(&mut engine.lan, now, &quote, problem);
    }
}

fn handle_icmpv6(engine: &mut Engine, now: Instant, arrival: Arrival, packet: &Packet, was_fragmented: bool) {
    let transport = packet.transport();
    if transport.len() < ICMP_LEN {
        return engine.lan.counters.count(Counter::Malformed);
    }
    // The checksum of ICMP is its sender's to finish on every port that we know of: no offload covers it.
    let (src, dst) = (packet.src, packet.dst);
    let right = atoll_wire::packet::transport_checksum_is_right(src, dst, IpProtocol::Icmpv6, transport);
    if !right {
        return engine.lan.counters.count(Counter::BadChecksum);
    }
    if ndp::is_discovery(transport[0]) {
        if was_fragmented {
            return engine.lan.counters.count(Counter::Malformed);
        }
        return ndp::handle(engine, now, arrival, packet);
    }
    let answers_us = arrival.for_us && transport[0] == u8::from(Icmpv6Message::EchoReply);
    if answers_us && engine.lan.mode == Mode::Bridged && is_from_guest(&engine.lan, packet.src) {
        // An answer to the roll call.
        learn(engine, now, packet.src, arrival);
        return;
    }
    // Errors, replies and reports of group members are nobody's here (RFC 4443, 2.4 b).
    if !arrival.for_us || transport[0] != u8::from(Icmpv6Message::EchoRequest) {
        return;
    }
    if !is_from_guest(&engine.lan, packet.src) {
        return engine.lan.counters.count(Counter::BadSourceAddress);
    }
    if packet.dst.is_multicast() {
        return engine.lan.counters.count(Counter::Forbidden);
    }
    if !learn(engine, now, packet.src, arrival) {
        return;
    }
    let word = |at: usize| u16::from_be_bytes([transport[at], transport[at + 1]]);
    let (ident, seq, payload) = (word(4), word(6), packet.payload(ICMP_LEN));
    if engine.lan.is_own(packet.dst) {
        let echo = (ident, seq, FrameBuf::copy_from(&payload));
        icmp::send_echo_reply(&mut engine.lan, now, packet.dst, packet.src, echo);
    } else if leaves(engine, now, packet) {
        let flows = &mut engine.flows;
        flows.handle_echo(now, &mut engine.lan, packet, (ident, seq), payload);
    }
}

/// "Unrecognized next header", for a packet to ourselves.
pub(super) fn unknown_protocol(packet: &Packet) -> Problem {
    Problem {
        code: Problem::NEXT_HEADER,
        pointer: u32::try_from(packet.next_header_at).unwrap_or(0),
        also_groups: false,
    }
}
