//! The capture file: every frame that passes the switch, in pcapng.
//!
//! Frames are gathered in memory during a turn and written at its end, so that whoever reads the file along sees whole
//! packets. When the file cannot be written, a full disk for one, capture ends with one line in the log; the network goes on.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use atoll_wire::pcapng;

/// An open capture file.
#[derive(Debug)]
pub(crate) struct Capture {
    path: PathBuf,
    file: File,
    pending: Vec<u8>,
}

impl Capture {
    /// Begin a new file, in place of an older one of this name.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut capture = Self {
            path: path.to_owned(),
            file: File::create(path)?,
            pending: Vec::new(),
        };
        pcapng::begin(
            &mut capture.pending,
            concat!("atoll ", env!("CARGO_PKG_VERSION")),
            "lan",
        );
        capture.file.write_all(&capture.pending)?;
        capture.pending.clear();
        Ok(capture)
    }

    /// A frame passed.
    pub(crate) fn add(&mut self, frame: &[u8]) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        pcapng::packet(&mut self.pending, nanos, frame);
    }

    /// Write what was gathered; `false` when the file can no longer be written.
    pub(crate) fn flush(&mut self) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        let outcome = self.file.write_all(&self.pending);
        self.pending.clear();
        if let Err(error) = &outcome {
            tracing::error!("capture ends: cannot write {}: {error}", self.path.display());
        }
        outcome.is_ok()
    }
}
