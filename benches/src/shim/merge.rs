//! From many frames of the wire to few large ones for the kernel, as GRO does.
//!
//! Within what one read brought, segments of one flow that follow each other become a *train*: one header and many
//! payloads. A segment joins when all that its header says is the same but for sequence number, acknowledgement (which
//! may only go forward) and window; when it is as large as the first (the last may be smaller); and when its checksums
//! hold. PSH ends a train. Anything else that belongs to the flow sends the train off first, so the order within a flow
//! is kept; frames that are no TCP go their way at once. All trains leave at the end of the read: none waits for the
//! future.

use std::io::IoSlice;
use std::ops::Range;

use super::checksum::fold;
use super::headers::{ETHERNET, Tcp, set_ip_length};
use super::vnet::Vnet;

/// Flows that are merged at the same time; one more sends the oldest off.
const TRAINS: usize = 16;

/// Segments of a train.
const MAX_PARTS: usize = 64;

/// The longest IP packet.
const MAX_PACKET: usize = 65535;

/// Ethernet, and the longest IPv4 and TCP headers.
const MAX_HEADER: usize = 14 + 60 + 60;

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Who takes the large frames: a vnet header, then the parts of the frame.
pub(super) trait Sink {
    fn send(&mut self, parts: &[IoSlice<'_>]);
}

/// A train under way.
#[derive(Debug)]
struct Train {
    /// The first frame, whose header is the train's.
    first: Range<usize>,
    /// The last frame so far, whose acknowledgement and window count.
    last: Range<usize>,
    tcp: Tcp,
    next_sequence: u32,
    size: usize,
    bytes: usize,
    parts: Vec<Range<usize>>,
}

/// The trains of one read. Ranges are offsets into the read's bytes.
#[derive(Debug)]
pub(super) struct Merger {
    trains: Vec<Train>,
    /// Emptied part lists, so that none is allocated twice.
    spare: Vec<Vec<Range<usize>>>,
}

impl Merger {
    pub(super) fn new() -> Self {
        Self {
            trains: Vec::with_capacity(TRAINS),
            spare: (0..=TRAINS).map(|_| Vec::with_capacity(MAX_PARTS)).collect(),
        }
    }

    /// Takes the frame at `at`: it is sent, or joins a train, which `flush` sends at the latest.
    pub(super) fn push(&mut self, bytes: &[u8], at: Range<usize>, sink: &mut impl Sink) {
        let Some(frame) = bytes.get(at.clone()) else {
            return;
        };
        let Some(tcp) = Tcp::parse(frame) else {
            return send_whole(frame, Vnet::default(), sink);
        };
        let index = self
            .trains
            .iter()
            .position(|train| train.is_same_flow(bytes, frame, &tcp));
        let sound = tcp.is_sound(frame);
        if !sound || !may_merge(frame, &tcp) {
            self.depart(bytes, index, sink);
            let vnet = if sound { Vnet::VERIFIED } else { Vnet::default() };
            return send_whole(frame, vnet, sink);
        }
        let ends = tcp.flags(frame) & PSH != 0;
        if let Some(train) = index.and_then(|index| self.trains.get_mut(index))
            && train.takes(bytes, frame, &tcp)
        {
            let full = train.join(at, &tcp);
            if ends || full {
                self.depart(bytes, index, sink);
            }
            return;
        }
        self.depart(bytes, index, sink);
        if ends {
            return send_whole(frame, Vnet::VERIFIED, sink);
        }
        if self.trains.len() >= TRAINS {
            self.depart(bytes, Some(0), sink);
        }
        let parts = self.spare.pop().unwrap_or_default();
        self.trains.push(Train::new(frame, at, tcp, parts));
    }

    /// Sends all trains.
    pub(super) fn flush(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        while !self.trains.is_empty() {
            self.depart(bytes, Some(0), sink);
        }
    }

    fn depart(&mut self, bytes: &[u8], index: Option<usize>, sink: &mut impl Sink) {
        if let Some(index) = index {
            let mut train = self.trains.remove(index);
            train.send(bytes, sink);
            train.parts.clear();
            self.spare.push(train.parts);
        }
    }
}

/// Whether the segment could be part of a train: data, and no flag but ACK and PSH.
fn may_merge(frame: &[u8], tcp: &Tcp) -> bool {
    tcp.payload_length() > 0 && tcp.flags(frame) & !PSH == ACK
}

fn send_whole(frame: &[u8], vnet: Vnet, sink: &mut impl Sink) {
    sink.send(&[IoSlice::new(&vnet.emit()), IoSlice::new(frame)]);
}

impl Train {
    fn new(frame: &[u8], at: Range<usize>, tcp: Tcp, mut parts: Vec<Range<usize>>) -> Self {
        let size = tcp.payload_length();
        parts.push(at.start + tcp.payload..at.start + tcp.end);
        Self {
            first: at.clone(),
            last: at,
            next_sequence: tcp.sequence(frame).wrapping_add(u32::try_from(size).unwrap_or(0)),
            tcp,
            size,
            bytes: size,
            parts,
        }
    }

    fn first_frame<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.first.clone()).unwrap_or_default()
    }

