//! Files of the folder that guests may read over TFTP.
//!
//! The folder is opened once, at the start, and files below it by their path from there. On Linux the kernel itself keeps the path
//! below the folder (`RESOLVE_BENEATH`, openat2(2)): symbolic links work as long as they stay inside, as those of Debian's netboot archive
//! do. Elsewhere each part of a path is opened by itself and links are not followed. A file is a regular one or none: opening does
//! not wait for a FIFO's writer, and a device is not read.
//!
//! Reads are of the engine's size, some tens of KiB, and happen on the loop's thread, as a page cache makes them a copy. A folder on a
//! network file system that hangs would hang the network with it; so it is for the person who names the folder to choose a local one.
//!
//! Bounds: one descriptor a transfer, of which the engine has few.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use atoll_engine::{FileError, TransferId};
use bytes::Bytes;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, pread};

use crate::sys;

/// The folder, and what is open of it.
#[derive(Debug, Default)]
pub(crate) struct Files {
    folder: Option<OwnedFd>,
    open: HashMap<TransferId, OwnedFd>,
}

impl Files {
    /// The files of a folder.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self {
            folder: Some(open(folder, flags, Mode::empty())?),
            open: HashMap::new(),
        })
    }

    /// Opens a file; its size in bytes.
    pub(crate) fn open(&mut self, transfer: TransferId, path: &str) -> Result<u64, FileError> {
        let folder = self.folder.as_ref().ok_or(FileError::NotFound)?;
        let file = sys::open_below(folder, path).map_err(|errno| {
            tracing::debug!("a guest asks for {path}: {errno}");
            error(errno)
        })?;
        let stat = fstat(&file).map_err(error)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FileError::Forbidden);
        }
        self.open.insert(transfer, file);
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Reads from a file, as much as is asked for or as there is.
    pub(crate) fn read(&self, transfer: TransferId, offset: u64, len: u32) -> Result<Bytes, FileError> {
        let file = self.open.get(&transfer).ok_or(FileError::NotFound)?;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let mut filled = 0;
        while filled < bytes.len() {
            let at = offset + u64::try_from(filled).unwrap_or(0);
            match pread(file.as_fd(), &mut bytes[filled..], at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error(errno)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes.into())
    }

    /// Forgets a file.
    pub(crate) fn close(&mut self, transfer: TransferId) {
        self.open.remove(&transfer);
    }
}

fn error(errno: Errno) -> FileError {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => FileError::NotFound,
        // RESOLVE_BENEATH says EXDEV of what leads out; O_NOFOLLOW says ELOOP of a link; O_NONBLOCK says ENXIO of a socket.
        Errno::ACCESS | Errno::PERM | Errno::XDEV | Errno::LOOP | Errno::NXIO | Errno::ISDIR => {
            FileError::Forbidden
        }
        _ => FileError::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    const TRANSFER: TransferId = TransferId(1);

    /// A folder with files beside it that are nobody's business.
    fn folder() -> tempfile::TempDir {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("served");
        fs::create_dir_all(inner.join("a")).unwrap();
        fs::write(inner.join("a/b"), b"0123456789").unwrap();
        fs::write(outer.path().join("secret"), b"secret").unwrap();
        symlink("../secret", inner.join("up")).unwrap();
        symlink(outer.path().join("secret"), inner.join("absolute")).unwrap();
        symlink("..", inner.join("outside")).unwrap();
        let made = Command::new("mkfifo").arg(inner.join("fifo")).status();
        assert!(made.unwrap().success());
        outer
    }

    fn files(outer: &tempfile::TempDir) -> Files {
        Files::of(&outer.path().join("served")).unwrap()
    }

    #[test]
    fn a_file_is_read_in_parts_and_ends_where_it_ends() {
        let outer = folder();
        let mut files = files(&outer);
        assert_eq!(files.open(TRANSFER, "a/b"), Ok(10));
        assert_eq!(&files.read(TRANSFER, 0, 4).unwrap()[..], b"0123");
        assert_eq!(&files.read(TRANSFER, 8, 4).unwrap()[..], b"89");
        assert_eq!(&files.read(TRANSFER, 20, 4).unwrap()[..], b"");
        files.close(TRANSFER);
        assert_eq!(files.read(TRANSFER, 0, 4), Err(FileError::NotFound));
    }

    #[test]
    fn no_path_leads_out_of_the_folder_or_to_what_is_no_regular_file() {
        let outer = folder();
        let mut files = files(&outer);
        for (path, expected) in [
            ("up", FileError::Forbidden),
            ("absolute", FileError::Forbidden),
            ("outside/secret", FileError::Forbidden),
            ("../secret", FileError::Forbidden),
            ("/etc/hostname", FileError::Forbidden),
            ("a", FileError::Forbidden),
            ("fifo", FileError::Forbidden),
            ("a/b/c", FileError::NotFound),
            ("c", FileError::NotFound),
        ] {
            assert_eq!(files.open(TRANSFER, path), Err(expected), "{path}");
        }
        assert!(files.open.is_empty());
    }
}
