//! The errors of the parts below as [`Problem`]s. What was asked for but cannot be had on this host counts as configuration.

use std::io;

use atoll_images::overlay::OverlayError;
use atoll_qemu::{ErrorKind, QemuError};
use atoll_runtime::{ForwardError, StartError};

use crate::files::FileError;
use crate::lock::LockError;
use crate::networks::NetworkError;
use crate::plan::UnknownMachine;
use crate::problem::{Kind, Problem};
use crate::ssh::SshError;

/// The kinds of `crates/images`, which says "usage" of what the cluster file says.
pub(crate) fn image_kind(kind: atoll_images::Kind) -> Kind {
    match kind {
        atoll_images::Kind::Usage | atoll_images::Kind::Configuration => Kind::Configuration,
        atoll_images::Kind::Environment => Kind::Environment,
    }
}

impl From<OverlayError> for Problem {
    fn from(error: OverlayError) -> Self {
        Self::new(image_kind(error.kind()), error.to_string()).with_hint_if(error.hint())
    }
}

impl From<QemuError> for Problem {
    fn from(error: QemuError) -> Self {
        let kind = match (&error, error.kind()) {
            (QemuError::NotFound { .. } | QemuError::TooOld { .. } | QemuError::DiedAtStart { .. }, _)
            | (_, ErrorKind::Usage) => Kind::Configuration,
            (_, ErrorKind::Environment) => Kind::Environment,
        };
        Self::new(kind, error.to_string()).with_hint_if(error.hint())
    }
}

impl From<FileError> for Problem {
    fn from(error: FileError) -> Self {
        let kind = match &error {
            FileError::Write { cause, .. } if cause.kind() == io::ErrorKind::StorageFull => {
                Kind::Configuration
            }
            FileError::NotPrivate { .. } => Kind::Configuration,
            FileError::Read { .. } | FileError::Write { .. } | FileError::Damaged { .. } => Kind::Environment,
        };
        Self::new(kind, error.to_string()).with_hint_if(error.hint())
    }
}

impl From<NetworkError> for Problem {
    fn from(error: NetworkError) -> Self {
        let kind = match &error {
            NetworkError::Start {
                cause: StartError::Uplink { .. },
                ..
            } => Kind::Configuration,
            NetworkError::Forward(
                ForwardError::Taken { .. }
                | ForwardError::Forbidden { .. }
                | ForwardError::NoSuchAddress { .. }
                | ForwardError::Guest(_)
                | ForwardError::Unknown(_),
            ) => Kind::Configuration,
            _ => Kind::Environment,
        };
        Self::new(kind, error.to_string()).with_hint_if(error.hint())
    }
}

impl From<SshError> for Problem {
    fn from(error: SshError) -> Self {
        Self::environment(error.to_string()).with_hint_if(error.hint())
    }
}

impl From<LockError> for Problem {
    fn from(error: LockError) -> Self {
        Self::environment(match error {
            LockError::Held { owner, .. } => format!("the cluster is already run by process {owner}"),
            error @ LockError::File { .. } => error.to_string(),
        })
    }
}

impl From<UnknownMachine> for Problem {
    fn from(error: UnknownMachine) -> Self {
        Self::usage(error.to_string()).with_hint(error.hint())
    }
}
