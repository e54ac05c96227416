//! Making a frame fit a port: large segments cut, checksums finished.
//!
//! A frame with offloads crosses the network as it is until it comes to a port that cannot take it so. There it becomes what a
//! NIC would have put on the wire: for TCP, segments of `gso_size` payload bytes, with sequence numbers that go on, FIN and PSH on the
//! last alone, CWR on the first alone (RFC 3168, 6.1.2); for UDP, datagrams of that size. IPv4 identifications count up from the first.
//!
//! The sizes in a frame's [`Offload`] are a guest's word. What they say about bytes that are not there, or of segments so small
//! that cutting would multiply the guest's work into ours, is refused.

use bytes::BytesMut;
use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber};

use crate::packet::{IPV4_LEN, UDP_LEN, ipv4_start, pseudo_sum};
use crate::{Checksum, Frame, Gso, Offload, Seq, checksum};

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
    /// [`Gso::Udp4`].
    pub udp4: bool,
}

impl Offloads {
    /// Whether a frame with this beside it can go as it is.
    #[must_use]
    pub fn take(self, offload: Offload) -> bool {
        let checksum = self.checksum || !matches!(offload.checksum, Checksum::Partial { .. });
        match offload.gso {
            Gso::None => checksum,
            Gso::Tcp4 { .. } => checksum && self.tcp4,
            Gso::Udp4 { .. } => checksum && self.udp4,
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
        Gso::Tcp4 { size } => cut(frame, IpProtocol::Tcp, size),
        Gso::Udp4 { size } => cut(frame, IpProtocol::Udp, size),
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
struct Layout {
    protocol: IpProtocol,
    ip: usize,
    transport: usize,
    payload: usize,
}

impl Layout {
    fn of(bytes: &[u8], protocol: IpProtocol) -> Result<Self, BadOffload> {
        let start = ipv4_start(bytes).ok_or(BadOffload)?;
        let ip = Ipv4Packet::new_checked(bytes.get(start..).ok_or(BadOffload)?).map_err(|_| BadOffload)?;
        let header = usize::from(ip.header_len());
        let whole = usize::from(ip.total_len()) + start == bytes.len();
        if ip.version() != 4 || header < IPV4_LEN || ip.next_header() != protocol || !whole {
            return Err(BadOffload);
        }
        let transport = start + header;
        let header = match protocol {
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(&bytes[transport..]).map_err(|_| BadOffload)?;
                usize::from(tcp.header_len())
            }
            _ if bytes.len() - transport < UDP_LEN => return Err(BadOffload),
            _ => UDP_LEN,
        };
        Ok(Self {
            protocol,
            ip: start,
            transport,
            payload: transport + header,
        })
    }
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
fn cut(frame: &Frame, protocol: IpProtocol, size: u16) -> Result<Vec<Frame>, BadOffload> {
    let layout = Layout::of(&frame.bytes, protocol)?;
    let (headers, payload) = frame.bytes.split_at(layout.payload);
    let count = match protocol {
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
        let mut ip = Ipv4Packet::new_unchecked(&mut bytes[self.ip..]);
        ip.set_ident(ip.ident().wrapping_add(place.number));
        ip.set_total_len(ip_len);
        ip.fill_checksum();
        let pseudo = pseudo_sum(
            ip.src_addr().into(),
            ip.dst_addr().into(),
            self.protocol,
            u32::from(transport_len),
        );
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
    use std::net::{Ipv4Addr, SocketAddrV4};

    use proptest::prelude::*;

    use super::*;
    use crate::packet::{self, ETHERNET_LEN, Ipv4Header, VLAN_LEN};
    use crate::tcp::{Flags, Header};
    use crate::{EthernetProtocol, FrameBuf, Mac};

    const GUEST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 2), 4000);
    const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 3), 53);

    fn wrap(mut buf: FrameBuf, protocol: IpProtocol, offload: Offload) -> Frame {
        let header = Ipv4Header {
            src: *GUEST.ip(),
            dst: *PEER.ip(),
            protocol,
            ttl: 64,
            ident: 65_535,
            dont_fragment: true,
        };
        packet::push_ipv4(&mut buf, &header);
        packet::push_ethernet(&mut buf, Mac([2; 6]), Mac([4; 6]), EthernetProtocol::Ipv4);
        buf.freeze(offload)
    }

    fn tcp_frame(payload: &[u8], size: u16) -> Frame {
        let mut buf = FrameBuf::copy_from(payload);
        let header = Header {
            src_port: GUEST.port(),
            dst_port: PEER.port(),
            seq: Seq(u32::MAX - 100),
            flags: Flags {
                psh: true,
                ..Flags::FIN_ACK
            },
            window: 7,
            ..Header::default()
        };
        header.push_partial(&mut buf, *GUEST.ip(), *PEER.ip());
        let checksum = Checksum::Partial {
            start: 34,
            offset: 16,
        };
        wrap(
            buf,
            IpProtocol::Tcp,
            Offload {
                checksum,
                gso: Gso::Tcp4 { size },
            },
        )
    }

