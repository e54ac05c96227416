//! Images built on this machine from Debian packages, for where no vendor's image can be fetched and for tests.
//!
//! Packages come through the machine's own `apt-get` and sources, checked by its keys; nothing is installed on it and
//! no mirror is named here. They are of the machine's own release unless a [`Target`] names another. A builder fills a folder and returns the manifest of what it put there, with paths relative
//! to that folder; making it visible is the [`crate::store`]'s work.
//!
//! | image | is | needs |
//! |---|---|---|
//! | [`micro`] | a kernel and an initramfs with busybox; ready in seconds without acceleration | `apt-get`, `dpkg-deb` |
//! | [`debian`] | a disk with boot loader, systemd, cloud-init and ssh server | `mmdebstrap`, `mke2fs`, `qemu-img` too |

pub mod debian;
mod disk;
mod kernel;
pub mod micro;
mod modules;
mod packages;
mod release;
mod sources;

pub use release::{NotARelease, Release};

use crate::arch::Arch;
use crate::error::Kind;
use crate::tool::ToolError;
use std::io;
use std::path::{Path, PathBuf};

/// Told one line about each step of a build as it begins.
pub type Progress<'a> = &'a mut dyn FnMut(&str);

/// What an image is built for, and from which packages.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The guest's architecture.
    pub arch: Arch,
    /// The Debian release; this machine's own when left out.
    pub release: Option<&'a Release>,
}

impl Target<'_> {
    /// What an image of this kind is called: `debian`, and `debian-trixie` where the release was chosen.
    #[must_use]
    pub fn image_name(&self, kind: &str) -> String {
        match self.release {
            Some(release) => format!("{kind}-{release}"),
            None => kind.to_owned(),
        }
    }
}

/// A build came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A program is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The mirrors that this machine uses do not have the release.
    #[error("the package sources of this machine have no Debian release called {0}")]
    UnknownRelease(String),
    /// The machine cannot tell whether the release's package lists are Debian's.
    #[error("this machine does not have the keys that Debian's release {0} is signed with")]
    UnknownKeys(String),
    /// The release's package lists cannot be had.
    #[error("cannot get the package lists of {release}: {source}")]
    Lists {
        /// The release.
        release: String,
        /// What apt said.
        source: ToolError,
    },
    /// The machine's package sources do not offer a package, or its download failed.
    #[error("cannot get the Debian package {package}: {source}")]
    Package {
        /// The package, with its architecture.
        package: String,
        /// What apt said.
        source: ToolError,
    },
    /// A package does not hold what it should.
    #[error("the Debian package {package} holds no {what}")]
    Incomplete {
        /// The package.
        package: String,
        /// What was looked for.
        what: &'static str,
    },
    /// This image is not built for that architecture.
    #[error("a {image} image cannot be built for {arch}")]
    UnsupportedArch {
        /// The image.
        image: &'static str,
        /// The architecture asked for.
        arch: Arch,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl BuildError {
    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Tool(error) => error.kind(),
            Self::UnsupportedArch { .. } | Self::UnknownRelease(_) => Kind::Usage,
            Self::UnknownKeys(_) => Kind::Configuration,
            Self::Lists { .. } | Self::Package { .. } | Self::Incomplete { .. } | Self::File { .. } => {
                Kind::Environment
            }
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tool(error) => error.hint(),
            Self::Package { .. } => Some("refresh the package lists: apt-get update".to_owned()),
            Self::UnsupportedArch { .. } => {
                Some("fetch the vendor's image instead: image: debian-13".to_owned())
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("make room on that file system".to_owned())
            }
            Self::UnknownKeys(_) => {
                Some("upgrade the package that has them: apt-get install debian-archive-keyring".to_owned())
            }
            Self::UnknownRelease(_) | Self::Lists { .. } | Self::Incomplete { .. } | Self::File { .. } => {
                None
            }
        }
    }

    /// Why `apt-get update` failed for a release, as far as its words (in the C locale) tell.
    pub(crate) fn of_release(release: &str, source: ToolError) -> Self {
        let release = release.to_owned();
        match source.to_string() {
            words if words.contains("NO_PUBKEY") => Self::UnknownKeys(release),
            words if words.contains("not have a Release file") => Self::UnknownRelease(release),
            _ => Self::Lists { release, source },
        }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    std::fs::read(path).map_err(BuildError::file(path))
}

fn write(path: &Path, data: &[u8]) -> Result<(), BuildError> {
    std::fs::write(path, data).map_err(BuildError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    #[test]
    fn what_apt_says_of_a_release_tells_whose_fault_it_is() {
        let kind = |words: &str| {
            let failed = ToolError::Failed {
                program: "apt-get update".to_owned(),
                status: ExitStatus::from_raw(100 << 8),
                words: words.to_owned(),
            };
            BuildError::of_release("trixie", failed).to_string()
        };
        assert_eq!(
            kind("W: GPG error: … the public key is not available: NO_PUBKEY 6ED0E7B82643E131"),
            "this machine does not have the keys that Debian's release trixie is signed with"
        );
        assert_eq!(
            kind("E: The repository '… trixie Release' does not have a Release file."),
            "the package sources of this machine have no Debian release called trixie"
        );
        let other = kind("E: Failed to fetch …  Temporary failure resolving 'mirror.test'");
        assert!(
            other.starts_with("cannot get the package lists of trixie: apt-get update failed"),
            "{other}"
        );
    }

    #[test]
    fn a_chosen_release_is_part_of_the_images_name() {
        let release = "trixie".parse().unwrap();
        let name = |release| {
            let arch = Arch::X86_64;
            Target { arch, release }.image_name("debian")
        };
        assert_eq!(name(None), "debian");
        assert_eq!(name(Some(&release)), "debian-trixie");
    }
}
