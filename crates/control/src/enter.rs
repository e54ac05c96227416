//! `exec`: commands in machines, over ssh, with their streams, their exit status and the signals meant for them.
//!
//! With a terminal ssh does it all: what is typed, Ctrl-C included, reaches the guest's terminal. Without one, ssh would end at the first
//! signal and leave the command running. So it is started with signals ignored, as OpenSSH's client leaves them, and each one that this
//! process gets goes to the guest by a second ssh. Whoever insists, three times, gets his terminal back whatever the guest does.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atoll_cluster::exec::Exec;
use atoll_cluster::paths::ClusterPaths;
use atoll_cluster::problem::Problem;
use atoll_cluster::ssh;
use rustix::process::{Pid, Signal, kill_process};

use crate::signals;

/// So many signals end the command's connection.
const INSIST: usize = 3;

/// A line that is longer is told in pieces.
const LINE_MAX: usize = 64 << 10;

/// Runs the rest of its words with these signals ignored.
const IGNORING: &str = "trap '' HUP INT QUIT TERM
command -v \"$1\" >/dev/null || { printf 'error: cannot run ssh\\nhint: install the client of OpenSSH (Debian: openssh-client)\\n' >&2; exit 1; }
exec \"$@\"";

/// Which of a command's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Output,
    /// Its standard error.
    Errors,
}

/// Runs a command in a machine with our own streams, on a terminal there if `tty`; gives its exit status, 255 when ssh itself failed.
///
/// # Errors
/// ssh cannot be started.
pub fn run(paths: &ClusterPaths, machine: &str, words: &[String], tty: bool) -> Result<u8, Problem> {
    let exec = Exec::new(words);
    let option = if tty { "-t" } else { "-T" };
    let line = [exec.line().to_owned()];
    let ssh = ssh::command(paths, machine, &[option, "-o", "ServerAliveInterval=15"], &line);
    if tty {
        let mut ssh = ssh;
        return Ok(status(ssh.status().map_err(|cause| cannot_start(&cause))?));
    }
    let running = Running::default();
    running.watch(paths).map_err(|cause| cannot_start(&cause))?;
    let mut child = ignoring(&ssh).spawn().map_err(|cause| cannot_start(&cause))?;
    running.add(machine, exec, &child);
    Ok(status(
        running
            .wait(machine, &mut child)
            .map_err(|cause| cannot_start(&cause))?,
    ))
}

/// Runs a command in several machines side by side, without input. `tell` is given each line that one writes, without its end, from
/// several threads. Gives the exit statuses in the machines' order.
///
/// # Errors
/// ssh cannot be started.
pub fn run_in_all(
    paths: &ClusterPaths,
    machines: &[String],
    words: &[String],
    tell: &(dyn Fn(&str, Stream, &[u8]) + Sync),
) -> Result<Vec<u8>, Problem> {
    let running = Running::default();
    running.watch(paths).map_err(|cause| cannot_start(&cause))?;
    let start = |machine: &String| {
        let exec = Exec::new(words);
        let ssh = ssh::command(paths, machine, &ssh::UNATTENDED, &[exec.line().to_owned()]);
        let mut ssh = ignoring(&ssh);
        ssh.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = ssh.spawn()?;
        running.add(machine, exec, &child);
        Ok(child)
    };
    std::thread::scope(|scope| {
        let children: io::Result<Vec<Child>> = machines.iter().map(start).collect();
        let mut children = children.map_err(|cause| cannot_start(&cause))?;
        for (machine, child) in machines.iter().zip(&mut children) {
            let (output, errors) = (child.stdout.take(), child.stderr.take());
            scope.spawn(move || lines(output, |line| tell(machine, Stream::Output, line)));
            scope.spawn(move || lines(errors, |line| tell(machine, Stream::Errors, line)));
        }
        let ended = machines.iter().zip(&mut children);
        ended
            .map(|(machine, child)| {
                Ok(status(
                    running
                        .wait(machine, child)
                        .map_err(|cause| cannot_start(&cause))?,
                ))
            })
            .collect()
    })
}

