//! Files between the host and machines, and between machines.
//!
//! ```text
//! host's folder ── local::read ──┐                       ┌─> local::Maker ── rename ──> host's folder
//!                                ├─ entries, one by one ─┤
//! guest's tar ── remote::Sender ─┘                       └─> remote::Receiver ── tar, mv ──> guest's folder
//! ```
//!
//! A copy is a stream of [`archive::Entry`] from a source to a `Sink`; nothing is kept in memory or in a file between. What is made lies beside its place
//! under another name until it is whole: a copy that fails, or is called off, leaves the place as it was. A guest's words are not
//! believed: see [`archive`] and `local`.
//!
//! As with `cp -r`, a folder that is there takes the copy under its own name, and a folder of that name is filled. Symbolic links are
//! followed at the top only. Modes and times are copied, owners are not: what comes belongs to who logs in. Devices and pipes are left
//! out, and told.

mod local;
mod remote;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use atoll_images::archive;

use crate::look::shown;
use crate::paths::ClusterPaths;
use crate::problem::{Kind, Problem};
use crate::ssh;

/// Where something is copied from, or to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this host.
    Host(PathBuf),
    /// In a machine. A relative path begins in the folder of who logs in.
    Machine {
        /// The machine.
        machine: String,
        /// The path there.
        path: String,
    },
}

impl Place {
    /// As it is spelt: `MACHINE:PATH`, anything else on this host. `./a:b` is a file of this host.
    #[must_use]
    pub fn parse(word: &str) -> Self {
        match word.split_once(':') {
            Some((machine, path)) if !machine.is_empty() && !machine.contains('/') => {
                let path = path
                    .strip_prefix('~')
                    .map_or(path, |path| path.trim_start_matches('/'));
                let path = if path.is_empty() { "." } else { path };
                Self::Machine {
                    machine: machine.to_owned(),
                    path: path.to_owned(),
                }
            }
            _ => Self::Host(word.into()),
        }
    }

    /// The machine, if it is in one.
    #[must_use]
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::Machine { machine, .. } => Some(machine),
            Self::Host(_) => None,
        }
    }

    /// Whether it is spelt as a folder.
    fn ends_in_slash(&self) -> bool {
        match self {
            Self::Host(path) => path.as_os_str().as_encoded_bytes().ends_with(b"/"),
            Self::Machine { path, .. } => path.ends_with('/'),
        }
    }
}

/// How far a copy is, in bytes of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// That went through.
    pub bytes: u64,
    /// That there are, about; none when nobody knows.
    pub total: Option<u64>,
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file of the host.
    #[error("cannot {action} {path}: {cause}", path = path.display())]
    Host {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: io::Error,
    },
    /// There is no such folder on the host.
    #[error("there is no folder {path} on this host", path = .0.display())]
    NoFolder(PathBuf),
    /// The place is taken by something else on the host.
    #[error("{path} is {what} already", path = path.display())]
    InTheWay {
        /// The place.
        path: PathBuf,
        /// What is there.
        what: &'static str,
    },
    /// ssh cannot be started.
    #[error("cannot run ssh: {cause}")]
    Start {
        /// The system's words.
        cause: io::Error,
    },
    /// ssh did not get in, or not to the end.
    #[error("ssh to {machine} failed: {words}")]
    Ssh {
        /// The machine.
        machine: String,
        /// ssh's words.
        words: String,
    },
    /// A path of a guest is not as the copy needs it.
    #[error("{machine}: {words}")]
    Path {
        /// The machine.
        machine: String,
        /// What is wrong with it.
        words: String,
    },
    /// A program of the guest failed.
    #[error("{machine}: the copy failed there with status {status}: {words}")]
    Guest {
        /// The machine.
        machine: String,
        /// The program's exit status.
        status: i32,
        /// Its words.
        words: String,
    },
    /// What goes to or comes from a guest is no archive.
    #[error("the archive of {machine} is not usable: {cause}")]
    Archive {
        /// The machine.
        machine: String,
        /// What is wrong with it.
        cause: io::Error,
    },
    /// What is copied could not be read; whoever reads it says where.
    #[error("{0}")]
    Source(io::Error),
    /// Both are on the host.
    #[error("neither side of the copy is in a machine")]
    NoMachine,
    /// Nothing came.
    #[error("nothing was copied")]
    Nothing,
    /// It was called off.
    #[error("the copy was called off; nothing of it is left")]
    CalledOff,
}

