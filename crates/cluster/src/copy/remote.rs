//! The guest's side of a copy: a few lines of a POSIX shell over ssh, with the guest's own tar.
//!
//! **From a guest** comes one line, `d SIZE` for a folder or `f SIZE` for anything else, with the size in KiB where it is wanted, and an archive after it.
//!
//! **To a guest** goes an archive that holds the copy as `d` and, last, an empty file `done`. The guest unpacks it in a new folder beside its
//! place and moves it when `done` is there: an archive that broke off, at whichever byte, leaves nothing behind.
//!
//! The scripts end with [`NO_SUCH`] when a path is not as the copy needs it; what they say then is the reason. Another status than 0 is that of a program
//! of the guest, 255 that of ssh.

use std::io::{self, BufRead, BufReader, BufWriter, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{CopyError, Sink};
use crate::exec;
use crate::look::shown;
use atoll_images::archive::{Entry, Item, Kind, Reader, RelativePath, Writer};

/// The scripts' own failure: a path.
const NO_SUCH: i32 = 3;

/// How long a guest may take to remove what it began, when a copy is given up.
const TIDYING: Duration = Duration::from_secs(2);

/// Words: the folder, the name in it (none for the folder's content), whether the size is wanted.
const SEND: &str = r#"
cd -- "$1" 2>/dev/null || { echo "there is no folder $1"; exit 3; } >&2
if [ -z "$2" ] || [ -d "./$2" ]; then
    cd -- "./$2" || exit 3
    kind=d what=.
elif [ -e "./$2" ]; then
    kind=f what=./$2
else
    echo "there is no $2 in $1" >&2
    exit 3
fi
size=0
[ -z "$3" ] || size=$(du -skL -- "$what" 2>/dev/null | cut -f1)
echo "$kind ${size:-0}"
if [ $kind = f ]; then exec tar -chf - -- "$what"; fi
exec tar -cf - -- "$what"
"#;

/// Words: the destination, the name of what is copied (none for a folder's content), whether the destination must be a folder.
const RECEIVE: &str = r#"
set -e
unset CDPATH
fail() { echo "$1" >&2; exit 3; }
if [ -d "$1" ]; then parent=$1 final=${2:-.}
elif [ -n "$3" ]; then fail "there is no folder $1"
else parent=$(dirname -- "$1") final=$(basename -- "$1")
fi
[ -d "$parent" ] || fail "there is no folder $parent"
parent=$(cd -- "$parent" && pwd -P)
final=$parent/$final
[ -w "$parent" ] || fail "$parent cannot be written to by $(id -un)"
new=$(mktemp -d "$parent/.atoll-cp.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
trap 'exit 1' HUP INT TERM
tar -xof - -C "$new"
[ -e "$new/done" ] || exit 1
if [ -d "$new/d" ] && [ -d "$final" ]; then
    cd -- "$new/d"
    find . -type d -exec sh -c 'for f; do [ -d "$0/$f" ] || mkdir -- "$0/$f" || exit 1; done' "$final" {} +
    find . ! -type d -exec sh -c 'for f; do
        [ ! -d "$0/$f" ] || { echo "$0/$f is a folder" >&2; exit 1; }
        mv -f -- "$f" "$0/$f" || exit 1
    done' "$final" {} +
elif [ -d "$final" ]; then fail "$final is a folder"
elif [ -d "$new/d" ] && [ -e "$final" ]; then fail "$final is no folder"
else mv -f -- "$new/d" "$final"
fi
"#;

/// How a machine is reached: what starts a command there, given the command's words for its shell.
pub(super) type Reach<'a> = &'a dyn Fn(&str) -> Command;

/// A script that runs in a guest.
#[derive(Debug)]
struct Running {
    machine: String,
    child: Child,
    words: Option<JoinHandle<String>>,
}

impl Running {
    fn start(machine: &str, mut command: Command) -> Result<Self, CopyError> {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| CopyError::Start { cause })?;
        let stderr = child.stderr.take();
        let words = std::thread::spawn(move || {
            let mut kept = Vec::new();
            if let Some(mut stderr) = stderr {
                let read = stderr.by_ref().take(4096).read_to_end(&mut kept);
                let _ = read.and_then(|_| io::copy(&mut stderr, &mut io::sink()));
            }
            shown(&String::from_utf8_lossy(&kept))
        });
        Ok(Self {
            machine: machine.to_owned(),
            child,
            words: Some(words),
        })
    }

    /// How it ended; it must have been well.
    fn end(&mut self) -> Result<(), CopyError> {
        let status = self.child.wait().map_err(|cause| CopyError::Start { cause })?;
        let words = self
            .words
            .take()
            .and_then(|words| words.join().ok())
            .unwrap_or_default();
        let machine = self.machine.clone();
        match status.code() {
            Some(0) => Ok(()),
            Some(NO_SUCH) => Err(CopyError::Path { machine, words }),
            Some(255) | None => Err(CopyError::Ssh { machine, words }),
            Some(status) => Err(CopyError::Guest {
                machine,
                status,
                words,
            }),
        }
    }

    /// The better one of two explanations: what the guest said as it ended, else what was noticed here.
    fn blame(&mut self, noticed: CopyError) -> CopyError {
        // It may be waiting for more of what it will not get, or to get rid of what nobody reads.
        drop((self.child.stdin.take(), self.child.stdout.take()));
        self.end().err().unwrap_or(noticed)
    }
}

impl Drop for Running {
    /// A copy that was given up: a guest that is told nothing more tidies up and ends by itself, unless it does not want to.
    fn drop(&mut self) {
        drop((self.child.stdin.take(), self.child.stdout.take()));
        let until = Instant::now() + TIDYING;
        while self.words.is_some() && matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What a guest sends.
#[derive(Debug)]
pub(super) struct Sender {
    /// Dropped first: its end is what the guest ends by.
    archive: Reader<BufReader<ChildStdout>>,
    running: Running,
    /// Its own name, where it is no folder.
    name: Option<Vec<u8>>,
    /// About how many bytes will come; 0 when nobody knows.
    pub(super) size: u64,
}

impl Sender {
    /// Begins to read `folder`/`name` of a machine.
    pub(super) fn start(
        machine: &str,
        reach: Reach<'_>,
        (folder, name): (&str, &str),
        sized: bool,
    ) -> Result<Self, CopyError> {
        let words = [folder, name, if sized { "sized" } else { "" }];
        let mut command = reach(&exec::script(SEND, &words));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut running = Running::start(machine, command)?;
        let Some(stdout) = running.child.stdout.take() else {
            return Err(CopyError::Nothing);
        };
        let mut stdout = BufReader::with_capacity(128 << 10, stdout);
        let mut line = Vec::new();
        let read = (&mut stdout).take(64).read_until(b'\n', &mut line);
        let line = String::from_utf8_lossy(&line).into_owned();
        let Some((kind @ ("d" | "f"), size)) = line.trim_end().split_once(' ').filter(|_| read.is_ok())
        else {
            drop(stdout);
            let noticed = CopyError::archive(
                machine,
                atoll_images::archive::invalid("it begins with something else"),
            );
            return Err(running.blame(noticed));
        };
        Ok(Self {
            running,
            archive: Reader::new(stdout),
            name: (kind == "f").then(|| name.as_bytes().to_vec()),
            size: size.parse::<u64>().unwrap_or(0).saturating_mul(1024),
        })
    }

    /// Gives all that comes to a sink.
    pub(super) fn read(mut self, sink: &mut dyn Sink) -> Result<(), CopyError> {
        let machine = self.running.machine.clone();
        let failed = |cause| CopyError::archive(&machine, cause);
        loop {
            let item = match self.archive.next_item() {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(cause) => return Err(self.running.blame(failed(cause))),
            };
            match item {
                Item::Special(path) => sink.skip(&self.path(path))?,
                Item::Entry(entry) => {
                    let entry = Entry {
                        path: self.path(entry.path),
                        ..entry
                    };
                    let is_top = entry.path.is_empty();
                    if is_top && self.name.is_none() && entry.kind != Kind::Folder {
                        return Err(failed(atoll_images::archive::invalid("its folder is none")));
                    }
                    match sink.add(&entry, &mut self.archive) {
                        Err(CopyError::Source(cause)) => return Err(self.running.blame(failed(cause))),
                        other => other?,
                    }
                }
            }
        }
        self.running.end()
    }

    /// The path from the top of the copy.
    fn path(&self, path: RelativePath) -> RelativePath {
        if self.name.as_ref() == Some(&path) {
            Vec::new()
        } else {
            path
        }
    }
}

/// What a guest makes.
#[derive(Debug)]
pub(super) struct Receiver {
    /// Dropped first: its end is what the guest ends by.
    archive: Option<Writer<BufWriter<ChildStdin>>>,
    running: Running,
    skipped: Vec<RelativePath>,
}

impl Receiver {
    /// Begins to write a copy of something called `name` (of what a folder holds, when it has none) to a machine.
    pub(super) fn start(
        machine: &str,
        reach: Reach<'_>,
        destination: &str,
        name: Option<&str>,
        must_be_folder: bool,
    ) -> Result<Self, CopyError> {
        let words = [
            destination,
            name.unwrap_or_default(),
            if must_be_folder { "folder" } else { "" },
        ];
        let mut command = reach(&exec::script(RECEIVE, &words));
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut running = Running::start(machine, command)?;
        let stdin = running.child.stdin.take().ok_or(CopyError::Nothing)?;
        Ok(Self {
            running,
            archive: Some(Writer::new(BufWriter::with_capacity(128 << 10, stdin))),
            skipped: Vec::new(),
        })
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut Writer<BufWriter<ChildStdin>>) -> io::Result<()>,
    ) -> Result<(), CopyError> {
        let Some(archive) = &mut self.archive else {
            return Ok(());
        };
        let Err(cause) = write(archive) else { return Ok(()) };
        let is_gone = cause.kind() == io::ErrorKind::BrokenPipe;
        let noticed = CopyError::archive(&self.running.machine, cause);
        self.archive = None;
        Err(if is_gone {
            self.running.blame(noticed)
        } else {
            noticed
        })
    }

    /// The end: the guest moves the copy to its place.
    pub(super) fn finish(mut self) -> Result<Vec<RelativePath>, CopyError> {
        let done = Entry {
            path: Vec::new(),
            kind: Kind::File(0),
            mode: 0o600,
            mtime: 0,
        };
        self.write(|archive| {
            archive.add(b"done", &done, &mut io::empty())?;
            archive.finish()
        })?;
        self.archive = None;
        self.running.end()?;
        Ok(std::mem::take(&mut self.skipped))
    }
}

impl Sink for Receiver {
    fn add(&mut self, entry: &Entry, body: &mut dyn Read) -> Result<(), CopyError> {
        let mut entry = entry.clone();
        if entry.path.is_empty() && entry.kind == Kind::Folder {
            // It could not be moved to its place otherwise.
            entry.mode |= 0o700;
        }
        self.write(|archive| archive.add(b"d", &entry, body))
    }

    fn skip(&mut self, path: &[u8]) -> Result<(), CopyError> {
        self.skipped.push(path.to_vec());
        Ok(())
    }
}
