//! One daemon a cluster: an exclusive lock on a file in its state folder, with patience for one that is about to end.

use std::path::Path;
use std::time::{Duration, Instant};

pub use atoll_runtime::{FileLock, LockError};

/// Between two attempts.
const POLL: Duration = Duration::from_millis(50);

/// Takes the lock; waits that long for another process that is about to end.
pub fn take(path: &Path, patience: Duration) -> Result<FileLock, LockError> {
    let until = Instant::now() + patience;
    loop {
        match FileLock::try_take(path) {
            Err(LockError::Held { .. }) if Instant::now() < until => std::thread::sleep(POLL),
            result => return result,
        }
    }
}
