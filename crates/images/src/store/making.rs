//! Images out of what is on this machine already: the user's files and machines' disks.

use super::{DISK, Store, StoreError};
use crate::arch::Arch;
use crate::image::{Boot, DiskFormat, Image, Origin};
use crate::import::{self, ImportError};
use std::path::Path;

/// What an image that is made here will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// Its name.
    pub name: String,
    /// The architecture it runs on.
    pub arch: Arch,
    /// The user that its cloud-init sets up, where that is known.
    pub ssh_user: Option<String>,
}

impl Store {
    /// Takes a file of the user's in under a name, see [`import`].
    ///
    /// # Errors
    /// When it is no disk that can be taken in, and those of the store's folders.
    pub fn import(&self, file: &Path, new: &NewImage) -> Result<Image, StoreError> {
        let from = file
            .canonicalize()
            .map_err(|_| StoreError::MissingFile(file.to_owned()))?;
        if from.is_dir() {
            return Err(ImportError::NoDisk(file.to_owned()).into());
        }
        self.fill(&new.name, new.arch, |folder| {
            let disk = folder.join(DISK);
            let format = import::take_in(&from, &disk)?;
            self.made(new, &disk, format, Origin::Imported, from.display().to_string())
        })
    }

    /// Takes a machine's disk, flattened, in under a name. `from` says whose it is.
    ///
    /// # Errors
    /// When `qemu-img` is missing or fails, as it does while the machine runs; those of the store's folders.
    pub fn save(&self, machines_disk: &Path, from: &str, new: &NewImage) -> Result<Image, StoreError> {
        self.fill(&new.name, new.arch, |folder| {
            let disk = folder.join(DISK);
            import::convert(machines_disk, "qcow2", &disk)?;
            self.made(new, &disk, DiskFormat::Qcow2, Origin::Saved, from.to_owned())
        })
    }

    fn made(
        &self,
        new: &NewImage,
        disk: &Path,
        format: DiskFormat,
        origin: Origin,
        from: String,
    ) -> Result<Image, StoreError> {
        Ok(Image {
            name: new.name.clone(),
            arch: new.arch,
            origin,
            from,
            boot: Boot::Disk {
                path: DISK.into(),
                format,
            },
            bytes: disk.metadata().map_err(StoreError::file(disk))?.len(),
            digest: None,
            signature: None,
            content: Some(self.settle(disk, None)?.to_string()),
            ssh_user: new.ssh_user.clone(),
            packages: Vec::new(),
        })
    }
}
