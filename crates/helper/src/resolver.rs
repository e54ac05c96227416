//! Files that tell a system's resolver where a domain's names are answered: `/etc/resolver/DOMAIN` on macOS (its manual page resolver(5)).
//!
//! Each file has an entry of the same name in a journal, a folder that root alone reads and that outlives the machine's restart, as the
//! files do. The entry is made before the file, and locked for as long as the session lives: what nobody locks is a dead helper's, and
//! the next helper undoes it. So a domain belongs to one session at a time.
//!
//! | state of a domain | entry | file |
//! |---|---|---|
//! | nobody's | none | none, or somebody else's |
//! | a session's | locked | ours |
//! | a dead helper's | not locked | ours, or none |
//!
//! The file becomes visible whole, by a rename that replaces nothing. What does not begin with our line is somebody else's: it is never
//! replaced and never removed, also when it took our file's place meanwhile. A temporary file is `.DOMAIN` beside it. The folder is made
//! where it is missing, and stays. Both folders must be the user's who runs this, and written by nobody else.
//!
//! Nothing here belongs to one system: where the folders are is the caller's to say.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FlockOperation, Mode, OFlags, RenameFlags, fchmod, flock, fstat, fsync, mkdir, open,
    openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::link::DomainName;
use crate::names::NamesRequest;
use crate::{Refusal, RefusalKind};

/// How the first line of a file of ours begins.
const OURS: &str = "# atoll-helper: ";

/// How often an entry is asked for that another helper is removing.
const TRIES: usize = 16;

/// Where the files are, and their journal.
#[derive(Debug, Clone)]
pub struct ResolverFiles {
    folder: PathBuf,
    journal: PathBuf,
}

/// A domain that the resolver was told of. Dropping it takes that back.
#[derive(Debug)]
pub struct ResolverFile {
    files: ResolverFiles,
    entry: Entry,
}

/// A domain's entry in the journal, locked.
#[derive(Debug)]
struct Entry {
    journal: OwnedFd,
    domain: DomainName,
    _lock: OwnedFd,
}

/// What is in a file's place.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Free,
    Ours,
    Foreign,
}

/// What the file says.
#[must_use]
pub fn text(request: &NamesRequest) -> String {
    let mut text = format!(
        "{OURS}names of the network {}, removed when its link ends\n",
        request.network
    );
    for resolver in &request.resolvers {
        // Writing to a string does not fail.
        let _ = writeln!(text, "nameserver {resolver}");
    }
    text.push_str("port 53\n");
    text
}

impl ResolverFiles {
    /// Files in one folder, with their journal in another. Neither need be there; the folders above must.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>, journal: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            journal: journal.into(),
        }
    }

    /// The file of a domain.
    #[must_use]
    pub fn path(&self, domain: &DomainName) -> PathBuf {
        self.folder.join(domain.as_str())
    }

    /// Tell the resolver of a domain, until what comes back is dropped.
    ///
    /// # Errors
    /// The domain is another session's, the file somebody else's, or the system says no; then nothing is left of it.
    pub fn write(&self, request: &NamesRequest) -> Result<ResolverFile, Refusal> {
        let domain = &request.domain;
        let journal = folder(&self.journal, Mode::RWXU).map_err(failed("open", &self.journal))?;
        let entry = Entry::take(journal, domain, true).map_err(failed("lock an entry of", &self.journal))?;
        let Some(entry) = entry else {
            let sentence = format!("the names below {domain} are another network's already");
            let hint = "`atoll unlink` there frees them; or give this network another domain";
            return Err(Refusal::new(RefusalKind::Failed, sentence).with_hint(hint));
        };
        // From here on dropping it undoes what was done.
        let file = ResolverFile {
            files: self.clone(),
            entry,
        };
        fsync(&file.entry.journal).map_err(|error| failed("write", &self.journal)(error.into()))?;
        self.put(domain, &text(request))?;
        Ok(file)
    }

    /// Undo what helpers left that are no more. What cannot be undone stays for the next.
    pub fn undo_the_dead(&self) {
        let Ok(journal) = folder(&self.journal, Mode::RWXU) else {
            return;
        };
        for domain in listed(&journal) {
            let Ok(journal) = journal.try_clone() else {
                return;
            };
            if let Ok(Some(entry)) = Entry::take(journal, &domain, false) {
                drop(ResolverFile {
                    files: self.clone(),
                    entry,
                });
            }
        }
    }

    /// Put a file there whole, unless the place is somebody else's.
    fn put(&self, domain: &DomainName, text: &str) -> Result<(), Refusal> {
        let path = self.path(domain);
        let mode = Mode::from_raw_mode(0o755);
        let folder = folder(&self.folder, mode).map_err(failed("open", &self.folder))?;
        let failed = failed("write", &path);
        let temporary = temporary(domain);
        // The domain is locked: what is ours here is a dead helper's.
        for name in [domain.as_str(), &temporary] {
            if remove_ours(&folder, name).map_err(&failed)? == Place::Foreign {
                return Err(foreign(&self.folder.join(name)));
            }
        }
        fill(&folder, &temporary, text).map_err(&failed)?;
        match renameat_with(
            &folder,
            &temporary,
            &folder,
            domain.as_str(),
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(foreign(&path)),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Remove what is ours of a domain.
    fn remove(&self, domain: &DomainName) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match open(&self.folder, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            folder => folder?,
        };
        remove_ours(&folder, domain.as_str())?;
        remove_ours(&folder, &temporary(domain)).map(drop)
    }
}