    fn is_same_flow(&self, bytes: &[u8], frame: &[u8], tcp: &Tcp) -> bool {
        let first = self.first_frame(bytes);
        self.tcp.v6 == tcp.v6
            && self.tcp.ports(first) == tcp.ports(frame)
            && self.tcp.addresses(first) == tcp.addresses(frame)
    }

    /// Whether a segment of the same flow follows on and looks like the first.
    fn takes(&self, bytes: &[u8], frame: &[u8], tcp: &Tcp) -> bool {
        let first = self.first_frame(bytes);
        let last = bytes.get(self.last.clone()).unwrap_or_default();
        let acknowledged = tcp
            .acknowledgement(frame)
            .wrapping_sub(self.tcp.acknowledgement(last));
        tcp.sequence(frame) == self.next_sequence
            && tcp.l4 == self.tcp.l4
            && tcp.payload == self.tcp.payload
            && tcp.payload_length() <= self.size
            && self.bytes + tcp.payload_length() + tcp.payload - ETHERNET <= MAX_PACKET
            && acknowledged.cast_signed() >= 0
            && tcp.options(frame) == self.tcp.options(first)
            && same_network(first, frame, tcp.v6)
    }

    /// Adds a segment; says whether no other can follow it.
    fn join(&mut self, at: Range<usize>, tcp: &Tcp) -> bool {
        let length = tcp.payload_length();
        self.parts.push(at.start + tcp.payload..at.start + tcp.end);
        self.last = at;
        self.bytes += length;
        self.next_sequence = self
            .next_sequence
            .wrapping_add(u32::try_from(length).unwrap_or(0));
        length < self.size || self.parts.len() >= MAX_PARTS
    }

    fn send(&self, bytes: &[u8], sink: &mut impl Sink) {
        if self.parts.len() == 1 {
            return send_whole(self.first_frame(bytes), Vnet::VERIFIED, sink);
        }
        let mut header = [0; MAX_HEADER];
        let header = header.get_mut(..self.tcp.payload).unwrap_or_default();
        self.write_header(bytes, header);
        let vnet = self.vnet().emit();
        let mut parts = [IoSlice::new(&[]); MAX_PARTS + 2];
        let payloads = self
            .parts
            .iter()
            .map(|part| bytes.get(part.clone()).unwrap_or_default());
        let all = [&vnet[..], &*header].into_iter().chain(payloads);
        for (slot, part) in parts.iter_mut().zip(all) {
            *slot = IoSlice::new(part);
        }
        sink.send(parts.get(..self.parts.len() + 2).unwrap_or_default());
    }

    fn vnet(&self) -> Vnet {
        // Headers are at most 134 bytes, and a segment fits a packet.
        let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        Vnet::train(
            self.tcp.v6,
            short(self.tcp.payload),
            short(self.tcp.l4),
            short(self.size),
        )
    }

    fn write_header(&self, bytes: &[u8], header: &mut [u8]) {
        let Some(first) = self.first_frame(bytes).get(..header.len()) else {
            return;
        };
        header.copy_from_slice(first);
        set_ip_length(
            header,
            self.tcp.v6,
            self.tcp.l4,
            header.len() - ETHERNET + self.bytes,
        );
        let pseudo = self
            .tcp
            .pseudo_sum(header, header.len() - self.tcp.l4 + self.bytes);
        let last = bytes.get(self.last.clone()).unwrap_or_default();
        let fresh = last.get(self.tcp.l4..self.tcp.l4 + 16);
        let (Some(tcp), Some(fresh)) = (header.get_mut(self.tcp.l4..), fresh) else {
            return;
        };
        // Acknowledgement, then offset (the same), flags and window.
        tcp[8..16].copy_from_slice(&fresh[8..16]);
        tcp[16..18].copy_from_slice(&fold(pseudo).to_ne_bytes());
    }
}

/// Whether two headers agree in all of Ethernet and IP that must be the same within a train.
fn same_network(first: &[u8], frame: &[u8], v6: bool) -> bool {
    let same = |range: Range<usize>| first.get(range.clone()) == frame.get(range);
    if v6 {
        // Traffic class and flow label; hop limit.
        same(0..ETHERNET + 4) && same(ETHERNET + 7..ETHERNET + 8)
    } else {
        // Type of service; flags; time to live.
        same(0..ETHERNET + 2) && same(ETHERNET + 6..ETHERNET + 9)
    }
}

#[cfg(test)]
mod tests {
    use super::{Merger, Sink};
    use crate::shim::headers::Tcp;
    use crate::shim::test_frames::frame;
    use crate::shim::vnet::{self, Vnet};
    use std::io::IoSlice;

