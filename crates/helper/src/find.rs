//! How a helper is found, and by which way it gets its rights.
//!
//! In this order: root runs it himself, also one that lies beside `atoll` in a folder of a build; a socket at which systemd or
//! launchd listens; a program that is set-user-ID root; `sudo` without a password. All but the first must belong to root, with
//! the folders above them. `ATOLL_HELPER` names another place; it gives no right, for the same checks follow.

use std::fmt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::{HelperError, trusted};

/// The name of the program.
pub const PROGRAM: &str = "atoll-helper";

/// Where systemd or launchd listens for it.
pub const SOCKET: &str = crate::sys::SOCKET;

const VARIABLE: &str = "ATOLL_HELPER";

/// Where packages and administrators put it.
const INSTALLED: [&str; 2] = ["/usr/libexec/atoll", "/usr/local/libexec/atoll"];

const SUDO: [&str; 3] = ["/usr/bin/sudo", "/usr/local/bin/sudo", "/bin/sudo"];

/// A helper that can be used, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HelperPath {
    /// It is run as it is: by root, or it is set-user-ID.
    Run(PathBuf),
    /// It is connected to.
    Socket(PathBuf),
    /// `sudo` runs it.
    Sudo {
        /// The path of `sudo`.
        sudo: PathBuf,
        /// The path of the helper, as the sudoers file has it.
        helper: PathBuf,
    },
}

impl fmt::Display for HelperPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(path) => write!(f, "{}", path.display()),
            Self::Socket(path) => write!(f, "the helper at {}", path.display()),
            Self::Sudo { helper, .. } => write!(f, "sudo -n {}", helper.display()),
        }
    }
}

impl HelperPath {
    /// Look for a helper for this process.
    ///
    /// # Errors
    /// There is none, or it is one that others could change.
    pub fn find() -> Result<Self, HelperError> {
        let places = places();
        if rustix::process::geteuid().is_root() {
            let found = places.iter().find(|path| path.is_file());
            return found
                .cloned()
                .map(Self::Run)
                .ok_or(HelperError::Missing { looked: places });
        }
        if is_socket(Path::new(SOCKET)) && std::env::var_os(VARIABLE).is_none() {
            return Ok(Self::Socket(SOCKET.into()));
        }
        let mut untrusted = None;
        for path in places.iter().filter(|path| path.is_file()) {
            match trusted::check_program(path) {
                Ok(()) if is_set_uid(path) => return Ok(Self::Run(path.clone())),
                Ok(()) => {
                    let sudo = sudo().ok_or_else(|| HelperError::Missing {
                        looked: SUDO.iter().map(PathBuf::from).collect(),
                    })?;
                    return Ok(Self::Sudo {
                        sudo,
                        helper: path.clone(),
                    });
                }
                Err(problem) => {
                    untrusted.get_or_insert(HelperError::Untrusted {
                        path: path.display().to_string(),
                        cause: problem.to_string(),
                    });
                }
            }
        }
        Err(untrusted.unwrap_or(HelperError::Missing { looked: places }))
    }

    /// Where it would be looked for, in order.
    #[must_use]
    pub fn places() -> Vec<PathBuf> {
        places()
    }
}

fn places() -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return vec![path.into()];
    }
    let mut places = Vec::new();
    let own = std::env::current_exe().ok();
    if let Some(folder) = own.as_deref().and_then(Path::parent) {
        if let Some(prefix) = folder.parent() {
            places.push(prefix.join("libexec").join(PROGRAM));
            places.push(prefix.join("libexec/atoll").join(PROGRAM));
        }
        if rustix::process::geteuid().is_root() {
            places.push(folder.join(PROGRAM));
        }
    }
    places.extend(INSTALLED.iter().map(|folder| Path::new(folder).join(PROGRAM)));
    places
}

/// Where a package puts the helper.
pub(crate) fn usual_place() -> PathBuf {
    Path::new(INSTALLED[0]).join(PROGRAM)
}

/// The path of sudo, which is never looked for in `PATH`.
pub(crate) fn sudo() -> Option<PathBuf> {
    SUDO.iter().map(PathBuf::from).find(|sudo| sudo.is_file())
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.symlink_metadata()
        .is_ok_and(|it| it.file_type().is_socket() && it.uid() == 0)
}

fn is_set_uid(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|it| it.permissions().mode() & 0o4000 != 0 && it.uid() == 0)
}
