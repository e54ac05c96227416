//! Whose address is whose, on an isolated network and on one with anti-spoofing.
//!
//! Guests there do not trust each other, so none is heard in another's name: it would get what is meant for the other.
//!
//! - A MAC address stays at the port where it was heard, until that port goes or has been silent for as long as the switch remembers.
//! - An extra address of the [policy](crate::policy) is for those only who are named with it, and each of them may take it at once.
//! - An address that DHCP gave belongs to its lease's owner, be he here or not. Another one belongs to whoever claimed it first, as
//!   long as he can be reached. What else is behind the owner's port may use it, too: that is the same guest.
//!
//! Frames that say otherwise are counted and dropped. On other networks addresses move with whoever uses them last, as the virtual
//! addresses of a cluster do.
//!
//! Isolation looks at what comes to the gateway, since nothing else passes. With anti-spoofing every frame is looked at, also one for another
//! guest: [what it claims](crate::policy::sources) is held against the rules above, the network's own addresses are nobody's, and
//! those of other networks only theirs who have them as extra ones. So that no guest makes itself addresses until the table of others'
//! overflows, [`STATIONS`] are heard from one port.

use std::net::IpAddr;

use atoll_wire::packet::ETHERNET_LEN;
use atoll_wire::{EthernetProtocol, Frame, Mac};

use super::packet::Arrival;
use crate::counters::Counter;
use crate::policy::sources;
use crate::switch::Station;
use crate::{Engine, Instant, PortId};

/// MAC addresses behind one port, with anti-spoofing.
const STATIONS: usize = 16;

/// Whether the sender may use its MAC address, or the frame is counted and to be dropped.
pub(super) fn permits_mac(engine: &mut Engine, now: Instant, sender: Arrival) -> bool {
    let permitted = !is_guarded(engine) || may_have_mac(engine, now, sender);
    judged(engine, sender.ingress, permitted)
}

/// Whether the sender may use all the addresses that a frame claims, or it is counted and to be dropped. What it may use and nobody has
/// claimed is its own from now on.
pub(super) fn permits_claims(
    engine: &mut Engine,
    now: Instant,
    sender: Arrival,
    (ethertype, frame): (EthernetProtocol, &Frame),
) -> bool {
    if !engine.lan.firewall.is_strict() {
        return true;
    }
    let packet = frame.bytes.get(ETHERNET_LEN..).unwrap_or_default();
    let claims = sources::claims(ethertype, packet, sender.mac);
    let permitted = claims.is_some_and(|claims| {
        let mut addresses = claims.into_iter().flatten();
        addresses.all(|address| permits_claim(engine, now, sender, address))
    });
    judged(engine, sender.ingress, permitted)
}

fn permits_claim(engine: &mut Engine, now: Instant, sender: Arrival, address: IpAddr) -> bool {
    let lan = &engine.lan;
    if lan.is_own(address) {
        return false;
    }
    if !lan.is_for_guests(address) && !lan.is_link_local_guest(address) {
        return lan.firewall.may_have_extra(sender.ingress, sender.mac, address);
    }
    let permitted = may_have(engine, now, sender, address);
    if permitted && !engine.lan.neighbors.knows(address) {
        engine.lan.learn_neighbor(now, address, sender.mac);
    }
    permitted
}

/// Whether guests are not to be heard in another's name.
fn is_guarded(engine: &Engine) -> bool {
    engine.lan.isolate || engine.lan.firewall.is_strict()
}

fn may_have_mac(engine: &Engine, now: Instant, sender: Arrival) -> bool {
    let switch = &engine.lan.switch;
    let is_here = |station| {
        switch
            .port_of_station(now, station)
            .map(|known| known == sender.ingress)
    };
    // Who is known without a tag is the same in every VLAN.
    match is_here(Station::untagged(sender.mac)).or_else(|| is_here(sender.station())) {
        Some(is_here) => is_here,
        None if engine.lan.firewall.is_strict() => {
            engine.lan.switch.stations_of(now, sender.ingress) < STATIONS
        }
        None => true,
    }
}

/// Whether the sender may use an address, or the packet is counted and to be dropped.
pub(super) fn permits_address(engine: &mut Engine, now: Instant, sender: Arrival, address: IpAddr) -> bool {
    let permitted = !is_guarded(engine) || may_have(engine, now, sender, address);
    judged(engine, sender.ingress, permitted)
}

fn judged(engine: &mut Engine, port: PortId, permitted: bool) -> bool {
    if !permitted {
        engine.lan.firewall.note_spoofed(port);
        engine.lan.counters.count(Counter::Spoofed);
    }
    permitted
}

fn may_have(engine: &Engine, now: Instant, sender: Arrival, address: IpAddr) -> bool {
    if engine.lan.firewall.is_extra(address) {
        let firewall = &engine.lan.firewall;
        return firewall.may_have_extra(sender.ingress, sender.mac, address);
    }
    let leased_to = match address {
        IpAddr::V4(address) => engine.dhcp.owner_of(address),
        IpAddr::V6(address) => engine.dhcp6.owner_of(address),
    };
    if let Some(owner) = leased_to {
        return owner == sender.mac || is_behind(engine, now, owner, sender.ingress) == Some(true);
    }
    let claimed_by = engine.lan.neighbors.mac_of(address);
    claimed_by.is_none_or(|owner| {
        owner == sender.mac || is_behind(engine, now, owner, sender.ingress) != Some(false)
    })
}

/// Whether a station is behind a port; `None` when nobody knows where it is.
fn is_behind(engine: &Engine, now: Instant, mac: Mac, port: PortId) -> Option<bool> {
    engine.lan.switch.port_of(now, mac).map(|known| known == port)
}
