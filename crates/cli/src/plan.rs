//! `plan` and `config`: what the file means, and what `up` would make of it.

use std::io::{self, Write};

use atoll_control::cluster::change::Takes;
use atoll_control::cluster::plan::Up;
use atoll_control::cluster::preview::{Action, Planned, Preview, preview};
use clap::Args;

use crate::failure::Failure;
use crate::project::FileArgs;
use crate::table;

/// The exit status that says that something is to be done.
const SOMETHING: u8 = 3;

/// Arguments of `plan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll plan\n  atoll plan --exit-code || echo \"the cluster is not as the file says\"\n\nExit status:\n  0  the plan was printed\n  1  the state could not be read\n  2  the command line or the cluster file is at fault\n  3  with --exit-code: `atoll up` would do something"
)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Machines; all of the cluster when left out
    #[arg(value_name = "MACHINE", add = crate::complete::machines())]
    machines: Vec<String>,
    /// As with `up --restart`
    #[arg(long)]
    restart: bool,
    /// As with `up --prune`
    #[arg(long)]
    prune: bool,
    /// End with status 3 if there is something to do
    #[arg(long)]
    exit_code: bool,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

/// Arguments of `config`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll config --var workers=3\n  atoll config --json | jq '.machines | keys'\n\nWhat is printed is a cluster file: included files, variables, counts and profiles are resolved, addresses and MACs written down."
)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    file: FileArgs,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

pub(crate) fn plan(args: &PlanArgs) -> Result<(), Failure> {
    let up = Up {
        machines: args.machines.iter().cloned().collect(),
        restart: args.restart,
        prune: args.prune,
    };
    let preview = preview(&args.file.load_as_chosen()?, &up)?;
    if args.json {
        table::print_json(&preview)?;
    } else {
        print(&preview)?;
    }
    if args.exit_code && preview.does_something() {
        return Err(Failure::Told(SOMETHING));
    }
    Ok(())
}

/// A line a machine, below it one a change.
pub(crate) fn print(preview: &Preview) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for planned in &preview.machines {
        writeln!(out, "{}: {}", planned.machine, sentence(planned))?;
        for change in &planned.changes {
            writeln!(out, "  {change}")?;
        }
    }
    for network in &preview.changed_networks {
        writeln!(
            out,
            "network {network}: changed; `atoll down` first, since machines are on it"
        )?;
    }
    Ok(())
}

fn sentence(planned: &Planned) -> &'static str {
    match planned.action {
        Action::Nothing if planned.changes.iter().any(|it| it.takes == Takes::NewDisk) => {
            "runs; for a new disk, `atoll rm` it first"
        }
        Action::Nothing => "runs as the file says",
        Action::Create => "create",
        Action::Start => "start",
        Action::Resume => "resume where it stands still",
        Action::Await => "wait until it is ready",
        Action::Adjust => "change while it runs",
        Action::Restart => "restart",
        Action::NeedsRestart => "runs otherwise; a restart is needed",
        Action::NotInFile => "not in the file; kept, unless --prune",
        Action::Delete => "delete, with its disk",
    }
}

pub(crate) fn config(args: &ConfigArgs) -> Result<(), Failure> {
    let project = args.file.load_as_chosen()?;
    let text = if args.json {
        project.resolved.to_json()
    } else {
        project.resolved.to_yaml()
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}
