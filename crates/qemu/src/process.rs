//! Starting, recognising and ending QEMU processes that outlive the command that started them.
//!
//! **Start.** QEMU detaches itself (`-daemonize`): it forks, sets everything up, and the parent exits with status 0
//! only once the guest is ready to run; every error before that is on stderr with a status other than 0. A `setsid` of
//! ours would have to guess that moment. Its stderr goes to a file, so that a QEMU that hangs has left its words too.
//! Descriptors that it is to inherit are let through between fork and exec (module `inherit`), in the child only, and QEMU
//! keeps them through its own forks until it ends.
//!
//! **Identity.** A process id alone is never believed, because ids are used again. A [`Process`] carries the start time
//! of its process (module `identity`), and the id is ours only while the two agree. One known from its pidfile alone is
//! [adopted](Process::adopt) when its QMP socket answers with the machine's name. Nothing is signalled that was not
//! recognised this way immediately before.
//!
//! **Stop.** Power button, then `quit`, then SIGTERM, then SIGKILL; each step has its time, and the first that
//! works is reported. What a killed QEMU leaves behind (pidfile, sockets) is removed once it is gone.

mod identity;
mod inherit;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::run::{self, POLL};
use crate::{Capabilities, CommandLine, Launch, QemuError, Qmp};

/// QEMU's words that are shown at most.
const STDERR_MAX: u64 = 8 << 10;

/// Between two presses of the power button: a guest that is still booting does not notice the first.
const PRESS_AGAIN: Duration = Duration::from_secs(3);

/// How long QEMU may take to greet on its control socket, or to end when it is told to.
const STEP: Duration = Duration::from_secs(5);

/// A QEMU in the background; goes into the state file as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The machine's name.
    pub name: String,
    /// QEMU's process id.
    pub pid: i32,
    /// When that process started, in the system's own terms; what makes the id unique.
    pub started: String,
    /// QEMU's pidfile.
    pub pidfile: PathBuf,
    /// QEMU's control socket.
    pub qmp: PathBuf,
    /// The other sockets it listens on, which it leaves behind when it is killed.
    pub sockets: Vec<PathBuf>,
}

/// How a machine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was not running.
    AlreadyGone,
    /// The guest obeyed the power button.
    PoweredDown,
    /// QEMU was told to quit.
    Quit,
    /// QEMU was sent a signal.
    Killed,
}

