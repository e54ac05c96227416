//! Pinned uplinks: each MAC address of a guest has its own, and frames go nowhere else.
//!
//! A macvtap takes frames of one MAC address and brings those for it; the kernel joins the macvtaps of one NIC, so that guests
//! hear each other, too. For the switch a guest's address and its uplink are therefore the two ends of a wire. A wire is made when an
//! address first speaks at a guest's port. It stays there until the port goes, or until the address has been silent for so long that the
//! switch forgot it and its place is wanted: no other port gets it before, so no guest takes another's uplink.
//!
//! What comes to all comes by every uplink once. A guest with several addresses hears it by the first of its wires alone, and
//! never what it sent itself.
//!
//! Bounds: [`WIRES_OF_ONE`] for each port, and [`WIRES`] together.

use std::collections::BTreeMap;

use atoll_wire::Mac;

use crate::PortId;

/// Wires of one guest's port.
pub(super) const WIRES_OF_ONE: usize = 8;
/// Wires of a network: what its bound on guests can be where each is a device of the host's.
pub(super) const WIRES: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Wire {
    guest: PortId,
    /// None while it is not open.
    uplink: Option<PortId>,
}

/// What is to be done about a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// An uplink for this address is to be opened.
    Open(Mac),
    /// Its uplink is to be closed.
    Close(Mac),
}

#[derive(Debug, Default)]
pub(super) struct Wires {
    by_mac: BTreeMap<Mac, Wire>,
}

/// Whether an address may speak at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its wire ends there.
    Here,
    /// Its wire ends at another port.
    Elsewhere,
    /// There is room for a new wire, in place of that of another address if one is named.
    Free(Option<Mac>),
    /// There is no room.
    Full,
}

impl Wires {
    /// Where `mac`, which speaks at `guest`, belongs. `is_forgotten` says of an address that it was not heard for long.
    pub(super) fn place(&self, mac: Mac, guest: PortId, is_forgotten: impl Fn(Mac) -> bool) -> Place {
        match self.by_mac.get(&mac) {
            Some(wire) if wire.guest == guest => return Place::Here,
            Some(_) if is_forgotten(mac) => return Place::Free(Some(mac)),
            Some(_) => return Place::Elsewhere,
            None => {}
        }
        let of_guest = self.by_mac.iter().filter(|(_, wire)| wire.guest == guest);
        let is_full = of_guest.clone().count() >= WIRES_OF_ONE;
        if !is_full && self.by_mac.len() < WIRES {
            return Place::Free(None);
        }
        let silent = |(mac, _): &(&Mac, &Wire)| is_forgotten(**mac);
        let victim = if is_full {
            of_guest.clone().find(silent)
        } else {
            self.by_mac.iter().find(silent)
        };
        victim.map_or(Place::Full, |(mac, _)| Place::Free(Some(*mac)))
    }

    pub(super) fn insert(&mut self, mac: Mac, guest: PortId) {
        self.by_mac.insert(mac, Wire { guest, uplink: None });
    }

    /// `true` if there was one.
    pub(super) fn remove(&mut self, mac: Mac) -> bool {
        self.by_mac.remove(&mac).is_some()
    }

    /// The uplink of an address.
    pub(super) fn uplink_of(&self, mac: Mac) -> Option<PortId> {
        self.by_mac.get(&mac)?.uplink
    }

    /// The guest's port at the other end of the uplink of an address.
    pub(super) fn guest_of(&self, mac: Mac) -> Option<PortId> {
        self.by_mac.get(&mac).map(|wire| wire.guest)
    }

    /// An uplink for an address was opened. `false` if nobody wants it any more.
    pub(super) fn connect(&mut self, mac: Mac, uplink: PortId) -> bool {
        let wire = self.by_mac.get_mut(&mac);
        wire.map(|wire| wire.uplink = Some(uplink)).is_some()
    }

    /// An uplink is gone: its wire goes with it, and is asked for again when the guest speaks.
    pub(super) fn disconnect(&mut self, uplink: PortId) {
        self.by_mac.retain(|_, wire| wire.uplink != Some(uplink));
    }

    /// A guest's port is gone. The addresses whose uplinks are to be closed.
    pub(super) fn forget_guest(&mut self, guest: PortId) -> Vec<Mac> {
        let of_guest = self.by_mac.iter().filter(|(_, wire)| wire.guest == guest);
        let gone: Vec<Mac> = of_guest.map(|(mac, _)| *mac).collect();
        for mac in &gone {
            self.by_mac.remove(mac);
        }
        gone
    }

    /// Whether what comes to all and came by the uplink of `mac` is for the guest at its other end: it is the first of the
    /// guest's, and the sender is not the guest itself.
    pub(super) fn hears_groups(&self, mac: Mac, src: Mac) -> bool {
        let Some(guest) = self.guest_of(mac) else {
            return false;
        };
        let mut open = self.by_mac.iter();
        let first = open.find(|(_, wire)| wire.guest == guest && wire.uplink.is_some());
        first.is_some_and(|(first, _)| *first == mac) && self.guest_of(src) != Some(guest)
    }
}
