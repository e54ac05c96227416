//! `up`, `down`, `restart`, `rm`: what changes which machines run. And the daemon, which they start and end.
//!
//! `up` gives running machines what it can at once, and restarts none without leave: on a terminal it asks, elsewhere it does nothing at
//! all before it was told `--restart` or `--no-restart`.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use atoll_control::cluster::cluster::{Machines, UpRequest};
use atoll_control::cluster::plan::Up;
use atoll_control::cluster::preview::{Preview, preview};
use atoll_control::cluster::problem::{Kind, Problem};
use atoll_control::cluster::status::Status;
use atoll_control::{Client, daemon};
use clap::Args;

use crate::failure::{Failure, say};
use crate::kubeconfig;
use crate::plan;
use crate::progress::{Renderer, Verb};
use crate::project::{self, FileArgs};

/// Machines, or all.
#[derive(Debug, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    pub(crate) file: FileArgs,
    /// Machines; all of the cluster when left out
    #[arg(value_name = "MACHINE", add = crate::complete::machines())]
    pub(crate) machines: Vec<String>,
}

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll up            every machine of ./atoll.yaml\n  atoll up web db     these two\n  atoll up --dry-run  what it would do\n  atoll up --restart --prune\n\nMachines start side by side, those with depends-on after the others, which come along when these are named. A failure stops only what waits for it: the status is then 1 (2 where the file is at fault), and `atoll up` again goes on from there.\n\nForwards are changed while machines run. What takes a restart, such as memory, is asked for on a terminal; elsewhere it is refused (status 2) unless --restart or --no-restart says what to do. A machine that the file no longer has is kept unless --prune is given."
)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    which: Which,
    /// How long each machine may take to become ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Restart machines for what the file changes, without a question
    #[arg(long, visible_alias = "yes", short_alias = 'y')]
    restart: bool,
    /// Restart no machine: what takes a restart is left as it is
    #[arg(long, conflicts_with = "restart")]
    no_restart: bool,
    /// Delete machines that the file no longer has, with their disks
    #[arg(long)]
    prune: bool,
    /// Print what would be done, as `atoll plan` does, and do nothing
    #[arg(long)]
    dry_run: bool,
}

impl UpArgs {
    /// Of every machine, when nothing else is said.
    pub(crate) fn all(file: FileArgs, timeout: u64) -> Self {
        Self {
            which: Which {
                file,
                machines: Vec::new(),
            },
            timeout,
            restart: false,
            no_restart: false,
            prune: false,
            dry_run: false,
        }
    }
}

/// Arguments of `down`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll down          every machine; disks are kept for the next `atoll up`"
)]
pub(crate) struct DownArgs {
    #[command(flatten)]
    which: Which,
}

impl DownArgs {
    /// Of every machine.
    pub(crate) fn all(file: FileArgs) -> Self {
        Self {
            which: Which {
                file,
                machines: Vec::new(),
            },
        }
    }
}

/// Arguments of `restart`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll restart web   applies what changed in the file since the last `atoll up`"
)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Machines
    #[arg(value_name = "MACHINE", add = crate::complete::machines(), required = true)]
    machines: Vec<String>,
}

/// Arguments of `rm`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll rm            the cluster with all disks; the file and cached images stay"
)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    which: Which,
}

/// Arguments of the hidden `daemon`.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// The cluster's name
    #[arg(long)]
    name: String,
    /// The cluster file's canonical path
    file: PathBuf,
}

pub(crate) fn up(args: &UpArgs) -> Result<(), Failure> {
    let project = args.which.file.load_as_chosen()?;
    let here = std::env::current_dir()?;
    let machines: BTreeSet<String> = args.which.machines.iter().cloned().collect();
    let mut up = Up {
        machines: machines.clone(),
        restart: args.restart,
        prune: args.prune,
    };
    let preview = preview(&project, &up)?;
    if args.dry_run {
        return Ok(plan::print(&preview)?);
    }
    if !args.no_restart && preview.needing_restart().next().is_some() {
        up.restart = ask_for_restart(&preview)?;
    }
    let client = project::daemon(&project)?;
    let request = UpRequest {
        shown: args.which.file.shown(&project.file, &here),
        text: project.text.clone(),
        input: project.input.clone(),
        machines,
        deadline_secs: Some(args.timeout),
        restart: up.restart,
        prune: up.prune,
    };
    follow(&client, "/v1/up", &request)
}

/// Whether the machines that need it may be restarted; who is not at a terminal has to say so beforehand.
fn ask_for_restart(preview: &Preview) -> Result<bool, Failure> {
    let needing = preview.needing_restart();
    let told: Vec<_> = needing
        .map(|it| format!("machine {} ({})", it.machine, it.reasons()))
        .collect();
    let told = told.join(", ");
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let problem = Problem::new(
            Kind::Configuration,
            format!("the file changes what takes a restart: {told}"),
        );
        let hint = "`atoll up --restart` restarts for it, `atoll up --no-restart` leaves that as it is";
        return Err(problem.with_hint(hint).into());
    }
    say(&format!("the file changes what takes a restart: {told}"));
    write!(io::stderr(), "restart now? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

pub(crate) fn restart(args: &RestartArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    let client = project::daemon(&project)?;
    let text = project.text.clone();
    let shown = args.file.shown(&project.file, &std::env::current_dir()?);
    let machines = args.machines.iter().cloned().collect();
    // The file as it is now, so that a restart takes what changed.
    let request = UpRequest {
        shown,
        text,
        input: project.input.clone(),
        machines,
        deadline_secs: None,
        restart: false,
        prune: false,
    };
    follow(&client, "/v1/restart", &request)
}

pub(crate) fn down(args: &DownArgs) -> Result<(), Failure> {
    let project = args.which.file.load()?;
    let Some(client) = project::daemon_if_needed(&project)? else {
        say("nothing runs");
        return Ok(());
    };
    end(
        &project.paths,
        &client,
        "/v1/down",
        &args.which.machines,
        Verb::Down,
    )
}

pub(crate) fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    let project = args.which.file.load()?;
    if args.which.machines.is_empty() {
        // What leads to nothing any more, and whose record goes with the state.
        kubeconfig::take_out(&project)?;
    }
    let client = project::daemon(&project)?;
    end(
        &project.paths,
        &client,
        "/v1/rm",
        &args.which.machines,
        Verb::Remove,
    )
}

/// Stops machines; when none is left, also waits for the daemon's end.
pub(crate) fn end(
    paths: &atoll_control::cluster::paths::ClusterPaths,
    client: &Client,
    path: &str,
    machines: &[String],
    verb: Verb,
) -> Result<(), Failure> {
    let before: Status = client.get("/v1/status")?;
    let request = Machines {
        machines: machines.iter().cloned().collect(),
    };
    Renderer::new(verb).follow(client, path, &request)?;
    if Client::connect(&paths.api_socket()).is_err() {
        daemon::wait_gone(paths, before.daemon)?;
    }
    Ok(())
}

fn follow(client: &Client, path: &str, request: &UpRequest) -> Result<(), Failure> {
    let renderer = Renderer::new(Verb::Up).pointing_into(&request.shown, &request.text);
    renderer.follow(client, path, request)
}

pub(crate) fn run_daemon(args: &DaemonArgs) -> Result<(), Failure> {
    Ok(daemon::run(&args.file, &args.name)?)
}