    /// Header and payload of a plain TCP frame whose checksums are right.
    fn parse_tcp(frame: &Frame) -> (Header, Vec<u8>) {
        let ip = Ipv4Packet::new_checked(&frame.bytes[ETHERNET_LEN..]).unwrap();
        assert!(ip.verify_checksum());
        assert_eq!(usize::from(ip.total_len()) + ETHERNET_LEN, frame.len());
        assert!(packet::transport_checksum_is_right(
            ip.src_addr(),
            ip.dst_addr(),
            IpProtocol::Tcp,
            ip.payload()
        ));
        let (header, len) = Header::parse(ip.payload()).unwrap();
        (header, ip.payload()[len..].to_vec())
    }

    #[test]
    fn segments_of_a_tagged_frame_are_the_same_behind_the_tag() {
        const TAG: [u8; VLAN_LEN] = [0x81, 0x00, 0, 7];
        let tagged = |frame: &Frame| Frame {
            bytes: [&frame.bytes[..12], &TAG, &frame.bytes[12..]].concat().into(),
            offload: frame.offload,
        };
        let frame = tcp_frame(&[7; 300], 100);
        let segments: Vec<Frame> = plain(&frame).unwrap().iter().map(tagged).collect();
        assert_eq!(plain(&tagged(&frame)), Ok(segments));
    }

    proptest! {
        #[test]
        fn segments_hold_the_stream_in_order_and_end_as_it_ends(
            payload in proptest::collection::vec(any::<u8>(), 1..5000),
            size in MIN_SEGMENT..3000,
        ) {
            let frame = tcp_frame(&payload, size);
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
            kind in 0usize..3,
        ) {
            let gso = [Gso::None, Gso::Tcp4 { size }, Gso::Udp4 { size }][kind];
            let offload = Offload { checksum: Checksum::Partial { start, offset }, gso };
            let _ = plain(&Frame { bytes: bytes.into(), offload });
        }

        #[test]
        fn damaged_headers_never_panic(
            at in 0usize..54,
            byte: u8,
            size: u16,
        ) {
            let mut frame = tcp_frame(&[7; 300], size);
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
        let mut frame = tcp_frame(b"hello", 1000);
        frame.offload.gso = Gso::None;
        let frames = plain(&frame).unwrap();
        assert_eq!(parse_tcp(&frames[0]).1, b"hello");
    }

    /// Datagrams of `size` bytes that hold `len` bytes together.
    fn udp_frame(len: usize, size: u16) -> Frame {
        let mut buf = FrameBuf::copy_from(&vec![9; len]);
        packet::push_udp_partial(&mut buf, GUEST, PEER);
        let offload = Offload {
            checksum: Checksum::Partial { start: 34, offset: 6 },
            gso: Gso::Udp4 { size },
        };
        wrap(buf, IpProtocol::Udp, offload)
    }

    #[test]
    fn datagrams_are_cut_with_their_own_lengths() {
        let frame = udp_frame(250, 100);
        let lens: Vec<usize> = plain(&frame)
            .unwrap()
            .iter()
            .map(|frame| {
                let ip = Ipv4Packet::new_checked(&frame.bytes[ETHERNET_LEN..]).unwrap();
                assert!(packet::transport_checksum_is_right(
                    ip.src_addr(),
                    ip.dst_addr(),
                    IpProtocol::Udp,
                    ip.payload()
                ));
                usize::from(u16::from_be_bytes([ip.payload()[4], ip.payload()[5]])) - UDP_LEN
            })
            .collect();
        assert_eq!(lens, [100, 100, 50]);
    }

    #[test]
    fn segments_too_small_to_be_honest_are_refused() {
        assert_eq!(plain(&tcp_frame(&[0; 500], MIN_SEGMENT - 1)), Err(BadOffload));
    }

    #[test]
    fn more_datagrams_than_an_honest_frame_has_are_refused() {
        assert_eq!(
            plain(&udp_frame(MAX_DATAGRAMS * 5, 5)).unwrap().len(),
            MAX_DATAGRAMS
        );
        for (len, size) in [(MAX_DATAGRAMS * 5 + 1, 5), (1, 0)] {
            assert_eq!(plain(&udp_frame(len, size)), Err(BadOffload));
        }
    }

    #[test]
    fn a_partial_datagram_is_finished_as_if_it_had_been_summed_at_once() {
        let mut partial = udp_frame(333, 500);
        partial.offload.gso = Gso::None;
        let mut summed = FrameBuf::copy_from(&[9; 333]);
        packet::push_udp(&mut summed, GUEST, PEER);
        let summed = wrap(summed, IpProtocol::Udp, Offload::default());
        assert_eq!(plain(&partial).unwrap(), [summed]);
    }
}