impl CopyError {
    fn host(action: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Host {
            action,
            path: path.to_owned(),
            cause,
        }
    }

    fn archive(machine: &str, cause: io::Error) -> Self {
        Self::Archive {
            machine: machine.to_owned(),
            cause,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoMachine => "write a machine's side as MACHINE:PATH; `cp` copies on this host".to_owned(),
            Self::Start { .. } => "install OpenSSH's client (Debian: openssh-client)".to_owned(),
            Self::Path { machine, words } if words.contains("cannot be written") => {
                format!("with --sudo root writes it; or copy to {machine}: and move it there")
            }
            Self::Guest {
                machine, status: 127, ..
            } => format!("the copy needs tar and coreutils or BusyBox in {machine}"),
            Self::NoFolder(_) => {
                "make it, or leave the slash at the end away to give the copy this name".to_owned()
            }
            _ => return None,
        })
    }
}

impl From<CopyError> for Problem {
    fn from(error: CopyError) -> Self {
        let kind = match &error {
            CopyError::NoMachine => Kind::Usage,
            CopyError::Archive { .. } | CopyError::Guest { .. } | CopyError::Path { .. } => Kind::Guest,
            _ => Kind::Environment,
        };
        Self::new(kind, error.to_string()).with_hint_if(error.hint())
    }
}

/// Where entries go.
trait Sink {
    /// Takes a file, and reads its bytes.
    fn add(&mut self, entry: &archive::Entry, body: &mut dyn Read) -> Result<(), CopyError>;
    /// Hears of a file that cannot be copied.
    fn skip(&mut self, path: &[u8]) -> Result<(), CopyError>;
}

/// A sink that is watched.
struct Watched<'a> {
    sink: &'a mut dyn Sink,
    tell: &'a dyn Fn(Progress),
    stop: &'a AtomicBool,
    progress: Progress,
}

/// A file's bytes on their way, and what went wrong with where they come from.
struct Body<'a> {
    inner: &'a mut dyn Read,
    left: u64,
    tell: &'a dyn Fn(Progress),
    stop: &'a AtomicBool,
    progress: &'a mut Progress,
    failed: Option<io::Error>,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = match self.stop.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => self.inner.read(buffer),
        };
        let failed = match result {
            Ok(0) if self.left > 0 && !buffer.is_empty() => {
                io::Error::other("a file became shorter while it was read")
            }
            Ok(count) => {
                self.left = self.left.saturating_sub(count as u64);
                self.progress.bytes += count as u64;
                (self.tell)(*self.progress);
                return Ok(count);
            }
            Err(error) => error,
        };
        self.failed = Some(failed);
        Err(io::Error::other("the source failed"))
    }
}

impl Sink for Watched<'_> {
    fn add(&mut self, entry: &archive::Entry, body: &mut dyn Read) -> Result<(), CopyError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(CopyError::CalledOff);
        }
        let left = match entry.kind {
            archive::Kind::File(size) => size,
            _ => 0,
        };
        let mut body = Body {
            inner: body,
            left,
            tell: self.tell,
            stop: self.stop,
            progress: &mut self.progress,
            failed: None,
        };
        let added = self.sink.add(entry, &mut body);
        body.failed.map_or(added, |cause| Err(CopyError::Source(cause)))
    }

    fn skip(&mut self, path: &[u8]) -> Result<(), CopyError> {
        self.sink.skip(path)
    }
}

/// Either kind of sink.
enum Taker {
    Host(Box<local::Maker>),
    Machine(Box<remote::Receiver>),
}

/// Either kind of source, ready to be read.
enum Giver {
    Host(PathBuf),
    Machine(Box<remote::Sender>),
}

/// Copies for one cluster.
pub struct Copier<'a> {
    /// Where its keys are.
    pub paths: &'a ClusterPaths,
    /// Whether root reads and writes in guests.
    pub sudo: bool,
    /// Whether `tell` wants to know how much there is.
    pub sized: bool,
    /// Is told how far it is.
    pub tell: &'a dyn Fn(Progress),
    /// Calls it off.
    pub stop: &'a AtomicBool,
}

impl std::fmt::Debug for Copier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copier")
            .field("sudo", &self.sudo)
            .finish_non_exhaustive()
    }
}

