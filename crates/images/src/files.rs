//! Small file-system effects that downloads and the store share.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Writes a file so that at any time the old or the new content is there, whole: temporary file, fsync, rename.
pub(crate) fn write_atomically(path: &Path, data: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = File::create(&temporary)?;
    file.write_all(data)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Makes a rename within the parent folder last over a power cut.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Bytes that an ordinary user may still write on the file system of `path`.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Removes a file; one that is not there is as good.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_file(path))
}

/// Removes a folder with all in it; one that is not there is as good.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    absent_is_fine(fs::remove_dir_all(path))
}

/// Removes a file or a folder.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        remove_folder(path)
    } else {
        remove_file(path)
    }
}

/// Bytes on disk of a file, or of the files in a folder; holes take none. What cannot be read counts as nothing.
pub(crate) fn allocated(path: &Path) -> u64 {
    /// stat(2): `st_blocks` counts in these, whatever the file system's own blocks are.
    const BLOCK: u64 = 512;
    let of = |path: &Path| {
        let metadata = path.symlink_metadata();
        metadata.map_or(0, |it| it.blocks().saturating_mul(BLOCK))
    };
    match fs::read_dir(path) {
        Ok(entries) => entries.filter_map(Result::ok).map(|it| of(&it.path())).sum(),
        Err(_) => of(path),
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
