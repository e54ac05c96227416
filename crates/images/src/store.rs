//! The cache of images on this machine.
//!
//! Layout below the folder that the caller gives:
//!
//! ```text
//! images/KEY+SERIAL/image.json, disk.img | vmlinux, initramfs    visible images
//! blobs/sha256-HEX                               each fetched disk once, disk.img is a link to it
//! downloads/KEY.part, KEY.origin.json                            what has arrived so far
//! staging/KEY/                                                   an image in the making
//! locks/KEY.lock                                                 held while KEY is fetched, built or removed
//! ```
//!
//! KEY is name and architecture; for a URL, a hash of it. An image becomes visible by the rename of its whole folder, and
//! only after its digest was right; from then on its files never change, because machines' disks lie on top of them. A
//! second image of the same key (built anew) gets the next serial: the highest is meant by the name, the others stay until
//! pruned. Locks are the kernel's, on open files: a killed process leaves none behind.
//!
//! A name means, in this order: an image here of that name (so one that was built stands in for the vendor's), the
//! catalogue's image if it is here, the catalogue's image from its vendor.

mod blobs;
mod error;
mod locks;
mod making;
mod pull;
mod removal;

pub use error::StoreError;
pub use making::NewImage;
pub use removal::Pruned;

use crate::arch::Arch;
use crate::build::BuildError;
use crate::catalogue::Catalogue;
use crate::checksum::{Algorithm, Digest};
use crate::download::{Downloader, Patience, Progress};
use crate::files;
use crate::image::{Boot, DiskFormat, Image, MANIFEST, Origin};
use crate::import::{self, Format, ImportError};
use crate::signature::Signature;
use crate::source::Source;
use crate::unpack;
use pull::Wanted;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

const DISK: &str = "disk.img";

/// An image and the folder of the store that it lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The image, its paths absolute.
    pub image: Image,
    /// Its folder.
    pub folder: PathBuf,
    /// False for one that a newer image of the same name stands before.
    pub current: bool,
    /// When it came into the store.
    pub created: SystemTime,
    /// What it takes on disk, in bytes; what several images share counts for each.
    pub disk_bytes: u64,
}

/// The cache; opening it is cheap, and any number of processes may have it open.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    catalogue: Catalogue,
    downloader: Downloader,
    called_off: Arc<AtomicBool>,
    offline: bool,
    signed_only: bool,
}

