//! The engine's clock reading, always an argument.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Add;
use std::time::Duration;

/// A point in time: nanoseconds since an origin that the caller chose and that never moves. Only differences matter.
///
/// Stored as one more than the nanoseconds, so that an `Option` of it, of which every flow has several, is no larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// A reading of a clock that started at the origin; saturates after 584 years.
    #[must_use]
    pub fn since_origin(elapsed: Duration) -> Self {
        Self::ZERO + elapsed
    }

    /// Time since the origin.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(self.0.get() - 1)
    }

    /// Time since `earlier`, zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Default for Instant {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s", self.elapsed().as_secs_f64())
    }
}
