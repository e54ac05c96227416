//! Making a frame fit a port: large segments cut, checksums finished.
//!
//! A frame with offloads crosses the network as it is until it comes to a port that cannot take it so. There it becomes what a
//! NIC would have put on the wire: for TCP, segments of `gso_size` payload bytes, with sequence numbers that go on, FIN and PSH on the
//! last alone, CWR on the first alone (RFC 3168, 6.1.2); for UDP, datagrams of that size. IPv4 identifications count up from the first.
//! Between an IPv6 header and the transport's there may be no extension headers: no kernel makes such large frames.
//!
//! The sizes in a frame's [`Offload`] are a guest's word. What they say about bytes that are not there, or of segments so small
//! that cutting would multiply the guest's work into ours, is refused.

use std::net::IpAddr;

use bytes::BytesMut;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber};

use crate::ipv6::IPV6_LEN;
use crate::packet::{IPV4_LEN, UDP_LEN, ip_start, pseudo_sum};
use crate::{Checksum, Family, Frame, Gso, Offload, Seq, checksum};

/// Smallest payload of a segment (Linux: `TCP_MIN_SND_MSS`).
pub const MIN_SEGMENT: u16 = 48;

/// Most datagrams in one large frame (Linux: `UDP_MAX_SEGMENTS`, 128 from 6.9 on).
pub const MAX_DATAGRAMS: usize = 128;

/// What a port can take, as virtio's features and a TAP's `TUNSETOFFLOAD` say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Frames whose checksum is [`Checksum::Partial`].
    pub checksum: bool,
    /// [`Gso::Tcp4`].
    pub tcp4: bool,
    /// [`Gso::Tcp6`].
    pub tcp6: bool,
    /// [`Gso::Udp4`].
    pub udp4: bool,
    /// [`Gso::Udp6`].
    pub udp6: bool,
}

impl Offloads {
    /// All of them.
    pub const ALL: Self = Self {
        checksum: true,
        tcp4: true,
        tcp6: true,
        udp4: true,
        udp6: true,
    };

    /// Whether large TCP frames of this family go as they are.
    #[must_use]
    pub fn tcp(self, family: Family) -> bool {
        match family {
            Family::V4 => self.tcp4,
            Family::V6 => self.tcp6,
        }
    }

    /// Whether large UDP frames of this family go as they are.
    #[must_use]
    pub fn udp(self, family: Family) -> bool {
        match family {
            Family::V4 => self.udp4,
            Family::V6 => self.udp6,
        }
    }

    /// Whether a frame with this beside it can go as it is.
    #[must_use]
    pub fn take(self, offload: Offload) -> bool {
        let checksum = self.checksum || !matches!(offload.checksum, Checksum::Partial { .. });
        match offload.gso {
            Gso::None => checksum,
            Gso::Tcp4 { .. } => checksum && self.tcp4,
            Gso::Tcp6 { .. } => checksum && self.tcp6,
            Gso::Udp4 { .. } => checksum && self.udp4,
            Gso::Udp6 { .. } => checksum && self.udp6,
        }
    }
}

/// The offload beside a frame does not fit its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the offload of a frame does not fit its bytes")]
pub struct BadOffload;

/// The frames that a port without offloads gets in place of `frame`.
///
/// # Errors
/// What travels beside the frame does not fit it.
pub fn plain(frame: &Frame) -> Result<Vec<Frame>, BadOffload> {
    match frame.offload.gso {
        Gso::None => Ok(vec![finished(frame)?]),
        Gso::Tcp4 { size } => cut(frame, (Family::V4, IpProtocol::Tcp), size),
        Gso::Tcp6 { size } => cut(frame, (Family::V6, IpProtocol::Tcp), size),
        Gso::Udp4 { size } => cut(frame, (Family::V4, IpProtocol::Udp), size),
        Gso::Udp6 { size } => cut(frame, (Family::V6, IpProtocol::Udp), size),
    }
}

/// Finish the checksum.
fn finished(frame: &Frame) -> Result<Frame, BadOffload> {
    let Checksum::Partial { start, offset } = frame.offload.checksum else {
        return Ok(Frame::plain(frame.bytes.clone()));
    };
    let mut bytes = BytesMut::from(&frame.bytes[..]);
    let transport = bytes.get_mut(usize::from(start)..).ok_or(BadOffload)?;
    let sum = checksum::sum(transport);
    let field = transport.get_mut(usize::from(offset)..).ok_or(BadOffload)?;
    *field.first_chunk_mut().ok_or(BadOffload)? = complement(sum).to_be_bytes();
    Ok(Frame::plain(bytes.freeze()))
}