impl Store {
    /// Opens the cache in `root`, which is made when needed.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        for folder in ["images", "blobs", "downloads", "staging", "locks"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(StoreError::file(&folder))?;
        }
        let root = root.canonicalize().map_err(StoreError::file(root))?;
        Ok(Self {
            root,
            catalogue: Catalogue::default(),
            downloader: Downloader::new(Patience::default()),
            called_off: Arc::default(),
            offline: false,
            signed_only: false,
        })
    }

    /// The same with another catalogue than the built-in one.
    #[must_use]
    pub fn with_catalogue(mut self, catalogue: Catalogue) -> Self {
        self.catalogue = catalogue;
        self
    }

    /// The same with another patience for servers.
    #[must_use]
    pub fn with_patience(mut self, patience: Patience) -> Self {
        self.downloader = Downloader::new(patience).until(Arc::clone(&self.called_off));
        self
    }

    /// The same for work that ends, with [`FetchError::CalledOff`](crate::download::FetchError), soon after this is set.
    #[must_use]
    pub fn until(mut self, called_off: Arc<AtomicBool>) -> Self {
        self.downloader = self.downloader.until(Arc::clone(&called_off));
        self.called_off = called_off;
        self
    }

    /// The same, but what is not on this machine is an error rather than fetched.
    #[must_use]
    pub fn offline(mut self, offline: bool) -> Self {
        self.offline = offline;
        self
    }

    /// The same, but an image whose vendor's signature was not verified is an error.
    #[must_use]
    pub fn signed_only(mut self, signed_only: bool) -> Self {
        self.signed_only = signed_only;
        self
    }

    /// The image if it is on this machine; fetches nothing.
    ///
    /// # Errors
    /// When the name is unknown, the path leads nowhere, or the store cannot be read.
    pub fn get(&self, source: &Source, arch: Arch) -> Result<Option<Image>, StoreError> {
        match source {
            Source::Path(path) => local(path, arch).map(Some),
            Source::Url { url, digest } => self.current(&Wanted::of_url(url, digest.as_ref(), arch).key),
            Source::Name(name) => {
                if let Some(image) = self.current(&key_of(name, arch))? {
                    return Ok(Some(image));
                }
                self.current(&self.entry(name, arch)?.key)
            }
        }
    }

    /// The image, fetched if it is not on this machine yet. Who asks for one that another process is fetching waits for
    /// that one.
    ///
    /// # Errors
    /// As [`Store::get`]; when it cannot be fetched, or is not what its vendor says it is.
    pub fn pull(
        &self,
        source: &Source,
        arch: Arch,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Image, StoreError> {
        if let Some(image) = self.get(source, arch)? {
            return self.signed(image);
        }
        let wanted = match source {
            Source::Url { url, digest } => Wanted::of_url(url, digest.as_ref(), arch),
            Source::Name(name) => self.entry(name, arch)?,
            Source::Path(path) => return local(path, arch),
        };
        if self.offline {
            return Err(StoreError::Offline(wanted.name));
        }
        let _lock = self.lock(&wanted.key)?;
        match self.current(&wanted.key)? {
            Some(image) => self.signed(image),
            None => self.fetch(&wanted, progress),
        }
    }

    /// The image, unless it has to be signed and is not.
    fn signed(&self, image: Image) -> Result<Image, StoreError> {
        let is_verified = image.signature.as_ref().is_some_and(Signature::is_verified);
        if !self.signed_only || is_verified {
            return Ok(image);
        }
        Err(StoreError::Unsigned {
            signature: image
                .signature
                .unwrap_or_else(|| Signature::unchecked("it is none that a vendor signs")),
            name: image.name,
        })
    }

    /// Lets `build` fill an empty folder and takes what it made into the store, as the one that its name means from now on.
    ///
    /// # Errors
    /// Those of the build, and of the store's folders.
    pub fn build(
        &self,
        name: &str,
        arch: Arch,
        build: impl FnOnce(&Path) -> Result<Image, BuildError>,
    ) -> Result<Image, StoreError> {
        self.fill(name, arch, |folder| Ok(build(folder)?))
    }

    /// [`Store::build`] for whatever makes an image.
    fn fill(
        &self,
        name: &str,
        arch: Arch,
        make: impl FnOnce(&Path) -> Result<Image, StoreError>,
    ) -> Result<Image, StoreError> {
        let key = key_of(name, arch);
        let _lock = self.lock(&key)?;
        let staging = self.staging(&key)?;
        let made = make(&staging).and_then(|image| self.publish(&key, &image));
        files::remove_folder(&staging).map_err(StoreError::file(&staging))?;
        made
    }

    /// All images here, by name, the current of each name first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<Stored>, StoreError> {
        let images = self.root.join("images");
        let entries = fs::read_dir(&images).map_err(StoreError::file(&images))?;
        let mut found: Vec<(String, u64)> = entries
            .filter_map(|entry| serial_of(entry.ok()?.file_name().to_str()?))
            .collect();
        found.sort_by(|(key, serial), (other, than)| key.cmp(other).then(than.cmp(serial)));
        let mut before = String::new();
        let mut stored = Vec::new();
        for (key, serial) in found {
            let folder = images.join(folder_name(&key, serial));
            if let Some(image) = read_manifest(&folder)? {
                stored.push(Stored {
                    image,
                    current: key != before,
                    created: created(&folder),
                    disk_bytes: files::allocated(&folder),
                    folder,
                });
                before = key;
            }
        }
        Ok(stored)
    }

    fn entry(&self, name: &str, arch: Arch) -> Result<Wanted, StoreError> {
        if let Some(entry) = self.catalogue.find(name, arch) {
            return Ok(Wanted::of_entry(entry));
        }
        Err(match self.catalogue.offer(name) {
            Some(offer) => StoreError::NotForArch {
                name: name.to_owned(),
                arch,
                archs: offer.archs().collect(),
            },
            None => StoreError::UnknownName {
                name: name.to_owned(),
                known: self.catalogue.names().map(str::to_owned).collect(),
            },
        })
    }

    /// The image that a key means, when there is one.
    fn current(&self, key: &str) -> Result<Option<Image>, StoreError> {
        let Some(serial) = self.serial(key)? else {
            return Ok(None);
        };
        read_manifest(&self.root.join("images").join(folder_name(key, serial)))
    }

    /// The highest serial of a key.
    fn serial(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let images = self.root.join("images");
        let entries = fs::read_dir(&images).map_err(StoreError::file(&images))?;
        let serials = entries.filter_map(|entry| serial_of(entry.ok()?.file_name().to_str()?));
        Ok(serials
            .filter(|(of, _)| of == key)
            .map(|(_, serial)| serial)
            .max())
    }

    /// An empty folder for an image in the making; the key's lock is held.
    fn staging(&self, key: &str) -> Result<PathBuf, StoreError> {
        let staging = self.root.join("staging").join(key);
        files::remove_folder(&staging).map_err(StoreError::file(&staging))?;
        fs::create_dir(&staging).map_err(StoreError::file(&staging))?;
        Ok(staging)
    }

    /// Makes what lies in the key's staging folder visible.
    fn publish(&self, key: &str, image: &Image) -> Result<Image, StoreError> {
        let staging = self.root.join("staging").join(key);
        let manifest = staging.join(MANIFEST);
        let json = serde_json::to_vec_pretty(image).map_err(|source| StoreError::Manifest {
            path: manifest.clone(),
            source,
        })?;
        files::write_atomically(&manifest, &json).map_err(StoreError::file(&manifest))?;
        let serial = self.serial(key)?.map_or(1, |serial| serial.saturating_add(1));
        let folder = self.root.join("images").join(folder_name(key, serial));
        fs::rename(&staging, &folder).map_err(StoreError::file(&folder))?;
        files::sync_parent(&folder).map_err(StoreError::file(&folder))?;
        Ok(Image {
            boot: image.boot.below(&folder),
            ..image.clone()
        })
    }
}

