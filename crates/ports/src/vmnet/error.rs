//! Why there is no interface, for its reader.

use std::io;

use super::contract::Status;
use super::options::OptionsError;
use super::port::ANSWER;

/// Why there is no interface.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VmnetError {
    /// Not on this system.
    #[error("vmnet is a part of macOS, and this is another system")]
    Unsupported,
    /// It cannot be as it is asked for.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The host does not have what is to be bridged.
    #[error("the host has no interface {name} that can be bridged{}", list(.others))]
    NoInterface {
        /// What was asked for.
        name: String,
        /// What there is.
        others: Vec<String>,
    },
    /// The framework refused.
    #[error("vmnet gives no interface: {0}")]
    Refused(Status),
    /// The framework does not answer.
    #[error("vmnet did not answer within {} seconds", ANSWER.as_secs())]
    Silent,
    /// No descriptor is left for being told.
    #[error("cannot listen to vmnet: {0}")]
    Listen(rustix::io::Errno),
}

impl VmnetError {
    /// Whether somebody with more rights could have it: vmnet says `VMNET_FAILURE` to those who have none, so this is a guess.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(
            self,
            Self::Refused(Status::Failure | Status::InvalidAccess | Status::NotAuthorized)
        )
    }

    /// What the reader can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            error if error.is_forbidden() => Some(
                "from macOS 26 on the program needs a signature with com.apple.security.virtualization, before that root's helper: docs/macos.md",
            ),
            Self::Refused(Status::SharingServiceBusy) => {
                Some("turn off Internet Sharing in System Settings, or use another mode")
            }
            _ => None,
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("; it has {}", names.join(", "))
}

/// For who has an I/O error to give.
impl From<VmnetError> for io::Error {
    fn from(error: VmnetError) -> Self {
        let kind = match &error {
            VmnetError::Unsupported => io::ErrorKind::Unsupported,
            VmnetError::Options(_) => io::ErrorKind::InvalidInput,
            VmnetError::NoInterface { .. } => io::ErrorKind::NotFound,
            error if error.is_forbidden() => io::ErrorKind::PermissionDenied,
            VmnetError::Silent => io::ErrorKind::TimedOut,
            VmnetError::Refused(_) | VmnetError::Listen(_) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
