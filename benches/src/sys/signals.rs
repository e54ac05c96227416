//! SIGINT and SIGTERM as something a thread waits for, since a handler may do next to nothing.

use std::io;

/// Signals that are blocked in this process from now on. Children start with none blocked: `std` sees to that.
pub(crate) struct Blocked {
    set: libc::sigset_t,
}

/// Blocks SIGINT and SIGTERM in this thread and all that it starts.
pub(crate) fn block() -> io::Result<Blocked> {
    // SAFETY: an all-zero sigset_t is a valid value, and is set up by sigemptyset before use.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a live sigset_t of ours.
    unsafe { libc::sigemptyset(&raw mut set) };
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `set` is a live sigset_t of ours, and the signal number is a valid one.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: `set` is initialised; the old mask is not asked for.
    let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    if failed == 0 {
        Ok(Blocked { set })
    } else {
        Err(io::Error::from_raw_os_error(failed))
    }
}

impl Blocked {
    /// Waits for one of the signals.
    pub(crate) fn wait(&self) {
        let mut signal = 0;
        // SAFETY: the set is initialised and `signal` outlives the call.
        while unsafe { libc::sigwait(&raw const self.set, &raw mut signal) } != 0 {}
    }
}
