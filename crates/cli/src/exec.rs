//! `exec`: a command in a machine, or in several.

use std::io::{self, IsTerminal};

use atoll_control::enter;
use clap::Args;

use crate::failure::Failure;
use crate::prefix;
use crate::project::{self, FileArgs};

/// Arguments of `exec`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll exec web -- ls -l '/srv/my files'     every word arrives as it is\n  atoll exec web -- sh -c 'cd /srv && tar c .' > srv.tar\n  atoll exec db -- psql                       with a terminal, when this is one\n  atoll exec --all -- uptime                  each line with its machine's name\n\nThe status is the command's: 128 and the signal's number when a signal ended it, 127 when there is no such command, 255 when ssh failed. Of several machines it is the first that is not 0. SIGINT, SIGTERM, SIGHUP and SIGQUIT are passed on to the command; three of them end its connection."
)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The machine; of several the output has their names before each line, and there is no input
    #[arg(value_name = "MACHINE", add = crate::complete::machines(), required_unless_present = "all")]
    machines: Vec<String>,
    /// Every machine that runs and is reached by ssh
    #[arg(long, conflicts_with = "machines")]
    all: bool,
    /// With a terminal there, also when standard input or output is none here
    #[arg(short, long, conflicts_with_all = ["no_tty", "all"])]
    tty: bool,
    /// Without a terminal there
    #[arg(short = 'T', long)]
    no_tty: bool,
    /// The command and its words
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) fn exec(args: &ExecArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let machines = if args.all {
        let machines = project::status(&project)?.machines.into_iter();
        machines
            .filter(|machine| machine.pid.is_some() && machine.ssh_port.is_some())
            .map(|machine| machine.name)
            .collect()
    } else {
        project::reached_by_ssh(&project, &args.machines)?;
        args.machines.clone()
    };
    let status = match machines.as_slice() {
        [machine] if !args.all => {
            let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
            let tty = args.tty || (is_terminal && !args.no_tty);
            enter::run(&project.paths, machine, &args.command, tty)?
        }
        _ if args.tty => return Err(Failure::usage("--tty is for one machine", None)),
        machines => prefix::run_in_all(&project.paths, machines, &args.command, |line| line.into())?,
    };
    Failure::of_status(status)
}