impl Process {
    /// Starts a machine in the background and returns when its guest runs (or is ready to, under `-S`).
    ///
    /// The launch must name `qmp` and `pidfile` and have `daemonize` set. `stderr` is the file that QEMU's own
    /// words go to until then. Of the caller's descriptors QEMU gets those that are `inherited`, under the same numbers: what a
    /// [`Attach::Tap`](crate::Attach::Tap) names, and what shall be closed only when QEMU has ended, however it ends.
    ///
    /// # Errors
    ///
    /// [`QemuError::DiedAtStart`] or [`QemuError::UnsupportedDevice`] with QEMU's words, [`QemuError::StartTimeout`],
    /// [`QemuError::NotRunnable`], [`QemuError::BadLaunch`] or [`QemuError::Io`].
    pub fn start(
        launch: &Launch,
        capabilities: &Capabilities,
        stderr: &Path,
        inherited: &[BorrowedFd<'_>],
        deadline: Duration,
    ) -> Result<Self, QemuError> {
        launch.check()?;
        let (qmp, pidfile) = background_paths(launch)?;
        let line = CommandLine::build(launch, capabilities);
        let mut command = Command::new(line.program());
        command.args(line.args());
        inherit::let_through(&mut command, inherited);
        run_to_detach(&launch.name, &mut command, (pidfile, stderr), deadline)?;
        let process = read_pidfile(pidfile)
            .ok()
            .and_then(|pid| Some((pid, identity::start_time(pid)?)));
        // QEMU removes its pidfile at its end: a guest that turned itself off at once has none.
        let gone = || died(&launch.name, "it ended right after it started".to_owned(), stderr);
        let (pid, started) = process.ok_or_else(gone)?;
        let (qmp, pidfile) = (qmp.to_owned(), pidfile.to_owned());
        let sockets = launch
            .bound_sockets()
            .map(Path::to_owned)
            .filter(|path| *path != qmp)
            .collect();
        Ok(Self {
            name: launch.name.clone(),
            pid,
            started,
            pidfile,
            qmp,
            sockets,
        })
    }

    /// Recognises a running machine by its pidfile and its answer on the control socket; `None` if it is not there.
    /// Which other sockets it has is for the caller to add.
    ///
    /// # Errors
    ///
    /// [`QemuError::Qmp`] when something listens but does not answer as QEMU would.
    pub fn adopt(name: &str, pidfile: &Path, qmp: &Path) -> Result<Option<Self>, QemuError> {
        let Ok(pid) = read_pidfile(pidfile) else {
            return Ok(None);
        };
        let Some(started) = identity::start_time(pid) else {
            return Ok(None);
        };
        let mut control = match Qmp::connect(qmp, STEP) {
            Ok(control) => control,
            Err(error) if error.is_nobody_there() => return Ok(None),
            Err(error) => return Err(error),
        };
        if control.query_name()?.as_deref() != Some(name) {
            return Ok(None);
        }
        let (pidfile, qmp) = (pidfile.to_owned(), qmp.to_owned());
        Ok(Some(Self {
            name: name.to_owned(),
            pid,
            started,
            pidfile,
            qmp,
            sockets: Vec::new(),
        }))
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        identity::start_time(self.pid).is_some_and(|started| started == self.started)
    }

    /// Connects to its control socket.
    ///
    /// # Errors
    ///
    /// As [`Qmp::connect`].
    pub fn control(&self) -> Result<Qmp, QemuError> {
        Qmp::connect(&self.qmp, STEP)
    }

    /// Ends the machine: the guest is given `grace` to shut itself down, then QEMU is ended.
    ///
    /// # Errors
    ///
    /// [`QemuError::StillRunning`] when even SIGKILL did not end it.
    pub fn stop(&self, grace: Duration) -> Result<Stopped, QemuError> {
        self.stop_within(grace, STEP)
    }

    /// As [`Process::stop`], with the time that each step after the power button may take.
    ///
    /// # Errors
    ///
    /// As [`Process::stop`].
    pub fn stop_within(&self, grace: Duration, step: Duration) -> Result<Stopped, QemuError> {
        let stopped = self.try_stop(grace, step)?;
        self.remove_leftovers();
        Ok(stopped)
    }

    fn try_stop(&self, grace: Duration, step: Duration) -> Result<Stopped, QemuError> {
        if !self.is_alive() {
            return Ok(Stopped::AlreadyGone);
        }
        // A QEMU that cannot be talked to is ended by signals; why it could not be does not matter any more.
        if let Ok(mut control) = Qmp::connect(&self.qmp, step) {
            if self.power_down(&mut control, grace) {
                return Ok(Stopped::PoweredDown);
            }
            if control.quit().is_ok() && self.wait_gone(step) {
                return Ok(Stopped::Quit);
            }
        }
        for signal in [Signal::TERM, Signal::KILL] {
            self.signal(signal);
            if self.wait_gone(step) {
                return Ok(Stopped::Killed);
            }
        }
        Err(QemuError::StillRunning {
            name: self.name.clone(),
            pid: self.pid,
            deadline: STEP,
        })
    }

    /// Presses the power button until the process is gone or `grace` is over. A guest whose CPUs stand still cannot
    /// notice, so it is not waited for.
    fn power_down(&self, control: &mut Qmp, grace: Duration) -> bool {
        let deadline = Instant::now() + grace;
        if !control.query_status().is_ok_and(|status| status.running) {
            return false;
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // QEMU closes the connection when the guest is off; pressing then fails, and waiting says the rest.
            if left.is_zero() || control.system_powerdown().is_err() {
                return self.wait_gone(left);
            }
            if self.wait_gone(left.min(PRESS_AGAIN)) {
                return true;
            }
        }
    }

    fn wait_gone(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.is_alive() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
        true
    }

    /// Signals the process if it is still the one that was started.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| self.is_alive()) {
            // It may have ended in between, which is as good.
            kill_process(pid, signal).ok();
        }
    }

    /// QEMU removes these itself unless it was killed.
    fn remove_leftovers(&self) {
        for path in [&self.pidfile, &self.qmp].into_iter().chain(&self.sockets) {
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "left behind");
            }
        }
    }
}

