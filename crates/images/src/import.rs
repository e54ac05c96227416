//! A disk or a machine from elsewhere as an image of the store: raw, qcow2, VMDK, VDI, VHDX, VHD, OVA, each perhaps
//! compressed with gzip, xz or zstd.
//!
//! What a file is says its content, never its name ([`Format`]). It goes through these hands, each of which may refuse:
//!
//! 1. compression is taken off, once, into the staging folder;
//! 2. of an OVA (`tar`, `ovf`) the one disk is taken out; the archive's `.mf`, when there is one with SHA-256 or SHA-512,
//!    must agree;
//! 3. a disk that leads to other files of the host (backing, parent, external data, extents) is refused before QEMU's
//!    tools see it, and again by what `qemu-img info`, which opens no other file, says of it;
//! 4. raw and qcow2 are copied, holes kept; the others become qcow2 by `qemu-img convert`, told the format so that it guesses none.
//!
//! Left out: an OVA's machine settings, OVAs of several disks, split VMware disks. An optical medium is told apart and refused, with
//! what to do instead.

mod format;
pub mod ovf;
pub mod tar;

pub use format::Format;
pub(crate) use format::stands_alone;

use crate::checksum::{self, Digest};
use crate::error::Kind;
use crate::image::DiskFormat;
use crate::overlay::{self, OverlayError};
use crate::tool::{self, Tool, ToolError};
use crate::unpack::{self, Compression};
use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

const QEMU_IMG: Tool = Tool::new("qemu-img", "qemu-utils");

/// A file was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read, or its compression or archive is broken.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Its copy cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file in the store.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// It is nothing that a machine could have as its disk.
    #[error("{0} is no disk of a format that is known")]
    NoDisk(PathBuf),
    /// It is an optical medium.
    #[error("{0} is an optical medium (ISO 9660), not a disk")]
    Medium(PathBuf),
    /// It is a description whose disk lies in other files.
    #[error("{0} only describes a disk, whose data are in other files")]
    Description(PathBuf),
    /// It would make QEMU open other files of this host.
    #[error("{path} {what}, which an image must not")]
    LeadsElsewhere {
        /// The file.
        path: PathBuf,
        /// What it does, as in "lies on a backing file".
        what: &'static str,
    },
    /// An archive without the one disk.
    #[error("{path} is an archive {what}")]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, as in "without a description (.ovf)".
        what: String,
    },
    /// A disk does not hash to what the archive says.
    #[error("{file} in {path} has the wrong checksum: expected {expected}, got {actual}")]
    WrongChecksum {
        /// The archive.
        path: PathBuf,
        /// The disk.
        file: String,
        /// What the archive's manifest says.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// It looks like a disk of a format, and is none.
    #[error("{path} is damaged: {error}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What `qemu-img` says.
        error: ToolError,
    },
    /// `qemu-img` is missing or did not take it.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// `qemu-img` does not understand it.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

impl ImportError {
    /// Whose fault it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Tool(error) => error.kind(),
            Self::Overlay(error) => error.kind(),
            Self::Write { .. } => Kind::Environment,
            _ => Kind::Usage,
        }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoDisk(_) => {
                "taken are raw, qcow2, vmdk, vdi, vhdx, vhd and ova, also compressed with gzip, xz or zstd"
            }
            Self::Medium(path) => {
                return Some(format!(
                    "give it to a machine with an empty disk (truncate -s 20G disk.img; image: ./disk.img) as qemu-args: [-cdrom, {}, -boot, d]",
                    path.display()
                ));
            }
            Self::Description(_) | Self::LeadsElsewhere { .. } => {
                "if you trust it, make it one file first: qemu-img convert -O qcow2 FILE NEW.qcow2"
            }
            Self::WrongChecksum { .. } | Self::Damaged { .. } => "it is damaged: get it anew",
            Self::Tool(error) => return error.hint(),
            Self::Overlay(error) => return error.hint(),
            Self::Read { .. } | Self::Write { .. } | Self::Archive { .. } => return None,
        };
        Some(hint.to_owned())
    }

    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

/// Takes `file` in as `disk`, in the same folder as which everything in between is written; returns what it became.
///
/// # Errors
/// Those of [`ImportError`]; what was written in between stays in the folder.
pub fn take_in(file: &Path, disk: &Path) -> Result<DiskFormat, ImportError> {
    let mut from = unpacked(file, &disk.with_extension("unpacked"))?;
    let mut format = Format::of(&from).map_err(ImportError::read(file))?;
    if format == Format::Tar {
        let member = disk.with_extension("member");
        take_out(file, &from, &member)?;
        from = unpacked(&member, &disk.with_extension("unpacked"))?;
        format = Format::of(&from).map_err(ImportError::read(file))?;
    }
    // The name that the user knows stands in what is said.
    let called = |error| match error {
        ImportError::LeadsElsewhere { what, .. } => ImportError::LeadsElsewhere {
            path: file.to_owned(),
            what,
        },
        error => error,
    };
    let qemu = disk_or_refusal(format, file)?;
    stands_alone(&from, format).map_err(called)?;
    let info = overlay::info_of(&from, qemu).map_err(|error| match error {
        OverlayError::Tool(error @ ToolError::Failed { .. }) => ImportError::Damaged {
            path: file.to_owned(),
            error,
        },
        error => error.into(),
    })?;
    if info.backing_filename.is_some() {
        return Err(ImportError::LeadsElsewhere {
            path: file.to_owned(),
            what: "lies on another disk",
        });
    }
    match format {
        Format::Raw | Format::Qcow2 => copy(&from, file, disk)?,
        _ => convert(&from, qemu, disk)?,
    }
    for between in ["unpacked", "member"] {
        let between = disk.with_extension(between);
        crate::files::remove_file(&between).map_err(ImportError::read(&between))?;
    }
    Ok(match format {
        Format::Raw => DiskFormat::Raw,
        _ => DiskFormat::Qcow2,
    })
}

