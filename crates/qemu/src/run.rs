//! Running a program that should end by itself soon: its output bounded, its time limited.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Output kept of each stream; the rest is read and dropped, so that the program never blocks on it.
const OUTPUT_MAX: u64 = 64 << 10;

/// How often a child is looked at; std has no wait with a deadline.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None`: it was killed at the deadline.
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

/// Runs `command` in a process group of its own, and kills the group at the deadline.
pub(crate) fn run(command: &mut Command, deadline: Duration) -> io::Result<Finished> {
    let started = Instant::now();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().map(read_aside);
    let stderr = child.stderr.take().map(read_aside);
    let status = wait(&mut child, started + deadline)?;
    if status.is_none() {
        kill_group(&mut child)?;
    }
    let took = started.elapsed();
    Ok(Finished {
        status,
        stdout: collect(stdout),
        stderr: collect(stderr),
        took,
    })
}

/// Waits for a child until `deadline`.
pub(crate) fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Kills a child that leads its own process group, and reaps it.
pub(crate) fn kill_group(child: &mut Child) -> io::Result<()> {
    // The child is not yet reaped, so its id cannot have been given to another process.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended in between, which is as good.
        kill_process_group(pid, Signal::KILL).ok();
    }
    child.wait().map(drop)
}

fn read_aside(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        // A read error ends the output early; what came until then is still worth showing.
        stream.by_ref().take(OUTPUT_MAX).read_to_end(&mut kept).ok();
        io::copy(&mut stream, &mut io::sink()).ok();
        kept
    })
}

fn collect(reader: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// QEMU's own words as one sentence: without its program name, blank lines and line ends.
pub(crate) fn words(stderr: &str) -> String {
    let clean = |line: &str| {
        let line = line.trim();
        let named = |who: &str| who == "qemu" || who.starts_with("qemu-system-");
        let rest = line.split_once(": ").filter(|(who, _)| named(who));
        rest.map_or(line, |(_, rest)| rest).to_owned()
    };
    let lines: Vec<String> = stderr
        .lines()
        .map(clean)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() {
        "it said nothing".to_owned()
    } else {
        lines.join("; ")
    }
}