impl Drop for ResolverFile {
    /// The entry goes last: one that stays is looked at again by the next helper.
    fn drop(&mut self) {
        let Entry { journal, domain, .. } = &self.entry;
        if self.files.remove(domain).is_ok() {
            let _ = unlinkat(journal, domain.as_str(), AtFlags::empty());
        }
    }
}

impl Entry {
    /// Lock an entry, and make it if that is wanted; `None` if it is a living session's, or is not there.
    fn take(journal: OwnedFd, domain: &DomainName, make: bool) -> io::Result<Option<Self>> {
        let make = if make { OFlags::CREATE } else { OFlags::empty() };
        let flags = make | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            let lock = match openat(&journal, domain.as_str(), flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::NOENT) => return Ok(None),
                lock => lock?,
            };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Ok(None),
                outcome => outcome?,
            }
            // Who had it before may have removed it between the two calls; then the lock is of nothing.
            let is = fstat(&lock)?;
            let there = statat(&journal, domain.as_str(), AtFlags::SYMLINK_NOFOLLOW);
            if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (is.st_dev, is.st_ino)) {
                return Ok(Some(Self {
                    journal,
                    domain: domain.clone(),
                    _lock: lock,
                }));
            }
        }
        Ok(None)
    }
}

fn temporary(domain: &DomainName) -> String {
    format!(".{domain}")
}

/// Open a folder, and make it if it is not there. Nobody but this user may write there.
fn folder(path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let is_new = match mkdir(path, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(path, flags, Mode::empty())?;
    if is_new {
        // Whatever the mask of this process says.
        fchmod(&folder, mode)?;
    }
    let status = fstat(&folder)?;
    let is_ours = status.st_uid == rustix::process::geteuid().as_raw();
    let others = (Mode::WGRP | Mode::WOTH).intersects(Mode::from_raw_mode(status.st_mode));
    if is_ours && !others {
        Ok(folder)
    } else {
        Err(io::Error::other("others may write there"))
    }
}

/// Whose a file is. An empty one in the temporary file's place was not finished, and is ours.
fn place(folder: &OwnedFd, name: &str) -> io::Result<Place> {
    // Opening something that is no file, such as a FIFO, must not wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(folder, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(Place::Free),
        Err(Errno::LOOP) => return Ok(Place::Foreign),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(Place::Foreign);
    }
    let most = u64::try_from(OURS.len()).unwrap_or(u64::MAX);
    let mut begin = Vec::new();
    file.take(most).read_to_end(&mut begin)?;
    let is_unfinished = begin.is_empty() && name.starts_with('.');
    Ok(if begin == OURS.as_bytes() || is_unfinished {
        Place::Ours
    } else {
        Place::Foreign
    })
}

/// Remove a file if it is ours; whose it was.
fn remove_ours(folder: &OwnedFd, name: &str) -> io::Result<Place> {
    let place = place(folder, name)?;
    if place == Place::Ours {
        unlinkat(folder, name, AtFlags::empty())?;
    }
    Ok(place)
}

/// Make a file, whole and readable by all.
fn fill(folder: &OwnedFd, name: &str, text: &str) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o644);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(openat(folder, name, flags, mode)?);
    fchmod(&file, mode)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The domains in a journal.
fn listed(journal: &OwnedFd) -> Vec<DomainName> {
    let Ok(entries) = Dir::read_from(journal) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse().ok());
    names.collect()
}

fn foreign(path: &Path) -> Refusal {
    let sentence = format!("{} is not atoll's, and is left as it is", path.display());
    let hint =
        "move it away, or use another domain; `--proxy` and `atoll ssh-config --install` need no resolver";
    Refusal::new(RefusalKind::Failed, sentence).with_hint(hint)
}

fn failed(what: &str, path: &Path) -> impl Fn(io::Error) -> Refusal {
    let what = format!("cannot {what} {}", path.display());
    move |error| Refusal::new(RefusalKind::Failed, format!("{what}: {error}"))
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
