//! From a guest here to another network.

use std::net::IpAddr;

use atoll_wire::packet::IPV4_LEN;
use atoll_wire::{Endpoint, FrameBuf, tcp};

use super::conversations::Beginner;
use super::said::{Said, Talk};
use super::{Passing, Refused, RoutedPacket, is_a_guests, judge, take_hop};
use crate::action::Action;
use crate::counters::Counter;
use crate::flow::{refuse_tcp, tcp::Segment};
use crate::gateway::icmp::{self, Unreachable};
use crate::gateway::packet::{Arrival, Packet};
use crate::gateway::{is_from_guest, learn};
use crate::{Engine, Instant};

/// Whether a packet is for a network that this one is joined with; then it was seen to. It is whole, and its IP header is sound.
#[inline]
pub(crate) fn leave(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    packet: &Packet,
    was_cut: bool,
) -> bool {
    !engine.lan.joined.is_empty() && leave_joined(engine, now, arrival, (packet, was_cut))
}

#[cold]
fn leave_joined(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    (packet, was_cut): (&Packet, bool),
) -> bool {
    let is_joined = engine.lan.joined.network_of(packet.dst).is_some();
    if is_joined && arrival.for_us {
        pass_on(engine, now, arrival, (packet, was_cut));
    }
    is_joined
}

fn pass_on(engine: &mut Engine, now: Instant, arrival: Arrival, (packet, was_cut): (&Packet, bool)) {
    if !is_from_guest(&engine.lan, packet.src) {
        return engine.lan.counters.count(Counter::BadSourceAddress);
    }
    if !learn(engine, now, packet.src, arrival) {
        return;
    }
    let lan = &mut engine.lan;
    let quote = packet.quote();
    let Some(network) = lan.joined.network_of(packet.dst).cloned() else {
        return;
    };
    let has_options = packet.src.is_ipv4() && packet.header_len > IPV4_LEN;
    let said = Said::read(packet.protocol, packet.transport()).filter(|_| !has_options);
    let Some(said) = said else {
        lan.counters.count(Counter::UnknownProtocol);
        // It may be an error about which none is sent.
        if !is_icmp(packet) {
            icmp::send_unreachable(lan, now, &quote, Unreachable::Prohibited);
        }
        return;
    };
    if let Some((counter, why)) = obstacle(packet, &said, lan, is_a_guests(network.addresses, packet.dst)) {
        lan.counters.count(counter);
        match why {
            _ if said.is_error() => {}
            Some(why) => icmp::send_unreachable(lan, now, &quote, why),
            None => icmp::send_time_exceeded(lan, now, &quote, None),
        }
        return;
    }
    let passing = Passing {
        said,
        here: packet.src,
        there: packet.dst,
        sender: Beginner::Here(arrival.ingress),
        may_begin: network.begins_there,
    };
    match judge(lan, now, &passing) {
        Ok(()) => {}
        Err(Refused::Silently) => return,
        Err(Refused::Beginning) => return refuse(engine, now, packet, &said),
    }
    lan.counters.count(Counter::Routed);
    let mut buf = FrameBuf::copy_from(&packet.bytes);
    take_hop(buf.payload_mut());
    let routed = RoutedPacket {
        packet: buf,
        offload: packet.offload,
        origin: arrival.ingress.0,
        was_cut,
    };
    lan.actions.push_back(Action::Route {
        to: network.join,
        packet: routed,
    });
}

/// What keeps a packet from leaving, whoever may begin: how it is counted and told, which is "time exceeded" where there is no word for it.
fn obstacle(
    packet: &Packet,
    said: &Said,
    lan: &crate::Lan,
    is_to_guest: bool,
) -> Option<(Counter, Option<Unreachable>)> {
    // An error is about a packet that came from there to who sends the error.
    let is_about_another =
        matches!(said, Said::Error { src, dst, .. } if (*src, *dst) != (packet.dst, packet.src));
    if !is_to_guest || is_about_another {
        return Some((Counter::Forbidden, Some(Unreachable::Prohibited)));
    }
    if packet.ttl <= 1 {
        return Some((Counter::TtlExceeded, None));
    }
    let is_known_beyond = !lan.is_link_local_guest(packet.src);
    (!is_known_beyond).then_some((Counter::Forbidden, Some(Unreachable::Scope)))
}

fn is_icmp(packet: &Packet) -> bool {
    let protocol = packet.protocol;
    protocol == atoll_wire::IpProtocol::Icmp || protocol == atoll_wire::IpProtocol::Icmpv6
}

/// TCP is reset, everything else is told that it is prohibited, as by the [policy](crate::policy).
fn refuse(engine: &mut Engine, now: Instant, packet: &Packet, said: &Said) {
    let lan = &mut engine.lan;
    let Said::Talk(Talk::Tcp(src, dst), _) = *said else {
        return icmp::send_unreachable(lan, now, &packet.quote(), Unreachable::Prohibited);
    };
    let Some((header, header_len)) = tcp::Header::parse(packet.transport()) else {
        return;
    };
    let segment = Segment {
        header,
        payload: packet.payload(header_len),
    };
    let end = |address: IpAddr, port| Endpoint::new(address, port);
    refuse_tcp(lan, now, end(packet.src, src), end(packet.dst, dst), &segment);
}
