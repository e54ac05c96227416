//! Files that decide about privileges: what is read or run as root belongs to root, all the way.
//!
//! A path is walked component by component, each opened without following a symbolic link; each must belong to root and be
//! writable by nobody else. So who could put another file in its place is root already. What is read is what was checked: the
//! descriptor is opened once.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::Errno;

/// The largest file that is read, in bytes.
const MOST: u64 = 256 << 10;

/// What is wrong with a file or a folder above it.
#[derive(Debug)]
pub enum Untrusted {
    /// It cannot be opened.
    Open(PathBuf, io::Error),
    /// It is, or goes through, a symbolic link.
    Link(PathBuf),
    /// It belongs to somebody else.
    Owner(PathBuf, u32),
    /// Others may write to it.
    Mode(PathBuf, u32),
    /// It is no file.
    NoFile(PathBuf),
    /// It is too long.
    TooLong(PathBuf),
    /// The path does not begin at the root, or has `..` in it.
    NotAbsolute(PathBuf),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(path, error) => write!(f, "cannot open {}: {error}", path.display()),
            Self::Link(path) => write!(f, "{} is a symbolic link", path.display()),
            Self::Owner(path, uid) => write!(f, "{} belongs to user {uid}, not to root", path.display()),
            Self::Mode(path, mode) => {
                write!(
                    f,
                    "{} may be written by others (its mode is {mode:04o})",
                    path.display()
                )
            }
            Self::NoFile(path) => write!(f, "{} is no file", path.display()),
            Self::TooLong(path) => write!(f, "{} has more than {MOST} bytes", path.display()),
            Self::NotAbsolute(path) => write!(f, "{} is no absolute path without `..`", path.display()),
        }
    }
}

impl std::error::Error for Untrusted {}

impl Untrusted {
    /// Whether the file, or a folder above it, is simply not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Open(_, error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// Open a file for reading, if root alone decides what is in it.
///
/// # Errors
/// It is not there, or somebody else could have written it.
pub fn open_file(path: &Path) -> Result<File, Untrusted> {
    let wrong = || Untrusted::NotAbsolute(path.to_owned());
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) {
        return Err(wrong());
    }
    let folder = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut walked = PathBuf::from("/");
    let opened = open("/", folder, Mode::empty());
    let mut at = admit(&walked, opened)?;
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else {
            return Err(wrong());
        };
        walked.push(name);
        // Opening something that is no file, such as a FIFO, must not wait.
        let file = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = if parts.peek().is_some() { folder } else { file };
        at = admit(&walked, openat(&at, name, flags, Mode::empty()))?;
    }
    let file = File::from(at);
    match file.metadata() {
        Ok(it) if it.is_file() => Ok(file),
        Ok(_) => Err(Untrusted::NoFile(walked)),
        Err(error) => Err(Untrusted::Open(walked, error)),
    }
}

/// Read a file whose content root alone decides.
///
/// # Errors
/// As [`open_file`]; or it is too long or no text.
pub fn read(path: &Path) -> Result<(String, std::fs::Metadata), Untrusted> {
    let file = open_file(path)?;
    let failed = |error| Untrusted::Open(path.to_owned(), error);
    let metadata = file.metadata().map_err(failed)?;
    let mut text = String::new();
    let count = file.take(MOST + 1).read_to_string(&mut text).map_err(failed)?;
    if u64::try_from(count).is_ok_and(|count| count > MOST) {
        return Err(Untrusted::TooLong(path.to_owned()));
    }
    Ok((text, metadata))
}

/// Whether a program may be run with rights.
///
/// # Errors
/// Somebody else could change it.
pub fn check_program(path: &Path) -> Result<(), Untrusted> {
    open_file(path).map(drop)
}

fn admit(path: &Path, opened: rustix::io::Result<OwnedFd>) -> Result<OwnedFd, Untrusted> {
    let fd = match opened {
        Ok(fd) => fd,
        // A link at the end of a path is LOOP; one that should have been a folder is NOTDIR.
        Err(Errno::LOOP) => return Err(Untrusted::Link(path.to_owned())),
        Err(Errno::NOTDIR) if path.is_symlink() => return Err(Untrusted::Link(path.to_owned())),
        Err(error) => return Err(Untrusted::Open(path.to_owned(), error.into())),
    };
    let file = File::from(fd);
    let metadata = file
        .metadata()
        .map_err(|error| Untrusted::Open(path.to_owned(), error))?;
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    // In a folder with the sticky bit, such as /tmp, only the owner replaces what is there.
    let is_sticky_folder = metadata.is_dir() && mode & 0o1000 != 0;
    if uid != 0 {
        return Err(Untrusted::Owner(path.to_owned(), uid));
    }
    if mode & 0o022 != 0 && !is_sticky_folder {
        return Err(Untrusted::Mode(path.to_owned(), mode));
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_through_no_link() {
        let error = read(Path::new("/proc/self/status")).unwrap_err();
        assert!(matches!(error, Untrusted::Link(_)), "{error}");
    }

    #[test]
    fn only_absolute_paths_without_dots_are_walked() {
        for path in ["etc/passwd", "/etc/../etc/passwd", ""] {
            let error = open_file(Path::new(path)).unwrap_err();
            assert!(matches!(error, Untrusted::NotAbsolute(_)), "{path}: {error}");
        }
    }

    #[test]
    fn a_file_of_somebody_else_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy");
        std::fs::write(&file, "allow").unwrap();
        if rustix::process::geteuid().is_root() {
            assert_eq!(read(&file).unwrap().0, "allow");
            std::os::unix::fs::chown(&file, Some(1), None).unwrap();
        }
        let error = read(&file).unwrap_err();
        assert!(matches!(error, Untrusted::Owner(..)), "{error}");
    }

    #[test]
    fn a_file_that_others_may_write_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy");
        std::fs::write(&file, "allow").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o664)).unwrap();
        let error = read(&file).unwrap_err();
        assert!(matches!(error, Untrusted::Mode(_, 0o664)), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_told_from_one_that_is_wrong() {
        assert!(read(Path::new("/etc/atoll-none")).unwrap_err().is_missing());
        assert!(!read(Path::new("/etc")).unwrap_err().is_missing());
    }
}
