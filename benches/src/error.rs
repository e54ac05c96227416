//! What can go wrong with a measurement.

use std::io;
use std::time::Duration;

/// Why something could not be set up or measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// A system call or a file failed.
    #[error("{what}: {cause}")]
    System { what: String, cause: io::Error },
    /// A program ended without success.
    #[error("{program} failed: {words}")]
    Program { program: String, words: String },
    /// Something did not happen in time.
    #[error("{what}: not within {} s", deadline.as_secs())]
    Late { what: String, deadline: Duration },
    /// A program said what we do not understand.
    #[error("{program} answered without {missing}")]
    Answer { program: String, missing: String },
    /// A peer that cannot do what is asked.
    #[error("{0}")]
    Unfit(String),
}

/// Names what was tried when a system call failed.
pub(crate) trait Trying<T> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, BenchError>;
}

impl<T, E: Into<io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, what: impl FnOnce() -> String) -> Result<T, BenchError> {
        self.map_err(|cause| BenchError::System {
            what: what(),
            cause: cause.into(),
        })
    }
}
