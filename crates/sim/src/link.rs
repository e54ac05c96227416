//! A link between a guest and its port that does to frames what links do.
//!
//! Each direction is a line: frames leave it one after the other at its rate, arrive a delay later, and on the way
//! some are lost, repeated or late. A sender that is told to wait (a port whose queue the engine holds) does so while more than
//! a backlog of 128 KiB is under way to the line's end.

use std::time::Duration;

use atoll_engine::Instant;

use crate::Chance;

/// What happens to frames in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Frames lost, of ten thousand.
    pub loss: u16,
    /// Frames that arrive twice, of ten thousand.
    pub duplicate: u16,
    /// Frames that arrive up to [`LATE`] late, of ten thousand.
    pub reorder: u16,
}

/// A link, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Time from one end to the other.
    pub delay: Duration,
    /// Bytes a second; as many as there are when `None`.
    pub rate: Option<u64>,
    /// What goes wrong.
    pub faults: Faults,
    /// Large segments to the guest are cut before anything goes wrong, so that each part has a fate of its own.
    pub cuts: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(50),
            rate: None,
            faults: Faults::default(),
            cuts: false,
        }
    }
}

impl From<Faults> for Link {
    fn from(faults: Faults) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }
}

/// How late a frame may be that is out of order.
pub const LATE: Duration = Duration::from_micros(400);

/// Bytes that a line takes before its sender has to wait.
const BACKLOG: u64 = 128 * 1024;

/// One direction of a link.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) link: Link,
    /// When the last frame will have left.
    free_at: Instant,
}

impl Line {
    pub(crate) fn new(link: Link) -> Self {
        Self {
            link,
            free_at: Instant::ZERO,
        }
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = |rate: u64| bytes.saturating_mul(1_000_000_000) / rate.max(1);
        self.link
            .rate
            .map_or(Duration::ZERO, |rate| Duration::from_nanos(nanos(rate)))
    }

    /// Until when a sender has to wait, if it has to.
    pub(crate) fn busy_until(&self, now: Instant) -> Option<Instant> {
        let backlog = self.time_for(BACKLOG);
        let waiting = self.free_at.since(now);
        (self.link.rate.is_some() && waiting > backlog).then(|| now + (waiting - backlog / 2))
    }

    /// When a frame of `len` bytes that is sent now arrives: never, once, or twice.
    pub(crate) fn arrivals(&mut self, chance: &mut Chance, now: Instant, len: usize) -> Vec<Instant> {
        self.free_at = self.free_at.max(now) + self.time_for(len as u64);
        let faults = self.link.faults;
        if chance.happens(faults.loss) {
            return Vec::new();
        }
        let copies = 1 + usize::from(chance.happens(faults.duplicate));
        let in_time = self.free_at + self.link.delay;
        (0..copies)
            .map(|_| {
                let late = if chance.happens(faults.reorder) {
                    Duration::from_nanos(chance.below(u64::try_from(LATE.as_nanos()).unwrap_or(u64::MAX)))
                } else {
                    Duration::ZERO
                };
                in_time + late
            })
            .collect()
    }
}
