//! How a host that slept is noticed.
//!
//! The monotonic clock stands still while a Mac sleeps (`CLOCK_UPTIME_RAW`), the clock on the wall does not: when the second
//! ran ahead of the first, the host slept, or somebody set the clock. What is done then is cheap and does no harm in either case.

use std::time::Duration;

/// Less is a clock that is being put right.
const SHORTEST: Duration = Duration::from_secs(5);

/// Both clocks, when they were last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct SleepWatch {
    last: Option<(Duration, Duration)>,
}

impl SleepWatch {
    /// Whether the host slept since the last call. Both times are since any fixed moment, by the monotonic clock and by the wall's.
    pub fn handle_clocks(&mut self, monotonic: Duration, wall: Duration) -> bool {
        let last = self.last.replace((monotonic, wall));
        last.is_some_and(|(old_monotonic, old_wall)| {
            let ran = monotonic.saturating_sub(old_monotonic);
            wall.saturating_sub(old_wall) > ran + SHORTEST
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_ran_ahead_is_a_sleep_and_one_that_was_set_back_is_none() {
        let mut watch = SleepWatch::default();
        let mut at =
            |monotonic, wall| watch.handle_clocks(Duration::from_secs(monotonic), Duration::from_secs(wall));
        assert!(!at(10, 1000));
        assert!(!at(20, 1010));
        assert!(!at(20, 1014));
        assert!(at(21, 9000));
        assert!(!at(22, 9001));
        assert!(!at(23, 100));
        assert!(!at(24, 101));
    }
}
