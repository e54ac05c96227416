//! A machine's own disk: a qcow2 overlay that keeps only what differs from its base.
//!
//! The base is shared and never written; the overlay names it by its absolute path. An overlay may be larger than its
//! base (the guest grows its file system), never smaller: the guest would find its partitions cut off.

use crate::error::Kind;
use crate::image::DiskFormat;
use crate::tool::{self, Tool, ToolError};
use serde::Deserialize;
use std::path::{Path, PathBuf};

pub(crate) const QEMU_IMG: Tool = Tool::new("qemu-img", "qemu-utils");

/// An overlay or a disk's description could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The base is not there.
    #[error("the base image {0} does not exist")]
    NoBase(PathBuf),
    /// The disk asked for is smaller than its base.
    #[error("a disk of {asked} bytes is smaller than its base image {base} ({needed} bytes)")]
    TooSmall {
        /// The size asked for.
        asked: u64,
        /// The base's virtual size.
        needed: u64,
        /// The base.
        base: PathBuf,
    },
    /// `qemu-img` is missing or failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// `qemu-img info` said something that is not understood.
    #[error("qemu-img described {path} in words that are not understood: {source}")]
    Info {
        /// The disk.
        path: PathBuf,
        /// Where its JSON ends to make sense.
        source: serde_json::Error,
    },
}

impl OverlayError {
    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::NoBase(_) | Self::TooSmall { .. } => Kind::Usage,
            Self::Tool(error) => error.kind(),
            Self::Info { .. } => Kind::Environment,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooSmall { needed, .. } => Some(format!(
                "ask for a disk of at least {} MiB",
                needed.div_ceil(1 << 20)
            )),
            Self::Tool(error) => error.hint(),
            Self::NoBase(_) | Self::Info { .. } => None,
        }
    }
}

/// What `qemu-img info` knows of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskInfo {
    /// The size that the guest sees, in bytes.
    pub virtual_size: u64,
    /// The format's name: `qcow2`, `raw`, `vmdk`, ….
    pub format: String,
    /// The base, as the overlay names it.
    pub backing_filename: Option<PathBuf>,
}

/// Describes a disk. `-U` reads it even while a running QEMU holds its lock.
///
/// # Errors
/// When there is no `qemu-img`, or it cannot read the file.
pub fn info(path: &Path) -> Result<DiskInfo, OverlayError> {
    described(path, None)
}

/// [`info`] of a disk whose format is known, so that none is guessed from what a guest has written. It opens no other file.
///
/// # Errors
/// As [`info`]; when the file is not of that format.
pub fn info_of(path: &Path, format: &str) -> Result<DiskInfo, OverlayError> {
    described(path, Some(format))
}

fn described(path: &Path, format: Option<&str>) -> Result<DiskInfo, OverlayError> {
    let mut command = QEMU_IMG.command()?;
    command.args(["info", "-U", "--output=json"]);
    command
        .args(format.iter().flat_map(|format| ["-f", format]))
        .arg(path);
    let json = tool::run(&mut command)?;
    serde_json::from_slice(&json).map_err(|source| OverlayError::Info {
        path: path.to_owned(),
        source,
    })
}

/// Makes `overlay` on `base`, as large as asked for or as its base; returns its size.
///
/// # Errors
/// When the base is missing or larger than `size`, or `qemu-img` is missing or fails.
pub fn create(
    base: &Path,
    format: DiskFormat,
    overlay: &Path,
    size: Option<u64>,
) -> Result<u64, OverlayError> {
    let base = base
        .canonicalize()
        .map_err(|_| OverlayError::NoBase(base.to_owned()))?;
    let needed = info_of(&base, format.name())?.virtual_size;
    let size = size.unwrap_or(needed);
    if size < needed {
        return Err(OverlayError::TooSmall {
            asked: size,
            needed,
            base,
        });
    }
    let mut command = QEMU_IMG.command()?;
    command
        .args(["create", "-q", "-f", "qcow2", "-F", format.name(), "-b"])
        .arg(&base);
    command.arg(overlay).arg(size.to_string());
    tool::run(&mut command)?;
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn base_of(folder: &Path, size: u64) -> PathBuf {
        let base = folder.join("base.img");
        std::fs::File::create(&base).unwrap().set_len(size).unwrap();
        base
    }

    #[test]
    fn an_overlay_is_as_large_as_asked_for_and_names_its_base() {
        let folder = tempfile::tempdir().unwrap();
        let base = base_of(folder.path(), 4 * MIB);
        let overlay = folder.path().join("own.qcow2");
        assert_eq!(
            create(&base, DiskFormat::Raw, &overlay, Some(16 * MIB)).unwrap(),
            16 * MIB
        );
        let found = info(&overlay).unwrap();
        assert_eq!((found.virtual_size, found.format.as_str()), (16 * MIB, "qcow2"));
        assert_eq!(found.backing_filename, Some(base.canonicalize().unwrap()));
    }

    #[test]
    fn an_overlay_never_cuts_its_base() {
        let folder = tempfile::tempdir().unwrap();
        let base = base_of(folder.path(), 4 * MIB);
        let error = create(
            &base,
            DiskFormat::Raw,
            &folder.path().join("own.qcow2"),
            Some(MIB),
        )
        .unwrap_err();
        assert!(error.kind().is_usage());
        assert_eq!(error.hint().unwrap(), "ask for a disk of at least 4 MiB");
    }

    #[test]
    fn a_missing_base_is_the_users_to_mend() {
        let error = create(
            Path::new("/nowhere/b"),
            DiskFormat::Raw,
            Path::new("/nowhere/o"),
            None,
        )
        .unwrap_err();
        assert_eq!(error.to_string(), "the base image /nowhere/b does not exist");
        assert!(error.kind().is_usage());
    }

    #[test]
    fn qemu_img_speaks_for_itself_when_it_fails() {
        let folder = tempfile::tempdir().unwrap();
        let error = info(&folder.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("Could not open"), "{error}");
    }
}
