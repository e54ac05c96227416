//! Files that are whole or absent: written beside their place, synced, renamed over it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Tells the temporary files of this process apart.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Why a file or folder of ours could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {cause}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// It was read, but is not what was written there.
    #[error("{path} is damaged: {cause}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the JSON reader says.
        cause: serde_json::Error,
    },
    /// A folder for sockets belongs to somebody else, or others may enter it.
    #[error("{path} is not a private folder of this user: {reason}", path = path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl FileError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write { cause, .. } if cause.kind() == io::ErrorKind::StorageFull => {
                Some("free some space there, or put the state elsewhere with ATOLL_HOME".to_owned())
            }
            Self::Damaged { path, .. } => Some(format!(
                "move {} away; `atoll up` then begins anew with the disks it finds",
                path.display()
            )),
            Self::NotPrivate { path, .. } => {
                Some(format!("remove {}, or set XDG_RUNTIME_DIR", path.display()))
            }
            Self::Read { .. } | Self::Write { .. } => None,
        }
    }
}

/// Replaces the file's content at once: readers see the old or the new, also after a crash.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let failed = |cause| FileError::Write {
        path: path.to_owned(),
        cause,
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Two threads may write the same file; each writes its own beside it, and the later rename counts.
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}.{serial}.tmp", std::process::id()));
    let temporary = folder.join(name);
    let written = write_new(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if let Err(cause) = written {
        let _ = fs::remove_file(&temporary);
        return Err(failed(cause));
    }
    // The rename itself must survive a crash, too.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

/// Changes a text file of the user's, which need not be there: replaced at once, where it lies if it is a link, with its mode. Whether there was
/// anything to change.
pub fn edit<E: From<FileError>>(
    path: &Path,
    change: impl FnOnce(&str) -> Result<String, E>,
) -> Result<bool, E> {
    // A link stays one, as people have it who keep their files elsewhere.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let old = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(cause) => return Err(FileError::Read { path, cause }.into()),
    };
    let new = change(&old)?;
    if new == old {
        return Ok(false);
    }
    let mode = fs::metadata(&path).map_or(0o600, |file| file.mode() & 0o7777);
    write_atomic(&path, new.as_bytes())?;
    let kept = fs::set_permissions(&path, fs::Permissions::from_mode(mode));
    kept.map_err(|cause| FileError::Write { path, cause })?;
    Ok(true)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Puts a file that others wrote beside its place there, whole also after a crash.
pub fn put_in_place(new: &Path, path: &Path) -> Result<(), FileError> {
    let put = || {
        File::open(new)?.sync_all()?;
        fs::rename(new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    put().map_err(|cause| FileError::Write {
        path: path.to_owned(),
        cause,
    })
}

/// [`write_atomic`] for a value as JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let damaged = |cause| FileError::Damaged {
        path: path.to_owned(),
        cause,
    };
    let mut text = serde_json::to_vec_pretty(value).map_err(damaged)?;
    text.push(b'\n');
    write_atomic(path, &text)
}

/// The value in the file; `None` when there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    match fs::read(path) {
        Ok(text) => {
            let value = serde_json::from_slice(&text);
            value.map(Some).map_err(|cause| FileError::Damaged {
                path: path.to_owned(),
                cause,
            })
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(FileError::Read {
            path: path.to_owned(),
            cause,
        }),
    }
}

/// Makes the folder and its parents, for this user only.
pub fn make_private(path: &Path) -> Result<(), FileError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|cause| FileError::Write {
        path: path.to_owned(),
        cause,
    })
}

/// [`make_private`] below a folder that others can write to, such as `/tmp`: what is there already must be ours alone.
pub fn make_private_and_check(path: &Path) -> Result<(), FileError> {
    make_private(path)?;
    let found = fs::symlink_metadata(path);
    let found = found.map_err(|cause| FileError::Read {
        path: path.to_owned(),
        cause,
    })?;
    let reason = if !found.is_dir() {
        "it is not a folder"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "another user owns it"
    } else if found.mode() & 0o077 != 0 {
        "others may enter it"
    } else {
        return Ok(());
    };
    Err(FileError::NotPrivate {
        path: path.to_owned(),
        reason,
    })
}

/// Removes the file if it is there.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(FileError::Write {
            path: path.to_owned(),
            cause,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_json(&path, &["one", "two"]).unwrap();
        write_json(&path, &["three"]).unwrap();
        assert_eq!(
            read_json::<Vec<String>>(&path).unwrap(),
            Some(vec!["three".to_owned()])
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn threads_that_write_one_file_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        std::thread::scope(|scope| {
            for value in 0..8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write_json(path, &value).unwrap()));
            }
        });
        assert!(read_json::<u8>(&path).unwrap().is_some_and(|value| value < 8));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_file_is_no_value_and_a_damaged_one_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(read_json::<u8>(&path).unwrap(), None);
        fs::write(&path, "{").unwrap();
        assert!(matches!(read_json::<u8>(&path), Err(FileError::Damaged { .. })));
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        make_private_and_check(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            make_private_and_check(&path),
            Err(FileError::NotPrivate { .. })
        ));
    }
}
