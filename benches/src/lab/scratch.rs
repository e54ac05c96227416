//! A folder for sockets and logs that is gone afterwards, also after SIGINT.

use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{BenchError, Trying};
use crate::lab::process::kill_all;
use crate::sys::signals;

/// The folder. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
    next: AtomicU32,
}

impl Scratch {
    /// Makes the folder and a thread that tidies up on SIGINT and SIGTERM. Called once, before anything is started.
    pub(crate) fn new() -> Result<Self, BenchError> {
        let folder = tempfile::Builder::new()
            .prefix("atoll-bench-")
            .tempdir()
            .trying(|| "cannot make a temporary folder".to_owned())?;
        let blocked = signals::block().trying(|| "cannot block signals".to_owned())?;
        let path = folder.path().to_path_buf();
        std::thread::spawn(move || {
            blocked.wait();
            kill_all();
            // A folder that stays behind is no reason to stay as well.
            let _ = std::fs::remove_dir_all(path);
            process::exit(130);
        });
        Ok(Self {
            folder,
            next: AtomicU32::new(0),
        })
    }

    /// A path that was not handed out before, in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.folder().join(format!("{number}-{name}"))
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}
