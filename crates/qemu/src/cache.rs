//! What is known about installed QEMUs, kept in a file between commands.
//!
//! An entry belongs to a binary as it was when asked (path, modification time, size). Verdicts of accelerator trials
//! belong to the binary and to the host as it was: see [`crate::accel`]. The file is a cache in the strict sense: lost,
//! unreadable or unwritable, it costs time and nothing else, so none of that is an error.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Accel, Arch, Capabilities, QemuError, probe};

/// Changes when an old file must not be believed any more.
const FORMAT: u32 = 1;

/// The cache, read from its file and written back at each change.
#[derive(Debug)]
pub struct Cache {
    path: Option<PathBuf>,
    content: Content,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    format: u32,
    binaries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    stamp: Stamp,
    capabilities: Capabilities,
    trials: BTreeMap<String, Verdict>,
}

/// A binary as it was when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    modified_s: i64,
    modified_ns: i64,
    size: u64,
}

/// How a trial of an accelerator ended, and on which host that is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) host: String,
    /// `None`: it works.
    pub(crate) refused: Option<String>,
}

impl Cache {
    /// Reads the cache file; one that is not there or not ours counts as empty.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_default();
        let content = serde_json::from_slice(&bytes)
            .ok()
            .filter(|c: &Content| c.format == FORMAT);
        Self {
            path: Some(path.to_owned()),
            content: content.unwrap_or_default(),
        }
    }

    /// A cache that lives no longer than the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            path: None,
            content: Content::default(),
        }
    }

    /// The capabilities of a binary, remembered or asked.
    ///
    /// # Errors
    ///
    /// As [`probe::probe`].
    pub fn probe(&mut self, binary: &Path, arch: Arch) -> Result<Capabilities, QemuError> {
        let not_runnable = |source| QemuError::NotRunnable {
            path: binary.to_owned(),
            source,
        };
        let stamp = Stamp::of(binary).map_err(not_runnable)?;
        if let Some(entry) = self.content.binaries.get(binary)
            && entry.stamp == stamp
            && entry.capabilities.arch == arch
        {
            return Ok(entry.capabilities.clone());
        }
        let capabilities = probe::probe(binary, arch)?;
        let entry = Entry {
            stamp,
            capabilities: capabilities.clone(),
            trials: BTreeMap::new(),
        };
        self.content.binaries.insert(binary.to_owned(), entry);
        self.save();
        Ok(capabilities)
    }

    /// Forgets all verdicts, so that the next choice tries again.
    pub fn forget_trials(&mut self) {
        for entry in self.content.binaries.values_mut() {
            entry.trials.clear();
        }
        self.save();
    }

    pub(crate) fn verdict(&self, binary: &Path, accel: Accel, host: &str) -> Option<&Verdict> {
        let entry = self.content.binaries.get(binary)?;
        let fresh = Stamp::of(binary).is_ok_and(|stamp| stamp == entry.stamp);
        entry
            .trials
            .get(&accel.to_string())
            .filter(|verdict| fresh && verdict.host == host)
    }

    pub(crate) fn remember(&mut self, binary: &Path, accel: Accel, verdict: Verdict) {
        if let Some(entry) = self.content.binaries.get_mut(binary) {
            entry.trials.insert(accel.to_string(), verdict);
            self.save();
        }
    }

    fn save(&mut self) {
        self.content.format = FORMAT;
        let Some(path) = &self.path else { return };
        if let Err(error) = write_atomically(path, &self.content) {
            tracing::debug!(path = %path.display(), %error, "QEMU cache not written");
        }
    }
}

impl Stamp {
    fn of(binary: &Path) -> io::Result<Self> {
        let meta = fs::metadata(binary)?;
        Ok(Self {
            modified_s: meta.mtime(),
            modified_ns: meta.mtime_nsec(),
            size: meta.size(),
        })
    }
}

/// Temp file, fsync, rename: a reader sees the old file or the new one.
fn write_atomically(path: &Path, content: &Content) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = folder.join(name);
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(content)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
