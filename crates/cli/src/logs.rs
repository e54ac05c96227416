//! `logs`: what machines write, their console's or cloud-init's, of one as it is, of several with their names.

use std::io::{self, Write};
use std::path::PathBuf;

use atoll_control::cluster::console::printable;
use atoll_control::cluster::follow::{Follow, PAUSE};
use atoll_control::enter;
use clap::Args;

use crate::failure::Failure;
use crate::prefix::{self, Prefixes};
use crate::project::{self, LongFileArgs};

/// What cloud-init's modules and what they run write.
const CLOUD_INIT_LOG: &str = "/var/log/cloud-init-output.log";

/// Most people who log in may read it; the others may by sudo. `$1` lines, all when it is empty, and on with what comes if `$2` is not.
const TAIL: &str = "log=$3
set -- -n \"${1:-+1}\" ${2:+-F}
[ ! -r \"$log\" ] || exec tail \"$@\" -- \"$log\"
exec sudo -n tail \"$@\" -- \"$log\"";

/// As much of a line without an end is waited for.
const LINE_MAX: usize = 64 << 10;

/// Arguments of `logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll logs web --tail 20        the last lines of web's console\n  atoll logs -f                   of every machine, as it comes, with names\n  atoll logs -f --cloud-init a b  what cloud-init writes, over ssh\n\nA console log has no times; `atoll events` has. One machine's console is printed as it is, of several without control sequences."
)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    file: LongFileArgs,
    /// Machines; all of the cluster when left out
    #[arg(value_name = "MACHINE", add = crate::complete::machines())]
    machines: Vec<String>,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines of each
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<usize>,
    /// What cloud-init wrote instead of the console; over ssh
    #[arg(long, conflicts_with = "qemu")]
    cloud_init: bool,
    /// The log of its QEMU instead of its console
    #[arg(long)]
    qemu: bool,
}

pub(crate) fn logs(args: &LogsArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    if args.cloud_init {
        return cloud_init(args, &project);
    }
    let status = project::status(&project)?;
    let machines: Vec<String> = if args.machines.is_empty() {
        status.machines.into_iter().map(|machine| machine.name).collect()
    } else {
        for machine in &args.machines {
            project::known(&status.machines, machine)?;
        }
        args.machines.clone()
    };
    let path = |machine: &String| match args.qemu {
        true => project.paths.qemu_log(machine),
        false => project.paths.console_log(machine),
    };
    let paths: Vec<PathBuf> = machines.iter().map(path).collect();
    let mut follows: Vec<_> = paths.iter().map(|path| Follow::new(path, args.tail)).collect();
    let mut lines = (machines.len() > 1).then(|| Lines::new(&machines));
    loop {
        let mut is_new = false;
        for (at, follow) in follows.iter_mut().enumerate() {
            let new = follow.look()?;
            is_new |= !new.is_empty();
            match &mut lines {
                Some(lines) => lines.write(at, &new)?,
                None => {
                    let mut out = io::stdout().lock();
                    out.write_all(&new)?;
                    out.flush()?;
                }
            }
        }
        if !is_new {
            if !args.follow {
                return Ok(lines.map_or(Ok(()), |mut lines| lines.finish())?);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Whole lines of several machines.
struct Lines {
    machines: Vec<String>,
    prefixes: Prefixes,
    pending: Vec<Vec<u8>>,
}

impl Lines {
    fn new(machines: &[String]) -> Self {
        Self {
            machines: machines.to_vec(),
            prefixes: Prefixes::new(machines),
            pending: vec![Vec::new(); machines.len()],
        }
    }

    /// Takes what one of them wrote.
    fn write(&mut self, at: usize, new: &[u8]) -> io::Result<()> {
        for part in new.split_inclusive(|byte| *byte == b'\n') {
            let pending = &mut self.pending[at];
            pending.extend_from_slice(part);
            if pending.ends_with(b"\n") || pending.len() >= LINE_MAX {
                self.flush(at)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, at: usize) -> io::Result<()> {
        let line = std::mem::take(&mut self.pending[at]);
        let line = printable(&String::from_utf8_lossy(&line));
        self.prefixes.write(&self.machines[at], false, line.as_bytes())
    }

    /// Lines that have no end.
    fn finish(&mut self) -> io::Result<()> {
        let unfinished = (0..self.pending.len()).filter(|at| !self.pending[*at].is_empty());
        unfinished
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|at| self.flush(at))
    }
}

fn cloud_init(args: &LogsArgs, project: &atoll_control::cluster::project::Project) -> Result<(), Failure> {
    let machines = project::machines_by_ssh(project, &args.machines)?;
    let tail = args.tail.map(|lines| lines.to_string()).unwrap_or_default();
    let follow = if args.follow { "follow" } else { "" };
    let words = ["sh", "-c", TAIL, "atoll", &tail, follow, CLOUD_INIT_LOG].map(str::to_owned);
    let status = match machines.as_slice() {
        [machine] => enter::run(&project.paths, machine, &words, false)?,
        machines => prefix::run_in_all(&project.paths, machines, &words, |line| {
            printable(&String::from_utf8_lossy(line)).into_bytes().into()
        })?,
    };
    Failure::of_status(status)
}
