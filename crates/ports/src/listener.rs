//! Unix sockets with a file of ours.
//!
//! A socket file outlives the process that made it. Before binding we therefore ask whether anybody still listens: a
//! connection that is refused means that the file is stale and may go; one that succeeds means that it is somebody's,
//! and the error names him. A lock on the folder keeps two starters from judging the same file at once.
//! The file has mode 0600 from its first moment, and goes when the socket is dropped, unless it is no longer ours.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};

use crate::owner::Owner;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Why a socket could not be made; no file was changed.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The path does not fit an address.
    #[error("the socket path {} is too long: {} bytes, the system takes fewer than {limit}", path.display(), path.as_os_str().len())]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Bytes of `sun_path`.
        limit: usize,
    },
    /// Somebody listens there.
    #[error("the socket {} is in use by {}", path.display(), owner.as_ref().map_or_else(|| "another process".to_owned(), Owner::to_string))]
    InUse {
        /// The path.
        path: PathBuf,
        /// Who, if the system tells.
        owner: Option<Owner>,
    },
    /// There is a file that is no socket.
    #[error("{} exists and is no socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The folder does not exist.
    #[error("the folder of the socket {} does not exist", path.display())]
    NoFolder {
        /// The path.
        path: PathBuf,
    },
    /// Anything else the system said.
    #[error("cannot make the socket {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ListenError {
    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::PathTooLong { .. } => {
                Some("use a shorter path, such as one in /tmp or XDG_RUNTIME_DIR".to_owned())
            }
            Self::InUse { owner, .. } => Some(match owner {
                Some(owner) => format!("end process {} or choose another path", owner.pid),
                None => "choose another path".to_owned(),
            }),
            Self::NotASocket { .. } => Some("choose another path, or remove the file".to_owned()),
            Self::NoFolder { path } => {
                let folder = path.parent()?;
                Some(format!("make it first: mkdir -p {}", folder.display()))
            }
            Self::Io { .. } => None,
        }
    }
}

/// The file of a bound unix socket. It goes when this is dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file when we made it.
    identity: (u64, u64),
}

impl SocketFile {
    /// Bind a new non-blocking socket of `kind` to `path`, replacing a stale file.
    pub(crate) fn bind(path: &Path, kind: SocketType) -> Result<(OwnedFd, Self), ListenError> {
        let address = SocketAddrUnix::new(path).map_err(|_| ListenError::PathTooLong {
            path: path.to_owned(),
            limit: sun_path_len(),
        })?;
        let failed = |source: io::Error| ListenError::Io {
            path: path.to_owned(),
            source,
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let lock = File::open(folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ListenError::NoFolder {
                path: path.to_owned(),
            },
            _ => failed(error),
        })?;
        lock.lock().map_err(failed)?;
        remove_stale(path, &address, kind)?;
        let socket = open(kind).map_err(failed)?;
        // On Linux the file gets the socket's own mode, so that it is never open to others; elsewhere set it after.
        if rustix::fs::fchmod(&socket, 0o600.into()).is_err() {
            tracing::trace!("the mode of a socket cannot be set before its file exists");
        }
        bind(&socket, &address).map_err(|error| failed(error.into()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let file = fs::symlink_metadata(path).map_err(failed)?;
        Ok((
            socket,
            Self {
                path: path.to_owned(),
                identity: (file.dev(), file.ino()),
            },
        ))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Remove the file, if it is still the one that we made: whoever looks from now on finds nobody. Connections that
    /// were made go on.
    pub fn withdraw(&self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("cannot remove the socket {}: {error}", self.path.display());
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.withdraw();
    }
}

fn open(kind: SocketType) -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::UNIX, kind, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}

fn sun_path_len() -> usize {
    (1..)
        .find(|&len| SocketAddrUnix::new(vec![b'x'; len]).is_err())
        .unwrap_or(0)
}

/// Remove the file at `path` if it is a socket at which nobody listens.
fn remove_stale(path: &Path, address: &SocketAddrUnix, kind: SocketType) -> Result<(), ListenError> {
    let failed = |source: io::Error| ListenError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ListenError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    let probe = open(kind).map_err(failed)?;
    match connect(&probe, address) {
        Err(rustix::io::Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        // Connected, a full backlog (EAGAIN), a socket of another kind (EPROTOTYPE), or one that we may not ask.
        outcome => Err(ListenError::InUse {
            path: path.to_owned(),
            owner: outcome
                .ok()
                .and_then(|()| Owner::of_peer(&probe))
                .or_else(|| Owner::of_path(path)),
        }),
    }
}

/// A unix stream socket that listens: where guests attach, or the API is served.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    file: SocketFile,
}

impl Listener {
    /// Listen at `path`. A stale socket file is replaced; a live one is never stolen.
    ///
    /// # Errors
    /// Somebody listens there, or the file cannot be made.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let (socket, file) = SocketFile::bind(path, SocketType::STREAM)?;
        listen(&socket, BACKLOG).map_err(|error| ListenError::Io {
            path: path.to_owned(),
            source: error.into(),
        })?;
        Ok(Self {
            socket: socket.into(),
            file,
        })
    }

    /// The next connection that waits, non-blocking; `None` when there is none now.
    ///
    /// # Errors
    /// What `accept` reported, such as no descriptor being left.
    pub fn accept(&self) -> io::Result<Option<UnixStream>> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    return Ok(Some(stream));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The non-blocking socket, for who accepts by other means, and its file.
    #[must_use]
    pub fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.socket, self.file)
    }

    /// Where its file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_file_is_ours_alone_and_goes_with_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_withdrawn_socket_is_not_found_and_one_in_its_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = Listener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let (_socket, file) = listener.into_parts();
        file.withdraw();
        assert!(!path.exists());
        let _next = Listener::bind(&path).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_stale_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(
            path.exists(),
            "std leaves the file behind, as a killed process does"
        );
        let listener = Listener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        assert!(listener.accept().unwrap().is_some());
    }

    #[test]
    fn a_live_socket_is_not_stolen_and_its_owner_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let live = Listener::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err();
        let ListenError::InUse {
            owner: Some(owner), ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(owner.pid, std::process::id());
        assert!(
            error
                .to_string()
                .contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        UnixStream::connect(&path).unwrap();
        drop(live);
    }

    #[test]
    fn a_live_socket_of_another_kind_is_not_stolen_either() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let _live = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error}");
        assert!(path.exists());
    }

    #[test]
    fn an_ordinary_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        fs::write(&path, "keep").unwrap();
        let error = Listener::bind(&path).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "keep");
    }

    #[test]
    fn a_file_that_replaced_ours_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let listener = Listener::bind(&path).unwrap();
        fs::rename(&path, dir.path().join("moved.sock")).unwrap();
        fs::write(&path, "somebody else's").unwrap();
        drop(listener);
        assert!(path.exists());
    }

    #[test]
    fn a_path_that_does_not_fit_is_told_with_the_limit() {
        let path = Path::new("/tmp").join("x".repeat(200));
        let error = Listener::bind(&path).unwrap_err();
        assert!(
            matches!(error, ListenError::PathTooLong { limit: 100..=120, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_missing_folder_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = Listener::bind(&dir.path().join("no/a.sock")).unwrap_err();
        assert!(matches!(error, ListenError::NoFolder { .. }), "{error}");
    }
}
