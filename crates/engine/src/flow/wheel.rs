//! A hierarchical timer wheel: arming, moving and cancelling cost the same however many timers there are.
//!
//! Time is counted in ticks of a millisecond, and the wheel stands at one. Level 0 has a bucket for each of 64 ticks, level 1 one for
//! each 64 ticks, and so on: a timer lies on the level of the highest digit, to the base 64, in which its tick differs from the
//! wheel's. So all timers of a level are due before those of the next, no bucket lies behind the wheel, and the lowest bit
//! that is set on the lowest level in use is what comes next. When the wheel reaches a bucket of a higher level, its timers are
//! filed anew, all of them lower. None fires early, and none later than the end of its tick.
//!
//! Timers are numbered by the slots of the flow table. The links of a bucket's list lie in an array by that number: a timer takes 16
//! bytes, and nothing is allocated for a number that was used before.

use std::time::Duration;

use crate::Instant;

const TICK: u64 = 1_000_000;
/// Bits of a digit.
const DIGIT: u32 = 6;
const BUCKETS: usize = 1 << DIGIT;
/// Enough for every [`Instant`]: 2^64 ns are less than 2^45 ticks.
const LEVELS: usize = 8;
/// No timer.
const NONE: u32 = u32::MAX;

/// A timer, armed or not.
#[derive(Clone, Copy, Debug)]
struct Link {
    next: u32,
    previous: u32,
    at: Option<Instant>,
}

/// The buckets of one digit.
#[derive(Clone, Debug)]
struct Level {
    /// A bit for each bucket that is not empty.
    occupied: u64,
    first: [u32; BUCKETS],
}

#[derive(Debug)]
pub(super) struct Wheel {
    /// Where the wheel stands: every earlier tick is done.
    tick: u64,
    levels: Vec<Level>,
    links: Vec<Link>,
}

impl Wheel {
    pub(super) fn new() -> Self {
        let level = Level {
            occupied: 0,
            first: [NONE; BUCKETS],
        };
        Self {
            tick: 0,
            levels: vec![level; LEVELS],
            links: Vec::new(),
        }
    }

    /// When `timer` fires.
    pub(super) fn armed(&self, timer: u32) -> Option<Instant> {
        self.links.get(index(timer))?.at
    }

    /// Let `timer` fire at `at`, and no more when it was to fire before.
    pub(super) fn arm(&mut self, timer: u32, at: Instant) {
        self.cancel(timer);
        if self.links.len() <= index(timer) {
            let unused = Link {
                next: NONE,
                previous: NONE,
                at: None,
            };
            self.links.resize(index(timer) + 1, unused);
        }
        self.file(timer, at);
    }

    /// `timer` does not fire.
    pub(super) fn cancel(&mut self, timer: u32) {
        let Some(link) = self.links.get_mut(index(timer)) else {
            return;
        };
        let Some(at) = link.at.take() else { return };
        let Link { next, previous, .. } = *link;
        if let Some(link) = self.links.get_mut(index(next)) {
            link.previous = previous;
        }
        if let Some(link) = self.links.get_mut(index(previous)) {
            link.next = next;
            return;
        }
        let (level, bucket) = self.place(at);
        let level = &mut self.levels[level];
        level.first[bucket] = next;
        if next == NONE {
            level.occupied &= !(1 << bucket);
        }
    }

