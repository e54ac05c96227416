//! What can go wrong with a download.

use crate::error::Kind;
use std::io;
use std::path::PathBuf;

/// A download came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server cannot be talked to, or stopped talking, every time.
    #[error("cannot fetch {url}: {reason} ({attempts} attempts in a row)")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong the last time.
        reason: String,
        /// How often it was tried in vain.
        attempts: u32,
    },
    /// Somebody asked for the end of it.
    #[error("the download was called off; what has arrived is kept")]
    CalledOff,
    /// The server said no.
    #[error("cannot fetch {url}: the server answered {status}")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The address is none.
    #[error("`{url}` is not an address that can be fetched: {reason}")]
    BadUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system has no room for it.
    #[error("no room for {url} in {folder}: {needed} bytes are needed, {free} are free")]
    NoSpace {
        /// The address.
        url: String,
        /// Where it would be stored.
        folder: PathBuf,
        /// Bytes still to come.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The part file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl FetchError {
    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::BadUrl { .. }
            | Self::Status {
                status: 400..=499, ..
            }
            | Self::NoSpace { .. } => Kind::Usage,
            Self::CalledOff | Self::Unreachable { .. } | Self::Status { .. } | Self::File { .. } => {
                Kind::Environment
            }
        }
    }

    /// Whether another server may do better.
    pub(crate) const fn is_the_servers(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Status { .. } | Self::BadUrl { .. }
        )
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreachable { .. } => "what has arrived is kept: the same command goes on from there",
            Self::NoSpace { .. } => "make room, or remove images that are not needed: atoll image prune",
            Self::Status { status: 404, .. } => {
                "the file has moved: look for its new address at the vendor's"
            }
            Self::CalledOff | Self::Status { .. } | Self::BadUrl { .. } | Self::File { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
