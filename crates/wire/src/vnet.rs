//! The virtio_net_hdr before a frame (virtio 1.3, 5.1.6), in its little-endian form.
//!
//! ```text
//! 0 flags   1 gso_type   2 hdr_len   4 gso_size   6 csum_start   8 csum_offset   10 num_buffers
//! ```
//!
//! The legacy header ends before `num_buffers`. What comes from a guest is its word: [`parse`] takes only what a frame can
//! keep, so that whoever finishes the checksum or cuts the frame later finds the headers where they are said to be. A
//! frame that lies is dropped by who reads it. `hdr_len` is a hint which the device must not rely on (5.1.6.2.2) and is not
//! read; neither is `DATA_VALID`, which a driver must not set: a checksum that is said to be right is verified all the same.
//!
//! Taken from guests: finished and partial checksums, and TCP and UDP over IPv4 and IPv6, VLAN-tagged or not, in large segments. Segments
//! with the ECN bit are for devices that offered them; we do not. Extension headers before the transport's are not looked for.

use crate::ipv6::IPV6_LEN;
use crate::packet::{ETHERNET_LEN, IPV4_LEN, UDP_LEN, ip_start};
use crate::{Checksum, Family, Frame, Gso, Offload};

/// Bytes of the header with `num_buffers`: virtio 1.0 and later.
pub const LEN: usize = 12;

/// Bytes of the legacy header.
pub const LEGACY_LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;

const TCP_LEN: usize = 20;

/// Where the checksum stands in the header of TCP and of UDP.
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;

const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// Why a header does not go with its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VnetError {
    /// The header or the frame is cut short.
    Short,
    /// The checksum would stand before the transport header or behind the frame.
    ChecksumOutside,
    /// Segmentation that was not offered: another kind, or with the ECN bit.
    NotOffered {
        /// As it came.
        gso_type: u8,
    },
    /// Segments without payload, or without a checksum to be finished.
    NoSegments,
    /// The frame's own headers are not those of the announced kind.
    Mismatch,
}

/// What a header says of the frame that follows it.
///
/// # Errors
/// It does not go with the frame, which is to be dropped.
pub fn parse(header: &[u8], frame: &[u8]) -> Result<Offload, VnetError> {
    let &[
        flags,
        gso_type,
        _,
        _,
        size_low,
        size_high,
        start_low,
        start_high,
        offset_low,
        offset_high,
    ] = header.first_chunk::<LEGACY_LEN>().ok_or(VnetError::Short)?;
    if frame.len() < ETHERNET_LEN {
        return Err(VnetError::Short);
    }
    let checksum = if flags & NEEDS_CSUM == 0 {
        Checksum::Unverified
    } else {
        partial(
            u16::from_le_bytes([start_low, start_high]),
            u16::from_le_bytes([offset_low, offset_high]),
            frame,
        )?
    };
    let size = u16::from_le_bytes([size_low, size_high]);
    let gso = match gso_type {
        GSO_NONE => Gso::None,
        GSO_TCPV4 => Gso::Tcp4 { size },
        GSO_TCPV6 => Gso::Tcp6 { size },
        GSO_UDP_L4 => match ip_start(frame) {
            Some((_, family)) => Gso::udp(family, size),
            None => return Err(VnetError::Mismatch),
        },
        gso_type => return Err(VnetError::NotOffered { gso_type }),
    };
    check_segments(gso, checksum, frame)?;
    Ok(Offload { checksum, gso })
}

fn partial(start: u16, offset: u16, frame: &[u8]) -> Result<Checksum, VnetError> {
    let first = usize::from(start);
    let end = first + usize::from(offset) + 2;
    if first < ETHERNET_LEN + IPV4_LEN || end > frame.len() {
        return Err(VnetError::ChecksumOutside);
    }
    Ok(Checksum::Partial { start, offset })
}