    /// When [`Wheel::poll_fired`] is to be called: when the first timer fires, or is filed anew.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let (_, _, tick) = self.next_bucket()?;
        Some(Instant::since_origin(Duration::from_nanos(
            tick.saturating_mul(TICK),
        )))
    }

    /// The next timer that fired, which is armed no more.
    pub(super) fn poll_fired(&mut self, now: Instant) -> Option<u32> {
        let now = nanos(now) / TICK;
        while let Some((level, bucket, tick)) = self.next_bucket()
            && tick <= now
        {
            let timer = self.levels[level].first[bucket];
            if level == 0 {
                self.tick = tick;
                self.cancel(timer);
                return Some(timer);
            }
            self.refile(level, bucket, tick);
        }
        self.tick = self.tick.max(now);
        None
    }

    /// The wheel stands at the first tick of a bucket: its timers belong on lower levels now.
    fn refile(&mut self, level: usize, bucket: usize, tick: u64) {
        self.tick = tick;
        let level = &mut self.levels[level];
        level.occupied &= !(1 << bucket);
        let mut timer = std::mem::replace(&mut level.first[bucket], NONE);
        while let Some(&Link {
            next, at: Some(at), ..
        }) = self.links.get(index(timer))
        {
            self.file(timer, at);
            timer = next;
        }
    }

    fn file(&mut self, timer: u32, at: Instant) {
        let (level, bucket) = self.place(at);
        let level = &mut self.levels[level];
        level.occupied |= 1 << bucket;
        let next = std::mem::replace(&mut level.first[bucket], timer);
        if let Some(link) = self.links.get_mut(index(next)) {
            link.previous = timer;
        }
        self.links[index(timer)] = Link {
            next,
            previous: NONE,
            at: Some(at),
        };
    }

    /// Level and bucket of a timer that fires at `at`. It changes only when the wheel reaches the bucket.
    fn place(&self, at: Instant) -> (usize, usize) {
        let tick = nanos(at).div_ceil(TICK).max(self.tick);
        let level = (tick ^ self.tick).checked_ilog2().unwrap_or(0) / DIGIT;
        let bucket = tick >> (level * DIGIT) & (BUCKETS as u64 - 1);
        (index(level), usize::try_from(bucket).unwrap_or(0))
    }

    /// The bucket that comes next: its level, its number, its first tick.
    fn next_bucket(&self) -> Option<(usize, usize, u64)> {
        let (number, level) = (0_u32..)
            .zip(&self.levels)
            .find(|(_, level)| level.occupied != 0)?;
        let bucket = level.occupied.trailing_zeros();
        let shift = DIGIT * number;
        // The digits above are the wheel's own.
        let above = self.tick >> shift >> DIGIT << DIGIT;
        Some((index(number), index(bucket), (above | u64::from(bucket)) << shift))
    }
}

fn index(number: u32) -> usize {
    number as usize
}

fn nanos(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::since_origin(Duration::from_nanos(nanos))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm { timer: u32, after: u64 },
        Cancel(u32),
        Wait(u64),
        WaitForNext,
    }

    /// Times of all magnitudes, to the age of the wheel's last digit.
    fn times() -> impl Strategy<Value = u64> {
        (0_u32..56, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1))
    }

    fn steps() -> impl Strategy<Value = Step> {
        let timer = 0_u32..20;
        prop_oneof![
            4 => (timer.clone(), times()).prop_map(|(timer, after)| Step::Arm { timer, after }),
            1 => timer.prop_map(Step::Cancel),
            1 => times().prop_map(Step::Wait),
            4 => Just(Step::WaitForNext),
        ]
    }

    proptest! {
        /// Against a plain map: the same timers fire, none early, none later than the end of its tick.
        #[test]
        fn it_fires_what_a_map_would(steps in proptest::collection::vec(steps(), 1..80)) {
            let (mut wheel, mut map, mut now) = (Wheel::new(), BTreeMap::new(), 0_u64);
            for step in steps {
                match step {
                    Step::Arm { timer, after } => {
                        wheel.arm(timer, at(now + after));
                        map.insert(timer, now + after);
                    }
                    Step::Cancel(timer) => {
                        wheel.cancel(timer);
                        map.remove(&timer);
                    }
                    Step::Wait(time) => now += time,
                    Step::WaitForNext => {
                        if let Some(next) = wheel.poll_timeout() {
                            now = now.max(nanos(next));
                        }
                    }
                }
                for (timer, due) in &map {
                    prop_assert_eq!(wheel.armed(*timer), Some(at(*due)));
                }
                let mut fired = Vec::new();
                while let Some(timer) = wheel.poll_fired(at(now)) {
                    prop_assert_eq!(wheel.armed(timer), None);
                    fired.push(timer);
                }
                for timer in fired {
                    let due = map.remove(&timer);
                    prop_assert!(due.is_some_and(|due| due <= now), "{} fired at {} for {:?}", timer, now, due);
                }
                let late = map.values().find(|due| due.div_ceil(TICK) * TICK <= now);
                prop_assert_eq!(late, None, "at {}", now);
                let next = wheel.poll_timeout();
                prop_assert_eq!(next.is_none(), map.is_empty());
                prop_assert!(next.is_none_or(|next| nanos(next) > now), "no progress");
            }
        }
    }

    #[test]
    fn a_timer_far_ahead_wakes_nobody_more_often_than_there_are_levels() {
        let mut wheel = Wheel::new();
        let due = 2 * 3600 * 1_000_000_000;
        wheel.arm(3, at(due));
        let mut wakes = 0;
        loop {
            let next = wheel.poll_timeout().unwrap();
            wakes += 1;
            if wheel.poll_fired(next) == Some(3) {
                assert_eq!(next, at(due));
                break;
            }
        }
        assert!(wakes <= LEVELS, "{wakes}");
    }
}