/// The commands under way, and how often they were told to end.
#[derive(Clone, Debug, Default)]
struct Running(Arc<Mutex<Commands>>);

#[derive(Debug, Default)]
struct Commands {
    under_way: Vec<UnderWay>,
    told: usize,
}

#[derive(Debug)]
struct UnderWay {
    machine: String,
    exec: Exec,
    /// ssh's, until it was waited for.
    pid: Option<Pid>,
}

impl Running {
    fn lock(&self) -> MutexGuard<'_, Commands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait for the command in a machine to end; its process is not told anything any more.
    fn wait(&self, machine: &str, child: &mut Child) -> io::Result<ExitStatus> {
        let ended = child.wait();
        let mut commands = self.lock();
        let of_machine = commands.under_way.iter_mut().filter(|it| it.machine == machine);
        of_machine.for_each(|it| it.pid = None);
        ended
    }

    fn add(&self, machine: &str, exec: Exec, child: &Child) {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let machine = machine.to_owned();
        self.lock().under_way.push(UnderWay { machine, exec, pid });
    }

    fn watch(&self, paths: &ClusterPaths) -> io::Result<()> {
        let (paths, running) = (paths.clone(), self.clone());
        signals::watch(move |name| running.pass(&paths, name))
    }

    fn pass(&self, paths: &ClusterPaths, name: &str) {
        let mut commands = self.lock();
        commands.told += 1;
        let insists = commands.told >= INSIST;
        for UnderWay { machine, exec, pid } in &commands.under_way {
            let Some(pid) = *pid else { continue };
            if insists {
                let _ = kill_process(pid, Signal::KILL);
                continue;
            }
            let ssh = ssh::command(paths, machine, &ssh::UNATTENDED, &[exec.signal(name)]);
            let mut ssh = ignoring(&ssh);
            ssh.stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            if let Ok(mut child) = ssh.spawn() {
                std::thread::spawn(move || child.wait());
            }
        }
    }
}

/// The same command with signals ignored from its start.
fn ignoring(command: &Command) -> Command {
    let mut wrapped = Command::new("sh");
    wrapped
        .args(["-c", IGNORING, "atoll"])
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}

fn cannot_start(cause: &io::Error) -> Problem {
    Problem::environment(format!("cannot run ssh: {cause}"))
        .with_hint("install OpenSSH's client (Debian: openssh-client)")
}

/// As a shell says it: 128 and the number of the signal that ended it.
fn status(ended: ExitStatus) -> u8 {
    let code = ended.code().or_else(|| Some(128 + ended.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Gives each line, and what follows the last.
fn lines(input: Option<impl Read>, mut tell: impl FnMut(&[u8])) {
    let Some(mut input) = input else { return };
    let (mut pending, mut chunk) = (Vec::new(), vec![0; 8 << 10]);
    loop {
        let count = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for part in chunk[..count].split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(part);
            if let Some(line) = pending.strip_suffix(b"\n") {
                tell(line);
                pending.clear();
            } else if pending.len() >= LINE_MAX {
                tell(&pending);
                pending.clear();
            }
        }
    }
    if !pending.is_empty() {
        tell(&pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_whole_and_endless_ones_in_pieces() {
        let told = |bytes: &[u8]| {
            let mut told = Vec::new();
            lines(Some(bytes), |line| told.push(line.to_vec()));
            told
        };
        assert_eq!(told(b"a\n\nb"), [&b"a"[..], b"", b"b"]);
        let endless = vec![b'x'; 3 * LINE_MAX];
        let pieces = told(&endless);
        assert_eq!(pieces.concat(), endless);
        assert!(pieces.iter().all(|piece| piece.len() < 2 * LINE_MAX));
    }
}