/// What a machine in the background cannot do without.
fn background_paths(launch: &Launch) -> Result<(&Path, &Path), QemuError> {
    let bad = |field, value: &str| {
        let (name, value) = (launch.name.clone(), value.to_owned());
        let reason = "the machine is to run in the background";
        QemuError::BadLaunch {
            name,
            field,
            value,
            reason,
        }
    };
    if !launch.daemonize {
        return Err(bad("daemonize", "off"));
    }
    let qmp = launch.qmp.as_deref().ok_or_else(|| bad("qmp", "left out"))?;
    let pidfile = launch
        .pidfile
        .as_deref()
        .ok_or_else(|| bad("pidfile", "left out"))?;
    Ok((qmp, pidfile))
}

/// Runs the command line until its first process exits, which is when QEMU has detached.
fn run_to_detach(
    name: &str,
    command: &mut Command,
    (pidfile, stderr): (&Path, &Path),
    deadline: Duration,
) -> Result<(), QemuError> {
    let file = File::create(stderr).map_err(|source| QemuError::io("write", stderr, source))?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(file)
        .process_group(0);
    let before = fs::read(pidfile).ok();
    let program = PathBuf::from(command.get_program());
    let not_runnable = |source| QemuError::NotRunnable {
        path: program.clone(),
        source,
    };
    let mut child = command.spawn().map_err(not_runnable)?;
    match run::wait(&mut child, Instant::now() + deadline).map_err(not_runnable)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(died(name, status.to_string(), stderr)),
        None => {
            run::kill_group(&mut child).map_err(not_runnable)?;
            kill_detached(pidfile, before.as_deref());
            Err(QemuError::StartTimeout {
                name: name.to_owned(),
                deadline,
                stderr: read_words(stderr),
            })
        }
    }
}

/// Kills the half that had already left its parent's group: its pidfile appeared while we watched.
fn kill_detached(pidfile: &Path, before: Option<&[u8]>) {
    let fresh = fs::read(pidfile).is_ok_and(|content| Some(content.as_slice()) != before);
    if let Some(pid) = read_pidfile(pidfile)
        .ok()
        .filter(|_| fresh)
        .and_then(Pid::from_raw)
    {
        kill_process(pid, Signal::KILL).ok();
    }
}

fn read_pidfile(path: &Path) -> Result<i32, QemuError> {
    let text = fs::read_to_string(path).map_err(|source| QemuError::io("read", path, source))?;
    let pid = text.trim().parse().ok().filter(|&pid: &i32| pid > 1);
    pid.ok_or_else(|| QemuError::io("read", path, io::Error::other("it holds no process id")))
}

fn died(name: &str, status: String, stderr: &Path) -> QemuError {
    let (name, stderr) = (name.to_owned(), read_words(stderr));
    match unknown_device(&stderr) {
        Some(device) => QemuError::UnsupportedDevice { name, device },
        None => QemuError::DiedAtStart { name, status, stderr },
    }
}

/// Reads `-device foo: 'foo' is not a valid device model name`.
fn unknown_device(words: &str) -> Option<String> {
    let before = words.split_once("' is not a valid device model name")?.0;
    before.rsplit_once('\'').map(|(_, device)| device.to_owned())
}

fn read_words(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(path) {
        // A read error shortens QEMU's words, no more.
        file.take(STDERR_MAX).read_to_end(&mut bytes).ok();
    }
    run::words(&String::from_utf8_lossy(&bytes))
}
