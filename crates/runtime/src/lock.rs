//! One owner of a folder: an exclusive lock on a file in it.
//!
//! The kernel drops the lock with the process, so a killed one leaves a file but no lock. The file goes when the lock is
//! given up in order; whoever locked a file that was removed meanwhile notices that the name no longer leads to it, and
//! takes the new one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The lock, while held.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    _file: File,
}

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{path} is locked by process {owner}", path = path.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// Its process id, as it wrote it down.
        owner: String,
    },
    /// The file cannot be used.
    #[error("cannot lock {path}: {cause}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
}

impl FileLock {
    /// Takes the lock, without waiting.
    ///
    /// # Errors
    /// When another holds it, in this process or in another one, or the file cannot be used.
    pub fn try_take(path: &Path) -> Result<Self, LockError> {
        let failed = |cause| LockError::File {
            path: path.to_owned(),
            cause,
        };
        loop {
            let mut file = open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if leads_to(path, &file) => {
                    write_owner(&mut file).map_err(failed)?;
                    return Ok(Self {
                        path: path.to_owned(),
                        _file: file,
                    });
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held {
                        path: path.to_owned(),
                        owner: owner(&mut file),
                    });
                }
                Err(TryLockError::Error(cause)) => return Err(failed(cause)),
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Before the lock goes with the file: nobody else can hold it yet.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn leads_to(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => named.ino() == open.ino() && named.dev() == open.dev(),
        _ => false,
    }
}

fn write_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn owner(file: &mut File) -> String {
    let mut text = String::new();
    match file.rewind().and_then(|()| file.read_to_string(&mut text)) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "of unknown id".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_is_refused_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = FileLock::try_take(&path).unwrap();
        let refused = FileLock::try_take(&path).unwrap_err();
        assert!(matches!(refused, LockError::Held { owner, .. } if owner == std::process::id().to_string()));
        drop(held);
        assert!(!path.exists());
        FileLock::try_take(&path).unwrap();
    }

    #[test]
    fn a_file_left_by_a_killed_process_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, "1\n").unwrap();
        FileLock::try_take(&path).unwrap();
    }
}