    #[derive(Default)]
    struct Taken(Vec<(Vnet, Vec<u8>)>);

    impl Sink for Taken {
        fn send(&mut self, parts: &[IoSlice<'_>]) {
            let joined: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            let (header, frame) = joined.split_first_chunk::<{ vnet::LENGTH }>().unwrap();
            self.0.push((Vnet::parse(*header), frame.to_vec()));
        }
    }

    fn merge(frames: &[Vec<u8>]) -> Vec<(Vnet, Vec<u8>)> {
        let (mut merger, mut taken) = (Merger::new(), Taken::default());
        let bytes: Vec<u8> = frames.concat();
        let mut at = 0;
        for frame in frames {
            merger.push(&bytes, at..at + frame.len(), &mut taken);
            at += frame.len();
        }
        merger.flush(&bytes, &mut taken);
        taken.0
    }

    fn series(v6: bool, count: u32, size: usize) -> Vec<Vec<u8>> {
        let step = u32::try_from(size).unwrap();
        (0..count)
            .map(|i| frame(v6, 500 + i * step, 0x10, size))
            .collect()
    }

    #[test]
    fn segments_in_order_become_one_frame_with_all_their_bytes() {
        for v6 in [false, true] {
            let frames = series(v6, 10, 1460);
            let merged = merge(&frames);
            assert_eq!(merged.len(), 1);
            let (vnet, whole) = &merged[0];
            assert_eq!(vnet.gso_size, 1460);
            let tcp = Tcp::parse(whole).unwrap();
            assert_eq!(tcp.payload_length(), 14_600);
            let payloads: Vec<u8> = frames.iter().flat_map(|f| f[tcp.payload..].to_vec()).collect();
            assert_eq!(whole[tcp.payload..], payloads);
        }
    }

    #[test]
    fn what_was_merged_and_is_cut_again_is_what_it_was() {
        let frames = series(false, 10, 1460);
        let (vnet, whole) = merge(&frames).remove(0);
        let mut buffer = vec![0; 100_000];
        buffer[4..4 + whole.len()].copy_from_slice(&whole);
        let mut loss = crate::shim::loss::Loss::new(0, 1);
        let done = crate::shim::split::finish(&mut buffer, whole.len(), vnet, &mut loss);
        let again = crate::shim::test_frames::frames_in(&buffer[..done.bytes]);
        let sound = |frame: &Vec<u8>| Tcp::parse(frame).unwrap().is_sound(frame);
        assert!(again.iter().all(sound));
        let payload = |frames: &[Vec<u8>]| frames.iter().flat_map(|f| f[54..].to_vec()).collect::<Vec<u8>>();
        assert_eq!(payload(&again), payload(&frames));
    }

    #[test]
    fn a_gap_ends_a_train() {
        let mut frames = series(false, 6, 1000);
        frames.remove(3);
        let lengths: Vec<usize> = merge(&frames).iter().map(|(_, f)| f.len() - 54).collect();
        assert_eq!(lengths, [3000, 2000]);
    }

    #[test]
    fn a_push_or_a_shorter_segment_ends_a_train_and_belongs_to_it() {
        for last in [frame(false, 2500, 0x18, 1000), frame(false, 2500, 0x10, 300)] {
            let mut frames = series(false, 2, 1000);
            let size = last.len() - 54;
            frames.push(last);
            frames.push(frame(false, 2500 + u32::try_from(size).unwrap(), 0x10, 1000));
            let lengths: Vec<usize> = merge(&frames).iter().map(|(_, f)| f.len() - 54).collect();
            assert_eq!(lengths, [2000 + size, 1000]);
        }
    }

    #[test]
    fn a_finish_goes_alone_after_the_data_before_it() {
        let mut frames = series(false, 2, 1000);
        frames.push(frame(false, 2500, 0x11, 0));
        let merged = merge(&frames);
        let flags: Vec<u8> = merged
            .iter()
            .map(|(_, f)| Tcp::parse(f).unwrap().flags(f))
            .collect();
        assert_eq!(flags, [0x10, 0x11]);
    }

    #[test]
    fn a_wrong_checksum_is_left_to_the_kernel_to_find() {
        let mut frames = series(false, 3, 1000);
        frames[1][60] ^= 1;
        let merged = merge(&frames);
        assert_eq!(merged.len(), 3);
        assert_eq!(merged[1].0, Vnet::default());
        assert_eq!(merged[1].1, frames[1]);
    }

    #[test]
    fn a_train_is_never_longer_than_a_packet() {
        let merged = merge(&series(false, 100, 1460));
        assert!(merged.iter().all(|(_, f)| f.len() - 14 <= 65535));
        let total: usize = merged.iter().map(|(_, f)| f.len() - 54).sum();
        assert_eq!(total, 146_000);
    }
}
