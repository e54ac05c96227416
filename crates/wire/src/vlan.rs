//! VLAN tags (IEEE 802.1Q, 9.3 to 9.6): which VLAN a frame is of.
//!
//! ```text
//! destination  source  [TPID TCI]*  EtherType  payload          TCI: priority 3, DEI 1, VLAN identifier 12
//! ```
//!
//! A tag whose identifier is zero carries a priority and no VLAN (6.8, "priority-tagged"): such a frame is untagged, and receivers read it
//! as if the tag were not there, however many of these follow each other (Linux: `__netif_receive_skb_core`). Who judges frames by their
//! EtherType has to take these tags off first ([`without_priority`]), or a guest gets past every judgement with four bytes.
//!
//! The first tag with another identifier says the VLAN. C-VLANs (802.1Q) and S-VLANs (802.1ad) are numbered apart. What is behind that
//! tag, be it another tag, is of that VLAN and of nobody else's concern.

use std::fmt;

use bytes::BytesMut;

use crate::packet::ETHERNET_LEN;
use crate::{Checksum, Frame};

/// Bytes of a tag.
pub const TAG_LEN: usize = 4;

/// Where the first tag, or the EtherType, stands.
pub const TAG_AT: usize = ETHERNET_LEN - 2;

/// The EtherTypes by which a tag begins: of a C-VLAN, and of an S-VLAN.
const C_TAG: u16 = 0x8100;
const S_TAG: u16 = 0x88a8;

/// Tags without a VLAN that are taken off one frame: what is more is nobody's work.
const PRIORITY_TAGS: usize = 4;

/// A VLAN, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vlan(u16);

impl Vlan {
    /// No tag, or tags with a priority only.
    pub const UNTAGGED: Self = Self(0);

    /// Distinguishes S-VLANs from C-VLANs, in a bit that no identifier has.
    const SERVICE: u16 = 1 << 12;

    /// The VLAN of a TCI behind this TPID; `None` for the identifier that no frame has (4095).
    fn of(tpid: u16, tci: u16) -> Option<Self> {
        let identifier = tci & 0x0fff;
        let kind = if tpid == S_TAG { Self::SERVICE } else { 0 };
        match identifier {
            0 => Some(Self::UNTAGGED),
            0x0fff => None,
            _ => Some(Self(identifier | kind)),
        }
    }

    /// Whether it is none.
    #[must_use]
    pub fn is_untagged(self) -> bool {
        self == Self::UNTAGGED
    }

    /// A number of its own, below 8192; zero for none.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.0 & Self::SERVICE == 0 { "" } else { "s" };
        write!(f, "{kind}{}", self.0 & !Self::SERVICE)
    }
}

/// The frame's tags are cut short, too many, or of the reserved VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the frame's tags make no sense")]
pub struct BadTag;

/// Whether an EtherType begins a tag.
#[must_use]
pub fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, C_TAG | S_TAG)
}

/// The VLAN of a frame, and how many bytes of tags without one stand before what says so.
///
/// # Errors
/// The tags make no sense.
pub fn classify(frame: &[u8]) -> Result<(Vlan, usize), BadTag> {
    for count in 0..=PRIORITY_TAGS {
        let skipped = count * TAG_LEN;
        let [high, low, rest @ ..] = frame.get(TAG_AT + skipped..).ok_or(BadTag)? else {
            return Err(BadTag);
        };
        let tpid = u16::from_be_bytes([*high, *low]);
        if !is_tag(tpid) {
            return Ok((Vlan::UNTAGGED, skipped));
        }
        // The EtherType of what is tagged follows.
        let [high, low, _, _, ..] = *rest else {
            return Err(BadTag);
        };
        let vlan = Vlan::of(tpid, u16::from_be_bytes([high, low])).ok_or(BadTag)?;
        if !vlan.is_untagged() {
            return Ok((vlan, skipped));
        }
    }
    Err(BadTag)
}