/// Where the headers of a large frame end, and what kind they are.
pub(crate) struct Layout {
    pub(crate) family: Family,
    protocol: IpProtocol,
    pub(crate) ip: usize,
    pub(crate) transport: usize,
    pub(crate) payload: usize,
}

impl Layout {
    pub(crate) fn of(bytes: &[u8], (family, protocol): (Family, IpProtocol)) -> Result<Self, BadOffload> {
        let (start, found) = ip_start(bytes).ok_or(BadOffload)?;
        if found != family {
            return Err(BadOffload);
        }
        let ip = bytes.get(start..).ok_or(BadOffload)?;
        let header = match family {
            Family::V4 => ipv4_header(ip, protocol),
            Family::V6 => ipv6_header(ip, protocol),
        };
        let transport = start + header.ok_or(BadOffload)?;
        let header = match protocol {
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(&bytes[transport..]).map_err(|_| BadOffload)?;
                usize::from(tcp.header_len())
            }
            _ if bytes.len() - transport < UDP_LEN => return Err(BadOffload),
            _ => UDP_LEN,
        };
        Ok(Self {
            family,
            protocol,
            ip: start,
            transport,
            payload: transport + header,
        })
    }
}

/// Length of an IPv4 header before this protocol, if the packet has the length it says.
fn ipv4_header(packet: &[u8], protocol: IpProtocol) -> Option<usize> {
    let ip = Ipv4Packet::new_checked(packet).ok()?;
    let header = usize::from(ip.header_len());
    let is_so = ip.version() == 4
        && header >= IPV4_LEN
        && ip.next_header() == protocol
        && usize::from(ip.total_len()) == packet.len();
    is_so.then_some(header)
}

/// Length of an IPv6 header directly before this protocol, if the packet has the length it says.
fn ipv6_header(packet: &[u8], protocol: IpProtocol) -> Option<usize> {
    let ip = Ipv6Packet::new_checked(packet).ok()?;
    let is_so = ip.version() == 6
        && ip.next_header() == protocol
        && IPV6_LEN + usize::from(ip.payload_len()) == packet.len();
    is_so.then_some(IPV6_LEN)
}

/// How many datagrams of `size` bytes a payload of `len` bytes makes, the last of them perhaps shorter.
///
/// # Errors
/// More than an honest sender puts into one frame.
pub fn datagrams(len: usize, size: u16) -> Result<usize, BadOffload> {
    if size == 0 {
        return Err(BadOffload);
    }
    let count = len.div_ceil(usize::from(size)).max(1);
    if count > MAX_DATAGRAMS {
        return Err(BadOffload);
    }
    Ok(count)
}

/// Cut into segments, all in one allocation.
fn cut(frame: &Frame, kind: (Family, IpProtocol), size: u16) -> Result<Vec<Frame>, BadOffload> {
    let layout = Layout::of(&frame.bytes, kind)?;
    let (headers, payload) = frame.bytes.split_at(layout.payload);
    let count = match layout.protocol {
        IpProtocol::Udp => datagrams(payload.len(), size)?,
        _ if size < MIN_SEGMENT => return Err(BadOffload),
        _ => payload.len().div_ceil(usize::from(size)).max(1),
    };
    let mut arena = BytesMut::with_capacity(count * headers.len() + payload.len());
    let mut frames = Vec::with_capacity(count);
    let mut rest = payload;
    let mut place = Place::default();
    for left in (0..count).rev() {
        place.is_last = left == 0;
        let (part, after) = rest.split_at(usize::from(size).min(rest.len()));
        rest = after;
        arena.extend_from_slice(headers);
        arena.extend_from_slice(part);
        layout.rewrite(&mut arena, &place);
        place.number = place.number.wrapping_add(1);
        place.offset += u32::from(size);
        frames.push(Frame::plain(arena.split().freeze()));
    }
    Ok(frames)
}

/// Which of the segments one is.
#[derive(Default)]
struct Place {
    number: u16,
    offset: u32,
    is_last: bool,
}

