//! What is IPv4's own at the gateway: the checks of its header (RFC 1122, 3.2.1), and ICMP.

use atoll_wire::packet::{ICMP_LEN, IPV4_LEN};
use atoll_wire::{Frame, FrameBuf, Icmpv4Message, Icmpv4Packet, Ipv4Packet, checksum};

use super::packet::{Arrival, Packet};
use super::{handle_packet, icmp, leaves};
use crate::counters::Counter;
use crate::{Engine, FlowId, Instant, PortId};

/// The flow of a TCP segment that others may follow.
pub(super) fn handle_ipv4(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    frame: Frame,
) -> Option<FlowId> {
    match check(engine, arrival.ingress, frame) {
        Ok(packet) => handle_packet(engine, now, arrival, &packet),
        Err(counter) => {
            engine.lan.counters.count(counter);
            None
        }
    }
}

/// The Ethernet header is gone already.
fn check(engine: &Engine, ingress: PortId, frame: Frame) -> Result<Packet, Counter> {
    let Frame { mut bytes, offload } = frame;
    let header = Ipv4Packet::new_checked(&bytes[..]).map_err(|_| Counter::Malformed)?;
    let header_len = usize::from(header.header_len());
    if header.version() != 4 || header_len < IPV4_LEN {
        return Err(Counter::Malformed);
    }
    if checksum::sum(&bytes[..header_len]) != u16::MAX {
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
    let len = usize::from(header.total_len());
    bytes.truncate(len);
    Ok(Packet {
        src: src.into(),
        dst: dst.into(),
        ttl,
        protocol,
        ingress,
        bytes,
        header_len,
        next_header_at: 9,
        offload,
    })
}

pub(super) fn handle_icmp(engine: &mut Engine, now: Instant, packet: &Packet) {
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
    } else if leaves(engine, now, packet) {
        let flows = &mut engine.flows;
        flows.handle_echo(now, &mut engine.lan, packet, (ident, seq), payload);
    }
}
