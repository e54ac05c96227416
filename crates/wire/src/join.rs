//! Segments that follow each other, made one large frame: the way back from [`segment`](crate::segment).
//!
//! A port without offloads brings a guest's stream in frames of one MTU each. A port that cuts ([`Offloads`]) may get a run of
//! them as one: one system call and one way through the kernel for up to 64 KiB. What leaves at the far end, cut again, is
//! what the guest sent, byte for byte; whoever reads on the way sees the large frame, as with a NIC that merges (GRO).
//!
//! A run is made of frames whose headers say the same in all but what cutting makes anew: lengths, checksums, the
//! IPv4 identification that counts up, the TCP sequence number that goes on by the payload before it. Each but the last has
//! the payload of the first, no more and no less; the last may be shorter, and alone may have PSH. Flags other than ACK and PSH,
//! fragments, IPv4 options and extension headers end a run, and so does a frame that is more than a segment already.
//!
//! Every checksum is verified before it is given up for a partial one: a damaged segment stays by itself, as damaged as it was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smoltcp::wire::{IpProtocol, Ipv4Packet};

use crate::packet::{self, IPV4_LEN, ip_len, pseudo_sum};
use crate::segment::{Layout, MIN_SEGMENT};
use crate::{Checksum, Family, Frame, Gso, Offload, Offloads, Seq, checksum};

/// Most segments in a run: with its headers, what one `writev` takes (`IOV_MAX`, 1024).
pub const MAX_SEGMENTS: usize = 1000;

/// Largest IP packet, header included for either family.
const MAX_PACKET: usize = u16::MAX as usize;

const TCP_CHECKSUM: usize = 16;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// A run of frames as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The headers of the large frame, without its payload: that is what follows as many bytes in each frame of the run.
    pub headers: Frame,
    /// How many frames it is, at least two.
    pub frames: usize,
}

/// Join frames from the front of `queue`, for a port that takes what `offloads` says; `None` when the first goes by itself.
#[must_use]
pub fn join<'a>(queue: impl IntoIterator<Item = &'a Frame>, offloads: Offloads) -> Option<Joined> {
    let mut queue = queue.into_iter().peekable();
    let first = queue.next()?;
    // A frame by itself is not looked at.
    queue.peek()?;
    let mut run = Run::begin(first, offloads)?;
    for frame in queue.take(MAX_SEGMENTS - 1) {
        if run.is_closed || !run.take(&frame.bytes, frame.offload) {
            break;
        }
    }
    (run.frames > 1).then(|| Joined {
        frames: run.frames,
        headers: run.headers(),
    })
}

/// A run while it grows.
struct Run<'a> {
    first: &'a [u8],
    layout: Layout,
    size: u16,
    frames: usize,
    /// Payload of all its frames.
    payload: usize,
    is_pushed: bool,
    /// No frame can follow.
    is_closed: bool,
}

impl<'a> Run<'a> {
    fn begin(first: &'a Frame, offloads: Offloads) -> Option<Self> {
        let (_, family) = packet::ip_start(&first.bytes)?;
        if !offloads.checksum || !offloads.tcp(family) || 2 * first.len() > MAX_PACKET {
            return None;
        }
        let layout = Layout::of(&first.bytes, (family, IpProtocol::Tcp)).ok()?;
        let size = u16::try_from(first.len() - layout.payload).ok()?;
        let is_bare = layout.transport - layout.ip == ip_len(family);
        let is_fragment = family == Family::V4 && {
            let ip = Ipv4Packet::new_unchecked(&first.bytes[layout.ip..]);
            ip.more_frags() || ip.frag_offset() != 0
        };
        let mut run = Self {
            first: &first.bytes,
            layout,
            size,
            frames: 0,
            payload: 0,
            is_pushed: false,
            is_closed: false,
        };
        (is_bare && !is_fragment && size >= MIN_SEGMENT && run.take(&first.bytes, first.offload))
            .then_some(run)
    }

    /// Make the frame part of the run; `false` where it is none.
    fn take(&mut self, bytes: &[u8], offload: Offload) -> bool {
        let Some(payload) = bytes.len().checked_sub(self.layout.payload) else {
            return false;
        };
        let total = self.layout.payload - self.layout.ip + self.payload + payload;
        let is_next = payload > 0
            && payload <= usize::from(self.size)
            && total <= MAX_PACKET
            && self.says_the_same(bytes)
            && self.goes_on(bytes)
            && self.is_right(bytes, offload);
        if is_next {
            self.frames += 1;
            self.payload += payload;
            self.is_pushed = bytes[self.layout.transport + 13] & PSH != 0;
            self.is_closed = self.is_pushed || payload < usize::from(self.size);
        }
        is_next
    }

