//! The host's wall clock, as the runtime tells of it: the engine has none.

use std::time::Duration;

/// What the host's clock says, and what the host knows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Time since 1970-01-01 00:00 UTC, in which leap seconds do not count.
    pub since_1970: Duration,
    /// Whether somebody keeps the clock in time.
    pub state: ClockState,
    /// What happens at the end of the day.
    pub leap: Leap,
}

/// Whether somebody keeps a clock in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// Somebody does, and it is no further than this from the true time.
    Kept {
        /// The bound that the host's kernel keeps, which grows until the clock is corrected again.
        max_error: Duration,
    },
    /// Nobody does.
    Free,
    /// The host does not tell.
    Untold,
}

/// A leap second at the end of the current day of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leap {
    /// None.
    #[default]
    None,
    /// The last minute has 61 seconds.
    Insert,
    /// The last minute has 59 seconds.
    Delete,
}

/// Whether the gateway is a time server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeServer {
    /// It answers, and says that it does not know the time where nobody keeps the host's clock in time.
    #[default]
    Auto,
    /// It answers, and the host's clock counts as right whoever keeps it.
    Always,
    /// It does not answer.
    Off,
}
