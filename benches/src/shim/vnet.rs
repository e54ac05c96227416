//! `struct virtio_net_hdr` in its 10-byte form, in the host's byte order as TAP devices have it.

/// Its length.
pub(super) const LENGTH: usize = 10;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
/// Marks ECN beside a type.
const GSO_ECN: u8 = 0x80;

/// What the header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vnet {
    pub(super) flags: u8,
    pub(super) gso: u8,
    pub(super) header_length: u16,
    pub(super) gso_size: u16,
    pub(super) checksum_start: u16,
    pub(super) checksum_offset: u16,
}

impl Vnet {
    /// A finished frame whose checksums somebody verified already.
    pub(super) const VERIFIED: Self = Self {
        flags: DATA_VALID,
        gso: 0,
        header_length: 0,
        gso_size: 0,
        checksum_start: 0,
        checksum_offset: 0,
    };

    /// A train of TCP segments of `size` bytes each behind one header of `header_length` bytes.
    pub(super) fn train(v6: bool, header_length: u16, l4: u16, size: u16) -> Self {
        Self {
            flags: NEEDS_CHECKSUM,
            gso: if v6 { GSO_TCPV6 } else { GSO_TCPV4 },
            header_length,
            gso_size: size,
            checksum_start: l4,
            checksum_offset: 16,
        }
    }

    pub(super) fn parse(bytes: [u8; LENGTH]) -> Self {
        let [flags, gso, a, b, c, d, e, f, g, h] = bytes;
        Self {
            flags,
            gso,
            header_length: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            checksum_start: u16::from_ne_bytes([e, f]),
            checksum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    pub(super) fn emit(&self) -> [u8; LENGTH] {
        let [a, b] = self.header_length.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.checksum_start.to_ne_bytes();
        let [g, h] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.gso, a, b, c, d, e, f, g, h]
    }

    pub(super) fn needs_checksum(&self) -> bool {
        self.flags & NEEDS_CHECKSUM != 0
    }

    /// The size to cut TCP at, when the frame is larger than the wire takes.
    pub(super) fn cut(&self) -> Option<usize> {
        let tcp = matches!(self.gso & !GSO_ECN, GSO_TCPV4 | GSO_TCPV6);
        (tcp && self.gso_size > 0).then(|| usize::from(self.gso_size))
    }
}

#[cfg(test)]
mod tests {
    use super::Vnet;

    #[test]
    fn a_train_survives_emission_and_parsing() {
        let train = Vnet::train(true, 74, 54, 1428);
        assert_eq!(Vnet::parse(train.emit()), train);
        assert_eq!(train.cut(), Some(1428));
        assert!(train.needs_checksum());
    }

    #[test]
    fn ecn_beside_the_type_changes_nothing_in_the_cut() {
        let mut train = Vnet::train(false, 54, 34, 1460);
        train.gso |= super::GSO_ECN;
        assert_eq!(train.cut(), Some(1460));
    }
}
