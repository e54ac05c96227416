//! Datagrams that guests send in fragments, put together again (RFC 791, 3.2; RFC 8200, 4.5).
//!
//! The gateway is where a guest's packet ends and a host socket begins, so it reassembles like a host, for either family: a
//! datagram is known by its addresses, protocol and identification, and is whole when its last fragment came and no byte is
//! missing. Then it goes the way of any packet, its header that of the first fragment.
//!
//! **Overlaps.** A fragment that lies inside what is there is a duplicate and is ignored. One that overlaps otherwise, or
//! contradicts the length, ends the whole datagram (RFC 5722, 3; RFC 8200, 4.5): an honest sender sends no such thing.
//!
//! **Bounds.** Each port has its own: [`DATAGRAMS`] under way, the oldest of which goes when one more begins, [`PIECES`] gaps
//! and 64 KiB each, and [`PATIENCE`]. So a guest that sends first halves only costs a few megabytes, and nobody else's datagrams. Bytes
//! are copied, so that a fragment holds back no read. When the time is up and the first fragment came, its sender is told
//! (RFC 1122, 3.3.2).
//!
//! Left out: fragments between guests, which the switch carries as they are; congestion marks of fragments after the first; that the
//! first fragment has all headers (RFC 7112): they are judged when the packet is whole.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use crate::{Instant, PortId};

/// Datagrams under way at one port.
const DATAGRAMS: usize = 32;
/// Runs of bytes with gaps between them, in one datagram. A sender that keeps order makes one.
const PIECES: usize = 64;
/// From the first fragment that came: as Linux waits (`net.ipv4.ipfrag_time`). RFC 8200 has 60 s for IPv6.
const PATIENCE: Duration = Duration::from_secs(30);
/// Room before the payload for the first fragment's header: the longest of IPv4.
const HEADER_ROOM: usize = 60;
/// What the offset and length fields can tell.
const MOST_BYTES: usize = u16::MAX as usize;

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) ident: u32,
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment<'a> {
    pub(crate) name: Name,
    /// As the whole datagram shall have it, as far as it is known; at most [`HEADER_ROOM`] bytes. Only the first one's counts.
    pub(crate) header: &'a [u8],
    /// Where in the datagram the payload belongs, in bytes.
    pub(crate) offset: usize,
    pub(crate) payload: &'a [u8],
    /// More follow.
    pub(crate) more: bool,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Others are missing.
    Kept,
    /// It was the last that was missing: the first one's header and the whole payload.
    Whole(BytesMut),
    /// It makes no sense by itself, or not with the others, which are dropped too.
    Nonsense,
}

/// A datagram whose time is up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// The header of the first fragment and what followed it; `None` if that one never came.
    pub(crate) first: Option<BytesMut>,
}

#[derive(Debug)]
struct Partial {
    name: Name,
    since: Instant,
    /// [`HEADER_ROOM`], and behind it the payload up to the highest byte that came.
    bytes: BytesMut,
    /// Of the first fragment; none before that came.
    header_len: Option<usize>,
    /// Sorted, and with a gap after each.
    have: Vec<Range<usize>>,
    /// Bytes of the whole payload, once the last fragment came.
    total: Option<usize>,
}

/// Every datagram under way.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    /// Oldest first.
    ports: BTreeMap<PortId, VecDeque<Partial>>,
}

impl Fragments {
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.ports.values().filter_map(VecDeque::front);
        oldest.map(|partial| partial.since + PATIENCE).min()
    }

    pub(crate) fn handle_fragment(
        &mut self,
        now: Instant,
        ingress: PortId,
        fragment: &Fragment<'_>,
    ) -> Outcome {
        if !fragment.is_possible() {
            return Outcome::Nonsense;
        }
        let partials = self.ports.entry(ingress).or_default();
        let known = partials.iter().position(|partial| partial.name == fragment.name);
        let at = known.unwrap_or_else(|| {
            if partials.len() >= DATAGRAMS {
                partials.pop_front();
            }
            partials.push_back(Partial::new(now, fragment.name));
            partials.len() - 1
        });
        let fits = partials[at].try_add(fragment);
        let is_over = !fits || partials[at].is_whole();
        let partial = is_over.then(|| partials.remove(at)).flatten();
        if partials.is_empty() {
            self.ports.remove(&ingress);
        }
        match partial {
            None => Outcome::Kept,
            Some(partial) if fits => Outcome::Whole(partial.into_bytes()),
            Some(_) => Outcome::Nonsense,
        }
    }

    /// The port is gone.
    pub(crate) fn forget_port(&mut self, port: PortId) {
        self.ports.remove(&port);
    }

    /// Give up on those whose time has come.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<Expired> {
        let mut expired = Vec::new();
        for partials in self.ports.values_mut() {
            while let Some(partial) = partials.pop_front_if(|partial| partial.since + PATIENCE <= now) {
                expired.push(partial.expire());
            }
        }
        self.ports.retain(|_, partials| !partials.is_empty());
        expired
    }
}