    /// Whether its headers are those of the first in all that cutting copies.
    fn says_the_same(&self, bytes: &[u8]) -> bool {
        let Layout { ip, transport, .. } = self.layout;
        let is_same = |range: Range<usize>| bytes[range.clone()] == self.first[range];
        let of_ip = match self.layout.family {
            // All but the length, the identification and the checksum.
            Family::V4 => is_same(0..ip + 2) && is_same(ip + 6..ip + 10) && is_same(ip + 12..transport),
            Family::V6 => is_same(0..ip + 4) && is_same(ip + 6..transport),
        };
        let flags = bytes[transport + 13];
        // All but the sequence number, the flags and the checksum; the urgent pointer says nothing without its flag.
        of_ip
            && is_same(transport..transport + 4)
            && is_same(transport + 8..transport + 13)
            && is_same(transport + 14..transport + 16)
            && is_same(transport + 18..self.layout.payload)
            && flags & !PSH == ACK
    }

    /// Whether its numbers are the next ones, and its lengths its own.
    fn goes_on(&self, bytes: &[u8]) -> bool {
        let Layout { ip, transport, .. } = self.layout;
        let number = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let payload = u32::try_from(self.payload).expect("no more than a packet");
        if seq(bytes, transport) != seq(self.first, transport) + payload {
            return false;
        }
        match self.layout.family {
            Family::V4 => {
                let count = u16::try_from(self.frames).expect("no more than a run");
                let is_numbered = number(bytes, ip + 4) == number(self.first, ip + 4).wrapping_add(count);
                is_numbered && usize::from(number(bytes, ip + 2)) == bytes.len() - ip
            }
            Family::V6 => usize::from(number(bytes, ip + 4)) == bytes.len() - transport,
        }
    }

    /// Whether its checksums are right.
    fn is_right(&self, bytes: &[u8], offload: Offload) -> bool {
        let Layout { ip, transport, .. } = self.layout;
        if offload.gso != Gso::None {
            return false;
        }
        let is_ip_right =
            self.layout.family == Family::V6 || checksum::sum(&bytes[ip..ip + IPV4_LEN]) == u16::MAX;
        is_ip_right
            && match offload.checksum {
                Checksum::Valid => true,
                // A run of these could be had without a look at the payload, but no port has them.
                Checksum::Partial { .. } => false,
                Checksum::Unverified => {
                    let (src, dst) = self.addresses();
                    packet::transport_checksum_is_right(src, dst, IpProtocol::Tcp, &bytes[transport..])
                }
            }
    }

