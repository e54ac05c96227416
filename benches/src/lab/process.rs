//! Children: started in a namespace, killed and reaped when their owner lets go of them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::error::{BenchError, Trying};
use crate::lab::{Namespace, Scratch};
use crate::sys::spawn::{Network, prepare};

/// Children that run now, for SIGINT. A child leaves the list before it is reaped, so no number here is reused.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Kills every child that runs.
pub(crate) fn kill_all() {
    for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // One that has just ended by itself is no matter.
        let _ = kill_process(*pid, Signal::KILL);
    }
}

/// Where a child's standard output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Into its log, with its standard error.
    Log,
    /// To its owner, line by line.
    Lines,
}

/// How a child is started.
#[derive(Debug)]
pub(crate) struct Spawn<'a> {
    /// What messages call it.
    pub(crate) name: &'a str,
    pub(crate) command: Command,
    /// The namespace to run in; this process's own without one.
    pub(crate) namespace: Option<&'a Namespace>,
    pub(crate) output: Output,
}

/// A child. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    pid: Pid,
    input: Option<ChildStdin>,
    lines: Option<BufReader<ChildStdout>>,
    log: PathBuf,
}

impl Spawn<'_> {
    /// Starts the child; its standard input is a pipe that closes when its owner lets go of it.
    pub(crate) fn start(self, scratch: &Scratch) -> Result<Process, BenchError> {
        let network = self.namespace.map_or(Network::Same, Namespace::network);
        start(self.name, self.command, network, self.output, scratch)
    }
}

/// See [`Spawn::start`].
pub(super) fn start(
    name: &str,
    mut command: Command,
    network: Network<'_>,
    output: Output,
    scratch: &Scratch,
) -> Result<Process, BenchError> {
    let log = scratch.path(&format!("{name}.log"));
    let file = File::create(&log).trying(|| format!("cannot write {}", log.display()))?;
    let failed = || format!("cannot start {name} ({})", command_line(&command));
    let out = match output {
        Output::Lines => Stdio::piped(),
        Output::Log => Stdio::from(file.try_clone().trying(failed)?),
    };
    let program = command_line(&command);
    command
        .stdin(Stdio::piped())
        .stdout(out)
        .stderr(Stdio::from(file));
    prepare(&mut command, network);
    let mut child = command
        .spawn()
        .trying(|| format!("cannot start {name} ({program})"))?;
    let pid = Pid::from_child(&child);
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
    Ok(Process {
        name: name.to_owned(),
        input: child.stdin.take(),
        lines: child.stdout.take().map(BufReader::new),
        child,
        pid,
        log,
    })
}

fn command_line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end, kills at the deadline. Anything but success is an error with the log's last lines.
    pub(crate) fn finish(&mut self, deadline: Duration) -> Result<(), BenchError> {
        if !self.ends_within(deadline)? {
            return Err(BenchError::Late {
                what: format!("the end of {}", self.name),
                deadline,
            });
        }
        self.unlist();
        let status = self
            .child
            .wait()
            .trying(|| format!("cannot wait for {}", self.name))?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(&status.to_string()))
        }
    }

    /// Whether the child ended by itself by then. It is not reaped yet.
    fn ends_within(&self, deadline: Duration) -> Result<bool, BenchError> {
        let what = || format!("cannot wait for {}", self.name);
        let fd = pidfd_open(self.pid, PidfdFlags::empty()).trying(what)?;
        readable(fd.as_fd(), deadline).trying(what)
    }

    /// The next line of the child's output.
    pub(crate) fn line(&mut self, deadline: Duration) -> Result<String, BenchError> {
        let until = Instant::now() + deadline;
        let late = |name: &str| BenchError::Late {
            what: format!("a line of {name}"),
            deadline,
        };
        let Some(lines) = &mut self.lines else {
            return Err(late(&self.name));
        };
        if lines.buffer().is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let what = || format!("cannot read from {}", self.name);
            if !readable(lines.get_ref().as_fd(), left).trying(what)? {
                return Err(late(&self.name));
            }
        }
        // Our own tools write whole lines; a program that stops within one is killed with its owner.
        let mut line = String::new();
        lines
            .read_line(&mut line)
            .trying(|| format!("cannot read from {}", self.name))?;
        if line.is_empty() {
            Err(self.failed("it ended"))
        } else {
            Ok(line)
        }
    }

    /// Says one line to the child.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), BenchError> {
        let what = || format!("cannot write to {}", self.name);
        match &mut self.input {
            Some(input) => writeln!(input, "{line}").trying(what),
            None => Ok(()),
        }
    }

    /// The error for a child that did not do what it should, with what it said last.
    pub(crate) fn failed(&self, words: &str) -> BenchError {
        BenchError::Program {
            program: self.name.clone(),
            words: format!("{words}{}", tail(&self.log)),
        }
    }

    /// An error when the child has ended already.
    pub(crate) fn alive(&self) -> Result<(), BenchError> {
        if self.ends_within(Duration::ZERO)? {
            Err(self.failed("it ended"))
        } else {
            Ok(())
        }
    }

    /// Takes the child off the list of those that run, before its number is free for another.
    fn unlist(&self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|pid| *pid != self.pid);
    }

    /// What the child wrote to its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors here mean that the child is gone, which is what is wanted.
        let _ = self.child.kill();
        self.unlist();
        let _ = self.child.wait();
    }
}

/// Whether there is something to read (or an end) within `deadline`.
pub(crate) fn readable(fd: BorrowedFd<'_>, deadline: Duration) -> rustix::io::Result<bool> {
    let until = Instant::now() + deadline;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| rustix::io::Errno::INVAL)?;
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}

/// The last words of a log, on one line.
fn tail(log: &Path) -> String {
    let mut text = String::new();
    if let Ok(file) = File::open(log) {
        // What cannot be read is left out: this only adds to another error.
        let _ = file.take(1 << 20).read_to_string(&mut text);
    }
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines.len().saturating_sub(4);
    let words = lines.get(last..).unwrap_or_default().join("; ");
    if words.is_empty() {
        String::new()
    } else {
        format!(": {words}")
    }
}
