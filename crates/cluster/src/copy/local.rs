//! The host's side of a copy: reading a folder, and making one of what comes from a guest.
//!
//! **Making.** All is made in a new folder `.atoll-cp.…` beside its place, which only this user may enter, and moved when it is whole. Paths are
//! plain names and no symbolic link is made before everything else is, so that nothing that a guest sends leads out of that folder; what is there twice
//! ends the copy. Folders that are there already are filled, files in them replaced one by one, each by a rename; a link of the place that stands
//! where the copy has a folder is not followed. Owners are not copied, nor are set-user-ID bits. Bounds: links are remembered up to
//! [`LINKS_MAX`] bytes.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::{CopyError, Sink};
use atoll_images::archive::{Entry, Kind, RelativePath, invalid};

/// Of remembered links, names and targets together.
const LINKS_MAX: usize = 64 << 20;

/// Tells the temporary folders of this process apart.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// The bytes of all files below a path.
pub(super) fn size(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !found.is_dir() {
        return if found.is_file() { found.len() } else { 0 };
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    below.map(|entry| size(&entry.path())).sum()
}

/// Gives all that is at `path` to a sink, folders before what is in them. A symbolic link is followed at the top, and stays one below it.
pub(super) fn read(path: &Path, sink: &mut dyn Sink) -> Result<(), CopyError> {
    let found = fs::metadata(path).map_err(|cause| CopyError::host("read", path, cause))?;
    walk(path, &[], &found, sink)
}

fn walk(path: &Path, relative: &[u8], found: &fs::Metadata, sink: &mut dyn Sink) -> Result<(), CopyError> {
    let failed = |cause| CopyError::host("read", path, cause);
    let entry = |kind| Entry {
        path: relative.to_vec(),
        kind,
        mode: found.mode() & 0o777,
        mtime: u64::try_from(found.mtime()).unwrap_or(0),
    };
    let file_type = found.file_type();
    if file_type.is_file() {
        let mut file = File::open(path).map_err(failed)?;
        return match sink.add(&entry(Kind::File(found.len())), &mut file) {
            Err(CopyError::Source(cause)) => Err(failed(cause)),
            other => other,
        };
    }
    if file_type.is_symlink() {
        let target = fs::read_link(path).map_err(failed)?;
        let kind = Kind::Symlink(target.as_os_str().as_bytes().to_vec());
        return sink.add(&entry(kind), &mut io::empty());
    }
    if !file_type.is_dir() {
        return sink.skip(relative);
    }
    sink.add(&entry(Kind::Folder), &mut io::empty())?;
    let names = fs::read_dir(path)
        .map_err(failed)?
        .map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>().map_err(failed)?;
    names.sort();
    for name in names {
        let below = path.join(&name);
        let found = fs::symlink_metadata(&below).map_err(|cause| CopyError::host("read", &below, cause))?;
        let mut relative = relative.to_vec();
        if !relative.is_empty() {
            relative.push(b'/');
        }
        relative.extend_from_slice(name.as_bytes());
        walk(&below, &relative, &found, sink)?;
    }
    Ok(())
}

/// What is made on the host; gone when dropped before its end.
#[derive(Debug)]
pub(super) struct Maker {
    /// Our own folder; what is made is `d` in it.
    temporary: PathBuf,
    place: PathBuf,
    links: Vec<(RelativePath, Vec<u8>)>,
    links_bytes: usize,
    /// Folders that their owner may not change, made so at the end.
    closed: Vec<(RelativePath, u32)>,
    skipped: Vec<RelativePath>,
}

impl Maker {
    /// For a copy of something called `name` (of what a folder holds, when it has none) at `destination`, as `cp` understands it.
    pub(super) fn new(
        destination: &Path,
        name: Option<&[u8]>,
        must_be_folder: bool,
    ) -> Result<Self, CopyError> {
        let place = place(destination, name, must_be_folder)?;
        let parent = match place.parent() {
            _ if place.is_dir() && name.is_none() => &place,
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => &place,
        };
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary = parent.join(format!(".atoll-cp.{}.{serial}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&temporary);
        made.map_err(|cause| CopyError::host("write to", parent, cause))?;
        Ok(Self {
            temporary,
            place,
            links: Vec::new(),
            links_bytes: 0,
            closed: Vec::new(),
            skipped: Vec::new(),
        })
    }

    fn inside(&self, path: &[u8]) -> PathBuf {
        let top = self.temporary.join("d");
        if path.is_empty() {
            top
        } else {
            top.join(OsStr::from_bytes(path))
        }
    }

    fn make(&mut self, entry: &Entry, body: &mut dyn Read) -> io::Result<()> {
        let at = self.inside(&entry.path);
        if let Some(parent) = at.parent() {
            fs::create_dir_all(parent)?;
        }
        match &entry.kind {
            Kind::Folder => {
                // An archive may name one twice, and files before their folder.
                if !at.is_dir() {
                    DirBuilder::new().mode(entry.mode | 0o700).create(&at)?;
                }
                if entry.mode & 0o700 != 0o700 {
                    self.remember(&entry.path, &[])?;
                    self.closed.push((entry.path.clone(), entry.mode));
                }
            }
            Kind::File(size) => write_file(&at, entry, *size, body)?,
            Kind::Symlink(target) => {
                self.remember(&entry.path, target)?;
                self.links.push((entry.path.clone(), target.clone()));
            }
            Kind::HardLink(target) => match self.links.iter().find(|(path, _)| path == target) {
                Some((_, target)) => {
                    let target = target.clone();
                    self.remember(&entry.path, &target)?;
                    self.links.push((entry.path.clone(), target));
                }
                None => fs::hard_link(self.inside(target), &at)?,
            },
        }
        Ok(())
    }

    fn remember(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.links_bytes += path.len() + target.len();
        if self.links_bytes > LINKS_MAX {
            return Err(invalid("it has too many links"));
        }
        Ok(())
    }

    /// Makes the links and moves all to its place.
    pub(super) fn finish(mut self) -> Result<Vec<RelativePath>, CopyError> {
        for (path, target) in std::mem::take(&mut self.links) {
            let at = self.inside(&path);
            let made = symlink(OsStr::from_bytes(&target), &at);
            made.map_err(|cause| CopyError::host("make the link", &at, cause))?;
        }
        let from = self.inside(b"");
        let found = fs::symlink_metadata(&from).map_err(|_| CopyError::Nothing)?;
        if found.is_dir() && self.place.is_dir() {
            merge(&from, &self.place)?;
        } else if self.place.is_dir() {
            return Err(CopyError::InTheWay {
                path: self.place.clone(),
                what: "a folder",
            });
        } else if found.is_dir() && self.place.symlink_metadata().is_ok() {
            return Err(CopyError::InTheWay {
                path: self.place.clone(),
                what: "no folder",
            });
        } else {
            let moved = fs::rename(&from, &self.place);
            moved.map_err(|cause| CopyError::host("write", &self.place, cause))?;
        }
        // The deepest first, which come last.
        for (path, mode) in self.closed.iter().rev() {
            let at = match path.as_slice() {
                [] => self.place.clone(),
                path => self.place.join(OsStr::from_bytes(path)),
            };
            if let Ok(found) = fs::symlink_metadata(&at).map(|found| found.mode()) {
                let _ = fs::set_permissions(&at, Permissions::from_mode(found & mode));
            }
        }
        Ok(std::mem::take(&mut self.skipped))
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

impl Sink for Maker {
    fn add(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<(), CopyError> {
        let made = self.make(entry, body);
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        made.map_err(|cause| CopyError::host("write", &self.place.join(shown), cause))
    }

    fn skip(&mut self, path: &[u8]) -> Result<(), CopyError> {
        self.remember(path, &[])
            .map_err(|cause| CopyError::host("write", &self.place, cause))?;
        self.skipped.push(path.to_vec());
        Ok(())
    }
}

fn write_file(at: &Path, entry: &Entry, size: u64, body: &mut dyn Read) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(entry.mode);
    let mut file = options.open(at)?;
    io::copy(&mut body.take(size), &mut file)?;
    if let Some(time) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(entry.mtime)) {
        // Not every file system keeps every time.
        let _ = file.set_modified(time);
    }
    Ok(())
}

/// Where the copy will be.
fn place(destination: &Path, name: Option<&[u8]>, must_be_folder: bool) -> Result<PathBuf, CopyError> {
    if destination.is_dir() {
        return Ok(name.map_or_else(
            || destination.to_owned(),
            |name| destination.join(OsStr::from_bytes(name)),
        ));
    }
    if must_be_folder {
        return Err(CopyError::NoFolder(destination.to_owned()));
    }
    let parent = destination
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    match parent {
        Some(parent) if !parent.is_dir() => Err(CopyError::NoFolder(parent.to_owned())),
        _ => Ok(destination.to_owned()),
    }
}

/// Moves all that is in a folder into another, file by file. Folders of the place are kept.
fn merge(from: &Path, to: &Path) -> Result<(), CopyError> {
    let failed = |cause| CopyError::host("write", to, cause);
    for entry in fs::read_dir(from).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let (source, target) = (from.join(&name), to.join(&name));
        let is_folder = fs::symlink_metadata(&source).map_err(failed)?.is_dir();
        let there = fs::symlink_metadata(&target).ok();
        match there.map(|there| there.is_dir()) {
            Some(true) if is_folder => merge(&source, &target)?,
            Some(is_one) if is_one != is_folder => {
                let what = if is_one { "a folder" } else { "no folder" };
                return Err(CopyError::InTheWay { path: target, what });
            }
            _ => fs::rename(&source, &target).map_err(|cause| CopyError::host("write", &target, cause))?,
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
