//! Running a program that should end soon.
//!
//! It has no terminal and leads a process group of its own, which is killed at the deadline. Where even that is not allowed
//! (a `sudo` that has become root wholly) or of no use (a disk that does not answer), the program is left alone: nothing here waits
//! for it, nor for what still holds its output.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Output kept of each stream; the rest is read and dropped.
const OUTPUT_MAX: u64 = 1 << 20;

/// How often the program is looked at; there is no wait with a deadline.
const POLL: Duration = Duration::from_millis(5);

/// For what is still on its way when the program has ended.
const REST: Duration = Duration::from_millis(500);

/// Folders for administration programs that an ordinary user's `PATH` often leaves out.
const ADMIN_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// What a program said, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    /// Its exit status; `None` when it was ended by a signal.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Whether it says that all went well.
    pub(crate) fn is_good(&self) -> bool {
        self.status == Some(0)
    }

    /// Its last line of complaint, for a sentence.
    pub(crate) fn words(&self) -> String {
        let lines = self.stderr.lines().rev().chain(self.stdout.lines().rev());
        let mut spoken = lines.map(str::trim).filter(|line| !line.is_empty());
        spoken.next().unwrap_or("it gave no reason").to_owned()
    }
}

/// Runs `command` for at most `deadline`.
///
/// # Errors
/// It cannot be started, or did not end in time.
pub(crate) fn run(command: &mut Command, deadline: Duration) -> io::Result<Ran> {
    command.stdin(Stdio::null());
    run_to_end(command, "", deadline)
}

/// The same for one that reads `input`, a line or two, from its standard input.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_with(command: &mut Command, input: &str, deadline: Duration) -> io::Result<Ran> {
    command.stdin(Stdio::piped());
    run_to_end(command, input, deadline)
}

fn run_to_end(command: &mut Command, input: &str, deadline: Duration) -> io::Result<Ran> {
    let until = Instant::now() + deadline;
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // It is short enough for the pipe; who does not read it says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let stdout = child.stdout.take().map(read_aside);
    let stderr = child.stderr.take().map(read_aside);
    let Some(status) = wait(&mut child, until)? else {
        end(child);
        let words = format!("it did not end within {} s", deadline.as_secs_f32());
        return Err(io::Error::new(io::ErrorKind::TimedOut, words));
    };
    Ok(Ran {
        status: status.code(),
        stdout: collect(stdout),
        stderr: collect(stderr),
    })
}

fn wait(child: &mut Child, until: Instant) -> io::Result<Option<std::process::ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Kills the program and whom it started; reaps it when it goes, if it does.
fn end(mut child: Child) {
    // It is not yet reaped, so its id cannot have been given to another process.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        && let Err(error) = kill_process_group(pid, Signal::KILL)
    {
        tracing::debug!("process {pid:?} cannot be ended: {error}");
    }
    let _ = thread::Builder::new().spawn(move || child.wait());
}

fn read_aside(mut stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (told, kept) = channel();
    let _ = thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        // An error ends the output early; what came until then counts.
        let _ = stream.by_ref().take(OUTPUT_MAX).read_to_end(&mut bytes);
        let _ = told.send(bytes);
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    kept
}

fn collect(reader: Option<Receiver<Vec<u8>>>) -> String {
    let bytes = reader.and_then(|reader| reader.recv_timeout(REST).ok());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

/// Where a program lies: in `PATH`, or in a folder for administration programs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(ADMIN_FOLDERS.iter().map(PathBuf::from));
    let mut candidates = folders
        .map(|folder| folder.join(program))
        .filter(|file| file.is_absolute());
    candidates.find(|file| is_executable(file))
}

/// Where a program lies in `PATH` alone.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|folder| folder.join(program));
    candidates.find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, deadline: Duration) -> io::Result<Ran> {
        run(Command::new("sh").args(["-c", script]), deadline)
    }

    #[test]
    fn a_program_is_heard_and_its_last_complaint_quoted() {
        let ran = shell("echo out; echo why >&2; echo; exit 3", Duration::from_secs(60)).unwrap();
        assert_eq!((ran.status, ran.stdout.as_str()), (Some(3), "out\n\n"));
        assert_eq!(ran.words(), "why");
    }

    #[test]
    fn one_that_hangs_is_ended_with_all_that_it_started() {
        let begun = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! >{}; wait", pid.display());
        let error = shell(&script, Duration::from_millis(500)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(30));
        let pid = std::fs::read_to_string(pid).unwrap();
        let is_alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while is_alive() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{pid} still runs");
            thread::sleep(POLL);
        }
    }

    #[test]
    fn output_that_somebody_else_keeps_open_holds_up_nothing() {
        let begun = Instant::now();
        let ran = shell("echo out; setsid sleep 5 &", Duration::from_secs(60)).unwrap();
        assert!(ran.is_good() && begun.elapsed() < Duration::from_secs(4));
    }
}
