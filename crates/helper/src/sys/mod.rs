//! What differs between systems, and what needs `unsafe`.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as system;

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
use other as system;

pub(crate) use system::{CLOSE_ON_EXEC, NO_SIGNAL};

/// Be the helper: serve the session whose socket is standard input, undo all that was done, and return.
#[must_use]
pub fn serve() -> ExitCode {
    system::serve()
}
