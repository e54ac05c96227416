//! Whose address is whose on an isolated network.
//!
//! Guests of an isolated network do not trust each other, so none is heard in another's name: it would get what is meant for the other.
//!
//! - A MAC address stays at the port where it was heard, until that port goes or has been silent for as long as the switch remembers.
//! - An address that DHCP gave belongs to its lease's owner, be he here or not. Another one belongs to whoever claimed it first, as
//!   long as he can be reached. What else is behind the owner's port may use it, too: that is the same guest.
//!
//! Frames that say otherwise are counted and dropped. On a network that is not isolated addresses move with whoever uses them last, as
//! the virtual addresses of a cluster do.

use std::net::IpAddr;

use atoll_wire::Mac;

use super::packet::Arrival;
use crate::counters::Counter;
use crate::{Engine, Instant, PortId};

/// Whether the sender may use its MAC address, or the frame is counted and to be dropped.
pub(super) fn permits_mac(engine: &mut Engine, now: Instant, sender: Arrival) -> bool {
    let lan = &engine.lan;
    let permitted = !lan.isolate || is_behind(engine, now, sender.mac, sender.ingress) != Some(false);
    judged(engine, permitted)
}

/// Whether the sender may use an address, or the packet is counted and to be dropped.
pub(super) fn permits_address(engine: &mut Engine, now: Instant, sender: Arrival, address: IpAddr) -> bool {
    let permitted = !engine.lan.isolate || may_have(engine, now, sender, address);
    judged(engine, permitted)
}

fn judged(engine: &mut Engine, permitted: bool) -> bool {
    if !permitted {
        engine.lan.counters.count(Counter::Spoofed);
    }
    permitted
}

fn may_have(engine: &Engine, now: Instant, sender: Arrival, address: IpAddr) -> bool {
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