impl Copier<'_> {
    /// Copies what is at `source` to `destination`, which with `into_folder` must be a folder. Gives the paths of what could not be copied:
    /// devices and pipes.
    ///
    /// # Errors
    /// When there is no whole copy; then there is none at all, except that a folder that was there before may have got some of its files.
    pub fn copy(
        &self,
        source: &Place,
        destination: &Place,
        into_folder: bool,
    ) -> Result<Vec<String>, CopyError> {
        let reach = |machine: &str| {
            let machine = machine.to_owned();
            move |line: &str| self.command(&machine, line)
        };
        self.copy_by(source, destination, into_folder, &reach)
    }

    fn command(&self, machine: &str, line: &str) -> Command {
        let line = match line.strip_prefix("exec ") {
            Some(line) if self.sudo => format!("exec sudo -n {line}"),
            _ => line.to_owned(),
        };
        ssh::command(self.paths, machine, &ssh::UNATTENDED, &[line])
    }

    fn copy_by<R: Fn(&str) -> Command>(
        &self,
        source: &Place,
        destination: &Place,
        into_folder: bool,
        reach: &dyn Fn(&str) -> R,
    ) -> Result<Vec<String>, CopyError> {
        if source.machine().or(destination.machine()).is_none() {
            return Err(CopyError::NoMachine);
        }
        let must_be_folder = into_folder || destination.ends_in_slash();
        let (giver, name, total) = match source {
            Place::Host(path) => {
                path.metadata()
                    .map_err(|cause| CopyError::host("read", path, cause))?;
                let size = if self.sized {
                    local::size(&path.canonicalize().unwrap_or_default())
                } else {
                    0
                };
                let name = path
                    .file_name()
                    .filter(|_| !ends_in_dot(path.as_os_str().as_encoded_bytes()));
                let name = name.map(|name| name.to_string_lossy().into_owned());
                (Giver::Host(path.clone()), name, size)
            }
            Place::Machine { machine, path } => {
                let (folder, name) = split(path);
                let sender = remote::Sender::start(machine, &reach(machine), (folder, name), self.sized)?;
                let size = sender.size;
                (
                    Giver::Machine(Box::new(sender)),
                    (!name.is_empty()).then(|| name.to_owned()),
                    size,
                )
            }
        };
        let mut taker = match destination {
            Place::Host(path) => {
                let name = name.as_ref().map(String::as_bytes);
                Taker::Host(Box::new(local::Maker::new(path, name, must_be_folder)?))
            }
            Place::Machine { machine, path } => {
                let receiver =
                    remote::Receiver::start(machine, &reach(machine), path, name.as_deref(), must_be_folder);
                Taker::Machine(Box::new(receiver?))
            }
        };
        let mut watched = Watched {
            sink: match &mut taker {
                Taker::Host(maker) => maker.as_mut(),
                Taker::Machine(receiver) => receiver.as_mut(),
            },
            tell: self.tell,
            stop: self.stop,
            progress: Progress {
                bytes: 0,
                total: (total > 0).then_some(total),
            },
        };
        let given = match giver {
            Giver::Host(path) => local::read(&path, &mut watched),
            Giver::Machine(sender) => sender.read(&mut watched),
        };
        // What ssh says when it is ended along with us is not the reason.
        let is_off = || self.stop.load(Ordering::Relaxed);
        let finished = given.and_then(|()| match taker {
            Taker::Host(maker) => maker.finish(),
            Taker::Machine(receiver) => receiver.finish(),
        });
        let skipped = finished.map_err(|error| if is_off() { CopyError::CalledOff } else { error })?;
        Ok(skipped
            .iter()
            .map(|path| shown(&String::from_utf8_lossy(path)))
            .collect())
    }
}

/// Whether a path leads to a folder by way of `.` or `..`, so that its last name is not what is copied.
fn ends_in_dot(path: &[u8]) -> bool {
    let path = path.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty());
    matches!(path, None | Some(b"." | b".."))
}

/// The folder of a path, and the name in it; none for a path that has no name of its own.
fn split(path: &str) -> (&str, &str) {
    let trimmed = path.trim_end_matches('/');
    if ends_in_dot(path.as_bytes()) {
        return (path, "");
    }
    match trimmed.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => (".", trimmed),
    }
}

#[cfg(test)]
#[path = "copy/tests.rs"]
mod tests;