/// The checksum must be that of the announced kind of segment, and stand where the headers say.
fn check_segments(gso: Gso, checksum: Checksum, frame: &[u8]) -> Result<(), VnetError> {
    let (family, protocol, size) = match gso {
        Gso::None => return Ok(()),
        Gso::Tcp4 { size } => (Family::V4, PROTOCOL_TCP, size),
        Gso::Tcp6 { size } => (Family::V6, PROTOCOL_TCP, size),
        Gso::Udp4 { size } => (Family::V4, PROTOCOL_UDP, size),
        Gso::Udp6 { size } => (Family::V6, PROTOCOL_UDP, size),
    };
    let place = if protocol == PROTOCOL_TCP {
        TCP_CHECKSUM
    } else {
        UDP_CHECKSUM
    };
    match checksum {
        Checksum::Partial { start, offset } if size > 0 => {
            let layout = transport(frame).filter(|layout| (layout.0, layout.1) == (family, protocol));
            let is_so = offset == place && layout.is_some_and(|(.., begin, _)| begin == usize::from(start));
            if is_so { Ok(()) } else { Err(VnetError::Mismatch) }
        }
        _ => Err(VnetError::NoSegments),
    }
}

/// Family and protocol of a frame, where its transport header begins, and how long it is, if it is TCP's or UDP's and whole.
fn transport(frame: &[u8]) -> Option<(Family, u8, usize, usize)> {
    let (ip, family) = ip_start(frame)?;
    let (version, header_len, protocol) = match family {
        Family::V4 => {
            let header = frame.get(ip..ip + IPV4_LEN)?;
            (header[0] >> 4, usize::from(header[0] & 0x0f) * 4, header[9])
        }
        Family::V6 => {
            let header = frame.get(ip..ip + IPV6_LEN)?;
            (header[0] >> 4, IPV6_LEN, header[6])
        }
    };
    let is_version = version == if family == Family::V4 { 4 } else { 6 };
    let is_known = matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP);
    if !is_version || header_len < IPV4_LEN || !is_known {
        return None;
    }
    let start = ip + header_len;
    Some((family, protocol, start, transport_len(frame, protocol, start)?))
}

/// Length of the transport header at `start`, if it is whole.
fn transport_len(frame: &[u8], protocol: u8, start: usize) -> Option<usize> {
    let len = match protocol {
        PROTOCOL_TCP => usize::from(frame.get(start + 12)? >> 4) * 4,
        _ => UDP_LEN,
    };
    let is_whole = (protocol != PROTOCOL_TCP || len >= TCP_LEN) && start + len <= frame.len();
    is_whole.then_some(len)
}

/// The header for a frame. Its first [`LEGACY_LEN`] bytes are the legacy header.
#[must_use]
pub fn emit(frame: &Frame) -> [u8; LEN] {
    let (flags, start, offset) = match frame.offload.checksum {
        Checksum::Unverified => (0, 0, 0),
        Checksum::Valid => (DATA_VALID, 0, 0),
        Checksum::Partial { start, offset } => (NEEDS_CSUM, start, offset),
    };
    let (gso_type, size) = match frame.offload.gso {
        Gso::None => (GSO_NONE, 0),
        Gso::Tcp4 { size } => (GSO_TCPV4, size),
        Gso::Tcp6 { size } => (GSO_TCPV6, size),
        Gso::Udp4 { size } | Gso::Udp6 { size } => (GSO_UDP_L4, size),
    };
    let mut header = [0; LEN];
    header[0] = flags;
    header[1] = gso_type;
    header[2..4].copy_from_slice(&headers_len(&frame.bytes).to_le_bytes());
    header[4..6].copy_from_slice(&size.to_le_bytes());
    header[6..8].copy_from_slice(&start.to_le_bytes());
    header[8..10].copy_from_slice(&offset.to_le_bytes());
    // One buffer a frame: no merging (5.1.6.4.1).
    header[10..12].copy_from_slice(&1_u16.to_le_bytes());
    header
}

