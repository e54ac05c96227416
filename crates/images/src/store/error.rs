//! What can go wrong with the store.

use crate::arch::Arch;
use crate::build::BuildError;
use crate::checksum::Digest;
use crate::download::FetchError;
use crate::error::Kind;
use crate::import::ImportError;
use crate::signature::{Signature, SignatureError};
use std::io;
use std::path::{Path, PathBuf};

/// An image could not be had, or the store could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No image has this name.
    #[error("there is no image called `{name}`")]
    UnknownName {
        /// The name.
        name: String,
        /// The names of the catalogue.
        known: Vec<String>,
    },
    /// The catalogue has no image of this name for this architecture.
    #[error("there is no image `{name}` for {arch}")]
    NotForArch {
        /// The name.
        name: String,
        /// The architecture asked for.
        arch: Arch,
        /// Those that there is one for.
        archs: Vec<Arch>,
    },
    /// No image of this name is on this machine.
    #[error("no image called `{0}` is on this machine")]
    NotHere(String),
    /// It would have to be fetched, which was forbidden.
    #[error("the image `{0}` is not on this machine, and nothing is to be fetched")]
    Offline(String),
    /// The user's file is not there.
    #[error("the image {0} does not exist")]
    MissingFile(PathBuf),
    /// The user's folder holds no built image.
    #[error("the folder {0} holds no image (no image.json)")]
    NoImage(PathBuf),
    /// The user's file is compressed, and is used where it lies.
    #[error("the image {0} is compressed")]
    Compressed(PathBuf),
    /// What arrived is not what was promised.
    #[error("{url} has the wrong checksum: expected {expected}, got {actual}; the file was removed")]
    WrongChecksum {
        /// Where it came from.
        url: String,
        /// What the vendor or the user says.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// The vendor's checksum file does not list the image.
    #[error("{sums_url} lists no checksum for {file}")]
    NotListed {
        /// The checksum file.
        sums_url: String,
        /// The image's file name.
        file: String,
    },
    /// The download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The build failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A checksum file's signature is wrong, or could not be looked at.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The image has to be signed, and that could not be verified.
    #[error("the signature of `{name}` was {signature}")]
    Unsigned {
        /// The image.
        name: String,
        /// What is known of it.
        signature: Signature,
    },
    /// A file is no disk that can be taken in.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A disk of a format that QEMU cannot lay machines' disks on safely.
    #[error("{0} is a disk of a format that is taken in first")]
    ToImport(PathBuf),
    /// What arrived cannot be unpacked.
    #[error("{url} cannot be unpacked: {source}")]
    Unpack {
        /// Where it came from.
        url: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// There is no room to unpack.
    #[error("no room left in {0}")]
    NoSpace(PathBuf),
    /// A manifest is not understood.
    #[error("{path} is not understood: {source}")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Where it ends to make sense.
        source: serde_json::Error,
    },
    /// The system refused a file.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl StoreError {
    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::UnknownName { .. }
            | Self::NotForArch { .. }
            | Self::NotHere(_)
            | Self::Offline(_)
            | Self::MissingFile(_)
            | Self::NoImage(_)
            | Self::Compressed(_)
            | Self::ToImport(_)
            | Self::Unsigned { .. }
            | Self::NoSpace(_)
            | Self::WrongChecksum { .. } => Kind::Usage,
            Self::Fetch(error) => error.kind(),
            Self::Build(error) => error.kind(),
            Self::Import(error) => error.kind(),
            Self::Signature(error) => error.kind(),
            Self::NotListed { .. } | Self::Unpack { .. } | Self::File { .. } => Kind::Environment,
            Self::Manifest { .. } => Kind::Configuration,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownName { known, .. } => {
                return Some(format!(
                    "known are {}; a URL, a path with a `/`, or an image built with `atoll image build` do as well",
                    known.join(", ")
                ));
            }
            Self::NotForArch { archs, .. } => {
                let archs: Vec<_> = archs.iter().map(|arch| arch.name()).collect();
                return Some(format!("there is one for {}", archs.join(", ")));
            }
            Self::NotHere(_) => "see which are: atoll image ls",
            Self::Offline(_) => "the same without --offline fetches it; `atoll image ls` shows what is here",
            Self::Compressed(_) => "atoll image import FILE NAME unpacks it, for image: NAME",
            Self::WrongChecksum { .. } => {
                "try again: the vendor may just have replaced the image; if it stays wrong, do not use it"
            }
            Self::NoSpace(_) => "make room, or remove images that are not needed: atoll image prune",
            Self::Manifest { .. } => "remove the folder it lies in, and get the image anew",
            Self::Fetch(error) => return error.hint(),
            Self::Build(error) => return error.hint(),
            Self::Import(error) => return error.hint(),
            Self::Signature(error) => return error.hint(),
            Self::Unsigned { .. } => {
                "install the vendor's keyring (debian-keyring, ubuntu-keyring, distribution-gpg-keys) and gpgv; remove an image that is here already first (atoll image rm)"
            }
            Self::ToImport(_) => "atoll image import FILE NAME, and image: NAME",
            Self::MissingFile(_)
            | Self::NoImage(_)
            | Self::NotListed { .. }
            | Self::Unpack { .. }
            | Self::File { .. } => return None,
        };
        Some(hint.to_owned())
    }

    /// Whether another server may do better.
    pub(super) const fn is_the_servers(&self) -> bool {
        match self {
            Self::WrongChecksum { .. }
            | Self::NotListed { .. }
            | Self::Unpack { .. }
            | Self::Import(_)
            | Self::ToImport(_)
            | Self::Signature(_)
            | Self::Unsigned { .. } => true,
            Self::Fetch(error) => error.is_the_servers(),
            _ => false,
        }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull => Self::NoSpace(path),
            _ => Self::File { path, source },
        }
    }
}
