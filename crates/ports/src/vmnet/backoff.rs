//! What is done when a buffer is full and nobody will say when it no longer is.
//!
//! vmnet reports a full interface as `VMNET_BUFFER_EXHAUSTED` and a full unix datagram socket of macOS is `ENOBUFS`; kqueue
//! tells of neither's end. So whoever writes comes back after a while that doubles, and when nothing at all was taken for
//! [`PATIENCE`] tries what waits is dropped: the other side does not read, and memory is not the place where frames grow old.
//! One try is usually enough, so that the first wait is short; all of them together are a tenth of a second.

use std::time::Duration;

/// The first wait.
pub(crate) const FIRST: Duration = Duration::from_micros(100);

/// Tries without success before frames are dropped.
pub(crate) const PATIENCE: u32 = 10;

/// How long a side that takes nothing holds frames back.
#[cfg(test)]
pub(crate) const LONGEST: Duration = Duration::from_micros(100 * ((1 << PATIENCE) - 1));

/// Where in that one is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    tries: u32,
    until: Option<Duration>,
}

/// What to do with what was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Keep it and come back.
    Wait,
    /// Drop it.
    Drop,
}

impl Backoff {
    /// Whether it is too early to try.
    pub(crate) fn holds(self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// When to try again, if anything waits.
    pub(crate) fn until(self) -> Option<Duration> {
        self.until
    }

    /// All was taken.
    pub(crate) fn handle_success(&mut self) {
        *self = Self::default();
    }

    /// The other side is full; it took something before it was, or nothing.
    pub(crate) fn handle_full(&mut self, now: Duration, took_any: bool) -> Verdict {
        if took_any {
            self.tries = 0;
        }
        if self.tries == PATIENCE {
            *self = Self::default();
            return Verdict::Drop;
        }
        self.until = Some(now + FIRST * (1 << self.tries));
        self.tries += 1;
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_in_a_drop() {
        let mut backoff = Backoff::default();
        let mut now = Duration::ZERO;
        for _ in 0..PATIENCE {
            assert!(!backoff.holds(now));
            assert_eq!(backoff.handle_full(now, false), Verdict::Wait);
            assert!(backoff.holds(now));
            now = backoff.until().unwrap();
        }
        assert_eq!(now, LONGEST);
        assert_eq!(backoff.handle_full(now, false), Verdict::Drop);
        assert_eq!(backoff, Backoff::default());
    }

    #[test]
    fn one_that_takes_a_little_is_waited_for() {
        let mut backoff = Backoff::default();
        for turn in 0..100 {
            let now = Duration::from_millis(turn);
            assert_eq!(backoff.handle_full(now, true), Verdict::Wait);
            assert_eq!(backoff.until(), Some(now + FIRST));
        }
    }
}
