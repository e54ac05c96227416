//! What can go wrong with QEMU, in the words of the person who has to act on it.
//!
//! One enum serves the whole crate because its reader is one: `atoll up` prints the sentence, then the
//! [`hint`](Error::hint), and takes the exit code from [`kind`](Error::kind). QEMU's own words are carried
//! verbatim (bounded by whoever captured them).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Accel, Arch, Version};

/// Whose fault a failure is; the command line turns it into an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What was asked for cannot work: exit code 2.
    Usage,
    /// What was asked for is fine, this machine is not up to it: exit code 1.
    Environment,
}

/// A failure of finding, starting or talking to QEMU.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuError {
    /// No binary for the architecture in any folder searched.
    #[error("no QEMU for {arch} guests: {} was not found in PATH", arch.binary_name())]
    NotFound {
        /// The guest architecture.
        arch: Arch,
    },
    /// The binary named by the user is not there or not executable.
    #[error("{} is not a QEMU that can be run: {source}", path.display())]
    NotRunnable {
        /// The binary.
        path: PathBuf,
        /// Why it cannot be run.
        source: io::Error,
    },
    /// The binary ran but did not introduce itself as QEMU.
    #[error("{} does not say which version of QEMU it is: {output:?}", path.display())]
    NotQemu {
        /// The binary.
        path: PathBuf,
        /// What it printed instead (first line).
        output: String,
    },
    /// QEMU older than [`Version::OLDEST`].
    #[error("{} is QEMU {version}; Atoll needs {} or later", path.display(), Version::OLDEST)]
    TooOld {
        /// The binary.
        path: PathBuf,
        /// Its version.
        version: Version,
    },
    /// The accelerator asked for by name does not work here.
    #[error("accelerator {accel} does not work here: {reason}")]
    AccelRefused {
        /// The accelerator.
        accel: Accel,
        /// The sentence of the trial.
        reason: String,
    },
    /// No accelerator passed its trial, not even tcg.
    #[error("no accelerator of {} works here: {reasons}", path.display())]
    NoAccel {
        /// The binary.
        path: PathBuf,
        /// One clause for each accelerator tried.
        reasons: String,
    },
    /// No UEFI firmware was found for an architecture that cannot boot a disk without.
    #[error("no UEFI firmware for {arch} guests was found beside {}", path.display())]
    NoFirmware {
        /// The guest architecture.
        arch: Arch,
        /// The binary.
        path: PathBuf,
    },
    /// A field of a launch that QEMU could not make sense of.
    #[error("machine {name}: {field} cannot be {value}: {reason}")]
    BadLaunch {
        /// The machine.
        name: String,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// QEMU does not know a device model.
    #[error("machine {name}: this QEMU has no device {device}")]
    UnsupportedDevice {
        /// The machine.
        name: String,
        /// The model it was given.
        device: String,
    },
    /// QEMU exited before the guest ran.
    #[error("machine {name}: QEMU died at start ({status}): {stderr}")]
    DiedAtStart {
        /// The machine.
        name: String,
        /// Its exit status in words.
        status: String,
        /// Its own words, trimmed.
        stderr: String,
    },
    /// QEMU neither detached nor died in time.
    #[error("machine {name}: QEMU did not start within {} s: {stderr}", deadline.as_secs())]
    StartTimeout {
        /// The machine.
        name: String,
        /// How long it was given.
        deadline: Duration,
        /// Its own words, trimmed.
        stderr: String,
    },
    /// A process that should be gone still runs.
    #[error("machine {name}: QEMU (pid {pid}) could not be ended within {} s", deadline.as_secs())]
    StillRunning {
        /// The machine.
        name: String,
        /// The process.
        pid: i32,
        /// How long it was given.
        deadline: Duration,
    },
    /// A file or program operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Memory could not be saved or loaded.
    #[error("cannot {action} its memory, {}: {reason}", path.display())]
    Memory {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// QEMU's reason.
        reason: String,
    },
    /// The control socket of a machine does not answer as it should.
    #[error("QMP at {}: {source}", path.display())]
    Qmp {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: crate::qmp::QmpError,
    },
}

impl QemuError {
    /// Whose fault it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadLaunch { .. } | Self::UnsupportedDevice { .. } | Self::AccelRefused { .. } => {
                ErrorKind::Usage
            }
            _ => ErrorKind::Environment,
        }
    }

    /// What the reader can do about it, where something can be done.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { arch } => Some(format!(
                "install it: {} on Debian and Ubuntu, qemu on macOS (Homebrew) and Arch, {} on Fedora",
                arch.debian_package(),
                arch.fedora_package()
            )),
            Self::TooOld { .. } => Some(format!("install QEMU {} or later", Version::OLDEST)),
            Self::AccelRefused { .. } => Some("use `accel: auto`, or `accel: tcg` to emulate".to_owned()),
            Self::NoFirmware { arch, .. } => Some(format!(
                "install it ({} on Debian and Ubuntu), or boot a kernel directly",
                arch.debian_firmware_package()
            )),
            Self::UnsupportedDevice { .. } => {
                Some("`-device help` given to this QEMU lists the models it has".to_owned())
            }
            Self::DiedAtStart { stderr, .. } if stderr.contains("Failed to get \"write\" lock") => {
                Some("another process uses the disk; is the machine already running?".to_owned())
            }
            Self::DiedAtStart { stderr, .. } if stderr.contains("cannot set up guest memory") => {
                Some("give the machine less memory".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the trouble is only that no process listens on a control socket.
    pub(crate) fn is_nobody_there(&self) -> bool {
        let Self::Qmp {
            source: crate::qmp::QmpError::Io(error),
            ..
        } = self
        else {
            return false;
        };
        matches!(
            error.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    }

    /// A [`QemuError::Io`].
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }
}
