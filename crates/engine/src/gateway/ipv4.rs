//! What is IPv4's own at the gateway: the checks of its header (RFC 1122, 3.2.1), its fragments, and ICMP.

use atoll_wire::packet::{ICMP_LEN, IPV4_LEN};
use atoll_wire::{Frame, FrameBuf, Icmpv4Message, Icmpv4Packet, Ipv4Packet, checksum};

use super::fragments::{Fragment, Name};
use super::packet::{Arrival, Packet};
use super::{handle_packet, icmp, joined, leaves, reassemble};
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
        // What was cut may be cut again: reassembly leaves no DF.
        Ok((packet, None)) if joined::leave(engine, now, arrival, &packet, false) => None,
        Ok((packet, None)) => handle_packet(engine, now, arrival, &packet),
        Ok((packet, Some(cut))) => handle_fragment(engine, now, arrival, &packet, cut),
        Err(counter) => {
            engine.lan.counters.count(counter);
            None
        }
    }
}

/// Where in a datagram a fragment belongs.
#[derive(Clone, Copy, Debug)]
struct Cut {
    ident: u16,
    offset: u16,
    more: bool,
}

/// A part of a datagram: when it is the last that was missing, the whole goes on.
fn handle_fragment(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    packet: &Packet,
    cut: Cut,
) -> Option<FlowId> {
    let name = Name {
        src: packet.src,
        dst: packet.dst,
        protocol: packet.protocol.into(),
        ident: cut.ident.into(),
    };
    let fragment = Fragment {
        name,
        header: &packet.bytes[..packet.header_len],
        offset: cut.offset.into(),
        payload: packet.transport(),
        more: cut.more,
    };
    let mut bytes = reassemble(engine, now, arrival, packet.offload, &fragment)?;
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut header = Ipv4Packet::new_unchecked(&mut bytes[..]);
    header.clear_flags();
    header.set_frag_offset(0);
    header.set_total_len(len);
    header.fill_checksum();
    handle_ipv4(engine, now, arrival, Frame::plain(bytes.freeze()))
}

/// The packet, and where it belongs if it is a fragment. The Ethernet header is gone already.
fn check(engine: &Engine, ingress: PortId, frame: Frame) -> Result<(Packet, Option<Cut>), Counter> {
    let Frame { mut bytes, offload } = frame;
    let header = Ipv4Packet::new_checked(&bytes[..]).map_err(|_| Counter::Malformed)?;
    let header_len = usize::from(header.header_len());
    if header.version() != 4 || header_len < IPV4_LEN {
        return Err(Counter::Malformed);
    }
    if checksum::sum(&bytes[..header_len]) != u16::MAX {
        return Err(Counter::BadChecksum);
    }
    let cut = Cut {
        ident: header.ident(),
        offset: header.frag_offset(),
        more: header.more_frags(),
    };
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
    let packet = Packet {
        src: src.into(),
        dst: dst.into(),
        ttl,
        protocol,
        ingress,
        bytes,
        header_len,
        next_header_at: 9,
        offload,
    };
    let is_cut = cut.more || cut.offset != 0;
    Ok((packet, is_cut.then_some(cut)))
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
