//! Ranges of sequence numbers: what the guest has reported by SACK of what we sent (RFC 6675), and what we keep of what it sent.
//!
//! Sorted, disjoint ranges above the cumulative acknowledgement, bounded in count: at the bound a new range that touches no
//! other is not noted, which costs a needless repetition and nothing else.

use atoll_wire::Seq;

/// Ranges noted at a time.
const MAX_RANGES: usize = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct Scoreboard {
    ranges: Vec<(Seq, Seq)>,
}

impl Scoreboard {
    /// All ranges, from the left.
    pub(super) fn ranges(&self) -> &[(Seq, Seq)] {
        &self.ranges
    }

    /// End of the highest range.
    pub(super) fn highest(&self) -> Option<Seq> {
        self.ranges.last().map(|range| range.1)
    }

    /// Bytes noted.
    pub(super) fn bytes(&self) -> u32 {
        self.ranges.iter().map(|(start, end)| *end - *start).sum()
    }

    /// Note `[start, end)`, which lies between `una` and what was sent. Whether anything in it was new.
    pub(super) fn insert(&mut self, mut start: Seq, mut end: Seq) -> bool {
        let first = self.ranges.partition_point(|range| range.1.is_before(start));
        let mut last = first;
        while let Some(&(other_start, other_end)) = self.ranges.get(last) {
            if other_start.is_after(end) {
                break;
            }
            if last == first && !other_start.is_after(start) && !other_end.is_before(end) {
                return false;
            }
            start = start.min(other_start);
            end = end.max(other_end);
            last += 1;
        }
        if first == last && self.ranges.len() >= MAX_RANGES {
            return false;
        }
        self.ranges.splice(first..last, [(start, end)]);
        true
    }

    /// Everything before `una` is acknowledged.
    pub(super) fn advance(&mut self, una: Seq) {
        self.ranges.retain_mut(|range| {
            range.0 = range.0.max(una);
            range.0.is_before(range.1)
        });
    }

    /// Forget all: the receiver may have discarded what it reported (RFC 2018, 8).
    pub(super) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// The first range at or after `from`, before `limit`, that was not reported.
    pub(super) fn next_hole(&self, mut from: Seq, limit: Seq) -> Option<(Seq, Seq)> {
        for &(start, end) in &self.ranges {
            if from.is_before(start) {
                break;
            }
            from = from.max(end);
        }
        let end = self
            .ranges
            .iter()
            .map(|range| range.0)
            .find(|start| start.is_after(from))
            .unwrap_or(limit)
            .min(limit);
        from.is_before(end).then_some((from, end))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn holes_lie_between_the_ranges() {
        let mut board = Scoreboard::default();
        assert!(board.insert(Seq(20), Seq(30)));
        assert!(board.insert(Seq(40), Seq(50)));
        assert!(!board.insert(Seq(22), Seq(28)));
        assert_eq!(board.next_hole(Seq(10), Seq(60)), Some((Seq(10), Seq(20))));
        assert_eq!(board.next_hole(Seq(25), Seq(60)), Some((Seq(30), Seq(40))));
        assert_eq!(board.next_hole(Seq(40), Seq(60)), Some((Seq(50), Seq(60))));
        assert_eq!(board.next_hole(Seq(40), Seq(50)), None);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set_of_bytes(
            base: u32,
            ranges in proptest::collection::vec((0u32..300, 1u32..40), 0..30),
            una in 0u32..340,
        ) {
            let mut board = Scoreboard::default();
            let mut set = [false; 340];
            for (offset, len) in ranges {
                let fresh = set[offset as usize..(offset + len) as usize].iter().any(|have| !have);
                prop_assert_eq!(board.insert(Seq(base) + offset, Seq(base) + (offset + len)), fresh);
                set[offset as usize..(offset + len) as usize].fill(true);
            }
            board.advance(Seq(base) + una);
            let noted = set[una as usize..].iter().filter(|have| **have).count();
            prop_assert_eq!(board.bytes() as usize, noted);
            let mut from = Seq(base) + una;
            let mut holes = 0;
            while let Some((start, end)) = board.next_hole(from, Seq(base) + 340) {
                prop_assert!(set[(start - Seq(base)) as usize..(end - Seq(base)) as usize].iter().all(|have| !have));
                holes += (end - start) as usize;
                from = end;
            }
            prop_assert_eq!(holes, set.len() - una as usize - noted);
        }
    }
}
