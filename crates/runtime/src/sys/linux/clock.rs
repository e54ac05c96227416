//! The clock with what the kernel knows of it: adjtimex(2), which asks for no privilege as long as it changes nothing.

use std::mem::MaybeUninit;
use std::time::Duration;

use atoll_engine::{ClockReading, ClockState, Leap};

/// What the clock says. One call reads both time and state, so that they belong together.
pub(crate) fn read() -> ClockReading {
    // SAFETY: `timex` is plain numbers, for which zeros are values; `modes` of zero changes nothing.
    let mut timex: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: the pointer is to a `timex` of ours, which the kernel fills.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    match reading(state, &timex) {
        Some(reading) => reading,
        // A filter of system calls forbids it.
        None => crate::sys::untold(),
    }
}

fn reading(state: libc::c_int, timex: &libc::timex) -> Option<ClockReading> {
    let fraction = u64::try_from(timex.time.tv_usec).ok()?;
    let fraction = match timex.status & libc::STA_NANO {
        0 => Duration::from_micros(fraction),
        _ => Duration::from_nanos(fraction),
    };
    let seconds = u64::try_from(timex.time.tv_sec).ok()?;
    let max_error = Duration::from_micros(u64::try_from(timex.maxerror).ok()?);
    if state < 0 {
        return None;
    }
    Some(ClockReading {
        since_1970: Duration::from_secs(seconds) + fraction,
        state: match timex.status & libc::STA_UNSYNC {
            0 => ClockState::Kept { max_error },
            _ => ClockState::Free,
        },
        leap: match state {
            libc::TIME_INS => Leap::Insert,
            libc::TIME_DEL => Leap::Delete,
            _ => Leap::None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timex(status: libc::c_int) -> libc::timex {
        // SAFETY: `timex` is plain numbers, for which zeros are values.
        let mut timex: libc::timex = unsafe { MaybeUninit::zeroed().assume_init() };
        timex.status = status;
        timex.time.tv_sec = 7;
        timex.time.tv_usec = 500_000;
        timex.maxerror = 1500;
        timex
    }

    #[test]
    fn the_kernels_words_are_understood() {
        let kept = ClockState::Kept {
            max_error: Duration::from_micros(1500),
        };
        for (state, status, time, expected, leap) in [
            (libc::TIME_OK, 0, 7_500_000_000, kept, Leap::None),
            (libc::TIME_INS, libc::STA_NANO, 7_000_500_000, kept, Leap::Insert),
            (libc::TIME_DEL, libc::STA_PLL, 7_500_000_000, kept, Leap::Delete),
            (
                libc::TIME_ERROR,
                libc::STA_UNSYNC,
                7_500_000_000,
                ClockState::Free,
                Leap::None,
            ),
        ] {
            let read = reading(state, &timex(status)).unwrap();
            assert_eq!(read.since_1970, Duration::from_nanos(time), "{status}");
            assert_eq!((read.state, read.leap), (expected, leap), "{status}");
        }
        assert_eq!(reading(-1, &timex(0)), None);
    }

    #[test]
    fn both_ways_read_the_same_clock() {
        // Where nobody has asked the kernel for nanoseconds, it tells whole microseconds.
        let [first, second, third] = [crate::sys::untold(), read(), crate::sys::untold()]
            .map(|reading| reading.since_1970.as_micros());
        assert!(first <= second && second <= third);
    }
}
