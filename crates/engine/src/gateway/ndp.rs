//! Neighbor discovery at the gateway (RFC 4861, 7; RFC 4862, 5.4): IPv6's ARP.
//!
//! We answer for our own addresses and for no others, and believe what guests say of theirs, as far as a guest may have them: a
//! solicitation says where its sender is, an advertisement where its target is. Who probes whether an address is free (duplicate address
//! detection) is taken for its owner to be, but takes it from nobody; who probes for one of ours is told, with everybody else, that
//! it is taken. Solicitations of routers go to [`router`](super::router).
//!
//! A message that came through a router, or from another station than it says, is refused and counted, and so is one that claims an
//! address of ours. Messages of other routers and redirects are not for us.

use std::net::{IpAddr, Ipv6Addr};

use atoll_wire::Mac;
use atoll_wire::ndp::{self, ALL_NODES, HOP_LIMIT, Message, kind};

use super::isolation::permits_address;
use super::packet::{Arrival, Packet};
use super::{is_from_guest, learn};
use crate::counters::Counter;
use crate::{Engine, Instant};

/// Whether an ICMPv6 type is of neighbor discovery.
pub(super) fn is_discovery(kind: u8) -> bool {
    (kind::ROUTER_SOLICITATION..=kind::NEIGHBOR_ADVERTISEMENT).contains(&kind)
}

/// A message, its checksum verified.
pub(super) fn handle(engine: &mut Engine, now: Instant, arrival: Arrival, packet: &Packet) {
    if packet.transport()[0] == kind::ROUTER_ADVERTISEMENT {
        return;
    }
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src, packet.dst) else {
        return;
    };
    let is_sound = packet.ttl == HOP_LIMIT && packet.transport()[1] == 0;
    let message = Message::parse(packet.transport()).filter(|_| is_sound);
    let Some(message) = message else {
        return engine.lan.counters.count(Counter::Malformed);
    };
    match message {
        Message::RouterSolicitation { source } => {
            if is_from(engine, now, arrival, (src, source)) {
                learn_source(engine, now, src, source);
                engine
                    .router
                    .handle_solicitation(now, &mut engine.lan, (src, arrival.mac));
            }
        }
        Message::NeighborSolicitation { target, .. } if src.is_unspecified() => {
            handle_probe(engine, now, arrival, dst, target);
        }
        Message::NeighborSolicitation { target, source } => {
            if is_from(engine, now, arrival, (src, source)) {
                learn_source(engine, now, src, source);
                learn(engine, now, src.into(), arrival);
                if engine.lan.is_own(target.into()) {
                    engine.lan.advertise(now, target, (src, arrival.mac));
                }
            }
        }
        Message::NeighborAdvertisement {
            target,
            solicited,
            owner,
        } => handle_advertisement(engine, now, arrival, (dst, target, solicited), owner),
    }
}

/// Whether a solicitation is of the station that sent it. Without a source address there is nothing to say of it (RFC 4861, 7.1.1).
fn is_from(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    (src, source): (Ipv6Addr, Option<Mac>),
) -> bool {
    let counter = if source.is_some_and(|source| source != arrival.mac) {
        Counter::BadSourceMac
    } else if src.is_unspecified() && source.is_some() {
        Counter::Malformed
    } else if !src.is_unspecified() && !is_from_guest(&engine.lan, src.into()) {
        Counter::BadSourceAddress
    } else {
        return src.is_unspecified() || permits_address(engine, now, arrival, src.into());
    };
    engine.lan.counters.count(counter);
    false
}

/// The sender says where it is.
fn learn_source(engine: &mut Engine, now: Instant, src: Ipv6Addr, source: Option<Mac>) {
    if let Some(source) = source {
        engine.lan.learn_neighbor(now, src.into(), source);
    }
}

/// Duplicate address detection.
fn handle_probe(engine: &mut Engine, now: Instant, arrival: Arrival, dst: Ipv6Addr, target: Ipv6Addr) {
    if dst != ndp::solicited_node(target) {
        engine.lan.counters.count(Counter::Malformed);
    } else if engine.lan.is_own(target.into()) {
        engine
            .lan
            .advertise(now, target, (ALL_NODES, ndp::group_mac(ALL_NODES)));
    } else if is_from_guest(&engine.lan, target.into()) {
        learn(engine, now, target.into(), arrival);
    }
}

fn handle_advertisement(
    engine: &mut Engine,
    now: Instant,
    arrival: Arrival,
    (dst, target, solicited): (Ipv6Addr, Ipv6Addr, bool),
    owner: Option<Mac>,
) {
    let counter = if dst.is_multicast() && solicited {
        Counter::Malformed
    } else if owner.is_some_and(|owner| owner != arrival.mac) {
        Counter::BadSourceMac
    } else if !is_from_guest(&engine.lan, target.into()) {
        Counter::BadSourceAddress
    } else {
        if permits_address(engine, now, arrival, target.into()) {
            engine.lan.learn_neighbor(now, target.into(), arrival.mac);
        }
        return;
    };
    engine.lan.counters.count(counter);
}
