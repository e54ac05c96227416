//! An image as the rest of the program sees it: something that lies on this machine and can be booted.

use crate::arch::Arch;
use crate::signature::Signature;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// The name of the file beside an image's data that describes it.
pub const MANIFEST: &str = "image.json";

/// How a disk's bytes are laid out; QEMU's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// QEMU copy-on-write, versions 2 and 3.
    Qcow2,
    /// The disk's sectors and nothing else.
    Raw,
}

impl DiskFormat {
    /// The name that `qemu-img` and `-drive format=` take.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a machine starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// A disk with its own boot loader; it is a base and is never written to.
    Disk {
        /// The disk's file. In a manifest relative to it, in an [`Image`] from the store absolute.
        path: PathBuf,
        /// The file's format.
        format: DiskFormat,
    },
    /// A kernel that QEMU loads itself (`-kernel`, `-initrd`, `-append`); the machine needs no disk.
    Kernel {
        /// The kernel's file.
        kernel: PathBuf,
        /// The initramfs's file.
        initramfs: PathBuf,
        /// The kernel command line it needs at least.
        append: String,
    },
}

impl Boot {
    /// The same with its paths below `directory`.
    #[must_use]
    pub fn below(&self, directory: &Path) -> Self {
        match self {
            Self::Disk { path, format } => Self::Disk {
                path: directory.join(path),
                format: *format,
            },
            Self::Kernel {
                kernel,
                initramfs,
                append,
            } => Self::Kernel {
                kernel: directory.join(kernel),
                initramfs: directory.join(initramfs),
                append: append.clone(),
            },
        }
    }
}

/// Where an image came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A name of the catalogue, fetched from its vendor.
    Catalogue,
    /// A URL that the user gave.
    Url,
    /// A file of the user's, used where it lies.
    Local,
    /// Built on this machine.
    Built,
    /// A file of the user's, taken into the store.
    Imported,
    /// A machine's disk, taken into the store.
    Saved,
}

/// A bootable image on this machine. Also the manifest, `image.json`, beside an image's files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// What the user calls it: a catalogue name, a URL, a path, `micro`.
    pub name: String,
    /// The architecture it runs on.
    pub arch: Arch,
    /// Where it came from.
    pub origin: Origin,
    /// The URL or path it came from, or a sentence on how it was built.
    pub from: String,
    /// What it boots from.
    pub boot: Boot,
    /// Bytes on disk.
    pub bytes: u64,
    /// The digest of what was fetched (`sha512:…`), when there was one to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What is known of the signature of the checksum file that has the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// What its disk hashes to (`sha256:…`), where the store has taken it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The user that the image's cloud-init sets up unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_user: Option<String>,
    /// The packages that were asked for, as the package manager was, where it was built of packages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}
