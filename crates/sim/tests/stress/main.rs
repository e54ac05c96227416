//! TCP under stress, with a lean guest whose every segment from the engine is checked: sizes, windows, bytes, acknowledgements.
//!
//! A failure prints its seed; the same seed is the same run.
#![expect(clippy::print_stdout, reason = "a failure prints what it came from")]

mod bulk;
mod endings;
mod kit;
mod losses;
mod options;
mod rates;
mod sharing;
mod stall;
mod wrap;