/// QEMU's name of a disk's format, or why it is none.
///
/// # Errors
/// For everything but disks.
fn disk_or_refusal(format: Format, file: &Path) -> Result<&'static str, ImportError> {
    let file = file.to_owned();
    format.qemu().ok_or(match format {
        Format::Iso9660 => ImportError::Medium(file),
        Format::VmdkDescriptor => ImportError::Description(file),
        Format::Tar => ImportError::Archive {
            path: file,
            what: "within an archive".to_owned(),
        },
        _ => ImportError::NoDisk(file),
    })
}

/// Flattens a disk of this format to a qcow2 of its own.
///
/// # Errors
/// When `qemu-img` is missing or fails; it fails for the disk of a machine that runs, whose QEMU holds its lock.
pub fn convert(from: &Path, qemu_format: &str, disk: &Path) -> Result<(), ImportError> {
    let mut command = QEMU_IMG.command()?;
    command.args(["convert", "-f", qemu_format, "-O", "qcow2"]);
    tool::run(command.arg(from).arg(disk))?;
    Ok(())
}

/// The file itself, or at `to` what its compression held.
fn unpacked(file: &Path, to: &Path) -> Result<PathBuf, ImportError> {
    let read = || ImportError::read(file);
    if unpack::compression(file).map_err(read())? == Compression::None {
        return file.canonicalize().map_err(read());
    }
    let mut packed = unpack::reader(file).map_err(read())?;
    spread(&mut packed, file, to)?;
    Ok(to.to_owned())
}

fn copy(from: &Path, file: &Path, disk: &Path) -> Result<(), ImportError> {
    if from.parent() == disk.parent() {
        return fs::rename(from, disk).map_err(|source| ImportError::Write {
            path: disk.to_owned(),
            source,
        });
    }
    let mut source = File::open(from).map_err(ImportError::read(file))?;
    spread(&mut source, file, disk)
}

fn spread(source: &mut dyn Read, file: &Path, disk: &Path) -> Result<(), ImportError> {
    unpack::spread(source, disk).map_err(|error| match error {
        unpack::SpreadError::Read(source) => ImportError::Read {
            path: file.to_owned(),
            source,
        },
        unpack::SpreadError::Write(source) => ImportError::Write {
            path: disk.to_owned(),
            source,
        },
    })
}

/// Copies the one disk that the archive's description names to `to`. `file` is what the user calls the archive.
fn take_out(file: &Path, archive: &Path, to: &Path) -> Result<(), ImportError> {
    let wrong = |what: String| ImportError::Archive {
        path: file.to_owned(),
        what,
    };
    let mut source = File::open(archive).map_err(ImportError::read(file))?;
    let members = tar::members(&mut source).map_err(ImportError::read(file))?;
    let with_ending = |ending: &str| members.iter().find(|it| it.name.ends_with(ending));
    let ovf = with_ending(".ovf").ok_or_else(|| wrong("without a description (.ovf)".to_owned()))?;
    let text = text_of(&mut source, ovf).map_err(ImportError::read(file))?;
    let disks = ovf::disks(&text).map_err(|error| wrong(format!("whose description is wrong: {error}")))?;
    let [disk] = disks.as_slice() else {
        return Err(wrong(format!("of {} disks; one is needed", disks.len())));
    };
    let plain = |name: &str| name.strip_prefix("./").unwrap_or(name).to_owned();
    let member = members.iter().find(|it| plain(&it.name) == plain(&disk.href));
    let member = member.ok_or_else(|| wrong(format!("without its disk {:?}", disk.href)))?;
    if let Some(manifest) = with_ending(".mf") {
        let sums = text_of(&mut source, manifest).map_err(ImportError::read(file))?;
        if let Some(expected) = checksum::find(&sums, &plain(&member.name)) {
            verify(file, &mut source, member, expected)?;
        }
    }
    spread(
        &mut bytes_of(&mut source, member).map_err(ImportError::read(file))?,
        file,
        to,
    )
}

fn verify(file: &Path, source: &mut File, member: &tar::Member, expected: Digest) -> Result<(), ImportError> {
    let mut bytes = bytes_of(source, member).map_err(ImportError::read(file))?;
    let actual = Digest::of(expected.algorithm(), &mut bytes).map_err(ImportError::read(file))?;
    if actual == expected {
        return Ok(());
    }
    Err(ImportError::WrongChecksum {
        path: file.to_owned(),
        file: member.name.clone(),
        expected,
        actual,
    })
}

fn bytes_of<'a>(source: &'a mut File, member: &tar::Member) -> io::Result<io::Take<&'a mut File>> {
    source.seek(SeekFrom::Start(member.offset))?;
    Ok(source.take(member.length))
}

fn text_of(source: &mut File, member: &tar::Member) -> io::Result<String> {
    if member.length > ovf::MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its description is too long",
        ));
    }
    let mut bytes = Vec::new();
    bytes_of(source, member)?.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
