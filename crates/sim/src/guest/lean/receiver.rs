//! Engine to guest. Places are counted in 64 bits from the engine's SYN, which is at 0.
//!
//! What is out of order is kept and reported by SACK, the latest first, and before that what came twice (RFC 2883). Acknowledgements
//! are Linux's: one for what arrived at one moment when that is two segments or more, at once for what is out of order
//! or fills a hole, else after 40 ms.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_engine::Instant;
use bytes::{Buf, Bytes};

use crate::stream::Sink;

const DELAYED_ACK: Duration = Duration::from_millis(40);

#[derive(Debug)]
pub(super) struct Receiver {
    next: u64,
    /// What the program has read.
    read: u64,
    edge: u64,
    buffer: u64,
    pub(super) shift: u8,
    early: BTreeMap<u64, Bytes>,
    /// What `early` covers: start and end of each range.
    covered: BTreeMap<u64, u64>,
    latest: u64,
    repeated: Option<(u64, u64)>,
    pub(super) sink: Sink,
    fin_at: Option<u64>,
    mss: u64,
    /// Bytes not acknowledged yet.
    untold: u64,
    delayed: Option<Instant>,
    pub(super) reads: bool,
}

impl Receiver {
    pub(super) fn new(sink: Sink, buffer: u64, mss: u64) -> Self {
        Self {
            next: 1,
            read: 1,
            edge: 1,
            buffer,
            shift: 0,
            early: BTreeMap::new(),
            covered: BTreeMap::new(),
            latest: 0,
            repeated: None,
            sink,
            fin_at: None,
            mss,
            untold: 0,
            delayed: None,
            reads: true,
        }
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The engine's FIN arrived, and all before it.
    pub(super) fn is_finished(&self) -> bool {
        self.fin_at.is_some_and(|at| self.next > at)
    }

    /// Whether a segment of so many places overlaps the window (RFC 9293, 3.10.7.4).
    pub(super) fn is_acceptable(&self, start: u64, len: u64) -> bool {
        if len == 0 {
            return start >= self.next && start <= self.edge;
        }
        start < self.edge && start + len > self.next
    }

    /// Take payload and FIN. Whether the engine is to be answered at once.
    pub(super) fn handle_data(&mut self, now: Instant, start: u64, payload: Bytes, fin: bool) -> bool {
        let end = start + payload.len() as u64;
        if fin {
            self.fin_at = Some(end);
        }
        let before = self.next;
        let had_early = !self.early.is_empty();
        if end <= self.next && !payload.is_empty() {
            self.repeated = Some((start, end));
        } else if start > self.next {
            self.keep(start, payload);
        } else {
            self.take(start, payload);
        }
        while let Some(entry) = self.early.first_entry().filter(|entry| *entry.key() <= self.next) {
            let (start, payload) = entry.remove_entry();
            self.take(start, payload);
        }
        while let Some(first) = self
            .covered
            .first_entry()
            .filter(|first| *first.get() <= self.next)
        {
            first.remove();
        }
        if self.fin_at == Some(self.next) {
            self.next += 1;
        }
        if self.reads {
            self.read = self.next;
        }
        self.untold += self.next - before;
        if self.next > before && !had_early && !self.is_finished() {
            self.delayed.get_or_insert(now + DELAYED_ACK);
            return false;
        }
        true
    }

    fn keep(&mut self, start: u64, payload: Bytes) {
        self.latest = start;
        let end = start + payload.len() as u64;
        if self
            .early
            .get(&start)
            .is_some_and(|known| known.len() >= payload.len())
        {
            self.repeated = Some((start, end));
        } else if !payload.is_empty() {
            self.early.insert(start, payload);
            self.cover(start, end);
        }
    }

    fn cover(&mut self, mut start: u64, mut end: u64) {
        while let Some((&other, &other_end)) = self.covered.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            (start, end) = (start.min(other), end.max(other_end));
            self.covered.remove(&other);
        }
        self.covered.insert(start, end);
    }

    fn take(&mut self, start: u64, mut payload: Bytes) {
        let known = usize::try_from(self.next - start).unwrap_or(usize::MAX);
        if known < payload.len() {
            payload.advance(known);
            self.next += payload.len() as u64;
            self.sink.push(&payload);
        }
    }

    /// The program reads again. Whether the engine should hear of it: it has no use for a window once it sent its end.
    pub(super) fn resume(&mut self) -> bool {
        self.reads = true;
        let freed = self.next - self.read;
        self.read = self.next;
        !self.is_finished() && freed >= (2 * self.mss).min(self.buffer / 2)
    }

    /// Whether an acknowledgement is due now.
    pub(super) fn owes_ack(&self, now: Instant) -> bool {
        self.untold >= 2 * self.mss || self.delayed.is_some_and(|at| at <= now)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed
    }

    /// The window of a segment that is sent now, as the field says it.
    pub(super) fn advertise(&mut self) -> u16 {
        self.untold = 0;
        self.delayed = None;
        let free = (self.read + self.buffer).saturating_sub(self.next) >> self.shift;
        // Never back to the left: rounded up where scaling would (RFC 7323, 2.4).
        let promised = self.edge.saturating_sub(self.next).div_ceil(1 << self.shift);
        let field = u16::try_from(free.max(promised)).unwrap_or(u16::MAX);
        self.edge = self.edge.max(self.next + (u64::from(field) << self.shift));
        field
    }

    /// The window field of a SYN.
    pub(super) fn advertise_unscaled(&mut self) -> u16 {
        let field = u16::try_from(self.buffer).unwrap_or(u16::MAX);
        self.edge = self.edge.max(self.next + u64::from(field));
        field
    }

    /// Up to three ranges that arrived: what came twice, the latest, the others from the left.
    pub(super) fn reports(&mut self) -> Vec<(u64, u64)> {
        let latest = self.covered.range(..=self.latest).next_back();
        let latest = latest
            .map(|(&start, &end)| (start, end))
            .filter(|range| self.latest < range.1);
        let ranges = self.covered.iter().map(|(&start, &end)| (start, end));
        let others = ranges.filter(|range| Some(*range) != latest).take(3);
        let repeated = self.repeated.take();
        repeated.into_iter().chain(latest).chain(others).take(3).collect()
    }
}
