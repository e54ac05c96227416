//! A token bucket, kept as one point in time (the generic cell rate algorithm, ITU-T I.371).
//!
//! `full_at` is when the bucket would be full again if nothing more were taken. What is taken moves it into the future by as long as
//! the rate needs for that much, and what would move it further than the bucket is deep is refused without effect. So a bucket has no
//! timer, and is exact however seldom it is looked at.

use std::time::Duration;

use crate::Instant;

/// What passes in a second on the long run, and how much at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: u64,
    /// As long as the whole bucket takes to fill.
    depth: Duration,
    full_at: Instant,
}

impl Bucket {
    /// A full bucket. `rate` a second, `burst` at once.
    pub(crate) fn new(rate: u64, burst: u64) -> Self {
        let rate = rate.max(1);
        Self {
            rate,
            depth: time_for(burst.max(1), rate),
            full_at: Instant::ZERO,
        }
    }

    /// Take so much, or nothing. What is more than the bucket holds can be taken from a full one: else it could never be.
    pub(crate) fn try_take(&mut self, now: Instant, amount: u64) -> bool {
        let wait = self.full_at.since(now);
        let cost = time_for(amount, self.rate);
        let fits = wait.saturating_add(cost) <= self.depth || wait.is_zero();
        if fits {
            self.full_at = self.full_at.max(now) + cost;
        }
        fits
    }
}

/// How long the rate takes for so much, rounded up; centuries at most.
fn time_for(amount: u64, rate: u64) -> Duration {
    let nanos = (u128::from(amount) * 1_000_000_000).div_ceil(u128::from(rate));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(10, 3);
        let taken = |bucket: &mut Bucket, now| (0..10).filter(|_| bucket.try_take(now, 1)).count();
        assert_eq!(taken(&mut bucket, at(0)), 3);
        assert_eq!(taken(&mut bucket, at(99)), 0);
        assert_eq!(taken(&mut bucket, at(100)), 1);
        assert_eq!(
            taken(&mut bucket, at(60_000)),
            3,
            "it is no deeper for having waited"
        );
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_for() {
        let mut bucket = Bucket::new(1000, 10);
        assert!(bucket.try_take(at(0), 500));
        assert!(!bucket.try_take(at(490), 1));
        assert!(bucket.try_take(at(491), 1));
    }

    proptest! {
        /// Whatever is asked for and when: in any stretch of time no more passes than the burst, the rate, and one piece.
        #[test]
        fn no_more_passes_than_rate_and_burst(
            rate in 1_u64..1_000_000,
            burst in 1_u64..100_000,
            asked in proptest::collection::vec((0_u64..5_000, 1_u64..70_000), 1..200),
        ) {
            let mut bucket = Bucket::new(rate, burst);
            let (mut now, mut passed, mut largest) = (0, 0, 0);
            for (gap, amount) in asked {
                now += gap;
                if bucket.try_take(at(now), amount) {
                    passed += amount;
                    largest = largest.max(amount);
                }
            }
            let most = burst.max(largest) + largest + rate * now / 1000 + 1;
            prop_assert!(passed <= most, "{passed} of {most}");
        }
    }
}