impl Fragment<'_> {
    /// Offsets count eights of bytes, so only the last fragment has an odd length; and none is empty.
    fn is_possible(&self) -> bool {
        let end = self.offset + self.payload.len();
        // The length field of IPv4 counts the header, that of IPv6 does not.
        let counted = if self.name.src.is_ipv4() {
            self.header.len()
        } else {
            0
        };
        let has_room = self.header.len() <= HEADER_ROOM && counted + end <= MOST_BYTES;
        has_room && !self.payload.is_empty() && (!self.more || self.payload.len().is_multiple_of(8))
    }

    fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.payload.len()
    }
}

impl Partial {
    fn new(since: Instant, name: Name) -> Self {
        Self {
            name,
            since,
            bytes: BytesMut::zeroed(HEADER_ROOM),
            header_len: None,
            have: Vec::new(),
            total: None,
        }
    }

    fn is_whole(&self) -> bool {
        self.total
            .is_some_and(|total| self.have.len() == 1 && self.have[0] == (0..total))
    }

    /// `false`: it does not go with what is there.
    fn try_add(&mut self, fragment: &Fragment<'_>) -> bool {
        let range = fragment.range();
        let highest = self.have.last().map_or(0, |last| last.end);
        let ends_twice = self.total.is_some_and(|total| total != range.end);
        if self.total.is_some_and(|total| range.end > total)
            || (!fragment.more && (ends_twice || highest > range.end))
        {
            return false;
        }
        if !fragment.more {
            self.total = Some(range.end);
        }
        let contains = |have: &Range<usize>| have.start <= range.start && range.end <= have.end;
        if self.have.iter().any(contains) {
            return true;
        }
        if !self.try_cover(&range) {
            return false;
        }
        self.store(fragment);
        true
    }

    /// Note that these bytes are there now; `false` if some were already, or there are too many gaps.
    fn try_cover(&mut self, range: &Range<usize>) -> bool {
        let at = self.have.partition_point(|have| have.end <= range.start);
        if self.have.get(at).is_some_and(|next| next.start < range.end) {
            return false;
        }
        self.have.insert(at, range.clone());
        self.join(at);
        self.have.len() <= PIECES
    }

    /// Make one run of the `at`th and those that touch it.
    fn join(&mut self, at: usize) {
        if self
            .have
            .get(at + 1)
            .is_some_and(|next| next.start == self.have[at].end)
        {
            self.have[at].end = self.have.remove(at + 1).end;
        }
        if at > 0 && self.have[at - 1].end == self.have[at].start {
            self.have[at - 1].end = self.have.remove(at).end;
        }
    }

    fn store(&mut self, fragment: &Fragment<'_>) {
        let (start, end) = (HEADER_ROOM + fragment.offset, HEADER_ROOM + fragment.range().end);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(fragment.payload);
        if fragment.offset == 0 {
            let len = fragment.header.len();
            self.bytes[HEADER_ROOM - len..HEADER_ROOM].copy_from_slice(fragment.header);
            self.header_len = Some(len);
        }
    }

    /// The header, and the payload as far as it reaches.
    fn into_bytes(self) -> BytesMut {
        let mut bytes = self.bytes;
        bytes.advance(HEADER_ROOM - self.header_len.unwrap_or(0));
        bytes
    }

    fn expire(self) -> Expired {
        let (src, dst) = (self.name.src, self.name.dst);
        let first = self.have.first().filter(|first| first.start == 0).cloned();
        let end = first.map(|first| self.header_len.unwrap_or(0) + first.end);
        let first = end.map(|end| {
            let mut bytes = self.into_bytes();
            bytes.truncate(end);
            bytes
        });
        Expired { src, dst, first }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PORT: PortId = PortId(1);
    const HEADER: &[u8] = &[0xbe; 20];

    fn name(ident: u32) -> Name {
        Name {
            src: IpAddr::from([10, 77, 0, 2]),
            dst: IpAddr::from([198, 51, 100, 1]),
            protocol: 17,
            ident,
        }
    }

    fn fragment(ident: u32, range: Range<usize>, datagram: &[u8]) -> Fragment<'_> {
        Fragment {
            name: name(ident),
            header: HEADER,
            offset: range.start,
            more: range.end < datagram.len(),
            payload: &datagram[range],
        }
    }