impl Layout {
    /// Give a segment that begins with the large frame's headers its own.
    fn rewrite(&self, bytes: &mut [u8], place: &Place) {
        let len =
            |from: usize| u16::try_from(bytes.len() - from).expect("no longer than the frame it is cut from");
        let (ip_len, transport_len) = (len(self.ip), len(self.transport));
        let (src, dst): (IpAddr, IpAddr) = match self.family {
            Family::V4 => {
                let mut ip = Ipv4Packet::new_unchecked(&mut bytes[self.ip..]);
                ip.set_ident(ip.ident().wrapping_add(place.number));
                ip.set_total_len(ip_len);
                ip.fill_checksum();
                (ip.src_addr().into(), ip.dst_addr().into())
            }
            Family::V6 => {
                let mut ip = Ipv6Packet::new_unchecked(&mut bytes[self.ip..]);
                ip.set_payload_len(transport_len);
                (ip.src_addr().into(), ip.dst_addr().into())
            }
        };
        let pseudo = pseudo_sum(src, dst, self.protocol, u32::from(transport_len));
        let transport = &mut bytes[self.transport..];
        let field = if self.protocol == IpProtocol::Tcp {
            rewrite_tcp(transport, place);
            16
        } else {
            transport[4..6].copy_from_slice(&transport_len.to_be_bytes());
            6
        };
        transport[field..field + 2].fill(0);
        let sum = checksum::combine(&[pseudo, checksum::sum(transport)]);
        transport[field..field + 2].copy_from_slice(&complement(sum).to_be_bytes());
    }
}

fn rewrite_tcp(transport: &mut [u8], place: &Place) {
    const CWR: u8 = 0x80;
    const PSH_FIN: u8 = 0x09;
    let mut tcp = TcpPacket::new_unchecked(&mut *transport);
    let seq = Seq(tcp.seq_number().0.cast_unsigned()) + place.offset;
    tcp.set_seq_number(TcpSeqNumber(seq.0.cast_signed()));
    if place.number > 0 {
        transport[13] &= !CWR;
    }
    if !place.is_last {
        transport[13] &= !PSH_FIN;
    }
}

