//! `ssh` and `console`: ways into a machine.

use std::io::{self, IsTerminal};
use std::os::unix::process::CommandExt;

use atoll_control::cluster::console::{self, Ended};
use atoll_control::cluster::problem::Problem;
use atoll_control::cluster::ssh;
use clap::Args;

use crate::failure::{Failure, say};
use crate::project::{self, FileArgs};

/// Arguments of `ssh`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll ssh web                       a shell\n  atoll ssh web -- ping -c1 db        a command; its exit status is passed on\n\nThe status is 255 when ssh itself fails."
)]
pub(crate) struct SshArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The machine
    #[arg(add = crate::complete::machines())]
    machine: String,
    /// What to run there; a shell when left out
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Arguments of `console`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll console web                   a terminal on its serial port; Ctrl-] ends it\n  echo uptime | atoll console web     works in a pipe, too"
)]
pub(crate) struct ConsoleArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The machine
    #[arg(add = crate::complete::machines())]
    machine: String,
}

pub(crate) fn ssh(args: &SshArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    project::reached_by_ssh(&project, std::slice::from_ref(&args.machine))?;
    let cause = ssh::command(&project.paths, &args.machine, &[], &args.command).exec();
    let problem = Problem::environment(format!("cannot run ssh: {cause}"));
    Err(problem
        .with_hint("install OpenSSH's client (Debian: openssh-client)")
        .into())
}

pub(crate) fn console(args: &ConsoleArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let machine = project::running_machine(&project, &args.machine)?.name;
    let is_terminal = io::stdin().is_terminal();
    if is_terminal {
        say(&format!("the console of {machine}; Ctrl-] ends"));
    }
    let ended = console::attach(&project.paths.console_socket(&machine));
    let ended = ended
        .map_err(|cause| Problem::environment(format!("cannot reach the console of {machine}: {cause}")))?;
    if is_terminal && ended == Ended::ByMachine {
        say(&format!("{machine} closed its console"));
    }
    Ok(())
}
