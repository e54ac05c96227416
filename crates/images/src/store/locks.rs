//! The store's locks: one a key, the kernel's, on open files.

use super::{Store, StoreError};
use crate::download::{FetchError, POLL};
use std::fs::{File, TryLockError};
use std::io;
use std::sync::atomic::Ordering;

impl Store {
    pub(super) fn lock_file(&self, key: &str) -> Result<File, StoreError> {
        let path = self.root.join("locks").join(format!("{key}.lock"));
        File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(StoreError::file(&path))
    }

    /// Waits until nobody else holds the key; the lock ends with the file. Waiting in the kernel could not be called off.
    pub(super) fn lock(&self, key: &str) -> Result<File, StoreError> {
        let file = self.lock_file(key)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => self.check()?,
                Err(TryLockError::Error(error)) => {
                    return Err(StoreError::file(&self.root.join("locks"))(error));
                }
            }
            std::thread::sleep(POLL);
        }
    }

    pub(super) fn is_called_off(&self) -> bool {
        self.called_off.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.is_called_off() {
            Err(FetchError::CalledOff.into())
        } else {
            Ok(())
        }
    }

    /// The same bytes, until the work is called off.
    pub(super) fn until_called_off<R: io::Read>(&self, reader: R) -> impl io::Read + use<'_, R> {
        Stoppable { reader, store: self }
    }
}

struct Stoppable<'a, R> {
    reader: R,
    store: &'a Store,
}

impl<R: io::Read> io::Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.store.check().map_err(io::Error::other)?;
        self.reader.read(buffer)
    }
}
