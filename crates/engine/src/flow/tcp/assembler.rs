//! Segments that arrived before their turn.
//!
//! Sorted and disjoint; an overlap keeps what came first, as Linux does. What they cover is noted beside them as ranges, so that
//! a header's SACK blocks cost no walk through all of them. Each is copied out of the read it came in, so that a
//! few bytes never pin a large buffer. Bounded by a count here, and by the window for bytes, since nothing outside it is offered.

use std::collections::VecDeque;

use atoll_wire::Seq;
use atoll_wire::tcp::MAX_SACK_BLOCKS;
use bytes::{Buf, Bytes};

use super::scoreboard::Scoreboard;

/// Segments kept for one connection: a window of 1 MiB in full segments of 1460 bytes, and some.
const MAX_SEGMENTS: usize = 1024;

/// SACK blocks as a header carries them.
pub(super) type Blocks = [Option<(Seq, Seq)>; MAX_SACK_BLOCKS];

#[derive(Clone, Debug)]
struct Piece {
    start: Seq,
    bytes: Bytes,
}

impl Piece {
    fn end(&self) -> Seq {
        self.start + len_of(&self.bytes)
    }
}

/// The store, of which a connection in order has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Assembler(Option<Box<Early>>);

#[derive(Clone, Debug, Default)]
struct Early {
    pieces: VecDeque<Piece>,
    /// Bytes of all pieces.
    bytes: u32,
    /// What the pieces cover.
    covered: Scoreboard,
    /// Where the last segment fell: its block comes first in SACK (RFC 2018, 4).
    latest: Option<Seq>,
}

/// The store is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Assembler {
    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|early| early.pieces.is_empty())
    }

    /// Bytes kept.
    pub(super) fn bytes(&self) -> u32 {
        self.0.as_ref().map_or(0, |early| early.bytes)
    }

    /// Keep what is new of `bytes` at `start`.
    pub(super) fn insert(&mut self, start: Seq, bytes: Bytes) -> Result<(), Full> {
        self.0.get_or_insert_default().insert(start, bytes)
    }

    /// Take the bytes that continue the stream at `next`, if there are any.
    pub(super) fn take(&mut self, next: Seq) -> Option<Bytes> {
        let early = self.0.as_mut()?;
        let bytes = early.take(next);
        if bytes.is_none() && early.pieces.is_empty() {
            self.0 = None;
        }
        bytes
    }

    /// The block of the latest segment, then the others from the left.
    pub(super) fn sack_blocks(&self) -> Blocks {
        self.0
            .as_ref()
            .map_or_else(Blocks::default, |early| early.sack_blocks())
    }
}

impl Early {
    fn insert(&mut self, mut start: Seq, mut bytes: Bytes) -> Result<(), Full> {
        self.latest = Some(start);
        let mut at = self.pieces.partition_point(|piece| !piece.end().is_after(start));
        while !bytes.is_empty() {
            let next = self.pieces.get(at).map(|piece| (piece.start, piece.end()));
            let gap = next.map_or(len_of(&bytes), |(piece, _)| {
                u32::try_from(piece.distance_from(start))
                    .unwrap_or(0)
                    .min(len_of(&bytes))
            });
            if gap > 0 {
                if self.pieces.len() >= MAX_SEGMENTS {
                    return Err(Full);
                }
                let new = bytes.split_to(gap as usize);
                self.pieces.insert(
                    at,
                    Piece {
                        start,
                        bytes: Bytes::copy_from_slice(&new),
                    },
                );
                self.covered.insert(start, start + gap);
                self.bytes += gap;
                start += gap;
                at += 1;
            }
            if let Some((_, end)) = next {
                let known = u32::try_from(end.distance_from(start))
                    .unwrap_or(0)
                    .min(len_of(&bytes));
                bytes.advance(known as usize);
                start += known;
                at += usize::from(gap == 0);
            }
        }
        Ok(())
    }

