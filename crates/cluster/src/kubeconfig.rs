//! The cluster's way in for `kubectl`: from what its control plane gives as an output to a context in the user's kubeconfig.
//!
//! A machine that has the output [`OUTPUT`] is the control plane, the first one if there are several. The output's server is a place inside the
//! network; the port of that machine has to be forwarded, and [`address`] is where. What of the output is believed,
//! [`atoll_spec::kubeconfig`] says.
//!
//! The user's file is found as `kubectl` finds the one that it writes to, and written under the lock that `kubectl` takes (`FILE.lock`, made
//! anew), at once (rename), where it lies if it is a link, with its mode. Which file and name that was is kept in the cluster's state, so
//! that [`uninstall`] takes out what [`install`] put in, and neither touches a context of that name that is somebody else's.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use atoll_runtime::Protocol;
use atoll_spec::kubeconfig::{self, Admin, KubeconfigError};
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};
use crate::paths::ClusterPaths;
use crate::problem::{Kind, Problem};
use crate::status::ForwardStatus;

/// The output that is a kubeconfig.
pub const OUTPUT: &str = "kubeconfig";

/// `kubectl` holds its lock for the time of a write.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Why the user's kubeconfig is as it was.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's sentence says it")]
pub enum InstallError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} is left as it is: {cause}", path = .path.display())]
    Content { path: PathBuf, cause: KubeconfigError },
    #[error("{path} has a context {name:?} that is not of this cluster", path = .path.display())]
    Taken { path: PathBuf, name: String },
    #[error("{path} is there: another program writes the kubeconfig, or one was killed while it did", path = .path.display())]
    Locked { path: PathBuf },
}

impl InstallError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Content { .. } => {
                Some("`atoll kubeconfig > FILE` and KUBECONFIG=FILE need no other".to_owned())
            }
            Self::Taken { .. } => Some("name another with --context".to_owned()),
            Self::Locked { .. } => Some("remove it when no kubectl runs".to_owned()),
        }
    }
}

impl From<InstallError> for Problem {
    fn from(error: InstallError) -> Self {
        let kind = match &error {
            InstallError::Content { .. } | InstallError::Taken { .. } => Kind::Configuration,
            InstallError::File(_) | InstallError::Locked { .. } => Kind::Environment,
        };
        let hint = error.hint();
        Self::new(kind, error.to_string()).with_hint_if(hint)
    }
}

/// What was put where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The user's file.
    pub file: PathBuf,
    /// The name of cluster, user and context.
    pub name: String,
}

/// The file that `kubectl` would put a new context into: the first of `KUBECONFIG` that is there, or else its last, or `~/.kube/config`. `None`
/// without `HOME`.
pub fn user_file(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let named = variable("KUBECONFIG").unwrap_or_default();
    let named: Vec<_> = std::env::split_paths(&named)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let there = named.iter().find(|path| path.exists());
    there.or(named.last()).cloned().or_else(|| {
        let home = variable("HOME").map(PathBuf::from)?;
        home.is_absolute().then(|| home.join(".kube/config"))
    })
}

/// Where the host reaches a machine's port: the forward's address, or the loopback's where it listens everywhere.
pub fn address(forwards: &[ForwardStatus], machine: &str, port: u16) -> Option<SocketAddr> {
    let leads_there = |it: &&ForwardStatus| {
        let forward = &it.forward;
        it.machine.as_deref() == Some(machine)
            && forward.guest_port == port
            && forward.protocol == Protocol::Tcp
    };
    let mut found = forwards
        .iter()
        .filter(leads_there)
        .filter_map(|it| it.forward.listen.address());
    let mut address = found.next()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Some(address)
}

fn record(paths: &ClusterPaths) -> PathBuf {
    paths.state.join("kubeconfig.json")
}

/// What was installed.
///
/// # Errors
/// The record cannot be read.
pub fn installed(paths: &ClusterPaths) -> Result<Option<Installed>, FileError> {
    files::read_json(&record(paths))
}

/// Puts the cluster into a user's file under a name, in place of what was there of it. What was installed elsewhere or under another name is
/// taken out.
///
/// # Errors
/// The file cannot be read, written or edited, or the name is somebody else's.
pub fn install(
    paths: &ClusterPaths,
    (admin, at): (&Admin, SocketAddr),
    wanted: &Installed,
    make_current: bool,
) -> Result<(), InstallError> {
    let before = installed(paths)?;
    if before.as_ref().is_some_and(|before| before != wanted) {
        uninstall(paths)?;
    }
    let Installed { file, name } = wanted;
    let is_ours = before.as_ref() == Some(wanted);
    let entry = admin.entry(name, at);
    // Kept before it is true: what is not there is taken out without harm.
    let keep = || Ok(files::write_json(&record(paths), wanted)?);
    edit(file, |old| {
        if !is_ours && kubeconfig::has(old, name).map_err(content(file))? {
            return Err(InstallError::Taken {
                path: file.clone(),
                name: name.clone(),
            });
        }
        let new = entry.merged_into(old, make_current).map_err(content(file))?;
        keep().map(|()| new)
    })
}

/// Takes out of the user's file what was put in: from where, if anything was.
///
/// # Errors
/// The file cannot be read, written or edited.
pub fn uninstall(paths: &ClusterPaths) -> Result<Option<Installed>, InstallError> {
    let Some(before) = installed(paths)? else {
        return Ok(None);
    };
    if before.file.exists() {
        edit(&before.file, |old| {
            kubeconfig::without(old, &before.name).map_err(content(&before.file))
        })?;
    }
    files::remove(&record(paths))?;
    Ok(Some(before))
}

fn content(path: &Path) -> impl Fn(KubeconfigError) -> InstallError {
    move |cause| InstallError::Content {
        path: path.to_owned(),
        cause,
    }
}

/// The lock file, as long as it is ours.
#[derive(Debug)]
struct Lock(PathBuf);

impl Lock {
    fn take(file: &Path) -> Result<Self, InstallError> {
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..LOCK_TRIES {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(_) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => std::thread::sleep(LOCK_PAUSE),
                Err(cause) => return Err(FileError::Write { path, cause }.into()),
            }
        }
        Err(InstallError::Locked { path })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn edit(path: &Path, change: impl FnOnce(&str) -> Result<String, InstallError>) -> Result<(), InstallError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        files::make_private(folder)?;
    }
    let _lock = Lock::take(path)?;
    files::edit(path, change).map(|_| ())
}

#[cfg(test)]
#[path = "kubeconfig_tests.rs"]
mod tests;