/// The checksum field for a sum. Zero has another form, which also UDP takes for a checksum (RFC 768).
fn complement(sum: u16) -> u16 {
    if sum == 0xffff { 0xffff } else { !sum }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::ipv6::{self, Ipv6Header};
    use crate::packet::{self, ETHERNET_LEN, Ipv4Header};
    use crate::tcp::{Flags, Header};
    use crate::vlan::TAG_LEN;
    use crate::{Endpoint, EthernetProtocol, FrameBuf, Mac};

    const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
    const GUEST: (Ipv4Addr, Ipv6Addr) = (
        Ipv4Addr::new(10, 77, 0, 2),
        Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 2),
    );
    const PEER: (Ipv4Addr, Ipv6Addr) = (
        Ipv4Addr::new(10, 77, 0, 3),
        Ipv6Addr::new(0xfd77, 0x77, 0, 0, 0, 0, 0, 3),
    );

    fn ends(family: Family) -> (Endpoint, Endpoint) {
        match family {
            Family::V4 => ((GUEST.0, 4000).into(), (PEER.0, 53).into()),
            Family::V6 => ((GUEST.1, 4000).into(), (PEER.1, 53).into()),
        }
    }

    fn wrap(mut buf: FrameBuf, (family, protocol): (Family, IpProtocol), offload: Offload) -> Frame {
        let ethertype = match family {
            Family::V4 => {
                let header = Ipv4Header {
                    src: GUEST.0,
                    dst: PEER.0,
                    protocol,
                    ttl: 64,
                    ident: 65_535,
                    dont_fragment: true,
                };
                packet::push_ipv4(&mut buf, &header);
                EthernetProtocol::Ipv4
            }
            Family::V6 => {
                let header = Ipv6Header {
                    src: GUEST.1,
                    dst: PEER.1,
                    protocol,
                    hop_limit: 64,
                };
                ipv6::push_ipv6(&mut buf, &header);
                EthernetProtocol::Ipv6
            }
        };
        packet::push_ethernet(&mut buf, Mac([2; 6]), Mac([4; 6]), ethertype);
        buf.freeze(offload)
    }

    /// A partial checksum that stands `offset` bytes behind an IP header without anything behind it.
    fn partial(family: Family, offset: u16) -> Checksum {
        let start = u16::try_from(ETHERNET_LEN + packet::ip_len(family)).unwrap();
        Checksum::Partial { start, offset }
    }

    fn tcp_frame(family: Family, payload: &[u8], size: u16) -> Frame {
        let (guest, peer) = ends(family);
        let mut buf = FrameBuf::copy_from(payload);
        let header = Header {
            src_port: guest.port,
            dst_port: peer.port,
            seq: Seq(u32::MAX - 100),
            flags: Flags {
                psh: true,
                ..Flags::FIN_ACK
            },
            window: 7,
            ..Header::default()
        };
        header.push_partial(&mut buf, guest.ip, peer.ip);
        let offload = Offload {
            checksum: partial(family, 16),
            gso: Gso::tcp(family, size),
        };
        wrap(buf, (family, IpProtocol::Tcp), offload)
    }

    /// The transport's bytes of a plain frame whose checksums are right.
    fn parse(frame: &Frame, protocol: IpProtocol) -> Vec<u8> {
        let (start, family) = ip_start(&frame.bytes).unwrap();
        let packet = &frame.bytes[start..];
        let (src, dst): (IpAddr, IpAddr) = match family {
            Family::V4 => {
                let ip = Ipv4Packet::new_checked(packet).unwrap();
                assert!(ip.verify_checksum());
                assert_eq!(usize::from(ip.total_len()), packet.len());
                (ip.src_addr().into(), ip.dst_addr().into())
            }
            Family::V6 => {
                let ip = Ipv6Packet::new_checked(packet).unwrap();
                assert_eq!(usize::from(ip.payload_len()) + IPV6_LEN, packet.len());
                (ip.src_addr().into(), ip.dst_addr().into())
            }
        };
        let transport = &packet[packet::ip_len(family)..];
        assert!(packet::transport_checksum_is_right(src, dst, protocol, transport));
        transport.to_vec()
    }

    /// Header and payload of a plain TCP frame whose checksums are right.
    fn parse_tcp(frame: &Frame) -> (Header, Vec<u8>) {
        let transport = parse(frame, IpProtocol::Tcp);
        let (header, len) = Header::parse(&transport).unwrap();
        (header, transport[len..].to_vec())
    }

    #[test]
    fn segments_of_a_tagged_frame_are_the_same_behind_the_tag() {
        const TAGS: [[u8; TAG_LEN]; 2] = [[0x81, 0x00, 0, 7], [0x88, 0xa8, 0, 7]];
        for (family, tag) in FAMILIES
            .into_iter()
            .zip(TAGS)
            .chain(FAMILIES.into_iter().rev().zip(TAGS))
        {
            let tagged = |frame: &Frame| Frame {
                bytes: [&frame.bytes[..12], &tag, &frame.bytes[12..]].concat().into(),
                offload: frame.offload,
            };
            let frame = tcp_frame(family, &[7; 300], 100);
            let segments: Vec<Frame> = plain(&frame).unwrap().iter().map(tagged).collect();
            assert_eq!(plain(&tagged(&frame)), Ok(segments));
        }
    }

    proptest! {
        #[test]
        fn segments_hold_the_stream_in_order_and_end_as_it_ends(
            payload in proptest::collection::vec(any::<u8>(), 1..5000),
            size in MIN_SEGMENT..3000,
            family in proptest::sample::select(&FAMILIES[..]),
        ) {
            let frame = tcp_frame(family, &payload, size);
            let segments = plain(&frame).unwrap();
            prop_assert_eq!(segments.len(), payload.len().div_ceil(usize::from(size)));
            let mut next = Seq(u32::MAX - 100);
            let mut stream = Vec::new();
            for (number, segment) in segments.iter().enumerate() {
                let (header, part) = parse_tcp(segment);
                let is_last = number + 1 == segments.len();
                prop_assert_eq!(header.seq, next);
                prop_assert_eq!((header.flags.fin, header.flags.psh, header.window), (is_last, is_last, 7));
                prop_assert!(is_last || part.len() == usize::from(size));
                next += u32::try_from(part.len()).unwrap();
                stream.extend(part);
            }
            prop_assert_eq!(stream, payload);
        }

        #[test]
        fn no_offload_and_no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            (start, offset, size) in any::<(u16, u16, u16)>(),
            kind in 0usize..5,
            family in proptest::sample::select(&FAMILIES[..]),
        ) {
            let mut bytes = bytes;
            if let Some(ethertype) = bytes.get_mut(12..14) {
                ethertype.copy_from_slice(if family == Family::V4 { &[0x08, 0x00] } else { &[0x86, 0xdd] });
            }
            let others = [Gso::tcp(family, size), Gso::udp(family, size)];
            let gso = [Gso::None, Gso::Tcp4 { size }, Gso::Udp6 { size }, others[0], others[1]][kind];
            let offload = Offload { checksum: Checksum::Partial { start, offset }, gso };
            let _ = plain(&Frame { bytes: bytes.into(), offload });
        }

        #[test]
        fn damaged_headers_never_panic(
            at in 0usize..74,
            byte: u8,
            size: u16,
            family in proptest::sample::select(&FAMILIES[..]),
        ) {
            let mut frame = tcp_frame(family, &[7; 300], size);
            let mut bytes = frame.bytes.to_vec();
            bytes[at] = byte;
            frame.bytes = bytes.into();
            for frame in plain(&frame).into_iter().flatten() {
                prop_assert_eq!(frame.offload, Offload::default());
            }
        }
    }

    #[test]
    fn a_partial_checksum_is_finished() {
        for family in FAMILIES {
            let mut frame = tcp_frame(family, b"hello", 1000);
            frame.offload.gso = Gso::None;
            let frames = plain(&frame).unwrap();
            assert_eq!(parse_tcp(&frames[0]).1, b"hello");
        }
    }

    /// Datagrams of `size` bytes that hold `len` bytes together.
    fn udp_frame(family: Family, len: usize, size: u16) -> Frame {
        let (guest, peer) = ends(family);
        let mut buf = FrameBuf::copy_from(&vec![9; len]);
        packet::push_udp_partial(&mut buf, guest, peer);
        let offload = Offload {
            checksum: partial(family, 6),
            gso: Gso::udp(family, size),
        };
        wrap(buf, (family, IpProtocol::Udp), offload)
    }

    #[test]
    fn datagrams_are_cut_with_their_own_lengths() {
        for family in FAMILIES {
            let frames = plain(&udp_frame(family, 250, 100)).unwrap();
            let len = |frame| {
                let udp = parse(frame, IpProtocol::Udp);
                usize::from(u16::from_be_bytes([udp[4], udp[5]])) - UDP_LEN
            };
            assert_eq!(frames.iter().map(len).collect::<Vec<_>>(), [100, 100, 50]);
        }
    }

    #[test]
    fn segments_too_small_to_be_honest_are_refused() {
        for family in FAMILIES {
            let frame = tcp_frame(family, &[0; 500], MIN_SEGMENT - 1);
            assert_eq!(plain(&frame), Err(BadOffload));
        }
    }

    #[test]
    fn more_datagrams_than_an_honest_frame_has_are_refused() {
        for family in FAMILIES {
            let most = udp_frame(family, MAX_DATAGRAMS * 5, 5);
            assert_eq!(plain(&most).unwrap().len(), MAX_DATAGRAMS);
            for (len, size) in [(MAX_DATAGRAMS * 5 + 1, 5), (1, 0)] {
                assert_eq!(plain(&udp_frame(family, len, size)), Err(BadOffload));
            }
        }
    }

    #[test]
    fn a_partial_datagram_is_finished_as_if_it_had_been_summed_at_once() {
        for family in FAMILIES {
            let (guest, peer) = ends(family);
            let mut partial = udp_frame(family, 333, 500);
            partial.offload.gso = Gso::None;
            let mut summed = FrameBuf::copy_from(&[9; 333]);
            packet::push_udp(&mut summed, guest, peer);
            let summed = wrap(summed, (family, IpProtocol::Udp), Offload::default());
            assert_eq!(plain(&partial).unwrap(), [summed]);
        }
    }

    #[test]
    fn a_large_frame_of_the_other_family_or_with_extension_headers_is_refused() {
        for family in FAMILIES {
            let mut frame = tcp_frame(family, &[7; 300], 100);
            frame.offload.gso = match family {
                Family::V4 => Gso::Tcp6 { size: 100 },
                Family::V6 => Gso::Tcp4 { size: 100 },
            };
            assert_eq!(plain(&frame), Err(BadOffload));
        }
        let frame = tcp_frame(Family::V6, &[7; 300], 100);
        let mut bytes = frame.bytes.to_vec();
        let (next, options) = (ETHERNET_LEN + 6, ETHERNET_LEN + IPV6_LEN);
        bytes[next] = 60;
        bytes.splice(options..options, [6, 0, 1, 4, 0, 0, 0, 0]);
        bytes[ETHERNET_LEN + 5] += 8;
        let extended = Frame {
            bytes: bytes.into(),
            ..frame
        };
        assert_eq!(plain(&extended), Err(BadOffload));
    }
}
