//! How many descriptors a process may open, which bounds how many connections one can hold.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The kernel's own bound where nobody changed it (`fs.nr_open`).
const MOST: u64 = 1 << 20;

/// Lets children open as many as the kernel allows, where this process has the right to (CAP_SYS_RESOURCE), and tells
/// how many that is. Their soft limit stays: raising that is theirs to do.
pub(crate) fn allow_most() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: now.current,
        maximum: Some(MOST),
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => MOST,
        Err(_) => now.maximum.unwrap_or(MOST),
    }
}

/// Raises this process's soft limit to its hard limit.
pub(super) fn use_all() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Raising it that far is always permitted; were it not, the connection that finds no descriptor is counted.
    let _ = setrlimit(Resource::Nofile, raised);
}