fn read_manifest(folder: &Path) -> Result<Option<Image>, StoreError> {
    let path = folder.join(MANIFEST);
    let json = match fs::read(&path) {
        Ok(json) => json,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::File { path, source }),
    };
    let image: Image =
        serde_json::from_slice(&json).map_err(|source| StoreError::Manifest { path, source })?;
    Ok(Some(Image {
        boot: image.boot.below(folder),
        ..image
    }))
}

/// The manifest is written once, when the image is whole.
fn created(folder: &Path) -> SystemTime {
    let written = folder.join(MANIFEST).metadata().and_then(|it| it.modified());
    written.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The format of a disk that a machine's disk shall lie on; messages call it `called`. What is none that is known may be a
/// small raw disk.
fn checked_format(disk: &Path, called: &Path) -> Result<DiskFormat, StoreError> {
    let format = Format::of(disk).map_err(StoreError::file(disk))?;
    match format {
        Format::Raw | Format::Unknown => Ok(DiskFormat::Raw),
        Format::Qcow2 => {
            import::stands_alone(disk, format).map_err(|error| match error {
                ImportError::LeadsElsewhere { what, .. } => ImportError::LeadsElsewhere {
                    path: called.to_owned(),
                    what,
                },
                error => error,
            })?;
            Ok(DiskFormat::Qcow2)
        }
        Format::Vmdk | Format::Vdi | Format::Vhdx | Format::Vhd | Format::Tar => {
            Err(StoreError::ToImport(called.to_owned()))
        }
        Format::Iso9660 => Err(ImportError::Medium(called.to_owned()).into()),
        Format::VmdkDescriptor => Err(ImportError::Description(called.to_owned()).into()),
    }
}

/// A file of the user's, used where it lies.
fn local(path: &Path, arch: Arch) -> Result<Image, StoreError> {
    let missing = |_| StoreError::MissingFile(path.to_owned());
    let absolute = path.canonicalize().map_err(missing)?;
    if absolute.is_dir() {
        let image = read_manifest(&absolute)?.ok_or_else(|| StoreError::NoImage(absolute.clone()))?;
        return Ok(Image {
            origin: Origin::Local,
            ..image
        });
    }
    if unpack::compression(&absolute).map_err(StoreError::file(&absolute))? != unpack::Compression::None {
        return Err(StoreError::Compressed(absolute));
    }
    let format = checked_format(&absolute, path)?;
    Ok(Image {
        name: path.display().to_string(),
        arch,
        origin: Origin::Local,
        from: absolute.display().to_string(),
        bytes: absolute.metadata().map_err(StoreError::file(&absolute))?.len(),
        boot: Boot::Disk {
            path: absolute,
            format,
        },
        digest: None,
        signature: None,
        content: None,
        ssh_user: None,
        packages: Vec::new(),
    })
}

fn key_of(name: &str, arch: Arch) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
            c
        } else {
            '_'
        }
    };
    format!("{}-{arch}", name.chars().map(plain).collect::<String>())
}

fn hash_of(text: &str) -> String {
    const DIGITS: usize = 16;
    let digest = Digest::of(Algorithm::Sha256, &mut text.as_bytes());
    let hex = digest.map(|digest| digest.to_string()).unwrap_or_default();
    hex.trim_start_matches("sha256:").chars().take(DIGITS).collect()
}

fn folder_name(key: &str, serial: u64) -> String {
    format!("{key}+{serial}")
}

fn serial_of(folder: &str) -> Option<(String, u64)> {
    let (key, serial) = folder.rsplit_once('+')?;
    Some((key.to_owned(), serial.parse().ok()?))
}

#[cfg(test)]
mod tests;
