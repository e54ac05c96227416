//! What is offered to guests and front ends, and what follows from what they take.
//!
//! Feature bits of the device are the guest driver's choice; the front end passes them on and may hold some back. A bit that
//! says how a *device* behaves and was not offered is none of ours, since front ends mix in what they do themselves (a MAC address,
//! a control queue). One that changes how *rings* are read must not be taken by mistake: see [`Features::of`].

use atoll_wire::{Offloads, vnet};

/// A set of feature bits as the guest's driver took them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features(u64);

/// Device: frames with unfinished checksums from the guest, and to it (virtio 1.3, 5.1.3).
const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
/// The MTU is told to the guest, by the front end.
const MTU: u64 = 1 << 3;
/// Large TCP segments over IPv4 and IPv6, to the guest and from it.
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
/// A frame may lie in several buffers of the guest.
const MRG_RXBUF: u64 = 1 << 15;
/// Several pairs of rings.
const MQ: u64 = 1 << 22;
/// Rings: no assumption on how a chain is cut, tables of descriptors, exact notification (virtio 1.3, 6).
const ANY_LAYOUT: u64 = 1 << 27;
const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
/// vhost-user's own: there are protocol features.
const PROTOCOL_FEATURES: u64 = 1 << 30;
const VERSION_1: u64 = 1 << 32;

/// Everything that is offered. Guests that do not know `VERSION_1` are legacy ones, and served as well. Not offered: logging of
/// writes, without which the front end does not migrate the machine; packed rings; announcing.
pub(super) const OFFERED: u64 = CSUM
    | GUEST_CSUM
    | MTU
    | GUEST_TSO4
    | GUEST_TSO6
    | HOST_TSO4
    | HOST_TSO6
    | MRG_RXBUF
    | MQ
    | ANY_LAYOUT
    | INDIRECT_DESC
    | EVENT_IDX
    | PROTOCOL_FEATURES
    | VERSION_1;

/// Bits that are not the device's but the transport's (virtio 1.3, 2.2: 24 to 49), which change how rings are read.
const TRANSPORT: u64 = (1 << 50) - (1 << 24);

/// Extensions of the protocol: several pairs of rings, an answer to every request that wants one, and the guest's MTU.
pub(super) const PROTOCOL_OFFERED: u64 = 1 << 0 | PROTOCOL_REPLY_ACK | 1 << 4;
const PROTOCOL_REPLY_ACK: u64 = 1 << 3;

/// Whether a front end that took these protocol features may ask for an answer to any request.
pub(super) fn answers_all(protocol: u64) -> bool {
    protocol & PROTOCOL_REPLY_ACK != 0
}

impl Features {
    /// What was taken; `None` when rings would have to be read in a way that was not offered.
    pub(super) fn of(taken: u64) -> Option<Self> {
        (taken & TRANSPORT & !OFFERED == 0).then_some(Self(taken & OFFERED))
    }

    fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    pub(super) fn has_protocol_features(self) -> bool {
        self.has(PROTOCOL_FEATURES)
    }

    pub(super) fn has_event_index(self) -> bool {
        self.has(EVENT_IDX)
    }

    pub(super) fn has_indirect(self) -> bool {
        self.has(INDIRECT_DESC)
    }

    pub(super) fn has_mergeable(self) -> bool {
        self.has(MRG_RXBUF)
    }

    /// Whether anything may be said of checksums.
    pub(super) fn takes_checksums(self) -> bool {
        self.has(GUEST_CSUM)
    }

    /// Bytes of the header before each frame (5.1.6.1).
    pub(super) fn header_len(self) -> usize {
        if self.has(VERSION_1) || self.has_mergeable() {
            vnet::LEN
        } else {
            vnet::LEGACY_LEN
        }
    }

    /// Which frames the guest takes as they are.
    pub(super) fn offloads(self) -> Offloads {
        Offloads {
            checksum: self.has(GUEST_CSUM),
            tcp4: self.has(GUEST_CSUM | GUEST_TSO4),
            tcp6: self.has(GUEST_CSUM | GUEST_TSO6),
            udp4: false,
            udp6: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_was_not_offered_is_refused_and_a_device_feature_is_not_ours() {
        const PACKED: u64 = 1 << 34;
        const MAC: u64 = 1 << 5;
        assert_eq!(Features::of(OFFERED | PACKED), None);
        assert_eq!(Features::of(OFFERED | MAC), Some(Features(OFFERED)));
    }

    #[test]
    fn the_header_is_short_for_a_legacy_guest_that_merges_nothing() {
        let len = |bits| Features::of(bits).unwrap().header_len();
        assert_eq!((len(0), len(MRG_RXBUF), len(VERSION_1)), (10, 12, 12));
    }

    #[test]
    fn segments_need_checksums() {
        assert_eq!(Features(GUEST_TSO4 | GUEST_TSO6).offloads(), Offloads::default());
        let Offloads { tcp4, tcp6, .. } = Features(OFFERED).offloads();
        assert!(tcp4 && tcp6);
    }
}