    fn datagram(len: usize) -> Vec<u8> {
        (0..len)
            .map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1])
            .collect()
    }

    fn whole(datagram: &[u8]) -> Outcome {
        Outcome::Whole(BytesMut::from(&[HEADER, datagram].concat()[..]))
    }

    proptest! {
        /// In any order, with any of them twice.
        #[test]
        fn what_was_cut_is_put_together(
            len in 9_usize..20_000,
            size in 200_usize..1_500,
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let datagram = datagram(len);
            let size = size & !7;
            let mut ranges: Vec<_> = (0..len).step_by(size).map(|at| at..(at + size).min(len)).collect();
            for (at, index) in order.iter().enumerate() {
                let other = index.index(ranges.len());
                if at % 3 == 0 {
                    ranges.insert(at % ranges.len(), ranges[other].clone());
                } else {
                    let here = at % ranges.len();
                    ranges.swap(here, other);
                }
            }
            let mut fragments = Fragments::default();
            let mut outcomes = ranges.iter().map(|range| {
                fragments.handle_fragment(Instant::ZERO, PORT, &fragment(1, range.clone(), &datagram))
            });
            prop_assert_eq!(outcomes.find(|outcome| *outcome != Outcome::Kept), Some(whole(&datagram)));
        }

        /// Whatever comes, what is kept is bounded, what is whole is within bounds, and time ends all of it.
        #[test]
        fn nothing_grows_without_bound(
            sent in proptest::collection::vec((0_u32..40, 0_usize..70_000, 0_usize..2_000, any::<bool>()), 0..400),
        ) {
            let mut fragments = Fragments::default();
            for (ident, offset, len, more) in sent {
                let payload = vec![7; len];
                let fragment = Fragment { name: name(ident), header: HEADER, offset: offset & !7, payload: &payload, more };
                if let Outcome::Whole(bytes) = fragments.handle_fragment(Instant::ZERO, PORT, &fragment) {
                    prop_assert!(bytes.len() <= MOST_BYTES);
                }
                for partial in fragments.ports.values().flatten() {
                    prop_assert!(partial.bytes.len() <= HEADER_ROOM + MOST_BYTES);
                    prop_assert!(partial.have.len() <= PIECES + 1);
                    prop_assert!(partial.have.is_sorted_by(|a, b| a.end < b.start));
                }
                prop_assert!(fragments.ports.values().all(|partials| partials.len() <= DATAGRAMS));
            }
            fragments.handle_timeout(Instant::ZERO + PATIENCE);
            prop_assert_eq!(fragments.poll_timeout(), None);
        }
    }

    #[test]
    fn an_overlap_ends_the_datagram() {
        let datagram = datagram(64);
        for overlapping in [8..24, 0..24, 8..32] {
            let mut fragments = Fragments::default();
            let mut add =
                |range| fragments.handle_fragment(Instant::ZERO, PORT, &fragment(1, range, &datagram));
            assert_eq!(add(0..16), Outcome::Kept);
            assert_eq!(add(overlapping), Outcome::Nonsense);
            assert_eq!(fragments.poll_timeout(), None);
        }
    }

    #[test]
    fn a_second_end_ends_the_datagram() {
        let (short, long) = (datagram(32), datagram(64));
        let mut fragments = Fragments::default();
        let mut add =
            |range, datagram| fragments.handle_fragment(Instant::ZERO, PORT, &fragment(1, range, datagram));
        assert_eq!(add(16..32, &short), Outcome::Kept);
        assert_eq!(add(48..64, &long), Outcome::Nonsense);
        assert_eq!(add(48..56, &long), Outcome::Kept);
        assert_eq!(add(16..32, &short), Outcome::Nonsense);
    }

    #[test]
    fn impossible_fragments_open_nothing() {
        let mut fragments = Fragments::default();
        let odd = Fragment {
            more: true,
            ..fragment(1, 0..9, &[0; 9])
        };
        let beyond = Fragment {
            offset: 65_528,
            ..fragment(1, 0..8, &[0; 8])
        };
        let empty = Fragment {
            payload: &[],
            ..fragment(1, 0..8, &[0; 8])
        };
        for impossible in [odd, beyond, empty] {
            let outcome = fragments.handle_fragment(Instant::ZERO, PORT, &impossible);
            assert_eq!(outcome, Outcome::Nonsense);
        }
        assert_eq!(fragments.poll_timeout(), None);
    }

    #[test]
    fn a_port_that_sends_first_halves_costs_itself_only() {
        let datagram = datagram(64);
        let mut fragments = Fragments::default();
        let mut add = |port, ident, range| {
            fragments.handle_fragment(Instant::ZERO, PortId(port), &fragment(ident, range, &datagram))
        };
        assert_eq!(add(1, 0, 0..32), Outcome::Kept);
        for ident in 0..1000 {
            assert_eq!(add(2, ident, 0..32), Outcome::Kept);
        }
        assert_eq!(add(1, 0, 32..64), whole(&datagram));
        assert_eq!(add(2, 999, 32..64), whole(&datagram));
        assert_eq!(add(2, 0, 32..64), Outcome::Kept, "the oldest went");
    }

    #[test]
    fn the_sender_of_a_first_fragment_is_told_when_time_is_up() {
        let datagram = datagram(64);
        let mut fragments = Fragments::default();
        fragments.handle_fragment(Instant::ZERO, PORT, &fragment(1, 0..32, &datagram));
        fragments.handle_fragment(Instant::ZERO, PORT, &fragment(1, 48..64, &datagram));
        fragments.handle_fragment(Instant::ZERO, PORT, &fragment(2, 32..64, &datagram));
        assert_eq!(fragments.poll_timeout(), Some(Instant::ZERO + PATIENCE));
        let firsts: Vec<_> = fragments
            .handle_timeout(Instant::ZERO + PATIENCE)
            .into_iter()
            .map(|expired| expired.first)
            .collect();
        assert_eq!(
            firsts,
            [
                Some(BytesMut::from(&[HEADER, &datagram[..32]].concat()[..])),
                None
            ]
        );
    }
}