/// The frame without the tags that [`classify`] found before what says its VLAN.
///
/// # Errors
/// The checksum that is to be finished would begin before the frame's payload.
pub fn without_priority(frame: &Frame, tags: usize) -> Result<Frame, BadTag> {
    let (stations, rest) = frame.bytes.split_at_checked(TAG_AT).ok_or(BadTag)?;
    let mut offload = frame.offload;
    if let Checksum::Partial { start, .. } = &mut offload.checksum {
        let moved = usize::from(*start)
            .checked_sub(tags)
            .filter(|start| *start >= ETHERNET_LEN);
        *start = moved.and_then(|start| u16::try_from(start).ok()).ok_or(BadTag)?;
    }
    let mut bytes = BytesMut::with_capacity(frame.len());
    bytes.extend_from_slice(stations);
    bytes.extend_from_slice(rest.get(tags..).ok_or(BadTag)?);
    Ok(Frame {
        bytes: bytes.freeze(),
        offload,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{Gso, Offload};

    fn frame(tags: &[[u8; 4]], rest: &[u8]) -> Vec<u8> {
        [&[2; TAG_AT], tags.as_flattened(), rest].concat()
    }

    #[test]
    fn the_first_identifier_that_is_not_zero_says_the_vlan() {
        const IP: &[u8] = &[0x08, 0x00, 0x45];
        let priority = [0x81, 0x00, 0xe0, 0x00];
        for (tags, vlan, skipped) in [
            (vec![], "0", 0),
            (vec![priority], "0", 4),
            (vec![priority, [0x88, 0xa8, 0, 0]], "0", 8),
            (vec![[0x81, 0x00, 0, 7]], "7", 0),
            (vec![[0x81, 0x00, 0x60, 7]], "7", 0),
            (vec![[0x88, 0xa8, 0, 7]], "s7", 0),
            (vec![[0x88, 0xa8, 0, 7], priority], "s7", 0),
            (vec![priority, [0x81, 0x00, 0x0f, 0xfe]], "4094", 4),
        ] {
            let (found, before) = classify(&frame(&tags, IP)).unwrap();
            assert_eq!((found.to_string().as_str(), before), (vlan, skipped), "{tags:?}");
        }
    }

    #[test]
    fn tags_without_end_or_sense_are_refused() {
        let priority = [0x81, 0x00, 0, 0];
        let many = [priority; PRIORITY_TAGS + 1];
        for bad in [
            frame(&many, &[0x08, 0x00]),
            frame(&[[0x81, 0x00, 0x0f, 0xff]], &[0x08, 0x00]),
            frame(&[priority], &[]),
            frame(&[priority], &[0x08]),
            frame(&[[0x81, 0x00, 0, 7]], &[]),
            frame(&[], &[0x81]),
            Vec::new(),
        ] {
            assert_eq!(classify(&bad), Err(BadTag), "{bad:?}");
        }
    }

    #[test]
    fn a_checksum_to_be_finished_moves_with_its_header() {
        let of = |start| Frame {
            bytes: Bytes::from(frame(&[[0x81, 0x00, 0, 0]], &[0x08, 0x00, 1, 2, 3])),
            offload: Offload {
                checksum: Checksum::Partial { start, offset: 16 },
                gso: Gso::Tcp4 { size: 100 },
            },
        };
        let plain = without_priority(&of(38), 4).unwrap();
        assert_eq!(&plain.bytes[TAG_AT..], [0x08, 0x00, 1, 2, 3]);
        assert_eq!(
            plain.offload.checksum,
            Checksum::Partial {
                start: 34,
                offset: 16
            }
        );
        assert_eq!(plain.offload.gso, Gso::Tcp4 { size: 100 });
        assert_eq!(without_priority(&of(10), 4), Err(BadTag));
    }

    proptest! {
        /// Whatever stands before, what is left of a frame begins with no tag that has no VLAN, and is the same otherwise.
        #[test]
        fn what_is_left_is_of_the_same_vlan(
            tags in proptest::collection::vec((any::<bool>(), prop_oneof![Just(0_u16), 0_u16..4096]), 0..6),
            rest in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let tags: Vec<[u8; 4]> = tags
                .iter()
                .map(|(is_service, tci)| {
                    let [a, b] = if *is_service { S_TAG } else { C_TAG }.to_be_bytes();
                    let [c, d] = tci.to_be_bytes();
                    [a, b, c, d]
                })
                .collect();
            let whole = Frame::plain(frame(&tags, &rest).into());
            if let Ok((vlan, before)) = classify(&whole.bytes) {
                let left = without_priority(&whole, before).unwrap();
                prop_assert_eq!(classify(&left.bytes), Ok((vlan, 0)));
                prop_assert_eq!(left.len() + before, whole.len());
                prop_assert!(whole.bytes.ends_with(&left.bytes[TAG_AT..]));
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, tags in 0_usize..40, start: u16) {
            let _ = classify(&bytes);
            let offload = Offload {
                checksum: Checksum::Partial { start, offset: 0 },
                ..Offload::default()
            };
            let _ = without_priority(&Frame { bytes: bytes.into(), offload }, tags);
        }
    }
}
