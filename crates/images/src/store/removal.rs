//! Taking images away: by name, or all that nothing holds on to; and what interrupted work left behind.
//!
//! An image goes out of sight by one rename into the staging folder, under its key's lock; whoever dies in between leaves it
//! to the next prune. Who needs an image is not known here: the caller says what to keep.

use super::{Store, StoreError, Stored};
use crate::catalogue::Offer;
use crate::files;
use std::fs;
use std::path::Path;

/// What a [`Store::prune`] removed, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The images.
    pub images: Vec<Stored>,
    /// Bytes on disk that interrupted work had left behind.
    pub leftover_bytes: u64,
}

impl Store {
    /// All images of a name, of every architecture. A short name means what it does elsewhere: an image of just that name,
    /// else the catalogue's.
    ///
    /// # Errors
    /// When there is none, or the store cannot be read.
    pub fn named(&self, name: &str) -> Result<Vec<Stored>, StoreError> {
        let all = self.list()?;
        let full = self.catalogue.offer(name).map(Offer::name);
        [Some(name), full]
            .into_iter()
            .flatten()
            .map(|name| all.iter().filter(|it| it.image.name == name).cloned().collect())
            .find(|found: &Vec<Stored>| !found.is_empty())
            .ok_or_else(|| StoreError::NotHere(name.to_owned()))
    }

    /// Removes all images of a name, see [`Store::named`], and returns them.
    ///
    /// # Errors
    /// When there is none of that name, or one cannot be removed.
    pub fn remove(&self, name: &str) -> Result<Vec<Stored>, StoreError> {
        let named = self.named(name)?;
        named.iter().try_for_each(|stored| self.take_away(stored))?;
        self.remove_unused_blobs()?;
        Ok(named)
    }

    /// Removes the images that `keep` does not hold on to, and what interrupted work left behind. With `dry` it only says what
    /// it would remove.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn prune(&self, dry: bool, keep: impl Fn(&Stored) -> bool) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        for folder in ["downloads", "staging"] {
            pruned.leftover_bytes += self.remove_leftovers(&self.root.join(folder), dry)?;
        }
        pruned.images = self.list()?.into_iter().filter(|stored| !keep(stored)).collect();
        if !dry {
            pruned
                .images
                .iter()
                .try_for_each(|stored| self.take_away(stored))?;
            self.remove_unused_blobs()?;
        }
        Ok(pruned)
    }

    /// Out of sight in one step; a process that dies in between leaves it to the next prune.
    fn take_away(&self, stored: &Stored) -> Result<(), StoreError> {
        let name = stored.folder.file_name().unwrap_or_default().to_string_lossy();
        let key = name.rsplit_once('+').map_or(&*name, |(key, _)| key);
        let _lock = self.lock(key)?;
        let aside = self.root.join("staging").join(key);
        files::remove_folder(&aside).map_err(StoreError::file(&aside))?;
        match fs::rename(&stored.folder, &aside) {
            // Somebody else removed it in the meantime.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(StoreError::file(&stored.folder))?,
        }
        files::remove_folder(&aside).map_err(StoreError::file(&aside))
    }

    /// Removes what nobody holds the lock for; returns how much that was.
    fn remove_leftovers(&self, folder: &Path, dry: bool) -> Result<u64, StoreError> {
        let entries = fs::read_dir(folder).map_err(StoreError::file(folder))?;
        let mut bytes = 0;
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let key = name
                .strip_suffix(".part")
                .or(name.strip_suffix(".origin.json"))
                .unwrap_or(&name);
            let lock = self.lock_file(key)?;
            if lock.try_lock().is_err() {
                continue;
            }
            bytes += files::allocated(&path);
            if !dry {
                files::remove(&path).map_err(StoreError::file(&path))?;
            }
        }
        Ok(bytes)
    }
}
