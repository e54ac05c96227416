//! One copy of one content: `blobs/sha256-HEX`, and hard links to it where images lie.
//!
//! Two names, a URL and an import, may lead to the same disk. Whoever brings a disk into the store hashes it, and under
//! the content's lock either makes it the blob or replaces it by a link to the blob that is there. The file system counts
//! the links, so nothing else needs to know who uses a blob: one that has no other name goes with the next removal, under
//! the same lock. Blobs cannot be written to, since machines' disks lie on them. On a file system without hard links
//! each image keeps its own copy.

use super::{Store, StoreError};
use crate::checksum::{Algorithm, Digest};
use crate::files;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

impl Store {
    /// Makes `disk`, which is whole, the store's one copy of its content, or a link to it; returns what it hashes to.
    pub(super) fn settle(&self, disk: &Path, known: Option<&Digest>) -> Result<Digest, StoreError> {
        let digest = match known {
            Some(digest) if digest.algorithm() == Algorithm::Sha256 => digest.clone(),
            _ => {
                let file = File::open(disk).map_err(StoreError::file(disk))?;
                let mut file = self.until_called_off(file);
                Digest::of(Algorithm::Sha256, &mut file).map_err(StoreError::file(disk))?
            }
        };
        let name = digest.to_string().replace(':', "-");
        let blob = self.root.join("blobs").join(&name);
        let _lock = self.lock(&name)?;
        if let Err(error) = share(disk, &blob) {
            tracing::debug!(%error, "this disk keeps a copy of its own");
        }
        Ok(digest)
    }

    /// Removes the blobs that no image has.
    pub(super) fn remove_unused_blobs(&self) -> Result<(), StoreError> {
        let folder = self.root.join("blobs");
        let entries = fs::read_dir(&folder).map_err(StoreError::file(&folder))?;
        for blob in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = blob.file_name().unwrap_or_default().to_string_lossy();
            let lock = self.lock_file(&name)?;
            let is_unused = || blob.symlink_metadata().is_ok_and(|it| it.nlink() == 1);
            if lock.try_lock().is_ok() && is_unused() {
                files::remove_file(&blob).map_err(StoreError::file(&blob))?;
            }
        }
        Ok(())
    }
}

fn share(disk: &Path, blob: &Path) -> io::Result<()> {
    let length = disk.metadata()?.len();
    match blob.metadata() {
        Ok(there) if there.len() == length => {
            let link: PathBuf = disk.with_extension("link");
            files::remove_file(&link)?;
            fs::hard_link(blob, &link)?;
            return fs::rename(&link, disk);
        }
        // Somebody cut it: images that have it are spoilt, this one shall not be.
        Ok(_) => fs::remove_file(blob)?,
        Err(_) => {}
    }
    let mut permissions = disk.metadata()?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(disk, permissions)?;
    fs::hard_link(disk, blob)
}