    fn take(&mut self, next: Seq) -> Option<Bytes> {
        while let Some(first) = self.pieces.front() {
            if first.start.is_after(next) {
                break;
            }
            let mut piece = self.pieces.pop_front()?;
            self.bytes -= len_of(&piece.bytes);
            if piece.end().is_after(next) {
                piece.bytes.advance((next - piece.start) as usize);
                return Some(piece.bytes);
            }
        }
        self.covered.advance(next);
        None
    }

    fn sack_blocks(&self) -> Blocks {
        let holds_latest = |&(start, end): &(Seq, Seq)| {
            self.latest
                .is_some_and(|latest| !latest.is_before(start) && latest.is_before(end))
        };
        let ranges = self.covered.ranges();
        let latest = ranges.iter().copied().find(holds_latest);
        let others = ranges.iter().copied().filter(|range| !holds_latest(range));
        let mut blocks = latest.into_iter().chain(others);
        std::array::from_fn(|_| blocks.next())
    }
}

fn len_of(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).expect("a segment is shorter than an IP packet")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The stream's byte at a sequence number, so that every copy of it is the same.
    fn byte_at(seq: Seq) -> u8 {
        (seq.0.wrapping_mul(31) >> 3).to_le_bytes()[0]
    }

    fn stream(start: Seq, len: u32) -> Bytes {
        (0..len).map(|offset| byte_at(start + offset)).collect()
    }

    #[test]
    fn the_latest_block_comes_first() {
        let mut assembler = Assembler::default();
        for start in [100, 300, 200] {
            assembler.insert(Seq(start), stream(Seq(start), 10)).unwrap();
        }
        let block = |start| Some((Seq(start), Seq(start + 10)));
        assert_eq!(assembler.sack_blocks(), [block(200), block(100), block(300)]);
    }

    #[test]
    fn a_flood_of_single_bytes_is_bounded() {
        let mut assembler = Assembler::default();
        let full = (0..10_000)
            .filter(|n| assembler.insert(Seq(n * 2), stream(Seq(n * 2), 1)) == Err(Full))
            .count();
        assert_eq!(full, 10_000 - MAX_SEGMENTS);
    }

    proptest! {
        #[test]
        fn every_byte_comes_out_once_in_order_whatever_the_arrival(
            base: u32,
            cuts in proptest::collection::vec((0u32..2000, 1u32..300), 1..60),
        ) {
            let base = Seq(base);
            let mut assembler = Assembler::default();
            let mut have = [false; 2400];
            for (offset, len) in cuts {
                assembler.insert(base + offset, stream(base + offset, len)).unwrap();
                have[offset as usize..(offset + len) as usize].fill(true);
            }
            let mut next = base;
            while let Some(bytes) = assembler.take(next) {
                for &byte in &bytes {
                    prop_assert_eq!(byte, byte_at(next));
                    next += 1;
                }
            }
            let expected = have.iter().take_while(|have| **have).count();
            prop_assert_eq!((next - base) as usize, expected);
        }

        #[test]
        fn blocks_are_disjoint_and_ours(
            base: u32,
            cuts in proptest::collection::vec((1u32..2000, 1u32..300), 1..20),
        ) {
            let mut assembler = Assembler::default();
            for &(offset, len) in &cuts {
                assembler.insert(Seq(base) + offset, stream(Seq(base) + offset, len)).unwrap();
            }
            let blocks: Vec<_> = assembler.sack_blocks().into_iter().flatten().collect();
            prop_assert!(!blocks.is_empty());
            for (i, &(start, end)) in blocks.iter().enumerate() {
                prop_assert!(start.is_before(end));
                for &(other_start, other_end) in &blocks[..i] {
                    prop_assert!(end.is_before(other_start) || other_end.is_before(start));
                }
            }
            let last = Seq(base) + cuts.last().unwrap().0;
            prop_assert!(!last.is_before(blocks[0].0) && last.is_before(blocks[0].1));
        }
    }
}