    fn addresses(&self) -> (IpAddr, IpAddr) {
        let ip = &self.first[self.layout.ip..];
        match self.layout.family {
            Family::V4 => {
                let address = |at: usize| Ipv4Addr::from([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
                (address(12).into(), address(16).into())
            }
            Family::V6 => {
                let address = |at: usize| {
                    let octets: [u8; 16] = ip[at..at + 16].try_into().expect("sixteen bytes");
                    Ipv6Addr::from(octets)
                };
                (address(8).into(), address(24).into())
            }
        }
    }

    /// The headers of the whole.
    fn headers(&self) -> Frame {
        let Layout { ip, transport, .. } = self.layout;
        let mut bytes = BytesMut::from(&self.first[..self.layout.payload]);
        let transport_len = self.layout.payload - transport + self.payload;
        let len = |bytes: usize| u16::try_from(bytes).expect("no more than a packet");
        match self.layout.family {
            Family::V4 => {
                let mut packet = Ipv4Packet::new_unchecked(&mut bytes[ip..]);
                packet.set_total_len(len(transport - ip + transport_len));
                packet.fill_checksum();
            }
            Family::V6 => bytes[ip + 4..ip + 6].copy_from_slice(&len(transport_len).to_be_bytes()),
        }
        if self.is_pushed {
            bytes[transport + 13] |= PSH;
        }
        let (src, dst) = self.addresses();
        let pseudo = pseudo_sum(src, dst, IpProtocol::Tcp, u32::from(len(transport_len)));
        bytes[transport + TCP_CHECKSUM..transport + TCP_CHECKSUM + 2].copy_from_slice(&pseudo.to_be_bytes());
        Frame {
            bytes: Bytes::from(bytes),
            offload: Offload {
                checksum: Checksum::Partial {
                    start: len(transport),
                    offset: len(TCP_CHECKSUM),
                },
                gso: Gso::tcp(self.layout.family, self.size),
            },
        }
    }
}

fn seq(bytes: &[u8], transport: usize) -> Seq {
    let at = transport + 4;
    Seq(u32::from_be_bytes([
        bytes[at],
        bytes[at + 1],
        bytes[at + 2],
        bytes[at + 3],
    ]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smoltcp::wire::EthernetProtocol;

    use super::*;
    use crate::ipv6::{Ipv6Header, push_ipv6};
    use crate::packet::{Ipv4Header, push_ethernet, push_ipv4};
    use crate::segment::plain;
    use crate::tcp::{Flags, Header};
    use crate::{FrameBuf, Mac};

    const SRC: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(10, 0, 0, 2), Ipv6Addr::LOCALHOST);
    const DST: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(10, 0, 0, 3), Ipv6Addr::UNSPECIFIED);
    const SIZE: u16 = 1448;

    fn ends(family: Family) -> (IpAddr, IpAddr) {
        match family {
            Family::V4 => (SRC.0.into(), DST.0.into()),
            Family::V6 => (SRC.1.into(), DST.1.into()),
        }
    }

    /// A large frame with this header.
    fn large(family: Family, payload: &[u8], size: u16, header: &Header) -> Frame {
        let mut buf = FrameBuf::copy_from(payload);
        let (src, dst) = ends(family);
        header.push_partial(&mut buf, src, dst);
        let ethertype = match family {
            Family::V4 => {
                let header = Ipv4Header {
                    src: SRC.0,
                    dst: DST.0,
                    protocol: IpProtocol::Tcp,
                    ttl: 64,
                    ident: u16::MAX - 1,
                    dont_fragment: true,
                };
                push_ipv4(&mut buf, &header);
                EthernetProtocol::Ipv4
            }
            Family::V6 => {
                let header = Ipv6Header {
                    src: SRC.1,
                    dst: DST.1,
                    protocol: IpProtocol::Tcp,
                    hop_limit: 64,
                };
                push_ipv6(&mut buf, &header);
                EthernetProtocol::Ipv6
            }
        };
        push_ethernet(&mut buf, Mac([2; 6]), Mac([4; 6]), ethertype);
        let start = u16::try_from(packet::ETHERNET_LEN + ip_len(family)).unwrap();
        let offset = 16;
        buf.freeze(Offload {
            checksum: Checksum::Partial { start, offset },
            gso: Gso::tcp(family, size),
        })
    }

    fn pushed(psh: bool) -> Header {
        Header {
            src_port: 4000,
            dst_port: 80,
            seq: Seq(u32::MAX - 2000),
            flags: Flags { psh, ..Flags::ACK },
            window: 7,
            ..Header::default()
        }
    }

    fn segments(family: Family, len: usize) -> Vec<Frame> {
        let payload: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
        plain(&large(family, &payload, SIZE, &pushed(false))).unwrap()
    }

    /// The frames that a run stands for.
    fn cut(joined: &Joined, queue: &[Frame]) -> Vec<Frame> {
        let headers = joined.headers.len();
        let payloads = queue[..joined.frames].iter().map(|frame| &frame.bytes[headers..]);
        let parts: Vec<&[u8]> = std::iter::once(&joined.headers.bytes[..])
            .chain(payloads)
            .collect();
        let bytes = parts.concat().into();
        plain(&Frame {
            bytes,
            offload: joined.headers.offload,
        })
        .unwrap()
    }

    /// Give changed headers their checksums.
    fn repair(bytes: &mut [u8], family: Family) {
        let ip = packet::ETHERNET_LEN;
        let transport = ip + ip_len(family);
        if family == Family::V4 {
            bytes[ip + 10..ip + 12].fill(0);
            let sum = checksum::sum(&bytes[ip..transport]);
            bytes[ip + 10..ip + 12].copy_from_slice(&(!sum).to_be_bytes());
        }
        bytes[transport + 16..transport + 18].fill(0);
        let (src, dst) = ends(family);
        let sum = packet::transport_sum(src, dst, IpProtocol::Tcp, &bytes[transport..]);
        bytes[transport + 16..transport + 18].copy_from_slice(&(!sum).to_be_bytes());
    }

    fn count(queue: &[Frame]) -> usize {
        join(queue, Offloads::ALL).map_or(1, |joined| joined.frames)
    }

    #[test]
    fn what_was_cut_is_whole_again() {
        for family in [Family::V4, Family::V6] {
            for psh in [false, true] {
                let whole = large(family, &[7; 30_000], SIZE, &pushed(psh));
                let queue = plain(&whole).unwrap();
                let joined = join(&queue, Offloads::ALL).unwrap();
                assert_eq!(joined.frames, queue.len());
                assert_eq!(joined.headers.offload, whole.offload);
                let headers = joined.headers.len();
                assert_eq!(joined.headers.bytes, whole.bytes[..headers]);
                assert_eq!(cut(&joined, &queue), queue);
            }
        }
    }

    #[test]
    fn a_run_is_no_longer_than_a_packet() {
        let mut queue = segments(Family::V4, 60_000);
        let mut more = pushed(false);
        more.seq += 60_000;
        // The last of the first 60 000 bytes is short.
        let last = queue.pop().unwrap();
        queue.extend(plain(&large(Family::V4, &[1; 60_000], SIZE, &more)).unwrap());
        assert_eq!(count(&queue), 60_000 / usize::from(SIZE));
        queue.insert(count(&queue), last);
        assert_eq!(
            count(&queue),
            60_000 / usize::from(SIZE) + 1,
            "a short one ends it"
        );
        let most = (usize::from(u16::MAX) - 40) / usize::from(SIZE);
        let long = segments(Family::V4, 65_000);
        assert_eq!(count(&long[..most]), most);
    }

    #[test]
    fn a_port_gets_no_run_that_it_would_not_cut() {
        let queue = segments(Family::V4, 5000);
        for offloads in [
            Offloads::default(),
            Offloads {
                tcp4: false,
                ..Offloads::ALL
            },
            Offloads {
                checksum: false,
                ..Offloads::ALL
            },
        ] {
            assert_eq!(join(&queue, offloads), None);
        }
    }

    #[test]
    fn acknowledgements_and_the_end_of_a_stream_go_by_themselves() {
        let bare = large(Family::V4, &[], SIZE, &pushed(false));
        let bare = plain(&bare).unwrap().remove(0);
        assert_eq!(count(&[bare.clone(), bare]), 1);
        let fin = Header {
            flags: Flags::FIN_ACK,
            ..pushed(false)
        };
        let queue = plain(&large(Family::V4, &[1; 5000], SIZE, &fin)).unwrap();
        assert_eq!(count(&queue), 3, "the fourth has FIN");
        assert_eq!(count(&segments(Family::V4, 100)), 1);
        assert_eq!(count(&[]), 1);
    }

    #[test]
    fn a_damaged_segment_stays_as_damaged_as_it_was() {
        for family in [Family::V4, Family::V6] {
            let whole = segments(family, 5 * usize::from(SIZE));
            for at in 0..whole[1].len() {
                let mut queue = whole.clone();
                let mut bytes = queue[1].bytes.to_vec();
                bytes[at] ^= 0x10;
                queue[1].bytes = bytes.into();
                assert_eq!(count(&queue), 1, "byte {at}");
                assert_eq!(count(&queue[1..]), 1, "byte {at}");
            }
        }
    }

    proptest! {
        /// Whatever stands in the queue: a run, cut again, is the frames it was made of.
        #[test]
        fn a_run_is_what_was_sent_byte_for_byte(
            family in prop_oneof![Just(Family::V4), Just(Family::V6)],
            len in 1_usize..20_000,
            size in 40_u16..3000,
            psh in any::<bool>(),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
            flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0_u8..8), 0..3),
            is_repaired in any::<bool>(),
        ) {
            let frame = large(family, &vec![3; len], size, &pushed(psh));
            let Ok(mut queue) = plain(&frame) else { return Ok(()) };
            for swap in order {
                let at = swap.index(queue.len());
                queue.swap(0, at);
            }
            for (frame, byte, bit) in flips {
                let mut bytes = frame.get(&queue).bytes.to_vec();
                let at = byte.index(bytes.len().min(80));
                bytes[at] ^= 1 << bit;
                if is_repaired {
                    repair(&mut bytes, family);
                }
                queue.insert(1, Frame::plain(bytes.into()));
            }
            let mut rest = &queue[..];
            while !rest.is_empty() {
                let mut frames = 1;
                if let Some(joined) = join(rest, Offloads::ALL) {
                    frames = joined.frames;
                    prop_assert_eq!(&cut(&joined, rest)[..], &rest[..frames]);
                }
                rest = &rest[frames..];
            }
        }
    }
}