/// Bytes of the headers up to the payload of TCP or UDP; zero for all else, "not known".
///
/// Linux puts as many bytes of a frame that is larger than a page in one piece and the rest in pages (`tun_get_user`). With
/// nothing but payload in the pages it can join segments in a socket's queue; with zero it wants the whole in one piece.
fn headers_len(frame: &[u8]) -> u16 {
    let len = transport(frame).and_then(|(_, _, start, len)| u16::try_from(start + len).ok());
    len.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use bytes::Bytes;
    use proptest::prelude::*;
    use smoltcp::wire::EthernetProtocol;

    use super::*;
    use crate::{FrameBuf, IpProtocol, Mac, ipv6, packet, tcp};

    const START: u16 = 34;

    fn large() -> Frame {
        let mut buf = FrameBuf::zeroed(4000);
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3));
        tcp::Header::default().push(&mut buf, src, dst);
        let header = packet::Ipv4Header {
            src,
            dst,
            protocol: IpProtocol::Tcp,
            ttl: 64,
            ident: 0,
            dont_fragment: true,
        };
        packet::push_ipv4(&mut buf, &header);
        packet::push_ethernet(&mut buf, Mac([2; 6]), Mac([4; 6]), EthernetProtocol::Ipv4);
        let checksum = Checksum::Partial {
            start: START,
            offset: TCP_CHECKSUM,
        };
        let gso = Gso::Tcp4 { size: 1448 };
        buf.freeze(Offload { checksum, gso })
    }

    fn header(frame: &Frame, change: impl FnOnce(&mut [u8; LEN])) -> Result<Offload, VnetError> {
        let mut header = emit(frame);
        change(&mut header);
        parse(&header, &frame.bytes)
    }

    #[test]
    fn a_large_segment_is_said_and_understood() {
        let frame = large();
        let header = emit(&frame);
        assert_eq!(
            header,
            [1, 1, 54, 0, 0xa8, 0x05, 34, 0, 16, 0, 1, 0],
            "54 bytes of headers, 1448 of payload in each segment"
        );
        assert_eq!(parse(&header, &frame.bytes), Ok(frame.offload));
        assert_eq!(parse(&header[..LEGACY_LEN], &frame.bytes), Ok(frame.offload));
    }

    /// The same with IPv6.
    fn large6(gso: Gso) -> Frame {
        let mut buf = FrameBuf::zeroed(4000);
        let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let (protocol, offset) = match gso {
            Gso::Tcp6 { .. } => {
                tcp::Header::default().push(&mut buf, src, dst);
                (IpProtocol::Tcp, TCP_CHECKSUM)
            }
            _ => {
                packet::push_udp(&mut buf, (src, 1), (dst, 2));
                (IpProtocol::Udp, UDP_CHECKSUM)
            }
        };
        let hop_limit = 64;
        let header = ipv6::Ipv6Header {
            src,
            dst,
            protocol,
            hop_limit,
        };
        ipv6::push_ipv6(&mut buf, &header);
        packet::push_ethernet(&mut buf, Mac([2; 6]), Mac([4; 6]), EthernetProtocol::Ipv6);
        let checksum = Checksum::Partial { start: 54, offset };
        buf.freeze(Offload { checksum, gso })
    }

    #[test]
    fn large_segments_of_ipv6_have_their_own_kind_and_large_datagrams_that_of_both_families() {
        let tcp = large6(Gso::Tcp6 { size: 1428 });
        assert_eq!(emit(&tcp), [1, 4, 74, 0, 0x94, 0x05, 54, 0, 16, 0, 1, 0]);
        let udp = large6(Gso::Udp6 { size: 1000 });
        assert_eq!(emit(&udp), [1, 5, 62, 0, 0xe8, 0x03, 54, 0, 6, 0, 1, 0]);
        for frame in [tcp, udp] {
            assert_eq!(parse(&emit(&frame), &frame.bytes), Ok(frame.offload));
        }
    }

    #[test]
    fn a_kind_that_is_not_of_the_frames_family_is_refused() {
        let kinds = [(large(), GSO_TCPV6), (large6(Gso::Tcp6 { size: 9 }), GSO_TCPV4)];
        for (frame, gso_type) in kinds {
            let outcome = header(&frame, |header| header[1] = gso_type);
            assert_eq!(outcome, Err(VnetError::Mismatch));
        }
    }

    #[test]
    fn a_plain_frame_has_a_header_that_asks_for_nothing() {
        let frame = Frame::plain(Bytes::from_static(&[0xff; 60]));
        assert_eq!(emit(&frame)[..LEGACY_LEN], [0; LEGACY_LEN]);
        assert_eq!(parse(&emit(&frame), &frame.bytes), Ok(Offload::default()));
    }

    #[test]
    fn a_checksum_that_is_said_to_be_right_is_not_believed() {
        let frame = Frame {
            offload: Offload {
                checksum: Checksum::Valid,
                gso: Gso::None,
            },
            ..large()
        };
        assert_eq!(emit(&frame)[0], DATA_VALID);
        assert_eq!(parse(&emit(&frame), &frame.bytes), Ok(Offload::default()));
    }

    #[test]
    fn a_vlan_tag_moves_the_headers() {
        let frame = large();
        let tagged = [&frame.bytes[..12], &[0x81, 0, 0, 7], &frame.bytes[12..]].concat();
        let mut header = emit(&frame);
        assert_eq!(parse(&header, &tagged), Err(VnetError::Mismatch));
        header[6] += 4;
        assert_eq!(parse(&header, &tagged).unwrap().gso, frame.offload.gso);
    }

    #[test]
    fn a_checksum_outside_the_frame_or_before_its_transport_header_is_refused() {
        let frame = large();
        for (start, offset) in [(0, 6), (33, 16), (34, 0xffff), (0xffff, 0xffff), (4052, 1)] {
            let outcome = header(&frame, |header| {
                header[1] = GSO_NONE;
                header[6..8].copy_from_slice(&u16::to_le_bytes(start));
                header[8..10].copy_from_slice(&u16::to_le_bytes(offset));
            });
            assert_eq!(outcome, Err(VnetError::ChecksumOutside), "{start} {offset}");
        }
    }

    #[test]
    fn segmentation_that_was_not_offered_is_refused() {
        let frame = large();
        for gso_type in [2, 3, 6, 0x81, 0x84, 0xff] {
            let outcome = header(&frame, |header| header[1] = gso_type);
            assert_eq!(outcome, Err(VnetError::NotOffered { gso_type }));
        }
    }

    #[test]
    fn segments_need_a_size_and_a_checksum() {
        let frame = large();
        let no_size = header(&frame, |header| header[4..6].fill(0));
        assert_eq!(no_size, Err(VnetError::NoSegments));
        let no_checksum = header(&frame, |header| header[0] = 0);
        assert_eq!(no_checksum, Err(VnetError::NoSegments));
    }

    #[test]
    fn segments_of_what_is_not_tcp_are_refused() {
        let frame = large();
        for (at, byte) in [
            (13, 0xdd),
            (14, 0x65),
            (14, 0x46),
            (23, 17),
            (46, 0x40),
            (46, 0xf0),
        ] {
            let mut bytes = frame.bytes[..60].to_vec();
            bytes[at] = byte;
            assert_eq!(parse(&emit(&frame), &bytes), Err(VnetError::Mismatch), "{at}");
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let frame = large();
        let header = emit(&frame);
        assert_eq!(parse(&header[..9], &frame.bytes), Err(VnetError::Short));
        assert_eq!(parse(&header, &frame.bytes[..13]), Err(VnetError::Short));
    }

    proptest! {
        #[test]
        fn what_is_taken_stays_inside_its_frame_and_is_said_again(
            header in proptest::array::uniform12(any::<u8>()),
            known in any::<bool>(),
            noise in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let mut header = header;
            let bytes = if known {
                header[6..10].copy_from_slice(&[34, 0, 16, 0]);
                large().bytes
            } else {
                Bytes::from(noise)
            };
            let Ok(offload) = parse(&header, &bytes) else {
                return Ok(());
            };
            if let Checksum::Partial { start, offset } = offload.checksum {
                prop_assert!(usize::from(start) + usize::from(offset) + 2 <= bytes.len());
            }
            let frame = Frame { bytes, offload };
            prop_assert_eq!(parse(&emit(&frame), &frame.bytes), Ok(offload));
        }
    }
}
