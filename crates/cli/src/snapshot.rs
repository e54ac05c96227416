//! `snapshot`: machines as they were at one instant, to go back to.

use std::time::{SystemTime, UNIX_EPOCH};

use atoll_control::Method;
use atoll_control::cluster::snapshot::{
    self, Listed, ListedMachine, OldSnapshot, RestoreRequest, SnapshotRequest,
};
use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::progress::{Renderer, Verb};
use crate::project::{self, FileArgs};
use crate::table;

/// What `snapshot` does.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save machines as they are at this instant: disks, and the memory of those that run
    Create(CreateArgs),
    /// List snapshots
    Ls(ListArgs),
    /// Make machines what they were when the snapshot was taken
    Restore(RestoreArgs),
    /// Delete snapshots
    Rm(RemoveArgs),
}

/// Arguments of `snapshot create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll snapshot create before-upgrade\n  atoll snapshot create --disk-only nightly db\n\nAll machines stand still before any is saved, and go on together; without memory that takes milliseconds, with it as long as their memory takes to be written. A snapshot lives in the machines' own disks and goes with them: `atoll rm` deletes it. It is no backup."
)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Its name; snapshot-1, snapshot-2 and so on when left out
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Machines; all of the cluster when left out
    #[arg(value_name = "MACHINE", add = crate::complete::machines())]
    machines: Vec<String>,
    /// Leave memory out: machines that run are then as after a power cut
    #[arg(long)]
    disk_only: bool,
}

/// Arguments of `snapshot ls`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  atoll snapshot ls --json | jq -r '.[].name'")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    file: FileArgs,
    /// JSON for programs
    #[arg(long)]
    json: bool,
}

/// Arguments of `snapshot restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  atoll snapshot restore --discard before-upgrade\n\nMachines that ran then run again, from where they stood; others are stopped. What machines have done since is lost, so where there is any of that --discard has to say so (else status 2). The snapshot stays, and can be gone back to again."
)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The snapshot
    #[arg(value_name = "NAME")]
    name: String,
    /// Machines; all that are in it when left out
    #[arg(value_name = "MACHINE", add = crate::complete::machines())]
    machines: Vec<String>,
    /// Give up what machines have done since
    #[arg(long)]
    discard: bool,
}

/// Arguments of `snapshot rm`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  atoll snapshot rm before-upgrade")]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Snapshots
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub(crate) fn run(command: &SnapshotCommand) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Create(args) => create(args),
        SnapshotCommand::Ls(args) => list(args),
        SnapshotCommand::Restore(args) => restore(args),
        SnapshotCommand::Rm(args) => remove(args),
    }
}

fn create(args: &CreateArgs) -> Result<(), Failure> {
    let client = project::daemon(&args.file.load()?)?;
    let request = SnapshotRequest {
        name: args.name.clone(),
        machines: args.machines.iter().cloned().collect(),
        disk_only: args.disk_only,
    };
    Renderer::new(Verb::Snapshot).follow(&client, "/v1/snapshots", &request)
}

fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let client = project::daemon(&args.file.load()?)?;
    let request = RestoreRequest {
        name: args.name.clone(),
        machines: args.machines.iter().cloned().collect(),
        discard: args.discard,
    };
    Renderer::new(Verb::Restore).follow(&client, "/v1/snapshots/restore", &request)
}

fn remove(args: &RemoveArgs) -> Result<(), Failure> {
    let project = args.file.load()?;
    for name in &args.names {
        // Where nothing runs a daemon lives for one request only.
        let client = project::daemon(&project)?;
        let request = OldSnapshot { name: name.clone() };
        Renderer::new(Verb::Forget).follow_by(&Method::DELETE, &client, "/v1/snapshots", &request)?;
    }
    Ok(())
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let listed = snapshot::list(&args.file.load()?.paths)?;
    if args.json {
        return Ok(table::print_json(&listed)?);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |it| it.as_secs());
    let rows: Vec<_> = listed.iter().map(|it| row(it, now)).collect();
    Ok(table::print(&["NAME", "AGE", "MEMORY", "MACHINES"], &rows)?)
}

fn row(listed: &Listed, now: u64) -> Vec<String> {
    let machine = |it: &ListedMachine| match it.memory {
        true => it.name.clone(),
        false => format!("{} (disk only)", it.name),
    };
    let machines: Vec<_> = listed.machines.iter().map(machine).collect();
    vec![
        listed.name.clone(),
        age(now.saturating_sub(listed.created)),
        format!("{} MiB", listed.memory_bytes.div_ceil(1 << 20)),
        machines.join(", "),
    ]
}

/// How long ago, in the largest unit that it fills.
fn age(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(unit, _)| seconds >= *unit);
    unit.map_or_else(
        || format!("{seconds} s"),
        |(unit, word)| format!("{} {word}", seconds / unit),
    )
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn an_age_is_told_in_one_unit() {
        let told = [59, 60, 7199, 86_399, 200_000].map(age);
        assert_eq!(told, ["59 s", "1 min", "1 h", "23 h", "2 d"]);
    }
}
