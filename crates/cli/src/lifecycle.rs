//! `up`, `down`, `restart`, `rm`: what changes which machines run. And the daemon, which they start and end.

use std::collections::BTreeSet;
use std::path::PathBuf;

use atoll_control::cluster::cluster::{Machines, UpRequest};
use atoll_control::cluster::status::Status;
use atoll_control::{Client, daemon};
use clap::Args;

use crate::failure::{Failure, say};
use crate::progress::{Renderer, Verb};
use crate::project::{self, FileArgs};

/// Machines, or all.
#[derive(Debug, Args)]
pub(crate) struct Which {
    #[command(flatten)]
    file: FileArgs,
    /// Machines; all of the cluster when left out
    #[arg(value_name = "MACHINE")]
    machines: Vec<String>,
}

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll up            every machine of ./atoll.yaml\n  atoll up web db     these two\n\nMachines start side by side, those with depends-on after the others, which come along when these are named. A failure stops only what waits for it: the status is then 1 (2 where the file is at fault), and `atoll up` again goes on from there."
)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    which: Which,
    /// How long each machine may take to become ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
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

/// Arguments of `restart`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll restart web   applies what changed in the file since the last `atoll up`"
)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Machines
    #[arg(value_name = "MACHINE", required = true)]
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
    let client = project::daemon(&project)?;
    let request = UpRequest {
        shown: args.which.file.shown(&project.file, &here),
        text: project.text.clone(),
        input: project.input.clone(),
        machines,
        deadline_secs: Some(args.timeout),
    };
    follow(&client, "/v1/up", &request)
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
fn end(
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
    let mut renderer = Renderer::new(verb);
    client.follow(path, &request, |event| renderer.tell(event))?;
    renderer.finish()?;
    if Client::connect(&paths.api_socket()).is_err() {
        daemon::wait_gone(paths, before.daemon)?;
    }
    Ok(())
}

fn follow(client: &Client, path: &str, request: &UpRequest) -> Result<(), Failure> {
    let mut renderer = Renderer::new(Verb::Up).pointing_into(&request.shown, &request.text);
    client.follow(path, request, |event| renderer.tell(event))?;
    renderer.finish()
}

pub(crate) fn run_daemon(args: &DaemonArgs) -> Result<(), Failure> {
    Ok(daemon::run(&args.file, &args.name)?)
}
