//! Frames with tags: which may pass, and as what.
//!
//! | frame | is |
//! |---|---|
//! | priority-tagged (VLAN 0), however often | an untagged one: the tags are taken off before anything looks at it |
//! | of a VLAN, where the network carries them | switched as it is, within its VLAN; to the gateway it is nothing |
//! | of a VLAN elsewhere; of VLAN 4095; with tags without an end | dropped and counted |
//!
//! The gateway and its services are in no VLAN: a guest that wants them speaks without tags. So no flow begins with a tagged frame, and no rule
//! of the policy can be got round by one; groups, isolation and limits are about ports and hold for every frame.
//!
//! Guests' own networks carry VLANs. Two kinds do only if their owner says so ([`Policy::vlans`](crate::Policy::vlans)): those with anti-spoofing,
//! since the addresses of a VLAN are its stations' own affair and cannot be judged (MAC addresses are, as ever), and those with an uplink, since
//! a tag may lead a guest to parts of the LAN where nobody wants it.

use atoll_wire::vlan::{self, Vlan};
use atoll_wire::{EthernetProtocol, Frame};

use crate::counters::Counter;
use crate::lan::Lan;

/// What becomes of a frame.
#[derive(Debug)]
pub(super) enum Admitted {
    /// It passes as it is, in this VLAN or none.
    In(Vlan),
    /// This passes in its place.
    As(Frame),
}

/// Whether a frame may pass; if not, what is counted.
pub(super) fn admit(lan: &Lan, protocol: EthernetProtocol, frame: &Frame) -> Result<Admitted, Counter> {
    match protocol {
        EthernetProtocol::Unknown(ethertype) if vlan::is_tag(ethertype) => admit_tagged(lan, frame),
        _ => Ok(Admitted::In(Vlan::UNTAGGED)),
    }
}

fn admit_tagged(lan: &Lan, frame: &Frame) -> Result<Admitted, Counter> {
    let (vlan, before) = vlan::classify(&frame.bytes).map_err(|_| Counter::Malformed)?;
    if !vlan.is_untagged() && !lan.carries_vlans {
        return Err(Counter::VlanRefused);
    }
    if before == 0 {
        return Ok(Admitted::In(vlan));
    }
    let plain = vlan::without_priority(frame, before).map_err(|_| Counter::Malformed)?;
    Ok(Admitted::As(plain))
}
